//! An input file, mapped.

use std::path::{Path, PathBuf};

use whit::error::{Error, Result, printable};
use whit::os::Mapping;

/// One input file.
#[derive(Debug)]
pub struct SourceFile {
    /// Base name.
    pub name: String,
    /// Length.
    pub bytes: u64,
    /// Where it lies.
    pub path: PathBuf,
    pub(super) map: Mapping,
}

impl SourceFile {
    /// Maps the regular file at `path`.
    pub fn open(path: &Path) -> Result<Self> {
        let map = Mapping::open(path)?;
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        Ok(SourceFile { name, bytes: map.len() as u64, path: path.to_path_buf(), map })
    }

    /// BLAKE3 of the content, computed on all cores.
    pub fn hash(&self) -> [u8; 32] {
        *blake3::Hasher::new().update_rayon(&self.map).finalize().as_bytes()
    }

    /// Refuses to write `output` in place of this file.
    pub fn check_not(&self, output: &Path) -> Result<()> {
        if !self.map.is_at(output) {
            return Ok(());
        }
        let error = Error::usage(format!("this is also the input {}", printable(&self.path.display().to_string())));
        Err(error.in_file(output.display().to_string()).hint("name another output"))
    }

    /// The first bytes of the file, `most` at most, as text; what is not UTF-8 is replaced.
    pub fn text(&self, most: usize) -> Result<String> {
        let read = String::from_utf8_lossy(&self.map[..self.map.len().min(most)]).into_owned();
        self.check_unchanged().map(|()| read)
    }

    /// Refuses to go on where the file was changed or cut since it was opened.
    pub fn check_unchanged(&self) -> Result<()> {
        self.map.check_unchanged()
    }

    pub(super) fn error(&self, error: Error) -> Error {
        error.in_file(self.path.display().to_string())
    }
}
