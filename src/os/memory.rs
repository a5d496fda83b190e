//! Memory of this process and of the machine, in bytes; `None` where the system does not tell.

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
    let files = ["memory.max", "memory.limit_in_bytes"];
    let folders = cgroup::folders(Path::new("/"), "memory");
    let paths = folders.iter().flat_map(|folder| files.map(|file| folder.join(file)));
    let limits = paths.filter_map(|path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok());
    // Version 1 writes "no limit" as the largest multiple of a page.
    limits.filter(|limit| *limit < 1 << 60).min()
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

    #[test]
    fn fields_are_read_in_kib() {
        let text = "VmHWM:\t   12 kB\nRssAnon:\t  3 kB\nThreads:\t1\n";
        assert_eq!(kib_field(text, "RssAnon:"), Some(3072));
        assert_eq!(kib_field(text, "Threads:"), None);
        assert_eq!(kib_field(text, "RssFile:"), None);
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
