//! One group commit of the log, over and over: what an answer waits for at least.
//!
//! `cargo bench --bench commit -- DIRECTORY` appends one entry of 256 bytes to each of twelve groups, which one fsync
//! serves, for five seconds in two ways, and prints one line of JSON for each with the percentiles in microseconds:
//! `closed`, the next as soon as the last is durable, and `open`, 2,000 a second, each timed from when it was due. Only
//! the second sees a pause of the machine as often as shoppers would: in a closed loop it delays one commit, however
//! long it is. The directory decides which disk is measured; without one it is the system's for temporary files.

#![allow(clippy::disallowed_methods, reason = "a bench reads its own command line and clock, on no node")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hdrhistogram::Histogram;
use stockroom::persistence::log::{GroupId, Log, LogEntry};
use stockroom::persistence::raft_engine_log::{LogOptions, RaftEngineLog};

/// As many as a cluster has shards.
const GROUPS: u32 = 12;
/// A record or two.
const ENTRY: &[u8] = &[7; 256];
/// Commits a second of the open loop.
const RATE: u32 = 2_000;
/// Measured time of each loop.
const DURATION: Duration = Duration::from_secs(5);

fn main() {
    let named = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).map(PathBuf::from);
    let directory = match named {
        Some(parent) => tempfile::tempdir_in(parent),
        None => tempfile::tempdir(),
    };
    measure(directory.expect("a directory").path());
}

fn measure(directory: &Path) {
    let options = LogOptions {
        directory: directory.join("log"),
        set_aside: directory.join("aside"),
        purge_threshold_bytes: 1 << 30,
        applied: BTreeMap::new(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let log = RaftEngineLog::open(&options).expect("opens");
    let index = runtime.block_on(closed(&log));
    open(&log, index);
    runtime.block_on(log.close());
}

#[allow(clippy::print_stdout, reason = "the result")]
fn print(how: &str, commits: &Histogram<u64>) {
    let at = |quantile| commits.value_at_quantile(quantile);
    let (count, p50, p99, max) = (commits.len(), at(0.5), at(0.99), commits.max());
    println!(r#"{{"loop":"{how}","count":{count},"p50":{p50},"p99":{p99},"max":{max}}}"#);
}

/// One after the other. Returns the next index.
async fn closed(log: &RaftEngineLog) -> u64 {
    let (mut commits, end) = (histogram(), Instant::now() + DURATION);
    let mut index = 0;
    while Instant::now() < end {
        let (begun, (done, durable)) = (Instant::now(), tokio::sync::oneshot::channel());
        commit(log, index, move || done.send(()).expect("the bench waits"));
        durable.await.expect("the log answers");
        record(&mut commits, begun);
        index += 1;
    }
    print("closed", &commits);
    index
}

/// One whenever it is due.
fn open(log: &RaftEngineLog, first: u64) {
    let (commits, begun) = (Arc::new(Mutex::new(histogram())), Instant::now());
    let many = u32::try_from(DURATION.as_secs()).expect("seconds") * RATE;
    for number in 0..many {
        let due = begun + Duration::from_secs(1) * number / RATE;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let commits = commits.clone();
        commit(log, first + u64::from(number), move || record(&mut commits.lock().expect("nobody panics"), due));
    }
    while Arc::strong_count(&commits) > 1 {
        std::thread::sleep(Duration::from_millis(1));
    }
    print("open", &commits.lock().expect("nobody panics"));
}

fn histogram() -> Histogram<u64> {
    Histogram::new(3).expect("three digits")
}

fn record(commits: &mut Histogram<u64>, since: Instant) {
    commits.record(u64::try_from(since.elapsed().as_micros()).expect("seconds")).expect("grows");
}

/// Appends to all groups and says when all of it is durable.
fn commit(log: &RaftEngineLog, index: u64, durable: impl FnOnce() + Send + 'static) {
    let (left, durable) = (Arc::new(AtomicU32::new(GROUPS)), Arc::new(Mutex::new(Some(durable))));
    for group in (0..GROUPS).map(GroupId) {
        let (left, durable) = (left.clone(), durable.clone());
        let on_flushed = move |result: Result<(), _>| {
            assert!(result.is_ok(), "an append failed");
            if left.fetch_sub(1, Ordering::AcqRel) == 1 {
                durable.lock().expect("nobody panics").take().expect("only the last")();
            }
        };
        log.append(group, vec![LogEntry { index, bytes: Bytes::from_static(ENTRY) }], Box::new(on_flushed));
    }
}
