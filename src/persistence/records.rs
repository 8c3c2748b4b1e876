//! What is journaled: records, the batches they travel in, and snapshots. Shapes only; bytes are `codec`'s business.
//!
//! A [`Record`] is the atomic unit: everything one command did. An [`EntityBatch`] is what one entity appends at once;
//! it names the first sequence it expects and is stored whole or not at all (P10). A log entry is a list of batches of
//! one shard's entities.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::domain::entity::{Fingerprint, Stamp, VaultChange};
use crate::domain::ids::{CommandId, EntityId};
use crate::domain::registry::{AnyEvent, AnyReply, AnyState};
use crate::domain::time::{Sequence, Timestamp};

/// Everything one command did to one entity (P13).
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Its place in the entity's journal.
    pub sequence: Sequence,
    /// The command and its content.
    pub stamp: Stamp,
    /// How the command is remembered.
    pub remembered: Remembered,
    /// When, by the hosting node's clock; never before the previous record.
    pub at: Timestamp,
    /// What happened; may be empty.
    pub events: Vec<AnyEvent>,
    /// What was answered.
    pub reply: AnyReply,
    /// When the entity wants attention next, computed on the state after this record.
    pub wake_at: Option<Timestamp>,
}

/// How long a router-drawn command id is remembered (P3).
pub const WINDOW: Duration = Duration::from_secs(10 * 60);

/// How long and where a command id is remembered (P3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Remembered {
    /// Idempotent by state; not remembered by id.
    ByState,
    /// Router-drawn id: in the entity's window, 10 minutes, part of its snapshot.
    Window,
    /// Client key: in a `command` row until it expires.
    ClientKey {
        /// When the row may go.
        expires_at: Timestamp,
    },
}

/// One dedup row to be written with a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandRow {
    /// The command.
    pub command: CommandId,
    /// Its content.
    pub fingerprint: Fingerprint,
    /// The record holding its reply.
    pub sequence: Sequence,
    /// When the row may go.
    pub expires_at: Timestamp,
}

/// What one entity appends at once. The records are already encoded: they go to log and store as the same bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct EntityBatch {
    /// Whose.
    pub entity: EntityId,
    /// The sequence of the first record; the batch is refused unless the entity is exactly before it.
    pub first_sequence: Sequence,
    /// How many records, at least 1.
    pub record_count: u32,
    /// `at` of the last record.
    pub last_at: Timestamp,
    /// `wake_at` of the last record.
    pub wake_at: Option<Timestamp>,
    /// Dedup rows of client keys in this batch.
    pub command_rows: Vec<CommandRow>,
    /// Data keys to keep or erase.
    pub vault: Vec<VaultChange>,
    /// The records, enveloped (`codec::encode_records`).
    pub records: Bytes,
}

impl EntityBatch {
    /// The sequence of the last record.
    pub fn last_sequence(&self) -> Sequence {
        Sequence(self.first_sequence.0 + u64::from(self.record_count) - 1)
    }
}

/// What became of one batch when its log entry was applied (P10).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// Every record of it is in the journal.
    Stored,
    /// None of it is: the entity was at `last`, not before the batch's first sequence. Its actor is stale.
    Refused {
        /// Where the entity really is.
        last: Sequence,
    },
}

/// An entity at a sequence, with its dedup window.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Whose.
    pub entity: EntityId,
    /// The last record folded in.
    pub sequence: Sequence,
    /// `at` of that record.
    pub at: Timestamp,
    /// `wake_at` of that record.
    pub wake_at: Option<Timestamp>,
    /// The state.
    pub state: AnyState,
    /// Router-drawn command ids of the last ten minutes, oldest first.
    pub window: Vec<WindowEntry>,
}

/// One remembered router-drawn command id.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowEntry {
    /// The command and its content.
    pub stamp: Stamp,
    /// When it was accepted.
    pub at: Timestamp,
    /// What was answered.
    pub reply: AnyReply,
}
