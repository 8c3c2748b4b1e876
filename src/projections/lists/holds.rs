//! The live holds: how many there are, and which of them belong to orders (P17).
//!
//! A shopper's hold ends by itself; an order's lives until its order has sold or released it. One that lives for an
//! hour means an order that does not get on, and units that nobody can buy: operators want to see it. Orders' holds are
//! few at any moment, so all of them are kept in memory, beside rows in the store from which they are known again
//! after a restart. Of shoppers' holds only the number is kept, per SKU and in all: a hot SKU has a hundred thousand.
//!
//! Written by the [`super::ListWriter`], which applies every record once; read by operators' pages and metrics.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

use super::{ListError, rows, scan_of};
use crate::domain::ids::{HoldId, OrderId, Sku};
use crate::domain::stock::{HoldView, Holder, StockEvent};
use crate::domain::time::{Sequence, Timestamp};
use crate::persistence::store::{Store, WriteBatch};

/// An order's live hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderHold {
    /// Whose.
    pub order: OrderId,
    /// Units.
    pub quantity: u64,
    /// Since when the order has it.
    pub since: Timestamp,
}

/// Where a hold is.
pub type HoldPlace = (Sku, HoldId);

/// What became known about the holds of a SKU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HoldNews {
    /// What records did, in their order.
    Changes(Vec<(Sequence, HoldChange)>),
    /// How things are.
    All {
        /// Live holds.
        live: u64,
        /// Those of orders.
        of_orders: BTreeMap<HoldId, OrderHold>,
    },
}

impl Default for HoldNews {
    fn default() -> Self {
        Self::Changes(Vec::new())
    }
}

/// What one event did to the holds of a SKU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HoldChange {
    /// A shopper's was made.
    Placed,
    /// An order's was made.
    Ordered(HoldId, OrderHold),
    /// A live one became an order's, or has other units now.
    Pinned(HoldId, OrderHold),
    /// One ended.
    Ended(HoldId),
    /// So many shoppers' ended with their time.
    Expired(u64),
}

impl HoldNews {
    /// Adds what an event of a record did.
    pub fn add(&mut self, sequence: Sequence, at: Timestamp, event: &StockEvent) {
        let hold_of =
            |order: &OrderId, quantity: u32| OrderHold { order: *order, quantity: u64::from(quantity), since: at };
        let change = match event {
            StockEvent::Reserved { holder: Holder::Shopper, .. } => HoldChange::Placed,
            StockEvent::Reserved { hold, holder: Holder::Order(order), quantity, .. } => {
                HoldChange::Ordered(*hold, hold_of(order, quantity.get()))
            }
            StockEvent::Pinned { hold, order, quantity, .. } => {
                HoldChange::Pinned(*hold, hold_of(order, quantity.get()))
            }
            StockEvent::Released { hold, .. } | StockEvent::Committed { hold } => HoldChange::Ended(*hold),
            StockEvent::Expired { holds, .. } => HoldChange::Expired(holds.len() as u64),
            _ => return,
        };
        if let Self::Changes(changes) = self {
            changes.push((sequence, change));
        }
    }

    /// All holds of a SKU.
    pub fn all(holds: &[HoldView]) -> Self {
        let of_order = |hold: &HoldView| match hold.holder {
            Holder::Shopper => None,
            Holder::Order(order) => {
                Some((hold.id, OrderHold { order, quantity: u64::from(hold.quantity.get()), since: hold.since }))
            }
        };
        Self::All { live: holds.len() as u64, of_orders: holds.iter().filter_map(of_order).collect() }
    }
}

/// The live holds, shared with readers.
#[derive(Clone, Default)]
pub struct LiveHolds(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    live: u64,
    of_orders: BTreeMap<HoldPlace, OrderHold>,
    /// Places whose row is to be written, and whether the store has none yet.
    to_put: BTreeMap<HoldPlace, bool>,
    to_delete: BTreeSet<HoldPlace>,
}

impl LiveHolds {
    /// How many holds live.
    pub fn live(&self) -> u64 {
        self.with(|known| known.live)
    }

    /// How many of them are orders'.
    pub fn of_orders(&self) -> u64 {
        self.with(|known| known.of_orders.len() as u64)
    }

    /// Orders' holds from before a moment: how many, and the oldest of them, at most `limit`.
    pub fn of_orders_since_before(&self, moment: Timestamp, limit: usize) -> (u64, Vec<(HoldPlace, OrderHold)>) {
        let mut old: Vec<(HoldPlace, OrderHold)> = self.with(|known| {
            let old = known.of_orders.iter().filter(|(_, hold)| hold.since < moment);
            old.map(|(place, hold)| (place.clone(), hold.clone())).collect()
        });
        old.sort_by_key(|(_, hold)| hold.since);
        let count = old.len() as u64;
        old.truncate(limit);
        (count, old)
    }

    /// Reads what the store has.
    pub(super) async fn load(&self, store: &dyn Store) -> Result<(), ListError> {
        let live = store.get(rows::hold_count()).await?.map(|bytes| rows::open(&bytes)).transpose()?;
        let mut of_orders = BTreeMap::new();
        for (key, value) in store.scan(scan_of(rows::order_holds(), usize::MAX)).await? {
            if let Some(place) = rows::place_of_order_hold(&key) {
                of_orders.insert(place, rows::open(&value)?);
            }
        }
        self.with(|known| *known = Known { live: live.unwrap_or(0), of_orders, ..Known::default() });
        Ok(())
    }

    pub(super) fn clear(&self) {
        self.with(|known| *known = Known::default());
    }

    pub(super) fn is_dirty(&self) -> bool {
        self.with(|known| !(known.to_put.is_empty() && known.to_delete.is_empty()))
    }

    /// Applies news of records after `known_until`. Answers how many holds the SKU has then, of `before` so far.
    pub(super) fn note(&self, sku: &Sku, news: HoldNews, known_until: Sequence, before: u64) -> u64 {
        self.with(|known| {
            let after = match news {
                HoldNews::Changes(changes) => {
                    let new = changes.into_iter().filter(|(sequence, _)| *sequence > known_until);
                    new.fold(before, |live, (_, change)| known.change(sku, change, live))
                }
                HoldNews::All { live, of_orders } => {
                    known.replace(sku, of_orders);
                    live
                }
            };
            known.live = (known.live + after).saturating_sub(before);
            after
        })
    }

    /// Puts what changed into a batch; [`LiveHolds::flushed`] once it is written.
    pub(super) fn put(&self, batch: &mut WriteBatch) {
        self.with(|known| {
            for place in known.to_put.keys() {
                batch.put(rows::order_hold(place), rows::seal(&known.of_orders[place]));
            }
            for place in &known.to_delete {
                batch.delete(rows::order_hold(place));
            }
            batch.put(rows::hold_count(), rows::seal(&known.live));
        });
    }

    pub(super) fn flushed(&self) {
        self.with(|known| {
            known.to_put.clear();
            known.to_delete.clear();
        });
    }

    fn with<T>(&self, action: impl FnOnce(&mut Known) -> T) -> T {
        action(&mut self.0.lock().expect("no code panics while holding this lock"))
    }
}

impl Known {
    /// Answers how many live holds the SKU has then.
    fn change(&mut self, sku: &Sku, change: HoldChange, live: u64) -> u64 {
        match change {
            HoldChange::Placed => live + 1,
            HoldChange::Ordered(id, hold) => {
                self.insert((sku.clone(), id), hold);
                live + 1
            }
            HoldChange::Pinned(id, hold) => {
                let place = (sku.clone(), id);
                let since = self.of_orders.get(&place).map_or(hold.since, |known| known.since);
                self.insert(place, OrderHold { since, ..hold });
                live
            }
            HoldChange::Ended(id) => {
                self.remove(&(sku.clone(), id));
                live.saturating_sub(1)
            }
            HoldChange::Expired(holds) => live.saturating_sub(holds),
        }
    }

    fn replace(&mut self, sku: &Sku, of_orders: BTreeMap<HoldId, OrderHold>) {
        let from = Bound::Included((sku.clone(), HoldId([0; 16])));
        let to = Bound::Included((sku.clone(), HoldId([0xff; 16])));
        let known = self.of_orders.range((from, to)).map(|(place, _)| place.clone());
        let gone: Vec<HoldPlace> = known.filter(|(_, id)| !of_orders.contains_key(id)).collect();
        gone.iter().for_each(|place| self.remove(place));
        for (id, hold) in of_orders {
            self.insert((sku.clone(), id), hold);
        }
    }

    fn insert(&mut self, place: HoldPlace, hold: OrderHold) {
        let is_fresh = self.of_orders.insert(place.clone(), hold).is_none() && !self.to_delete.remove(&place);
        self.to_put.entry(place).or_insert(is_fresh);
    }

    fn remove(&mut self, place: &HoldPlace) {
        if self.of_orders.remove(place).is_some() && self.to_put.remove(place) != Some(true) {
            self.to_delete.insert(place.clone());
        }
    }
}
