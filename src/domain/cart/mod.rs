//! Cart: messages are final, rules land next.

mod command;
mod event;
mod reply;

pub use command::{CartCommand, CheckOut};
pub use event::{CartEvent, CartLine};
pub use reply::{CartReply, CartView, MergeView};

use serde::{Deserialize, Serialize};

use super::entity::{Decision, Entity};
use super::ids::EntityId;
use super::rejection::Rejection;
use super::time::Timestamp;

/// State.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cart {
    id: EntityId,
}

impl Entity for Cart {
    type Command = CartCommand;
    type Event = CartEvent;
    type Reply = CartReply;
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
