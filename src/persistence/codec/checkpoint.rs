//! The frames of a checkpoint file: a head, rows, an end.

use bytes::Bytes;

use super::{DecodeError, List, read, sealed};
use crate::persistence::envelope::{ValueKind, open_version_one};
use crate::persistence::log::GroupId;
use crate::persistence::store::Row;

/// What a checkpoint is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointHead {
    /// Which group.
    pub group: GroupId,
    /// The group's `applied` row from before the rows were read.
    pub applied: Bytes,
}

/// What a checkpoint must contain to be whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckpointEnd {
    /// Rows in all frames.
    pub row_count: u64,
    /// Bytes of keys and values in all frames.
    pub row_bytes: u64,
}

#[derive(bincode::Encode, bincode::BorrowDecode)]
struct HeadV1<'a> {
    group: u32,
    applied: &'a [u8],
}

#[derive(bincode::Encode, bincode::BorrowDecode)]
struct RowV1<'a> {
    key: &'a [u8],
    value: &'a [u8],
}

#[derive(bincode::Encode, bincode::BorrowDecode)]
struct EndV1 {
    row_count: u64,
    row_bytes: u64,
}

/// Encodes the first frame.
pub fn encode_checkpoint_head(head: &CheckpointHead) -> Vec<u8> {
    sealed(ValueKind::CheckpointHead, 0, HeadV1 { group: head.group.0, applied: &head.applied })
}

/// Reads the first frame.
pub fn decode_checkpoint_head(bytes: &Bytes) -> Result<CheckpointHead, DecodeError> {
    let frozen: HeadV1<'_> = read(open_version_one(ValueKind::CheckpointHead, bytes)?)?;
    Ok(CheckpointHead { group: GroupId(frozen.group), applied: bytes.slice_ref(frozen.applied) })
}

/// Encodes a frame of rows.
pub fn encode_checkpoint_rows(rows: &[Row]) -> Vec<u8> {
    let frozen: Vec<_> = rows.iter().map(|(key, value)| RowV1 { key, value }).collect();
    sealed(ValueKind::CheckpointRows, 0, frozen)
}

/// Reads a frame of rows; they share its memory.
pub fn decode_checkpoint_rows(bytes: &Bytes) -> Result<Vec<Row>, DecodeError> {
    let frozen: List<RowV1<'_>> = read(open_version_one(ValueKind::CheckpointRows, bytes)?)?;
    Ok(frozen.0.iter().map(|row| (bytes.slice_ref(row.key), bytes.slice_ref(row.value))).collect())
}

/// Encodes the last frame.
pub fn encode_checkpoint_end(end: CheckpointEnd) -> Vec<u8> {
    sealed(ValueKind::CheckpointEnd, 0, EndV1 { row_count: end.row_count, row_bytes: end.row_bytes })
}

/// Reads the last frame.
pub fn decode_checkpoint_end(bytes: &[u8]) -> Result<CheckpointEnd, DecodeError> {
    let frozen: EndV1 = read(open_version_one(ValueKind::CheckpointEnd, bytes)?)?;
    Ok(CheckpointEnd { row_count: frozen.row_count, row_bytes: frozen.row_bytes })
}
