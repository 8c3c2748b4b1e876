//! Clocks of the simulated world: virtual time since an epoch; wall clocks are skewed, jump and drift per node.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::power::{Power, Step};
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

/// A computer's wall clock: off by something, running at its own rate. It outlives the node's crashes.
pub struct WallClock {
    state: Mutex<Hands>,
}

/// What it showed when, and how fast it runs since.
struct Hands {
    offset_micros: i64,
    since_micros: u64,
    drift_ppm: i64,
}

impl Hands {
    fn offset_at(&self, now_micros: u64) -> i64 {
        let elapsed = i128::from(now_micros.saturating_sub(self.since_micros));
        let drifted = elapsed * i128::from(self.drift_ppm) / 1_000_000;
        self.offset_micros.saturating_add(i64::try_from(drifted).unwrap_or(i64::MAX))
    }
}

impl WallClock {
    /// A clock that is off by so much and gains so much.
    pub fn new(skew_ms: i64, drift_ppm: i64) -> Arc<Self> {
        let offset_micros = skew_ms.saturating_mul(1_000);
        Arc::new(Self { state: Mutex::new(Hands { offset_micros, since_micros: now_micros(), drift_ppm }) })
    }

    /// Somebody sets it forward, or back when negative.
    pub fn jump(&self, by: i64) {
        let mut hands = self.hands();
        hands.offset_micros = hands.offset_micros.saturating_add(by.saturating_mul(1_000));
    }

    /// It runs at another rate from now on.
    pub fn drift(&self, ppm: i64) {
        let mut hands = self.hands();
        let now = now_micros();
        *hands = Hands { offset_micros: hands.offset_at(now), since_micros: now, drift_ppm: ppm };
    }

    /// It is right again, and stays so.
    pub fn set_right(&self) {
        *self.hands() = Hands { offset_micros: 0, since_micros: now_micros(), drift_ppm: 0 };
    }

    /// What it shows.
    pub fn read(&self) -> Timestamp {
        let now = now_micros();
        let micros = (EPOCH_MS * 1_000 + now).saturating_add_signed(self.hands().offset_at(now));
        Timestamp(micros / 1_000)
    }

    fn hands(&self) -> MutexGuard<'_, Hands> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The clocks one incarnation of a node reads. The monotonic one starts with it.
pub struct SimClock {
    start: Instant,
    wall: Arc<WallClock>,
    power: Power,
}

impl SimClock {
    /// The clocks of a node on a computer with this wall clock. Call on the node's host.
    pub fn new(wall: Arc<WallClock>, power: Power) -> Self {
        Self { start: Instant::now(), wall, power }
    }

    /// Clocks that are right and never stop.
    pub fn right() -> Self {
        Self::new(WallClock::new(0, 0), Power::default())
    }
}

impl Clock for SimClock {
    fn wall(&self) -> Timestamp {
        self.wall.read()
    }

    fn monotonic(&self) -> Duration {
        // Reading a clock cannot be left hanging; without power nothing that follows from it gets anywhere.
        self.power.passes(Step::Decide);
        self.start.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_clock_jumps_drifts_and_is_set_right() {
        let clock = WallClock::new(-500, 0);
        assert_eq!(clock.read().0, EPOCH_MS - 500);
        clock.jump(1_500);
        assert_eq!(clock.read().0, EPOCH_MS + 1_000);
        clock.set_right();
        assert_eq!(clock.read().0, EPOCH_MS);
        let hands = Hands { offset_micros: 7, since_micros: 1_000_000, drift_ppm: -100 };
        assert_eq!(hands.offset_at(11_000_000), 7 - 1_000);
    }
}
