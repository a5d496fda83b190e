//! Signals that are raised at the instruction that touches a page. SIGBUS: a mapped file was cut, or its storage failed, while it was
//! in use; this ends the program with a message instead of a core dump. SIGSEGV: a thread with a budget has used up its stack; it
//! is given up ([`super::budget`]).
#![allow(unsafe_code)]

#[cfg(not(unix))]
mod elsewhere {
    use std::path::Path;

    /// Nothing: no such signal is known here.
    pub fn install() {}

    #[derive(Debug)]
    pub(in crate::os) struct Watch;

    pub(in crate::os) fn watch(_bytes: &[u8], _path: &Path) -> Option<Watch> {
        None
    }
}

#[cfg(not(unix))]
pub use elsewhere::install;
#[cfg(not(unix))]
pub(super) use elsewhere::{Watch, watch};
#[cfg(unix)]
pub use unix::install;
#[cfg(unix)]
pub(super) use unix::{Watch, watch};

#[cfg(unix)]
mod unix {
    use crate::error::{Kind, printable};
    use crate::os::budget;
    use core::ptr::null_mut;
    use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
    use std::path::Path;
    use std::sync::OnceLock;

    /// A mapped file as the handler knows it: leaked, since a signal may need it at any time.
    #[derive(Debug)]
    struct Watched {
        start: usize,
        /// 0 where the file is mapped no more: other pages may lie there.
        bytes: AtomicUsize,
        name: String,
        older: AtomicPtr<Watched>,
    }

    /// Told when its mapping goes.
    #[derive(Debug)]
    pub(in crate::os) struct Watch(&'static AtomicUsize);

    impl Drop for Watch {
        fn drop(&mut self) {
            self.0.store(0, Ordering::Release);
        }
    }

    static INSTALLED: AtomicBool = AtomicBool::new(false);
    static NEWEST: AtomicPtr<Watched> = AtomicPtr::new(null_mut());

    /// What was done about SIGSEGV before.
    static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();

    /// Has the program end with exit code 74 and a line on standard error where a page of a file that is mapped from now on
    /// cannot be read, and threads with a budget end with their stacks. For programs, before they open files; a library leaves
    /// signals alone.
    pub fn install() {
        if !INSTALLED.swap(true, Ordering::Relaxed) {
            set_handler(libc::SIGBUS, on_fault);
            let before = set_handler(libc::SIGSEGV, on_overflow);
            BEFORE.get_or_init(|| before);
        }
    }

    /// Has the handler know the `bytes` mapped from `path`, where it is installed.
    pub(in crate::os) fn watch(bytes: &[u8], path: &Path) -> Option<Watch> {
        if !INSTALLED.load(Ordering::Relaxed) {
            return None;
        }
        let watched: &Watched = Box::leak(Box::new(Watched {
            start: bytes.as_ptr().addr(),
            bytes: AtomicUsize::new(bytes.len()),
            name: printable(&path.display().to_string()),
            older: AtomicPtr::new(null_mut()),
        }));
        let pointer = core::ptr::from_ref(watched).cast_mut();
        let mut newest = NEWEST.load(Ordering::Relaxed);
        loop {
            watched.older.store(newest, Ordering::Relaxed);
            match NEWEST.compare_exchange_weak(newest, pointer, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return Some(Watch(&watched.bytes)),
                Err(now) => newest = now,
            }
        }
    }

    type Handler = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);

    /// Sets the action of a signal and gives the one before.
    fn set_handler(signal: libc::c_int, handler: Handler) -> libc::sigaction {
        // SAFETY: all fields are integers or pointers, for which zero is valid.
        let (mut action, mut before): (libc::sigaction, libc::sigaction) = unsafe { core::mem::zeroed() };
        action.sa_sigaction = handler as libc::sighandler_t;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        // SAFETY: `action` is whole, its handler does only what a signal's handler may, and `before` is writable.
        unsafe { libc::sigaction(signal, &action, &mut before) };
        before
    }

    /// Only calls that may be made in a signal's handler: no heap, no locks. The standard library gives every thread of its own a
    /// stack for signals.
    extern "C" fn on_overflow(signal: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
        // SAFETY: the system passes a valid `info`, and SIGSEGV has an address.
        budget::untouchable(unsafe { (*info).si_addr() }.addr());
        // Not ours: whose it was before takes over when the instruction runs again.
        match BEFORE.get() {
            // SAFETY: the action is one that the system has given.
            Some(before) => unsafe { libc::sigaction(signal, before, null_mut()) },
            // SAFETY: the default action is valid for this signal.
            None => unsafe { libc::signal(signal, libc::SIG_DFL) as libc::c_int },
        };
    }

    /// Only calls that may be made in a signal's handler: no heap, no locks.
    extern "C" fn on_fault(signal: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
        // SAFETY: the system passes a valid `info`, and SIGBUS has an address.
        let at = unsafe { (*info).si_addr() }.addr();
        let mut next = NEWEST.load(Ordering::Acquire);
        // SAFETY: each was whole before it became the newest; none is freed, and nothing holds one mutably.
        while let Some(file) = unsafe { next.as_ref() } {
            let offset = at.wrapping_sub(file.start);
            if offset < file.bytes.load(Ordering::Acquire) {
                tell(file.name.as_bytes(), offset);
                // SAFETY: the call ends the process without running anything of it.
                unsafe { libc::_exit(Kind::Io.exit_code().into()) };
            }
            next = file.older.load(Ordering::Relaxed);
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
