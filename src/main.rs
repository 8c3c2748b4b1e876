//! The `stockroom` binary: everything it can do is in `cli`.

use std::process::ExitCode;

/// Resident memory falls back after idle actors are stopped, which it does not with the system's allocator.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Memory that was given back returns to the system within a second instead of ten: a journal being verified and a
/// node whose actors went to rest would otherwise hold half as much again. Read by the allocator under this name.
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static ALLOCATOR_OPTIONS: &[u8] = b"dirty_decay_ms:1000\0";

#[allow(clippy::disallowed_methods, reason = "the one place where the command line and the environment are read")]
fn main() -> ExitCode {
    stockroom::cli::run(std::env::args_os(), std::env::vars_os())
}
