//! The entity actor: one writer, one turn at a time.
//!
//! A turn: (1) known command id → stored reply; (2) decide, apply, assert; (3) append the batch; (4) the new state
//! stands once the verdict is in; (5) reply; (6) send what is owed, report the next wake-up. One batch is in flight;
//! commands that arrive meanwhile wait and form the next one, owed commands first (P9, P15). When the batch is refused
//! or nobody knows its fate, the actor ends without answering: its callers hold Unknown and ask again (P10).
//!
//! Unnamed, local only, spawned and supervised by its shard, which is its only correspondent besides its own couriers.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::time::Instant;

use super::dedup::{Dedup, command_id_of};
use super::effects::Couriers;
use super::flights::Flights;
use super::messages::{Answer, AskError, EntityDescription, EntityMessage, Origin, Request};
use super::observe::Observer;
use super::ports::{AppendError, Courier, LeaseError, Replication, VerdictListener};
use super::shard::ShardMessage;
use super::storage_gate::StorageGate;
use super::turn::{Entity, Formed, ReplySender, UNHURRIED, Waiting};
use crate::clock::NodeClock;
use crate::domain::entity::{Fingerprint, Obligation, Settlement, Stamp};
use crate::domain::ids::EntityId;
use crate::domain::registry::{AnyCommand, AnyState};
use crate::domain::time::{Sequence, Timestamp};
use crate::persistence::journal::Journal;
use crate::persistence::log::GroupId;
use crate::persistence::records::{Record, Verdict};

/// Commands decided in one batch: bounds the time of a turn; its size is bounded by bytes.
const BATCH_COMMANDS_MAX: usize = 1_024;

/// What every entity actor of a shard is given.
pub struct Surroundings {
    /// Which group hosts it.
    pub group: GroupId,
    /// Where its records go.
    pub replication: Arc<dyn Replication>,
    /// Where it recovers from.
    pub journal: Journal,
    /// Who delivers what it owes.
    pub courier: Arc<dyn Courier>,
    /// The node's time.
    pub clock: Arc<NodeClock>,
    /// Whether client writes are let in.
    pub gate: StorageGate,
    /// Who counts.
    pub observer: Arc<Observer>,
    /// Batches on their way, those of dead actors included.
    pub flights: Flights,
    /// Client commands one entity lets wait; the next is answered `overloaded`.
    pub waiting_max: usize,
}

/// Spawn arguments.
pub struct EntityArguments {
    /// Which entity.
    pub id: EntityId,
    /// Its world.
    pub surroundings: Arc<Surroundings>,
    /// Its supervisor.
    pub shard: ActorRef<ShardMessage>,
}

/// The actor.
pub struct EntityActor;

/// What is in flight: at most one of these at a time.
enum Flight {
    /// Nothing.
    None,
    /// A batch is on its way since then; these answers leave with its verdict.
    Batch(Formed, Duration),
    /// Nothing to append; these answers leave once the lease is confirmed.
    Lease(Formed),
}

/// The actor's state.
pub struct EntityActorState {
    surroundings: Arc<Surroundings>,
    shard: ActorRef<ShardMessage>,
    myself: ActorRef<EntityMessage>,
    /// The entity, including what the batch in flight did to it.
    entity: Entity,
    /// Client commands, in order of arrival.
    waiting: VecDeque<Waiting>,
    /// Owed commands, deadlines and outcomes: decided first.
    owed: VecDeque<Waiting>,
    flight: Flight,
    /// Deliveries under way.
    couriers: Couriers,
    /// The wake-up last reported to the shard.
    wake_reported: Option<Timestamp>,
    /// The node is stopping: messages the shard had sent when it said so.
    finishing: Option<u64>,
}

impl Actor for EntityActor {
    type Msg = EntityMessage;
    /// Boxed, because every idle actor keeps several copies of the place it lies in.
    type State = Box<EntityActorState>;
    type Arguments = EntityArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<EntityMessage>,
        arguments: EntityArguments,
    ) -> Result<Box<EntityActorState>, ActorProcessingErr> {
        let EntityArguments { id, surroundings, shard } = arguments;
        let entity = Entity {
            state: AnyState::new(&id),
            id,
            sequence: Sequence::ZERO,
            at: Timestamp::ZERO,
            dedup: Dedup::default(),
            gate: surroundings.gate.clone(),
        };
        Ok(Box::new(EntityActorState {
            couriers: Couriers::new(surroundings.courier.clone(), myself.clone()),
            surroundings,
            shard,
            myself,
            entity,
            waiting: VecDeque::new(),
            owed: VecDeque::new(),
            flight: Flight::None,
            wake_reported: None,
            finishing: None,
        }))
    }

    async fn post_start(
        &self,
        _myself: ActorRef<EntityMessage>,
        state: &mut Box<EntityActorState>,
    ) -> Result<(), ActorProcessingErr> {
        state.load().await?;
        state.wake();
        state.turn().await
    }

    /// What is heard is dealt with at once and only the rest is a future: every idle actor keeps several copies of it.
    fn handle(
        &self,
        _myself: ActorRef<EntityMessage>,
        message: EntityMessage,
        state: &mut Box<EntityActorState>,
    ) -> impl Future<Output = Result<(), ActorProcessingErr>> + Send {
        let heard = state.hear(message);
        async move {
            heard?;
            state.turn().await
        }
    }
}

impl EntityActorState {
    fn hear(&mut self, message: EntityMessage) -> Result<(), ActorProcessingErr> {
        match message {
            EntityMessage::Ask { request, reply } => self.enqueue(request, reply),
            EntityMessage::Wake => self.wake(),
            EntityMessage::Verdict(outcome) => self.finish_batch(outcome)?,
            EntityMessage::Lease(outcome) => self.finish_lease(outcome),
            EntityMessage::Settled { obligation, settlement } => self.settle(&obligation, &settlement),
            EntityMessage::Rest { sent } => self.consider_rest(sent),
            EntityMessage::Finish { sent } => self.finish(sent),
            EntityMessage::Describe(reply) => drop(reply.send(self.describe())),
        }
        Ok(())
    }

    /// Recovers from the journal. A panic in replay is reported to the shard, which counts it towards quarantine.
    async fn load(&mut self) -> Result<(), ActorProcessingErr> {
        let started = self.surroundings.clock.monotonic();
        let loaded = self.surroundings.journal.load(self.surroundings.group, &self.entity.id).await?;
        let (id, gate) = (self.entity.id.clone(), self.surroundings.gate.clone());
        let replayed = catch_unwind(AssertUnwindSafe(|| {
            let (state, sequence, at, window) = match loaded.snapshot {
                Some(snapshot) => (snapshot.state, snapshot.sequence, snapshot.at, snapshot.window),
                None => (AnyState::new(&id), Sequence::ZERO, Timestamp::ZERO, Vec::new()),
            };
            let dedup = Dedup::recovered(window, loaded.commands);
            let mut entity = Entity { id: id.clone(), state, sequence, at, dedup, gate };
            for record in &loaded.records {
                entity.replay(record);
            }
            #[cfg(feature = "canaries")]
            if crate::canary::is(crate::canary::Canary::RecordAppliedTwice) {
                loaded.records.last().into_iter().for_each(|record| entity.replay(record));
            }
            entity.state.assert_invariants();
            // What it owes is asked for at once: a panic there is a panic of replay too.
            entity.wake_at(entity.at);
            entity
        }));
        let Ok(entity) = replayed else {
            self.shard.cast(ShardMessage::ReplayPanicked { entity: id.clone() })?;
            return Err(format!("replaying {id} panicked").into());
        };
        self.entity = entity;
        let took = self.surroundings.clock.monotonic().saturating_sub(started);
        self.surroundings.observer.recovered(self.entity.id.kind, took);
        Ok(())
    }

    fn enqueue(&mut self, request: Request, reply: ReplySender) {
        let deadline = Instant::now() + request.budget;
        let waiting = Waiting { request, reply, deadline };
        self.surroundings.observer.waits(1);
        if waiting.request.origin == Origin::Owed {
            self.owed.push_back(waiting);
        } else if self.waiting.len() < self.surroundings.waiting_max {
            self.waiting.push_back(waiting);
        } else {
            self.surroundings.observer.waits_no_more(1);
            let retry_after = Duration::from_secs(1);
            self.respond(waiting.reply, Err(AskError::Overloaded { retry_after }));
        }
    }

    /// Delivers what is owed and gives itself the command whose deadline has come. An entity that owes is nudged again
    /// and again.
    fn wake(&mut self) {
        if matches!(self.flight, Flight::None) {
            self.follow_up();
        }
        let now = self.surroundings.clock.now().max(self.entity.at);
        if let Some((due, command)) = self.entity.state.deadline()
            && due <= now
            && !self.owed.iter().any(|waiting| waiting.request.command == command)
        {
            let name = format!("{}/deadline/{}/{}", self.entity.id, command.name(), due.0);
            self.command_itself(command, &name);
        }
    }

    fn settle(&mut self, obligation: &Obligation, settlement: &Settlement) {
        self.couriers.came_back(obligation);
        if let Some(command) = self.entity.state.settle(obligation, settlement) {
            self.command_itself(command, &format!("{obligation}/outcome"));
        }
    }

    fn command_itself(&mut self, command: AnyCommand, name: &str) {
        let stamp = Stamp { command: command_id_of(name), fingerprint: Fingerprint::default() };
        let request =
            Request { entity: self.entity.id.clone(), command, stamp, origin: Origin::Owed, budget: UNHURRIED };
        self.surroundings.observer.waits(1);
        self.owed.push_back(Waiting { request, reply: None, deadline: Instant::now() + UNHURRIED });
    }

    /// Starts the next turn if none is under way and somebody waits.
    async fn turn(&mut self) -> Result<(), ActorProcessingErr> {
        while let Some(formed) = self.take_turns() {
            let formed = Box::pin(self.complete(*formed)).await?;
            self.take_off(formed);
        }
        self.ask_for_leave();
        Ok(())
    }

    fn finish(&mut self, sent: u64) {
        self.finishing = Some(sent);
        self.couriers.recall();
    }

    /// A stopping node's entity goes once everybody it heard is answered.
    fn ask_for_leave(&self) {
        if let Some(sent) = self.finishing
            && self.is_quiet()
        {
            drop(self.shard.cast(ShardMessage::MayRest { entity: self.entity.id.clone(), sent }));
        }
    }

    /// Nothing is in flight and nobody waits.
    fn is_quiet(&self) -> bool {
        matches!(self.flight, Flight::None) && self.owed.is_empty() && self.waiting.is_empty()
    }

    /// Turns as long as there are any to take; answers one that lacks something of the journal.
    fn take_turns(&mut self) -> Option<Box<Formed>> {
        while let Some(formed) = self.form() {
            if formed.needs_journal() {
                return Some(Box::new(formed));
            }
            self.take_off(formed);
        }
        None
    }

    /// Decides what waits, unless a turn is under way or nobody waits.
    fn form(&mut self) -> Option<Formed> {
        if !matches!(self.flight, Flight::None) || (self.owed.is_empty() && self.waiting.is_empty()) {
            return None;
        }
        let mut commands = take_first(&mut self.owed, BATCH_COMMANDS_MAX);
        let mut asked = take_first(&mut self.waiting, BATCH_COMMANDS_MAX - commands.len());
        // Mostly one lane is empty: then nothing is copied.
        if commands.is_empty() {
            commands = asked
        } else {
            commands.append(&mut asked)
        }
        self.surroundings.observer.waits_no_more(commands.len());
        self.surroundings.observer.batch_formed(self.entity.id.kind, commands.len());
        let mut formed = self.entity.form(commands, self.surroundings.clock.now());
        self.put_back(std::mem::take(&mut formed.left));
        if formed.outcome_lost {
            self.couriers.forget_settled();
        }
        Some(formed)
    }

    /// Commands that did not fit come first in the next turn, in their order.
    fn put_back(&mut self, left: Vec<Waiting>) {
        self.surroundings.observer.waits(left.len());
        for command in left.into_iter().rev() {
            let is_owed = command.request.origin == Origin::Owed;
            let lane = if is_owed { &mut self.owed } else { &mut self.waiting };
            lane.push_front(command);
        }
    }

    /// Adds what only the journal knows.
    async fn complete(&mut self, mut formed: Formed) -> Result<Formed, ActorProcessingErr> {
        for (reply, sequence) in std::mem::take(&mut formed.recorded) {
            let answer = self.recorded_answer(sequence, &formed).await;
            formed.quiet.push((reply, answer));
        }
        if formed.poisoned {
            self.reload(&mut formed).await?;
        }
        Ok(formed)
    }

    /// Sends a formed turn on its way.
    fn take_off(&mut self, formed: Formed) {
        if !formed.records.is_empty() {
            self.append(formed);
        } else if !formed.quiet.is_empty() && self.surroundings.replication.holds_lease() {
            formed.quiet.into_iter().for_each(|(reply, answer)| self.respond(reply, answer));
        } else if !formed.quiet.is_empty() {
            self.confirm_lease(formed);
        }
    }

    /// After a panic: recovers what is stored and applies what this batch had accepted before it.
    async fn reload(&mut self, formed: &mut Formed) -> Result<(), ActorProcessingErr> {
        self.load().await?;
        for record in &formed.records {
            self.entity.replay(record);
        }
        formed.command_rows.iter().for_each(|row| self.entity.dedup.remember_row(row));
        formed.poisoned = false;
        Ok(())
    }

    /// The first answer to a command with a client key.
    async fn recorded_answer(&self, sequence: Sequence, formed: &Formed) -> Result<Answer, AskError> {
        let from_record = |record: &Record| Answer {
            reply: record.reply.clone(),
            sequence: record.sequence,
            at: record.at,
            replayed: true,
        };
        if let Some(record) = formed.records.iter().find(|record| record.sequence == sequence) {
            return Ok(from_record(record));
        }
        match self.surroundings.journal.read_record(self.surroundings.group, &self.entity.id, sequence).await {
            Ok(Some(record)) => Ok(from_record(&record)),
            Ok(None) | Err(_) => {
                tracing::warn!(entity = %self.entity.id, %sequence, "the record of a remembered command is unreadable");
                Err(AskError::Unknown { reason: "the first answer could not be read" })
            }
        }
    }

    fn append(&mut self, mut formed: Formed) {
        let batch = formed.batch_of(&self.entity.id);
        let myself = self.myself.clone();
        let landing = self.surroundings.flights.take_off(&self.entity.id);
        let listener = VerdictListener::new(move |outcome| {
            drop(landing);
            drop(myself.cast(EntityMessage::Verdict(outcome)));
        });
        self.flight = Flight::Batch(formed, self.surroundings.clock.monotonic());
        self.surroundings.replication.append(batch, listener);
    }

    fn confirm_lease(&mut self, formed: Formed) {
        let (replication, myself) = (self.surroundings.replication.clone(), self.myself.clone());
        self.flight = Flight::Lease(formed);
        tokio::spawn(async move {
            let outcome = replication.confirm_lease().await;
            drop(myself.cast(EntityMessage::Lease(outcome)));
        });
    }

    fn finish_batch(&mut self, outcome: Result<Verdict, AppendError>) -> Result<(), ActorProcessingErr> {
        let Flight::Batch(formed, since) = std::mem::replace(&mut self.flight, Flight::None) else {
            return Err("ENT-4: a verdict came for no batch".into());
        };
        #[cfg(feature = "canaries")]
        let is_blind = crate::canary::is(crate::canary::Canary::RefusedIsAnswered);
        #[cfg(feature = "canaries")]
        let outcome = if is_blind { outcome.and(Ok(Verdict::Stored)) } else { outcome };
        match outcome {
            Ok(Verdict::Stored) => {
                let took = self.surroundings.clock.monotonic().saturating_sub(since);
                self.surroundings.observer.stored(self.entity.id.kind, &formed.records, took);
                for (reply, answer) in formed.answers {
                    self.respond(reply, Ok(answer));
                }
                for (reply, answer) in formed.quiet {
                    self.respond(reply, answer);
                }
                self.follow_up();
                Ok(())
            }
            Ok(Verdict::Refused { last }) => {
                tracing::warn!(entity = %self.entity.id, %last, "batch refused, this incarnation is stale");
                Err("the batch was refused: this incarnation is stale".into())
            }
            Err(AppendError) => Err("nobody knows whether the batch is stored".into()),
        }
    }

    fn finish_lease(&mut self, outcome: Result<(), LeaseError>) {
        let Flight::Lease(formed) = std::mem::replace(&mut self.flight, Flight::None) else { return };
        for (reply, answer) in formed.quiet {
            let answer = match outcome {
                Ok(()) => answer,
                Err(LeaseError) => Err(AskError::Unknown { reason: "the leader lease could not be confirmed" }),
            };
            self.respond(reply, answer);
        }
    }

    /// After a verdict or recovery: deliver what is owed, tell the shard when to wake this entity.
    fn follow_up(&mut self) {
        if self.finishing.is_none() {
            let owed = self.entity.state.outstanding();
            #[cfg(feature = "canaries")]
            let owed = super::effects::numbered_by_sequence(owed, self.entity.sequence);
            self.couriers.deliver(owed);
        }
        let wake_at = self.entity.state.deadline().map(|(at, _)| at);
        if wake_at != self.wake_reported {
            self.wake_reported = wake_at;
            if let Some(at) = wake_at {
                drop(self.shard.cast(ShardMessage::WakeAt { at }));
            }
        }
    }

    fn respond(&self, reply: ReplySender, answer: Result<Answer, AskError>) {
        self.surroundings.observer.answered(&self.entity.id, &answer);
        if let Some(reply) = reply {
            drop(reply.send(answer));
        }
    }

    fn consider_rest(&mut self, sent: u64) {
        if self.is_quiet() && self.couriers.is_empty() && self.entity.state.outstanding().is_empty() {
            drop(self.shard.cast(ShardMessage::MayRest { entity: self.entity.id.clone(), sent }));
        }
    }

    fn describe(&self) -> EntityDescription {
        EntityDescription {
            entity: self.entity.id.clone(),
            sequence: self.entity.sequence,
            at: self.entity.at,
            waiting: self.waiting.len() + self.owed.len(),
            busy: !matches!(self.flight, Flight::None),
            delivering: self.couriers.len(),
        }
    }
}

/// The first `most` of a lane. One that is emptied gives up its memory: most entities wait for their next command long.
fn take_first(lane: &mut VecDeque<Waiting>, most: usize) -> Vec<Waiting> {
    let rest = lane.split_off(lane.len().min(most));
    std::mem::replace(lane, rest).into()
}

impl Drop for EntityActorState {
    /// What waits when an entity ends is asked again by whoever sent it.
    fn drop(&mut self) {
        self.surroundings.observer.waits_no_more(self.owed.len() + self.waiting.len());
    }
}
