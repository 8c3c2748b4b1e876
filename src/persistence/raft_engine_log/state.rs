//! What a group's log holds, in memory: its range, its named values and its newest entries.
//!
//! The state is as of everything *queued*, so `range`, `get` and reads of recent entries answer without waiting for
//! the disk. Beside it lies what is durable: when a write fails for lack of space, the group falls back to that, and
//! whatever was queued behind the failed write fails as well (its `epoch` is old), so no hole can arise.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::owner::Operation;
use crate::persistence::log::{LogEntry, LogRange, LogValue};

/// Newest entries kept in memory per group. Raft reads what it has just appended to apply it, and followers that keep
/// up read from here too.
const CACHE_BYTES_MAX: usize = 4 << 20;

/// What a group's log holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Content {
    pub range: LogRange,
    pub values: BTreeMap<LogValue, Vec<u8>>,
    /// One past the last entry the engine has, cut-off ones included.
    pub engine_next: u64,
    /// Entries from `range.next` on are cut off by a stored `end`.
    pub cut: bool,
}

/// One group's log.
#[derive(Debug, Default)]
pub(super) struct GroupState {
    /// As of everything queued.
    pub queued: Content,
    /// As of everything on disk.
    pub durable: Content,
    /// Raised when queued work failed: what was queued before belongs to a past that did not happen.
    pub epoch: u64,
    /// The newest entries; the last one is `queued.range.next - 1`.
    cache: VecDeque<Bytes>,
    cache_bytes: usize,
}

impl GroupState {
    /// A group as found on disk.
    pub fn recovered(content: Content) -> Self {
        Self { queued: content.clone(), durable: content, ..Self::default() }
    }

    /// Takes entries into the queued state. Panics on a hole or an overlap: the caller's bug.
    pub fn append(&mut self, entries: &[LogEntry]) {
        for entry in entries {
            let range = &mut self.queued.range;
            assert_eq!(entry.index, range.next, "LOG-1: an append leaves no hole and overwrites nothing");
            range.next += 1;
            self.cache_bytes += entry.bytes.len();
            self.cache.push_back(entry.bytes.clone());
        }
        self.shrink();
    }

    /// Takes a named value into the queued state; what the owner does of it.
    pub fn put(&mut self, value: LogValue, bytes: Vec<u8>) -> Operation {
        self.queued.values.insert(value, bytes.clone());
        Operation::Put(value, bytes)
    }

    /// Drops entries from the cache that are durable and too many.
    pub fn shrink(&mut self) {
        while self.cache_bytes > CACHE_BYTES_MAX && self.cache_first() < self.durable.range.next {
            match self.cache.pop_front() {
                Some(bytes) => self.cache_bytes -= bytes.len(),
                None => break,
            }
        }
    }

    /// Forgets entries from an index on.
    pub fn truncate(&mut self, from: u64) {
        while self.queued.range.next > from.max(self.queued.range.first) {
            self.queued.range.next -= 1;
            if let Some(bytes) = self.cache.pop_back() {
                self.cache_bytes -= bytes.len();
            }
        }
    }

    /// Forgets entries below an index.
    pub fn purge(&mut self, before: u64) {
        while self.cache_first() < before {
            match self.cache.pop_front() {
                Some(bytes) => self.cache_bytes -= bytes.len(),
                None => break,
            }
        }
        self.queued.range = purged(self.queued.range, before);
    }

    /// Falls back to what is on disk.
    pub fn fall_back(&mut self) {
        self.epoch += 1;
        self.queued = self.durable.clone();
        self.cache.clear();
        self.cache_bytes = 0;
    }

    /// Entries of the range that are in the cache, all of them or none: `None` means the disk must be read.
    pub fn cached(&self, from: u64, to: u64, bytes_max: usize) -> Option<Vec<LogEntry>> {
        let from = from.max(self.queued.range.first);
        let to = to.min(self.queued.range.next);
        if from >= to {
            return Some(Vec::new());
        }
        let skipped = usize::try_from(from.checked_sub(self.cache_first())?).ok()?;
        let mut found = Vec::new();
        let mut bytes_found = 0;
        for (index, bytes) in (from..to).zip(self.cache.iter().skip(skipped)) {
            bytes_found += bytes.len();
            found.push(LogEntry { index, bytes: bytes.clone() });
            if bytes_found > bytes_max {
                break;
            }
        }
        Some(found)
    }

    fn cache_first(&self) -> u64 {
        self.queued.range.next - self.cache.len() as u64
    }
}

/// The range after forgetting everything below `before`.
pub(super) fn purged(range: LogRange, before: u64) -> LogRange {
    LogRange { first: range.first.max(before), next: range.next.max(before) }
}
