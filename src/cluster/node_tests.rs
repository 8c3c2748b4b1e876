//! A whole node over the engines of production: what it does with a long history, and how it starts.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::hashing::ShardCount;
use super::node::{Node, NodeOptions, Seams};
use super::raft::group::RaftTiming;
use super::transport::DirectTransport;
use crate::actors::messages::{Ask, AskError, Origin, Request};
use crate::clock::SystemClock;
use crate::domain::entity::{Fingerprint, Stamp};
use crate::domain::ids::{CommandId, EntityId};
use crate::domain::quantity::Quantity;
use crate::domain::registry::{AnyCommand, AnyReply};
use crate::domain::stock::{StockCommand, StockReply};
use crate::payments::courier::{CourierOptions, PaymentCourier};
use crate::payments::gateway::Gateways;
use crate::persistence::datadir::DataDir;
use crate::persistence::sled_store::StoreOptions;
use crate::persistence::storage::Storage;
use crate::rng::{Rng, SeededRng};

const LOG_BYTES_MAX: u64 = 64 << 20;

/// A node on a data directory.
pub(super) struct Running {
    pub node: Node,
    pub seams: Seams,
    rng: Arc<dyn Rng>,
    _directory: DataDir,
}

impl Running {
    pub async fn start(path: &Path) -> Self {
        let directory = DataDir::open(path).unwrap();
        let Storage { log, store, checkpoints, turns, .. } =
            Storage::open(&directory, LOG_BYTES_MAX, StoreOptions::default()).await.unwrap();
        let rng: Arc<dyn Rng> = Arc::new(SeededRng::from_os());
        let payments = PaymentCourier::new(Gateways::new([]), rng.clone(), CourierOptions::default());
        let clock = Arc::new(SystemClock::new());
        let transport = Arc::new(DirectTransport::default());
        let seams = Seams { clock, rng: rng.clone(), transport, log, store, checkpoints, turns, payments };
        let options = NodeOptions {
            member: 1,
            name: "node-1".to_owned(),
            shards: ShardCount::new(2).unwrap(),
            timing: RaftTiming::default(),
            idle_after: Duration::from_secs(60),
            residents_max: 20_000,
            in_flight_per_shard_max: 1_000,
            waiting_per_entity_max: 1_000,
        };
        Self { node: Node::start(seams.clone(), options).await.unwrap(), seams, rng, _directory: directory }
    }

    pub async fn ask(&self, entity: EntityId, command: StockCommand) -> StockReply {
        let stamp = Stamp { command: CommandId(self.rng.next_id()), fingerprint: Fingerprint::default() };
        let command = AnyCommand::Stock(command);
        let budget = Duration::from_secs(30);
        let request = Request { entity, command, stamp, origin: Origin::Router, budget };
        match self.node.router().ask(request).await.unwrap().reply {
            AnyReply::Stock(reply) => reply,
            other => panic!("a stock item answered {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_history_is_recovered_from_its_snapshot_and_few_records() {
    let directory = tempfile::tempdir().unwrap();
    let tea = EntityId::stock(&"TEA".parse().unwrap());
    let running = Running::start(directory.path()).await;
    let receipt = || StockCommand::Receive { quantity: Quantity::new(1).unwrap(), reference: "x".repeat(200) };
    let mut sequence_at_snapshot = None;
    for round in 1..=400 {
        futures::future::join_all((0..10).map(|_| running.ask(tea.clone(), receipt()))).await;
        let group = running.node.shards().group_of(&tea);
        let loaded = running.node.journal().load(group, &tea).await.unwrap();
        if let Some(snapshot) = loaded.snapshot {
            sequence_at_snapshot = Some(snapshot.sequence.0);
            assert_eq!(snapshot.sequence.0 + loaded.records.len() as u64, round * 10);
            break;
        }
    }
    let folded = sequence_at_snapshot.expect("a snapshot after far more than its due of record bytes");
    let before = running.ask(tea.clone(), StockCommand::Show).await;
    running.node.stop().await;
    drop(running);

    let running = Running::start(directory.path()).await;
    let group = running.node.shards().group_of(&tea);
    let loaded = running.node.journal().load(group, &tea).await.unwrap();
    assert!(loaded.snapshot.is_some_and(|snapshot| snapshot.sequence.0 >= folded));
    assert_eq!(running.ask(tea, StockCommand::Show).await, before);
    running.node.stop().await;
}

/// An error of the log is the end of a group in openraft: a node that went on would answer "unknown" for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_group_whose_log_fails_is_hosted_no_more_and_the_node_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let tea = EntityId::stock(&"TEA".parse().unwrap());
    let running = Running::start(directory.path()).await;
    let group = running.node.shards().group_of(&tea);
    let failed = tokio::spawn(running.node.failed());
    running.seams.log.close().await;
    let stamp = Stamp { command: CommandId(running.rng.next_id()), fingerprint: Fingerprint::default() };
    let receive = StockCommand::Receive { quantity: Quantity::new(1).unwrap(), reference: String::new() };
    let (command, budget) = (AnyCommand::Stock(receive), Duration::from_millis(200));
    let request = Request { entity: tea, command, stamp, origin: Origin::Router, budget };
    assert!(matches!(running.node.router().ask(request).await, Err(AskError::Unknown { .. })));
    let error = tokio::time::timeout(Duration::from_secs(60), failed).await.expect("it is noticed").unwrap();
    assert!(error.to_string().starts_with(&format!("group {group} stopped")), "{error}");
    let dropped = async {
        while running.node.hosted().get(group).is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), dropped).await.expect("it is hosted no more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_stopped_in_order_has_not_failed() {
    let directory = tempfile::tempdir().unwrap();
    let running = Running::start(directory.path()).await;
    let failed = tokio::spawn(running.node.failed());
    running.node.stop().await;
    tokio::task::yield_now().await;
    assert!(!failed.is_finished());
}
