//! openraft's log on our [`Log`]: encodes entries, keeps the newest ones at hand, and orders votes with entries.
//!
//! Every committed entry is read once more to be applied. The newest entries are therefore kept decoded in a bounded
//! tail, so the common case never goes back to the disk. The committed log id is written together with the next
//! append: it needs no fsync of its own, because an older one is only less convenient, never wrong.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};
use tokio::sync::oneshot;

use super::bytes;
use super::types::{Entry, LogId, TypeConfig, Vote};
use crate::persistence::log::{GroupId, Log, LogError, LogValue};

/// Decoded entries kept per group; at a few hundred bytes to a few KiB each this is well below 16 MiB.
const TAIL_ENTRIES_MAX: usize = 1_024;
/// Bytes read from the log at once when the tail does not hold the range.
const READ_BYTES_MAX: usize = 4 << 20;

/// One group's log as openraft wants it. Clones share the tail.
#[derive(Clone)]
pub struct LogAdapter {
    group: GroupId,
    log: Arc<dyn Log>,
    tail: Arc<Mutex<BTreeMap<u64, Entry>>>,
    appended_bytes: Arc<AtomicU64>,
    /// Whether it is known that the log has entries, or starts where the next append will.
    started: bool,
    /// Newest committed id not yet written down.
    committed_unsaved: Option<LogId>,
}

impl LogAdapter {
    /// The adapter of `group` on the node's log.
    pub fn new(group: GroupId, log: Arc<dyn Log>) -> Self {
        Self {
            group,
            log,
            tail: Arc::default(),
            appended_bytes: Arc::default(),
            started: false,
            committed_unsaved: None,
        }
    }

    /// Counts bytes handed to the log.
    pub fn appended_bytes(&self) -> Arc<AtomicU64> {
        self.appended_bytes.clone()
    }

    async fn put_durably(&self, value: LogValue, bytes: Vec<u8>) -> io::Result<()> {
        let (sender, receiver) = oneshot::channel();
        self.log.put(self.group, value, bytes, Box::new(move |result| drop(sender.send(result))));
        receiver.await.unwrap_or(Err(LogError::Closed)).map_err(into_io)
    }

    async fn get<T>(
        &self,
        value: LogValue,
        decode: impl FnOnce(&[u8]) -> Result<T, crate::persistence::codec::DecodeError>,
    ) -> io::Result<Option<T>> {
        let bytes = self.log.get(self.group, value).await.map_err(into_io)?;
        bytes.map(|bytes| decode(&bytes).map_err(io::Error::other)).transpose()
    }

    /// The range from the tail, if the tail holds all of it.
    fn read_tail(&self, from: u64, to: u64) -> Option<Vec<Entry>> {
        let tail = self.tail.lock().expect("no holder of the tail panics");
        let entries: Vec<Entry> = tail.range(from..to).map(|(_, entry)| entry.clone()).collect();
        (entries.len() as u64 == to - from).then_some(entries)
    }

    async fn read_log(&self, from: u64, to: u64) -> io::Result<Vec<Entry>> {
        let range = self.log.range(self.group).await.map_err(into_io)?;
        let (mut from, to) = (from.max(range.first), to.min(range.next));
        let mut entries = Vec::new();
        while from < to {
            let stored = self.log.read(self.group, from, to, READ_BYTES_MAX).await.map_err(into_io)?;
            let last = stored.last().ok_or_else(|| io::Error::other(format!("log entry {from} is missing")))?;
            from = last.index + 1;
            for entry in &stored {
                entries.push(bytes::decode_entry(entry).map_err(io::Error::other)?);
            }
        }
        Ok(entries)
    }

    /// An empty log may begin anywhere: a new replica's begins behind the checkpoint it was sent.
    async fn start_at(&mut self, first: u64) -> io::Result<()> {
        if !self.started {
            let range = self.log.range(self.group).await.map_err(into_io)?;
            if range.first == range.next && first > range.next {
                self.log.purge(self.group, first).await.map_err(into_io)?;
            }
            self.started = true;
        }
        Ok(())
    }

    fn remember(&self, entry: Entry) {
        let mut tail = self.tail.lock().expect("no holder of the tail panics");
        tail.insert(entry.log_id.index, entry);
        while tail.len() > TAIL_ENTRIES_MAX {
            tail.pop_first();
        }
    }
}

fn into_io(error: LogError) -> io::Error {
    io::Error::other(error)
}

fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let from = match range.start_bound() {
        Bound::Included(from) => *from,
        Bound::Excluded(before) => before + 1,
        Bound::Unbounded => 0,
    };
    let to = match range.end_bound() {
        Bound::Included(last) => last + 1,
        Bound::Excluded(to) => *to,
        Bound::Unbounded => u64::MAX,
    };
    (from, to.max(from))
}

impl RaftLogReader<TypeConfig> for LogAdapter {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        let (from, to) = bounds(&range);
        match self.read_tail(from, to) {
            Some(entries) => Ok(entries),
            None => self.read_log(from, to).await,
        }
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        self.get(LogValue::Vote, bytes::decode_vote).await
    }
}

impl RaftLogStorage<TypeConfig> for LogAdapter {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let purged = self.get(LogValue::Purged, bytes::decode_log_id).await?.flatten();
        let range = self.log.range(self.group).await.map_err(into_io)?;
        let last = if range.first < range.next {
            self.read_log(range.next - 1, range.next).await?.pop().map(|entry| entry.log_id)
        } else {
            None
        };
        Ok(LogState { last_purged_log_id: purged, last_log_id: last.or(purged) })
    }

    async fn get_log_reader(&mut self) -> Self::LogReader {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        self.put_durably(LogValue::Vote, bytes::encode_vote(vote)).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        self.committed_unsaved = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        if self.committed_unsaved.is_some() {
            return Ok(self.committed_unsaved);
        }
        Ok(self.get(LogValue::Committed, bytes::decode_log_id).await?.flatten())
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        if let Some(committed) = self.committed_unsaved.take() {
            self.log.note(self.group, LogValue::Committed, bytes::encode_log_id(Some(committed)));
        }
        let mut stored = Vec::new();
        for entry in entries {
            stored.push(bytes::encode_entry(&entry));
            self.remember(entry);
        }
        let bytes: usize = stored.iter().map(|entry| entry.bytes.len()).sum();
        self.appended_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        if let Some(first) = stored.first() {
            self.start_at(first.index).await?;
        }
        #[cfg(feature = "canaries")]
        if crate::canary::is(crate::canary::Canary::AckBeforeFsync) {
            self.log.append(self.group, stored, Box::new(|_| ()));
            callback.io_completed(Ok(()));
            return Ok(());
        }
        self.log.append(self.group, stored, Box::new(move |result| callback.io_completed(result.map_err(into_io))));
        Ok(())
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        self.started = false;
        let from = last_log_id.map_or(0, |last| last.index + 1);
        self.tail.lock().expect("no holder of the tail panics").split_off(&from);
        self.log.truncate(self.group, from).await.map_err(into_io)
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        self.put_durably(LogValue::Purged, bytes::encode_log_id(Some(log_id))).await?;
        let before = log_id.index + 1;
        {
            let mut tail = self.tail.lock().expect("no holder of the tail panics");
            *tail = tail.split_off(&before);
        }
        self.started = false;
        self.log.purge(self.group, before).await.map_err(into_io)
    }
}
