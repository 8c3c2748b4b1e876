//! What an order answers.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::domain::entity::Versioned;
use crate::domain::ids::{CartId, OrderId, RefundId};
use crate::domain::pricing::Totals;
use crate::domain::privacy::Sealed;
use crate::domain::time::Timestamp;

use super::command::{Placement, Units};
use super::event::{Failure, OrderState};

/// What an order answers. Only Show brings the whole order: answers to other commands are journaled and stay small.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum OrderReply {
    /// To everything that changes the order: where it is now.
    Noted {
        /// The state afterwards.
        state: OrderState,
    },
    /// To Refund: it is under way or over.
    Refunding {
        /// Which.
        refund: RefundId,
        /// Minor units.
        amount: u64,
    },
    /// To Show.
    Shown(Box<OrderView>),
}

impl Versioned for OrderReply {
    const VERSION: u16 = 1;
}

/// The whole order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OrderView {
    /// Which.
    pub id: OrderId,
    /// For people: three groups of four letters and digits, derived from the id.
    pub number: String,
    /// Where it is.
    pub state: OrderState,
    /// What it began with: lines, totals, cart. Its payment token is blank.
    pub placement: Arc<Placement>,
    /// Who buys, sealed; `None` when never given or erased.
    pub buyer: Option<Sealed>,
    /// Whether the buyer's data was erased.
    pub erased: bool,
    /// Why it failed, or will once everything is undone.
    pub failure: Option<Failure>,
    /// Money.
    pub payment: PaymentView,
    /// What was sent.
    pub shipments: Vec<Shipment>,
    /// Money given back.
    pub refunds: Vec<RefundView>,
    /// When the cart was turned into it.
    pub created_at: Timestamp,
    /// Every state it was in, oldest first.
    pub history: Vec<HistoryRow>,
    /// Whether it owes nobody anything.
    pub settled: bool,
}

impl OrderView {
    /// From which cart.
    pub fn cart(&self) -> CartId {
        self.placement.cart
    }

    /// What it costs.
    pub fn totals(&self) -> &Totals {
        &self.placement.totals
    }
}

/// Where an order's money is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentView {
    /// Who charges.
    pub provider: String,
    /// How it stands.
    pub status: PaymentStatus,
    /// Minor units taken.
    pub captured: u64,
    /// Minor units given back.
    pub refunded: u64,
}

/// How an order's payment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PaymentStatus {
    /// Nothing asked yet.
    None,
    /// Asked; no definite answer yet.
    Pending,
    /// Set aside.
    Authorised,
    /// Refused.
    Declined,
    /// Let go.
    Voided,
    /// Taken.
    Captured,
    /// Given back, all of it.
    Refunded,
}

impl PaymentStatus {
    /// One word.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Pending => "pending",
            Self::Authorised => "authorised",
            Self::Declined => "declined",
            Self::Voided => "voided",
            Self::Captured => "captured",
            Self::Refunded => "refunded",
        }
    }
}

/// Goods that left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shipment {
    /// When.
    pub at: Timestamp,
    /// What.
    pub lines: Vec<Units>,
    /// The carrier's number.
    pub tracking: Option<String>,
}

/// Money given back, or on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefundView {
    /// Which.
    pub id: RefundId,
    /// When it was asked for.
    pub at: Timestamp,
    /// Minor units.
    pub amount: u64,
    /// How it stands.
    pub status: RefundStatus,
    /// Units that go back on the shelf with it.
    pub restock: Vec<Units>,
}

/// How a refund stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RefundStatus {
    /// The provider has not answered yet.
    Pending,
    /// The money went back.
    Refunded,
    /// The provider refused; the amount can be asked for again.
    Refused,
}

/// One state the order was in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryRow {
    /// Since when.
    pub at: Timestamp,
    /// Which.
    pub state: OrderState,
    /// Why, when there is something to say.
    pub reason: Option<String>,
}
