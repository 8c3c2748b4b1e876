//! Keeps a node's disk in bounds: checkpoints groups whose log has grown, purges behind two good checkpoints (P26),
//! reclaims log files, sweeps out what is past its time (P3, P27, P29), and closes the gate for client writes while the
//! disk is nearly full (P28).
//!
//! Two tasks per node, one group at a time each, so that upkeep never takes more than a fraction of the disk. A step
//! that fails is tried again at the next round; nothing here is needed for correctness, only for not running out of
//! space.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::raft::group::Group;
use crate::actors::storage_gate::StorageGate;
use crate::clock::NodeClock;
use crate::persistence::checkpoint::{CheckpointError, CheckpointKeeper};
use crate::persistence::log::{GroupId, Log};
use crate::persistence::store::Store;
use crate::persistence::trim::{Trimmed, Trimmer};

/// Between two looks at the disk's free space.
const SPACE_INTERVAL: Duration = Duration::from_secs(1);
/// Between two looks at the groups' logs.
const LOGS_INTERVAL: Duration = Duration::from_secs(5);
/// How long a checkpoint may take before the round goes on without it.
const CHECKPOINT_TIMEOUT: Duration = Duration::from_secs(600);

/// Bytes of ballast beside this reserve: given back when the disk is nearly full, so that what is under way can finish.
pub const fn ballast_bytes(reserve_bytes: u64) -> u64 {
    reserve_bytes / 4
}

/// When to act.
#[derive(Clone, Copy, Debug)]
pub struct UpkeepOptions {
    /// Log bytes of a group since its last checkpoint before the next one, unless that checkpoint is larger.
    pub checkpoint_bytes_min: u64,
    /// Free bytes below which client writes are refused.
    pub reserve_bytes: u64,
    /// Between two sweeps.
    pub sweep_interval: Duration,
}

/// The disk's free space, and the reserve that is given back when it is gone.
#[async_trait]
pub trait Space: Send + Sync + 'static {
    /// Bytes free for the data directory; `None` when the system does not say.
    fn free_bytes(&self) -> Option<u64>;
    /// The disk is nearly full: give back the ballast so that what is under way can finish.
    async fn release_ballast(&self);
    /// There is room again: take the ballast back.
    async fn restore_ballast(&self);
}

/// What upkeep works on.
pub struct Upkeep {
    /// When to act.
    pub options: UpkeepOptions,
    /// The node's groups.
    pub groups: BTreeMap<GroupId, Group>,
    /// Their log.
    pub log: Arc<dyn Log>,
    /// Their store.
    pub store: Arc<dyn Store>,
    /// Their checkpoints.
    pub checkpoints: CheckpointKeeper,
    /// Removes what is past its time.
    pub trimmer: Trimmer,
    /// The node's time.
    pub clock: Arc<NodeClock>,
    /// Client writes.
    pub gate: StorageGate,
    /// The disk.
    pub space: Arc<dyn Space>,
}

impl Upkeep {
    /// Goes round for as long as the node runs; every step may be cut off anywhere.
    pub async fn run(self) {
        tokio::join!(self.watch_space(), self.look_after_logs(), self.sweep_all());
    }

    /// Sweeps every group, then rests. The first sweep waits too: a starting node has better things to do.
    async fn sweep_all(&self) {
        loop {
            tokio::time::sleep(self.options.sweep_interval).await;
            for group in self.groups.keys() {
                match self.trimmer.sweep(*group, self.clock.now()).await {
                    Ok(removed) if removed != Trimmed::default() => {
                        let Trimmed { batches, commands, feed_rows } = removed;
                        tracing::info!(%group, batches, commands, feed_rows, "swept out what was past its time");
                    }
                    Ok(_) => {}
                    Err(error) => tracing::warn!(%group, %error, "a sweep failed, trying again at the next"),
                }
            }
        }
    }

    /// On its own, because nothing else here may keep the gate from closing in time.
    async fn watch_space(&self) {
        loop {
            self.look_at_space().await;
            tokio::time::sleep(SPACE_INTERVAL).await;
        }
    }

    pub(super) async fn look_at_space(&self) {
        let Some(free) = self.space.free_bytes() else { return };
        metrics::gauge!("stockroom_disk_free_bytes").set(free as f64);
        // What releasing the ballast gave back is no room: with it the gate would open, take it back, and close again.
        let given_back = if self.gate.is_closed() { ballast_bytes(self.options.reserve_bytes) } else { 0 };
        let full = free < self.options.reserve_bytes.saturating_add(given_back);
        #[cfg(feature = "canaries")]
        let full = full || self.gate.is_closed() && crate::canary::is(crate::canary::Canary::GateStaysClosed);
        if self.gate.set_closed(full) {
            if full {
                tracing::error!(free, reserve = self.options.reserve_bytes, "disk nearly full: client writes refused");
                self.space.release_ballast().await;
            } else {
                tracing::info!(free, "there is room again: client writes accepted");
                self.space.restore_ballast().await;
            }
        }
    }

    async fn look_after_logs(&self) {
        loop {
            tokio::time::sleep(LOGS_INTERVAL).await;
            self.look_at_logs().await;
        }
    }

    pub(super) async fn look_at_logs(&self) {
        let holding: BTreeSet<GroupId> = match self.log.reclaim().await {
            Ok(groups) => groups.into_iter().collect(),
            Err(error) => {
                tracing::warn!(%error, "log files could not be reclaimed");
                return;
            }
        };
        for (id, group) in &self.groups {
            if let Err(error) = self.look_after(group, holding.contains(id)).await {
                tracing::warn!(group = %id, %error, "upkeep of a group failed, trying again later");
            }
        }
    }

    /// Checkpoints the group when its log has grown or holds up files, then purges what two checkpoints cover.
    async fn look_after(&self, group: &Group, holds_files: bool) -> Result<(), CheckpointError> {
        let newest = self.checkpoints.list(group.id()).await?.into_iter().next();
        let grown = group.appended_bytes();
        let size = newest.as_ref().map_or(0, |checkpoint| checkpoint.bytes);
        let is_behind = group.applied_index() > newest.as_ref().map(|checkpoint| checkpoint.index);
        let is_due = grown >= self.options.checkpoint_bytes_min.max(size) || holds_files;
        if !(is_due && is_behind) {
            return Ok(());
        }
        let before = newest.map(|checkpoint| checkpoint.index);
        if !self.checkpoint(group, before).await? {
            return Ok(());
        }
        group.reset_appended_bytes(grown);
        // A backup under way needs the log behind its checkpoints; the next checkpoint purges this too.
        let Some(_turn) = self.checkpoints.try_hold_logs() else { return Ok(()) };
        // The store must not fall back, after a crash, behind what the log still has.
        self.store.sync().await?;
        if let Some(purgeable) =
            self.checkpoints.purgeable_before(group.id()).await?.and_then(|index| index.checked_sub(1))
        {
            group.purge(purgeable).await;
            tracing::info!(group = %group.id(), through = purgeable, "log purged behind two checkpoints");
        }
        Ok(())
    }

    /// Makes a checkpoint through Raft, which then knows what it may purge. False when it fails or takes too long.
    async fn checkpoint(&self, group: &Group, before: Option<u64>) -> Result<bool, CheckpointError> {
        let failed = group.checkpoints_failed();
        group.checkpoint().await;
        let deadline = tokio::time::Instant::now() + CHECKPOINT_TIMEOUT;
        while tokio::time::Instant::now() < deadline {
            let newest = self.checkpoints.list(group.id()).await?.into_iter().next().map(|checkpoint| checkpoint.index);
            if newest > before && group.snapshot_index() >= newest {
                return Ok(true);
            }
            if group.checkpoints_failed() > failed {
                return Ok(false);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        tracing::warn!(group = %group.id(), "a checkpoint takes long");
        Ok(false)
    }
}
