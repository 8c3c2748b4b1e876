//! What the actors tell the outside about themselves: metrics, and nothing that identifies a shopper.
//!
//! Counters and histograms go through the `metrics` facade; without a recorder installed they cost next to nothing.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use metrics::{counter, gauge, histogram};

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
}

impl Observer {
    /// An entity recovered its state.
    pub fn recovered(&self, kind: Kind, took: Duration) {
        histogram!("stockroom_recovery_seconds", "kind" => kind.name()).record(took.as_secs_f64());
    }

    /// A turn begins with this many commands.
    pub fn batch_formed(&self, kind: Kind, commands: usize) {
        histogram!("stockroom_batch_commands", "kind" => kind.name()).record(commands as f64);
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
        gauge!("stockroom_queue_depth", "queue" => "entities").set(commands as f64);
    }

    /// A batch is in the journal, this long after it was proposed.
    pub fn stored(&self, kind: Kind, records: &[Record], took: Duration) {
        counter!("stockroom_records_total", "kind" => kind.name()).increment(records.len() as u64);
        histogram!("stockroom_commit_seconds", "kind" => kind.name()).record(took.as_secs_f64());
        if kind == Kind::Stock {
            count_holds(records);
        }
    }

    /// A command was answered.
    pub fn answered(&self, entity: &EntityId, answer: &Result<Answer, AskError>) {
        if matches!(answer, Err(AskError::Panicked)) {
            self.panics.note(entity);
        }
        let outcome = match answer {
            Ok(answer) if answer.replayed => "replayed",
            Ok(_) => "accepted",
            Err(AskError::Rejected(_)) => "rejected",
            Err(AskError::Overloaded { .. }) => "overloaded",
            Err(AskError::StorageFull) => "storage_full",
            Err(AskError::Panicked) => "panicked",
            Err(AskError::NoLeader { .. } | AskError::Quarantined { .. }) => "unavailable",
            Err(AskError::Unknown { .. }) => "unknown",
        };
        counter!("stockroom_commands_total", "kind" => entity.kind.name(), "outcome" => outcome).increment(1);
    }

    /// An actor was spawned.
    pub fn spawned(&self) {
        gauge!("stockroom_resident_actors").set((self.resident.fetch_add(1, Ordering::Relaxed) + 1) as f64);
    }

    /// An actor ended.
    pub fn ended(&self) {
        gauge!("stockroom_resident_actors").set((self.resident.fetch_sub(1, Ordering::Relaxed) - 1) as f64);
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

/// Counts what became of holds; a batch of a hot SKU has hundreds, so they are summed first.
fn count_holds(records: &[Record]) {
    let mut changes = [("placed", 0), ("pinned", 0), ("released", 0), ("sold", 0), ("expired", 0)];
    for event in records.iter().flat_map(|record| &record.events) {
        let AnyEvent::Stock(event) = event else { continue };
        match event {
            StockEvent::Reserved { .. } => changes[0].1 += 1,
            StockEvent::Pinned { .. } => changes[1].1 += 1,
            StockEvent::Released { .. } => changes[2].1 += 1,
            StockEvent::Committed { .. } => changes[3].1 += 1,
            StockEvent::Expired { holds, .. } => changes[4].1 += holds.len() as u64,
            _ => {}
        }
    }
    for (change, holds) in changes.into_iter().filter(|(_, holds)| *holds > 0) {
        counter!("stockroom_holds_total", "change" => change).increment(holds);
    }
}
