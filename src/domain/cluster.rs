//! Cluster: rules follow.
use serde::{Deserialize, Serialize};

use super::entity::{Command, Decision, Entity, Nature, Versioned};
use super::ids::EntityId;
use super::rejection::Rejection;
use super::time::Timestamp;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cluster {
    count: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ClusterCommand {
    Touch,
    Show,
}
impl Command for ClusterCommand {
    const VERSION: u16 = 1;
    fn nature(&self) -> Nature {
        if *self == Self::Show { Nature::Read } else { Nature::Remembered }
    }
    fn name(&self) -> &'static str {
        "touch"
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ClusterEvent {
    Touched,
}
impl Versioned for ClusterEvent {
    const VERSION: u16 = 1;
}
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ClusterReply {
    Count(u64),
}
impl Versioned for ClusterReply {
    const VERSION: u16 = 1;
}

impl Entity for Cluster {
    type Command = ClusterCommand;
    type Event = ClusterEvent;
    type Reply = ClusterReply;
    const STATE_VERSION: u16 = 1;
    fn new(_id: &EntityId) -> Self {
        Self { count: 0 }
    }
    fn decide(&self, command: &Self::Command, _at: Timestamp) -> Result<Decision<Self::Event, Self::Reply>, Rejection> {
        Ok(match command {
            ClusterCommand::Touch => Decision::new(vec![ClusterEvent::Touched], ClusterReply::Count(self.count + 1)),
            ClusterCommand::Show => Decision::new(vec![], ClusterReply::Count(self.count)),
        })
    }
    fn apply(&mut self, _event: &Self::Event, _at: Timestamp) {
        self.count += 1;
    }
    fn assert_invariants(&self) {}
}
