//! The lists over the in-memory store.

use std::sync::Arc;

use super::holds::{HoldChange, OrderHold};
use super::reader::ListReader;
use super::*;
use crate::domain::ids::HoldId;
use crate::domain::money::{Currency, Money};
use crate::domain::time::Timestamp;
use crate::persistence::journal::Journal;
use crate::persistence::memory::MemoryStore;
use crate::projections::query::{LowStockQuery, OrderQuery, Page, PageLimit};

struct Rig {
    store: Arc<dyn Store>,
    writer: ListWriter,
}

impl Rig {
    async fn new() -> Self {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let writer = ListWriter::open(store.clone()).await.unwrap();
        Self { store, writer }
    }

    fn reader(&self) -> ListReader {
        ListReader::new(Journal::new(self.store.clone()), self.writer.recent(), vec![GroupId(1)])
    }

    async fn stock(&mut self, name: &str, sequence: u64, available: u64) -> u64 {
        let news = StockNews {
            sequence: Sequence(sequence),
            available: Some(available),
            listing: None,
            ..StockNews::default()
        };
        self.writer.note_stock(GroupId(1), &sku(name), news).await.unwrap()
    }

    async fn low(&mut self, low: u64) -> Vec<(String, u64)> {
        self.writer.flush().await.unwrap();
        let page = Page { limit: PageLimit::new(2).unwrap(), cursor: None };
        let (mut query, mut all) = (LowStockQuery { low, page }, Vec::new());
        loop {
            let page = self.reader().low_stock(&query).await.unwrap();
            all.extend(page.items.into_iter().map(|item| (item.sku.to_string(), item.available)));
            match page.next_cursor {
                Some(cursor) => query.page.cursor = Some(cursor),
                None => return all,
            }
        }
    }

    async fn orders(&mut self, query: OrderQuery) -> Vec<u8> {
        self.writer.flush().await.unwrap();
        let mut query = OrderQuery { page: Page { limit: PageLimit::new(2).unwrap(), cursor: None }, ..query };
        let mut all = Vec::new();
        loop {
            let page = self.reader().orders(&query).await.unwrap();
            all.extend(page.items.into_iter().map(|item| item.id.0[0]));
            match page.next_cursor {
                Some(cursor) => query.page.cursor = Some(cursor),
                None => return all,
            }
        }
    }
}

fn sku(name: &str) -> Sku {
    name.parse().unwrap()
}

fn order(number: u8, placed_at: u64, state: OrderState) -> OrderItem {
    OrderItem {
        id: OrderId([number; 16]),
        number: format!("{number}"),
        state,
        total: Money { amount: 100, currency: Currency::USD },
        units: 1,
        created_at: Timestamp(placed_at),
        updated_at: Timestamp(placed_at),
    }
}

#[tokio::test]
async fn low_stock_comes_fewest_first_and_leaves_the_list_when_restocked() {
    let mut rig = Rig::new().await;
    for (name, available) in [("A", 3), ("B", 0), ("C", 9), ("D", 3), ("E", 100)] {
        rig.stock(name, 1, available).await;
    }
    let named = |rows: &[(&str, u64)]| rows.iter().map(|(sku, n)| ((*sku).to_owned(), *n)).collect::<Vec<_>>();
    assert_eq!(rig.low(9).await, named(&[("B", 0), ("A", 3), ("D", 3), ("C", 9)]));
    rig.stock("A", 2, 50_000).await;
    rig.stock("E", 2, 1).await;
    assert_eq!(rig.low(9).await, named(&[("B", 0), ("E", 1), ("D", 3), ("C", 9)]));
}

#[tokio::test]
async fn news_older_than_what_is_known_changes_nothing() {
    let mut rig = Rig::new().await;
    rig.stock("A", 5, 7).await;
    rig.writer.flush().await.unwrap();
    assert_eq!(rig.stock("A", 4, 1).await, 7);
    assert_eq!(rig.stock("A", 5, 1).await, 7);
    assert!(!rig.writer.is_dirty());
    assert_eq!(rig.stock("A", 6, 1).await, 1);
}

#[tokio::test]
async fn orders_come_newest_first_by_state_and_since() {
    let mut rig = Rig::new().await;
    for (number, placed_at, state) in
        [(1, 10, OrderState::Confirmed), (2, 30, OrderState::Failed), (3, 20, OrderState::Confirmed)]
    {
        rig.writer.note_order(order(number, placed_at, state));
    }
    assert_eq!(rig.orders(OrderQuery::default()).await, [2, 3, 1]);
    let confirmed = OrderQuery { state: Some(OrderState::Confirmed), ..OrderQuery::default() };
    assert_eq!(rig.orders(confirmed.clone()).await, [3, 1]);
    assert_eq!(rig.orders(OrderQuery { since: Some(Timestamp(20)), ..confirmed }).await, [3]);
    assert_eq!(rig.orders(OrderQuery { since: Some(Timestamp(20)), ..OrderQuery::default() }).await, [2, 3]);
}

#[tokio::test]
async fn an_order_is_only_in_the_state_it_is_in_now() {
    let mut rig = Rig::new().await;
    for state in [OrderState::Placed, OrderState::Confirmed, OrderState::Refunded] {
        rig.writer.note_order(order(1, 10, state));
        assert_eq!(rig.orders(OrderQuery::default()).await, [1], "{state:?}");
        for other in OrderState::ALL {
            let listed = rig.orders(OrderQuery { state: Some(other), ..OrderQuery::default() }).await;
            assert_eq!(listed.len(), usize::from(other == state), "{other:?} while {state:?}");
        }
    }
}

#[tokio::test]
async fn orders_are_counted_by_state_once_each_also_after_reopening() {
    let mut rig = Rig::new().await;
    let states = [OrderState::Placed, OrderState::Confirmed, OrderState::Confirmed, OrderState::Failed];
    for (number, state) in (1..).zip(states) {
        rig.writer.note_order(order(number, 10, OrderState::Placed));
        rig.writer.flush().await.unwrap();
        for _twice in 0..2 {
            rig.writer.note_order(order(number, 10, state));
            rig.writer.flush().await.unwrap();
        }
    }
    let counted = |writer: &ListWriter| {
        let counts = OrderState::ALL.map(|state| (state, writer.counts[state as usize]));
        counts.into_iter().filter(|(_, count)| *count > 0).collect::<Vec<_>>()
    };
    let expected = [(OrderState::Placed, 1), (OrderState::Confirmed, 2), (OrderState::Failed, 1)];
    assert_eq!(counted(&rig.writer), expected);
    let mut reopened = ListWriter::open(rig.store.clone()).await.unwrap();
    assert_eq!(counted(&reopened), expected);
    reopened.drop_everything().await.unwrap();
    assert_eq!(counted(&reopened), []);
}

#[tokio::test]
async fn pages_of_orders_placed_in_the_same_moment_lose_none() {
    let mut rig = Rig::new().await;
    for number in 1..=7 {
        let state = if number % 2 == 0 { OrderState::Placed } else { OrderState::Failed };
        rig.writer.note_order(order(number, 10, state));
    }
    assert_eq!(rig.orders(OrderQuery::default()).await, [1, 2, 3, 4, 5, 6, 7]);
}

#[tokio::test]
async fn rows_and_cursors_are_written_together_and_survive_reopening() {
    let mut rig = Rig::new().await;
    rig.stock("A", 1, 5).await;
    rig.writer.advance(GroupId(1), 40);
    rig.writer.flush().await.unwrap();
    rig.stock("A", 2, 4).await;
    rig.writer.advance(GroupId(1), 41);
    let reopened = ListWriter::open(rig.store.clone()).await.unwrap();
    assert_eq!(reopened.cursors(), &[(GroupId(1), 40)].into());
    assert_eq!(reopened.available(&sku("A")).await.unwrap(), 5);
}

#[tokio::test]
async fn rows_of_another_layout_are_dropped_with_their_cursors() {
    let mut rig = Rig::new().await;
    rig.stock("A", 1, 5).await;
    rig.writer.advance(GroupId(1), 40);
    rig.writer.flush().await.unwrap();
    let mut batch = WriteBatch::default();
    batch.put(rows::layout(), rows::seal(&(rows::VERSION + 1)));
    rig.store.write(batch).await.unwrap();
    let reopened = ListWriter::open(rig.store.clone()).await.unwrap();
    assert!(reopened.cursors().is_empty());
    assert_eq!(reopened.available(&sku("A")).await.unwrap(), 0);
}

#[tokio::test]
async fn a_reader_never_puts_an_old_number_over_a_newer_one() {
    let mut rig = Rig::new().await;
    rig.stock("A", 1, 5).await;
    rig.writer.flush().await.unwrap();
    let recent = rig.writer.recent();
    recent.clear();
    let epoch = recent.get(&sku("A")).unwrap_err();
    rig.stock("A", 2, 4).await;
    recent.offer(&sku("A"), 5, epoch);
    assert_eq!(recent.get(&sku("A")), Ok(4));
    recent.clear();
    recent.offer(&sku("A"), 5, epoch);
    assert!(recent.get(&sku("A")).is_err());
}

#[tokio::test]
async fn holds_are_counted_once_however_often_their_records_are_fed_and_survive_reopening() {
    let mut rig = Rig::new().await;
    let (order, pinned) = (OrderId([1; 16]), HoldId([2; 16]));
    let hold = |since| OrderHold { order, quantity: 2, since: Timestamp(since) };
    let news = |from: u64, changes: Vec<HoldChange>| {
        let numbered: Vec<_> = (from..).map(Sequence).zip(changes).collect();
        StockNews { sequence: numbered.last().unwrap().0, holds: HoldNews::Changes(numbered), ..StockNews::default() }
    };
    let first = news(1, vec![HoldChange::Placed, HoldChange::Placed, HoldChange::Pinned(pinned, hold(7))]);
    let all = news(
        1,
        vec![HoldChange::Placed, HoldChange::Placed, HoldChange::Pinned(pinned, hold(7)), HoldChange::Expired(1)],
    );
    for told in [first.clone(), first, all.clone(), all] {
        rig.writer.note_stock(GroupId(1), &sku("TEA"), told).await.unwrap();
        rig.writer.flush().await.unwrap();
    }
    let reopened = ListWriter::open(rig.store.clone()).await.unwrap();
    for holds in [rig.writer.holds(), reopened.holds()] {
        assert_eq!((holds.live(), holds.of_orders()), (1, 1));
        assert_eq!(holds.of_orders_since_before(Timestamp(7), 9), (0, vec![]));
        assert_eq!(holds.of_orders_since_before(Timestamp(8), 9), (1, vec![((sku("TEA"), pinned), hold(7))]));
    }
    let sold = news(5, vec![HoldChange::Ended(pinned)]);
    rig.writer.note_stock(GroupId(1), &sku("TEA"), sold).await.unwrap();
    rig.writer.flush().await.unwrap();
    let reopened = ListWriter::open(rig.store.clone()).await.unwrap();
    assert_eq!((reopened.holds().live(), reopened.holds().of_orders()), (0, 0));
}

#[tokio::test]
async fn the_state_of_a_stock_item_replaces_what_was_known_of_its_holds() {
    let mut rig = Rig::new().await;
    let hold = OrderHold { order: OrderId([1; 16]), quantity: 1, since: Timestamp(1) };
    let all = |sequence, live, ids: &[u8]| StockNews {
        sequence: Sequence(sequence),
        holds: HoldNews::All { live, of_orders: ids.iter().map(|id| (HoldId([*id; 16]), hold.clone())).collect() },
        ..StockNews::default()
    };
    for (name, news) in [("TEA", all(1, 3, &[1, 2])), ("TEA-2", all(1, 1, &[3])), ("TEA", all(2, 5, &[2, 4]))] {
        rig.writer.note_stock(GroupId(1), &sku(name), news).await.unwrap();
        rig.writer.flush().await.unwrap();
    }
    let reopened = ListWriter::open(rig.store.clone()).await.unwrap();
    for holds in [rig.writer.holds(), reopened.holds()] {
        let (count, old) = holds.of_orders_since_before(Timestamp(2), 9);
        let mut ids: Vec<u8> = old.iter().map(|((_, id), _)| id.0[0]).collect();
        ids.sort_unstable();
        assert_eq!((holds.live(), count, ids), (6, 3, vec![2, 3, 4]));
    }
}

#[test]
fn what_changes_among_plenty_costs_one_row() {
    let row = |available| StockRow { group: GroupId(1), sequence: Sequence(1), available, holds: 0, listing: None };
    let rows_of = |before: u64, after: u64| {
        let mut batch = WriteBatch::default();
        put_stock(&mut batch, &sku("TEA"), Some(&row(before)), &row(after));
        batch.changes.len()
    };
    assert_eq!(rows_of(LOW_STOCK_MAX + 2, LOW_STOCK_MAX + 1), 1, "it has no place in the low stock list");
    assert_eq!(rows_of(LOW_STOCK_MAX + 1, LOW_STOCK_MAX), 2, "it gets one");
    assert_eq!(rows_of(LOW_STOCK_MAX, LOW_STOCK_MAX + 1), 2, "it loses it");
    assert_eq!(rows_of(2, 1), 3, "it moves");
}

#[tokio::test]
async fn what_a_reader_remembers_of_an_older_row_does_not_outlive_the_flush() {
    let mut rig = Rig::new().await;
    rig.stock("TEA", 1, 1).await;
    rig.writer.flush().await.unwrap();
    rig.stock("TEA", 2, 0).await;
    // As when too many SKUs are remembered, between the change and its flush.
    rig.writer.recent.clear();
    let reader = rig.reader();
    assert_eq!(reader.available(&sku("TEA")).await.unwrap(), 1, "the store has nothing newer yet");
    rig.writer.flush().await.unwrap();
    assert_eq!(reader.available(&sku("TEA")).await.unwrap(), 0);
}
