//! One suite per seam, run against every implementor: what a Log and a Store must do, whoever does it.
//!
//! The suites take a way to get an implementor and, for those that outlive the process, a way to get it back after a
//! restart. They are ordinary code (not `cfg(test)`) so that other crates' implementors, the simulator's for one, run
//! the same ones.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::oneshot;

use super::log::{GroupId, Log, LogEntry, LogError, LogRange, LogValue};
use super::store::{Direction, Row, Scan, Store, StoreError, WriteBatch};

/// Makes implementors of the log for the suite.
#[async_trait]
pub trait LogHost: Send + Sync {
    /// The log, empty at first. Asked again, it is the same log after a crash: what was flushed is there. `None` when
    /// this implementor does not outlive its process.
    async fn open(&mut self) -> Option<Arc<dyn Log>>;
}

/// Makes implementors of the store for the suite.
#[async_trait]
pub trait StoreHost: Send + Sync {
    /// The store, empty at first. Asked again, it is the same store after a crash: what was synced is there. `None`
    /// when this implementor does not outlive its process.
    async fn open(&mut self) -> Option<Arc<dyn Store>>;
}

const ONE: GroupId = GroupId(1);
const TWO: GroupId = GroupId(2);

fn entry(index: u64, fill: u8, length: usize) -> LogEntry {
    LogEntry { index, bytes: Bytes::from(vec![fill; length]) }
}

async fn append(log: &dyn Log, group: GroupId, entries: Vec<LogEntry>) -> Result<(), LogError> {
    let (done, outcome) = oneshot::channel();
    log.append(group, entries, Box::new(move |result| drop(done.send(result))));
    outcome.await.expect("a log calls back")
}

async fn put(log: &dyn Log, group: GroupId, value: LogValue, bytes: &[u8]) -> Result<(), LogError> {
    let (done, outcome) = oneshot::channel();
    log.put(group, value, bytes.to_vec(), Box::new(move |result| drop(done.send(result))));
    outcome.await.expect("a log calls back")
}

async fn indexes(log: &dyn Log, group: GroupId) -> Vec<(u64, u8)> {
    let read = log.read(group, 0, u64::MAX, usize::MAX).await.expect("readable");
    read.iter().map(|entry| (entry.index, entry.bytes[0])).collect()
}

fn range(first: u64, next: u64) -> LogRange {
    LogRange { first, next }
}

/// Everything a [`Log`] must do. Panics at the first thing it does not.
pub async fn log_suite(host: &mut dyn LogHost) {
    let log = host.open().await.expect("opens once");
    log_appends_and_reads(log.as_ref()).await;
    let log = reopen_log(host, log).await;
    log_values(log.as_ref()).await;
    let log = reopen_log(host, log).await;
    assert_eq!(log.get(ONE, LogValue::Vote).await.expect("readable"), Some(b"second".to_vec()));
    let log = log_truncates(host, log).await;
    let log = log_purges(host, log).await;
    log_calls_back_in_order(log.as_ref()).await;
    log.reclaim().await.expect("reclaims");
    log.close().await;
    assert!(matches!(append(log.as_ref(), ONE, vec![]).await, Err(LogError::Closed)));
    log.close().await;
}

async fn reopen_log(host: &mut dyn LogHost, log: Arc<dyn Log>) -> Arc<dyn Log> {
    host.open().await.unwrap_or(log)
}

async fn log_appends_and_reads(log: &dyn Log) {
    assert_eq!(log.range(ONE).await.expect("readable"), range(0, 0), "an unknown group is empty");
    assert_eq!(log.get(ONE, LogValue::Vote).await.expect("readable"), None);
    assert!(log.read(ONE, 0, 9, 1).await.expect("readable").is_empty());
    append(log, ONE, vec![entry(0, 10, 100), entry(1, 11, 100)]).await.expect("appends");
    append(log, TWO, vec![entry(0, 20, 100)]).await.expect("appends");
    append(log, ONE, vec![entry(2, 12, 100)]).await.expect("appends");
    assert_eq!(log.range(ONE).await.expect("readable"), range(0, 3));
    assert_eq!(indexes(log, ONE).await, [(0, 10), (1, 11), (2, 12)]);
    assert_eq!(indexes(log, TWO).await, [(0, 20)], "groups do not mix");
    let some = log.read(ONE, 1, 2, usize::MAX).await.expect("readable");
    assert_eq!(some, [entry(1, 11, 100)]);
    assert_eq!(log.read(ONE, 0, 3, 1).await.expect("readable").len(), 1, "at least one entry is read");
}

async fn log_values(log: &dyn Log) {
    assert_eq!(indexes(log, ONE).await, [(0, 10), (1, 11), (2, 12)], "entries survive a restart");
    put(log, ONE, LogValue::Vote, b"first").await.expect("puts");
    put(log, TWO, LogValue::Vote, b"other").await.expect("puts");
    put(log, ONE, LogValue::Vote, b"second").await.expect("puts");
    assert_eq!(log.get(ONE, LogValue::Vote).await.expect("readable"), Some(b"second".to_vec()));
    assert_eq!(log.get(TWO, LogValue::Vote).await.expect("readable"), Some(b"other".to_vec()));
    assert_eq!(log.get(ONE, LogValue::Committed).await.expect("readable"), None);
    log.note(ONE, LogValue::Committed, b"old".to_vec());
    log.note(ONE, LogValue::Committed, b"noted".to_vec());
    assert_eq!(log.get(ONE, LogValue::Committed).await.expect("readable"), Some(b"noted".to_vec()));
    put(log, TWO, LogValue::Committed, b"other").await.expect("what others wait for is not held up");
}

async fn log_truncates(host: &mut dyn LogHost, log: Arc<dyn Log>) -> Arc<dyn Log> {
    log.truncate(ONE, 1).await.expect("truncates");
    assert_eq!(log.range(ONE).await.expect("readable"), range(0, 1));
    assert_eq!(indexes(log.as_ref(), ONE).await, [(0, 10)]);
    let log = reopen_log(host, log).await;
    assert_eq!(indexes(log.as_ref(), ONE).await, [(0, 10)], "truncation survives a restart");
    let committed = [log.get(ONE, LogValue::Committed).await, log.get(TWO, LogValue::Committed).await];
    assert_eq!(committed.map(|value| value.expect("readable")), [Some(b"noted".to_vec()), Some(b"other".to_vec())]);
    append(log.as_ref(), ONE, vec![entry(1, 51, 9), entry(2, 52, 9)]).await.expect("appends");
    let log = reopen_log(host, log).await;
    assert_eq!(indexes(log.as_ref(), ONE).await, [(0, 10), (1, 51), (2, 52)], "the new suffix replaces the old one");
    log.truncate(ONE, 9).await.expect("truncating nothing is fine");
    assert_eq!(log.range(ONE).await.expect("readable"), range(0, 3));
    log
}

async fn log_purges(host: &mut dyn LogHost, log: Arc<dyn Log>) -> Arc<dyn Log> {
    log.purge(ONE, 2).await.expect("purges");
    assert_eq!(log.range(ONE).await.expect("readable"), range(2, 3));
    assert_eq!(indexes(log.as_ref(), ONE).await, [(2, 52)]);
    log.purge(ONE, 1).await.expect("purging less is fine");
    assert_eq!(log.range(ONE).await.expect("readable"), range(2, 3));
    let log = reopen_log(host, log).await;
    assert_eq!(log.range(ONE).await.expect("readable"), range(2, 3), "the purge survives a restart");
    log.truncate(ONE, 2).await.expect("truncates");
    log.purge(ONE, 2).await.expect("purges");
    append(log.as_ref(), ONE, vec![entry(2, 62, 9)]).await.expect("appends after truncation at the purge point");
    let log = reopen_log(host, log).await;
    assert_eq!(indexes(log.as_ref(), ONE).await, [(2, 62)]);
    log.purge(ONE, 3).await.expect("purges everything");
    assert_eq!(log.range(ONE).await.expect("readable"), range(3, 3));
    append(log.as_ref(), ONE, vec![entry(3, 63, 9)]).await.expect("appends after a purge of everything");
    log.purge(ONE, 100).await.expect("purges beyond the end");
    let log = reopen_log(host, log).await;
    assert_eq!(log.range(ONE).await.expect("readable"), range(100, 100));
    append(log.as_ref(), ONE, vec![entry(100, 70, 9)]).await.expect("appends at the new start");
    let log = reopen_log(host, log).await;
    assert_eq!(indexes(log.as_ref(), ONE).await, [(100, 70)]);
    assert_eq!(indexes(log.as_ref(), TWO).await, [(0, 20)], "other groups are untouched");
    assert_eq!(
        log.get(ONE, LogValue::Vote).await.expect("readable"),
        Some(b"second".to_vec()),
        "values outlive purges"
    );
    log
}

async fn log_calls_back_in_order(log: &dyn Log) {
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    for index in 0..200_u64 {
        let sender = sender.clone();
        let done = move |result: Result<(), LogError>| {
            let _ = sender.send((index, result.is_ok()));
        };
        if index % 7 == 0 {
            log.put(GroupId(3), LogValue::Committed, index.to_be_bytes().to_vec(), Box::new(done));
        } else {
            let next = log.range(GroupId(3)).await.expect("readable").next;
            log.append(GroupId(3), vec![entry(next, 1, 50)], Box::new(done));
        }
    }
    drop(sender);
    for index in 0..200_u64 {
        assert_eq!(receiver.recv().await, Some((index, true)), "callbacks run in the order of the calls");
    }
    let committed = log.get(GroupId(3), LogValue::Committed).await.expect("readable");
    assert_eq!(committed, Some(196_u64.to_be_bytes().to_vec()));
}

fn batch(rows: &[(&'static str, &'static str)], deletes: &[&'static str]) -> WriteBatch {
    let mut batch = WriteBatch::default();
    rows.iter().for_each(|(key, value)| batch.put(*key, *value));
    deletes.iter().for_each(|key| batch.delete(*key));
    batch
}

async fn scan(
    store: &dyn Store,
    from: &'static str,
    to: &'static str,
    direction: Direction,
    rows: usize,
) -> Vec<Bytes> {
    scan_bytes(store, from, to, direction, (rows, usize::MAX)).await
}

async fn scan_bytes(
    store: &dyn Store,
    from: &'static str,
    to: &'static str,
    direction: Direction,
    (rows_max, bytes_max): (usize, usize),
) -> Vec<Bytes> {
    let scan = Scan { from: from.into(), to: to.into(), direction, rows_max, bytes_max };
    store.scan(scan).await.expect("readable").into_iter().map(|(key, _)| key).collect()
}

/// Everything a [`Store`] must do. Panics at the first thing it does not.
pub async fn store_suite(host: &mut dyn StoreHost) {
    let store = host.open().await.expect("opens once");
    store_writes_and_reads(store.as_ref()).await;
    store_scans(store.as_ref()).await;
    store_removes_what_is_unchanged(store.as_ref()).await;
    store.sync().await.expect("syncs");
    let store = host.open().await.unwrap_or(store);
    assert_eq!(store.get("b".into()).await.expect("readable"), Some("2".into()), "synced rows survive a restart");
    assert_eq!(store.get("a".into()).await.expect("readable"), None, "deletes survive a restart");
    assert_eq!(store.get("x4".into()).await.expect("readable"), None, "what was unchanged stays removed");
    store_keeps_large_values(store.as_ref()).await;
    store_reads_what_was_queued_before(store.as_ref()).await;
    store.close().await;
    assert!(matches!(store.get("b".into()).await, Err(StoreError::Closed)));
    assert!(matches!(store.write(WriteBatch::default()).await, Err(StoreError::Closed)));
    assert!(matches!(store.remove_unchanged(Vec::new()).await, Err(StoreError::Closed)));
    store.close().await;
    if let Some(store) = host.open().await {
        assert_eq!(store.get("b".into()).await.expect("readable"), Some("2".into()), "closing keeps everything");
        store.close().await;
    }
}

async fn store_writes_and_reads(store: &dyn Store) {
    assert_eq!(store.get("a".into()).await.expect("readable"), None);
    store.write(batch(&[("a", "1"), ("b", "2"), ("c", "3")], &[])).await.expect("writes");
    assert_eq!(store.get("b".into()).await.expect("readable"), Some("2".into()));
    store.write(batch(&[("d", "4")], &["a", "never there"])).await.expect("writes");
    assert_eq!(store.get("a".into()).await.expect("readable"), None);
    let mut twice = batch(&[("e", "first"), ("e", "second")], &[]);
    twice.delete("d");
    twice.put("d", "5");
    store.write(twice).await.expect("writes");
    assert_eq!(store.get("e".into()).await.expect("readable"), Some("second".into()), "a later change of a key wins");
    assert_eq!(store.get("d".into()).await.expect("readable"), Some("5".into()));
    store.write(batch(&[("empty", "")], &[])).await.expect("writes");
    assert_eq!(store.get("empty".into()).await.expect("readable"), Some("".into()), "an empty value is a value");
    store.write(batch(&[], &["empty"])).await.expect("writes");
}

async fn store_scans(store: &dyn Store) {
    assert_eq!(scan(store, "a", "z", Direction::Forward, 9).await, ["b", "c", "d", "e"]);
    assert_eq!(scan(store, "a", "z", Direction::Reverse, 9).await, ["e", "d", "c", "b"]);
    assert_eq!(scan(store, "b", "d", Direction::Forward, 9).await, ["b", "c"], "the upper bound is exclusive");
    assert_eq!(scan(store, "b", "d", Direction::Reverse, 1).await, ["c"]);
    assert_eq!(scan(store, "d", "b", Direction::Forward, 9).await, [""; 0], "an empty range is empty");
    assert_eq!(scan(store, "c", "c", Direction::Reverse, 9).await, [""; 0]);
    assert_eq!(scan_bytes(store, "a", "z", Direction::Forward, (9, 1)).await, ["b", "c"], "stops once above the limit");
    assert_eq!(scan_bytes(store, "a", "z", Direction::Forward, (9, 0)).await, ["b"], "at least one row is read");
}

async fn store_removes_what_is_unchanged(store: &dyn Store) {
    store.write(batch(&[("x1", "old"), ("x2", "old"), ("x3", "old"), ("x4", "old")], &[])).await.expect("writes");
    let seen: Vec<Row> = ["x1", "x2", "x3", "x4", "x5"].map(|key| (key.into(), "old".into())).into();
    store.write(batch(&[("x2", "new")], &["x3"])).await.expect("writes");
    assert_eq!(store.remove_unchanged(seen.clone()).await.expect("removes"), 2);
    assert_eq!(scan(store, "x", "y", Direction::Forward, 9).await, ["x2"]);
    assert_eq!(store.get("x2".into()).await.expect("readable"), Some("new".into()), "what was written since stays");
    assert_eq!(store.remove_unchanged(seen).await.expect("removes"), 0, "a second look finds nothing");
    store.write(batch(&[("x1", "newer")], &["x2"])).await.expect("writes");
    assert_eq!(store.get("x1".into()).await.expect("readable"), Some("newer".into()), "a later write stays");
    store.write(batch(&[], &["x1"])).await.expect("writes");
}

async fn store_keeps_large_values(store: &dyn Store) {
    let large = Bytes::from((0..1_000_000_u32).map(|number| (number % 251) as u8).collect::<Vec<_>>());
    let mut rows = WriteBatch::default();
    for number in 0..20_u8 {
        rows.put(vec![b'L', number], large.slice(..64 << 10));
    }
    rows.put("large", large.clone());
    store.write(rows).await.expect("writes");
    assert_eq!(store.get("large".into()).await.expect("readable"), Some(large));
    assert_eq!(scan(store, "L", "M", Direction::Forward, 99).await.len(), 20);
}

async fn store_reads_what_was_queued_before(store: &dyn Store) {
    for number in 0..500_u64 {
        let mut row = WriteBatch::default();
        row.put("counter", number.to_be_bytes().to_vec());
        row.put(format!("n{number:04}"), "x");
        store.write(row).await.expect("writes");
    }
    assert_eq!(store.get("counter".into()).await.expect("readable"), Some(499_u64.to_be_bytes().to_vec().into()));
    assert_eq!(scan(store, "n", "o", Direction::Forward, usize::MAX).await.len(), 500);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::persistence::memory::{MemoryLog, MemoryStore};

    struct InMemory(bool);

    #[async_trait]
    impl LogHost for InMemory {
        async fn open(&mut self) -> Option<Arc<dyn Log>> {
            (!std::mem::replace(&mut self.0, true)).then(|| Arc::new(MemoryLog::new()) as _)
        }
    }

    #[async_trait]
    impl StoreHost for InMemory {
        async fn open(&mut self) -> Option<Arc<dyn Store>> {
            (!std::mem::replace(&mut self.0, true)).then(|| Arc::new(MemoryStore::new()) as _)
        }
    }

    #[tokio::test]
    async fn the_log_in_memory_conforms() {
        log_suite(&mut InMemory(false)).await;
    }

    #[tokio::test]
    async fn the_store_in_memory_conforms() {
        store_suite(&mut InMemory(false)).await;
    }
}
