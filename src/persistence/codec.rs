//! The only module that knows bincode.
//!
//! Every stored or sent value is an envelope (`envelope`, P30) around bincode bytes. bincode itself notices neither
//! renamed nor reordered fields, so what is stored are frozen structs, one per version, in the files below this one,
//! pinned by golden bytes; readers of a new version ship before its writers. Domain values travel inside them as
//! (version, bytes), so that an entity may change its layouts without touching ours.
//!
//! - `records`: the records of one batch, the bytes that go to log and store alike
//! - `entry`: one log entry, a list of batches
//! - `snapshot`: an entity at a sequence
//! - `rows`: the small rows of the store
//! - `checkpoint`: the frames of a checkpoint file
//! - `tail`: the frames of a backup's log tail

mod checkpoint;
mod entry;
mod records;
mod rows;
mod snapshot;
mod tail;
#[cfg(test)]
mod tests;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use checkpoint::{
    CheckpointEnd, CheckpointHead, decode_checkpoint_end, decode_checkpoint_head, decode_checkpoint_rows,
    encode_checkpoint_end, encode_checkpoint_head, encode_checkpoint_rows,
};
pub use entry::{decode_entry, encode_entry};
pub use records::{RecordsHead, RecordsWriter, decode_records, encode_records, peek_records};
pub use rows::{
    Applied, BatchRow, FeedItem, SnapshotHead, decode_applied, decode_batch_row, decode_command_row, decode_feed_floor,
    decode_feed_row, decode_snapshot_head, decode_vault_key, encode_applied, encode_batch_row, encode_command_row,
    encode_feed_floor, encode_feed_row, encode_snapshot_head, encode_vault_key,
};
pub use snapshot::{decode_snapshot, encode_snapshot, snapshot_holds};
pub use tail::{TailHead, decode_tail_entries, decode_tail_head, encode_tail_entries, encode_tail_head};

use crate::domain::entity::Codec;
use crate::domain::ids::EntityId;
use crate::domain::registry::Kind;
use crate::persistence::envelope::{HEADER_BYTES, Sealing, ValueKind};

/// Why bytes cannot be read.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum DecodeError {
    /// Fewer bytes than the envelope says.
    #[error("truncated: {needed} bytes needed, {present} present")]
    Truncated {
        /// Needed.
        needed: usize,
        /// Present.
        present: usize,
    },
    /// The checksum does not match.
    #[error("checksum mismatch")]
    Checksum,
    /// Encoded in a way this binary does not know.
    #[error("unknown codec {found}")]
    Codec {
        /// Found.
        found: u8,
    },
    /// Another sort of value than expected.
    #[error("expected a value of kind {expected}, found kind {found}")]
    Kind {
        /// Expected.
        expected: u8,
        /// Found.
        found: u8,
    },
    /// Written by a newer Stockroom.
    #[error("layout {version} is not known to this version of Stockroom; upgrade before opening this data")]
    UnknownVersion {
        /// Which.
        version: u16,
    },
    /// The bytes inside do not form a value.
    #[error("malformed: {reason}")]
    Malformed {
        /// What bincode said.
        reason: String,
    },
}

/// bincode 2, standard configuration (little endian, variable-length integers), with a decode limit.
pub struct Bincode;

/// What an ordinary value may claim while decoding: a few damaged bytes cannot ask for all memory.
const DECODE_LIMIT_BYTES: usize = 64 << 20;
/// From this size on a value is one of the few that are large by right, such as the snapshot of a stock item with a
/// million holds and as many that ended…
const LARGE_BYTES: usize = 1 << 20;
/// …which may claim this much.
const DECODE_LIMIT_LARGE_BYTES: usize = 2 << 30;

fn config() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<DECODE_LIMIT_BYTES>()
}

fn config_large() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<DECODE_LIMIT_LARGE_BYTES>()
}

impl Codec for Bincode {
    type Error = DecodeError;

    fn encode<T: Serialize>(value: &T, into: &mut Vec<u8>) {
        bincode::serde::encode_into_std_write(value, into, config())
            .expect("domain values hold nothing bincode cannot write");
    }

    fn encodes_to<T: Serialize>(value: &T, bytes: &[u8]) -> bool {
        let mut expected = Expected(bytes);
        bincode::serde::encode_into_std_write(value, &mut expected, config()).is_ok() && expected.0.is_empty()
    }

    fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
        let decoded = if bytes.len() < LARGE_BYTES {
            bincode::serde::decode_from_slice(bytes, config())
        } else {
            bincode::serde::decode_from_slice(bytes, config_large())
        };
        let (value, consumed) = decoded.map_err(|error| DecodeError::Malformed { reason: error.to_string() })?;
        if consumed == bytes.len() {
            Ok(value)
        } else {
            Err(DecodeError::Malformed { reason: format!("{} bytes left over", bytes.len() - consumed) })
        }
    }

    fn unknown_version(version: u16) -> DecodeError {
        DecodeError::UnknownVersion { version }
    }
}

/// What must be written next; writing anything else fails.
struct Expected<'a>(&'a [u8]);

impl std::io::Write for Expected<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 = self.0.strip_prefix(bytes).ok_or(std::io::ErrorKind::InvalidData)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Appends a frozen layout.
fn write<T: bincode::Encode>(value: T, into: &mut Vec<u8>) {
    bincode::encode_into_std_write(value, into, config()).expect("frozen layouts hold nothing bincode cannot write");
}

/// A frozen layout, the only one of its kind yet, in its envelope. `payload_bytes`: about how long it will be.
fn sealed<T: bincode::Encode>(kind: ValueKind, payload_bytes: usize, frozen: T) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES + payload_bytes);
    let sealing = Sealing::begin(&mut out);
    write(frozen, &mut out);
    sealing.finish(&mut out, kind, 1);
    out
}

/// Reads a frozen layout that fills `bytes` exactly.
fn read<'a, T: bincode::BorrowDecode<'a, ()>>(bytes: &'a [u8]) -> Result<T, DecodeError> {
    let (value, consumed) = read_prefix(bytes)?;
    if consumed == bytes.len() {
        Ok(value)
    } else {
        Err(malformed(&format!("{} bytes left over", bytes.len() - consumed)))
    }
}

/// Reads a frozen layout at the start of `bytes`; also says how long it is.
fn read_prefix<'a, T: bincode::BorrowDecode<'a, ()>>(bytes: &'a [u8]) -> Result<(T, usize), DecodeError> {
    let decoded = if bytes.len() < LARGE_BYTES {
        bincode::borrow_decode_from_slice(bytes, config())
    } else {
        bincode::borrow_decode_from_slice(bytes, config_large())
    };
    decoded.map_err(|error| malformed(&error.to_string()))
}

fn malformed(reason: &str) -> DecodeError {
    DecodeError::Malformed { reason: reason.to_owned() }
}

/// A domain value: its layout number and bytes.
#[derive(bincode::Encode, bincode::BorrowDecode)]
struct ValueV1<'a> {
    version: u16,
    bytes: &'a [u8],
}

/// An entity's name.
#[derive(bincode::Encode, bincode::BorrowDecode)]
struct EntityV1<'a> {
    kind: u8,
    key: &'a str,
}

impl<'a> EntityV1<'a> {
    fn freeze(entity: &'a EntityId) -> Self {
        Self { kind: entity.kind.number(), key: &entity.key }
    }

    fn thaw(&self) -> Result<EntityId, DecodeError> {
        let kind = Kind::from_number(self.kind).ok_or_else(|| malformed("unknown entity kind"))?;
        Ok(EntityId { kind, key: self.key.into() })
    }
}
