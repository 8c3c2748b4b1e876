//! The functional core: entities, their rules and their laws. std, serde and thiserror only.

pub mod books;
pub mod cart;
pub mod cluster;
pub mod entity;
#[cfg(test)]
mod golden;
pub mod ids;
pub mod invariants;
pub mod money;
pub mod order;
pub mod payment;
pub mod pricing;
pub mod privacy;
pub mod product;
pub mod quantity;
pub mod registry;
pub mod rejection;
pub mod stock;
#[cfg(test)]
pub mod testkit;
pub mod time;
#[cfg(test)]
mod world_tests;
