//! Frozen layouts of what Raft keeps: votes, log ids, memberships, entries. openraft's own structs may change shape
//! between releases; these may not (P30).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use openraft::EntryPayload;
use serde::{Deserialize, Serialize};

use super::types::{Entry, LogId, Member, MemberId, Membership, ShardEntry, StoredMembership, Vote};
use crate::domain::entity::Codec;
use crate::persistence::codec::{self, Bincode, DecodeError};
use crate::persistence::envelope::{self, ValueKind};
use crate::persistence::log::LogEntry;

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct LogIdV1 {
    term: u64,
    index: u64,
}

impl From<LogId> for LogIdV1 {
    fn from(id: LogId) -> Self {
        Self { term: id.leader_id.term, index: id.index }
    }
}

impl From<LogIdV1> for LogId {
    fn from(id: LogIdV1) -> Self {
        LogId { leader_id: id.term.into(), index: id.index }
    }
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct VoteV1 {
    term: u64,
    voted_for: MemberId,
    committed: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct MembershipV1 {
    configs: Vec<BTreeSet<MemberId>>,
    members: BTreeMap<MemberId, MemberV1>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct MemberV1 {
    name: String,
    address: String,
}

/// What [`encode_applied`] writes, in the layout of [`AppliedV1`].
#[derive(Serialize)]
struct AppliedV1Ref<'a> {
    last: Option<LogIdV1>,
    membership_at: Option<LogIdV1>,
    membership: &'a MembershipV1,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct AppliedV1 {
    last: Option<LogIdV1>,
    membership_at: Option<LogIdV1>,
    membership: MembershipV1,
}

impl From<&Membership> for MembershipV1 {
    fn from(membership: &Membership) -> Self {
        let member = |member: &Member| MemberV1 { name: member.name.clone(), address: member.address.clone() };
        Self {
            configs: membership.get_joint_config().clone(),
            members: membership.nodes().map(|(id, node)| (*id, member(node))).collect(),
        }
    }
}

impl TryFrom<MembershipV1> for Membership {
    type Error = DecodeError;

    fn try_from(stored: MembershipV1) -> Result<Self, DecodeError> {
        if stored.configs.is_empty() && stored.members.is_empty() {
            return Ok(Self::default());
        }
        let members = stored
            .members
            .into_iter()
            .map(|(id, member)| (id, Member { name: member.name, address: member.address }))
            .collect::<BTreeMap<_, _>>();
        Self::new(stored.configs, members)
            .map_err(|error| DecodeError::Malformed { reason: format!("membership: {error}") })
    }
}

pub fn encode_vote(vote: &Vote) -> Vec<u8> {
    let stored = VoteV1 { term: vote.leader_id.term, voted_for: vote.leader_id.voted_for, committed: vote.committed };
    seal(ValueKind::RaftVote, &stored)
}

pub fn decode_vote(bytes: &[u8]) -> Result<Vote, DecodeError> {
    let stored: VoteV1 = open(ValueKind::RaftVote, bytes)?;
    let mut vote = Vote::new(stored.term, stored.voted_for);
    vote.committed = stored.committed;
    Ok(vote)
}

pub fn encode_log_id(id: Option<LogId>) -> Vec<u8> {
    seal(ValueKind::RaftLogId, &id.map(LogIdV1::from))
}

pub fn decode_log_id(bytes: &[u8]) -> Result<Option<LogId>, DecodeError> {
    let stored: Option<LogIdV1> = open(ValueKind::RaftLogId, bytes)?;
    Ok(stored.map(LogId::from))
}

/// What the store remembers of Raft beside the data: the last applied entry and the membership then in force.
pub fn encode_applied(last: Option<LogId>, membership: &FrozenMembership) -> Vec<u8> {
    let FrozenMembership { at: membership_at, membership } = membership;
    seal(
        ValueKind::RaftApplied,
        &AppliedV1Ref { last: last.map(LogIdV1::from), membership_at: *membership_at, membership },
    )
}

/// A membership as it is stored: made once per change of members, written with every entry.
pub struct FrozenMembership {
    at: Option<LogIdV1>,
    membership: MembershipV1,
}

impl From<&StoredMembership> for FrozenMembership {
    fn from(membership: &StoredMembership) -> Self {
        Self { at: membership.log_id().map(LogIdV1::from), membership: membership.membership().into() }
    }
}

pub fn decode_applied(bytes: &[u8]) -> Result<(Option<LogId>, StoredMembership), DecodeError> {
    let stored: AppliedV1 = open(ValueKind::RaftApplied, bytes)?;
    let membership = StoredMembership::new(stored.membership_at.map(LogId::from), stored.membership.try_into()?);
    Ok((stored.last.map(LogId::from), membership))
}

#[derive(Debug, Serialize, Deserialize)]
enum PayloadV1 {
    Blank,
    Membership(MembershipV1),
    Batches,
}

#[derive(Debug, Serialize, Deserialize)]
struct EntryHeaderV1 {
    term: u64,
    payload: PayloadV1,
}

/// Entry layout: the enveloped header, then (for `Batches`) the enveloped batches. The index is the log's own.
pub fn encode_entry(entry: &Entry) -> LogEntry {
    let (payload, batches) = match &entry.payload {
        EntryPayload::Blank => (PayloadV1::Blank, None),
        EntryPayload::Membership(membership) => (PayloadV1::Membership(membership.into()), None),
        EntryPayload::Normal(shard_entry) => (PayloadV1::Batches, Some(codec::encode_entry(&shard_entry.0))),
    };
    let mut bytes = seal(ValueKind::RaftEntry, &EntryHeaderV1 { term: entry.log_id.leader_id.term, payload });
    if let Some(batches) = batches {
        bytes.extend_from_slice(&batches);
    }
    LogEntry { index: entry.log_id.index, bytes: bytes.into() }
}

/// Reads what [`encode_entry`] wrote.
pub fn decode_entry(stored: &LogEntry) -> Result<Entry, DecodeError> {
    let (opened, consumed) = envelope::open_prefix(ValueKind::RaftEntry, &stored.bytes)?;
    let header: EntryHeaderV1 = Bincode::decode(opened.payload)?;
    let payload = match header.payload {
        PayloadV1::Blank => EntryPayload::Blank,
        PayloadV1::Membership(membership) => EntryPayload::Membership(membership.try_into()?),
        PayloadV1::Batches => {
            EntryPayload::Normal(ShardEntry(Arc::new(codec::decode_entry(&stored.bytes.slice(consumed..))?)))
        }
    };
    Ok(Entry { log_id: LogIdV1 { term: header.term, index: stored.index }.into(), payload })
}

fn seal(kind: ValueKind, value: &impl Serialize) -> Vec<u8> {
    let mut payload = Vec::new();
    Bincode::encode(value, &mut payload);
    envelope::seal(kind, 1, &payload)
}

fn open<T: serde::de::DeserializeOwned>(kind: ValueKind, bytes: &[u8]) -> Result<T, DecodeError> {
    Bincode::decode(envelope::open_version_one(kind, bytes)?)
}
