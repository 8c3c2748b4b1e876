//! Which entities may be brought to life: restart backoff, and quarantine of those that cannot be replayed.
//!
//! Only panics in replay count towards quarantine (P9): they repeat by nature and would take their shard's time for
//! ever. Other failures (a refused batch, a store error) only delay the next start.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::ids::EntityId;

/// Replay panics after which an entity is set aside.
const REPLAY_PANICS_MAX: u32 = 3;
/// Delay after the first failure; doubles up to [`BACKOFF_MAX`].
const BACKOFF_FIRST: Duration = Duration::from_millis(10);
/// Longest delay.
const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// Quiet time after which earlier failures are forgotten.
const FORGIVEN_AFTER: Duration = Duration::from_secs(60);

/// Whether an entity may be spawned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Yes.
    Fit,
    /// Not yet.
    Recovering,
    /// No, until somebody releases it.
    Quarantined,
}

#[derive(Debug)]
struct Case {
    failures: u32,
    replay_panics: u32,
    failed_at: Instant,
    backoff: Duration,
}

/// The troubled entities of a shard; healthy ones are not listed.
#[derive(Debug, Default)]
pub struct Health {
    cases: BTreeMap<EntityId, Case>,
}

impl Health {
    /// May it be spawned now?
    pub fn of(&mut self, entity: &EntityId, now: Instant) -> Verdict {
        let Some(case) = self.cases.get(entity) else { return Verdict::Fit };
        if case.replay_panics >= REPLAY_PANICS_MAX {
            return Verdict::Quarantined;
        }
        let quiet = now.duration_since(case.failed_at);
        if quiet < case.backoff {
            return Verdict::Recovering;
        }
        if quiet > FORGIVEN_AFTER {
            self.cases.remove(entity);
        }
        Verdict::Fit
    }

    /// Its replay panicked; [`Health::failed`] is told before or after. True when it has just entered quarantine.
    pub fn replay_panicked(&mut self, entity: &EntityId) -> bool {
        let case = self.case(entity);
        case.replay_panics += 1;
        case.replay_panics == REPLAY_PANICS_MAX
    }

    /// Its actor failed.
    pub fn failed(&mut self, entity: &EntityId, now: Instant) {
        let case = self.case(entity);
        case.failures += 1;
        case.failed_at = now;
        case.backoff = BACKOFF_MAX.min(BACKOFF_FIRST * 2u32.saturating_pow(case.failures - 1));
    }

    /// How long it waits before its next start.
    pub fn backoff(&self, entity: &EntityId) -> Duration {
        self.cases.get(entity).map_or(Duration::ZERO, |case| case.backoff)
    }

    /// Who is set aside, in id order, and how often each failed.
    pub fn quarantined(&self) -> Vec<(EntityId, u32)> {
        let set_aside = self.cases.iter().filter(|(_, case)| case.replay_panics >= REPLAY_PANICS_MAX);
        set_aside.map(|(entity, case)| (entity.clone(), case.failures)).collect()
    }

    /// Gives it another chance. False when it was not quarantined.
    pub fn release(&mut self, entity: &EntityId) -> bool {
        let was = self.cases.get(entity).is_some_and(|case| case.replay_panics >= REPLAY_PANICS_MAX);
        if was {
            self.cases.remove(entity);
        }
        was
    }

    fn case(&mut self, entity: &EntityId) -> &mut Case {
        self.cases.entry(entity.clone()).or_insert_with(|| Case {
            failures: 0,
            replay_panics: 0,
            failed_at: Instant::now(),
            backoff: Duration::ZERO,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entity() -> EntityId {
        "stock/TEA".parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn three_replay_panics_set_an_entity_aside_until_released() {
        let mut health = Health::default();
        for panics in 1..=3 {
            health.failed(&entity(), Instant::now());
            assert_eq!(health.replay_panicked(&entity()), panics == 3);
            tokio::time::advance(Duration::from_secs(3)).await;
        }
        assert_eq!(health.of(&entity(), Instant::now()), Verdict::Quarantined);
        assert_eq!(health.quarantined(), [(entity(), 3)]);
        assert!(health.release(&entity()));
        assert_eq!(health.of(&entity(), Instant::now()), Verdict::Fit);
    }

    #[tokio::test(start_paused = true)]
    async fn other_failures_only_delay_the_next_start() {
        let mut health = Health::default();
        for _ in 0..20 {
            health.failed(&entity(), Instant::now());
        }
        assert_eq!(health.of(&entity(), Instant::now()), Verdict::Recovering);
        tokio::time::advance(BACKOFF_MAX).await;
        assert_eq!(health.of(&entity(), Instant::now()), Verdict::Fit);
    }
}
