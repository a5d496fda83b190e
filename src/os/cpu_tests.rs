//! The choice of threads, on the files of machines that are not here.

use super::*;
use crate::os::fake::Machine;

impl Machine {
    /// `n` CPUs, all online and allowed.
    fn with_cpus(name: &str, n: usize) -> Self {
        let all = format!("0-{}\n", n - 1);
        let cpu = "sys/devices/system/cpu";
        Machine::new(name).file(&format!("{cpu}/online"), &all).file(&format!("{cpu}/present"), &all).allowed(&all)
    }

    fn allowed(self, cpus: &str) -> Self {
        self.file("proc/self/status", &format!("Name:\twhit\nCpus_allowed:\tff\nCpus_allowed_list:\t{}\n", cpus.trim()))
    }

    fn with_capacities(self, capacities: &[u64]) -> Self {
        let with = |machine: Self, (cpu, capacity): (usize, &u64)| {
            machine.of_cpu(cpu, "cpu_capacity", &format!("{capacity}\n"))
        };
        capacities.iter().enumerate().fold(self, with)
    }

    /// Core `i` of `n` has the CPUs `i` and `i + n`.
    fn with_siblings(self, n: usize) -> Self {
        (0..2 * n).fold(self, |machine, cpu| {
            let siblings = format!("{},{}\n", cpu % n, cpu % n + n);
            machine.of_cpu(cpu, "topology/thread_siblings_list", &siblings)
        })
    }

    /// Number of threads and the reason in words, on a system that grants what it likes.
    fn choice(&self) -> (usize, String) {
        let choice = choose(self.root(), None);
        (choice.n_threads, choice.to_string())
    }
}

#[test]
fn lists_are_read() {
    assert_eq!(list("0-3,8\n"), Some(vec![0, 1, 2, 3, 8]));
    assert_eq!(list("\n"), Some(vec![]));
    for bad in ["x", "1-", "0-99999999999", "0-4294967295"] {
        assert_eq!(list(bad), None);
    }
}

#[test]
fn equal_cores_are_all_used() {
    let pi4 = Machine::with_cpus("pi4", 4).with_capacities(&[1024; 4]);
    assert_eq!(pi4.choice(), (4, "4 of 4 CPUs".into()));
    assert_eq!(choose(pi4.root(), None).cpus, [0, 1, 2, 3]);
    let one = Machine::with_cpus("one", 1);
    assert_eq!(one.choice(), (1, "1 of 1 CPU".into()));
}

#[test]
fn slow_clusters_are_left_out() {
    let rk3588 = Machine::with_cpus("rk3588", 8).with_capacities(&[530, 530, 530, 530, 1024, 1024, 1024, 1024]);
    assert_eq!(rk3588.choice(), (4, "4 of 8 CPUs: 4 fast cores (capacity 1024)".into()));
    assert_eq!(choose(rk3588.root(), None).cpus, [4, 5, 6, 7]);
    // Three clusters: the prime core is close to the middle ones.
    let phone = Machine::with_cpus("phone", 8).with_capacities(&[325, 325, 325, 325, 870, 870, 870, 1024]);
    assert_eq!(phone.choice(), (4, "4 of 8 CPUs: 4 fast cores (capacity 870 to 1024)".into()));
    // Bound to the slow cluster, its cores are the fast ones.
    assert_eq!(rk3588.allowed("0-3").choice(), (4, "4 of 8 CPUs: affinity allows 4 CPUs".into()));
    let hybrid = Machine::with_cpus("hybrid", 8).file("sys/devices/cpu_core/cpus", "0-3\n");
    assert_eq!(hybrid.choice(), (4, "4 of 8 CPUs: 4 CPUs for performance".into()));
}

#[test]
fn siblings_share_a_thread() {
    let x86 = Machine::with_cpus("smt", 8).with_siblings(4);
    assert_eq!(x86.choice(), (4, "4 of 8 CPUs: 4 cores (SMT siblings share one)".into()));
    assert_eq!(choose(x86.root(), None).cpus, [0, 1, 2, 3]);
    let half = x86.allowed("1,4-5,6");
    assert_eq!(choose(half.root(), None).cpus, [1, 4, 6]);
}

/// L-13
#[test]
fn quotas_are_rounded_down() {
    let new = |name: &str, group: &str| Machine::with_cpus(name, 4).file("proc/self/cgroup", group);
    let container = new("quota-2", "0::/\n").file("sys/fs/cgroup/cpu.max", "150000 100000\n");
    assert_eq!(container.choice(), (1, "1 of 4 CPUs: a cgroup's quota of 1.5 CPUs".into()));
    let little = container.file("sys/fs/cgroup/cpu.max", "20000 100000\n");
    assert_eq!(little.choice().0, 1);
    let free = little.file("sys/fs/cgroup/cpu.max", "max 100000\n");
    assert_eq!(free.choice(), (4, "4 of 4 CPUs".into()));

    // The smallest on the way up counts, and that of a group which the container cannot see does not.
    let nested = new("quota-up", "0::/a/b\n")
        .file("sys/fs/cgroup/a/b/cpu.max", "max 100000\n")
        .file("sys/fs/cgroup/a/cpu.max", "250000 100000\n");
    assert_eq!(nested.choice(), (2, "2 of 4 CPUs: a cgroup's quota of 2.5 CPUs".into()));

    let old = new("quota-1", "2:memory:/\n1:cpu,cpuacct:/docker/x\n")
        .file("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "300000\n")
        .file("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
    assert_eq!(old.choice(), (3, "3 of 4 CPUs: a cgroup's quota of 3 CPUs".into()));
    let none = old.file("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
    assert_eq!(none.choice().0, 4);
}

#[test]
fn all_reasons_are_told() {
    let machine = Machine::with_cpus("all", 8).with_siblings(4).allowed("2");
    assert_eq!(machine.choice(), (1, "1 of 8 CPUs: affinity allows 1 CPU".into()));
    let machine = machine
        .file("sys/devices/system/cpu/online", "0-6")
        .allowed("0-7")
        .file("proc/self/cgroup", "0::/")
        .file("sys/fs/cgroup/cpu.max", "100000 100000");
    let why = "1 of 8 CPUs: 1 offline; 4 cores (SMT siblings share one); a cgroup's quota of 1 CPU";
    assert_eq!(machine.choice(), (1, why.into()));
}

#[test]
fn a_system_without_files_is_asked_for_a_number() {
    let bare = Machine::new("bare");
    let choice = choose(bare.root(), Some(3));
    assert_eq!((choice.n_threads, choice.to_string()), (3, "3: as many as the system grants".into()));
    assert_eq!(choose(bare.root(), None).n_threads, 1);
    // What the system grants is a limit to what its files say.
    let limited = Machine::with_cpus("limited", 4);
    assert_eq!(choose(limited.root(), Some(2)).to_string(), "2 of 4 CPUs: the system grants 2");
}

#[test]
fn there_is_a_thread_here() {
    let choice = choose_threads();
    assert!((1..=available_cores()).contains(&choice.n_threads), "{choice:?}");
}
