//! Memory pressure, as Linux tells it (PSI): a process that wants to know sleeps until programs wait for memory.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Told where programs waited for memory for 0.2 of 2 seconds. Whoever is not root may only ask for windows of whole 2 seconds.
const TRIGGER: &[u8] = b"some 200000 2000000\0";

/// Tells of memory pressure.
#[derive(Debug)]
pub struct Pressure {
    file: File,
}

impl Pressure {
    /// Has the kernel tell of pressure in this process's control group, or where that cannot be asked on the whole machine; `None`
    /// where neither can.
    pub fn watch() -> Option<Pressure> {
        Self::at(Path::new("/"))
    }

    fn at(root: &Path) -> Option<Pressure> {
        let groups = super::cgroup::folders(root, "memory");
        let own = groups.first().map(|folder| folder.join("memory.pressure"));
        let all: PathBuf = root.join("proc/pressure/memory");
        own.into_iter().chain([all]).find_map(|path| {
            let mut file = OpenOptions::new().read(true).write(true).open(path).ok()?;
            file.write_all(TRIGGER).ok()?;
            Some(Pressure { file })
        })
    }

    /// Sleeps until there is pressure, at most once in 2 seconds; false where it is told no more.
    pub fn wait(&self) -> bool {
        super::sys::wait_for_pressure(&self.file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::fake::Machine;

    #[test]
    fn the_own_group_is_asked_before_the_machine() {
        let machine = Machine::new("pressure").file("proc/self/cgroup", "0::/a\n").file("proc/pressure/memory", "");
        let asked = |path: &str| std::fs::read(machine.root().join(path)).expect("a file");
        assert!(Pressure::at(machine.root()).is_some());
        assert_eq!(asked("proc/pressure/memory"), TRIGGER);
        let machine = machine.file("sys/fs/cgroup/a/memory.pressure", "").file("proc/pressure/memory", "");
        assert!(Pressure::at(machine.root()).is_some());
        assert_eq!(std::fs::read(machine.root().join("sys/fs/cgroup/a/memory.pressure")).expect("a file"), TRIGGER);
        assert_eq!(std::fs::read(machine.root().join("proc/pressure/memory")).expect("a file"), b"");
        assert!(Pressure::at(Machine::new("no-pressure").root()).is_none());
    }
}
