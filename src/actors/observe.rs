//! What the actors tell the outside about themselves: metrics, and nothing that identifies a shopper.
//!
//! Counters and histograms go through the `metrics` facade. Finding one by its name costs more than a hold's turn, so
//! every handle is looked up once, when first needed, and kept.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use super::messages::{Answer, AskError};
use super::panics::Panics;
use crate::domain::ids::EntityId;
use crate::domain::registry::{AnyEvent, Kind};
use crate::domain::stock::StockEvent;
use crate::persistence::records::Record;

/// Counts for one node.
#[derive(Debug, Default)]
pub struct Observer {
    resident: AtomicU64,
    waiting: AtomicI64,
    restarts: AtomicU64,
    quarantined: AtomicU64,
    panics: Panics,
    handles: Handles,
}

/// What is recorded for every command, found once.
#[derive(Default)]
struct Handles {
    waiting: OnceLock<Gauge>,
    resident: OnceLock<Gauge>,
    kinds: [KindHandles; Kind::ALL.len()],
    holds: [OnceLock<Counter>; HOLD_CHANGES.len()],
}

#[derive(Default)]
struct KindHandles {
    recovery_seconds: OnceLock<Histogram>,
    batch_commands: OnceLock<Histogram>,
    commit_seconds: OnceLock<Histogram>,
    records: OnceLock<Counter>,
    outcomes: [OnceLock<Counter>; OUTCOMES.len()],
}

/// How commands end, as metrics name it.
const OUTCOMES: [&str; 8] =
    ["replayed", "accepted", "rejected", "overloaded", "storage_full", "panicked", "unavailable", "unknown"];

/// What becomes of holds, as metrics name it.
const HOLD_CHANGES: [&str; 5] = ["placed", "pinned", "released", "sold", "expired"];

impl Handles {
    fn of(&self, kind: Kind) -> &KindHandles {
        &self.kinds[usize::from(kind.number() - 1)]
    }
}

impl std::fmt::Debug for Handles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Handles")
    }
}

impl Observer {
    /// An entity recovered its state.
    pub fn recovered(&self, kind: Kind, took: Duration) {
        let find = || histogram!("stockroom_recovery_seconds", "kind" => kind.name());
        self.handles.of(kind).recovery_seconds.get_or_init(find).record(took.as_secs_f64());
    }

    /// A turn begins with this many commands.
    pub fn batch_formed(&self, kind: Kind, commands: usize) {
        let find = || histogram!("stockroom_batch_commands", "kind" => kind.name());
        self.handles.of(kind).batch_commands.get_or_init(find).record(commands as f64);
    }

    /// Commands began to wait for a turn of their entity.
    pub fn waits(&self, commands: usize) {
        self.tell_waiting(self.waiting.fetch_add(commands as i64, Ordering::Relaxed) + commands as i64);
    }

    /// Commands no longer wait: their turn came, or their entity ended.
    pub fn waits_no_more(&self, commands: usize) {
        self.tell_waiting(self.waiting.fetch_sub(commands as i64, Ordering::Relaxed) - commands as i64);
    }

    fn tell_waiting(&self, commands: i64) {
        let find = || gauge!("stockroom_queue_depth", "queue" => "entities");
        self.handles.waiting.get_or_init(find).set(commands as f64);
    }

    /// A batch is in the journal, this long after it was proposed.
    pub fn stored(&self, kind: Kind, records: &[Record], took: Duration) {
        let handles = self.handles.of(kind);
        let find = || counter!("stockroom_records_total", "kind" => kind.name());
        handles.records.get_or_init(find).increment(records.len() as u64);
        let find = || histogram!("stockroom_commit_seconds", "kind" => kind.name());
        handles.commit_seconds.get_or_init(find).record(took.as_secs_f64());
        if kind == Kind::Stock {
            self.count_holds(records);
        }
    }

    /// Counts what became of holds; a batch of a hot SKU has hundreds, so they are summed first.
    fn count_holds(&self, records: &[Record]) {
        let mut changes = [0; HOLD_CHANGES.len()];
        for event in records.iter().flat_map(|record| &record.events) {
            let AnyEvent::Stock(event) = event else { continue };
            match event {
                StockEvent::Reserved { .. } => changes[0] += 1,
                StockEvent::Pinned { .. } => changes[1] += 1,
                StockEvent::Released { .. } => changes[2] += 1,
                StockEvent::Committed { .. } => changes[3] += 1,
                StockEvent::Expired { holds, .. } => changes[4] += holds.len() as u64,
                _ => {}
            }
        }
        let changes = changes.into_iter().zip(HOLD_CHANGES).zip(&self.handles.holds);
        for ((holds, change), handle) in changes.filter(|((holds, _), _)| *holds > 0) {
            handle.get_or_init(|| counter!("stockroom_holds_total", "change" => change)).increment(holds);
        }
    }

    /// A command was answered.
    pub fn answered(&self, entity: &EntityId, answer: &Result<Answer, AskError>) {
        if matches!(answer, Err(AskError::Panicked)) {
            self.panics.note(entity);
        }
        let outcome = match answer {
            Ok(answer) if answer.replayed => 0,
            Ok(_) => 1,
            Err(AskError::Rejected(_)) => 2,
            Err(AskError::Overloaded { .. }) => 3,
            Err(AskError::StorageFull) => 4,
            Err(AskError::Panicked) => 5,
            Err(AskError::NoLeader { .. } | AskError::Quarantined { .. }) => 6,
            Err(AskError::Unknown { .. }) => 7,
        };
        let (kind, name) = (entity.kind, OUTCOMES[outcome]);
        let find = || counter!("stockroom_commands_total", "kind" => kind.name(), "outcome" => name);
        self.handles.of(kind).outcomes[outcome].get_or_init(find).increment(1);
    }

    /// An actor was spawned.
    pub fn spawned(&self) {
        self.tell_resident(self.resident.fetch_add(1, Ordering::Relaxed) + 1);
    }

    /// An actor ended.
    pub fn ended(&self) {
        self.tell_resident(self.resident.fetch_sub(1, Ordering::Relaxed) - 1);
    }

    fn tell_resident(&self, actors: u64) {
        self.handles.resident.get_or_init(|| gauge!("stockroom_resident_actors")).set(actors as f64);
    }

    /// An actor ended by an error and may be spawned again.
    pub fn failed(&self) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
        counter!("stockroom_actor_failures_total").increment(1);
    }

    /// An entity entered quarantine.
    pub fn quarantined(&self) {
        self.quarantined.fetch_add(1, Ordering::Relaxed);
        counter!("stockroom_quarantines_total").increment(1);
    }

    /// Entities that entered quarantine since the node started.
    pub fn quarantines(&self) -> u64 {
        self.quarantined.load(Ordering::Relaxed)
    }

    /// Entities whose commands panicked since the node started.
    pub fn panics(&self) -> &Panics {
        &self.panics
    }

    /// Actors alive now.
    pub fn resident(&self) -> u64 {
        self.resident.load(Ordering::Relaxed)
    }
}
