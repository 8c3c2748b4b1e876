//! What a stock item says yes and no to. Pure: reads the state, names the events.

use std::ops::Bound;
use std::sync::Arc;

use super::{
    End, Ended, HOLD_TTL_MAX, HOLD_TTL_MIN, HOLDS_MAX, HOLDS_PAGE_MAX, Hold, Holder, Made, REASON_BYTES_MAX, Releaser,
    Reserve, ReturnKey, StockCommand, StockEvent, StockItem, StockNumbers, StockReply, UNITS_MAX,
};
use crate::domain::entity::Decision;
use crate::domain::ids::{EntityId, HoldId, OrderId, ProductId};
use crate::domain::pricing::{Listing, TITLE_BYTES_MAX};
use crate::domain::quantity::Quantity;
use crate::domain::rejection::Rejection;
use crate::domain::time::Timestamp;

type Outcome = Result<Decision<StockEvent, StockReply>, Rejection>;

/// See [`crate::domain::entity::Entity::decide`].
pub(super) fn decide(item: &StockItem, command: &StockCommand, at: Timestamp) -> Outcome {
    let turn = Turn::begin(item, at);
    match command {
        StockCommand::List(listing) => turn.list(listing),
        StockCommand::Unlist { product, version } => turn.unlist(product, *version),
        StockCommand::Receive { quantity, reference } => turn.receive(*quantity, reference),
        StockCommand::Adjust { delta, reason } => turn.adjust(*delta, reason),
        StockCommand::Reserve(reserve) => turn.reserve(reserve),
        StockCommand::Pin { hold, order, quantity } => turn.pin(*hold, *order, *quantity),
        StockCommand::Release { hold, by } => turn.release(*hold, *by),
        StockCommand::Commit { hold, order } => turn.commit(*hold, *order),
        StockCommand::Return { hold, order, key, quantity } => turn.take_back(*hold, *order, *key, *quantity),
        StockCommand::Forget { hold, order, heard } => turn.forget(*hold, *order, heard),
        StockCommand::Expire => turn.expire(),
        StockCommand::Show => turn.show(),
        StockCommand::ShowHolds { after, limit } => Ok(show_holds(item, *after, *limit)),
    }
}

/// One command's view of the item: as it will be once what is due has ended (P17).
struct Turn<'a> {
    item: &'a StockItem,
    at: Timestamp,
    /// Units free once what is due has ended.
    available: u64,
    /// Holds that end in this record, earliest first.
    due: Vec<HoldId>,
    /// The last of them as the expiry index orders them: what is at or before it is over.
    last_due: Option<(Timestamp, HoldId)>,
}

impl<'a> Turn<'a> {
    fn begin(item: &'a StockItem, at: Timestamp) -> Self {
        let mut turn = Self { item, at, available: item.numbers.available, due: Vec::new(), last_due: None };
        let due = item.expiries.iter().take_while(|(expires_at, _)| *expires_at <= at);
        #[cfg(feature = "canaries")]
        let due = due.filter(|_| !crate::canary::is(crate::canary::Canary::HoldExpiryIgnored));
        for key in due.take(super::EXPIRED_PER_RECORD_MAX) {
            turn.due.push(key.1);
            turn.available += item.holds.get(&key.1).map_or(0, |hold| u64::from(hold.quantity.get()));
            turn.last_due = Some(*key);
        }
        turn
    }

    /// A hold that outlives this record's expiries.
    fn live(&self, id: HoldId) -> Option<&'a Hold> {
        self.item.holds.get(&id).filter(|hold| hold.expires_at().is_none_or(|end| Some((end, id)) > self.last_due))
    }

    /// The events of an accepted command, expiries first.
    fn accept(self, event: StockEvent, reply: StockReply) -> Outcome {
        let mut events = self.expired();
        events.push(event);
        Ok(Decision::new(events, reply))
    }

    fn expired(&self) -> Vec<StockEvent> {
        if self.due.is_empty() {
            return Vec::new();
        }
        vec![StockEvent::Expired { holds: self.due.clone(), available: self.available }]
    }

    fn list(self, listing: &Arc<Listing>) -> Outcome {
        check_listing(listing)?;
        if let Some(slot) = &self.item.slot {
            if slot.product == listing.product && listing.version <= slot.version {
                return Ok(Decision::replay(StockReply::Listed { version: slot.version }));
            }
            if slot.product != listing.product && slot.listing.is_some() {
                return Err(Rejection::SkuTaken { sku: self.item.sku.clone(), product: slot.product.clone() });
            }
        }
        let version = listing.version;
        self.accept(StockEvent::Listed(listing.clone()), StockReply::Listed { version })
    }

    fn unlist(self, product: &ProductId, version: u64) -> Outcome {
        if let Some(slot) = &self.item.slot
            && (slot.product != *product || version <= slot.version)
        {
            return Ok(Decision::replay(StockReply::Listed { version: slot.version }));
        }
        self.accept(StockEvent::Unlisted { product: product.clone(), version }, StockReply::Listed { version })
    }

    fn receive(self, quantity: Quantity, reference: &str) -> Outcome {
        check_reason("reference", reference)?;
        let units = u64::from(quantity.get());
        let mut numbers = self.numbers();
        numbers.received += units;
        numbers.available += units;
        check_units(numbers.received)?;
        let event = StockEvent::Received { quantity, reference: reference.to_owned(), available: numbers.available };
        self.accept(event, StockReply::Counted(numbers))
    }

    fn adjust(self, delta: i64, reason: &str) -> Outcome {
        check_reason("reason", reason)?;
        let limit = i64::from(Quantity::MAX);
        if delta == 0 || !(-limit..=limit).contains(&delta) {
            return Err(invalid("delta", "a whole number from -1000000 to 1000000, not 0"));
        }
        let mut numbers = self.numbers();
        numbers.available =
            numbers.available.checked_add_signed(delta).ok_or_else(|| Rejection::InsufficientStock {
                sku: self.item.sku.clone(),
                requested: delta.unsigned_abs(),
                available: self.available,
            })?;
        numbers.adjusted += delta;
        check_units(numbers.adjusted.unsigned_abs())?;
        let event = StockEvent::Adjusted { delta, reason: reason.to_owned(), available: numbers.available };
        self.accept(event, StockReply::Counted(numbers))
    }

    fn reserve(self, asked: &Reserve) -> Outcome {
        if let Some(hold) = self.item.holds.get(&asked.hold) {
            return self.repeat_of_live(asked, hold);
        }
        if let Some(ended) = self.item.ended.get(&asked.hold) {
            return self.repeat_of_ended(asked, ended);
        }
        let expires_at = match asked.holder {
            Holder::Order(_) => None,
            Holder::Shopper => Some(self.shopper_may_hold(asked)?),
        };
        if self.item.holds.len() >= HOLDS_MAX {
            return Err(Rejection::QuotaExceeded { what: "live holds of one SKU".into(), limit: HOLDS_MAX as u64 });
        }
        let available = self.available.checked_sub(u64::from(asked.quantity.get()));
        #[cfg(feature = "canaries")]
        let available =
            available.filter(|left| *left > 0 || !crate::canary::is(crate::canary::Canary::ReserveOffByOne));
        let Some(available) = available else { return Err(self.insufficient(asked.quantity)) };
        let Reserve { hold, quantity, holder, fingerprint, .. } = *asked;
        self.accept(
            StockEvent::Reserved { hold, quantity, holder, expires_at, fingerprint, available },
            StockReply::Held { hold, quantity, expires_at },
        )
    }

    fn shopper_may_hold(&self, asked: &Reserve) -> Result<Timestamp, Rejection> {
        self.must_be_known()?;
        let withdrawn = self.item.slot.as_ref().is_some_and(|slot| !slot.listing.as_ref().is_some_and(|l| l.active));
        if withdrawn {
            return Err(Rejection::Unavailable { sku: self.item.sku.clone() });
        }
        if !(HOLD_TTL_MIN..=HOLD_TTL_MAX).contains(&asked.ttl) {
            return Err(invalid("ttl_seconds", "from 1 to 86400"));
        }
        Ok(self.at.after(asked.ttl))
    }

    fn repeat_of_live(&self, asked: &Reserve, hold: &Hold) -> Outcome {
        match asked.holder {
            Holder::Order(_) if hold.holder == asked.holder && hold.made.expires_at.is_none() => {
                Ok(Decision::replay(as_made(asked.hold, &hold.made)))
            }
            Holder::Order(_) => Err(self.gone(asked.hold)),
            Holder::Shopper => repeat_of_shoppers(asked, &hold.made),
        }
    }

    fn repeat_of_ended(&self, asked: &Reserve, ended: &Ended) -> Outcome {
        match (asked.holder, &ended.made) {
            (Holder::Shopper, Some(made)) => repeat_of_shoppers(asked, made),
            _ => Err(self.gone(asked.hold)),
        }
    }

    fn pin(self, id: HoldId, order: OrderId, quantity: Quantity) -> Outcome {
        let Some(hold) = self.live(id) else { return Err(self.gone(id)) };
        let reply = StockReply::Held { hold: id, quantity, expires_at: None };
        match hold.holder {
            Holder::Order(holder) if holder == order && hold.quantity == quantity => Ok(Decision::replay(reply)),
            Holder::Order(_) => Err(self.gone(id)),
            Holder::Shopper => {
                let free = self.available + u64::from(hold.quantity.get());
                let available = free.checked_sub(u64::from(quantity.get())).ok_or_else(|| {
                    let (sku, requested) = (self.item.sku.clone(), u64::from(quantity.get()));
                    Rejection::InsufficientStock { sku, requested, available: free }
                })?;
                self.accept(StockEvent::Pinned { hold: id, order, quantity, available }, reply)
            }
        }
    }

    fn release(self, id: HoldId, by: Releaser) -> Outcome {
        let reply = StockReply::Released { hold: id };
        if let Some(hold) = self.live(id) {
            let allowed = match (by, hold.holder) {
                (Releaser::Merchant, _) | (_, Holder::Shopper) => true,
                (Releaser::Order(order), Holder::Order(holder)) => order == holder,
                (Releaser::Shopper, Holder::Order(_)) => return Err(self.hold_not_found(id)),
            };
            if !allowed {
                return Ok(Decision::replay(reply));
            }
            let available = self.available + u64::from(hold.quantity.get());
            return self.accept(StockEvent::Released { hold: id, available }, reply);
        }
        if self.item.holds.contains_key(&id) {
            return Ok(Decision::new(self.expired(), reply));
        }
        match (self.item.ended.get(&id).map(|ended| ended.end), by) {
            (Some(End::Released | End::Expired | End::Barred), _) => Ok(Decision::replay(reply)),
            (Some(_), Releaser::Order(_)) => Err(self.gone(id)),
            (None, Releaser::Order(_)) => self.accept(StockEvent::Barred { hold: id }, reply),
            _ => Err(self.hold_not_found(id)),
        }
    }

    fn commit(self, id: HoldId, order: OrderId) -> Outcome {
        let reply = StockReply::Committed { hold: id };
        let live = self.item.holds.get(&id).map(|hold| hold.holder);
        let ended = self.item.ended.get(&id).map(|ended| ended.end);
        match (live, ended) {
            (Some(Holder::Order(holder)), _) if holder == order => {
                self.accept(StockEvent::Committed { hold: id }, reply)
            }
            (_, Some(End::Committed(holder) | End::SoldEarlier(holder))) if holder == order => {
                Ok(Decision::replay(reply))
            }
            _ => Err(self.gone(id)),
        }
    }

    fn take_back(self, id: HoldId, order: OrderId, key: ReturnKey, quantity: Quantity) -> Outcome {
        let reply = StockReply::Returned { hold: id, quantity };
        let units = u64::from(quantity.get());
        let ended = self.item.ended.get(&id);
        if let Some(returned) = ended.and_then(|ended| ended.returns.get(&key)) {
            let same = *returned == quantity;
            return if same { Ok(Decision::replay(reply)) } else { Err(Rejection::IdempotencyKeyReused) };
        }
        let sold = match ended.map(|ended| (ended.end, u64::from(ended.units), ended.returned())) {
            Some((End::Committed(holder), held, returned)) => holder == order && held >= returned + units,
            Some((End::SoldEarlier(holder), ..)) => holder == order,
            Some(_) => false,
            None => !self.item.holds.contains_key(&id),
        };
        if !sold || self.item.numbers.returned + units > self.item.numbers.sold {
            return Err(invalid("quantity", "at most what this order was sold and has not returned"));
        }
        let available = self.available + units;
        self.accept(StockEvent::Returned { hold: id, order, key, quantity, available }, reply)
    }

    fn forget(self, id: HoldId, order: OrderId, heard: &[ReturnKey]) -> Outcome {
        match self.item.ended.get(&id) {
            Some(Ended {
                end: End::Committed(holder) | End::SoldEarlier(holder), forget_at: None, returns, ..
            }) if *holder == order && returns.keys().all(|key| heard.contains(key)) => {
                self.accept(StockEvent::Forgotten { hold: id }, StockReply::Forgotten)
            }
            _ => Ok(Decision::replay(StockReply::Forgotten)),
        }
    }

    fn expire(self) -> Outcome {
        let reply = StockReply::Expired { holds: self.due.len() as u32 };
        if self.due.is_empty() { Ok(Decision::replay(reply)) } else { Ok(Decision::new(self.expired(), reply)) }
    }

    fn show(self) -> Outcome {
        self.must_be_known()?;
        Ok(Decision::new(Vec::new(), StockReply::Shown(Box::new(self.item.view()))))
    }

    /// The numbers once what is due has ended.
    fn numbers(&self) -> StockNumbers {
        let freed = self.available - self.item.numbers.available;
        StockNumbers { available: self.available, held: self.item.numbers.held - freed, ..self.item.numbers }
    }

    fn must_be_known(&self) -> Result<(), Rejection> {
        let unknown = || Rejection::NotFound { entity: EntityId::stock(&self.item.sku) };
        self.item.known.then_some(()).ok_or_else(unknown)
    }

    fn insufficient(&self, asked: Quantity) -> Rejection {
        let (sku, requested) = (self.item.sku.clone(), u64::from(asked.get()));
        Rejection::InsufficientStock { sku, requested, available: self.available }
    }

    fn gone(&self, hold: HoldId) -> Rejection {
        Rejection::HoldExpired { sku: self.item.sku.clone(), hold }
    }

    fn hold_not_found(&self, hold: HoldId) -> Rejection {
        Rejection::HoldNotFound { sku: self.item.sku.clone(), hold }
    }
}

fn repeat_of_shoppers(asked: &Reserve, made: &Made) -> Outcome {
    if made.fingerprint == asked.fingerprint && made.expires_at.is_some() {
        Ok(Decision::replay(as_made(asked.hold, made)))
    } else {
        Err(Rejection::IdempotencyKeyReused)
    }
}

fn as_made(hold: HoldId, made: &Made) -> StockReply {
    StockReply::Held { hold, quantity: made.quantity, expires_at: made.expires_at }
}

fn show_holds(item: &StockItem, after: Option<HoldId>, limit: u32) -> Decision<StockEvent, StockReply> {
    let limit = limit.clamp(1, HOLDS_PAGE_MAX) as usize;
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    let mut rows = item.holds.range((from, Bound::Unbounded));
    let items: Vec<_> = rows.by_ref().take(limit).map(|(id, hold)| hold.view(*id)).collect();
    let next = rows.next().and_then(|_| items.last().map(|hold| hold.id));
    Decision::new(Vec::new(), StockReply::Holds { items, next })
}

fn check_listing(listing: &Listing) -> Result<(), Rejection> {
    if listing.title.len() > TITLE_BYTES_MAX {
        return Err(Rejection::TooLarge { what: "bytes of a title".into(), limit: TITLE_BYTES_MAX as u64 });
    }
    if !listing.prices.is_valid() {
        return Err(invalid("prices", "at most 64 currencies, each price at most 1000000000000 minor units"));
    }
    Ok(())
}

fn check_reason(field: &str, text: &str) -> Result<(), Rejection> {
    if text.len() > REASON_BYTES_MAX { Err(invalid(field, "at most 500 bytes")) } else { Ok(()) }
}

fn check_units(units: u64) -> Result<(), Rejection> {
    if units <= UNITS_MAX {
        Ok(())
    } else {
        Err(Rejection::TooLarge { what: "units of one SKU".into(), limit: UNITS_MAX })
    }
}

fn invalid(field: &str, reason: &str) -> Rejection {
    Rejection::InvalidRequest { field: field.into(), reason: reason.into() }
}
