//! Every route over real rules: both routers, the domain's entities in memory, no socket, no disk.

mod admin;
mod carts;
mod door;
mod openapi;
mod ops;
mod orders;
mod shop;
mod stock;
mod world;
