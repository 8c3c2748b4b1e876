//! A node's shards: who is hosted here right now, and how to reach them.
//!
//! The region follows each group's leadership: it hosts a shard when this node leads its group and has applied an
//! entry of its own term, and drops it when that ends (P12). A shard actor that fails is hosted again, later each
//! time. The router reads the table of hosted shards; nobody else writes it.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::time::Instant;

use super::entity::Surroundings;
use super::shard::{ShardActor, ShardArguments, ShardMessage, ShardOptions};
use crate::persistence::log::GroupId;

/// Delay before a failed shard is hosted again; doubles with each failure in a row.
const REHOST_FIRST: Duration = Duration::from_millis(50);
/// Longest delay.
const REHOST_MAX: Duration = Duration::from_secs(5);
/// A shard that was hosted for this long begins a new row of failures.
const FORGIVEN_AFTER: Duration = Duration::from_secs(60);

/// The hosted shards, readable from anywhere on the node.
#[derive(Clone, Default)]
pub struct HostedShards(Arc<RwLock<BTreeMap<GroupId, ActorRef<ShardMessage>>>>);

impl HostedShards {
    /// The shard actor of a group, if this node hosts it.
    pub fn get(&self, group: GroupId) -> Option<ActorRef<ShardMessage>> {
        self.0.read().expect("no holder of the table panics").get(&group).cloned()
    }

    /// Hosted groups, in order.
    pub fn groups(&self) -> Vec<GroupId> {
        self.0.read().expect("no holder of the table panics").keys().copied().collect()
    }

    pub(crate) fn set(&self, group: GroupId, shard: Option<ActorRef<ShardMessage>>) {
        let mut table = self.0.write().expect("no holder of the table panics");
        match shard {
            Some(shard) => table.insert(group, shard),
            None => table.remove(&group),
        };
    }
}

/// What the region hears.
pub enum RegionMessage {
    /// This node may host the group in this term.
    Host {
        /// The fencing number.
        term: u64,
        /// What its entities are given.
        surroundings: Arc<Surroundings>,
        /// Limits of its shard.
        options: ShardOptions,
    },
    /// This node no longer leads the group.
    Drop {
        /// Which.
        group: GroupId,
    },
    /// A failed shard's delay is over.
    HostAgain {
        /// Which.
        group: GroupId,
        /// The term it was hosted in; another one has made this message stale.
        term: u64,
    },
}

impl ractor::Message for RegionMessage {}

/// The actor.
pub struct RegionActor;

/// Spawn arguments.
pub struct RegionArguments {
    /// The table it keeps.
    pub hosted: HostedShards,
}

struct Hosting {
    term: u64,
    surroundings: Arc<Surroundings>,
    options: ShardOptions,
    actor: Option<ActorRef<ShardMessage>>,
    /// In a row.
    failures: u32,
    /// When the actor was spawned last.
    since: Instant,
}

/// The actor's state.
pub struct RegionState {
    arguments: RegionArguments,
    myself: ActorRef<RegionMessage>,
    /// Groups this node leads.
    shards: BTreeMap<GroupId, Hosting>,
}

impl Actor for RegionActor {
    type Msg = RegionMessage;
    type State = RegionState;
    type Arguments = RegionArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<RegionMessage>,
        arguments: RegionArguments,
    ) -> Result<RegionState, ActorProcessingErr> {
        Ok(RegionState { arguments, myself, shards: BTreeMap::new() })
    }

    async fn handle(
        &self,
        _myself: ActorRef<RegionMessage>,
        message: RegionMessage,
        state: &mut RegionState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            RegionMessage::Host { term, surroundings, options } => {
                let group = surroundings.group;
                state.drop_shard(group);
                let (actor, failures, since) = (None, 0, Instant::now());
                state.shards.insert(group, Hosting { term, surroundings, options, actor, failures, since });
                state.host(group).await;
            }
            RegionMessage::Drop { group } => state.drop_shard(group),
            RegionMessage::HostAgain { group, term } => {
                if state.shards.get(&group).is_some_and(|hosting| hosting.term == term && hosting.actor.is_none()) {
                    state.host(group).await;
                }
            }
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _myself: ActorRef<RegionMessage>,
        event: SupervisionEvent,
        state: &mut RegionState,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorTerminated(cell, _, _) => state.ended(cell.get_id(), "stopped"),
            SupervisionEvent::ActorFailed(cell, error) => state.ended(cell.get_id(), &error.to_string()),
            _ => {}
        }
        Ok(())
    }
}

impl RegionState {
    async fn host(&mut self, group: GroupId) {
        let Some(hosting) = self.shards.get_mut(&group) else { return };
        let arguments = ShardArguments { surroundings: hosting.surroundings.clone(), options: hosting.options };
        match Actor::spawn_linked(None, ShardActor, arguments, self.myself.get_cell()).await {
            Ok((actor, _)) => {
                tracing::info!(%group, term = hosting.term, "hosting shard");
                (hosting.actor, hosting.since) = (Some(actor.clone()), Instant::now());
                self.arguments.hosted.set(group, Some(actor));
            }
            Err(error) => {
                tracing::error!(%group, %error, "a shard actor could not be spawned");
                self.host_later(group);
            }
        }
    }

    fn drop_shard(&mut self, group: GroupId) {
        self.arguments.hosted.set(group, None);
        if let Some(actor) = self.shards.remove(&group).and_then(|hosting| hosting.actor) {
            tracing::info!(%group, "no longer hosting shard");
            actor.stop(None);
        }
    }

    fn ended(&mut self, actor: ractor::ActorId, reason: &str) {
        let of_actor = |hosting: &Hosting| hosting.actor.as_ref().is_some_and(|known| known.get_id() == actor);
        let Some((&group, hosting)) = self.shards.iter_mut().find(|(_, hosting)| of_actor(hosting)) else { return };
        tracing::error!(%group, reason, "shard ended, it will be hosted again");
        hosting.actor = None;
        if hosting.since.elapsed() > FORGIVEN_AFTER {
            hosting.failures = 0;
        }
        self.arguments.hosted.set(group, None);
        self.host_later(group);
    }

    fn host_later(&mut self, group: GroupId) {
        let Some(hosting) = self.shards.get_mut(&group) else { return };
        hosting.failures += 1;
        let term = hosting.term;
        let delay = REHOST_MAX.min(REHOST_FIRST * 2u32.saturating_pow(hosting.failures - 1));
        self.myself.send_after(delay, move || RegionMessage::HostAgain { group, term });
    }
}
