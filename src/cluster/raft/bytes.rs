//! Frozen layouts of what Raft keeps: votes, log ids, memberships, entries. openraft's own structs may change shape
//! between releases; these may not (P30).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use openraft::EntryPayload;
use serde::{Deserialize, Serialize};

use super::types::{Entry, LogId, Member, MemberId, Membership, ShardEntry, StoredMembership, Vote};
use crate::persistence::codec::{self, DecodeError, ValueKind};
use crate::persistence::log::LogEntry;

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct LogIdV1 {
    term: u64,
    index: u64,
}

impl From<LogId> for LogIdV1 {
    fn from(id: LogId) -> Self {
        Self { term: *id.leader_id, index: id.index }
    }
}

impl From<LogIdV1> for LogId {
    fn from(id: LogIdV1) -> Self {
        LogId { leader_id: openraft::impls::leader_id_std::CommittedLeaderId::new(id.term), index: id.index }
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
    let stored =
        VoteV1 { term: vote.leader_id.term, voted_for: vote.leader_id.voted_for, committed: vote.committed };
    codec::encode_value(ValueKind::Vote, 1, &stored)
}

pub fn decode_vote(bytes: &[u8]) -> Result<Vote, DecodeError> {
    let stored: VoteV1 = codec::decode_value(ValueKind::Vote, 1, bytes)?;
    let mut vote = Vote::new(stored.term, stored.voted_for);
    vote.committed = stored.committed;
    Ok(vote)
}

pub fn encode_log_id(id: Option<LogId>) -> Vec<u8> {
    codec::encode_value(ValueKind::LogId, 1, &id.map(LogIdV1::from))
}

pub fn decode_log_id(bytes: &[u8]) -> Result<Option<LogId>, DecodeError> {
    let stored: Option<LogIdV1> = codec::decode_value(ValueKind::LogId, 1, bytes)?;
    Ok(stored.map(LogId::from))
}

/// What the store remembers of Raft beside the data: the last applied entry and the membership then in force.
pub fn encode_applied(last: Option<LogId>, membership: &StoredMembership) -> Vec<u8> {
    let stored = AppliedV1 {
        last: last.map(LogIdV1::from),
        membership_at: membership.log_id().map(LogIdV1::from),
        membership: membership.membership().into(),
    };
    codec::encode_value(ValueKind::Applied, 1, &stored)
}

pub fn decode_applied(bytes: &[u8]) -> Result<(Option<LogId>, StoredMembership), DecodeError> {
    let stored: AppliedV1 = codec::decode_value(ValueKind::Applied, 1, bytes)?;
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

/// Entry layout: u32 length of the header value · header value · encoded batches (for `Batches` only). The index is
/// the log's, not repeated inside.
pub fn encode_entry(entry: &Entry) -> LogEntry {
    let (payload, batches) = match &entry.payload {
        EntryPayload::Blank => (PayloadV1::Blank, None),
        EntryPayload::Membership(membership) => (PayloadV1::Membership(membership.into()), None),
        EntryPayload::Normal(shard_entry) => (PayloadV1::Batches, Some(codec::encode_entry(&shard_entry.0))),
    };
    let header = EntryHeaderV1 { term: *entry.log_id.leader_id, payload };
    let header = codec::encode_value(ValueKind::EntryHeader, 1, &header);
    let batches = batches.unwrap_or_default();
    let mut bytes = Vec::with_capacity(4 + header.len() + batches.len());
    bytes.extend_from_slice(&u32::try_from(header.len()).expect("a header is small").to_le_bytes());
    bytes.extend_from_slice(&header);
    bytes.extend_from_slice(&batches);
    LogEntry { index: entry.log_id.index, bytes: bytes.into() }
}

pub fn decode_entry(stored: &LogEntry) -> Result<Entry, DecodeError> {
    let bytes = &stored.bytes;
    let truncated = |needed| DecodeError::Truncated { needed, present: bytes.len() };
    let length_bytes = bytes.first_chunk::<4>().ok_or(truncated(4))?;
    let header_end = 4usize.saturating_add(u32::from_le_bytes(*length_bytes) as usize);
    let header = bytes.get(4..header_end).ok_or(truncated(header_end))?;
    let header: EntryHeaderV1 = codec::decode_value(ValueKind::EntryHeader, 1, header)?;
    let payload = match header.payload {
        PayloadV1::Blank => EntryPayload::Blank,
        PayloadV1::Membership(membership) => EntryPayload::Membership(membership.try_into()?),
        PayloadV1::Batches => {
            EntryPayload::Normal(ShardEntry(Arc::new(codec::decode_entry(&bytes.slice(header_end..))?)))
        }
    };
    Ok(Entry { log_id: LogIdV1 { term: header.term, index: stored.index }.into(), payload })
}
