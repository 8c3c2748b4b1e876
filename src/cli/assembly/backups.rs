//! Backups of this node: one at a time, in the background.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::disk::Disk;
use crate::cluster::node::Node;
use crate::domain::time::Timestamp;
use crate::http::ports::{BackupState, BackupStatus, Backups};
use crate::http::wire::Time;
use crate::persistence::backup::{self, About, BackupError, Manifest, Progress};
use crate::persistence::datadir::FORMAT;

/// Finished backups that are remembered for their status.
const REMEMBERED_MAX: usize = 20;

/// Makes backups of a running node.
pub struct NodeBackups {
    node: Arc<Node>,
    disk: Disk,
    made: Arc<Mutex<Vec<BackupStatus>>>,
}

impl NodeBackups {
    /// Of this node.
    pub fn new(node: Arc<Node>, disk: Disk) -> Self {
        Self { node, disk, made: Arc::default() }
    }
}

impl Backups for NodeBackups {
    fn start(&self, directory: Option<PathBuf>) -> Option<BackupStatus> {
        let mut made = lock(&self.made);
        if made.first().is_some_and(|newest| newest.state == BackupState::Running) {
            return None;
        }
        let now = self.node.clock().now();
        let path = new_path(&directory.unwrap_or_else(|| self.disk.backups()), now);
        let about = about(now, &self.node.genesis().cluster.to_string(), &self.node.options().name);
        let status = BackupStatus {
            path: path.display().to_string(),
            state: BackupState::Running,
            started_at: about.created_at.clone(),
            files: 0,
            files_total: 0,
            bytes: 0,
            error: None,
        };
        made.insert(0, status.clone());
        made.truncate(REMEMBERED_MAX);
        drop(made);
        let (disk, made) = (self.disk.clone(), self.made.clone());
        tokio::spawn(async move {
            let progress = |progress| update(&made, progress);
            let outcome = create(&disk, about, &path, &progress).await;
            finish(&made, &outcome);
        });
        Some(status)
    }

    fn list(&self) -> Vec<BackupStatus> {
        lock(&self.made).clone()
    }
}

/// Makes one backup.
pub async fn create(
    disk: &Disk,
    about: About,
    path: &Path,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<Manifest, BackupError> {
    let source = backup::Source {
        log: disk.log.clone(),
        checkpoints: disk.checkpoints.clone(),
        extras: vec![disk.simulated_ledger()],
    };
    backup::create(&source, about, path, progress).await
}

/// What the manifest of a backup begun now says.
pub fn about(now: Timestamp, cluster: &str, node: &str) -> About {
    About {
        format: About::FORMAT,
        data_format: FORMAT,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        created_at: Time(now).to_string(),
        cluster: cluster.to_owned(),
        node: node.to_owned(),
    }
}

/// A path in `directory` that names the moment and is not taken.
pub fn new_path(directory: &Path, now: Timestamp) -> PathBuf {
    let moment: String = Time(now).to_string().chars().filter(|char| !matches!(char, '-' | ':' | '.')).collect();
    let name = format!("backup-{moment}");
    let numbered = |number: u32| directory.join(if number == 1 { name.clone() } else { format!("{name}-{number}") });
    (1..).map(numbered).find(|path| !path.exists()).expect("numbers do not run out")
}

fn update(made: &Mutex<Vec<BackupStatus>>, progress: Progress) {
    if let Some(newest) = lock(made).first_mut() {
        (newest.files, newest.files_total, newest.bytes) = (progress.files, progress.files_total, progress.bytes);
    }
}

fn finish(made: &Mutex<Vec<BackupStatus>>, outcome: &Result<Manifest, BackupError>) {
    let mut made = lock(made);
    let Some(newest) = made.first_mut() else { return };
    match outcome {
        Ok(manifest) => {
            newest.state = BackupState::Done;
            newest.files_total = newest.files;
            tracing::info!(path = newest.path, bytes = manifest.bytes(), "backup made");
        }
        Err(error) => {
            newest.state = BackupState::Failed;
            newest.error = Some(error.to_string());
            tracing::error!(path = newest.path, %error, "backup failed");
        }
    }
}

fn lock(made: &Mutex<Vec<BackupStatus>>) -> MutexGuard<'_, Vec<BackupStatus>> {
    made.lock().unwrap_or_else(PoisonError::into_inner)
}
