//! Entities as actors: one turn at a time over a durable journal, supervised by their shard.

pub mod feed_signal;
pub mod messages;
pub mod ports;
