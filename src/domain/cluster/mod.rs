//! Cluster: messages are final, rules land next.

mod messages;

pub use messages::{ApiKey, ClusterCommand, ClusterEvent, ClusterReply, ClusterView, Genesis, KeyHash, Role};

use serde::{Deserialize, Serialize};

use super::entity::{Decision, Entity};
use super::ids::EntityId;
use super::rejection::Rejection;
use super::time::Timestamp;

/// Most shards of a cluster.
pub const SHARDS_MAX: u32 = 256;
/// Longest label of a key, in bytes.
pub const LABEL_BYTES_MAX: usize = 200;

/// State.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cluster {
    id: EntityId,
}

impl Entity for Cluster {
    type Command = ClusterCommand;
    type Event = ClusterEvent;
    type Reply = ClusterReply;
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
