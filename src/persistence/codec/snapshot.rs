//! An entity at a sequence, as one envelope. The store cuts it into chunks; checkpoints carry it whole.

use super::{Bincode, DecodeError, EntityV1, List, ValueV1, read, write};
use crate::domain::entity::{Fingerprint, Stamp};
use crate::domain::ids::CommandId;
use crate::domain::registry::{AnyReply, AnyState, Kind};
use crate::domain::time::{Sequence, Timestamp};
use crate::persistence::envelope::{Sealing, ValueKind, open_version_one};
use crate::persistence::records::{Snapshot, WindowEntry};

#[derive(bincode::Encode, bincode::BorrowDecode)]
struct SnapshotHeadV1<'a> {
    entity: EntityV1<'a>,
    sequence: u64,
    at: u64,
    wake_at: Option<u64>,
}

#[derive(bincode::Encode, bincode::BorrowDecode)]
struct WindowEntryV1<'a> {
    command: [u8; 16],
    fingerprint: [u8; 32],
    at: u64,
    reply: ValueV1<'a>,
}

#[derive(bincode::BorrowDecode)]
struct SnapshotV1<'a> {
    head: SnapshotHeadV1<'a>,
    state: ValueV1<'a>,
    window: List<WindowEntryV1<'a>>,
}

/// Encodes a snapshot.
pub fn encode_snapshot(snapshot: &Snapshot) -> Vec<u8> {
    let mut scratch = Vec::new();
    let state_version = snapshot.state.encode::<Bincode>(&mut scratch);
    let mut out = Vec::with_capacity(scratch.len() + 128 + snapshot.window.len() * 128);
    let sealing = Sealing::begin(&mut out);
    let head = SnapshotHeadV1 {
        entity: EntityV1::freeze(&snapshot.entity),
        sequence: snapshot.sequence.0,
        at: snapshot.at.0,
        wake_at: snapshot.wake_at.map(|at| at.0),
    };
    write(head, &mut out);
    write(ValueV1 { version: state_version, bytes: &scratch }, &mut out);
    write(snapshot.window.len() as u64, &mut out);
    for entry in &snapshot.window {
        scratch.clear();
        let version = entry.reply.encode::<Bincode>(&mut scratch);
        let frozen = WindowEntryV1 {
            command: entry.stamp.command.0,
            fingerprint: entry.stamp.fingerprint.0,
            at: entry.at.0,
            reply: ValueV1 { version, bytes: &scratch },
        };
        write(frozen, &mut out);
    }
    sealing.finish(&mut out, ValueKind::Snapshot, 1);
    out
}

/// Reads what [`encode_snapshot`] wrote.
pub fn decode_snapshot(bytes: &[u8]) -> Result<Snapshot, DecodeError> {
    let frozen: SnapshotV1<'_> = read(open_version_one(ValueKind::Snapshot, bytes)?)?;
    let entity = frozen.head.entity.thaw()?;
    let kind = entity.kind;
    let window = frozen.window.0.iter().map(|entry| thaw_window_entry(kind, entry));
    Ok(Snapshot {
        sequence: Sequence(frozen.head.sequence),
        at: Timestamp(frozen.head.at),
        wake_at: frozen.head.wake_at.map(Timestamp),
        state: AnyState::decode::<Bincode>(kind, frozen.state.version, frozen.state.bytes)?,
        window: window.collect::<Result<_, DecodeError>>()?,
        entity,
    })
}

/// Whether the snapshot in these bytes is of this state. Takes no memory for the state, which may be large: the bytes
/// are compared with its encoding as that is made. The window, which is small, is decoded.
pub fn snapshot_holds(bytes: &[u8], state: &AnyState) -> Result<bool, DecodeError> {
    let frozen: SnapshotV1<'_> = read(open_version_one(ValueKind::Snapshot, bytes)?)?;
    let kind = frozen.head.entity.thaw()?.kind;
    frozen.window.0.iter().try_for_each(|entry| thaw_window_entry(kind, entry).map(drop))?;
    if kind != state.kind() || state.encodes_to::<Bincode>(frozen.state.version, frozen.state.bytes) {
        return Ok(kind == state.kind());
    }
    // Of another layout, or wrong: only reading it tells.
    let thawed = AnyState::decode::<Bincode>(kind, frozen.state.version, frozen.state.bytes)?;
    let mut bytes = Vec::new();
    let version = thawed.encode::<Bincode>(&mut bytes);
    Ok(state.encodes_to::<Bincode>(version, &bytes))
}

fn thaw_window_entry(kind: Kind, entry: &WindowEntryV1<'_>) -> Result<WindowEntry, DecodeError> {
    Ok(WindowEntry {
        stamp: Stamp { command: CommandId(entry.command), fingerprint: Fingerprint(entry.fingerprint) },
        at: Timestamp(entry.at),
        reply: AnyReply::decode::<Bincode>(kind, entry.reply.version, entry.reply.bytes)?,
    })
}
