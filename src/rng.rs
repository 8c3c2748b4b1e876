//! The randomness seam.
//!
//! Production draws from ChaCha seeded by the operating system; the simulator from a seed. Every actor of a world owns
//! its own stream (seed ⊕ name), so removing one does not reshuffle the others.

use std::sync::Mutex;

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use sha2::{Digest, Sha256};

/// A source of unguessable bytes.
pub trait Rng: Send + Sync + 'static {
    /// Fills `bytes`.
    fn fill(&self, bytes: &mut [u8]);

    /// 64 random bits.
    fn next_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// 128 random bits, for an id.
    fn next_id(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        self.fill(&mut bytes);
        bytes
    }
}

/// ChaCha12, from a 256-bit seed.
pub struct SeededRng(Mutex<ChaCha12Rng>);

impl SeededRng {
    /// Seeds from the operating system. Panics when it has no randomness to give: nothing safe can be done without.
    #[allow(clippy::disallowed_methods, reason = "the one home of the operating system's randomness")]
    pub fn from_os() -> Self {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).expect("the operating system provides randomness");
        Self(Mutex::new(ChaCha12Rng::from_seed(seed)))
    }

    /// The stream called `name` of the world seeded with `seed`.
    pub fn stream(seed: u64, name: &str) -> Self {
        let digest = Sha256::new().chain_update(seed.to_le_bytes()).chain_update(name).finalize();
        Self(Mutex::new(ChaCha12Rng::from_seed(digest.into())))
    }
}

impl Rng for SeededRng {
    fn fill(&self, bytes: &mut [u8]) {
        self.0.lock().expect("no holder of this lock panics").fill_bytes(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_depend_on_seed_and_name_only() {
        let draw = |seed, name| SeededRng::stream(seed, name).next_u64();
        assert_eq!(draw(1, "a"), draw(1, "a"));
        assert_ne!(draw(1, "a"), draw(1, "b"));
        assert_ne!(draw(1, "a"), draw(2, "a"));
    }
}
