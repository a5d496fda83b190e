//! Signals that are raised at the instruction that touches a page: SIGBUS, where a mapped file was cut, or its storage failed, while it
//! was in use. This ends the program with a message instead of a core dump, or spoils that mapping alone where its owner has said so; so does memory that is missing. And the signals by which
//! others ask a program to end. For programs; a library leaves signals alone.
#![allow(unsafe_code)]

#[cfg(not(unix))]
mod elsewhere {
    use crate::error::Error;
    use std::path::Path;

    /// Nothing: no such signal is known here.
    pub fn watch_files(_line: impl Fn(&Error) -> String + Send + Sync + 'static, _exit_code: u8) {}

    /// Nothing: the program ends as the system has it.
    pub fn watch_memory(_line: impl Fn(&Error) -> String, _exit_code: u8) {}

    /// Nothing: no such signal is known here.
    pub fn watch_ends() {}

    #[derive(Debug)]
    pub(in crate::os) struct Watch;

    impl Watch {
        pub(in crate::os) fn outlive(&self) {}

        pub(in crate::os) fn is_broken(&self) -> bool {
            false
        }
    }

    pub(in crate::os) fn watch(_bytes: &[u8], _path: &Path) -> Option<Watch> {
        None
    }
}

#[cfg(not(unix))]
pub(super) use elsewhere::{Watch, watch};
#[cfg(not(unix))]
pub use elsewhere::{watch_ends, watch_files, watch_memory};
#[cfg(unix)]
pub(super) use unix::{Watch, watch};
#[cfg(unix)]
pub use unix::{watch_ends, watch_files, watch_memory};

#[cfg(unix)]
mod unix {
    use crate::error::{Error, Kind};
    use crate::os::{allocator, interrupt, sys, terminal};
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
        /// Pages that cannot be read become pages of zeros.
        is_outlived: AtomicBool,
        /// Some have.
        is_broken: AtomicBool,
        message: Message,
        older: AtomicPtr<Watched>,
    }

    /// The line of an error, ready for a handler, which can only add a number.
    #[derive(Debug)]
    struct Message {
        before: String,
        /// Of the digits of the number.
        radix: usize,
        after: String,
    }

    /// How the program ends.
    struct Ending {
        line: Box<dyn Fn(&Error) -> String + Send + Sync>,
        exit_code: u8,
    }

    /// Clears the entry of a mapping when the mapping goes.
    #[derive(Debug)]
    pub(in crate::os) struct Watch(&'static Watched);

    impl Watch {
        /// Has pages that cannot be read be pages of zeros from now on, instead of the end of the program.
        pub(in crate::os) fn outlive(&self) {
            self.0.is_outlived.store(true, Ordering::Release);
        }

        /// Whether there are such pages.
        pub(in crate::os) fn is_broken(&self) -> bool {
            self.0.is_broken.load(Ordering::Acquire)
        }
    }

    impl Drop for Watch {
        fn drop(&mut self) {
            self.0.bytes.store(0, Ordering::Release);
        }
    }

    /// Of pages of mappings.
    static PAGE_BYTES: AtomicUsize = AtomicUsize::new(4096);
    static NEWEST: AtomicPtr<Watched> = AtomicPtr::new(null_mut());
    /// Known once memory is watched, with the exit code.
    static NO_MEMORY: OnceLock<(Message, u8)> = OnceLock::new();
    /// Known once files are watched.
    static HOW_TO_END: OnceLock<Ending> = OnceLock::new();
    /// What was done about the signal before.
    static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();
    /// The terminal as it was before lines were edited on it.
    static TERMINAL: OnceLock<Option<libc::termios>> = OnceLock::new();

    /// Ends the program with `exit_code` where a page of a file that is mapped from now on cannot be read. Before that the error
    /// goes to standard error, as `line` words it: with its offset in decimal or, as `Display` does, in hexadecimal.
    ///
    /// A file that would grow beyond the limit of the process (SIGXFSZ) is an error of the write from now on, too.
    pub fn watch_files(line: impl Fn(&Error) -> String + Send + Sync + 'static, exit_code: u8) {
        HOW_TO_END.get_or_init(|| Ending { line: Box::new(line), exit_code });
        // SAFETY: no handler is installed; the write that the signal would end the program for returns an error instead.
        unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
        BEFORE.get_or_init(|| set_handler(libc::SIGBUS, on_bus));
    }

    /// Ends the program with `exit_code` where there is no memory for what it asks for, if its allocator is
    /// [`allocator::Telling`]. Before that the error goes to standard error, as `line` words it.
    pub fn watch_memory(line: impl Fn(&Error) -> String, exit_code: u8) {
        NO_MEMORY.get_or_init(|| {
            let what = format!("there is no memory for another {} bytes", u64::MAX);
            let error = Error::new(Kind::Resources, what).hint("end other programs, or raise the limit");
            (Message::around(&line(&error), &[(u64::MAX.to_string(), 10)]), exit_code)
        });
        allocator::end_without_memory(no_memory);
    }

    fn no_memory(bytes: usize) -> ! {
        let (message, exit_code) = NO_MEMORY.get().expect("it was said before anybody was told to come here");
        end(message, bytes, *exit_code)
    }

    /// Has SIGTERM and SIGHUP be taken as [`interrupt::end`] says, unless they are ignored, as by nohup. Where nobody watches, and
    /// the second time, the program ends at once with 128 and the number of the signal, and a terminal that it reads from is as
    /// it is now.
    pub fn watch_ends() {
        TERMINAL.get_or_init(terminal);
        for signal in [libc::SIGTERM, libc::SIGHUP] {
            let before = set_handler(signal, on_end);
            if before.sa_sigaction == libc::SIG_IGN {
                // SAFETY: the action is one that the system has given.
                unsafe { libc::sigaction(signal, &before, null_mut()) };
            }
        }
    }

    /// How the terminal that is standard input is set; `None` where it is none.
    fn terminal() -> Option<libc::termios> {
        let mut settings = core::mem::MaybeUninit::<libc::termios>::zeroed();
        // SAFETY: the call reads a number and writes `settings`, which is of the type asked for.
        let code = unsafe { libc::tcgetattr(0, settings.as_mut_ptr()) };
        // SAFETY: all fields are integers, for which zero is valid.
        let settings = unsafe { settings.assume_init() };
        (code == 0).then_some(settings)
    }

    /// Has the handler know the `bytes` mapped from `path`, where files are watched.
    pub(in crate::os) fn watch(bytes: &[u8], path: &Path) -> Option<Watch> {
        let watched: &Watched = Box::leak(Box::new(Watched {
            start: bytes.as_ptr().addr(),
            bytes: AtomicUsize::new(bytes.len()),
            is_outlived: AtomicBool::new(false),
            is_broken: AtomicBool::new(false),
            message: message(path, HOW_TO_END.get()?),
            older: AtomicPtr::new(null_mut()),
        }));
        if let Some(page) = sys::page_bytes().and_then(|bytes| usize::try_from(bytes).ok()) {
            PAGE_BYTES.store(page, Ordering::Relaxed);
        }
        let pointer = core::ptr::from_ref(watched).cast_mut();
        let mut newest = NEWEST.load(Ordering::Relaxed);
        loop {
            watched.older.store(newest, Ordering::Relaxed);
            match NEWEST.compare_exchange_weak(newest, pointer, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return Some(Watch(watched)),
                Err(now) => newest = now,
            }
        }
    }

    /// The error about the file at `path`.
    fn message(path: &Path, ending: &Ending) -> Message {
        let error = Error::new(Kind::Io, "the file was cut or its storage failed while it was in use")
            .in_file(path.display().to_string())
            .hint("copy it again, then start again");
        let line = (ending.line)(&error.at(u64::MAX));
        Message::around(&line, &[(format!("{:x}", u64::MAX), 16), (u64::MAX.to_string(), 10)])
    }

    impl Message {
        /// `line` around the number in it, which is `written` in one of these ways.
        fn around(line: &str, written: &[(String, usize)]) -> Message {
            // It stands behind the path, which may look like one.
            let places = written.iter().filter_map(|(digits, radix)| Some((line.rfind(digits)?, digits.len(), *radix)));
            let (at, length, radix) = places.max().unwrap_or((line.len(), 0, 16));
            Message { before: line[..at].into(), radix, after: format!("{}\n", &line[at + length..]) }
        }
    }

    type Handler = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);

    /// Sets the action of a signal and gives the one before.
    fn set_handler(signal: libc::c_int, handler: Handler) -> libc::sigaction {
        // SAFETY: all fields are integers or pointers, for which zero is valid.
        let (mut action, mut before): (libc::sigaction, libc::sigaction) = unsafe { core::mem::zeroed() };
        action.sa_sigaction = handler as libc::sighandler_t;
        // The standard library gives every thread of its own, and the first, a stack for signals.
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
        // SAFETY: `action` is whole, its handler does only what a signal's handler may, and `before` is writable.
        unsafe { libc::sigaction(signal, &action, &mut before) };
        before
    }

    /// The page that could not be touched; `None` where somebody has sent the signal.
    fn address(info: *mut libc::siginfo_t) -> Option<usize> {
        // SAFETY: the system passes a valid `info` with every signal whose action has SA_SIGINFO.
        let info = unsafe { &*info };
        // SAFETY: a signal of this kind that the system raises by itself has an address; its code is positive.
        (info.si_code > 0).then(|| unsafe { info.si_addr() }.addr())
    }

    /// The signal is not for us: from now on it is as it was before.
    fn pass_on(signal: libc::c_int, was_sent: bool) {
        if let Some(before) = BEFORE.get() {
            // SAFETY: the action is one that the system has given.
            unsafe { libc::sigaction(signal, before, null_mut()) };
        }
        // An instruction raises it again by itself.
        if was_sent {
            // SAFETY: the call takes a number; the signal comes when this handler has returned.
            unsafe { libc::raise(signal) };
        }
    }

    // Handlers do only what they may: no heap, no locks.

    extern "C" fn on_bus(signal: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
        let address = address(info);
        let mut next = NEWEST.load(Ordering::Acquire);
        // SAFETY: each was whole before it became the newest; none is freed, and nothing holds one mutably.
        while let (Some(address), Some(file)) = (address, unsafe { next.as_ref() }) {
            let offset = address.wrapping_sub(file.start);
            let bytes = file.bytes.load(Ordering::Acquire);
            if offset < bytes {
                if file.is_outlived.load(Ordering::Acquire) {
                    // Before anybody can read a zero.
                    file.is_broken.store(true, Ordering::Release);
                    if put_zeros(address, file.start + bytes) {
                        return;
                    }
                }
                end(&file.message, offset, HOW_TO_END.get().map_or(1, |ending| ending.exit_code));
            }
            next = file.older.load(Ordering::Relaxed);
        }
        pass_on(signal, address.is_none());
    }

    /// Puts pages of zeros in the place of those of a mapping from `address` to its `end`; false where there is no memory for them.
    fn put_zeros(address: usize, end: usize) -> bool {
        let page = PAGE_BYTES.load(Ordering::Relaxed);
        let start = address / page * page;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
        let place = core::ptr::without_provenance_mut(start);
        // SAFETY: all pages are of one mapping, which is there as long as this handler runs, since the thread that it interrupts reads
        // from it. The mapping is read-only and of a file that others may change, so its readers take any bytes at any time, zeros,
        // too. The system call is one that is done at once and takes no lock of this process.
        let placed = unsafe { libc::mmap(place, end - start, libc::PROT_READ, flags, -1, 0) };
        placed != libc::MAP_FAILED
    }

    extern "C" fn on_end(signal: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {
        if interrupt::end(signal as u8) {
            return;
        }
        if let Some(Some(terminal)) = TERMINAL.get() {
            // SAFETY: the settings are those that the system has given; a handler may make this call.
            unsafe { libc::tcsetattr(0, libc::TCSANOW, terminal) };
        }
        // SAFETY: the call ends the process without running anything of it.
        unsafe { libc::_exit(128 + signal) }
    }

    /// Writes `message` with its `number` and ends the process; only the first thread that comes here does.
    fn end(message: &Message, number: usize, exit_code: u8) -> ! {
        static ENDING: AtomicBool = AtomicBool::new(false);
        while ENDING.swap(true, Ordering::Relaxed) {
            sys::wait();
        }
        let Message { before, radix, after } = message;
        let mut digits = [0; 20];
        let mut n = digits.len();
        let mut rest = number;
        while rest > 0 || n == digits.len() {
            n -= 1;
            digits[n] = b"0123456789abcdef"[rest % radix];
            rest /= radix;
        }
        for part in [before.as_bytes(), &digits[n..], after.as_bytes()] {
            // SAFETY: the part is readable for its length; where standard error is gone, nobody can read it.
            unsafe { libc::write(2, part.as_ptr().cast(), part.len()) };
        }
        terminal::restore();
        // SAFETY: the call ends the process without running anything of it.
        unsafe { libc::_exit(exit_code.into()) }
    }
}
