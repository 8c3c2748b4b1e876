//! The simulator: the real shop in virtual time, broken on purpose, replayable by seed.
//!
//! Nodes, the payment provider and shoppers are turmoil hosts: one thread, virtual time, simulated network. What runs
//! on a node is the program itself — entities, shards, Raft groups, router, projections, HTTP server; only the injected
//! seams differ: clock, randomness, network, log, store, checkpoint files, search index. Production code does not know.
//!
//! A run goes through phases (`runner`): setup → safety (faults on) → heal → liveness → rest. What happened is a
//! history (`history`), judged by oracles (`checks`) that share no code with the domain. Everything a run does enters
//! one trace (`trace`), whose hash is the same for the same seed in any process.
//!
//! One process per seed: some libraries keep process-wide counters, which would make a second run differ.

pub mod agreement;
pub mod callbook;
pub mod canaries;
pub mod checks;
pub mod client;
pub mod command;
pub mod disk;
pub mod failure;
pub mod faults;
pub mod history;
pub mod host;
pub mod laws;
pub mod linear;
pub mod meter;
pub mod model;
pub mod network;
pub mod payments;
pub mod power;
pub mod provider;
pub mod refusals;
mod report;
pub mod revival;
pub mod runner;
pub mod scenario;
pub mod scene;
pub mod second_host;
pub mod shrink;
pub mod time;
pub mod timeline;
pub mod trace;
pub mod trouble;
pub mod watch;
pub mod workload;
