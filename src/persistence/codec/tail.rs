//! The frames of a backup's log tail: a head, entries.

use bytes::Bytes;

use super::{DecodeError, List, read, sealed};
use crate::persistence::envelope::{ValueKind, open_version_one};
use crate::persistence::log::{GroupId, LogEntry, LogRange};

/// What a log tail is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TailHead {
    /// Which group.
    pub group: GroupId,
    /// The entries that follow.
    pub range: LogRange,
    /// Raft's vote, if the group ever voted.
    pub vote: Option<Bytes>,
}

#[derive(bincode::Encode, bincode::BorrowDecode)]
struct HeadV1<'a> {
    group: u32,
    first: u64,
    next: u64,
    vote: Option<&'a [u8]>,
}

#[derive(bincode::Encode, bincode::BorrowDecode)]
struct EntryV1<'a> {
    index: u64,
    bytes: &'a [u8],
}

/// Encodes the first frame.
pub fn encode_tail_head(head: &TailHead) -> Vec<u8> {
    let TailHead { group, range, vote } = head;
    sealed(
        ValueKind::TailHead,
        0,
        HeadV1 { group: group.0, first: range.first, next: range.next, vote: vote.as_deref() },
    )
}

/// Reads the first frame.
pub fn decode_tail_head(bytes: &Bytes) -> Result<TailHead, DecodeError> {
    let frozen: HeadV1<'_> = read(open_version_one(ValueKind::TailHead, bytes)?)?;
    let range = LogRange { first: frozen.first, next: frozen.next };
    Ok(TailHead { group: GroupId(frozen.group), range, vote: frozen.vote.map(|vote| bytes.slice_ref(vote)) })
}

/// Encodes a frame of entries.
pub fn encode_tail_entries(entries: &[LogEntry]) -> Vec<u8> {
    let frozen: Vec<_> = entries.iter().map(|entry| EntryV1 { index: entry.index, bytes: &entry.bytes }).collect();
    sealed(ValueKind::TailEntries, 0, frozen)
}

/// Reads a frame of entries; they share its memory.
pub fn decode_tail_entries(bytes: &Bytes) -> Result<Vec<LogEntry>, DecodeError> {
    let frozen: List<EntryV1<'_>> = read(open_version_one(ValueKind::TailEntries, bytes)?)?;
    let entry = |entry: &EntryV1<'_>| LogEntry { index: entry.index, bytes: bytes.slice_ref(entry.bytes) };
    Ok(frozen.0.iter().map(entry).collect())
}
