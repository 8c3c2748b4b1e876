//! A shard over a scripted log: verdicts come at once, are held back, refused or lost, as a test wants it. The journal
//! behind it is written by the applier of production, so what a recovered actor finds is what was really stored.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use ractor::{Actor, ActorRef};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::entity::{EntityActor, EntityArguments, EntityMessage, Surroundings};
use super::messages::{Answer, AskError, Origin, Request};
use super::observe::Observer;
use super::ports::{AppendError, Courier, LeaseError, Replication, VerdictListener};
use super::shard::{ShardActor, ShardArguments, ShardMessage, ShardOptions};
use super::storage_gate::StorageGate;
use crate::clock::{Clock, NodeClock};
use crate::domain::entity::{Fingerprint, Outgoing, Settlement, Stamp};
use crate::domain::ids::{CommandId, EntityId, HoldId};
use crate::domain::quantity::Quantity;
use crate::domain::registry::AnyCommand;
use crate::domain::stock::{Holder, Reserve, StockCommand};
use crate::domain::time::Timestamp;
use crate::persistence::applier::Applier;
use crate::persistence::journal::Journal;
use crate::persistence::log::GroupId;
use crate::persistence::memory::MemoryStore;
use crate::persistence::records::EntityBatch;
use crate::persistence::store::Store;
use crate::persistence::testkit::{raft, stock};

/// The group of every test here.
pub const GROUP: GroupId = GroupId(1);

/// What becomes of the next batches.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Applied, and the verdict told at once.
    Applied,
    /// Applied, and nobody told: the group "ended" after the commit.
    AppliedButUnknown,
    /// Lost before the commit.
    Lost,
    /// Waits for [`ScriptedLog::let_go`].
    Held,
}

/// A log whose verdicts a test decides.
pub struct ScriptedLog {
    fate: Mutex<Fate>,
    lease: Mutex<Result<(), LeaseError>>,
    held: Mutex<VecDeque<(EntityBatch, VerdictListener)>>,
    appended: mpsc::UnboundedSender<(EntityBatch, Option<VerdictListener>)>,
}

impl ScriptedLog {
    fn new(store: Arc<dyn Store>) -> Arc<Self> {
        let (appended, mut batches) = mpsc::unbounded_channel::<(EntityBatch, Option<VerdictListener>)>();
        tokio::spawn(async move {
            let mut applier = Applier::open(store, GROUP).await.unwrap();
            let mut index = 0;
            while let Some((batch, listener)) = batches.recv().await {
                index += 1;
                let verdict = applier.apply(index, raft(), &[batch]).await.unwrap()[0];
                if let Some(listener) = listener {
                    listener.tell(Ok(verdict));
                }
            }
        });
        let (fate, lease, held) = (Mutex::new(Fate::Applied), Mutex::new(Ok(())), Mutex::default());
        Arc::new(Self { fate, lease, held, appended })
    }

    /// Decides about the next batches.
    pub fn set_fate(&self, fate: Fate) {
        *self.fate.lock().unwrap() = fate;
    }

    /// Whether the lease holds from now on.
    pub fn set_lease(&self, lease: Result<(), LeaseError>) {
        *self.lease.lock().unwrap() = lease;
    }

    /// Record counts of the batches held back, in order.
    pub fn held(&self) -> Vec<u32> {
        self.held.lock().unwrap().iter().map(|(batch, _)| batch.record_count).collect()
    }

    /// Applies the first batch held back.
    pub fn let_go(&self) {
        let (batch, listener) = self.held.lock().unwrap().pop_front().expect("a batch was held back");
        self.appended.send((batch, Some(listener))).unwrap();
    }

    /// Stores a batch behind the shard's back, as another node's stale or newer leader would.
    pub fn store_behind_its_back(&self, batch: EntityBatch) {
        self.appended.send((batch, None)).unwrap();
    }
}

#[async_trait]
impl Replication for ScriptedLog {
    fn append(&self, batch: EntityBatch, then: VerdictListener) {
        let fate = *self.fate.lock().unwrap();
        match fate {
            Fate::Applied => self.appended.send((batch, Some(then))).unwrap(),
            Fate::AppliedButUnknown => {
                self.appended.send((batch, None)).unwrap();
                then.tell(Err(AppendError::Unknown));
            }
            Fate::Lost => then.tell(Err(AppendError::Unknown)),
            Fate::Held => self.held.lock().unwrap().push_back((batch, then)),
        }
    }

    async fn confirm_lease(&self) -> Result<(), LeaseError> {
        *self.lease.lock().unwrap()
    }
}

/// Takes everything and never comes back.
struct LostCourier;

#[async_trait]
impl Courier for LostCourier {
    async fn deliver(&self, _: Outgoing) -> Settlement {
        std::future::pending().await
    }
}

/// Time that goes with tokio's timers, paused or not.
struct TimerClock(Instant);

impl Clock for TimerClock {
    fn wall(&self) -> Timestamp {
        Timestamp(1_000_000).after(self.0.elapsed())
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

/// A hosted shard.
pub struct HostedShard {
    /// Its log.
    pub log: Arc<ScriptedLog>,
    /// Its journal.
    pub journal: Journal,
    /// Its actor.
    pub actor: ActorRef<ShardMessage>,
    surroundings: Arc<Surroundings>,
}

impl HostedShard {
    /// Hosts a shard over an empty store.
    pub async fn start(options: ShardOptions) -> Self {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let (log, journal) = (ScriptedLog::new(store.clone()), Journal::new(store));
        let clock = NodeClock::new(Arc::new(TimerClock(Instant::now())), Timestamp::ZERO);
        let surroundings = Arc::new(Surroundings {
            group: GROUP,
            replication: log.clone(),
            journal: journal.clone(),
            courier: Arc::new(LostCourier),
            clock,
            gate: StorageGate::default(),
            observer: Arc::new(Observer::default()),
        });
        let arguments = ShardArguments { surroundings: surroundings.clone(), options };
        let (actor, _) = Actor::spawn(None, ShardActor, arguments).await.unwrap();
        Self { log, journal, actor, surroundings }
    }

    /// An entity actor that the shard does not know, for what only its own messages can show.
    pub async fn lone_entity(&self, id: EntityId) -> ActorRef<EntityMessage> {
        let arguments = EntityArguments { id, surroundings: self.surroundings.clone(), shard: self.actor.clone() };
        Actor::spawn(None, EntityActor, arguments).await.unwrap().0
    }

    /// Sends a command; the answer can be awaited. A dropped answer reads as unknown.
    pub fn send(&self, request: Request) -> oneshot::Receiver<Result<Answer, AskError>> {
        let (reply, answer) = oneshot::channel();
        self.actor.cast(ShardMessage::Ask { request, reply: Some(reply) }).unwrap();
        answer
    }

    /// Sends a command and waits once; unknown is an answer here.
    pub async fn ask_once(&self, request: Request) -> Result<Answer, AskError> {
        let lost = Err(AskError::Unknown { reason: "the answer was dropped" });
        self.send(request).await.unwrap_or(lost)
    }

    /// Asks with the same stamp until the outcome is known, as the router does.
    pub async fn ask(&self, request: Request) -> Result<Answer, AskError> {
        loop {
            match self.ask_once(request.clone()).await {
                Err(error) if error.is_transient() => tokio::time::sleep(Duration::from_millis(5)).await,
                outcome => return outcome,
            }
        }
    }

    /// Residents, in id order.
    pub async fn residents(&self) -> Vec<EntityId> {
        let (reply, residents) = oneshot::channel();
        self.actor.cast(ShardMessage::Residents { limit: 1000, reply }).unwrap();
        residents.await.unwrap()
    }
}

/// Waits until something holds; panics after ten seconds of the test's clock.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..2_000 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{what}: not within ten seconds");
}

/// A command to a stock item.
pub fn to_stock(sku: &str, command_number: u8, origin: Origin, command: StockCommand) -> Request {
    let stamp = Stamp { command: CommandId([command_number; 16]), fingerprint: Fingerprint([command_number; 32]) };
    let budget = Duration::from_secs(10);
    Request { entity: stock(sku), command: AnyCommand::Stock(command), stamp, origin, budget }
}

/// Receive units, under a router-drawn id.
pub fn receive(sku: &str, command_number: u8, units: u32) -> Request {
    let command = StockCommand::Receive { quantity: Quantity::new(units).unwrap(), reference: "delivery".to_owned() };
    to_stock(sku, command_number, Origin::Router, command)
}

/// Show the item.
pub fn show(sku: &str) -> Request {
    to_stock(sku, 250, Origin::Router, StockCommand::Show)
}

/// Set a unit aside for an order, as owed by it.
pub fn reserve_owed(sku: &str, command_number: u8) -> Request {
    let reserve = Reserve {
        hold: HoldId([command_number; 16]),
        quantity: Quantity::new(1).unwrap(),
        ttl: Duration::ZERO,
        holder: Holder::Order(crate::domain::ids::OrderId([9; 16])),
        fingerprint: Fingerprint::default(),
    };
    to_stock(sku, command_number, Origin::Owed, StockCommand::Reserve(reserve))
}
