//! How fast the storage is that a file lies on.

use crate::error::Result;
use std::path::Path;

/// Bytes a second that the file at `path` is read with from its beginning, past the cache of pages, for `seconds` or
/// 256 MiB; `None` where the system reads by no other way than through its cache, as from memory.
#[cfg(target_os = "linux")]
pub fn read_speed(path: &Path, seconds: f64) -> Result<Option<f64>> {
    use super::{clock::Stopwatch, failed};
    use crate::error::Kind;
    use std::fs::OpenOptions;
    use std::os::unix::fs::{FileExt, OpenOptionsExt};

    const READ_BYTES: usize = 1 << 20;
    const MOST_BYTES: u64 = 256 << 20;
    /// What direct reads want their memory aligned to, at most.
    const ALIGNMENT: usize = 4096;
    let cannot =
        |error: &std::io::Error| matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP | libc::ENOSYS));
    let file = match OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(path) {
        Ok(file) => file,
        Err(error) if cannot(&error) => return Ok(None),
        Err(error) => return Err(failed(Kind::NoInput, path, "cannot open", &error)),
    };
    let mut memory = vec![0; READ_BYTES + ALIGNMENT];
    let start = memory.as_ptr().align_offset(ALIGNMENT);
    let buffer = &mut memory[start..][..READ_BYTES];
    let watch = Stopwatch::start();
    let mut done = 0;
    while done < MOST_BYTES && (done == 0 || watch.seconds() < seconds) {
        match file.read_at(buffer, done) {
            Ok(n) => {
                done += n as u64;
                if n < READ_BYTES {
                    break;
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) if cannot(&error) && done == 0 => return Ok(None),
            Err(error) => return Err(failed(Kind::Io, path, "cannot read", &error)),
        }
    }
    Ok(Some(done as f64 / watch.seconds()).filter(|_| done > 0))
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
