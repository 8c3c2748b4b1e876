//! The [`Store`] of production: sled 0.34 behind one thread that owns it (P24).
//!
//! sled blocks in every call, and reads must see the writes queued before them: so one thread carries everything out
//! in order. Writes waiting behind each other go to sled as one atomic batch. The queue is bounded by count and bytes;
//! a full one makes `write` wait, which slows the applier down instead of growing memory.
//!
//! sled's own `flush` does not reach the disk on Linux (it stops at sync_file_range), so [`Store::sync`] adds an
//! fdatasync on a descriptor of our own. Between syncs a crash leaves some prefix of the batches.
//!
//! What goes wrong inside sled, panics included, becomes a [`StoreError`] that every later call repeats. Damage also
//! leaves a mark in the directory, so that the next start does not trust it: it is then set aside and rebuilt from
//! checkpoint and log.

use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::memory::take_limited;
use super::store::{Change, Direction, Row, Scan, Store, StoreError, WriteBatch};

/// sled's page cache. More costs memory beyond what it says; the journal is mostly read once.
const CACHE_BYTES: u64 = 64 << 20;
/// Requests waiting before `write` waits.
const QUEUE_REQUESTS_MAX: usize = 1024;
/// Bytes waiting before `write` waits, counted in KiB.
const QUEUE_KIB_MAX: usize = 64 << 10;
/// Most changes given to sled at once: larger batches cost it disproportionate memory.
const BATCH_CHANGES_MAX: usize = 1000;
/// Most bytes given to sled at once.
const BATCH_BYTES_MAX: usize = 1 << 20;
/// Bytes written between two flushes of sled's buffers, to keep its memory and the replay after a crash bounded.
const FLUSH_BYTES: usize = 4 << 20;
/// Its presence says that sled once found damage here.
const DAMAGE_MARK: &str = "DAMAGED";

enum Request {
    Write(WriteBatch, OwnedSemaphorePermit),
    Get(Bytes, oneshot::Sender<Result<Option<Bytes>, StoreError>>),
    Scan(Scan, oneshot::Sender<Result<Vec<Row>, StoreError>>),
    Sync(oneshot::Sender<Result<(), StoreError>>),
    Close(oneshot::Sender<()>),
}

/// A store in a directory of its own.
pub struct SledStore {
    requests: mpsc::Sender<Request>,
    room: Arc<Semaphore>,
    depth: Arc<AtomicUsize>,
    directory: PathBuf,
}

impl SledStore {
    /// Opens or creates the store. Blocks while sled recovers. An error other than [`StoreError::Io`] means: set the
    /// directory aside and rebuild.
    #[allow(clippy::disallowed_methods, reason = "sled blocks; this is its thread")]
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        let (requests, queue) = mpsc::channel(QUEUE_REQUESTS_MAX);
        let depth = Arc::new(AtomicUsize::new(0));
        let (opened, outcome) = std::sync::mpsc::channel();
        let (path, thread_depth) = (directory.to_path_buf(), depth.clone());
        let run = move || match guarded("open", || open_database(&path)) {
            Ok((database, file)) => {
                let mark = path.join(DAMAGE_MARK);
                let owner = Owner { database, file, mark, failed: None, bytes_unflushed: 0, depth: thread_depth };
                if opened.send(Ok(())).is_ok() {
                    owner.run(queue);
                }
            }
            Err(error) => drop(opened.send(Err(error))),
        };
        let started = thread::Builder::new().name("store-owner".to_owned()).spawn(run);
        started.map_err(|error| io_error("start thread", &error))?;
        let crashed = || StoreError::Damaged { reason: "opening the store crashed".to_owned() };
        outcome.recv().map_err(|_| crashed())??;
        let room = Arc::new(Semaphore::new(QUEUE_KIB_MAX));
        Ok(Self { requests, room, depth, directory: directory.to_path_buf() })
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, StoreError> {
        let (done, outcome) = oneshot::channel();
        self.send(request(done)).await?;
        outcome.await.map_err(|_| StoreError::Closed)
    }

    async fn send(&self, request: Request) -> Result<(), StoreError> {
        let place = self.requests.reserve().await.map_err(|_| StoreError::Closed)?;
        self.depth.fetch_add(1, Ordering::Relaxed);
        place.send(request);
        Ok(())
    }
}

#[async_trait]
impl Store for SledStore {
    async fn write(&self, batch: WriteBatch) -> Result<(), StoreError> {
        let kib = (batch_bytes(&batch) >> 10).clamp(1, QUEUE_KIB_MAX);
        let kib = u32::try_from(kib).unwrap_or(u32::MAX);
        let permit = self.room.clone().acquire_many_owned(kib).await.map_err(|_| StoreError::Closed)?;
        self.send(Request::Write(batch, permit)).await
    }

    async fn get(&self, key: Bytes) -> Result<Option<Bytes>, StoreError> {
        self.ask(|done| Request::Get(key, done)).await?
    }

    async fn scan(&self, scan: Scan) -> Result<Vec<Row>, StoreError> {
        self.ask(|done| Request::Scan(scan, done)).await?
    }

    async fn sync(&self) -> Result<(), StoreError> {
        self.ask(Request::Sync).await?
    }

    fn queue_depth(&self) -> usize {
        self.depth.load(Ordering::Relaxed)
    }

    async fn disk_bytes(&self) -> u64 {
        super::datadir::directory_bytes(&self.directory)
    }

    async fn close(&self) {
        let _ = self.ask(Request::Close).await;
    }
}

struct Owner {
    database: sled::Db,
    /// The file sled appends to, for fdatasync.
    file: File,
    /// Written when damage is found.
    mark: PathBuf,
    /// The first failure; everything after it fails the same way.
    failed: Option<StoreError>,
    bytes_unflushed: usize,
    depth: Arc<AtomicUsize>,
}

impl Owner {
    fn run(mut self, mut queue: mpsc::Receiver<Request>) {
        let mut next = queue.blocking_recv();
        while let Some(request) = next.take() {
            next = match request {
                Request::Write(batch, permit) => self.write_queued(batch, permit, &mut queue),
                Request::Get(key, done) => self.answer(done, |owner| owner.get(&key)),
                Request::Scan(scan, done) => self.answer(done, |owner| owner.scan(&scan)),
                Request::Sync(done) => self.answer(done, Self::sync),
                Request::Close(done) => return self.close(queue, done),
            };
            if next.is_none() {
                next = queue.blocking_recv();
            }
        }
    }

    fn answer<T>(
        &mut self,
        done: oneshot::Sender<Result<T, StoreError>>,
        work: impl FnOnce(&mut Self) -> Result<T, StoreError>,
    ) -> Option<Request> {
        self.depth.fetch_sub(1, Ordering::Relaxed);
        let outcome = match &self.failed {
            Some(error) => Err(error.clone()),
            None => guarded("read", || work(self)),
        };
        if let Err(error) = &outcome {
            self.fail(error.clone());
        }
        let _ = done.send(outcome);
        None
    }

    /// Remembers the first failure, beyond this process if it is damage.
    fn fail(&mut self, error: StoreError) {
        if self.failed.is_some() {
            return;
        }
        if let StoreError::Damaged { reason } = &error
            && let Err(unmarked) = std::fs::write(&self.mark, reason)
        {
            tracing::error!(%error, %unmarked, "the store is damaged and could not be marked so; remove it by hand");
        }
        self.failed = Some(error);
    }

    /// Writes this batch and those queued right behind it; returns the first request that is not a write.
    fn write_queued(
        &mut self,
        batch: WriteBatch,
        permit: OwnedSemaphorePermit,
        queue: &mut mpsc::Receiver<Request>,
    ) -> Option<Request> {
        let mut rows = sled::Batch::default();
        let (mut changes, mut bytes) = (0, 0);
        let mut permits = Vec::new();
        let mut next = Some(Request::Write(batch, permit));
        while let Some(Request::Write(batch, permit)) = next.take_if(|next| matches!(next, Request::Write(..))) {
            changes += batch.changes.len();
            bytes += batch_bytes(&batch);
            permits.push(permit);
            add_to_rows(&mut rows, batch);
            if changes >= BATCH_CHANGES_MAX || bytes >= BATCH_BYTES_MAX {
                break;
            }
            next = queue.try_recv().ok();
        }
        if self.failed.is_none()
            && let Err(error) = guarded("write", || self.apply(rows, bytes))
        {
            self.fail(error);
        }
        self.depth.fetch_sub(permits.len(), Ordering::Relaxed);
        next
    }

    fn apply(&mut self, rows: sled::Batch, bytes: usize) -> Result<(), StoreError> {
        self.database.apply_batch(rows).map_err(|error| store_error("write", error))?;
        self.bytes_unflushed += bytes;
        if self.bytes_unflushed >= FLUSH_BYTES {
            self.bytes_unflushed = 0;
            self.database.flush().map_err(|error| store_error("flush", error))?;
        }
        Ok(())
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let value = self.database.get(key).map_err(|error| store_error("read", error))?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn scan(&self, scan: &Scan) -> Result<Vec<Row>, StoreError> {
        if scan.from >= scan.to {
            return Ok(Vec::new());
        }
        let range = self.database.range::<&[u8], _>(scan.from.as_ref()..scan.to.as_ref());
        let owned = |row: sled::Result<(sled::IVec, sled::IVec)>| {
            let (key, value) = row.map_err(|error| store_error("read", error))?;
            Ok((Bytes::copy_from_slice(&key), Bytes::copy_from_slice(&value)))
        };
        match scan.direction {
            Direction::Forward => take_limited(scan, range.map(owned)),
            Direction::Reverse => take_limited(scan, range.rev().map(owned)),
        }
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.database.flush().map_err(|error| store_error("flush", error))?;
        self.file.sync_data().map_err(|error| io_error("sync", &error))
    }

    /// Syncs, lets go of the directory, and only then says so. Whatever is still queued is told that it is closed.
    fn close(mut self, mut queue: mpsc::Receiver<Request>, done: oneshot::Sender<()>) {
        queue.close();
        if self.failed.is_none()
            && let Err(error) = guarded("close", || self.sync())
        {
            tracing::warn!(%error, "the store could not be synced when closing; the log will replay what is missing");
        }
        drop(queue);
        drop(self);
        let _ = done.send(());
    }
}

fn open_database(directory: &Path) -> Result<(sled::Db, File), StoreError> {
    if let Ok(reason) = std::fs::read_to_string(directory.join(DAMAGE_MARK)) {
        return Err(StoreError::Damaged { reason });
    }
    let config = sled::Config::new().path(directory).cache_capacity(CACHE_BYTES).flush_every_ms(None);
    let database = config.use_compression(false).open().map_err(|error| store_error("open", error))?;
    let file = File::open(directory.join("db")).map_err(|error| io_error("open file", &error))?;
    Ok((database, file))
}

fn add_to_rows(rows: &mut sled::Batch, batch: WriteBatch) {
    for change in batch.changes {
        match change {
            Change::Put { key, value } => rows.insert(key.as_ref(), value.as_ref()),
            Change::Delete { key } => rows.remove(key.as_ref()),
        }
    }
}

fn batch_bytes(batch: &WriteBatch) -> usize {
    let bytes = batch.changes.iter().map(|change| match change {
        Change::Put { key, value } => key.len() + value.len(),
        Change::Delete { key } => key.len(),
    });
    bytes.sum()
}

/// sled panics on some kinds of damage; that is damage too.
fn guarded<T>(operation: &'static str, work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(StoreError::Damaged { reason: format!("the engine panicked in {operation}") }))
}

fn store_error(operation: &'static str, error: sled::Error) -> StoreError {
    match error {
        sled::Error::Io(error) if error.kind() == io::ErrorKind::StorageFull => StoreError::Full,
        sled::Error::Io(error) => io_error(operation, &error),
        other => StoreError::Damaged { reason: other.to_string() },
    }
}

fn io_error(operation: &'static str, error: &io::Error) -> StoreError {
    StoreError::Io { operation, message: error.to_string() }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::persistence::conformance::{StoreHost, store_suite};

    /// Opens a copy of the directory each time: what a crash leaves behind, the old store still running.
    #[derive(Default)]
    struct Crashing {
        directories: Vec<TempDir>,
        running: Vec<Arc<SledStore>>,
    }

    #[async_trait]
    impl StoreHost for Crashing {
        async fn open(&mut self) -> Option<Arc<dyn Store>> {
            let fresh = tempfile::tempdir().unwrap();
            if let Some(last) = self.directories.last() {
                copy_directory(last.path(), fresh.path());
            }
            let store = Arc::new(SledStore::open(fresh.path()).unwrap());
            self.directories.push(fresh);
            self.running.push(store.clone());
            Some(store)
        }
    }

    fn copy_directory(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let target = to.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                copy_directory(&entry.path(), &target);
            } else {
                std::fs::copy(entry.path(), target).unwrap();
            }
        }
    }

    #[tokio::test]
    async fn sled_conforms_across_crashes() {
        store_suite(&mut Crashing::default()).await;
    }

    #[tokio::test]
    async fn a_closed_directory_can_be_opened_again_at_once() {
        let directory = tempfile::tempdir().unwrap();
        for _ in 0..3 {
            let store = SledStore::open(directory.path()).unwrap();
            store.close().await;
        }
    }

    #[tokio::test]
    async fn a_crash_leaves_a_prefix_of_the_batches() {
        let directory = tempfile::tempdir().unwrap();
        let store = SledStore::open(directory.path()).unwrap();
        for number in 0..2000_u64 {
            let mut batch = WriteBatch::default();
            batch.put("last", number.to_be_bytes().to_vec());
            batch.put(format!("row{number:06}"), vec![1; 3000]);
            store.write(batch).await.unwrap();
        }
        store.get("last".into()).await.unwrap();
        let image = tempfile::tempdir().unwrap();
        copy_directory(directory.path(), image.path());
        let recovered = SledStore::open(image.path()).unwrap();
        let last = recovered.get("last".into()).await.unwrap();
        let last =
            last.map(|bytes| u64::from_be_bytes(bytes.as_ref().try_into().unwrap())).expect("some flush happened");
        let scan = Scan {
            from: "row".into(),
            to: "rox".into(),
            direction: Direction::Forward,
            rows_max: usize::MAX,
            bytes_max: usize::MAX,
        };
        let rows = recovered.scan(scan).await.unwrap();
        let expected: Vec<_> = (0..=last).map(|number| format!("row{number:06}")).collect();
        assert_eq!(
            rows.into_iter().map(|(key, _)| String::from_utf8(key.to_vec()).unwrap()).collect::<Vec<_>>(),
            expected
        );
    }
}
