//! The simulated disk under the suites every disk passes, crashes included, and what it does to what was not synced.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{SimLog, SimSpace, SimStore};
use crate::persistence::conformance::{LogHost, StoreHost, log_suite, store_suite};
use crate::persistence::log::{GroupId, Log, LogEntry};
use crate::persistence::store::{Store, WriteBatch};
use crate::rng::SeededRng;
use crate::sim::power::Power;

fn log(longest: Duration) -> SimLog {
    SimLog::new(Duration::ZERO..=longest, SimSpace::default(), Power::default())
}

struct CrashingLog {
    log: Arc<SimLog>,
    rng: Arc<SeededRng>,
    syncing: Option<tokio::task::JoinHandle<()>>,
}

impl CrashingLog {
    fn new(seed: u64) -> Self {
        let log = Arc::new(log(Duration::from_millis(3)));
        Self { log, rng: Arc::new(SeededRng::stream(seed, "log")), syncing: None }
    }
}

#[async_trait]
impl LogHost for CrashingLog {
    async fn open(&mut self) -> Option<Arc<dyn Log>> {
        if let Some(syncing) = self.syncing.take() {
            syncing.abort();
            let _ = syncing.await;
            self.log.crash(&*self.rng, true);
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
        let mut host = CrashingStore(Arc::new(SimStore::new(Power::default())), SeededRng::stream(seed, "store"));
        store_suite(&mut host).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_keeps_some_beginning_of_what_was_not_synced() {
    let mut lengths = std::collections::BTreeSet::new();
    for seed in 0..100 {
        let log = log(Duration::ZERO);
        for index in 0..5 {
            let entry = LogEntry { index, bytes: vec![index as u8].into() };
            log.append(GroupId(1), vec![entry], Box::new(|_| panic!("told that it is safe")));
        }
        log.crash(&SeededRng::stream(seed, "crash"), false);
        lengths.insert(log.range(GroupId(1)).await.unwrap().next);
    }
    assert_eq!(lengths, (0..=5).collect());
}

#[tokio::test(start_paused = true)]
async fn a_crash_takes_the_store_back_no_further_than_its_last_sync() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..100 {
        let store = SimStore::new(Power::default());
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

fn entry(index: u64) -> LogEntry {
    LogEntry { index, bytes: vec![index as u8; 40].into() }
}

#[tokio::test(start_paused = true)]
async fn a_flipped_bit_ends_the_tail_there_and_touches_nothing_that_was_synced() {
    let mut lengths = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let log = Arc::new(log(Duration::ZERO));
        let rng = Arc::new(SeededRng::stream(seed, "crash"));
        let syncing = tokio::spawn(log.clone().run(rng.clone()));
        let (told, safe) = tokio::sync::oneshot::channel();
        log.append(GroupId(1), vec![entry(0), entry(1)], Box::new(move |outcome| drop(told.send(outcome))));
        safe.await.unwrap().unwrap();
        syncing.abort();
        let _ = syncing.await;
        (2..5).for_each(|index| log.append(GroupId(1), vec![entry(index)], Box::new(|_| {})));
        let remains = log.crash(&*rng, true);
        let range = log.range(GroupId(1)).await.unwrap();
        let entries = log.read(GroupId(1), 0, 9, usize::MAX).await.unwrap();
        assert_eq!(entries, (0..range.next).map(entry).collect::<Vec<_>>(), "{remains:?}");
        assert_eq!((range.next - 2, remains.kept + remains.lost), (remains.kept, 3));
        lengths.insert(range.next);
    }
    assert_eq!(lengths, (2..=4).collect(), "the change with the flipped bit is never there");
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_is_waited_out() {
    let space = SimSpace::default();
    let log = Arc::new(SimLog::new(Duration::ZERO..=Duration::ZERO, space.clone(), Power::default()));
    space.fill(100);
    tokio::spawn(log.clone().run(Arc::new(SeededRng::stream(1, "sync"))));
    let append = |index| {
        let (told, safe) = tokio::sync::oneshot::channel();
        log.append(GroupId(1), vec![entry(index)], Box::new(move |outcome| drop(told.send(outcome))));
        safe
    };
    append(0).await.unwrap().unwrap();
    append(1).await.unwrap().unwrap();
    let mut third = append(2);
    assert!(tokio::time::timeout(Duration::from_secs(60), &mut third).await.is_err(), "20 bytes were left");
    space.empty();
    third.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_sync_that_fails_takes_the_power_and_tells_nobody() {
    let power = Power::default();
    let log = Arc::new(SimLog::new(Duration::ZERO..=Duration::ZERO, SimSpace::default(), power.clone()));
    tokio::spawn(log.clone().run(Arc::new(SeededRng::stream(1, "sync"))));
    log.fail_next_sync();
    let (told, safe) = tokio::sync::oneshot::channel();
    log.append(GroupId(1), vec![entry(0)], Box::new(move |outcome| drop(told.send(outcome))));
    assert!(tokio::time::timeout(Duration::from_secs(60), safe).await.is_err(), "it hangs");
    assert_eq!(power.gone(), Some("sync failed"));
}
