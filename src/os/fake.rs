//! The files of machines that are not here.

use std::fs;
use std::path::{Path, PathBuf};

/// A file system with the files that a test writes, removed when dropped.
pub(super) struct Machine(PathBuf);

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Machine {
    /// An empty one for the test `name`.
    pub(super) fn new(name: &str) -> Self {
        Machine(super::test_directory(&format!("machine-{name}")))
    }

    /// Its root.
    pub(super) fn root(&self) -> &Path {
        &self.0
    }

    /// Writes `text` to `path`.
    pub(super) fn file(self, path: &str, text: &str) -> Self {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
        self
    }

    /// Writes `text` to `file` of a CPU's folder.
    pub(super) fn of_cpu(self, cpu: usize, file: &str, text: &str) -> Self {
        self.file(&format!("sys/devices/system/cpu/cpu{cpu}/{file}"), text)
    }
}
