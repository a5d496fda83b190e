//! Work on behalf of a file that may only take so much memory.
//!
//! A thread that runs such work counts the bytes it asks its allocator for. The request that exceeds the budget is never
//! answered: the thread waits for ever, which is the one thing an allocator may do that neither ends the process nor
//! unwinds, and its caller goes on without it.
#![allow(unsafe_code)]

use core::cell::Cell;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

thread_local! {
    /// Bytes that this thread may still ask for.
    static LEFT: Cell<u64> = const { Cell::new(u64::MAX) };
    /// Set when it asked for more.
    static SPENT: Cell<Option<&'static std::sync::atomic::AtomicBool>> = const { Cell::new(None) };
}

/// The system's allocator, which keeps budgets where it is the program's `#[global_allocator]`.
#[derive(Debug)]
pub struct Budgeted;

/// Takes `bytes` from the thread's budget; does not return where it has fewer.
fn take(bytes: usize) {
    // A thread that is ending has no such variables any more, and no budget.
    let left = LEFT.try_with(Cell::get).unwrap_or(u64::MAX);
    if left == u64::MAX {
        return;
    }
    match left.checked_sub(bytes as u64) {
        Some(left) => LEFT.set(left),
        None => {
            if let Some(spent) = SPENT.get() {
                spent.store(true, std::sync::atomic::Ordering::Release);
            }
            loop {
                std::thread::park();
            }
        }
    }
}

// SAFETY: every call is passed on to the system's allocator as it came; counting neither allocates nor unwinds, and a call
// that does not return breaks no promise.
unsafe impl GlobalAlloc for Budgeted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        take(layout.size());
        // SAFETY: the caller keeps GlobalAlloc's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        take(layout.size());
        // SAFETY: the caller keeps GlobalAlloc's contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps GlobalAlloc's contract.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        take(new_size);
        // SAFETY: the caller keeps GlobalAlloc's contract.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

/// What `work` returns; `None` where it asks for more than `bytes` in all, or cannot be started. Without [`Budgeted`] as the
/// program's allocator there is no limit.
pub fn within<T: Send + 'static>(bytes: u64, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    use std::sync::atomic::{AtomicBool, Ordering};
    // Left behind with the thread if that never ends.
    let spent: &'static AtomicBool = Box::leak(Box::new(AtomicBool::new(false)));
    let (sender, receiver) = channel();
    let body = move || {
        SPENT.set(Some(spent));
        LEFT.set(bytes);
        let result = work();
        LEFT.set(u64::MAX);
        let _ = sender.send(result);
    };
    std::thread::Builder::new().name("whit-budget".into()).spawn(body).ok()?;
    loop {
        match receiver.recv_timeout(Duration::from_millis(10)) {
            Ok(result) => return Some(result),
            Err(RecvTimeoutError::Timeout) if !spent.load(Ordering::Acquire) => {}
            Err(_) => return None,
        }
    }
}
