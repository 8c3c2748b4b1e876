//! The data directory, opened: store first (it knows how far the log must reach), then the log.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::cli::exit::{Exit, Failure};
use crate::cluster::hashing::ShardCount;
use crate::config::Config;
use crate::persistence::checkpoint::CheckpointKeeper;
use crate::persistence::datadir::{DataDir, DataDirError};
use crate::persistence::files::DiskFiles;
use crate::persistence::journal::Journal;
use crate::persistence::log::{GroupId, Log};
use crate::persistence::raft_engine_log::{LogOptions, RaftEngineLog};
use crate::persistence::sled_store::SledStore;
use crate::persistence::store::Store;
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
    /// Checkpoints of groups.
    pub checkpoints: CheckpointKeeper,
}

impl Disk {
    /// Opens, and on first use makes, the data directory of the configuration.
    pub async fn open(config: &Config) -> Result<Self, Failure> {
        let directory = Arc::new(DataDir::open(&config.node.data_dir).map_err(refused)?);
        let store: Arc<dyn Store> = Arc::new(SledStore::open(&directory.store())?);
        let options = LogOptions {
            directory: directory.log(),
            set_aside: directory.set_aside(),
            purge_threshold_bytes: config.storage.log_bytes_max.0,
            applied: applied(&store).await?,
        };
        let log: Arc<dyn Log> = Arc::new(RaftEngineLog::open(&options)?);
        let files = Arc::new(DiskFiles::open(&directory.checkpoints())?);
        let checkpoints = CheckpointKeeper::new(files, store.clone(), Turns::new());
        Ok(Self { directory, log, store, checkpoints })
    }

    /// Bytes free on its file system; zero when it cannot be asked.
    pub fn free_bytes(&self) -> u64 {
        self.directory.free_bytes().unwrap_or(0)
    }

    /// Where the search index is.
    pub fn search(&self) -> PathBuf {
        self.directory.search()
    }

    /// Where the simulated payment provider keeps its books: it survives our crashes as a real one would.
    pub fn simulated_ledger(&self) -> PathBuf {
        self.directory.root().join("simulated-payments.ledger")
    }

    /// The operators' token: drawn on first use, readable by the owner only.
    pub fn ops_token(&self, rng: &dyn Rng) -> Result<String, Failure> {
        use std::io::Write;
        use std::os::unix::fs::OpenOptionsExt;
        let path = self.directory.root().join("ops.token");
        match std::fs::read_to_string(&path) {
            Ok(token) if !token.trim().is_empty() => return Ok(token.trim().to_owned()),
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

/// How far each group's log is applied to the store.
async fn applied(store: &Arc<dyn Store>) -> Result<BTreeMap<GroupId, u64>, Failure> {
    let journal = Journal::new(store.clone());
    let mut all = BTreeMap::new();
    for group in (0..=ShardCount::MAX).map(GroupId) {
        if let Some(applied) = journal.applied(group).await? {
            all.insert(group, applied.index);
        }
    }
    Ok(all)
}

fn refused(error: DataDirError) -> Failure {
    Failure::new(Exit::DataDirectory, error)
}
