//! The state machine of a group: committed entries become verdicts, rows of the store, and a signal to whoever follows.
//!
//! All rules are the applier's; here they meet openraft. Answers leave as soon as the verdict stands: the log already
//! has the entry, the store catches up behind its queue (P24). A store failure is reported to openraft, which stops the
//! group: the node then restarts and rebuilds the store from checkpoint and log.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::{Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use tokio::sync::mpsc;

use super::bytes;
use super::types::{Entry, LogId, StoredMembership, TypeConfig, Verdicts};
use crate::persistence::applier::Applier;
use crate::persistence::checkpoint::{Checkpoint, CheckpointError, CheckpointKeeper};
use crate::persistence::fold::{FoldRequest, FoldRequests};
use crate::persistence::journal::Journal;
use crate::persistence::log::GroupId;
use crate::persistence::records::{EntityBatch, Verdict};
use crate::persistence::store::Store;

type Snapshot = openraft::alias::SnapshotOf<TypeConfig, CheckpointData>;
type SnapshotMeta = openraft::alias::SnapshotMetaOf<TypeConfig>;

/// A kept checkpoint and who keeps it: what openraft calls snapshot data. Its bytes are read when they are sent.
#[derive(Clone)]
pub struct CheckpointData {
    /// Who keeps it; another node's when it is on its way.
    pub keeper: CheckpointKeeper,
    /// Which one; `None` for a group that has applied nothing yet.
    pub checkpoint: Option<Checkpoint>,
}

/// Told the index of every applied entry, or of an installed checkpoint, and the batches it stored.
pub type OnApplied = Arc<dyn Fn(GroupId, u64, &[&EntityBatch]) + Send + Sync>;

/// What a state machine works with.
pub struct MachineParts {
    /// Whose entries.
    pub group: GroupId,
    /// Where rows go.
    pub store: Arc<dyn Store>,
    /// Who makes checkpoints.
    pub checkpoints: CheckpointKeeper,
    /// Who makes the snapshots that are due.
    pub folder: mpsc::Sender<FoldRequest>,
    /// Told after each applied entry.
    pub on_applied: OnApplied,
    /// Told after a checkpoint replaced the group's rows.
    pub on_installed: OnApplied,
}

/// One group's state machine.
pub struct StateMachine {
    parts: MachineParts,
    applier: Applier,
    last: Option<LogId>,
    membership: StoredMembership,
    /// The same, as it is stored.
    frozen: bytes::FrozenMembership,
    checkpoints_failed: Arc<AtomicU64>,
}

impl MachineParts {
    /// An applier that continues where the store is and asks for snapshots.
    async fn applier(&self) -> io::Result<Applier> {
        let applier = Applier::open(self.store.clone(), self.group).await.map_err(io::Error::other)?;
        Ok(applier.with_folding(FoldRequests::new(self.folder.clone())))
    }
}

impl StateMachine {
    /// Continues where the store is.
    pub async fn open(parts: MachineParts) -> io::Result<Self> {
        let (last, membership) = Self::stored_position(parts.group, &parts.store).await?;
        let applier = parts.applier().await?;
        let frozen = (&membership).into();
        Ok(Self { parts, applier, last, membership, frozen, checkpoints_failed: Arc::default() })
    }

    /// Counts checkpoints that could not be made.
    pub fn checkpoints_failed(&self) -> Arc<AtomicU64> {
        self.checkpoints_failed.clone()
    }

    async fn stored_position(group: GroupId, store: &Arc<dyn Store>) -> io::Result<(Option<LogId>, StoredMembership)> {
        match Journal::new(store.clone()).applied(group).await.map_err(io::Error::other)? {
            Some(applied) => bytes::decode_applied(&applied.raft).map_err(io::Error::other),
            None => Ok((None, StoredMembership::default())),
        }
    }

    /// Index of the last applied entry.
    pub fn applied_index(&self) -> Option<u64> {
        self.applier.applied()
    }

    /// Applies one entry of which nobody waits for the verdicts.
    pub async fn replay(&mut self, entry: Entry) -> io::Result<()> {
        self.apply_one((entry, None)).await
    }

    fn join(&mut self, membership: StoredMembership) {
        self.frozen = (&membership).into();
        self.membership = membership;
    }

    async fn apply_one(&mut self, (entry, responder): EntryResponder<TypeConfig>) -> io::Result<()> {
        let log_id = entry.log_id;
        if let EntryPayload::Membership(membership) = &entry.payload {
            self.join(StoredMembership::new(Some(log_id), membership.clone()));
        }
        let batches = match &entry.payload {
            EntryPayload::Normal(shard_entry) => shard_entry.0.as_slice(),
            _ => &[],
        };
        let raft = bytes::encode_applied(Some(log_id), &self.frozen);
        let verdicts = self.applier.apply(log_id.index, raft.into(), batches).await.map_err(io::Error::other)?;
        self.last = Some(log_id);
        let stored = batches.iter().zip(&verdicts).filter(|(_, verdict)| **verdict == Verdict::Stored);
        let stored: Vec<&EntityBatch> = stored.map(|(batch, _)| batch).collect();
        if let Some(responder) = responder {
            responder.send(Verdicts(verdicts));
        }
        (self.parts.on_applied)(self.parts.group, log_id.index, &stored);
        Ok(())
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = CheckpointData;
    type SnapshotBuilder = CheckpointBuilder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.last, self.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some(entry) = entries.next().await {
            self.apply_one(entry?).await?;
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> CheckpointBuilder {
        let (checkpoints, failed) = (self.parts.checkpoints.clone(), self.checkpoints_failed.clone());
        CheckpointBuilder { group: self.parts.group, checkpoints, failed }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: CheckpointData) -> Result<(), io::Error> {
        let CheckpointData { keeper, checkpoint: Some(checkpoint) } = snapshot else { return Ok(()) };
        let length = usize::try_from(checkpoint.bytes).map_err(io::Error::other)?;
        let data = keeper.read(&checkpoint, 0, length).await.map_err(io::Error::other)?;
        let MachineParts { group, checkpoints, .. } = &self.parts;
        let received = checkpoints.receive(*group, checkpoint.index, data.to_vec()).await.map_err(io::Error::other)?;
        checkpoints.restore(&received).await.map_err(io::Error::other)?;
        self.applier = self.parts.applier().await?;
        self.last = meta.last_log_id;
        self.join(meta.last_membership.clone());
        (self.parts.on_installed)(self.parts.group, checkpoint.index, &[]);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        let MachineParts { group, checkpoints, .. } = &self.parts;
        let newest = checkpoints.newest_good(*group).await.map_err(io::Error::other)?;
        match newest {
            Some(checkpoint) => into_snapshot(checkpoints.clone(), checkpoint).await.map(Some),
            None => Ok(None),
        }
    }
}

/// Makes one checkpoint of one group.
pub struct CheckpointBuilder {
    group: GroupId,
    checkpoints: CheckpointKeeper,
    failed: Arc<AtomicU64>,
}

impl RaftSnapshotBuilder<TypeConfig> for CheckpointBuilder {
    type SnapshotData = CheckpointData;

    /// Never fails: openraft would stop the group for good, and the next round of upkeep tries again anyway.
    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let keeper = self.checkpoints.clone();
        match keeper.make(self.group).await {
            Ok(checkpoint) => match into_snapshot(keeper.clone(), checkpoint).await {
                Ok(snapshot) => return Ok(snapshot),
                Err(error) => tracing::warn!(group = %self.group, %error, "a new checkpoint cannot be read back"),
            },
            Err(CheckpointError::Empty { .. }) => {}
            Err(error) => tracing::warn!(group = %self.group, %error, "no checkpoint now, trying again later"),
        }
        self.failed.fetch_add(1, Ordering::Relaxed);
        let meta = SnapshotMeta { last_log_id: None, last_membership: StoredMembership::default() };
        Ok(Snapshot { meta, snapshot: CheckpointData { keeper, checkpoint: None } })
    }
}

async fn into_snapshot(keeper: CheckpointKeeper, checkpoint: Checkpoint) -> io::Result<Snapshot> {
    let applied = keeper.verify(&checkpoint).await.map_err(io::Error::other)?;
    let (last_log_id, last_membership) = bytes::decode_applied(&applied.raft).map_err(io::Error::other)?;
    let meta = SnapshotMeta { last_log_id, last_membership };
    Ok(Snapshot { meta, snapshot: CheckpointData { keeper, checkpoint: Some(checkpoint) } })
}
