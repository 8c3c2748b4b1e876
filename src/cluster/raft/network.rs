//! Raft's messages to other nodes.
//!
//! A group with one voter sends none. What a message to a member without a reachable transport answers is
//! `Unreachable`, which is what openraft expects of a peer that is down.

use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse};
use openraft::{AnyError, OptionalSend};

use super::state_machine::CheckpointData;
use super::types::{Member, MemberId, TypeConfig, Vote};

type Snapshot = openraft::alias::SnapshotOf<TypeConfig, CheckpointData>;

/// Makes connections to the members of a group.
pub struct Network;

/// The connection to one member.
pub struct Peer {
    target: MemberId,
    member: Member,
}

impl Peer {
    fn unreachable(&self) -> Unreachable<TypeConfig> {
        let place = if self.member.address.is_empty() { "no address" } else { self.member.address.as_str() };
        Unreachable::new(&AnyError::error(format!("no transport to member {} at {place}", self.target)))
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: MemberId, node: &Member) -> Peer {
        Peer { target, member: node.clone() }
    }
}

impl RaftNetworkV2<TypeConfig> for Peer {
    type SnapshotData = CheckpointData;

    async fn append_entries(
        &mut self,
        _rpc: AppendEntriesRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        Err(RPCError::Unreachable(self.unreachable()))
    }

    async fn vote(
        &mut self,
        _rpc: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        Err(RPCError::Unreachable(self.unreachable()))
    }

    async fn pre_vote(
        &mut self,
        _rpc: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        Err(RPCError::Unreachable(self.unreachable()))
    }

    async fn full_snapshot(
        &mut self,
        _vote: Vote,
        _snapshot: Snapshot,
        _cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        Err(StreamingError::Unreachable(self.unreachable()))
    }
}
