//! Stockroom: a storefront that sells the last unit exactly once. The map of the house is docs/architecture.md.

pub mod actors;
#[cfg(feature = "canaries")]
pub mod canary;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod domain;
#[doc(hidden)]
pub mod fuzz;
pub mod http;
pub mod payments;
pub mod persistence;
pub mod projections;
pub mod rng;
#[cfg(feature = "simulation")]
pub mod sim;
pub mod telemetry;
