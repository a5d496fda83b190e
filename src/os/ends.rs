//! The signals that ask a program to end, waited for by a thread that sleeps: Ctrl-C, SIGTERM and SIGHUP. For programs that
//! serve; others look at [`interrupt`](super::interrupt) between two steps of their work.

use super::sys;

/// Has no thread be interrupted by these signals: the calling one and those that it starts later leave them to [`wait`].
pub fn hold() {
    sys::hold_ends();
}

/// What asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// SIGHUP: a terminal is gone, or somebody wants settings to be read again.
    HangUp,
    /// Ctrl-C or SIGTERM.
    Asked,
}

/// Waits for one of these signals, which were [held](hold); `None` where this system has none to wait for.
pub fn wait() -> Option<End> {
    sys::wait_for_end().map(|is_hang_up| if is_hang_up { End::HangUp } else { End::Asked })
}
