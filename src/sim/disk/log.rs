//! The log on a simulated disk: changes wait for a sync that takes its time; a crash keeps a random part of the rest.
//!
//! Reads see everything queued, as the seam asks. The task that syncs runs on the node's host and dies with it; what it
//! had not finished is unsynced. Callbacks run in order, outside the lock.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Notify, oneshot};

use super::{below, within};
use crate::persistence::log::{GroupId, Log, LogEntry, LogError, LogRange, LogValue, OnFlushed};
use crate::persistence::memory::GroupLog;
use crate::rng::Rng;

/// One change of a group.
#[derive(Clone)]
enum Change {
    Append(Vec<LogEntry>),
    Put(LogValue, Vec<u8>),
    Truncate(u64),
    Purge(u64),
}

fn change_group(log: &mut GroupLog, change: Change) {
    match change {
        Change::Append(entries) => log.append(entries),
        Change::Put(value, bytes) => log.put(value, bytes),
        Change::Truncate(from) => log.truncate(from),
        Change::Purge(before) => log.purge(before),
    }
}

/// A change that is not synced yet, and whom to tell when it is.
struct Unsynced {
    group: GroupId,
    change: Change,
    on_flushed: OnFlushed,
}

#[derive(Default)]
struct State {
    synced: BTreeMap<GroupId, GroupLog>,
    /// Synced plus queued: what reads see.
    view: BTreeMap<GroupId, GroupLog>,
    queue: VecDeque<Unsynced>,
    closed: bool,
}

/// The log of one node; outlives its crashes.
pub struct SimLog {
    state: Mutex<State>,
    queued: Notify,
    sync: RangeInclusive<Duration>,
}

impl SimLog {
    /// An empty log whose syncs take this long.
    pub fn new(sync: RangeInclusive<Duration>) -> Self {
        Self { state: Mutex::default(), queued: Notify::new(), sync }
    }

    /// Syncs whatever is queued, again and again; the node's host runs it.
    pub async fn run(self: Arc<Self>, rng: Arc<dyn Rng>) {
        loop {
            let queued = self.queued.notified();
            let count = self.lock().queue.len();
            if count == 0 {
                queued.await;
                continue;
            }
            tokio::time::sleep(within(&*rng, &self.sync)).await;
            for _ in 0..count {
                let Some(callback) = self.sync_one() else { break };
                callback(Ok(()));
            }
        }
    }

    /// The node is gone. Keeps a random number of unsynced changes; says how many are kept and lost.
    pub fn crash(&self, rng: &dyn Rng) -> (u64, u64) {
        let unsynced = self.lock().queue.len() as u64;
        let kept = below(rng, unsynced + 1);
        for _ in 0..kept {
            drop(self.sync_one());
        }
        let mut state = self.lock();
        let dropped = std::mem::take(&mut state.queue);
        state.view = state.synced.clone();
        state.closed = false;
        drop(state);
        drop(dropped);
        (kept, unsynced - kept)
    }

    fn sync_one(&self) -> Option<OnFlushed> {
        let mut state = self.lock();
        let Unsynced { group, change, on_flushed } = state.queue.pop_front()?;
        change_group(state.synced.entry(group).or_default(), change);
        Some(on_flushed)
    }

    fn enqueue(&self, group: GroupId, change: Change, on_flushed: OnFlushed) {
        let mut state = self.lock();
        if state.closed {
            drop(state);
            return on_flushed(Err(LogError::Closed));
        }
        change_group(state.view.entry(group).or_default(), change.clone());
        state.queue.push_back(Unsynced { group, change, on_flushed });
        drop(state);
        self.queued.notify_one();
    }

    async fn change(&self, group: GroupId, change: Change) -> Result<(), LogError> {
        let (done, outcome) = oneshot::channel();
        self.enqueue(group, change, Box::new(move |result| drop(done.send(result))));
        outcome.await.unwrap_or(Err(LogError::Closed))
    }

    fn view<T>(&self, group: GroupId, read: impl FnOnce(&GroupLog) -> T) -> Result<T, LogError> {
        let state = self.lock();
        if state.closed {
            return Err(LogError::Closed);
        }
        let empty = GroupLog::default();
        Ok(read(state.view.get(&group).unwrap_or(&empty)))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Log for SimLog {
    fn append(&self, group: GroupId, entries: Vec<LogEntry>, on_flushed: OnFlushed) {
        self.enqueue(group, Change::Append(entries), on_flushed);
    }

    fn put(&self, group: GroupId, value: LogValue, bytes: Vec<u8>, on_flushed: OnFlushed) {
        self.enqueue(group, Change::Put(value, bytes), on_flushed);
    }

    async fn get(&self, group: GroupId, value: LogValue) -> Result<Option<Vec<u8>>, LogError> {
        self.view(group, |log| log.get(value))
    }

    async fn range(&self, group: GroupId) -> Result<LogRange, LogError> {
        self.view(group, GroupLog::range)
    }

    async fn ranges(&self) -> Result<BTreeMap<GroupId, LogRange>, LogError> {
        let state = self.lock();
        if state.closed {
            return Err(LogError::Closed);
        }
        Ok(state.view.iter().map(|(group, log)| (*group, log.range())).collect())
    }

    async fn read(&self, group: GroupId, from: u64, to: u64, bytes_max: usize) -> Result<Vec<LogEntry>, LogError> {
        self.view(group, |log| log.read(from, to, bytes_max))
    }

    async fn truncate(&self, group: GroupId, from: u64) -> Result<(), LogError> {
        self.change(group, Change::Truncate(from)).await
    }

    async fn purge(&self, group: GroupId, before: u64) -> Result<(), LogError> {
        self.change(group, Change::Purge(before)).await
    }

    async fn reclaim(&self) -> Result<Vec<GroupId>, LogError> {
        if self.lock().closed { Err(LogError::Closed) } else { Ok(Vec::new()) }
    }

    async fn disk_bytes(&self) -> u64 {
        let state = self.lock();
        state.synced.values().map(GroupLog::bytes).sum()
    }

    async fn close(&self) {
        while self.sync_one().is_some_and(|callback| {
            callback(Ok(()));
            true
        }) {}
        self.lock().closed = true;
    }
}
