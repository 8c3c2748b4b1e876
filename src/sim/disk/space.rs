//! The room on a simulated disk, taken by somebody else and given back; the checkpoint files that need it too.
//!
//! Only while the disk is being filled is room counted: what the log syncs and checkpoints write takes of it, the
//! ballast gives some back, once.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use crate::cluster::upkeep::Space;
use crate::persistence::files::{FileWriter, Files, MemoryFiles};

/// Bytes free while nobody fills the disk.
const PLENTY: u64 = 1 << 40;
/// Bytes below which a simulated node refuses client writes.
pub const RESERVE_BYTES: u64 = 256 << 10;
/// Bytes of its ballast.
const BALLAST_BYTES: u64 = 64 << 10;

#[derive(Debug)]
struct State {
    free: u64,
    ballast: bool,
}

/// The room of one disk. Clones are the same room.
#[derive(Clone, Debug)]
pub struct SimSpace(Arc<Mutex<State>>);

impl Default for SimSpace {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State { free: PLENTY, ballast: true })))
    }
}

impl SimSpace {
    /// Somebody else leaves only so much.
    pub fn fill(&self, free: u64) {
        self.lock().free = free;
    }

    /// There is plenty again.
    pub fn empty(&self) {
        self.lock().free = PLENTY;
    }

    /// Takes room for `bytes`; false when there is none.
    pub fn take(&self, bytes: u64) -> bool {
        let mut state = self.lock();
        let fits = bytes <= state.free;
        if fits && state.free < PLENTY {
            state.free -= bytes;
        }
        fits
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Space for SimSpace {
    fn free_bytes(&self) -> Option<u64> {
        Some(self.lock().free)
    }

    async fn release_ballast(&self) {
        let mut state = self.lock();
        if std::mem::replace(&mut state.ballast, false) {
            state.free += BALLAST_BYTES;
        }
    }

    async fn restore_ballast(&self) {
        self.lock().ballast = true;
    }
}

/// Checkpoint files that need room. A writer cut off leaves nothing.
pub struct SimFiles {
    files: MemoryFiles,
    space: SimSpace,
}

impl SimFiles {
    /// No files on a disk with this room.
    pub fn new(space: SimSpace) -> Self {
        Self { files: MemoryFiles::new(), space }
    }
}

#[async_trait]
impl Files for SimFiles {
    async fn create(&self, name: &str) -> io::Result<Box<dyn FileWriter>> {
        Ok(Box::new(Writer { writer: self.files.create(name).await?, space: self.space.clone() }))
    }

    async fn read(&self, name: &str, offset: u64, length_max: usize) -> io::Result<Bytes> {
        self.files.read(name, offset, length_max).await
    }

    async fn list(&self) -> io::Result<Vec<(String, u64)>> {
        self.files.list().await
    }

    async fn remove(&self, name: &str) -> io::Result<()> {
        self.files.remove(name).await
    }
}

struct Writer {
    writer: Box<dyn FileWriter>,
    space: SimSpace,
}

#[async_trait]
impl FileWriter for Writer {
    async fn append(&mut self, bytes: Vec<u8>) -> io::Result<()> {
        if self.space.take(bytes.len() as u64) { self.writer.append(bytes).await } else { Err(full()) }
    }

    async fn finish(self: Box<Self>) -> io::Result<()> {
        self.writer.finish().await
    }
}

fn full() -> io::Error {
    io::ErrorKind::StorageFull.into()
}
