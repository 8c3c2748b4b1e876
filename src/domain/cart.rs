//! Cart: rules follow.
use serde::{Deserialize, Serialize};

use super::entity::{Command, Decision, Entity, Nature, Versioned};
use super::ids::EntityId;
use super::rejection::Rejection;
use super::time::Timestamp;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cart {
    count: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum CartCommand {
    Touch,
    Show,
}
impl Command for CartCommand {
    const VERSION: u16 = 1;
    fn nature(&self) -> Nature {
        if *self == Self::Show { Nature::Read } else { Nature::Remembered }
    }
    fn name(&self) -> &'static str {
        "touch"
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum CartEvent {
    Touched,
}
impl Versioned for CartEvent {
    const VERSION: u16 = 1;
}
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum CartReply {
    Count(u64),
}
impl Versioned for CartReply {
    const VERSION: u16 = 1;
}

impl Entity for Cart {
    type Command = CartCommand;
    type Event = CartEvent;
    type Reply = CartReply;
    const STATE_VERSION: u16 = 1;
    fn new(_id: &EntityId) -> Self {
        Self { count: 0 }
    }
    fn decide(&self, command: &Self::Command, _at: Timestamp) -> Result<Decision<Self::Event, Self::Reply>, Rejection> {
        Ok(match command {
            CartCommand::Touch => Decision::new(vec![CartEvent::Touched], CartReply::Count(self.count + 1)),
            CartCommand::Show => Decision::new(vec![], CartReply::Count(self.count)),
        })
    }
    fn apply(&mut self, _event: &Self::Event, _at: Timestamp) {
        self.count += 1;
    }
    fn assert_invariants(&self) {}
}
