//! Writes into a stopped shop's data directory what no rule of the shop would ever have made.
//!
//! The records go the way of all records: through the entity's shard, its Raft log, the fsync and the store, by the
//! program's own code. Only `decide` was never asked. So every envelope and checksum is right, and what happens next is
//! what would happen after a bug of an earlier version.

use std::sync::Arc;
use std::time::Duration;

use stockroom::actors::ports::{Replication, VerdictListener};
use stockroom::clock::SystemClock;
use stockroom::cluster::hashing::ShardCount;
use stockroom::cluster::node::{Node, NodeOptions, Seams};
use stockroom::cluster::raft::group::RaftTiming;
use stockroom::cluster::transport::DirectTransport;
use stockroom::domain::entity::{Fingerprint, Stamp};
use stockroom::domain::ids::{CommandId, EntityId};
use stockroom::domain::registry::{AnyEvent, AnyReply};
use stockroom::domain::time::Timestamp;
use stockroom::payments::courier::{CourierOptions, PaymentCourier};
use stockroom::payments::gateway::Gateways;
use stockroom::persistence::codec;
use stockroom::persistence::datadir::DataDir;
use stockroom::persistence::journal::{Journal, Tail};
use stockroom::persistence::log::GroupId;
use stockroom::persistence::records::{EntityBatch, Record, Remembered, Verdict};
use stockroom::persistence::sled_store::StoreOptions;
use stockroom::persistence::storage::Storage;
use stockroom::persistence::store::Store;
use stockroom::persistence::turns::Turns;
use stockroom::rng::SeededRng;

use crate::shop::Home;

const LOG_BYTES_MAX: u64 = 1 << 30;

/// One event that an entity did not decide, and what it answered.
pub type Forged = (AnyEvent, AnyReply);

/// Appends records of this age to an entity's journal; it wants attention at `wake_at` afterwards.
pub async fn append(home: &Home, entity: &EntityId, forged: Vec<Forged>, wake_at: Option<Timestamp>, age: Duration) {
    let directory = DataDir::open(home.data()).unwrap();
    let storage = Storage::open(&directory, LOG_BYTES_MAX, StoreOptions::default()).await.unwrap();
    let rng = Arc::new(SeededRng::stream(9, "forge"));
    let seams = Seams {
        clock: Arc::new(SystemClock::new()),
        transport: Arc::new(DirectTransport::default()),
        rng: rng.clone(),
        log: storage.log.clone(),
        store: storage.store.clone(),
        checkpoints: storage.checkpoints.clone(),
        turns: storage.turns.clone(),
        payments: PaymentCourier::new(Gateways::new(None), rng, CourierOptions::default()),
    };
    let node = Node::start(seams, options()).await.unwrap();
    let group = node.shards().group_of(entity);
    let last = node.journal().tail(group, entity).await.unwrap().last;
    let at = Timestamp(node.clock().now().0 - age.as_millis() as u64);
    let mut sequence = last;
    let mut records = Vec::new();
    for (event, reply) in forged {
        sequence = sequence.next();
        records.push(Record {
            sequence,
            stamp: Stamp { command: CommandId([sequence.0 as u8; 16]), fingerprint: Fingerprint::default() },
            remembered: Remembered::ByState,
            at,
            events: vec![event],
            reply,
            wake_at,
        });
    }
    let batch = EntityBatch {
        entity: entity.clone(),
        first_sequence: last.next(),
        record_count: records.len() as u32,
        last_at: at,
        wake_at,
        command_rows: Vec::new(),
        vault: Vec::new(),
        records: codec::encode_records(&records),
    };
    let (told, verdict) = tokio::sync::oneshot::channel();
    node.groups()[&group].append(batch, VerdictListener::new(move |outcome| told.send(outcome).unwrap()));
    assert_eq!(verdict.await.unwrap(), Ok(Verdict::Stored));
    node.stop().await;
}

/// A stopped shop's data directory, opened without a node: for what is wrong in the store alone.
pub struct Offline {
    storage: Storage,
    _directory: DataDir,
}

impl Offline {
    pub async fn open(home: &Home) -> Self {
        let directory = DataDir::open(home.data()).unwrap();
        Self {
            storage: Storage::open(&directory, LOG_BYTES_MAX, StoreOptions::default()).await.unwrap(),
            _directory: directory,
        }
    }

    pub fn store(&self) -> Arc<dyn Store> {
        self.storage.store.clone()
    }

    pub fn turns(&self) -> Turns {
        self.storage.turns.clone()
    }

    /// Where an entity is and where its journal ends. Panics when it has none.
    async fn find(&self, entity: &EntityId) -> (GroupId, Tail) {
        let journal = Journal::new(self.store());
        for group in journal.groups().await.unwrap() {
            let tail = journal.tail(group, entity).await.unwrap();
            if tail.last.0 > 0 {
                return (group, tail);
            }
        }
        panic!("{entity} has no journal");
    }

    pub async fn group_of(&self, entity: &EntityId) -> GroupId {
        self.find(entity).await.0
    }

    pub async fn close(self) {
        self.storage.close().await;
    }
}

/// When an entity wants attention, as the store has it.
pub async fn wake_of(home: &Home, entity: &EntityId) -> Option<Timestamp> {
    let offline = Offline::open(home).await;
    let wake_at = offline.find(entity).await.1.wake_at;
    offline.close().await;
    wake_at
}

fn options() -> NodeOptions {
    NodeOptions {
        member: 1,
        name: "forge".to_owned(),
        shards: ShardCount::DEFAULT,
        timing: RaftTiming::default(),
        idle_after: Duration::from_secs(60),
        residents_max: 1_000,
        in_flight_per_shard_max: 16,
        waiting_per_entity_max: 16,
    }
}
