//! The applier: turns a group's committed log entries into rows of the store, one verdict per batch (P10, P24).
//!
//! It belongs to the group's Raft state machine and sees its entries in log order, possibly again after a crash or a
//! restored checkpoint. The verdict comes from a bounded cache of journal ends with a store read on a miss; the rows
//! of one entry, `applied` included, go to the store as one atomic batch, so the store is always exactly at some entry.
//!
//! Replay is harmless (P26). Every batch row names the log entry that stored it; an entry at or below an entity's own
//! last one was decided before and is not decided again: nothing of its journal is written, while rows that a fuzzy
//! checkpoint may have missed (dedup, data keys, feed) are written again with the same content.
//!
//! Refuses: entries out of order (a bug, panics) and more than one batch of an entity in one entry (the second one is
//! refused). Fails only with the store, which is then set aside and rebuilt.

use std::num::NonZeroUsize;
use std::sync::Arc;

use bytes::Bytes;
use lru::LruCache;

use super::codec::{self, Applied, BatchRow, FeedItem};
use super::fold::{FoldRequests, is_due};
use super::journal::{Journal, JournalError, Tail};
use super::keys;
use super::log::GroupId;
use super::records::{EntityBatch, Verdict};
use super::store::{Store, WriteBatch};
use crate::domain::entity::VaultChange;
use crate::domain::ids::EntityId;
use crate::domain::time::{Sequence, Timestamp};

/// Journal ends kept in memory per group: about 150 bytes each, so at most 2.5 MiB a group.
const CACHE_ENTITIES_MAX: NonZeroUsize = NonZeroUsize::new(16_384).expect("not zero");

/// Applies one group's log to the store.
pub struct Applier {
    group: GroupId,
    journal: Journal,
    /// Ends of recently touched journals, as of the last applied entry.
    tails: LruCache<EntityId, Tail>,
    /// Index of the last applied entry.
    applied: Option<u64>,
    /// Newest `at` of any record applied.
    newest_at: Timestamp,
    /// Whom to tell when a snapshot is due.
    folding: Option<FoldRequests>,
}

/// What is to be done with one batch.
enum Standing {
    /// It follows the entity's journal: write all of it.
    Next(Tail),
    /// This very entry stored it before: write again only what a fuzzy checkpoint may lack.
    Present,
    /// The entity is elsewhere.
    Stale(Sequence),
}

impl Applier {
    /// Continues where the store is.
    pub async fn open(store: Arc<dyn Store>, group: GroupId) -> Result<Self, JournalError> {
        let journal = Journal::new(store);
        let applied = journal.applied(group).await?;
        Ok(Self {
            group,
            journal,
            tails: LruCache::new(CACHE_ENTITIES_MAX),
            newest_at: applied.as_ref().map_or(Timestamp::ZERO, |applied| applied.newest_at),
            applied: applied.map(|applied| applied.index),
            folding: None,
        })
    }

    /// From now on asks for a snapshot of every entity that is due for one (P25).
    #[must_use]
    pub fn with_folding(mut self, folding: FoldRequests) -> Self {
        self.folding = Some(folding);
        self
    }

    /// Index of the last applied entry.
    pub fn applied(&self) -> Option<u64> {
        self.applied
    }

    /// Applies one entry: its batches (none for Raft's own entries) and what the Raft adapter wants to find again.
    /// The rows are queued in the store, not yet durable; the verdicts stand.
    pub async fn apply(
        &mut self,
        log_index: u64,
        raft: Bytes,
        batches: &[EntityBatch],
    ) -> Result<Vec<Verdict>, JournalError> {
        assert!(self.applied.is_none_or(|applied| applied < log_index), "JRN-3: log entries are applied in order");
        self.note_finished_folds();
        let mut rows = WriteBatch::default();
        let mut verdicts = Vec::with_capacity(batches.len());
        let mut feed = Vec::with_capacity(batches.len());
        for batch in batches {
            #[cfg(feature = "canaries")]
            let suffix = self.suffix(batch).await?;
            #[cfg(feature = "canaries")]
            let batch = suffix.as_ref().unwrap_or(batch);
            let standing = self.standing(log_index, batch).await?;
            let verdict = match standing {
                Standing::Stale(last) => Verdict::Refused { last },
                Standing::Next(tail) => {
                    self.store_journal_rows(log_index, batch, tail, &mut rows);
                    Verdict::Stored
                }
                Standing::Present => Verdict::Stored,
            };
            if verdict == Verdict::Stored {
                self.store_side_rows(batch, &mut rows);
                feed.push(feed_item(batch));
                self.newest_at = self.newest_at.max(batch.last_at);
            }
            verdicts.push(verdict);
        }
        if !feed.is_empty() {
            rows.put(keys::feed(self.group, log_index), codec::encode_feed_row(&feed));
        }
        let applied = Applied { index: log_index, newest_at: self.newest_at, raft };
        rows.put(keys::applied(self.group), codec::encode_applied(&applied));
        self.journal.store().write(rows).await?;
        self.applied = Some(log_index);
        self.request_due_folds(batches);
        Ok(verdicts)
    }

    /// What of a batch that begins too early lies beyond the end of its entity's journal.
    #[cfg(feature = "canaries")]
    async fn suffix(&mut self, batch: &EntityBatch) -> Result<Option<EntityBatch>, JournalError> {
        let last = match self.tails.get(&batch.entity) {
            Some(tail) => tail.last,
            None => self.journal.tail(self.group, &batch.entity).await?.last,
        };
        let overlaps = (batch.first_sequence..batch.last_sequence()).contains(&last);
        if !overlaps || !crate::canary::is(crate::canary::Canary::StaleSuffixAccepted) {
            return Ok(None);
        }
        let mut records = codec::decode_records(batch.entity.kind, &batch.records).expect("it was just encoded");
        records.retain(|record| record.sequence > last);
        let record_count = u32::try_from(records.len()).expect("fewer than before");
        let records = codec::encode_records(&records);
        Ok(Some(EntityBatch { first_sequence: last.next(), record_count, records, ..batch.clone() }))
    }

    /// Remembers how large new snapshots are: the next one is due when that many record bytes have come (P25).
    fn note_finished_folds(&mut self) {
        let Some(folding) = &mut self.folding else { return };
        while let Some((entity, head)) = folding.finished() {
            if let Some(tail) = self.tails.peek_mut(&entity) {
                tail.folded_bytes_total = head.record_bytes_total;
                tail.snapshot_bytes = head.snapshot_bytes;
            }
        }
    }

    /// Only after the entry's rows are queued: the folder reads behind them.
    fn request_due_folds(&mut self, batches: &[EntityBatch]) {
        let Some(folding) = &mut self.folding else { return };
        for batch in batches {
            if self.tails.peek(&batch.entity).is_some_and(is_due) {
                folding.request(self.group, &batch.entity);
            }
        }
    }

    async fn standing(&mut self, log_index: u64, batch: &EntityBatch) -> Result<Standing, JournalError> {
        let tail = match self.tails.get(&batch.entity) {
            Some(tail) => *tail,
            None => {
                let tail = self.journal.tail(self.group, &batch.entity).await?;
                self.tails.put(batch.entity.clone(), tail);
                tail
            }
        };
        if tail.last > Sequence::ZERO && tail.log_index >= log_index {
            let stored = self.journal.batch(self.group, &batch.entity, batch.first_sequence).await?;
            let present = stored.is_some_and(|row| row.log_index == log_index && row.records == batch.records);
            return Ok(if present { Standing::Present } else { Standing::Stale(tail.last) });
        }
        if batch.first_sequence == tail.last.next() { Ok(Standing::Next(tail)) } else { Ok(Standing::Stale(tail.last)) }
    }

    fn store_journal_rows(&mut self, log_index: u64, batch: &EntityBatch, tail: Tail, rows: &mut WriteBatch) {
        let record_bytes_total = tail.record_bytes_total + batch.records.len() as u64;
        let row = BatchRow { log_index, record_bytes_total, records: batch.records.clone() };
        rows.put(keys::batch(self.group, &batch.entity, batch.first_sequence), codec::encode_batch_row(&row));
        if tail.wake_at != batch.wake_at {
            if let Some(at) = tail.wake_at {
                rows.delete(keys::wake(self.group, at, &batch.entity));
            }
            if let Some(at) = batch.wake_at {
                rows.put(keys::wake(self.group, at, &batch.entity), Bytes::new());
            }
        }
        let tail = Tail {
            last: batch.last_sequence(),
            last_at: batch.last_at,
            wake_at: batch.wake_at,
            log_index,
            record_bytes_total,
            ..tail
        };
        self.tails.put(batch.entity.clone(), tail);
    }

    fn store_side_rows(&self, batch: &EntityBatch, rows: &mut WriteBatch) {
        for row in &batch.command_rows {
            rows.put(keys::command(self.group, &batch.entity, row.command), codec::encode_command_row(row));
        }
        for change in &batch.vault {
            match change {
                VaultChange::Put { key, secret } => {
                    rows.put(keys::vault(self.group, *key), codec::encode_vault_key(secret));
                }
                VaultChange::Erase { key } => rows.delete(keys::vault(self.group, *key)),
            }
        }
    }
}

fn feed_item(batch: &EntityBatch) -> FeedItem {
    FeedItem { entity: batch.entity.clone(), first_sequence: batch.first_sequence, record_count: batch.record_count }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::entity::Fingerprint;
    use crate::domain::ids::DataKeyId;
    use crate::persistence::journal::FeedRow;
    use crate::persistence::memory::MemoryStore;
    use crate::persistence::records::CommandRow;
    use crate::persistence::testkit::{batch, batch_waking, command_id, raft, record, stock};

    const GROUP: GroupId = GroupId(1);

    async fn fresh() -> (Applier, Journal) {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        (Applier::open(store.clone(), GROUP).await.unwrap(), Journal::new(store))
    }

    #[tokio::test]
    async fn stored_batches_are_read_back_in_order() {
        let (mut applier, journal) = fresh().await;
        let stored = applier.apply(1, raft(), &[batch("TEA", 1, 3), batch("CUP", 1, 1)]).await.unwrap();
        assert_eq!(stored, [Verdict::Stored, Verdict::Stored]);
        applier.apply(2, raft(), &[batch("TEA", 4, 5)]).await.unwrap();
        let loaded = journal.load(GROUP, &stock("TEA")).await.unwrap();
        assert_eq!(loaded.records, (1..=5).map(record).collect::<Vec<_>>());
        let some = journal.history(GROUP, &stock("TEA"), Sequence(2), 3).await.unwrap();
        assert_eq!(some, (2..=4).map(record).collect::<Vec<_>>());
        assert_eq!(journal.read_record(GROUP, &stock("TEA"), Sequence(5)).await.unwrap(), Some(record(5)));
        assert_eq!(journal.read_record(GROUP, &stock("TEA"), Sequence(6)).await.unwrap(), None);
        assert_eq!(journal.entities(GROUP, None, 9).await.unwrap(), [stock("CUP"), stock("TEA")]);
        let applied = Applied { index: 2, newest_at: Timestamp(5000), raft: raft() };
        assert_eq!(journal.applied(GROUP).await.unwrap(), Some(applied));
    }

    #[tokio::test]
    async fn stale_and_gapping_batches_are_refused_whole_and_others_go_on() {
        let (mut applier, journal) = fresh().await;
        applier.apply(1, raft(), &[batch("TEA", 1, 3)]).await.unwrap();
        let mut stale = batch("TEA", 3, 4);
        stale.vault.push(VaultChange::Put { key: DataKeyId([1; 16]), secret: [2; 32] });
        let verdicts = applier.apply(2, raft(), &[stale, batch("CUP", 1, 1), batch("POT", 2, 2)]).await.unwrap();
        let refused = |last| Verdict::Refused { last: Sequence(last) };
        assert_eq!(verdicts, [refused(3), Verdict::Stored, refused(0)]);
        assert_eq!(journal.load(GROUP, &stock("TEA")).await.unwrap().records.len(), 3);
        assert_eq!(journal.data_key(GROUP, DataKeyId([1; 16])).await.unwrap(), None);
        let item = FeedItem { entity: stock("CUP"), first_sequence: Sequence(1), record_count: 1 };
        let feed = journal.feed(GROUP, 2, 9).await.unwrap();
        assert_eq!(feed, [FeedRow { log_index: 2, items: vec![item] }]);
    }

    #[tokio::test]
    async fn verdicts_survive_a_restart() {
        let (mut applier, journal) = fresh().await;
        applier.apply(1, raft(), &[batch("TEA", 1, 3)]).await.unwrap();
        let mut again = Applier::open(journal.store().clone(), GROUP).await.unwrap();
        assert_eq!(again.applied(), Some(1));
        let verdicts = again.apply(2, raft(), &[batch("TEA", 3, 4)]).await.unwrap();
        assert_eq!(verdicts, [Verdict::Refused { last: Sequence(3) }]);
        assert_eq!(again.apply(3, raft(), &[batch("TEA", 4, 4)]).await.unwrap(), [Verdict::Stored]);
    }

    #[tokio::test]
    async fn replay_over_a_store_that_is_ahead_changes_nothing() {
        let entries = [vec![batch("TEA", 1, 2)], vec![batch("TEA", 2, 9)], vec![batch("TEA", 3, 3)], vec![]];
        let (mut applier, journal) = fresh().await;
        for (index, batches) in (1..).zip(&entries) {
            applier.apply(index, raft(), batches).await.unwrap();
        }
        let before = dump(&journal).await;
        let mut rewound = WriteBatch::default();
        rewound.delete(keys::applied(GROUP));
        rewound.delete(keys::feed(GROUP, 3));
        journal.store().write(rewound).await.unwrap();
        let mut replay = Applier::open(journal.store().clone(), GROUP).await.unwrap();
        let mut verdicts = Vec::new();
        for (index, batches) in (1..).zip(&entries) {
            verdicts.extend(replay.apply(index, raft(), batches).await.unwrap());
        }
        assert_eq!(verdicts, [Verdict::Stored, Verdict::Refused { last: Sequence(3) }, Verdict::Stored]);
        assert_eq!(dump(&journal).await, before);
    }

    #[tokio::test]
    async fn wake_rows_move_with_the_journal() {
        let (mut applier, journal) = fresh().await;
        applier
            .apply(1, raft(), &[batch_waking("TEA", 1, 1, Some(50)), batch_waking("CUP", 1, 1, Some(20))])
            .await
            .unwrap();
        assert_eq!(journal.due_wakes(GROUP, None, Timestamp(20), 9).await.unwrap(), [(Timestamp(20), stock("CUP"))]);
        assert_eq!(journal.due_wakes(GROUP, None, Timestamp(49), 9).await.unwrap().len(), 1);
        applier
            .apply(2, raft(), &[batch_waking("CUP", 2, 2, None), batch_waking("TEA", 2, 2, Some(40))])
            .await
            .unwrap();
        let due = journal.due_wakes(GROUP, None, Timestamp(u64::MAX), 9).await.unwrap();
        assert_eq!(due, [(Timestamp(40), stock("TEA"))]);
    }

    #[tokio::test]
    async fn sixty_four_records_of_a_hot_item_take_three_rows() {
        let (mut applier, journal) = fresh().await;
        applier.apply(1, raft(), &[batch("TEA", 1, 64)]).await.unwrap();
        assert_eq!(dump(&journal).await.len(), 3, "the batch, the feed and applied");
        applier.apply(2, raft(), &[batch("TEA", 65, 128)]).await.unwrap();
        assert_eq!(dump(&journal).await.len(), 5, "applied is replaced");
    }

    #[tokio::test]
    async fn dedup_rows_and_data_keys_come_and_go_with_their_batch() {
        let (mut applier, journal) = fresh().await;
        let row = CommandRow {
            command: command_id(1),
            fingerprint: Fingerprint([3; 32]),
            sequence: Sequence(1),
            expires_at: Timestamp(9),
        };
        let key = DataKeyId([1; 16]);
        let mut first = batch("TEA", 1, 1);
        first.command_rows.push(row.clone());
        first.vault.push(VaultChange::Put { key, secret: [2; 32] });
        applier.apply(1, raft(), &[first]).await.unwrap();
        assert_eq!(journal.command(GROUP, &stock("TEA"), command_id(1)).await.unwrap(), Some(row.clone()));
        assert_eq!(journal.load(GROUP, &stock("TEA")).await.unwrap().commands, [row]);
        assert_eq!(journal.data_key(GROUP, key).await.unwrap(), Some([2; 32]));
        let mut second = batch("TEA", 2, 2);
        second.vault.push(VaultChange::Erase { key });
        applier.apply(2, raft(), &[second]).await.unwrap();
        assert_eq!(journal.data_key(GROUP, key).await.unwrap(), None);
    }

    async fn dump(journal: &Journal) -> Vec<crate::persistence::store::Row> {
        use crate::persistence::store::{Direction, Scan};
        let range = keys::group_range(GROUP);
        let scan = Scan {
            from: range.from,
            to: range.to,
            direction: Direction::Forward,
            rows_max: usize::MAX,
            bytes_max: usize::MAX,
        };
        journal.store().scan(scan).await.unwrap()
    }
}
