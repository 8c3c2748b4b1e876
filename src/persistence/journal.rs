//! Typed reading of the store: what actors recover from, what projections follow, what the shard's timer sleeps on.
//!
//! A [`Journal`] looks at a [`Store`]; it keeps nothing, so any number of them may exist. Every read sees every write
//! queued before it. What is wanted together is one message to the store (`journal_view`); reads that need more check
//! that what they saw belongs together and start over if a fold or a trim came between. Bytes that cannot be read are
//! reported with the key they lie under; the store is then set aside and rebuilt from checkpoint and log.
//!
//! Called by shards (activation, wakes), entities (dedup rows, earlier replies), projections (feed), the HTTP history
//! routes, the folder, checkpoints and `journal verify`.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use super::codec::{self, Applied, BatchRow, DecodeError, FeedItem, SnapshotHead};
pub use super::journal_error::JournalError;
use super::journal_view::{self as view, BatchPage, StoredSnapshot, View};
use super::keys::{self, KeyRange, ParsedKey};
use super::log::GroupId;
use super::records::{CommandRow, Record, Snapshot};
use super::store::{Direction, Row, Scan, Store};
use crate::domain::ids::{CommandId, DataKeyId, EntityId};
use crate::domain::registry::{AnyState, Kind};
use crate::domain::time::{Sequence, Timestamp};

/// What an actor recovers from.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// The newest snapshot, if any was made.
    pub snapshot: Option<Snapshot>,
    /// Every record after it, dense.
    pub records: Vec<Record>,
    /// Remembered client keys, expired ones included.
    pub commands: Vec<CommandRow>,
}

/// Where an entity's journal ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// The last record; zero before the first.
    pub last: Sequence,
    /// `at` of the last record.
    pub last_at: Timestamp,
    /// `wake_at` of the last record: there is a wake row for it.
    pub wake_at: Option<Timestamp>,
    /// The log entry that stored the last record.
    pub log_index: u64,
    /// Record bytes from the first record through the last.
    pub record_bytes_total: u64,
    /// Record bytes through the newest snapshot.
    pub folded_bytes_total: u64,
    /// Size of the newest snapshot.
    pub snapshot_bytes: u64,
}

/// What one log entry stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedRow {
    /// The entry.
    pub log_index: u64,
    /// The batches it stored, in order.
    pub items: Vec<FeedItem>,
}

/// Rows fetched by one message to the store.
pub(super) const PAGE_ROWS: usize = 1024;
/// Value bytes fetched by one message to the store.
pub(super) const PAGE_BYTES: usize = 1 << 20;
/// How often a read starts over when a fold or trim came between before it calls that damage.
const READ_ATTEMPTS: usize = 8;

/// Reads the journals of a node.
#[derive(Clone)]
pub struct Journal {
    store: Arc<dyn Store>,
}

impl Journal {
    /// A view over this store.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// The store itself.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Everything needed to bring an entity to life. Empty for an entity that never was.
    pub async fn load(&self, group: GroupId, entity: &EntityId) -> Result<Loaded, JournalError> {
        let mut attempt = 1;
        loop {
            match self.load_once(group, entity).await {
                Err(JournalError::Gap { .. }) if attempt < READ_ATTEMPTS => attempt += 1,
                Err(error) => {
                    if error.is_rot() {
                        self.store.distrust(&error.to_string());
                    }
                    return Err(error);
                }
                loaded => return loaded,
            }
        }
    }

    async fn load_once(&self, group: GroupId, entity: &EntityId) -> Result<Loaded, JournalError> {
        let of = entity.clone();
        let (stored, page, commands) = view::ask(&*self.store, move |view| {
            let snapshot = view.snapshot(group, &of)?;
            if snapshot.is_none()
                && let Some((page, commands)) = view.short_journal(group, &of)?
            {
                return Ok((None, page, commands));
            }
            let folded = snapshot.as_ref().map_or(Sequence::ZERO, |snapshot| snapshot.head.sequence);
            let page = view.batches_from(group, &of, folded.next(), usize::MAX)?;
            Ok((snapshot, page, view.command_rows(group, &of)?))
        })
        .await?;
        let snapshot = stored.map(|stored| decode_snapshot(&stored)).transpose()?;
        let folded = snapshot.as_ref().map_or(Sequence::ZERO, |snapshot| snapshot.sequence);
        let is_whole = page.more.is_none();
        let records = self.records(group, entity, page, folded.next(), usize::MAX).await?;
        let mut expected = folded.next();
        for record in &records {
            if record.sequence != expected {
                return Err(JournalError::Gap { entity: entity.clone(), expected, found: record.sequence });
            }
            expected = expected.next();
        }
        // Everything behind the snapshot may have been folded into a newer one and trimmed since its page was read.
        if !is_whole {
            let newest = self.snapshot_head(group, entity).await?.map_or(Sequence::ZERO, |head| head.sequence);
            if newest > expected {
                return Err(JournalError::Gap { entity: entity.clone(), expected, found: newest });
            }
        }
        let commands = commands.iter().filter_map(decode_command).collect::<Result<_, _>>()?;
        Ok(Loaded { snapshot, records, commands })
    }

    /// The newest snapshot of an entity.
    pub async fn snapshot(&self, group: GroupId, entity: &EntityId) -> Result<Option<Snapshot>, JournalError> {
        let entity = entity.clone();
        let stored = view::ask(&*self.store, move |view| view.snapshot(group, &entity)).await?;
        stored.map(|stored| decode_snapshot(&stored)).transpose()
    }

    /// Whether the newest snapshot of an entity, if it has one, is of this state. Cheaper than reading a large one.
    pub async fn snapshot_holds(
        &self,
        group: GroupId,
        entity: &EntityId,
        state: &AnyState,
    ) -> Result<bool, JournalError> {
        let entity = entity.clone();
        let stored = view::ask(&*self.store, move |view| view.snapshot(group, &entity)).await?;
        let Some(stored) = stored else { return Ok(true) };
        codec::snapshot_holds(&stored.bytes, state).map_err(|source| damaged(&stored.key, source))
    }

    /// Records from a sequence on, oldest first, at most `limit`. Starts later if older ones are trimmed.
    pub async fn history(
        &self,
        group: GroupId,
        entity: &EntityId,
        from: Sequence,
        limit: usize,
    ) -> Result<Vec<Record>, JournalError> {
        let of = entity.clone();
        let page = view::ask(&*self.store, move |view| view.batches_from(group, &of, from, limit)).await?;
        self.records(group, entity, page, from, limit).await
    }

    /// The records of a page and of all that follow it, from a sequence on, at most `limit`.
    async fn records(
        &self,
        group: GroupId,
        entity: &EntityId,
        first: BatchPage,
        from: Sequence,
        limit: usize,
    ) -> Result<Vec<Record>, JournalError> {
        let mut records = Vec::new();
        let mut page = first;
        loop {
            for row in &page.rows {
                let decoded = decode_batch(entity, row)?;
                records.extend(decoded.into_iter().filter(|record| record.sequence >= from));
            }
            let Some(position) = page.more.filter(|_| records.len() < limit) else { break };
            let to = keys::batches_range(group, entity).to;
            page = view::ask(&*self.store, move |view| view.batches_at(position.clone(), to.clone(), limit)).await?;
        }
        records.truncate(limit);
        Ok(records)
    }

    /// Stored batches from the one that starts with `first_sequence` on, with their records, at most one page.
    pub async fn batches(
        &self,
        group: GroupId,
        entity: &EntityId,
        first_sequence: Sequence,
    ) -> Result<Vec<(BatchRow, Vec<Record>)>, JournalError> {
        let to = keys::batches_range(group, entity).to;
        let range = KeyRange { from: keys::batch(group, entity, first_sequence), to };
        let mut batches = Vec::new();
        for row in self.page(range, Direction::Forward, PAGE_ROWS, PAGE_BYTES).await? {
            let stored = codec::decode_batch_row(&row.1).map_err(|source| damaged(&row.0, source))?;
            let records = codec::decode_records(entity.kind, &stored.records).map_err(|e| damaged(&row.0, e))?;
            batches.push((stored, records));
        }
        Ok(batches)
    }

    /// Which snapshot an entity has.
    pub async fn snapshot_head(&self, group: GroupId, entity: &EntityId) -> Result<Option<SnapshotHead>, JournalError> {
        let entity = entity.clone();
        view::ask(&*self.store, move |view| view.snapshot_head(group, &entity)).await
    }

    /// One record, if it is still there.
    pub async fn read_record(
        &self,
        group: GroupId,
        entity: &EntityId,
        sequence: Sequence,
    ) -> Result<Option<Record>, JournalError> {
        let to = keys::batch(group, entity, sequence.next());
        let range = KeyRange { from: keys::batches_range(group, entity).from, to };
        let rows = self.page(range, Direction::Reverse, 1, usize::MAX).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        Ok(decode_batch(entity, row)?.into_iter().find(|record| record.sequence == sequence))
    }

    /// The stored batch that starts with this record.
    pub async fn batch(
        &self,
        group: GroupId,
        entity: &EntityId,
        first_sequence: Sequence,
    ) -> Result<Option<BatchRow>, JournalError> {
        let key = keys::batch(group, entity, first_sequence);
        let Some(value) = self.store.get(key.clone()).await? else { return Ok(None) };
        codec::decode_batch_row(&value).map(Some).map_err(|source| damaged(&key, source))
    }

    /// Where the journal of an entity ends; all zero for an entity that never was.
    pub async fn tail(&self, group: GroupId, entity: &EntityId) -> Result<Tail, JournalError> {
        let of = entity.clone();
        let reads = move |view: &View<'_>| Ok((view.snapshot_head(group, &of)?, view.last_batch(group, &of)?));
        let (head, last) = view::ask(&*self.store, reads).await?;
        let mut tail = Tail::default();
        if let Some(head) = head {
            tail = Tail {
                last: head.sequence,
                last_at: head.at,
                wake_at: head.wake_at,
                log_index: head.log_index,
                record_bytes_total: head.record_bytes_total,
                folded_bytes_total: head.record_bytes_total,
                snapshot_bytes: head.snapshot_bytes,
            };
        }
        if let Some((key, value)) = last {
            let row = codec::decode_batch_row(&value).map_err(|source| damaged(&key, source))?;
            let records = codec::peek_records(&row.records).map_err(|source| damaged(&key, source))?;
            tail.last = Sequence(records.first_sequence.0 + u64::from(records.record_count) - 1);
            tail.last_at = records.last_at;
            tail.wake_at = records.wake_at;
            tail.log_index = row.log_index;
            tail.record_bytes_total = row.record_bytes_total;
        }
        Ok(tail)
    }

    /// All remembered client keys of an entity, expired ones included, each with the row that holds it.
    pub async fn commands(&self, group: GroupId, entity: &EntityId) -> Result<Vec<(Row, CommandRow)>, JournalError> {
        let rows = self.rows(keys::commands_range(group, entity)).await?;
        rows.into_iter().filter_map(|row| Some(decode_command(&row)?.map(|command| (row, command)))).collect()
    }

    /// One remembered client key.
    pub async fn command(
        &self,
        group: GroupId,
        entity: &EntityId,
        command: CommandId,
    ) -> Result<Option<CommandRow>, JournalError> {
        let key = keys::command(group, entity, command);
        let Some(value) = self.store.get(key.clone()).await? else { return Ok(None) };
        codec::decode_command_row(command, &value).map(Some).map_err(|source| damaged(&key, source))
    }

    /// Entities that want attention at `now` or earlier, earliest first, from just after `after` on.
    pub async fn due_wakes(
        &self,
        group: GroupId,
        after: Option<&(Timestamp, EntityId)>,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<(Timestamp, EntityId)>, JournalError> {
        let mut range = keys::wakes_range(group, now);
        if let Some((at, entity)) = after {
            range.from = just_after(&keys::wake(group, *at, entity));
        }
        let rows = self.page(range, Direction::Forward, limit, usize::MAX).await?;
        let parsed = rows.iter().filter_map(|(key, _)| match keys::parse(key) {
            Some((_, ParsedKey::Wake(at, entity))) => Some((at, entity)),
            _ => None,
        });
        Ok(parsed.collect())
    }

    /// When somebody in this group wants attention next, strictly after `now`.
    pub async fn next_wake_after(&self, group: GroupId, now: Timestamp) -> Result<Option<Timestamp>, JournalError> {
        let due = keys::wakes_range(group, now);
        let range = KeyRange { from: due.to, to: keys::wakes_range(group, Timestamp(u64::MAX)).to };
        let rows = self.page(range, Direction::Forward, 1, usize::MAX).await?;
        Ok(rows.first().and_then(|(key, _)| match keys::parse(key) {
            Some((_, ParsedKey::Wake(at, _))) => Some(at),
            _ => None,
        }))
    }

    /// What log entries from an index on stored, oldest first, at most `limit` rows. Entries that stored nothing
    /// have no row.
    pub async fn feed(&self, group: GroupId, from: u64, limit: usize) -> Result<Vec<FeedRow>, JournalError> {
        let rows = self.page(keys::feed_range(group, from), Direction::Forward, limit, usize::MAX).await?;
        let floor = self.feed_floor(group).await?;
        if from < floor {
            return Err(JournalError::FeedTrimmed { floor });
        }
        let mut feed = Vec::with_capacity(rows.len());
        for (key, value) in rows {
            if let Some((_, ParsedKey::Feed(log_index))) = keys::parse(&key) {
                let items = codec::decode_feed_row(&value).map_err(|source| damaged(&key, source))?;
                feed.push(FeedRow { log_index, items });
            }
        }
        Ok(feed)
    }

    /// The oldest log index the feed can be followed from.
    pub async fn feed_floor(&self, group: GroupId) -> Result<u64, JournalError> {
        let key = keys::feed_floor(group);
        let Some(value) = self.store.get(key.clone()).await? else { return Ok(0) };
        codec::decode_feed_floor(&value).map_err(|source| damaged(&key, source))
    }

    /// How far the group's log is applied; `None` for an empty group.
    pub async fn applied(&self, group: GroupId) -> Result<Option<Applied>, JournalError> {
        let key = keys::applied(group);
        let Some(value) = self.store.get(key.clone()).await? else { return Ok(None) };
        codec::decode_applied(&value).map(Some).map_err(|source| damaged(&key, source))
    }

    /// A data key (P22); `None` once erased.
    pub async fn data_key(&self, group: GroupId, data_key: DataKeyId) -> Result<Option<[u8; 32]>, JournalError> {
        let key = keys::vault(group, data_key);
        let Some(value) = self.store.get(key.clone()).await? else { return Ok(None) };
        codec::decode_vault_key(&value).map(Some).map_err(|source| damaged(&key, source))
    }

    /// Every group that has rows, in order.
    pub async fn groups(&self) -> Result<Vec<GroupId>, JournalError> {
        let mut groups = Vec::new();
        let mut from = keys::group_range(GroupId(0)).from;
        loop {
            let range = KeyRange { from, to: keys::end_of_groups() };
            let rows = self.page(range, Direction::Forward, 1, usize::MAX).await?;
            let Some((key, _)) = rows.first() else { return Ok(groups) };
            let (group, _) = keys::parse(key).ok_or_else(|| damaged(key, not_ours()))?;
            from = keys::group_range(group).to;
            groups.push(group);
        }
    }

    /// The next entities of a group in key order, after a given one or from the first.
    pub async fn entities(
        &self,
        group: GroupId,
        after: Option<&EntityId>,
        limit: usize,
    ) -> Result<Vec<EntityId>, JournalError> {
        self.entities_in(keys::entities_range(group), group, after, limit).await
    }

    /// The next entities of one kind of a group in key order, after a given one or from the first.
    pub async fn entities_of_kind(
        &self,
        group: GroupId,
        kind: Kind,
        after: Option<&EntityId>,
        limit: usize,
    ) -> Result<Vec<EntityId>, JournalError> {
        self.entities_in(keys::kind_range(group, kind), group, after, limit).await
    }

    async fn entities_in(
        &self,
        all: KeyRange,
        group: GroupId,
        after: Option<&EntityId>,
        limit: usize,
    ) -> Result<Vec<EntityId>, JournalError> {
        let mut position = after.map_or(all.from, |entity| keys::entity_range(group, entity).to);
        let mut entities = Vec::new();
        while entities.len() < limit {
            let range = KeyRange { from: position, to: all.to.clone() };
            let rows = self.page(range, Direction::Forward, 1, usize::MAX).await?;
            let Some((key, _)) = rows.first() else { break };
            let entity = keys::parse(key).and_then(|(_, parsed)| parsed.entity());
            let entity = entity.ok_or_else(|| damaged(key, not_ours()))?;
            position = keys::entity_range(group, &entity).to;
            entities.push(entity);
        }
        Ok(entities)
    }

    /// Every row of a range, page by page: one message to the store each.
    pub(super) async fn rows(&self, range: KeyRange) -> Result<Vec<Row>, JournalError> {
        let mut position = range.from;
        let mut all = Vec::new();
        loop {
            let page = KeyRange { from: position, to: range.to.clone() };
            let rows = self.page(page, Direction::Forward, PAGE_ROWS, PAGE_BYTES).await?;
            let Some((last_key, _)) = rows.last() else { return Ok(all) };
            position = just_after(last_key);
            all.extend(rows);
        }
    }

    async fn page(
        &self,
        range: KeyRange,
        direction: Direction,
        rows_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<Row>, JournalError> {
        Ok(self.store.scan(Scan { from: range.from, to: range.to, direction, rows_max, bytes_max }).await?)
    }
}

fn decode_snapshot(stored: &StoredSnapshot) -> Result<Snapshot, JournalError> {
    codec::decode_snapshot(&stored.bytes).map_err(|source| damaged(&stored.key, source))
}

fn decode_command((key, value): &Row) -> Option<Result<CommandRow, JournalError>> {
    let Some((_, ParsedKey::Command(_, command))) = keys::parse(key) else { return None };
    Some(codec::decode_command_row(command, value).map_err(|source| damaged(key, source)))
}

fn decode_batch(entity: &EntityId, (key, value): &Row) -> Result<Vec<Record>, JournalError> {
    let row = codec::decode_batch_row(value).map_err(|source| damaged(key, source))?;
    codec::decode_records(entity.kind, &row.records).map_err(|source| damaged(key, source))
}

fn not_ours() -> DecodeError {
    DecodeError::Malformed { reason: "not a key of this layout".to_owned() }
}

pub(super) fn damaged(key: &[u8], source: DecodeError) -> JournalError {
    JournalError::Damaged { key: hex::encode(key), source }
}

/// The smallest key above this one.
pub(super) fn just_after(key: &Bytes) -> Bytes {
    let mut after = BytesMut::with_capacity(key.len() + 1);
    after.put_slice(key);
    after.put_u8(0);
    after.freeze()
}
