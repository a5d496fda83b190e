//! What else the machine does while something is measured.

use super::cpu::keep_allowed;
use std::fs;
use std::path::{Path, PathBuf};

/// Ticks of the clock below which a share says nothing.
const LEAST_TICKS: u64 = 10;

/// What others did on the CPUs that this process may use, on average.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// Those CPUs.
    pub n_cpus: usize,
    /// CPUs that other programs kept busy, 0 to all of them.
    pub others: f64,
    /// The share of the CPUs' time that a host took from this virtual machine, 0 to 1.
    pub stolen: f64,
}

/// Watches from its start on.
#[derive(Debug)]
pub struct LoadWatch {
    root: PathBuf,
    before: Option<Ticks>,
}

/// Time by what it was spent on, in ticks of the system's clock.
#[derive(Debug, Clone, Copy, Default)]
struct Ticks {
    n_cpus: usize,
    all: u64,
    busy: u64,
    stolen: u64,
    /// Of this process.
    own: u64,
}

impl LoadWatch {
    /// Starts now.
    pub fn start() -> Self {
        Self::at(Path::new("/"))
    }

    fn at(root: &Path) -> Self {
        LoadWatch { root: root.to_owned(), before: ticks(root) }
    }

    /// What others did since the start; `None` where the system does not say, or after too short a time.
    pub fn load(&self) -> Option<Load> {
        let (before, now) = (self.before?, ticks(&self.root)?);
        let since = |of: fn(&Ticks) -> u64| of(&now).saturating_sub(of(&before));
        let (n_cpus, all) = (now.n_cpus, since(|ticks| ticks.all));
        if n_cpus != before.n_cpus || all < LEAST_TICKS * n_cpus as u64 {
            return None;
        }
        let others = since(|ticks| ticks.busy).saturating_sub(since(|ticks| ticks.own));
        let share = |ticks: u64| ticks as f64 / all as f64;
        Some(Load { n_cpus, others: share(others) * n_cpus as f64, stolen: share(since(|ticks| ticks.stolen)) })
    }
}

/// What Linux counted so far, by the files below `root`.
fn ticks(root: &Path) -> Option<Ticks> {
    let stat = fs::read_to_string(root.join("proc/stat")).ok()?;
    let lines = stat.lines().filter_map(|line| line.strip_prefix("cpu")?.split_once(' '));
    let lines: Vec<(usize, &str)> = lines.filter_map(|(cpu, times)| Some((cpu.parse().ok()?, times))).collect();
    let mut cpus: Vec<usize> = lines.iter().map(|(cpu, _)| *cpu).collect();
    keep_allowed(root, &mut cpus);
    let mut ticks = Ticks { n_cpus: cpus.len(), own: own_ticks(root)?, ..Ticks::default() };
    for (_, times) in lines.iter().filter(|(cpu, _)| cpus.contains(cpu)) {
        let times: Vec<u64> = times.split_whitespace().filter_map(|ticks| ticks.parse().ok()).collect();
        let &[user, nice, system, idle, waiting, interrupts, soft_interrupts, stolen, ..] = &times[..] else {
            return None;
        };
        let busy = user + nice + system + interrupts + soft_interrupts;
        ticks.busy += busy;
        ticks.stolen += stolen;
        ticks.all += busy + idle + waiting + stolen;
    }
    (ticks.n_cpus > 0).then_some(ticks)
}

/// The time of this process in all its threads.
fn own_ticks(root: &Path) -> Option<u64> {
    let stat = fs::read_to_string(root.join("proc/self/stat")).ok()?;
    // The program's name stands in parentheses, and may hold any character.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::fake::Machine;

    fn machine(machine: Machine, cpus: [[u64; 4]; 2], own: u64) -> Machine {
        let line = |(i, [user, idle, steal, nice]): (usize, [u64; 4])| {
            format!("cpu{i} {user} {nice} 0 {idle} 0 0 0 {steal} 0 0\n")
        };
        let lines: String = cpus.into_iter().enumerate().map(line).collect();
        let own = format!("7 (a ) b) R 1 2 3 4 5 6 7 8 9 10 {own} 5 0\n");
        machine.file("proc/stat", &format!("cpu  0 0\n{lines}intr 1\n")).file("proc/self/stat", &own)
    }

    #[test]
    fn what_others_do_is_all_but_ours() {
        let busy = |name: &str, status: &str, after: [[u64; 4]; 2], own: u64| {
            let before = machine(Machine::new(name), [[100, 100, 0, 0]; 2], 50).file("proc/self/status", status);
            let watch = LoadWatch::at(before.root());
            let after = machine(before, after, own);
            let load = watch.load();
            drop(after);
            load
        };
        let load = |n_cpus, others, stolen| Some(Load { n_cpus, others, stolen });
        // Alone; beside a program that takes a whole CPU; on a host that takes half of one; on one CPU of two.
        assert_eq!(busy("alone", "", [[200, 100, 0, 0], [100, 200, 0, 0]], 150), load(2, 0.0, 0.0));
        assert_eq!(busy("beside", "", [[200, 100, 0, 0], [100, 100, 0, 100]], 150), load(2, 1.0, 0.0));
        assert_eq!(busy("guest", "", [[150, 100, 50, 0], [100, 200, 0, 0]], 100), load(2, 0.0, 0.25));
        let one = "Cpus_allowed_list:\t0\n";
        assert_eq!(busy("one", one, [[150, 150, 0, 0], [200, 100, 0, 0]], 100), load(1, 0.0, 0.0));
        assert_eq!(busy("short", "", [[104, 100, 0, 0], [100, 104, 0, 0]], 54), None);
        assert_eq!(LoadWatch::at(Machine::new("no-stat").root()).load(), None);
    }
}
