//! What can happen to an order.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::domain::entity::Versioned;
use crate::domain::ids::{RefundId, Sku};
use crate::domain::payment::PaymentOutcome;
use crate::domain::rejection::Rejection;
use crate::domain::time::Timestamp;

use super::command::{Placement, RefundRequest, StockStep, Units};

/// Where the order is, as the contract names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum OrderState {
    /// Taken over from the cart.
    Placed,
    /// Setting units aside.
    Reserving,
    /// Setting the money aside, then selling the held units.
    Authorizing,
    /// Sold: units and money are the order's.
    Confirmed,
    /// Everything was sent and the money is captured.
    Fulfilled,
    /// Everything arrived.
    Delivered,
    /// Undone at the shopper's wish; terminal.
    Cancelled,
    /// Could not be done; terminal.
    Failed,
    /// All money was given back; terminal.
    Refunded,
}

impl OrderState {
    /// Every state, in the order of a life.
    pub const ALL: [Self; 9] = [
        Self::Placed,
        Self::Reserving,
        Self::Authorizing,
        Self::Confirmed,
        Self::Fulfilled,
        Self::Delivered,
        Self::Cancelled,
        Self::Failed,
        Self::Refunded,
    ];

    /// The contract's word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Placed => "placed",
            Self::Reserving => "reserving",
            Self::Authorizing => "authorizing",
            Self::Confirmed => "confirmed",
            Self::Fulfilled => "fulfilled",
            Self::Delivered => "delivered",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
            Self::Refunded => "refunded",
        }
    }

    /// The state of that word.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether nothing can change it any more.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Cancelled | Self::Failed | Self::Refunded)
    }

    /// Whether the checkout has come to its end, one way or another: what `Prefer: wait` waits for.
    pub fn is_decided(self) -> bool {
        !matches!(self, Self::Placed | Self::Reserving | Self::Authorizing)
    }
}

/// Where the process is: finer than [`OrderState`], because undoing takes steps too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Phase {
    /// Taken over, nothing asked yet.
    Placed,
    /// Owes Reserve or Pin for every SKU.
    Reserving,
    /// Every hold is pinned; owes Authorise or waits for its outcome.
    Authorizing,
    /// Authorised; owes Commit for every hold.
    Committing,
    /// Sold.
    Confirmed,
    /// Fulfilment was asked for; owes Capture. Shown as confirmed.
    Capturing,
    /// Everything sent.
    Fulfilled,
    /// Everything arrived.
    Delivered,
    /// Owes Release, Return and Void until nothing is left. Shown as the state it came from.
    Unwinding,
    /// Undone at the shopper's wish.
    Cancelled,
    /// Could not be done.
    Failed,
    /// All money given back.
    Refunded,
}

impl Phase {
    /// How it is shown; `None` when it is shown as the one before.
    pub fn shown(self) -> Option<OrderState> {
        Some(match self {
            Self::Placed => OrderState::Placed,
            Self::Reserving => OrderState::Reserving,
            Self::Authorizing | Self::Committing => OrderState::Authorizing,
            Self::Confirmed | Self::Capturing => OrderState::Confirmed,
            Self::Fulfilled => OrderState::Fulfilled,
            Self::Delivered => OrderState::Delivered,
            Self::Unwinding => return None,
            Self::Cancelled => OrderState::Cancelled,
            Self::Failed => OrderState::Failed,
            Self::Refunded => OrderState::Refunded,
        })
    }
}

/// Which operation at the payment provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum PaymentStep {
    /// Set the money aside.
    Authorise,
    /// Take it.
    Capture,
    /// Let it go.
    Void,
    /// Give it back.
    Refund(RefundId),
}

/// Why an order could not be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Failure {
    /// Not enough units left.
    InsufficientStock {
        /// Of what.
        sku: Sku,
        /// Units that were left.
        available: u64,
    },
    /// A hold was gone.
    HoldExpired {
        /// Of what.
        sku: Sku,
    },
    /// A SKU could not be reserved for another reason.
    Unavailable {
        /// Which.
        sku: Sku,
    },
    /// The provider said no.
    PaymentDeclined {
        /// The provider's code, safe to show.
        reason: String,
    },
    /// The provider never said what became of the payment; it was barred.
    PaymentUnresolved,
}

impl Failure {
    /// One word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::InsufficientStock { .. } => "insufficient_stock",
            Self::HoldExpired { .. } => "hold_expired",
            Self::Unavailable { .. } => "unavailable",
            Self::PaymentDeclined { .. } => "payment_declined",
            Self::PaymentUnresolved => "payment_unresolved",
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::InsufficientStock { sku, available } => write!(f, "{available} of {sku} left"),
            Self::HoldExpired { sku } => write!(f, "the hold of {sku} is gone"),
            Self::Unavailable { sku } => write!(f, "{sku} is unavailable"),
            Self::PaymentDeclined { reason } => write!(f, "payment declined: {reason}"),
            Self::PaymentUnresolved => f.write_str("the payment provider did not answer"),
        }
    }
}

/// What can happen to an order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum OrderEvent {
    /// A cart version became this order.
    Placed(Arc<Placement>),
    /// The process reached a phase; what it owes follows from it.
    Entered {
        /// Which.
        phase: Phase,
        /// Shown in the history, e.g. why it failed.
        reason: Option<String>,
    },
    /// A stock item answered.
    StockSettled {
        /// Which.
        sku: Sku,
        /// To what.
        step: StockStep,
        /// How.
        outcome: Result<(), Rejection>,
    },
    /// The provider has definitely answered an operation.
    PaymentSettled {
        /// Which operation.
        step: PaymentStep,
        /// How.
        outcome: PaymentOutcome,
    },
    /// The provider will answer later; it is asked again then.
    PaymentPending {
        /// Which operation.
        step: PaymentStep,
        /// When to ask.
        poll_at: Timestamp,
    },
    /// The provider is asked what became of a pending operation.
    PollStarted {
        /// Which operation.
        step: PaymentStep,
    },
    /// A new attempt of an operation is owed.
    PaymentAttempted {
        /// Which operation.
        step: PaymentStep,
    },
    /// The order cannot be done; it will be undone once its present step is over.
    Doomed(Failure),
    /// The shopper changed their mind; it will be undone once its present step is over.
    CancelRequested {
        /// Why.
        reason: String,
    },
    /// Goods are to leave as soon as the money is captured.
    FulfilmentRequested {
        /// What leaves.
        lines: Vec<Units>,
        /// The carrier's number.
        tracking: Option<String>,
    },
    /// Goods left.
    Shipped {
        /// What left.
        lines: Vec<Units>,
        /// The carrier's number.
        tracking: Option<String>,
    },
    /// Money is to be given back.
    RefundRequested {
        /// As asked.
        request: RefundRequest,
        /// Minor units.
        amount: u64,
        /// The units that go back on the shelf once the money is back; empty without restocking.
        restock: Vec<Units>,
    },
    /// The buyer's data is to be forgotten; the order no longer has it.
    EraseRequested,
    /// Its key is gone.
    BuyerErased,
    /// The provider did not do what has to be done; a new attempt follows.
    PaymentPostponed {
        /// Which operation.
        step: PaymentStep,
        /// When.
        retry_at: Timestamp,
        /// The request got lost: it goes again under the same key. Otherwise it was refused, and a new key asks afresh.
        lost: bool,
    },
}

impl Versioned for OrderEvent {
    const VERSION: u16 = 1;
}
