//! Personal data under a data key (P22): what a cart and an order carry instead of an e-mail address.
//!
//! Every PUT of a buyer draws a fresh 256-bit key. The key goes into the erasable rows beside the entity, never into a
//! record; the sealed bytes go into records. Erasing the key erases the data wherever records were copied.
//!
//! Layout: one version byte, a 24-byte random nonce, then XChaCha20-Poly1305 over the JSON of the buyer, bound to the
//! key's name. Opening fails when a byte of it is not what was sealed.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};

use crate::domain::ids::DataKeyId;
use crate::http::wire::buyer::Buyer;
use crate::rng::Rng;

const VERSION: u8 = 1;
const NONCE_BYTES: usize = 24;

/// Why sealed bytes cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("sealed personal data cannot be opened: {0}")]
pub struct OpenError(&'static str);

/// A fresh key and what it seals.
pub struct Sealed {
    /// Its name.
    pub key: DataKeyId,
    /// 256 bits; never logged.
    pub secret: [u8; 32],
    /// Goes into records.
    pub bytes: Vec<u8>,
}

/// Seals a buyer under a fresh key.
pub fn seal(rng: &dyn Rng, buyer: &Buyer) -> Sealed {
    let key = DataKeyId(rng.next_id());
    let (mut secret, mut nonce) = ([0; 32], [0; NONCE_BYTES]);
    rng.fill(&mut secret);
    rng.fill(&mut nonce);
    let plain = serde_json::to_vec(buyer).expect("a buyer has text keys only");
    let payload = Payload { msg: &plain, aad: &key.0 };
    let cipher = XChaCha20Poly1305::new(&secret.into());
    let sealed = cipher.encrypt(XNonce::from_slice(&nonce), payload).expect("buyers are far below the cipher's limit");
    let bytes = [&[VERSION][..], &nonce, &sealed].concat();
    Sealed { key, secret, bytes }
}

/// Opens what [`seal`] made.
pub fn open(key: DataKeyId, secret: &[u8; 32], bytes: &[u8]) -> Result<Buyer, OpenError> {
    let (version, rest) = bytes.split_first().ok_or(OpenError("empty"))?;
    if *version != VERSION {
        return Err(OpenError("made by another version"));
    }
    let (nonce, sealed) = rest.split_at_checked(NONCE_BYTES).ok_or(OpenError("too short"))?;
    let cipher = XChaCha20Poly1305::new(secret.into());
    let payload = Payload { msg: sealed, aad: &key.0 };
    let plain = cipher.decrypt(XNonce::from_slice(nonce), payload).map_err(|_| OpenError("not what was sealed"))?;
    serde_json::from_slice(&plain).map_err(|_| OpenError("not a buyer"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::SeededRng;

    fn buyer() -> Buyer {
        serde_json::from_str(r#"{"email":"ada@example.org","name":"Ada"}"#).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_with_its_key_and_only_untouched() {
        let sealed = seal(&SeededRng::stream(1, "seal"), &buyer());
        assert_eq!(open(sealed.key, &sealed.secret, &sealed.bytes), Ok(buyer()));
        assert!(!sealed.bytes.windows(3).any(|window| window == b"ada"));
        for at in 0..sealed.bytes.len() {
            let mut touched = sealed.bytes.clone();
            touched[at] ^= 1;
            assert!(open(sealed.key, &sealed.secret, &touched).is_err(), "byte {at}");
        }
        assert!(open(DataKeyId([0; 16]), &sealed.secret, &sealed.bytes).is_err(), "bound to the key's name");
        assert!(open(sealed.key, &sealed.secret, &sealed.bytes[..10]).is_err());
        assert!(open(sealed.key, &sealed.secret, &[]).is_err());
    }

    #[test]
    fn the_same_buyer_is_sealed_differently_every_time() {
        let rng = SeededRng::stream(1, "seal");
        let (one, two) = (seal(&rng, &buyer()), seal(&rng, &buyer()));
        assert_ne!(one.secret, two.secret);
        assert_ne!(one.bytes, two.bytes);
    }

    #[test]
    fn sealed_bytes_of_the_first_version_stay_readable() {
        let key = "f6c5b9e30e2611084153429158570ecd".parse().unwrap();
        let mut secret = [0; 32];
        let text = "cd9a6d2316288690bd2f1bad314124826c7092622a6bf692fe9366640d2fda7b";
        hex::decode_to_slice(text, &mut secret).unwrap();
        let sealed = concat!(
            "010f55f5a5d0322b690ad52eb2ac3c0b2a6eef87afcd4ff049af6fd0bb3896d96fffebd053204be56aba",
            "e592bf23a52bb1e27712f9239ca0ce436e4f09c72a588e03c8ab9426d73cf3dfd4d10461acdadd",
        );
        assert_eq!(open(key, &secret, &hex::decode(sealed).unwrap()), Ok(buyer()));
    }
}
