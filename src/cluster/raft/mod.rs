//! Raft, through openraft: the only module that knows it.
//!
//! `types` fixes openraft's type parameters · `bytes` gives its values frozen layouts · `log_adapter` puts its log on
//! our [`Log`](crate::persistence::log::Log) · `state_machine` turns committed entries into verdicts and store writes ·
//! `messages` are what replicas say to each other, `network` hands them to the node's transport · `group` runs one
//! group and is what the actors see of it · `replay` does without Raft what it does with a log at start.

pub(crate) mod bytes;
pub mod group;
#[cfg(test)]
mod group_tests;
mod log_adapter;
pub mod messages;
mod network;
mod proposer;
pub mod replay;
pub mod state_machine;
#[cfg(test)]
mod storage_suite;
pub mod types;

pub use types::{Member, MemberId};
