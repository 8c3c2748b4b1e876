//! The order: the process that takes a cart's lines to a sale, or back to where everything came from.
//!
//! ```text
//! placed → reserving → authorizing → committing → confirmed ⇄ capturing → fulfilled → delivered → refunded
//!              └────────────┴────────────┴──────────┴→ unwinding → cancelled | failed
//! ```
//!
//! **Promises.** Every line is reserved before money is touched, money is set aside before a unit is sold, and money is
//! taken when goods leave (P17). A step is left only on its outcome, never on a timeout (P18). Whatever goes wrong is
//! undone to the unit and to the cent (P19): holds are released, refused ones too, sold units returned, authorisations
//! voided, also one that lands after the end. What is owed is a function of the state (`owed`), under a name that does
//! not change while it is owed (P5); an answer removes it or sets a time for the next attempt, so nothing spins.
//!
//! **Refuses** with `OrderState` what its phase does not allow (`table`), with `InvalidRequest` units or money beyond
//! what is left.
//!
//! **Fails** by waiting: an unanswered provider is asked again at its time; nothing is assumed.
//!
//! Files: `state` what it knows · `table` phases and commands as data · `decide` the commands · `follow` what follows
//! by itself · `payment` a provider's news · `apply` events made true · `owed` obligations and deadlines · `laws` ·
//! `claims` its side of the books.
//!
//! Called by carts (Place), stock items and payment couriers (outcomes), webhooks, shoppers (Show, Cancel) and
//! merchants (Fulfil, Deliver, Refund, Erase).

mod apply;
mod claims;
mod command;
mod decide;
mod event;
mod follow;
mod laws;
mod owed;
mod payment;
mod reply;
mod state;
mod table;
#[cfg(test)]
mod tests;
mod view;

use std::time::Duration;

pub use command::{OrderCommand, OrderLine, Placement, RefundRequest, StockStep, Units};
pub use event::{Failure, OrderEvent, OrderState, PaymentStep, Phase};
pub use reply::{HistoryRow, OrderReply, OrderView, PaymentStatus, PaymentView, RefundStatus, RefundView, Shipment};

use serde::{Deserialize, Serialize};

use super::entity::{Decision, Entity, Obligation, Outgoing, Settlement};
use super::ids::EntityId;
use super::rejection::Rejection;
use super::time::Timestamp;
use state::Process;

/// Longest reason, in bytes.
pub const REASON_BYTES_MAX: usize = 500;
/// Longest carrier's number, in bytes.
pub const TRACKING_BYTES_MAX: usize = 200;
/// Longest provider name, in bytes.
pub const PROVIDER_BYTES_MAX: usize = 64;
/// Most lines of an order: a full cart.
pub const LINES_MAX: usize = 1000;
/// Most shipments of one order, so that its state stays a few hundred kilobytes.
pub const SHIPMENTS_MAX: usize = 1000;
/// Most refunds of one order, for the same reason.
pub const REFUNDS_MAX: usize = 1000;
/// Rows of history beyond which only new states are written down, not repeated reasons.
pub const HISTORY_ROWS_MAX: usize = 100;

/// When a pending operation is first looked up; a webhook usually comes earlier. Doubles from poll to poll.
pub const POLL_PAUSE_MIN: Duration = Duration::from_secs(5);
/// Longest time between two lookups.
pub const POLL_PAUSE_MAX: Duration = Duration::from_secs(60 * 60);
/// Lookups after which a pending authorisation is given up: about a day.
pub const POLLS_MAX: u32 = 32;
/// When an operation that has to succeed is first tried again. Doubles from attempt to attempt.
pub const RETRY_PAUSE_MIN: Duration = Duration::from_secs(30);
/// Longest time between two attempts.
pub const RETRY_PAUSE_MAX: Duration = Duration::from_secs(6 * 60 * 60);

/// State of one order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Order {
    id: EntityId,
    /// `None` before it is placed.
    process: Option<Box<Process>>,
}

impl Order {
    /// Where it is; `None` before it is placed.
    pub fn phase(&self) -> Option<Phase> {
        self.process.as_ref().map(|process| process.phase)
    }

    /// Every state it was in, as shoppers see it, the newest last; empty before it is placed.
    pub fn history(&self) -> &[HistoryRow] {
        self.process.as_ref().map_or(&[], |process| &process.history)
    }

    /// Whether it owes nobody anything and waits for no provider.
    pub fn is_settled(&self) -> bool {
        self.process.as_ref().is_none_or(|process| process.is_settled())
    }
}

impl Entity for Order {
    type Command = OrderCommand;
    type Event = OrderEvent;
    type Reply = OrderReply;
    const STATE_VERSION: u16 = 1;

    fn new(id: &EntityId) -> Self {
        Self { id: id.clone(), process: None }
    }

    fn decide(&self, command: &OrderCommand, at: Timestamp) -> Result<Decision<OrderEvent, OrderReply>, Rejection> {
        decide::decide(self, command, at)
    }

    fn apply(&mut self, event: &OrderEvent, at: Timestamp) {
        apply::apply(self, event, at);
    }

    fn outstanding(&self) -> Vec<Outgoing> {
        self.process.as_ref().map_or_else(Vec::new, |process| process.outstanding())
    }

    fn settle(&self, obligation: &Obligation, settlement: &Settlement) -> Option<OrderCommand> {
        self.process.as_ref()?.settle(obligation, settlement)
    }

    fn deadline(&self) -> Option<(Timestamp, OrderCommand)> {
        self.process.as_ref()?.deadline()
    }

    fn assert_invariants(&self) {
        if let Some(process) = &self.process {
            process.assert_laws();
        }
    }
}
