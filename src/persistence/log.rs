//! The log seam: the replicated truth of every shard, fsynced before anything is acknowledged (P23).
//!
//! One [`Log`] serves all groups of a node, so one fsync covers whatever all of them appended meanwhile. The log knows
//! bytes and indexes only; Raft's meaning is added by `cluster::raft`. Appends are handed over in the order they must
//! reach the disk and their `on_flushed` runs, in that order per group, once they are durable. A failed fsync cannot be
//! retried and ends the process inside the implementation (simulation: the host crashes); it is never reported here.
//!
//! Implementors: `raft_engine_log` (production), `memory` (tests), the simulated disk. One conformance suite runs
//! against all of them.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

/// One Raft group: 0 is the meta group, 1…n are the shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GroupId(pub u32);

impl GroupId {
    /// The group that holds the cluster entity.
    pub const META: Self = Self(0);
}

impl std::fmt::Display for GroupId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// One log entry: its index in the group's log (dense) and its bytes, already enveloped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Position; the first entry of a group has index 0 or follows the purge point.
    pub index: u64,
    /// Content. At most [`ENTRY_BYTES_MAX`].
    pub bytes: bytes::Bytes,
}

/// Largest entry an implementation accepts: well below raft-engine's batch limit.
pub const ENTRY_BYTES_MAX: usize = 8 << 20;

/// Small named values kept beside a group's entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum LogValue {
    /// Raft's vote.
    Vote = 1,
    /// Raft's committed log id.
    Committed = 2,
    /// The log id up to which the log is purged.
    Purged = 3,
}

/// Runs once the operation is durable, or with the reason it could not be stored (it then left no trace).
pub type OnFlushed = Box<dyn FnOnce(Result<(), LogError>) + Send>;

/// Why the log could not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LogError {
    /// No space left; nothing was stored. Retry after space is made (P28).
    #[error("the log's disk is full")]
    Full,
    /// A stored byte is not what was written.
    #[error("log damaged in {file} at byte {offset}: {reason}")]
    Damaged {
        /// Which file.
        file: String,
        /// Where.
        offset: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// Somebody else holds the lock of its files, and does not let go.
    #[error("the log's files are in use by another process: {holder}; stop it and start again")]
    InUse {
        /// What the engine said.
        holder: String,
    },
    /// The operating system refused.
    #[error("log {operation} failed: {message}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// What the system said.
        message: String,
    },
    /// The log is shut down.
    #[error("the log is closed")]
    Closed,
}

/// What a group's log holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogRange {
    /// Index of the first readable entry; equals `next` when empty.
    pub first: u64,
    /// One past the last readable entry.
    pub next: u64,
}

/// The durable log of all groups of a node.
#[async_trait]
pub trait Log: Send + Sync + 'static {
    /// Queues entries of one group behind everything queued before. Indexes are dense and follow the group's last
    /// entry (or, after a purge of everything, the purge point). Never blocks; back-pressure is the caller's.
    fn append(&self, group: GroupId, entries: Vec<LogEntry>, on_flushed: OnFlushed);

    /// Queues a named value of one group, in the same order as appends, durable when `on_flushed` runs.
    fn put(&self, group: GroupId, value: LogValue, bytes: Vec<u8>, on_flushed: OnFlushed);

    /// Queues a named value that nobody waits for, in the same order as appends: it becomes durable together with
    /// whatever is queued behind it, or when the log is closed, and costs no fsync of its own.
    fn note(&self, group: GroupId, value: LogValue, bytes: Vec<u8>);

    /// Reads a named value as of everything queued before.
    async fn get(&self, group: GroupId, value: LogValue) -> Result<Option<Vec<u8>>, LogError>;

    /// What can be read now, as of everything queued before.
    async fn range(&self, group: GroupId) -> Result<LogRange, LogError>;

    /// What can be read of every group that was ever written to, all as of one moment: what was appended because of
    /// something flushed in another group is in it only together with its cause. Backups are cut along it.
    async fn ranges(&self) -> Result<BTreeMap<GroupId, LogRange>, LogError>;

    /// Entries with `from <= index < to`, in order, stopping early once `bytes_max` is exceeded (at least one entry).
    async fn read(&self, group: GroupId, from: u64, to: u64, bytes_max: usize) -> Result<Vec<LogEntry>, LogError>;

    /// Forgets every entry with an index of `from` or above, durably. The next append starts at `from` or below.
    async fn truncate(&self, group: GroupId, from: u64) -> Result<(), LogError>;

    /// Forgets every entry below `before`; the next append may start at `before` even if the log never reached it.
    async fn purge(&self, group: GroupId, before: u64) -> Result<(), LogError>;

    /// Reclaims files. Returns the groups whose old entries keep files alive: checkpoint those (P26).
    async fn reclaim(&self) -> Result<Vec<GroupId>, LogError>;

    /// Bytes on disk, for status and the disk budget.
    async fn disk_bytes(&self) -> u64;

    /// Flushes everything queued and stops; later calls answer [`LogError::Closed`].
    async fn close(&self);
}
