//! The only module that knows bincode.
//!
//! Every stored or sent value is an envelope (`envelope`, P30) around bincode bytes. bincode itself notices neither
//! renamed nor reordered fields, so what is stored are frozen structs, one per version, in the files below this one,
//! pinned by golden bytes; readers of a new version ship before its writers. Domain values (events, replies, states)
//! travel inside them as [`ValueV1`] (version, bytes), so that an entity may change its layouts without touching ours.
//! Their version 1 is the live type itself until it first changes
//! ([ADR 13](../../docs/adr/0013-live-types-are-layout-one-until-they-change.md)).
//!
//! How a layout changes, say that of stock events, when `domain/golden.rs` fails:
//!
//! 1. Copy the types whose bytes change, as they were, to `frozen.rs` beside them, as `StockEventV1` and so on. What is
//!    frozen is never edited again, and names no live type whose bytes may still change.
//! 2. Write `StockEventV1::upcast(self) -> StockEvent`: total, without clock or state. What the old layout did not say
//!    gets the value that means what the program did then.
//! 3. Raise `StockEvent::VERSION` to 2 and override [`Versioned::decode_version`]: 1 decodes `StockEventV1` and
//!    upcasts, 2 decodes the live type, all else is `C::unknown_version`. For a state the same with `STATE_VERSION` and
//!    [`Entity::decode_state`]. A part (a rejection, a payment outcome) changes everything that holds it.
//! 4. In `tests/golden/domain_bytes.txt` lines of the old version stay for ever; those of the new one are added. Both
//!    are decoded by the test and must mean what is written below them.
//! 5. Release readers first: a version that reads 2 and writes 1, then one that writes 2. Our own layouts do the same:
//!    `…V2` beside `…V1`, and a `match` on the envelope's version in place of `open_version_one`.
//!
//! [`Versioned::decode_version`]: crate::domain::entity::Versioned::decode_version
//! [`Entity::decode_state`]: crate::domain::entity::Entity::decode_state
//!
//! - `records`: the records of one batch, the bytes that go to log and store alike
//! - `entry`: one log entry, a list of batches
//! - `snapshot`: an entity at a sequence
//! - `rows`: the small rows of the store
//! - `checkpoint`: the frames of a checkpoint file
//! - `tail`: the frames of a backup's log tail
//! - `claims`: lengths in the bytes are not believed

mod checkpoint;
mod claims;
mod entry;
mod records;
mod rows;
mod snapshot;
mod tail;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod version_tests;

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

use claims::List;

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
    #[error(
        "layout {version}, and this version of Stockroom knows layouts up to {newest}; upgrade it before it opens \
         this data"
    )]
    UnknownVersion {
        /// Which.
        version: u16,
        /// The newest that is known of such values.
        newest: u16,
    },
    /// The bytes inside do not form a value.
    #[error("malformed: {reason}")]
    Malformed {
        /// What bincode said.
        reason: String,
    },
}

/// bincode 2, standard configuration (little endian, variable-length integers). What a value may claim while it is
/// decoded is bounded by its own bytes, see `claims`.
pub struct Bincode;

fn config() -> impl bincode::config::Config {
    bincode::config::standard()
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
        let decoded = claims::decode(bytes, config());
        let (value, consumed) = decoded.map_err(|error| DecodeError::Malformed { reason: error.to_string() })?;
        if consumed == bytes.len() {
            Ok(value)
        } else {
            Err(DecodeError::Malformed { reason: format!("{} bytes left over", bytes.len() - consumed) })
        }
    }

    fn unknown_version(version: u16, newest: u16) -> DecodeError {
        DecodeError::UnknownVersion { version, newest }
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
    bincode::borrow_decode_from_slice(bytes, config()).map_err(|error| malformed(&error.to_string()))
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
