//! Whether there is room for client writes (P28).
//!
//! Upkeep closes the gate while less than the reserve is free on the data directory's disk; entities then refuse client
//! commands that would be journaled. Reads, repeated answers and commands owed by processes pass: orders under way are
//! what the reserve is kept for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The gate of one node. Clones are the same gate.
#[derive(Clone, Debug, Default)]
pub struct StorageGate(Arc<AtomicBool>);

impl StorageGate {
    /// Whether client writes are refused.
    pub fn is_closed(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Closes or opens it; true when that is news.
    pub fn set_closed(&self, closed: bool) -> bool {
        self.0.swap(closed, Ordering::Relaxed) != closed
    }
}
