//! Given, when, then for entities. Everything that passes through is encoded and decoded on its way, as it is between
//! nodes and on disk, so that a value that does not survive its own bytes fails the test that uses it.

use std::sync::Arc;
use std::time::Duration;

use super::entity::{Codec, Command, Decision, Entity, Versioned};
use super::ids::{EntityId, OrderId, Sku};
use super::money::{Currency, Money};
use super::pricing::{Listing, Offer, Prices};
use super::quantity::Quantity;
use super::rejection::Rejection;
use super::time::Timestamp;
use crate::persistence::codec::Bincode;

/// An entity under test and its time.
pub struct Subject<E: Entity> {
    /// As it is after everything so far.
    pub state: E,
    /// Its present.
    pub at: Timestamp,
}

/// What a command came to.
pub type Outcome<E> = Result<Decision<<E as Entity>::Event, <E as Entity>::Reply>, Rejection>;

impl<E: Entity> Subject<E> {
    /// Before its first event, at an ordinary moment.
    pub fn new(id: &EntityId) -> Self {
        Self { state: E::new(id), at: Timestamp(1_000_000) }
    }

    /// Given: time has passed.
    pub fn wait(&mut self, duration: Duration) -> &mut Self {
        self.at = self.at.after(duration);
        self
    }

    /// When: decides, and makes true what was decided.
    pub fn when(&mut self, command: E::Command) -> Outcome<E> {
        let command = through_bytes(&command);
        assert!(command.name().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'));
        let decision = self.state.decide(&command, self.at)?;
        assert!(!decision.replayed || decision.events.is_empty(), "a repeat of {command:?} has events");
        for event in &decision.events {
            self.given(event);
        }
        assert_eq!(reread(&decision.reply), decision.reply);
        Ok(decision)
    }

    /// Given: this happened.
    pub fn given(&mut self, event: &E::Event) -> &mut Self {
        self.state.apply(&reread(event), self.at);
        self.state.assert_invariants();
        self.state = through_bytes(&self.state);
        self
    }

    /// When and then: the command is accepted. Returns the answer.
    #[track_caller]
    pub fn yes(&mut self, command: E::Command) -> E::Reply {
        match self.when(command.clone()) {
            Ok(decision) => decision.reply,
            Err(rejection) => panic!("{command:?} was rejected: {rejection}"),
        }
    }

    /// When and then: the command is refused. Returns why.
    #[track_caller]
    pub fn no(&mut self, command: E::Command) -> Rejection {
        match self.when(command.clone()) {
            Ok(decision) => panic!("{command:?} was accepted: {decision:?}"),
            Err(rejection) => rejection,
        }
    }

    /// When and then: the command is a repeat: the same answer, nothing happens (P6).
    #[track_caller]
    pub fn again(&mut self, command: E::Command) -> E::Reply {
        let decision = self.when(command.clone()).unwrap_or_else(|no| panic!("{command:?} was rejected: {no}"));
        assert!(decision.events.is_empty(), "{command:?} did something again: {:?}", decision.events);
        decision.reply
    }
}

/// Encodes and decodes.
pub fn through_bytes<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
    let mut bytes = Vec::new();
    Bincode::encode(value, &mut bytes);
    Bincode::decode(&bytes).expect("a value reads its own bytes")
}

fn reread<T: Versioned>(value: &T) -> T {
    let mut bytes = Vec::new();
    Bincode::encode(value, &mut bytes);
    T::decode_version::<Bincode>(T::VERSION, &bytes).expect("a value reads its own bytes")
}

/// Lowercase hex of a value's bytes, for golden tests.
pub fn hex_of<T: serde::Serialize>(value: &T) -> String {
    let mut bytes = Vec::new();
    Bincode::encode(value, &mut bytes);
    hex::encode(bytes)
}

/// The value of those bytes in layout `version`.
pub fn versioned_of_hex<T: Versioned>(version: u16, text: &str) -> T {
    let bytes = hex::decode(text).expect("hex");
    T::decode_version::<Bincode>(version, &bytes).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// The state of those bytes in layout `version`.
pub fn state_of_hex<E: Entity>(version: u16, text: &str) -> E {
    let bytes = hex::decode(text).expect("hex");
    E::decode_state::<Bincode>(version, &bytes).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// The value of those bytes, for parts of what is versioned.
pub fn of_hex<T: serde::de::DeserializeOwned>(text: &str) -> T {
    let bytes = hex::decode(text).expect("hex");
    Bincode::decode(&bytes).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// A SKU.
pub fn sku(text: &str) -> Sku {
    text.parse().expect("a test names valid SKUs")
}

/// A quantity.
pub fn units(count: u32) -> Quantity {
    Quantity::new(count).expect("a test asks for at least one unit")
}

/// An id of 16 equal bytes.
pub fn id16(byte: u8) -> [u8; 16] {
    [byte; 16]
}

/// An order's id.
pub fn order_id(byte: u8) -> OrderId {
    OrderId(id16(byte))
}

/// US dollars, in cents.
pub fn usd(amount: u64) -> Money {
    Money { amount, currency: Currency::USD }
}

/// A listing in US dollars that makes a cart take [`offer`] with the same arguments.
pub fn listing(title: &str, cents: u64, version: u64) -> Option<Arc<Listing>> {
    let (product, prices) = ("product".parse().expect("a word"), Prices([(Currency::USD, cents)].into()));
    Some(Arc::new(Listing { product, title: title.into(), prices, version, active: true }))
}

/// An offer in US dollars.
pub fn offer(title: &str, cents: u64, listing_version: u64) -> Offer {
    Offer { product: "product".parse().expect("a word"), title: title.into(), unit_price: usd(cents), listing_version }
}
