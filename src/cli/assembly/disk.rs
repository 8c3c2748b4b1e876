//! The data directory, opened: store first (it knows how far the log must reach), then the log.

use std::path::PathBuf;
use std::sync::Arc;

use crate::cli::exit::{Exit, Failure};
use crate::cluster::upkeep::Space;
use crate::config::Config;
use crate::persistence::checkpoint::CheckpointKeeper;
use crate::persistence::datadir::{DataDir, DataDirError};
use crate::persistence::log::{Log, LogError};
use crate::persistence::sled_store::{SledStore, StoreOptions};
use crate::persistence::storage::{Storage, StorageError};
use crate::persistence::store::{Store, StoreError};
use crate::persistence::turns::Turns;
use crate::rng::Rng;

/// Everything on disk. Clones share it; the directory is unlocked when the last one goes.
#[derive(Clone)]
pub struct Disk {
    directory: Arc<DataDir>,
    /// The replicated truth.
    pub log: Arc<dyn Log>,
    /// What actors recover from.
    pub store: Arc<dyn Store>,
    engine: Arc<SledStore>,
    /// Checkpoints of groups.
    pub checkpoints: CheckpointKeeper,
    /// Turns at a group's rows, shared with the checkpoints.
    pub turns: Turns,
}

impl Disk {
    /// Opens, and on first use makes, the data directory of the configuration, to look at it or copy it.
    pub async fn open(config: &Config) -> Result<Self, Failure> {
        Self::open_with(config, StoreOptions::default()).await
    }

    /// The same to serve from it: the store is made anew when it has grown.
    pub async fn open_to_serve(config: &Config) -> Result<Self, Failure> {
        let storage = &config.storage;
        let (compact_bytes_min, reserve_bytes) = (storage.store_compact_bytes_min.0, storage.reserve_bytes.0);
        Self::open_with(config, StoreOptions { compact_bytes_min, reserve_bytes }).await
    }

    async fn open_with(config: &Config, options: StoreOptions) -> Result<Self, Failure> {
        let directory = Arc::new(DataDir::open(&config.node.data_dir).map_err(refused)?);
        let storage = Storage::open(&directory, config.storage.log_bytes_max.0, options).await.map_err(unusable)?;
        let Storage { log, store, checkpoints, turns, .. } = storage;
        Ok(Self { directory, log, engine: store.clone(), store, checkpoints, turns })
    }

    /// Returns once the store has failed for good: only a new start can rebuild it.
    pub async fn failed(&self) -> Failure {
        let error = self.engine.failed().await;
        Failure::new(Exit::Failed, error)
            .advise("start again: nothing is lost, a damaged store is rebuilt from checkpoints and log")
    }

    /// Bytes free on its file system; zero when it cannot be asked.
    pub fn free_bytes(&self) -> u64 {
        self.directory.free_bytes().unwrap_or(0)
    }

    /// The disk, as upkeep sees it.
    pub fn space(&self, ballast_bytes: u64) -> Arc<dyn Space> {
        Arc::new(DirectorySpace { directory: self.directory.clone(), ballast_bytes })
    }

    /// Where the search index is.
    pub fn search(&self) -> PathBuf {
        self.directory.search()
    }

    /// A file of the node's own in the directory.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.root().join(name)
    }

    /// Where backups go unless said otherwise.
    pub fn backups(&self) -> PathBuf {
        let directory = self.directory.backups();
        std::path::absolute(&directory).unwrap_or(directory)
    }

    /// Where the simulated payment provider keeps its books: it survives our crashes as a real one would.
    pub fn simulated_ledger(&self) -> PathBuf {
        self.directory.root().join("simulated-payments.ledger")
    }

    /// The operators' token: drawn on first use and whenever anybody but the owner could have read it.
    pub fn ops_token(&self, rng: &dyn Rng) -> Result<String, Failure> {
        use std::io::Write;
        use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
        let path = self.directory.root().join("ops.token");
        match std::fs::read_to_string(&path) {
            Ok(token) if !token.trim().is_empty() => {
                if std::fs::metadata(&path)?.permissions().mode() & 0o077 == 0 {
                    return Ok(token.trim().to_owned());
                }
                tracing::warn!(file = %path.display(), "others could read the operators' token; a new one is drawn");
                std::fs::remove_file(&path)?;
            }
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
        let mut drawn = [0; 32];
        rng.fill(&mut drawn);
        let token = hex::encode(drawn);
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        writeln!(file, "{token}")?;
        file.sync_all()?;
        Ok(token)
    }
}

fn refused(error: DataDirError) -> Failure {
    Failure::new(Exit::DataDirectory, error)
}

/// What is on disk cannot be served from. Damage is a finding: it is not to be started over.
fn unusable(error: StorageError) -> Failure {
    match error {
        StorageError::Directory(error) => refused(error),
        StorageError::Log(LogError::Damaged { .. }) | StorageError::Gap { .. } => Failure::new(Exit::Findings, error)
            .advise("restore a backup, or put a good copy of the named file back; nothing was changed or removed"),
        error @ (StorageError::Store(StoreError::Full) | StorageError::Log(LogError::Full)) => {
            Failure::new(Exit::Failed, error)
                .advise("free space on the file system of the data directory and start again")
        }
        error => Failure::new(Exit::Failed, error),
    }
}

/// Free space of the directory's file system, and the ballast kept on it.
struct DirectorySpace {
    directory: Arc<DataDir>,
    ballast_bytes: u64,
}

#[async_trait::async_trait]
impl Space for DirectorySpace {
    fn free_bytes(&self) -> Option<u64> {
        self.directory.free_bytes().ok()
    }

    async fn release_ballast(&self) {
        match self.directory.release_ballast() {
            Ok(bytes) => tracing::warn!(bytes, "ballast released so that what is under way can finish"),
            Err(error) => tracing::error!(%error, "ballast could not be released"),
        }
    }

    async fn restore_ballast(&self) {
        if let Err(error) = self.directory.restore_ballast(self.ballast_bytes) {
            tracing::warn!(%error, "ballast could not be restored");
        }
    }
}
