//! A node's door for other members: routed commands go to the shards hosted here, Raft's messages to its groups.
//!
//! The node's own router takes the same door for what is hosted here, so a command is treated alike wherever it came
//! from.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use async_trait::async_trait;
use tokio::sync::oneshot;

use super::raft::group::Group;
use super::raft::messages::{RaftMessage, RaftReply};
use super::raft::types::MemberId;
use super::transport::Receive;
use crate::actors::messages::{Answer, AskError, Request};
use crate::actors::region::HostedShards;
use crate::actors::shard::ShardMessage;
use crate::persistence::log::GroupId;

/// The door of one node.
pub struct Gateway {
    hosted: HostedShards,
    groups: RwLock<BTreeMap<GroupId, Group>>,
}

impl Gateway {
    /// A door to the shards of this table, and to no group yet.
    pub fn new(hosted: HostedShards) -> Self {
        Self { hosted, groups: RwLock::default() }
    }

    /// From now on messages of Raft reach this group.
    pub fn connect(&self, group: Group) {
        self.groups.write().unwrap_or_else(PoisonError::into_inner).insert(group.id(), group);
    }

    /// Whether the group's shard is hosted here.
    pub fn hosts(&self, group: GroupId) -> bool {
        self.hosted.get(group).is_some()
    }

    /// Who leads the group, as far as this node knows.
    pub fn leader_of(&self, group: GroupId) -> Option<MemberId> {
        self.group(group)?.leader()
    }

    fn group(&self, group: GroupId) -> Option<Group> {
        self.groups.read().unwrap_or_else(PoisonError::into_inner).get(&group).cloned()
    }
}

#[async_trait]
impl Receive for Gateway {
    async fn ask(&self, group: GroupId, request: Request) -> Result<Answer, AskError> {
        let budget = request.budget;
        if budget.is_zero() {
            return Err(AskError::Unknown { reason: "the caller's time was spent on the way" });
        }
        let shard = self.hosted.get(group).ok_or(AskError::NoLeader { shard: group.0 })?;
        let (reply, answer) = oneshot::channel();
        if shard.cast(ShardMessage::Ask { request, reply: Some(reply) }).is_err() {
            return Err(AskError::NoLeader { shard: group.0 });
        }
        match tokio::time::timeout(budget, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(AskError::Unknown { reason: "the entity ended before it answered" }),
            Err(_) => Err(AskError::Unknown { reason: "no answer in time" }),
        }
    }

    async fn raft(&self, group: GroupId, message: RaftMessage) -> Result<RaftReply, String> {
        let group = self.group(group).ok_or("it has no replica of it")?;
        group.receive(message).await
    }
}
