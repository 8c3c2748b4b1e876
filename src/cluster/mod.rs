//! From one node to many: which shard an entity lives on, the Raft group behind each shard, the router in front, and
//! the node that wires them. A single node is a cluster of one voter; nothing here is special-cased for it.

pub mod courier;
pub mod gateway;
pub mod hashing;
pub mod node;
#[cfg(test)]
mod node_tests;
pub mod raft;
pub mod restore;
pub mod router;
pub mod setup;
pub mod transport;
pub mod upkeep;
#[cfg(test)]
mod upkeep_tests;
