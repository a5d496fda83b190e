//! The signals that ask a program to end, waited for by a thread that sleeps: Ctrl-C, SIGTERM and SIGHUP. For programs that
//! serve; others look at [`interrupt`](super::interrupt) between two steps of their work.

use super::sys;

/// Has no thread be interrupted by these signals: the calling one and those that it starts later leave them to [`wait`].
pub fn hold() {
    sys::hold_ends();
}

/// Waits for one of these signals, which were [held](hold); false where this system has none to wait for.
pub fn wait() -> bool {
    sys::wait_for_end()
}
