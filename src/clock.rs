//! The clock seam and the node clock of P14.
//!
//! Production reads the operating system; the simulator hands out virtual, skewed and jumping clocks. Nothing else in
//! the program reads time. Sleeping goes through tokio's timers, which the simulator drives as well.

use std::sync::{Arc, Mutex};
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

/// Fastest correction towards the wall clock: 1 ms per this many, i.e. 50 ms a second.
const SLEW_DIVISOR: i128 = 20;
/// How often the correction is chosen anew, ms.
const ANCHOR_INTERVAL_MS: u64 = 1_000;

/// The node's time (P14): starts at the later of the wall clock and the newest time on disk, then follows monotonic
/// time, slewed towards the wall clock by at most 5 %. It never steps and never goes back.
pub struct NodeClock {
    raw: Arc<dyn Clock>,
    anchor: Mutex<Anchor>,
}

/// A known moment, and how fast time runs from it.
struct Anchor {
    /// Monotonic reading, ms.
    monotonic: u64,
    /// Node time at that reading, ms.
    time: u64,
    /// How far the wall clock was ahead then, ms; this much is caught up and no more.
    behind: i128,
}

impl Anchor {
    fn time_at(&self, monotonic: u64) -> u64 {
        let elapsed = i128::from(monotonic.saturating_sub(self.monotonic));
        let most = elapsed / SLEW_DIVISOR;
        let time = i128::from(self.time) + elapsed + self.behind.clamp(-most, most);
        u64::try_from(time).unwrap_or(u64::MAX)
    }
}

impl NodeClock {
    /// `newest_on_disk` is the latest time any stored record carries; zero for an empty directory.
    pub fn new(raw: Arc<dyn Clock>, newest_on_disk: Timestamp) -> Arc<Self> {
        let time = raw.wall().max(newest_on_disk).0;
        let anchor = Anchor { monotonic: milliseconds(raw.monotonic()), time, behind: 0 };
        Arc::new(Self { raw, anchor: Mutex::new(anchor) })
    }

    /// The node's time now.
    pub fn now(&self) -> Timestamp {
        let mut anchor = self.anchor.lock().expect("no holder of the anchor panics");
        let monotonic = milliseconds(self.raw.monotonic());
        let time = anchor.time_at(monotonic);
        if monotonic.saturating_sub(anchor.monotonic) >= ANCHOR_INTERVAL_MS {
            let behind = i128::from(self.raw.wall().0) - i128::from(time);
            *anchor = Anchor { monotonic, time, behind };
        }
        Timestamp(time)
    }

    /// Time is at least this from now on. For the start only, when the log turned out to hold newer records than the
    /// store: nobody has read the clock yet who could notice the step.
    pub fn not_before(&self, newest_on_disk: Timestamp) {
        let mut anchor = self.anchor.lock().expect("no holder of the anchor panics");
        let monotonic = milliseconds(self.raw.monotonic());
        let time = anchor.time_at(monotonic);
        if time < newest_on_disk.0 {
            *anchor = Anchor { monotonic, time: newest_on_disk.0, behind: 0 };
        }
    }

    /// The wall clock as it is, with all its steps: for what is compared with the clocks of others, who know nothing of
    /// this node's time. Nothing that is stored carries it.
    pub fn wall(&self) -> Timestamp {
        self.raw.wall()
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

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
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
        assert_eq!(clock.now(), Timestamp(10_001_000));
        *hands.0.lock().unwrap() = (10_000_000 - 3_599_000, 2_000);
        assert_eq!(clock.now(), Timestamp(10_001_950), "5 % slower than monotonic time");
    }

    #[test]
    fn time_catches_up_with_a_wall_clock_ahead_even_when_asked_every_millisecond() {
        let hands = Arc::new(Hands(Mutex::new((0, 0))));
        let clock = NodeClock::new(hands.clone(), Timestamp::ZERO);
        let mut last = Timestamp::ZERO;
        for monotonic in 0..30_000 {
            *hands.0.lock().unwrap() = (monotonic + 1_000, monotonic);
            let now = clock.now();
            assert!(now >= last);
            last = now;
        }
        assert_eq!(last, Timestamp(30_999));
    }

    #[test]
    fn records_found_in_the_log_after_the_start_hold_time_as_well() {
        let clock = NodeClock::new(Arc::new(Hands(Mutex::new((1_000, 0)))), Timestamp::ZERO);
        clock.not_before(Timestamp(31_536_000_000));
        assert_eq!(clock.now(), Timestamp(31_536_000_000));
        clock.not_before(Timestamp(5));
        assert_eq!(clock.now(), Timestamp(31_536_000_000));
    }

    #[test]
    fn a_clock_nobody_reads_for_an_hour_does_not_overshoot_the_wall_clock() {
        let hands = Arc::new(Hands(Mutex::new((0, 0))));
        let clock = NodeClock::new(hands.clone(), Timestamp::ZERO);
        *hands.0.lock().unwrap() = (1_040, 1_000);
        clock.now();
        *hands.0.lock().unwrap() = (3_601_040, 3_601_000);
        assert_eq!(clock.now(), Timestamp(3_601_040), "40 ms are caught up once, not every second");
    }

    #[test]
    fn a_year_ahead_at_start_is_kept_by_the_newest_record() {
        let hands = Arc::new(Hands(Mutex::new((1_000, 0))));
        let clock = NodeClock::new(hands.clone(), Timestamp(31_536_000_000));
        *hands.0.lock().unwrap() = (2_000, 1_000);
        assert!(clock.now() > Timestamp(31_536_000_000));
    }
}
