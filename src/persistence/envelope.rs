//! The envelope around every byte on disk and wire (P30), written by hand so that no library's format decides whether
//! we can tell what a value is.
//!
//! ```text
//! offset  0      1      2         4        8        12
//!         codec  kind   version   length   crc32c   payload …
//!         u8     u8     u16 LE    u32 LE   u32 LE   `length` bytes
//! ```
//!
//! The checksum covers the first eight bytes and the payload, so a flipped kind, version or length is noticed too.
//! [`open`] promises: what it returns is byte for byte what was sealed. It refuses everything else and never panics.
//! Whether the payload's *version* is known is for the layout's own reader to say.

use super::codec::DecodeError;

/// Bytes before the payload.
pub const HEADER_BYTES: usize = 12;

/// Largest payload anybody may seal or open.
pub const PAYLOAD_BYTES_MAX: usize = 256 << 20;

/// The only codec so far: bincode 2, standard configuration.
const CODEC: u8 = 1;

/// What sort of value an envelope holds. Numbers are on disk: append, never renumber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ValueKind {
    /// The records of one batch.
    Records = 1,
    /// One log entry: a list of batches.
    Entry = 2,
    /// An entity at a sequence.
    Snapshot = 3,
    /// Store: one batch in an entity's journal.
    BatchRow = 4,
    /// Store: one remembered client key.
    CommandRow = 5,
    /// Store: what one log entry stored.
    FeedRow = 6,
    /// Store: which snapshot an entity has.
    SnapshotHead = 7,
    /// Store: how far a group's log is applied.
    Applied = 8,
    /// Store: one erasable data key.
    VaultKey = 9,
    /// Store: below which log index feed rows are gone.
    FeedFloor = 10,
    /// Checkpoint file: what it is of.
    CheckpointHead = 11,
    /// Checkpoint file: some rows.
    CheckpointRows = 12,
    /// Checkpoint file: counts; its absence means the file is torn.
    CheckpointEnd = 13,
    /// Log tail file of a backup: what it is of.
    TailHead = 14,
    /// Log tail file of a backup: some entries.
    TailEntries = 15,
    /// Raft: one entry with its log id.
    RaftEntry = 32,
    /// Raft: a vote.
    RaftVote = 33,
    /// Raft: a log id.
    RaftLogId = 34,
    /// Raft: applied log id and membership, opaque to the store.
    RaftApplied = 35,
    /// Store: a row of the lists, built from the feed.
    ListRow = 48,
    /// Store: how far an endpoint of outgoing webhooks is.
    WebhookCursor = 49,
    /// Wire: a message between nodes.
    Message = 64,
}

/// An opened envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened<'a> {
    /// Layout number of the payload.
    pub version: u16,
    /// The payload.
    pub payload: &'a [u8],
}

/// An envelope being written: reserves the header, to be filled by [`Sealing::finish`].
#[must_use]
pub struct Sealing {
    start: usize,
}

impl Sealing {
    /// Leaves room for the header at the end of `into`; the caller appends the payload and then finishes.
    pub fn begin(into: &mut Vec<u8>) -> Self {
        let start = into.len();
        into.extend_from_slice(&[0; HEADER_BYTES]);
        Self { start }
    }

    /// Fills the header for everything appended since. Panics above [`PAYLOAD_BYTES_MAX`]: limits are far below.
    pub fn finish(self, into: &mut [u8], kind: ValueKind, version: u16) {
        let sealed = &mut into[self.start..];
        let length = sealed.len() - HEADER_BYTES;
        assert!(length <= PAYLOAD_BYTES_MAX, "ENV-1: a payload of {length} bytes is above every limit");
        sealed[0] = CODEC;
        sealed[1] = kind as u8;
        sealed[2..4].copy_from_slice(&version.to_le_bytes());
        sealed[4..8].copy_from_slice(&(length as u32).to_le_bytes());
        let checksum = checksum(sealed);
        sealed[8..12].copy_from_slice(&checksum.to_le_bytes());
    }
}

/// Seals a payload that already exists.
pub fn seal(kind: ValueKind, version: u16, payload: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(HEADER_BYTES + payload.len());
    let sealing = Sealing::begin(&mut sealed);
    sealed.extend_from_slice(payload);
    sealing.finish(&mut sealed, kind, version);
    sealed
}

/// Opens an envelope that fills `bytes` exactly.
pub fn open(kind: ValueKind, bytes: &[u8]) -> Result<Opened<'_>, DecodeError> {
    let (opened, consumed) = open_prefix(kind, bytes)?;
    if consumed == bytes.len() {
        Ok(opened)
    } else {
        Err(DecodeError::Malformed { reason: format!("{} bytes after the envelope", bytes.len() - consumed) })
    }
}

/// Opens the envelope at the start of `bytes` and says how many bytes it takes.
pub fn open_prefix(kind: ValueKind, bytes: &[u8]) -> Result<(Opened<'_>, usize), DecodeError> {
    let needed = total_bytes(bytes)?;
    if bytes.len() < needed {
        return Err(DecodeError::Truncated { needed, present: bytes.len() });
    }
    let sealed = &bytes[..needed];
    if checksum(sealed) != u32::from_le_bytes([sealed[8], sealed[9], sealed[10], sealed[11]]) {
        return Err(DecodeError::Checksum);
    }
    if sealed[0] != CODEC {
        return Err(DecodeError::Codec { found: sealed[0] });
    }
    if sealed[1] != kind as u8 {
        return Err(DecodeError::Kind { expected: kind as u8, found: sealed[1] });
    }
    let version = u16::from_le_bytes([sealed[2], sealed[3]]);
    Ok((Opened { version, payload: &sealed[HEADER_BYTES..] }, needed))
}

/// The length an envelope claims to have, header included, from its first [`HEADER_BYTES`] bytes. Not yet verified.
pub fn total_bytes(header: &[u8]) -> Result<usize, DecodeError> {
    if header.len() < HEADER_BYTES {
        return Err(DecodeError::Truncated { needed: HEADER_BYTES, present: header.len() });
    }
    let length = u32::from_le_bytes([header[4], header[5], header[6], header[7]]) as usize;
    if length > PAYLOAD_BYTES_MAX {
        return Err(DecodeError::Malformed { reason: format!("a payload of {length} bytes is above every limit") });
    }
    Ok(HEADER_BYTES + length)
}

/// The version and payload of an envelope whose layout has had one version so far.
pub fn open_version_one(kind: ValueKind, bytes: &[u8]) -> Result<&[u8], DecodeError> {
    let opened = open(kind, bytes)?;
    match opened.version {
        1 => Ok(opened.payload),
        version => Err(DecodeError::UnknownVersion { version, newest: 1 }),
    }
}

fn checksum(sealed: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&sealed[..8]), &sealed[HEADER_BYTES..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_is_pinned() {
        let sealed = seal(ValueKind::Records, 7, b"abc");
        assert_eq!(hex::encode(&sealed), "0101070003000000131dbcdf616263");
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let sealed = seal(ValueKind::Entry, 1, b"the payload");
        for bit in 0..sealed.len() * 8 {
            let mut damaged = sealed.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(open(ValueKind::Entry, &damaged).is_err(), "bit {bit} went unnoticed");
        }
    }

    #[test]
    fn every_truncation_and_any_extra_byte_is_refused() {
        let sealed = seal(ValueKind::Entry, 1, b"the payload");
        for length in 0..sealed.len() {
            assert!(matches!(open(ValueKind::Entry, &sealed[..length]), Err(DecodeError::Truncated { .. })));
        }
        let mut longer = sealed.clone();
        longer.push(0);
        assert!(matches!(open(ValueKind::Entry, &longer), Err(DecodeError::Malformed { .. })));
    }

    #[test]
    fn another_kind_is_named() {
        let sealed = seal(ValueKind::Entry, 1, b"");
        assert_eq!(open(ValueKind::Snapshot, &sealed), Err(DecodeError::Kind { expected: 3, found: 2 }));
    }
}
