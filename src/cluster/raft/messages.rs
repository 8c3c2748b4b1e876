//! What the replicas of a group say to each other, as values.

use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse,
};

use super::state_machine::CheckpointData;
use super::types::{TypeConfig, Vote};

/// A checkpoint on its way to a replica that is too far behind for the log.
pub type Snapshot = openraft::alias::SnapshotOf<TypeConfig, CheckpointData>;

/// A message to a replica.
pub enum RaftMessage {
    /// Entries, or a heartbeat.
    Append(AppendEntriesRequest<TypeConfig>),
    /// Asks for a vote.
    Vote(VoteRequest<TypeConfig>),
    /// Asks whether a vote would be given.
    PreVote(VoteRequest<TypeConfig>),
    /// A checkpoint, from the leader of this vote.
    Snapshot(Vote, Snapshot),
    /// Leadership is handed over.
    TransferLeader(TransferLeaderRequest<TypeConfig>),
}

/// The answer to a message of the same name.
pub enum RaftReply {
    /// Also to heartbeats.
    Append(AppendEntriesResponse<TypeConfig>),
    /// To both kinds of vote.
    Vote(VoteResponse<TypeConfig>),
    /// Once it is installed.
    Snapshot(SnapshotResponse<TypeConfig>),
    /// Whether it is taken.
    TransferLeader(TransferLeaderResponse<TypeConfig>),
}
