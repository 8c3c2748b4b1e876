//! openraft's type parameters, chosen once for every group, real or simulated.

use std::fmt;
use std::sync::Arc;

use openraft::raft::responder::Responder;
use openraft_rt::deterministic_rng::DeterministicRng;
use openraft_rt_tokio::TokioRuntime;
use serde::{Deserialize, Serialize};

use crate::persistence::records::{EntityBatch, Verdict};

/// A node's number within the cluster; never reused.
pub type MemberId = u64;

/// How to reach a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its name, also the name in its certificate.
    pub name: String,
    /// `host:port` of its cluster listener; empty for a node that has none.
    pub address: String,
}

/// What one log entry carries: batches of entities of one shard, in the order they were proposed.
#[derive(Clone)]
pub struct ShardEntry(pub Arc<Vec<EntityBatch>>);

impl fmt::Debug for ShardEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ShardEntry({} batches)", self.0.len())
    }
}

impl fmt::Display for ShardEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What applying an entry answers: one verdict per batch, in order; empty for entries without batches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdicts(pub Vec<Verdict>);

/// Hands a result to whoever waits, without a task in between.
pub struct OnComplete<T>(Box<dyn FnOnce(T) + Send>);

impl<T> OnComplete<T> {
    /// Runs `then` with the result.
    pub fn new(then: impl FnOnce(T) + Send + 'static) -> Self {
        Self(Box::new(then))
    }
}

impl<T: Send + 'static> Responder<TypeConfig, T> for OnComplete<T> {
    fn on_complete(self, result: T) {
        (self.0)(result);
    }
}

/// The parameters of every group. Leader ids are Raft's own: one leader per term.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct TypeConfig;

impl openraft::RaftTypeConfig for TypeConfig {
    type D = ShardEntry;
    type R = Verdicts;
    type NodeId = MemberId;
    type Node = Member;
    type Term = u64;
    type LeaderId = openraft::impls::leader_id_std::LeaderId<u64, MemberId>;
    type Vote = openraft::impls::Vote<Self::LeaderId>;
    type Payload = openraft::EntryPayload<Self::D, Self::NodeId, Self::Node>;
    type Entry = openraft::Entry<<Self::LeaderId as openraft::vote::RaftLeaderId>::Committed, Self::Payload>;
    type AsyncRuntime = DeterministicRng<TokioRuntime>;
    type Responder<T>
        = OnComplete<T>
    where
        T: openraft::OptionalSend + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: openraft::OptionalSend + 'static;
    type ErrorSource = openraft::impls::BoxedErrorSource;
}

pub type LogId = openraft::alias::LogIdOf<TypeConfig>;
pub type Vote = openraft::alias::VoteOf<TypeConfig>;
pub type Entry = openraft::alias::EntryOf<TypeConfig>;
pub type Payload = openraft::EntryPayload<ShardEntry, MemberId, Member>;
pub type Membership = openraft::Membership<MemberId, Member>;
pub type StoredMembership = openraft::alias::StoredMembershipOf<TypeConfig>;
