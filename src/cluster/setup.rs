//! The cluster's birth, and reading what it was born with.
//!
//! The first node of a new cluster gives it an id, a secret and a number of shards, once and for ever. The command is
//! idempotent: a node that crashed in the middle finds either nothing or everything on its next start.

use std::time::Duration;

use super::hashing::ShardCount;
use super::router::Router;
use crate::actors::dedup::command_id_of;
use crate::actors::messages::{Ask, AskError, Origin, Request};
use crate::domain::cluster::{ClusterCommand, ClusterReply, ClusterView, Genesis};
use crate::domain::entity::{Fingerprint, Stamp};
use crate::domain::ids::{ClusterId, CommandId, EntityId, NodeId};
use crate::domain::privacy::Secret;
use crate::domain::registry::{AnyCommand, AnyReply};
use crate::rng::Rng;

/// How long a starting node waits for the meta group.
const BUDGET: Duration = Duration::from_secs(30);

/// Why the cluster's settings cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The cluster entity did not answer.
    #[error("the cluster entity does not answer: {0}")]
    Ask(#[from] AskError),
    /// It answered something this version does not understand.
    #[error("the cluster entity's answer does not fit; was this data written by a newer Stockroom?")]
    Answer,
}

/// What the cluster was born with; gives birth to it if it does not exist yet.
pub async fn genesis(router: &Router, rng: &dyn Rng, shards: ShardCount, member: u64) -> Result<Genesis, SetupError> {
    if let Some(genesis) = show(router, rng).await?.genesis {
        return Ok(genesis);
    }
    let mut secret = [0; 32];
    rng.fill(&mut secret);
    let genesis = Genesis {
        cluster: ClusterId(rng.next_id()),
        shards: shards.get(),
        secret: Secret(secret),
        node: NodeId(member),
    };
    let stamp = Stamp { command: command_id_of("cluster/init"), fingerprint: Fingerprint::default() };
    ask(router, ClusterCommand::Init(genesis), stamp).await?;
    show(router, rng).await?.genesis.ok_or(SetupError::Answer)
}

/// Everything the cluster entity knows.
pub async fn show(router: &Router, rng: &dyn Rng) -> Result<ClusterView, SetupError> {
    let stamp = Stamp { command: CommandId(rng.next_id()), fingerprint: Fingerprint::default() };
    match ask(router, ClusterCommand::Show, stamp).await? {
        ClusterReply::Shown(view) => Ok(*view),
        _ => Err(SetupError::Answer),
    }
}

async fn ask(router: &Router, command: ClusterCommand, stamp: Stamp) -> Result<ClusterReply, SetupError> {
    let request = Request {
        entity: EntityId::cluster(),
        command: AnyCommand::Cluster(command),
        stamp,
        origin: Origin::Router,
        budget: BUDGET,
    };
    match router.ask(request).await?.reply {
        AnyReply::Cluster(reply) => Ok(reply),
        _ => Err(SetupError::Answer),
    }
}
