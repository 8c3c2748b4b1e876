//! The end of the log as bytes: what a crash finds half written.
//!
//! Every change is a frame in the envelope of production, so that recovery tells a whole one from a torn or damaged one
//! by the same checksum. Recovery reads frames up to the first that is not whole.

use bytes::Bytes;

use super::log::Change;
use crate::persistence::envelope::{self, ValueKind};
use crate::persistence::log::{GroupId, LogEntry, LogValue};

/// Layout of a frame's payload.
const VERSION: u16 = 1;

/// Appends a change's frame.
pub(super) fn write(group: GroupId, change: &Change, into: &mut Vec<u8>) {
    let mut payload = group.0.to_le_bytes().to_vec();
    match change {
        Change::Append(entries) => {
            payload.push(0);
            for entry in entries {
                payload.extend_from_slice(&entry.index.to_le_bytes());
                payload.extend_from_slice(&(entry.bytes.len() as u64).to_le_bytes());
                payload.extend_from_slice(&entry.bytes);
            }
        }
        Change::Put(value, bytes) => {
            payload.push(*value as u8);
            payload.extend_from_slice(bytes);
        }
        Change::Truncate(from) => {
            payload.push(8);
            payload.extend_from_slice(&from.to_le_bytes());
        }
        Change::Purge(before) => {
            payload.push(9);
            payload.extend_from_slice(&before.to_le_bytes());
        }
    }
    into.extend_from_slice(&envelope::seal(ValueKind::Message, VERSION, &payload));
}

/// The whole changes at the beginning of `bytes`.
pub(super) fn read(mut bytes: &[u8]) -> Vec<(GroupId, Change)> {
    let mut changes = Vec::new();
    while let Ok((opened, consumed)) = envelope::open_prefix(ValueKind::Message, bytes) {
        let Some(change) = change(opened.payload) else { break };
        changes.push(change);
        bytes = &bytes[consumed..];
    }
    changes
}

fn change(payload: &[u8]) -> Option<(GroupId, Change)> {
    let (group, rest) = payload.split_first_chunk::<4>()?;
    let (kind, content) = rest.split_first()?;
    let change = match kind {
        0 => Change::Append(entries(content)?),
        1 => Change::Put(LogValue::Vote, content.to_vec()),
        2 => Change::Put(LogValue::Committed, content.to_vec()),
        3 => Change::Put(LogValue::Purged, content.to_vec()),
        8 => Change::Truncate(u64::from_le_bytes(content.try_into().ok()?)),
        9 => Change::Purge(u64::from_le_bytes(content.try_into().ok()?)),
        _ => return None,
    };
    Some((GroupId(u32::from_le_bytes(*group)), change))
}

fn entries(mut content: &[u8]) -> Option<Vec<LogEntry>> {
    let mut entries = Vec::new();
    while !content.is_empty() {
        let (index, rest) = content.split_first_chunk::<8>()?;
        let (length, rest) = rest.split_first_chunk::<8>()?;
        let (bytes, rest) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
        entries.push(LogEntry { index: u64::from_le_bytes(*index), bytes: Bytes::copy_from_slice(bytes) });
        content = rest;
    }
    Some(entries)
}
