//! A process that reads what strangers made gives up what it does not need: to open other files than those it is about, to connect,
//! to start programs, to look into other processes. On Linux, as far as the kernel can; elsewhere and under emulation nothing is
//! given up. What is given up never comes back, and it holds for the calling thread and those that it starts later. For programs: a
//! library leaves its process alone.

#[cfg(target_os = "linux")]
pub(super) mod calls;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Which files stay open to a process.
#[derive(Debug, Clone, Default)]
pub struct Paths {
    /// Files and folders that may be read.
    pub read: Vec<PathBuf>,
    /// Folders in which files may be read, made, changed and removed.
    pub write: Vec<PathBuf>,
    /// Connections are taken at a socket that is bound already.
    pub accepts: bool,
}

/// What a process has given up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Confinement {
    /// To open other files than it is about.
    pub paths: bool,
    /// The system calls of networks, programs, other processes and the machine.
    pub calls: bool,
}

/// Set when the process has confined itself.
static DONE: OnceLock<Confinement> = OnceLock::new();

/// What this process has given up.
pub fn state() -> Confinement {
    DONE.get().copied().unwrap_or_default()
}

/// Gives up what can be given up here, before other threads are there, and remembers it for [`state`].
pub fn confine_process(paths: Option<&Paths>) -> Confinement {
    *DONE.get_or_init(|| confine(paths))
}

/// Gives up, for the calling thread and those that it starts, the system calls that no command needs; and all files but those of
/// `paths` and those that tell of the machine, where such are named.
#[cfg(target_os = "linux")]
pub fn confine(paths: Option<&Paths>) -> Confinement {
    if !super::sys::no_new_privileges() {
        return Confinement::default();
    }
    let accepts = paths.is_some_and(|paths| paths.accepts);
    let paths = paths.is_some_and(files::confine);
    Confinement { paths, calls: calls::filter(accepts).is_some_and(|filter| super::sys::filter_calls(&filter)) }
}

/// Nothing can be given up here.
#[cfg(not(target_os = "linux"))]
pub fn confine(_paths: Option<&Paths>) -> Confinement {
    Confinement::default()
}

/// The folders in which the file at `path` is or will be: where the path leads, and where a link there leads.
pub fn folders_of(path: &Path) -> Vec<PathBuf> {
    let folder = |path: &Path| match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
        _ => PathBuf::from("."),
    };
    let resolved = std::fs::canonicalize(path).ok();
    resolved.iter().map(PathBuf::as_path).chain([path]).map(folder).collect()
}

#[cfg(target_os = "linux")]
mod files {
    use super::Paths;
    use crate::os::sys;
    use std::fs::OpenOptions;
    use std::os::unix::fs::OpenOptionsExt;
    use std::path::Path;

    // Rights, as Landlock numbers them.
    const WRITE_FILE: u64 = 1 << 1;
    const READ_FILE: u64 = 1 << 2;
    const READ_DIR: u64 = 1 << 3;
    const REMOVE_FILE: u64 = 1 << 5;
    const MAKE_DIR: u64 = 1 << 7;
    const MAKE_REG: u64 = 1 << 8;
    /// To cut a file: with version 3.
    const TRUNCATE: u64 = 1 << 14;
    /// All of version 1.
    const FIRST: u64 = (1 << 13) - 1;
    /// Those of a file; the others are of folders.
    const OF_FILES: u64 = WRITE_FILE | READ_FILE | TRUNCATE;

    /// What the machine, its time and its random numbers are known by.
    const SYSTEM: [&str; 5] = ["/proc", "/sys", "/etc/localtime", "/usr/share/zoneinfo", "/dev/urandom"];
    /// Where output goes nowhere, and where a terminal is.
    const DEVICES: [&str; 2] = ["/dev/null", "/dev/tty"];

    const READ: u64 = READ_FILE | READ_DIR;
    const WRITE: u64 = READ | WRITE_FILE | REMOVE_FILE | MAKE_DIR | MAKE_REG | TRUNCATE;

    /// Leaves all other files alone; false where the kernel does not see to it, or where a rule cannot be made: better no bound than
    /// a command without its files.
    pub(super) fn confine(paths: &Paths) -> bool {
        restricted(paths).is_some()
    }

    fn restricted(paths: &Paths) -> Option<()> {
        let handled = if sys::landlock_version()? < 3 { FIRST } else { FIRST | TRUNCATE };
        let rules = sys::landlock_rules(handled)?;
        let allow = |path: &Path, rights: u64| {
            let place = match OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path) {
                Ok(place) => place,
                // Too few descriptors, too little memory.
                Err(error) if [libc::EMFILE, libc::ENFILE, libc::ENOMEM].map(Some).contains(&error.raw_os_error()) => {
                    return None;
                }
                // What is not there needs no rule.
                Err(_) => return Some(()),
            };
            let is_folder = place.metadata().ok()?.is_dir();
            sys::landlock_allow(&rules, &place, handled & if is_folder { rights } else { rights & OF_FILES });
            Some(())
        };
        SYSTEM.iter().try_for_each(|path| allow(Path::new(path), READ))?;
        DEVICES.iter().try_for_each(|path| allow(Path::new(path), READ_FILE | WRITE_FILE))?;
        paths.read.iter().try_for_each(|path| allow(path, READ))?;
        paths.write.iter().try_for_each(|path| allow(path, WRITE))?;
        sys::landlock_restrict(&rules).then_some(())
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::fs;
    use std::io::ErrorKind::PermissionDenied;
    use std::net::{TcpListener, UdpSocket};
    use std::process::Command;

    /// In a thread of its own, which alone is confined, and one that it starts.
    #[test]
    fn a_confined_thread_is_left_what_was_named() {
        let folder = crate::os::test_directory("sandbox");
        let (own, other) = (folder.join("own"), folder.join("other"));
        for path in [&own, &other] {
            fs::create_dir_all(path).expect("a folder");
            fs::write(path.join("file"), "text").expect("a file");
        }
        let read = folder.join("named");
        fs::write(&read, "text").expect("a file");
        let paths =
            Paths { read: vec![read.clone(), folder.join("nothing")], write: vec![own.clone()], accepts: false };
        let tried = move || {
            let refused = |result: std::io::Result<()>| result.is_err_and(|error| error.kind() == PermissionDenied);
            let files = [
                refused(fs::read(other.join("file")).map(drop)),
                refused(fs::write(other.join("new"), "x")),
                refused(fs::remove_file(other.join("file"))),
                refused(fs::rename(own.join("file"), other.join("moved"))),
                refused(fs::write(&read, "changed")),
                refused(fs::read("/etc/passwd").map(drop)),
                refused(fs::read_dir("/").map(drop)),
            ];
            assert!(
                fs::read(&read).is_ok() && fs::read("/proc/self/status").is_ok() && fs::read("/proc/cpuinfo").is_ok()
            );
            assert!(fs::write(own.join("new"), "x").is_ok() && fs::rename(own.join("new"), own.join("newer")).is_ok());
            assert!(fs::remove_file(own.join("newer")).is_ok() && fs::read_dir(&own).is_ok());
            let calls = [
                refused(TcpListener::bind("127.0.0.1:0").map(drop)),
                refused(UdpSocket::bind("127.0.0.1:0").map(drop)),
                refused(std::os::unix::net::UnixDatagram::unbound().map(drop)),
                refused(Command::new("/bin/true").status().map(drop)),
            ];
            // Editing of lines has one.
            assert!(std::os::unix::net::UnixStream::pair().is_ok());
            (files, calls)
        };
        let confined = std::thread::spawn(move || {
            let confinement = confine(Some(&paths));
            let here = tried.clone()();
            (confinement, here, std::thread::spawn(tried).join().expect("no panic"))
        });
        let (confinement, here, below) = confined.join().expect("no panic");
        assert_eq!(here, below);
        assert_eq!(here.0, [confinement.paths; 7], "{confinement:?}");
        assert_eq!(here.1, [confinement.calls; 4], "{confinement:?}");
        // Nobody else is.
        assert!(fs::read_dir("/").is_ok() && UdpSocket::bind("127.0.0.1:0").is_ok());
        fs::remove_dir_all(&folder).expect("clean up");
    }

    #[test]
    fn a_link_leads_to_two_folders() {
        let folder = crate::os::test_directory("sandbox-links");
        fs::create_dir_all(folder.join("there")).expect("a folder");
        fs::write(folder.join("there/file"), "text").expect("a file");
        std::os::unix::fs::symlink("there/file", folder.join("link")).expect("a link");
        let there = fs::canonicalize(folder.join("there")).expect("a path");
        assert_eq!(folders_of(&folder.join("link")), [there, folder.clone()]);
        assert_eq!(folders_of(Path::new("new.whit")), [PathBuf::from(".")]);
        fs::remove_dir_all(&folder).expect("clean up");
    }
}
