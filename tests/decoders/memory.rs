//! Counts what the calling thread allocates, so that a test can say how much a decoder took or what a turn costs.
#![allow(dead_code, reason = "each of the test programs that share this file needs a part of it")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static NOW: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static BYTES: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count(taken: usize, given: usize) {
    let now = NOW.get().wrapping_add(taken).saturating_sub(given);
    NOW.set(now);
    PEAK.set(PEAK.get().max(now));
    if taken > 0 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        BYTES.set(BYTES.get() + taken as u64);
    }
}

// SAFETY: every call is passed on to the system's allocator unchanged; the counters allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0, layout.size());
        // SAFETY: `pointer` came from `alloc` above with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size, layout.size());
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// What `work` answers, and the most bytes this thread held at a time while it worked, beyond what it held before.
pub fn measured<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = NOW.get();
    PEAK.set(before);
    let answer = work();
    (answer, PEAK.get().saturating_sub(before))
}

/// What a piece of work asked of the allocator.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// How often, growing something included.
    pub allocations: u64,
    /// Bytes, all that was grown counted whole.
    pub bytes: u64,
}

impl std::ops::Add for Cost {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { allocations: self.allocations + other.allocations, bytes: self.bytes + other.bytes }
    }
}

/// What `work` answers, and what it asked of the allocator on this thread.
pub fn counted<T>(work: impl FnOnce() -> T) -> (T, Cost) {
    let before = (ALLOCATIONS.get(), BYTES.get());
    let answer = work();
    (answer, Cost { allocations: ALLOCATIONS.get() - before.0, bytes: BYTES.get() - before.1 })
}
