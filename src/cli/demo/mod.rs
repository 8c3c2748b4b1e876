//! The demo catalogue: a small shop of tea, coffee, kitchen, outdoor and stationery, made from word lists.

mod shop;
mod words;
