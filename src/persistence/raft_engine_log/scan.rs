//! Reads raft-engine's files byte for byte before the engine opens them, to tell a torn tail from damage (P23).
//!
//! raft-engine on its own truncates at the first batch it cannot read, or verifies entry blocks only at the end of a
//! file: a flipped byte may silently erase acknowledged entries. This scan verifies every checksum of every file.
//!
//! ```text
//! file   = magic 53 bytes ‖ version u64 BE (2) ‖ alignment u64 BE (0) ‖ batch… ‖ zeros allocated ahead
//! batch  = length u64 BE << 8 | compression (0) ‖ footer offset u64 BE ‖ entries ‖ crc32 LE ‖ items ‖ crc32 LE ^ file
//! ```
//!
//! Only the last file of a queue can have been cut by a crash, and only in its last batch: each is synced before the
//! next is begun, by the owner in the append queue and by [`super::rewrites`] in the other. What follows the last good
//! batch is
//! - nothing, or zeros: the normal end of a file in use;
//! - a **torn tail** when some disk sector of the next batch was never written: that batch was not synced, so nobody
//!   was told of it. Disks write sectors of 512 bytes whole or not at all, so a batch that was synced has them all;
//! - **damage** otherwise: the batch was completely written, or readable batches follow. Refused, naming the place.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::persistence::log::LogError;

const MAGIC: &[u8] = b"RAFT-LOG-FILE-HEADER-9986AB3E47F320B394C8E84916EB0ED5";
const FILE_HEADER_BYTES: usize = MAGIC.len() + 16;
const FORMAT_VERSION: u64 = 2;
const BATCH_HEADER_BYTES: usize = 16;
const CHECKSUM_BYTES: usize = 4;
/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// How a file ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With its last batch.
    Exact,
    /// With zeros from here on: space allocated ahead.
    Zeros(usize),
    /// With a batch that was never completely written, from here on.
    Torn(usize),
}

/// One file of one of the engine's two queues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogFile {
    pub sequence: u64,
    pub path: PathBuf,
}

/// What must be done before the engine may open a directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Repairs {
    /// Last files to shorten, with their new length and whether what is cut off are more than zeros.
    pub cut: Vec<(PathBuf, usize, bool)>,
}

/// Verifies every file of a log directory. An empty or missing directory is fine.
pub(super) fn scan_directory(directory: &Path) -> Result<Repairs, LogError> {
    let mut repairs = Repairs::default();
    for suffix in [".raftlog", ".rewrite"] {
        let files = list(directory, suffix).map_err(|error| io_error("list files", &error))?;
        for pair in files.windows(2) {
            if pair[0].sequence + 1 != pair[1].sequence {
                return Err(damaged(&pair[1].path, 0, "the file before it is missing"));
            }
        }
        for (position, file) in files.iter().enumerate() {
            let content = fs::read(&file.path).map_err(|error| io_error("read file", &error))?;
            match scan_file(file, &content)? {
                End::Exact => {}
                _ if position + 1 < files.len() => {
                    let offset = valid_bytes(file, &content).unwrap_or(0);
                    return Err(damaged(&file.path, offset, "a file before the last one does not end with a batch"));
                }
                End::Zeros(from) => repairs.cut.push((file.path.clone(), from, false)),
                End::Torn(from) => repairs.cut.push((file.path.clone(), from, true)),
            }
        }
    }
    Ok(repairs)
}

fn list(directory: &Path, suffix: &str) -> io::Result<Vec<LogFile>> {
    let mut files = Vec::new();
    if !directory.exists() {
        return Ok(files);
    }
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if let Some(Ok(sequence)) = name.strip_suffix(suffix).map(str::parse) {
            files.push(LogFile { sequence, path });
        }
    }
    files.sort_by_key(|file| file.sequence);
    Ok(files)
}

/// Verifies one file and says how it ends.
pub(crate) fn scan_file(file: &LogFile, content: &[u8]) -> Result<End, LogError> {
    let offset = match valid_bytes(file, content) {
        Ok(offset) if offset == content.len() => return Ok(End::Exact),
        Ok(offset) | Err(offset) => offset,
    };
    let rest = &content[offset..];
    if is_zero(rest) {
        return Ok(End::Zeros(offset));
    }
    if (offset + 1..content.len()).any(|at| batch_bytes(file, content, at).is_some()) {
        return Err(damaged(&file.path, offset, "a batch cannot be read although later ones can"));
    }
    let claimed = if offset == 0 { FILE_HEADER_BYTES } else { claimed_bytes(rest).unwrap_or(BATCH_HEADER_BYTES) };
    if has_unwritten_sector(content, offset, offset.saturating_add(claimed))
        && !has_footer_elsewhere(file, rest, claimed)
    {
        return Ok(End::Torn(offset));
    }
    Err(damaged(&file.path, offset, "a completely written batch does not match its checksum"))
}

/// How many bytes from the start are a good header and good batches; `Err(0)` when not even the header is.
fn valid_bytes(file: &LogFile, content: &[u8]) -> Result<usize, usize> {
    let header = content.get(..FILE_HEADER_BYTES).ok_or(0_usize)?;
    let version = read_u64(&header[MAGIC.len()..]);
    let alignment = read_u64(&header[MAGIC.len() + 8..]);
    if !header.starts_with(MAGIC) || version != FORMAT_VERSION || alignment != 0 {
        return Err(0);
    }
    let mut offset = FILE_HEADER_BYTES;
    while let Some(bytes) = batch_bytes(file, content, offset) {
        offset += bytes;
    }
    Ok(offset)
}

/// Length of the batch at `offset`, if there is a whole and undamaged one.
fn batch_bytes(file: &LogFile, content: &[u8], offset: usize) -> Option<usize> {
    let rest = &content[offset..];
    let length = claimed_bytes(rest)?;
    let batch = rest.get(..length)?;
    let footer = usize::try_from(read_u64(&batch[8..])).ok()?;
    let entries = &batch[BATCH_HEADER_BYTES..footer];
    let entries_good = entries.is_empty() || checksum_matches(entries, 0);
    (entries_good && checksum_matches(&batch[footer..], file.sequence as u32)).then_some(length)
}

/// The length a batch claims, if its header makes sense.
fn claimed_bytes(rest: &[u8]) -> Option<usize> {
    let header = rest.get(..BATCH_HEADER_BYTES)?;
    let (length_and_type, footer) = (read_u64(header), read_u64(&header[8..]));
    let length = usize::try_from(length_and_type >> 8).ok()?;
    let footer = usize::try_from(footer).ok()?;
    let uncompressed = length_and_type & 0xff == 0;
    let ordered = footer >= BATCH_HEADER_BYTES && footer.checked_add(CHECKSUM_BYTES).is_some_and(|end| end < length);
    (uncompressed && ordered).then_some(length)
}

fn checksum_matches(block: &[u8], signature: u32) -> bool {
    if block.len() <= CHECKSUM_BYTES {
        return false;
    }
    let (data, stored) = block.split_at(block.len() - CHECKSUM_BYTES);
    crc32fast::hash(data) == read_u32_le(stored) ^ signature
}

/// Whether some sector within `from..to` holds only zeros there, or lies behind the end of the file.
fn has_unwritten_sector(content: &[u8], from: usize, to: usize) -> bool {
    if to > content.len() {
        return true;
    }
    let mut start = from;
    while start < to {
        let end = ((start / SECTOR_BYTES + 1) * SECTOR_BYTES).min(to);
        if is_zero(&content[start..end]) {
            return true;
        }
        start = end;
    }
    false
}

/// Whether the batch at the start of `rest` has its footer elsewhere than its header says: then it was completely
/// written and the header was damaged later.
fn has_footer_elsewhere(file: &LogFile, rest: &[u8], claimed: usize) -> bool {
    let Some(header) = rest.get(..BATCH_HEADER_BYTES) else { return false };
    let footer = usize::try_from(read_u64(&header[8..])).unwrap_or(usize::MAX);
    let written = rest.iter().rposition(|byte| *byte != 0).map_or(0, |last| rest.len().min(last + CHECKSUM_BYTES));
    let footer = footer.max(BATCH_HEADER_BYTES);
    let Some(items) = rest.get(footer..written) else { return false };
    let mut hasher = crc32fast::Hasher::new();
    for (length, window) in items.windows(CHECKSUM_BYTES).enumerate() {
        let elsewhere = length > 0 && footer + length + CHECKSUM_BYTES != claimed;
        if elsewhere && hasher.clone().finalize() == read_u32_le(window) ^ file.sequence as u32 {
            return true;
        }
        hasher.update(&window[..1]);
    }
    false
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

fn read_u64(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |chunk| u64::from_be_bytes(*chunk))
}

fn read_u32_le(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |chunk| u32::from_le_bytes(*chunk))
}

fn damaged(path: &Path, offset: usize, reason: &str) -> LogError {
    LogError::Damaged { file: path.display().to_string(), offset: offset as u64, reason: reason.to_owned() }
}

pub(super) fn io_error(operation: &'static str, error: &io::Error) -> LogError {
    LogError::Io { operation, message: error.to_string() }
}
