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

/// Sixty-four MiB may be kept; three groups write three times as much, purging behind themselves as upkeep does.
#[tokio::test]
async fn a_log_that_is_purged_as_it_grows_stays_bounded_on_disk() {
    let root = tempfile::tempdir().unwrap();
    let log = RaftEngineLog::open(&options(root.path())).unwrap();
    let mut largest = 0;
    for index in 0..64_u64 {
        for group in [1, 2, 3].map(GroupId) {
            // Bytes that do not compress.
            let bytes = (0..1 << 20).scan(index + 1, |seed: &mut u64, _| {
                *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                Some((*seed >> 56) as u8)
            });
            let entry = LogEntry { index, bytes: bytes.collect::<Vec<_>>().into() };
            let (done, flushed) = tokio::sync::oneshot::channel();
            log.append(group, vec![entry], Box::new(move |result| drop(done.send(result))));
            flushed.await.unwrap().unwrap();
            // The third group is quiet about its purges, until it is found to hold up files.
            if group != GroupId(3) {
                log.purge(group, index.saturating_sub(4)).await.unwrap();
            }
        }
        for group in log.reclaim().await.unwrap() {
            log.purge(group, index.saturating_sub(4)).await.unwrap();
        }
        log.reclaim().await.unwrap();
        largest = largest.max(log.disk_bytes().await);
    }
    assert!(largest < 160 << 20, "{} MiB on disk", largest >> 20);
}
