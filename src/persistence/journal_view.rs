//! What one message to the store reads of an entity: the rows that recovery, the applier and projections want together.
//!
//! A message to the store costs two changes of thread, far more than the rows it reads. So what is wanted together is
//! read together, and with nothing written between. Only rows are fetched on the store's thread; they are decoded by
//! whoever asked. A long journal is read page by page: the first page here, the others by [`Journal`](super::journal).

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::codec::{self, DecodeError, SnapshotHead};
use super::journal::{JournalError, PAGE_BYTES, PAGE_ROWS, damaged, just_after};
use super::keys::{self, KeyRange};
use super::log::GroupId;
use super::store::{Direction, Row, Rows, Scan, Store, StoreError};
use crate::domain::ids::EntityId;
use crate::domain::time::Sequence;

/// Rows below which a journal is read in one walk.
const SHORT_ROWS_MAX: usize = 64;

/// One message's view.
pub struct View<'a>(&'a dyn Rows);

/// A snapshot as it is stored.
pub struct StoredSnapshot {
    /// Key of its head.
    pub key: Bytes,
    /// Its head.
    pub head: SnapshotHead,
    /// It, encoded.
    pub bytes: Vec<u8>,
}

/// Some batch rows and where the next ones are.
pub struct BatchPage {
    /// In order.
    pub rows: Vec<Row>,
    /// Where to read on; `None` behind the last.
    pub more: Option<Bytes>,
}

/// Asks the store for what `reads` makes of one view.
pub async fn ask<T: Send + 'static>(
    store: &dyn Store,
    reads: impl Fn(&View<'_>) -> Result<T, JournalError> + Send + 'static,
) -> Result<T, JournalError> {
    let found = Arc::new(Mutex::new(None));
    let slot = found.clone();
    let work = move |rows: &dyn Rows| {
        let outcome = reads(&View(rows));
        let stored = match &outcome {
            Err(JournalError::Store(error)) => Err(error.clone()),
            _ => Ok(()),
        };
        *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
        stored
    };
    store.read(Box::new(work)).await?;
    let outcome = found.lock().unwrap_or_else(PoisonError::into_inner).take();
    outcome.unwrap_or(Err(JournalError::Store(StoreError::Closed)))
}

impl View<'_> {
    /// Rows of a range, within limits.
    pub fn page(
        &self,
        range: KeyRange,
        direction: Direction,
        rows_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<Row>, JournalError> {
        Ok(self.0.scan(&Scan { from: range.from, to: range.to, direction, rows_max, bytes_max })?)
    }

    /// Every batch and command row of an entity, if they are few: most entities are new or short, and their rows lie
    /// beside each other, so one walk finds them all.
    pub fn short_journal(
        &self,
        group: GroupId,
        entity: &EntityId,
    ) -> Result<Option<(BatchPage, Vec<Row>)>, JournalError> {
        let commands = keys::commands_range(group, entity);
        let both = KeyRange { from: keys::batches_range(group, entity).from, to: commands.to };
        let mut rows = self.page(both, Direction::Forward, SHORT_ROWS_MAX, PAGE_BYTES)?;
        let bytes: usize = rows.iter().map(|(_, value)| value.len()).sum();
        if rows.len() >= SHORT_ROWS_MAX || bytes > PAGE_BYTES {
            return Ok(None);
        }
        let commands = rows.split_off(rows.partition_point(|(key, _)| *key < commands.from));
        Ok(Some((BatchPage { rows, more: None }, commands)))
    }

    /// The newest snapshot of an entity, put together from its chunks.
    pub fn snapshot(&self, group: GroupId, entity: &EntityId) -> Result<Option<StoredSnapshot>, JournalError> {
        if self.snapshot_head(group, entity)?.is_none() {
            return Ok(None);
        }
        let range = keys::snapshot_range(group, entity);
        let rows = self.page(range, Direction::Forward, usize::MAX, usize::MAX)?;
        let mut bytes = Vec::with_capacity(rows.iter().map(|(_, value)| value.len()).sum());
        let mut rows = rows.into_iter();
        let Some((key, value)) = rows.next() else { return Ok(None) };
        let head = codec::decode_snapshot_head(&value).map_err(|source| damaged(&key, source))?;
        // A large snapshot is there twice only as far as its chunks are not joined yet.
        for (number, (chunk_key, chunk)) in (0..).zip(rows) {
            if chunk_key != keys::snapshot_chunk(group, entity, number) {
                let reason = format!("snapshot chunk {number} is missing");
                return Err(damaged(&chunk_key, DecodeError::Malformed { reason }));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(Some(StoredSnapshot { key, head, bytes }))
    }

    /// Which snapshot an entity has.
    pub fn snapshot_head(&self, group: GroupId, entity: &EntityId) -> Result<Option<SnapshotHead>, JournalError> {
        let key = keys::snapshot_head(group, entity);
        let Some(value) = self.0.get(&key)? else { return Ok(None) };
        codec::decode_snapshot_head(&value).map(Some).map_err(|source| damaged(&key, source))
    }

    /// The first batch rows that hold records from a sequence on, at most a page and at most `limit`.
    pub fn batches_from(
        &self,
        group: GroupId,
        entity: &EntityId,
        from: Sequence,
        limit: usize,
    ) -> Result<BatchPage, JournalError> {
        let all = keys::batches_range(group, entity);
        if from <= Sequence(1) {
            return self.batches_at(all.from, all.to, limit);
        }
        // Mostly a batch starts there: readers go on where they, a fold or the feed stopped.
        let starting = keys::batch(group, entity, from);
        let page = self.batches_at(starting.clone(), all.to.clone(), limit)?;
        if page.rows.first().is_some_and(|(key, _)| *key == starting) {
            return Ok(page);
        }
        let before = KeyRange { from: all.from, to: starting };
        match self.page(before, Direction::Reverse, 1, usize::MAX)?.into_iter().next() {
            Some((key, _)) => self.batches_at(key, all.to, limit),
            None => Ok(page),
        }
    }

    /// Batch rows from a key on, at most a page and at most `limit`.
    pub fn batches_at(&self, position: Bytes, to: Bytes, limit: usize) -> Result<BatchPage, JournalError> {
        let rows_max = PAGE_ROWS.min(limit);
        let rows = self.page(KeyRange { from: position, to }, Direction::Forward, rows_max, PAGE_BYTES)?;
        let bytes: usize = rows.iter().map(|(_, value)| value.len()).sum();
        let is_full = rows.len() >= rows_max || bytes > PAGE_BYTES;
        let more = rows.last().filter(|_| is_full).map(|(key, _)| just_after(key));
        Ok(BatchPage { rows, more })
    }

    /// The last batch row of an entity.
    pub fn last_batch(&self, group: GroupId, entity: &EntityId) -> Result<Option<Row>, JournalError> {
        let rows = self.page(keys::batches_range(group, entity), Direction::Reverse, 1, usize::MAX)?;
        Ok(rows.into_iter().next())
    }

    /// All rows of remembered client keys of an entity: an entity remembers a bounded number.
    pub fn command_rows(&self, group: GroupId, entity: &EntityId) -> Result<Vec<Row>, JournalError> {
        self.page(keys::commands_range(group, entity), Direction::Forward, usize::MAX, usize::MAX)
    }
}
