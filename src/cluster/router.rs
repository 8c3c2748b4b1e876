//! Takes a command to the shard that hosts its entity and brings back the outcome.
//!
//! Unknown and leaderless are retried with the same stamp until the caller's budget is spent; what remains Unknown then
//! is said to be Unknown (P7). The number of commands under way is bounded per shard; commands owed by processes pass
//! that bound, because they are bounded by admitted work already (P15).

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tracing::Instrument;

use super::gateway::Gateway;
use super::hashing::ShardCount;
use super::raft::MemberId;
use super::transport::{Receive, Transport};
use crate::actors::messages::{Answer, Ask, AskError, Origin, Request};
use crate::domain::ids::EntityId;
use crate::domain::registry::Kind;
use crate::persistence::log::GroupId;

/// First pause before asking again; doubles up to [`RETRY_MAX`].
const RETRY_FIRST: Duration = Duration::from_millis(5);
/// Longest pause.
const RETRY_MAX: Duration = Duration::from_millis(250);

/// The node's router. Clones share everything.
#[derive(Clone)]
pub struct Router {
    /// Unknown until the meta group has told; before that only the cluster entity can be reached.
    shards: Arc<OnceLock<ShardCount>>,
    /// This node's number.
    member: MemberId,
    /// What is hosted here, and who leads the rest.
    home: Arc<Gateway>,
    /// The way to other members.
    transport: Arc<dyn Transport>,
    places: Arc<[OnceLock<Arc<Semaphore>>]>,
    /// Client commands under way per shard; the next is answered `overloaded`.
    in_flight_max: usize,
}

impl Router {
    /// The router of this member, with at most so many client commands under way per shard.
    pub fn new(member: MemberId, home: Arc<Gateway>, transport: Arc<dyn Transport>, in_flight_max: usize) -> Self {
        let places = (0..=ShardCount::MAX).map(|_| OnceLock::new()).collect();
        Self { shards: Arc::default(), member, home, transport, places, in_flight_max }
    }

    /// Tells the router, once, how entities are spread.
    pub fn learn(&self, shards: ShardCount) {
        let known = self.shards.get_or_init(|| shards);
        assert_eq!(*known, shards, "CLU-1: the number of shards never changes");
    }

    /// Commands that may still be admitted to the busiest shard, for status.
    pub fn free_places(&self) -> usize {
        let used = self.places.iter().filter_map(OnceLock::get);
        used.map(|places| places.available_permits()).min().unwrap_or(self.in_flight_max)
    }

    /// Client commands under way, all shards together.
    pub fn in_flight(&self) -> usize {
        let used = self.places.iter().filter_map(OnceLock::get);
        used.map(|places| self.in_flight_max - places.available_permits()).sum()
    }

    fn group_of(&self, entity: &EntityId) -> Result<GroupId, AskError> {
        match (entity.kind, self.shards.get()) {
            (Kind::Cluster, _) => Ok(GroupId::META),
            (_, Some(shards)) => Ok(shards.group_of(entity)),
            (_, None) => Err(AskError::NoLeader { shard: 0 }),
        }
    }

    fn admit(&self, group: GroupId, origin: Origin) -> Result<Option<OwnedSemaphorePermit>, AskError> {
        if origin == Origin::Owed {
            return Ok(None);
        }
        let place = self.places[group.0 as usize].get_or_init(|| Arc::new(Semaphore::new(self.in_flight_max)));
        let place = place.clone().try_acquire_owned();
        place.map(Some).map_err(|_| AskError::Overloaded { retry_after: Duration::from_secs(1) })
    }

    /// One attempt: at home when the shard is hosted here, else at the member that leads it.
    async fn ask_once(&self, group: GroupId, request: Request) -> Result<Answer, AskError> {
        if self.home.hosts(group) {
            return self.home.ask(group, request).await;
        }
        match self.home.leader_of(group) {
            Some(leader) if leader != self.member => self.transport.ask(leader, group, request).await,
            _ => Err(AskError::NoLeader { shard: group.0 }),
        }
    }
}

#[async_trait]
impl Ask for Router {
    async fn ask(&self, request: Request) -> Result<Answer, AskError> {
        let (entity, command) = (&request.entity, request.command.name());
        let span = tracing::debug_span!("command", kind = entity.kind.name(), command, origin = ?request.origin);
        self.ask_until_answered(request).instrument(span).await
    }
}

impl Router {
    async fn ask_until_answered(&self, mut request: Request) -> Result<Answer, AskError> {
        let group = self.group_of(&request.entity)?;
        let _place = self.admit(group, request.origin)?;
        let deadline = Instant::now() + request.budget;
        let mut pause = RETRY_FIRST;
        let mut maybe_happened = false;
        loop {
            request.budget = deadline.saturating_duration_since(Instant::now());
            let error = match self.ask_once(group, request.clone()).await {
                // Whoever refuses an attempt unseen says nothing about an earlier one that may have happened.
                Err(error) if error.is_transient() || (maybe_happened && error.is_unseen()) => error,
                outcome => return outcome,
            };
            maybe_happened |= matches!(error, AskError::Unknown { .. });
            if Instant::now() + pause >= deadline {
                return Err(if maybe_happened { unknown(error) } else { error });
            }
            tokio::time::sleep(pause).await;
            pause = RETRY_MAX.min(pause * 2);
        }
    }
}

/// Once any attempt may have happened, a later refusal that never looked at the entity is no certainty about the whole.
fn unknown(error: AskError) -> AskError {
    match error {
        AskError::Unknown { .. } => error,
        _ => AskError::Unknown { reason: "an earlier attempt may have happened, the last one was refused unseen" },
    }
}

#[cfg(test)]
#[path = "router_tests.rs"]
mod tests;
