//! One node: its groups, its region, its router, wired over the injected seams.
//!
//! Start: the clock from the newest time on disk (P14) → the meta group, initialised on first start as a cluster of
//! one voter → the cluster entity tells how many shards there are → every shard's group → ready when all that this
//! node should lead are hosted. A node that lost everything but its log and checkpoints takes exactly this path too:
//! groups replay what the store lacks before they lead.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorRef};
use tokio::sync::{mpsc, oneshot, watch};

use super::courier::NodeCourier;
use super::gateway::Gateway;
use super::hashing::ShardCount;
use super::raft::group::{Group, GroupError, GroupParts, Leadership, RaftTiming};
use super::raft::state_machine::MachineParts;
use super::raft::{Member, MemberId};
use super::router::Router;
use super::setup::{self, SetupError};
use super::transport::Transport;
use crate::actors::entity::Surroundings;
use crate::actors::feed_signal::FeedSignal;
use crate::actors::flights::Flights;
use crate::actors::observe::Observer;
use crate::actors::region::{HostedShards, RegionActor, RegionArguments, RegionMessage};
use crate::actors::shard::{ShardMessage, ShardOptions};
use crate::actors::storage_gate::StorageGate;
use crate::clock::{Clock, NodeClock};
use crate::domain::cluster::Genesis;
use crate::domain::time::Timestamp;
use crate::payments::courier::PaymentCourier;
use crate::persistence::checkpoint::CheckpointKeeper;
use crate::persistence::fold::{self, FoldRequest, Folder};
use crate::persistence::journal::{Journal, JournalError};
use crate::persistence::log::{GroupId, Log};
use crate::persistence::store::Store;
use crate::persistence::turns::Turns;
use crate::rng::Rng;

/// How long a node waits for its shards to be hosted before it says what is wrong.
const HOSTING_TIMEOUT: Duration = Duration::from_secs(120);

/// How long entities of a stopping node may take to finish what they heard: a batch takes milliseconds, a full disk for
/// ever.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// The world a node lives in.
#[derive(Clone)]
pub struct Seams {
    /// Raw time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub rng: Arc<dyn Rng>,
    /// The way to other members.
    pub transport: Arc<dyn Transport>,
    /// The replicated truth.
    pub log: Arc<dyn Log>,
    /// What actors recover from.
    pub store: Arc<dyn Store>,
    /// Checkpoints of groups.
    pub checkpoints: CheckpointKeeper,
    /// Turns at a group's rows, shared with the checkpoints.
    pub turns: Turns,
    /// Payment providers.
    pub payments: PaymentCourier,
}

/// What can be chosen about a node.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// Its number in the cluster.
    pub member: MemberId,
    /// Its name.
    pub name: String,
    /// Shards of a cluster that does not exist yet; ignored afterwards.
    pub shards: ShardCount,
    /// Raft's timing.
    pub timing: RaftTiming,
    /// How long an entity stays in memory that heard nothing.
    pub idle_after: Duration,
    /// Entities in memory, all shards together.
    pub residents_max: usize,
    /// Client commands under way per shard; the next is refused.
    pub in_flight_per_shard_max: usize,
    /// Client commands waiting for their turn at one entity; the next is refused.
    pub waiting_per_entity_max: usize,
}

/// Why a node cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A group does not start.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// The store cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The cluster's settings cannot be read or made.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The actor system refused.
    #[error("the region could not be started: {message}")]
    Region {
        /// Why.
        message: String,
    },
    /// Shards are not led after a long wait.
    #[error("shards {missing:?} are not led after {waited_s} s; look for errors about these groups above")]
    NotHosted {
        /// Which.
        missing: Vec<u32>,
        /// How long was waited.
        waited_s: u64,
    },
}

/// A running node.
pub struct Node {
    options: NodeOptions,
    shards: ShardCount,
    genesis: Option<Genesis>,
    groups: BTreeMap<GroupId, Group>,
    hosted: HostedShards,
    region: ActorRef<RegionMessage>,
    router: Router,
    gateway: Arc<Gateway>,
    journal: Journal,
    clock: Arc<NodeClock>,
    observer: Arc<Observer>,
    gate: StorageGate,
    feed: FeedSignal,
    folder: mpsc::Sender<FoldRequest>,
    seams: Seams,
}

impl Node {
    /// Starts a node and returns once it hosts everything it should.
    pub async fn start(seams: Seams, options: NodeOptions) -> Result<Self, StartError> {
        let journal = Journal::new(seams.store.clone());
        let clock = NodeClock::new(seams.clock.clone(), newest_time_on_disk(&journal).await?);
        let hosted = HostedShards::default();
        let gateway = Arc::new(Gateway::new(hosted.clone()));
        seams.transport.open(options.member, gateway.clone());
        let arguments = RegionArguments { hosted: hosted.clone() };
        let (region, _) = Actor::spawn(None, RegionActor, arguments)
            .await
            .map_err(|error| StartError::Region { message: error.to_string() })?;
        let (folder, wanted) = fold::channel();
        tokio::spawn(Folder::new(seams.store.clone(), seams.turns.clone()).run(wanted));
        let all_groups = (0..=ShardCount::MAX).map(GroupId);
        let mut node = Self {
            router: Router::new(
                options.member,
                gateway.clone(),
                seams.transport.clone(),
                options.in_flight_per_shard_max,
            ),
            gateway,
            shards: options.shards,
            genesis: None,
            groups: BTreeMap::new(),
            feed: FeedSignal::new(all_groups),
            observer: Arc::new(Observer::default()),
            gate: StorageGate::default(),
            options,
            hosted,
            region,
            journal,
            clock,
            folder,
            seams,
        };
        node.start_group(GroupId::META).await?;
        node.hosting([GroupId::META]).await?;
        node.clock.not_before(newest_time_on_disk(&node.journal).await?);
        let genesis = setup::genesis(&node.router, &*node.seams.rng, node.options.shards, node.options.member).await?;
        node.shards = ShardCount::new(genesis.shards).ok_or(SetupError::Answer)?;
        node.genesis = Some(genesis);
        node.router.learn(node.shards);
        for group in node.shards.groups() {
            node.start_group(group).await?;
        }
        node.hosting(node.shards.groups()).await?;
        // The store may have been behind: by now the log's last records are in it.
        node.clock.not_before(newest_time_on_disk(&node.journal).await?);
        Ok(node)
    }

    /// The way to any entity.
    pub fn router(&self) -> &Router {
        &self.router
    }

    /// The node's time.
    pub fn clock(&self) -> &Arc<NodeClock> {
        &self.clock
    }

    /// Reading what is stored here.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Rings when log entries are applied.
    pub fn feed(&self) -> &FeedSignal {
        &self.feed
    }

    /// Shards hosted here.
    pub fn hosted(&self) -> &HostedShards {
        &self.hosted
    }

    /// The node's groups: meta first, then shards.
    pub fn groups(&self) -> &BTreeMap<GroupId, Group> {
        &self.groups
    }

    /// How entities are spread.
    pub fn shards(&self) -> ShardCount {
        self.shards
    }

    /// What the cluster was born with.
    pub fn genesis(&self) -> &Genesis {
        self.genesis.as_ref().expect("a started node has read it")
    }

    /// Counts of the actors.
    pub fn observer(&self) -> &Arc<Observer> {
        &self.observer
    }

    /// Whether client writes are let in.
    pub fn gate(&self) -> &StorageGate {
        &self.gate
    }

    /// What it was started with.
    pub fn options(&self) -> &NodeOptions {
        &self.options
    }

    /// Returns once one of the groups has stopped for good: its entities are answered for no more, and only a new start
    /// of the process brings it back.
    pub fn failed(&self) -> impl Future<Output = GroupError> + Send + 'static {
        let failing: Vec<_> = self.groups.values().map(|group| Box::pin(group.failed())).collect();
        async move { futures::future::select_all(failing).await.0 }
    }

    /// Drains the entities, stops hosting, stops the groups, flushes and closes log and store. What is owed stands in
    /// the journal and is delivered after the next start; whoever comes now holds Unknown.
    pub async fn stop(&self) {
        self.drain().await;
        if let Err(error) = self.region.stop_and_wait(None, None).await {
            tracing::warn!(%error, "the region did not stop in order");
        }
        for group in self.groups.values() {
            group.shutdown().await;
        }
        self.seams.store.close().await;
        self.seams.log.close().await;
    }

    /// Every entity finishes what it heard: each batch in flight has its verdict, each caller an answer.
    async fn drain(&self) {
        let mut draining = Vec::new();
        for group in self.hosted.groups() {
            let (told, drained) = oneshot::channel();
            if self.hosted.get(group).is_some_and(|shard| shard.cast(ShardMessage::Drain(told)).is_ok()) {
                draining.push(drained);
            }
        }
        if tokio::time::timeout(DRAIN_TIMEOUT, futures::future::join_all(draining)).await.is_err() {
            tracing::warn!("some entities had not finished when the time to drain was over; the journal has the rest");
        }
    }

    async fn start_group(&mut self, group: GroupId) -> Result<(), StartError> {
        let (applied, installed) = (self.feed.clone(), self.feed.clone());
        let machine = MachineParts {
            group,
            store: self.seams.store.clone(),
            checkpoints: self.seams.checkpoints.clone(),
            folder: self.folder.clone(),
            on_applied: Arc::new(move |group, index, stored| {
                stored.iter().for_each(|batch| applied.touched(&batch.entity, batch.last_sequence()));
                applied.applied(group, index);
            }),
            on_installed: Arc::new(move |group, index, _| installed.installed(group, index)),
        };
        let parts = GroupParts {
            member: self.options.member,
            timing: self.options.timing.clone(),
            transport: self.seams.transport.clone(),
            log: self.seams.log.clone(),
            machine,
            seed: self.seams.rng.next_u64(),
        };
        let started = Group::start(parts).await?;
        let me = Member { name: self.options.name.clone(), address: String::new() };
        started.initialize(self.options.member, me).await?;
        self.gateway.connect(started.clone());
        self.follow_leadership(&started);
        self.groups.insert(group, started);
        Ok(())
    }

    /// Hosts the group's shard while this node leads it.
    fn follow_leadership(&self, group: &Group) {
        let surroundings = Arc::new(Surroundings {
            group: group.id(),
            replication: Arc::new(group.clone()),
            journal: self.journal.clone(),
            courier: Arc::new(NodeCourier::new(
                Arc::new(self.router.clone()),
                self.seams.payments.clone(),
                self.seams.rng.clone(),
            )),
            clock: self.clock.clone(),
            gate: self.gate.clone(),
            observer: self.observer.clone(),
            flights: Flights::default(),
            waiting_max: self.options.waiting_per_entity_max,
        });
        let residents_max = self.options.residents_max.div_ceil(self.shards.get() as usize);
        let options = ShardOptions { idle_after: self.options.idle_after, residents_max };
        tokio::spawn(follow(group.leadership(), self.region.clone(), surroundings, options));
    }

    async fn hosting(&self, wanted: impl IntoIterator<Item = GroupId>) -> Result<(), StartError> {
        let wanted: Vec<GroupId> = wanted.into_iter().collect();
        let missing = || wanted.iter().filter(|group| self.hosted.get(**group).is_none()).map(|group| group.0);
        let deadline = tokio::time::Instant::now() + HOSTING_TIMEOUT;
        while missing().next().is_some() {
            if tokio::time::Instant::now() > deadline {
                let missing = missing().collect();
                return Err(StartError::NotHosted { missing, waited_s: HOSTING_TIMEOUT.as_secs() });
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }
}

async fn follow(
    mut leadership: watch::Receiver<Leadership>,
    region: ActorRef<RegionMessage>,
    surroundings: Arc<Surroundings>,
    options: ShardOptions,
) {
    let group = surroundings.group;
    loop {
        let message = match *leadership.borrow_and_update() {
            Leadership::Leading { term } => RegionMessage::Host { term, surroundings: surroundings.clone(), options },
            Leadership::Following => RegionMessage::Drop { group },
        };
        if region.cast(message).is_err() || leadership.changed().await.is_err() {
            return;
        }
    }
}

async fn newest_time_on_disk(journal: &Journal) -> Result<Timestamp, JournalError> {
    let mut newest = Timestamp::ZERO;
    for group in (0..=ShardCount::MAX).map(GroupId) {
        if let Some(applied) = journal.applied(group).await? {
            newest = newest.max(applied.newest_at);
        }
    }
    Ok(newest)
}
