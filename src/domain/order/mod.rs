//! Order: messages are final, rules land next.

mod command;
mod event;
mod reply;

pub use command::{OrderCommand, OrderLine, Placement, RefundRequest, StockStep, Units};
pub use event::{Failure, OrderEvent, OrderState, PaymentStep, Phase};
pub use reply::{HistoryRow, OrderReply, OrderView, PaymentStatus, PaymentView, RefundStatus, RefundView, Shipment};

use serde::{Deserialize, Serialize};

use super::entity::{Decision, Entity};
use super::ids::EntityId;
use super::rejection::Rejection;
use super::time::Timestamp;

/// Longest reason, in bytes.
pub const REASON_BYTES_MAX: usize = 500;

/// State.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Order {
    id: EntityId,
}

impl Entity for Order {
    type Command = OrderCommand;
    type Event = OrderEvent;
    type Reply = OrderReply;
    const STATE_VERSION: u16 = 1;

    fn new(id: &EntityId) -> Self {
        Self { id: id.clone() }
    }

    fn decide(
        &self,
        _command: &Self::Command,
        _at: Timestamp,
    ) -> Result<Decision<Self::Event, Self::Reply>, Rejection> {
        Err(Rejection::NotFound { entity: self.id.clone() })
    }

    fn apply(&mut self, _event: &Self::Event, _at: Timestamp) {}

    fn assert_invariants(&self) {}
}
