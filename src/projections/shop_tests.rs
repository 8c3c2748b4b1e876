//! The read side fed by real entities: commands are decided, their records applied to a store, and followed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;

use super::catalogue::export::export;
use super::catalogue::{CatalogueFormat, CatalogueParser};
use super::query::{ExpiringHoldsQuery, LowStockQuery, Page, PageLimit, ProductQuery, Queries};
use super::read_side::ReadSide;
use super::search::SearchIndex;
use super::search::memory::MemorySearchIndex;
use crate::actors::feed_signal::FeedSignal;
use crate::domain::entity::{Fingerprint, Stamp};
use crate::domain::ids::{CommandId, EntityId, HoldId};
use crate::domain::money::Currency;
use crate::domain::pricing::{JsonText, Listing, Prices};
use crate::domain::product::{ProductCommand, ProductDocument, ProductStatus, Variant};
use crate::domain::quantity::Quantity;
use crate::domain::registry::{AnyCommand, AnyState};
use crate::domain::stock::{Holder, Reserve, StockCommand};
use crate::domain::time::{Sequence, Timestamp};
use crate::persistence::applier::Applier;
use crate::persistence::codec;
use crate::persistence::journal::Journal;
use crate::persistence::keys;
use crate::persistence::log::GroupId;
use crate::persistence::memory::MemoryStore;
use crate::persistence::records::{EntityBatch, Record, Remembered};
use crate::persistence::store::{Store, WriteBatch};

const PRODUCTS: GroupId = GroupId(1);
const STOCK: GroupId = GroupId(2);

/// A shop without actors: entities in a map, records applied by hand.
struct Shop {
    store: Arc<dyn Store>,
    signal: FeedSignal,
    appliers: BTreeMap<GroupId, Applier>,
    entities: BTreeMap<EntityId, (AnyState, Sequence)>,
}

impl Shop {
    async fn new() -> Self {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let mut appliers = BTreeMap::new();
        for group in [PRODUCTS, STOCK] {
            appliers.insert(group, Applier::open(store.clone(), group).await.unwrap());
        }
        let signal = FeedSignal::new([PRODUCTS, STOCK]);
        Self { store, signal, appliers, entities: BTreeMap::new() }
    }

    async fn tell(&mut self, entity: EntityId, command: AnyCommand, at: u64) {
        let fresh = || (AnyState::new(&entity), Sequence::ZERO);
        let (state, sequence) = self.entities.entry(entity.clone()).or_insert_with(fresh);
        let decision = state.decide(&command, Timestamp(at)).unwrap();
        decision.events.iter().for_each(|event| state.apply(event, Timestamp(at)));
        *sequence = sequence.next();
        let wake_at = state.deadline().map(|(at, _)| at);
        let record = Record {
            sequence: *sequence,
            stamp: Stamp { command: CommandId([1; 16]), fingerprint: Fingerprint::default() },
            remembered: Remembered::ByState,
            at: Timestamp(at),
            events: decision.events,
            reply: decision.reply,
            wake_at,
        };
        let batch = EntityBatch {
            first_sequence: *sequence,
            record_count: 1,
            last_at: Timestamp(at),
            wake_at,
            command_rows: Vec::new(),
            vault: Vec::new(),
            records: codec::encode_records(&[record]),
            entity: entity.clone(),
        };
        let group = if entity.kind == crate::domain::registry::Kind::Product { PRODUCTS } else { STOCK };
        let applier = self.appliers.get_mut(&group).unwrap();
        let index = applier.applied().map_or(1, |index| index + 1);
        applier.apply(index, Bytes::new(), &[batch]).await.unwrap();
        self.signal.applied(group, index);
    }

    async fn put(&mut self, id: &str, title: &str, status: ProductStatus) {
        let sku = format!("{id}-1");
        let variant = Variant {
            sku: sku.parse().unwrap(),
            title: String::new(),
            attributes: JsonText(r#"{"size":"L"}"#.into()),
            prices: Prices([(Currency::USD, 900)].into()),
        };
        let document = ProductDocument {
            title: title.to_owned(),
            description: "Said in the description".to_owned(),
            categories: vec!["tea/green".to_owned()],
            attributes: JsonText(r#"{"origin":"Japan"}"#.into()),
            media: Vec::new(),
            status,
            variants: vec![variant],
        };
        let put = ProductCommand::Put { document: Arc::new(document), expected_version: None };
        self.tell(EntityId::product(&id.parse().unwrap()), AnyCommand::Product(put), 1).await;
        let listing = Listing {
            product: id.parse().unwrap(),
            title: title.into(),
            prices: Prices::default(),
            version: 1,
            active: true,
        };
        self.stock(&sku, StockCommand::List(Arc::new(listing)), 1).await;
    }

    async fn stock(&mut self, sku: &str, command: StockCommand, at: u64) {
        self.tell(EntityId::stock(&sku.parse().unwrap()), AnyCommand::Stock(command), at).await;
    }

    async fn receive(&mut self, sku: &str, units: u32) {
        let quantity = Quantity::new(units).unwrap();
        self.stock(sku, StockCommand::Receive { quantity, reference: String::new() }, 1).await;
    }

    async fn hold(&mut self, sku: &str, hold: u8, at: u64, ttl_seconds: u64, holder: Holder) {
        let reserve = Reserve {
            hold: HoldId([hold; 16]),
            quantity: Quantity::new(1).unwrap(),
            ttl: Duration::from_secs(ttl_seconds),
            holder,
            fingerprint: Fingerprint::default(),
        };
        self.stock(sku, StockCommand::Reserve(reserve), at).await;
    }

    /// A read side that has followed everything.
    async fn read_side(&self) -> (ReadSide, Arc<MemorySearchIndex>) {
        let search = Arc::new(MemorySearchIndex::default());
        let read_side = self.follow(search.clone()).await;
        (read_side, search)
    }

    async fn follow(&self, search: Arc<MemorySearchIndex>) -> ReadSide {
        let groups = vec![PRODUCTS, STOCK];
        let journal = Journal::new(self.store.clone());
        let read_side = ReadSide::start(journal, self.signal.clone(), groups, search.clone()).await.unwrap();
        let expected: BTreeMap<GroupId, u64> =
            self.appliers.iter().filter_map(|(group, applier)| Some((*group, applier.applied()?))).collect();
        let caught_up = async {
            loop {
                let cursors = search.cursors().await.unwrap();
                if expected.iter().all(|(group, index)| cursors.get(group) >= Some(index)) {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), caught_up).await.expect("the feed is short");
        read_side
    }

    async fn trim(&self) {
        let mut batch = WriteBatch::default();
        for (group, applier) in &self.appliers {
            let floor = applier.applied().unwrap() + 1;
            for index in 0..floor {
                batch.delete(keys::feed(*group, index));
            }
            batch.put(keys::feed_floor(*group), codec::encode_feed_floor(floor));
        }
        self.store.write(batch).await.unwrap();
    }
}

fn text(words: &str) -> ProductQuery {
    ProductQuery { text: Some(words.to_owned()), ..ProductQuery::default() }
}

#[tokio::test]
async fn a_product_is_found_with_its_units_and_a_draft_is_not() {
    let mut shop = Shop::new().await;
    shop.put("sencha", "Sencha", ProductStatus::Active).await;
    shop.put("secret", "Sencha to come", ProductStatus::Draft).await;
    shop.receive("sencha-1", 7).await;
    let (read_side, _) = shop.read_side().await;
    let page = read_side.products(&text("sencha")).await.unwrap();
    assert_eq!(page.items.iter().map(|item| item.id.as_str()).collect::<Vec<_>>(), ["sencha"]);
    assert_eq!(page.items[0].variants[0].available, 7);
    let facets: Vec<_> = page.facets.attributes.keys().map(String::as_str).collect();
    assert_eq!(facets, ["origin", "size"]);
    let in_stock = ProductQuery { in_stock: Some(true), ..ProductQuery::default() };
    assert_eq!(read_side.products(&in_stock).await.unwrap().total, 1);
}

#[tokio::test]
async fn an_archived_and_a_deleted_product_leave_the_search() {
    let mut shop = Shop::new().await;
    shop.put("a", "Alpha", ProductStatus::Active).await;
    shop.put("b", "Beta", ProductStatus::Active).await;
    let (read_side, search) = shop.read_side().await;
    assert_eq!(read_side.products(&ProductQuery::default()).await.unwrap().total, 2);
    read_side.close().await;
    assert!(search.cursors().await.is_err());
    shop.put("a", "Alpha", ProductStatus::Archived).await;
    let delete = AnyCommand::Product(ProductCommand::Delete { expected_version: None });
    shop.tell(EntityId::product(&"b".parse().unwrap()), delete, 2).await;
    let (read_side, _) = shop.read_side().await;
    assert_eq!(read_side.products(&ProductQuery::default()).await.unwrap().total, 0);
}

#[tokio::test]
async fn projections_rebuilt_from_states_know_what_those_that_followed_know() {
    let mut shop = Shop::new().await;
    shop.put("sencha", "Sencha", ProductStatus::Active).await;
    shop.put("assam", "Assam", ProductStatus::Active).await;
    shop.receive("sencha-1", 3).await;
    shop.hold("sencha-1", 1, 5, 100, Holder::Shopper).await;
    let (followed, _) = shop.read_side().await;
    let low = LowStockQuery { low: 10, page: Page::default() };
    let everything = ProductQuery { in_stock: Some(true), ..ProductQuery::default() };
    let expected = (followed.products(&everything).await.unwrap(), followed.low_stock(&low).await.unwrap());
    assert_eq!(expected.0.total, 1);
    let listed: Vec<_> =
        expected.1.items.iter().map(|item| (item.sku.as_str(), &*item.title, item.available, item.held)).collect();
    assert_eq!(listed, [("assam-1", "Assam", 0, 0), ("sencha-1", "Sencha", 2, 1)]);
    followed.close().await;
    shop.trim().await;
    let mut wiped = super::lists::ListWriter::open(shop.store.clone()).await.unwrap();
    wiped.drop_everything().await.unwrap();
    let (rebuilt, _) = shop.read_side().await;
    assert_eq!((rebuilt.products(&everything).await.unwrap(), rebuilt.low_stock(&low).await.unwrap()), expected);
}

#[tokio::test]
async fn a_lost_search_index_is_rebuilt_beside_lists_that_only_lag() {
    let mut shop = Shop::new().await;
    shop.put("sencha", "Sencha", ProductStatus::Active).await;
    shop.receive("sencha-1", 3).await;
    let (first, _) = shop.read_side().await;
    first.close().await;
    shop.trim().await;
    shop.hold("sencha-1", 1, 5, 100, Holder::Shopper).await;
    let (second, _) = shop.read_side().await;
    let page = second.products(&ProductQuery { in_stock: Some(true), ..text("sencha") }).await.unwrap();
    assert_eq!(page.items[0].variants[0].available, 2);
    let low = second.low_stock(&LowStockQuery { low: 10, page: Page::default() }).await.unwrap();
    assert_eq!((low.items[0].available, low.items[0].held), (2, 1));
}

#[tokio::test]
async fn shoppers_holds_about_to_expire_come_soonest_first_across_skus_and_pages() {
    let mut shop = Shop::new().await;
    for sku in ["A", "B"] {
        shop.receive(sku, 50).await;
    }
    for (hold, sku, ttl) in [(1, "A", 300), (2, "B", 100), (3, "A", 200), (4, "B", 5_000), (5, "A", 100)] {
        shop.hold(sku, hold, 10, ttl, Holder::Shopper).await;
    }
    shop.hold("A", 6, 10, 50, Holder::Order(crate::domain::ids::OrderId([9; 16]))).await;
    let (read_side, _) = shop.read_side().await;
    let page = Page { limit: PageLimit::new(2).unwrap(), cursor: None };
    let mut query = ExpiringHoldsQuery { before: Timestamp(1_000_000), page };
    let mut all = Vec::new();
    loop {
        let page = read_side.expiring_holds(&query).await.unwrap();
        all.extend(page.items.into_iter().map(|item| (item.hold.0[0], item.expires_at.0)));
        let Some(cursor) = page.next_cursor else { break };
        query.page.cursor = Some(cursor);
    }
    assert_eq!(all, [(5, 100_010), (2, 100_010), (3, 200_010), (1, 300_010)]);
}

#[tokio::test]
async fn an_export_holds_every_product_of_every_status_and_parses_back() {
    let mut shop = Shop::new().await;
    for number in 0..150 {
        let status = if number % 2 == 0 { ProductStatus::Active } else { ProductStatus::Draft };
        shop.put(&format!("p{number:03}"), "Tea", status).await;
    }
    for format in [CatalogueFormat::Csv, CatalogueFormat::NdJson] {
        let pieces = export(Journal::new(shop.store.clone()), &[PRODUCTS, STOCK], format);
        let pieces: Vec<Bytes> = pieces.try_collect().await.unwrap();
        assert!(pieces.len() > 1, "written in pieces");
        let (mut parser, mut parsed) = (CatalogueParser::new(format), Vec::new());
        pieces.iter().for_each(|piece| parser.push(piece, &mut parsed));
        parser.finish(&mut parsed);
        let drafts = parsed.iter().filter(|row| row.as_ref().unwrap().document.status == ProductStatus::Draft).count();
        assert_eq!((parsed.len(), drafts), (150, 75), "{format:?}");
    }
}
