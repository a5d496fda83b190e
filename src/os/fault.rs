//! A mapped file that is cut, or whose storage fails, while it is in use: the system then raises SIGBUS at the instruction that
//! touches it. This ends the program with a message instead of a core dump.
#![allow(unsafe_code)]

use super::Mapping;

/// Has the program end with exit code 74 and a line on standard error where a page of `mapping` cannot be read.
#[cfg(not(unix))]
pub fn watch(_mapping: &Mapping) {}

#[cfg(unix)]
pub use unix::watch;

#[cfg(unix)]
mod unix {
    use super::Mapping;
    use crate::error::{Kind, printable};
    use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
    use std::sync::Once;

    /// Files watched at a time; a program maps one model, or two to compare them.
    const MOST: usize = 4;

    /// A watched file.
    struct Watched {
        start: AtomicUsize,
        /// 0: nothing is watched.
        bytes: AtomicUsize,
        name: AtomicPtr<u8>,
        name_bytes: AtomicUsize,
    }

    static WATCHED: [Watched; MOST] = [const {
        Watched {
            start: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            name: AtomicPtr::new(core::ptr::null_mut()),
            name_bytes: AtomicUsize::new(0),
        }
    }; MOST];
    static INSTALLED: Once = Once::new();
    static NEXT: AtomicUsize = AtomicUsize::new(0);

    /// Has the program end with exit code 74 and a line on standard error where a page of `mapping` cannot be read. The
    /// mapping must live as long as the program uses it; its addresses are watched to the program's end.
    pub fn watch(mapping: &Mapping) {
        let Some(slot) = WATCHED.get(NEXT.fetch_add(1, Ordering::Relaxed)) else { return };
        // Leaked: a signal may need it at any time.
        let name: &'static mut str = Box::leak(printable(&mapping.path().display().to_string()).into_boxed_str());
        slot.name_bytes.store(name.len(), Ordering::Relaxed);
        slot.name.store(name.as_mut_ptr(), Ordering::Relaxed);
        slot.start.store(mapping.as_ptr().addr(), Ordering::Relaxed);
        slot.bytes.store(mapping.len(), Ordering::Release);
        INSTALLED.call_once(install);
    }

    fn install() {
        let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = on_fault;
        // SAFETY: all fields are integers or pointers, for which zero is valid.
        let mut action: libc::sigaction = unsafe { core::mem::zeroed() };
        action.sa_sigaction = handler as libc::sighandler_t;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        // SAFETY: `action` is whole, its handler does only what a signal's handler may, and no old action is asked for.
        unsafe { libc::sigaction(libc::SIGBUS, &action, core::ptr::null_mut()) };
    }

    /// Only calls that may be made in a signal's handler: no heap, no locks.
    extern "C" fn on_fault(signal: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
        // SAFETY: the system passes a valid `info`, and SIGBUS has an address.
        let at = unsafe { (*info).si_addr() }.addr();
        for file in &WATCHED {
            let (bytes, start) = (file.bytes.load(Ordering::Acquire), file.start.load(Ordering::Relaxed));
            if at.wrapping_sub(start) < bytes {
                // SAFETY: the name was leaked with this length before `bytes` was set.
                let name = unsafe {
                    core::slice::from_raw_parts(
                        file.name.load(Ordering::Relaxed),
                        file.name_bytes.load(Ordering::Relaxed),
                    )
                };
                tell(name, at - start);
                // SAFETY: the call ends the process without running anything of it.
                unsafe { libc::_exit(Kind::Io.exit_code().into()) };
            }
        }
        // Not ours: what the system does by itself follows when the instruction runs again.
        // SAFETY: the default action is valid for this signal.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }

    fn tell(name: &[u8], offset: usize) {
        let mut digits = [0; 2 * size_of::<usize>()];
        let mut n = digits.len();
        let mut rest = offset;
        while rest > 0 || n == digits.len() {
            n -= 1;
            digits[n] = b"0123456789abcdef"[rest % 16];
            rest /= 16;
        }
        let what = b": the file was cut or its storage failed while it was in use (copy it again, then start again)\n";
        for part in [b"\nerror[io]: ", name, b" at byte 0x", &digits[n..], what] {
            // SAFETY: the part is readable for its length; where standard error is gone, there is nobody to tell.
            unsafe { libc::write(2, part.as_ptr().cast(), part.len()) };
        }
    }
}
