//! The control groups that this process is in, of either version.

use std::fs;
use std::path::{Path, PathBuf};

/// The folders of the groups that `controller` may limit this process by: its own, and those on the way up to the
/// root, below the file system at `root`. A container sees its own group as the root, so some may not exist.
pub(super) fn folders(root: &Path, controller: &str) -> Vec<PathBuf> {
    let Ok(groups) = fs::read_to_string(root.join("proc/self/cgroup")) else { return Vec::new() };
    let places = groups.lines().filter_map(|line| place(line, controller));
    let ways = places.flat_map(|(mounts, path)| {
        let ancestors = Path::new(path.trim_start_matches('/')).ancestors();
        ancestors.flat_map(move |group| mounts.map(|mount| root.join("sys/fs/cgroup").join(mount).join(group)))
    });
    ways.collect()
}

/// Where below /sys/fs/cgroup the hierarchy of a line of /proc/self/cgroup may be mounted, and the group's path in it.
fn place<'a>(line: &'a str, controller: &'a str) -> Option<([&'a str; 2], &'a str)> {
    let mut parts = line.splitn(3, ':');
    let (id, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
    match controllers {
        // Version 2, by itself or beside version 1.
        "" if id == "0" => Some((["", "unified"], path)),
        _ if controllers.split(',').any(|name| name == controller) => Some(([controller, controllers], path)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_both_versions_are_found() {
        assert_eq!(place("0::/user/a", "memory"), Some((["", "unified"], "/user/a")));
        assert_eq!(place("4:cpu,memory:/docker/x", "memory"), Some((["memory", "cpu,memory"], "/docker/x")));
        assert_eq!(place("3:cpuset:/x", "cpu"), None);
        assert_eq!(place("nonsense", "cpu"), None);
    }

    #[test]
    fn the_way_up_ends_at_the_root() {
        let root = crate::os::test_directory("cgroup-folders");
        let write = |text: &str| {
            fs::create_dir_all(root.join("proc/self")).expect("a folder");
            fs::write(root.join("proc/self/cgroup"), text).expect("a file");
        };
        assert!(folders(&root, "cpu").is_empty());
        write("7:pids:/p\n2:cpu:/a/b\n");
        let mount = root.join("sys/fs/cgroup/cpu");
        let mut found = folders(&root, "cpu");
        found.dedup();
        assert_eq!(found, [mount.join("a/b"), mount.join("a"), mount.join("")]);
        write("0::/\n");
        assert_eq!(folders(&root, "cpu"), [root.join("sys/fs/cgroup/"), root.join("sys/fs/cgroup/unified/")]);
        fs::remove_dir_all(&root).expect("removed");
    }
}
