//! Reads sled's file byte for byte before sled opens it, to tell rot from what a crash leaves.
//!
//! sled takes a message that it cannot read in the middle of its log for the end of that segment, and goes on with the
//! next one: a flipped byte silently takes away whatever up to half a MiB held, in the middle of the store's history.
//! That would be no prefix of the batches any more, and the Raft log replays only what comes after a prefix. So
//! everything up to where sled knew its file to be stable must read back exactly; [`StoreError::Damaged`] names the
//! place otherwise, and the store is rebuilt.
//!
//! ```text
//! file    = segment of 512 KiB…
//! segment = crc32 LE ‖ lsn i64 LE ^ MAX ‖ stable lsn i64 LE ^ MAX ‖ message… ‖ < 32 bytes, or padding behind a cap
//! message = crc32 LE ‖ kind u8 ‖ length varint ‖ segment number varint ‖ page varint ‖ body
//! ```
//!
//! Segments lie in the order in which room was free; their log sequence number (lsn) is their order in time. A header
//! of zeros is a segment never written, or voided when sled recovered. Beyond the highest stable lsn any header knows,
//! sled itself stops at the first message that it cannot read: what is left out there is the end of a prefix.
//!
//! A crash between two writes to a segment that is being used again, the later part first, looks like rot: then the
//! store is rebuilt although it need not be. That has never been seen, and nothing is lost by it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::{StoreError, failure};

/// sled's default, which the owner leaves alone.
const SEGMENT_BYTES: usize = 512 << 10;
const SEGMENT_HEADER_BYTES: usize = 20;
/// A segment with less room left has no further message.
const MESSAGE_HEADER_BYTES_MAX: usize = 32;
const CHECKSUM_BYTES: usize = 4;
/// The kind that says: the rest of the segment is padding.
const CAP: u8 = 2;
/// Kinds of messages; 0 is room never written.
const KINDS: std::ops::RangeInclusive<u8> = 1..=11;

/// Verifies the file of the store in this directory; a missing one is fine.
pub(super) fn verify(directory: &Path) -> Result<(), StoreError> {
    let path = directory.join("db");
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failure("read file", &error)),
    };
    match first_damage(&file).map_err(|error| failure("read file", &error))? {
        None => Ok(()),
        Some(at) => Err(StoreError::Damaged {
            reason: format!("what {} holds at byte {at} is not what was written", path.display()),
        }),
    }
}

/// The first byte of a header or message that does not read back; sled's own recovery sees to what came last.
fn first_damage(file: &File) -> io::Result<Option<u64>> {
    let bytes = file.metadata()?.len();
    let mut segments = Vec::new();
    for offset in (0..bytes).step_by(SEGMENT_BYTES) {
        let mut header = [0; SEGMENT_HEADER_BYTES];
        if read_some(file, &mut header, offset)? < SEGMENT_HEADER_BYTES {
            continue;
        }
        match Header::read(&header) {
            Ok(header) => segments.extend(header.map(|header| (offset, header))),
            Err(Unreadable) => return Ok(Some(offset)),
        }
    }
    let Some(stable) = segments.iter().map(|(_, header)| header.stable).max() else { return Ok(None) };
    let mut content = vec![0; SEGMENT_BYTES];
    for (offset, header) in segments.iter().filter(|(_, header)| header.lsn <= stable) {
        let length = read_some(file, &mut content, *offset)?;
        let end = usize::try_from(stable - header.lsn).unwrap_or(usize::MAX);
        if let Err(at) = walk(&content[..length], header.lsn as u64 / SEGMENT_BYTES as u64, end) {
            return Ok(Some(offset + at as u64));
        }
    }
    Ok(None)
}

/// Reads until the buffer is full or the file ends.
fn read_some(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read_at(&mut buffer[length..], offset + length as u64) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

/// Of a segment: its own place in time, and up to where the file was stable when it was begun.
struct Header {
    lsn: i64,
    stable: i64,
}

/// Not what sled writes.
struct Unreadable;

impl Header {
    /// `None` for a segment that was never written, or was voided.
    fn read(bytes: &[u8; SEGMENT_HEADER_BYTES]) -> Result<Option<Self>, Unreadable> {
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let (checksum, rest) = bytes.split_first_chunk::<CHECKSUM_BYTES>().ok_or(Unreadable)?;
        let (lsn, stable) = rest.split_first_chunk::<8>().ok_or(Unreadable)?;
        let stable = stable.first_chunk::<8>().ok_or(Unreadable)?;
        let whole = crc32fast::hash(rest) == u32::from_le_bytes(*checksum) ^ u32::MAX;
        let number = |bytes: &[u8; 8]| i64::from_le_bytes(*bytes) ^ i64::MAX;
        let header = Self { lsn: number(lsn), stable: number(stable) };
        let plausible = header.lsn >= 0 && header.lsn % SEGMENT_BYTES as i64 == 0;
        if whole && plausible { Ok(Some(header)) } else { Err(Unreadable) }
    }
}

/// Reads the messages of a segment that begin at its byte `end` or before; answers where one cannot be read.
fn walk(segment: &[u8], number: u64, end: usize) -> Result<(), usize> {
    let mut at = SEGMENT_HEADER_BYTES;
    while at <= end && at + MESSAGE_HEADER_BYTES_MAX <= SEGMENT_BYTES {
        let (kind, length) = segment.get(at..).and_then(|rest| message(rest, number)).ok_or(at)?;
        if kind == CAP {
            return Ok(());
        }
        at += length;
    }
    Ok(())
}

/// Kind and length of the message at the beginning of `bytes`, if it is whole and belongs to this segment.
fn message(bytes: &[u8], segment: u64) -> Option<(u8, usize)> {
    let (checksum, rest) = bytes.split_first_chunk::<CHECKSUM_BYTES>()?;
    let (kind, mut rest) = rest.split_first()?;
    let length = usize::try_from(varint(&mut rest)?).ok()?;
    let number = varint(&mut rest)?;
    varint(&mut rest)?;
    let body = rest.get(..length)?;
    let header = &bytes[CHECKSUM_BYTES..bytes.len() - rest.len()];
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(body);
    hasher.update(header);
    let whole = hasher.finalize() ^ u32::MAX == u32::from_le_bytes(*checksum);
    (whole && number == segment && KINDS.contains(kind)).then_some((*kind, CHECKSUM_BYTES + header.len() + length))
}

/// Takes one of sled's numbers of one to nine bytes.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let (first, rest) = bytes.split_first()?;
    let (value, length) = match first {
        0..=240 => (u64::from(*first), 0),
        241..=248 => (240 + 256 * (u64::from(*first) - 241) + u64::from(*rest.first()?), 1),
        249 => (2288 + 256 * u64::from(*rest.first()?) + u64::from(*rest.get(1)?), 2),
        _ => {
            let length = usize::from(*first) - 247;
            let mut value = [0; 8];
            value[..length].copy_from_slice(rest.get(..length)?);
            (u64::from_le_bytes(value), length)
        }
    };
    *bytes = rest.get(length..)?;
    Some(value)
}
