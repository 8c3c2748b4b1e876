//! Entities as actors: one turn at a time over a durable journal, supervised by their shard, which the region hosts.
//!
//! Two clocks are read here, neither the system's: the node's (`Clock`, through the ports) for everything that is
//! written or decided, and tokio's `Instant` for deadlines and waits inside the process. The second is the runtime's
//! own timer clock; on a runtime with virtual time it is virtual, so that both are as repeatable as the world around.

pub mod dedup;
mod effects;
pub mod entity;
pub mod feed_signal;
pub mod flights;
pub mod messages;
pub mod observe;
pub mod panics;
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
