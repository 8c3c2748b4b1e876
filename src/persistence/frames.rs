//! Reads a file that is a row of envelopes (P30), one at a time and in bounded memory.
//!
//! Checkpoints and the log tails of backups are such files. What is in a frame is their business; here only its
//! envelope's length is read, so that damage is reported with the file and the offset of the frame it is in.

use std::io;

use bytes::{Bytes, BytesMut};

use super::codec::DecodeError;
use super::envelope;
use super::files::Files;

/// Bytes read from a file at once.
const READ_BYTES: usize = 256 << 10;

/// Why the next frame cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    /// The file is not what was written.
    #[error("{file} is damaged at byte {offset}: {source}")]
    Damaged {
        /// Which file.
        file: String,
        /// Where the frame starts.
        offset: u64,
        /// How.
        source: DecodeError,
    },
    /// The file system refused.
    #[error("{file} cannot be read: {source}")]
    Io {
        /// Which file.
        file: String,
        /// What the system said.
        source: io::Error,
    },
}

/// A file being read from front to back.
pub(super) struct Frames<'a> {
    files: &'a dyn Files,
    file: &'a str,
    /// Bytes read and not yet handed out.
    buffer: BytesMut,
    /// Where `buffer` ends in the file.
    read_to: u64,
    /// Where the current frame starts.
    frame_at: u64,
}

impl<'a> Frames<'a> {
    /// Starts at the front.
    pub(super) fn new(files: &'a dyn Files, file: &'a str) -> Self {
        Self { files, file, buffer: BytesMut::new(), read_to: 0, frame_at: 0 }
    }

    /// The next frame, whole but not yet checked; `None` where the file ends between two frames.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, FrameError> {
        self.frame_at = self.read_to - self.buffer.len() as u64;
        self.fill(envelope::HEADER_BYTES).await?;
        if self.buffer.is_empty() {
            return Ok(None);
        }
        let length = envelope::total_bytes(&self.buffer).map_err(|source| self.damaged(source))?;
        self.fill(length).await?;
        if self.buffer.len() < length {
            let source = DecodeError::Truncated { needed: length, present: self.buffer.len() };
            return Err(self.damaged(source));
        }
        Ok(Some(self.buffer.split_to(length).freeze()))
    }

    /// The next frame of a file that must have one.
    pub(super) async fn expect(&mut self) -> Result<Bytes, FrameError> {
        let next = self.next().await?;
        next.ok_or_else(|| self.damaged(DecodeError::Truncated { needed: envelope::HEADER_BYTES, present: 0 }))
    }

    /// Damage of the current frame.
    pub(super) fn damaged(&self, source: DecodeError) -> FrameError {
        FrameError::Damaged { file: self.file.to_owned(), offset: self.frame_at, source }
    }

    /// Damage of the current frame, in words.
    pub(super) fn malformed(&self, reason: &str) -> FrameError {
        self.damaged(DecodeError::Malformed { reason: reason.to_owned() })
    }

    /// Reads until `length` bytes are buffered or the file ends.
    async fn fill(&mut self, length: usize) -> Result<(), FrameError> {
        while self.buffer.len() < length {
            let read = self.files.read(self.file, self.read_to, READ_BYTES).await;
            let bytes = read.map_err(|source| FrameError::Io { file: self.file.to_owned(), source })?;
            if bytes.is_empty() {
                break;
            }
            self.read_to += bytes.len() as u64;
            self.buffer.extend_from_slice(&bytes);
        }
        Ok(())
    }
}
