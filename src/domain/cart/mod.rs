//! The cart: what a shopper wants, at prices that were true when each line was put in.
//!
//! `version` counts edits. A checkout turns the current version into an order (P4): the lines and the buyer leave with
//! it, the version stays, and that version answers with that order for as long as the cart is known, under any key and
//! from any node. The next edit begins the next version. A checkout that finds another total changes the prices instead
//! and says so (P21).
//!
//! **Processes.** The cart owes the order `Place`, and while merging owes the other cart `Surrender` (P20). While
//! merging it refuses edits, so that the room it promised for the other cart's lines is still there when they come:
//! lines are never dropped. A surrendered cart keeps its lines forever, because no clock may decide whether a repeated
//! Surrender still gets them.
//!
//! **Cost.** Totals are kept with every edit; an edit's event and answer carry one line, however long the cart is.
//!
//! Ends: idle for [`CART_IDLE`] (then its orders stay known for [`ENDED_KEPT`]), or merged away. Both say `CartGone`.
//! A buyer's data is sealed under a key of one cart or one order (P22): checkout hands it over, expiry erases it.

mod apply;
mod command;
mod event;
mod reply;
mod rules;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_model;

pub use command::{CartCommand, CheckOut};
pub use event::{CartEvent, CartLine};
pub use reply::{CartReply, CartView, MergeView};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::entity::{Decision, Destination, Entity, Fingerprint, Obligation, Outgoing, Settlement};
use super::ids::{CartId, DataKeyId, EntityId, OrderId, Sku};
use super::money::{Currency, Money};
use super::order::{OrderCommand, Placement};
use super::pricing::{Offer, Totals};
use super::privacy::Sealed;
use super::quantity::Quantity;
use super::registry::{AnyCommand, AnyReply};
use super::rejection::Rejection;
use super::time::Timestamp;

/// Most lines of a cart.
pub const LINES_MAX: usize = 1000;
/// How long an untouched cart lives.
pub const CART_IDLE: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How long an expired cart still answers for its orders (P20).
pub const ENDED_KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// Most checkouts of one cart, refused ones included: a shopper's life, not a script's.
pub const CHECKOUTS_MAX: usize = 1000;
/// Most carts merged into one.
pub const MERGES_MAX: usize = 100;
/// Longest name of a payment provider, in bytes.
pub const PROVIDER_BYTES_MAX: usize = 64;
/// Longest payment token, in bytes.
pub const TOKEN_BYTES_MAX: usize = 1024;

const STEP_PLACE: &str = "place";
const STEP_SURRENDER: &str = "surrender";

/// State of one cart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cart {
    id: CartId,
    status: Status,
    currency: Currency,
    created: Option<Created>,
    pub(super) version: u64,
    pub(super) lines: BTreeMap<Sku, Line>,
    /// Sum of the lines, minor units.
    pub(super) subtotal: u64,
    /// Position of the next new line.
    next_position: u64,
    buyer: Option<Sealed>,
    /// When it was last edited.
    touched_at: Timestamp,
    /// Which order a version became.
    pub(super) orders: BTreeMap<u64, OrderId>,
    /// What a checkout was answered, by the order id it proposed.
    pub(super) answers: BTreeMap<OrderId, Answer>,
    /// Orders that have not taken over yet.
    placing: BTreeMap<OrderId, Arc<Placement>>,
    merging: Option<Merging>,
    merges: BTreeMap<CartId, Merged>,
    last_merge: Option<CartId>,
    /// Keys erased for orders, so that a repeat is recognised.
    erased: BTreeSet<DataKeyId>,
}

/// Whether the cart can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Status {
    Absent,
    Open,
    Surrendered { to: CartId },
    Expired { at: Timestamp },
    Purged,
}

/// How it was made: what a repeated Create is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Created {
    fingerprint: Fingerprint,
    at: Timestamp,
}

/// One line; its SKU is its key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Line {
    pub(super) quantity: Quantity,
    pub(super) offer: Offer,
    position: u64,
}

impl Line {
    /// Minor units.
    pub(super) fn total(&self) -> u64 {
        self.offer.line_total(self.quantity).expect("CRT-3: a line's total is checked before it is accepted").amount
    }
}

/// What a checkout was answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Answer {
    Ordered { version: u64, fingerprint: Fingerprint, totals: Totals },
    Repriced { version: u64, fingerprint: Fingerprint, was: u64, is: u64 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Merging {
    from: CartId,
    attempt: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Merged {
    attempts: u32,
    refused: Option<Rejection>,
}

impl Cart {
    /// Which cart.
    pub fn id(&self) -> CartId {
        self.id
    }

    /// Whether that order has not taken over yet.
    pub fn is_placing(&self, order: OrderId) -> bool {
        self.placing.contains_key(&order)
    }

    /// What the lines come to.
    pub fn totals(&self) -> Totals {
        Totals::of(Money { amount: self.subtotal, currency: self.currency })
    }

    /// The order this version became.
    pub fn order(&self) -> Option<OrderId> {
        self.orders.get(&self.version).copied()
    }

    /// Every order made from this cart that it still knows, oldest first.
    pub fn orders(&self) -> impl Iterator<Item = (u64, OrderId)> + '_ {
        self.orders.iter().map(|(version, order)| (*version, *order))
    }

    /// When it ends if nobody touches it again.
    fn expires_at(&self) -> Timestamp {
        self.touched_at.after(CART_IDLE)
    }

    /// The lines in the order they were put in.
    fn lines_in_order(&self) -> Vec<CartLine> {
        let mut lines: Vec<_> = self.lines.iter().collect();
        lines.sort_by_key(|(_, line)| line.position);
        let line = |(sku, line): (&Sku, &Line)| CartLine {
            sku: sku.clone(),
            quantity: line.quantity,
            offer: line.offer.clone(),
        };
        lines.into_iter().map(line).collect()
    }

    /// The whole cart.
    fn view(&self) -> CartView {
        let last = self.last_merge.and_then(|from| Some((from, self.merges.get(&from)?)));
        CartView {
            id: self.id,
            version: self.version,
            currency: self.currency,
            lines: self.lines_in_order(),
            totals: self.totals(),
            buyer: self.buyer.clone(),
            order: self.order(),
            expires_at: self.expires_at(),
            merging: self.merging.map(|merging| merging.from),
            last_merge: last.map(|(from, merged)| MergeView { from, refused: merged.refused.clone() }),
        }
    }

    fn obligation(&self, step: &'static str, target: String, attempt: u32) -> Obligation {
        Obligation { process: EntityId::cart(self.id), step: step.into(), target, attempt }
    }
}

impl Entity for Cart {
    type Command = CartCommand;
    type Event = CartEvent;
    type Reply = CartReply;
    const STATE_VERSION: u16 = 1;

    fn new(id: &EntityId) -> Self {
        Self {
            id: id.key.parse().expect("ENT-3: the key of a cart is a cart id"),
            status: Status::Absent,
            currency: Currency::USD,
            created: None,
            version: 0,
            lines: BTreeMap::new(),
            subtotal: 0,
            next_position: 0,
            buyer: None,
            touched_at: Timestamp::ZERO,
            orders: BTreeMap::new(),
            answers: BTreeMap::new(),
            placing: BTreeMap::new(),
            merging: None,
            merges: BTreeMap::new(),
            last_merge: None,
            erased: BTreeSet::new(),
        }
    }

    fn decide(&self, command: &CartCommand, at: Timestamp) -> Result<Decision<CartEvent, CartReply>, Rejection> {
        rules::decide(self, command, at)
    }

    fn apply(&mut self, event: &CartEvent, at: Timestamp) {
        apply::apply(self, event, at);
    }

    fn outstanding(&self) -> Vec<Outgoing> {
        let surrender = self.merging.map(|Merging { from, attempt }| Outgoing {
            obligation: self.obligation(STEP_SURRENDER, from.to_string(), attempt),
            to: Destination::Entity(
                EntityId::cart(from),
                AnyCommand::Cart(CartCommand::Surrender {
                    to: self.id,
                    currency: self.currency,
                    lines_max: LINES_MAX.saturating_sub(self.lines.len()) as u32,
                }),
            ),
        });
        let place = self.placing.iter().map(|(order, placement)| Outgoing {
            obligation: self.obligation(STEP_PLACE, order.to_string(), 1),
            to: Destination::Entity(EntityId::order(*order), AnyCommand::Order(OrderCommand::Place(placement.clone()))),
        });
        surrender.into_iter().chain(place).collect()
    }

    fn settle(&self, obligation: &Obligation, settlement: &Settlement) -> Option<CartCommand> {
        match obligation.step.as_ref() {
            STEP_PLACE => {
                let order = obligation.target.parse().ok()?;
                self.placing.contains_key(&order).then_some(CartCommand::Placed { order })
            }
            STEP_SURRENDER => {
                let from = obligation.target.parse().ok()?;
                self.merging.filter(|now| *now == Merging { from, attempt: obligation.attempt })?;
                let outcome = match settlement {
                    Settlement::Accepted(AnyReply::Cart(CartReply::Surrendered { lines })) => Ok(lines.clone()),
                    Settlement::Rejected(reason) => Err(reason.clone()),
                    _ => return None,
                };
                Some(CartCommand::Absorb { from, attempt: obligation.attempt, outcome })
            }
            _ => None,
        }
    }

    fn deadline(&self) -> Option<(Timestamp, CartCommand)> {
        match self.status {
            Status::Open if self.merging.is_none() && self.placing.is_empty() => {
                Some((self.expires_at(), CartCommand::Expire))
            }
            Status::Expired { at } => Some((at.after(ENDED_KEPT), CartCommand::Expire)),
            _ => None,
        }
    }

    fn assert_invariants(&self) {
        assert!(self.lines.len() <= LINES_MAX, "CRT-1: cart {} has {} lines", self.id, self.lines.len());
        assert!(!self.lines.is_empty() || self.subtotal == 0, "CRT-2: cart {}: no lines, a total", self.id);
        let newest = self.orders.last_key_value().map_or(0, |(version, _)| *version);
        assert!(newest <= self.version, "CRT-4: cart {}: an order of a version that never was", self.id);
        let consumed = newest == self.version && self.version > 0;
        assert!(!consumed || self.lines.is_empty(), "CRT-5: cart {}: a consumed version still has lines", self.id);
        assert!(self.orders.len() <= self.answers.len(), "CRT-6: cart {}: an order nobody asked for", self.id);
    }
}
