//! The two threads behind the log: the owner, which writes, and the reader, which fetches old entries.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::{io, thread};

use raft_engine::env::FileSystem;
use raft_engine::{Command, Engine, LogBatch};
use tokio::sync::oneshot;

use super::frame::{Frame, Frames};
use super::state::{Content, purged};
use super::{Groups, lock};
use crate::persistence::log::{GroupId, LogEntry, LogError, LogRange, LogValue, OnFlushed};

/// Most bytes of entries in one raft-engine batch: several times the largest entry, far below the engine's limit.
const BATCH_BYTES_MAX: usize = 16 << 20;
/// Most changes in one raft-engine batch.
const BATCH_CHANGES_MAX: usize = 4096;

const KEY_START: u8 = 0x10;
const KEY_END: u8 = 0x11;

/// What the owner is asked to do.
pub(super) enum Work {
    /// Without `on_flushed` nobody waits for it.
    Change {
        group: GroupId,
        epoch: u64,
        operation: Operation,
        on_flushed: Option<OnFlushed>,
    },
    Reclaim(oneshot::Sender<Result<Vec<GroupId>, LogError>>),
    Close(oneshot::Sender<()>),
}

/// One change of one group's log.
pub(super) enum Operation {
    Append(Vec<LogEntry>),
    Put(LogValue, Vec<u8>),
    Truncate(u64),
    Purge(u64),
}

/// A read that needs the disk.
pub(super) struct Read {
    pub group: GroupId,
    pub from: u64,
    pub to: u64,
    pub bytes_max: usize,
    pub done: oneshot::Sender<Result<Vec<LogEntry>, LogError>>,
}

/// Between two tries on a full disk.
const FULL_RETRY_PAUSE: std::time::Duration = std::time::Duration::from_millis(200);

type Change = (GroupId, u64, Operation, Option<OnFlushed>);

/// Starts both threads. They end when told to close or when the log is dropped.
#[allow(clippy::disallowed_methods, reason = "the engine blocks; these are its threads")]
pub(super) fn spawn<F: FileSystem + 'static>(
    engine: Arc<Engine<F>>,
    groups: Arc<Groups>,
    closing: Arc<AtomicBool>,
    work: Receiver<Work>,
    reads: Receiver<Read>,
) -> io::Result<()> {
    let reader_engine = Arc::downgrade(&engine);
    thread::Builder::new().name("log-reader".to_owned()).spawn(move || {
        for read in reads {
            let Some(engine) = reader_engine.upgrade() else { return };
            let entries = read_entries(&engine, &read);
            drop(engine);
            let _ = read.done.send(entries);
        }
    })?;
    let mut owner = Owner { engine: Some(engine), groups, closing };
    thread::Builder::new().name("log-owner".to_owned()).spawn(move || owner.run(&work))?;
    Ok(())
}

struct Owner<F: FileSystem> {
    /// `None` once closed.
    engine: Option<Arc<Engine<F>>>,
    groups: Arc<Groups>,
    /// Set once the log is to be closed: a full disk is then no longer waited for.
    closing: Arc<AtomicBool>,
}

impl<F: FileSystem + 'static> Owner<F> {
    fn run(&mut self, work: &Receiver<Work>) {
        let mut next = work.recv().ok();
        while let Some(first) = next.take() {
            let (changes, other) = drain(first, work);
            self.write(changes);
            match other {
                Some(Work::Reclaim(done)) => drop(done.send(self.reclaim())),
                Some(Work::Close(done)) => {
                    self.close();
                    let _ = done.send(());
                }
                Some(Work::Change { .. }) | None => {}
            }
            next = work.recv().ok();
        }
    }

    /// A full disk is waited out here, with everything queued behind (P28): Raft would stop a group for good if it
    /// were told. The node refuses client writes long before, so that what waits is bounded.
    #[allow(clippy::disallowed_methods, reason = "this is the log's own thread, which blocks on the disk anyway")]
    fn write_when_there_is_room(&self, engine: &Engine<F>, batch: &mut LogBatch) -> Result<(), LogError> {
        let mut warned = false;
        loop {
            let outcome = write_synced(engine, &mut batch.clone());
            if !matches!(outcome, Err(LogError::Full)) || self.closing.load(Ordering::Acquire) {
                return outcome;
            }
            if !std::mem::replace(&mut warned, true) {
                tracing::error!("the disk is full: nothing can be committed until space is made");
            }
            thread::sleep(FULL_RETRY_PAUSE);
        }
    }

    /// Writes and fsyncs the changes as one batch, then runs their callbacks.
    fn write(&mut self, changes: Vec<Change>) {
        let Some(engine) = self.engine.clone() else {
            let waiting = changes.into_iter().filter_map(|(_, _, _, on_flushed)| on_flushed);
            return waiting.for_each(|on_flushed| on_flushed(Err(LogError::Closed)));
        };
        let (mut fresh, mut stale) = (Vec::with_capacity(changes.len()), Vec::new());
        let mut batch = LogBatch::with_capacity(changes.len());
        let mut contents: Vec<(GroupId, Content)> = Vec::new();
        for (group, epoch, operation, on_flushed) in changes {
            let (current_epoch, durable) = {
                let groups = lock(&self.groups);
                let state = groups.get(&group);
                (state.map_or(0, |state| state.epoch), state.map(|state| state.durable.clone()).unwrap_or_default())
            };
            if epoch != current_epoch {
                stale.extend(on_flushed);
                continue;
            }
            let position = contents.iter().position(|(of, _)| *of == group).unwrap_or_else(|| {
                contents.push((group, durable));
                contents.len() - 1
            });
            add_to_batch(&mut batch, group, &mut contents[position].1, operation);
            fresh.extend(on_flushed);
        }
        let outcome = self.flush(&engine, &mut batch, fresh.len());
        {
            let mut groups = lock(&self.groups);
            for (group, content) in contents {
                let state = groups.entry(group).or_default();
                match &outcome {
                    Ok(()) => {
                        state.durable = content;
                        state.shrink();
                    }
                    Err(_) => state.fall_back(),
                }
            }
        }
        stale.into_iter().for_each(|on_flushed| on_flushed(Err(LogError::Full)));
        fresh.into_iter().for_each(|on_flushed| on_flushed(outcome.clone()));
    }

    /// The write and fsync of one batch, measured.
    fn flush(&self, engine: &Engine<F>, batch: &mut LogBatch, changes: usize) -> Result<(), LogError> {
        let _span = tracing::debug_span!("flush", changes).entered();
        let started = tokio::time::Instant::now();
        let outcome = self.write_when_there_is_room(engine, batch);
        metrics::histogram!("stockroom_flush_seconds").record(started.elapsed().as_secs_f64());
        metrics::histogram!("stockroom_flush_changes").record(changes as f64);
        outcome
    }

    fn reclaim(&self) -> Result<Vec<GroupId>, LogError> {
        let engine = self.engine.as_ref().ok_or(LogError::Closed)?;
        let groups = or_abort(|| engine.purge_expired_files()).map_err(|error| log_error("reclaim", &error))?;
        Ok(groups.into_iter().filter_map(|region| u32::try_from(region).ok().map(GroupId)).collect())
    }

    /// Lets go of the engine; waits for the reader to let go too, so that the directory can be opened again.
    fn close(&mut self) {
        let Some(mut engine) = self.engine.take() else { return };
        loop {
            match Arc::try_unwrap(engine) {
                Ok(engine) => return drop(engine),
                Err(shared) => engine = shared,
            }
            thread::yield_now();
        }
    }
}

/// Takes changes from the queue until it is empty, the batch is full, or something else is asked for. Changes that
/// nobody waits for are no batch: they wait for one.
fn drain(first: Work, work: &Receiver<Work>) -> (Vec<Change>, Option<Work>) {
    let mut changes = Vec::new();
    let (mut bytes, mut awaited) = (0, false);
    let mut next = Some(first);
    while let Some(item) = next.take() {
        let Work::Change { group, epoch, operation, on_flushed } = item else { return (changes, Some(item)) };
        if let Operation::Append(entries) = &operation {
            bytes += entries.iter().map(|entry| entry.bytes.len()).sum::<usize>();
        }
        awaited |= on_flushed.is_some();
        changes.push((group, epoch, operation, on_flushed));
        if bytes < BATCH_BYTES_MAX && changes.len() < BATCH_CHANGES_MAX {
            next = if awaited { work.try_recv().ok() } else { work.recv().ok() };
        }
    }
    (changes, None)
}

/// Adds one change to the batch and to `content`, which is what the group will hold once the batch is durable.
///
/// `end` is never deleted but set to "nowhere": the engine may resurrect a deleted value after rewriting its files.
fn add_to_batch(batch: &mut LogBatch, group: GroupId, content: &mut Content, operation: Operation) {
    let region = u64::from(group.0);
    match operation {
        Operation::Append(entries) => {
            content.range.next += entries.len() as u64;
            content.engine_next = content.range.next;
            let frames: Vec<Frame> = entries.into_iter().map(Frame::from).collect();
            batch.add_entries::<Frames>(region, &frames).expect("a batch is far below the engine's limit");
            if std::mem::take(&mut content.cut) {
                put_index(batch, region, KEY_END, u64::MAX);
            }
        }
        Operation::Put(value, bytes) => {
            put(batch, region, value as u8, bytes.clone());
            content.values.insert(value, bytes);
        }
        Operation::Truncate(from) => {
            content.range.next = from.clamp(content.range.first, content.range.next);
            content.cut = true;
            put_index(batch, region, KEY_END, content.range.next);
        }
        Operation::Purge(before) => {
            let emptied = before >= content.range.next;
            content.range = purged(content.range, before);
            let index = if emptied { before.max(content.engine_next) } else { before };
            batch.add_command(region, Command::Compact { index });
            put_index(batch, region, KEY_START, content.range.first);
            if emptied {
                content.engine_next = content.range.next;
            }
        }
    }
}

fn put_index(batch: &mut LogBatch, region: u64, key: u8, index: u64) {
    put(batch, region, key, index.to_be_bytes().to_vec());
}

fn put(batch: &mut LogBatch, region: u64, key: u8, bytes: Vec<u8>) {
    batch.put(region, vec![key], bytes).expect("keys of one byte are not reserved by the engine");
}

/// What a group holds according to the files.
pub(super) fn recover<F: FileSystem>(
    engine: &Engine<F>,
    group: GroupId,
    directory: &Path,
) -> Result<Content, LogError> {
    let region = u64::from(group.0);
    let index = |key: u8| engine.get(region, &[key]).and_then(|bytes| Some(u64::from_be_bytes(bytes.try_into().ok()?)));
    let start = index(KEY_START).unwrap_or(0);
    let mut content = Content { range: LogRange { first: start, next: start }, ..Content::default() };
    if let (Some(first), Some(last)) = (engine.first_index(region), engine.last_index(region)) {
        if first > start {
            let reason = format!("entries {start} to {} of group {group} are missing", first - 1);
            return Err(LogError::Damaged { file: directory.display().to_string(), offset: 0, reason });
        }
        let end = index(KEY_END).unwrap_or(u64::MAX);
        content.range.next = (last + 1).min(end).max(start);
        content.cut = end <= last;
        content.engine_next = last + 1;
        if content.range.next > content.engine_next {
            // Purged entries came back from rewritten files; the engine must forget them before it accepts a hole.
            engine.compact_to(region, content.range.next);
        }
    }
    content.engine_next = content.engine_next.max(content.range.next);
    let values = [LogValue::Vote, LogValue::Committed, LogValue::Purged];
    let present = values.into_iter().filter_map(|value| Some((value, engine.get(region, &[value as u8])?)));
    content.values = present.collect();
    Ok(content)
}

fn read_entries<F: FileSystem>(engine: &Engine<F>, read: &Read) -> Result<Vec<LogEntry>, LogError> {
    let mut frames = Vec::new();
    let region = u64::from(read.group.0);
    match engine.fetch_entries_to::<Frames>(region, read.from, read.to, Some(read.bytes_max), &mut frames) {
        Ok(_) => {}
        Err(raft_engine::Error::EntryCompacted | raft_engine::Error::EntryNotFound) => frames.clear(),
        Err(error) => return Err(log_error("read", &error)),
    }
    Ok(frames.into_iter().map(|frame| LogEntry { index: frame.index, bytes: frame.content }).collect())
}

fn write_synced<F: FileSystem>(engine: &Engine<F>, batch: &mut LogBatch) -> Result<(), LogError> {
    if batch.is_empty() {
        return Ok(());
    }
    match or_abort(|| engine.write(batch, true)) {
        Ok(_) => Ok(()),
        Err(error) => Err(log_error("write", &error)),
    }
}

/// The engine panics when an fsync fails. That cannot be retried: end the process at once, before anybody is told
/// that something is safe which is not (P23).
fn or_abort<T>(work: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        tracing::error!(
            "the log could not be made durable; ending the process, because a failed fsync cannot be retried"
        );
        std::process::abort()
    })
}

fn log_error(operation: &'static str, error: &raft_engine::Error) -> LogError {
    match error {
        raft_engine::Error::TryAgain(_) | raft_engine::Error::Full => LogError::Full,
        raft_engine::Error::Io(error)
            if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) =>
        {
            LogError::Full
        }
        raft_engine::Error::Corruption(reason) => {
            LogError::Damaged { file: "log".to_owned(), offset: 0, reason: reason.clone() }
        }
        other => LogError::Io { operation, message: other.to_string() },
    }
}
