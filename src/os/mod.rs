//! What the operating system gives: mapped files, atomic replacement, memory, cores, clocks; and how the machine is.

pub mod allocator;
pub mod atomic;
pub mod caches;
pub mod calendar;
mod cgroup;
pub mod clock;
pub mod clusters;
pub mod cpu;
pub mod ends;
#[cfg(test)]
mod fake;
pub mod fault;
pub mod folder;
pub mod interrupt;
pub mod load;
pub mod machine;
pub mod memory;
mod mmap;
pub mod owned;
pub mod pressure;
mod regular;
pub mod sandbox;
pub mod service;
pub mod share;
pub mod storage;
pub mod stream;
mod sys;
pub mod terminal;
pub mod thermal;

pub use mmap::{Mapping, Stamp};
pub use sys::has_no_output;

use std::fs::FileType;
use std::io;
use std::path::Path;

use crate::error::{Error, Kind};

/// The error for `path` when `action` failed with `error`: of this kind, or of missing resources where there was no memory.
pub(crate) fn failed(kind: Kind, path: &Path, action: &str, error: &io::Error) -> Error {
    let (message, hint) = match error.kind() {
        io::ErrorKind::NotFound => ("it does not exist".to_owned(), None),
        io::ErrorKind::PermissionDenied => {
            ("permission denied".to_owned(), Some("check the rights of file and directory"))
        }
        io::ErrorKind::StorageFull => ("no space is left on the device".to_owned(), Some("free some space")),
        io::ErrorKind::QuotaExceeded => ("the disk quota is used up".to_owned(), Some("free some space")),
        io::ErrorKind::FileTooLarge => {
            ("the file would be larger than this process may write".to_owned(), Some("raise the limit (ulimit -f)"))
        }
        io::ErrorKind::ReadOnlyFilesystem => ("the file system is read-only".to_owned(), None),
        io::ErrorKind::OutOfMemory => {
            ("there is no memory for it".to_owned(), Some("end other programs, or raise the limit (ulimit -v)"))
        }
        _ => (error.to_string(), None),
    };
    let kind = if error.kind() == io::ErrorKind::OutOfMemory { Kind::Resources } else { kind };
    let error = Error::new(kind, format!("{action}: {message}")).in_file(path.display().to_string());
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// What a file that is not a regular one is, with its article.
fn type_name(file_type: FileType) -> Option<&'static str> {
    if file_type.is_file() {
        return None;
    }
    if file_type.is_dir() {
        return Some("a directory");
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if file_type.is_fifo() {
            return Some("a pipe");
        }
        if file_type.is_socket() {
            return Some("a socket");
        }
        if file_type.is_char_device() || file_type.is_block_device() {
            return Some("a device");
        }
    }
    Some("something special")
}

/// A new directory for the test called `name`.
#[cfg(test)]
fn test_directory(name: &str) -> std::path::PathBuf {
    let path = std::env::temp_dir().join(format!("whit-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).expect("temporary directory");
    path
}
