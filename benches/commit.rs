//! One group commit of the log, over and over: what an answer waits for at least.
//!
//! `cargo bench --bench commit -- DIRECTORY` appends one entry of 256 bytes to each of twelve groups and waits for the
//! one fsync that serves them all, for five seconds, and prints one line of JSON with the percentiles in microseconds.
//! The directory decides which disk is measured; without one it is the system's for temporary files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use hdrhistogram::Histogram;
use stockroom::persistence::log::{GroupId, Log, LogEntry};
use stockroom::persistence::raft_engine_log::{LogOptions, RaftEngineLog};

/// As many as a cluster has shards.
const GROUPS: u32 = 12;
/// A record or two.
const ENTRY: &[u8] = &[7; 256];
/// Measured time.
const DURATION: Duration = Duration::from_secs(5);

#[allow(clippy::disallowed_methods, reason = "a bench reads its own command line")]
fn main() {
    let named = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).map(PathBuf::from);
    let directory = match named {
        Some(parent) => tempfile::tempdir_in(parent),
        None => tempfile::tempdir(),
    };
    measure(directory.expect("a directory").path());
}

#[allow(clippy::print_stdout, reason = "the result")]
fn measure(directory: &Path) {
    let options = LogOptions {
        directory: directory.join("log"),
        set_aside: directory.join("aside"),
        purge_threshold_bytes: 1 << 30,
        applied: BTreeMap::new(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let log = RaftEngineLog::open(&options).expect("opens");
    let mut commits = Histogram::<u64>::new(3).expect("three digits");
    runtime.block_on(async {
        let end = tokio::time::Instant::now() + DURATION;
        for index in 0.. {
            let begun = tokio::time::Instant::now();
            if begun >= end {
                break;
            }
            commit(&log, index).await;
            commits.record(u64::try_from(begun.elapsed().as_micros()).expect("seconds")).expect("grows");
        }
        log.close().await;
    });
    let at = |quantile| commits.value_at_quantile(quantile);
    println!(r#"{{"count":{},"p50":{},"p99":{},"max":{}}}"#, commits.len(), at(0.5), at(0.99), commits.max());
}

async fn commit(log: &RaftEngineLog, index: u64) {
    let (done, mut flushed) = tokio::sync::mpsc::unbounded_channel();
    for group in (0..GROUPS).map(GroupId) {
        let done = done.clone();
        let on_flushed = move |result: Result<(), _>| {
            // Nobody waits any more only when the bench itself failed.
            let _ = done.send(result.is_ok());
        };
        log.append(group, vec![LogEntry { index, bytes: Bytes::from_static(ENTRY) }], Box::new(on_flushed));
    }
    for _ in 0..GROUPS {
        assert_eq!(flushed.recv().await, Some(true));
    }
}
