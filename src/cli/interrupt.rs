//! Ctrl-C: a command that watches for it ends cleanly; any other ends at once.

use std::sync::atomic::{AtomicU8, Ordering};

const NOBODY_WATCHES: u8 = 0;
const WATCHED: u8 = 1;
const REQUESTED: u8 = 2;

static STATE: AtomicU8 = AtomicU8::new(NOBODY_WATCHES);

/// Takes an interrupt. False: nobody watches, or it is the second one, and the process should end.
pub(crate) fn request() -> bool {
    STATE.compare_exchange(WATCHED, REQUESTED, Ordering::Relaxed, Ordering::Relaxed).is_ok()
}

/// From here on the command asks [`requested`] often.
pub(crate) fn watch() {
    let _ = STATE.compare_exchange(NOBODY_WATCHES, WATCHED, Ordering::Relaxed, Ordering::Relaxed);
}

/// Takes a request as done: the command goes on, and watches for the next one.
pub(crate) fn handled() {
    let _ = STATE.compare_exchange(REQUESTED, WATCHED, Ordering::Relaxed, Ordering::Relaxed);
}

/// The user wants the command to end.
pub(crate) fn requested() -> bool {
    STATE.load(Ordering::Relaxed) == REQUESTED
}
