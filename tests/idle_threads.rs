//! Threads that have nothing to do sleep: no wake-ups, by the system's own count of them.
#![cfg(target_os = "linux")]

use std::fs;
use std::path::PathBuf;
use std::sync::Barrier;
use std::thread::sleep;
use std::time::{Duration, Instant};
use whit::threads::Threads;

/// The folder in /proc of this process's thread called `name`.
fn thread(name: &str) -> Option<PathBuf> {
    let threads = fs::read_dir("/proc/self/task").ok()?.flatten().map(|entry| entry.path());
    threads.into_iter().find(|path| fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim() == name))
}

fn field(status: &str, name: &str) -> String {
    let value = status.lines().find_map(|line| line.strip_prefix(name));
    value.unwrap_or_else(|| panic!("no {name} in {status}")).trim().to_owned()
}

/// Whether the thread sleeps, and how often it has gone to sleep or been put aside.
fn life(name: &str) -> (bool, String, String) {
    let status = fs::read_to_string(thread(name).expect("a worker").join("status")).expect("its status");
    let count = |kind: &str| field(&status, &format!("{kind}_ctxt_switches:"));
    (field(&status, "State:").starts_with('S'), count("voluntary"), count("nonvoluntary"))
}

/// Waits until the workers sleep.
fn settle(names: &[&str]) {
    let start = Instant::now();
    while !names.iter().all(|name| life(name).0) {
        assert!(start.elapsed() < Duration::from_secs(10), "a thread does not go to sleep");
        sleep(Duration::from_millis(5));
    }
    // A thread that waits for a lock sleeps too, on its way to where it stays.
    sleep(Duration::from_millis(20));
}

#[test]
fn idle_threads_sleep() {
    let threads = Threads::new(4).expect("threads");
    let meet = |n: usize| {
        let all = Barrier::new(n);
        threads.run(n, &|_| {
            all.wait();
        });
    };
    meet(4);
    if thread("whit-1").is_none() {
        eprintln!("SKIPPED: /proc does not name threads");
        return;
    }
    let names = ["whit-1", "whit-2", "whit-3"];
    settle(&names);
    let before = names.map(life);
    sleep(Duration::from_millis(200));
    assert_eq!(names.map(life), before, "a pool without work has woken");

    // Regions of two parts are the first worker's alone.
    let before = names.map(life);
    for _ in 0..5 {
        meet(2);
        sleep(Duration::from_millis(10));
    }
    settle(&names);
    let after = names.map(life);
    assert_ne!(after[0], before[0]);
    assert_eq!(after[1..], before[1..], "workers that a region does not need have woken");
}
