//! One group with three replicas in one process: Raft's messages over the transport.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::group::{Group, GroupParts, RaftTiming};
use super::state_machine::MachineParts;
use super::types::{Member, MemberId};
use crate::actors::ports::{AppendError, Replication, VerdictListener};
use crate::actors::region::HostedShards;
use crate::cluster::gateway::Gateway;
use crate::cluster::transport::{DirectTransport, Transport};
use crate::persistence::checkpoint::CheckpointKeeper;
use crate::persistence::files::MemoryFiles;
use crate::persistence::fold;
use crate::persistence::journal::Journal;
use crate::persistence::log::GroupId;
use crate::persistence::memory::{MemoryLog, MemoryStore};
use crate::persistence::records::{EntityBatch, Verdict};
use crate::persistence::store::Store;
use crate::persistence::testkit::{batch, record, stock};
use crate::persistence::turns::Turns;

const GROUP: GroupId = GroupId(1);
const PATIENCE: Duration = Duration::from_secs(600);

/// One member's replica.
struct Replica {
    group: Group,
    journal: Journal,
    _gateway: Arc<Gateway>,
}

async fn replica(member: MemberId, transport: &Arc<DirectTransport>) -> Replica {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let (folder, _nobody) = fold::channel();
    let machine = MachineParts {
        group: GROUP,
        store: store.clone(),
        checkpoints: CheckpointKeeper::new(Arc::new(MemoryFiles::new()), store.clone(), Turns::new()),
        folder,
        on_applied: Arc::new(|_, _, _| {}),
        on_installed: Arc::new(|_, _, _| {}),
    };
    let (transport, log) = (transport.clone() as Arc<dyn Transport>, Arc::new(MemoryLog::new()));
    let parts =
        GroupParts { member, timing: RaftTiming::default(), transport: transport.clone(), log, machine, seed: member };
    let group = Group::start(parts).await.unwrap();
    let gateway = Arc::new(Gateway::new(HostedShards::default()));
    gateway.connect(group.clone());
    transport.open(member, gateway.clone());
    Replica { group, journal: Journal::new(store), _gateway: gateway }
}

/// Three replicas that know each other, once one of them leads.
async fn three(transport: &Arc<DirectTransport>) -> BTreeMap<MemberId, Replica> {
    let mut replicas = BTreeMap::new();
    for member in 1..=3 {
        replicas.insert(member, replica(member, transport).await);
    }
    let members = (1..=3).map(|number| (number, Member { name: format!("node-{number}"), address: String::new() }));
    replicas[&1].group.initialize_with(members.collect()).await.unwrap();
    replicas
}

async fn leader(replicas: &BTreeMap<MemberId, Replica>) -> MemberId {
    until("a leader", async || {
        let known: Vec<_> = replicas.values().map(|replica| replica.group.leader()).collect();
        known[0].filter(|_| known.iter().all(|leader| *leader == known[0]))
    })
    .await
}

async fn until<T>(what: &str, found: impl AsyncFn() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = found().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.unwrap_or_else(|_| panic!("{what} never came"))
}

/// Appends until the batch is known to be stored: a leader whose lease is not confirmed yet refuses, and a batch that
/// is stored already is refused whole.
async fn store(group: &Group, batch: EntityBatch) {
    until("a verdict", async || {
        let (told, verdict) = tokio::sync::oneshot::channel();
        let listener = VerdictListener::new(move |outcome| {
            let _ = told.send(outcome);
        });
        group.append(batch.clone(), listener);
        match verdict.await.unwrap_or(Err(AppendError)) {
            Ok(Verdict::Stored) => Some(()),
            Ok(Verdict::Refused { last }) => (last >= batch.last_sequence()).then_some(()),
            Err(AppendError) => None,
        }
    })
    .await;
}

async fn holds(replica: &Replica, last: u64) -> Option<()> {
    let loaded = replica.journal.load(GROUP, &stock("TEA")).await.unwrap();
    (loaded.records == (1..=last).map(record).collect::<Vec<_>>()).then_some(())
}

#[tokio::test(start_paused = true)]
async fn what_one_replica_commits_every_replica_stores() {
    let transport = Arc::new(DirectTransport::default());
    let replicas = three(&transport).await;
    let leading = leader(&replicas).await;
    for number in 1..=20 {
        store(&replicas[&leading].group, batch("TEA", number, number)).await;
    }
    for replica in replicas.values() {
        until("its copy", async || holds(replica, 20).await).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_gone_is_replaced_and_nothing_committed_is_lost() {
    let transport = Arc::new(DirectTransport::default());
    let mut replicas = three(&transport).await;
    let first = leader(&replicas).await;
    store(&replicas[&first].group, batch("TEA", 1, 3)).await;
    // Its gateway goes with it: nobody reaches it any more.
    let gone = replicas.remove(&first).unwrap();
    gone.group.shutdown().await;
    drop(gone);
    let second = until("another leader", async || {
        let known: Vec<_> = replicas.values().map(|replica| replica.group.leader()).collect();
        known[0].filter(|leader| *leader != first && known.iter().all(|other| *other == known[0]))
    })
    .await;
    store(&replicas[&second].group, batch("TEA", 4, 5)).await;
    for replica in replicas.values() {
        until("its copy", async || holds(replica, 5).await).await;
    }
}
