//! An entity hosted twice: the fault that a batch's first sequence guards against (P10).
//!
//! On a cluster a host that was slow to hear of its end may still drive entities that another one hosts already. One
//! node never gets there by itself: it hosts a shard once and waits for a dead actor's batch. So this fault puts a
//! second shard actor beside the first, over the same log and store, and sends the clients there, once the first has
//! answered those it had: a leader may answer nobody any more when the next one hosts (P12). The first keeps its
//! residents: it wakes who is due, sends what is owed, records outcomes and ends holds, and knows nothing of the other.
//! What either of them appends makes the other's next batch stale. The spell ends as a handover does: nobody hosts the
//! shard, the second host goes, its batches land, and the shard is hosted anew from the journal.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use ractor::{Actor, ActorRef};
use tokio::sync::oneshot;

use super::disk::within;
use super::host::Machine;
use crate::actors::entity::Surroundings;
use crate::actors::flights::Flights;
use crate::actors::ports::{Courier, LeaseError, Replication, VerdictListener};
use crate::actors::shard::{ShardActor, ShardArguments, ShardMessage, ShardOptions};
use crate::cluster::node::Node;
use crate::cluster::raft::group::Group;
use crate::persistence::records::EntityBatch;
use crate::rng::Rng;

/// Between two looks at whether a spell has begun or ended.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How long a shard takes at most to be hosted again.
const HOSTED_ANEW: Duration = Duration::from_secs(1);
/// How long the second host takes at most to hand a batch on: somebody else may then be first.
const LAG: Duration = Duration::from_millis(40);

/// Whether a node's shards are to be hosted twice. Clones share it.
#[derive(Clone, Default)]
pub struct SecondHost(Arc<AtomicBool>);

impl SecondHost {
    /// Begins or ends a spell.
    pub fn switch(&self, on: bool) {
        self.0.store(on, Ordering::Relaxed);
    }

    fn is_on(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Hosts the node's shards a second time whenever that is switched on; runs as long as the node.
pub async fn run(node: Arc<Node>, machine: Arc<Machine>, courier: Arc<dyn Courier>, rng: Arc<dyn Rng>) {
    loop {
        while !machine.second_host.is_on() {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        let under_way = Arc::new(AtomicUsize::new(0));
        let (mut twice, mut firsts) = (Vec::new(), Vec::new());
        for group in node.shards().groups() {
            // Between two hosts, as after an earlier spell, a shard cannot be hosted twice.
            let Some(first) = node.hosted().get(group) else { continue };
            node.hosted().set(group, None);
            fall_silent(&first).await;
            if node.hosted().get(group).is_some() {
                // The first host fell meanwhile and the node has another one.
                continue;
            }
            let (rng, under_way) = (rng.clone(), under_way.clone());
            let log = Second { group: node.groups()[&group].clone(), rng, under_way };
            let second = host(&node, log, courier.clone()).await;
            node.hosted().set(group, Some(second.clone().unwrap_or(first.clone())));
            twice.extend(second.map(|second| (group, first, second)));
        }
        while machine.second_host.is_on() {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        for (group, first, second) in twice {
            // When the first host fell meanwhile, the node hosted the shard anew and sent the clients there.
            let hosted = node.hosted().get(group).filter(|hosted| hosted.get_id() != second.get_id());
            firsts.push(hosted.unwrap_or(first));
            node.hosted().set(group, None);
            // It fails only by being gone already.
            let _ = second.stop_and_wait(None, None).await;
        }
        while under_way.load(Ordering::Relaxed) > 0 {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        firsts.into_iter().for_each(|first| first.stop(None));
        tokio::time::sleep(HOSTED_ANEW).await;
    }
}

/// Waits until each entity of a host that gets no clients any more has answered those it had.
async fn fall_silent(host: &ActorRef<ShardMessage>) {
    let (reply, residents) = oneshot::channel();
    drop(host.cast(ShardMessage::Residents { limit: usize::MAX, reply }));
    let Ok(residents) = residents.await else { return };
    for (entity, _) in residents.used_last {
        loop {
            let (reply, described) = oneshot::channel();
            drop(host.cast(ShardMessage::Describe { entity: entity.clone(), reply }));
            // One that is not there has nobody waiting.
            if !described.await.is_ok_and(|entity| entity.busy || entity.waiting > 0) {
                break;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

async fn host(node: &Node, log: Second, courier: Arc<dyn Courier>) -> Option<ActorRef<ShardMessage>> {
    let surroundings = Surroundings {
        group: log.group.id(),
        replication: Arc::new(log),
        journal: node.journal().clone(),
        courier,
        clock: node.clock().clone(),
        gate: node.gate().clone(),
        observer: node.observer().clone(),
        flights: Flights::default(),
        waiting_max: node.options().waiting_per_entity_max,
    };
    let arguments = ShardArguments { surroundings: Arc::new(surroundings), options: ShardOptions::default() };
    Actor::spawn(None, ShardActor, arguments).await.ok().map(|(host, _)| host)
}

/// The group's log as the second host has it: slow to get anything there.
struct Second {
    group: Group,
    /// Draws how slow it is.
    rng: Arc<dyn Rng>,
    /// Batches without a verdict.
    under_way: Arc<AtomicUsize>,
}

#[async_trait]
impl Replication for Second {
    fn append(&self, batch: EntityBatch, then: VerdictListener) {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        let under_way = self.under_way.clone();
        let counted = VerdictListener::new(move |outcome| {
            under_way.fetch_sub(1, Ordering::Relaxed);
            then.tell(outcome);
        });
        let (group, lag) = (self.group.clone(), within(&*self.rng, &(Duration::ZERO..=LAG)));
        tokio::spawn(async move {
            tokio::time::sleep(lag).await;
            group.append(batch, counted);
        });
    }

    async fn confirm_lease(&self) -> Result<(), LeaseError> {
        self.group.confirm_lease().await
    }
}
