//! The [`Store`] of production: sled 0.34 behind one thread that owns it (P24).
//!
//! sled blocks in every call, and reads must see the writes queued before them: so one thread carries everything out
//! in order. Writes waiting behind each other go to sled as one atomic batch. The queue is bounded by count and bytes;
//! a full one makes `write` wait, which slows the applier down instead of growing memory.
//!
//! sled's own `flush` does not reach the disk on Linux (it stops at sync_file_range), so [`Store::sync`] adds an
//! fdatasync on a descriptor of our own. Between syncs a crash leaves some prefix of the batches.
//!
//! A full disk is waited out: reads go on, writes wait ([`owner`]). Anything else that goes wrong inside sled, panics
//! included, becomes a [`StoreError`] that every later call repeats and [`SledStore::failed`] tells of. Damage also
//! leaves a mark in the directory, so that the next start does not trust it: it is then set aside and rebuilt from
//! checkpoint and log.

mod company;
mod intact;
mod owner;
mod unflushed;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

use super::store::{Reads, Row, Scan, Store, StoreError, WriteBatch};
use company::Company;
use owner::Owner;
pub(super) use owner::settle_renaming;

/// Requests waiting before `write` waits.
const QUEUE_REQUESTS_MAX: usize = 1024;
/// Bytes waiting before `write` waits, counted in KiB.
const QUEUE_KIB_MAX: usize = 64 << 10;
enum Request {
    Write(WriteBatch, OwnedSemaphorePermit),
    RemoveUnchanged(Vec<Row>, OwnedSemaphorePermit, oneshot::Sender<Result<u64, StoreError>>),
    Get(Bytes, oneshot::Sender<Result<Option<Bytes>, StoreError>>),
    Scan(Scan, oneshot::Sender<Result<Vec<Row>, StoreError>>),
    Read(Reads, oneshot::Sender<Result<(), StoreError>>),
    Sync(oneshot::Sender<Result<(), StoreError>>),
    Distrust(String),
    Close(oneshot::Sender<()>),
}

impl Request {
    /// Whether somebody waits for it.
    fn is_awaited(&self) -> bool {
        !matches!(self, Self::Write(..) | Self::Distrust(_))
    }
}

/// When the store's file is made anew.
#[derive(Clone, Copy, Debug)]
pub struct StoreOptions {
    /// It has at least so many bytes, and half as many again as when it was last made anew.
    pub compact_bytes_min: u64,
    /// So many bytes of the disk stay free meanwhile.
    pub reserve_bytes: u64,
}

impl Default for StoreOptions {
    /// Never.
    fn default() -> Self {
        Self { compact_bytes_min: u64::MAX, reserve_bytes: 0 }
    }
}

/// A store in a directory of its own.
pub struct SledStore {
    requests: mpsc::Sender<Request>,
    room: Arc<Semaphore>,
    company: Arc<Company>,
    depth: Arc<AtomicUsize>,
    failure: watch::Receiver<Option<StoreError>>,
    directory: PathBuf,
    /// Made by this process: making it again would lead to the same.
    is_new: bool,
}

impl SledStore {
    /// Opens or creates the store. Blocks while sled recovers. An error other than [`StoreError::Io`] means: set the
    /// directory aside and rebuild.
    #[allow(clippy::disallowed_methods, reason = "sled blocks; this is its thread")]
    pub fn open(directory: &Path, options: StoreOptions) -> Result<Self, StoreError> {
        settle_renaming(directory)?;
        let is_new = !directory.join("db").exists();
        let (requests, queue) = mpsc::channel(QUEUE_REQUESTS_MAX);
        let depth = Arc::new(AtomicUsize::new(0));
        let (opened, outcome) = std::sync::mpsc::channel();
        let (path, thread_depth) = (directory.to_path_buf(), depth.clone());
        let company = Arc::new(Company::default());
        let thread_company = company.clone();
        let (failed, failure) = watch::channel(None);
        let run = move || match Owner::open(&path, options, thread_company, failed, thread_depth) {
            Ok(owner) => {
                if opened.send(Ok(())).is_ok() {
                    owner.run(queue);
                }
            }
            Err(error) => drop(opened.send(Err(error))),
        };
        let started = thread::Builder::new().name("store-owner".to_owned()).spawn(run);
        started.map_err(|error| self::failure("start thread", &error))?;
        let crashed = || StoreError::Damaged { reason: "opening the store crashed".to_owned() };
        outcome.recv().map_err(|_| crashed())??;
        let room = Arc::new(Semaphore::new(QUEUE_KIB_MAX));
        Ok(Self { requests, room, company, depth, failure, directory: directory.to_path_buf(), is_new })
    }

    /// Returns once the store has failed in a way that only a new start cures; never when it is closed in order.
    pub fn failed(&self) -> impl Future<Output = StoreError> + Send + 'static {
        let mut failure = self.failure.clone();
        async move {
            match failure.wait_for(Option::is_some).await.map(|found| found.clone()) {
                Ok(Some(error)) => error,
                Ok(None) | Err(_) => std::future::pending().await,
            }
        }
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, StoreError> {
        let (done, outcome) = oneshot::channel();
        let place = self.place().await?;
        self.company.awaits();
        self.put(place, request(done));
        self.company.sent();
        outcome.await.map_err(|_| StoreError::Closed)
    }

    /// Waits for room in the queue.
    async fn room_for(&self, bytes: usize) -> Result<OwnedSemaphorePermit, StoreError> {
        let kib = u32::try_from((bytes >> 10).clamp(1, QUEUE_KIB_MAX)).unwrap_or(u32::MAX);
        self.room.clone().acquire_many_owned(kib).await.map_err(|_| StoreError::Closed)
    }

    async fn place(&self) -> Result<mpsc::Permit<'_, Request>, StoreError> {
        self.requests.reserve().await.map_err(|_| StoreError::Closed)
    }

    fn put(&self, place: mpsc::Permit<'_, Request>, request: Request) {
        self.depth.fetch_add(1, Ordering::Relaxed);
        place.send(request);
    }
}

#[async_trait]
impl Store for SledStore {
    async fn write(&self, batch: WriteBatch) -> Result<(), StoreError> {
        let permit = self.room_for(batch.bytes()).await?;
        let place = self.place().await?;
        self.put(place, Request::Write(batch, permit));
        Ok(())
    }

    async fn remove_unchanged(&self, rows: Vec<Row>) -> Result<u64, StoreError> {
        let bytes = rows.iter().map(|(key, value)| key.len() + value.len()).sum();
        let permit = self.room_for(bytes).await?;
        self.ask(|done| Request::RemoveUnchanged(rows, permit, done)).await?
    }

    async fn get(&self, key: Bytes) -> Result<Option<Bytes>, StoreError> {
        self.ask(|done| Request::Get(key, done)).await?
    }

    async fn scan(&self, scan: Scan) -> Result<Vec<Row>, StoreError> {
        self.ask(|done| Request::Scan(scan, done)).await?
    }

    async fn read(&self, reads: Reads) -> Result<(), StoreError> {
        self.ask(|done| Request::Read(reads, done)).await?
    }

    async fn sync(&self) -> Result<(), StoreError> {
        self.ask(Request::Sync).await?
    }

    fn distrust(&self, reason: &str) {
        tracing::error!(reason, self.is_new, "the store does not hold what was written");
        if !self.is_new && self.requests.try_send(Request::Distrust(reason.to_owned())).is_ok() {
            self.depth.fetch_add(1, Ordering::Relaxed);
        }
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

/// What the operating system said, told apart by whether waiting helps.
fn failure(operation: &'static str, error: &io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full,
        _ => StoreError::Io { operation, message: error.to_string() },
    }
}

#[cfg(test)]
mod compaction_tests;

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::persistence::conformance::{StoreHost, store_suite};
    use crate::persistence::store::Direction;

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
            let store = Arc::new(SledStore::open(fresh.path(), StoreOptions::default()).unwrap());
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
            let store = SledStore::open(directory.path(), StoreOptions::default()).unwrap();
            store.close().await;
        }
    }

    #[tokio::test]
    async fn a_crash_leaves_a_prefix_of_the_batches() {
        let directory = tempfile::tempdir().unwrap();
        let store = SledStore::open(directory.path(), StoreOptions::default()).unwrap();
        for number in 0..2000_u64 {
            let mut batch = WriteBatch::default();
            batch.put("last", number.to_be_bytes().to_vec());
            batch.put(format!("row{number:06}"), vec![1; 3000]);
            store.write(batch).await.unwrap();
        }
        store.get("last".into()).await.unwrap();
        let image = tempfile::tempdir().unwrap();
        copy_directory(directory.path(), image.path());
        let recovered = SledStore::open(image.path(), StoreOptions::default()).unwrap();
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
