//! A model file that changes or fails under the program; errors for programs.
#![cfg(feature = "cli")]

mod program;
mod support;

use program::whit;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};
use support::{Folder, TinyModel};

/// A model whose weights have some pages, and that goes on until it is stopped.
#[cfg(unix)]
fn model(folder: &Folder) -> PathBuf {
    let path = folder.path("m.whit");
    let mut tiny = TinyModel { has_end: false, ..TinyModel::llama() };
    (tiny.config.n_layers, tiny.config.hidden_dim, tiny.config.context_length) = (12, 640, 1 << 17);
    tiny.template = Some("{% for m in messages %}{{ m.content }}{% endfor %}");
    tiny.write(&path);
    path
}

/// A chat with the model that has replied once: it waits for the next line.
#[cfg(unix)]
fn talking(folder: &Folder) -> (PathBuf, Child, BufReader<std::process::ChildStdout>) {
    let path = model(folder);
    let (child, out) = talking_to(&path, None);
    (path, child, out)
}

/// The same with the model at `path`, with so many bytes of addresses at most.
#[cfg(unix)]
fn talking_to(path: &Path, addresses: Option<u64>) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut command = whit();
    command.args(["chat", "-q", "--raw", "-n", "4", "-s", "1", "-t", "1", "--ctx", "4096", "-m"]).arg(path);
    if let Some(bytes) = addresses {
        let mut limited = Command::new("sh");
        limited.args(["-c", &format!("ulimit -v {}; exec \"$@\"", bytes >> 10), "sh"]).arg(command.get_program());
        limited.args(command.get_args());
        command = limited;
    }
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("whit");
    child.stdin.as_mut().expect("a pipe").write_all(b"hi\n").expect("it reads");
    let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut line = Vec::new();
    out.read_until(b'\n', &mut line).expect("a reply");
    (child, out)
}

/// Exit code and standard error of a chat that is told one more line.
#[cfg(unix)]
fn end(mut child: Child) -> (Option<i32>, String) {
    let _ = child.stdin.take().expect("a pipe").write_all(b"more\n");
    let mut told = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut told).expect("UTF-8");
    (child.wait().expect("it ends").code(), told)
}

/// M-32
#[cfg(unix)]
#[test]
fn a_file_that_is_cut_while_it_is_in_use_ends_in_a_message() {
    // An emulator has handlers of its own.
    if std::env::var_os("WHIT_TEST_RUNNER").is_some() {
        return;
    }
    let folder = Folder::new("cut");
    for keep in [0, 4096, 100_000] {
        let (path, child, _out) = talking(&folder);
        File::options().write(true).open(&path).and_then(|file| file.set_len(keep)).expect("cut");
        let (code, told) = end(child);
        assert_eq!(code, Some(74), "{told}");
        assert!(told.starts_with("error[io]: ") && told.lines().count() == 1, "{told}");
        assert!(told.contains("m.whit: byte 0x") && told.contains("again"), "{told}");
    }
}

/// M-34
#[cfg(unix)]
#[test]
fn a_file_that_is_written_over_is_noticed_after_the_reply() {
    let folder = Folder::new("written-over");
    let (path, child, _out) = talking(&folder);
    let bytes = std::fs::read(&path).expect("read");
    std::fs::write(&path, [&bytes[..], b"x"].concat()).expect("written");
    let (code, told) = end(child);
    assert_eq!(code, Some(74), "{told}");
    assert!(told.contains("while it was in use"), "{told}");
}

/// Exit code and standard error of a chat that is told one more line, within a minute.
#[cfg(unix)]
fn end_soon(mut child: Child) -> (Option<i32>, String) {
    let _ = child.stdin.take().expect("a pipe").write_all("é the other, more\n".as_bytes());
    let begin = Instant::now();
    while child.try_wait().expect("a child").is_none() {
        if begin.elapsed() > Duration::from_secs(60) {
            child.kill().expect("a child");
            break;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let output = child.wait_with_output().expect("it ends");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// M-42: whatever stood in the file was text, lengths and places when it was opened.
#[cfg(unix)]
#[test]
fn a_chat_whose_file_was_cut_or_written_over_ends_in_a_message() {
    if std::env::var_os("WHIT_TEST_RUNNER").is_some() {
        return;
    }
    let folder = Folder::new("chat-changed");
    let path = model(&folder);
    let bytes = std::fs::read(&path).expect("written");
    let front = whit::format::File::front_bytes(&bytes).expect("a front");
    let mut random = whit::sampler::Rng::new(5);
    let noise: Vec<u8> = (0..bytes.len()).map(|_| (random.uniform() * 256.0) as u8).collect();
    for n in 0..20 {
        // Half of them within what is not weights.
        let place = if n < 10 { front * n / 10 } else { front + (bytes.len() - front) * (n - 10) / 10 };
        let cut = |path: &Path| File::options().write(true).open(path)?.set_len(place as u64);
        // All of it, or from a place on.
        let write_over = |path: &Path| {
            let file = File::options().write(true).open(path)?;
            std::os::unix::fs::FileExt::write_all_at(&file, &noise[place..], place as u64)
        };
        let zero = |path: &Path| {
            let file = File::options().write(true).open(path)?;
            std::os::unix::fs::FileExt::write_all_at(&file, &vec![0xff; bytes.len() - place], place as u64)
        };
        type Event<'e> = &'e dyn Fn(&Path) -> std::io::Result<()>;
        let events: [(&str, Event<'_>); 3] = [("cut", &cut), ("written over", &write_over), ("all bits", &zero)];
        for (name, event) in events {
            std::fs::write(&path, &bytes).expect("written");
            let (child, _out) = talking_to(&path, Some(256 << 20));
            event(&path).expect("changed");
            let (code, told) = end_soon(child);
            assert_eq!(code, Some(74), "{name} at {place} of {front} and {}: {told}", bytes.len());
            assert!(told.starts_with("error[io]: ") && told.lines().count() == 1, "{name} at {place}: {told}");
        }
    }
}

/// A long text that has begun to be written, and who reads it to its end.
#[cfg(unix)]
fn writing(path: &Path, how: [&str; 3]) -> (Child, JoinHandle<std::io::Result<u64>>) {
    let mut command = whit();
    command.args(["generate", "-n", "100000", "-s", "1"]).args(how).arg("-m").arg(path).arg("the other");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("whit starts");
    let mut out = child.stdout.take().expect("a pipe");
    out.read_exact(&mut [0; 16]).expect("some text");
    (child, std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink())))
}

/// M-32, M-34: at twenty moments of a long text.
#[cfg(unix)]
#[test]
fn whatever_happens_to_the_file_while_a_text_is_written_is_told() {
    if std::env::var_os("WHIT_TEST_RUNNER").is_some() {
        return;
    }
    let folder = Folder::new("moments");
    let path = model(&folder);
    let bytes = std::fs::read(&path).expect("written");
    let cut = |_: &Folder, path: &Path| {
        File::options().write(true).open(path).and_then(|file| file.set_len(4096)).expect("cut");
    };
    let write_over = |_: &Folder, path: &Path| {
        let file = File::options().write(true).open(path).expect("the file");
        std::os::unix::fs::FileExt::write_all_at(&file, &[0], 70_000).expect("written over");
    };
    const CUT: &str = "m.whit: byte 0x";
    // The old file is still the one that is mapped.
    let replace = |folder: &Folder, path: &Path| {
        std::fs::rename(folder.write("other.whit", b"x"), path).expect("replaced");
    };
    type Event = fn(&Folder, &Path);
    let events: [(Event, i32, &str); 3] = [(cut, 74, CUT), (write_over, 74, "while it was in use"), (replace, 130, "")];
    for moment in 0..20_u64 {
        for (event, code, part) in events {
            std::fs::write(&path, &bytes).expect("written");
            // Of long ago, so that no clock is too coarse for a change.
            let file = File::options().write(true).open(&path).expect("the file");
            file.set_modified(SystemTime::UNIX_EPOCH).expect("a time");
            let (child, reader) = writing(&path, ["-q", "-t", "1"]);
            std::thread::sleep(Duration::from_millis(moment * 7 % 40));
            event(&folder, &path);
            // Of a cut file the program ends by itself.
            if part != CUT {
                let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
                assert!(kill.expect("kill").success());
            }
            let output = child.wait_with_output().expect("it ends");
            reader.join().expect("no panic").expect("readable");
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(code), "{part}, {moment}: {told}");
            assert!(told.contains(part), "{part}, {moment}: {told}");
        }
    }
}

/// M-42: numbers that are none any more are told as what they come from.
#[cfg(unix)]
#[test]
fn weights_that_were_written_over_are_told_as_such() {
    if std::env::var_os("WHIT_TEST_RUNNER").is_some() {
        return;
    }
    let folder = Folder::new("weights-over");
    let path = model(&folder);
    let bytes = std::fs::read(&path).expect("written");
    let front = whit::format::File::front_bytes(&bytes).expect("a front");
    for place in [front, front + 4096, front + 100_000, bytes.len() - 4096] {
        std::fs::write(&path, &bytes).expect("written");
        let (mut child, reader) = writing(&path, ["-q", "-t", "1"]);
        let file = File::options().write(true).open(&path).expect("the file");
        std::os::unix::fs::FileExt::write_all_at(&file, &vec![0xff; bytes.len() - place], place as u64).expect("over");
        std::thread::sleep(Duration::from_millis(300));
        if child.try_wait().expect("a child").is_none() {
            let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
            assert!(kill.expect("kill").success());
        }
        let output = child.wait_with_output().expect("it ends");
        reader.join().expect("no panic").expect("readable");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(74), "{place}: {told}");
        assert!(told.contains("the file was changed while it was in use"), "{place}: {told}");
    }
}

/// M-32: also the error that a signal's handler tells.
#[cfg(unix)]
#[test]
fn a_cut_file_is_told_in_json() {
    if std::env::var_os("WHIT_TEST_RUNNER").is_some() {
        return;
    }
    let folder = Folder::new("cut-json");
    let path = model(&folder);
    let (child, reader) = writing(&path, ["--json", "-t", "2"]);
    File::options().write(true).open(&path).and_then(|file| file.set_len(0)).expect("cut");
    let output = child.wait_with_output().expect("it ends");
    reader.join().expect("no panic").expect("readable");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let last: serde_json::Value = serde_json::from_str(told.lines().last().expect("a line")).expect(&told);
    let error = &last["error"];
    assert_eq!(
        (error["kind"].as_str(), error["exit_code"].as_i64(), output.status.code()),
        (Some("io"), Some(74), Some(74))
    );
    assert!(error["offset"].is_u64() && error["file"].as_str().is_some_and(|name| name.ends_with("m.whit")), "{told}");
}

#[test]
fn errors_are_json_where_json_is_asked_for() {
    let cases: [(&[&str], i64, &str); 3] = [
        (&["generate", "--json", "-m", "/nonexistent/m.whit", "x"], 66, "no-input"),
        (&["plan", "--json", "--ctx", "0"], 64, "usage"),
        (&["generate", "--json", "--ctx", "256", "--max-memory", "1k", "x"], 71, "resources"),
    ];
    for (args, code, kind) in cases {
        let output = whit().args(args).output().expect("whit starts");
        assert_eq!(output.status.code().map(i64::from), Some(code));
        let told: serde_json::Value = serde_json::from_slice(&output.stderr).expect("one line of JSON");
        let error = &told["error"];
        assert_eq!((error["kind"].as_str(), error["exit_code"].as_i64()), (Some(kind), Some(code)), "{told}");
        assert!(!error["message"].as_str().expect("a message").is_empty());
        let parts: Vec<_> = error.as_object().expect("an error").keys().collect();
        for part in ["kind", "exit_code", "file", "field", "offset", "message", "hint"] {
            assert!(parts.contains(&&part.to_string()) && parts.len() == 7, "{part}: {told}");
        }
    }
}
