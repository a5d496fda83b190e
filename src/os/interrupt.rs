//! Ctrl-C and the signals that ask a program to end, as its handlers take them: work that watches for them ends cleanly; any
//! other ends at once.

use std::sync::atomic::{AtomicU8, Ordering};

const NOBODY_WATCHES: u8 = 0;
const WATCHED: u8 = 1;
const REQUESTED: u8 = 2;

static STATE: AtomicU8 = AtomicU8::new(NOBODY_WATCHES);
/// The signal that asks the program to end; 0: none has.
static ENDED_BY: AtomicU8 = AtomicU8::new(0);

/// Takes an interrupt. False: nobody watches, or it is the second one, and the process should end.
pub fn request() -> bool {
    STATE.compare_exchange(WATCHED, REQUESTED, Ordering::Relaxed, Ordering::Relaxed).is_ok()
}

/// Takes `signal`, which asks the program to end, as [`request`] takes an interrupt.
pub fn end(signal: u8) -> bool {
    ENDED_BY.store(signal, Ordering::Relaxed);
    request()
}

/// The signal that has asked the program to end: a program that has ended its work cleanly ends, too.
pub fn ended_by() -> Option<u8> {
    Some(ENDED_BY.load(Ordering::Relaxed)).filter(|signal| *signal > 0)
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
