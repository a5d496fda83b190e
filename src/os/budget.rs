//! Work on behalf of a file that may only take so much memory and stack.
//!
//! A thread that runs such work counts the bytes it asks its allocator for. The request that exceeds the budget is never
//! answered: the thread waits for ever, which is the one thing an allocator may do that neither ends the process nor
//! unwinds, and its caller goes on without it. So it is with a stack that is used up, which a signal reports
//! ([`super::fault`]); what is left of it is looked at before each request, so that no signal interrupts the allocator.
//!
//! Where there is no memory at all, a program says so and ends, unless whoever asked takes an answer.
#![allow(unsafe_code)]

use crate::room;
use core::cell::Cell;
use core::sync::atomic::{AtomicU8, Ordering};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::OnceLock;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// Why work was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Beyond {
    /// It asked for more memory than it may have, or there is none to begin with.
    Memory = 1,
    /// It recursed too deeply.
    Stack = 2,
}

/// Stack of a thread with a budget.
const STACK_BYTES: usize = 2 << 20;
/// Around the end of a stack as the system reports it: within it or beyond lies the page that no thread may touch.
const GUARD_BYTES: usize = 64 << 10;
/// Stack that is kept for the allocator, which never takes as much.
const RESERVE_BYTES: usize = 2 * GUARD_BYTES;

/// Nothing is used up.
const UNDER_WAY: u8 = 0;

thread_local! {
    /// Bytes that this thread may still ask for.
    static LEFT: Cell<u64> = const { Cell::new(u64::MAX) };
    /// Where its stack ends; 0 where it has no budget.
    static STACK_END: Cell<usize> = const { Cell::new(0) };
    /// Told what it has used up, a [`Beyond`].
    static SPENT: Cell<Option<&'static AtomicU8>> = const { Cell::new(None) };
}

/// The system's allocator, which keeps budgets where it is the program's `#[global_allocator]`.
#[derive(Debug)]
pub struct Budgeted;

/// Ends the program over a request for so many bytes that cannot be answered; it needs none.
static NO_MEMORY: OnceLock<fn(usize) -> !> = OnceLock::new();

/// Has the program end by `end` where there is no memory for the bytes that it is given.
pub(super) fn end_without_memory(end: fn(usize) -> !) {
    NO_MEMORY.get_or_init(|| end);
}

/// The answer to a request for `bytes`, unless it is one that nobody could take.
fn answer(pointer: *mut u8, bytes: usize) -> *mut u8 {
    if pointer.is_null() && bytes > 0 && !room::takes_an_answer() {
        if LEFT.get() < u64::MAX {
            give_up(Beyond::Memory);
        }
        if let Some(end) = NO_MEMORY.get() {
            end(bytes);
        }
    }
    pointer
}

/// Takes `bytes` from the thread's budget; does not return where it has fewer, or hardly any stack.
fn take(bytes: usize) {
    let left = LEFT.get();
    if left == u64::MAX {
        return;
    }
    let here = 0_u8;
    if (&raw const here).addr().wrapping_sub(STACK_END.get()) < RESERVE_BYTES {
        give_up(Beyond::Stack);
    }
    match left.checked_sub(bytes as u64) {
        Some(left) => LEFT.set(left),
        None => give_up(Beyond::Memory),
    }
}

/// The thread goes no further. As a signal's handler may: without heap and locks.
fn give_up(beyond: Beyond) -> ! {
    if let Some(spent) = SPENT.get() {
        spent.store(beyond as u8, Ordering::Release);
    }
    loop {
        super::sys::wait();
    }
}

/// A page at `address` cannot be touched: does not return where that is the end of the stack of a thread with a budget.
#[cfg(unix)]
pub(super) fn untouchable(address: usize) {
    let end = STACK_END.get();
    if end != 0 && address.abs_diff(end) <= GUARD_BYTES {
        give_up(Beyond::Stack);
    }
}

// SAFETY: every call is passed on to the system's allocator as it came; counting neither allocates nor unwinds, and a call
// that does not return breaks no promise.
unsafe impl GlobalAlloc for Budgeted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        take(layout.size());
        // SAFETY: the caller keeps GlobalAlloc's contract.
        answer(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        take(layout.size());
        // SAFETY: the caller keeps GlobalAlloc's contract.
        answer(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        take(0);
        // SAFETY: the caller keeps GlobalAlloc's contract.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        take(new_size);
        // SAFETY: the caller keeps GlobalAlloc's contract.
        answer(unsafe { System.realloc(pointer, layout, new_size) }, new_size)
    }
}

/// What `work` returns, unless it asks for more than `bytes` in all or recurses too deeply; a panic of it goes on here. Without
/// [`Budgeted`] as the program's allocator there is no limit of memory. Without [`super::fault::watch_stacks`], and on systems
/// other than Linux, a stack that is used up ends the process.
pub fn within<T: Send + 'static>(bytes: u64, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Beyond> {
    // Left behind with the thread if that never ends.
    let spent: &'static AtomicU8 = Box::leak(Box::new(AtomicU8::new(UNDER_WAY)));
    let (sender, receiver) = channel();
    let body = move || {
        SPENT.set(Some(spent));
        STACK_END.set(super::sys::stack_end().unwrap_or(0));
        LEFT.set(bytes);
        let result = work();
        LEFT.set(u64::MAX);
        STACK_END.set(0);
        let _ = sender.send(result);
    };
    let thread = std::thread::Builder::new().name("whit-budget".into()).stack_size(STACK_BYTES);
    let thread = thread.spawn(body).map_err(|_| Beyond::Memory)?;
    loop {
        match receiver.recv_timeout(Duration::from_millis(10)) {
            Ok(result) => return Ok(result),
            Err(RecvTimeoutError::Timeout) => match spent.load(Ordering::Acquire) {
                UNDER_WAY => {}
                beyond if beyond == Beyond::Stack as u8 => return Err(Beyond::Stack),
                _ => return Err(Beyond::Memory),
            },
            Err(RecvTimeoutError::Disconnected) => match thread.join() {
                Err(panic) => std::panic::resume_unwind(panic),
                Ok(()) => unreachable!("a thread that ends has sent its result"),
            },
        }
    }
}
