//! Folding: making an entity's snapshot from its previous one and the records since, in the background (P25).
//!
//! Every replica folds for itself, from the store alone; no actor waits for it. A snapshot is due when an entity's
//! record bytes since the last one exceed the larger of 256 KiB and that snapshot's size, so that a large state is
//! written rarely and the cost per record stays constant however large the state grows.
//!
//! One folder serves all groups, one fold at a time. A group whose turn somebody else has, as a checkpoint does for as
//! long as it takes, does not hold up the others: its requests wait aside.
//!
//! The new snapshot replaces the old one in one store batch. Records stay; trimming them is `trim`'s business. An
//! entity whose records cannot be replayed is left as it is and reported: its actor will be quarantined the same way.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;

use super::codec::{self, SnapshotHead};
use super::journal::{Journal, JournalError, Tail};
use super::keys;
use super::log::GroupId;
use super::records::{Record, Remembered, Snapshot, WINDOW, WindowEntry};
use super::store::{Store, StoreError, WriteBatch};
use super::turns::Turns;
use crate::domain::ids::EntityId;
use crate::domain::registry::AnyState;
use crate::domain::time::{Sequence, Timestamp};

/// Record bytes below which no snapshot is worth making.
const FOLD_BYTES_MIN: u64 = 256 << 10;
/// Requests waiting for the folder; one more is dropped and made again by the entity's next batch. As many again may
/// wait for their group's turn.
const REQUESTS_MAX: usize = 1024;

/// Why a snapshot could not be made.
#[derive(Debug, thiserror::Error)]
pub enum FoldError {
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The store cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Replaying a record panicked.
    #[error("record {sequence} of {entity} cannot be replayed")]
    Poisoned {
        /// Whose.
        entity: EntityId,
        /// Which record.
        sequence: Sequence,
    },
}

/// Whether an entity has enough new records for a snapshot.
pub fn is_due(tail: &Tail) -> bool {
    tail.record_bytes_total - tail.folded_bytes_total > FOLD_BYTES_MIN.max(tail.snapshot_bytes)
}

/// A wish for a snapshot, and whom to tell of it.
pub struct FoldRequest {
    group: GroupId,
    entity: EntityId,
    finished: mpsc::UnboundedSender<(EntityId, Option<SnapshotHead>)>,
}

/// One applier's line to the folder. Asks once per entity until an answer has come.
pub struct FoldRequests {
    folder: mpsc::Sender<FoldRequest>,
    answers: mpsc::UnboundedSender<(EntityId, Option<SnapshotHead>)>,
    answered: mpsc::UnboundedReceiver<(EntityId, Option<SnapshotHead>)>,
    asked: BTreeSet<EntityId>,
}

impl FoldRequests {
    /// A line to the folder behind this channel; see [`channel`].
    pub fn new(folder: mpsc::Sender<FoldRequest>) -> Self {
        let (answers, answered) = mpsc::unbounded_channel();
        Self { folder, answers, answered, asked: BTreeSet::new() }
    }

    pub(super) fn request(&mut self, group: GroupId, entity: &EntityId) {
        if self.asked.contains(entity) {
            return;
        }
        let request = FoldRequest { group, entity: entity.clone(), finished: self.answers.clone() };
        if self.folder.try_send(request).is_ok() {
            self.asked.insert(entity.clone());
        }
    }

    pub(super) fn finished(&mut self) -> Option<(EntityId, SnapshotHead)> {
        while let Ok((entity, head)) = self.answered.try_recv() {
            self.asked.remove(&entity);
            if let Some(head) = head {
                return Some((entity, head));
            }
        }
        None
    }
}

/// The bounded channel between appliers and the folder.
pub fn channel() -> (mpsc::Sender<FoldRequest>, mpsc::Receiver<FoldRequest>) {
    mpsc::channel(REQUESTS_MAX)
}

/// Makes snapshots.
#[derive(Clone)]
pub struct Folder {
    journal: Journal,
    turns: Turns,
}

impl Folder {
    /// Folds what is in this store, taking turns with its checkpoints.
    pub fn new(store: Arc<dyn Store>, turns: Turns) -> Self {
        Self { journal: Journal::new(store), turns }
    }

    /// Serves requests one after the other until every requester is gone: those of each group in order, each group as
    /// soon as it is this folder's turn there.
    pub async fn run(self, mut requests: mpsc::Receiver<FoldRequest>) {
        let mut aside: BTreeMap<GroupId, VecDeque<FoldRequest>> = BTreeMap::new();
        // One wait per group with requests aside, so that others queue behind one fold of theirs and not behind all. A
        // turn that comes while another group is folded is held for that long.
        let mut turns = FuturesUnordered::new();
        let take = async |group: GroupId| (group, self.turns.take(group).await);
        loop {
            let has_room = aside.values().map(VecDeque::len).sum::<usize>() < REQUESTS_MAX;
            tokio::select! {
                biased;
                Some((group, turn)) = turns.next() => {
                    let Some(mut waiting) = aside.remove(&group) else { continue };
                    if let Some(request) = waiting.pop_front() {
                        self.serve(request).await;
                    }
                    drop(turn);
                    if !waiting.is_empty() {
                        aside.insert(group, waiting);
                        turns.push(take(group));
                    }
                }
                Some(request) = requests.recv(), if has_room => {
                    let group = request.group;
                    aside.entry(group).or_default().push_back(request);
                    if aside[&group].len() == 1 {
                        turns.push(take(group));
                    }
                }
                else => return,
            }
        }
    }

    /// Makes the snapshot asked for, in a turn of its group, and tells of it.
    async fn serve(&self, FoldRequest { group, entity, finished }: FoldRequest) {
        let head = self.fold_in_turn(group, &entity).await.unwrap_or_else(|error| {
            tracing::warn!(%group, %entity, %error, "no snapshot was made; the records stay");
            None
        });
        let _ = finished.send((entity, head));
    }

    /// Folds everything an entity has into a new snapshot. `None` when there is nothing new.
    pub async fn fold(&self, group: GroupId, entity: &EntityId) -> Result<Option<SnapshotHead>, FoldError> {
        let _turn = self.turns.take(group).await;
        self.fold_in_turn(group, entity).await
    }

    async fn fold_in_turn(&self, group: GroupId, entity: &EntityId) -> Result<Option<SnapshotHead>, FoldError> {
        let old = self.journal.snapshot_head(group, entity).await?;
        let mut folding = Folding::resume(entity, self.journal.snapshot(group, entity).await?);
        loop {
            let batches = self.journal.batches(group, entity, folding.snapshot.sequence.next()).await?;
            if batches.is_empty() {
                break;
            }
            for (row, records) in batches {
                records.iter().try_for_each(|record| folding.add(record))?;
                (folding.log_index, folding.record_bytes_total) = (row.log_index, row.record_bytes_total);
            }
            tokio::task::yield_now().await;
        }
        if old.map_or(Sequence::ZERO, |old| old.sequence) == folding.snapshot.sequence {
            return Ok(None);
        }
        let (head, rows) = folding.finish(group, old);
        self.journal.store().write(rows).await?;
        Ok(Some(head))
    }
}

/// A snapshot being made.
struct Folding {
    snapshot: Snapshot,
    window: VecDeque<WindowEntry>,
    log_index: u64,
    record_bytes_total: u64,
}

impl Folding {
    fn resume(entity: &EntityId, old: Option<Snapshot>) -> Self {
        let mut snapshot = old.unwrap_or_else(|| Snapshot {
            entity: entity.clone(),
            sequence: Sequence::ZERO,
            at: Timestamp::ZERO,
            wake_at: None,
            state: AnyState::new(entity),
            window: Vec::new(),
        });
        let window = std::mem::take(&mut snapshot.window).into();
        Self { snapshot, window, log_index: 0, record_bytes_total: 0 }
    }

    fn add(&mut self, record: &Record) -> Result<(), FoldError> {
        let expected = self.snapshot.sequence.next();
        let entity = &self.snapshot.entity;
        if record.sequence != expected {
            return Err(JournalError::Gap { entity: entity.clone(), expected, found: record.sequence }.into());
        }
        let state = &mut self.snapshot.state;
        let replay = || record.events.iter().for_each(|event| state.apply(event, record.at));
        if catch_unwind(AssertUnwindSafe(replay)).is_err() {
            return Err(FoldError::Poisoned { entity: entity.clone(), sequence: record.sequence });
        }
        self.snapshot.sequence = record.sequence;
        self.snapshot.at = record.at;
        self.snapshot.wake_at = record.wake_at;
        if record.remembered == Remembered::Window {
            self.window.push_back(WindowEntry { stamp: record.stamp, at: record.at, reply: record.reply.clone() });
        }
        while self.window.front().is_some_and(|entry| record.at.since(entry.at) > WINDOW) {
            self.window.pop_front();
        }
        Ok(())
    }

    /// The rows that make it the entity's snapshot.
    fn finish(mut self, group: GroupId, old: Option<SnapshotHead>) -> (SnapshotHead, WriteBatch) {
        self.snapshot.window = self.window.into();
        #[cfg(feature = "canaries")]
        if crate::canary::is(crate::canary::Canary::WindowNotInSnapshot) {
            self.snapshot.window.clear();
        }
        let encoded = Bytes::from(codec::encode_snapshot(&self.snapshot));
        let entity = &self.snapshot.entity;
        let mut rows = WriteBatch::default();
        let mut chunk_count = 0_u32;
        for from in (0..encoded.len()).step_by(keys::CHUNK_BYTES_MAX) {
            let chunk = encoded.slice(from..encoded.len().min(from + keys::CHUNK_BYTES_MAX));
            rows.put(keys::snapshot_chunk(group, entity, chunk_count), chunk);
            chunk_count += 1;
        }
        for surplus in chunk_count..old.map_or(0, |old| old.chunk_count) {
            rows.delete(keys::snapshot_chunk(group, entity, surplus));
        }
        let head = SnapshotHead {
            sequence: self.snapshot.sequence,
            at: self.snapshot.at,
            wake_at: self.snapshot.wake_at,
            log_index: self.log_index,
            record_bytes_total: self.record_bytes_total,
            snapshot_bytes: encoded.len() as u64,
            chunk_count,
        };
        rows.put(keys::snapshot_head(group, entity), codec::encode_snapshot_head(&head));
        (head, rows)
    }
}
