//! The one shape every entity has: pure rules over pure state.
//!
//! `decide` holds the rules and changes nothing; `apply` changes state and knows no rules: it accepts every event
//! that was ever journaled. What an entity still owes others and when it wants to be woken are functions of its
//! state, so recovery has no second source of truth. Nothing here reads a clock, draws randomness, does I/O or logs:
//! the caller hands in the time, and ids are part of commands.
//!
//! Called by the entity actor (one turn: decide → apply → assert → append → reply), by the background folder that
//! makes snapshots, by `journal verify`, and by the simulator's oracles.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::ids::{CommandId, DataKeyId, EntityId};
use super::payment::{PaymentOutcome, PaymentRequest};
use super::registry::{AnyCommand, AnyReply};
use super::rejection::Rejection;
use super::time::Timestamp;

/// A single-writer, event-sourced thing.
pub trait Entity: Clone + Debug + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// What it can be asked.
    type Command: Command;
    /// What can happen to it.
    type Event: Versioned;
    /// What it answers.
    type Reply: Versioned;

    /// Layout number of the serialized state, raised when its bytes change (P30).
    const STATE_VERSION: u16;

    /// Reads a state of the layout `version`. Override to read older layouts through their frozen structs.
    fn decode_state<C: Codec>(version: u16, bytes: &[u8]) -> Result<Self, C::Error> {
        match version {
            _ if version == Self::STATE_VERSION => C::decode(bytes),
            _ => Err(C::unknown_version(version, Self::STATE_VERSION)),
        }
    }

    /// The entity before its first event.
    fn new(id: &EntityId) -> Self;

    /// Says what would happen, changing nothing. Rejects when the rules forbid the command in this state.
    /// Accepting with no events is allowed: the reply is then journaled so that a retry gets it again.
    fn decide(&self, command: &Self::Command, at: Timestamp) -> Result<Decision<Self::Event, Self::Reply>, Rejection>;

    /// Makes an event true. Total: never rejects, accepts every event ever journaled.
    fn apply(&mut self, event: &Self::Event, at: Timestamp);

    /// Commands this state still owes to others, in a stable order. Their ids do not change while owed (P5).
    fn outstanding(&self) -> Vec<Outgoing> {
        Vec::new()
    }

    /// The command that records the final outcome of something owed; `None` when nobody waits for it any more.
    fn settle(&self, _obligation: &Obligation, _settlement: &Settlement) -> Option<Self::Command> {
        None
    }

    /// When this state wants to be woken, and the command it is then given.
    fn deadline(&self) -> Option<(Timestamp, Self::Command)> {
        None
    }

    /// Panics, naming the law, when the state is impossible. Cheap: constant time, called for every command.
    fn assert_invariants(&self);
}

/// What a command means for dedup and journaling (P3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nature {
    /// Changes nothing, is never journaled; a retry is answered from the current state.
    Read,
    /// Idempotent by the entity's own state (a created thing, an owed command): no dedup row is kept for it.
    /// `decide` answers a repeat with no events and the same reply, and the turn journals nothing for it.
    ByState,
    /// Anything else: remembered by command id, journaled even when it has no events.
    Remembered,
}

/// A command of some entity.
pub trait Command: Clone + Debug + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Layout number of the serialized command (it crosses the wire, never the disk).
    const VERSION: u16;

    /// See [`Nature`].
    fn nature(&self) -> Nature;

    /// The command's name for spans and metrics: one lowercase snake_case word, no data.
    fn name(&self) -> &'static str;
}

/// Something journaled: events and replies. Version 1 is the live type itself; when its bytes first change, the old
/// shape is frozen beside it and read by [`Versioned::decode_version`]. How: the essay of `persistence::codec`.
pub trait Versioned: Clone + Debug + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Layout number, written beside every value outside the encoding.
    const VERSION: u16;

    /// Reads the layout `version`. Override to read older layouts through their frozen structs.
    fn decode_version<C: Codec>(version: u16, bytes: &[u8]) -> Result<Self, C::Error> {
        match version {
            _ if version == Self::VERSION => C::decode(bytes),
            _ => Err(C::unknown_version(version, Self::VERSION)),
        }
    }
}

/// Turns values into bytes; implemented once, in `persistence::codec`.
pub trait Codec {
    /// Why bytes cannot be read.
    type Error;
    /// Appends the encoding of `value`.
    fn encode<T: Serialize>(value: &T, into: &mut Vec<u8>);
    /// Whether `bytes` are the encoding of `value`, found out without building it.
    fn encodes_to<T: Serialize>(value: &T, bytes: &[u8]) -> bool;
    /// Reads one value that fills `bytes` exactly.
    fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Self::Error>;
    /// The error for layout `version` of something whose newest layout this binary knows is `newest`.
    fn unknown_version(version: u16, newest: u16) -> Self::Error;
}

/// A yes: what happens and what is answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision<E, R> {
    /// What happens, in order; may be empty.
    pub events: Vec<E>,
    /// What the caller is told.
    pub reply: R,
    /// The answer repeats an earlier one: the caller sees `Idempotency-Replayed: true`, nothing is journaled.
    pub replayed: bool,
    /// Data keys written or erased together with the events (P22); never part of a record.
    pub vault: Vec<VaultChange>,
}

impl<E, R> Decision<E, R> {
    /// Events and a reply.
    pub fn new(events: Vec<E>, reply: R) -> Self {
        Self { events, reply, replayed: false, vault: Vec::new() }
    }

    /// A reply given before, found in the state (dedup by state, P3/P6).
    pub fn replay(reply: R) -> Self {
        Self { events: Vec::new(), reply, replayed: true, vault: Vec::new() }
    }

    /// The same decision, with data keys to write or erase.
    #[must_use]
    pub fn with_vault(mut self, vault: Vec<VaultChange>) -> Self {
        self.vault = vault;
        self
    }
}

/// A change to the erasable data keys of this entity's shard (P22).
#[derive(Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
pub enum VaultChange {
    /// Keep this key.
    Put {
        /// Its name.
        key: DataKeyId,
        /// 256 bits; never logged.
        secret: [u8; 32],
    },
    /// Forget this key: what it sealed is gone.
    Erase {
        /// Its name.
        key: DataKeyId,
    },
}

impl Debug for VaultChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Put { key, .. } => write!(f, "Put({key})"),
            Self::Erase { key } => write!(f, "Erase({key})"),
        }
    }
}

/// The name of one owed command: what for, never where in a list (P5). Text form `process/step/target/attempt`,
/// e.g. `order/0123…/reserve/TEA-100/1`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, serde::Deserialize)]
pub struct Obligation {
    /// Who owes it.
    pub process: EntityId,
    /// Which step of the process, e.g. `reserve`.
    pub step: std::borrow::Cow<'static, str>,
    /// Whom or what the step is about, e.g. a SKU.
    pub target: String,
    /// Kept in the process's state; raised only when a new attempt is decided.
    pub attempt: u32,
}

impl std::fmt::Display for Obligation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}/{}", self.process, self.step, self.target, self.attempt)
    }
}

/// Something owed to somebody.
#[derive(Clone, Debug, PartialEq)]
pub struct Outgoing {
    /// Its name; the command id is derived from it.
    pub obligation: Obligation,
    /// To whom and what.
    pub to: Destination,
}

/// Where an owed command goes.
#[derive(Clone, Debug, PartialEq)]
pub enum Destination {
    /// To another entity.
    Entity(EntityId, AnyCommand),
    /// To a payment provider.
    Payment(PaymentRequest),
}

/// How an owed command ended. Unknown is not an ending: it is sent again with the same id (P7).
#[derive(Clone, Debug, PartialEq)]
pub enum Settlement {
    /// The entity said yes.
    Accepted(AnyReply),
    /// The entity said no.
    Rejected(Rejection),
    /// The payment provider answered, or a lookup found out.
    Payment(PaymentOutcome),
}

/// A remembered command: who sent it and with what content (P1, P2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Stamp {
    /// Its dedup key.
    pub command: CommandId,
    /// Its content.
    pub fingerprint: Fingerprint,
}

/// SHA-256 over method, path and canonical body as received (P2). All zero for commands that no client sent.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, serde::Deserialize)]
pub struct Fingerprint(pub [u8; 32]);

impl Debug for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().take(4).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
