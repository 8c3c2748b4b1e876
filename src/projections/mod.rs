//! Read side: what is built by following committed records, and the queries it answers (P29).
//!
//! Everything here can be thrown away and built again from entity states and the feed. Nothing here decides anything:
//! lists and search may lag the entities by up to a second, so whoever needs the truth asks the entity.

pub mod catalogue;
pub mod cursor;
pub mod documents;
pub mod feed;
#[cfg(test)]
mod feed_tests;
pub mod hub;
pub mod lists;
pub mod query;
pub mod read_side;
pub mod search;
#[cfg(test)]
mod shop_tests;
pub mod states;
pub mod webhook_cursors;
