//! The simulator's command line. `sim::command` has what it can do; here is only what makes it deterministic.
//!
//! The standard library seeds its hash maps from the operating system through `getrandom`. This program brings its own:
//! the same bytes in every process, so that the iteration order of a hash map cannot differ between two runs. The
//! symbol exists in this binary alone; the shop's randomness comes through its seam anyway.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

static STATE: AtomicU64 = AtomicU64::new(0x9e37_79b9_7f4a_7c15);

/// Fills `buffer` with bytes that are the same in every process (splitmix64).
///
/// # Safety
/// `buffer` must be valid for writing `length` bytes, as for the system's `getrandom(2)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(buffer: *mut u8, length: usize, _flags: u32) -> isize {
    for offset in 0..length {
        let mut word = STATE.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        // SAFETY: the caller promises `length` writable bytes, and `offset` is below it.
        unsafe { buffer.add(offset).write((word >> 32) as u8) };
    }
    length as isize
}

fn main() -> ExitCode {
    stockroom::sim::command::main()
}
