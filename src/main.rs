//! The `stockroom` binary: everything it can do is in `cli`.

use std::process::ExitCode;

/// Resident memory falls back after idle actors are stopped, which it does not with the system's allocator.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[allow(clippy::disallowed_methods, reason = "the one place where the command line and the environment are read")]
fn main() -> ExitCode {
    stockroom::cli::run(std::env::args_os(), std::env::vars_os())
}
