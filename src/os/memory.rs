//! Memory of this process and of the machine, in bytes; `None` where the system does not report it.

use super::cgroup;
use std::fs;
use std::path::Path;

/// Private memory that is resident now: heap, stacks, written pages.
pub fn private_bytes() -> Option<u64> {
    kib_field(&own_status()?, "RssAnon:")
}

/// Pages of mapped files that are resident now; the system takes them back when memory is short.
pub fn mapped_bytes() -> Option<u64> {
    kib_field(&own_status()?, "RssFile:")
}

/// Addresses in use now: mapped files, heap, stacks, and what is reserved.
pub fn address_bytes() -> Option<u64> {
    kib_field(&own_status()?, "VmSize:")
}

/// Memory of the machine.
pub fn total_bytes() -> Option<u64> {
    kib_field(&fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:")
}

/// Bytes of a page, the unit in which memory is mapped.
pub fn page_bytes() -> Option<u64> {
    super::sys::page_bytes()
}

/// Memory that programs can still get without swapping.
pub fn available_bytes() -> Option<u64> {
    kib_field(&fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")
}

/// The smallest memory limit of the control groups that this process is in.
pub fn cgroup_limit_bytes() -> Option<u64> {
    cgroup::folders(Path::new("/"), "memory").iter().filter_map(|folder| group_limit(folder)).min()
}

/// What bounds the memory that a program can still get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// What the machine has left.
    Machine,
    /// The limit of a control group.
    Group,
    /// The limit of the process's addresses (`ulimit -v`), which mapped files and stacks count towards.
    Addresses,
    /// What a system that never promises more than it has (`vm.overcommit_memory=2`) can still promise.
    Promises,
}

/// Memory that this process can still get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// How much of it.
    pub bytes: u64,
    /// What bounds it.
    pub bound: Bound,
}

/// The memory that this process can still get, by each bound that the system reports.
pub fn rooms() -> Vec<Room> {
    rooms_at(Path::new("/"), super::sys::address_space_limit())
}

/// [`rooms`] by the file system at `root` and the limit of addresses.
fn rooms_at(root: &Path, address_limit: Option<u64>) -> Vec<Room> {
    let read = |path: &str| fs::read_to_string(root.join(path)).ok();
    let memory = read("proc/meminfo");
    let memory = |name| memory.as_deref().and_then(|text| kib_field(text, name));
    let strict = read("proc/sys/vm/overcommit_memory").is_some_and(|mode| mode.trim() == "2");
    let promises = memory("CommitLimit:").zip(memory("Committed_AS:")).filter(|_| strict);
    let used = read("proc/self/status").and_then(|status| kib_field(&status, "VmSize:")).unwrap_or(0);
    let groups = cgroup::folders(root, "memory");
    let rooms = [
        (Bound::Machine, memory("MemAvailable:")),
        (Bound::Group, groups.iter().filter_map(|folder| group_room(folder)).min()),
        (Bound::Addresses, address_limit.map(|limit| limit.saturating_sub(used))),
        (Bound::Promises, promises.map(|(limit, promised)| limit.saturating_sub(promised))),
    ];
    rooms.into_iter().filter_map(|(bound, bytes)| Some(Room { bytes: bytes?, bound })).collect()
}

/// The first of `files` in `folder` that holds a number.
fn number_in(folder: &Path, files: [&str; 2]) -> Option<u64> {
    files.iter().find_map(|file| fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok())
}

/// The limit of a control group of version 2 or 1.
fn group_limit(folder: &Path) -> Option<u64> {
    // Version 1 writes "no limit" as the largest multiple of a page.
    number_in(folder, ["memory.max", "memory.limit_in_bytes"]).filter(|limit| *limit < 1 << 60)
}

/// What a control group's limit leaves: cached pages of files make room for what is asked for.
fn group_room(folder: &Path) -> Option<u64> {
    let limit = group_limit(folder)?;
    let used = number_in(folder, ["memory.current", "memory.usage_in_bytes"])?;
    let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
    let field = |name: &str| {
        let mut words = stat.lines().filter_map(|line| line.split_once(' '));
        words.find(|(word, _)| *word == name).and_then(|(_, n)| n.parse::<u64>().ok())
    };
    // Version 1 counts the groups below it under names of their own.
    let cached = |v1: &str, v2: &str| field(v1).or_else(|| field(v2)).unwrap_or(0);
    let cached = cached("total_active_file", "active_file") + cached("total_inactive_file", "inactive_file");
    Some(limit.saturating_sub(used.saturating_sub(cached)))
}

/// Has all threads allocate from one heap, so that none reserves addresses that the plan does not count.
pub fn use_one_heap() {
    super::sys::one_heap();
}

fn own_status() -> Option<String> {
    fs::read_to_string("/proc/self/status").ok()
}

/// The value of the line `name  N kB`.
fn kib_field(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    value.trim().strip_suffix("kB")?.trim_end().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::fake::Machine;

    #[test]
    fn fields_are_read_in_kib() {
        let text = "VmHWM:\t   12 kB\nRssAnon:\t  3 kB\nThreads:\t1\n";
        assert_eq!(kib_field(text, "RssAnon:"), Some(3072));
        assert_eq!(kib_field(text, "Threads:"), None);
        assert_eq!(kib_field(text, "RssFile:"), None);
    }

    /// L-14
    #[test]
    fn the_room_is_told_by_each_bound() {
        let machine = Machine::new("room")
            .file("proc/meminfo", "MemAvailable: 1000 kB\nCommitLimit: 900 kB\nCommitted_AS: 850 kB\n")
            .file("proc/self/status", "VmSize:\t 100 kB\n")
            .file("proc/sys/vm/overcommit_memory", "0\n");
        let room = |bound, kib: u64| Room { bytes: kib * 1024, bound };
        assert_eq!(rooms_at(machine.root(), None), [room(Bound::Machine, 1000)]);
        let machine = machine
            .file("proc/sys/vm/overcommit_memory", "2\n")
            .file("proc/self/cgroup", "4:memory:/a/b\n0::/\n")
            .file("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "512000\n")
            .file("sys/fs/cgroup/memory/a/memory.usage_in_bytes", "409600\n")
            .file(
                "sys/fs/cgroup/memory/a/memory.stat",
                "active_file 1\ntotal_active_file 1024\ntotal_inactive_file 2048\n",
            )
            .file("sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "9223372036854771712\n");
        let [group, addresses, promises] = [Bound::Group, Bound::Addresses, Bound::Promises];
        let expected = [room(Bound::Machine, 1000), room(group, 103), room(addresses, 200), room(promises, 50)];
        assert_eq!(rooms_at(machine.root(), Some(300 * 1024)), expected);
        let machine = machine
            .file("proc/self/cgroup", "0::/c\n")
            .file("sys/fs/cgroup/c/memory.max", "102400\n")
            .file("sys/fs/cgroup/c/memory.current", "204800\n");
        assert_eq!(rooms_at(machine.root(), None)[1], room(group, 0));
        let nothing = Machine::new("no-room");
        assert_eq!(rooms_at(nothing.root(), None), []);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn private_memory_grows_with_the_heap() {
        let before = private_bytes().expect("/proc");
        let block = core::hint::black_box(vec![1_u8; 64 << 20]);
        let after = private_bytes().expect("/proc");
        assert!(after >= before + (32 << 20), "{before} {after} {}", block.len());
        assert!(available_bytes().expect("/proc") > 0);
        let _ = cgroup_limit_bytes();
    }
}
