//! Every decoder of bytes that come from outside the process: the disk, a client, a file. Whatever the bytes are, no
//! decoder panics, and none takes more memory than its limit allows.
//!
//! Bytes come in three kinds: noise; noise inside an envelope whose length and checksum are right, which reaches the
//! layouts behind it; and what was really written, damaged in a few places and sealed again.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod memory;
mod stored;

use bytes::Bytes;
use memory::measured;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use stockroom::domain::entity::{Entity, Fingerprint};
use stockroom::domain::ids::{EntityId, HoldId};
use stockroom::domain::invariants;
use stockroom::domain::privacy::Sealed;
use stockroom::domain::quantity::Quantity;
use stockroom::domain::registry::AnyState;
use stockroom::domain::stock::{Holder, StockEvent, StockItem};
use stockroom::domain::time::{Sequence, Timestamp};
use stockroom::fuzz::Decoder;
use stockroom::http::call;
use stockroom::http::sealing;
use stockroom::http::wire::buyer::Buyer;
use stockroom::http::wire::cart::{LineQuantity, Merge, NewCart};
use stockroom::http::wire::order::{Cancellation, Fulfilment, NewOrder, RefundOrder};
use stockroom::http::wire::product::ProductInput;
use stockroom::http::wire::stock::{Adjustment, HoldRequest, Receipt};
use stockroom::payments::webhook::{SignedWebhook, WebhookSecret};
use stockroom::persistence::backup::Manifest;
use stockroom::persistence::codec;
use stockroom::persistence::envelope;
use stockroom::persistence::keys::{self, ParsedKey};
use stockroom::persistence::records::Snapshot;
use stockroom::projections::catalogue::{CatalogueFormat, CatalogueParser, ROW_BYTES_MAX};
use stockroom::projections::cursor::{self, CursorKind, QueryDigest};
use stockroom::rng::SeededRng;
use stored::{decoders, payload_of};

/// As `backup create` writes it.
const MANIFEST: &str = r#"{
  "format": 1, "data_format": 1, "version": "0.1.0", "created_at": "2026-11-22T00:00:00Z",
  "cluster": "00000000000000000000000000000001", "node": "one",
  "groups": [{"group": 1, "checkpoint": "g1-7.checkpoint", "tail": "g1.tail", "next": 9}],
  "files": [{"name": "g1.tail", "bytes": 7, "sha256": "00"}]
}"#;

/// A body of a few kilobytes, its values and the problem that says what is wrong with it.
const BODY_BYTES_MAX: usize = 1 << 20;
/// One row twice (raw and parsed), and what is told about rows.
const IMPORT_BYTES_MAX: usize = 4 * ROW_BYTES_MAX;

/// What a decoder of stored values may hold beside its input: as many times the input's length…
const TIMES_INPUT: usize = 256;
/// …and this much whatever the length.
const BESIDES_BYTES: usize = 1 << 20;

fn decode_within(decoder: &Decoder, bytes: &Bytes) -> bool {
    let (is_taken, peak) = measured(|| (decoder.decode)(bytes));
    let most = TIMES_INPUT * bytes.len() + BESIDES_BYTES;
    assert!(peak <= most, "{} took {peak} bytes for an input of {}", decoder.name, bytes.len());
    is_taken
}

/// As the payload of a good envelope, if the decoder expects one.
fn enveloped(decoder: &Decoder, version: u16, payload: &[u8]) -> Bytes {
    match decoder.kind {
        Some(kind) => envelope::seal(kind, version, payload).into(),
        None => Bytes::copy_from_slice(payload),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn noise_is_no_stored_value(noise in vec(any::<u8>(), 0..600)) {
        let bytes = Bytes::from(noise);
        for decoder in decoders() {
            let is_taken = decode_within(&decoder, &bytes);
            prop_assert!(!is_taken || decoder.kind.is_none(), "{} is noise", decoder.name);
        }
    }

    #[test]
    fn noise_in_a_good_envelope_does_no_harm(version in 0_u16..4, noise in vec(any::<u8>(), 0..600)) {
        for decoder in decoders() {
            decode_within(&decoder, &enveloped(&decoder, version, &noise));
        }
    }

    #[test]
    fn a_claim_of_much_to_come_takes_no_memory(
        claim in prop_oneof![any::<u64>(), 0..1_u64 << 24], at in any::<Index>(), noise in vec(any::<u8>(), 1..80),
    ) {
        for decoder in decoders() {
            // 253 begins an eight-byte number in the codec: a length nobody can have. Put into noise and into what
            // was written, where every length has its turn.
            for mut payload in [Some(noise.clone()), decoder.written.map(|written| payload_of(&decoder, &written()))]
                .into_iter()
                .flatten()
            {
                let at = at.index(payload.len());
                payload.splice(at..=at, [253].into_iter().chain(claim.to_le_bytes()));
                decode_within(&decoder, &enveloped(&decoder, 1, &payload));
            }
        }
    }

    #[test]
    fn what_was_written_and_damaged_is_refused_or_read_but_never_harms(
        damage in vec((any::<Index>(), any::<u8>()), 1..6), cut in any::<Index>(),
    ) {
        for decoder in decoders() {
            let Some(whole) = decoder.written.map(|written| written()) else { continue };
            prop_assert!(decode_within(&decoder, &whole), "{} reads what was written", decoder.name);
            let torn = decode_within(&decoder, &whole.slice(..cut.index(whole.len())));
            let mut raw = whole.to_vec();
            let (index, change) = &damage[0];
            let index = index.index(raw.len());
            raw[index] ^= change.max(&1);
            let flipped = decode_within(&decoder, &raw.into());
            if decoder.kind.is_some() {
                prop_assert!(!torn, "{} takes a torn value", decoder.name);
                prop_assert!(!flipped, "{} takes a flipped byte", decoder.name);
            }
            let mut payload = payload_of(&decoder, &whole);
            for (index, change) in &damage {
                let index = index.index(payload.len());
                payload[index] ^= change;
            }
            decode_within(&decoder, &enveloped(&decoder, 1, &payload));
        }
    }

    #[test]
    fn keys_of_the_store_are_parsed_back_or_refused(
        noise in vec(any::<u8>(), 0..200), area in 0_u8..8, part in 0_u8..6,
    ) {
        let mut shaped = vec![0, 0, 0, 3, area, 1];
        shaped.extend_from_slice(b"TEA\0");
        shaped.push(part);
        shaped.extend_from_slice(&noise);
        for key in [noise, shaped] {
            let (parsed, peak) = measured(|| keys::parse(&key));
            prop_assert!(peak <= BODY_BYTES_MAX, "{peak} bytes");
            if let Some((group, ParsedKey::Batch(entity, first))) = parsed {
                prop_assert_eq!(keys::batch(group, &entity, first), key);
            }
        }
    }

    #[test]
    fn manifests_of_backups_do_no_harm(body in body(), damage in vec((any::<Index>(), any::<u8>()), 0..4)) {
        let mut written = MANIFEST.as_bytes().to_vec();
        for (index, change) in &damage {
            let index = index.index(written.len());
            written[index] ^= change;
        }
        prop_assert!(!damage.is_empty() || Manifest::parse(&written).is_ok());
        for text in [body, written] {
            let (_, peak) = measured(|| Manifest::parse(&text).is_ok());
            prop_assert!(peak <= TIMES_INPUT * text.len() + BESIDES_BYTES, "{peak} bytes for {}", text.len());
        }
    }

    #[test]
    fn sealed_buyers_open_only_as_they_were_sealed(
        noise in vec(any::<u8>(), 0..400), at in any::<Index>(), change: u8,
    ) {
        let buyer: Buyer = call::parse(br#"{"email":"ada@example.org","name":"Ada"}"#).unwrap();
        let (mut sealed, secret) = sealing::seal(&SeededRng::stream(1, "seal"), &buyer);
        prop_assert_eq!(sealing::open(&secret.0, &sealed), Ok(buyer));
        let at = at.index(sealed.ciphertext.len());
        sealed.ciphertext[at] ^= change.max(1);
        for ciphertext in [sealed.ciphertext.clone(), noise] {
            let (opened, peak) = measured(|| sealing::open(&secret.0, &Sealed { ciphertext, ..sealed.clone() }));
            prop_assert!(opened.is_err() && peak <= BODY_BYTES_MAX, "{peak} bytes");
        }
    }

    #[test]
    fn webhooks_are_believed_only_as_they_were_signed(
        header in "[ -~]{0,200}", parts in vec("(t|v1|v2|)=?[0-9a-f]{0,66}", 0..7), body in vec(any::<u8>(), 0..200),
    ) {
        let (secret, at) = (WebhookSecret::new("shared"), Timestamp(1_700_000_000_000));
        for value in [header, parts.join(",")] {
            let headers = SignedWebhook { signature: value, body: Vec::new() }.headers();
            let (believed, peak) = measured(|| secret.verify(&headers, &body, at).is_ok());
            prop_assert!(!believed && peak <= BODY_BYTES_MAX, "{peak} bytes");
        }
        // Signed well, and not a notice.
        let signed = SignedWebhook { signature: secret.signature(&body, at), body };
        let (believed, peak) = measured(|| secret.verify(&signed.headers(), &signed.body, at).is_ok());
        prop_assert!(!believed && peak <= BODY_BYTES_MAX, "{peak} bytes");
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

/// The smallest items there are, as many as fit: what a list of them takes is bounded by its bytes.
#[test]
fn a_long_list_of_nearly_nothing_takes_no_more_than_its_bytes_allow() {
    for decoder in decoders() {
        for (length, filler) in [(200_000, 0_u8), (200_000, 1), (200_000, 2)] {
            for lead in [&[][..], &[1, 1, 0, 1], &[1, 0, 1], &[1]] {
                let mut payload = lead.to_vec();
                payload.extend([252].into_iter().chain((length as u32 / 2).to_le_bytes()));
                payload.resize(length, filler);
                decode_within(&decoder, &enveloped(&decoder, 1, &payload));
            }
        }
    }
}

#[test]
fn every_kind_of_envelope_has_a_decoder_and_something_written() {
    for number in (1..=15).chain(32..=35).chain(48..=49) {
        let of_kind: Vec<_> = decoders().into_iter().filter(|d| d.kind.is_some_and(|k| k as u8 == number)).collect();
        assert!(!of_kind.is_empty(), "nobody reads envelopes of kind {number}");
        assert!(of_kind.iter().all(|decoder| decoder.written.is_some()), "nothing written of kind {number}");
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
