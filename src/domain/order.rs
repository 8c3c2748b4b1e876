//! Order: rules follow.
use serde::{Deserialize, Serialize};

use super::entity::{Command, Decision, Entity, Nature, Versioned};
use super::ids::EntityId;
use super::rejection::Rejection;
use super::time::Timestamp;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Order {
    count: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum OrderCommand {
    Touch,
    Show,
}
impl Command for OrderCommand {
    const VERSION: u16 = 1;
    fn nature(&self) -> Nature {
        if *self == Self::Show { Nature::Read } else { Nature::Remembered }
    }
    fn name(&self) -> &'static str {
        "touch"
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum OrderEvent {
    Touched,
}
impl Versioned for OrderEvent {
    const VERSION: u16 = 1;
}
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum OrderReply {
    Count(u64),
}
impl Versioned for OrderReply {
    const VERSION: u16 = 1;
}

impl Entity for Order {
    type Command = OrderCommand;
    type Event = OrderEvent;
    type Reply = OrderReply;
    const STATE_VERSION: u16 = 1;
    fn new(_id: &EntityId) -> Self {
        Self { count: 0 }
    }
    fn decide(&self, command: &Self::Command, _at: Timestamp) -> Result<Decision<Self::Event, Self::Reply>, Rejection> {
        Ok(match command {
            OrderCommand::Touch => Decision::new(vec![OrderEvent::Touched], OrderReply::Count(self.count + 1)),
            OrderCommand::Show => Decision::new(vec![], OrderReply::Count(self.count)),
        })
    }
    fn apply(&mut self, _event: &Self::Event, _at: Timestamp) {
        self.count += 1;
    }
    fn assert_invariants(&self) {}
}
