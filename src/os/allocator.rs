//! The system's allocator, for programs: where there is no memory, a program says so and ends, unless whoever asked takes an
//! answer.
#![allow(unsafe_code)]

use crate::room;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::OnceLock;

/// The system's allocator, which ends the program as [`super::fault::watch_memory`] says where it is the program's
/// `#[global_allocator]`.
#[derive(Debug)]
pub struct Telling;

/// Ends the program over a request for so many bytes that cannot be answered; it needs none.
static NO_MEMORY: OnceLock<fn(usize) -> !> = OnceLock::new();

/// Has the program end by `end` where there is no memory for the bytes that it is given.
#[cfg(unix)]
pub(super) fn end_without_memory(end: fn(usize) -> !) {
    NO_MEMORY.get_or_init(|| end);
}

/// The answer to a request for `bytes`, unless it is one that nobody could take.
fn answer(pointer: *mut u8, bytes: usize) -> *mut u8 {
    if pointer.is_null()
        && bytes > 0
        && !room::takes_an_answer()
        && let Some(end) = NO_MEMORY.get()
    {
        end(bytes);
    }
    pointer
}

// SAFETY: every call is passed on to the system's allocator as it came; a call that does not return breaks no promise.
unsafe impl GlobalAlloc for Telling {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps GlobalAlloc's contract.
        answer(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps GlobalAlloc's contract.
        answer(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps GlobalAlloc's contract.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller keeps GlobalAlloc's contract.
        answer(unsafe { System.realloc(pointer, layout, new_size) }, new_size)
    }
}
