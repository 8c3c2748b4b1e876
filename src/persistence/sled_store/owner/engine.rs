//! sled itself: opened, let go of, its panics and errors told apart.

use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use bytes::Bytes;

use super::failure;
use crate::persistence::datadir::sync_directory;
use crate::persistence::patience::while_held;
use crate::persistence::store::StoreError;

/// sled's page cache. More costs memory beyond what it says; the journal is mostly read once.
const CACHE_BYTES: u64 = 64 << 20;
/// What sled says when somebody else has its directory.
const LOCKED_MARK: &str = "could not acquire lock";
/// How long sled may take to let go of its files once it has given up.
const LET_GO_PATIENCE: Duration = Duration::from_secs(10);

/// sled and the file it appends to, for fdatasync.
pub(super) struct Engine {
    pub(super) database: sled::Db,
    pub(super) file: File,
    /// Where it keeps large pages, each in a file of its own, named by growing numbers.
    blobs: PathBuf,
    /// Files up to this number are on the disk.
    blobs_synced: i64,
}

impl Engine {
    /// Everything flushed is on the disk. sled itself never syncs the files of large pages.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        let mut newest = self.blobs_synced;
        for entry in fs::read_dir(&self.blobs)? {
            let entry = entry?;
            let number: Option<i64> = entry.file_name().to_str().and_then(|name| name.parse().ok());
            let Some(number) = number.filter(|number| *number > self.blobs_synced) else { continue };
            match File::open(entry.path()) {
                Ok(file) => file.sync_all()?,
                // Its page was written again since, and sled removed it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            newest = newest.max(number);
        }
        if newest > self.blobs_synced {
            sync_directory(&self.blobs)?;
            self.blobs_synced = newest;
        }
        self.file.sync_data()
    }
}

/// Lets sled close its files, which a sled that gave up sometimes never does: then only a new process can go on with
/// them.
#[allow(clippy::disallowed_methods, reason = "sled may block for ever; this thread must not")]
pub(super) fn let_go(engine: Engine) -> Result<(), StoreError> {
    let (gone, outcome) = std::sync::mpsc::channel();
    let drop_it = move || {
        drop(engine);
        let _ = gone.send(());
    };
    let thread = thread::Builder::new().name("store-closer".to_owned());
    thread.spawn(drop_it).map_err(|error| failure("start thread", &error))?;
    outcome.recv_timeout(LET_GO_PATIENCE).map_err(|_| StoreError::Io {
        operation: "open again",
        message: "the engine does not let go of its files".to_owned(),
    })
}

pub(super) fn open_engine(directory: &Path) -> Result<Engine, StoreError> {
    let config = sled::Config::new().path(directory).cache_capacity(CACHE_BYTES).flush_every_ms(None);
    let config = config.use_compression(false);
    let is_held = |error: &StoreError| matches!(error, StoreError::InUse { .. });
    let database = while_held(is_held, || config.open().map_err(|error| store_error("open", error)))?;
    let file = File::open(directory.join("db")).map_err(|error| failure("open file", &error))?;
    Ok(Engine { database, file, blobs: directory.join("blobs"), blobs_synced: -1 })
}

/// What sled is given of changes: the value to be, or that there shall be none.
pub(super) fn batch_of<'a>(changes: impl Iterator<Item = (&'a Bytes, Option<&'a Bytes>)>) -> sled::Batch {
    let mut rows = sled::Batch::default();
    for (key, value) in changes {
        match value {
            Some(value) => rows.insert(key.as_ref(), value.as_ref()),
            None => rows.remove(key.as_ref()),
        }
    }
    rows
}

/// sled panics on some kinds of damage; that is damage too.
pub(super) fn guarded<T>(
    operation: &'static str,
    work: impl FnOnce() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(StoreError::Damaged { reason: format!("the engine panicked in {operation}") }))
}

pub(super) fn store_error(operation: &'static str, error: sled::Error) -> StoreError {
    match error {
        // The one failure that sled tells of in words alone.
        sled::Error::Io(error) if error.to_string().contains(LOCKED_MARK) => {
            StoreError::InUse { holder: error.to_string() }
        }
        sled::Error::Io(error) => failure(operation, &error),
        other => StoreError::Damaged { reason: other.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_large_pages_are_synced_once() {
        let root = tempfile::tempdir().unwrap();
        let mut engine = open_engine(root.path()).unwrap();
        let newest = || {
            let names = fs::read_dir(root.path().join("blobs")).unwrap();
            names.map(|entry| entry.unwrap().file_name().to_str().unwrap().parse::<i64>().unwrap()).max()
        };
        let mut synced = -1;
        for round in 0_u8..3 {
            for row in 0_u8..64 {
                engine.database.insert([row], vec![round; 20_000]).unwrap();
            }
            engine.database.flush().unwrap();
            engine.sync().unwrap();
            assert!(engine.blobs_synced > synced, "round {round}: pages above 128 KiB were written");
            assert_eq!(Some(engine.blobs_synced), newest());
            synced = engine.blobs_synced;
        }
        engine.sync().unwrap();
        assert_eq!(engine.blobs_synced, synced);
    }
}
