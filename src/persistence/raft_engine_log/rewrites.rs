//! The file system under raft-engine, with one difference: what goes to a `.rewrite` file is synced write by write.
//!
//! Reclaiming appends what old files still hold to the rewrite queue, in batches of about 128 KiB, and raft-engine
//! syncs only after several of them. A power cut could keep a later batch and lose an earlier one; [`super::scan`]
//! would rightly call that damage and refuse, although everything is still in the files that were to be reclaimed. With
//! this, a queue never has more than one batch that may be missing, which is what the scan relies on: the append queue
//! has its fsync per batch from the owner. Rewrites are rare and small, so the syncs that come on top are few.
//!
//! Fails as the engine does: a sync that fails is a panic, which ends the process (P23).

use std::io::{self, Result, Seek, Write};
use std::path::Path;
use std::sync::Arc;

use raft_engine::env::{FileSystem, Handle, Permission, WriteExt};

/// Ends the names of the rewrite queue's files.
const REWRITE_EXTENSION: &str = "rewrite";

/// See the module.
pub(super) struct SyncedRewrites<F>(pub F);

/// A file of either queue.
pub(super) struct QueueFile<F: FileSystem> {
    handle: Arc<F::Handle>,
    is_rewrite: bool,
}

impl<F: FileSystem> QueueFile<F> {
    fn new(path: &Path, handle: F::Handle) -> Self {
        let is_rewrite = path.extension().is_some_and(|extension| extension == REWRITE_EXTENSION);
        Self { handle: Arc::new(handle), is_rewrite }
    }
}

impl<F: FileSystem> Handle for QueueFile<F> {
    fn truncate(&self, offset: usize) -> Result<()> {
        self.handle.truncate(offset)
    }

    fn file_size(&self) -> Result<usize> {
        self.handle.file_size()
    }

    fn sync(&self) -> Result<()> {
        self.handle.sync()
    }
}

/// Writes to a file of either queue.
pub(super) struct QueueWriter<F: FileSystem> {
    writer: F::Writer,
    /// Synced after every write; `None` where the engine syncs often enough.
    synced: Option<Arc<F::Handle>>,
}

impl<F: FileSystem> Write for QueueWriter<F> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        let written = self.writer.write(bytes)?;
        if let Some(handle) = &self.synced {
            handle.sync().expect("a failed fsync cannot be retried");
        }
        Ok(written)
    }

    fn flush(&mut self) -> Result<()> {
        self.writer.flush()
    }
}

impl<F: FileSystem> Seek for QueueWriter<F> {
    fn seek(&mut self, position: io::SeekFrom) -> Result<u64> {
        self.writer.seek(position)
    }
}

impl<F: FileSystem> WriteExt for QueueWriter<F> {
    fn truncate(&mut self, offset: usize) -> Result<()> {
        self.writer.truncate(offset)
    }

    fn allocate(&mut self, offset: usize, size: usize) -> Result<()> {
        self.writer.allocate(offset, size)
    }
}

impl<F: FileSystem> FileSystem for SyncedRewrites<F> {
    type Handle = QueueFile<F>;
    type Reader = F::Reader;
    type Writer = QueueWriter<F>;

    fn create<P: AsRef<Path>>(&self, path: P) -> Result<QueueFile<F>> {
        Ok(QueueFile::new(path.as_ref(), self.0.create(path.as_ref())?))
    }

    fn open<P: AsRef<Path>>(&self, path: P, permission: Permission) -> Result<QueueFile<F>> {
        Ok(QueueFile::new(path.as_ref(), self.0.open(path.as_ref(), permission)?))
    }

    fn delete<P: AsRef<Path>>(&self, path: P) -> Result<()> {
        self.0.delete(path)
    }

    fn rename<P: AsRef<Path>>(&self, from: P, to: P) -> Result<()> {
        self.0.rename(from, to)
    }

    fn reuse<P: AsRef<Path>>(&self, from: P, to: P) -> Result<()> {
        self.0.reuse(from, to)
    }

    fn delete_metadata<P: AsRef<Path>>(&self, path: P) -> Result<()> {
        self.0.delete_metadata(path)
    }

    fn exists_metadata<P: AsRef<Path>>(&self, path: P) -> bool {
        self.0.exists_metadata(path)
    }

    fn new_reader(&self, file: Arc<QueueFile<F>>) -> Result<F::Reader> {
        self.0.new_reader(file.handle.clone())
    }

    fn new_writer(&self, file: Arc<QueueFile<F>>) -> Result<QueueWriter<F>> {
        let writer = self.0.new_writer(file.handle.clone())?;
        Ok(QueueWriter { writer, synced: file.is_rewrite.then(|| file.handle.clone()) })
    }
}
