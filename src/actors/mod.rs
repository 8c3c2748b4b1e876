//! Entities as actors: one turn at a time over a durable journal, supervised by their shard, which the region hosts.

pub mod dedup;
mod effects;
pub mod entity;
pub mod feed_signal;
pub mod flights;
pub mod messages;
pub mod observe;
pub mod ports;
pub mod quarantine;
pub mod region;
#[cfg(test)]
mod region_tests;
pub mod shard;
#[cfg(test)]
mod shard_tests;
pub mod storage_gate;
#[cfg(test)]
mod testkit;
pub mod turn;
#[cfg(test)]
mod turn_tests;
mod waker;
