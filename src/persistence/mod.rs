//! Bytes on disk: the codec, the log and store seams, their real and in-memory implementors, checkpoints.
//! Knows the domain's types as values to encode; knows nothing of actors, shards' leadership or HTTP.

pub mod applier;
pub mod backup;
pub mod checkpoint;
#[cfg(test)]
mod checkpoint_tests;
pub mod codec;
pub mod conformance;
pub mod datadir;
pub mod envelope;
pub mod files;
pub mod fold;
#[cfg(test)]
mod fold_tests;
mod frames;
pub mod journal;
mod journal_error;
#[cfg(test)]
mod journal_tests;
mod journal_view;
pub mod keys;
pub mod log;
pub mod memory;
pub mod patience;
pub mod raft_engine_log;
pub mod records;
#[cfg(test)]
mod sled_damage_tests;
pub mod sled_store;
pub mod storage;
pub mod store;
#[cfg(test)]
pub mod testkit;
pub mod trim;
#[cfg(test)]
mod trim_tests;
pub mod turns;
