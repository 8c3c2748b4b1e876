//! The log tail of one group in a backup: a head that says what follows, then entries.

use bytes::Bytes;

use super::{BackupError, named};
use crate::persistence::codec::{self, TailHead};
use crate::persistence::files::{FileWriter, Files};
use crate::persistence::frames::Frames;
use crate::persistence::log::{GroupId, Log, LogEntry, LogRange, LogValue};

/// Entry bytes per frame; one entry may go above it.
const FRAME_BYTES_MAX: usize = 1 << 20;

/// Writes a head and all entries of the range.
pub(super) async fn write(
    log: &dyn Log,
    group: GroupId,
    range: LogRange,
    writer: &mut dyn FileWriter,
) -> Result<(), BackupError> {
    let failed = |source| named("write", "log tail", source);
    let vote = log.get(group, LogValue::Vote).await?.map(Bytes::from);
    let head = TailHead { group, range, vote };
    writer.append(codec::encode_tail_head(&head)).await.map_err(failed)?;
    let mut from = range.first;
    while from < range.next {
        let entries = log.read(group, from, range.next, FRAME_BYTES_MAX).await?;
        match (entries.first(), entries.last()) {
            (Some(first), Some(last)) if first.index == from => from = last.index + 1,
            (first, _) => {
                let first = first.map_or(range.next, |first| first.index);
                return Err(BackupError::Gap { group, missing_from: from, first });
            }
        }
        writer.append(codec::encode_tail_entries(&entries)).await.map_err(failed)?;
    }
    Ok(())
}

/// Reads a log tail from front to back.
pub struct TailReader<'a> {
    frames: Frames<'a>,
    head: TailHead,
    next: u64,
}

impl<'a> TailReader<'a> {
    /// Opens the tail called `name` and reads its head.
    pub async fn open(files: &'a dyn Files, name: &'a str) -> Result<Self, BackupError> {
        let mut frames = Frames::new(files, name);
        let frame = frames.expect().await?;
        let head = codec::decode_tail_head(&frame).map_err(|source| frames.damaged(source))?;
        Ok(Self { frames, next: head.range.first, head })
    }

    /// What it is of.
    pub fn head(&self) -> &TailHead {
        &self.head
    }

    /// The next entries, dense and in order; `None` once all that the head announces were read.
    pub async fn entries(&mut self) -> Result<Option<Vec<LogEntry>>, BackupError> {
        let Some(frame) = self.frames.next().await? else {
            return if self.next == self.head.range.next {
                Ok(None)
            } else {
                Err(self.frames.malformed(&format!("entry {} is missing", self.next)).into())
            };
        };
        let entries = codec::decode_tail_entries(&frame).map_err(|source| self.frames.damaged(source))?;
        for entry in &entries {
            if entry.index != self.next || entry.index >= self.head.range.next {
                return Err(self.frames.malformed(&format!("entry {} is out of order", entry.index)).into());
            }
            self.next += 1;
        }
        Ok(Some(entries))
    }
}
