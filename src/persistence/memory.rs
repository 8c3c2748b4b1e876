//! Log and store in memory, for tests: the ordering of the seams without their disks. Nothing survives the process.
//!
//! Callbacks of the log run in append order, one at a time and outside the lock, so a callback may append again.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use super::log::{ENTRY_BYTES_MAX, GroupId, Log, LogEntry, LogError, LogRange, LogValue, OnFlushed};
use super::store::{Change, Direction, Reads, Row, Scan, Store, StoreError, WriteBatch, removal_of_unchanged};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One group's entries and values, and what the seam's verbs do to them.
#[derive(Clone, Default)]
pub struct GroupLog {
    /// Index of the first entry, or where the next append must start when empty.
    first: u64,
    entries: VecDeque<Bytes>,
    values: BTreeMap<LogValue, Vec<u8>>,
}

impl GroupLog {
    /// The entries there are.
    pub fn range(&self) -> LogRange {
        LogRange { first: self.first, next: self.first + self.entries.len() as u64 }
    }

    /// Adds entries behind the last. Panics when they leave a hole or are too long: the caller's mistake.
    pub fn append(&mut self, entries: Vec<LogEntry>) {
        for entry in entries {
            assert_eq!(entry.index, self.range().next, "LOG-1: an append leaves no hole and overwrites nothing");
            assert!(entry.bytes.len() <= ENTRY_BYTES_MAX, "LOG-2: an entry is within its limit");
            self.entries.push_back(entry.bytes);
        }
    }

    /// Sets a value.
    pub fn put(&mut self, value: LogValue, bytes: Vec<u8>) {
        self.values.insert(value, bytes);
    }

    /// A value, if it was ever set.
    pub fn get(&self, value: LogValue) -> Option<Vec<u8>> {
        self.values.get(&value).cloned()
    }

    /// The entries from `from` to before `to`; the one that crosses the byte limit is the last.
    pub fn read(&self, from: u64, to: u64, bytes_max: usize) -> Vec<LogEntry> {
        let range = self.range();
        let (mut found, mut bytes_found) = (Vec::new(), 0);
        for index in from.max(range.first)..to.min(range.next) {
            let bytes = self.entries[(index - range.first) as usize].clone();
            bytes_found += bytes.len();
            found.push(LogEntry { index, bytes });
            if bytes_found > bytes_max {
                break;
            }
        }
        found
    }

    /// Drops the entries from `from` on.
    pub fn truncate(&mut self, from: u64) {
        self.entries.truncate(usize::try_from(from.saturating_sub(self.first)).unwrap_or(usize::MAX));
    }

    /// Drops the entries before `before`.
    pub fn purge(&mut self, before: u64) {
        let gone = before.saturating_sub(self.first).min(self.entries.len() as u64);
        self.entries.drain(..gone as usize);
        self.first = self.first.max(before);
    }

    /// Bytes of the entries.
    pub fn bytes(&self) -> u64 {
        self.entries.iter().map(|entry| entry.len() as u64).sum()
    }
}

#[derive(Default)]
struct Logs {
    groups: BTreeMap<GroupId, GroupLog>,
    callbacks: VecDeque<(OnFlushed, Result<(), LogError>)>,
    calling_back: bool,
    closed: bool,
}

/// A log that forgets everything with the process.
#[derive(Default)]
pub struct MemoryLog {
    logs: Mutex<Logs>,
}

impl MemoryLog {
    /// An empty log.
    pub fn new() -> Self {
        Self::default()
    }

    fn change(&self, group: GroupId, on_flushed: OnFlushed, change: impl FnOnce(&mut GroupLog)) {
        let mut logs = lock(&self.logs);
        let result = if logs.closed {
            Err(LogError::Closed)
        } else {
            change(logs.groups.entry(group).or_default());
            Ok(())
        };
        logs.callbacks.push_back((on_flushed, result));
        if logs.calling_back {
            return;
        }
        logs.calling_back = true;
        while let Some((callback, result)) = logs.callbacks.pop_front() {
            drop(logs);
            callback(result);
            logs = lock(&self.logs);
        }
        logs.calling_back = false;
    }

    fn with_group<T>(&self, group: GroupId, work: impl FnOnce(&mut GroupLog) -> T) -> Result<T, LogError> {
        let mut logs = lock(&self.logs);
        if logs.closed { Err(LogError::Closed) } else { Ok(work(logs.groups.entry(group).or_default())) }
    }
}

#[async_trait]
impl Log for MemoryLog {
    fn append(&self, group: GroupId, entries: Vec<LogEntry>, on_flushed: OnFlushed) {
        self.change(group, on_flushed, |log| log.append(entries));
    }

    fn put(&self, group: GroupId, value: LogValue, bytes: Vec<u8>, on_flushed: OnFlushed) {
        self.change(group, on_flushed, |log| log.put(value, bytes));
    }

    fn note(&self, group: GroupId, value: LogValue, bytes: Vec<u8>) {
        self.put(group, value, bytes, Box::new(|_| ()));
    }

    async fn get(&self, group: GroupId, value: LogValue) -> Result<Option<Vec<u8>>, LogError> {
        self.with_group(group, |log| log.get(value))
    }

    async fn range(&self, group: GroupId) -> Result<LogRange, LogError> {
        self.with_group(group, |log| log.range())
    }

    async fn ranges(&self) -> Result<BTreeMap<GroupId, LogRange>, LogError> {
        let logs = lock(&self.logs);
        if logs.closed {
            return Err(LogError::Closed);
        }
        Ok(logs.groups.iter().map(|(group, log)| (*group, log.range())).collect())
    }

    async fn read(&self, group: GroupId, from: u64, to: u64, bytes_max: usize) -> Result<Vec<LogEntry>, LogError> {
        self.with_group(group, |log| log.read(from, to, bytes_max))
    }

    async fn truncate(&self, group: GroupId, from: u64) -> Result<(), LogError> {
        self.with_group(group, |log| log.truncate(from))
    }

    async fn purge(&self, group: GroupId, before: u64) -> Result<(), LogError> {
        self.with_group(group, |log| log.purge(before))
    }

    async fn reclaim(&self) -> Result<Vec<GroupId>, LogError> {
        if lock(&self.logs).closed { Err(LogError::Closed) } else { Ok(Vec::new()) }
    }

    async fn disk_bytes(&self) -> u64 {
        0
    }

    async fn close(&self) {
        lock(&self.logs).closed = true;
    }
}

#[derive(Default)]
struct Rows {
    rows: BTreeMap<Bytes, Bytes>,
    closed: bool,
}

/// A store that forgets everything with the process.
#[derive(Default)]
pub struct MemoryStore {
    rows: Mutex<Rows>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn with_rows<T>(&self, work: impl FnOnce(&mut BTreeMap<Bytes, Bytes>) -> T) -> Result<T, StoreError> {
        let mut rows = lock(&self.rows);
        if rows.closed { Err(StoreError::Closed) } else { Ok(work(&mut rows.rows)) }
    }
}

/// Takes rows until a limit of the scan is reached; the row that crosses the byte limit is included.
pub(super) fn take_limited<E>(scan: &Scan, rows: impl Iterator<Item = Result<Row, E>>) -> Result<Vec<Row>, E> {
    let mut found = Vec::new();
    let mut bytes_found = 0_usize;
    for row in rows.take(scan.rows_max) {
        let row = row?;
        bytes_found = bytes_found.saturating_add(row.1.len());
        found.push(row);
        if bytes_found > scan.bytes_max {
            break;
        }
    }
    Ok(found)
}

impl super::store::Rows for BTreeMap<Bytes, Bytes> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(BTreeMap::get(self, key).cloned())
    }

    fn scan(&self, scan: &Scan) -> Result<Vec<Row>, StoreError> {
        scan_rows(self, scan)
    }
}

/// What a scan of these rows finds.
pub fn scan_rows(rows: &BTreeMap<Bytes, Bytes>, scan: &Scan) -> Result<Vec<Row>, StoreError> {
    if scan.from >= scan.to {
        return Ok(Vec::new());
    }
    let range = rows.range(scan.from.clone()..scan.to.clone());
    let owned = range.map(|(key, value)| Ok((key.clone(), value.clone())));
    match scan.direction {
        Direction::Forward => take_limited(scan, owned),
        Direction::Reverse => take_limited(scan, owned.rev()),
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn write(&self, batch: WriteBatch) -> Result<(), StoreError> {
        self.with_rows(|rows| {
            for change in batch.changes {
                match change {
                    Change::Put { key, value } => rows.insert(key, value),
                    Change::Delete { key } => rows.remove(&key),
                };
            }
        })
    }

    async fn remove_unchanged(&self, rows: Vec<Row>) -> Result<u64, StoreError> {
        self.with_rows(|found| {
            let removal = removal_of_unchanged(found, &rows)?;
            removal.changes.iter().for_each(|change| drop(found.remove(change.key())));
            Ok(removal.changes.len() as u64)
        })?
    }

    async fn get(&self, key: Bytes) -> Result<Option<Bytes>, StoreError> {
        self.with_rows(|rows| rows.get(&key).cloned())
    }

    async fn scan(&self, scan: Scan) -> Result<Vec<Row>, StoreError> {
        self.with_rows(|rows| scan_rows(rows, &scan))?
    }

    async fn read(&self, reads: Reads) -> Result<(), StoreError> {
        self.with_rows(|rows| reads(rows))?
    }

    async fn sync(&self) -> Result<(), StoreError> {
        self.with_rows(|_| ())
    }

    fn queue_depth(&self) -> usize {
        0
    }

    async fn disk_bytes(&self) -> u64 {
        0
    }

    async fn close(&self) {
        lock(&self.rows).closed = true;
    }
}
