//! Takes a command to the shard that hosts its entity and brings back the outcome.
//!
//! Unknown and leaderless are retried with the same stamp until the caller's budget is spent; what remains Unknown then
//! is said to be Unknown (P7). The number of commands under way is bounded per shard; commands owed by processes pass
//! that bound, because they are bounded by admitted work already (P15).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;

use super::hashing::ShardCount;
use crate::actors::messages::{Answer, Ask, AskError, Origin, Request};
use crate::actors::region::HostedShards;
use crate::actors::shard::ShardMessage;
use crate::persistence::log::GroupId;

/// Client commands under way per shard; the next is answered `overloaded`.
const IN_FLIGHT_PER_SHARD_MAX: usize = 8_192;
/// First pause before asking again; doubles up to [`RETRY_MAX`].
const RETRY_FIRST: Duration = Duration::from_millis(5);
/// Longest pause.
const RETRY_MAX: Duration = Duration::from_millis(250);

/// The node's router. Clones share everything.
#[derive(Clone)]
pub struct Router {
    shards: ShardCount,
    hosted: HostedShards,
    places: Arc<BTreeMap<GroupId, Arc<Semaphore>>>,
}

impl Router {
    /// A router over the shards hosted on this node.
    pub fn new(shards: ShardCount, hosted: HostedShards) -> Self {
        let groups = shards.groups().chain([GroupId::META]);
        let places = groups.map(|group| (group, Arc::new(Semaphore::new(IN_FLIGHT_PER_SHARD_MAX)))).collect();
        Self { shards, hosted, places: Arc::new(places) }
    }

    /// How entities are spread.
    pub fn shards(&self) -> ShardCount {
        self.shards
    }

    fn admit(&self, group: GroupId, origin: Origin) -> Result<Option<OwnedSemaphorePermit>, AskError> {
        if origin == Origin::Owed {
            return Ok(None);
        }
        let place = self.places[&group].clone().try_acquire_owned();
        place.map(Some).map_err(|_| AskError::Overloaded { retry_after: Duration::from_secs(1) })
    }

    async fn ask_once(&self, group: GroupId, request: Request, deadline: Instant) -> Result<Answer, AskError> {
        let shard = self.hosted.get(group).ok_or(AskError::NoLeader { shard: group.0 })?;
        let (reply, answer) = oneshot::channel();
        if shard.cast(ShardMessage::Ask { request, reply: Some(reply) }).is_err() {
            return Err(AskError::NoLeader { shard: group.0 });
        }
        match tokio::time::timeout_at(deadline, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(AskError::Unknown { reason: "the entity ended before it answered" }),
            Err(_) => Err(AskError::Unknown { reason: "no answer in time" }),
        }
    }
}

#[async_trait]
impl Ask for Router {
    async fn ask(&self, mut request: Request) -> Result<Answer, AskError> {
        let group = self.shards.group_of(&request.entity);
        let _place = self.admit(group, request.origin)?;
        let deadline = Instant::now() + request.budget;
        let mut pause = RETRY_FIRST;
        let mut maybe_happened = false;
        loop {
            request.budget = deadline.saturating_duration_since(Instant::now());
            let error = match self.ask_once(group, request.clone(), deadline).await {
                Err(error) if error.is_transient() => error,
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

/// Once any attempt may have happened, a later certain "no leader" is no certainty about the whole.
fn unknown(error: AskError) -> AskError {
    match error {
        AskError::Unknown { .. } => error,
        _ => AskError::Unknown { reason: "leadership was lost while asking" },
    }
}
