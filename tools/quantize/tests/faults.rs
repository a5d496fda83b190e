//! Every system call on the way to the target fails once in every way it can: the target is the whole old file, the whole
//! new file, or absent where there was none.

#![cfg(all(target_os = "linux", target_env = "gnu"))]

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

const OLD: &[u8] = b"precious";
const TARGET: &str = "model.whit";
const LINK: &str = "link.whit";
/// Calls that a signal may interrupt, by their manual pages.
const INTERRUPTIBLE: [&str; 8] = ["create", "open", "close", "flock", "statvfs", "fallocate", "write", "fsync"];
/// Calls without which there is no new file: their failure is never passed over.
const NEEDED: [&str; 7] = ["create", "fallocate", "truncate", "seek", "write", "fsync", "rename"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The shim, built by the compiler that links this test.
fn build_shim(folder: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults/shim.c");
    let library = folder.join("shim.so");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).arg("-ldl");
    assert!(cc.status().expect("cc starts").success());
    library
}

/// What there is before a run, and what is converted how.
#[derive(Clone, Copy)]
struct Situation {
    name: &'static str,
    input: &'static str,
    arguments: &'static [&'static str],
    before: Before,
    /// The first call of that name fails so in every run of the sweep, which begins behind it.
    always: Option<(&'static str, &'static str)>,
}

#[derive(Clone, Copy, PartialEq)]
enum Before {
    Nothing,
    Old,
    /// The target is named by a link to the old file.
    Linked,
}

const SMALL: Situation = Situation {
    name: "no old file",
    input: "tests/fixtures/llama",
    arguments: &["--effort", "fast"],
    before: Before::Nothing,
    always: None,
};

const SITUATIONS: [Situation; 7] = [
    SMALL,
    Situation { name: "an old file", arguments: &["--force", "--effort", "fast"], before: Before::Old, ..SMALL },
    // Matrices larger than the buffer, and as many writes.
    Situation {
        name: "a link to an old file, large writes",
        input: "models/stories",
        arguments: &["--force", "--weights", "f32"],
        before: Before::Linked,
        always: None,
    },
    Situation { name: "no room is reserved", always: Some(("fallocate", "EOPNOTSUPP")), ..SMALL },
    Situation {
        name: "a full disk, and then",
        arguments: &["--force", "--effort", "fast"],
        before: Before::Old,
        always: Some(("write", "ENOSPC")),
        ..SMALL
    },
    Situation { name: "a broken disk, and then", always: Some(("fsync", "EIO")), ..SMALL },
    Situation { name: "a draft that reads a text before", arguments: &["--effort", "good"], ..SMALL },
];

#[derive(Debug, Clone)]
struct Call {
    name: String,
    file: String,
    /// "-" for none.
    fault: String,
}

#[derive(Debug, PartialEq)]
enum Target {
    Absent,
    Old,
    New,
    Damaged,
}

#[derive(Debug)]
struct Run {
    calls: Vec<Call>,
    code: Option<i32>,
    killed: bool,
    error: String,
    target: Target,
    /// Files beside it.
    beside: Vec<String>,
    is_link: bool,
}

impl Run {
    fn had(&self, call: &str) -> bool {
        self.calls.iter().any(|c| c.name == call && c.fault == "-")
    }
}

/// Where a run begins and what it has to end with.
struct Trial<'a> {
    shim: &'a Path,
    situation: Situation,
    /// The fault of every run, by the number of its call.
    always: Option<(usize, &'static str)>,
    new: Vec<u8>,
}

impl<'a> Trial<'a> {
    fn new(shim: &'a Path, situation: Situation) -> Trial<'a> {
        let folder = tempfile::tempdir().expect("a folder");
        let output = folder.path().join(TARGET);
        let mut command = Command::new(env!("CARGO_BIN_EXE_quantize"));
        command.arg(root().join(situation.input)).args(situation.arguments).arg("-o").arg(&output);
        assert!(command.stdout(Stdio::null()).status().expect("quantize starts").success());
        let mut trial = Trial { shim, situation, always: None, new: std::fs::read(output).expect("converted") };
        if let Some((name, fault)) = situation.always {
            let number = trial.run(&[]).calls.iter().position(|call| call.name == name).expect("a call of that name");
            trial.always = Some((number, fault));
        }
        trial
    }

    /// Converts once, with the faults of the situation and `faults`.
    fn run(&self, faults: &[(usize, &str)]) -> Run {
        let folder = tempfile::tempdir().expect("a folder");
        let log = tempfile::NamedTempFile::new().expect("a log");
        let (target, link) = (folder.path().join(TARGET), folder.path().join(LINK));
        if self.situation.before != Before::Nothing {
            std::fs::write(&target, OLD).expect("written");
        }
        let linked = self.situation.before == Before::Linked;
        if linked {
            std::os::unix::fs::symlink(TARGET, &link).expect("a link");
        }
        let plan: Vec<String> = self.always.iter().chain(faults).map(|(at, fault)| format!("{at}:{fault}")).collect();
        let output = Command::new(env!("CARGO_BIN_EXE_quantize"))
            .arg(root().join(self.situation.input))
            .args(self.situation.arguments)
            .arg("-o")
            .arg(if linked { &link } else { &target })
            .env("LD_PRELOAD", self.shim)
            .env("WHIT_FAULT_FOLDER", folder.path())
            .env("WHIT_FAULT_LOG", log.path())
            .env("WHIT_FAULT_PLAN", plan.join(","))
            .output()
            .expect("quantize starts");
        let found = match std::fs::read(&target) {
            Err(_) => Target::Absent,
            Ok(bytes) if bytes == OLD => Target::Old,
            Ok(bytes) if bytes == self.new => Target::New,
            Ok(_) => Target::Damaged,
        };
        let entries = std::fs::read_dir(folder.path()).expect("the folder");
        let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
        Run {
            calls: read_log(log.path()),
            code: output.status.code(),
            killed: output.status.signal() == Some(9),
            error: String::from_utf8_lossy(&output.stderr).into_owned(),
            target: found,
            beside: names.filter(|name| name != TARGET && !(linked && name == LINK)).collect(),
            is_link: link.is_symlink(),
        }
    }

    /// Asserts all that holds of a run whatever failed.
    fn judge(&self, run: &Run) {
        let what = format!("{}: {run:#?}", self.situation.name);
        let before = if self.situation.before == Before::Nothing { Target::Absent } else { Target::Old };
        let wanted = if run.had("rename") { Target::New } else { before };
        assert_eq!(run.target, wanted, "{what}");
        assert_eq!(run.is_link, self.situation.before == Before::Linked, "{what}");
        let faults = run.calls.iter().filter(|call| call.fault != "-");
        let cannot_remove = faults.clone().any(|call| call.name == "unlink");
        if !run.killed && !cannot_remove {
            assert!(run.beside.is_empty(), "{what}");
        }
        assert!(run.beside.len() <= 1 && run.beside.iter().all(|name| name.ends_with(".partial")), "{what}");
        match run.code {
            None => assert!(run.killed, "{what}"),
            Some(0) => {
                // A draft that cannot be removed is told of.
                let told = run.error.is_empty() || (cannot_remove && run.error.starts_with("note: "));
                assert!(run.target == Target::New && told, "{what}");
                let passed_over = |call: &Call| {
                    NEEDED.contains(&&*call.name) && !["EINTR", "SHORT", "EOPNOTSUPP"].contains(&&*call.fault)
                };
                assert!(!faults.clone().any(passed_over), "{what}");
            }
            Some(_) => {
                let named = [TARGET, LINK, "standard output"].iter().any(|name| run.error.contains(name));
                assert!(run.error.starts_with("error[") && run.error.lines().count() == 1 && named, "{what}");
                assert!(!faults.clone().all(|call| passes(&call.name, &call.fault)), "{what}");
            }
        }
    }

    /// Lets call after call fail, and asserts that each did; the faults reached, by kind.
    fn sweep(&self) -> BTreeMap<&'static str, usize> {
        let clean = self.run(&[]);
        self.judge(&clean);
        let first = self.always.map_or(0, |(at, _)| at + 1);
        let mut reached = BTreeMap::new();
        for (number, call) in clean.calls.iter().enumerate().skip(first) {
            for fault in ["ENOSPC", "EIO", "EDQUOT", "EINTR", "SHORT", "KILL"] {
                if fault == "SHORT" && call.name != "write" {
                    continue;
                }
                let run = self.run(&[(number, fault)]);
                assert_eq!(run.calls.get(number).map(|call| &*call.fault), Some(fault), "not reached: {run:#?}");
                assert_eq!(run.killed, fault == "KILL", "{run:#?}");
                self.judge(&run);
                *reached.entry(fault).or_insert(0) += 1;
            }
        }
        reached
    }
}

/// A conversion gets over this fault of a call.
fn passes(call: &str, fault: &str) -> bool {
    match fault {
        "SHORT" => true,
        "EINTR" => INTERRUPTIBLE.contains(&call),
        "EOPNOTSUPP" => call == "fallocate",
        _ => false,
    }
}

fn read_log(path: &Path) -> Vec<Call> {
    let text = std::fs::read_to_string(path).expect("a log");
    let call = |(number, line): (usize, &str)| {
        let words: Vec<&str> = line.split(' ').collect();
        let [at, name, file, fault] = words[..] else { panic!("{line}") };
        assert_eq!(at.parse(), Ok(number), "{line}");
        let file = if file.ends_with(".partial") { "partial" } else { file };
        Call { name: name.into(), file: file.into(), fault: fault.into() }
    };
    text.lines().enumerate().map(call).collect()
}

/// L-07
#[test]
fn whatever_call_fails_the_target_is_old_new_or_absent() {
    let folder = tempfile::tempdir().expect("a folder");
    let shim = build_shim(folder.path());
    let (next, total) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    let work = || {
        while let Some(situation) = SITUATIONS.get(next.fetch_add(1, Ordering::Relaxed)) {
            let reached = Trial::new(&shim, *situation).sweep();
            eprintln!("{}: {} faults, {reached:?}", situation.name, reached.values().sum::<usize>());
            let mut total = total.lock().expect("no panic");
            reached.into_iter().for_each(|(fault, n)| *total.entry(fault).or_insert(0) += n);
        }
    };
    std::thread::scope(|scope| {
        (0..std::thread::available_parallelism().map_or(1, |n| n.get())).for_each(|_| _ = scope.spawn(work));
    });
    let total = total.into_inner().expect("no panic");
    let sum: usize = total.values().sum();
    eprintln!("{sum} faults reached: {total:?}");
    assert!(sum >= 300 && total.len() == 6, "{total:?}");
}

#[test]
fn the_new_file_takes_the_name_after_it_is_on_the_disk() {
    let folder = tempfile::tempdir().expect("a folder");
    let shim = build_shim(folder.path());
    let run = Trial::new(&shim, SITUATIONS[1]).run(&[]);
    let order: Vec<String> = run.calls.iter().map(|call| format!("{} {}", call.name, call.file)).collect();
    let end = order.iter().position(|call| call == "close partial").expect("closed");
    let wanted = "create partial, flock partial, statvfs partial, fallocate partial, seek partial, write partial, \
                  seek partial, write partial, fsync partial, stat model.whit, rename model.whit, open ., fsync ., close .";
    assert!(order[..end].join(", ").ends_with(wanted), "{order:#?}");
}

#[test]
fn a_partial_file_that_cannot_be_removed_does_not_hide_why() {
    let folder = tempfile::tempdir().expect("a folder");
    let shim = build_shim(folder.path());
    let trial = Trial::new(&shim, SITUATIONS[4]);
    let unlink = trial.run(&[]).calls.iter().position(|call| call.name == "unlink").expect("removed");
    let run = trial.run(&[(unlink, "EIO")]);
    assert!(run.code == Some(74) && run.error.contains("no space is left") && run.beside.len() == 1, "{run:#?}");
}

/// L-07: a source whose pages are gone, and a source that has changed by the end.
#[test]
fn a_source_that_is_cut_or_changed_meanwhile_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let shim = build_shim(folder.path());
    let input = tempfile::tempdir().expect("a folder");
    let weights = input.path().join("model.safetensors");
    let fixture = root().join(SMALL.input);
    std::fs::copy(fixture.join("config.json"), input.path().join("config.json")).expect("copied");
    let whole = std::fs::metadata(fixture.join("model.safetensors")).expect("the fixture").len();
    for (length, told, n_left) in
        [(0, "model.safetensors: byte 0x", 1), (4096, "model.safetensors: byte 0x", 1), (whole + 1, "in use", 0)]
    {
        std::fs::copy(fixture.join("model.safetensors"), &weights).expect("copied");
        let output = tempfile::tempdir().expect("a folder");
        let log = tempfile::NamedTempFile::new().expect("a log");
        let convert = |plan: &str| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_quantize"));
            command.arg(input.path()).arg("-q").arg("-o").arg(output.path().join(TARGET));
            // It is the program itself that cuts its source here, which it may not where it is confined.
            command.arg("--no-sandbox");
            command.env("LD_PRELOAD", &shim).env("WHIT_FAULT_FOLDER", output.path()).env("WHIT_FAULT_PLAN", plan);
            command.env("WHIT_FAULT_LOG", log.path()).env("WHIT_FAULT_SOURCE", &weights);
            command.env("WHIT_FAULT_LENGTH", length.to_string()).output().expect("quantize starts")
        };
        assert!(convert("").status.success());
        let reserved = read_log(log.path()).iter().position(|call| call.name == "fallocate").expect("reserved");
        std::fs::remove_file(output.path().join(TARGET)).expect("removed");
        let failed = convert(&format!("{reserved}:RESIZE"));
        let error = String::from_utf8_lossy(&failed.stderr).into_owned();
        assert_eq!(failed.status.code(), Some(74), "{length}: {error}");
        assert!(error.starts_with("error[io]: ") && error.contains(told), "{length}: {error}");
        assert_eq!(error.lines().count(), 1, "{length}: {error}");
        assert!(!output.path().join(TARGET).exists());
        assert_eq!(std::fs::read_dir(output.path()).expect("the folder").count(), n_left, "{length}: {error}");
    }
}
