//! The small rows of the store. What their keys are is in `keys`.

use bytes::Bytes;

use super::{DecodeError, EntityV1, List, read, sealed};
use crate::domain::entity::Fingerprint;
use crate::domain::ids::{CommandId, EntityId};
use crate::domain::time::{Sequence, Timestamp};
use crate::persistence::envelope::{ValueKind, open_version_one};
use crate::persistence::records::CommandRow;

/// How far a group's log is applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Index of the last applied log entry.
    pub index: u64,
    /// Newest `at` of any record stored so far; the node clock never starts before it (P14).
    pub newest_at: Timestamp,
    /// What the Raft adapter wants to find again: term, membership. Opaque here.
    pub raft: Bytes,
}

/// One batch as it lies in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchRow {
    /// The log entry that stored it.
    pub log_index: u64,
    /// Record bytes of the entity from its first record through this batch: tells when the next snapshot is due.
    pub record_bytes_total: u64,
    /// The records, as encoded by the actor.
    pub records: Bytes,
}

/// One batch as the feed names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedItem {
    /// Whose.
    pub entity: EntityId,
    /// Sequence of its first record.
    pub first_sequence: Sequence,
    /// How many records.
    pub record_count: u32,
}

/// Which snapshot an entity has; its chunks lie behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotHead {
    /// The last record folded in.
    pub sequence: Sequence,
    /// `at` of that record.
    pub at: Timestamp,
    /// `wake_at` of that record.
    pub wake_at: Option<Timestamp>,
    /// The log entry that stored that record.
    pub log_index: u64,
    /// Record bytes of the entity through that record.
    pub record_bytes_total: u64,
    /// Size of the encoded snapshot.
    pub snapshot_bytes: u64,
    /// How many chunks it is cut into.
    pub chunk_count: u32,
}

#[derive(bincode::Encode, bincode::BorrowDecode)]
struct AppliedV1<'a> {
    index: u64,
    newest_at: u64,
    raft: &'a [u8],
}

#[derive(bincode::Encode, bincode::BorrowDecode)]
struct BatchRowV1<'a> {
    log_index: u64,
    record_bytes_total: u64,
    records: &'a [u8],
}

#[derive(bincode::Encode, bincode::BorrowDecode)]
struct FeedItemV1<'a> {
    entity: EntityV1<'a>,
    first_sequence: u64,
    record_count: u32,
}

#[derive(bincode::Encode, bincode::BorrowDecode)]
struct SnapshotHeadV1 {
    sequence: u64,
    at: u64,
    wake_at: Option<u64>,
    log_index: u64,
    record_bytes_total: u64,
    snapshot_bytes: u64,
    chunk_count: u32,
}

#[derive(bincode::Encode, bincode::BorrowDecode)]
struct CommandRowV1 {
    fingerprint: [u8; 32],
    sequence: u64,
    expires_at: u64,
}

fn row<T: bincode::Encode>(kind: ValueKind, payload_bytes: usize, frozen: T) -> Bytes {
    Bytes::from(sealed(kind, payload_bytes, frozen))
}

/// Encodes the value of an `applied` row.
pub fn encode_applied(applied: &Applied) -> Bytes {
    let frozen = AppliedV1 { index: applied.index, newest_at: applied.newest_at.0, raft: &applied.raft };
    row(ValueKind::Applied, applied.raft.len() + 24, frozen)
}

/// Reads the value of an `applied` row.
pub fn decode_applied(bytes: &Bytes) -> Result<Applied, DecodeError> {
    let frozen: AppliedV1<'_> = read(open_version_one(ValueKind::Applied, bytes)?)?;
    Ok(Applied { index: frozen.index, newest_at: Timestamp(frozen.newest_at), raft: bytes.slice_ref(frozen.raft) })
}

/// Encodes the value of a `batch` row.
pub fn encode_batch_row(batch: &BatchRow) -> Bytes {
    let BatchRow { log_index, record_bytes_total, records } = batch;
    let frozen = BatchRowV1 { log_index: *log_index, record_bytes_total: *record_bytes_total, records };
    row(ValueKind::BatchRow, records.len() + 24, frozen)
}

/// Reads the value of a `batch` row; the records share its memory.
pub fn decode_batch_row(bytes: &Bytes) -> Result<BatchRow, DecodeError> {
    let frozen: BatchRowV1<'_> = read(open_version_one(ValueKind::BatchRow, bytes)?)?;
    Ok(BatchRow {
        log_index: frozen.log_index,
        record_bytes_total: frozen.record_bytes_total,
        records: bytes.slice_ref(frozen.records),
    })
}

/// Encodes the value of a `command` row; its command is part of the key.
pub fn encode_command_row(command: &CommandRow) -> Bytes {
    let CommandRow { fingerprint, sequence, expires_at, .. } = command;
    let frozen = CommandRowV1 { fingerprint: fingerprint.0, sequence: sequence.0, expires_at: expires_at.0 };
    row(ValueKind::CommandRow, 52, frozen)
}

/// Reads the value of the `command` row of this command.
pub fn decode_command_row(command: CommandId, bytes: &[u8]) -> Result<CommandRow, DecodeError> {
    let frozen: CommandRowV1 = read(open_version_one(ValueKind::CommandRow, bytes)?)?;
    Ok(CommandRow {
        command,
        fingerprint: Fingerprint(frozen.fingerprint),
        sequence: Sequence(frozen.sequence),
        expires_at: Timestamp(frozen.expires_at),
    })
}

/// Encodes the value of a `feed` row.
pub fn encode_feed_row(items: &[FeedItem]) -> Bytes {
    let frozen: Vec<_> = items
        .iter()
        .map(|item| FeedItemV1 {
            entity: EntityV1::freeze(&item.entity),
            first_sequence: item.first_sequence.0,
            record_count: item.record_count,
        })
        .collect();
    row(ValueKind::FeedRow, 4 + items.len() * 48, frozen)
}

/// Reads the value of a `feed` row.
pub fn decode_feed_row(bytes: &[u8]) -> Result<Vec<FeedItem>, DecodeError> {
    let frozen: List<FeedItemV1<'_>> = read(open_version_one(ValueKind::FeedRow, bytes)?)?;
    let thaw = |item: &FeedItemV1<'_>| {
        Ok(FeedItem {
            entity: item.entity.thaw()?,
            first_sequence: Sequence(item.first_sequence),
            record_count: item.record_count,
        })
    };
    frozen.0.iter().map(thaw).collect()
}

/// Encodes the value of a `snapshot head` row.
pub fn encode_snapshot_head(head: &SnapshotHead) -> Bytes {
    let frozen = SnapshotHeadV1 {
        sequence: head.sequence.0,
        at: head.at.0,
        wake_at: head.wake_at.map(|at| at.0),
        log_index: head.log_index,
        record_bytes_total: head.record_bytes_total,
        snapshot_bytes: head.snapshot_bytes,
        chunk_count: head.chunk_count,
    };
    row(ValueKind::SnapshotHead, 64, frozen)
}

/// Reads the value of a `snapshot head` row.
pub fn decode_snapshot_head(bytes: &[u8]) -> Result<SnapshotHead, DecodeError> {
    let frozen: SnapshotHeadV1 = read(open_version_one(ValueKind::SnapshotHead, bytes)?)?;
    Ok(SnapshotHead {
        sequence: Sequence(frozen.sequence),
        at: Timestamp(frozen.at),
        wake_at: frozen.wake_at.map(Timestamp),
        log_index: frozen.log_index,
        record_bytes_total: frozen.record_bytes_total,
        snapshot_bytes: frozen.snapshot_bytes,
        chunk_count: frozen.chunk_count,
    })
}

/// Encodes the value of a data key row.
pub fn encode_vault_key(secret: &[u8; 32]) -> Bytes {
    row(ValueKind::VaultKey, 32, *secret)
}

/// Reads the value of a data key row.
pub fn decode_vault_key(bytes: &[u8]) -> Result<[u8; 32], DecodeError> {
    read(open_version_one(ValueKind::VaultKey, bytes)?)
}

/// Encodes the log index below which feed rows are gone.
pub fn encode_feed_floor(index: u64) -> Bytes {
    row(ValueKind::FeedFloor, 9, index)
}

/// Reads the log index below which feed rows are gone.
pub fn decode_feed_floor(bytes: &[u8]) -> Result<u64, DecodeError> {
    read(open_version_one(ValueKind::FeedFloor, bytes)?)
}
