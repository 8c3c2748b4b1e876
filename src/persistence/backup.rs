//! Backups: everything a node must not lose, copied while it serves, as files that prove themselves.
//!
//! ```text
//! <backup>/GROUP-INDEX.checkpoint     one per group: the group as of some moment after the backup began
//!          GROUP.tail                 one per group: its log from there to the cut, and its vote
//!          …                          files of others, such as a payment provider's books
//!          manifest.json              what belongs to it, with size and SHA-256 of every file
//!          manifest.json.sha256       the manifest's own, in the form `sha256sum --check` reads
//! ```
//!
//! The **cut** is one moment for all groups, taken after the last checkpoint: what one group did because of another is
//! in the backup only together with its cause, so orders, stock and money agree. Every write acknowledged before the
//! backup began is in it, and most that were acknowledged while it was made. Other files are copied after the cut:
//! a provider may know of more than we do, never of less. Search and store are left out; both are rebuilt.
//!
//! Nobody waits for a backup, except that logs are not purged meanwhile. It appears under its name only when complete:
//! before, its directory ends in `.unfinished`.

mod manifest;
mod tail;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use super::checkpoint::{Checkpoint, CheckpointError, CheckpointKeeper};
use super::datadir;
use super::files::{DiskFiles, Files, copy_file};
use super::frames::FrameError;
use super::log::{GroupId, Log, LogError, LogRange};
pub use manifest::{About, Finding, GroupFiles, ListedFile, Manifest};
pub use tail::TailReader;

/// Bytes hashed at once.
const HASH_BYTES: usize = 1 << 20;
/// Ending of a backup's directory until it is complete.
const UNFINISHED: &str = "unfinished";

/// Why a backup cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A file cannot be written or read.
    #[error("backup: cannot {operation} {path}: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// A log tail.
    #[error("{message}")]
    Damaged {
        /// Which file, where and how.
        message: String,
    },
    /// Entries between a checkpoint and the cut are gone.
    #[error("entries {missing_from} to {} of group {group} were purged while the backup was made", first - 1)]
    Gap {
        /// Which group.
        group: GroupId,
        /// The first entry that is missing.
        missing_from: u64,
        /// The first entry there is.
        first: u64,
    },
    /// There is no manifest.
    #[error("{path} is not a backup: it has no manifest.json")]
    NotABackup {
        /// Where one was expected.
        path: String,
    },
    /// The manifest cannot be read.
    #[error("{path} cannot be read as a manifest: {reason}")]
    Manifest {
        /// Which file.
        path: String,
        /// What is wrong.
        reason: String,
    },
}

impl From<FrameError> for BackupError {
    fn from(error: FrameError) -> Self {
        Self::Damaged { message: error.to_string() }
    }
}

/// How far a backup is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// Files written.
    pub files: u64,
    /// Files there will be, as far as known.
    pub files_total: u64,
    /// Bytes written.
    pub bytes: u64,
}

/// What a backup is made from.
pub struct Source {
    /// The node's log.
    pub log: Arc<dyn Log>,
    /// The node's checkpoints: backups take turns with them.
    pub checkpoints: CheckpointKeeper,
    /// Files copied after the cut; those that do not exist are left out.
    pub extras: Vec<PathBuf>,
}

/// Makes a backup at `path`, which must not exist. `progress` hears of every file.
pub async fn create(
    source: &Source,
    about: About,
    path: &Path,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<Manifest, BackupError> {
    let unfinished = with_ending(path);
    let files: Arc<dyn Files> = Arc::new(private_directory(&unfinished)?);
    let mut backup = Backup { files, done: Progress::default(), listed: Vec::new(), progress };
    let manifest = backup.fill(source, about).await?;
    manifest.write(&*backup.files).await?;
    datadir::rename_durably(&unfinished, path).map_err(|error| io_error("rename", &unfinished, error))?;
    Ok(manifest)
}

/// A backup being made.
struct Backup<'a> {
    files: Arc<dyn Files>,
    done: Progress,
    listed: Vec<ListedFile>,
    progress: &'a (dyn Fn(Progress) + Send + Sync),
}

impl Backup<'_> {
    async fn fill(&mut self, source: &Source, about: About) -> Result<Manifest, BackupError> {
        let turn = source.checkpoints.hold_logs().await;
        let groups: Vec<GroupId> = source.log.ranges().await?.into_keys().collect();
        self.done.files_total = 2 * groups.len() as u64 + source.extras.len() as u64;
        let keeper = source.checkpoints.beside(self.files.clone());
        let mut checkpoints = Vec::new();
        for group in groups {
            match keeper.make(group).await {
                Ok(checkpoint) => {
                    self.list(&checkpoint.name).await?;
                    checkpoints.push(checkpoint);
                }
                Err(CheckpointError::Empty { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let mut groups = Vec::new();
        for (group, range) in source.log.ranges().await? {
            let checkpoint = checkpoints.iter().find(|checkpoint| checkpoint.group == group);
            groups.push(self.tail(&*source.log, group, range, checkpoint).await?);
        }
        drop(turn);
        for extra in &source.extras {
            self.copy(extra).await?;
        }
        Ok(Manifest { about, groups, files: std::mem::take(&mut self.listed) })
    }

    /// Writes the log behind a checkpoint, up to the cut.
    async fn tail(
        &mut self,
        log: &dyn Log,
        group: GroupId,
        range: LogRange,
        checkpoint: Option<&Checkpoint>,
    ) -> Result<GroupFiles, BackupError> {
        let first = checkpoint.map_or(0, |checkpoint| checkpoint.index + 1);
        if range.first > first {
            return Err(BackupError::Gap { group, missing_from: first, first: range.first });
        }
        let range = LogRange { first, next: range.next.max(first) };
        let name = format!("{:010}.tail", group.0);
        let mut writer = self.files.create(&name).await.map_err(|source| named("create", &name, source))?;
        tail::write(log, group, range, &mut *writer).await?;
        writer.finish().await.map_err(|source| named("finish", &name, source))?;
        self.list(&name).await?;
        Ok(GroupFiles {
            group: group.0,
            checkpoint: checkpoint.map(|checkpoint| checkpoint.name.clone()),
            tail: name,
            next: range.next,
        })
    }

    async fn copy(&mut self, path: &Path) -> Result<(), BackupError> {
        let (Some(directory), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
            return Ok(());
        };
        let from = DiskFiles::reading(directory);
        if !path.is_file() {
            return Ok(());
        }
        copy_file(&from, &*self.files, name).await.map_err(|source| io_error("copy", path, source))?;
        self.list(name).await
    }

    /// Reads a finished file back, which also shows that it can be read.
    async fn list(&mut self, name: &str) -> Result<(), BackupError> {
        let listed = manifest::listed(&*self.files, name).await.map_err(|source| named("read", name, source))?;
        self.done.files += 1;
        self.done.files_total = self.done.files_total.max(self.done.files);
        self.done.bytes += listed.bytes;
        self.listed.push(listed);
        (self.progress)(self.done);
        Ok(())
    }
}

/// A new directory only its owner may read: keys are in it.
fn private_directory(path: &Path) -> Result<DiskFiles, BackupError> {
    use std::os::unix::fs::DirBuilderExt;
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(|source| io_error("create", parent, source))?;
    }
    let made = std::fs::DirBuilder::new().mode(0o700).create(path);
    made.and_then(|()| DiskFiles::open(path)).map_err(|source| io_error("create", path, source))
}

fn with_ending(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(UNFINISHED);
    path.with_file_name(name)
}

fn io_error(operation: &'static str, path: &Path, source: io::Error) -> BackupError {
    BackupError::Io { operation, path: path.display().to_string(), source }
}

fn named(operation: &'static str, name: &str, source: io::Error) -> BackupError {
    BackupError::Io { operation, path: name.to_owned(), source }
}
