//! A place to wait: spin for a while, then sleep.

use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a thread looks before it sleeps: meant to span the serial work between two regions of a token, some times
/// what waking a sleeper takes, far shorter than a person's pause. Time, not rounds: one pause is 1 cycle on some CPUs
/// and 140 on others.
const SPIN: Duration = Duration::from_micros(200);
/// How long of that it keeps its core from others. After this it yields between looks: what it waits for may be waiting
/// for this very core.
const ALONE: Duration = Duration::from_micros(5);
/// Looks between two readings of the clock.
const LOOKS: u32 = 32;

/// Sleepers, and what wakes them.
#[derive(Default)]
pub(super) struct Gate {
    sleeping: AtomicUsize,
    lock: Mutex<()>,
    condvar: Condvar,
}

impl Gate {
    /// Returns once `ready` holds.
    pub(super) fn wait(&self, ready: impl Fn() -> bool) {
        if spin(&ready) {
            return;
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
    pub(super) fn open(&self) {
        fence(Ordering::SeqCst);
        self.open_after_fence();
    }

    /// [`open`](Self::open) for a caller that has put a sequentially consistent fence behind its store itself.
    ///
    /// Either this sees the sleeper's count, or the sleeper, which checks once more after counting itself, sees the
    /// store: both sides have such a fence between their store and their load.
    pub(super) fn open_after_fence(&self) {
        if self.sleeping.load(Ordering::SeqCst) > 0 {
            drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
            self.condvar.notify_all();
        }
    }
}

/// Whether `ready` came to hold within [`SPIN`].
fn spin(ready: impl Fn() -> bool) -> bool {
    let mut start = None;
    loop {
        for _ in 0..LOOKS {
            if ready() {
                return true;
            }
            std::hint::spin_loop();
        }
        let now = Instant::now();
        let spun = now.duration_since(*start.get_or_insert(now));
        if spun >= SPIN {
            return false;
        }
        if spun >= ALONE {
            std::thread::yield_now();
        }
    }
}
