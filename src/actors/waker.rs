//! The shard's one timer, over the wake rows its entities' records leave in the store (P13).
//!
//! Rows that are due are walked in pages at a bounded rate, so a mass of expiries after an outage does not starve the
//! shard's commands. An entity that is alive and still owes keeps a due row; each walk nudges it once and then moves
//! on. Looks in between go on behind the row seen last; a walk starts over from the earliest one only after
//! [`WALK_INTERVAL`], which is also when a row that appeared behind it is seen.
//!
//! There is one timer: setting it earlier ends the one that runs, and what an ended one may have sent already is known
//! by its number and not acted on. So the looks of a shard never add up, however many rows are due or come due.

use std::time::Duration;

use ractor::ActorRef;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::shard::ShardMessage;
use crate::domain::ids::EntityId;
use crate::domain::time::Timestamp;
use crate::persistence::journal::Journal;
use crate::persistence::log::GroupId;

/// Entities woken per page.
const PAGE: usize = 256;
/// Pause between pages of one walk: bounds activation to about 5,000 a second per shard.
const PAGE_INTERVAL: Duration = Duration::from_millis(50);
/// Shortest time from the start of one walk over the same rows to the next.
const WALK_INTERVAL: Duration = Duration::from_secs(1);
/// Shortest pause between two looks: rows that come due every millisecond are looked at together.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
/// Longest sleep: a safety net should a wake-up ever be computed too late.
const SLEEP_MAX: Duration = Duration::from_secs(60);

/// Knows who is due and when to look again.
pub struct Waker {
    group: GroupId,
    journal: Journal,
    shard: ActorRef<ShardMessage>,
    /// The row seen last by the current walk; `None` when it saw none.
    position: Option<(Timestamp, EntityId)>,
    /// The last page was full: the walk goes on.
    mid_walk: bool,
    /// When the next walk may start over.
    walk_again_at: Instant,
    /// No look before then.
    look_from: Instant,
    timer: Option<Timer>,
    /// Numbers the timers, so that one that was ended is not obeyed.
    number: u64,
}

/// The timer that runs.
struct Timer {
    fires_at: Instant,
    task: AbortHandle,
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Waker {
    /// The timer of `shard`, not yet set.
    pub fn new(group: GroupId, journal: Journal, shard: ActorRef<ShardMessage>) -> Self {
        let (now, position, mid_walk, timer, number) = (Instant::now(), None, false, None, 0);
        Self { group, journal, shard, position, mid_walk, walk_again_at: now, look_from: now, timer, number }
    }

    /// Makes sure the timer fires by then, or as soon as it may.
    pub fn no_later_than(&mut self, at: Timestamp, now: Timestamp) {
        self.look_again_after(at.since(now));
    }

    /// Makes sure the timer fires within this time, or as soon as it may.
    pub fn look_again_after(&mut self, delay: Duration) {
        let now = Instant::now();
        let fires_at = (now + delay.min(SLEEP_MAX)).max(self.look_from);
        if self.timer.as_ref().is_some_and(|timer| timer.fires_at <= fires_at) {
            return;
        }
        self.number += 1;
        let timer = self.number;
        let task = self.shard.send_after(fires_at - now, move || ShardMessage::WakeDue { timer });
        self.timer = Some(Timer { fires_at, task: task.abort_handle() });
    }

    /// The next page of entities that are due, when this timer is the one that runs; sets the next.
    pub async fn due(&mut self, timer: u64, now: Timestamp) -> Vec<EntityId> {
        if timer != self.number {
            return Vec::new();
        }
        let started = Instant::now();
        (self.timer, self.look_from) = (None, started + LOOK_INTERVAL);
        if !self.mid_walk && started >= self.walk_again_at {
            (self.position, self.walk_again_at) = (None, started + WALK_INTERVAL);
        }
        let page = match self.journal.due_wakes(self.group, self.position.as_ref(), now, PAGE).await {
            Ok(page) => page,
            Err(error) => {
                tracing::warn!(group = %self.group, %error, "wake rows are unreadable, trying again");
                self.look_again_after(WALK_INTERVAL);
                return Vec::new();
            }
        };
        self.mid_walk = page.len() == PAGE;
        self.position = page.last().cloned().or(self.position.take());
        if self.mid_walk {
            self.look_from = started + PAGE_INTERVAL;
            self.look_again_after(PAGE_INTERVAL);
        } else {
            self.sleep(now).await;
        }
        page.into_iter().map(|(_, entity)| entity).collect()
    }

    /// Between looks: until the next future row, or until the rows that were due may be walked again.
    async fn sleep(&mut self, now: Timestamp) {
        if self.position.is_some() {
            self.look_again_after(self.walk_again_at.saturating_duration_since(Instant::now()));
        }
        match self.journal.next_wake_after(self.group, now).await {
            Ok(Some(at)) => self.no_later_than(at, now),
            Ok(None) => {}
            Err(error) => tracing::warn!(group = %self.group, %error, "the next wake-up is unreadable"),
        }
        self.look_again_after(SLEEP_MAX);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};

    use ractor::{Actor, ActorProcessingErr};

    use super::*;
    use crate::domain::testkit::sku;
    use crate::persistence::keys;
    use crate::persistence::memory::MemoryStore;
    use crate::persistence::store::{Store, WriteBatch};

    const GROUP: GroupId = GroupId(3);

    /// Looks whenever it is told to, and notes whom it found how often.
    struct Looker(Instant);

    type Found = Arc<Mutex<BTreeMap<String, usize>>>;

    impl Actor for Looker {
        type Msg = ShardMessage;
        type State = (Waker, Found);
        type Arguments = (Journal, Found);

        async fn pre_start(
            &self,
            myself: ActorRef<ShardMessage>,
            (journal, found): (Journal, Found),
        ) -> Result<(Waker, Found), ActorProcessingErr> {
            let mut waker = Waker::new(GROUP, journal, myself);
            waker.look_again_after(Duration::ZERO);
            Ok((waker, found))
        }

        async fn handle(
            &self,
            _myself: ActorRef<ShardMessage>,
            message: ShardMessage,
            (waker, found): &mut (Waker, Found),
        ) -> Result<(), ActorProcessingErr> {
            let now = Timestamp(self.0.elapsed().as_millis() as u64 + 1);
            match message {
                ShardMessage::WakeDue { timer } => {
                    *found.lock().unwrap().entry("looks".to_owned()).or_default() += 1;
                    for entity in waker.due(timer, now).await {
                        *found.lock().unwrap().entry(entity.key.to_string()).or_default() += 1;
                    }
                }
                ShardMessage::WakeAt { at } => waker.no_later_than(at, now),
                other => panic!("{other:?}"),
            }
            Ok(())
        }
    }

    async fn write(store: &MemoryStore, wakes: impl IntoIterator<Item = (u64, String)>) {
        let mut batch = WriteBatch::default();
        for (at, name) in wakes {
            batch.put(keys::wake(GROUP, Timestamp(at), &EntityId::stock(&sku(&name))), Vec::new());
        }
        store.write(batch).await.unwrap();
    }

    async fn watch(store: MemoryStore, seconds: u64) -> BTreeMap<String, usize> {
        let found = Found::default();
        let arguments = (Journal::new(Arc::new(store)), found.clone());
        let (looker, task) = Actor::spawn(None, Looker(Instant::now()), arguments).await.unwrap();
        for _ in 0..seconds * 10 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            // An entity that wants attention earlier than the timer fires.
            looker.cast(ShardMessage::WakeAt { at: Timestamp(1) }).unwrap();
        }
        looker.stop_and_wait(None, None).await.unwrap();
        task.await.unwrap();
        std::mem::take(&mut *found.lock().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn looks_do_not_add_up_however_long_a_row_stays_due() {
        let store = MemoryStore::new();
        write(&store, [(1, "STUCK".to_owned())]).await;
        write(&store, (1..=400).map(|number| (number * 150, format!("DUE-{number}")))).await;
        let found = watch(store, 60).await;
        // 400 rows that come due, 600 wishes for attention, one walk a second.
        assert!(found["looks"] <= 1_100, "{} looks", found["looks"]);
        assert!((50..=62).contains(&found["STUCK"]), "nudged {} times in a minute", found["STUCK"]);
        assert!((1..=400).all(|number| found.contains_key(&format!("DUE-{number}"))), "{found:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_mass_of_rows_is_walked_to_its_end_before_the_walk_starts_over() {
        let store = MemoryStore::new();
        for page in 0..40_u64 {
            write(&store, (0..PAGE as u64).map(|number| (1 + page, format!("M-{page}-{number}")))).await;
        }
        let found = watch(store, 5).await;
        let rows: Vec<usize> = found.iter().filter(|(name, _)| name.starts_with("M-")).map(|(_, seen)| *seen).collect();
        assert_eq!(rows.len(), 40 * PAGE, "a walk of two seconds reaches everybody");
        assert!(found["looks"] <= 5 * 100, "{} looks", found["looks"]);
    }
}
