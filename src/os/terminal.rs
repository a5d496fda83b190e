//! The terminal that standard input comes from: what is typed while a program writes need not land in the text.

use super::sys;
use std::sync::atomic::{AtomicBool, Ordering};

/// What is typed is not shown at present.
static HIDDEN: AtomicBool = AtomicBool::new(false);

/// What is typed is not shown for as long as this lives.
#[derive(Debug)]
pub struct Hidden(());

impl Drop for Hidden {
    fn drop(&mut self) {
        restore();
    }
}

/// Hides what is typed from now on; it stays in the terminal for the next who reads. `None` where standard input is no terminal,
/// or shows nothing already.
pub fn hide_typing() -> Option<Hidden> {
    if !sys::set_echo(false) {
        return None;
    }
    HIDDEN.store(true, Ordering::Relaxed);
    Some(Hidden(()))
}

/// Shows what is typed again, if it is hidden. For every way out of a program, the handlers of signals included.
pub fn restore() {
    if HIDDEN.swap(false, Ordering::Relaxed) {
        sys::set_echo(true);
    }
}
