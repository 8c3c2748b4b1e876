//! The log on a simulated disk: changes wait for a sync that takes its time; a crash keeps a random part of the rest.
//!
//! Reads see everything queued, as the seam asks. The task that syncs runs on the node's host and dies with it; what it
//! had not finished is unsynced. Callbacks run in order, outside the lock. A full disk is waited out, a sync that fails
//! takes the node's power, as in production (P23, P28). What a crash leaves half written is bytes (`tail`), cut
//! anywhere and perhaps flipped somewhere; recovery finds the end of what is whole.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Notify, oneshot};

use super::space::SimSpace;
use super::{below, tail, within};
use crate::persistence::log::{GroupId, Log, LogEntry, LogError, LogRange, LogValue, OnFlushed};
use crate::persistence::memory::GroupLog;
use crate::rng::Rng;
use crate::sim::power::{Power, Step};

/// Between two tries on a full disk.
const FULL_RETRY_PAUSE: Duration = Duration::from_millis(200);

/// One change of a group.
#[derive(Clone)]
pub(super) enum Change {
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

impl Change {
    fn bytes(&self) -> u64 {
        match self {
            Self::Append(entries) => entries.iter().map(|entry| entry.bytes.len() as u64).sum(),
            Self::Put(_, bytes) => bytes.len() as u64,
            Self::Truncate(_) | Self::Purge(_) => 0,
        }
    }
}

/// A change that is not synced yet, and whom to tell when it is.
struct Unsynced {
    group: GroupId,
    change: Change,
    on_flushed: OnFlushed,
}

/// What a disk that lies said was synced, and did not keep.
#[derive(Default)]
struct Lie {
    firm: BTreeMap<GroupId, GroupLog>,
    claimed: VecDeque<(GroupId, Change)>,
}

/// So many of the last synced changes a disk that lies can lose.
const CLAIMED_MAX: usize = 200;

#[derive(Default)]
struct State {
    synced: BTreeMap<GroupId, GroupLog>,
    /// Synced plus queued: what reads see.
    view: BTreeMap<GroupId, GroupLog>,
    queue: VecDeque<Unsynced>,
    /// Values nobody waits for: queued before the next change.
    noted: Vec<(GroupId, Change)>,
    closed: bool,
    /// Syncs take up to this much longer.
    slow: Duration,
    /// The next sync fails.
    fails: bool,
    /// On a disk that lies.
    lie: Option<Lie>,
}

impl State {
    fn queue_noted(&mut self) {
        let noted = std::mem::take(&mut self.noted).into_iter();
        self.queue.extend(noted.map(|(group, change)| Unsynced { group, change, on_flushed: Box::new(|_| ()) }));
    }
}

/// What a crash left of what was being written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Remains {
    /// Changes that are there though nobody was told.
    pub kept: u64,
    /// Changes that are gone.
    pub lost: u64,
    /// Whether the last thing on disk was half a change.
    pub torn: bool,
    /// Whether a bit of it was flipped.
    pub flipped: bool,
}

/// The log of one node; outlives its crashes.
pub struct SimLog {
    state: Mutex<State>,
    queued: Notify,
    sync: RangeInclusive<Duration>,
    space: SimSpace,
    power: Power,
}

impl SimLog {
    /// An empty log whose syncs take this long.
    pub fn new(sync: RangeInclusive<Duration>, space: SimSpace, power: Power) -> Self {
        Self { state: Mutex::default(), queued: Notify::new(), sync, space, power }
    }

    /// Syncs take up to this much longer from now on.
    pub fn slow_down(&self, longest: Duration) {
        self.lock().slow = longest;
    }

    /// The next sync fails.
    pub fn fail_next_sync(&self) {
        self.lock().fails = true;
    }

    /// The next sync works after all.
    pub fn forgive_next_sync(&self) {
        self.lock().fails = false;
    }

    /// From now on the disk lies about syncs: [`SimLog::lose_synced`] may be called.
    pub fn lie(&self) {
        self.lock().lie = Some(Lie::default());
    }

    /// Loses a random part of what was synced last, and all that was not; says how many changes.
    pub fn lose_synced(&self, rng: &dyn Rng) -> u64 {
        let mut state = self.lock();
        let Some(mut lie) = state.lie.take() else { return 0 };
        let kept = below(rng, lie.claimed.len().max(1) as u64) as usize;
        let lost = lie.claimed.len() - kept;
        for (group, change) in lie.claimed.drain(..).take(kept) {
            change_group(lie.firm.entry(group).or_default(), change);
        }
        state.synced = lie.firm.clone();
        state.lie = Some(lie);
        let queue = std::mem::take(&mut state.queue);
        state.noted.clear();
        drop(state);
        drop(queue);
        lost as u64
    }

    /// Changes that wait to be synced.
    pub fn unsynced(&self) -> usize {
        self.lock().queue.len()
    }

    /// Syncs whatever is queued, again and again; the node's host runs it.
    pub async fn run(self: Arc<Self>, rng: Arc<dyn Rng>) {
        loop {
            let queued = self.queued.notified();
            let (count, bytes, slow) = {
                let state = self.lock();
                let bytes: u64 = state.queue.iter().map(|unsynced| unsynced.change.bytes()).sum();
                (state.queue.len(), bytes, state.slow)
            };
            if count == 0 {
                queued.await;
                continue;
            }
            tokio::time::sleep(within(&*rng, &self.sync) + within(&*rng, &(Duration::ZERO..=slow))).await;
            while !self.space.take(bytes) {
                tokio::time::sleep(FULL_RETRY_PAUSE).await;
            }
            if std::mem::take(&mut self.lock().fails) {
                self.power.cut("sync failed");
            }
            if !self.power.is_on() {
                std::future::pending::<()>().await;
            }
            let callbacks: Vec<OnFlushed> = (0..count).map_while(|_| self.sync_one()).collect();
            self.power.pass(Step::Durable).await;
            callbacks.into_iter().for_each(|callback| callback(Ok(())));
        }
    }

    /// The node is gone. Keeps a random part of what is not synced, perhaps with a flipped bit in it; then recovers.
    pub fn crash(&self, rng: &dyn Rng, flips: bool) -> Remains {
        let mut state = self.lock();
        let dropped = std::mem::take(&mut state.queue);
        state.noted.clear();
        let whole = below(rng, dropped.len() as u64 + 1) as usize;
        let (mut bytes, mut torn) = (Vec::new(), Vec::new());
        dropped.iter().take(whole).for_each(|unsynced| tail::write(unsynced.group, &unsynced.change, &mut bytes));
        if let Some(unsynced) = dropped.get(whole) {
            tail::write(unsynced.group, &unsynced.change, &mut torn);
            torn.truncate(below(rng, torn.len() as u64) as usize);
        }
        bytes.extend_from_slice(&torn);
        let flipped = flips && !bytes.is_empty();
        if flipped {
            let bit = below(rng, bytes.len() as u64 * 8);
            bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
        }
        let recovered = tail::read(&bytes);
        let (kept, torn) = (recovered.len() as u64, !torn.is_empty());
        for (group, change) in recovered {
            if let Some(lie) = &mut state.lie {
                lie.claimed.push_back((group, change.clone()));
            }
            change_group(state.synced.entry(group).or_default(), change);
        }
        state.view = state.synced.clone();
        (state.closed, state.fails) = (false, false);
        drop(state);
        let lost = dropped.len() as u64 - kept;
        drop(dropped);
        Remains { kept, lost, torn, flipped }
    }

    fn sync_one(&self) -> Option<OnFlushed> {
        let mut state = self.lock();
        let Unsynced { group, change, on_flushed } = state.queue.pop_front()?;
        if let Some(lie) = &mut state.lie {
            lie.claimed.push_back((group, change.clone()));
            if lie.claimed.len() > CLAIMED_MAX
                && let Some((group, change)) = lie.claimed.pop_front()
            {
                change_group(lie.firm.entry(group).or_default(), change);
            }
        }
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
        state.queue_noted();
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
        // Without power it queues all the same: the crash decides what of it reached the disk.
        self.power.passes(Step::Append);
        self.enqueue(group, Change::Append(entries), on_flushed);
    }

    fn put(&self, group: GroupId, value: LogValue, bytes: Vec<u8>, on_flushed: OnFlushed) {
        self.enqueue(group, Change::Put(value, bytes), on_flushed);
    }

    fn note(&self, group: GroupId, value: LogValue, bytes: Vec<u8>) {
        let mut state = self.lock();
        if !state.closed {
            let change = Change::Put(value, bytes);
            change_group(state.view.entry(group).or_default(), change.clone());
            state.noted.push((group, change));
        }
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
        self.lock().queue_noted();
        while self.sync_one().is_some_and(|callback| {
            callback(Ok(()));
            true
        }) {}
        self.lock().closed = true;
    }
}
