//! The only file that knows bincode.
//!
//! Every stored or sent value is an envelope around bincode bytes: magic codec number, kind, version, length, crc32c
//! (P30). bincode itself notices neither renamed nor reordered fields, so layouts are frozen per version and pinned by
//! golden bytes; readers of a new version ship before its writers.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::domain::entity::Codec;

/// Why bytes cannot be read.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum DecodeError {
    /// Fewer bytes than the envelope says.
    #[error("truncated: {needed} bytes needed, {present} present")]
    Truncated {
        /// Needed.
        needed: usize,
        /// Present.
        present: usize,
    },
    /// The checksum does not match.
    #[error("checksum mismatch")]
    Checksum,
    /// Another sort of value than expected.
    #[error("expected a value of kind {expected}, found kind {found}")]
    Kind {
        /// Expected.
        expected: u8,
        /// Found.
        found: u8,
    },
    /// Written by a newer Stockroom.
    #[error("layout {version} is not known to this version of Stockroom; upgrade before opening this data")]
    UnknownVersion {
        /// Which.
        version: u16,
    },
    /// The bytes inside do not form a value.
    #[error("malformed: {reason}")]
    Malformed {
        /// What bincode said.
        reason: String,
    },
}

/// bincode 2, standard configuration (little endian, variable-length integers), with a decode limit.
pub struct Bincode;

/// No single value may claim more memory than this while decoding.
const DECODE_LIMIT_BYTES: usize = 64 << 20;

fn config() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<DECODE_LIMIT_BYTES>()
}

impl Codec for Bincode {
    type Error = DecodeError;

    fn encode<T: Serialize>(value: &T, into: &mut Vec<u8>) {
        bincode::serde::encode_into_std_write(value, into, config())
            .expect("domain values hold nothing bincode cannot write");
    }

    fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
        let (value, consumed) = bincode::serde::decode_from_slice(bytes, config())
            .map_err(|error| DecodeError::Malformed { reason: error.to_string() })?;
        if consumed == bytes.len() {
            Ok(value)
        } else {
            Err(DecodeError::Malformed { reason: format!("{} bytes left over", bytes.len() - consumed) })
        }
    }

    fn unknown_version(version: u16) -> DecodeError {
        DecodeError::UnknownVersion { version }
    }
}
