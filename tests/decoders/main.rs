//! Every decoder of bytes that come from outside the process: the disk, a client, a file. Whatever the bytes are, no
//! decoder panics, and none takes more memory than its limit allows.
//!
//! Bytes come in three kinds: noise; noise inside an envelope whose length and checksum are right, which reaches the
//! layouts behind it; and what was really written, damaged in a few places and sealed again.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod memory;

use bytes::Bytes;
use memory::measured;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use stockroom::domain::entity::{Entity, Fingerprint, Stamp};
use stockroom::domain::ids::{CommandId, EntityId, HoldId};
use stockroom::domain::invariants;
use stockroom::domain::quantity::Quantity;
use stockroom::domain::registry::{AnyEvent, AnyReply, AnyState, Kind};
use stockroom::domain::stock::{Holder, StockEvent, StockItem, StockReply};
use stockroom::domain::time::{Sequence, Timestamp};
use stockroom::http::call;
use stockroom::http::wire::buyer::Buyer;
use stockroom::http::wire::cart::{LineQuantity, Merge, NewCart};
use stockroom::http::wire::order::{Cancellation, Fulfilment, NewOrder, RefundOrder};
use stockroom::http::wire::product::ProductInput;
use stockroom::http::wire::stock::{Adjustment, HoldRequest, Receipt};
use stockroom::persistence::codec;
use stockroom::persistence::envelope::{self, HEADER_BYTES, ValueKind};
use stockroom::persistence::records::{CommandRow, EntityBatch, Record, Remembered, Snapshot, WindowEntry};
use stockroom::projections::catalogue::{CatalogueFormat, CatalogueParser, ROW_BYTES_MAX};
use stockroom::projections::cursor::{self, CursorKind, QueryDigest};

/// No decoder of stored values may hold more than this, however short or long its input: the codec's own limit, and
/// room for what is built from it.
const STORED_BYTES_MAX: usize = (64 << 20) + (1 << 20);
/// A body of a few kilobytes, its values and the problem that says what is wrong with it.
const BODY_BYTES_MAX: usize = 1 << 20;
/// One row twice (raw and parsed), and what is told about rows.
const IMPORT_BYTES_MAX: usize = 4 * ROW_BYTES_MAX;

struct Decoder {
    name: &'static str,
    kind: ValueKind,
    decode: fn(&Bytes) -> bool,
}

fn stored() -> [Decoder; 14] {
    [
        Decoder { name: "entry", kind: ValueKind::Entry, decode: |bytes| codec::decode_entry(bytes).is_ok() },
        Decoder { name: "records", kind: ValueKind::Records, decode: decode_records },
        Decoder { name: "records' head", kind: ValueKind::Records, decode: |bytes| codec::peek_records(bytes).is_ok() },
        Decoder { name: "snapshot", kind: ValueKind::Snapshot, decode: |bytes| codec::decode_snapshot(bytes).is_ok() },
        Decoder {
            name: "batch row",
            kind: ValueKind::BatchRow,
            decode: |bytes| codec::decode_batch_row(bytes).is_ok(),
        },
        Decoder {
            name: "command row",
            kind: ValueKind::CommandRow,
            decode: |bytes| codec::decode_command_row(CommandId([0; 16]), bytes).is_ok(),
        },
        Decoder { name: "feed row", kind: ValueKind::FeedRow, decode: |bytes| codec::decode_feed_row(bytes).is_ok() },
        Decoder {
            name: "snapshot head",
            kind: ValueKind::SnapshotHead,
            decode: |bytes| codec::decode_snapshot_head(bytes).is_ok(),
        },
        Decoder { name: "applied", kind: ValueKind::Applied, decode: |bytes| codec::decode_applied(bytes).is_ok() },
        Decoder {
            name: "vault key",
            kind: ValueKind::VaultKey,
            decode: |bytes| codec::decode_vault_key(bytes).is_ok(),
        },
        Decoder {
            name: "feed floor",
            kind: ValueKind::FeedFloor,
            decode: |bytes| codec::decode_feed_floor(bytes).is_ok(),
        },
        Decoder {
            name: "checkpoint head",
            kind: ValueKind::CheckpointHead,
            decode: |bytes| codec::decode_checkpoint_head(bytes).is_ok(),
        },
        Decoder {
            name: "checkpoint rows",
            kind: ValueKind::CheckpointRows,
            decode: |bytes| codec::decode_checkpoint_rows(bytes).is_ok(),
        },
        Decoder {
            name: "checkpoint end",
            kind: ValueKind::CheckpointEnd,
            decode: |bytes| codec::decode_checkpoint_end(bytes).is_ok(),
        },
    ]
}

const KINDS: [Kind; 5] = [Kind::Stock, Kind::Cart, Kind::Order, Kind::Product, Kind::Cluster];

/// As records of every kind of entity.
fn decode_records(bytes: &Bytes) -> bool {
    KINDS.iter().filter(|kind| codec::decode_records(**kind, bytes).is_ok()).count() > 0
}

fn record(sequence: u64) -> Record {
    Record {
        sequence: Sequence(sequence),
        stamp: Stamp { command: CommandId([3; 16]), fingerprint: Fingerprint([7; 32]) },
        remembered: Remembered::Window,
        at: Timestamp(sequence * 1000),
        events: vec![AnyEvent::Stock(StockEvent::Unlisted { product: "tea".parse().unwrap(), version: sequence })],
        reply: AnyReply::Stock(StockReply::Listed { version: sequence }),
        wake_at: Some(Timestamp(9)),
    }
}

/// What is really written, by the kind of its envelope.
fn written() -> Vec<(ValueKind, Bytes)> {
    let entity = EntityId::stock(&"TEA".parse().unwrap());
    let records = codec::encode_records(&[record(1), record(2)]);
    let row = CommandRow {
        command: CommandId([1; 16]),
        fingerprint: Fingerprint([1; 32]),
        sequence: Sequence(1),
        expires_at: Timestamp(5),
    };
    let batch = EntityBatch {
        entity: entity.clone(),
        first_sequence: Sequence(1),
        record_count: 2,
        last_at: Timestamp(2000),
        wake_at: None,
        command_rows: vec![row.clone()],
        vault: Vec::new(),
        records: records.clone(),
    };
    let entry = record(1);
    let snapshot = Snapshot {
        entity: entity.clone(),
        sequence: Sequence(2),
        at: Timestamp(2000),
        wake_at: None,
        state: AnyState::new(&entity),
        window: vec![WindowEntry { stamp: entry.stamp, at: entry.at, reply: entry.reply }],
    };
    vec![
        (ValueKind::Entry, codec::encode_entry(&[batch])),
        (ValueKind::Records, records),
        (ValueKind::Snapshot, codec::encode_snapshot(&snapshot).into()),
        (ValueKind::CommandRow, codec::encode_command_row(&row)),
        (ValueKind::VaultKey, codec::encode_vault_key(&[5; 32])),
        (ValueKind::FeedFloor, codec::encode_feed_floor(7)),
    ]
}

fn decode_within(decoder: &Decoder, bytes: &Bytes) -> bool {
    let (is_taken, peak) = measured(|| (decoder.decode)(bytes));
    assert!(peak <= STORED_BYTES_MAX, "{} took {peak} bytes for an input of {}", decoder.name, bytes.len());
    is_taken
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn noise_is_no_stored_value(noise in vec(any::<u8>(), 0..600)) {
        let bytes = Bytes::from(noise);
        for decoder in stored() {
            prop_assert!(!decode_within(&decoder, &bytes), "{} is noise", decoder.name);
        }
    }

    #[test]
    fn noise_in_a_good_envelope_does_no_harm(version in 0_u16..4, noise in vec(any::<u8>(), 0..600)) {
        for decoder in stored() {
            let bytes = Bytes::from(envelope::seal(decoder.kind, version, &noise));
            decode_within(&decoder, &bytes);
        }
    }

    #[test]
    fn a_claim_of_much_to_come_takes_no_memory(
        claim in any::<u64>(), at in any::<Index>(), noise in vec(any::<u8>(), 1..80),
    ) {
        let mut payload = noise;
        let at = at.index(payload.len());
        // 253 begins an eight-byte number in the codec: a length nobody can have.
        payload.splice(at..at, [253].into_iter().chain(claim.to_le_bytes()));
        for decoder in stored() {
            decode_within(&decoder, &Bytes::from(envelope::seal(decoder.kind, 1, &payload)));
        }
    }

    #[test]
    fn what_was_written_and_damaged_is_refused_or_read_but_never_harms(
        damage in vec((any::<Index>(), any::<u8>()), 1..6), cut in any::<Index>(),
    ) {
        for (kind, whole) in written() {
            for decoder in stored().iter().filter(|decoder| decoder.kind == kind) {
                prop_assert!(decode_within(decoder, &whole), "{} reads what was written", decoder.name);
                let torn = whole.slice(..cut.index(whole.len()));
                prop_assert!(!decode_within(decoder, &torn), "{} takes a torn value", decoder.name);
                let mut raw = whole.to_vec();
                let (index, change) = &damage[0];
                let index = index.index(raw.len());
                raw[index] ^= change.max(&1);
                prop_assert!(!decode_within(decoder, &raw.into()), "{} takes a flipped byte", decoder.name);
                let mut payload = whole[HEADER_BYTES..].to_vec();
                for (index, change) in &damage {
                    let index = index.index(payload.len());
                    payload[index] ^= change;
                }
                decode_within(decoder, &Bytes::from(envelope::seal(kind, 1, &payload)));
            }
        }
    }

    #[test]
    fn cursors_from_clients_do_no_harm(noise in vec(any::<u8>(), 0..400), text in "[A-Za-z0-9_-]{0,300}") {
        let digest = QueryDigest::of(&"tea");
        for text in [String::from_utf8_lossy(&noise).into_owned(), text] {
            let (position, peak) = measured(|| cursor::decode::<(u64, String)>(CursorKind::Orders, digest, &text));
            prop_assert!(position.is_err() && peak <= BODY_BYTES_MAX, "{peak} bytes");
        }
    }

    #[test]
    fn bodies_from_clients_do_no_harm(body in body()) {
        let bodies: [fn(&[u8]) -> bool; 11] = [
            |body| call::parse::<HoldRequest>(body).is_ok(),
            |body| call::parse::<Receipt>(body).is_ok(),
            |body| call::parse::<Adjustment>(body).is_ok(),
            |body| call::parse::<NewCart>(body).is_ok(),
            |body| call::parse::<LineQuantity>(body).is_ok(),
            |body| call::parse::<Merge>(body).is_ok(),
            |body| call::parse::<Buyer>(body).is_ok_and(|buyer| buyer.check().is_ok()),
            |body| call::parse::<NewOrder>(body).is_ok(),
            |body| call::parse::<Fulfilment>(body).is_ok() && call::parse::<Cancellation>(body).is_ok(),
            |body| call::parse::<RefundOrder>(body).is_ok(),
            |body| call::parse::<ProductInput>(body).is_ok_and(|product| product.document().is_ok()),
        ];
        for parse in bodies {
            let (_, peak) = measured(|| parse(&body));
            prop_assert!(peak <= BODY_BYTES_MAX, "{peak} bytes for a body of {}", body.len());
        }
    }

    #[test]
    fn files_of_merchants_do_no_harm(pieces in vec(piece(), 0..40), is_csv in any::<bool>()) {
        let format = if is_csv { CatalogueFormat::Csv } else { CatalogueFormat::NdJson };
        let (rows, peak) = measured(|| {
            let (mut parser, mut parsed, mut rows) = (CatalogueParser::new(format), Vec::new(), 0_usize);
            for piece in &pieces {
                parser.push(piece, &mut parsed);
                rows += std::mem::take(&mut parsed).len();
            }
            parser.finish(&mut parsed);
            rows + parsed.len()
        });
        prop_assert!(peak <= IMPORT_BYTES_MAX, "{peak} bytes for {rows} rows");
    }
}

/// Holds of the large item: enough that a second state, or a second index, would show.
const HOLDS: u64 = 20_000;
/// What looking through a state may take.
const LOOK_BYTES_MAX: usize = 64 << 10;

/// What `journal verify` does with every item: a second state of a million holds would be hundreds of megabytes.
#[test]
fn checking_a_large_item_takes_no_second_item() {
    let entity = EntityId::stock(&"TEA".parse().unwrap());
    let mut item = StockItem::new(&entity);
    let quantity = Quantity::new(2 * HOLDS as u32).unwrap();
    item.apply(&StockEvent::Received { quantity, reference: String::new(), available: 0 }, Timestamp(1));
    for number in 0..2 * HOLDS {
        let hold = HoldId((u128::from(number) << 64).to_be_bytes());
        let (quantity, fingerprint) = (Quantity::new(1).unwrap(), Fingerprint::default());
        let (holder, expires_at) = (Holder::Shopper, Some(Timestamp(number + 1_000)));
        item.apply(
            &StockEvent::Reserved { hold, quantity, holder, expires_at, fingerprint, available: 0 },
            Timestamp(1),
        );
        if number % 2 == 0 {
            item.apply(&StockEvent::Released { hold, available: 0 }, Timestamp(2));
        }
    }
    let (breaches, peak) = measured(|| invariants::check_stock(&item));
    assert!(breaches.is_empty() && peak <= LOOK_BYTES_MAX, "recounting takes {peak} bytes: {breaches:?}");
    let (sequence, at, window) = (Sequence(1), Timestamp(2), Vec::new());
    let snapshot = Snapshot { entity, sequence, at, wake_at: None, state: AnyState::Stock(item), window };
    let bytes = codec::encode_snapshot(&snapshot);
    let (same, peak) = measured(|| codec::snapshot_holds(&bytes, &snapshot.state));
    assert_eq!(same, Ok(true));
    assert!(peak <= LOOK_BYTES_MAX, "comparing with {} bytes takes {peak}", bytes.len());
}

#[test]
fn a_row_without_end_takes_no_more_memory_than_a_row_may() {
    for format in [CatalogueFormat::Csv, CatalogueFormat::NdJson] {
        let piece = vec![b'a'; 64 << 10];
        let (errors, peak) = measured(|| {
            let (mut parser, mut parsed) = (CatalogueParser::new(format), Vec::new());
            parser.push(b"id,title,sku\n", &mut parsed);
            for _ in 0..512 {
                parser.push(&piece, &mut parsed);
            }
            parser.finish(&mut parsed);
            parsed.iter().filter(|row| row.is_err()).count()
        });
        assert!(errors >= 1, "32 MiB in one row are no row");
        assert!(peak <= IMPORT_BYTES_MAX, "{format:?}: {peak} bytes");
    }
}

/// JSON that looks like ours, cut and spliced, or noise.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"",
        "null",
        "1",
        "-1",
        "1e309",
        "0.5",
        "18446744073709551616",
        "\\u0000",
        "\\ud800",
        "\"quantity\":",
        "\"lines\":",
        "\"sku\":\"TEA\"",
        "\"payment\":",
        "\"prices\":{\"USD\":1}",
        "\"variants\":[",
        "\"email\":\"a@b\"",
        "\"shipping_address\":",
        "\"attributes\":",
        "\"title\":\"x\"",
        "é",
        "\u{10ffff}",
    ]);
    prop_oneof![
        vec(words, 0..60).prop_map(|words| words.concat().into_bytes()),
        vec(any::<u8>(), 0..400),
        (1_usize..2000).prop_map(|depth| "[".repeat(depth).into_bytes()),
        (1_usize..2000).prop_map(|depth| "{\"attributes\":".repeat(depth).into_bytes()),
    ]
}

/// A piece of a catalogue file.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::sample::select(vec![
        "id,title,sku,price_usd,attr_colour\n",
        "tea,Tea,TEA-1,19.99,green\n",
        "\"",
        "\"\"",
        ",",
        "\n",
        "\r\n",
        "\r",
        "{\"id\":\"tea\",\"title\":\"Tea\",\"variants\":[{\"sku\":\"T\",\"prices\":{}}]}\n",
        "{",
        "}\n",
        "\u{feff}",
    ]);
    prop_oneof![vec(words, 1..12).prop_map(|words| words.concat().into_bytes()), vec(any::<u8>(), 0..200),]
}
