//! The [`Log`] of production: raft-engine, shared by all groups of a node (P23).
//!
//! One **owner thread** drains a queue, puts whatever all groups appended meanwhile into one raft-engine batch, writes
//! and fsyncs it once, and then runs the callbacks in the order the work was queued. A second thread reads old entries,
//! so that a follower catching up does not sit between a command and its fsync; newest entries are read from memory.
//!
//! Promises: what a callback reported is on disk. Opening verifies every checksum ([`scan`]): a torn tail is copied
//! aside and cut off with a warning; anything else that cannot be read is refused, naming file and offset, because
//! acknowledged entries may be behind it. A full disk is
//! waited out until the log is closed (P28); what then was not written is reported as [`LogError::Full`] and left no
//! trace. A failed
//! fsync ends the process: nobody knows what is on disk then, and asking again does not tell.
//!
//! raft-engine has no suffix truncation and forgets where an empty log begins, so two values of ours lie beside a
//! group's entries: `start` (index of the first entry, there or to come) and `end` (entries from here on are cut off).

#[cfg(test)]
mod damage_tests;
#[cfg(test)]
mod fault_tests;
pub(crate) mod frame;
mod owner;
mod rewrites;
pub(crate) mod scan;
mod state;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::{fs, io};

use async_trait::async_trait;
use raft_engine::env::{DefaultFileSystem, FileSystem};
use raft_engine::{Config, Engine, ReadableSize, RecoveryMode};
use tokio::sync::oneshot;

use super::log::{ENTRY_BYTES_MAX, GroupId, Log, LogEntry, LogError, LogRange, LogValue, OnFlushed};
use super::patience::while_held;
use owner::{Operation, Read, Work};
use rewrites::SyncedRewrites;
use scan::io_error;
use state::GroupState;

/// Size at which raft-engine starts a new file. Small files are reclaimed sooner and verified in bounded memory.
const FILE_BYTES_TARGET: u64 = 32 << 20;

/// What raft-engine says, in words alone, when somebody else has its directory.
const LOCKED_MARK: &str = "Failed to lock file";

/// How to open a log.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// Where its files are; created if missing.
    pub directory: PathBuf,
    /// Where files with a torn tail are copied before the tail is cut off.
    pub set_aside: PathBuf,
    /// Files are reclaimed above this many bytes; at least two files' worth.
    pub purge_threshold_bytes: u64,
    /// Per group, the last entry the store has applied: the log must reach it or have been purged beyond it.
    pub applied: BTreeMap<GroupId, u64>,
}

/// The groups' states, shared by callers and the owner thread.
type Groups = Mutex<BTreeMap<GroupId, GroupState>>;

/// The durable log of a node's groups.
pub struct RaftEngineLog {
    groups: Arc<Groups>,
    work: mpsc::Sender<Work>,
    reads: mpsc::Sender<Read>,
    closing: Arc<AtomicBool>,
    directory: PathBuf,
}

fn lock(groups: &Groups) -> MutexGuard<'_, BTreeMap<GroupId, GroupState>> {
    groups.lock().unwrap_or_else(PoisonError::into_inner)
}

impl RaftEngineLog {
    /// Verifies and opens the log. Blocks for as long as reading its files takes.
    pub fn open(options: &LogOptions) -> Result<Self, LogError> {
        Self::open_on(options, DefaultFileSystem)
    }

    /// The same on another file system; tests inject failures here.
    pub(super) fn open_on<F: FileSystem + 'static>(options: &LogOptions, files: F) -> Result<Self, LogError> {
        let directory = &options.directory;
        fs::create_dir_all(directory).map_err(|error| io_error("create directory", &error))?;
        for (path, length, worth_keeping) in scan::scan_directory(directory)?.cut {
            cut_tail(&path, length, worth_keeping, &options.set_aside).map_err(|e| io_error("cut torn tail", &e))?;
        }
        let files = Arc::new(SyncedRewrites(files));
        let is_held = |error: &LogError| matches!(error, LogError::InUse { .. });
        let engine = while_held(is_held, || {
            Engine::open_with_file_system(engine_config(options), files.clone()).map_err(open_error)
        })?;
        let mut groups = BTreeMap::new();
        for region in engine.raft_groups() {
            let group = GroupId(u32::try_from(region).unwrap_or(u32::MAX));
            groups.insert(group, GroupState::recovered(owner::recover(&engine, group, directory)?));
        }
        for (group, applied) in &options.applied {
            let next = groups.get(group).map_or(0, |state| state.durable.range.next);
            if next <= *applied {
                let (file, offset) = newest_file(directory);
                let reason = format!(
                    "group {group} ends before entry {next} although entry {applied} was applied: its tail is lost"
                );
                return Err(LogError::Damaged { file, offset, reason });
            }
        }
        let groups = Arc::new(Mutex::new(groups));
        let (work, work_queue) = mpsc::channel();
        let (reads, read_queue) = mpsc::channel();
        let engine = Arc::new(engine);
        let closing = Arc::new(AtomicBool::new(false));
        owner::spawn(engine, groups.clone(), closing.clone(), work_queue, read_queue)
            .map_err(|error| io_error("start thread", &error))?;
        Ok(Self { groups, work, reads, closing, directory: directory.clone() })
    }

    /// Every group that was ever written to.
    pub fn groups(&self) -> Vec<GroupId> {
        lock(&self.groups).keys().copied().collect()
    }

    /// Queues work under the lock that also changes the group's state, so that both see the same order.
    fn queue(&self, group: GroupId, change: impl FnOnce(&mut GroupState) -> Operation, on_flushed: Option<OnFlushed>) {
        let mut groups = lock(&self.groups);
        let state = groups.entry(group).or_default();
        let operation = change(state);
        let work = Work::Change { group, epoch: state.epoch, operation, on_flushed };
        if let Err(mpsc::SendError(Work::Change { on_flushed, .. })) = self.work.send(work) {
            drop(groups);
            on_flushed.into_iter().for_each(|on_flushed| on_flushed(Err(LogError::Closed)));
        }
    }

    async fn change(&self, group: GroupId, change: impl FnOnce(&mut GroupState) -> Operation) -> Result<(), LogError> {
        let (done, outcome) = oneshot::channel();
        self.queue(group, change, Some(Box::new(move |result| drop(done.send(result)))));
        outcome.await.unwrap_or(Err(LogError::Closed))
    }

    async fn ask<T>(&self, work: impl FnOnce(oneshot::Sender<T>) -> Work) -> Result<T, LogError> {
        let (done, outcome) = oneshot::channel();
        self.work.send(work(done)).map_err(|_| LogError::Closed)?;
        outcome.await.map_err(|_| LogError::Closed)
    }
}

#[async_trait]
impl Log for RaftEngineLog {
    fn append(&self, group: GroupId, entries: Vec<LogEntry>, on_flushed: OnFlushed) {
        let fits = entries.iter().all(|entry| entry.bytes.len() <= ENTRY_BYTES_MAX);
        assert!(fits, "LOG-2: an entry is within its limit");
        let change = |state: &mut GroupState| {
            state.append(&entries);
            Operation::Append(entries)
        };
        self.queue(group, change, Some(on_flushed));
    }

    fn put(&self, group: GroupId, value: LogValue, bytes: Vec<u8>, on_flushed: OnFlushed) {
        self.queue(group, |state| state.put(value, bytes), Some(on_flushed));
    }

    fn note(&self, group: GroupId, value: LogValue, bytes: Vec<u8>) {
        self.queue(group, |state| state.put(value, bytes), None);
    }

    async fn get(&self, group: GroupId, value: LogValue) -> Result<Option<Vec<u8>>, LogError> {
        Ok(lock(&self.groups).get(&group).and_then(|state| state.queued.values.get(&value).cloned()))
    }

    async fn range(&self, group: GroupId) -> Result<LogRange, LogError> {
        Ok(lock(&self.groups).get(&group).map_or_else(LogRange::default, |state| state.queued.range))
    }

    async fn ranges(&self) -> Result<BTreeMap<GroupId, LogRange>, LogError> {
        Ok(lock(&self.groups).iter().map(|(group, state)| (*group, state.queued.range)).collect())
    }

    async fn read(&self, group: GroupId, from: u64, to: u64, bytes_max: usize) -> Result<Vec<LogEntry>, LogError> {
        let (done, outcome) = oneshot::channel();
        {
            let groups = lock(&self.groups);
            let Some(state) = groups.get(&group) else { return Ok(Vec::new()) };
            if let Some(entries) = state.cached(from, to, bytes_max) {
                return Ok(entries);
            }
            let range = state.queued.range;
            let read = Read { group, from: from.max(range.first), to: to.min(range.next), bytes_max, done };
            self.reads.send(read).map_err(|_| LogError::Closed)?;
        }
        outcome.await.unwrap_or(Err(LogError::Closed))
    }

    async fn truncate(&self, group: GroupId, from: u64) -> Result<(), LogError> {
        let change = |state: &mut GroupState| {
            state.truncate(from);
            Operation::Truncate(from)
        };
        self.change(group, change).await
    }

    async fn purge(&self, group: GroupId, before: u64) -> Result<(), LogError> {
        let change = |state: &mut GroupState| {
            state.purge(before);
            Operation::Purge(before)
        };
        self.change(group, change).await
    }

    async fn reclaim(&self) -> Result<Vec<GroupId>, LogError> {
        self.ask(Work::Reclaim).await?
    }

    async fn disk_bytes(&self) -> u64 {
        super::datadir::directory_bytes(&self.directory)
    }

    async fn close(&self) {
        self.closing.store(true, Ordering::Release);
        let _ = self.ask(Work::Close).await;
    }
}

fn engine_config(options: &LogOptions) -> Config {
    Config {
        dir: options.directory.display().to_string(),
        recovery_mode: RecoveryMode::AbsoluteConsistency,
        recovery_threads: 2,
        batch_compression_threshold: ReadableSize(0),
        target_file_size: ReadableSize(FILE_BYTES_TARGET),
        purge_threshold: ReadableSize(options.purge_threshold_bytes.max(2 * FILE_BYTES_TARGET)),
        enable_log_recycle: false,
        ..Config::default()
    }
}

/// Shortens a last file to what is good, after copying it aside if more than zeros are cut off. A file without even a
/// header is removed: the engine makes a new one.
fn cut_tail(path: &Path, length: usize, worth_keeping: bool, set_aside: &Path) -> io::Result<()> {
    if worth_keeping {
        fs::create_dir_all(set_aside)?;
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("log");
        let copy = set_aside.join(format!("{name}.torn-at-{length}"));
        fs::copy(path, &copy)?;
        tracing::warn!(file = %path.display(), offset = length, copy = %copy.display(),
            "the log ends with a batch that was never completely written; cut off, nothing acknowledged is in it");
    }
    if length == 0 {
        fs::remove_file(path)?;
    } else {
        let file = fs::OpenOptions::new().write(true).open(path)?;
        file.set_len(length as u64)?;
        file.sync_all()?;
    }
    path.parent().map_or(Ok(()), super::datadir::sync_directory)
}

fn open_error(error: raft_engine::Error) -> LogError {
    match error {
        raft_engine::Error::Corruption(reason) => {
            LogError::Damaged { file: "log directory".to_owned(), offset: 0, reason }
        }
        other if other.to_string().contains(LOCKED_MARK) => LogError::InUse { holder: other.to_string() },
        other => LogError::Io { operation: "open", message: other.to_string() },
    }
}

/// The last file of the append queue and its length: where the log ends.
fn newest_file(directory: &Path) -> (String, u64) {
    let mut files: Vec<_> = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "raftlog"));
    let newest = files.into_iter().max().unwrap_or_else(|| directory.to_path_buf());
    let length = fs::metadata(&newest).map_or(0, |metadata| metadata.len());
    (newest.display().to_string(), length)
}
