//! One shard under test: real actors over a memory store, and a log the test holds in its hands.
//!
//! The log applies batches through the production applier, so verdicts are real; a test may keep it from answering,
//! make nobody know, or sneak another incarnation's batch in. Time is tokio's paused time, the node clock included.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use ractor::{Actor, ActorRef};
use tokio::sync::{mpsc, oneshot};

use super::entity::Surroundings;
use super::messages::{Answer, AskError, Origin, Request};
use super::observe::Observer;
use super::ports::{AppendError, Courier, LeaseError, Replication, VerdictListener};
use super::shard::{ShardActor, ShardArguments, ShardMessage, ShardOptions};
use super::storage_gate::StorageGate;
use crate::clock::{Clock, NodeClock};
use crate::domain::entity::{Fingerprint, Outgoing, Settlement, Stamp};
use crate::domain::ids::{CommandId, EntityId, HoldId};
use crate::domain::registry::AnyCommand;
use crate::domain::stock::{Holder, Releaser, Reserve, StockCommand};
use crate::domain::testkit::{id16, sku, units};
use crate::domain::time::{Sequence, Timestamp};
use crate::persistence::applier::Applier;
use crate::persistence::codec;
use crate::persistence::journal::Journal;
use crate::persistence::log::GroupId;
use crate::persistence::memory::MemoryStore;
use crate::persistence::records::{EntityBatch, Record, Verdict};
use crate::persistence::store::Store;

/// The shard's group.
pub const GROUP: GroupId = GroupId(1);
/// Client commands an entity lets wait.
pub const WAITING_MAX: usize = 100;
/// How long a test waits, in paused time, for what must not come.
pub const QUIET: Duration = Duration::from_millis(200);

/// Wall and monotonic time are tokio's.
struct PausedClock(tokio::time::Instant);

impl Clock for PausedClock {
    fn wall(&self) -> Timestamp {
        Timestamp(1_000_000).after(self.monotonic())
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

/// A log held in hand.
pub struct HeldLog {
    applier: tokio::sync::Mutex<(Applier, u64)>,
    /// Batches that wait while the log is held.
    waiting: Mutex<VecDeque<(EntityBatch, VerdictListener)>>,
    held: AtomicBool,
    leases_held: AtomicBool,
    lease: AtomicBool,
    /// Whether the lease can be told without a check.
    told: AtomicBool,
    /// Every batch ever appended, in order.
    pub appended: Mutex<Vec<EntityBatch>>,
    /// Lease checks so far.
    pub leases: AtomicUsize,
    /// Lease checks that wait to be answered, while held.
    lease_waits: Mutex<VecDeque<oneshot::Sender<Result<(), LeaseError>>>>,
    myself: std::sync::Weak<Self>,
}

impl HeldLog {
    async fn over(store: Arc<dyn Store>) -> Arc<Self> {
        let applier = Applier::open(store, GROUP).await.unwrap();
        Arc::new_cyclic(|myself| Self {
            applier: tokio::sync::Mutex::new((applier, 0)),
            waiting: Mutex::default(),
            held: AtomicBool::new(false),
            leases_held: AtomicBool::new(false),
            lease: AtomicBool::new(true),
            told: AtomicBool::new(false),
            appended: Mutex::default(),
            leases: AtomicUsize::new(0),
            lease_waits: Mutex::default(),
            myself: myself.clone(),
        })
    }

    /// From now on batches wait.
    pub fn hold(&self) {
        self.held.store(true, Ordering::SeqCst);
    }

    /// From now on lease checks wait.
    pub fn hold_leases(&self) {
        self.leases_held.store(true, Ordering::SeqCst);
    }

    /// Applies what waited, in order, and answers the rest at once from now on.
    pub async fn release(&self) {
        self.held.store(false, Ordering::SeqCst);
        self.leases_held.store(false, Ordering::SeqCst);
        loop {
            let Some((batch, listener)) = self.waiting.lock().unwrap().pop_front() else { break };
            listener.tell(Ok(self.apply(batch).await));
        }
        while let Some(wait) = self.lease_waits.lock().unwrap().pop_front() {
            let _ = wait.send(self.lease_now());
        }
    }

    /// Applies the first batch that waits, and only that one.
    pub async fn release_one(&self) {
        let (batch, listener) = self.waiting.lock().unwrap().pop_front().expect("a batch waits");
        listener.tell(Ok(self.apply(batch).await));
    }

    /// Answers the first lease check that waits, and only that one.
    pub fn release_one_lease(&self) {
        let wait = self.lease_waits.lock().unwrap().pop_front().expect("a lease check waits");
        let _ = wait.send(Ok(()));
    }

    /// Tells everybody who waits that nobody knows; their batches are nowhere.
    pub fn forget_waiting(&self) {
        let waiting = std::mem::take(&mut *self.waiting.lock().unwrap());
        waiting.into_iter().for_each(|(_, listener)| listener.tell(Err(AppendError)));
    }

    /// From now on the lease is told without a check.
    pub fn tell_lease(&self) {
        self.told.store(true, Ordering::SeqCst);
    }

    /// Whether lease checks succeed.
    pub fn set_lease(&self, held: bool) {
        self.lease.store(held, Ordering::SeqCst);
    }

    fn lease_now(&self) -> Result<(), LeaseError> {
        if self.lease.load(Ordering::SeqCst) { Ok(()) } else { Err(LeaseError) }
    }

    /// Stores a batch as another incarnation would.
    pub async fn apply(&self, batch: EntityBatch) -> Verdict {
        let mut applier = self.applier.lock().await;
        applier.1 += 1;
        let index = applier.1;
        applier.0.apply(index, bytes::Bytes::new(), &[batch]).await.unwrap()[0]
    }

    /// The records of every batch appended so far, batch by batch.
    pub fn records(&self) -> Vec<Vec<Record>> {
        let appended = self.appended.lock().unwrap();
        appended.iter().map(|batch| codec::decode_records(batch.entity.kind, &batch.records).unwrap()).collect()
    }
}

#[async_trait]
impl Replication for HeldLog {
    fn append(&self, batch: EntityBatch, then: VerdictListener) {
        self.appended.lock().unwrap().push(batch.clone());
        self.waiting.lock().unwrap().push_back((batch, then));
        if !self.held.load(Ordering::SeqCst) {
            let myself = self.myself.upgrade().unwrap();
            tokio::spawn(async move { myself.release().await });
        }
    }

    fn holds_lease(&self) -> bool {
        self.told.load(Ordering::SeqCst) && self.lease_now().is_ok()
    }

    async fn confirm_lease(&self) -> Result<(), LeaseError> {
        self.leases.fetch_add(1, Ordering::SeqCst);
        if self.leases_held.load(Ordering::SeqCst) {
            let (answer, wait) = oneshot::channel();
            self.lease_waits.lock().unwrap().push_back(answer);
            return wait.await.unwrap_or(Err(LeaseError));
        }
        self.lease_now()
    }
}

/// Hands every delivery to the test and never comes back until it says how it ended.
struct HeldCourier(mpsc::UnboundedSender<(Outgoing, oneshot::Sender<Settlement>)>);

#[async_trait]
impl Courier for HeldCourier {
    async fn deliver(&self, outgoing: Outgoing) -> Settlement {
        let (answer, settled) = oneshot::channel();
        drop(self.0.send((outgoing, answer)));
        match settled.await {
            Ok(settlement) => settlement,
            Err(_) => std::future::pending().await,
        }
    }
}

/// What an ask came to.
pub type Outcome = Result<Answer, AskError>;

/// One shard and everything around it.
pub struct Bench {
    pub log: Arc<HeldLog>,
    pub journal: Journal,
    pub gate: StorageGate,
    pub observer: Arc<Observer>,
    pub shard: ActorRef<ShardMessage>,
    /// Everything owed that was sent, as it is sent.
    pub sent: mpsc::UnboundedReceiver<(Outgoing, oneshot::Sender<Settlement>)>,
    surroundings: Arc<Surroundings>,
    options: ShardOptions,
}

impl Bench {
    /// An empty shard with ordinary limits.
    pub async fn new() -> Self {
        Self::with(ShardOptions::default()).await
    }

    /// An empty shard with these limits.
    pub async fn with(options: ShardOptions) -> Self {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let journal = Journal::new(store.clone());
        let log = HeldLog::over(store).await;
        let clock = NodeClock::new(Arc::new(PausedClock(tokio::time::Instant::now())), Timestamp::ZERO);
        let (sender, sent) = mpsc::unbounded_channel();
        let (gate, observer) = (StorageGate::default(), Arc::new(Observer::default()));
        let surroundings = Arc::new(Surroundings {
            group: GROUP,
            replication: log.clone(),
            journal: journal.clone(),
            courier: Arc::new(HeldCourier(sender)),
            clock,
            gate: gate.clone(),
            observer: observer.clone(),
            flights: Default::default(),
            waiting_max: WAITING_MAX,
        });
        let shard = spawn(&surroundings, options).await;
        Self { log, journal, gate, observer, shard, sent, surroundings, options }
    }

    /// What its entities are given.
    pub fn surroundings(&self) -> Arc<Surroundings> {
        self.surroundings.clone()
    }

    /// What a crash leaves: the same journal under new actors.
    pub async fn restart(&mut self) {
        // Fails only when the test has stopped it before.
        drop(self.shard.stop_and_wait(None, None).await);
        self.shard = spawn(&self.surroundings, self.options).await;
    }

    /// Sends a request; the answer comes later.
    pub fn send(&self, request: Request) -> oneshot::Receiver<Outcome> {
        let (reply, answer) = oneshot::channel();
        self.shard.cast(ShardMessage::Ask { request, reply: Some(reply) }).unwrap();
        answer
    }

    /// Sends a request and waits for its answer; a dropped one is Unknown, as the router reads it.
    pub async fn ask(&self, request: Request) -> Outcome {
        self.send(request).await.unwrap_or(Err(AskError::Unknown { reason: "dropped" }))
    }

    /// Asks again until the answer is not Unknown, as the router does.
    pub async fn ask_until_known(&self, request: Request) -> Outcome {
        for _ in 0..100 {
            match self.ask(request.clone()).await {
                Err(AskError::Unknown { .. }) => tokio::time::sleep(Duration::from_millis(20)).await,
                known => return known,
            }
        }
        panic!("still unknown after two seconds");
    }

    /// Gives an item units.
    pub async fn receive(&self, name: &str, count: u32) {
        let command = StockCommand::Receive { quantity: units(count), reference: String::new() };
        self.ask(stock(name, command, Origin::Router, 200)).await.unwrap();
    }

    /// Entities with an actor.
    pub async fn residents(&self) -> Vec<EntityId> {
        let (reply, answer) = oneshot::channel();
        self.shard.cast(ShardMessage::Residents { limit: usize::MAX, reply }).unwrap();
        let mut residents: Vec<_> = answer.await.unwrap().used_last.into_iter().map(|(entity, _)| entity).collect();
        residents.sort();
        residents
    }

    /// Polls until it holds, for at most ten minutes of paused time.
    pub async fn until(&self, what: &str, holds: impl AsyncFn(&Self) -> bool) {
        for _ in 0..6_000 {
            if holds(self).await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("never: {what}");
    }
}

async fn spawn(surroundings: &Arc<Surroundings>, options: ShardOptions) -> ActorRef<ShardMessage> {
    let arguments = ShardArguments { surroundings: surroundings.clone(), options };
    Actor::spawn(None, ShardActor, arguments).await.unwrap().0
}

/// A command to a stock item under the command id `number`, waited for ten seconds.
pub fn stock(name: &str, command: StockCommand, origin: Origin, number: u8) -> Request {
    Request {
        entity: EntityId::stock(&sku(name)),
        command: AnyCommand::Stock(command),
        stamp: Stamp { command: CommandId(id16(number)), fingerprint: Fingerprint([number; 32]) },
        origin,
        budget: Duration::from_secs(10),
    }
}

/// A shopper's hold of `count` units for ten minutes, under the command id of its number.
pub fn hold(name: &str, number: u8, count: u32) -> Request {
    hold_for(name, number, count, Duration::from_secs(600))
}

/// A shopper's hold that ends by itself.
pub fn hold_for(name: &str, number: u8, count: u32, ttl: Duration) -> Request {
    let (quantity, fingerprint) = (units(count), Fingerprint([number; 32]));
    let reserve = Reserve { hold: HoldId(id16(number)), quantity, ttl, holder: Holder::Shopper, fingerprint };
    stock(name, StockCommand::Reserve(reserve), Origin::ClientKey, number)
}

/// Ends that hold.
pub fn release(name: &str, number: u8) -> Request {
    let command = StockCommand::Release { hold: HoldId(id16(number)), by: Releaser::Shopper };
    stock(name, command, Origin::Router, 100 + number)
}

/// Reads.
pub fn show(name: &str) -> Request {
    stock(name, StockCommand::Show, Origin::Router, 250)
}

/// A merchant's receipt under the command id `number`.
pub fn receive(name: &str, number: u8, count: u32, origin: Origin) -> Request {
    stock(name, StockCommand::Receive { quantity: units(count), reference: String::new() }, origin, number)
}

/// A batch of one record that another incarnation might append as `sequence`.
pub fn foreign_batch(name: &str, sequence: u64) -> EntityBatch {
    crate::persistence::testkit::batch(name, sequence, sequence)
}

/// Sequences of a batch's records.
pub fn sequences(records: &[Record]) -> Vec<Sequence> {
    records.iter().map(|record| record.sequence).collect()
}
