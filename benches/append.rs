//! Appending to and recovering from the real engines: `cargo bench --bench append`.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use divan::{Bencher, counter::ItemsCount};
use stockroom::domain::ids::EntityId;
use stockroom::domain::time::{Sequence, Timestamp};
use stockroom::persistence::applier::Applier;
use stockroom::persistence::log::{GroupId, Log, LogEntry};
use stockroom::persistence::memory::MemoryStore;
use stockroom::persistence::raft_engine_log::{LogOptions, RaftEngineLog};
use stockroom::persistence::records::EntityBatch;

fn main() {
    divan::main();
}

fn options(directory: &std::path::Path) -> LogOptions {
    LogOptions {
        directory: directory.join("log"),
        set_aside: directory.join("aside"),
        purge_threshold_bytes: 1 << 30,
        applied: BTreeMap::new(),
    }
}

/// Appends `entries` of 150 bytes each to every one of `groups`, all in flight at once, and waits for the last fsync.
async fn append(log: &RaftEngineLog, groups: u32, entries: u64) {
    let (done, mut flushed) = tokio::sync::mpsc::unbounded_channel();
    for _ in 0..entries {
        for group in (0..groups).map(GroupId) {
            let index = log.range(group).await.expect("open").next;
            let entry = LogEntry { index, bytes: Bytes::from_static(&[7; 150]) };
            let done = done.clone();
            let on_flushed = move |result: Result<(), _>| {
                // Nobody waits any more only when the bench itself failed.
                let _ = done.send(result.is_ok());
            };
            log.append(group, vec![entry], Box::new(on_flushed));
        }
    }
    for _ in 0..entries * u64::from(groups) {
        assert_eq!(flushed.recv().await, Some(true));
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime")
}

/// One fsync serves everything in flight.
#[divan::bench(args = [1, 16, 64, 256])]
fn log_append_in_flight(bencher: Bencher<'_, '_>, in_flight: u64) {
    let (directory, runtime) = (tempfile::tempdir().expect("a directory"), runtime());
    let log = RaftEngineLog::open(&options(directory.path())).expect("opens");
    bencher.counter(ItemsCount::new(in_flight)).bench_local(|| runtime.block_on(append(&log, 1, in_flight)));
    runtime.block_on(log.close());
}

/// Opening a log of 100,000 entries: verify every checksum, rebuild the index.
#[divan::bench(sample_count = 10)]
fn log_recover_100k(bencher: Bencher<'_, '_>) {
    let (directory, runtime) = (tempfile::tempdir().expect("a directory"), runtime());
    let log = RaftEngineLog::open(&options(directory.path())).expect("opens");
    runtime.block_on(async {
        append(&log, 10, 10_000).await;
        log.close().await;
    });
    drop(log);
    bencher.counter(ItemsCount::new(100_000_u64)).bench_local(|| {
        let log = RaftEngineLog::open(&options(directory.path())).expect("opens");
        runtime.block_on(log.close());
    });
}

/// Verdict and rows of one entry that holds 16 batches of different entities.
#[divan::bench]
fn apply_entry_of_16(bencher: Bencher<'_, '_>) {
    let runtime = runtime();
    let group = GroupId(1);
    let mut applier =
        runtime.block_on(Applier::open(Arc::new(MemoryStore::new()), group)).expect("an empty store opens");
    let mut index = 0;
    bencher.counter(ItemsCount::new(16_u64)).bench_local(|| {
        index += 1;
        let batches: Vec<_> = (0..16).map(|name| batch(name, index)).collect();
        runtime.block_on(applier.apply(index, Bytes::new(), &batches)).expect("applies")
    });
}

fn batch(name: u64, sequence: u64) -> EntityBatch {
    let sku = format!("SKU-{name}").parse().expect("a sku");
    EntityBatch {
        entity: EntityId::stock(&sku),
        first_sequence: Sequence(sequence),
        record_count: 1,
        last_at: Timestamp(sequence),
        wake_at: None,
        command_rows: Vec::new(),
        vault: Vec::new(),
        records: Bytes::from_static(&[7; 150]),
    }
}
