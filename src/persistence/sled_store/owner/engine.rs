//! sled itself: opened, let go of, its panics and errors told apart.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::thread;
use std::time::Duration;

use bytes::Bytes;

use super::failure;
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
    Ok(Engine { database, file })
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
