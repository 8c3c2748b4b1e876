//! Opaque page cursors: where a list stopped, in an envelope that nobody else can make by accident.
//!
//! Text form: base64url of `format | kind | query digest | payload length | payload | crc32c`. The digest ties a cursor
//! to the filters and the order it was made under: continuing another query with it would silently skip items, so it is
//! refused. A cursor carries only keys the caller has already seen; it is checked, not secret.
//!
//! Cursors outlive restarts and travel between nodes, so the bytes are pinned by a golden test. Every failure is a
//! [`CursorError`], shown to the caller as `400 invalid_request`; arbitrary bytes never panic.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::domain::entity::Codec;
use crate::persistence::codec::Bincode;

/// Why a text is not a cursor for this query.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CursorError {
    /// Not base64url, too long, or too short to be one.
    #[error("not a cursor")]
    Malformed,
    /// Changed on the way.
    #[error("checksum mismatch")]
    Checksum,
    /// Made by another version of Stockroom; start from the first page.
    #[error("made by another version; start from the first page")]
    Version,
    /// Made for another list, other filters or another order.
    #[error("belongs to another query; start from the first page")]
    OtherQuery,
}

/// Which list a cursor belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum CursorKind {
    /// Product search.
    Products = 1,
    /// Orders.
    Orders = 2,
    /// Low stock.
    LowStock = 3,
    /// Holds about to expire.
    ExpiringHolds = 4,
}

/// First byte of every cursor.
const FORMAT: u8 = 1;
/// format, kind, digest, payload length.
const HEADER_BYTES: usize = 1 + 1 + 8 + 2;
const CHECKSUM_BYTES: usize = 4;
/// Longest text looked at: a sort key (title) of 1 KiB in base64 and the envelope fit.
const TEXT_BYTES_MAX: usize = 2_048;

/// Fingerprint of everything in a query that determines which items come in which order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueryDigest([u8; 8]);

impl QueryDigest {
    /// First 64 bits of SHA-256 over the encoding of `filters`.
    pub fn of<T: Serialize>(filters: &T) -> Self {
        let mut bytes = Vec::new();
        Bincode::encode(filters, &mut bytes);
        let hash = Sha256::digest(&bytes);
        let mut digest = [0; 8];
        digest.copy_from_slice(&hash[..8]);
        Self(digest)
    }
}

/// The text of a cursor at `position`.
pub fn encode<T: Serialize>(kind: CursorKind, digest: QueryDigest, position: &T) -> String {
    let mut payload = Vec::new();
    Bincode::encode(position, &mut payload);
    let length = u16::try_from(payload.len()).expect("positions are short: sort keys are cut before they get here");
    let mut bytes = Vec::with_capacity(HEADER_BYTES + payload.len() + CHECKSUM_BYTES);
    bytes.extend([FORMAT, kind as u8]);
    bytes.extend(digest.0);
    bytes.extend(length.to_le_bytes());
    bytes.extend(payload);
    bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The position in a cursor's text. Rejects what [`encode`] did not make for this kind and query.
pub fn decode<T: DeserializeOwned>(kind: CursorKind, digest: QueryDigest, text: &str) -> Result<T, CursorError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(CursorError::Malformed);
    }
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| CursorError::Malformed)?;
    if bytes.len() < HEADER_BYTES + CHECKSUM_BYTES {
        return Err(CursorError::Malformed);
    }
    let (body, checksum) = bytes.split_at(bytes.len() - CHECKSUM_BYTES);
    if crc32c::crc32c(body).to_le_bytes() != checksum {
        return Err(CursorError::Checksum);
    }
    let (header, payload) = body.split_at(HEADER_BYTES);
    if header[0] != FORMAT {
        return Err(CursorError::Version);
    }
    if header[1] != kind as u8 || header[2..10] != digest.0 {
        return Err(CursorError::OtherQuery);
    }
    if usize::from(u16::from_le_bytes([header[10], header[11]])) != payload.len() {
        return Err(CursorError::Malformed);
    }
    Bincode::decode(payload).map_err(|_| CursorError::Malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Position = (u64, String);

    fn digest() -> QueryDigest {
        QueryDigest::of(&("tea", 1_u64))
    }

    fn position() -> Position {
        (1999, "green-tea".to_owned())
    }

    #[test]
    fn cursor_bytes_are_the_contract() {
        let text = encode(CursorKind::Products, digest(), &position());
        assert_eq!(text, "AQF2B5_skuoNsQ0A-88HCWdyZWVuLXRlYe21vUY");
        assert_eq!(decode::<Position>(CursorKind::Products, digest(), &text), Ok(position()));
    }

    #[test]
    fn a_cursor_of_another_query_or_list_is_refused() {
        let text = encode(CursorKind::Products, digest(), &position());
        let other = QueryDigest::of(&("coffee", 1_u64));
        assert_eq!(decode::<Position>(CursorKind::Products, other, &text), Err(CursorError::OtherQuery));
        assert_eq!(decode::<Position>(CursorKind::Orders, digest(), &text), Err(CursorError::OtherQuery));
    }

    #[test]
    fn a_cursor_of_another_format_is_refused_as_such() {
        let mut bytes = URL_SAFE_NO_PAD.decode(encode(CursorKind::Orders, digest(), &position())).unwrap();
        bytes[0] = FORMAT + 1;
        let body = bytes.len() - CHECKSUM_BYTES;
        let checksum = crc32c::crc32c(&bytes[..body]).to_le_bytes();
        bytes[body..].copy_from_slice(&checksum);
        let text = URL_SAFE_NO_PAD.encode(bytes);
        assert_eq!(decode::<Position>(CursorKind::Orders, digest(), &text), Err(CursorError::Version));
    }

    proptest! {
        #[test]
        fn any_flipped_bit_is_noticed(bit in 0_usize..200) {
            let mut bytes = URL_SAFE_NO_PAD.decode(encode(CursorKind::Products, digest(), &position())).unwrap();
            let bit = bit % (bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            let text = URL_SAFE_NO_PAD.encode(bytes);
            prop_assert_eq!(
                decode::<Position>(CursorKind::Products, digest(), &text),
                Err(CursorError::Checksum)
            );
        }

        #[test]
        fn arbitrary_text_never_panics(text in ".{0,300}") {
            prop_assert!(decode::<Position>(CursorKind::Products, digest(), &text).is_err());
        }

        #[test]
        fn arbitrary_bytes_in_a_valid_envelope_never_panic(payload in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut bytes = vec![FORMAT, CursorKind::Products as u8];
            bytes.extend(digest().0);
            bytes.extend(u16::try_from(payload.len()).unwrap().to_le_bytes());
            bytes.extend(payload);
            bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
            let _ = decode::<Position>(CursorKind::Products, digest(), &URL_SAFE_NO_PAD.encode(bytes));
        }
    }
}
