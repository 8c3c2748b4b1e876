//! How members of a cluster talk: routed commands and Raft's messages take the same way (DESIGN §3).
//!
//! A [`Transport`] takes a message to a member and brings back the answer. It promises nothing about delivery: whatever
//! did not come back in time may have happened, and a routed command is then Unknown (P7). What it carries are values;
//! an implementor that leaves the process turns them into bytes, keeps frames and what is under way per peer bounded,
//! and gives up when the budget is spent.
//!
//! [`DirectTransport`] connects members of one process by plain calls: a node on its own is a cluster of one and is
//! connected to itself, and tests connect several. Each member answers through the [`Receive`] it opened.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, Weak};

use async_trait::async_trait;

use super::raft::messages::{RaftMessage, RaftReply};
use super::raft::types::MemberId;
use crate::actors::messages::{Answer, AskError, Request};
use crate::persistence::log::GroupId;

/// Why a message of Raft came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// Nobody answers there; the message was not delivered.
    #[error("member {to} cannot be reached")]
    Unreachable {
        /// Whom it was for.
        to: MemberId,
    },
    /// The member answers and has no such group, or its group has stopped.
    #[error("member {to} does not answer for group {group}: {reason}")]
    Refused {
        /// Whom it was for.
        to: MemberId,
        /// Which group.
        group: GroupId,
        /// Why.
        reason: String,
    },
}

/// The way to the members of a cluster.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// From now on, for as long as `home` lives, it answers what is sent to `member`.
    fn open(&self, member: MemberId, home: Arc<dyn Receive>);

    /// Takes a command to the member that leads the group. The request's budget is what is left of it. A member that
    /// cannot be reached is `NoLeader`, which is transient; silence is Unknown.
    async fn ask(&self, to: MemberId, group: GroupId, request: Request) -> Result<Answer, AskError>;

    /// Takes a message of Raft to a member's replica of the group.
    async fn raft(&self, to: MemberId, group: GroupId, message: RaftMessage) -> Result<RaftReply, TransportError>;
}

/// Answers what other members send.
#[async_trait]
pub trait Receive: Send + Sync + 'static {
    /// A routed command. Rejects with `NoLeader` when this member does not host the group.
    async fn ask(&self, group: GroupId, request: Request) -> Result<Answer, AskError>;

    /// A message of Raft.
    async fn raft(&self, group: GroupId, message: RaftMessage) -> Result<RaftReply, String>;
}

/// Members of one process, connected by calls.
#[derive(Default)]
pub struct DirectTransport(RwLock<BTreeMap<MemberId, Weak<dyn Receive>>>);

impl DirectTransport {
    fn member(&self, member: MemberId) -> Option<Arc<dyn Receive>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&member)?.upgrade()
    }
}

#[async_trait]
impl Transport for DirectTransport {
    fn open(&self, member: MemberId, home: Arc<dyn Receive>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(member, Arc::downgrade(&home));
    }

    async fn ask(&self, to: MemberId, group: GroupId, request: Request) -> Result<Answer, AskError> {
        match self.member(to) {
            Some(member) => member.ask(group, request).await,
            None => Err(AskError::NoLeader { shard: group.0 }),
        }
    }

    async fn raft(&self, to: MemberId, group: GroupId, message: RaftMessage) -> Result<RaftReply, TransportError> {
        let member = self.member(to).ok_or(TransportError::Unreachable { to })?;
        member.raft(group, message).await.map_err(|reason| TransportError::Refused { to, group, reason })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::actors::messages::Origin;
    use crate::actors::region::HostedShards;
    use crate::cluster::gateway::Gateway;
    use crate::domain::entity::{Fingerprint, Stamp};
    use crate::domain::ids::{CommandId, EntityId};
    use crate::domain::registry::AnyCommand;
    use crate::domain::stock::StockCommand;
    use crate::domain::testkit::{id16, sku};

    const GROUP: GroupId = GroupId(1);

    fn request(budget: Duration) -> Request {
        Request {
            entity: EntityId::stock(&sku("TEA")),
            command: AnyCommand::Stock(StockCommand::Show),
            stamp: Stamp { command: CommandId(id16(1)), fingerprint: Fingerprint([1; 32]) },
            origin: Origin::Router,
            budget,
        }
    }

    /// Answers every command with whom it reached, as a rejection.
    struct Named(MemberId);

    #[async_trait]
    impl Receive for Named {
        async fn ask(&self, _: GroupId, _: Request) -> Result<Answer, AskError> {
            Err(AskError::NoLeader { shard: self.0 as u32 + 100 })
        }

        async fn raft(&self, _: GroupId, _: RaftMessage) -> Result<RaftReply, String> {
            Err(format!("this is {}", self.0))
        }
    }

    fn vote() -> RaftMessage {
        let vote = openraft::impls::Vote::new(1, 1);
        RaftMessage::Vote(openraft::raft::VoteRequest::new(vote, None))
    }

    #[tokio::test]
    async fn messages_reach_the_member_they_are_for_and_nobody_else() {
        let transport = DirectTransport::default();
        let homes: Vec<Arc<dyn Receive>> = vec![Arc::new(Named(1)), Arc::new(Named(2))];
        for (member, home) in (1..).zip(&homes) {
            transport.open(member, home.clone());
        }
        for member in 1..=2_u64 {
            let answer = transport.ask(member, GROUP, request(Duration::from_secs(1))).await;
            assert_eq!(answer, Err(AskError::NoLeader { shard: member as u32 + 100 }));
            let refused = transport.raft(member, GROUP, vote()).await.err().expect("refused");
            let reason = format!("this is {member}");
            assert_eq!(refused, TransportError::Refused { to: member, group: GROUP, reason });
        }
    }

    #[tokio::test]
    async fn a_member_that_is_gone_or_never_was_is_unreachable() {
        let transport = DirectTransport::default();
        let home: Arc<dyn Receive> = Arc::new(Named(1));
        transport.open(1, home.clone());
        drop(home);
        for member in [1, 7] {
            let unreachable = transport.raft(member, GROUP, vote()).await.err().expect("refused");
            assert_eq!(unreachable, TransportError::Unreachable { to: member });
            let answer = transport.ask(member, GROUP, request(Duration::from_secs(1))).await;
            assert_eq!(answer, Err(AskError::NoLeader { shard: 1 }));
        }
    }

    #[tokio::test]
    async fn a_command_whose_budget_is_spent_is_dropped_and_a_group_that_is_elsewhere_refused() {
        let gateway = Gateway::new(HostedShards::default());
        assert!(matches!(gateway.ask(GROUP, request(Duration::ZERO)).await, Err(AskError::Unknown { .. })));
        let elsewhere = gateway.ask(GROUP, request(Duration::from_secs(1))).await;
        assert_eq!(elsewhere, Err(AskError::NoLeader { shard: 1 }));
        assert!(gateway.raft(GROUP, vote()).await.is_err());
    }
}
