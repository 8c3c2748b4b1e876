//! What an entity remembers of the commands it accepted (P1–P3).
//!
//! Two classes: router-drawn ids live ten minutes in a window that travels in the entity's snapshot; client keys live
//! a day in rows of their own and are never evicted early; what was answered to them is in the journal and read there
//! when somebody asks again. Commands that are idempotent by state are not kept here: the created thing answers for
//! them. A remembered id with other content is refused, not replayed.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::domain::entity::{Fingerprint, Stamp};
use crate::domain::ids::CommandId;
use crate::domain::registry::AnyReply;
use crate::domain::time::{Sequence, Timestamp};
use crate::persistence::records::{CommandRow, WindowEntry};

/// How long a router-drawn id is remembered (P3).
pub const WINDOW: Duration = crate::persistence::records::WINDOW;
/// How long a client key is remembered (P3).
pub const CLIENT_KEY_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
/// Client keys one entity remembers at once; the next is refused with `quota_exceeded` until one expires.
pub const CLIENT_KEYS_MAX: usize = 10_000;

/// What is known of a command id.
#[derive(Clone, Debug, PartialEq)]
pub enum Known {
    /// Never seen, or forgotten after its time.
    No,
    /// Seen with other content.
    OtherContent,
    /// Accepted before; this was answered.
    Answered {
        /// The reply then.
        reply: AnyReply,
        /// When.
        at: Timestamp,
    },
    /// Accepted before; the reply is in that record.
    Recorded {
        /// Which record.
        sequence: Sequence,
    },
}

/// The memory of one entity.
#[derive(Debug, Default)]
pub struct Dedup {
    window: BTreeMap<CommandId, Box<WindowEntry>>,
    /// Window ids, oldest first.
    order: VecDeque<(Timestamp, CommandId)>,
    rows: BTreeMap<CommandId, Row>,
    /// Row ids by expiry: a queue, because time does not go back within an entity.
    expiries: VecDeque<(Timestamp, CommandId)>,
}

#[derive(Debug)]
struct Row {
    fingerprint: Fingerprint,
    sequence: Sequence,
}

impl Dedup {
    /// The memory as recovered from snapshot and rows; records after the snapshot are added one by one.
    pub fn recovered(window: Vec<WindowEntry>, mut rows: Vec<CommandRow>) -> Self {
        let mut dedup = Self::default();
        rows.sort_unstable_by_key(|row| row.expires_at);
        for entry in window {
            dedup.remember_in_window(entry);
        }
        for row in rows {
            dedup.remember_row(&row);
        }
        dedup
    }

    /// Forgets what is past its time.
    pub fn forget_expired(&mut self, now: Timestamp) {
        while self.order.front().is_some_and(|(at, _)| now.since(*at) > WINDOW) {
            let (_, id) = self.order.pop_front().expect("the front was just seen");
            self.window.remove(&id);
        }
        while self.expiries.front().is_some_and(|(expires_at, _)| *expires_at <= now) {
            let (_, id) = self.expiries.pop_front().expect("the front was just seen");
            self.rows.remove(&id);
        }
    }

    /// What is known of this command.
    pub fn lookup(&self, stamp: &Stamp) -> Known {
        if let Some(row) = self.rows.get(&stamp.command) {
            let is_same = row.fingerprint == stamp.fingerprint;
            return if is_same { Known::Recorded { sequence: row.sequence } } else { Known::OtherContent };
        }
        match self.window.get(&stamp.command) {
            None => Known::No,
            Some(entry) if entry.stamp.fingerprint != stamp.fingerprint => Known::OtherContent,
            Some(entry) => Known::Answered { reply: entry.reply.clone(), at: entry.at },
        }
    }

    /// Remembers a router-drawn id.
    pub fn remember_in_window(&mut self, entry: WindowEntry) {
        self.order.push_back((entry.at, entry.stamp.command));
        self.window.insert(entry.stamp.command, Box::new(entry));
    }

    /// Remembers a client key.
    pub fn remember_row(&mut self, row: &CommandRow) {
        let known = self.rows.insert(row.command, Row { fingerprint: row.fingerprint, sequence: row.sequence });
        if known.is_none() {
            let place = self.expiries.partition_point(|(expires_at, _)| *expires_at <= row.expires_at);
            self.expiries.insert(place, (row.expires_at, row.command));
        }
    }

    /// Whether another client key may be remembered.
    pub fn has_room(&self) -> bool {
        self.rows.len() < CLIENT_KEYS_MAX
    }
}

/// The command id of a named obligation or deadline: the same name, the same id, on every node (P5).
pub fn command_id_of(name: &str) -> CommandId {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(name.as_bytes());
    CommandId(*digest.first_chunk().expect("SHA-256 has 32 bytes"))
}
