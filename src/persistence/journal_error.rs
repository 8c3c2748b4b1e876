//! Why a journal cannot be read, and which of the reasons say that the store's bytes rotted.

use super::codec::DecodeError;
use super::store::StoreError;
use crate::domain::ids::EntityId;
use crate::domain::time::Sequence;

/// Why a journal cannot be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum JournalError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A row does not hold what was written.
    #[error("row {key} is damaged: {source}")]
    Damaged {
        /// Where, in hex.
        key: String,
        /// How.
        source: DecodeError,
    },
    /// Records are missing between those that are there.
    #[error("{entity}: record {expected} expected, {found} found")]
    Gap {
        /// Whose journal.
        entity: EntityId,
        /// The record that should come next.
        expected: Sequence,
        /// The record that does.
        found: Sequence,
    },
    /// Feed rows this old are gone; rebuild from entity states (P29).
    #[error("feed rows below log index {floor} are gone")]
    FeedTrimmed {
        /// The oldest index that can be followed.
        floor: u64,
    },
}

impl JournalError {
    /// Whether the store's bytes changed after they were written: a row that fails its checksum, or one that is missing
    /// although later ones are there. Rows that nobody can read for another reason were written like that.
    pub(super) fn is_rot(&self) -> bool {
        matches!(self, Self::Gap { .. } | Self::Damaged { source: DecodeError::Checksum, .. })
    }
}
