//! What the actors tell the outside about themselves: metrics, and nothing that identifies a shopper.
//!
//! Counters and histograms go through the `metrics` facade; without a recorder installed they cost next to nothing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use metrics::{counter, gauge, histogram};

use super::messages::{Answer, AskError};
use crate::domain::registry::Kind;

/// Counts for one node.
#[derive(Debug, Default)]
pub struct Observer {
    resident: AtomicU64,
    restarts: AtomicU64,
    quarantined: AtomicU64,
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

    /// A batch is in the journal.
    pub fn stored(&self, kind: Kind, records: usize) {
        counter!("stockroom_records_total", "kind" => kind.name()).increment(records as u64);
    }

    /// A command was answered.
    pub fn answered(&self, kind: Kind, answer: &Result<Answer, AskError>) {
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
        counter!("stockroom_commands_total", "kind" => kind.name(), "outcome" => outcome).increment(1);
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

    /// Actors alive now.
    pub fn resident(&self) -> u64 {
        self.resident.load(Ordering::Relaxed)
    }
}
