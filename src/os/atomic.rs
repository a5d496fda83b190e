//! Files that appear whole or not at all.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::{failed, sys};
use crate::error::{Error, Kind, Remedy, Result};

const BUFFER_BYTES: usize = 1 << 20;
/// Names tried before a directory full of partial files of this process is given up.
const MAX_ATTEMPTS: u32 = 1000;

/// A file being written beside its target, under a name of its own. [`AtomicFile::commit`] gives it the target's
/// name; dropped before that it is removed. The target is the whole old file or the whole new one at any moment.
pub struct AtomicFile {
    file: File,
    partial: PathBuf,
    target: PathBuf,
    buffer: Vec<u8>,
    written: u64,
    committed: bool,
    force: bool,
    leftovers: Vec<Leftover>,
}

/// A partial file that was found beside the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// Where it is.
    pub path: PathBuf,
    /// A running program is still writing it; otherwise its program was killed and it can be removed.
    pub in_use: bool,
}

/// Who may read a new file.
#[derive(Clone, Copy)]
enum Access {
    /// Whom the process's mask lets.
    Usual,
    /// Its owner alone.
    Owner,
}

impl Access {
    fn options(self) -> OpenOptions {
        let options = OpenOptions::new();
        #[cfg(unix)]
        if let Access::Owner = self {
            let mut options = options;
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            return options;
        }
        options
    }
}

impl AtomicFile {
    /// Begins to write `target`, an existing file only with `force`.
    pub fn create(target: impl AsRef<Path>, force: bool) -> Result<AtomicFile> {
        Self::create_as(target.as_ref(), force, Access::Usual)
    }

    /// Begins to write `target`, which replaces an existing file and only its owner can read.
    pub fn create_private(target: impl AsRef<Path>) -> Result<AtomicFile> {
        Self::create_as(target.as_ref(), true, Access::Owner)
    }

    fn create_as(target: &Path, force: bool, access: Access) -> Result<AtomicFile> {
        let target = resolve(target)?;
        check_target(&target, force)?;
        let (Some(name), Some(directory)) = (target.file_name(), target.parent()) else {
            let error = Error::new(Kind::Create, "this is not the name of a file");
            return Err(error.in_file(target.display().to_string()));
        };
        let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
        let leftovers = find_leftovers(directory, name);
        let (file, partial) = create_partial(directory, name, &target, access)?;
        let buffer = Vec::with_capacity(BUFFER_BYTES);
        let made = AtomicFile { file, partial, target, buffer, written: 0, committed: false, force, leftovers };
        // Others see by the lock that this file has a living owner; without locks they cannot, which does no harm.
        let _ = made.file.try_lock();
        Ok(made)
    }

    /// The path that the file will have.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// The path that the file has while it is written.
    pub fn partial(&self) -> &Path {
        &self.partial
    }

    /// Partial files of the same target that others left or are writing.
    pub fn leftovers(&self) -> &[Leftover] {
        &self.leftovers
    }

    /// Reserves `bytes` for the file, or says how much space is missing. The file then has that length, in zeros.
    pub fn reserve(&mut self, bytes: u64) -> Result<()> {
        if let Some(free) = sys::free_bytes(&self.file)
            && free < bytes
        {
            let message = format!("{bytes} bytes are needed, {free} are free on this disk: {} missing", bytes - free);
            let error = Error::new(Kind::Create, message).in_file(self.target.display().to_string());
            return Err(error.hint("free some space or write to another disk"));
        }
        sys::allocate(&self.file, bytes)
            .map_err(|error| failed(Kind::Create, &self.target, &format!("cannot reserve {bytes} bytes"), &error))
    }

    /// Goes to byte `offset`; what follows is written there.
    pub fn seek(&mut self, offset: u64) -> Result<()> {
        self.flush()?;
        self.file.seek(SeekFrom::Start(offset)).map_err(|error| self.failed("cannot write", &error))?;
        self.written = offset;
        Ok(())
    }

    /// Writes `bytes` at the current place.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if self.buffer.len() + bytes.len() > BUFFER_BYTES {
            self.flush()?;
        }
        if bytes.len() >= BUFFER_BYTES {
            self.file.write_all(bytes).map_err(|error| self.failed("cannot write", &error))?;
            self.written += bytes.len() as u64;
        } else {
            self.buffer.extend_from_slice(bytes);
        }
        Ok(())
    }

    /// Gives the file the target's name without waiting for the disk: after a power loss it may be damaged, and its
    /// reader must be able to notice that.
    pub fn commit_unsynced(mut self) -> Result<()> {
        self.flush()?;
        self.take_name()
    }

    fn take_name(&mut self) -> Result<()> {
        check_target(&self.target, self.force)?;
        fs::rename(&self.partial, &self.target)
            .map_err(|error| failed(Kind::Create, &self.target, "cannot take its name", &error))?;
        self.committed = true;
        Ok(())
    }

    /// Makes the file durable and gives it the target's name.
    pub fn commit(mut self) -> Result<()> {
        self.flush()?;
        self.file.sync_all().map_err(|error| self.failed("cannot store on the disk", &error))?;
        self.take_name()?;
        sync_directory(&self.target).map_err(|error| self.failed("cannot store its name on the disk", &error))
    }

    /// The file with all that was written, and how much that is, for who owns it once it has its name. It stays locked.
    pub(super) fn shared(&mut self) -> Result<(File, u64)> {
        self.flush()?;
        let file = self.file.try_clone().map_err(|error| self.failed("cannot share", &error))?;
        Ok((file, self.written))
    }

    /// Hands all that was written to the system.
    pub fn flush(&mut self) -> Result<()> {
        self.file.write_all(&self.buffer).map_err(|error| self.failed("cannot write", &error))?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    fn failed(&self, action: &str, error: &io::Error) -> Error {
        failed(Kind::Io, &self.target, action, error).at(self.written)
    }
}

impl core::fmt::Debug for AtomicFile {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("AtomicFile")
            .field("target", &self.target)
            .field("written", &self.written)
            .finish_non_exhaustive()
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if !self.committed {
            // The error cannot be returned here, and the next run reports what is left.
            let _ = fs::remove_file(&self.partial);
        }
    }
}

/// The file that `target` leads to through links: the link stays, its file is replaced.
fn resolve(target: &Path) -> Result<PathBuf> {
    match fs::symlink_metadata(target) {
        Ok(metadata) if metadata.is_symlink() => {
            fs::canonicalize(target).map_err(|error| failed(Kind::Create, target, "cannot follow the link", &error))
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed(Kind::Create, target, "cannot look at", &error))
        }
        _ => Ok(target.to_owned()),
    }
}

fn check_target(target: &Path, force: bool) -> Result<()> {
    let named = |error: Error| error.in_file(target.display().to_string());
    match fs::metadata(target) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(Kind::Create, target, "cannot look at", &error)),
        Ok(metadata) => match super::type_name(metadata.file_type()) {
            Some(what) => Err(named(Error::new(Kind::Create, format!("this is {what}, which is never replaced")))),
            None if force => Ok(()),
            None => {
                let error = Error::new(Kind::Create, "the file exists");
                Err(named(error.remedy(Remedy::Replace)))
            }
        },
    }
}

/// `.NAME.PID.partial`, the first of that kind that is free.
fn create_partial(directory: &Path, name: &OsStr, target: &Path, access: Access) -> Result<(File, PathBuf)> {
    let process = std::process::id();
    let mut attempt = 0;
    loop {
        let mut partial = OsString::from(".");
        partial.push(name);
        match attempt {
            0 => partial.push(format!(".{process}.partial")),
            n => partial.push(format!(".{process}-{n}.partial")),
        }
        let path = directory.join(partial);
        match access.options().write(true).create_new(true).open(&path) {
            Ok(file) => return Ok((file, path)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempt < MAX_ATTEMPTS => attempt += 1,
            Err(error) => return Err(failed(Kind::Create, target, "cannot create a file beside it", &error)),
        }
    }
}

fn find_leftovers(directory: &Path, name: &OsStr) -> Vec<Leftover> {
    let mut prefix = OsString::from(".");
    prefix.push(name);
    prefix.push(".");
    let is_partial = |file: &OsStr| {
        let between = file.as_encoded_bytes().strip_prefix(prefix.as_encoded_bytes());
        let process = between.and_then(|rest| rest.strip_suffix(b".partial"));
        process.is_some_and(|id| !id.is_empty() && id.iter().all(|b| b.is_ascii_digit() || *b == b'-'))
    };
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut found: Vec<Leftover> = entries
        .filter_map(|entry| entry.ok())
        .filter(|entry| is_partial(&entry.file_name()) && entry.file_type().is_ok_and(|kind| kind.is_file()))
        .map(|entry| Leftover { in_use: is_locked(&entry.path()), path: entry.path() })
        .collect();
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// Whether the file at `path` is an unfinished one of a target whose name is one of `ours`, and its writer is gone.
pub(super) fn is_abandoned(path: &Path, ours: &dyn Fn(&str) -> bool) -> bool {
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let target = name.strip_prefix('.').and_then(|rest| rest.strip_suffix(".partial"));
    target.and_then(|target| target.rsplit_once('.')).is_some_and(|(target, _)| ours(target)) && !is_locked(path)
}

fn is_locked(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
}

/// Makes the new name of `file` durable.
fn sync_directory(file: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        let directory = file.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(directory)?.sync_all()
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        Ok(())
    }
}
