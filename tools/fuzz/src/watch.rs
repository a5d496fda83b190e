//! The parent: starts the processes that run cases, sees them die or hang, and reports.

use std::collections::HashSet;
use std::fmt;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::memory::Usage;
use crate::worker::{CURRENT, masked};

/// A case that runs longer hangs.
const HANG: Duration = Duration::from_secs(10);
/// A process that has not begun its first case by then hangs too.
const START: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_millis(100);
/// Findings of one kind that are shown.
const SHOWN: usize = 3;
/// Findings after which a run ends.
const MAX_FINDINGS: usize = 100;

/// What is run.
#[derive(Debug, Clone)]
pub struct Campaign {
    /// The target's name.
    pub target: String,
    /// Seed of all cases.
    pub seed: u64,
    /// Cases, at most.
    pub cases: u64,
    /// Time, at most.
    pub seconds: Option<u64>,
    /// Processes at a time.
    pub threads: u64,
}

/// What came out.
#[derive(Debug, Default)]
pub struct Report {
    target: String,
    cases: u64,
    accepted: u64,
    seconds: f64,
    /// Milliseconds of the slowest case, and its number.
    slowest: (u64, u64),
    messages: HashSet<String>,
    kinds: HashSet<String>,
    usage: Usage,
    /// Broken promises, one for each case.
    pub findings: usize,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = self.cases as f64 / self.seconds.max(0.001);
        let share = 100.0 * self.accepted as f64 / self.cases.max(1) as f64;
        let Usage { peak, largest } = self.usage;
        write!(f, "{}: {} cases, {rate:.0}/s, {share:.1} % accepted, ", self.target, self.cases)?;
        let (slowest, case) = self.slowest;
        write!(f, "{} messages, slowest {slowest} ms (case {case}), ", self.messages.len())?;
        write!(f, "heap {} KiB, ", peak / 1024)?;
        write!(f, "at once {} KiB, {} findings", largest / 1024, self.findings)
    }
}

/// A running process and the case it was last seen at.
struct Slot {
    child: Child,
    folder: PathBuf,
    seen: Option<u64>,
    since: Instant,
    done: bool,
    killed: bool,
}

enum Event {
    Line(String),
    End,
}

/// Runs the campaign with this program as its own worker.
pub fn run(campaign: &Campaign) -> std::io::Result<Report> {
    let begin = Instant::now();
    let mut report = Report { target: campaign.target.clone(), ..Report::default() };
    let (send, receive) = channel();
    let mut slots = Vec::new();
    for index in 0..campaign.threads {
        let folder = scratch(index)?;
        slots.push(start(campaign, index as usize, index, folder, begin, &send)?);
    }
    let result = watch(campaign, &mut slots, begin, &send, &receive, &mut report);
    for slot in &mut slots {
        let _ = slot.child.kill();
        let _ = slot.child.wait();
        let _ = std::fs::remove_dir_all(&slot.folder);
    }
    report.seconds = begin.elapsed().as_secs_f64();
    result.map(|()| report)
}

fn watch(
    campaign: &Campaign,
    slots: &mut [Slot],
    begin: Instant,
    send: &Sender<(usize, Event)>,
    receive: &Receiver<(usize, Event)>,
    report: &mut Report,
) -> std::io::Result<()> {
    let mut running = slots.len();
    while running > 0 && report.findings < MAX_FINDINGS {
        match receive.recv_timeout(TICK) {
            Ok((index, Event::Line(line))) => {
                slots[index].done |= line == "done";
                take(campaign, &line, report);
            }
            Ok((index, Event::End)) => {
                let slot = &mut slots[index];
                let status = slot.child.wait()?;
                if slot.done {
                    running -= 1;
                    continue;
                }
                let Some(case) = current(slot) else {
                    return Err(std::io::Error::other(format!("the worker ends before its first case: {status}")));
                };
                let what = if slot.killed { "it hangs".to_string() } else { format!("the process ends: {status}") };
                find(campaign, case, &what, report);
                report.cases += 1;
                let next = case.saturating_add(campaign.threads);
                *slot = start(campaign, index, next, slot.folder.clone(), begin, send)?;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        slots.iter_mut().for_each(kill_if_hung);
    }
    Ok(())
}

fn kill_if_hung(slot: &mut Slot) {
    let now = current(slot);
    if now != slot.seen {
        (slot.seen, slot.since) = (now, Instant::now());
    }
    let limit = if now.is_none() { START } else { HANG };
    if !slot.done && !slot.killed && slot.since.elapsed() > limit {
        slot.killed = true;
        let _ = slot.child.kill();
    }
}

fn current(slot: &Slot) -> Option<u64> {
    let bytes = std::fs::read(slot.folder.join(CURRENT)).ok()?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

/// A folder in memory where there is one.
fn scratch(index: u64) -> std::io::Result<PathBuf> {
    let memory = PathBuf::from("/dev/shm");
    let name = format!("whit-fuzz-{}-{index}", std::process::id());
    let in_memory = memory.join(&name);
    if std::fs::create_dir_all(&in_memory).is_ok() {
        return Ok(in_memory);
    }
    let path = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&path)?;
    Ok(path)
}

fn start(
    campaign: &Campaign,
    index: usize,
    first: u64,
    folder: PathBuf,
    begin: Instant,
    send: &Sender<(usize, Event)>,
) -> std::io::Result<Slot> {
    let _ = std::fs::remove_file(folder.join(CURRENT));
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(&campaign.target).arg("--seed").arg(campaign.seed.to_string());
    command.arg("--cases").arg(campaign.cases.to_string());
    command.arg("--worker").arg(format!("{first}:{}", campaign.threads)).arg("--folder").arg(&folder);
    if let Some(seconds) = campaign.seconds {
        command.arg("--seconds").arg(seconds.saturating_sub(begin.elapsed().as_secs()).to_string());
    }
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    if let Some(output) = child.stdout.take() {
        let send = send.clone();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = send.send((index, Event::Line(line)));
            }
            let _ = send.send((index, Event::End));
        });
    }
    Ok(Slot { child, folder, seen: None, since: Instant::now(), done: false, killed: false })
}

fn take(campaign: &Campaign, line: &str, report: &mut Report) {
    let parts: Vec<&str> = line.split('\t').collect();
    let numbers = || parts[1..].iter().map(|part| part.parse().unwrap_or(0)).collect::<Vec<u64>>();
    match parts[..] {
        ["message", message] => drop(report.messages.insert(message.to_string())),
        ["broken", case, what] => find(campaign, case.parse().unwrap_or(0), what, report),
        ["tally", ..] => {
            let [cases, accepted, slowest, case, peak, largest] = numbers()[..] else { return };
            report.cases += cases;
            report.accepted += accepted;
            report.slowest = report.slowest.max((slowest, case));
            report.usage = report.usage.max(Usage { peak: peak as usize, largest: largest as usize });
        }
        _ => {}
    }
}

/// Shows a finding, unless enough of its kind were shown.
fn find(campaign: &Campaign, case: u64, what: &str, report: &mut Report) {
    report.findings += 1;
    let kind = masked(what);
    let new = (0..SHOWN).any(|n| report.kinds.insert(format!("{n} {kind}")));
    if new {
        let Campaign { target, seed, .. } = campaign;
        println!("FINDING {target} --replay {seed}:{case}: {what}");
    }
}
