//! From a backup to a data directory that a node can be started on.
//!
//! The result is what a node would have kept that lost its store: checkpoints, and the log behind them. The first
//! start restores the store from the checkpoints, and Raft replays the log, by the same code as after any damage.
//! The directory is declared a data directory last: one that was only half filled is refused by `serve`.

use std::io;
use std::path::Path;

use tokio::sync::oneshot;

use super::raft::replay;
use crate::persistence::backup::{BackupError, GroupFiles, Manifest, TailReader};
use crate::persistence::checkpoint::CheckpointError;
use crate::persistence::datadir::{DataDir, DataDirError};
use crate::persistence::files::{DiskFiles, Files, copy_file};
use crate::persistence::log::{GroupId, Log, LogEntry, LogError, LogValue};
use crate::persistence::raft_engine_log::{LogOptions, RaftEngineLog};

/// Why a backup cannot be restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The directory.
    #[error(transparent)]
    Directory(#[from] DataDirError),
    /// The backup.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// A checkpoint of the backup.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The new log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A file cannot be copied or read.
    #[error("cannot restore {name}: {source}")]
    Io {
        /// Which.
        name: String,
        /// What the system said.
        source: io::Error,
    },
}

/// Fills the missing or empty directory `root` from the backup at `path`, whose files were checked before.
/// `progress` hears of every file's bytes.
pub async fn restore(
    manifest: &Manifest,
    path: &Path,
    root: &Path,
    progress: &(dyn Fn(u64) + Send + Sync),
) -> Result<(), RestoreError> {
    let data = DataDir::prepare(root)?;
    let backup = DiskFiles::reading(path);
    let options = LogOptions {
        directory: data.log(),
        set_aside: data.set_aside(),
        purge_threshold_bytes: u64::MAX,
        applied: std::collections::BTreeMap::new(),
    };
    let log = RaftEngineLog::open(&options)?;
    let checkpoints = open(&data.checkpoints())?;
    let done = async {
        for group in &manifest.groups {
            restore_group(group, &backup, &checkpoints, &log).await?;
            progress(manifest.bytes_of(group));
        }
        for extra in manifest.extras() {
            copy(&backup, &DiskFiles::reading(data.root()), &extra.name).await?;
            progress(extra.bytes);
        }
        Ok(())
    };
    let done = done.await;
    log.close().await;
    done.and_then(|()| data.declare().map_err(RestoreError::from))
}

async fn restore_group(
    group: &GroupFiles,
    backup: &DiskFiles,
    checkpoints: &DiskFiles,
    log: &RaftEngineLog,
) -> Result<(), RestoreError> {
    let id = GroupId(group.group);
    let failed = |source| RestoreError::Io { name: group.tail.clone(), source };
    if let Some(checkpoint) = group.checkpoint() {
        copy(backup, checkpoints, &checkpoint.name).await?;
        let applied = crate::persistence::checkpoint::verify_file(checkpoints, &checkpoint).await?;
        replay::begin_behind(id, log, &applied).await.map_err(failed)?;
    }
    let mut tail = TailReader::open(backup, &group.tail).await?;
    if let Some(vote) = &tail.head().vote {
        replay::put(id, log, LogValue::Vote, vote.to_vec()).await?;
    }
    while let Some(entries) = tail.entries().await? {
        append(id, log, entries).await?;
    }
    Ok(())
}

async fn append(group: GroupId, log: &RaftEngineLog, entries: Vec<LogEntry>) -> Result<(), LogError> {
    let (done, outcome) = oneshot::channel();
    log.append(group, entries, Box::new(move |result| drop(done.send(result))));
    outcome.await.unwrap_or(Err(LogError::Closed))
}

async fn copy(from: &dyn Files, into: &dyn Files, name: &str) -> Result<(), RestoreError> {
    copy_file(from, into, name).await.map_err(|source| RestoreError::Io { name: name.to_owned(), source })
}

fn open(directory: &Path) -> Result<DiskFiles, RestoreError> {
    DiskFiles::open(directory).map_err(|source| RestoreError::Io { name: directory.display().to_string(), source })
}
