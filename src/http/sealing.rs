//! Personal data under a data key (P22): what a cart and an order carry instead of an e-mail address.
//!
//! Every PUT of a buyer draws a fresh 256-bit key. The key goes into the erasable rows beside the entity, never into a
//! record; the sealed bytes go into records. Erasing the key erases the data wherever records were copied.
//!
//! The cipher is XChaCha20-Poly1305 over the JSON of the buyer, with a random nonce, bound to the key's name. Opening
//! fails when a byte of it is not what was sealed. JSON members may be added, never renamed: old buyers stay readable.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};

use crate::domain::ids::DataKeyId;
use crate::domain::privacy::{Sealed, Secret};
use crate::http::wire::buyer::Buyer;
use crate::rng::Rng;

/// Why sealed bytes cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Another key, or changed bytes.
    #[error("not what was sealed under this key")]
    NotSealed,
    /// Sealed, but nothing this program knows.
    #[error("not a buyer")]
    NotBuyer,
}

/// Seals a buyer under a fresh key.
pub fn seal(rng: &dyn Rng, buyer: &Buyer) -> (Sealed, Secret) {
    let key = DataKeyId(rng.next_id());
    let (mut secret, mut nonce) = ([0; 32], [0; 24]);
    rng.fill(&mut secret);
    rng.fill(&mut nonce);
    let plain = serde_json::to_vec(buyer).expect("a buyer has text keys only");
    let payload = Payload { msg: &plain, aad: &key.0 };
    let cipher = XChaCha20Poly1305::new(&secret.into());
    let sealed = cipher.encrypt(XNonce::from_slice(&nonce), payload);
    let ciphertext = sealed.expect("buyers are far below the cipher's limit");
    (Sealed { key, nonce, ciphertext }, Secret(secret))
}

/// Opens what [`seal`] made.
pub fn open(secret: &[u8; 32], sealed: &Sealed) -> Result<Buyer, OpenError> {
    let cipher = XChaCha20Poly1305::new(secret.into());
    let payload = Payload { msg: &sealed.ciphertext, aad: &sealed.key.0 };
    let plain = cipher.decrypt(XNonce::from_slice(&sealed.nonce), payload).map_err(|_| OpenError::NotSealed)?;
    serde_json::from_slice(&plain).map_err(|_| OpenError::NotBuyer)
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
        let (sealed, secret) = seal(&SeededRng::stream(1, "seal"), &buyer());
        assert_eq!(open(&secret.0, &sealed), Ok(buyer()));
        assert!(!sealed.ciphertext.windows(3).any(|window| window == b"ada"));
        for at in 0..sealed.ciphertext.len() {
            let mut touched = sealed.clone();
            touched.ciphertext[at] ^= 1;
            assert_eq!(open(&secret.0, &touched), Err(OpenError::NotSealed), "byte {at}");
        }
        let renamed = Sealed { key: DataKeyId([0; 16]), ..sealed.clone() };
        assert!(open(&secret.0, &renamed).is_err(), "bound to the key's name");
        assert!(open(&[0; 32], &sealed).is_err());
    }

    #[test]
    fn the_same_buyer_is_sealed_differently_every_time() {
        let rng = SeededRng::stream(1, "seal");
        let ((one, one_secret), (two, two_secret)) = (seal(&rng, &buyer()), seal(&rng, &buyer()));
        assert_ne!(one_secret.0, two_secret.0);
        assert_ne!(one.ciphertext, two.ciphertext);
    }

    #[test]
    fn sealed_bytes_of_the_first_version_stay_readable() {
        let mut secret = [0; 32];
        let text = "cd9a6d2316288690bd2f1bad314124826c7092622a6bf692fe9366640d2fda7b";
        hex::decode_to_slice(text, &mut secret).unwrap();
        let bytes = concat!(
            "0f55f5a5d0322b690ad52eb2ac3c0b2a6eef87afcd4ff049af6fd0bb3896d96fffebd053204be56aba",
            "e592bf23a52bb1e27712f9239ca0ce436e4f09c72a588e03c8ab9426d73cf3dfd4d10461acdadd",
        );
        let bytes = hex::decode(bytes).unwrap();
        let (nonce, ciphertext) = (bytes[..24].try_into().unwrap(), bytes[24..].to_vec());
        let key = "f6c5b9e30e2611084153429158570ecd".parse().unwrap();
        assert_eq!(open(&secret, &Sealed { key, nonce, ciphertext }), Ok(buyer()));
    }
}
