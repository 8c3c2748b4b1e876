//! The one list of entity kinds. Everything below and above the domain handles entities through the `Any…` types
//! made here, so that a new kind touches this list and nothing in actors, persistence or cluster.
//!
//! A kind's number is written to disk and wire: append new kinds, never renumber.

use serde::{Deserialize, Serialize};

use super::entity::{Codec, Command, Decision, Entity, Nature, Obligation, Outgoing, Settlement, Versioned};
use super::ids::EntityId;
use super::rejection::Rejection;
use super::time::Timestamp;

macro_rules! registry {
    ($($(#[$doc:meta])* $kind:ident = $number:literal, $name:literal => $entity:ty;)*) => {
        /// What sort of entity. The number is part of every stored key.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[repr(u8)]
        pub enum Kind { $($(#[$doc])* $kind = $number),* }

        impl Kind {
            /// Every kind, in number order.
            pub const ALL: &'static [Kind] = &[$(Kind::$kind),*];

            /// The lowercase word used in text ids.
            pub fn name(self) -> &'static str {
                match self { $(Self::$kind => $name),* }
            }

            /// The kind of that word.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$kind),)* _ => None }
            }

            /// The kind of that number.
            pub fn from_number(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$kind),)* _ => None }
            }

            /// The number stored on disk.
            pub fn number(self) -> u8 {
                self as u8
            }
        }

        /// State of some entity.
        #[derive(Clone, Debug)]
        pub enum AnyState { $($(#[$doc])* $kind($entity)),* }

        /// A command to some entity.
        #[derive(Clone, Debug, PartialEq)]
        pub enum AnyCommand { $($(#[$doc])* $kind(<$entity as Entity>::Command)),* }

        /// An event of some entity.
        #[derive(Clone, Debug, PartialEq)]
        pub enum AnyEvent { $($(#[$doc])* $kind(<$entity as Entity>::Event)),* }

        /// A reply of some entity.
        #[derive(Clone, Debug, PartialEq)]
        pub enum AnyReply { $($(#[$doc])* $kind(<$entity as Entity>::Reply)),* }

        /// A yes of some entity.
        pub type AnyDecision = Decision<AnyEvent, AnyReply>;

        impl AnyState {
            /// The entity before its first event.
            pub fn new(id: &EntityId) -> Self {
                match id.kind { $(Kind::$kind => Self::$kind(<$entity>::new(id))),* }
            }

            /// See [`Entity::decide`]. Panics when the command is for another kind: the router pairs them.
            pub fn decide(&self, command: &AnyCommand, at: Timestamp) -> Result<AnyDecision, Rejection> {
                match (self, command) {
                    $((Self::$kind(state), AnyCommand::$kind(command)) => {
                        let decision = state.decide(command, at)?;
                        Ok(Decision {
                            events: decision.events.into_iter().map(AnyEvent::$kind).collect(),
                            reply: AnyReply::$kind(decision.reply),
                            replayed: decision.replayed,
                            vault: decision.vault,
                        })
                    })*
                    _ => panic!("ENT-1: a {:?} was asked of a {:?}", command.kind(), self.kind()),
                }
            }

            /// See [`Entity::apply`]. Panics when the event is of another kind: the journal pairs them.
            pub fn apply(&mut self, event: &AnyEvent, at: Timestamp) {
                match (self, event) {
                    $((Self::$kind(state), AnyEvent::$kind(event)) => state.apply(event, at),)*
                    (state, event) => panic!("ENT-2: a {:?} event reached a {:?}", event.kind(), state.kind()),
                }
            }

            /// See [`Entity::outstanding`].
            pub fn outstanding(&self) -> Vec<Outgoing> {
                match self { $(Self::$kind(state) => state.outstanding()),* }
            }

            /// See [`Entity::settle`].
            pub fn settle(&self, obligation: &Obligation, settlement: &Settlement) -> Option<AnyCommand> {
                match self { $(Self::$kind(state) => state.settle(obligation, settlement).map(AnyCommand::$kind)),* }
            }

            /// See [`Entity::deadline`].
            pub fn deadline(&self) -> Option<(Timestamp, AnyCommand)> {
                match self { $(Self::$kind(state) => state.deadline().map(|(at, c)| (at, AnyCommand::$kind(c)))),* }
            }

            /// See [`Entity::assert_invariants`].
            pub fn assert_invariants(&self) {
                match self { $(Self::$kind(state) => state.assert_invariants()),* }
            }

            /// What sort of entity.
            pub fn kind(&self) -> Kind {
                match self { $(Self::$kind(_) => Kind::$kind),* }
            }

            /// Layout number and bytes.
            pub fn encode<C: Codec>(&self, into: &mut Vec<u8>) -> u16 {
                match self { $(Self::$kind(state) => { C::encode(state, into); <$entity>::STATE_VERSION }),* }
            }

            /// Whether these layout number and bytes are what [`Self::encode`] would write.
            pub fn encodes_to<C: Codec>(&self, version: u16, bytes: &[u8]) -> bool {
                match self {
                    $(Self::$kind(state) => version == <$entity>::STATE_VERSION && C::encodes_to(state, bytes)),*
                }
            }

            /// Reads the state of a `kind` written in layout `version`, upcasting older layouts.
            pub fn decode<C: Codec>(kind: Kind, version: u16, bytes: &[u8]) -> Result<Self, C::Error> {
                match kind {
                    $(Kind::$kind => <$entity>::decode_state::<C>(version, bytes).map(Self::$kind)),*
                }
            }
        }

        impl AnyCommand {
            /// For which sort of entity.
            pub fn kind(&self) -> Kind {
                match self { $(Self::$kind(_) => Kind::$kind),* }
            }

            /// See [`Command::nature`].
            pub fn nature(&self) -> Nature {
                match self { $(Self::$kind(command) => command.nature()),* }
            }

            /// See [`Command::name`].
            pub fn name(&self) -> &'static str {
                match self { $(Self::$kind(command) => command.name()),* }
            }

            /// Layout number and bytes.
            pub fn encode<C: Codec>(&self, into: &mut Vec<u8>) -> u16 {
                match self {
                    $(Self::$kind(command) => {
                        C::encode(command, into);
                        <<$entity as Entity>::Command as Command>::VERSION
                    }),*
                }
            }

            /// Reads a command to a `kind` written in layout `version`.
            pub fn decode<C: Codec>(kind: Kind, version: u16, bytes: &[u8]) -> Result<Self, C::Error> {
                match kind {
                    $(Kind::$kind => match <<$entity as Entity>::Command as Command>::VERSION {
                        known if known == version => C::decode(bytes).map(Self::$kind),
                        known => Err(C::unknown_version(version, known)),
                    }),*
                }
            }
        }

        impl AnyEvent {
            /// Of which sort of entity.
            pub fn kind(&self) -> Kind {
                match self { $(Self::$kind(_) => Kind::$kind),* }
            }

            /// Layout number and bytes.
            pub fn encode<C: Codec>(&self, into: &mut Vec<u8>) -> u16 {
                match self {
                    $(Self::$kind(event) => {
                        C::encode(event, into);
                        <<$entity as Entity>::Event as Versioned>::VERSION
                    }),*
                }
            }

            /// Reads an event of a `kind` written in layout `version`, upcasting older layouts.
            pub fn decode<C: Codec>(kind: Kind, version: u16, bytes: &[u8]) -> Result<Self, C::Error> {
                match kind {
                    $(Kind::$kind => {
                        <<$entity as Entity>::Event as Versioned>::decode_version::<C>(version, bytes).map(Self::$kind)
                    })*
                }
            }
        }

        impl AnyReply {
            /// Of which sort of entity.
            pub fn kind(&self) -> Kind {
                match self { $(Self::$kind(_) => Kind::$kind),* }
            }

            /// Layout number and bytes.
            pub fn encode<C: Codec>(&self, into: &mut Vec<u8>) -> u16 {
                match self {
                    $(Self::$kind(reply) => {
                        C::encode(reply, into);
                        <<$entity as Entity>::Reply as Versioned>::VERSION
                    }),*
                }
            }

            /// Reads a reply of a `kind` written in layout `version`, upcasting older layouts.
            pub fn decode<C: Codec>(kind: Kind, version: u16, bytes: &[u8]) -> Result<Self, C::Error> {
                match kind {
                    $(Kind::$kind => {
                        <<$entity as Entity>::Reply as Versioned>::decode_version::<C>(version, bytes).map(Self::$kind)
                    })*
                }
            }
        }
    };
}

registry! {
    /// Units of one SKU.
    Stock = 1, "stock" => super::stock::StockItem;
    /// A shopper's cart.
    Cart = 2, "cart" => super::cart::Cart;
    /// An order: the process from checkout to delivery.
    Order = 3, "order" => super::order::Order;
    /// A product of the catalogue.
    Product = 4, "product" => super::product::Product;
    /// Cluster-wide settings, keys and members; exactly one, in the meta group.
    Cluster = 5, "cluster" => super::cluster::Cluster;
}
