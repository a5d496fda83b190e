//! A small pool of our own: static contiguous ranges, workers that spin briefly and then sleep, no allocation per call.
//!
//! The caller is worker 0. Work is split by rows or heads, never within a sum, so that the number of threads cannot
//! change a bit of any result. A region is cheap to enter but not free: a caller with little work runs it inline.
#![allow(unsafe_code)]

use crate::error::{Error, Kind, Result};
use std::any::Any;
use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

/// The most threads a pool may have.
pub const MAX_THREADS: usize = 256;
/// Rounds of spinning before a thread sleeps: some tens of microseconds, longer than the gap between two regions of a
/// token and far shorter than a person's pause.
const SPINS: u32 = 2000;

/// A body of a parallel region: called with one contiguous range of items.
type Body<'a> = dyn Fn(Range<usize>) + Sync + 'a;

/// A body of a region over matrices: called with the number of a matrix, units of it and their columns.
pub type MatricesBody<'a, T> = dyn Fn(usize, Range<usize>, Columns<'_, T>) + Sync + 'a;

/// A pool of `len` threads, the caller included.
pub struct Threads {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

struct Shared {
    /// Number of the current region; a worker that sees a new one reads `job`.
    epoch: AtomicUsize,
    /// Workers that have not yet finished the current region.
    remaining: AtomicUsize,
    /// Set while a region runs: a second caller, or a body that opens a region, runs its own inline.
    busy: AtomicBool,
    stop: AtomicBool,
    job: UnsafeCell<Job>,
    start: Gate,
    done: Gate,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

/// One region: the body, the number of its items and of the parts they are cut into.
#[derive(Clone, Copy)]
struct Job {
    body: *const Body<'static>,
    n_items: usize,
    n_parts: usize,
}

// SAFETY: `job` is the only field that is not Sync by itself. It is written by the thread that holds `busy`, while
// `remaining` is 0 (no worker reads it), and read by workers after they saw the epoch that was advanced after the
// write. The pointer in it is to a body that is Sync.
unsafe impl Sync for Shared {}
// SAFETY: as above; nothing in it is bound to the thread that made it.
unsafe impl Send for Shared {}

/// A place to wait: spin, then sleep.
#[derive(Default)]
struct Gate {
    sleeping: AtomicUsize,
    lock: Mutex<()>,
    condvar: Condvar,
}

impl Gate {
    /// Returns once `ready` holds.
    fn wait(&self, ready: impl Fn() -> bool) {
        for _ in 0..SPINS {
            if ready() {
                return;
            }
            std::hint::spin_loop();
        }
        let mut guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.sleeping.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        while !ready() {
            guard = self.condvar.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        self.sleeping.fetch_sub(1, Ordering::SeqCst);
    }

    /// Wakes the sleepers, after what they wait for has been stored.
    ///
    /// Either this sees the sleeper's count, or the sleeper, which checks once more after counting itself, sees the
    /// store: both sides have a sequentially consistent fence between their store and their load.
    fn open(&self) {
        fence(Ordering::SeqCst);
        if self.sleeping.load(Ordering::SeqCst) > 0 {
            drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
            self.condvar.notify_all();
        }
    }
}

impl Threads {
    /// A pool of `n` threads, 1 to [`MAX_THREADS`], the caller included: `n - 1` are started.
    pub fn new(n: usize) -> Result<Self> {
        if n == 0 || n > MAX_THREADS {
            return Err(Error::usage(format!("{n} threads asked for; 1 to {MAX_THREADS} are possible")));
        }
        let nothing: &'static Body<'static> = &|_| {};
        let shared = Arc::new(Shared {
            epoch: AtomicUsize::new(0),
            remaining: AtomicUsize::new(0),
            busy: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            job: UnsafeCell::new(Job { body: nothing, n_items: 0, n_parts: 1 }),
            start: Gate::default(),
            done: Gate::default(),
            panic: Mutex::new(None),
        });
        let mut threads = Threads { shared, workers: Vec::with_capacity(n - 1) };
        for index in 1..n {
            let shared = Arc::clone(&threads.shared);
            let worker = std::thread::Builder::new().name(format!("whit-{index}")).spawn(move || work(&shared, index));
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
        self.workers.len() + 1
    }

    /// Calls `body` on contiguous ranges that together cover `0..n_items`, each item once, one range a thread.
    ///
    /// Returns when all have returned. A panic in any of them goes on in the caller, after the others are done. Runs
    /// inline where there is one thread or one item, or where the pool is busy (a region within a region).
    pub fn run(&self, n_items: usize, body: &(dyn Fn(Range<usize>) + Sync)) {
        self.run_parts(n_items, self.len(), body);
    }

    /// [`run`](Self::run) on at most `max_parts` threads.
    fn run_parts(&self, n_items: usize, max_parts: usize, body: &Body<'_>) {
        let n_parts = self.len().min(n_items).min(max_parts);
        if n_parts <= 1 || self.shared.busy.swap(true, Ordering::Acquire) {
            if n_items > 0 {
                body(0..n_items);
            }
            return;
        }
        let shared = &*self.shared;
        // SAFETY: only the lifetime changes. Workers call the body between the advance of the epoch and their
        // decrement of `remaining`, and this function does not return or unwind before `remaining` is 0.
        let body_for_workers = unsafe { std::mem::transmute::<*const Body<'_>, *const Body<'static>>(body) };
        // SAFETY: `busy` is held by this call and `remaining` is 0, so no one else touches `job`.
        unsafe { *shared.job.get() = Job { body: body_for_workers, n_items, n_parts } };
        shared.remaining.store(self.workers.len(), Ordering::Relaxed);
        shared.epoch.fetch_add(1, Ordering::SeqCst);
        shared.start.open();
        let own = catch_unwind(AssertUnwindSafe(|| body(part(0, n_parts, n_items))));
        shared.done.wait(|| shared.remaining.load(Ordering::SeqCst) == 0);
        let theirs = shared.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        shared.busy.store(false, Ordering::Release);
        if let Some(payload) = own.err().or(theirs) {
            resume_unwind(payload);
        }
    }

    /// Cuts `y`, of shape (T, width), into column ranges of whole units and calls `body(units, columns)` on each, one
    /// range a thread, none of fewer than `min_units` units.
    ///
    /// A unit is `unit` columns; the last may be narrower. `columns` gives the rows of `y` cut down to the columns of
    /// `units`, and nobody else has these.
    pub fn run_columns<T: Send>(
        &self,
        y: &mut [T],
        width: usize,
        unit: usize,
        min_units: usize,
        body: &(dyn Fn(Range<usize>, Columns<'_, T>) + Sync),
    ) {
        self.run_matrices([(y, width)], unit, min_units, &|_, units, columns| body(units, columns));
    }

    /// [`run_columns`](Self::run_columns) over the units of several matrices, each a slice and its width, in one region;
    /// `body` is also given the number of the matrix.
    pub fn run_matrices<T: Send, const N: usize>(
        &self,
        ys: [(&mut [T], usize); N],
        unit: usize,
        min_units: usize,
        body: &MatricesBody<'_, T>,
    ) {
        let ys = ys.map(|(y, width)| {
            assert!(width > 0 && unit > 0 && y.len().is_multiple_of(width), "{} elements in rows of {width}", y.len());
            (Pointer(y.as_mut_ptr()), y.len() / width, width)
        });
        let n_units = ys.iter().map(|(_, _, width)| width.div_ceil(unit)).sum::<usize>();
        self.run_parts(n_units, n_units / min_units.max(1), &|range| {
            let mut first = 0;
            for (i, &(ref all, n_rows, width)) in ys.iter().enumerate() {
                let n_units = width.div_ceil(unit);
                let units = range.start.max(first)..range.end.min(first + n_units);
                if !units.is_empty() {
                    let units = units.start - first..units.end - first;
                    let (start, end) = (units.start * unit, (units.end * unit).min(width));
                    body(i, units, Columns { all: all.get(), width, n_rows, start, end, borrow: PhantomData });
                }
                first += n_units;
            }
        });
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.shared.epoch.fetch_add(1, Ordering::SeqCst);
        self.shared.start.open();
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
    let mut seen = 0;
    loop {
        shared.start.wait(|| shared.epoch.load(Ordering::SeqCst) != seen);
        seen = seen.wrapping_add(1);
        if shared.stop.load(Ordering::Relaxed) {
            return;
        }
        // SAFETY: the epoch was advanced after `job` was written, and it is not written again before this worker's
        // decrement below, which every region waits for.
        let job = unsafe { *shared.job.get() };
        if index < job.n_parts {
            // SAFETY: `run_parts` keeps the body alive until this worker's decrement.
            let body = unsafe { &*job.body };
            let range = part(index, job.n_parts, job.n_items);
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| body(range))) {
                shared.panic.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(payload);
            }
        }
        if shared.remaining.fetch_sub(1, Ordering::SeqCst) == 1 {
            shared.done.open();
        }
    }
}

/// A pointer that may be sent, for [`Threads::run_columns`].
struct Pointer<T>(*mut T);

impl<T> Pointer<T> {
    fn get(&self) -> *mut T {
        self.0
    }
}

// SAFETY: threads only make disjoint `Columns` of it, whose elements may be sent.
unsafe impl<T: Send> Sync for Pointer<T> {}

/// A range of columns of a (T, width) slice, owned by one thread of a region.
pub struct Columns<'a, T> {
    all: *mut T,
    width: usize,
    n_rows: usize,
    start: usize,
    end: usize,
    borrow: PhantomData<&'a mut [T]>,
}

impl<T> Columns<'_, T> {
    /// Number of rows, T.
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Row `t`, cut down to the columns of this range.
    pub fn row(&mut self, t: usize) -> &mut [T] {
        self.rows(t..t + 1).next().expect("one row")
    }

    /// The rows `rows`, each cut down to the columns of this range.
    pub fn rows(&mut self, rows: Range<usize>) -> impl Iterator<Item = &mut [T]> {
        assert!(rows.start <= rows.end && rows.end <= self.n_rows, "rows {rows:?} of {}", self.n_rows);
        rows.map(|t| {
            // SAFETY: `all` points to `n_rows * width` elements borrowed mutably for the life of the region, and
            // `start <= end <= width`, so the range lies within them. Column ranges of one region are disjoint, each
            // row is handed out once by this iterator, and `&mut self` lets no second one live beside it.
            unsafe { std::slice::from_raw_parts_mut(self.all.add(t * self.width + self.start), self.end - self.start) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_contiguous_and_cover_everything() {
        for n_items in 0..40 {
            for n_parts in 1..9 {
                let mut next = 0;
                for index in 0..n_parts {
                    let range = part(index, n_parts, n_items);
                    assert_eq!(range.start, next);
                    assert!(range.len() <= n_items.div_ceil(n_parts));
                    next = range.end;
                }
                assert_eq!(next, n_items);
            }
        }
    }

    #[test]
    fn every_item_runs_once_in_thousands_of_regions() {
        for n in [1, 2, 3, 5] {
            let threads = Threads::new(n).expect("threads");
            assert_eq!(threads.len(), n);
            for round in 0..2000 {
                let n_items = round % 11;
                let counts: Vec<AtomicUsize> = (0..n_items).map(|_| AtomicUsize::new(0)).collect();
                threads.run(n_items, &|range| {
                    for i in range {
                        counts[i].fetch_add(1, Ordering::Relaxed);
                    }
                });
                assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1));
            }
        }
    }

    #[test]
    fn sleeping_workers_wake() {
        let threads = Threads::new(3).expect("threads");
        for _ in 0..5 {
            std::thread::sleep(std::time::Duration::from_millis(5));
            let sum = AtomicUsize::new(0);
            threads.run(100, &|range| {
                sum.fetch_add(range.len(), Ordering::Relaxed);
            });
            assert_eq!(sum.load(Ordering::Relaxed), 100);
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_lives_on() {
        let threads = Threads::new(3).expect("threads");
        for bad in [0, 1, 2] {
            let caught = catch_unwind(AssertUnwindSafe(|| {
                threads.run(3, &|range| assert!(!range.contains(&bad), "item {bad}"));
            }));
            assert!(caught.is_err());
            threads.run(3, &|_| {});
        }
    }

    #[test]
    fn a_region_within_a_region_runs_inline() {
        let threads = Threads::new(2).expect("threads");
        let sum = AtomicUsize::new(0);
        threads.run(2, &|outer| {
            threads.run(10, &|range| {
                sum.fetch_add(range.len() * outer.len(), Ordering::Relaxed);
            });
        });
        assert_eq!(sum.load(Ordering::Relaxed), 20);
    }

    #[test]
    fn columns_cover_a_matrix_with_a_narrow_last_unit() {
        for n in [1, 2, 3] {
            let threads = Threads::new(n).expect("threads");
            let mut y = vec![0; 3 * 37];
            threads.run_columns(&mut y, 37, 16, 1, &|units, mut columns| {
                for t in 0..columns.n_rows() {
                    for (i, v) in columns.row(t).iter_mut().enumerate() {
                        *v += 1 + t * 37 + units.start * 16 + i;
                    }
                }
            });
            assert!(y.iter().enumerate().all(|(i, &v)| v == i + 1));
        }
    }

    #[test]
    fn impossible_counts_are_refused() {
        assert!(Threads::new(0).is_err());
        assert!(Threads::new(MAX_THREADS + 1).is_err());
    }
}
