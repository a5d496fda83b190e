//! Files mapped for reading.
#![allow(unsafe_code)]

use core::ops::{Deref, Range};
use std::fs::{self, File, Metadata, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::{failed, fault, regular};
use crate::error::{Error, Kind, Result};

/// A regular file, mapped for reading: its pages are read when they are touched and given back when memory is short.
#[derive(Debug)]
pub struct Mapping {
    /// Goes before the map does.
    watch: Option<fault::Watch>,
    map: memmap2::Mmap,
    file: File,
    path: PathBuf,
    stamp: Stamp,
    /// So many of the first bytes are a copy.
    owned: usize,
}

/// What distinguishes one state of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: Option<SystemTime>,
}

impl Mapping {
    /// Parts of an [`identity`](Mapping::identity).
    pub const IDENTITY_PARTS: usize = 8;

    /// Maps the file at `path`. Directories, pipes, sockets and devices are refused by name, without waiting for them.
    pub fn open(path: impl AsRef<Path>) -> Result<Mapping> {
        let path = path.as_ref();
        let mut options = OpenOptions::new();
        options.read(true);
        let (file, metadata) = regular::open(path, options)?;
        let stamp = Stamp::of(&metadata);
        if stamp.bytes == 0 {
            let error = Error::data("the file is empty").in_file(path.display().to_string());
            return Err(error.hint("copy it again"));
        }
        if isize::try_from(stamp.bytes).is_err() {
            let message = format!("{} bytes cannot be mapped by a {}-bit program", stamp.bytes, usize::BITS);
            let error = Error::new(Kind::Resources, message).in_file(path.display().to_string());
            return Err(error.hint("use a 64-bit system"));
        }
        // SAFETY: the map is read-only, so nothing in this process writes to it, and it lives as long as its slice. That
        // nobody else changes or cuts the file meanwhile is what every mapping asks of its user; `check_unchanged`
        // finds it afterwards. Should it happen, it changes numbers, not what memory is read: weights are plain
        // numbers of which every bit pattern is valid, and whatever is text, an index or a length is a copy (`own`).
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(|error| failed(Kind::Io, path, "cannot map", &error))?;
        Ok(Mapping { watch: fault::watch(&map, path), map, file, path: path.to_owned(), stamp, owned: 0 })
    }

    /// Has the first `bytes` be a copy in memory, which no longer follows the file: what is text, a length or a place must stay as
    /// it is when it is checked. The rest of the last page is copied, too.
    #[cfg(unix)]
    pub fn own(&mut self, bytes: usize) -> Result<()> {
        use std::os::unix::fs::FileExt;
        let page = super::sys::page_bytes().and_then(|n| usize::try_from(n).ok()).unwrap_or(1 << 16);
        let bytes = bytes.min(self.map.len()).next_multiple_of(page);
        if bytes == 0 {
            return Ok(());
        }
        let name = || self.path.display().to_string();
        let (rights, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED);
        let start = self.map.as_ptr().cast_mut();
        // SAFETY: the pages are the first of the map, which has as many, and nobody borrows them now. The new ones are as long-lived:
        // the map goes page by page, whatever lies in them. Should the call fail, the map goes with this mapping, unread.
        let placed = unsafe { libc::mmap(start.cast(), bytes, rights, flags, -1, 0) };
        if placed == libc::MAP_FAILED {
            let error = Error::new(Kind::Resources, format!("no memory for its first {bytes} bytes"));
            return Err(error.in_file(name()));
        }
        let n = bytes.min(self.map.len());
        // SAFETY: the pages are new, hold zeros, may be written to, and nobody else knows them.
        let copy = unsafe { core::slice::from_raw_parts_mut(start, n) };
        self.file.read_exact_at(copy, 0).map_err(|error| failed(Kind::Io, &self.path, "cannot read", &error))?;
        // SAFETY: the pages are those of before, to which nobody holds a mutable reference any more.
        unsafe { libc::mprotect(start.cast(), bytes, libc::PROT_READ) };
        self.owned = bytes;
        Ok(())
    }

    /// Has a page that cannot be read any more, where the file was cut or its storage failed, be a page of zeros, instead of the
    /// end of the program. For those who ask [`check_unchanged`](Self::check_unchanged) before they believe what came of the bytes.
    pub fn outlive_faults(&self) {
        self.watch.iter().for_each(fault::Watch::outlive);
    }

    /// Whether there is such a page.
    pub fn is_broken(&self) -> bool {
        self.watch.as_ref().is_some_and(fault::Watch::is_broken)
    }

    /// Nothing: here a mapped file cannot be changed by others.
    #[cfg(not(unix))]
    pub fn own(&mut self, _bytes: usize) -> Result<()> {
        Ok(())
    }

    /// The path the file was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The state of the file when it was opened.
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// What names this state of the file on this machine until it starts anew: the start, then device, inode, length and times of
    /// the last changes, in hexadecimal, with a dash between each two. `None` where the system does not tell all of them, and where
    /// the file was changed so shortly before that the next change could have the same time.
    pub fn identity(&self) -> Option<String> {
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            const SETTLED: u64 = 2;
            let start = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
            let start: String = start.chars().filter(char::is_ascii_hexdigit).collect();
            let m = self.file.metadata().ok()?;
            let changed = SystemTime::UNIX_EPOCH + core::time::Duration::from_secs(u64::try_from(m.ctime()).ok()?);
            if start.is_empty() || changed.elapsed().ok()?.as_secs() <= SETTLED {
                return None;
            }
            let times = [m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec()];
            let [modified, modified_nano, changed, changed_nano] = times;
            let (device, inode, bytes) = (m.dev(), m.ino(), m.len());
            Some(format!(
                "{start}-{device:x}-{inode:x}-{bytes:x}-{modified:x}-{modified_nano:x}-{changed:x}-{changed_nano:x}"
            ))
        }
        #[cfg(not(unix))]
        None
    }

    /// Whether `path` leads to this file, by whatever name or link.
    pub fn is_at(&self, path: &Path) -> bool {
        #[cfg(unix)]
        return fs::metadata(path).is_ok_and(|metadata| Stamp::of(&metadata).is_same_file(&self.stamp));
        #[cfg(not(unix))]
        return fs::canonicalize(path).is_ok_and(|there| fs::canonicalize(&self.path).is_ok_and(|here| here == there));
    }

    /// Has the system bring in pages only as they are asked for.
    pub(super) fn read_in_order(&self) {
        #[cfg(unix)]
        // Advice that is not taken costs speed, not truth.
        let _ = self.map.advise(memmap2::Advice::Random);
    }

    /// Asks the storage for `bytes` of the file, without waiting for them.
    pub(super) fn ask(&self, bytes: Range<usize>) {
        super::sys::will_need(&self.file, bytes.start as u64, bytes.len() as u64);
    }

    /// Waits until `bytes` are in memory.
    pub(super) fn touch(&self, bytes: Range<usize>) {
        const PAGE: usize = 4096;
        for at in bytes.clone().step_by(PAGE) {
            core::hint::black_box(self.map[at]);
        }
        core::hint::black_box(self.map[bytes].last());
    }

    /// Gives the whole pages of `bytes` back to the system, which reads them again should they be touched again.
    pub fn give_back(&self, bytes: Range<usize>) {
        let page = super::sys::page_bytes().and_then(|n| usize::try_from(n).ok()).unwrap_or(1 << 16);
        let (start, end) = (bytes.start.max(self.owned).next_multiple_of(page), bytes.end / page * page);
        if start >= end {
            return;
        }
        #[cfg(unix)]
        // SAFETY: from here on the map is of a file, read-only and never written to, so a page that is dropped comes back with the same
        // content; that nobody else changes the file is what every mapping asks (see `open`).
        let _ = unsafe { self.map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, start, end - start) };
        super::sys::done_with(&self.file, start as u64, (end - start) as u64);
    }

    /// Refuses to go on where the file was changed or cut since it was opened. A cut file reads as zeros up to the
    /// end of its last page, so this is asked before results are believed.
    pub fn check_unchanged(&self) -> Result<()> {
        let now = self.file.metadata().map_err(|error| failed(Kind::Io, &self.path, "cannot look at", &error))?;
        let now = Stamp::of(&now);
        let message = match now.bytes.checked_sub(self.stamp.bytes) {
            Some(0) if now == self.stamp && !self.is_broken() => return Ok(()),
            Some(0) if now == self.stamp => "its storage failed while it was in use".to_owned(),
            Some(0) => "the file was changed while it was in use".to_owned(),
            _ => format!("the file went from {} to {} bytes while it was in use", self.stamp.bytes, now.bytes),
        };
        Err(Error::new(Kind::Io, message).in_file(self.path.display().to_string()).hint("start again"))
    }
}

impl Deref for Mapping {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map
    }
}

impl Stamp {
    /// Whether both are of one file; told nowhere but on Unix.
    pub(super) fn is_same_file(&self, other: &Stamp) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }

    pub(super) fn of(metadata: &Metadata) -> Stamp {
        #[cfg(unix)]
        let (device, inode) = {
            use std::os::unix::fs::MetadataExt;
            (metadata.dev(), metadata.ino())
        };
        #[cfg(not(unix))]
        let (device, inode) = (0, 0);
        Stamp { device, inode, bytes: metadata.len(), modified: metadata.modified().ok() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::test_directory;

    #[test]
    fn a_mapped_file_reads_as_written_and_its_changes_are_found() {
        let directory = test_directory("map");
        let path = directory.join("file");
        fs::write(&path, vec![7; 5000]).expect("write");
        let mapping = Mapping::open(&path).expect("regular file");
        assert_eq!(&mapping[..], &[7; 5000]);
        mapping.check_unchanged().expect("unchanged");
        // Longer, not shorter: the test does not touch pages that are gone.
        fs::write(&path, vec![7; 6000]).expect("write");
        let error = mapping.check_unchanged().expect_err("changed");
        assert!(error.to_string().contains("from 5000 to 6000"), "{error}");
        assert_eq!(error.kind(), Kind::Io);
        fs::remove_dir_all(directory).expect("clean up");
    }

    #[cfg(unix)]
    #[test]
    fn what_is_owned_does_not_follow_the_file() {
        let directory = test_directory("map-own");
        let path = directory.join("file");
        let page = crate::os::sys::page_bytes().expect("a page") as usize;
        for (length, owned) in [(3 * page, 2 * page), (3 * page, page + 1), (3 * page - 9, 3 * page), (100, 7)] {
            let content: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
            fs::write(&path, &content).expect("written");
            let mut mapping = Mapping::open(&path).expect("regular file");
            mapping.own(owned).expect("memory");
            assert!(mapping[..] == content);
            let kept = owned.next_multiple_of(page).min(length);
            let file = File::options().write(true).open(&path).expect("the file");
            std::os::unix::fs::FileExt::write_all_at(&file, &vec![255; length], 0).expect("written over");
            assert!(mapping[..kept] == content[..kept] && mapping[kept..].iter().all(|byte| *byte == 255));
            file.set_len(0).expect("cut");
            assert!(mapping[..kept] == content[..kept]);
            mapping.check_unchanged().expect_err("changed");
            mapping.give_back(0..kept);
            assert!(mapping[..kept] == content[..kept]);
        }
        fs::remove_dir_all(directory).expect("clean up");
    }
}
