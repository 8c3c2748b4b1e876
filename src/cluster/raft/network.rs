//! Raft's messages to other members, over the node's transport.
//!
//! A member that cannot be reached is `Unreachable`, which is what openraft expects of a peer that is down: it backs
//! off and tries again. So is one that does not answer within the time openraft gives a message.

use std::sync::Arc;

use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse,
};
use openraft::{AnyError, OptionalSend};

use super::messages::{RaftMessage, RaftReply, Snapshot};
use super::state_machine::CheckpointData;
use super::types::{Member, MemberId, TypeConfig, Vote};
use crate::cluster::transport::Transport;
use crate::persistence::log::GroupId;

/// Makes connections to the members of a group.
pub struct Network {
    /// Which group.
    pub group: GroupId,
    /// The way to its members.
    pub transport: Arc<dyn Transport>,
}

/// The connection to one member.
pub struct Peer {
    target: MemberId,
    group: GroupId,
    transport: Arc<dyn Transport>,
}

impl Peer {
    async fn send(&self, message: RaftMessage, option: &RPCOption) -> Result<RaftReply, Unreachable<TypeConfig>> {
        let sent = self.transport.raft(self.target, self.group, message);
        match tokio::time::timeout(option.hard_ttl(), sent).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(error)) => Err(Unreachable::new(&error)),
            Err(elapsed) => Err(Unreachable::new(&elapsed)),
        }
    }

    fn mixed_up(&self) -> Unreachable<TypeConfig> {
        Unreachable::new(&AnyError::error(format!("member {} answered another question", self.target)))
    }

    async fn ask_for_vote(
        &self,
        message: RaftMessage,
        option: &RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        match self.send(message, option).await.map_err(RPCError::Unreachable)? {
            RaftReply::Vote(reply) => Ok(reply),
            _ => Err(RPCError::Unreachable(self.mixed_up())),
        }
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: MemberId, _node: &Member) -> Peer {
        Peer { target, group: self.group, transport: self.transport.clone() }
    }
}

impl RaftNetworkV2<TypeConfig> for Peer {
    type SnapshotData = CheckpointData;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        match self.send(RaftMessage::Append(rpc), &option).await.map_err(RPCError::Unreachable)? {
            RaftReply::Append(reply) => Ok(reply),
            _ => Err(RPCError::Unreachable(self.mixed_up())),
        }
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.ask_for_vote(RaftMessage::Vote(rpc), &option).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.ask_for_vote(RaftMessage::PreVote(rpc), &option).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let sent = self.transport.raft(self.target, self.group, RaftMessage::Snapshot(vote, snapshot));
        // A checkpoint takes as long as it takes; openraft says when it no longer matters.
        tokio::select! {
            biased;
            closed = cancel => Err(StreamingError::Closed(closed)),
            reply = sent => match reply.map_err(|error| StreamingError::Unreachable(Unreachable::new(&error)))? {
                RaftReply::Snapshot(reply) => Ok(reply),
                _ => Err(StreamingError::Unreachable(self.mixed_up())),
            },
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        match self.send(RaftMessage::TransferLeader(request), &option).await.map_err(RPCError::Unreachable)? {
            RaftReply::TransferLeader(reply) => Ok(reply),
            _ => Err(RPCError::Unreachable(self.mixed_up())),
        }
    }
}
