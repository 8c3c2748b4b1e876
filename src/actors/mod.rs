//! Entities as actors: one turn at a time over a durable journal, supervised by their shard, which the region hosts.

pub mod dedup;
mod effects;
pub mod entity;
pub mod feed_signal;
pub mod messages;
pub mod observe;
pub mod ports;
pub mod quarantine;
pub mod region;
pub mod shard;
#[cfg(test)]
mod shard_tests;
pub mod storage_gate;
#[cfg(test)]
mod testkit;
pub mod turn;
mod waker;
