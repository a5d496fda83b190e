//! A small pool of our own: static contiguous ranges, workers that spin briefly and then sleep, no allocation per call.
//!
//! The caller is worker 0. A region is cheap to enter but not free: a caller with little work runs it inline.
//!
//! Each worker has a slot of its own, on cache lines of its own, through which it is given one part of a region. A part
//! that its worker has not begun when the caller is through with its own (the worker sleeps, or something else has its
//! core) is taken back and run by the caller, so that a region waits only for parts that have been begun. What a second
//! thread can still cost is the wake-up of a sleeper, which the caller pays in the first region after a pause.
#![allow(unsafe_code)]

mod gate;
#[cfg(test)]
mod tests;

use super::Body;
use crate::error::{Error, Kind, Result};
use gate::Gate;
use std::any::Any;
use std::cell::UnsafeCell;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// The most threads a pool may have.
pub const MAX_THREADS: usize = 256;
/// Addresses reserved for the stack of each started thread: several times what any body of a region touches.
pub const STACK_BYTES: usize = 512 << 10;

/// A pool of `len` threads, the caller included.
pub struct Threads {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

struct Shared {
    /// Of the workers: worker `i` has slot `i - 1`.
    slots: Box<[Slot]>,
    /// Set while a region runs: a second caller, or a body that opens a region, runs its own inline.
    busy: Lines<AtomicBool>,
    /// Where the caller waits for parts that have been begun.
    done: Lines<Gate>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

/// Something that shares no cache line, nor a pair of lines fetched together, with what other threads write.
#[repr(align(128))]
struct Lines<T>(T);

/// No part: the caller may write one.
const IDLE: u8 = 0;
/// A part is there; whoever turns this into another state first, worker or caller, has it.
const GIVEN: u8 = 1;
/// The worker runs the part.
const TAKEN: u8 = 2;
/// The worker is to end.
const STOP: u8 = 3;

/// What one worker is given: state, part and gate together on one line, so that a part costs one transfer each way.
#[repr(align(128))]
struct Slot {
    state: AtomicU8,
    part: UnsafeCell<Part>,
    gate: Gate,
}

/// A part of a region: the body and the items to call it with.
#[derive(Clone)]
struct Part {
    body: *const Body<'static>,
    items: Range<usize>,
}

// SAFETY: `part` is the only field that is not Sync by itself. It is written only by the thread that holds `busy`, while
// the state is `IDLE`, and read only by the worker between the states `TAKEN`, which it sets itself out of `GIVEN`, and
// `IDLE`. Each state is stored with release after the access and loaded with acquire before the next. The pointer in it
// is to a body that is Sync.
unsafe impl Sync for Slot {}
// SAFETY: as above; nothing in it is bound to the thread that made it.
unsafe impl Send for Slot {}

impl Slot {
    fn new() -> Self {
        let nothing: &'static Body<'static> = &|_| {};
        Slot {
            state: AtomicU8::new(IDLE),
            part: UnsafeCell::new(Part { body: nothing, items: 0..0 }),
            gate: Gate::default(),
        }
    }

    /// Takes the part back if its worker has not begun it.
    fn take_back(&self) -> bool {
        // The load keeps the line where it is when there is nothing to take.
        self.state.load(Ordering::Relaxed) == GIVEN
            && self.state.compare_exchange(GIVEN, IDLE, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

impl Shared {
    fn new(n_workers: usize) -> Self {
        Shared {
            slots: (0..n_workers).map(|_| Slot::new()).collect(),
            busy: Lines(AtomicBool::new(false)),
            done: Lines(Gate::default()),
            panic: Mutex::new(None),
        }
    }
}

impl Threads {
    /// A pool of `n` threads, 1 to [`MAX_THREADS`], the caller included: `n - 1` are started.
    pub fn new(n: usize) -> Result<Self> {
        if n == 0 || n > MAX_THREADS {
            return Err(Error::usage(format!("{n} threads asked for; 1 to {MAX_THREADS} are possible")));
        }
        let mut threads = Threads { shared: Arc::new(Shared::new(n - 1)), workers: Vec::with_capacity(n - 1) };
        for index in 1..n {
            let shared = Arc::clone(&threads.shared);
            let thread = std::thread::Builder::new().name(format!("whit-{index}")).stack_size(STACK_BYTES);
            let worker = thread.spawn(move || work(&shared, index));
            let worker = worker.map_err(|e| {
                Error::new(Kind::Resources, format!("thread {index} of {n} cannot be started: {e}"))
                    .hint("use fewer threads")
            })?;
            threads.workers.push(worker);
        }
        Ok(threads)
    }

    /// Number of threads, the caller included; at least 1.
    #[expect(clippy::len_without_is_empty, reason = "a pool is never empty")]
    pub fn len(&self) -> usize {
        self.shared.slots.len() + 1
    }

    /// Calls `body` on contiguous ranges that together cover `0..n_items`, each item once, one range a thread; a thread
    /// that is late has its range run by the caller.
    ///
    /// Returns when all have returned. A panic in any of them goes on in the caller, after the others are done; after
    /// one in the caller's own, ranges not yet begun are left out. Runs inline where there is one thread or one item, or
    /// where the pool is busy (a region within a region).
    pub fn run(&self, n_items: usize, body: &(dyn Fn(Range<usize>) + Sync)) {
        self.run_parts(n_items, self.len(), body);
    }

    /// [`run`](Self::run) on at most `max_parts` threads; the others neither wake nor delay it.
    pub(super) fn run_parts(&self, n_items: usize, max_parts: usize, body: &Body<'_>) {
        let n_parts = self.len().min(n_items).min(max_parts);
        let shared = &*self.shared;
        if n_parts <= 1 || shared.busy.0.swap(true, Ordering::Acquire) {
            if n_items > 0 {
                body(0..n_items);
            }
            return;
        }
        // SAFETY: only the lifetime changes. A worker calls the body between setting its slot to `TAKEN` and back to
        // `IDLE`, and this function does not return or unwind before every slot it has given a part is `IDLE`.
        let body_for_workers = unsafe { std::mem::transmute::<*const Body<'_>, *const Body<'static>>(body) };
        let slots = &shared.slots[..n_parts - 1];
        for (i, slot) in slots.iter().enumerate() {
            let part = Part { body: body_for_workers, items: part(i + 1, n_parts, n_items) };
            // SAFETY: `busy` is held by this call and the slot is `IDLE`, as each region leaves it: no one else
            // touches the part.
            unsafe { *slot.part.get() = part };
            slot.state.store(GIVEN, Ordering::Release);
        }
        fence(Ordering::SeqCst);
        slots.iter().for_each(|slot| slot.gate.open_after_fence());
        let own = catch_unwind(AssertUnwindSafe(|| {
            body(part(0, n_parts, n_items));
            // From the end: the last to be woken are the last to begin.
            for (i, slot) in slots.iter().enumerate().rev() {
                if slot.take_back() {
                    body(part(i + 1, n_parts, n_items));
                }
            }
        }));
        for slot in slots {
            if !slot.take_back() {
                shared.done.0.wait(|| slot.state.load(Ordering::Acquire) == IDLE);
            }
        }
        let theirs = shared.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        shared.busy.0.store(false, Ordering::Release);
        if let Some(payload) = own.err().or(theirs) {
            resume_unwind(payload);
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        for slot in &self.shared.slots {
            slot.state.store(STOP, Ordering::Relaxed);
            slot.gate.open();
        }
        for worker in self.workers.drain(..) {
            // A worker catches every panic of a body, so there is nothing to hear from it.
            let _ = worker.join();
        }
    }
}

/// Range `index` of `n_parts` static ranges over `n_items` items.
fn part(index: usize, n_parts: usize, n_items: usize) -> Range<usize> {
    let (each, more) = (n_items / n_parts, n_items % n_parts);
    let start = index * each + index.min(more);
    start..start + each + usize::from(index < more)
}

/// The life of worker `index`.
fn work(shared: &Shared, index: usize) {
    let slot = &shared.slots[index - 1];
    loop {
        slot.gate.wait(|| slot.state.load(Ordering::Relaxed) != IDLE);
        if slot.state.load(Ordering::Relaxed) == STOP {
            return;
        }
        if slot.state.compare_exchange(GIVEN, TAKEN, Ordering::Acquire, Ordering::Relaxed).is_err() {
            // The caller has taken it back.
            continue;
        }
        // SAFETY: the part was written before the state became `GIVEN`, and is not written again before this worker
        // sets it to `IDLE` below.
        let Part { body, items } = unsafe { (*slot.part.get()).clone() };
        // SAFETY: `run_parts` keeps the body alive until then.
        let body = unsafe { &*body };
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| body(items))) {
            shared.panic.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(payload);
        }
        slot.state.store(IDLE, Ordering::Release);
        shared.done.0.open();
    }
}
