//! The clock seam and the node clock of P14.
//!
//! Production reads the operating system; the simulator hands out virtual, skewed and jumping clocks. Nothing else in
//! the program reads time. Sleeping goes through tokio's timers, which the simulator drives as well.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::domain::time::Timestamp;

/// A source of raw time.
pub trait Clock: Send + Sync + 'static {
    /// Wall-clock time; may step in either direction when an operator or NTP sets it.
    fn wall(&self) -> Timestamp;
    /// Time since some fixed moment of this process; never goes back.
    fn monotonic(&self) -> Duration;
}

/// The operating system's clocks.
pub struct SystemClock {
    start: std::time::Instant,
}

impl SystemClock {
    /// Starts the monotonic clock at zero.
    #[allow(clippy::new_without_default, reason = "reading the clock is not a default value")]
    #[allow(clippy::disallowed_methods, reason = "the one home of the operating system's clock")]
    pub fn new() -> Self {
        Self { start: std::time::Instant::now() }
    }
}

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "the one home of the operating system's clock")]
    fn wall(&self) -> Timestamp {
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

/// How far the node clock may move towards the wall clock, as a fraction of elapsed time: 1/20, i.e. 50 ms a second.
const SLEW_DIVISOR: u64 = 20;

/// The node's time (P14): starts at the later of the wall clock and the newest time on disk, then follows monotonic
/// time, slewed towards the wall clock by at most 5 %. It never steps and never goes back.
pub struct NodeClock {
    raw: Arc<dyn Clock>,
    /// Last value handed out, ms.
    last: AtomicU64,
    /// Monotonic reading belonging to `last`, ms.
    last_monotonic: AtomicU64,
}

impl NodeClock {
    /// `newest_on_disk` is the latest time any stored record carries; zero for an empty directory.
    pub fn new(raw: Arc<dyn Clock>, newest_on_disk: Timestamp) -> Arc<Self> {
        let start = raw.wall().max(newest_on_disk);
        let monotonic = u64::try_from(raw.monotonic().as_millis()).unwrap_or(u64::MAX);
        Arc::new(Self { raw, last: AtomicU64::new(start.0), last_monotonic: AtomicU64::new(monotonic) })
    }

    /// The node's time now.
    pub fn now(&self) -> Timestamp {
        let monotonic = u64::try_from(self.raw.monotonic().as_millis()).unwrap_or(u64::MAX);
        let before = self.last_monotonic.fetch_max(monotonic, Ordering::AcqRel);
        let elapsed = monotonic.saturating_sub(before);
        if elapsed == 0 {
            return Timestamp(self.last.load(Ordering::Acquire));
        }
        let wall = self.raw.wall().0;
        let last = self.last.load(Ordering::Acquire);
        let slew = elapsed / SLEW_DIVISOR;
        let target = last.saturating_add(elapsed);
        let stepped = match wall.cmp(&target) {
            std::cmp::Ordering::Greater => target.saturating_add(slew.min(wall - target)),
            _ => target.saturating_sub(slew.min(target - wall)),
        };
        Timestamp(self.last.fetch_max(stepped, Ordering::AcqRel).max(stepped))
    }

    /// Monotonic time of the underlying clock, for measuring durations.
    pub fn monotonic(&self) -> Duration {
        self.raw.monotonic()
    }

    /// Node time minus wall time, in ms; what `status` and the skew check report.
    pub fn offset_ms(&self) -> i64 {
        let (now, wall) = (self.now().0, self.raw.wall().0);
        i64::try_from(i128::from(now) - i128::from(wall)).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    struct Hands(Mutex<(u64, u64)>);

    impl Clock for Hands {
        fn wall(&self) -> Timestamp {
            Timestamp(self.0.lock().unwrap().0)
        }

        fn monotonic(&self) -> Duration {
            Duration::from_millis(self.0.lock().unwrap().1)
        }
    }

    #[test]
    fn wall_clock_stepping_back_an_hour_slows_time_but_never_reverses_it() {
        let hands = Arc::new(Hands(Mutex::new((10_000_000, 0))));
        let clock = NodeClock::new(hands.clone(), Timestamp::ZERO);
        *hands.0.lock().unwrap() = (10_000_000 - 3_600_000, 1_000);
        assert_eq!(clock.now(), Timestamp(10_000_950));
    }

    #[test]
    fn a_year_ahead_at_start_is_kept_by_the_newest_record() {
        let hands = Arc::new(Hands(Mutex::new((1_000, 0))));
        let clock = NodeClock::new(hands.clone(), Timestamp(31_536_000_000));
        *hands.0.lock().unwrap() = (2_000, 1_000);
        assert!(clock.now() > Timestamp(31_536_000_000));
    }
}
