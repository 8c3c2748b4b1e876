//! Product: messages are final, rules land next.

mod messages;

pub use messages::{ProductCommand, ProductDocument, ProductEvent, ProductReply, ProductStatus, ProductView, Variant};

use serde::{Deserialize, Serialize};

use super::entity::{Decision, Entity};
use super::ids::EntityId;
use super::rejection::Rejection;
use super::time::Timestamp;

/// Longest description, in bytes.
pub const DESCRIPTION_BYTES_MAX: usize = 20_000;
/// Most categories of one product.
pub const CATEGORIES_MAX: usize = 50;
/// Most media URLs of one product.
pub const MEDIA_MAX: usize = 100;
/// Most variants of one product.
pub const VARIANTS_MAX: usize = 100;

/// State.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Product {
    id: EntityId,
}

impl Entity for Product {
    type Command = ProductCommand;
    type Event = ProductEvent;
    type Reply = ProductReply;
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
