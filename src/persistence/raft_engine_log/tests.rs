use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::persistence::conformance::{LogHost, log_suite};

pub(super) fn options(directory: &Path) -> LogOptions {
    LogOptions {
        directory: directory.join("log"),
        set_aside: directory.join("aside"),
        purge_threshold_bytes: 64 << 20,
        applied: BTreeMap::new(),
    }
}

/// Opens a copy of the directory each time: what a crash leaves behind, the old log still running.
struct Crashing {
    directories: Vec<TempDir>,
    running: Vec<Arc<RaftEngineLog>>,
}

#[async_trait]
impl LogHost for Crashing {
    async fn open(&mut self) -> Option<Arc<dyn Log>> {
        let fresh = tempfile::tempdir().unwrap();
        if let Some(last) = self.directories.last() {
            copy_directory(&last.path().join("log"), &fresh.path().join("log"));
        }
        let log = Arc::new(RaftEngineLog::open(&options(fresh.path())).unwrap());
        self.directories.push(fresh);
        self.running.push(log.clone());
        Some(log)
    }
}

pub(super) fn copy_directory(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[tokio::test]
async fn raft_engine_conforms_across_crashes() {
    log_suite(&mut Crashing { directories: Vec::new(), running: Vec::new() }).await;
}
