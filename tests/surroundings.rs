//! The program in odd surroundings: paths, signals, limits, an empty environment, other file systems, terminals. Rows of the bad
//! inputs are named where they are tried (docs/bad-inputs.md). Where another CPU is emulated, limits would bind the emulator.
#![cfg(all(feature = "cli", target_os = "linux"))]

mod program;
mod support;

use program::whit;
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, SystemTime};
use support::{Folder, TinyModel};

/// A model that goes on until it is told to stop.
fn model(folder: &Folder) -> PathBuf {
    let path = folder.path("m.whit");
    let mut tiny = TinyModel { has_end: false, ..TinyModel::llama() };
    tiny.config.context_length = 1 << 17;
    tiny.write(&path);
    path
}

const RUN: [&str; 5] = ["-q", "-n", "40", "-s", "3"];

fn generate(model: &Path) -> Command {
    let mut command = whit();
    command.arg("generate").args(RUN).arg("-m").arg(model).arg("the other");
    command
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The text of a run that ends well.
fn text(mut command: Command) -> Vec<u8> {
    let output = command.output().expect("it starts");
    assert!(output.status.success(), "{command:?}: {}", told(&output));
    output.stdout
}

/// `command` behind the words of another one, which starts it.
fn behind(words: &[&str], command: &Command) -> Command {
    let mut outer = Command::new(words[0]);
    outer.args(&words[1..]).arg(command.get_program()).args(command.get_args());
    outer
}

/// Says that a test was left out, and why.
fn left_out(why: &str) {
    eprintln!("SKIPPED: {why}");
}

fn is_emulated() -> bool {
    let emulated = std::env::var_os("WHIT_TEST_RUNNER").is_some();
    if emulated {
        left_out("the emulator would be limited too");
    }
    emulated
}

/// Whether this user may mount file systems; says so where not.
fn may_mount() -> bool {
    let try_it = Command::new("unshare").args(["-m", "mount", "-t", "tmpfs", "none", "/mnt"]).output();
    let may = try_it.is_ok_and(|output| output.status.success());
    if !may {
        left_out("file systems cannot be mounted (not root)");
    }
    may
}

/// L-02
#[test]
fn odd_paths_are_opened_or_named() {
    let folder = Folder::new("odd-paths");
    let bytes = std::fs::read(model(&folder)).expect("written");
    let expected = text(generate(&folder.path("m.whit")));
    for name in
        [&b"not-utf8-\xff\xfe.whit"[..], b"two\nlines.whit", b"-", b"--", b"-m", b"a b'\"\\.whit", b"\x1b[2J.whit"]
    {
        let name = OsString::from_vec(name.to_vec());
        let path = folder.path("").join(&name);
        std::fs::write(&path, &bytes).expect("written");
        assert!(text(generate(&path)) == expected, "{name:?}");
        std::fs::remove_file(&path).expect("removed");
        let output = generate(&path).output().expect("it starts");
        assert_eq!((output.status.code(), told(&output).lines().count()), (Some(66), 1), "{name:?}: {}", told(&output));
        assert!(!told(&output).trim_end().contains(char::is_control), "{name:?}: {:?}", told(&output));
    }
    let long = generate(&folder.path(&"x/".repeat(2048))).output().expect("it starts");
    assert_eq!(long.status.code(), Some(66));
    assert!(told(&long).contains("too long") && told(&long).len() < 500, "{}", told(&long));
    // What begins with a dash is a file where a file is asked for, and a prompt behind two of them.
    let prompt =
        whit().args(["generate", "-q", "-n", "0", "-m"]).arg(folder.path("m.whit")).args(["--", "-n"]).output();
    assert_eq!(prompt.expect("it starts").stdout, b"-n\n");
}

/// A run of 100,000 tokens that has begun to write.
fn running(model: &Path) -> (Child, std::process::ChildStdout) {
    let mut command = whit();
    command.args(["generate", "-q", "-n", "100000", "-s", "3", "-t", "1", "-m"]).arg(model).arg("the other");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut out = child.stdout.take().expect("a pipe");
    out.read_exact(&mut [0; 16]).expect("some text");
    (child, out)
}

fn signal(name: &str, child: &Child) {
    let sent = Command::new("kill").args([name, &child.id().to_string()]).status().expect("kill");
    assert!(sent.success());
}

/// L-08: interrupts and closed pipes are tried in cli.rs, conversions in tools/quantize/tests.
#[test]
fn signals_end_or_hold_the_program_and_leave_nothing() {
    if is_emulated() {
        return;
    }
    let folder = Folder::new("signals");
    let model = model(&folder);
    for (name, number) in [("-TERM", 15), ("-HUP", 1), ("-KILL", 9)] {
        let (mut child, out) = running(&model);
        signal(name, &child);
        assert_eq!(child.wait().expect("it ends").signal(), Some(number));
        drop(out);
    }
    assert_eq!(std::fs::read_dir(folder.path("")).expect("the folder").count(), 1);
    // Held for a while: the text is the same.
    let mut command = generate(&model);
    let expected = text(generate(&model));
    let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
    signal("-STOP", &child);
    std::thread::sleep(Duration::from_millis(50));
    assert!(child.try_wait().expect("a child").is_none());
    signal("-CONT", &child);
    assert!(child.wait_with_output().expect("it ends").stdout == expected);
}

/// L-10, beside the limit of addresses, which tests/plan.rs tries.
#[test]
fn limits_of_the_process_are_kept_or_told() {
    if is_emulated() {
        return;
    }
    let folder = Folder::new("limits");
    let command = generate(&model(&folder));
    let expected = text(generate(&folder.path("m.whit")));
    // Three streams and one file at a time; the main thread on 64 KiB.
    for limit in ["--nofile=4", "--stack=65536", "--memlock=0"] {
        assert!(text(behind(&["prlimit", limit], &command)) == expected, "{limit}");
    }
    // The model takes the fourth; a session would be the fifth.
    let session = folder.write("kept.session", "x");
    let mut more = generate(&folder.path("m.whit"));
    more.arg("--session").arg(session);
    let output = behind(&["prlimit", "--nofile=4"], &more).output().expect("it starts");
    assert_eq!(output.status.code(), Some(66), "{}", told(&output));
    assert!(told(&output).contains("Too many open files"), "{}", told(&output));

    let as_nobody = ["setpriv", "--reuid=65534", "--clear-groups", "prlimit", "--nproc=1"];
    if !Command::new("setpriv").args(["--reuid=65534", "--clear-groups", "true"]).status().is_ok_and(|s| s.success()) {
        return left_out("threads are not counted for this user");
    }
    // A copy, where others may look.
    let copy = folder.path("whit");
    std::fs::copy(env!("CARGO_BIN_EXE_whit"), &copy).expect("copied");
    let run = |more: &[&str]| {
        let mut command = Command::new(&copy);
        command.arg("generate").args(RUN).args(more).arg("-m").arg(folder.path("m.whit")).arg("the other");
        behind(&as_nobody, &command)
    };
    assert!(text(run(&[])) == expected, "fewer threads where none were asked for");
    let told_of = told(&run(&["-t", "4"]).output().expect("it starts"));
    assert!(told_of.starts_with("error[resources]: thread 1 of 4 cannot be started"), "{told_of}");
}

/// L-11, M-35
#[test]
fn nothing_of_the_surroundings_is_needed() {
    if is_emulated() {
        return;
    }
    let folder = Folder::new("bare");
    let path = model(&folder);
    let expected = text(generate(&path));
    for (name, value) in [
        ("LANG", "tr_TR.UTF-8"),
        ("LC_ALL", "xx"),
        ("TZ", ":/nowhere"),
        ("HOME", ""),
        ("TMPDIR", "/nowhere"),
        ("PATH", ""),
    ] {
        let mut command = generate(&path);
        assert!(text(std::mem::replace(command.env(name, value), whit())) == expected, "{name}");
    }
    let mut command = generate(&path);
    command.env_clear();
    assert!(text(command) == expected);
    // Files of the epoch and of another century.
    let century = Duration::from_secs(4_102_444_800);
    for time in [SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH + century] {
        let file = std::fs::File::options().write(true).open(&path).expect("the model");
        file.set_modified(time).expect("a time");
        assert!(text(generate(&path)) == expected, "{time:?}");
    }
    if !may_mount() {
        return;
    }
    let within = |script: &str| {
        let script = format!("{script} && exec \"$@\"");
        behind(&["unshare", "-m", "sh", "-c", &script, "sh"], &generate(&path))
    };
    assert!(text(within("mount -t tmpfs none /proc && mount -t tmpfs none /sys")) == expected);
    let mounted = folder.path("mounted");
    std::fs::create_dir(&mounted).expect("a folder");
    let place = mounted.to_str().expect("UTF-8");
    let original = path.to_str().expect("UTF-8");
    let script = format!(
        "mount -t tmpfs none {place} && cp {original} {place} && mount -o remount,ro,noexec,nosuid {place} && exec \"$@\""
    );
    let read_only = behind(&["unshare", "-m", "sh", "-c", &script, "sh"], &generate(&mounted.join("m.whit")));
    assert!(text(read_only) == expected);
}

/// L-13: quotas and CPUs that are off are tried with made-up machines, in os/cpu_tests.rs.
#[test]
fn one_core_gives_the_same_text() {
    if is_emulated() {
        return;
    }
    let folder = Folder::new("one-core");
    let path = model(&folder);
    let expected = text(generate(&path));
    assert!(text(behind(&["taskset", "-c", "0"], &generate(&path))) == expected);
    let mut inspect = whit();
    inspect.arg("inspect").arg("-m").arg(&path);
    let page = String::from_utf8(text(behind(&["taskset", "-c", "0"], &inspect))).expect("UTF-8");
    let threads = page.lines().find(|line| line.starts_with("threads")).expect("a line about threads");
    assert!(threads.contains(" 1,") || threads.contains(" 1 "), "{threads}");
}

/// What `command` shows on a terminal of that many columns.
fn on_terminal(columns: &str, environment: &str, command: &[&OsStr]) -> Output {
    let quoted: Vec<String> =
        command.iter().map(|word| format!("'{}'", word.to_str().expect("UTF-8").replace('\'', "'\\''"))).collect();
    let line = format!("stty cols {columns} rows 0; {environment} {}", quoted.join(" "));
    let mut script = Command::new("script");
    script.args(["-qec", &line, "/dev/null"]).stdin(Stdio::null()).output().expect("script starts")
}

/// L-17
#[test]
fn odd_terminals_get_the_text() {
    if is_emulated() {
        return;
    }
    let folder = Folder::new("terminals");
    let path = model(&folder);
    let program = OsStr::new(env!("CARGO_BIN_EXE_whit"));
    let next: Vec<&OsStr> = [program, "next".as_ref(), "-m".as_ref(), path.as_ref(), "the other".as_ref()].into();
    let [wide, none, dumb, plain] =
        [("100", ""), ("0", ""), ("100", "TERM=dumb"), ("100", "NO_COLOR=1")].map(|(columns, environment)| {
            let output = on_terminal(columns, environment, &next);
            let shown = String::from_utf8(output.stdout).expect("UTF-8");
            assert!(output.status.success() && shown.lines().count() > 5, "{columns} {environment}: {shown}");
            shown
        });
    assert!(wide.contains('\x1b') && none.contains('\x1b'), "colours on a terminal: {wide:?}");
    assert!(!dumb.contains('\x1b') && dumb == plain, "{dumb:?}");
    let mut chat = TinyModel::llama();
    chat.template = Some("{% for m in messages %}{{ m.content }}<|end|>{% endfor %}");
    chat.write(&path);
    let talk = "printf 'hi\\n' | TERM=dumb NO_COLOR=1";
    let chat: Vec<&OsStr> =
        [program, "chat".as_ref(), "-n".as_ref(), "3".as_ref(), "-m".as_ref(), path.as_ref()].into();
    assert!(on_terminal("0", talk, &chat).status.success());
}

/// U-11: a model that writes escape sequences.
#[test]
fn what_moves_the_cursor_is_escaped_on_terminals_alone() {
    if is_emulated() {
        return;
    }
    let folder = Folder::new("escapes");
    let path = model(&folder);
    let program = OsStr::new(env!("CARGO_BIN_EXE_whit"));
    for (byte, shown) in [(0x1b_u8, "\\u{1b}"), (0x07, "\\u{7}"), (b'\r', "\\r")] {
        let bias = format!("{byte}=1000");
        let words = ["generate", "-q", "-n", "3", "--no-echo", "--logit-bias", &bias, "x", "-m"];
        let mut line: Vec<&OsStr> = vec![program];
        line.extend(words.map(OsStr::new));
        line.push(path.as_ref());
        let terminal = String::from_utf8(on_terminal("80", "", &line).stdout).expect("UTF-8");
        assert!(terminal.contains(&shown.repeat(3)), "{terminal:?}");
        line.push("--raw".as_ref());
        let raw = on_terminal("80", "", &line).stdout;
        assert!(raw.starts_with(&[byte; 3]), "{raw:?}");
        let mut piped = whit();
        piped.args(&line[1..line.len() - 1]);
        assert_eq!(text(piped), [byte, byte, byte, b'\n']);
    }
}
