//! Product: rules follow.
use serde::{Deserialize, Serialize};

use super::entity::{Command, Decision, Entity, Nature, Versioned};
use super::ids::EntityId;
use super::rejection::Rejection;
use super::time::Timestamp;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Product {
    count: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ProductCommand {
    Touch,
    Show,
}
impl Command for ProductCommand {
    const VERSION: u16 = 1;
    fn nature(&self) -> Nature {
        if *self == Self::Show { Nature::Read } else { Nature::Remembered }
    }
    fn name(&self) -> &'static str {
        "touch"
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ProductEvent {
    Touched,
}
impl Versioned for ProductEvent {
    const VERSION: u16 = 1;
}
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ProductReply {
    Count(u64),
}
impl Versioned for ProductReply {
    const VERSION: u16 = 1;
}

impl Entity for Product {
    type Command = ProductCommand;
    type Event = ProductEvent;
    type Reply = ProductReply;
    const STATE_VERSION: u16 = 1;
    fn new(_id: &EntityId) -> Self {
        Self { count: 0 }
    }
    fn decide(&self, command: &Self::Command, _at: Timestamp) -> Result<Decision<Self::Event, Self::Reply>, Rejection> {
        Ok(match command {
            ProductCommand::Touch => Decision::new(vec![ProductEvent::Touched], ProductReply::Count(self.count + 1)),
            ProductCommand::Show => Decision::new(vec![], ProductReply::Count(self.count)),
        })
    }
    fn apply(&mut self, _event: &Self::Event, _at: Timestamp) {
        self.count += 1;
    }
    fn assert_invariants(&self) {}
}
