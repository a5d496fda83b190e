//! The program in odd surroundings: paths, signals, limits, an empty environment, other file systems, terminals. Rows of the bad
//! inputs are named where they are tried (docs/bad-inputs.md). Where another CPU is emulated, limits would bind the emulator.
#![cfg(all(feature = "cli", target_os = "linux"))]

mod program;
mod support;

use program::whit;
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
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
        // As it is, so that some begin with a dash.
        let mut command = whit();
        command.arg("generate").args(RUN).arg(OsString::from_vec([b"--model=", name.as_encoded_bytes()].concat()));
        command.arg("the other").current_dir(folder.path(""));
        let output = command.output().expect("it starts");
        assert!(output.status.success() && output.stdout == expected, "{name:?}: {}", told(&output));
        std::fs::remove_file(&path).expect("removed");
        let output = command.output().expect("it starts");
        assert_eq!((output.status.code(), told(&output).lines().count()), (Some(66), 1), "{name:?}: {}", told(&output));
        assert!(!told(&output).trim_end().contains(char::is_control), "{name:?}: {:?}", told(&output));
    }
    let long = generate(&folder.path(&"x/".repeat(2048))).output().expect("it starts");
    assert_eq!(long.status.code(), Some(66));
    assert!(told(&long).contains("too long") && told(&long).len() < 500, "{}", told(&long));
    // What begins with a dash is a prompt behind two of them.
    let prompt =
        whit().args(["generate", "-q", "-n", "0", "-m"]).arg(folder.path("m.whit")).args(["--", "-n"]).output();
    assert_eq!(prompt.expect("it starts").stdout, b"-n\n");
}

/// A run of 100,000 tokens that has begun to write; nobody reads more of it than fits into the pipe.
fn running(model: &Path) -> (Child, std::process::ChildStdout) {
    let mut command = whit();
    command.args(["generate", "-q", "-n", "100000", "-s", "3", "-t", "1", "-m"]).arg(model).arg("the other");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut out = child.stdout.take().expect("a pipe");
    out.read_exact(&mut [0; 16]).expect("some text");
    (child, out)
}

/// The next bytes of such a run, which ends with them.
fn ends((mut child, mut out): (Child, std::process::ChildStdout)) -> Vec<u8> {
    let mut text = vec![0; 3000];
    out.read_exact(&mut text).expect("more text");
    child.kill().expect("a child");
    child.wait().expect("it ends");
    text
}

/// Whether this process was started with SIGHUP ignored, as by nohup: its children ignore it too.
fn ignores_hangups() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.is_some_and(|bits| u64::from_str_radix(bits.trim(), 16).is_ok_and(|bits| bits & 1 == 1))
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
        if name == "-HUP" && ignores_hangups() {
            left_out("SIGHUP is ignored here");
            continue;
        }
        let (mut child, out) = running(&model);
        signal(name, &child);
        assert_eq!(child.wait().expect("it ends").signal(), Some(number));
        drop(out);
    }
    assert_eq!(std::fs::read_dir(folder.path("")).expect("the folder").count(), 1);
    // Held for a while: the text is the same.
    let (mut child, out) = running(&model);
    signal("-STOP", &child);
    std::thread::sleep(Duration::from_millis(50));
    assert!(child.try_wait().expect("a child").is_none());
    signal("-CONT", &child);
    assert!(ends((child, out)) == ends(running(&model)));
}

/// L-23
#[test]
fn a_closed_standard_output_is_told_and_one_that_throws_away_is_none() {
    if is_emulated() {
        return;
    }
    let folder = Folder::new("no-output");
    let model = model(&folder);
    let session = folder.path("text.session");
    let mut keeping = generate(&model);
    keeping.arg("--session").arg(&session);
    let mut version = whit();
    version.arg("-V");
    let mut json = generate(&model);
    json.arg("--json");
    for command in [&generate(&model), &keeping, &version, &json] {
        let output = behind(&["sh", "-c", "exec \"$@\" >&-", "sh"], command).output().expect("it starts");
        assert_eq!(output.status.code(), Some(74), "{command:?}: {}", told(&output));
        assert!(
            told(&output).contains("standard output") && told(&output).contains("it is closed"),
            "{}",
            told(&output)
        );
        assert_eq!(told(&output).lines().count(), 1);
        for elsewhere in [">/dev/null", "1<>/dev/null", "<&- >/dev/null", "2>&- >/dev/null"] {
            text(behind(&["sh", "-c", &format!("exec \"$@\" {elsewhere}"), "sh"], command));
        }
    }
}

/// Starts a command without the files that this process may have been given.
const ALONE: [&str; 4] = ["sh", "-c", "exec \"$@\" 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-", "sh"];

/// L-10, beside the limit of addresses, which tests/plan.rs tries.
#[test]
fn limits_of_the_process_are_kept_or_told() {
    if is_emulated() {
        return;
    }
    let folder = Folder::new("limits");
    let command = generate(&model(&folder));
    let expected = text(generate(&folder.path("m.whit")));
    // Three streams and one file at a time; the main thread on 128 KiB, of which a debug build takes half for the arguments.
    for limit in ["--nofile=4", "--stack=131072", "--memlock=0"] {
        assert!(text(behind(&[&ALONE[..], &["prlimit", limit]].concat(), &command)) == expected, "{limit}");
    }
    // The model takes the fourth; a session would be the fifth.
    let session = folder.write("kept.session", "x");
    let mut more = generate(&folder.path("m.whit"));
    more.arg("--session").arg(session);
    let output = behind(&[&ALONE[..], &["prlimit", "--nofile=4"]].concat(), &more).output().expect("it starts");
    assert_eq!(output.status.code(), Some(66), "{}", told(&output));
    assert!(told(&output).contains("Too many open files"), "{}", told(&output));

    let as_nobody = ["setpriv", "--reuid=65534", "--clear-groups", "prlimit", "--nproc=1"];
    // A copy, where others may look.
    let copy = folder.path("whit");
    std::fs::copy(env!("CARGO_BIN_EXE_whit"), &copy).expect("copied");
    for (path, mode) in [(folder.path(""), 0o755), (copy.clone(), 0o755), (folder.path("m.whit"), 0o644)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("its owner");
    }
    let as_other = Command::new("setpriv").args(["--reuid=65534", "--clear-groups"]).arg(&copy).arg("-V").output();
    if !as_other.is_ok_and(|output| output.status.success()) {
        return left_out("no other user can be tried, whose threads are counted");
    }
    let run = |more: &[&str]| {
        let mut command = Command::new(&copy);
        command.arg("generate").args(RUN).args(more).arg("-m").arg(folder.path("m.whit")).arg("the other");
        behind(&as_nobody, &command)
    };
    assert!(text(run(&[])) == expected, "fewer threads where none were asked for");
    let output = run(&["-t", "4"]).output().expect("it starts");
    assert_eq!(output.status.code(), Some(71), "{}", told(&output));
    assert!(told(&output).starts_with("error[resources]: thread 1 of 4 cannot be started"), "{}", told(&output));
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
        command.env(name, value);
        assert!(text(command) == expected, "{name}");
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
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).expect("a list of CPUs");
    let first: String = allowed.trim().chars().take_while(char::is_ascii_digit).collect();
    let on_first = ["taskset", "-c", &first];
    assert!(text(behind(&on_first, &generate(&path))) == expected);
    let mut inspect = whit();
    inspect.arg("inspect").arg("-m").arg(&path);
    let page = String::from_utf8(text(behind(&on_first, &inspect))).expect("UTF-8");
    let threads = page.lines().find_map(|line| line.strip_prefix("threads")).expect("a line about threads");
    assert!(threads.trim_start().starts_with("1 of "), "{threads}");
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
    const COLOURS: &str = "env -u NO_COLOR TERM=xterm";
    let program = OsStr::new(env!("CARGO_BIN_EXE_whit"));
    let next: Vec<&OsStr> = [program, "next".as_ref(), "-m".as_ref(), path.as_ref(), "the other".as_ref()].into();
    let [wide, none, dumb, plain] =
        [("100", COLOURS), ("0", COLOURS), ("100", "TERM=dumb"), ("100", "TERM=xterm NO_COLOR=1")].map(
            |(columns, environment)| {
                let output = on_terminal(columns, environment, &next);
                let shown = String::from_utf8(output.stdout).expect("UTF-8");
                assert!(output.status.success() && shown.lines().count() > 5, "{columns} {environment}: {shown}");
                shown
            },
        );
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
