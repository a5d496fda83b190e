//! Memory of this process and of the machine, in bytes; `None` where the system does not tell.

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

/// Memory that programs can still get without swapping.
pub fn available_bytes() -> Option<u64> {
    kib_field(&fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")
}

/// The smallest memory limit of the control groups that this process is in.
pub fn cgroup_limit_bytes() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    groups.lines().filter_map(group_path).filter_map(|(root, path, file)| smallest_limit(root, path, file)).min()
}

fn own_status() -> Option<String> {
    fs::read_to_string("/proc/self/status").ok()
}

/// The value of the line `name  N kB`.
fn kib_field(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    value.trim().strip_suffix("kB")?.trim_end().parse::<u64>().ok()?.checked_mul(1024)
}

/// Mount point, path and name of the limit of a line of /proc/self/cgroup (version 2, or version 1's memory line).
fn group_path(line: &str) -> Option<(&'static str, &str, &'static str)> {
    let mut parts = line.splitn(3, ':');
    let (id, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
    match controllers {
        "" if id == "0" => Some(("/sys/fs/cgroup", path, "memory.max")),
        _ if controllers.split(',').any(|name| name == "memory") => {
            Some(("/sys/fs/cgroup/memory", path, "memory.limit_in_bytes"))
        }
        _ => None,
    }
}

/// The smallest limit on the way from the group at `path` up to the root. A container sees its own group as the
/// root, so groups that do not exist are passed over.
fn smallest_limit(root: &str, path: &str, file: &str) -> Option<u64> {
    let groups = Path::new(path.trim_start_matches('/')).ancestors();
    let limits = groups.filter_map(|group| fs::read_to_string(Path::new(root).join(group).join(file)).ok());
    // Version 1 writes "no limit" as the largest multiple of a page.
    limits.filter_map(|text| text.trim().parse().ok()).filter(|limit| *limit < 1 << 60).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_in_kib() {
        let text = "VmHWM:\t   12 kB\nRssAnon:\t  3 kB\nThreads:\t1\n";
        assert_eq!(kib_field(text, "RssAnon:"), Some(3072));
        assert_eq!(kib_field(text, "Threads:"), None);
        assert_eq!(kib_field(text, "RssFile:"), None);
    }

    #[test]
    fn groups_of_both_versions_are_found() {
        assert_eq!(group_path("0::/user/a"), Some(("/sys/fs/cgroup", "/user/a", "memory.max")));
        let old = group_path("4:cpu,memory:/docker/x");
        assert_eq!(old, Some(("/sys/fs/cgroup/memory", "/docker/x", "memory.limit_in_bytes")));
        assert_eq!(group_path("3:cpu:/x"), None);
        assert_eq!(group_path("nonsense"), None);
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
