//! What travels between the router, a shard and its entities, and what comes back. Three outcomes everywhere:
//! accepted, rejected, unknown; unknown is not failed (P7).

use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::oneshot;

use super::ports::{AppendError, LeaseError};
use super::turn::ReplySender;
use crate::domain::entity::{Obligation, Settlement, Stamp};
use crate::domain::ids::EntityId;
use crate::domain::registry::{AnyCommand, AnyReply};
use crate::domain::rejection::Rejection;
use crate::domain::time::{Sequence, Timestamp};
use crate::persistence::records::Verdict;

/// A command on its way to its entity.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Whom it is for.
    pub entity: EntityId,
    /// What is asked.
    pub command: AnyCommand,
    /// Dedup key and content fingerprint. Retries carry the same stamp.
    pub stamp: Stamp,
    /// Who gave it its id.
    pub origin: Origin,
    /// How much longer the caller waits; reduced per hop, a spent one is dropped (P7).
    pub budget: Duration,
}

/// Who gave a command its id; decides how long it is remembered (P3) and which lane it takes (P15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A client's `Idempotency-Key`: remembered 24 hours; client lane.
    ClientKey,
    /// Drawn by the router for a keyless request: remembered 10 minutes; client lane.
    Router,
    /// An obligation or a deadline: idempotent by state; reserved lane.
    Owed,
}

/// A yes.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// What the entity said.
    pub reply: AnyReply,
    /// The last record the answer rests on; for a journaled command, its own record.
    pub sequence: Sequence,
    /// The entity's time of the answer (of the first answer, when replayed).
    pub at: Timestamp,
    /// An earlier answer to the same command, given again.
    pub replayed: bool,
}

/// Anything but a yes.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum AskError {
    /// A business no: nothing happened.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// Too much is waiting; nothing happened.
    #[error("too many requests are waiting")]
    Overloaded {
        /// When to try again.
        retry_after: Duration,
    },
    /// Too little disk is left for writes; nothing happened.
    #[error("storage is full; reads continue, writes are refused until space is made")]
    StorageFull,
    /// Nobody leads the entity's shard right now; nothing happened.
    #[error("shard {shard} has no leader at the moment")]
    NoLeader {
        /// Which group.
        shard: u32,
    },
    /// The entity is quarantined after repeated panics; nothing happened.
    #[error("{entity} is quarantined")]
    Quarantined {
        /// Which.
        entity: EntityId,
    },
    /// Deciding panicked: our bug; nothing happened (P9).
    #[error("internal error while deciding")]
    Panicked,
    /// Nobody can say yet whether it happened. Ask again with the same stamp.
    #[error("outcome unknown: {reason}")]
    Unknown {
        /// Why, for logs.
        reason: &'static str,
    },
}

impl AskError {
    /// Whether asking again with the same stamp within the deadline may help without the caller's doing.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unknown { .. } | Self::NoLeader { .. })
    }

    /// Whether this attempt was refused without its id being looked up: an earlier attempt may have happened all the
    /// same. A rejection is not: it was decided on a state in which every earlier attempt has its outcome.
    pub fn is_unseen(&self) -> bool {
        !matches!(self, Self::Rejected(_))
    }
}

/// Anything that takes a command to its entity and brings back the outcome. The router is one; tests have others.
#[async_trait]
pub trait Ask: Send + Sync + 'static {
    /// Retries transient failures with the same stamp until the budget is spent.
    async fn ask(&self, request: Request) -> Result<Answer, AskError>;
}

/// What an entity actor hears.
#[derive(Debug)]
pub enum EntityMessage {
    /// A command from the shard.
    Ask {
        /// What is asked.
        request: Request,
        /// Who waits.
        reply: ReplySender,
    },
    /// The shard saw this entity's wake-up come due.
    Wake,
    /// What became of the batch in flight.
    Verdict(Result<Verdict, AppendError>),
    /// Whether the lease held for the answers that append nothing.
    Lease(Result<(), LeaseError>),
    /// A courier is back.
    Settled {
        /// What was delivered.
        obligation: Obligation,
        /// How it ended.
        settlement: Settlement,
    },
    /// The shard asks whether it may rest: answers by [`MayRest`](super::shard::ShardMessage::MayRest) when it owes and
    /// does nothing.
    Rest {
        /// Messages the shard had sent it by then.
        sent: u64,
    },
    /// The node is stopping: finish what was heard, deliver nothing more, then ask for leave by
    /// [`MayRest`](super::shard::ShardMessage::MayRest). What is owed stands in the journal.
    Finish {
        /// Messages the shard had sent it by then.
        sent: u64,
    },
    /// Says how it is doing.
    Describe(oneshot::Sender<EntityDescription>),
}

impl ractor::Message for EntityMessage {}

/// How an entity actor is doing, for ops and tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntityDescription {
    /// Which.
    pub entity: EntityId,
    /// Its last record.
    pub sequence: Sequence,
    /// When.
    pub at: Timestamp,
    /// Commands waiting for a turn.
    pub waiting: usize,
    /// Whether a batch or lease check is in flight.
    pub busy: bool,
    /// Obligations being delivered.
    pub delivering: usize,
}
