//! Ctrl-C, as the handler of a program takes it: work that watches for it ends cleanly; any other ends at once.

use std::sync::atomic::{AtomicU8, Ordering};

const NOBODY_WATCHES: u8 = 0;
const WATCHED: u8 = 1;
const REQUESTED: u8 = 2;

static STATE: AtomicU8 = AtomicU8::new(NOBODY_WATCHES);

/// Takes an interrupt. False: nobody watches, or it is the second one, and the process should end.
pub fn request() -> bool {
    STATE.compare_exchange(WATCHED, REQUESTED, Ordering::Relaxed, Ordering::Relaxed).is_ok()
}

/// From here on the work asks [`requested`] often.
pub fn watch() {
    let _ = STATE.compare_exchange(NOBODY_WATCHES, WATCHED, Ordering::Relaxed, Ordering::Relaxed);
}

/// From here on nobody asks; whether there was a request that is not yet taken as done.
pub fn unwatch() -> bool {
    STATE.swap(NOBODY_WATCHES, Ordering::Relaxed) == REQUESTED
}

/// Takes a request as done: the work goes on, and watches for the next one.
pub fn handled() {
    let _ = STATE.compare_exchange(REQUESTED, WATCHED, Ordering::Relaxed, Ordering::Relaxed);
}

/// The user wants the work to end.
pub fn requested() -> bool {
    STATE.load(Ordering::Relaxed) == REQUESTED
}
