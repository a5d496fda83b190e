//! A global allocator that counts: what is live, the most that was, the largest single allocation.
#![allow(unsafe_code, reason = "a global allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
static LARGEST: AtomicUsize = AtomicUsize::new(0);

fn grow(bytes: usize, whole: usize) {
    let live = LIVE.fetch_add(bytes, Relaxed) + bytes;
    PEAK.fetch_max(live, Relaxed);
    LARGEST.fetch_max(whole, Relaxed);
}

// SAFETY: every call is passed on to the system's allocator as it is; counting touches no memory of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps GlobalAlloc's contract.
        let pointer = unsafe { System.alloc(layout) };
        grow(layout.size(), layout.size());
        pointer
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps GlobalAlloc's contract.
        let pointer = unsafe { System.alloc_zeroed(layout) };
        grow(layout.size(), layout.size());
        pointer
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller keeps GlobalAlloc's contract.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller keeps GlobalAlloc's contract.
        let moved = unsafe { System.realloc(pointer, layout, new_size) };
        // While it moved, both were there.
        grow(new_size, new_size);
        LIVE.fetch_sub(layout.size(), Relaxed);
        moved
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What a piece of work took from the heap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// The most bytes that were live at once, beyond those before it.
    pub peak: usize,
    /// The largest single allocation.
    pub largest: usize,
}

impl Usage {
    /// The greater of each.
    pub fn max(self, other: Usage) -> Usage {
        Usage { peak: self.peak.max(other.peak), largest: self.largest.max(other.largest) }
    }
}

/// The bytes that are live now.
pub fn live() -> usize {
    LIVE.load(Relaxed)
}

/// Runs `work` and measures it. All threads are counted, so nothing else may run meanwhile.
pub fn measured<T>(work: impl FnOnce() -> T) -> (T, Usage) {
    let before = LIVE.load(Relaxed);
    PEAK.store(before, Relaxed);
    LARGEST.store(0, Relaxed);
    let result = work();
    let usage = Usage { peak: PEAK.load(Relaxed).saturating_sub(before), largest: LARGEST.load(Relaxed) };
    (result, usage)
}
