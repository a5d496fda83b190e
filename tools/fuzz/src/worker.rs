//! The process that runs cases. It may die of one: its parent knows from a file which that was.

use std::collections::HashSet;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::bench::{Bench, Files, Stop, Verdict};
use crate::random::Random;
use crate::targets::Target;

/// Stack of the thread that reads: what a server's thread has at least.
const STACK: usize = 1 << 20;
/// Distinct messages that are counted separately, at most.
const MAX_MESSAGES: usize = 100_000;
/// The file in the scratch folder that holds the number of the case that is running.
pub(crate) const CURRENT: &str = "current-case";
/// Between two reports of progress.
const REPORT: Duration = Duration::from_millis(300);

/// Where the last panic was and what it said.
static PANIC: Mutex<String> = Mutex::new(String::new());

/// The cases of one process.
#[derive(Debug, Clone)]
pub struct Share {
    /// Seed of the run.
    pub seed: u64,
    /// The first case.
    pub first: u64,
    /// From one case to the next.
    pub step: u64,
    /// Where cases end.
    pub end: u64,
    /// When to end, cases or not.
    pub seconds: Option<u64>,
    /// Scratch folder.
    pub folder: PathBuf,
}

/// Runs `body` as cases are run: on a thread with a small stack that is all of the pool.
pub fn on_small_stack<T: Send>(body: impl FnOnce() -> T + Send) -> Result<T, String> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).stack_size(STACK).build();
    pool.map(|pool| pool.install(body)).map_err(|error| error.to_string())
}

/// The files of a case.
pub fn files(target: &dyn Target, seed: u64, case: u64) -> (Files, Random) {
    let mut random = Random::of_case(target.name(), seed, case);
    (target.make(&mut random), random)
}

/// Runs a case; a panic is a broken promise.
pub fn case(target: &dyn Target, seed: u64, number: u64, bench: &mut Bench) -> Verdict {
    let (files, mut random) = files(target, seed, number);
    let caught = std::panic::catch_unwind(AssertUnwindSafe(|| target.run(&files, bench, &mut random)));
    caught.unwrap_or_else(|_| Err(Stop::Broken(format!("panic: {}", said_last()))))
}

/// What a panic said that was caught elsewhere, and is forgotten then.
pub(crate) fn take_panic() -> Option<String> {
    let said = PANIC.lock().map(|mut text| std::mem::take(&mut *text)).unwrap_or_default();
    (!said.is_empty()).then_some(said)
}

fn said_last() -> String {
    PANIC.lock().map(|text| text.clone()).unwrap_or_default()
}

/// Runs all cases of the share and prints what the parent reads: one line a fact, its parts parted by tabs.
pub fn run(target: &dyn Target, share: &Share) -> Result<(), String> {
    std::panic::set_hook(Box::new(|info| {
        if let Ok(mut text) = PANIC.lock() {
            *text = info.to_string();
        }
    }));
    let mut current = File::create(share.folder.join(CURRENT)).map_err(|error| error.to_string())?;
    let mut bench = Bench::new(share.folder.clone(), target.bound()).map_err(|error| error.to_string())?;
    let mut tally = Tally::new(&share.folder);
    // Whatever a target makes once is made now and counts for no case.
    drop(files(target, share.seed, share.first));
    let begin = Instant::now();
    let mut number = share.first;
    while number < share.end && share.seconds.is_none_or(|seconds| begin.elapsed().as_secs() < seconds) {
        let marked = current.seek(SeekFrom::Start(0)).and_then(|_| current.write_all(&number.to_le_bytes()));
        marked.map_err(|error| error.to_string())?;
        let started = Instant::now();
        let verdict = case(target, share.seed, number, &mut bench);
        tally.slowest = tally.slowest.max((started.elapsed(), number));
        tally.count(number, verdict);
        number = number.saturating_add(share.step);
        if tally.due() {
            tally.tell(&bench);
        }
    }
    tally.tell(&bench);
    say("done", &[]);
    Ok(())
}

/// What has come out since the last report.
struct Tally<'f> {
    folder: &'f Path,
    cases: u64,
    accepted: u64,
    /// The longest time, and the case that took it.
    slowest: (Duration, u64),
    messages: HashSet<String>,
    told: Instant,
}

impl<'f> Tally<'f> {
    fn new(folder: &'f Path) -> Self {
        let (slowest, messages) = ((Duration::ZERO, 0), HashSet::new());
        Tally { folder, cases: 0, accepted: 0, slowest, messages, told: Instant::now() }
    }

    fn count(&mut self, number: u64, verdict: Verdict) {
        self.cases += 1;
        match verdict {
            Ok(()) => self.accepted += 1,
            Err(Stop::Broken(what)) => say("broken", &[&number.to_string(), &what.escape_debug().to_string()]),
            Err(Stop::Refused(error)) => {
                let shown = error.to_string().replace(&*self.folder.to_string_lossy(), "");
                let masked = masked(&shown);
                if self.messages.len() < MAX_MESSAGES && !self.messages.contains(&masked) {
                    say("message", &[&masked]);
                    self.messages.insert(masked);
                }
            }
        }
    }

    fn due(&self) -> bool {
        self.told.elapsed() >= REPORT
    }

    fn tell(&mut self, bench: &Bench) {
        let usage = bench.usage();
        let (slowest, case) = (self.slowest.0.as_millis() as u64, self.slowest.1);
        let numbers = [self.cases, self.accepted, slowest, case, usage.peak as u64, usage.largest as u64];
        let numbers = numbers.map(|n| n.to_string());
        say("tally", &numbers.each_ref().map(|n| n.as_str()));
        (self.cases, self.accepted, self.told) = (0, 0, Instant::now());
    }
}

fn say(what: &str, parts: &[&str]) {
    let mut line = what.to_string();
    for part in parts {
        line.push('\t');
        line.push_str(&part.replace(['\t', '\n'], " "));
    }
    line.push('\n');
    // Without its parent nobody reads its results.
    if std::io::stdout().lock().write_all(line.as_bytes()).is_err() {
        std::process::exit(1);
    }
}

/// The message without what differs from case to case: numbers, and what stands in quotes.
pub(crate) fn masked(message: &str) -> String {
    let mut out = String::new();
    let mut quoted = false;
    for c in message.chars() {
        if c == '"' {
            quoted = !quoted;
            out.push(c);
        } else if c.is_ascii_digit() && !quoted {
            if !out.ends_with('#') {
                out.push('#');
            }
        } else if !quoted {
            out.push(c);
        }
    }
    out
}
