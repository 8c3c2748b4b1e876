//! Trimming: what may be forgotten after its time (P3, P27, P29).
//!
//! - records below an entity's snapshot, once older than the retention, unless their kind is kept for ever
//! - client keys past their expiry
//! - feed rows beyond a number: a projection further behind rebuilds itself from entity states
//!
//! A sweep walks one group entity by entity, a few store messages each, yielding in between; it is meant to run now and
//! then in the background. Replicas may sweep at different times: nothing that is decided depends on trimmed rows.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::codec;
use super::journal::{Journal, JournalError, just_after};
use super::keys::{self, ParsedKey};
use super::log::GroupId;
use super::store::{Direction, Row, Scan, Store, WriteBatch};
use super::turns::Turns;
use crate::domain::ids::EntityId;
use crate::domain::registry::Kind;
use crate::domain::time::{Sequence, Timestamp};

/// A client key may point to a record for this long, so no record goes earlier (P3).
const RETENTION_MIN: Duration = Duration::from_secs(24 * 60 * 60);
/// Entities looked up at once.
const ENTITIES_PER_PAGE: usize = 64;
/// Rows looked at, and removed, by one message to the store.
const ROWS_PER_PAGE: usize = 512;

/// What is kept how long.
#[derive(Clone, Debug)]
pub struct Retention {
    /// Records below a snapshot go once they are older; at least a day.
    pub records: Duration,
    /// Kinds whose records stay for ever.
    pub kept_for_ever: BTreeSet<Kind>,
    /// Feed rows kept per group.
    pub feed_rows_max: u64,
}

/// What a sweep removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trimmed {
    /// Batches of records.
    pub batches: u64,
    /// Client keys.
    pub commands: u64,
    /// Feed rows.
    pub feed_rows: u64,
}

/// Forgets what is past its time.
#[derive(Clone)]
pub struct Trimmer {
    journal: Journal,
    turns: Turns,
    retention: Retention,
}

impl Trimmer {
    /// Trims what is in this store, taking turns with its checkpoints and folds.
    pub fn new(store: Arc<dyn Store>, turns: Turns, retention: Retention) -> Self {
        Self { journal: Journal::new(store), turns, retention }
    }

    /// Sweeps one group as of `now`.
    pub async fn sweep(&self, group: GroupId, now: Timestamp) -> Result<Trimmed, JournalError> {
        let mut trimmed = Trimmed::default();
        let mut last: Option<EntityId> = None;
        loop {
            let entities = self.journal.entities(group, last.as_ref(), ENTITIES_PER_PAGE).await?;
            if entities.is_empty() {
                break;
            }
            for entity in &entities {
                let _turn = self.turns.take(group).await;
                trimmed.commands += self.trim_commands(group, entity, now).await?;
                trimmed.batches += self.trim_records(group, entity, now).await?;
            }
            last = entities.into_iter().next_back();
            tokio::task::yield_now().await;
        }
        trimmed.feed_rows = self.trim_feed(group).await?;
        Ok(trimmed)
    }

    async fn trim_commands(&self, group: GroupId, entity: &EntityId, now: Timestamp) -> Result<u64, JournalError> {
        let known = self.journal.commands(group, entity).await?;
        let expired = known.into_iter().filter(|(_, command)| command.expires_at <= now).map(|(row, _)| row);
        let expired: Vec<Row> = expired.collect();
        if expired.is_empty() {
            return Ok(0);
        }
        // An expired key may be used anew meanwhile: then its row is another one, and stays.
        Ok(self.journal.store().remove_unchanged(expired).await?)
    }

    async fn trim_records(&self, group: GroupId, entity: &EntityId, now: Timestamp) -> Result<u64, JournalError> {
        if self.retention.kept_for_ever.contains(&entity.kind) {
            return Ok(0);
        }
        let Some(head) = self.journal.snapshot_head(group, entity).await? else { return Ok(0) };
        let retention = self.retention.records.max(RETENTION_MIN);
        let mut removed = 0;
        loop {
            let mut rows = WriteBatch::default();
            let batches = self.journal.batches(group, entity, Sequence::ZERO).await?;
            let trimmable = batches.iter().map_while(|(_, records)| {
                let (first, last) = (records.first()?, records.last()?);
                (last.sequence <= head.sequence && now.since(last.at) > retention).then_some(first.sequence)
            });
            trimmable.for_each(|first| rows.delete(keys::batch(group, entity, first)));
            let all = rows.changes.len() == batches.len();
            removed += self.remove(rows).await?;
            if batches.is_empty() || !all {
                return Ok(removed);
            }
        }
    }

    /// Removes the oldest feed rows beyond the limit, after the floor says so.
    async fn trim_feed(&self, group: GroupId) -> Result<u64, JournalError> {
        let _turn = self.turns.take(group).await;
        let newest = self.journal.applied(group).await?.map_or(0, |applied| applied.index);
        let floor = newest.saturating_sub(self.retention.feed_rows_max);
        if floor <= self.journal.feed_floor(group).await? {
            return Ok(0);
        }
        let mut rows = WriteBatch::default();
        rows.put(keys::feed_floor(group), codec::encode_feed_floor(floor));
        self.journal.store().write(rows).await?;
        let (mut from, mut removed) = (keys::feed(group, 0), 0);
        loop {
            let to = keys::feed(group, floor);
            let (rows_max, bytes_max) = (ROWS_PER_PAGE, usize::MAX);
            let scan = Scan { from, to, direction: Direction::Forward, rows_max, bytes_max };
            let found = self.journal.store().scan(scan).await?;
            let Some((last, _)) = found.last() else { return Ok(removed) };
            from = just_after(last);
            let mut rows = WriteBatch::default();
            let ours = found.iter().filter(|(key, _)| matches!(keys::parse(key), Some((_, ParsedKey::Feed(_)))));
            ours.for_each(|(key, _)| rows.delete(key.clone()));
            removed += self.remove(rows).await?;
        }
    }

    async fn remove(&self, rows: WriteBatch) -> Result<u64, JournalError> {
        let removed = rows.changes.len() as u64;
        if removed > 0 {
            self.journal.store().write(rows).await?;
        }
        Ok(removed)
    }
}
