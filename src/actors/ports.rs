//! What the actors need from the world around them. Implemented in `cluster/` (replication, courier), by tests, and in
//! simulation by the same production code over simulated seams.

use async_trait::async_trait;

use crate::domain::entity::{Outgoing, Settlement};
use crate::persistence::records::{EntityBatch, Verdict};

/// A shard's replicated log, seen by the entities the shard hosts.
#[async_trait]
pub trait Replication: Send + Sync + 'static {
    /// Appends a batch. Answers once it is committed and applied; the verdict says whether it was stored (P10).
    async fn append(&self, batch: EntityBatch) -> Result<Verdict, AppendError>;

    /// Confirms that this node still held the leader lease after the call was made (P11).
    async fn confirm_lease(&self) -> Result<(), LeaseError>;
}

/// Why nobody knows whether a batch was stored, or that it certainly was not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Leadership was lost or the group stopped: the batch may or may not be committed.
    #[error("leadership lost while appending")]
    Unknown,
    /// Refused before it entered the log: too little disk (P28).
    #[error("storage is full")]
    StorageFull,
}

/// The leader lease could not be confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no leader lease")]
pub struct LeaseError;

/// Takes owed commands where they belong and comes back only with a definite outcome; retries Unknown with the same id
/// for as long as it takes. Dropping the future gives up the delivery, not the obligation.
#[async_trait]
pub trait Courier: Send + Sync + 'static {
    /// Delivers one obligation.
    async fn deliver(&self, outgoing: Outgoing) -> Settlement;
}
