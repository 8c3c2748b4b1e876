//! The projector over the in-memory store, fed by the real applier.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::feed::{Projector, ProjectorParts};
use super::hub::EntityHub;
use super::lists::ListWriter;
use super::query::{
    LowStockQuery, OrderQuery, Page, ProductItem, ProductPage, ProductQuery, Queries, QueryError, VariantItem,
};
use super::read_side::ReadSide;
use super::search::memory::MemorySearchIndex;
use super::search::{FeedCursors, SearchBatch, SearchChange, SearchDocument, SearchError, SearchIndex};
use crate::actors::feed_signal::FeedSignal;
use crate::domain::entity::{Fingerprint, Stamp};
use crate::domain::ids::{CommandId, EntityId, Sku};
use crate::domain::money::Currency;
use crate::domain::pricing::JsonText;
use crate::domain::quantity::Quantity;
use crate::domain::registry::{AnyEvent, AnyReply};
use crate::domain::stock::{StockEvent, StockNumbers, StockReply};
use crate::domain::time::{Sequence, Timestamp};
use crate::persistence::applier::Applier;
use crate::persistence::codec;
use crate::persistence::journal::Journal;
use crate::persistence::keys;
use crate::persistence::log::GroupId;
use crate::persistence::memory::MemoryStore;
use crate::persistence::records::{EntityBatch, Record, Remembered};
use crate::persistence::store::{Store, WriteBatch};

const GROUP: GroupId = GroupId(1);

struct Rig {
    store: Arc<dyn Store>,
    search: Arc<MemorySearchIndex>,
    signal: FeedSignal,
    applier: Applier,
    next_index: u64,
    hub: EntityHub,
}

impl Rig {
    async fn new() -> Self {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let applier = Applier::open(store.clone(), GROUP).await.unwrap();
        let (search, signal) = (Arc::new(MemorySearchIndex::default()), FeedSignal::new([GROUP]));
        Self { store, search, signal, applier, next_index: 1, hub: EntityHub::default() }
    }

    /// One log entry with one record of one stock item.
    async fn receive(&mut self, sku: &str, sequence: u64, available: u64) {
        let event = StockEvent::Received { quantity: Quantity::new(1).unwrap(), reference: String::new(), available };
        let record = Record {
            sequence: Sequence(sequence),
            stamp: Stamp { command: CommandId([1; 16]), fingerprint: Fingerprint::default() },
            remembered: Remembered::ByState,
            at: Timestamp(sequence),
            events: vec![AnyEvent::Stock(event)],
            reply: AnyReply::Stock(StockReply::Counted(StockNumbers::default())),
            wake_at: None,
        };
        let batch = EntityBatch {
            entity: EntityId::stock(&sku.parse().unwrap()),
            first_sequence: Sequence(sequence),
            record_count: 1,
            last_at: Timestamp(sequence),
            wake_at: None,
            command_rows: Vec::new(),
            vault: Vec::new(),
            records: codec::encode_records(&[record]),
        };
        self.applier.apply(self.next_index, Bytes::new(), &[batch]).await.unwrap();
        self.signal.applied(GROUP, self.next_index);
        self.next_index += 1;
    }

    /// A product with one variant, put into the index behind the projector's back.
    async fn sell(&self, sku: &str) {
        let variant = VariantItem {
            sku: sku.parse().unwrap(),
            title: String::new(),
            attributes: JsonText::empty_object(),
            prices: [(Currency::USD, 100)].into(),
            available: 0,
        };
        let item = ProductItem {
            id: format!("product-{sku}").parse().unwrap(),
            title: sku.to_owned(),
            description: String::new(),
            categories: Vec::new(),
            attributes: JsonText::empty_object(),
            media: Vec::new(),
            version: 1,
            variants: vec![variant],
        };
        let document = SearchDocument { item, attributes: [].into(), created_at: Timestamp(1) };
        let changes = vec![SearchChange::Put(Box::new(document))];
        self.search.apply(SearchBatch { changes, ..SearchBatch::default() }).await.unwrap();
    }

    async fn projector(&self) -> Projector {
        let (_, flushes) = mpsc::channel(1);
        let parts = ProjectorParts {
            journal: Journal::new(self.store.clone()),
            signal: self.signal.clone(),
            groups: vec![GROUP],
            search: self.search.clone(),
            hub: self.hub.clone(),
            flushes,
        };
        let lists = ListWriter::open(self.store.clone()).await.unwrap();
        Projector::open(parts, lists).await.unwrap()
    }

    async fn in_stock(&self) -> u64 {
        let query = ProductQuery { in_stock: Some(true), ..ProductQuery::default() };
        self.search.search(&query).await.unwrap().total
    }

    /// Removes feed rows below an index, as a trim does.
    async fn trim(&self, floor: u64) {
        let mut batch = WriteBatch::default();
        for index in 0..floor {
            batch.delete(keys::feed(GROUP, index));
        }
        batch.put(keys::feed_floor(GROUP), codec::encode_feed_floor(floor));
        self.store.write(batch).await.unwrap();
    }
}

async fn available(projector: &Projector, sku: &str) -> u64 {
    let sku: Sku = sku.parse().unwrap();
    projector.lists().available(&sku).await.unwrap()
}

#[tokio::test]
async fn following_the_feed_gives_the_latest_availability_and_flips_the_stock_filter() {
    let mut rig = Rig::new().await;
    rig.sell("TEA").await;
    for (sequence, units) in [(1, 5), (2, 6), (3, 7)] {
        rig.receive("TEA", sequence, units).await;
    }
    let mut projector = rig.projector().await;
    assert_eq!(rig.in_stock().await, 0);
    projector.catch_up(&CancellationToken::new()).await.unwrap();
    assert_eq!((available(&projector, "TEA").await, rig.in_stock().await), (7, 1));
    rig.receive("TEA", 4, 0).await;
    projector.catch_up(&CancellationToken::new()).await.unwrap();
    assert_eq!((available(&projector, "TEA").await, rig.in_stock().await), (0, 0));
}

#[tokio::test]
async fn more_entries_than_a_page_are_followed_to_the_end() {
    let mut rig = Rig::new().await;
    for sequence in 1..=600 {
        rig.receive("TEA", sequence, sequence).await;
    }
    let mut projector = rig.projector().await;
    projector.catch_up(&CancellationToken::new()).await.unwrap();
    assert_eq!(available(&projector, "TEA").await, 600);
    assert_eq!(rig.search.cursors().await.unwrap(), [(GROUP, 600)].into());
}

#[tokio::test]
async fn a_projection_that_lost_its_cursor_is_fed_again_without_disturbing_the_other() {
    let mut rig = Rig::new().await;
    rig.receive("TEA", 1, 5).await;
    rig.receive("TEA", 2, 3).await;
    let mut projector = rig.projector().await;
    projector.catch_up(&CancellationToken::new()).await.unwrap();
    drop(projector);
    rig.search = Arc::new(MemorySearchIndex::default());
    rig.sell("TEA").await;
    let mut projector = rig.projector().await;
    projector.catch_up(&CancellationToken::new()).await.unwrap();
    assert_eq!((available(&projector, "TEA").await, rig.in_stock().await), (3, 1));
    assert_eq!(rig.search.cursors().await.unwrap(), [(GROUP, 2)].into());
}

#[tokio::test]
async fn watchers_learn_the_last_sequence() {
    let mut rig = Rig::new().await;
    let mut watch = rig.hub.watch(&EntityId::stock(&"TEA".parse().unwrap()));
    for sequence in 1..=3 {
        rig.receive("TEA", sequence, 1).await;
    }
    rig.projector().await.catch_up(&CancellationToken::new()).await.unwrap();
    assert_eq!(watch.changed().await.sequence, Sequence(3));
}

#[tokio::test]
async fn a_cursor_behind_the_tail_leads_to_a_rebuild_that_ends_at_the_applied_index() {
    let mut rig = Rig::new().await;
    for sequence in 1..=4 {
        rig.receive("TEA", sequence, sequence).await;
    }
    rig.trim(4).await;
    let mut projector = rig.projector().await;
    projector.catch_up(&CancellationToken::new()).await.unwrap();
    assert_eq!(rig.search.cursors().await.unwrap(), [(GROUP, 4)].into());
    rig.receive("TEA", 5, 9).await;
    projector.catch_up(&CancellationToken::new()).await.unwrap();
    assert_eq!(available(&projector, "TEA").await, 9);
}

#[tokio::test]
async fn an_installed_checkpoint_wakes_watchers_to_look_again() {
    let mut rig = Rig::new().await;
    rig.receive("TEA", 1, 1).await;
    let mut projector = rig.projector().await;
    projector.catch_up(&CancellationToken::new()).await.unwrap();
    let mut watch = rig.hub.watch(&EntityId::stock(&"OTHER".parse().unwrap()));
    rig.signal.installed(GROUP, 1);
    projector.catch_up(&CancellationToken::new()).await.unwrap();
    assert_eq!(watch.changed().await.sequence, Sequence::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_running_read_side_shows_what_was_applied_and_closes_without_losing_it() {
    let mut rig = Rig::new().await;
    let journal = Journal::new(rig.store.clone());
    let read_side =
        ReadSide::start(journal.clone(), rig.signal.clone(), vec![GROUP], rig.search.clone()).await.unwrap();
    let mut watch = read_side.hub().watch(&EntityId::stock(&"TEA".parse().unwrap()));
    rig.receive("TEA", 1, 2).await;
    watch.changed().await;
    let low = LowStockQuery { low: 5, page: Page::default() };
    let page = read_side.low_stock(&low).await.unwrap();
    assert_eq!(page.items.iter().map(|item| (item.sku.as_str(), item.available)).collect::<Vec<_>>(), [("TEA", 2)]);
    assert_eq!(read_side.orders(&OrderQuery::default()).await.unwrap().items, []);
    rig.receive("TEA", 2, 1).await;
    watch.changed().await;
    read_side.close().await;
    let reopened = ListWriter::open(rig.store.clone()).await.unwrap();
    assert_eq!(reopened.available(&"TEA".parse().unwrap()).await.unwrap(), 1);
    assert_eq!(reopened.cursors(), &[(GROUP, 2)].into());
}

/// A search index that says once that it is closed, though nobody closed it.
#[derive(Default)]
struct LostOnce {
    index: MemorySearchIndex,
    was_lost: AtomicBool,
}

#[async_trait]
impl SearchIndex for LostOnce {
    async fn cursors(&self) -> Result<FeedCursors, SearchError> {
        self.index.cursors().await
    }

    async fn apply(&self, batch: SearchBatch) -> Result<(), SearchError> {
        if !self.was_lost.swap(true, Ordering::SeqCst) {
            return Err(SearchError::Closed);
        }
        self.index.apply(batch).await
    }

    async fn commit(&self) -> Result<(), SearchError> {
        self.index.commit().await
    }

    async fn search(&self, query: &ProductQuery) -> Result<ProductPage, QueryError> {
        self.index.search(query).await
    }

    async fn close(&self) {
        self.index.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_search_index_found_closed_that_nobody_closed_does_not_stop_the_lists() {
    let mut rig = Rig::new().await;
    let (journal, search) = (Journal::new(rig.store.clone()), Arc::new(LostOnce::default()));
    let read_side = ReadSide::start(journal, rig.signal.clone(), vec![GROUP], search.clone()).await.unwrap();
    rig.receive("TEA", 1, 2).await;
    let moved = async {
        while !search.was_lost.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        rig.receive("TEA", 2, 1).await;
        let low = LowStockQuery { low: 5, page: Page::default() };
        while read_side.low_stock(&low).await.unwrap().items.first().is_none_or(|item| item.available != 1) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), moved).await.expect("the lists follow the feed");
}
