//! What the actors need from the world around them. Implemented in `cluster/` (replication, courier), by tests, and in
//! simulation by the same production code over simulated seams.

use async_trait::async_trait;

use crate::domain::entity::{Outgoing, Settlement};
use crate::persistence::records::{EntityBatch, Verdict};

/// A shard's replicated log, seen by the entities the shard hosts.
#[async_trait]
pub trait Replication: Send + Sync + 'static {
    /// Appends a batch and returns at once. `then` hears the verdict when the batch is committed and applied (P10), or
    /// that nobody knows; it is heard exactly once, also when the group ends.
    fn append(&self, batch: EntityBatch, then: VerdictListener);

    /// Whether this node holds the leader lease at the moment of the call, as far as can be told without asking
    /// anybody. `false` says nothing: [`Replication::confirm_lease`] finds out.
    fn holds_lease(&self) -> bool {
        false
    }

    /// Confirms that this node still held the leader lease after the call was made (P11).
    async fn confirm_lease(&self) -> Result<(), LeaseError>;
}

/// Hears what became of one batch. Dropped without having heard, it hears [`AppendError`].
pub struct VerdictListener(Option<Listener>);

type Listener = Box<dyn FnOnce(Result<Verdict, AppendError>) + Send>;

impl VerdictListener {
    /// Runs `then` with the outcome.
    pub fn new(then: impl FnOnce(Result<Verdict, AppendError>) + Send + 'static) -> Self {
        Self(Some(Box::new(then)))
    }

    /// Tells it.
    pub fn tell(mut self, outcome: Result<Verdict, AppendError>) {
        if let Some(then) = self.0.take() {
            then(outcome);
        }
    }
}

impl Drop for VerdictListener {
    fn drop(&mut self) {
        if let Some(then) = self.0.take() {
            then(Err(AppendError));
        }
    }
}

/// Nobody knows whether a batch was stored: leadership was lost or the group stopped, and it may or may not be
/// committed. A full disk is no such case: the log waits for room (P28).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("leadership lost while appending")]
pub struct AppendError;

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
