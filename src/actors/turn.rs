//! The middle of a turn: what the waiting commands of one entity would do, on its state, before anything is appended.
//!
//! Commands are decided in order; each accepted one is applied and checked at once so that the next sees it (P9). What
//! comes out is one batch of records and the answers that go with it. Nothing leaves the node here: answers wait for
//! the batch's verdict (P10, P11). `decide` cannot change state, so a panic in it costs one answer; a panic in `apply`
//! or in a law leaves a state nobody may trust, which [`Formed::poisoned`] reports and the actor reloads.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use tokio::sync::oneshot;

use super::dedup::{CLIENT_KEY_LIFETIME, CLIENT_KEYS_MAX, Dedup, Known};
use super::messages::{Answer, AskError, Origin, Request};
use super::storage_gate::StorageGate;
use crate::domain::entity::{Nature, VaultChange};
use crate::domain::ids::EntityId;
use crate::domain::registry::{AnyDecision, AnyState};
use crate::domain::rejection::Rejection;
use crate::domain::time::{Sequence, Timestamp};
use crate::persistence::codec::RecordsWriter;
use crate::persistence::records::{CommandRow, EntityBatch, Record, Remembered, WindowEntry};

/// Record bytes after which a batch takes no more commands. A single record has at most about 1 MiB (a product, a full
/// cart), so that a batch stays far below the largest log entry.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// Where an answer goes; `None` for commands the entity gives itself.
pub type ReplySender = Option<oneshot::Sender<Result<Answer, AskError>>>;

/// A command waiting for its turn.
#[derive(Debug)]
pub struct Waiting {
    /// What is asked.
    pub request: Request,
    /// Who waits for the answer.
    pub reply: ReplySender,
    /// When the caller stops waiting.
    pub deadline: tokio::time::Instant,
}

/// An entity as one turn sees and changes it.
#[derive(Debug)]
pub struct Entity {
    /// Which.
    pub id: EntityId,
    /// The state after the last record.
    pub state: AnyState,
    /// The last record; zero for an entity without any.
    pub sequence: Sequence,
    /// `at` of the last record.
    pub at: Timestamp,
    /// What it remembers.
    pub dedup: Dedup,
    /// Whether client writes are let in.
    pub gate: StorageGate,
}

/// What a batch of commands would do.
#[derive(Debug, Default)]
pub struct Formed {
    /// Records to append; the last carries `wake_at`. Empty when nothing changes.
    pub records: Vec<Record>,
    /// Dedup rows of client keys among them.
    pub command_rows: Vec<CommandRow>,
    /// Data keys to keep or erase.
    pub vault: Vec<VaultChange>,
    /// Answers that hold once the records are stored.
    pub answers: Vec<(ReplySender, Answer)>,
    /// Answers that append nothing: they rest on the state they saw.
    pub quiet: Vec<(ReplySender, Result<Answer, AskError>)>,
    /// Dedup hits whose reply must be read from the journal.
    pub recorded: Vec<(ReplySender, Sequence)>,
    /// The records but the last, encoded.
    pub encoded: RecordsWriter,
    /// Commands that no longer fit: they form the next batch.
    pub left: Vec<Waiting>,
    /// When the entity wants attention after these records (P13).
    pub wake_at: Option<Timestamp>,
    /// A panic left the state unusable; it holds more than `records` say.
    pub poisoned: bool,
    /// A command the entity gave itself was lost to a panic: what it told of must be found out again.
    pub outcome_lost: bool,
}

impl Formed {
    /// What is appended; there is something to append.
    pub fn batch_of(&mut self, entity: &EntityId) -> EntityBatch {
        let (first, last) = (&self.records[0], &self.records[self.records.len() - 1]);
        EntityBatch {
            entity: entity.clone(),
            first_sequence: first.sequence,
            record_count: u32::try_from(self.records.len()).expect("a batch is at most 1024 records"),
            last_at: last.at,
            wake_at: last.wake_at,
            command_rows: self.command_rows.clone(),
            vault: self.vault.clone(),
            records: std::mem::take(&mut self.encoded).finish(last),
        }
    }

    /// Whether the journal must be read before this can go on.
    pub fn needs_journal(&self) -> bool {
        self.poisoned || !self.recorded.is_empty()
    }
}

impl Formed {
    /// A panic took this command with it.
    fn lose(&mut self, reply: ReplySender, error: AskError) {
        self.outcome_lost |= reply.is_none();
        self.quiet.push((reply, Err(error)));
    }
}

/// Why a command goes no further than `decide`.
enum Stop {
    Error(AskError),
    Answered(Answer),
    Recorded(Sequence),
}

impl Entity {
    /// Decides `waiting` in order. `now` is the node's time.
    pub fn form(&mut self, waiting: Vec<Waiting>, now: Timestamp) -> Formed {
        let at = now.max(self.at);
        self.dedup.forget_expired(at);
        let mut formed = Formed::default();
        let mut rest = waiting.into_iter();
        for command in rest.by_ref() {
            self.step(command, at, &mut formed);
            if formed.poisoned || formed.encoded.bytes() >= BATCH_BYTES_MAX {
                break;
            }
        }
        if !formed.poisoned {
            formed.left = rest.by_ref().collect();
        }
        for command in rest {
            formed.lose(command.reply, AskError::Unknown { reason: "the entity is being reloaded" });
        }
        if let Some(last) = formed.records.last_mut() {
            last.wake_at = formed.wake_at;
            #[cfg(feature = "canaries")]
            if crate::canary::is(crate::canary::Canary::WakeAtOmitted) {
                last.wake_at = None;
            }
        }
        formed
    }

    /// When this entity wants attention: now if it owes something, else at its deadline (P13).
    pub fn wake_at(&self, now: Timestamp) -> Option<Timestamp> {
        if self.state.outstanding().is_empty() { self.state.deadline().map(|(at, _)| at) } else { Some(now) }
    }

    /// Makes a stored record true, without rules: recovery and rebuilding after a panic.
    pub fn replay(&mut self, record: &Record) {
        for event in &record.events {
            self.state.apply(event, record.at);
        }
        self.sequence = record.sequence;
        self.at = self.at.max(record.at);
        if record.remembered == Remembered::Window {
            self.remember_window(record);
        }
    }

    fn remember_window(&mut self, record: &Record) {
        let entry = WindowEntry { stamp: record.stamp, at: record.at, reply: record.reply.clone() };
        self.dedup.remember_in_window(entry);
    }

    fn step(&mut self, command: Waiting, at: Timestamp, formed: &mut Formed) {
        let Waiting { request, reply, deadline } = command;
        if reply.is_some() && tokio::time::Instant::now() > deadline {
            let error = AskError::Unknown { reason: "the caller's time was spent before the command's turn came" };
            formed.quiet.push((reply, Err(error)));
            return;
        }
        let decision = match self.decide(&request, at) {
            Ok(decision) => decision,
            Err(Stop::Error(AskError::Panicked)) => return formed.lose(reply, AskError::Panicked),
            Err(Stop::Error(error)) => return formed.quiet.push((reply, Err(error))),
            Err(Stop::Answered(answer)) => return formed.quiet.push((reply, Ok(answer))),
            Err(Stop::Recorded(sequence)) => return formed.recorded.push((reply, sequence)),
        };
        let applied = catch_unwind(AssertUnwindSafe(|| {
            for event in &decision.events {
                self.state.apply(event, at);
            }
            self.state.assert_invariants();
            self.wake_at(at)
        }));
        let Ok(wake_at) = applied else {
            tracing::error!(entity = %self.id, command = request.command.name(), "applying a command panicked");
            formed.poisoned = true;
            return formed.lose(reply, AskError::Panicked);
        };
        formed.wake_at = wake_at;
        self.record(&request, decision, at, reply, formed);
    }

    fn decide(&self, request: &Request, at: Timestamp) -> Result<AnyDecision, Stop> {
        let nature = request.command.nature();
        let looks_up = nature == Nature::Remembered;
        #[cfg(feature = "canaries")]
        let looks_up = looks_up && !crate::canary::is(crate::canary::Canary::DedupSkipped);
        if looks_up {
            match self.dedup.lookup(&request.stamp) {
                Known::No => {}
                Known::OtherContent => return Err(Stop::Error(Rejection::IdempotencyKeyReused.into())),
                Known::Answered { reply, at } => {
                    return Err(Stop::Answered(Answer { reply, sequence: Sequence::ZERO, at, replayed: true }));
                }
                Known::Recorded { sequence } => return Err(Stop::Recorded(sequence)),
            }
            if request.origin == Origin::ClientKey && !self.dedup.has_room() {
                let limit = CLIENT_KEYS_MAX as u64;
                let what = "idempotency keys remembered for one entity".to_owned();
                return Err(Stop::Error(Rejection::QuotaExceeded { what, limit }.into()));
            }
        }
        let decided = catch_unwind(AssertUnwindSafe(|| self.state.decide(&request.command, at)));
        let decision = match decided {
            Ok(Ok(decision)) => decision,
            Ok(Err(rejection)) => return Err(Stop::Error(rejection.into())),
            Err(_) => {
                tracing::error!(entity = %self.id, command = request.command.name(), "deciding a command panicked");
                return Err(Stop::Error(AskError::Panicked));
            }
        };
        let silent = decision.events.is_empty() && nature != Nature::Remembered;
        if nature == Nature::Read || (silent && decision.vault.is_empty()) {
            assert!(decision.events.is_empty(), "ENT-3: a read has no events");
            let AnyDecision { reply, replayed, .. } = decision;
            return Err(Stop::Answered(Answer { reply, sequence: self.sequence, at, replayed }));
        }
        if request.origin != Origin::Owed && self.gate.is_closed() {
            return Err(Stop::Error(AskError::StorageFull));
        }
        Ok(decision)
    }

    fn record(
        &mut self,
        request: &Request,
        decision: AnyDecision,
        at: Timestamp,
        reply: ReplySender,
        formed: &mut Formed,
    ) {
        self.sequence = self.sequence.next();
        self.at = at;
        let remembered = match (request.command.nature(), request.origin) {
            (Nature::Remembered, Origin::ClientKey) => {
                Remembered::ClientKey { expires_at: at.after(CLIENT_KEY_LIFETIME) }
            }
            (Nature::Remembered, _) => Remembered::Window,
            _ => Remembered::ByState,
        };
        let record = Record {
            sequence: self.sequence,
            stamp: request.stamp,
            remembered,
            at,
            events: decision.events,
            reply: decision.reply,
            wake_at: None,
        };
        match remembered {
            Remembered::ByState => {}
            Remembered::Window => self.remember_window(&record),
            Remembered::ClientKey { expires_at } => {
                let stamp = request.stamp;
                let row = CommandRow {
                    command: stamp.command,
                    fingerprint: stamp.fingerprint,
                    sequence: record.sequence,
                    expires_at,
                };
                self.dedup.remember_row(&row);
                formed.command_rows.push(row);
            }
        }
        formed.vault.extend(decision.vault);
        let answer = Answer { reply: record.reply.clone(), sequence: record.sequence, at, replayed: decision.replayed };
        formed.answers.push((reply, answer));
        if let Some(before) = formed.records.last() {
            formed.encoded.add(before);
        }
        formed.records.push(record);
    }
}

/// A deadline for commands nobody waits for.
pub const UNHURRIED: Duration = Duration::from_secs(365 * 24 * 60 * 60);
