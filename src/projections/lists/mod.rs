//! The lists: which SKUs have how many units, which of them are low, and the orders by state and time. Rows in the
//! store, so that memory stays bounded however many orders there were, and a restart continues where it stopped.
//!
//! Changes gather in memory, one entry per SKU or order, and are written by [`ListWriter::flush`] in one batch with the
//! feed cursors: a hot SKU costs a row or two per flush, not per sale, and rows and cursors never disagree. Every
//! change says how things are, so feeding a record twice changes nothing. Rows that cannot be read are dropped with all
//! others.
//!
//! Written by the projector alone; read by [`reader`].

pub mod holds;
pub mod reader;
pub mod rows;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use futures::future::try_join_all;
use holds::{HoldNews, LiveHolds};
use rows::{OrderCounts, StockRow};

use super::query::{LOW_STOCK_MAX, OrderItem};
use super::search::FeedCursors;
use crate::domain::ids::{OrderId, ProductId, Sku};
use crate::domain::order::OrderState;
use crate::domain::time::Sequence;
use crate::persistence::codec::DecodeError;
use crate::persistence::log::GroupId;
use crate::persistence::store::{Direction, Scan, Store, StoreError, WriteBatch};

/// Why a list cannot be read or written.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ListError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A row does not hold what was written.
    #[error("list row damaged: {0}")]
    Damaged(#[from] DecodeError),
}

/// What became known about a SKU.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StockNews {
    /// The last record this rests on.
    pub sequence: Sequence,
    /// Units that can be sold, if that was said.
    pub available: Option<u64>,
    /// Who lists it, if that was said; inner `None`: nobody.
    pub listing: Option<Option<(ProductId, String)>>,
    /// What is new about its holds.
    pub holds: HoldNews,
}

/// SKUs and orders gathered that make a flush due: it is one batch, for which the store's thread answers nobody.
const GATHERED_MAX: usize = 1_024;
/// Rows deleted by one batch when everything is dropped.
const DROP_ROWS_MAX: usize = 1_000;

/// The one writer of the lists.
pub struct ListWriter {
    store: Arc<dyn Store>,
    recent: RecentStock,
    holds: LiveHolds,
    /// SKU → the row in the store, as looked up and not used yet.
    looked_up: BTreeMap<Sku, Option<StockRow>>,
    /// SKU → the row in the store, and the row to be.
    stock: BTreeMap<Sku, (Option<StockRow>, StockRow)>,
    orders: BTreeMap<OrderId, OrderItem>,
    /// Orders in each state, as of the last flush.
    counts: OrderCounts,
    cursors: FeedCursors,
    /// Cursors moved since the last flush.
    moved: FeedCursors,
}

impl ListWriter {
    /// Opens the lists; of another layout or damaged, they are dropped first and their cursors are empty.
    pub async fn open(store: Arc<dyn Store>) -> Result<Self, ListError> {
        let mut writer = Self {
            recent: RecentStock::default(),
            holds: LiveHolds::default(),
            looked_up: BTreeMap::new(),
            stock: BTreeMap::new(),
            orders: BTreeMap::new(),
            counts: OrderCounts::default(),
            cursors: FeedCursors::new(),
            moved: FeedCursors::new(),
            store,
        };
        match writer.read_cursors().await {
            Ok(Some(cursors)) => writer.cursors = cursors,
            Ok(None) => writer.drop_everything().await?,
            Err(ListError::Damaged(error)) => {
                tracing::warn!(%error, "lists are damaged, building them anew");
                writer.drop_everything().await?;
            }
            Err(error) => return Err(error),
        }
        writer.tell_counts();
        Ok(writer)
    }

    async fn read_cursors(&mut self) -> Result<Option<FeedCursors>, ListError> {
        match self.store.get(rows::layout()).await? {
            Some(bytes) if rows::open::<u16>(&bytes)? == rows::VERSION => {}
            _ => return Ok(None),
        }
        if let Some(bytes) = self.store.get(rows::order_counts()).await? {
            self.counts = rows::open(&bytes)?;
        }
        self.holds.load(&*self.store).await?;
        let mut cursors = FeedCursors::new();
        for (key, value) in self.store.scan(scan_of(rows::cursors(), usize::MAX)).await? {
            if let Some(group) = rows::group_of_cursor(&key) {
                cursors.insert(group, rows::open(&value)?);
            }
        }
        Ok(Some(cursors))
    }

    /// Forgets every row, gathered changes and cursors included.
    pub async fn drop_everything(&mut self) -> Result<(), ListError> {
        self.looked_up.clear();
        self.stock.clear();
        self.orders.clear();
        self.counts = OrderCounts::default();
        self.cursors.clear();
        self.moved.clear();
        self.recent.clear();
        self.holds.clear();
        loop {
            let found = self.store.scan(scan_of(rows::everything(), DROP_ROWS_MAX)).await?;
            let mut batch = WriteBatch::default();
            for (key, _) in &found {
                batch.delete(key.clone());
            }
            let last = found.len() < DROP_ROWS_MAX;
            if last {
                batch.put(rows::layout(), rows::seal(&rows::VERSION));
            }
            self.store.write(batch).await?;
            if last {
                return Ok(());
            }
        }
    }

    /// How far each group's feed is, gathered changes included.
    pub fn cursors(&self) -> &FeedCursors {
        &self.cursors
    }

    /// The latest known availabilities, for readers.
    pub fn recent(&self) -> RecentStock {
        self.recent.clone()
    }

    /// The live holds, for readers.
    pub fn holds(&self) -> LiveHolds {
        self.holds.clone()
    }

    /// Whether so much is gathered that it should be written now.
    pub fn is_full(&self) -> bool {
        self.stock.len() + self.orders.len() >= GATHERED_MAX
    }

    /// Whether a flush would write anything.
    pub fn is_dirty(&self) -> bool {
        !(self.stock.is_empty() && self.orders.is_empty() && self.moved.is_empty()) || self.holds.is_dirty()
    }

    /// Units of a SKU that can be sold, as far as the feed was followed.
    pub async fn available(&self, sku: &Sku) -> Result<u64, ListError> {
        if let Some((_, row)) = self.stock.get(sku) {
            return Ok(row.available);
        }
        Ok(read_stock(&*self.store, sku).await?.map_or(0, |row| row.available))
    }

    /// Reads at once what the store has of SKUs about which there will be news before the next flush.
    pub async fn look_up(&mut self, skus: impl Iterator<Item = Sku>) -> Result<(), ListError> {
        let unknown: Vec<Sku> = skus.filter(|sku| !self.stock.contains_key(sku)).collect();
        let found = try_join_all(unknown.iter().map(|sku| read_stock(&*self.store, sku))).await?;
        self.looked_up = unknown.into_iter().zip(found).collect();
        Ok(())
    }

    /// Takes news about a SKU; older than what is known changes nothing. Answers the units that can be sold.
    pub async fn note_stock(&mut self, group: GroupId, sku: &Sku, news: StockNews) -> Result<u64, ListError> {
        let (stored, mut row) = match self.stock.remove(sku) {
            Some(gathered) => gathered,
            None => {
                let stored = match self.looked_up.remove(sku) {
                    Some(stored) => stored,
                    None => read_stock(&*self.store, sku).await?,
                };
                let empty = StockRow { group, sequence: Sequence::ZERO, available: 0, holds: 0, listing: None };
                (stored.clone(), stored.unwrap_or(empty))
            }
        };
        if news.sequence > row.sequence {
            row.holds = self.holds.note(sku, news.holds, row.sequence, row.holds);
            row.sequence = news.sequence;
            row.available = news.available.unwrap_or(row.available);
            row.listing = news.listing.unwrap_or(row.listing);
        }
        let available = row.available;
        self.recent.insert(sku, available);
        if stored.as_ref() != Some(&row) {
            self.stock.insert(sku.clone(), (stored, row));
        }
        Ok(available)
    }

    /// Takes an order as it is now.
    pub fn note_order(&mut self, order: OrderItem) {
        self.orders.insert(order.id, order);
    }

    /// Says that everything of a group up to and including a log index has been noted.
    pub fn advance(&mut self, group: GroupId, log_index: u64) {
        self.cursors.insert(group, log_index);
        self.moved.insert(group, log_index);
    }

    /// Writes what was gathered together with the cursors.
    pub async fn flush(&mut self) -> Result<(), ListError> {
        if !self.is_dirty() {
            return Ok(());
        }
        let mut batch = WriteBatch::default();
        for (sku, (stored, row)) in &self.stock {
            put_stock(&mut batch, sku, stored.as_ref(), row);
        }
        let counts = self.put_orders(&mut batch).await?;
        for (group, log_index) in &self.moved {
            batch.put(rows::cursor(*group), rows::seal(log_index));
        }
        self.holds.put(&mut batch);
        self.store.write(batch).await?;
        self.holds.flushed();
        // A reader may have looked up what the store had before, and remembered it.
        for (sku, (_, row)) in &self.stock {
            self.recent.insert(sku, row.available);
        }
        self.stock.clear();
        self.orders.clear();
        self.moved.clear();
        self.counts = counts;
        self.tell_counts();
        Ok(())
    }

    /// Puts every gathered order into the list of its state and takes it out of the one it was in. Answers how many
    /// orders each state has then.
    async fn put_orders(&self, batch: &mut WriteBatch) -> Result<OrderCounts, ListError> {
        let mut counts = self.counts;
        let places = self.orders.values().map(|order| self.store.get(rows::order_place(order.id)));
        let places = try_join_all(places).await?;
        for (order, before) in self.orders.values().zip(places) {
            let place = rows::order_place(order.id);
            let before: Option<OrderState> = before.map(|bytes| rows::open(&bytes)).transpose()?;
            batch.put(rows::order(order.state, order.created_at, order.id), rows::seal(order));
            if before == Some(order.state) {
                continue;
            }
            if let Some(before) = before {
                batch.delete(rows::order(before, order.created_at, order.id));
                let count = &mut counts[before as usize];
                *count = count.saturating_sub(1);
            }
            counts[order.state as usize] += 1;
            batch.put(place, rows::seal(&order.state));
        }
        if counts != self.counts {
            batch.put(rows::order_counts(), rows::seal(&counts));
        }
        Ok(counts)
    }

    fn tell_counts(&self) {
        for state in OrderState::ALL {
            metrics::gauge!("stockroom_orders", "state" => state.name()).set(self.counts[state as usize] as f64);
        }
    }
}

fn put_stock(batch: &mut WriteBatch, sku: &Sku, stored: Option<&StockRow>, row: &StockRow) {
    let value = rows::seal(row);
    if let Some(stored) = stored.filter(|stored| stored.available != row.available && stored.available <= LOW_STOCK_MAX)
    {
        batch.delete(rows::low(stored.available, sku.as_str()));
    }
    if row.available <= LOW_STOCK_MAX {
        batch.put(rows::low(row.available, sku.as_str()), value.clone());
    }
    batch.put(rows::stock(sku), value);
}

/// What the store knows of a SKU.
async fn read_stock(store: &dyn Store, sku: &Sku) -> Result<Option<StockRow>, ListError> {
    let value = store.get(rows::stock(sku)).await?;
    Ok(value.map(|bytes| rows::open(&bytes)).transpose()?)
}

fn scan_of((from, to): rows::Bounds, rows_max: usize) -> Scan {
    Scan { from, to, direction: Direction::Forward, rows_max, bytes_max: usize::MAX }
}

/// SKUs whose availability is kept in memory: a few megabytes.
const RECENT_MAX: usize = 100_000;

/// Availabilities the projector came by lately, shared with readers, so that a list of products costs no store reads.
#[derive(Clone, Default)]
pub struct RecentStock {
    known: Arc<Mutex<Recent>>,
}

#[derive(Default)]
struct Recent {
    available: BTreeMap<Sku, u64>,
    /// Counts clearings: what a reader looked up before one may be older than what was forgotten.
    epoch: u64,
}

impl RecentStock {
    fn with<T>(&self, action: impl FnOnce(&mut Recent) -> T) -> T {
        action(&mut self.known.lock().expect("no code panics while holding this lock"))
    }

    fn clear(&self) {
        self.with(|recent| {
            recent.available.clear();
            recent.epoch += 1;
        });
    }

    fn insert(&self, sku: &Sku, available: u64) {
        if self.with(|recent| recent.available.len() >= RECENT_MAX) {
            self.clear();
        }
        self.with(|recent| recent.available.insert(sku.clone(), available));
    }

    fn get(&self, sku: &Sku) -> Result<u64, u64> {
        self.with(|recent| recent.available.get(sku).copied().ok_or(recent.epoch))
    }

    /// Remembers what a reader found in the store, unless the projector knows better by now.
    fn offer(&self, sku: &Sku, available: u64, epoch: u64) {
        self.with(|recent| {
            if recent.epoch == epoch && recent.available.len() < RECENT_MAX {
                recent.available.entry(sku.clone()).or_insert(available);
            }
        });
    }
}
