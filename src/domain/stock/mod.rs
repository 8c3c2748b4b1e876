//! The stock item: units of one SKU, and the one place that decides who gets the last of them.
//!
//! Units are free (`available`), set aside (`held`) or gone (`sold`). A shopper's hold lives until its time is over; an
//! order's hold is pinned and lives until the order commits or releases it (P17). Every command that changes something
//! first ends what is due, at most [`EXPIRED_PER_RECORD_MAX`] holds per record; commit and pin never look at the clock.
//!
//! **Idempotent by state (P6).** A hold is its own dedup entry. When it ends it stays known: a shopper's for
//! [`ENDED_KEPT`]; an order's sale, and every return of it, until the order says `Forget` and then for [`ENDED_KEPT`],
//! so that no clock jump or long outage can turn a repeated Commit or Return into a second one. Releasing an unknown
//! hold on behalf of an order bars its id (P8).
//!
//! **Cost.** Every command is O(log n) in the number of holds: counters are maintained, due holds and ended holds are
//! found through time-ordered indexes. The full recount is in [`super::invariants`].
//!
//! Refuses: selling what is not there, counting away what is held, a SKU that another product lists (P21).
//! Called by carts' readers (Show), shoppers (Reserve, Release), orders (Reserve, Pin, Commit, Release, Return,
//! Forget), products (List, Unlist) and merchants (Receive, Adjust, Release).

mod messages;
mod rules;
#[cfg(test)]
mod tests;

pub use messages::{
    HoldView, Holder, Releaser, Reserve, ReturnKey, StockCommand, StockEvent, StockNumbers, StockReply, StockView,
};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::entity::{Decision, Entity, Fingerprint};
use super::ids::{EntityId, HoldId, OrderId, ProductId, Sku};
use super::pricing::Listing;
use super::quantity::Quantity;
use super::rejection::Rejection;
use super::time::Timestamp;

/// Longest reference or reason, in bytes.
pub const REASON_BYTES_MAX: usize = 500;
/// Longest life of a shopper's hold.
pub const HOLD_TTL_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Shortest life of a shopper's hold.
pub const HOLD_TTL_MIN: Duration = Duration::from_secs(1);
/// Most holds one record ends (P17).
pub const EXPIRED_PER_RECORD_MAX: usize = 1000;
/// Most holds on one page.
pub const HOLDS_PAGE_MAX: u32 = 200;
/// Most live holds of one item: about 150 MB of memory, ten times the largest measured case.
pub const HOLDS_MAX: usize = 1_000_000;
/// How long an ended hold stays known (P3, P17).
pub const ENDED_KEPT: Duration = Duration::from_secs(60 * 60);
/// Most ended holds kept only for late repeats; beyond, the oldest go early. An unforgotten sale never goes.
pub const ENDED_MAX: usize = 1_000_000;
/// Most units an item may ever have received, exact in every JSON reader.
pub const UNITS_MAX: u64 = 1_000_000_000_000;

/// State of one stock item.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StockItem {
    pub(super) sku: Sku,
    /// Whether it was ever received, counted or listed: what was not, is `NotFound`.
    pub(super) known: bool,
    pub(super) slot: Option<Slot>,
    pub(super) numbers: StockNumbers,
    pub(super) holds: BTreeMap<HoldId, Hold>,
    /// Shoppers' live holds by their end.
    pub(super) expiries: BTreeSet<(Timestamp, HoldId)>,
    pub(super) ended: BTreeMap<HoldId, Ended>,
    /// Ended holds nobody needs, by when they go.
    pub(super) forgettable: BTreeSet<(Timestamp, HoldId)>,
}

/// Who last said how the SKU is sold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Slot {
    product: ProductId,
    version: u64,
    /// `None` once the product gave it up; kept so that an older List arriving late is recognised.
    listing: Option<Arc<Listing>>,
}

/// A live hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Hold {
    pub(super) quantity: Quantity,
    pub(super) holder: Holder,
    since: Timestamp,
    made: Made,
}

impl Hold {
    /// When it ends by itself; `None` when pinned.
    pub(super) fn expires_at(&self) -> Option<Timestamp> {
        self.made.expires_at.filter(|_| self.holder == Holder::Shopper)
    }
}

/// How a hold was made: what a repeat of its Reserve is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Made {
    quantity: Quantity,
    /// `None` when an order made it.
    expires_at: Option<Timestamp>,
    fingerprint: Fingerprint,
}

/// How a hold ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum End {
    Released,
    Expired,
    /// It never was and never will be.
    Barred,
    /// Sold to the order.
    Committed(OrderId),
    /// Sold to the order so long ago that the sale is forgotten; known again because units came back.
    SoldEarlier(OrderId),
}

/// An ended hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Ended {
    pub(super) end: End,
    made: Option<Made>,
    /// Units it had at the end; 0 when unknown.
    pub(super) units: u32,
    /// Units that came back, by why.
    pub(super) returns: BTreeMap<ReturnKey, Quantity>,
    /// When it goes; `None` while its order may still ask.
    pub(super) forget_at: Option<Timestamp>,
}

impl Ended {
    /// Units that came back so far.
    pub(super) fn returned(&self) -> u64 {
        self.returns.values().map(|quantity| u64::from(quantity.get())).sum()
    }
}

impl StockItem {
    /// Which SKU.
    pub fn sku(&self) -> &Sku {
        &self.sku
    }

    /// Its numbers.
    pub fn numbers(&self) -> StockNumbers {
        self.numbers
    }

    /// How it is sold, when a product lists it.
    pub fn listing(&self) -> Option<&Arc<Listing>> {
        self.slot.as_ref().and_then(|slot| slot.listing.as_ref())
    }

    /// Whether it was ever received, counted or listed.
    pub fn is_known(&self) -> bool {
        self.known
    }

    /// Live holds in id order.
    pub fn holds(&self) -> impl Iterator<Item = HoldView> + '_ {
        self.holds.iter().map(|(id, hold)| hold.view(*id))
    }

    /// Everything but the holds.
    pub fn view(&self) -> StockView {
        StockView {
            sku: self.sku.clone(),
            listing: self.listing().cloned(),
            numbers: self.numbers,
            holds: self.holds.len() as u64,
        }
    }

    fn reserve(&mut self, hold: HoldId, state: Hold) {
        self.move_units(Move::Hold, state.quantity);
        if let Some(expires_at) = state.expires_at() {
            self.expiries.insert((expires_at, hold));
        }
        self.holds.insert(hold, state);
    }

    fn pin(&mut self, id: HoldId, order: OrderId, quantity: Quantity) {
        let hold = self.holds.get_mut(&id).expect("STK-3: only a live hold is pinned");
        let (before, expires_at) = (hold.quantity, hold.expires_at());
        hold.quantity = quantity;
        hold.holder = Holder::Order(order);
        if let Some(expires_at) = expires_at {
            self.expiries.remove(&(expires_at, id));
        }
        self.move_units(Move::Release, before);
        self.move_units(Move::Hold, quantity);
    }

    /// Ends a live hold and remembers how; returns nothing to anybody by itself.
    fn end(&mut self, id: HoldId, end: End, at: Timestamp) {
        let hold = self.holds.remove(&id).expect("STK-3: only a live hold ends");
        if let Some(expires_at) = hold.expires_at() {
            self.expiries.remove(&(expires_at, id));
        }
        let sold = matches!(end, End::Committed(_));
        self.move_units(if sold { Move::Sell } else { Move::Release }, hold.quantity);
        let forget_at = (!sold).then(|| at.after(ENDED_KEPT));
        let ended =
            Ended { end, made: Some(hold.made), units: hold.quantity.get(), returns: BTreeMap::new(), forget_at };
        self.remember(id, ended);
    }

    fn commit(&mut self, id: HoldId, at: Timestamp) {
        match self.holds.get(&id).map(|hold| hold.holder) {
            Some(Holder::Order(order)) => self.end(id, End::Committed(order), at),
            _ => panic!("STK-3: only an order's live hold is sold"),
        }
    }

    fn take_back(&mut self, id: HoldId, order: OrderId, key: ReturnKey, quantity: Quantity) {
        let units = u64::from(quantity.get());
        self.numbers.returned += units;
        self.numbers.available += units;
        let mut ended = self.ended.remove(&id).unwrap_or_else(|| Ended {
            end: End::SoldEarlier(order),
            made: None,
            units: 0,
            returns: BTreeMap::new(),
            forget_at: None,
        });
        if let Some(forget_at) = ended.forget_at.take() {
            self.forgettable.remove(&(forget_at, id));
        }
        ended.returns.insert(key, quantity);
        self.ended.insert(id, ended);
    }

    fn forget(&mut self, id: HoldId, at: Timestamp) {
        if let Some(mut ended) = self.ended.remove(&id) {
            ended.forget_at = Some(at.after(ENDED_KEPT));
            self.remember(id, ended);
        }
    }

    fn remember(&mut self, id: HoldId, ended: Ended) {
        if let Some(forget_at) = ended.forget_at {
            self.forgettable.insert((forget_at, id));
        }
        self.ended.insert(id, ended);
    }

    /// Drops ended holds whose time is over, a bounded number per event.
    fn prune(&mut self, at: Timestamp) {
        for _ in 0..EXPIRED_PER_RECORD_MAX {
            match self.forgettable.first().copied() {
                Some(first) if first.0 <= at || self.forgettable.len() > ENDED_MAX => {
                    self.forgettable.remove(&first);
                    self.ended.remove(&first.1);
                }
                _ => return,
            }
        }
    }

    fn move_units(&mut self, how: Move, quantity: Quantity) {
        let units = u64::from(quantity.get());
        let numbers = &mut self.numbers;
        let (from, to) = match how {
            Move::Hold => (&mut numbers.available, &mut numbers.held),
            Move::Release => (&mut numbers.held, &mut numbers.available),
            Move::Sell => (&mut numbers.held, &mut numbers.sold),
        };
        *from = from.checked_sub(units).expect("STK-2: units are taken from where they are");
        *to += units;
    }
}

/// Where units go.
#[derive(Clone, Copy)]
enum Move {
    Hold,
    Release,
    Sell,
}

impl Hold {
    fn view(&self, id: HoldId) -> HoldView {
        HoldView { id, quantity: self.quantity, holder: self.holder, since: self.since, expires_at: self.expires_at() }
    }
}

impl Entity for StockItem {
    type Command = StockCommand;
    type Event = StockEvent;
    type Reply = StockReply;
    const STATE_VERSION: u16 = 1;

    fn new(id: &EntityId) -> Self {
        Self {
            sku: id.key.parse().expect("ENT-3: the key of a stock item is a SKU"),
            known: false,
            slot: None,
            numbers: StockNumbers::default(),
            holds: BTreeMap::new(),
            expiries: BTreeSet::new(),
            ended: BTreeMap::new(),
            forgettable: BTreeSet::new(),
        }
    }

    fn decide(&self, command: &StockCommand, at: Timestamp) -> Result<Decision<StockEvent, StockReply>, Rejection> {
        rules::decide(self, command, at)
    }

    fn apply(&mut self, event: &StockEvent, at: Timestamp) {
        match event {
            StockEvent::Listed(listing) => {
                self.known = true;
                let (product, version) = (listing.product.clone(), listing.version);
                self.slot = Some(Slot { product, version, listing: Some(listing.clone()) });
            }
            StockEvent::Unlisted { product, version } => {
                self.slot = Some(Slot { product: product.clone(), version: *version, listing: None });
            }
            StockEvent::Received { quantity, .. } => {
                self.known = true;
                self.numbers.received += u64::from(quantity.get());
                self.numbers.available += u64::from(quantity.get());
            }
            StockEvent::Adjusted { delta, .. } => {
                self.known = true;
                self.numbers.adjusted += delta;
                self.numbers.available = self
                    .numbers
                    .available
                    .checked_add_signed(*delta)
                    .expect("STK-2: a count never takes more than is free");
            }
            StockEvent::Reserved { hold, quantity, holder, expires_at, fingerprint, .. } => {
                let made = Made { quantity: *quantity, expires_at: *expires_at, fingerprint: *fingerprint };
                self.reserve(*hold, Hold { quantity: *quantity, holder: *holder, since: at, made });
            }
            StockEvent::Pinned { hold, order, quantity, .. } => self.pin(*hold, *order, *quantity),
            StockEvent::Released { hold, .. } => self.end(*hold, End::Released, at),
            StockEvent::Barred { hold } => {
                let forget_at = Some(at.after(ENDED_KEPT));
                let ended = Ended { end: End::Barred, made: None, units: 0, returns: BTreeMap::new(), forget_at };
                self.remember(*hold, ended);
            }
            StockEvent::Committed { hold } => self.commit(*hold, at),
            StockEvent::Returned { hold, order, key, quantity, .. } => self.take_back(*hold, *order, *key, *quantity),
            StockEvent::Forgotten { hold } => self.forget(*hold, at),
            StockEvent::Expired { holds, .. } => holds.iter().for_each(|hold| self.end(*hold, End::Expired, at)),
        }
        self.prune(at);
    }

    fn deadline(&self) -> Option<(Timestamp, StockCommand)> {
        self.expiries.first().map(|(expires_at, _)| (*expires_at, StockCommand::Expire))
    }

    fn assert_invariants(&self) {
        let numbers = &self.numbers;
        let came = i128::from(numbers.received) + i128::from(numbers.adjusted) + i128::from(numbers.returned);
        let are = i128::from(numbers.available) + i128::from(numbers.held) + i128::from(numbers.sold);
        assert!(came == are, "STK-1: {}: units came {came}, units are {are}", self.sku);
        let holds = self.holds.len() as u64;
        assert!(numbers.held >= holds && (numbers.held == 0) == (holds == 0), "STK-3: held units belong to live holds");
        assert!(self.expiries.len() <= self.holds.len(), "STK-4: only live holds can expire");
        assert!(numbers.returned <= numbers.sold, "STK-5: no more came back than was sold");
        assert!(self.forgettable.len() <= self.ended.len(), "STK-6: only ended holds are forgotten");
    }
}
