//! Payment providers behind one trait: idempotent by key, silent when they must be, found out by lookup (P18).
//!
//! | file | what |
//! |---|---|
//! | `gateway` | the seam: one provider, the table of providers by name, and what silence means |
//! | `courier` | takes an owed payment request to a definite outcome: execute, look up, back off, the same key again |
//! | `webhook` | signed notices of a provider: sign, verify, the port they are delivered through |
//! | `ledger` | the pure books of the simulated provider and their laws |
//! | `ledger_file` | those books on disk: append-only, checksummed, synced before an answer |
//! | `simulated` | the simulated provider: tokens that succeed, decline, dawdle, vanish or answer by webhook |
//! | `remote` | the simulated provider as an HTTP service, and the gateway that talks to it |
//! | `conformance` | what every gateway to it must do |
//!
//! Nothing here knows actors or the cluster: they reach payments through `courier`, HTTP through `gateway`.

pub mod conformance;
pub mod courier;
pub mod gateway;
pub mod ledger;
pub mod ledger_file;
pub mod remote;
pub mod simulated;
pub mod webhook;
