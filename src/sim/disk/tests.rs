//! The simulated disk under the suites every disk passes, crashes included, and what it does to what was not synced.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{SimLog, SimStore};
use crate::persistence::conformance::{LogHost, StoreHost, log_suite, store_suite};
use crate::persistence::log::{GroupId, Log, LogEntry};
use crate::persistence::store::{Store, WriteBatch};
use crate::rng::SeededRng;

struct CrashingLog {
    log: Arc<SimLog>,
    rng: Arc<SeededRng>,
    syncing: Option<tokio::task::JoinHandle<()>>,
}

impl CrashingLog {
    fn new(seed: u64) -> Self {
        let log = Arc::new(SimLog::new(Duration::ZERO..=Duration::from_millis(3)));
        Self { log, rng: Arc::new(SeededRng::stream(seed, "log")), syncing: None }
    }
}

#[async_trait]
impl LogHost for CrashingLog {
    async fn open(&mut self) -> Option<Arc<dyn Log>> {
        if let Some(syncing) = self.syncing.take() {
            syncing.abort();
            let _ = syncing.await;
            self.log.crash(&*self.rng);
        }
        self.syncing = Some(tokio::spawn(self.log.clone().run(self.rng.clone())));
        Some(self.log.clone())
    }
}

struct CrashingStore(Arc<SimStore>, SeededRng);

#[async_trait]
impl StoreHost for CrashingStore {
    async fn open(&mut self) -> Option<Arc<dyn Store>> {
        self.0.crash(&self.1);
        Some(self.0.clone())
    }
}

#[tokio::test(start_paused = true)]
async fn the_log_is_a_log() {
    for seed in 0..20 {
        log_suite(&mut CrashingLog::new(seed)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_store_is_a_store() {
    for seed in 0..20 {
        let mut host = CrashingStore(Arc::new(SimStore::new()), SeededRng::stream(seed, "store"));
        store_suite(&mut host).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_keeps_some_beginning_of_what_was_not_synced() {
    let mut lengths = std::collections::BTreeSet::new();
    for seed in 0..100 {
        let log = SimLog::new(Duration::ZERO..=Duration::ZERO);
        for index in 0..5 {
            let entry = LogEntry { index, bytes: vec![index as u8].into() };
            log.append(GroupId(1), vec![entry], Box::new(|_| panic!("told that it is safe")));
        }
        log.crash(&SeededRng::stream(seed, "crash"));
        lengths.insert(log.range(GroupId(1)).await.unwrap().next);
    }
    assert_eq!(lengths, (0..=5).collect());
}

#[tokio::test(start_paused = true)]
async fn a_crash_takes_the_store_back_no_further_than_its_last_sync() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..100 {
        let store = SimStore::new();
        for number in 0..6_u8 {
            let mut batch = WriteBatch::default();
            batch.put("key", vec![number]);
            store.write(batch).await.unwrap();
            if number == 2 {
                store.sync().await.unwrap();
            }
        }
        store.crash(&SeededRng::stream(seed, "crash"));
        seen.insert(store.get("key".into()).await.unwrap().unwrap()[0]);
    }
    assert_eq!(seen, [2, 3, 4, 5].into());
}
