//! StockItem: messages are final, rules land next.

mod messages;

pub use messages::{
    HoldView, Holder, Releaser, Reserve, ReturnKey, StockCommand, StockEvent, StockNumbers, StockReply, StockView,
};

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::entity::{Decision, Entity};
use super::ids::EntityId;
use super::rejection::Rejection;
use super::time::Timestamp;

/// Longest reference or reason, in bytes.
pub const REASON_BYTES_MAX: usize = 500;
/// Longest life of a shopper's hold.
pub const HOLD_TTL_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Most holds one record ends (P17).
pub const EXPIRED_PER_RECORD_MAX: usize = 1000;
/// Most holds on one page.
pub const HOLDS_PAGE_MAX: u32 = 200;

/// State.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StockItem {
    id: EntityId,
}

impl Entity for StockItem {
    type Command = StockCommand;
    type Event = StockEvent;
    type Reply = StockReply;
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
