//! The calls that std does not have.
#![allow(unsafe_code)]

use core::sync::atomic::{AtomicBool, Ordering};
use std::fs::File;
use std::io;

static HAS_NO_OUTPUT: AtomicBool = AtomicBool::new(false);

/// Whether the program was started without a standard output, in place of which the standard library opens one that takes
/// everything; told on Linux alone.
pub fn has_no_output() -> bool {
    HAS_NO_OUTPUT.load(Ordering::Relaxed)
}

/// Called before the standard library begins.
#[cfg(all(target_os = "linux", feature = "program"))]
#[used]
// SAFETY: the section holds functions of this type, each of which is called once, before `main`. This one needs nothing that
// is set up later.
#[unsafe(link_section = ".init_array")]
static LOOK_AT_OUTPUT: extern "C" fn() = {
    extern "C" fn look() {
        // SAFETY: the call takes numbers and gives one, -1 for a descriptor that is not open.
        let is_closed = unsafe { libc::fcntl(1, libc::F_GETFD) } == -1;
        HAS_NO_OUTPUT.store(is_closed, Ordering::Relaxed);
    }
    look
};

/// Bytes free for this user on the file system of `file`; `None` where the system does not say.
#[cfg(unix)]
pub(super) fn free_bytes(file: &File) -> Option<u64> {
    use std::os::fd::AsRawFd;
    let mut status = core::mem::MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: the descriptor is open for as long as `file` lives, and `status` is writable and of the type asked for.
    let code = unsafe { libc::fstatvfs(file.as_raw_fd(), status.as_mut_ptr()) };
    if code != 0 {
        return None;
    }
    // SAFETY: all fields are integers, for which zero is valid, and the call has filled them.
    let status = unsafe { status.assume_init() };
    #[allow(clippy::unnecessary_cast, clippy::useless_conversion, reason = "widths differ between systems")]
    (status.f_bavail as u64).checked_mul(status.f_frsize as u64)
}

/// Bytes free for this user on the file system of `file`; `None` where the system does not say.
#[cfg(not(unix))]
pub(super) fn free_bytes(_file: &File) -> Option<u64> {
    None
}

/// The user whose rights this process has.
#[cfg(unix)]
pub(super) fn user() -> u32 {
    // SAFETY: the call takes nothing and always returns.
    unsafe { libc::geteuid() }
}

/// Bytes of a page of memory.
#[cfg(unix)]
pub(super) fn page_bytes() -> Option<u64> {
    // SAFETY: the call takes a number and gives a number, -1 for what it does not know.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(bytes).ok()
}

/// Bytes of a page of memory.
#[cfg(not(unix))]
pub(super) fn page_bytes() -> Option<u64> {
    None
}

/// Has the terminal of standard input show what is typed, or not; whether that changed anything. A signal's handler may call it.
#[cfg(unix)]
pub(super) fn set_echo(shows: bool) -> bool {
    let mut modes = core::mem::MaybeUninit::<libc::termios>::zeroed();
    // SAFETY: `modes` is writable and of the type asked for.
    if unsafe { libc::tcgetattr(0, modes.as_mut_ptr()) } != 0 {
        return false;
    }
    // SAFETY: all fields are numbers, for which zero is valid, and the call has filled them.
    let mut modes = unsafe { modes.assume_init() };
    if (modes.c_lflag & libc::ECHO != 0) == shows {
        return false;
    }
    modes.c_lflag ^= libc::ECHO;
    // SAFETY: `modes` is as the system has given it, but for one flag.
    unsafe { libc::tcsetattr(0, libc::TCSANOW, &modes) == 0 }
}

/// Has the terminal of standard input show what is typed, or not; whether that changed anything. A signal's handler may call it.
#[cfg(not(unix))]
pub(super) fn set_echo(_shows: bool) -> bool {
    false
}

/// Seconds by which local time is ahead of UTC at `seconds` after 1970 began; 0 where the system does not say.
#[cfg(unix)]
pub(super) fn utc_offset(seconds: i64) -> i64 {
    #[allow(clippy::useless_conversion, irrefutable_let_patterns, reason = "widths differ between systems")]
    let Ok(seconds) = libc::time_t::try_from(seconds) else { return 0 };
    let mut local = core::mem::MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: the call reads one number and writes `local`, which is of the type asked for.
    let filled = unsafe { libc::localtime_r(&seconds, local.as_mut_ptr()) };
    if filled.is_null() {
        return 0;
    }
    // SAFETY: numbers and a pointer that is not read, for which zero is valid, and the call has filled them.
    let local = unsafe { local.assume_init() };
    #[allow(clippy::useless_conversion, reason = "widths differ between systems")]
    local.tm_gmtoff.into()
}

/// Seconds by which local time is ahead of UTC at `seconds` after 1970 began; 0 where the system does not say.
#[cfg(not(unix))]
pub(super) fn utc_offset(_seconds: i64) -> i64 {
    0
}

/// Waits for a signal, in a signal's handler too.
#[cfg(unix)]
pub(super) fn wait() {
    // SAFETY: the call takes nothing and always returns.
    unsafe { libc::pause() };
}

/// Tells the system that bytes of `file` will be read soon.
pub(super) fn will_need(file: &File, start: u64, bytes: u64) {
    advise(file, start, bytes, WILL_NEED);
}

/// Tells the system that bytes of `file` need not stay in memory.
pub(super) fn done_with(file: &File, start: u64, bytes: u64) {
    advise(file, start, bytes, DONE_WITH);
}

#[cfg(target_os = "linux")]
const WILL_NEED: i32 = libc::POSIX_FADV_WILLNEED;
#[cfg(target_os = "linux")]
const DONE_WITH: i32 = libc::POSIX_FADV_DONTNEED;
#[cfg(not(target_os = "linux"))]
const WILL_NEED: i32 = 0;
#[cfg(not(target_os = "linux"))]
const DONE_WITH: i32 = 0;

#[cfg(not(target_os = "linux"))]
fn advise(_file: &File, _start: u64, _bytes: u64, _advice: i32) {}

#[cfg(target_os = "linux")]
fn advise(file: &File, start: u64, bytes: u64, advice: i32) {
    use std::os::fd::AsRawFd;
    if let (Ok(start), Ok(bytes)) = (libc::off_t::try_from(start), libc::off_t::try_from(bytes)) {
        // SAFETY: the descriptor is open for as long as `file` lives; the call takes no pointers. What it returns is of no
        // interest: advice that is not taken costs speed, not truth.
        unsafe { libc::posix_fadvise(file.as_raw_fd(), start, bytes, advice) };
    }
}

/// Bytes of address space that this process may have; `None` where there is no limit.
#[cfg(unix)]
pub(super) fn address_space_limit() -> Option<u64> {
    let mut limit = core::mem::MaybeUninit::<libc::rlimit>::zeroed();
    // SAFETY: `limit` is writable and of the type asked for.
    let code = unsafe { libc::getrlimit(libc::RLIMIT_AS, limit.as_mut_ptr()) };
    // SAFETY: all fields are integers, for which zero is valid.
    let limit = unsafe { limit.assume_init() }.rlim_cur;
    #[allow(clippy::unnecessary_cast, reason = "widths differ between systems")]
    (code == 0 && limit != libc::RLIM_INFINITY).then_some(limit as u64)
}

/// Bytes of address space that this process may have; `None` where there is no limit.
#[cfg(not(unix))]
pub(super) fn address_space_limit() -> Option<u64> {
    None
}

/// Lets all threads allocate from one heap: the C library's default reserves tens of MiB of addresses for each.
pub(super) fn one_heap() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: the call sets a number of the allocator, at any time.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Gives `file` its final length, with the blocks for it where the file system can reserve them.
pub(super) fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    if bytes > 0
        && let Ok(length) = libc::off_t::try_from(bytes)
    {
        use std::os::fd::AsRawFd;
        loop {
            // SAFETY: the descriptor is open for as long as `file` lives; the call takes no pointers.
            if unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, length) } == 0 {
                return Ok(());
            }
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::EINTR) => {}
                // Not every file system reserves: the length alone then.
                Some(libc::EOPNOTSUPP | libc::ENOSYS | libc::EINVAL) => break,
                _ => return Err(error),
            }
        }
    }
    file.set_len(bytes)
}

/// Gives up every right that a program started later could bring; false where the system cannot.
#[cfg(target_os = "linux")]
pub(super) fn no_new_privileges() -> bool {
    // SAFETY: the call takes numbers.
    unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 }
}

/// Has the kernel ask `filter` before each call of this thread; false where it does not.
#[cfg(target_os = "linux")]
pub(super) fn filter_calls(filter: &[super::sandbox::calls::Instruction]) -> bool {
    let of = |&(code, jt, jf, k): &_| libc::sock_filter { code, jt, jf, k };
    let mut instructions: Vec<libc::sock_filter> = filter.iter().map(of).collect();
    let Ok(len) = instructions.len().try_into() else { return false };
    let program = libc::sock_fprog { len, filter: instructions.as_mut_ptr() };
    // SAFETY: `program` and the instructions that it points to live as long as the call, which copies them.
    unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0 }
}

/// The version of Landlock that the kernel has.
#[cfg(target_os = "linux")]
pub(super) fn landlock_version() -> Option<u32> {
    const VERSION: u32 = 1;
    // SAFETY: with this flag the call reads nothing and gives a number, -1 for an error.
    let version =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, core::ptr::null::<u8>(), 0_usize, VERSION) };
    u32::try_from(version).ok().filter(|version| *version > 0)
}

/// An empty list of Landlock's rules about the rights in `handled`.
#[cfg(target_os = "linux")]
pub(super) fn landlock_rules(handled: u64) -> Option<std::os::fd::OwnedFd> {
    use std::os::fd::FromRawFd;
    // SAFETY: the call reads 8 bytes, which the first version's structure has, and gives a new descriptor or -1.
    let made = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, &raw const handled, 8_usize, 0_u32) };
    let descriptor = i32::try_from(made).ok().filter(|descriptor| *descriptor >= 0)?;
    // SAFETY: the descriptor is new, so nobody else owns it.
    Some(unsafe { std::os::fd::OwnedFd::from_raw_fd(descriptor) })
}

/// Allows `rights` on the file at `place`, or on all in the folder there.
#[cfg(target_os = "linux")]
pub(super) fn landlock_allow(rules: &std::os::fd::OwnedFd, place: &File, rights: u64) {
    use std::os::fd::AsRawFd;
    /// As the kernel has it.
    #[repr(C, packed)]
    struct Beneath {
        rights: u64,
        place: i32,
    }
    const BENEATH: u32 = 1;
    let beneath = Beneath { rights, place: place.as_raw_fd() };
    // SAFETY: both descriptors are open, and `beneath` is readable and of the form that this kind of rule has. A rule that is
    // refused allows nothing.
    unsafe { libc::syscall(libc::SYS_landlock_add_rule, rules.as_raw_fd(), BENEATH, &raw const beneath, 0_u32) };
}

/// Holds this thread to the rules; false where the kernel does not.
#[cfg(target_os = "linux")]
pub(super) fn landlock_restrict(rules: &std::os::fd::OwnedFd) -> bool {
    use std::os::fd::AsRawFd;
    // SAFETY: the descriptor is open; the call takes no pointers.
    unsafe { libc::syscall(libc::SYS_landlock_restrict_self, rules.as_raw_fd(), 0_u32) == 0 }
}

/// The signals that ask a program to end.
#[cfg(unix)]
fn ends() -> libc::sigset_t {
    let mut set = core::mem::MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: the set is writable; it is made empty first, so that all of it is written, and the numbers are those of signals.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        set.assume_init()
    }
}

/// Blocks the signals that ask a program to end, for this thread and those that it starts.
#[cfg(unix)]
pub(super) fn hold_ends() {
    // SAFETY: the call reads a set that is whole, and writes none.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &ends(), core::ptr::null_mut()) };
}

/// Waits for one of these signals, and says whether it is SIGHUP; `None` where it cannot.
#[cfg(unix)]
pub(super) fn wait_for_end() -> Option<bool> {
    let mut signal = 0;
    // SAFETY: the call reads a set that is whole, and writes a number.
    let code = unsafe { libc::sigwait(&ends(), &mut signal) };
    (code == 0).then_some(signal == libc::SIGHUP)
}

/// There are none.
#[cfg(not(unix))]
pub(super) fn hold_ends() {}

/// There are none.
#[cfg(not(unix))]
pub(super) fn wait_for_end() -> Option<bool> {
    None
}

/// Sets how nice this thread is to others, and those that it starts.
#[cfg(unix)]
pub(super) fn set_nice(nice: i32) -> io::Result<()> {
    // SAFETY: the call takes numbers; 0 is the caller.
    match unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Has the scheduler take this thread, and those that it starts, for work that nobody waits for.
#[cfg(target_os = "linux")]
pub(super) fn schedule_as_batch() -> io::Result<()> {
    let priority = 0_i32;
    // The C library musl does not make this call.
    // SAFETY: the call reads a number, which is what the kernel has for its settings; 0 is the caller.
    match unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, libc::SCHED_BATCH, &raw const priority) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Waits until the kernel tells of pressure by `file`; false where it does no more.
#[cfg(target_os = "linux")]
pub(super) fn wait_for_pressure(file: &File) -> bool {
    use std::os::fd::AsRawFd;
    let mut wanted = libc::pollfd { fd: file.as_raw_fd(), events: libc::POLLPRI, revents: 0 };
    loop {
        // SAFETY: `wanted` is one structure, readable and writable, and its descriptor is open.
        let n = unsafe { libc::poll(&raw mut wanted, 1, -1) };
        match n {
            1 => return wanted.revents & libc::POLLPRI != 0 && wanted.revents & libc::POLLERR == 0,
            _ if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            _ => return false,
        }
    }
}

/// The first descriptor that is handed over to services, as a socket that listens; `None` where it is none.
#[cfg(unix)]
pub(super) fn inherited_listener() -> Option<std::net::TcpListener> {
    use std::os::fd::FromRawFd;
    const FIRST: i32 = 3;
    let (mut kind, mut bytes) = (0_i32, size_of::<i32>() as libc::socklen_t);
    // SAFETY: the call writes a number of so many bytes; a descriptor that is none makes it fail.
    let code =
        unsafe { libc::getsockopt(FIRST, libc::SOL_SOCKET, libc::SO_TYPE, (&raw mut kind).cast(), &raw mut bytes) };
    if code != 0 || kind != libc::SOCK_STREAM {
        return None;
    }
    // SAFETY: the call takes numbers.
    unsafe { libc::fcntl(FIRST, libc::F_SETFD, libc::FD_CLOEXEC) };
    // SAFETY: the descriptor is an open socket, and by the convention of services it belongs to nobody else in this process.
    Some(unsafe { std::net::TcpListener::from_raw_fd(FIRST) })
}

/// Not here.
#[cfg(not(unix))]
pub(super) fn set_nice(_nice: i32) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Not here.
#[cfg(not(target_os = "linux"))]
pub(super) fn schedule_as_batch() -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// It is told nowhere else.
#[cfg(not(target_os = "linux"))]
pub(super) fn wait_for_pressure(_file: &File) -> bool {
    false
}

/// There is none.
#[cfg(not(unix))]
pub(super) fn inherited_listener() -> Option<std::net::TcpListener> {
    None
}
