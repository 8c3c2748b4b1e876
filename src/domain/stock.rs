//! StockItem: rules follow.
use serde::{Deserialize, Serialize};

use super::entity::{Command, Decision, Entity, Nature, Versioned};
use super::ids::EntityId;
use super::rejection::Rejection;
use super::time::Timestamp;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StockItem {
    count: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum StockItemCommand {
    Touch,
    Show,
}
impl Command for StockItemCommand {
    const VERSION: u16 = 1;
    fn nature(&self) -> Nature {
        if *self == Self::Show { Nature::Read } else { Nature::Remembered }
    }
    fn name(&self) -> &'static str {
        "touch"
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum StockItemEvent {
    Touched,
}
impl Versioned for StockItemEvent {
    const VERSION: u16 = 1;
}
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum StockItemReply {
    Count(u64),
}
impl Versioned for StockItemReply {
    const VERSION: u16 = 1;
}

impl Entity for StockItem {
    type Command = StockItemCommand;
    type Event = StockItemEvent;
    type Reply = StockItemReply;
    const STATE_VERSION: u16 = 1;
    fn new(_id: &EntityId) -> Self {
        Self { count: 0 }
    }
    fn decide(&self, command: &Self::Command, _at: Timestamp) -> Result<Decision<Self::Event, Self::Reply>, Rejection> {
        Ok(match command {
            StockItemCommand::Touch => {
                Decision::new(vec![StockItemEvent::Touched], StockItemReply::Count(self.count + 1))
            }
            StockItemCommand::Show => Decision::new(vec![], StockItemReply::Count(self.count)),
        })
    }
    fn apply(&mut self, _event: &Self::Event, _at: Timestamp) {
        self.count += 1;
    }
    fn assert_invariants(&self) {}
}
