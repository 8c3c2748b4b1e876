//! Checkpoints as openraft's snapshots: a snapshot is the name of a kept file, never its bytes in memory.

use std::io;

use async_trait::async_trait;

use super::state_machine::Checkpoints;
use crate::persistence::checkpoint::{Checkpoint, CheckpointKeeper};
use crate::persistence::log::GroupId;

#[async_trait]
impl Checkpoints for CheckpointKeeper {
    async fn newest(&self, group: GroupId) -> io::Result<Option<(Vec<u8>, Checkpoint)>> {
        let Some(checkpoint) = self.newest_good(group).await.map_err(io::Error::other)? else { return Ok(None) };
        let applied = self.verify(&checkpoint).await.map_err(io::Error::other)?;
        Ok(Some((applied.raft.to_vec(), checkpoint)))
    }

    async fn make(&self, group: GroupId) -> io::Result<(Vec<u8>, Checkpoint)> {
        let checkpoint = CheckpointKeeper::make(self, group).await.map_err(io::Error::other)?;
        let applied = self.verify(&checkpoint).await.map_err(io::Error::other)?;
        Ok((applied.raft.to_vec(), checkpoint))
    }

    async fn install(&self, _group: GroupId, _raft: &[u8], checkpoint: Checkpoint) -> io::Result<()> {
        self.restore(&checkpoint).await.map(|_| ()).map_err(io::Error::other)
    }
}
