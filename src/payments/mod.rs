//! Payment providers behind one trait: idempotent by key, silent when they must be, found out by lookup (P18).

pub mod gateway;
