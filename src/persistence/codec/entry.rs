//! One log entry of a shard: the batches of the entities that appended together.

use bytes::Bytes;

use super::{DecodeError, EntityV1, List, malformed, read, write};
use crate::domain::entity::{Fingerprint, VaultChange};
use crate::domain::ids::{CommandId, DataKeyId};
use crate::domain::time::{Sequence, Timestamp};
use crate::persistence::envelope::{HEADER_BYTES, Sealing, ValueKind, open_version_one};
use crate::persistence::records::{CommandRow, EntityBatch};

#[derive(bincode::Encode, bincode::BorrowDecode)]
struct BatchV1<'a> {
    entity: EntityV1<'a>,
    first_sequence: u64,
    record_count: u32,
    last_at: u64,
    wake_at: Option<u64>,
    command_rows: List<CommandRowV1>,
    vault: List<VaultChangeV1>,
    records: &'a [u8],
}

#[derive(bincode::Encode, bincode::BorrowDecode)]
struct CommandRowV1 {
    command: [u8; 16],
    fingerprint: [u8; 32],
    sequence: u64,
    expires_at: u64,
}

#[derive(bincode::Encode, bincode::BorrowDecode)]
enum VaultChangeV1 {
    Put { key: [u8; 16], secret: [u8; 32] },
    Erase { key: [u8; 16] },
}

/// Encodes the batches of one log entry.
pub fn encode_entry(batches: &[EntityBatch]) -> Bytes {
    let records_bytes: usize = batches.iter().map(|batch| batch.records.len()).sum();
    let mut out = Vec::with_capacity(HEADER_BYTES + 8 + records_bytes + batches.len() * 128);
    let sealing = Sealing::begin(&mut out);
    write(batches.len() as u64, &mut out);
    for batch in batches {
        write(freeze(batch), &mut out);
    }
    sealing.finish(&mut out, ValueKind::Entry, 1);
    Bytes::from(out)
}

/// Reads what [`encode_entry`] wrote; the batches' records share the memory of `bytes`.
pub fn decode_entry(bytes: &Bytes) -> Result<Vec<EntityBatch>, DecodeError> {
    let frozen: List<BatchV1<'_>> = read(open_version_one(ValueKind::Entry, bytes)?)?;
    frozen.0.into_iter().map(|batch| thaw(batch, bytes)).collect()
}

fn freeze(batch: &EntityBatch) -> BatchV1<'_> {
    let command_rows = batch.command_rows.iter().map(|row| CommandRowV1 {
        command: row.command.0,
        fingerprint: row.fingerprint.0,
        sequence: row.sequence.0,
        expires_at: row.expires_at.0,
    });
    let vault = batch.vault.iter().map(|change| match change {
        VaultChange::Put { key, secret } => VaultChangeV1::Put { key: key.0, secret: *secret },
        VaultChange::Erase { key } => VaultChangeV1::Erase { key: key.0 },
    });
    BatchV1 {
        entity: EntityV1::freeze(&batch.entity),
        first_sequence: batch.first_sequence.0,
        record_count: batch.record_count,
        last_at: batch.last_at.0,
        wake_at: batch.wake_at.map(|at| at.0),
        command_rows: List(command_rows.collect()),
        vault: List(vault.collect()),
        records: &batch.records,
    }
}

fn thaw(frozen: BatchV1<'_>, bytes: &Bytes) -> Result<EntityBatch, DecodeError> {
    let last = frozen.first_sequence.checked_add(u64::from(frozen.record_count));
    if frozen.first_sequence == 0 || frozen.record_count == 0 || last.is_none() {
        return Err(malformed("a batch without records or with impossible sequences"));
    }
    let command_rows = frozen.command_rows.0.iter().map(|row| CommandRow {
        command: CommandId(row.command),
        fingerprint: Fingerprint(row.fingerprint),
        sequence: Sequence(row.sequence),
        expires_at: Timestamp(row.expires_at),
    });
    let vault = frozen.vault.0.iter().map(|change| match *change {
        VaultChangeV1::Put { key, secret } => VaultChange::Put { key: DataKeyId(key), secret },
        VaultChangeV1::Erase { key } => VaultChange::Erase { key: DataKeyId(key) },
    });
    Ok(EntityBatch {
        entity: frozen.entity.thaw()?,
        first_sequence: Sequence(frozen.first_sequence),
        record_count: frozen.record_count,
        last_at: Timestamp(frozen.last_at),
        wake_at: frozen.wake_at.map(Timestamp),
        command_rows: command_rows.collect(),
        vault: vault.collect(),
        records: bytes.slice_ref(frozen.records),
    })
}
