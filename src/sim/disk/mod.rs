//! A node's disk as the simulator has it: what survives a crash, and how long a sync takes.
//!
//! The log keeps what was synced plus a random part of what was not. The store reverts to any earlier state between two
//! batches, no older than its last sync, or vanishes altogether. Checkpoint files are whole or absent. The same
//! conformance suites as for the engines of production run against both.

mod log;
mod store;
#[cfg(test)]
mod tests;

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

pub use log::SimLog;
pub use store::SimStore;

use crate::persistence::files::MemoryFiles;
use crate::rng::Rng;

/// How a disk behaves.
#[derive(Clone, Debug)]
pub struct DiskManner {
    /// How long one sync of the log takes.
    pub sync: RangeInclusive<Duration>,
    /// Of this many crashes one takes the store with it; zero: none does.
    pub store_vanishes_one_in: u64,
}

/// One node's disk; outlives the node's crashes.
#[derive(Clone)]
pub struct SimDisk {
    /// The replicated truth.
    pub log: Arc<SimLog>,
    /// What actors recover from.
    pub store: Arc<SimStore>,
    /// Where checkpoints are.
    pub files: Arc<MemoryFiles>,
    manner: DiskManner,
}

impl SimDisk {
    /// An empty disk.
    pub fn new(manner: DiskManner) -> Self {
        let (log, store) = (Arc::new(SimLog::new(manner.sync.clone())), Arc::new(SimStore::new()));
        Self { log, store, files: Arc::new(MemoryFiles::new()), manner }
    }

    /// The node is gone; decides what of its unsynced writes is still there, and says so.
    pub fn crash(&self, rng: &dyn Rng) -> String {
        let (kept, lost) = self.log.crash(rng);
        let odds = self.manner.store_vanishes_one_in;
        let vanishes = odds > 0 && rng.next_u64().is_multiple_of(odds);
        let reverted = if vanishes { self.store.vanish() } else { self.store.crash(rng) };
        format!("log: {kept} unsynced changes kept, {lost} lost; store: {reverted} batches reverted, gone: {vanishes}")
    }
}

/// A number below `bound`, which is not zero.
pub(super) fn below(rng: &dyn Rng, bound: u64) -> u64 {
    rng.next_u64() % bound
}

/// A duration of the range, to the microsecond.
pub(super) fn within(rng: &dyn Rng, range: &RangeInclusive<Duration>) -> Duration {
    let width = range.end().saturating_sub(*range.start()).as_micros() as u64;
    *range.start() + Duration::from_micros(below(rng, width + 1))
}
