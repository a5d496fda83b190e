//! A file that one process at a time owns: it appends to it, and replaces it whole.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::atomic::AtomicFile;
use super::mmap::{Mapping, Stamp};
use super::{failed, regular};
use crate::error::{Error, Kind, Result};

/// A file that belongs to this process as long as it lives: another one that wants it is refused. The system gives it back however
/// the process ends.
#[derive(Debug)]
pub struct OwnedFile {
    /// Locked.
    file: File,
    path: PathBuf,
    /// Bytes that are of use; more is appended behind them.
    bytes: u64,
}

impl OwnedFile {
    /// Takes the file at `path`, which is made, empty and for its owner alone, where it does not exist.
    pub fn open(path: &Path) -> Result<OwnedFile> {
        loop {
            let file = open_or_make(path)?;
            match file.try_lock() {
                Err(TryLockError::WouldBlock) => {
                    let error = Error::new(Kind::Resources, "another process is using it");
                    return Err(error.in_file(path.display().to_string()).hint("end that one, or name another file"));
                }
                // Where files cannot be locked, nobody is kept from them.
                Ok(()) | Err(TryLockError::Error(_)) => {}
            }
            // Whoever owned it may have replaced or removed it since it was opened.
            if is_at(&file, path) {
                let bytes = file.metadata().map_err(|error| failed(Kind::Io, path, "cannot look at", &error))?.len();
                return Ok(OwnedFile { file, path: path.to_owned(), bytes });
            }
        }
    }

    /// Its name for messages.
    pub fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// Where the next bytes are appended.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What is in it; `None` where it is empty.
    pub fn map(&self) -> Result<Option<Mapping>> {
        (self.bytes > 0).then(|| Mapping::open(&self.path)).transpose()
    }

    /// Whether `path` leads to it.
    pub fn is_at(&self, path: &Path) -> bool {
        is_at(&self.file, path)
    }

    /// Has all from byte `bytes` on be of no use.
    pub fn cut(&mut self, bytes: u64) {
        self.bytes = self.bytes.min(bytes);
    }

    /// Appends `bytes`, which are durable when this returns. Where it fails, what is of use is as it was.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let write = |mut file: &File| {
            // What is of no use could look like what follows.
            file.set_len(self.bytes)?;
            file.seek(SeekFrom::Start(self.bytes))?;
            file.write_all(bytes)?;
            file.sync_data()
        };
        write(&self.file)
            .map_err(|error| failed(Kind::Io, &self.path, "cannot write", &error).at(self.bytes))
            .inspect(|()| self.bytes += bytes.len() as u64)
    }

    /// Replaces it by what `write` writes; where that fails, it is as it was.
    pub fn replace(&mut self, write: &mut dyn FnMut(&mut AtomicFile) -> Result<()>) -> Result<()> {
        let mut new = AtomicFile::create_private(&self.path)?;
        let abandoned = new.leftovers().iter().filter(|leftover| !leftover.in_use);
        abandoned.for_each(|leftover| drop(fs::remove_file(&leftover.path)));
        write(&mut new)?;
        let (file, bytes) = new.shared()?;
        let done = new.commit();
        // Also where only its durability is in doubt.
        if is_at(&file, &self.path) {
            (self.file, self.bytes) = (file, bytes);
        }
        done
    }
}

impl Drop for OwnedFile {
    fn drop(&mut self) {
        let is_empty = self.file.metadata().is_ok_and(|metadata| metadata.len() == 0);
        if is_empty && is_at(&self.file, &self.path) {
            // Nothing was written into what was made. Where it stays, it does no harm.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The file at `path`, to be read and written.
fn open_or_make(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    loop {
        let made = match fs::symlink_metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => make(path, options.clone()),
            _ => return regular::open(path, options).map(|(file, _)| file),
        };
        match made {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            made => return made.map_err(|error| failed(Kind::Create, path, "cannot make the file", &error)),
        }
    }
}

fn make(path: &Path, mut options: OpenOptions) -> io::Result<File> {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.create_new(true).open(path)
}

fn is_at(file: &File, path: &Path) -> bool {
    let here = file.metadata().map(|metadata| Stamp::of(&metadata));
    here.is_ok_and(|here| fs::metadata(path).is_ok_and(|there| Stamp::of(&there).is_same_file(&here)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::test_directory;

    #[test]
    fn a_file_has_one_owner_and_keeps_what_was_appended() {
        let directory = test_directory("owned");
        let path = directory.join("file");
        let mut owned = OwnedFile::open(&path).expect("made");
        assert!(owned.map().expect("readable").is_none());
        let refused = OwnedFile::open(&path).expect_err("it has an owner");
        assert_eq!(refused.kind(), Kind::Resources);
        assert!(refused.to_string().contains("file: another process is using it"), "{refused}");
        owned.append(b"one").expect("written");
        owned.replace(&mut |file| file.write(b"whole ")).expect("written");
        owned.append(b"two").expect("written");
        owned.append(b"of no use").expect("written");
        owned.cut(9);
        owned.append(b" three").expect("written");
        assert_eq!(&owned.map().expect("readable").expect("not empty")[..], b"whole two three");
        OwnedFile::open(&path).expect_err("it still has an owner");
        let error = owned.replace(&mut |_| Err(Error::data("no"))).expect_err("as said");
        assert_eq!((error.message(), fs::read(&path).expect("there")), ("no", b"whole two three".to_vec()));
        assert!(owned.is_at(&path) && !owned.is_at(&directory));
        drop(owned);
        drop(OwnedFile::open(&path).expect("it is free"));
        assert_eq!(fs::read_dir(&directory).expect("listed").count(), 1, "nothing is left beside it");
        fs::write(directory.join(".file.1-2.partial"), "of a killed process").expect("written");
        OwnedFile::open(&path).expect("free").replace(&mut |file| file.write(b"x")).expect("written");
        assert_eq!(fs::read_dir(&directory).expect("listed").count(), 1, "what a killed process left is gone");
        drop(OwnedFile::open(&directory.join("other")).expect("made"));
        assert!(!directory.join("other").exists(), "nothing was written into it");
        assert_eq!(OwnedFile::open(&directory).expect_err("a directory").kind(), Kind::NoInput);
        fs::remove_dir_all(directory).expect("clean up");
    }
}
