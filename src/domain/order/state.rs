//! What an order knows. Data and questions about it; nothing here decides and nothing here changes.
//!
//! The process is a phase, one position per SKU, and one stage per payment operation. Everything that is owed, waited
//! for or shown is read off these three.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::command::{OrderLine, Placement, Units};
use super::event::{Failure, OrderState, PaymentStep, Phase};
use super::reply::{HistoryRow, RefundStatus, Shipment};
use crate::domain::entity::Fingerprint;
use crate::domain::ids::{DataKeyId, EntityId, HoldId, OrderId, RefundId, Sku};
use crate::domain::payment::{PaymentOutcome, PaymentToken};
use crate::domain::privacy::Sealed;
use crate::domain::quantity::Quantity;
use crate::domain::time::Timestamp;

/// An order that was placed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Process {
    /// Which order.
    pub order: OrderId,
    /// What it began with, without token and buyer: those two are let go of earlier.
    pub placement: Arc<Placement>,
    /// Until the authorisation is answered.
    pub token: Option<PaymentToken>,
    /// Until it is erased.
    pub buyer: Option<Sealed>,
    /// How far forgetting the buyer is.
    pub erasure: Erasure,
    /// Where it is.
    pub phase: Phase,
    /// Where it is, as shown.
    pub shown: OrderState,
    /// Why it cannot be done, once that is known.
    pub failure: Option<Failure>,
    /// Why the shopper does not want it any more, once they said so.
    pub cancelled: Option<String>,
    /// Units per SKU.
    pub lines: BTreeMap<Sku, Line>,
    /// How many lines are in which position.
    pub tally: Tally,
    /// Money.
    pub payment: Payment,
    /// What leaves once the money is captured, oldest wish first.
    pub queue: Vec<Fulfilment>,
    /// What left.
    pub shipments: Vec<Shipment>,
    /// Money given back or on its way.
    pub refunds: BTreeMap<RefundId, Refund>,
    /// When it was placed.
    pub created_at: Timestamp,
    /// Every state shown so far.
    pub history: Vec<HistoryRow>,
}

/// Units of one SKU, summed over the order's lines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Line {
    /// How many.
    pub quantity: Quantity,
    /// Under which hold: the shopper's when adopted, else named like the order.
    pub hold: HoldId,
    /// Whether the hold is a shopper's to be pinned.
    pub adopted: bool,
    /// How the stock item and the order stand with each other.
    pub position: Position,
    /// Units that wait for the capture to leave.
    pub queued: u32,
    /// Units that left.
    pub sent: u32,
    /// Units named by refunds that were not refused.
    pub refunded: u32,
    /// Units that refunds, not refused, put back on the shelf.
    pub restocked: u32,
    /// Forgets that were answered.
    pub forgets_done: u32,
    /// Forgets there is a reason for.
    pub forgets_wanted: u32,
}

impl Line {
    /// Units that can still be sent. What is restocked is taken from what has not left first.
    pub fn unsent(&self) -> u32 {
        self.quantity.get().saturating_sub(self.queued + self.sent + self.restocked)
    }
}

/// How a stock item and the order stand with each other about one hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Position {
    /// No outcome of Reserve yet.
    Asked,
    /// The units are set aside.
    Held,
    /// The stock item refused to set them aside.
    Refused,
    /// The units are sold.
    Committed,
    /// The hold was gone when the units were to be sold.
    Lost,
    /// Nothing is held.
    Released,
    /// What was sold and not sent came back.
    Returned,
}

/// Lines per position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tally([u32; 7]);

impl Tally {
    /// How many lines are there.
    pub fn of(&self, position: Position) -> u32 {
        self.0[position as usize]
    }

    /// A new line.
    pub fn enter(&mut self, position: Position) {
        self.0[position as usize] += 1;
    }

    /// A line moved.
    pub fn step(&mut self, from: Position, to: Position) {
        self.0[from as usize] = self.0[from as usize].checked_sub(1).expect("ORD-5: a line leaves where it was");
        self.enter(to);
    }

    /// All lines.
    pub fn lines(&self) -> u32 {
        self.0.iter().sum()
    }

    /// Lines that neither hold nor bought anything.
    pub fn over(&self) -> u32 {
        self.of(Position::Released) + self.of(Position::Returned)
    }
}

/// The order's money.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Payment {
    /// Setting the total aside.
    pub authorise: Option<Operation>,
    /// Taking it.
    pub capture: Option<Operation>,
    /// Letting it go.
    pub void: Option<Operation>,
    /// The authorisation turned out to have landed after the present void was asked for: another void follows.
    pub authorised_anew: bool,
    /// Minor units taken.
    pub captured: u64,
    /// Minor units given back.
    pub refunded: u64,
    /// Minor units on their way back.
    pub refunding: u64,
}

impl Payment {
    /// Minor units that can still be asked back.
    pub fn left(&self) -> u64 {
        self.captured - self.refunded - self.refunding
    }

    /// Whether the money is ours.
    pub fn is_captured(&self) -> bool {
        self.capture.as_ref().is_some_and(|capture| capture.outcome() == Some(&PaymentOutcome::Captured))
    }

    /// The definite answer to the authorisation.
    pub fn authorised(&self) -> Option<&PaymentOutcome> {
        self.authorise.as_ref().and_then(Operation::outcome)
    }
}

/// One operation at the provider.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Operation {
    /// Counts attempts, from 1.
    pub attempt: u32,
    /// Counts keys, from 1. A lost request goes again under its key, so that it moves money once.
    pub key: u32,
    /// Counts lookups over all attempts.
    pub polls: u32,
    /// How far the attempt is.
    pub stage: Stage,
}

impl Operation {
    /// The first attempt, owed.
    pub fn first() -> Self {
        Self { attempt: 1, key: 1, polls: 0, stage: Stage::Owed }
    }

    /// The definite answer.
    pub fn outcome(&self) -> Option<&PaymentOutcome> {
        match &self.stage {
            Stage::Done(outcome) => Some(outcome),
            _ => None,
        }
    }

    /// Whether it has a definite answer.
    pub fn is_done(&self) -> bool {
        matches!(self.stage, Stage::Done(_))
    }

    /// When the order wants to act on it by itself.
    pub fn due_at(&self) -> Option<Timestamp> {
        match self.stage {
            Stage::Waiting { poll_at } => Some(poll_at),
            Stage::Postponed { retry_at, .. } => Some(retry_at),
            Stage::Owed | Stage::Asking | Stage::Done(_) => None,
        }
    }
}

/// How far one attempt is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Stage {
    /// The request is owed.
    Owed,
    /// The provider answers later; it is asked at that time if it has not.
    Waiting {
        /// When.
        poll_at: Timestamp,
    },
    /// A lookup is owed.
    Asking,
    /// The provider did not do it; the next attempt is owed from then on.
    Postponed {
        /// When.
        retry_at: Timestamp,
        /// Under the same key.
        lost: bool,
    },
    /// The definite answer.
    Done(PaymentOutcome),
}

/// Goods that leave once the money is captured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Fulfilment {
    /// What.
    pub lines: Vec<Units>,
    /// The carrier's number.
    pub tracking: Option<String>,
}

/// Money given back or on its way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Refund {
    /// When it was asked for.
    pub at: Timestamp,
    /// Content of the request.
    pub fingerprint: Fingerprint,
    /// Minor units.
    pub amount: u64,
    /// Units it is for.
    pub units: Vec<Units>,
    /// Units that go back on the shelf.
    pub restock: Vec<Units>,
    /// Of those, SKUs whose stock item is still to be told; filled once the money is back.
    pub restock_owed: BTreeSet<Sku>,
    /// How far the provider is.
    pub operation: Operation,
}

impl Refund {
    /// As shown.
    pub fn status(&self) -> RefundStatus {
        match self.operation.outcome() {
            None => RefundStatus::Pending,
            Some(PaymentOutcome::Refunded) => RefundStatus::Refunded,
            Some(_) => RefundStatus::Refused,
        }
    }

    /// Units of one SKU that go back on the shelf.
    pub fn restock_of(&self, sku: &Sku) -> Option<Quantity> {
        self.restock.iter().find(|units| units.sku == *sku).map(|units| units.quantity)
    }
}

/// How far forgetting the buyer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Erasure {
    /// Not asked for.
    No,
    /// The cart is to forget this key.
    Owed(DataKeyId),
    /// The key is gone.
    Done,
}

impl Process {
    /// Its name as an entity.
    pub fn entity(&self) -> EntityId {
        EntityId::order(self.order)
    }

    /// Whether it is to be undone once its present step is over.
    pub fn is_halted(&self) -> bool {
        self.failure.is_some() || self.cancelled.is_some()
    }

    /// Units of all lines that can still be sent.
    pub fn unsent(&self) -> u64 {
        self.lines.values().map(|line| u64::from(line.unsent())).sum()
    }

    /// Whether nothing more is to be sent, ever.
    pub fn sends_nothing_more(&self) -> bool {
        matches!(self.phase, Phase::Fulfilled | Phase::Delivered | Phase::Cancelled | Phase::Failed | Phase::Refunded)
    }

    /// That operation, if it was ever begun.
    pub fn operation(&self, step: PaymentStep) -> Option<&Operation> {
        match step {
            PaymentStep::Authorise => self.payment.authorise.as_ref(),
            PaymentStep::Capture => self.payment.capture.as_ref(),
            PaymentStep::Void => self.payment.void.as_ref(),
            PaymentStep::Refund(refund) => self.refunds.get(&refund).map(|refund| &refund.operation),
        }
    }

    /// Every operation begun so far, in a stable order.
    pub fn operations(&self) -> impl Iterator<Item = (PaymentStep, &Operation)> {
        let payment = &self.payment;
        let single = [
            (PaymentStep::Authorise, &payment.authorise),
            (PaymentStep::Capture, &payment.capture),
            (PaymentStep::Void, &payment.void),
        ];
        let refunds = self.refunds.iter().map(|(id, refund)| (PaymentStep::Refund(*id), &refund.operation));
        single.into_iter().filter_map(|(step, operation)| Some((step, operation.as_ref()?))).chain(refunds)
    }

    /// The price of units of one SKU behind those refunded already, minor units. Walks the lines in their order,
    /// because two lines of one SKU may differ in price.
    pub fn price_of(&self, sku: &Sku, skip: u32, count: u32) -> u64 {
        let of_sku = |line: &&OrderLine| line.sku == *sku;
        let mut start = 0_u32;
        let mut price = 0;
        for line in self.placement.lines.iter().filter(of_sku) {
            let end = start + line.quantity.get();
            let units = end.min(skip + count).saturating_sub(start.max(skip));
            price += line.unit_price * u64::from(units);
            start = end;
        }
        price
    }
}

/// For people: twelve characters of Crockford's base 32 in groups of four, from the first 60 bits of the id. The other
/// 68 stay unguessable, so the number opens nothing.
pub(super) fn number_of(order: OrderId) -> String {
    const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let bits = u64::from_be_bytes(*order.0.first_chunk().expect("an id has sixteen bytes")) >> 4;
    let mut number = String::with_capacity(14);
    for position in 0..12 {
        if position > 0 && position % 4 == 0 {
            number.push('-');
        }
        number.push(char::from(ALPHABET[(bits >> (55 - 5 * position) & 31) as usize]));
    }
    number
}
