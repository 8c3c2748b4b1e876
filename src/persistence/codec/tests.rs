use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::domain::entity::{Fingerprint, Stamp, VaultChange};
use crate::domain::ids::{CommandId, DataKeyId};
use crate::domain::registry::AnyState;
use crate::domain::time::{Sequence, Timestamp};
use crate::persistence::log::{GroupId, LogEntry, LogRange};
use crate::persistence::records::{CommandRow, Remembered, Snapshot, WindowEntry};
use crate::persistence::testkit::{batch, command_id, record, stock};

fn snapshot() -> Snapshot {
    let record = record(3);
    Snapshot {
        entity: stock("TEA"),
        sequence: Sequence(3),
        at: Timestamp(3000),
        wake_at: Some(Timestamp(9)),
        state: AnyState::new(&stock("TEA")),
        window: vec![WindowEntry { stamp: record.stamp, at: record.at, reply: record.reply }],
    }
}

#[test]
fn records_round_trip_with_every_way_of_being_remembered() {
    let mut records = vec![record(4), record(5), record(6)];
    records[1].remembered = Remembered::Window;
    records[2].remembered = Remembered::ClientKey { expires_at: Timestamp(77) };
    records[2].wake_at = Some(Timestamp(88));
    records[0].events.clear();
    let bytes = encode_records(&records);
    assert_eq!(decode_records(Kind::Stock, &bytes), Ok(records));
    let head = RecordsHead {
        first_sequence: Sequence(4),
        record_count: 3,
        last_at: Timestamp(6000),
        wake_at: Some(Timestamp(88)),
    };
    assert_eq!(peek_records(&bytes), Ok(head));
}

#[test]
fn a_snapshot_holds_its_own_state_and_no_other() {
    let mut stored = snapshot();
    let bytes = encode_snapshot(&stored);
    assert_eq!(snapshot_holds(&bytes, &stored.state), Ok(true));
    stored.state.apply(&record(4).events[0], Timestamp(4000));
    assert_eq!(snapshot_holds(&bytes, &stored.state), Ok(false), "the state went on");
    let before = encode_snapshot(&stored);
    assert_eq!(snapshot_holds(&before, &snapshot().state), Ok(false), "the state is behind");
    assert_eq!(snapshot_holds(&bytes, &AnyState::new(&stock("POT"))), Ok(false));
    assert!(snapshot_holds(&bytes[..bytes.len() - 1], &snapshot().state).is_err());
}

#[test]
fn a_small_record_stays_small() {
    assert!(encode_records(&[record(1)]).len() <= 100, "{} bytes", encode_records(&[record(1)]).len());
    let thousand: Vec<_> = (1..=1000).map(record).collect();
    assert!(encode_records(&thousand).len() <= 80 * 1000, "{} bytes", encode_records(&thousand).len());
}

#[test]
fn entries_round_trip_and_share_memory() {
    let mut first = batch("TEA", 1, 2);
    first.command_rows.push(CommandRow {
        command: command_id(1),
        fingerprint: Fingerprint([1; 32]),
        sequence: Sequence(1),
        expires_at: Timestamp(5),
    });
    first.vault.push(VaultChange::Put { key: DataKeyId([2; 16]), secret: [3; 32] });
    first.vault.push(VaultChange::Erase { key: DataKeyId([4; 16]) });
    first.wake_at = Some(Timestamp(9));
    let batches = vec![first, batch("CUP", 7, 7)];
    let bytes = encode_entry(&batches);
    let decoded = decode_entry(&bytes).unwrap();
    assert_eq!(decoded, batches);
    assert!(bytes.as_ptr_range().contains(&decoded[0].records.as_ptr()), "records were copied");
}

#[test]
fn snapshots_round_trip() {
    let snapshot = snapshot();
    let decoded = decode_snapshot(&encode_snapshot(&snapshot)).unwrap();
    assert_eq!(format!("{decoded:?}"), format!("{snapshot:?}"));
    assert_eq!(decoded.window, snapshot.window);
}

#[test]
fn layouts_are_pinned() {
    let command = CommandRow {
        command: CommandId([0; 16]),
        fingerprint: Fingerprint([1; 32]),
        sequence: Sequence(300),
        expires_at: Timestamp(5),
    };
    let head = SnapshotHead {
        sequence: Sequence(3),
        at: Timestamp(4),
        wake_at: Some(Timestamp(5)),
        log_index: 6,
        record_bytes_total: 7,
        snapshot_bytes: 8,
        chunk_count: 9,
    };
    let item = FeedItem { entity: stock("TEA"), first_sequence: Sequence(1), record_count: 2 };
    let applied = Applied { index: 1, newest_at: Timestamp(2), raft: Bytes::from_static(b"r") };
    let row = BatchRow { log_index: 1, record_bytes_total: 2, records: Bytes::from_static(b"r") };
    let mut small = batch("TEA", 1, 1);
    small.records = Bytes::from_static(b"r");
    small.vault = vec![VaultChange::Erase { key: DataKeyId([9; 16]) }];
    let range = LogRange { first: 3, next: 400 };
    let tail = TailHead { group: GroupId(2), range, vote: Some(Bytes::from_static(b"v")) };
    assert_eq!(decode_tail_head(&encode_tail_head(&tail).into()), Ok(tail.clone()));
    let golden: &[(&str, Vec<u8>)] = &[
        ("records", encode_records(&[record(1)]).to_vec()),
        ("entry", encode_entry(&[small]).to_vec()),
        ("snapshot", encode_snapshot(&snapshot())),
        ("batch row", encode_batch_row(&row).to_vec()),
        ("command row", encode_command_row(&command).to_vec()),
        ("feed row", encode_feed_row(&[item]).to_vec()),
        ("snapshot head", encode_snapshot_head(&head).to_vec()),
        ("applied", encode_applied(&applied).to_vec()),
        ("vault key", encode_vault_key(&[5; 32]).to_vec()),
        ("feed floor", encode_feed_floor(700).to_vec()),
        ("tail head", encode_tail_head(&tail)),
        ("tail entries", encode_tail_entries(&[LogEntry { index: 3, bytes: Bytes::from_static(b"e") }])),
    ];
    let lines: Vec<_> = golden.iter().map(|(name, bytes)| format!("{name}: {}", hex::encode(bytes))).collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn a_large_value_is_read_and_a_small_one_that_claims_to_be_large_is_not() {
    // A stock item may have a million holds.
    let large: Vec<[u64; 4]> = vec![[u64::MAX; 4]; 250_000];
    let mut bytes = Vec::new();
    Bincode::encode(&large, &mut bytes);
    assert!(Bincode::decode::<Vec<[u64; 4]>>(&bytes).is_ok_and(|read| read == large));
    bytes.truncate(100);
    assert!(Bincode::decode::<Vec<[u64; 4]>>(&bytes).is_err());
    let mut claim = Vec::new();
    Bincode::encode(&u64::MAX, &mut claim);
    claim.extend_from_slice(&[0; 64]);
    assert!(Bincode::decode::<Vec<u8>>(&claim).is_err());
    assert!(Bincode::decode::<String>(&claim).is_err());
    assert!(Bincode::decode::<std::collections::BTreeMap<u64, String>>(&claim).is_err());
}

#[test]
fn an_unknown_version_is_named() {
    let sealed = crate::persistence::envelope::seal(crate::persistence::envelope::ValueKind::Entry, 2, b"x");
    assert_eq!(decode_entry(&Bytes::from(sealed)), Err(DecodeError::UnknownVersion { version: 2, newest: 1 }));
}

/// Wraps arbitrary payloads in a valid envelope, so that the layout readers themselves see them.
fn sealed(kind: u8, payload: &[u8]) -> Bytes {
    use crate::persistence::envelope::{ValueKind, seal};
    let kind = match kind {
        1 => ValueKind::Records,
        2 => ValueKind::Entry,
        3 => ValueKind::Snapshot,
        4 => ValueKind::BatchRow,
        5 => ValueKind::CommandRow,
        6 => ValueKind::FeedRow,
        7 => ValueKind::SnapshotHead,
        8 => ValueKind::Applied,
        9 => ValueKind::VaultKey,
        14 => ValueKind::TailHead,
        15 => ValueKind::TailEntries,
        _ => ValueKind::FeedFloor,
    };
    Bytes::from(seal(kind, 1, payload))
}

fn decode_as_everything(bytes: &Bytes) {
    let _ = Kind::ALL.iter().filter(|kind| decode_records(**kind, bytes).is_ok()).count();
    let _ = (decode_entry(bytes), decode_snapshot(bytes).is_ok(), decode_batch_row(bytes));
    let _ = (decode_command_row(command_id(1), bytes), decode_feed_row(bytes), decode_snapshot_head(bytes));
    let _ = (decode_applied(bytes), decode_vault_key(bytes), decode_feed_floor(bytes), peek_records(bytes));
    let _ = (decode_tail_head(bytes), decode_tail_entries(bytes));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), kind in 1..=15_u8) {
        decode_as_everything(&Bytes::from(bytes.clone()));
        decode_as_everything(&sealed(kind, &bytes));
    }

    #[test]
    fn damaged_payloads_under_a_valid_checksum_never_panic(position in 0..400_usize, value: u8) {
        let mut small = batch("TEA", 1, 2);
        small.vault.push(VaultChange::Erase { key: DataKeyId([9; 16]) });
        let written = [(1, encode_records(&[record(1), record(2)]).to_vec()), (2, encode_entry(&[small]).to_vec()),
            (3, encode_snapshot(&snapshot()))];
        for (kind, bytes) in written {
            let mut payload = bytes[crate::persistence::envelope::HEADER_BYTES..].to_vec();
            let position = position % payload.len();
            payload[position] = value;
            decode_as_everything(&sealed(kind, &payload));
        }
    }

    #[test]
    fn stamps_survive(command: [u8; 16], fingerprint: [u8; 32], at: u64, wake_at: Option<u64>) {
        let mut original = record(1);
        original.stamp = Stamp { command: CommandId(command), fingerprint: Fingerprint(fingerprint) };
        original.at = Timestamp(at);
        original.wake_at = wake_at.map(Timestamp);
        prop_assert_eq!(decode_records(Kind::Stock, &encode_records(&[original.clone()])), Ok(vec![original]));
    }
}
