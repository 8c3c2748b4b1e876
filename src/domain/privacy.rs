//! Personal data as the domain sees it: sealed, with the key elsewhere (P22).
//!
//! The HTTP layer seals a buyer's data under a fresh key before it becomes part of a command. The sealed bytes may be
//! journaled; the key lives only in an erasable row and leaves through [`super::entity::VaultChange`].

use std::fmt::{self, Debug};

use serde::{Deserialize, Serialize};

use super::ids::DataKeyId;

/// Somebody's data, unreadable without the key it names.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// Which key opens it.
    pub key: DataKeyId,
    /// Nonce of XChaCha20-Poly1305, random per sealing.
    pub nonce: [u8; 24],
    /// Ciphertext and tag, at most [`Sealed::BYTES_MAX`] bytes.
    pub ciphertext: Vec<u8>,
}

impl Sealed {
    /// Longest ciphertext: a name, an e-mail and two addresses with room to spare.
    pub const BYTES_MAX: usize = 16 << 10;
}

impl Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({}, {} bytes)", self.key, self.ciphertext.len())
    }
}

/// 256 secret bits on their way somewhere. `Debug` hides them; they are never journaled by an event unless its doc says
/// so.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret(pub [u8; 32]);

impl Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}
