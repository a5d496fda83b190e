//! A file mapped for reading.
#![allow(unsafe_code)]

use std::fs::File;
use std::ops::Deref;
use std::path::Path;

use whit::error::{Error, Kind, Result};

/// The bytes of a file, mapped.
#[derive(Debug)]
pub(crate) struct Mapping(memmap2::Mmap);

impl Mapping {
    /// Maps the regular file at `path`.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let failed = |error: std::io::Error| {
            Error::new(Kind::NoInput, format!("cannot be opened: {error}")).in_file(path.display().to_string())
        };
        if !std::fs::metadata(path).map_err(failed)?.is_file() {
            let error = Error::new(Kind::NoInput, "not a regular file");
            return Err(error.in_file(path.display().to_string()));
        }
        let file = File::open(path).map_err(failed)?;
        // SAFETY: the map is private and only read. Another process that changes the file changes the bytes under us;
        // every reader takes them as untrusted, and only ever as plain bytes.
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(failed)?;
        Ok(Mapping(map))
    }
}

impl Deref for Mapping {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}
