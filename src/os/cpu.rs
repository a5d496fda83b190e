//! Cores, and how many threads to start on them.

use super::cgroup;
use core::fmt;
use std::fs;
use std::path::Path;

/// CPUs this process may use: its affinity and its cgroup's quota are respected. At least 1.
pub fn available_cores() -> usize {
    granted().unwrap_or(1)
}

fn granted() -> Option<usize> {
    std::thread::available_parallelism().ok().map(core::num::NonZero::get)
}

/// How many threads to compute with, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadChoice {
    /// At least 1.
    pub n_threads: usize,
    /// The CPUs it was counted on, in ascending order; empty where the system does not list any. Threads are not tied
    /// to them: a scheduler that knows of fast and slow cores puts busy threads on the fast ones.
    pub cpus: Vec<usize>,
    /// What made it fewer than the machine has CPUs, in words; empty if nothing did.
    pub reasons: Vec<String>,
    /// CPUs of the machine; 0 where the system does not say.
    pub n_cpus: usize,
}

impl fmt::Display for ThreadChoice {
    /// As in "4 of 8 CPUs: 4 fast cores (capacity 1024)".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.n_cpus {
            0 => write!(f, "{}", self.n_threads)?,
            1 => write!(f, "1 of 1 CPU")?,
            n => write!(f, "{} of {n} CPUs", self.n_threads)?,
        }
        let mut before = ": ";
        for reason in &self.reasons {
            write!(f, "{before}{reason}")?;
            before = "; ";
        }
        Ok(())
    }
}

/// One thread for each physical core of the fast kind that this process may use, within the quotas of its control
/// groups.
///
/// Ranges of a region are of equal size, so a slow core would hold up the fast ones, and SMT siblings share the units
/// that a kernel keeps busy by itself.
pub fn choose_threads() -> ThreadChoice {
    choose(Path::new("/"), granted())
}

/// [`choose_threads`] by the file system at `root` and the CPUs that the system grants, where it says how many.
fn choose(root: &Path, granted: Option<usize>) -> ThreadChoice {
    let folder = root.join("sys/devices/system/cpu");
    let mut reasons = Vec::new();
    let mut cpus = read_list(&folder.join("online")).unwrap_or_default();
    let mut n_cpus = cpus.len();
    if let Some(present) = read_list(&folder.join("present"))
        && present.len() > cpus.len()
        && n_cpus > 0
    {
        n_cpus = present.len();
        reasons.push(format!("{} offline", present.len() - cpus.len()));
    }
    reasons.extend(keep_allowed(root, &mut cpus));
    reasons.extend(keep_fast(root, &folder, &mut cpus));
    reasons.extend(keep_one_per_core(&folder, &mut cpus));
    let mut n_threads = cpus.len();
    if n_threads == 0 {
        n_threads = granted.unwrap_or(1);
        reasons.push("as many as the system grants".into());
    }
    if let Some(quota) = quota(root)
        && quota < n_threads as f64
    {
        // A thread that the quota stops for the rest of a period stops all that wait for it.
        n_threads = (quota as usize).max(1);
        let rounded = (quota * 100.0).round() / 100.0;
        reasons.push(format!("a cgroup's quota of {rounded} CPU{}", if rounded == 1.0 { "" } else { "s" }));
    }
    if let Some(granted) = granted.filter(|granted| *granted < n_threads) {
        n_threads = granted.max(1);
        reasons.push(format!("the system grants {n_threads}"));
    }
    ThreadChoice { n_threads, cpus, reasons, n_cpus }
}

/// Keeps those that the process may run on: its affinity mask, which a cpuset narrows too.
pub(super) fn keep_allowed(root: &Path, cpus: &mut Vec<usize>) -> Option<String> {
    let status = fs::read_to_string(root.join("proc/self/status")).ok()?;
    let allowed = list(status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?)?;
    keep(cpus, |cpu| allowed.contains(&cpu)).then(|| format!("affinity allows {}", count(cpus.len(), "CPU")))
}

/// Keeps cores of the largest capacities, or of the kind for performance: those of the other clusters are slower.
fn keep_fast(root: &Path, folder: &Path, cpus: &mut Vec<usize>) -> Option<String> {
    let capacity = |cpu: usize| read_number(&folder.join(format!("cpu{cpu}/cpu_capacity")));
    let capacities: Vec<_> = cpus.iter().filter_map(|cpu| Some((*cpu, capacity(*cpu)?))).collect();
    if capacities.len() < cpus.len() || cpus.is_empty() {
        let fast = read_list(&root.join("sys/devices/cpu_core/cpus"))?;
        return keep(cpus, |cpu| fast.contains(&cpu)).then(|| format!("{} for performance", count(cpus.len(), "CPU")));
    }
    let most = capacities.iter().map(|(_, capacity)| *capacity).max()?;
    // Cores of one cluster may differ by some per cent; three quarters lies between the clusters of all known chips.
    let is_fast = |capacity: u64| capacity.saturating_mul(4) >= most.saturating_mul(3);
    let least = capacities.iter().map(|(_, capacity)| *capacity).filter(|capacity| is_fast(*capacity)).min()?;
    let fast: Vec<_> = capacities.iter().filter(|(_, capacity)| is_fast(*capacity)).map(|(cpu, _)| *cpu).collect();
    let range = if least == most { most.to_string() } else { format!("{least} to {most}") };
    keep(cpus, |cpu| fast.contains(&cpu)).then(|| format!("{} (capacity {range})", count(cpus.len(), "fast core")))
}

/// Keeps the first CPU of each physical core.
fn keep_one_per_core(folder: &Path, cpus: &mut Vec<usize>) -> Option<String> {
    let mut seen: Vec<usize> = Vec::new();
    let is_first = |cpu: usize| {
        let siblings = read_list(&folder.join(format!("cpu{cpu}/topology/thread_siblings_list"))).unwrap_or_default();
        let first = !siblings.iter().any(|sibling| seen.contains(sibling));
        seen.push(cpu);
        first
    };
    keep(cpus, is_first).then(|| format!("{} (SMT siblings share one)", count(cpus.len(), "core")))
}

/// Drops those that `wanted` denies, unless it denies all; whether any were dropped.
fn keep(cpus: &mut Vec<usize>, mut wanted: impl FnMut(usize) -> bool) -> bool {
    let kept: Vec<usize> = cpus.iter().copied().filter(|cpu| wanted(*cpu)).collect();
    let dropped = !kept.is_empty() && kept.len() < cpus.len();
    if dropped {
        *cpus = kept;
    }
    dropped
}

fn count(n: usize, name: &str) -> String {
    format!("{n} {name}{}", if n == 1 { "" } else { "s" })
}

/// The smallest quota of the process's control groups, in CPUs.
fn quota(root: &Path) -> Option<f64> {
    let folders = cgroup::folders(root, "cpu");
    folders.iter().filter_map(|folder| group_quota(folder)).reduce(f64::min)
}

/// The quota of the group at `folder`, of version 2 ("QUOTA PERIOD" or "max PERIOD") or 1 (two files, -1 for none).
fn group_quota(folder: &Path) -> Option<f64> {
    let (quota, period) = match fs::read_to_string(folder.join("cpu.max")) {
        Ok(text) => {
            let mut words = text.split_whitespace();
            (words.next()?.parse::<u64>().ok()?, words.next()?.parse::<u64>().ok()?)
        }
        Err(_) => (read_number(&folder.join("cpu.cfs_quota_us"))?, read_number(&folder.join("cpu.cfs_period_us"))?),
    };
    (quota > 0 && period > 0).then(|| quota as f64 / period as f64)
}

pub(super) fn read_number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

pub(super) fn read_list(path: &Path) -> Option<Vec<usize>> {
    list(&fs::read_to_string(path).ok()?)
}

/// The numbers of a list such as "0-3,8".
fn list(text: &str) -> Option<Vec<usize>> {
    /// Above what any kernel is built for.
    const MOST: usize = 1 << 16;
    let mut numbers = Vec::new();
    for range in text.trim().split(',').filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        if last >= MOST {
            return None;
        }
        numbers.extend(first..=last);
    }
    Some(numbers)
}

#[cfg(test)]
#[path = "cpu_tests.rs"]
mod tests;
