//! Decoders that are nobody's business outside the crate, for `tests/decoders` to feed with whatever it likes.
//!
//! Stands beside the layers like the simulator and is imported by nobody. What a decoder makes of the bytes stays in
//! here: the tests only need to know whether they were taken, and something really written to damage.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use protobuf::Message;

use crate::cluster::raft::bytes as raft;
use crate::cluster::raft::types::{Entry, LogId, Member, Membership, Payload, ShardEntry, StoredMembership, Vote};
use crate::domain::ids::{EntityId, OrderId};
use crate::domain::money::{Currency, Money};
use crate::domain::payment::PaymentOutcome;
use crate::domain::time::{Sequence, Timestamp};
use crate::payments::ledger::{Asked, Entry as LedgerEntry};
use crate::payments::ledger_file;
use crate::persistence::envelope::{self, ValueKind};
use crate::persistence::log::{GroupId, LogEntry};
use crate::persistence::raft_engine_log::frame::Frame;
use crate::persistence::raft_engine_log::scan::{LogFile, scan_file};
use crate::persistence::records::EntityBatch;
use crate::projections::lists::rows::{self, StockRow};
use crate::projections::search::{engine, schema};
use crate::projections::webhook_cursors;

/// A decoder.
#[derive(Clone, Copy, Debug)]
pub struct Decoder {
    /// What it reads.
    pub name: &'static str,
    /// The envelope around it; `None` for text and for formats of others.
    pub kind: Option<ValueKind>,
    /// Whether it takes the bytes.
    pub decode: fn(&Bytes) -> bool,
    /// Something it takes, as it is really written; `None` where writing it takes the library it belongs to.
    pub written: Option<fn() -> Bytes>,
}

/// Every decoder that is not public.
pub fn decoders() -> Vec<Decoder> {
    raft_decoders().into_iter().chain(row_decoders()).chain(file_decoders()).collect()
}

fn raft_decoders() -> [Decoder; 4] {
    [
        Decoder {
            name: "vote",
            kind: Some(ValueKind::RaftVote),
            decode: |bytes| raft::decode_vote(bytes).is_ok(),
            written: Some(|| raft::encode_vote(&Vote::new(300, 1)).into()),
        },
        Decoder {
            name: "log id",
            kind: Some(ValueKind::RaftLogId),
            decode: |bytes| raft::decode_log_id(bytes).is_ok(),
            written: Some(|| raft::encode_log_id(Some(log_id())).into()),
        },
        Decoder {
            name: "applied of Raft",
            kind: Some(ValueKind::RaftApplied),
            decode: |bytes| raft::decode_applied(bytes).is_ok(),
            written: Some(|| {
                let stored = StoredMembership::new(Some(log_id()), membership());
                raft::encode_applied(Some(log_id()), &(&stored).into()).into()
            }),
        },
        Decoder {
            name: "entry of Raft",
            kind: Some(ValueKind::RaftEntry),
            decode: |bytes| raft::decode_entry(&LogEntry { index: 7, bytes: bytes.clone() }).is_ok(),
            written: Some(|| {
                let payload = Payload::Membership(membership());
                raft::encode_entry(&Entry { log_id: log_id(), payload }).bytes
            }),
        },
    ]
}

fn row_decoders() -> [Decoder; 3] {
    [
        Decoder {
            name: "row of a list",
            kind: Some(ValueKind::ListRow),
            decode: |bytes| rows::open::<StockRow>(bytes).is_ok(),
            written: Some(|| {
                let listing = Some(("tea".parse().expect("a word"), "Tea".to_owned()));
                let (group, sequence) = (GroupId(3), Sequence(7));
                rows::seal(&StockRow { group, sequence, available: 2, holds: 5, listing }).into()
            }),
        },
        Decoder {
            name: "webhook cursor",
            kind: Some(ValueKind::WebhookCursor),
            decode: |bytes| webhook_cursors::decode(bytes).is_ok(),
            written: Some(|| envelope::seal(ValueKind::WebhookCursor, 1, &258_u64.to_be_bytes()).into()),
        },
        Decoder {
            name: "document of the search index",
            kind: None,
            decode: |bytes| schema::decode(bytes).is_ok(),
            written: None,
        },
    ]
}

fn file_decoders() -> [Decoder; 5] {
    [
        Decoder {
            name: "entry of Raft with batches",
            kind: None,
            decode: |bytes| raft::decode_entry(&LogEntry { index: 7, bytes: bytes.clone() }).is_ok(),
            written: Some(|| {
                let payload = Payload::Normal(ShardEntry(Arc::new(vec![batch()])));
                raft::encode_entry(&Entry { log_id: log_id(), payload }).bytes
            }),
        },
        Decoder {
            name: "payload of a search commit",
            kind: None,
            decode: |bytes| std::str::from_utf8(bytes).is_ok_and(|text| engine::unseal(text).is_ok()),
            written: Some(|| engine::seal(&BTreeMap::from([(GroupId(1), 7)])).into()),
        },
        Decoder {
            name: "payment ledger",
            kind: None,
            decode: |bytes| ledger_file::read_lines(bytes).is_ok_and(|entries| !entries.is_empty()),
            written: Some(|| [ledger_entry("a"), ledger_entry("b")].iter().flat_map(ledger_file::write_line).collect()),
        },
        Decoder {
            name: "frame of the log",
            kind: None,
            decode: |bytes| Frame::parse_from_bytes(bytes).is_ok_and(|frame| frame.index > 0),
            written: Some(|| {
                let frame = Frame::from(LogEntry { index: 300, bytes: Bytes::from_static(b"abc") });
                frame.write_to_bytes().expect("written to memory").into()
            }),
        },
        Decoder {
            name: "file of the log",
            kind: None,
            decode: |bytes| scan_file(&LogFile { sequence: 1, path: "1.raftlog".into() }, bytes).is_ok(),
            written: None,
        },
    ]
}

fn log_id() -> LogId {
    LogId { leader_id: 3.into(), index: 7 }
}

fn membership() -> Membership {
    let member = Member { name: "one".to_owned(), address: "[::1]:7".to_owned() };
    Membership::new(vec![[1].into()], BTreeMap::from([(1, member)])).expect("one voter with its node")
}

fn batch() -> EntityBatch {
    EntityBatch {
        entity: EntityId::order(OrderId([2; 16])),
        first_sequence: Sequence(1),
        record_count: 2,
        last_at: Timestamp(2000),
        wake_at: None,
        command_rows: Vec::new(),
        vault: Vec::new(),
        records: Bytes::from_static(b"records"),
    }
}

fn ledger_entry(key: &str) -> LedgerEntry {
    let amount = Money { amount: 1999, currency: Currency::USD };
    LedgerEntry::Answered {
        key: key.to_owned(),
        order: OrderId([2; 16]),
        asked: Asked::Authorise { amount },
        outcome: PaymentOutcome::Authorised,
    }
}
