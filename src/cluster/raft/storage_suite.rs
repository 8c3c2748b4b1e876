//! openraft's own storage test suite against our adapters, over memory and over the engines of production.

use std::sync::Arc;

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use openraft_rt::deterministic_rng::DeterministicRng;
use openraft_rt_tokio::TokioRuntime;

use super::log_adapter::LogAdapter;
use super::state_machine::{MachineParts, OnApplied, StateMachine};
use super::types::TypeConfig;
use crate::persistence::checkpoint::CheckpointKeeper;
use crate::persistence::files::{DiskFiles, Files, MemoryFiles};
use crate::persistence::fold;
use crate::persistence::log::{GroupId, Log};
use crate::persistence::memory::{MemoryLog, MemoryStore};
use crate::persistence::raft_engine_log::{LogOptions, RaftEngineLog};
use crate::persistence::sled_store::{SledStore, StoreOptions};
use crate::persistence::store::Store;
use crate::persistence::turns::Turns;

const GROUP: GroupId = GroupId(3);

async fn adapters(log: Arc<dyn Log>, store: Arc<dyn Store>, files: Arc<dyn Files>) -> (LogAdapter, StateMachine) {
    let checkpoints = CheckpointKeeper::new(files, store.clone(), Turns::new());
    let quiet: OnApplied = Arc::new(|_, _, _| ());
    let (folder, _) = fold::channel();
    let (on_applied, on_installed) = (quiet.clone(), quiet);
    let parts = MachineParts { group: GROUP, store, checkpoints, folder, on_applied, on_installed };
    let machine = StateMachine::open(parts).await.unwrap();
    (LogAdapter::new(GROUP, log), machine)
}

struct InMemory;

impl StoreBuilder<TypeConfig, LogAdapter, StateMachine, ()> for InMemory {
    async fn build(&self) -> Result<((), LogAdapter, StateMachine), StorageError<TypeConfig>> {
        let store = Arc::new(MemoryStore::new());
        let (log, machine) = adapters(Arc::new(MemoryLog::new()), store, Arc::new(MemoryFiles::new())).await;
        Ok(((), log, machine))
    }
}

struct OnDisk;

impl StoreBuilder<TypeConfig, LogAdapter, StateMachine, tempfile::TempDir> for OnDisk {
    async fn build(&self) -> Result<(tempfile::TempDir, LogAdapter, StateMachine), StorageError<TypeConfig>> {
        let directory = tempfile::tempdir().unwrap();
        let options = LogOptions {
            directory: directory.path().join("log"),
            set_aside: directory.path().join("set-aside"),
            purge_threshold_bytes: 64 << 20,
            applied: [].into(),
        };
        let log = Arc::new(RaftEngineLog::open(&options).unwrap());
        let store = Arc::new(SledStore::open(&directory.path().join("sled"), StoreOptions::default()).unwrap());
        let files = Arc::new(DiskFiles::open(&directory.path().join("checkpoints")).unwrap());
        let (log, machine) = adapters(log, store, files).await;
        Ok((directory, log, machine))
    }
}

/// The suite spawns through the configured runtime, whose randomness lives in a task-local scope.
fn within_runtime(suite: impl Future<Output = Result<(), StorageError<TypeConfig>>>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(DeterministicRng::<TokioRuntime>::scope(7, suite)).unwrap();
}

#[test]
fn adapters_over_memory_pass_the_storage_suite() {
    within_runtime(Suite::test_all(InMemory));
}

#[test]
fn adapters_over_raft_engine_and_sled_pass_the_storage_suite() {
    within_runtime(Suite::test_all(OnDisk));
}
