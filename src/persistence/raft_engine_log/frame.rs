//! One log entry as raft-engine wants to see it: a protobuf 2 message with an index and a bytes field, written by hand
//! (`message LogEntry { uint64 index = 1; bytes content = 2; }`), so that no protoc is needed.

use std::any::Any;
use std::sync::OnceLock;

use protobuf::reflect::MessageDescriptor;
use protobuf::{Clear, CodedInputStream, CodedOutputStream, Message, ProtobufError, ProtobufResult, UnknownFields, rt};
use raft_engine::MessageExt;

use crate::persistence::log::LogEntry;

const INDEX: u32 = 1;
const CONTENT: u32 = 2;

/// A [`LogEntry`] that raft-engine can store.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Frame {
    pub index: u64,
    pub content: bytes::Bytes,
    unknown: UnknownFields,
}

impl From<LogEntry> for Frame {
    fn from(entry: LogEntry) -> Self {
        Self { index: entry.index, content: entry.bytes, unknown: UnknownFields::default() }
    }
}

/// Tells raft-engine where an entry's index is.
pub(super) struct Frames;

impl MessageExt for Frames {
    type Entry = Frame;

    fn index(frame: &Frame) -> u64 {
        frame.index
    }
}

impl Clear for Frame {
    fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Message for Frame {
    fn descriptor(&self) -> &'static MessageDescriptor {
        unreachable!("reflection is only asked of messages with missing required fields; this one has none")
    }

    fn is_initialized(&self) -> bool {
        true
    }

    fn merge_from(&mut self, stream: &mut CodedInputStream<'_>) -> ProtobufResult<()> {
        while !stream.eof()? {
            match stream.read_tag_unpack()? {
                (INDEX, _) => self.index = stream.read_uint64()?,
                (CONTENT, _) => self.content = read_content(stream)?.into(),
                (_, wire_type) => return Err(ProtobufError::WireError(unexpected(wire_type))),
            }
        }
        Ok(())
    }

    fn write_to_with_cached_sizes(&self, stream: &mut CodedOutputStream<'_>) -> ProtobufResult<()> {
        stream.write_uint64(INDEX, self.index)?;
        stream.write_bytes(CONTENT, &self.content)
    }

    fn compute_size(&self) -> u32 {
        rt::value_size(INDEX, self.index, protobuf::wire_format::WireTypeVarint)
            + rt::bytes_size(CONTENT, &self.content)
    }

    fn get_cached_size(&self) -> u32 {
        self.compute_size()
    }

    fn get_unknown_fields(&self) -> &UnknownFields {
        &self.unknown
    }

    fn mut_unknown_fields(&mut self) -> &mut UnknownFields {
        &mut self.unknown
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn new() -> Self {
        Self::default()
    }

    fn default_instance() -> &'static Self {
        static INSTANCE: OnceLock<Frame> = OnceLock::new();
        INSTANCE.get_or_init(Self::default)
    }
}

/// From this length on bytes are read in pieces: what a length claims is not there yet, and protobuf would reserve it.
const PIECE_BYTES: u32 = 256 << 10;

fn read_content(stream: &mut CodedInputStream<'_>) -> ProtobufResult<Vec<u8>> {
    let mut left = stream.read_raw_varint32()?;
    let mut content = stream.read_raw_bytes(left.min(PIECE_BYTES))?;
    left -= left.min(PIECE_BYTES);
    while left > 0 {
        let piece = stream.read_raw_bytes(left.min(PIECE_BYTES))?;
        content.extend_from_slice(&piece);
        left -= left.min(PIECE_BYTES);
    }
    Ok(content)
}

fn unexpected(wire_type: protobuf::wire_format::WireType) -> protobuf::error::WireError {
    protobuf::error::WireError::UnexpectedWireType(wire_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_is_pinned_and_round_trips() {
        let frame = Frame::from(LogEntry { index: 300, bytes: bytes::Bytes::from_static(b"abc") });
        let bytes = frame.write_to_bytes().unwrap();
        assert_eq!(hex::encode(&bytes), "08ac021203616263");
        assert_eq!(bytes.len() as u32, frame.compute_size());
        assert_eq!(Frame::parse_from_bytes(&bytes).unwrap(), frame);
    }

    #[test]
    fn long_content_is_read_whole_and_a_claim_of_more_is_refused() {
        let content = bytes::Bytes::from(vec![7; (PIECE_BYTES * 2 + 5) as usize]);
        let frame = Frame::from(LogEntry { index: 300, bytes: content });
        let bytes = frame.write_to_bytes().unwrap();
        assert_eq!(Frame::parse_from_bytes(&bytes).unwrap(), frame);
        assert!(Frame::parse_from_bytes(&bytes[..bytes.len() - 1]).is_err());
    }

    #[test]
    fn unknown_fields_are_refused() {
        assert!(Frame::parse_from_bytes(&[0x18, 0x01]).is_err());
    }
}
