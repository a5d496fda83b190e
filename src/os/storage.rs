//! How fast the storage is that a file lies on.

use crate::error::Result;
use std::path::Path;

/// Bytes a second that the file at `path` is read with from its beginning, past the cache of pages and by some requests at a time, for
/// `seconds` or 256 MiB; `None` where the system reads by no other way than through its cache, as from memory.
#[cfg(target_os = "linux")]
pub fn read_speed(path: &Path, seconds: f64) -> Result<Option<f64>> {
    use super::{clock::Stopwatch, failed};
    use crate::error::Kind;
    use core::sync::atomic::{AtomicU64, Ordering};
    use std::fs::OpenOptions;
    use std::io;
    use std::os::unix::fs::{FileExt, OpenOptionsExt};
    use std::thread;

    const READ_BYTES: usize = 1 << 20;
    const N_READERS: usize = 4;
    const MOST_BYTES: u64 = 256 << 20;
    /// What direct reads want their memory aligned to, at most.
    const ALIGNMENT: usize = 4096;
    let cannot =
        |error: &io::Error| matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP | libc::ENOSYS));
    let file = match OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(path) {
        Ok(file) => file,
        Err(error) if cannot(&error) => return Ok(None),
        Err(error) => return Err(failed(Kind::NoInput, path, "cannot open", &error)),
    };
    let watch = Stopwatch::start();
    let next = AtomicU64::new(0);
    // The bytes that one reader has read when all are asked for, or the time is over.
    let read = || -> io::Result<u64> {
        let mut memory = vec![0; READ_BYTES + ALIGNMENT];
        let start = memory.as_ptr().align_offset(ALIGNMENT);
        let buffer = &mut memory[start..][..READ_BYTES];
        let mut done = 0;
        loop {
            let at = next.fetch_add(READ_BYTES as u64, Ordering::Relaxed);
            if at >= MOST_BYTES || (at > 0 && watch.seconds() >= seconds) {
                return Ok(done);
            }
            match file.read_at(buffer, at) {
                Ok(0) => return Ok(done),
                Ok(n) => done += n as u64,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    };
    // Where there are no threads for the others, this one reads alone.
    let done = thread::scope(|scope| {
        let spawn = |_| thread::Builder::new().stack_size(64 << 10).spawn_scoped(scope, read).ok();
        let others: Vec<_> = (1..N_READERS).filter_map(spawn).collect();
        let first = read();
        others.into_iter().try_fold(first?, |sum, other| Ok(sum + other.join().unwrap_or(Ok(0))?))
    });
    match done {
        Ok(done) => Ok(Some(done as f64 / watch.seconds()).filter(|_| done > 0)),
        Err(error) if cannot(&error) => Ok(None),
        Err(error) => Err(failed(Kind::Io, path, "cannot read", &error)),
    }
}

/// `None`: how to read past the cache is known for Linux only.
#[cfg(not(target_os = "linux"))]
pub fn read_speed(_path: &Path, _seconds: f64) -> Result<Option<f64>> {
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::test_directory;

    #[test]
    fn a_speed_is_positive_where_there_is_one() {
        let directory = test_directory("storage");
        let path = directory.join("file");
        std::fs::write(&path, vec![7; 3 << 19]).expect("write");
        if let Some(speed) = read_speed(&path, 0.1).expect("a readable file") {
            assert!(speed > 0.0 && speed.is_finite());
        }
        std::fs::remove_dir_all(directory).expect("clean up");
    }
}
