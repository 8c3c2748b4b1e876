//! The shard's one timer, over the wake rows its entities' records leave in the store (P13).
//!
//! Rows that are due are walked in pages at a bounded rate, so a mass of expiries after an outage does not starve the
//! shard's commands. An entity that is alive and still owes keeps a due row; each walk nudges it once and then moves
//! on, and a walk starts over from the earliest row only after [`WALK_INTERVAL`].

use std::time::Duration;

use ractor::ActorRef;
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
/// Longest sleep: a safety net should a wake-up ever be computed too late.
const SLEEP_MAX: Duration = Duration::from_secs(60);

/// Knows who is due and when to look again.
pub struct Waker {
    group: GroupId,
    journal: Journal,
    shard: ActorRef<ShardMessage>,
    /// Where the current walk is; `None` between walks.
    position: Option<(Timestamp, EntityId)>,
    /// When the timer fires next.
    fires_at: Option<Instant>,
}

impl Waker {
    /// The timer of `shard`, not yet set.
    pub fn new(group: GroupId, journal: Journal, shard: ActorRef<ShardMessage>) -> Self {
        Self { group, journal, shard, position: None, fires_at: None }
    }

    /// Makes sure the timer fires by then.
    pub fn no_later_than(&mut self, at: Timestamp, now: Timestamp) {
        self.look_again_after(at.since(now));
    }

    /// Makes sure the timer fires within this time.
    pub fn look_again_after(&mut self, delay: Duration) {
        let at = Instant::now() + delay.min(SLEEP_MAX);
        if self.fires_at.is_none_or(|fires_at| at < fires_at) {
            self.fires_at = Some(at);
            let delay = at.saturating_duration_since(Instant::now());
            self.shard.send_after(delay, || ShardMessage::WakeDue);
        }
    }

    /// The next page of entities that are due; sets the timer for the one after. An earlier timer that is still
    /// running only causes one look too many.
    pub async fn due(&mut self, now: Timestamp) -> Vec<EntityId> {
        self.fires_at = None;
        let page = match self.journal.due_wakes(self.group, self.position.as_ref(), now, PAGE).await {
            Ok(page) => page,
            Err(error) => {
                tracing::warn!(group = %self.group, %error, "wake rows are unreadable, trying again");
                self.look_again_after(WALK_INTERVAL);
                return Vec::new();
            }
        };
        if page.len() == PAGE {
            self.position = page.last().cloned();
            self.look_again_after(PAGE_INTERVAL);
        } else {
            let walked = self.position.take().is_some() || !page.is_empty();
            self.sleep(now, walked).await;
        }
        page.into_iter().map(|(_, entity)| entity).collect()
    }

    /// Between walks: until the next future row, or until due rows may be walked again.
    async fn sleep(&mut self, now: Timestamp, walked: bool) {
        if walked {
            self.look_again_after(WALK_INTERVAL);
        }
        match self.journal.next_wake_after(self.group, now).await {
            Ok(Some(at)) => self.no_later_than(at, now),
            Ok(None) => {}
            Err(error) => tracing::warn!(group = %self.group, %error, "the next wake-up is unreadable"),
        }
        self.look_again_after(SLEEP_MAX);
    }
}
