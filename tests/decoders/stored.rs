//! Every decoder of stored values, public or not, each with something really written.

use bytes::Bytes;
use stockroom::domain::entity::{Fingerprint, Stamp, VaultChange};
use stockroom::domain::ids::{CommandId, DataKeyId, EntityId, HoldId, OrderId};
use stockroom::domain::registry::{AnyEvent, AnyReply, AnyState, Kind};
use stockroom::domain::stock::{StockEvent, StockReply};
use stockroom::domain::time::{Sequence, Timestamp};
use stockroom::fuzz::{self, Decoder};
use stockroom::persistence::codec::TailHead;
use stockroom::persistence::codec::{self, Applied, BatchRow, CheckpointEnd, CheckpointHead, FeedItem, SnapshotHead};
use stockroom::persistence::envelope::{HEADER_BYTES, ValueKind};
use stockroom::persistence::log::{GroupId, LogEntry, LogRange};
use stockroom::persistence::records::{CommandRow, EntityBatch, Record, Remembered, Snapshot, WindowEntry};

/// All of them.
pub fn decoders() -> Vec<Decoder> {
    let public = [records_and_entries().to_vec(), rows().to_vec(), frames().to_vec()].concat();
    public.into_iter().chain(fuzz::decoders()).collect()
}

/// What is inside the envelope, if there is one.
pub fn payload_of(decoder: &Decoder, written: &Bytes) -> Vec<u8> {
    written[if decoder.kind.is_some() { HEADER_BYTES } else { 0 }..].to_vec()
}

fn decoder(name: &'static str, kind: ValueKind, decode: fn(&Bytes) -> bool, written: fn() -> Bytes) -> Decoder {
    Decoder { name, kind: Some(kind), decode, written: Some(written) }
}

fn records_and_entries() -> [Decoder; 4] {
    [
        decoder(
            "entry",
            ValueKind::Entry,
            |bytes| codec::decode_entry(bytes).is_ok(),
            || codec::encode_entry(&[batch(), batch()]),
        ),
        decoder("records", ValueKind::Records, decode_records, || codec::encode_records(&[record(1), record(2)])),
        decoder(
            "records' head",
            ValueKind::Records,
            |bytes| codec::peek_records(bytes).is_ok(),
            || codec::encode_records(&[record(1), record(2)]),
        ),
        decoder(
            "snapshot",
            ValueKind::Snapshot,
            |bytes| codec::decode_snapshot(bytes).is_ok(),
            || codec::encode_snapshot(&snapshot()).into(),
        ),
    ]
}

fn rows() -> [Decoder; 7] {
    [
        decoder(
            "batch row",
            ValueKind::BatchRow,
            |bytes| codec::decode_batch_row(bytes).is_ok(),
            || {
                let records = codec::encode_records(&[record(1)]);
                codec::encode_batch_row(&BatchRow { log_index: 300, record_bytes_total: 70_000, records })
            },
        ),
        decoder(
            "command row",
            ValueKind::CommandRow,
            |bytes| codec::decode_command_row(CommandId([0; 16]), bytes).is_ok(),
            || codec::encode_command_row(&command_row()),
        ),
        decoder(
            "feed row",
            ValueKind::FeedRow,
            |bytes| codec::decode_feed_row(bytes).is_ok(),
            || {
                let item = FeedItem { entity: entity(), first_sequence: Sequence(1), record_count: 2 };
                codec::encode_feed_row(&[item.clone(), item])
            },
        ),
        decoder(
            "snapshot head",
            ValueKind::SnapshotHead,
            |bytes| codec::decode_snapshot_head(bytes).is_ok(),
            || {
                codec::encode_snapshot_head(&SnapshotHead {
                    sequence: Sequence(3),
                    at: Timestamp(4),
                    wake_at: Some(Timestamp(5)),
                    log_index: 6,
                    record_bytes_total: 7,
                    snapshot_bytes: 8,
                    chunk_count: 9,
                })
            },
        ),
        decoder(
            "applied",
            ValueKind::Applied,
            |bytes| codec::decode_applied(bytes).is_ok(),
            || {
                let raft = Bytes::from_static(b"raft");
                codec::encode_applied(&Applied { index: 300, newest_at: Timestamp(70_000), raft })
            },
        ),
        decoder(
            "vault key",
            ValueKind::VaultKey,
            |bytes| codec::decode_vault_key(bytes).is_ok(),
            || codec::encode_vault_key(&[5; 32]),
        ),
        decoder(
            "feed floor",
            ValueKind::FeedFloor,
            |bytes| codec::decode_feed_floor(bytes).is_ok(),
            || codec::encode_feed_floor(700),
        ),
    ]
}

/// Of checkpoints and of the log tails of backups.
fn frames() -> [Decoder; 5] {
    [
        decoder(
            "checkpoint head",
            ValueKind::CheckpointHead,
            |bytes| codec::decode_checkpoint_head(bytes).is_ok(),
            || {
                let applied = Bytes::from_static(b"applied");
                codec::encode_checkpoint_head(&CheckpointHead { group: GroupId(2), applied }).into()
            },
        ),
        decoder(
            "checkpoint rows",
            ValueKind::CheckpointRows,
            |bytes| codec::decode_checkpoint_rows(bytes).is_ok(),
            || {
                let row = (Bytes::from_static(b"key"), Bytes::from_static(b"value"));
                codec::encode_checkpoint_rows(&[row.clone(), row]).into()
            },
        ),
        decoder(
            "checkpoint end",
            ValueKind::CheckpointEnd,
            |bytes| codec::decode_checkpoint_end(bytes).is_ok(),
            || codec::encode_checkpoint_end(CheckpointEnd { row_count: 300, row_bytes: 70_000 }).into(),
        ),
        decoder(
            "tail head",
            ValueKind::TailHead,
            |bytes| codec::decode_tail_head(bytes).is_ok(),
            || {
                let range = LogRange { first: 3, next: 400 };
                codec::encode_tail_head(&TailHead { group: GroupId(2), range, vote: Some(Bytes::from_static(b"v")) })
                    .into()
            },
        ),
        decoder(
            "tail entries",
            ValueKind::TailEntries,
            |bytes| codec::decode_tail_entries(bytes).is_ok(),
            || {
                let entry = |index| LogEntry { index, bytes: Bytes::from_static(b"entry") };
                codec::encode_tail_entries(&[entry(3), entry(4)]).into()
            },
        ),
    ]
}

/// As records of every kind of entity.
fn decode_records(bytes: &Bytes) -> bool {
    Kind::ALL.iter().filter(|kind| codec::decode_records(**kind, bytes).is_ok()).count() > 0
}

fn entity() -> EntityId {
    EntityId::stock(&"TEA".parse().unwrap())
}

fn record(sequence: u64) -> Record {
    let quantity = 3.try_into().unwrap();
    let hold = HoldId([9; 16]);
    let events = [
        StockEvent::Unlisted { product: "tea".parse().unwrap(), version: sequence },
        StockEvent::Received { quantity, reference: "delivery".to_owned(), available: 300 },
        StockEvent::Expired { holds: vec![hold, hold], available: 300 },
        StockEvent::Pinned { hold, order: OrderId([8; 16]), quantity, available: 300 },
    ];
    Record {
        sequence: Sequence(sequence),
        stamp: Stamp { command: CommandId([3; 16]), fingerprint: Fingerprint([7; 32]) },
        remembered: Remembered::Window,
        at: Timestamp(sequence * 1000),
        events: events.into_iter().map(AnyEvent::Stock).collect(),
        reply: AnyReply::Stock(StockReply::Listed { version: sequence }),
        wake_at: Some(Timestamp(9)),
    }
}

fn command_row() -> CommandRow {
    CommandRow {
        command: CommandId([1; 16]),
        fingerprint: Fingerprint([1; 32]),
        sequence: Sequence(1),
        expires_at: Timestamp(5),
    }
}

fn batch() -> EntityBatch {
    EntityBatch {
        entity: entity(),
        first_sequence: Sequence(1),
        record_count: 2,
        last_at: Timestamp(2000),
        wake_at: None,
        command_rows: vec![command_row()],
        vault: vec![
            VaultChange::Put { key: DataKeyId([2; 16]), secret: [3; 32] },
            VaultChange::Erase { key: DataKeyId([2; 16]) },
        ],
        records: codec::encode_records(&[record(1), record(2)]),
    }
}

fn snapshot() -> Snapshot {
    let entry = record(1);
    let mut state = AnyState::new(&entity());
    state.apply(&entry.events[1], entry.at);
    Snapshot {
        entity: entity(),
        sequence: Sequence(2),
        at: Timestamp(2000),
        wake_at: None,
        state,
        window: vec![WindowEntry { stamp: entry.stamp, at: entry.at, reply: entry.reply }],
    }
}
