//! The records of one batch as bytes. One envelope and one checksum per batch, sequences implied by the first one.
//!
//! Called on the hot path: a turn adds record after record to one [`RecordsWriter`], which also tells how large the
//! batch has become. The same bytes travel in the log entry and lie in the store.

use bytes::Bytes;

use super::{Bincode, DecodeError, List, ValueV1, malformed, read, read_prefix, write};
use crate::domain::entity::{Fingerprint, Stamp};
use crate::domain::ids::CommandId;
use crate::domain::registry::{AnyEvent, AnyReply, Kind};
use crate::domain::time::{Sequence, Timestamp};
use crate::persistence::envelope::{Sealing, ValueKind, open_version_one};
use crate::persistence::records::{Record, Remembered};

/// What a batch's bytes say about themselves before the first record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordsHead {
    /// Sequence of the first record.
    pub first_sequence: Sequence,
    /// How many, at least 1.
    pub record_count: u32,
    /// `at` of the last record.
    pub last_at: Timestamp,
    /// `wake_at` of the last record.
    pub wake_at: Option<Timestamp>,
}

#[derive(bincode::Encode, bincode::BorrowDecode)]
struct HeadV1 {
    first_sequence: u64,
    last_at: u64,
    wake_at: Option<u64>,
    record_count: u32,
}

#[derive(bincode::Encode, bincode::BorrowDecode)]
enum RememberedV1 {
    ByState,
    Window,
    ClientKey { expires_at: u64 },
}

#[derive(bincode::Encode, bincode::BorrowDecode)]
struct RecordHeadV1 {
    command: [u8; 16],
    fingerprint: [u8; 32],
    remembered: RememberedV1,
    at: u64,
    wake_at: Option<u64>,
}

#[derive(bincode::BorrowDecode)]
struct RecordV1<'a> {
    head: RecordHeadV1,
    events: List<ValueV1<'a>>,
    reply: ValueV1<'a>,
}

/// Room for a typical record, so that small batches rarely grow.
const RECORD_BYTES_TYPICAL: usize = 192;
/// Room for the envelope's header and a batch's head.
const HEAD_BYTES_TYPICAL: usize = 64;

/// Encodes the records of one batch: at least one, with dense sequences.
pub fn encode_records(records: &[Record]) -> Bytes {
    let Some((last, before)) = records.split_last() else { panic!("JRN-1: a batch has at least one record") };
    let mut writer = RecordsWriter::default();
    before.iter().for_each(|record| writer.add(record));
    writer.finish(last)
}

/// Encodes the records of one batch as they come.
#[derive(Debug, Default)]
pub struct RecordsWriter {
    body: Vec<u8>,
    scratch: Vec<u8>,
    /// The first record's sequence and how many there are.
    begun: Option<(Sequence, u32)>,
}

impl RecordsWriter {
    /// Adds the next record; sequences are dense.
    pub fn add(&mut self, record: &Record) {
        let (first, count) = self.begun.unwrap_or((record.sequence, 0));
        assert_eq!(record.sequence.0, first.0 + u64::from(count), "JRN-2: sequences in a batch are dense");
        if count == 0 {
            self.body.reserve(RECORD_BYTES_TYPICAL);
        }
        write_record(record, &mut self.scratch, &mut self.body);
        self.begun = Some((first, count + 1));
    }

    /// Bytes of the records so far.
    pub fn bytes(&self) -> usize {
        self.body.len()
    }

    /// Adds the last record, which speaks for the batch, and seals it.
    pub fn finish(mut self, last: &Record) -> Bytes {
        self.add(last);
        let (first, record_count) = self.begun.expect("a record was just added");
        let mut out = Vec::with_capacity(HEAD_BYTES_TYPICAL + self.body.len());
        let sealing = Sealing::begin(&mut out);
        let (last_at, wake_at) = (last.at.0, last.wake_at.map(|at| at.0));
        write(HeadV1 { first_sequence: first.0, last_at, wake_at, record_count }, &mut out);
        out.extend_from_slice(&self.body);
        sealing.finish(&mut out, ValueKind::Records, 1);
        Bytes::from(out)
    }
}

fn write_record(record: &Record, scratch: &mut Vec<u8>, out: &mut Vec<u8>) {
    let head = RecordHeadV1 {
        command: record.stamp.command.0,
        fingerprint: record.stamp.fingerprint.0,
        remembered: freeze_remembered(record.remembered),
        at: record.at.0,
        wake_at: record.wake_at.map(|at| at.0),
    };
    write(head, out);
    write(record.events.len() as u64, out);
    for event in &record.events {
        scratch.clear();
        let version = event.encode::<Bincode>(scratch);
        write(ValueV1 { version, bytes: scratch }, out);
    }
    scratch.clear();
    let version = record.reply.encode::<Bincode>(scratch);
    write(ValueV1 { version, bytes: scratch }, out);
}

/// Reads what [`encode_records`] wrote for an entity of this kind.
pub fn decode_records(kind: Kind, bytes: &[u8]) -> Result<Vec<Record>, DecodeError> {
    let payload = open_version_one(ValueKind::Records, bytes)?;
    let (head, mut consumed) = read_head(payload)?;
    let mut records = Vec::with_capacity((head.record_count as usize).min(payload.len() / RECORD_BYTES_MIN));
    for offset in 0..u64::from(head.record_count) {
        let (frozen, length): (RecordV1<'_>, usize) = read_prefix(&payload[consumed..])?;
        consumed += length;
        records.push(thaw_record(kind, Sequence(head.first_sequence.0 + offset), &frozen)?);
    }
    read::<()>(&payload[consumed..])?;
    Ok(records)
}

/// The smallest encoded record: bounds what a count may make us reserve.
const RECORD_BYTES_MIN: usize = 54;

/// Reads only what a batch says about itself; the checksum is verified all the same.
pub fn peek_records(bytes: &[u8]) -> Result<RecordsHead, DecodeError> {
    Ok(read_head(open_version_one(ValueKind::Records, bytes)?)?.0)
}

fn read_head(payload: &[u8]) -> Result<(RecordsHead, usize), DecodeError> {
    let (head, consumed): (HeadV1, usize) = read_prefix(payload)?;
    let last = head.first_sequence.checked_add(u64::from(head.record_count));
    if head.first_sequence == 0 || head.record_count == 0 || last.is_none() {
        return Err(malformed("a batch without records or with impossible sequences"));
    }
    let head = RecordsHead {
        first_sequence: Sequence(head.first_sequence),
        record_count: head.record_count,
        last_at: Timestamp(head.last_at),
        wake_at: head.wake_at.map(Timestamp),
    };
    Ok((head, consumed))
}

fn thaw_record(kind: Kind, sequence: Sequence, frozen: &RecordV1<'_>) -> Result<Record, DecodeError> {
    let events = frozen.events.0.iter().map(|event| AnyEvent::decode::<Bincode>(kind, event.version, event.bytes));
    let head = &frozen.head;
    Ok(Record {
        sequence,
        stamp: Stamp { command: CommandId(head.command), fingerprint: Fingerprint(head.fingerprint) },
        remembered: thaw_remembered(&head.remembered),
        at: Timestamp(head.at),
        events: events.collect::<Result<_, _>>()?,
        reply: AnyReply::decode::<Bincode>(kind, frozen.reply.version, frozen.reply.bytes)?,
        wake_at: head.wake_at.map(Timestamp),
    })
}

fn freeze_remembered(remembered: Remembered) -> RememberedV1 {
    match remembered {
        Remembered::ByState => RememberedV1::ByState,
        Remembered::Window => RememberedV1::Window,
        Remembered::ClientKey { expires_at } => RememberedV1::ClientKey { expires_at: expires_at.0 },
    }
}

fn thaw_remembered(frozen: &RememberedV1) -> Remembered {
    match *frozen {
        RememberedV1::ByState => Remembered::ByState,
        RememberedV1::Window => Remembered::Window,
        RememberedV1::ClientKey { expires_at } => Remembered::ClientKey { expires_at: Timestamp(expires_at) },
    }
}
