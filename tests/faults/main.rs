//! What the shop must survive, tried on the real program: crashes, retries, races, damage, full disks, bad clocks.
//!
//! Every test starts `stockroom serve` on its own data directory, talks to it as clients do (HTTP, the ops listener,
//! the command line), does something bad to it, and then lets the [`auditor`] compare everything that was ever
//! acknowledged with what the shop says now. Nothing here knows the program's insides except the auditor, which also
//! reads the books of the simulated payment provider.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::disallowed_methods, reason = "tests of the real process use the real clock and real files")]
#![allow(clippy::print_stderr, reason = "figures of a run are shown with --nocapture")]

mod auditor;
mod client;
mod forge;
mod ledger;
mod preload;
mod provider;
mod shop;

mod bad_disk;
mod checkpoints;
mod clocks;
mod crashes;
mod damage;
mod disk_full;
mod erasure;
mod oversell;
mod payment_notices;
mod poison;
mod remote_payments;
mod replays;
mod steady;
mod stopping;
mod streams;
mod stuck;
mod verify;
mod webhooks;
