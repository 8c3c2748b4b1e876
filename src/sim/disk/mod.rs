//! A node's disk as the simulator has it: what survives a crash, and how long a sync takes.
//!
//! The log keeps what was synced plus a random part of what was not, torn and perhaps damaged. The store reverts to
//! any earlier state between two batches, no older than its last sync, or vanishes altogether. Checkpoint files are
//! whole or absent. The same conformance suites as for the engines of production run against both.

mod log;
mod space;
mod store;
mod tail;
#[cfg(test)]
mod tests;

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

pub use log::{Remains, SimLog};
pub use space::{RESERVE_BYTES, SimFiles, SimSpace};
pub use store::SimStore;

use super::power::Power;
use crate::rng::Rng;

/// How a disk behaves.
#[derive(Clone, Debug)]
pub struct DiskManner {
    /// How long one sync of the log takes.
    pub sync: RangeInclusive<Duration>,
    /// Of this many crashes one takes the store with it; zero: none does.
    pub store_vanishes_one_in: u64,
    /// Of this many crashes one loses what was synced; zero: the disk is honest.
    pub lose_synced_one_in: u64,
    /// Of this many crashes one flips a bit of what was being written; zero: none does.
    pub bit_flip_one_in: u64,
}

/// What a crash did to a disk.
#[derive(Clone, Copy, Debug)]
pub struct Damage {
    /// To the log.
    pub log: Remains,
    /// Batches the store fell back by.
    pub reverted: u64,
    /// Whether the store is gone altogether.
    pub vanished: bool,
    /// Synced changes the log lost: the disk lied.
    pub lied: u64,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Remains { kept, lost, torn, flipped } = self.log;
        write!(f, "log: {kept} unsynced changes kept, {lost} lost, torn: {torn}, bit flipped: {flipped}; ")?;
        write!(f, "store: {} batches reverted, gone: {}", self.reverted, self.vanished)?;
        if self.lied > 0 {
            write!(f, "; the disk lied: {} synced changes lost", self.lied)?;
        }
        Ok(())
    }
}

/// One node's disk; outlives the node's crashes.
#[derive(Clone)]
pub struct SimDisk {
    /// The replicated truth.
    pub log: Arc<SimLog>,
    /// What actors recover from.
    pub store: Arc<SimStore>,
    /// Where checkpoints are.
    pub files: Arc<SimFiles>,
    /// How full it is.
    pub space: SimSpace,
    manner: DiskManner,
}

impl SimDisk {
    /// An empty disk of a node with this power.
    pub fn new(manner: DiskManner, power: &Power) -> Self {
        let space = SimSpace::default();
        let log = Arc::new(SimLog::new(manner.sync.clone(), space.clone(), power.clone()));
        if manner.lose_synced_one_in > 0 {
            log.lie();
        }
        let (store, files) = (Arc::new(SimStore::new(power.clone())), Arc::new(SimFiles::new(space.clone())));
        Self { log, store, files, space, manner }
    }

    /// The node is gone; decides what of its unsynced writes is still there, and says so.
    pub fn crash(&self, rng: &dyn Rng) -> Damage {
        let happens = |odds: u64| odds > 0 && rng.next_u64().is_multiple_of(odds);
        let lies = happens(self.manner.lose_synced_one_in);
        let (flips, vanished) = (happens(self.manner.bit_flip_one_in), happens(self.manner.store_vanishes_one_in));
        let lied = if lies { self.log.lose_synced(rng) } else { 0 };
        let log = self.log.crash(rng, flips);
        // A store that knew more than the log would be found out at once; the lie is to be found out by what is gone.
        let vanished = vanished || lied > 0;
        let reverted = if vanished { self.store.vanish() } else { self.store.crash(rng) };
        Damage { log, reverted, vanished, lied }
    }
}

/// A number below `bound`, which is not zero.
pub(in crate::sim) fn below(rng: &dyn Rng, bound: u64) -> u64 {
    rng.next_u64() % bound
}

/// A duration of the range, to the microsecond.
pub(in crate::sim) fn within(rng: &dyn Rng, range: &RangeInclusive<Duration>) -> Duration {
    let width = range.end().saturating_sub(*range.start()).as_micros() as u64;
    *range.start() + Duration::from_micros(below(rng, width + 1))
}
