//! Clocks of the simulated world: virtual time since an epoch, skewed per node.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::Clock;
use crate::domain::time::Timestamp;

/// 2026-01-01T00:00:00Z in milliseconds: when every world begins.
pub const EPOCH_MS: u64 = 1_767_225_600_000;

/// Virtual time at the beginning of the present step, µs. Kept here because turmoil's own answer reads the real clock
/// while a host is being taken down.
static STEP_MICROS: AtomicU64 = AtomicU64::new(0);

/// The world has come this far; said by the runner before every step.
pub fn set_now(elapsed: Duration) {
    STEP_MICROS.store(elapsed.as_micros() as u64, Ordering::Relaxed);
}

/// Virtual microseconds since the world began.
pub fn now_micros() -> u64 {
    STEP_MICROS.load(Ordering::Relaxed)
}

/// Virtual milliseconds since the world began.
pub fn now_ms() -> u64 {
    now_micros() / 1_000
}

/// One node's clocks. The monotonic one starts with each incarnation; the wall clock can be set.
pub struct SimClock {
    start: Instant,
    skew_ms: AtomicI64,
}

impl SimClock {
    /// A node's clock that is off by so much. Call on the node's host.
    pub fn new(skew_ms: i64) -> Self {
        Self { start: Instant::now(), skew_ms: AtomicI64::new(skew_ms) }
    }
}

impl Clock for SimClock {
    fn wall(&self) -> Timestamp {
        Timestamp((EPOCH_MS + now_ms()).saturating_add_signed(self.skew_ms.load(Ordering::Relaxed)))
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}
