//! The shard actor: parent of every resident entity of one group while this node leads it.
//!
//! It passes commands on, brings entities to life when somebody asks for them or their time has come, lets idle ones
//! rest, restarts failed ones with backoff and quarantines those whose replay keeps panicking. It is an entity's only
//! correspondent, which makes passivation safe: an entity may rest only if it has seen everything the shard ever sent
//! it; what arrives while it ends is buffered for its next incarnation (P16).
//!
//! Hosted by the region for one term; dropped with it. Everything here can be lost: the journal has the rest.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::entity::{EntityActor, EntityArguments, Surroundings};
use super::messages::{AskError, EntityDescription, EntityMessage, Request};
use super::quarantine::{Health, Verdict as HealthVerdict};
use super::turn::ReplySender;
use super::waker::Waker;
use crate::domain::ids::EntityId;
use crate::domain::time::Timestamp;

/// Commands buffered for an entity that is ending; more are answered `overloaded`.
const BUFFERED_MAX: usize = 1_024;
/// How often idle entities are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// What a shard actor hears.
#[derive(Debug)]
pub enum ShardMessage {
    /// A command for one of its entities.
    Ask {
        /// What is asked.
        request: Request,
        /// Who waits.
        reply: ReplySender,
    },
    /// An entity wants to be woken then.
    WakeAt {
        /// When.
        at: Timestamp,
    },
    /// The timer of this number: wake who is due.
    WakeDue {
        /// Which; of those that were ended nothing is heard.
        timer: u64,
    },
    /// The timer: look for idle entities.
    Sweep,
    /// An entity agrees to rest, having seen this many messages.
    MayRest {
        /// Which.
        entity: EntityId,
        /// Messages it had been sent when asked.
        sent: u64,
    },
    /// An entity's journal cannot be replayed.
    ReplayPanicked {
        /// Which.
        entity: EntityId,
    },
    /// Counts residents and lists those used last, for ops and tests.
    Residents {
        /// List at most this many.
        limit: usize,
        /// Who asked.
        reply: oneshot::Sender<Residents>,
    },
    /// Asks one resident how it is doing; nothing if it is not resident.
    Describe {
        /// Which.
        entity: EntityId,
        /// Who asked.
        reply: oneshot::Sender<EntityDescription>,
    },
    /// The node is stopping: nobody is let in or woken any more; answers once every resident has finished and ended.
    Drain(oneshot::Sender<()>),
    /// Lists quarantined entities and how often each failed.
    Quarantined(oneshot::Sender<Vec<(EntityId, u32)>>),
    /// Gives a quarantined entity another chance; answers whether it was quarantined.
    Release {
        /// Which.
        entity: EntityId,
        /// Who asked.
        reply: oneshot::Sender<bool>,
    },
}

impl ractor::Message for ShardMessage {}

/// Who is resident.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Residents {
    /// How many.
    pub count: usize,
    /// Those used last and how long ago that was, the latest first.
    pub used_last: Vec<(EntityId, Duration)>,
}

/// Limits of one shard.
#[derive(Clone, Copy, Debug)]
pub struct ShardOptions {
    /// An entity that heard nothing for this long may rest.
    pub idle_after: Duration,
    /// Resident entities above this make room, least recently used first.
    pub residents_max: usize,
}

impl Default for ShardOptions {
    fn default() -> Self {
        Self { idle_after: Duration::from_secs(60), residents_max: 20_000 }
    }
}

/// Spawn arguments.
pub struct ShardArguments {
    /// What every entity is given.
    pub surroundings: Arc<Surroundings>,
    /// Limits.
    pub options: ShardOptions,
}

/// The actor.
pub struct ShardActor;

/// A living entity.
struct Resident {
    actor: ActorRef<EntityMessage>,
    /// Commands and wake-ups passed on to this incarnation.
    sent: u64,
    /// When it last heard a command.
    used_at: Instant,
    /// Told to end; commands wait here for the next incarnation.
    ending: Option<VecDeque<(Request, ReplySender)>>,
}

/// The actor's state.
pub struct ShardState {
    surroundings: Arc<Surroundings>,
    options: ShardOptions,
    myself: ActorRef<ShardMessage>,
    residents: BTreeMap<EntityId, Resident>,
    /// Which entity an actor is, for supervision events.
    by_actor: BTreeMap<ActorId, EntityId>,
    health: Health,
    waker: Waker,
    /// The node is stopping: nobody comes to life any more.
    draining: bool,
    /// Told once nobody is resident any more.
    drained: Option<oneshot::Sender<()>>,
}

impl Actor for ShardActor {
    type Msg = ShardMessage;
    type State = ShardState;
    type Arguments = ShardArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<ShardMessage>,
        arguments: ShardArguments,
    ) -> Result<ShardState, ActorProcessingErr> {
        let ShardArguments { surroundings, options } = arguments;
        let waker = Waker::new(surroundings.group, surroundings.journal.clone(), myself.clone());
        Ok(ShardState {
            surroundings,
            options,
            myself,
            residents: BTreeMap::new(),
            by_actor: BTreeMap::new(),
            health: Health::default(),
            waker,
            draining: false,
            drained: None,
        })
    }

    async fn post_start(
        &self,
        myself: ActorRef<ShardMessage>,
        state: &mut ShardState,
    ) -> Result<(), ActorProcessingErr> {
        myself.send_interval(SWEEP_INTERVAL, || ShardMessage::Sweep);
        #[cfg(feature = "canaries")]
        if crate::canary::is(crate::canary::Canary::WakeUpLost) {
            return Ok(());
        }
        state.waker.look_again_after(Duration::ZERO);
        Ok(())
    }

    async fn handle(
        &self,
        _myself: ActorRef<ShardMessage>,
        message: ShardMessage,
        state: &mut ShardState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            ShardMessage::Ask { request, reply } => state.ask(request, reply).await,
            ShardMessage::WakeAt { at } => state.waker.no_later_than(at, state.surroundings.clock.now()),
            ShardMessage::WakeDue { timer } => state.wake_due(timer).await,
            ShardMessage::Sweep => state.sweep(),
            ShardMessage::MayRest { entity, sent } => state.let_rest(&entity, sent),
            ShardMessage::ReplayPanicked { entity } => state.replay_panicked(&entity),
            ShardMessage::Residents { limit, reply } => drop(reply.send(state.residents(limit))),
            ShardMessage::Describe { entity, reply } => state.describe(&entity, reply),
            ShardMessage::Drain(drained) => state.drain(drained),
            ShardMessage::Quarantined(reply) => drop(reply.send(state.health.quarantined())),
            ShardMessage::Release { entity, reply } => drop(reply.send(state.health.release(&entity))),
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _myself: ActorRef<ShardMessage>,
        event: SupervisionEvent,
        state: &mut ShardState,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorTerminated(cell, _, _) => state.ended(cell.get_id()).await,
            SupervisionEvent::ActorFailed(cell, error) => {
                state.failed(cell.get_id(), &error.to_string());
                state.ended(cell.get_id()).await;
            }
            _ => {}
        }
        state.tell_drained();
        Ok(())
    }
}

impl ShardState {
    async fn ask(&mut self, request: Request, reply: ReplySender) {
        if self.draining {
            return answer(reply, AskError::Unknown { reason: "the node is stopping" });
        }
        match self.health.of(&request.entity, Instant::now()) {
            HealthVerdict::Fit => {}
            HealthVerdict::Quarantined => {
                let entity = request.entity;
                return answer(reply, AskError::Quarantined { entity });
            }
            HealthVerdict::Recovering => {
                return answer(reply, AskError::Unknown { reason: "the entity is restarting" });
            }
        }
        if let Some(resident) = self.residents.get_mut(&request.entity) {
            return pass_on(resident, request, reply);
        }
        if self.surroundings.flights.is_under_way(&request.entity) {
            return answer(reply, AskError::Unknown { reason: "an earlier batch of the entity has no verdict yet" });
        }
        if !self.bring_to_life(&request.entity).await {
            return answer(reply, AskError::Unknown { reason: "the entity could not be started" });
        }
        if let Some(resident) = self.residents.get_mut(&request.entity) {
            pass_on(resident, request, reply);
        }
    }

    /// Spawns the entity's actor; it loads its journal by itself, off this actor's turn.
    async fn bring_to_life(&mut self, entity: &EntityId) -> bool {
        let arguments =
            EntityArguments { id: entity.clone(), surroundings: self.surroundings.clone(), shard: self.myself.clone() };
        match Actor::spawn_linked(None, EntityActor, arguments, self.myself.get_cell()).await {
            Ok((actor, _)) => {
                self.surroundings.observer.spawned();
                self.by_actor.insert(actor.get_id(), entity.clone());
                let resident = Resident { actor, sent: 0, used_at: Instant::now(), ending: None };
                self.residents.insert(entity.clone(), resident);
                true
            }
            Err(error) => {
                tracing::error!(%entity, %error, "an entity actor could not be spawned");
                false
            }
        }
    }

    /// An actor is gone: whatever was buffered for it goes to its next incarnation.
    async fn ended(&mut self, actor: ActorId) {
        let Some(entity) = self.by_actor.remove(&actor) else { return };
        self.surroundings.observer.ended();
        let Some(resident) = self.residents.remove(&entity) else { return };
        for (request, reply) in resident.ending.into_iter().flatten() {
            self.ask(request, reply).await;
        }
    }

    fn failed(&mut self, actor: ActorId, error: &str) {
        let Some(entity) = self.by_actor.get(&actor) else { return };
        self.surroundings.observer.failed();
        self.health.failed(entity, Instant::now());
        tracing::warn!(%entity, error, "entity failed, it may be restarted");
        // What it owed is in the wake rows: have them looked at once its backoff is over.
        self.waker.look_again_after(self.health.backoff(entity));
    }

    /// May be heard before or after the failure itself: supervision overtakes messages.
    fn replay_panicked(&mut self, entity: &EntityId) {
        if self.health.replay_panicked(entity) {
            self.surroundings.observer.quarantined();
            tracing::error!(%entity, "entity quarantined: its journal panics on replay; others go on");
        }
    }

    /// In id order, as everything that happens to several entities.
    fn drain(&mut self, drained: oneshot::Sender<()>) {
        for resident in self.residents.values().filter(|resident| resident.ending.is_none()) {
            drop(resident.actor.cast(EntityMessage::Finish { sent: resident.sent }));
        }
        (self.draining, self.drained) = (true, Some(drained));
        self.tell_drained();
    }

    fn tell_drained(&mut self) {
        if self.residents.is_empty()
            && let Some(drained) = self.drained.take()
        {
            let _ = drained.send(());
        }
    }

    async fn wake_due(&mut self, timer: u64) {
        if self.draining {
            return;
        }
        for entity in self.waker.due(timer, self.surroundings.clock.now()).await {
            if self.health.of(&entity, Instant::now()) != HealthVerdict::Fit {
                continue;
            }
            match self.residents.get_mut(&entity) {
                // Its row stays due: the next walk finds it again.
                None if self.surroundings.flights.is_under_way(&entity) => {}
                // An entity looks at its own deadline when it comes to life.
                None => drop(self.bring_to_life(&entity).await),
                Some(resident) if resident.ending.is_none() => {
                    resident.sent += 1;
                    drop(resident.actor.cast(EntityMessage::Wake));
                }
                Some(_) => {}
            }
        }
    }

    /// Asks entities that are idle, or too many, whether they may rest.
    fn sweep(&mut self) {
        let now = Instant::now();
        let excess = self.residents.len().saturating_sub(self.options.residents_max);
        let threshold = if excess > 0 { self.used_before(excess) } else { None };
        for resident in self.residents.values() {
            let idle = now.duration_since(resident.used_at) >= self.options.idle_after;
            let surplus = threshold.is_some_and(|used_at| resident.used_at <= used_at);
            if resident.ending.is_none() && (idle || surplus) {
                drop(resident.actor.cast(EntityMessage::Rest { sent: resident.sent }));
            }
        }
    }

    /// The use time of the `count`-th least recently used resident.
    fn used_before(&self, count: usize) -> Option<Instant> {
        let mut times: Vec<Instant> = self.residents.values().map(|resident| resident.used_at).collect();
        let index = count.min(times.len()).checked_sub(1)?;
        Some(*times.select_nth_unstable(index).1)
    }

    fn residents(&self, limit: usize) -> Residents {
        let now = Instant::now();
        let mut used_last: Vec<_> = Vec::new();
        if limit > 0 {
            let all = self.residents.iter();
            used_last.extend(all.map(|(entity, resident)| (now.duration_since(resident.used_at), entity)));
            if used_last.len() > limit {
                used_last.select_nth_unstable(limit);
                used_last.truncate(limit);
            }
            used_last.sort_unstable();
        }
        let used_last = used_last.into_iter().map(|(idle, entity)| (entity.clone(), idle)).collect();
        Residents { count: self.residents.len(), used_last }
    }

    fn let_rest(&mut self, entity: &EntityId, sent: u64) {
        if let Some(resident) = self.residents.get_mut(entity)
            && resident.sent == sent
            && resident.ending.is_none()
        {
            resident.ending = Some(VecDeque::new());
            resident.actor.stop(None);
        }
    }

    fn describe(&self, entity: &EntityId, reply: oneshot::Sender<EntityDescription>) {
        if let Some(resident) = self.residents.get(entity) {
            drop(resident.actor.cast(EntityMessage::Describe(reply)));
        }
    }
}

fn pass_on(resident: &mut Resident, request: Request, reply: ReplySender) {
    resident.used_at = Instant::now();
    match &mut resident.ending {
        None => {
            resident.sent += 1;
            // A dead actor drops the message and with it the reply sender: the caller reads Unknown.
            drop(resident.actor.cast(EntityMessage::Ask { request, reply }));
        }
        Some(buffered) if buffered.len() < BUFFERED_MAX => buffered.push_back((request, reply)),
        Some(_) => answer(reply, AskError::Overloaded { retry_after: Duration::from_secs(1) }),
    }
}

fn answer(reply: ReplySender, error: AskError) {
    if let Some(reply) = reply {
        drop(reply.send(Err(error)));
    }
}
