//! A folder of files that can be lost: what a cache keeps.

use super::atomic::{self, AtomicFile};
use super::{failed, regular};
use crate::error::{Error, Kind, Result};
use crate::room;
use std::fs::{self, DirBuilder, File, Metadata};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// An unfinished file that nobody has locked or written to for so long is not about to be locked.
const ABANDONED: Duration = Duration::from_secs(60);

/// A folder whose files appear whole and may go at any time, by this process or another one.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
}

/// A file of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// When it was written or [touched](Folder::touch) last.
    pub used: SystemTime,
}

impl Folder {
    /// The folder at `path`, made for its owner alone where it does not exist. Refused where others can write to it: what they put
    /// there would be taken for what was kept.
    pub fn open(path: &Path) -> Result<Folder> {
        if !path.is_dir() {
            let mut builder = DirBuilder::new();
            builder.recursive(true);
            #[cfg(unix)]
            std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
            builder.create(path).map_err(|error| failed(Kind::Create, path, "cannot make the folder", &error))?;
        }
        check_rights(path)?;
        Ok(Folder { path: path.to_owned() })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is a file called `name`.
    pub fn has(&self, name: &str) -> bool {
        self.path.join(name).is_file()
    }

    /// The bytes of the file called `name`, which has no more than `most`.
    pub fn read(&self, name: &str, most: usize) -> Result<Vec<u8>> {
        let path = self.path.join(name);
        let mut options = File::options();
        options.read(true);
        let (mut file, metadata) = regular::open(&path, options)?;
        let bytes = usize::try_from(metadata.len()).ok().filter(|bytes| *bytes <= most);
        let Some(bytes) = bytes else {
            let message = format!("{} bytes where there are {most} at most", metadata.len());
            return Err(Error::data(message).in_file(path.display().to_string()));
        };
        let mut found = Vec::new();
        if !room::reserve(&mut found, bytes) {
            let error = Error::new(Kind::Resources, format!("no memory for its {bytes} bytes"));
            return Err(error.in_file(path.display().to_string()));
        }
        found.resize(bytes, 0);
        file.read_exact(&mut found).map_err(|error| failed(Kind::Io, &path, "cannot read", &error))?;
        Ok(found)
    }

    /// The first bytes of the file called `name`, where it has so many.
    pub fn head(&self, name: &str) -> Option<[u8; 8]> {
        let mut head = [0; 8];
        File::open(self.path.join(name)).and_then(|mut file| file.read_exact(&mut head)).ok()?;
        Some(head)
    }

    /// Begins a file called `name`.
    pub fn create(&self, name: &str) -> Result<AtomicFile> {
        AtomicFile::create_private(self.path.join(name))
    }

    /// Removes a file, if it is there.
    pub fn remove(&self, name: &str) {
        // Another process may have been faster, and a file that stays is found again.
        let _ = fs::remove_file(self.path.join(name));
    }

    /// Notes that a file has been of use now.
    pub fn touch(&self, name: &str) {
        // A file that cannot be touched only goes earlier.
        let _ = File::options()
            .append(true)
            .open(self.path.join(name))
            .and_then(|file| file.set_modified(SystemTime::now()));
    }

    /// The files whose names are `ours`; unfinished ones of such names whose writers are gone are removed. Others may keep files
    /// in the same folder, which are never touched.
    pub fn entries(&self, ours: &dyn Fn(&str) -> bool) -> Result<Vec<Entry>> {
        let listed = fs::read_dir(&self.path).map_err(|error| failed(Kind::Io, &self.path, "cannot list", &error))?;
        let mut found = Vec::new();
        for entry in listed.filter_map(|entry| entry.ok()) {
            let Ok(name) = entry.file_name().into_string() else { continue };
            let Some(metadata) = entry.metadata().ok().filter(Metadata::is_file) else { continue };
            let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            if used.elapsed().is_ok_and(|age| age > ABANDONED) && atomic::is_abandoned(&entry.path(), ours) {
                self.remove(&name);
            } else if ours(&name) {
                found.push(Entry { name, bytes: metadata.len(), used });
            }
        }
        Ok(found)
    }
}

#[cfg(unix)]
fn check_rights(path: &Path) -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    const WRITE_OF_OTHERS: u32 = 0o022;
    let metadata = fs::metadata(path).map_err(|error| failed(Kind::Create, path, "cannot look at", &error))?;
    let is_ours = metadata.uid() == super::sys::user() || metadata.uid() == 0;
    if is_ours && metadata.mode() & WRITE_OF_OTHERS == 0 {
        return Ok(());
    }
    let message = "others can write to this folder, and what is kept in it could be theirs";
    let error = Error::new(Kind::Create, message);
    Err(error.in_file(path.display().to_string()).hint("chmod go-w takes that right from them; or name another folder"))
}

#[cfg(not(unix))]
fn check_rights(_path: &Path) -> Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::test_directory;

    #[test]
    fn files_come_whole_and_go() {
        let path = test_directory("folder").join("deep/er");
        let folder = Folder::open(&path).expect("made");
        let mut file = folder.create("a.kv").expect("a file");
        file.write(b"text").expect("written");
        assert!(!folder.has("a.kv"), "not before it is whole");
        file.commit_unsynced().expect("whole");
        assert_eq!(folder.read("a.kv", 4).expect("there"), b"text");
        assert!(folder.read("a.kv", 3).is_err_and(|error| error.kind() == Kind::Data));
        assert!(folder.read("b.kv", 3).is_err_and(|error| error.kind() == Kind::NoInput));
        let killed = path.join(".b.kv.1.partial");
        fs::write(&killed, "of a killed writer").expect("written");
        let age = |file: &Path| {
            let long_ago = SystemTime::now() - 2 * ABANDONED;
            File::options().append(true).open(file).and_then(|file| file.set_modified(long_ago)).expect("aged");
        };
        let writing = folder.create("c.kv").expect("a file");
        fs::write(path.join("foreign"), "not ours").expect("written");
        let names = |folder: &Folder| -> Vec<String> {
            folder.entries(&|name| name.ends_with(".kv")).expect("listed").into_iter().map(|entry| entry.name).collect()
        };
        assert_eq!(names(&folder), ["a.kv"]);
        assert!(killed.exists(), "its writer may be about to lock it");
        age(&killed);
        age(writing.partial());
        assert_eq!(names(&folder), ["a.kv"]);
        assert!(!killed.exists() && writing.partial().exists() && path.join("foreign").exists());
        let used = |folder: &Folder| folder.entries(&|name| name == "a.kv").expect("listed")[0].used;
        let before = used(&folder);
        folder.touch("a.kv");
        assert!(used(&folder) >= before);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
            assert_eq!((mode(&path), mode(&path.join("a.kv"))), (0o700, 0o600));
        }
        folder.remove("a.kv");
        folder.remove("a.kv");
        assert!(names(&folder).is_empty());
    }

    /// L-21
    #[cfg(unix)]
    #[test]
    fn a_folder_that_others_can_write_to_is_refused() {
        use std::os::unix::fs::{PermissionsExt, chown};
        let path = test_directory("folder-rights");
        let set = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("its owner");
        for mode in [0o777, 0o1777, 0o775, 0o757, 0o720, 0o702] {
            set(mode);
            let error = Folder::open(&path).expect_err("others can write to it").to_string();
            assert!(error.contains("others can write to this folder") && error.contains("chmod go-w"), "{error}");
        }
        for mode in [0o755, 0o700, 0o750] {
            set(mode);
            Folder::open(&path).expect("nobody else can");
        }
        // Whoever may give it away.
        if chown(&path, Some(12_345), None).is_ok() {
            Folder::open(&path).expect_err("its owner can write to it");
        }
        fs::remove_dir_all(&path).expect("clean up");
    }
}
