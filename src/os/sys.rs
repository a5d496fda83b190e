//! The calls that std does not have.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;

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

/// The lowest address of this thread's stack, near the page that guards it; `None` where the system does not say.
#[cfg(target_os = "linux")]
pub(super) fn stack_end() -> Option<usize> {
    let mut attributes = core::mem::MaybeUninit::<libc::pthread_attr_t>::zeroed();
    // SAFETY: the thread is the one that asks, and `attributes` is writable and of the type asked for.
    if unsafe { libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()) } != 0 {
        return None;
    }
    let (mut end, mut bytes) = (core::ptr::null_mut(), 0);
    // SAFETY: the call before has filled `attributes`; the others are writable.
    let code = unsafe { libc::pthread_attr_getstack(attributes.as_ptr(), &mut end, &mut bytes) };
    // SAFETY: `attributes` is not used any more.
    unsafe { libc::pthread_attr_destroy(attributes.as_mut_ptr()) };
    (code == 0).then_some(end.addr())
}

/// The lowest address of this thread's stack, near the page that guards it; `None` where the system does not say.
#[cfg(not(target_os = "linux"))]
pub(super) fn stack_end() -> Option<usize> {
    None
}

/// Waits for a signal, in a signal's handler too.
#[cfg(unix)]
pub(super) fn wait() {
    // SAFETY: the call takes nothing and always returns.
    unsafe { libc::pause() };
}

/// Waits for a while.
#[cfg(not(unix))]
pub(super) fn wait() {
    std::thread::park();
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
