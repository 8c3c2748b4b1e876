//! Every route over real rules: both routers, the domain's entities in memory, no socket, no disk.

#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic here is a failed test, wherever the helper stands")]

mod admin;
mod carts;
mod door;
mod openapi;
mod ops;
mod orders;
mod server;
mod shop;
mod stock;
mod world;
