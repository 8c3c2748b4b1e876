//! The shop's entities in memory: real rules, one writer, no disk. Commands are decided, applied and asserted as their
//! actors would; what is owed is delivered at once, in order, until nobody owes anything that can be delivered.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::stream::{BoxStream, StreamExt};
use stockroom::actors::messages::{Answer, Ask, AskError, Request};
use stockroom::domain::cluster::{ClusterCommand, ClusterReply, Genesis};
use stockroom::domain::entity::{Destination, Fingerprint, Nature, Settlement, Stamp, VaultChange};
use stockroom::domain::ids::{ClusterId, CommandId, DataKeyId, EntityId, NodeId};
use stockroom::domain::payment::{PaymentOperation, PaymentOutcome, PaymentRequest};
use stockroom::domain::privacy::Secret;
use stockroom::domain::registry::{AnyCommand, AnyReply, AnyState};
use stockroom::domain::rejection::Rejection;
use stockroom::domain::time::{Sequence, Timestamp};
use stockroom::http::ports::{Changes, Vault};
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;

/// 2026-11-22T16:00:00Z.
pub const BEGINNING_MS: u64 = 1_795_363_200_000;
/// More deliveries than any test causes: reached only by a process that never ends.
const DELIVERIES_MAX: usize = 10_000;

/// All entities of one test.
pub struct World {
    inner: Mutex<Inner>,
    changed: broadcast::Sender<EntityId>,
}

struct Inner {
    entities: BTreeMap<EntityId, Resident>,
    remembered: BTreeMap<(EntityId, CommandId), (Fingerprint, Answer)>,
    vault: BTreeMap<DataKeyId, [u8; 32]>,
    at: Timestamp,
    failure: Option<AskError>,
    /// Who does not hear what others owe it.
    deaf: BTreeSet<EntityId>,
    payments: Vec<PaymentRequest>,
}

struct Resident {
    state: AnyState,
    sequence: Sequence,
}

impl World {
    pub fn new() -> Arc<Self> {
        let mut inner = Inner {
            entities: BTreeMap::new(),
            remembered: BTreeMap::new(),
            vault: BTreeMap::new(),
            at: Timestamp(BEGINNING_MS),
            failure: None,
            deaf: BTreeSet::new(),
            payments: Vec::new(),
        };
        let genesis = Genesis { cluster: ClusterId([1; 16]), shards: 12, secret: Secret([9; 32]), node: NodeId(1) };
        let stamp = Stamp { command: CommandId([0; 16]), fingerprint: Fingerprint::default() };
        let birth = AnyCommand::Cluster(ClusterCommand::Init(genesis));
        inner.turn(&EntityId::cluster(), &birth, stamp).unwrap();
        Arc::new(Self { inner: Mutex::new(inner), changed: broadcast::channel(1024).0 })
    }

    /// From now on every command ends like this; `None`: as the rules say.
    pub fn fail_with(&self, failure: Option<AskError>) {
        self.inner.lock().unwrap().failure = failure;
    }

    /// From now on this entity does not hear what others owe it.
    pub fn deafen(&self, entity: EntityId) {
        self.inner.lock().unwrap().deaf.insert(entity);
    }

    /// Everybody hears again, and is told at once what was owed meanwhile.
    pub fn hear(&self) {
        let mut inner = self.inner.lock().unwrap();
        inner.deaf.clear();
        let all: Vec<EntityId> = inner.entities.keys().cloned().collect();
        all.into_iter().for_each(|id| inner.deliver_all(id, &self.changed));
    }

    /// Time passes, and whoever wanted to be woken is.
    pub fn wait(&self, seconds: u64) {
        let mut inner = self.inner.lock().unwrap();
        inner.at = Timestamp(inner.at.0 + seconds * 1000);
        let due: Vec<(EntityId, AnyCommand)> = inner
            .entities
            .iter()
            .filter_map(|(id, resident)| {
                let (at, command) = resident.state.deadline()?;
                (at <= inner.at).then(|| (id.clone(), command))
            })
            .collect();
        for (id, command) in due {
            let stamp = Stamp { command: CommandId([0; 16]), fingerprint: Fingerprint::default() };
            let _ = inner.turn(&id, &command, stamp);
            inner.deliver_all(id, &self.changed);
        }
    }

    /// Everything the payment provider was asked, lookups left out.
    pub fn payments(&self) -> Vec<PaymentRequest> {
        self.inner.lock().unwrap().payments.clone()
    }

    /// What the cluster keeps of API keys, in hex.
    pub fn stored_key_hashes(&self) -> Vec<String> {
        let stamp = Stamp { command: CommandId([2; 16]), fingerprint: Fingerprint::default() };
        let show = AnyCommand::Cluster(ClusterCommand::Show);
        let answer = self.inner.lock().unwrap().turn(&EntityId::cluster(), &show, stamp).unwrap();
        let AnyReply::Cluster(ClusterReply::Shown(view)) = answer.reply else { return Vec::new() };
        view.keys.iter().map(|key| hex::encode(key.hash.0)).collect()
    }

    /// Whether any data key is kept.
    pub fn keeps_data_keys(&self) -> bool {
        !self.inner.lock().unwrap().vault.is_empty()
    }
}

impl Inner {
    fn turn(&mut self, id: &EntityId, command: &AnyCommand, stamp: Stamp) -> Result<Answer, Rejection> {
        let nature = command.nature();
        if nature == Nature::Remembered
            && let Some((fingerprint, answer)) = self.remembered.get(&(id.clone(), stamp.command))
        {
            if *fingerprint != stamp.fingerprint {
                return Err(Rejection::IdempotencyKeyReused);
            }
            return Ok(Answer { replayed: true, ..answer.clone() });
        }
        let fresh = || Resident { state: AnyState::new(id), sequence: Sequence::ZERO };
        let resident = self.entities.entry(id.clone()).or_insert_with(fresh);
        let decision = resident.state.decide(command, self.at)?;
        for event in &decision.events {
            resident.state.apply(event, self.at);
        }
        resident.state.assert_invariants();
        if !decision.events.is_empty() || nature == Nature::Remembered {
            resident.sequence = resident.sequence.next();
        }
        for change in decision.vault {
            match change {
                VaultChange::Put { key, secret } => drop(self.vault.insert(key, secret)),
                VaultChange::Erase { key } => drop(self.vault.remove(&key)),
            }
        }
        let answer =
            Answer { reply: decision.reply, sequence: resident.sequence, at: self.at, replayed: decision.replayed };
        if nature == Nature::Remembered {
            self.remembered.insert((id.clone(), stamp.command), (stamp.fingerprint, answer.clone()));
        }
        Ok(answer)
    }

    /// Delivers what `first` and everybody reached from it owes.
    fn deliver_all(&mut self, first: EntityId, changed: &broadcast::Sender<EntityId>) {
        let (mut queue, mut silent) = (VecDeque::from([first]), Vec::new());
        for _ in 0..DELIVERIES_MAX {
            let Some(id) = queue.pop_front() else { return };
            let _ = changed.send(id.clone());
            let owed = self.entities.get(&id).map(|resident| resident.state.outstanding()).unwrap_or_default();
            let is_heard =
                |to: &Destination| !matches!(to, Destination::Entity(target, _) if self.deaf.contains(target));
            let mut owed = owed.into_iter().filter(|owed| is_heard(&owed.to));
            let Some(outgoing) = owed.find(|owed| !silent.contains(&owed.obligation)) else { continue };
            queue.push_back(id.clone());
            let stamp = Stamp { command: CommandId([1; 16]), fingerprint: Fingerprint::default() };
            let settlement = match &outgoing.to {
                Destination::Entity(target, command) => {
                    queue.push_back(target.clone());
                    match self.turn(target, command, stamp) {
                        Ok(answer) => Settlement::Accepted(answer.reply),
                        Err(rejection) => Settlement::Rejected(rejection),
                    }
                }
                Destination::Payment(request) => Settlement::Payment(self.pay(request)),
            };
            let state = self.entities.get(&id).map(|resident| resident.state.clone());
            match state.and_then(|state| state.settle(&outgoing.obligation, &settlement)) {
                Some(command) => drop(self.turn(&id, &command, stamp)),
                None => silent.push(outgoing.obligation),
            }
        }
        panic!("somebody owes for ever");
    }

    fn pay(&mut self, request: &PaymentRequest) -> PaymentOutcome {
        if !matches!(request.operation, PaymentOperation::Lookup { .. }) {
            self.payments.push(request.clone());
        }
        match &request.operation {
            PaymentOperation::Authorise { token, .. } => match token.0.as_str() {
                "tok_declined" => PaymentOutcome::Declined { reason: "card_declined".to_owned() },
                "tok_webhook" => PaymentOutcome::Pending,
                _ => PaymentOutcome::Authorised,
            },
            PaymentOperation::Capture { .. } => PaymentOutcome::Captured,
            PaymentOperation::Void { .. } => PaymentOutcome::Voided,
            PaymentOperation::Refund { .. } => PaymentOutcome::Refunded,
            PaymentOperation::Lookup { .. } => PaymentOutcome::Pending,
        }
    }
}

/// The world as HTTP's way to the entities.
pub struct Router(pub Arc<World>);

#[async_trait]
impl Ask for Router {
    async fn ask(&self, request: Request) -> Result<Answer, AskError> {
        let Request { entity, command, stamp, .. } = request;
        let mut inner = self.0.inner.lock().unwrap();
        if let Some(failure) = &inner.failure {
            return Err(failure.clone());
        }
        let answer = inner.turn(&entity, &command, stamp)?;
        if command.nature() != Nature::Read {
            inner.deliver_all(entity, &self.0.changed);
        }
        Ok(answer)
    }
}

#[async_trait]
impl Vault for Router {
    async fn secret(&self, _owner: &EntityId, key: DataKeyId) -> Result<Option<[u8; 32]>, AskError> {
        Ok(self.0.inner.lock().unwrap().vault.get(&key).copied())
    }
}

impl Changes for Router {
    fn of(&self, entity: &EntityId) -> BoxStream<'static, ()> {
        let entity = entity.clone();
        let signals = BroadcastStream::new(self.0.changed.subscribe());
        let own = signals.filter_map(move |changed| {
            let is_own = changed.is_ok_and(|changed| changed == entity);
            async move { is_own.then_some(()) }
        });
        own.boxed()
    }
}
