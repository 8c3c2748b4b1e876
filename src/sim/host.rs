//! A node on a simulated host: the program's own parts, put together as `serve` does, over simulated seams.
//!
//! What outlives a crash is the machine: its disk and how often it was started. Everything else lives in the host's
//! runtime and is cut off at its awaits when the host crashes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::task::TaskTracker;

use super::disk::{RESERVE_BYTES, SimDisk};
use super::network::{HTTP_PORT, Line, OPS_PORT, SimListener};
use super::payments::NetworkGateway;
use super::power::Power;
use super::second_host::{self, SecondHost};
use super::time::{SimClock, WallClock};
use super::trouble::Trouble;
use crate::cluster::courier::NodeCourier;
use crate::cluster::hashing::ShardCount;
use crate::cluster::node::{Node, NodeOptions, Seams};
use crate::cluster::raft::group::RaftTiming;
use crate::cluster::transport::DirectTransport;
use crate::cluster::upkeep::{Space, Upkeep, UpkeepOptions};
use crate::config::Config;
use crate::http::node_ops::{Computer, NodeOps};
use crate::http::node_ports::{HubChanges, JournalExport, NodeVault};
use crate::http::ops::keys::ClusterKeys;
use crate::http::options::HttpOptions;
use crate::http::ports::{BackupStatus, Backups};
use crate::http::{self, AppState, serve};
use crate::payments::courier::{CourierOptions, PaymentCourier};
use crate::payments::gateway::{Gateways, PaymentGateway};
use crate::payments::simulated::PROVIDER_NAME;
use crate::persistence::checkpoint::CheckpointKeeper;
use crate::persistence::log::Log;
use crate::persistence::storage;
use crate::persistence::store::Store;
use crate::persistence::trim::{Retention, Trimmer};
use crate::persistence::turns::Turns;
use crate::projections::read_side::ReadSide;
use crate::projections::search::memory::MemorySearchIndex;
use crate::rng::{Rng, SeededRng};

/// Opens the operators' listener from other hosts.
pub const OPS_TOKEN: &str = "the-operators-token-of-the-simulated-world";

/// What a node is like.
#[derive(Clone, Debug)]
pub struct NodeManner {
    /// Shards of the cluster.
    pub shards: u32,
    /// How long an entity stays in memory unused.
    pub idle_after: Duration,
    /// Log bytes of a shard after which it is checkpointed.
    pub checkpoint_bytes_min: u64,
    /// Whether its shards may be hosted twice.
    pub hosts_twice: bool,
    /// Of so many answers one is reset.
    pub reset_one_in: u64,
    /// Of so many packets one is lost.
    pub loss_one_in: u64,
}

/// One computer of the world.
pub struct Machine {
    /// Its host name.
    pub name: String,
    /// Its number in the cluster.
    pub member: u64,
    /// Its disk.
    pub disk: SimDisk,
    /// Its power.
    pub power: Power,
    /// Its wall clock.
    pub wall: Arc<WallClock>,
    /// Whether its shards are hosted twice.
    pub second_host: SecondHost,
    /// What goes wrong with single calls.
    pub trouble: Trouble,
    /// The world's seed.
    pub seed: u64,
    /// What its node is like.
    pub manner: NodeManner,
    /// How often it was started.
    pub starts: AtomicU64,
}

impl Machine {
    fn line(&self, port: &str) -> Line {
        let NodeManner { reset_one_in, loss_one_in, .. } = self.manner;
        let (name, power, trouble) = (self.name.clone(), self.power.clone(), self.trouble.clone());
        Line { name, power, trouble, rng: self.stream(port), reset_one_in, loss_one_in }
    }

    /// A stream of randomness of this incarnation.
    fn stream(&self, of: &str) -> Arc<dyn Rng> {
        let start = self.starts.load(Ordering::Relaxed);
        Arc::new(SeededRng::stream(self.seed, &format!("{}/{start}/{of}", self.name)))
    }
}

/// Starts the node and serves until the host crashes.
pub async fn run(machine: Arc<Machine>) -> turmoil::Result {
    machine.starts.fetch_add(1, Ordering::Relaxed);
    let SimDisk { log, store, files, space, .. } = machine.disk.clone();
    tokio::spawn(log.clone().run(machine.stream("disk")));
    let (turns, store) = (Turns::new(), store as Arc<dyn Store>);
    let checkpoints = CheckpointKeeper::new(files, store.clone(), turns.clone());
    storage::reconcile(&*log, &store, &checkpoints).await?;
    let rng = machine.stream("node");
    let gateway =
        (PROVIDER_NAME.to_owned(), Arc::new(NetworkGateway(machine.power.clone())) as Arc<dyn PaymentGateway>);
    let gateways = Gateways::new([gateway]);
    let seams = Seams {
        clock: Arc::new(SimClock::new(machine.wall.clone(), machine.power.clone())),
        rng: rng.clone(),
        transport: Arc::new(DirectTransport::default()),
        log: log.clone(),
        store: store.clone(),
        checkpoints: checkpoints.clone(),
        turns: turns.clone(),
        payments: PaymentCourier::new(gateways.clone(), machine.stream("payments"), CourierOptions::default()),
    };
    let payments = seams.payments.clone();
    let node = Arc::new(Node::start(seams, node_options(&machine)).await?);
    if machine.manner.hosts_twice {
        let rng = machine.stream("second host");
        let courier = NodeCourier::new(Arc::new(node.router().clone()), payments, rng.clone());
        tokio::spawn(second_host::run(node.clone(), machine.clone(), Arc::new(courier), rng));
    }
    let groups = node.shards().groups().collect();
    let search = Arc::new(MemorySearchIndex::default());
    let read_side = Arc::new(ReadSide::start(node.journal().clone(), node.feed().clone(), groups, search).await?);
    let retention = Retention { records: Duration::MAX, kept_for_ever: Default::default(), feed_rows_max: u64::MAX };
    let upkeep = Upkeep {
        options: UpkeepOptions {
            checkpoint_bytes_min: machine.manner.checkpoint_bytes_min,
            reserve_bytes: RESERVE_BYTES,
            sweep_interval: Duration::from_secs(600),
        },
        groups: node.groups().clone(),
        log,
        store: store.clone(),
        checkpoints,
        trimmer: Trimmer::new(store, turns, retention),
        clock: node.clock().clone(),
        gate: node.gate().clone(),
        space: Arc::new(space),
    };
    tokio::spawn(upkeep.run());
    serve_http(&node, &read_side, rng, gateways, &machine).await
}

async fn serve_http(
    node: &Arc<Node>,
    read_side: &Arc<ReadSide>,
    rng: Arc<dyn Rng>,
    gateways: Gateways,
    machine: &Machine,
) -> turmoil::Result {
    let ask = Arc::new(node.router().clone());
    let computer = Arc::new(SimComputer(machine.disk.clone()));
    let state = AppState::new(
        HttpOptions::default(),
        http::Parts {
            ask: ask.clone(),
            queries: read_side.clone(),
            changes: Arc::new(HubChanges::new(read_side.hub().clone())),
            vault: Arc::new(NodeVault::new(node.clone())),
            keys: Arc::new(ClusterKeys::new(ask, rng.clone())),
            ops: Arc::new(NodeOps::new(node.clone(), computer, read_side.holds().clone())),
            catalogue: Arc::new(JournalExport::new(node.clone())),
            backups: Arc::new(NoBackups),
            gateways,
            clock: node.clock().clone(),
            rng,
            cluster_secret: node.genesis().secret.0,
            ops_token: Some(OPS_TOKEN.to_owned()),
        },
    );
    let tasks = TaskTracker::new();
    let public = SimListener::bind(HTTP_PORT, machine.line("shoppers")).await?;
    let ops = SimListener::bind(OPS_PORT, machine.line("operators")).await?;
    let public = serve::accept(public, http::public_router(&state), state.clone(), None, tasks.clone());
    let ops = serve::accept(ops, http::ops_router(&state), state.clone(), None, tasks.clone());
    tracing::info!("node serves");
    tokio::join!(public, ops);
    Ok(())
}

fn node_options(machine: &Machine) -> NodeOptions {
    let defaults = Config::default();
    NodeOptions {
        member: machine.member,
        name: machine.name.clone(),
        shards: ShardCount::new(machine.manner.shards).expect("the scenario was checked"),
        timing: RaftTiming::default(),
        idle_after: machine.manner.idle_after,
        residents_max: defaults.entities.resident_max as usize,
        in_flight_per_shard_max: defaults.router.in_flight_per_shard_max as usize,
        waiting_per_entity_max: defaults.entities.waiting_max as usize,
    }
}

/// The computer, as far as its operators ask in the simulated world: metrics belong to a process, not to a host.
struct SimComputer(SimDisk);

#[async_trait]
impl Computer for SimComputer {
    fn disk_free_bytes(&self) -> u64 {
        self.0.space.free_bytes().unwrap_or(0)
    }

    async fn disk_used_bytes(&self) -> u64 {
        self.0.log.disk_bytes().await + self.0.store.disk_bytes().await
    }

    fn metrics(&self) -> String {
        String::new()
    }
}

/// Backups need real directories.
struct NoBackups;

impl Backups for NoBackups {
    fn start(&self, _: Option<std::path::PathBuf>) -> Option<BackupStatus> {
        None
    }

    fn list(&self) -> Vec<BackupStatus> {
        Vec::new()
    }
}
