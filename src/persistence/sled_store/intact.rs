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
//! body    = of the kinds of large pages: number i64 LE of a file in blobs/
//! blob    = crc32 LE ‖ kind u8 ‖ body
//! ```
//!
//! Segments lie in the order in which room was free; their log sequence number (lsn) is their order in time. A header
//! of zeros is a segment never written, or voided when sled recovered. Beyond the highest stable lsn any header knows,
//! sled itself stops at the first message that it cannot read: what is left out there is the end of a prefix.
//!
//! Pages above 128 KiB lie in files of their own, which sled writes before the message that names them and never syncs:
//! after a power failure the message may be there and its file empty, or gone. sled takes that for the end of its log
//! or passes over it, in the middle of a batch if it comes so. Therefore every such file that a message names must read
//! back if it is there, and must be there unless the page was written again since; to the very end of the log.
//!
//! A crash between two writes to a segment that is being used again, the later part first, looks like rot: then the
//! store is rebuilt although it need not be. That has never been seen, and nothing is lost by it.

use std::collections::{BTreeMap, BTreeSet};
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
/// The page is no more.
const FREE: u8 = 4;
/// A page as a whole, in the message or in a file of its own.
const COUNTER: u8 = 5;
const INLINE_META: u8 = 6;
const BLOB_META: u8 = 7;
const INLINE_NODE: u8 = 8;
const BLOB_NODE: u8 = 9;
/// Added to a page, in a file of its own.
const BLOB_LINK: u8 = 11;

/// Verifies the files of the store in this directory; missing ones of a store that is yet to be made are fine.
pub(super) fn verify(directory: &Path) -> Result<(), StoreError> {
    let path = directory.join("db");
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failure("read file", &error)),
    };
    let mut pages = LargePages::default();
    if let Some(at) = first_damage(&file, &mut pages).map_err(|error| failure("read file", &error))? {
        let reason = format!("what {} holds at byte {at} is not what was written", path.display());
        return Err(StoreError::Damaged { reason });
    }
    let blobs = directory.join("blobs");
    match pages.first_damage(&blobs).map_err(|error| failure("read file", &error))? {
        None => Ok(()),
        Some(number) => Err(StoreError::Damaged {
            reason: format!("{} is not what was written", blobs.join(number.to_string()).display()),
        }),
    }
}

/// The first byte of a header or message that does not read back; sled's own recovery sees to what came last.
fn first_damage(file: &File, pages: &mut LargePages) -> io::Result<Option<u64>> {
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
    segments.sort_unstable_by_key(|(_, header)| header.lsn);
    let mut content = vec![0; SEGMENT_BYTES];
    for (offset, header) in &segments {
        let length = read_some(file, &mut content, *offset)?;
        if let Err(at) = walk(&content[..length], header.lsn as u64 / SEGMENT_BYTES as u64, pages) {
            let is_stable = header.lsn.saturating_add(at as i64) <= stable;
            return Ok(is_stable.then_some(offset + at as u64));
        }
    }
    Ok(None)
}

/// The pages that have files of their own.
#[derive(Default)]
struct LargePages {
    /// Page → the files that hold it as it is now: its base and what was added to it.
    current: BTreeMap<u64, Vec<i64>>,
    /// Every file a message names, with the kind of page it should hold.
    named: BTreeMap<i64, u8>,
}

impl LargePages {
    fn note(&mut self, message: &Message<'_>) {
        match message.kind {
            FREE | COUNTER | INLINE_META | INLINE_NODE => drop(self.current.remove(&message.page)),
            BLOB_META | BLOB_NODE | BLOB_LINK => {
                let number = message.body.first_chunk::<8>().map_or(-1, |bytes| i64::from_le_bytes(*bytes));
                self.named.insert(number, message.kind);
                let files = self.current.entry(message.page).or_default();
                if message.kind != BLOB_LINK {
                    files.clear();
                }
                files.push(number);
            }
            _ => {}
        }
    }

    /// The number of a file that does not hold what was written.
    fn first_damage(&self, blobs: &Path) -> io::Result<Option<i64>> {
        let current: BTreeSet<i64> = self.current.values().flatten().copied().collect();
        for (number, kind) in &self.named {
            match std::fs::read(blobs.join(number.to_string())) {
                Ok(bytes) if is_blob(&bytes, *kind) => {}
                Ok(_) => return Ok(Some(*number)),
                Err(error) if error.kind() == io::ErrorKind::NotFound && !current.contains(number) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some(*number)),
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}

/// Whether a file holds a page of this kind, whole.
fn is_blob(bytes: &[u8], kind: u8) -> bool {
    let Some((checksum, rest)) = bytes.split_first_chunk::<CHECKSUM_BYTES>() else { return false };
    rest.first() == Some(&kind) && crc32fast::hash(rest) == u32::from_le_bytes(*checksum)
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

/// Reads the messages of a segment; answers where one cannot be read.
fn walk(segment: &[u8], number: u64, pages: &mut LargePages) -> Result<(), usize> {
    let mut at = SEGMENT_HEADER_BYTES;
    while at + MESSAGE_HEADER_BYTES_MAX <= SEGMENT_BYTES {
        let message = segment.get(at..).and_then(|rest| message(rest, number)).ok_or(at)?;
        if message.kind == CAP {
            return Ok(());
        }
        pages.note(&message);
        at += message.length;
    }
    Ok(())
}

/// One entry of sled's log.
struct Message<'a> {
    kind: u8,
    page: u64,
    body: &'a [u8],
    /// Of all of it.
    length: usize,
}

/// The message at the beginning of `bytes`, if it is whole and belongs to this segment.
fn message(bytes: &[u8], segment: u64) -> Option<Message<'_>> {
    let (checksum, rest) = bytes.split_first_chunk::<CHECKSUM_BYTES>()?;
    let (kind, mut rest) = rest.split_first()?;
    let length = usize::try_from(varint(&mut rest)?).ok()?;
    let number = varint(&mut rest)?;
    let page = varint(&mut rest)?;
    let body = rest.get(..length)?;
    let header = &bytes[CHECKSUM_BYTES..bytes.len() - rest.len()];
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(body);
    hasher.update(header);
    let whole = hasher.finalize() ^ u32::MAX == u32::from_le_bytes(*checksum);
    let length = CHECKSUM_BYTES + header.len() + length;
    (whole && number == segment && KINDS.contains(kind)).then_some(Message { kind: *kind, page, body, length })
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
