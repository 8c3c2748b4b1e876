//! Records and batches for this directory's tests. The only place here that names a concrete domain value.

use bytes::Bytes;

use super::codec;
use super::records::{EntityBatch, Record, Remembered};
use crate::domain::entity::{Fingerprint, Stamp};
use crate::domain::ids::{CommandId, EntityId};
use crate::domain::registry::{AnyEvent, AnyReply, Kind};
use crate::domain::stock::{StockEvent, StockReply};
use crate::domain::time::{Sequence, Timestamp};

/// A stock item.
pub fn stock(key: &str) -> EntityId {
    EntityId { kind: Kind::Stock, key: key.into() }
}

/// A command id that says which it is.
pub fn command_id(number: u64) -> CommandId {
    let mut id = [0; 16];
    id[8..].copy_from_slice(&number.to_be_bytes());
    CommandId(id)
}

/// A record of one event at `sequence` seconds.
pub fn record(sequence: u64) -> Record {
    Record {
        sequence: Sequence(sequence),
        stamp: Stamp { command: command_id(sequence), fingerprint: Fingerprint([7; 32]) },
        remembered: Remembered::ByState,
        at: Timestamp(sequence * 1000),
        events: vec![AnyEvent::Stock(StockEvent::Unlisted { product: "tea".parse().unwrap(), version: sequence })],
        reply: AnyReply::Stock(StockReply::Listed { version: sequence }),
        wake_at: None,
    }
}

/// Records `first ..= last` of a stock item as one batch.
pub fn batch(key: &str, first: u64, last: u64) -> EntityBatch {
    batch_waking(key, first, last, None)
}

/// The same, with a wish to be woken.
pub fn batch_waking(key: &str, first: u64, last: u64, wake_at: Option<u64>) -> EntityBatch {
    let mut records: Vec<_> = (first..=last).map(record).collect();
    records.last_mut().unwrap().wake_at = wake_at.map(Timestamp);
    EntityBatch {
        entity: stock(key),
        first_sequence: Sequence(first),
        record_count: records.len() as u32,
        last_at: Timestamp(last * 1000),
        wake_at: wake_at.map(Timestamp),
        command_rows: Vec::new(),
        vault: Vec::new(),
        records: codec::encode_records(&records),
    }
}

/// What the Raft adapter keeps beside `applied`, for tests that do not care.
pub fn raft() -> Bytes {
    Bytes::from_static(b"raft")
}
