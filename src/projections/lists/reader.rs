//! Answers from the lists' rows, and from the journals where rows would cost the hot path too much: the holds about to
//! expire are found through the wake rows, which every record maintains anyway, and read from the stock items' states.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::rows::{self, StockRow};
use super::{ListError, RecentStock, read_stock, scan_of};
use crate::domain::ids::{EntityId, HoldId, OrderId, Sku};
use crate::domain::order::OrderState;
use crate::domain::registry::Kind;
use crate::domain::stock::Holder;
use crate::domain::time::Timestamp;
use crate::persistence::journal::{Journal, JournalError};
use crate::persistence::log::GroupId;
use crate::persistence::store::Store;
use crate::projections::cursor::{self, CursorKind, QueryDigest};
use crate::projections::query::{
    ExpiringHoldItem, ExpiringHoldsPage, ExpiringHoldsQuery, LOW_STOCK_MAX, LowStockItem, LowStockPage, LowStockQuery,
    OrderItem, OrderPage, OrderQuery, Page, QueryError,
};
use crate::projections::states;

/// Stock items with something due that one query may look into; an earlier time must be asked for beyond.
const CANDIDATES_MAX: usize = 2_000;
/// Wake rows fetched at once.
const WAKES_PAGE: usize = 512;
/// Wake rows of one group that one query may walk over; most belong to carts and orders.
const WAKES_MAX: usize = 20_000;

/// Reads the lists.
#[derive(Clone)]
pub struct ListReader {
    store: Arc<dyn Store>,
    journal: Journal,
    recent: RecentStock,
    groups: Vec<GroupId>,
}

impl From<ListError> for QueryError {
    fn from(error: ListError) -> Self {
        Self::Unavailable { reason: error.to_string() }
    }
}

impl From<JournalError> for QueryError {
    fn from(error: JournalError) -> Self {
        Self::Unavailable { reason: error.to_string() }
    }
}

/// Where a hold stands among those about to expire.
type HoldPlace = (Timestamp, Sku, HoldId);

impl ListReader {
    /// Reads what a writer with this `recent` writes, about entities of these groups.
    pub fn new(journal: Journal, recent: RecentStock, groups: Vec<GroupId>) -> Self {
        Self { store: journal.store().clone(), journal, recent, groups }
    }

    /// Units of a SKU that can be sold, as of a moment ago.
    pub async fn available(&self, sku: &Sku) -> Result<u64, ListError> {
        match self.recent.get(sku) {
            Ok(available) => Ok(available),
            Err(epoch) => {
                let available = read_stock(&*self.store, sku).await?.map_or(0, |row| row.available);
                self.recent.offer(sku, available, epoch);
                Ok(available)
            }
        }
    }

    /// See [`crate::projections::query::Queries::orders`].
    pub async fn orders(&self, query: &OrderQuery) -> Result<OrderPage, QueryError> {
        let digest = QueryDigest::of(&(query.state, query.since));
        let after: Option<(Timestamp, OrderId)> = start(CursorKind::Orders, digest, &query.page)?;
        let placed = query.since.unwrap_or(Timestamp::ZERO)..=Timestamp(u64::MAX);
        let states: &[OrderState] = query.state.as_ref().map_or(&OrderState::ALL, std::slice::from_ref);
        let mut items: Vec<OrderItem> = Vec::new();
        for state in states {
            let range = rows::orders_range(*state, after, placed.clone());
            for (_, value) in self.scan(range, query.page.limit.get() + 1).await? {
                items.push(rows::open(&value).map_err(ListError::from)?);
            }
        }
        // An order that moved on between two of these scans was met in both states: the later one counts.
        let newest_first = |a: &OrderItem, b: &OrderItem| b.created_at.cmp(&a.created_at).then(a.id.cmp(&b.id));
        items.sort_by(|a, b| newest_first(a, b).then(b.updated_at.cmp(&a.updated_at)));
        items.dedup_by_key(|item| item.id);
        let next_cursor =
            finish(CursorKind::Orders, digest, &query.page, &mut items, |item| (item.created_at, item.id));
        Ok(OrderPage { items, next_cursor })
    }

    /// See [`crate::projections::query::Queries::low_stock`].
    pub async fn low_stock(&self, query: &LowStockQuery) -> Result<LowStockPage, QueryError> {
        if query.low > LOW_STOCK_MAX {
            return Err(QueryError::Invalid { field: "low".to_owned(), reason: format!("at most {LOW_STOCK_MAX}") });
        }
        let digest = QueryDigest::of(&query.low);
        let after: Option<(u64, Sku)> = start(CursorKind::LowStock, digest, &query.page)?;
        let after = after.as_ref().map(|(available, sku)| (*available, sku.as_str()));
        let mut items = Vec::new();
        for (key, value) in self.scan(rows::low_range(after, query.low), query.page.limit.get() + 1).await? {
            let Some(sku) = rows::sku_of_low(&key) else { continue };
            let row: StockRow = rows::open(&value).map_err(ListError::from)?;
            items.push((sku, row));
        }
        let next_cursor =
            finish(CursorKind::LowStock, digest, &query.page, &mut items, |(sku, row)| (row.available, sku.clone()));
        let mut page = LowStockPage { items: Vec::with_capacity(items.len()), next_cursor };
        for (sku, row) in items {
            let folded = states::load(&self.journal, row.group, &EntityId::stock(&sku)).await?;
            let held = folded.and_then(|folded| folded.stock()).map_or(0, |view| view.numbers.held);
            let (product, title) = row.listing.map_or((None, String::new()), |(id, title)| (Some(id), title));
            page.items.push(LowStockItem { sku, product, title, available: row.available, held });
        }
        Ok(page)
    }

    /// See [`crate::projections::query::Queries::expiring_holds`].
    pub async fn expiring_holds(&self, query: &ExpiringHoldsQuery) -> Result<ExpiringHoldsPage, QueryError> {
        let digest = QueryDigest::of(&query.before);
        let after: Option<HoldPlace> = start(CursorKind::ExpiringHolds, digest, &query.page)?;
        let wanted = query.page.limit.get() + 1;
        let mut first: BTreeMap<HoldPlace, u64> = BTreeMap::new();
        for (wake_at, group, entity) in self.items_with_something_due(query.before).await? {
            let is_complete = first.len() == wanted && first.keys().next_back().is_some_and(|last| last.0 < wake_at);
            if is_complete {
                break;
            }
            let Some(folded) = states::load(&self.journal, group, &entity).await? else { continue };
            let Some(sku) = states::sku_of(&entity) else { continue };
            for hold in folded.holds().into_iter().filter(|hold| hold.holder == Holder::Shopper) {
                let Some(expires_at) = hold.expires_at.filter(|at| *at < query.before) else { continue };
                let place = (expires_at, sku.clone(), hold.id);
                if after.as_ref().is_none_or(|after| place > *after) {
                    first.insert(place, u64::from(hold.quantity.get()));
                }
                if first.len() > wanted {
                    first.pop_last();
                }
            }
        }
        let item = |((expires_at, sku, hold), quantity)| ExpiringHoldItem { sku, hold, quantity, expires_at };
        let mut items: Vec<ExpiringHoldItem> = first.into_iter().map(item).collect();
        let next_cursor = finish(CursorKind::ExpiringHolds, digest, &query.page, &mut items, |item| {
            (item.expires_at, item.sku.clone(), item.hold)
        });
        Ok(ExpiringHoldsPage { items, next_cursor })
    }

    /// Stock items that want to be woken before a moment, soonest first: no hold of another expires before it.
    async fn items_with_something_due(
        &self,
        before: Timestamp,
    ) -> Result<Vec<(Timestamp, GroupId, EntityId)>, QueryError> {
        let Some(until) = before.0.checked_sub(1) else { return Ok(Vec::new()) };
        let mut due = Vec::new();
        for group in &self.groups {
            let (mut after, mut walked) = (None, 0);
            loop {
                let page = self.journal.due_wakes(*group, after.as_ref(), Timestamp(until), WAKES_PAGE).await?;
                let stock = page.iter().filter(|(_, entity)| entity.kind == Kind::Stock);
                due.extend(stock.map(|(at, entity)| (*at, *group, entity.clone())));
                walked += page.len();
                if due.len() > CANDIDATES_MAX || walked > WAKES_MAX {
                    let reason = "too much is due until then; ask for an earlier time".to_owned();
                    return Err(QueryError::Invalid { field: "before".to_owned(), reason });
                }
                let is_last = page.len() < WAKES_PAGE;
                after = page.into_iter().next_back();
                if is_last {
                    break;
                }
            }
        }
        due.sort();
        Ok(due)
    }

    async fn scan(
        &self,
        bounds: rows::Bounds,
        rows_max: usize,
    ) -> Result<Vec<crate::persistence::store::Row>, ListError> {
        if bounds.0 >= bounds.1 {
            return Ok(Vec::new());
        }
        Ok(self.store.scan(scan_of(bounds, rows_max)).await?)
    }
}

/// Where the wanted page starts.
fn start<T: serde::de::DeserializeOwned>(
    kind: CursorKind,
    digest: QueryDigest,
    page: &Page,
) -> Result<Option<T>, QueryError> {
    Ok(page.cursor.as_deref().map(|text| cursor::decode(kind, digest, text)).transpose()?)
}

/// Cuts items, of which there may be too many, to the page's limit; the cursor behind the last when some were cut.
fn finish<T, P: Serialize>(
    kind: CursorKind,
    digest: QueryDigest,
    page: &Page,
    items: &mut Vec<T>,
    position: impl FnOnce(&T) -> P,
) -> Option<String> {
    let has_more = items.len() > page.limit.get();
    items.truncate(page.limit.get());
    items.last().filter(|_| has_more).map(|last| cursor::encode(kind, digest, &position(last)))
}
