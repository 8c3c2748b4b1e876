//! Makes sled's file anew when it has outgrown what is in it.
//!
//! sled 0.34 does not use again all the room of rows that were replaced or removed: a shop that does the same day after
//! day would need more disk every day. So the owner copies the rows into a new file beside the old one, a page at a
//! time between requests, while every change goes to both as far as the copy has come. When all is copied the new
//! directory, synced, takes the old one's name.
//!
//! ```text
//! sled/            the store
//! sled/COMPACTED   the file's bytes when it was last made anew, in decimal
//! sled.next/       the copy in progress; worthless after a crash
//! sled.old/        what the copy replaced, about to be removed
//! ```
//!
//! A crash between the two renamings leaves no `sled/`: [`settle_renaming`] then finishes them. Failing to copy never
//! harms the store: the copy is thrown away, and tried again when the file has grown further.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::{
    Engine, FLUSH_BYTES, Owner, StoreError, StoreOptions, batch_of, failure, guarded, let_go, open_engine, store_error,
};
use crate::persistence::datadir::sync_directory;

const BYTES_MARK: &str = "COMPACTED";
/// Rows copied between two requests: what a request may have to wait for.
const PAGE_ROWS: usize = 256;
/// Bytes copied between two requests.
const PAGE_BYTES: usize = 128 << 10;

/// When to make the file anew.
#[derive(Debug)]
pub(super) struct Schedule {
    options: StoreOptions,
    due_at: u64,
}

impl Schedule {
    /// Of the store in `directory`: its file may grow by half of the bytes it had when last made anew, and to
    /// [`StoreOptions::compact_bytes_min`].
    pub(super) fn of(directory: &Path, options: StoreOptions) -> Self {
        let last = fs::read_to_string(directory.join(BYTES_MARK)).ok().and_then(|text| text.parse::<u64>().ok());
        let due_at = last.map_or(0, |last| last.saturating_add(last / 2));
        Self { options, due_at: due_at.max(options.compact_bytes_min) }
    }

    /// The same after the store in `directory` was made anew.
    fn renewed(&self, directory: &Path) -> Self {
        Self::of(directory, self.options)
    }

    /// Whether a file of so many bytes is to be made anew.
    fn is_due(&self, bytes: u64) -> bool {
        bytes >= self.due_at
    }

    /// It did not work at this size: not again before it is a quarter larger.
    fn put_off(&mut self, bytes: u64) {
        self.due_at = (bytes + bytes / 4).max(self.options.compact_bytes_min);
    }
}

/// A row as sled has it.
type Copied = (sled::IVec, sled::IVec);

fn page_bytes(page: &[Copied]) -> usize {
    page.iter().map(|(key, value)| key.len() + value.len()).sum()
}

/// A copy in progress.
pub(super) struct Compaction {
    directory: PathBuf,
    engine: Engine,
    /// Keys below it are copied.
    copied_below: Bytes,
    /// Given to sled since its last flush.
    unflushed_bytes: usize,
}

impl Compaction {
    /// Begins to copy the store in `directory`.
    fn begin(directory: &Path) -> Result<Self, StoreError> {
        let next = beside(directory, "next");
        remove(&next)?;
        let engine = open_engine(&next)?;
        Ok(Self { directory: next, engine, copied_below: Bytes::new(), unflushed_bytes: 0 })
    }

    /// The next rows of `database` to be copied; none when all are.
    fn page(&self, database: &sled::Db) -> sled::Result<Vec<Copied>> {
        let mut page = Vec::new();
        let mut bytes = 0;
        for row in database.range(self.copied_below.as_ref()..) {
            let (key, value) = row?;
            bytes += key.len() + value.len();
            page.push((key, value));
            if page.len() >= PAGE_ROWS || bytes >= PAGE_BYTES {
                break;
            }
        }
        Ok(page)
    }

    /// Takes over a page.
    fn copy(&mut self, page: &[Copied]) -> Result<(), StoreError> {
        let Some((last, _)) = page.last() else { return Ok(()) };
        let mut rows = sled::Batch::default();
        page.iter().for_each(|(key, value)| rows.insert(key, value));
        self.apply(rows)?;
        self.unflushed_bytes += page_bytes(page);
        if self.unflushed_bytes >= FLUSH_BYTES {
            self.unflushed_bytes = 0;
            self.flush()?;
        }
        let mut after = last.to_vec();
        after.push(0);
        self.copied_below = after.into();
        Ok(())
    }

    /// Does what was done to the store, as far as it is copied.
    fn follow<'a>(&self, changes: impl Iterator<Item = (&'a Bytes, Option<&'a Bytes>)>) -> Result<(), StoreError> {
        self.apply(batch_of(changes.take_while(|(key, _)| **key < self.copied_below)))
    }

    /// sled's buffers reach its file, which bounds their memory.
    fn flush(&self) -> Result<(), StoreError> {
        self.engine.database.flush().map(drop).map_err(|error| store_error("copy", error))
    }

    /// Closes the copy, which is complete, with everything in it on the disk. Answers its bytes.
    fn close(self) -> Result<u64, StoreError> {
        self.flush()?;
        let Self { directory, engine, .. } = self;
        let_go(engine)?;
        let synced = || -> io::Result<u64> {
            let file = File::open(directory.join("db"))?;
            file.sync_all()?;
            let bytes = file.metadata()?.len();
            let mark = directory.join(BYTES_MARK);
            fs::write(&mark, bytes.to_string())?;
            for path in files(&directory)? {
                File::open(path)?.sync_all()?;
            }
            sync_directory(&directory)?;
            Ok(bytes)
        };
        synced().map_err(|error| failure("sync the copy", &error))
    }

    /// Throws the copy away.
    fn abandon(self) {
        let Self { directory, engine, .. } = self;
        let gone = let_go(engine).and_then(|()| remove(&directory));
        if let Err(error) = gone {
            tracing::warn!(%error, directory = %directory.display(), "a copy of the store could not be thrown away");
        }
    }

    fn apply(&self, rows: sled::Batch) -> Result<(), StoreError> {
        self.engine.database.apply_batch(rows).map_err(|error| store_error("copy", error))
    }
}

impl Owner {
    fn file_bytes(&self) -> Result<u64, StoreError> {
        let metadata = self.engine()?.file.metadata();
        metadata.map(|metadata| metadata.len()).map_err(|error| failure("read file size", &error))
    }

    /// Begins to copy if the file has outgrown what is in it.
    pub(super) fn begin_copy_if_due(&mut self) {
        if self.compaction.is_some() || !self.schedule.is_due(self.file_bytes().unwrap_or(0)) {
            return;
        }
        let bytes = usize::try_from(self.file_bytes().unwrap_or(0)).unwrap_or(usize::MAX);
        let begun =
            self.room_to_copy(bytes).and_then(|()| guarded("begin a copy", || Compaction::begin(&self.directory)));
        match begun {
            Ok(copy) => self.compaction = Some(copy),
            Err(error) => self.copy_failed(&error),
        }
    }

    /// The copy must not take room that the shop needs to go on.
    fn room_to_copy(&self, bytes: usize) -> Result<(), StoreError> {
        self.look_for_room(
            bytes.saturating_add(usize::try_from(self.schedule.options.reserve_bytes).unwrap_or(usize::MAX)),
        )
    }

    /// Copies some rows, or changes over to the copy when there are none left.
    pub(super) fn copy_page(&mut self) {
        self.since_page = 0;
        let Some(mut copy) = self.compaction.take() else { return };
        let page = guarded("read", || self.noting("read", copy.page(&self.engine()?.database)));
        match page {
            Ok(page) if page.is_empty() => self.change_over(copy),
            Ok(page) => {
                let copied = self.room_to_copy(page_bytes(&page)).and_then(|()| guarded("copy", || copy.copy(&page)));
                self.compaction = Some(copy);
                if let Err(error) = copied {
                    self.copy_failed(&error);
                }
            }
            Err(StoreError::Full) => {
                copy.abandon();
                self.wait_for_room();
            }
            Err(error) => {
                copy.abandon();
                self.fail(error);
            }
        }
    }

    /// Does to the copy what is about to leave the overlay.
    pub(super) fn copy_follows(&mut self) {
        let Some(copy) = &self.compaction else { return };
        if let Err(error) = guarded("copy", || copy.follow(self.overlay.rows())) {
            self.copy_failed(&error);
        }
    }

    /// Throws the copy in progress away, if there is one.
    pub(super) fn abandon_copy(&mut self) {
        if let Some(copy) = self.compaction.take() {
            copy.abandon();
        }
    }

    fn copy_failed(&mut self, error: &StoreError) {
        self.abandon_copy();
        self.schedule.put_off(self.file_bytes().unwrap_or(u64::MAX / 2));
        tracing::warn!(%error, "the store could not be made anew in a smaller file; it goes on with the one it has");
    }

    /// The complete copy becomes the store.
    fn change_over(&mut self, copy: Compaction) {
        self.compaction = Some(copy);
        match self.carry_out("copy", Self::settle) {
            Ok(()) => {}
            Err(error @ StoreError::Full) => return self.copy_failed(&error),
            Err(error) => return self.fail(error),
        }
        let Some(copy) = self.compaction.take() else { return };
        let before = self.file_bytes().unwrap_or(0);
        let after = match guarded("close the copy", || copy.close()) {
            Ok(after) => after,
            Err(error) => return self.copy_failed(&error),
        };
        let changed = guarded("change over", || {
            self.engine.take().map_or(Ok(()), let_go)?;
            rename(&self.directory)?;
            self.engine = Some(open_engine(&self.directory)?);
            Ok(())
        });
        if let Err(error) = changed {
            return self.fail(error);
        }
        self.unflushed.clear();
        self.schedule = self.schedule.renewed(&self.directory);
        metrics::counter!("stockroom_store_compactions_total").increment(1);
        tracing::info!(before, after, "the store was made anew in a smaller file");
    }
}

/// Gives the complete copy the name of the store in `directory`, which must be closed.
fn rename(directory: &Path) -> Result<(), StoreError> {
    let (next, old) = (beside(directory, "next"), beside(directory, "old"));
    remove(&old)?;
    let renamed = || -> io::Result<()> {
        fs::rename(directory, &old)?;
        fs::rename(&next, directory)?;
        sync_parent(directory)
    };
    renamed().map_err(|error| failure("rename", &error))?;
    if let Err(error) = remove(&old) {
        tracing::warn!(%error, directory = %old.display(), "what the store was before could not be removed");
    }
    Ok(())
}

/// Finishes the renaming that a crash may have cut short, and removes what is left of an unfinished copy.
pub(in crate::persistence) fn settle_renaming(directory: &Path) -> Result<(), StoreError> {
    let (next, old) = (beside(directory, "next"), beside(directory, "old"));
    if !directory.exists() && old.exists() && next.exists() {
        let renamed = fs::rename(&next, directory).and_then(|()| sync_parent(directory));
        renamed.map_err(|error| failure("rename", &error))?;
    }
    remove(&next)?;
    remove(&old)
}

fn beside(directory: &Path, what: &str) -> PathBuf {
    directory.with_extension(what)
}

fn remove(directory: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(directory) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failure("remove", &error)),
    }
}

fn sync_parent(directory: &Path) -> io::Result<()> {
    directory.parent().map_or(Ok(()), sync_directory)
}

/// Every file below a directory, and every directory in it.
fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.extend(files(&entry.path())?);
        }
        found.push(entry.path());
    }
    Ok(found)
}
