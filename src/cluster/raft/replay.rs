//! What Raft does with a group's log at start, without Raft: for tools on a directory no node is using.
//!
//! [`catch_up`] applies to the store what the log has and the store lacks. It sends nothing to anybody, so owed
//! commands and payments stay owed, and makes no snapshots. [`begin_behind`] makes an empty log begin behind a
//! checkpoint, as on a replica that was sent one.

use std::io;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::bytes;
use super::state_machine::{MachineParts, OnApplied, StateMachine};
use crate::persistence::checkpoint::CheckpointKeeper;
use crate::persistence::codec::Applied;
use crate::persistence::fold;
use crate::persistence::log::{GroupId, Log, LogError, LogValue};
use crate::persistence::store::Store;

/// Entry bytes read from the log at once.
const READ_BYTES: usize = 4 << 20;

/// Applies every log entry of a group that the store has not applied. Answers how many there were.
pub async fn catch_up(
    group: GroupId,
    log: &dyn Log,
    store: Arc<dyn Store>,
    checkpoints: CheckpointKeeper,
) -> io::Result<u64> {
    let nobody: OnApplied = Arc::new(|_, _, _| ());
    let (folder, _) = fold::channel();
    let (on_applied, on_installed) = (nobody.clone(), nobody);
    let parts = MachineParts { group, store, checkpoints, folder, on_applied, on_installed };
    let mut machine = StateMachine::open(parts).await?;
    let range = log.range(group).await.map_err(io::Error::other)?;
    let first = machine.applied_index().map_or(range.first, |index| index + 1);
    let mut from = first;
    while from < range.next {
        let entries = log.read(group, from, range.next, READ_BYTES).await.map_err(io::Error::other)?;
        for stored in &entries {
            machine.replay(bytes::decode_entry(stored).map_err(io::Error::other)?).await?;
        }
        match entries.last() {
            Some(last) => from = last.index + 1,
            None => return Err(io::Error::other(format!("log entry {from} of group {group} is missing"))),
        }
    }
    Ok(from - first)
}

/// Lets the empty log of a group begin behind what a checkpoint is labelled with.
pub async fn begin_behind(group: GroupId, log: &dyn Log, applied: &Applied) -> io::Result<()> {
    let (last, _) = bytes::decode_applied(&applied.raft).map_err(io::Error::other)?;
    put(group, log, LogValue::Purged, bytes::encode_log_id(last)).await.map_err(io::Error::other)?;
    log.purge(group, applied.index + 1).await.map_err(io::Error::other)
}

/// Stores a named value of a group and waits until it is durable.
pub async fn put(group: GroupId, log: &dyn Log, value: LogValue, bytes: Vec<u8>) -> Result<(), LogError> {
    let (done, outcome) = oneshot::channel();
    log.put(group, value, bytes, Box::new(move |result| drop(done.send(result))));
    outcome.await.unwrap_or(Err(LogError::Closed))
}
