//! Conversations that are kept in a session file: whatever ends the program, what was said is there.
#![cfg(all(feature = "cli", unix))]

mod program;
mod support;

use program::whit;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use support::{Folder, TinyModel};

const TEMPLATE: &str = "{% for m in messages %}{{ m.role }}: {{ m.content }}<|end|>\n{% endfor %}assistant: ";

struct Place {
    folder: Folder,
    model: PathBuf,
    session: PathBuf,
}

impl Place {
    fn new(name: &str, has_end: bool) -> Self {
        let folder = Folder::new(name);
        let (model, session) = (folder.path("m.whit"), folder.path("talk.session"));
        let mut tiny = TinyModel { has_end, template: Some(TEMPLATE), ..TinyModel::llama() };
        tiny.config.context_length = 1 << 13;
        tiny.write(&model);
        Place { folder, model, session }
    }

    /// A chat of replies of 9 tokens, with more arguments.
    fn chat(&self, more: &[&str]) -> Command {
        let mut command = whit();
        command.args(["chat", "--raw", "-s", "7", "-t", "1", "-m"]).arg(&self.model).args(more);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// One that is kept.
    fn kept(&self) -> Command {
        let mut command = self.chat(&["-q", "-n", "9", "--session"]);
        command.arg(&self.session);
        command
    }

    fn bytes(&self) -> u64 {
        std::fs::metadata(&self.session).map_or(0, |metadata| metadata.len())
    }

    /// A kept chat that was told these lines, each of which it has answered and kept.
    fn talking(&self, lines: &[&str]) -> Child {
        let before = std::fs::metadata(&self.session).is_ok();
        let mut child = self.kept().spawn().expect("whit starts");
        if !before {
            wait(|| self.bytes() > 0);
        }
        for line in lines {
            let bytes = self.bytes();
            writeln!(child.stdin.as_mut().expect("a pipe"), "{line}").expect("it reads");
            wait(|| self.bytes() > bytes);
        }
        child
    }
}

/// Waits until something is so.
fn wait(is_so: impl Fn() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < Duration::from_secs(60), "it never is so");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// What comes of `command` that is told `lines`.
fn tell(mut command: Command, lines: &[u8]) -> Output {
    let mut child = command.spawn().expect("whit starts");
    // It may end before it has read all.
    let _ = child.stdin.take().expect("a pipe").write_all(lines);
    child.wait_with_output().expect("whit ends")
}

fn said(output: &Output) -> Vec<u8> {
    assert!(output.status.success(), "{}", told(output));
    output.stdout.clone()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn signal(name: &str, child: &Child) {
    let sent = Command::new("kill").args([name, &child.id().to_string()]).status().expect("kill");
    assert!(sent.success());
}

/// L-18
#[test]
fn what_was_said_survives_every_end() {
    let whole = {
        let place = Place::new("kept-whole", true);
        said(&tell(place.chat(&["-q", "-n", "9"]), b"one\ntwo\nthree\n"))
    };
    type End = fn(&mut Child);
    let ends: [(&str, End, Option<i32>); 7] = [
        ("kill", |child| signal("-KILL", child), None),
        ("term", |child| signal("-TERM", child), Some(143)),
        ("hup", |child| signal("-HUP", child), Some(129)),
        // The first may find the end of a reply, which it ends.
        (
            "int",
            |child| {
                while child.try_wait().expect("a child").is_none() {
                    signal("-INT", child)
                }
            },
            Some(130),
        ),
        ("bad line", |child| child.stdin.as_mut().expect("a pipe").write_all(b"\xff\xfe\n").expect("read"), Some(65)),
        (
            "closed pipe",
            |child| {
                // All of it, and then nobody reads.
                drop(child.stdout.take());
                let _ = child.stdin.as_mut().expect("a pipe").write_all(b"unheard\n");
            },
            Some(0),
        ),
        ("end", |child| drop(child.stdin.take()), Some(0)),
    ];
    for (name, end, code) in ends {
        if name == "hup" && ignores_hangups() {
            eprintln!("SKIPPED: SIGHUP is ignored here");
            continue;
        }
        let place = Place::new(&format!("kept-{}", name.replace(' ', "-")), true);
        let mut child = place.talking(&["one", "two"]);
        let mut out = child.stdout.take().expect("a pipe");
        if name == "closed pipe" {
            drop(out);
            end(&mut child);
            assert_eq!(child.wait().expect("it ends").code(), code, "{name}");
        } else {
            end(&mut child);
            assert_eq!(child.wait().expect("it ends").code(), code, "{name}");
            let mut heard = Vec::new();
            out.read_to_end(&mut heard).expect("readable");
            assert!(whole.starts_with(&heard), "{name}");
            heard.extend(said(&tell(place.kept(), b"three\n")));
            assert!(heard == whole, "{name}: {:?}", String::from_utf8_lossy(&heard));
            continue;
        }
        let last = said(&tell(place.kept(), b"three\n"));
        assert!(whole.ends_with(&last) && !last.is_empty(), "{name}: {:?}", String::from_utf8_lossy(&last));
    }
}

/// Whether this process was started with SIGHUP ignored, as by nohup: its children ignore it too.
fn ignores_hangups() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.is_some_and(|bits| u64::from_str_radix(bits.trim(), 16).is_ok_and(|bits| bits & 1 == 1))
}

/// L-18: the reply that is being written ends as at Ctrl-C, and is kept.
#[test]
fn a_signal_ends_the_reply_and_then_the_conversation() {
    for (name, code) in [("-TERM", 143), ("-HUP", 129)] {
        if name == "-HUP" && ignores_hangups() {
            continue;
        }
        let place = Place::new(&format!("kept-amid{name}"), false);
        let mut command = place.chat(&["--session"]);
        let mut child = command.arg(&place.session).spawn().expect("whit starts");
        child.stdin.as_mut().expect("a pipe").write_all(b"go on\n").expect("it reads");
        let mut out = child.stdout.take().expect("a pipe");
        let mut heard = vec![0; 20];
        out.read_exact(&mut heard).expect("a reply");
        signal(name, &child);
        out.read_to_end(&mut heard).expect("readable");
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(code), "{}", told(&output));
        assert!(told(&output).contains("whit: stopped"), "{}", told(&output));
        // The line that ends the reply is none of it.
        heard.pop();
        let kept = std::fs::read(&place.session).expect("a session");
        assert!(kept.windows(heard.len()).any(|part| part == heard), "the reply is in the file");
        said(&tell(place.kept(), b"more\n"));
    }
}

/// L-18: a reply that is asked for again stays what it was until there is another one.
#[test]
fn a_reply_that_is_not_drawn_again_stays() {
    let place = Place::new("kept-again", true);
    // So long that it takes a while to be computed after a restart.
    let system = "word ".repeat(500);
    let whole = said(&tell(place.chat(&["-q", "-n", "9", "--system", &system]), b"one\ntwo\n"));
    let mut first = place.kept();
    first.args(["--system", &system]);
    let mut first = first.spawn().expect("whit starts");
    wait(|| place.bytes() > 0);
    let bytes = place.bytes();
    first.stdin.as_mut().expect("a pipe").write_all(b"one\n").expect("it reads");
    wait(|| place.bytes() > bytes);
    signal("-KILL", &first);
    first.wait().expect("it ends");
    let kept = std::fs::read(&place.session).expect("a session");
    let mut n_stopped = 0;
    for milliseconds in [30, 60, 120, 240, 480, 960] {
        std::fs::write(&place.session, &kept).expect("written");
        let mut again = place.kept();
        let mut again = again.arg("--commands").spawn().expect("whit starts");
        again.stdin.as_mut().expect("a pipe").write_all(b"/regenerate\n").expect("it reads");
        std::thread::sleep(Duration::from_millis(milliseconds));
        signal("-INT", &again);
        let output = again.wait_with_output().expect("it ends");
        // Otherwise it was too early or too late.
        if output.stdout == b"\n" && told(&output).contains("whit: stopped") {
            n_stopped += 1;
            let last = said(&tell(place.kept(), b"two\n"));
            assert!(whole.ends_with(&last) && last.len() > 1, "{:?}", String::from_utf8_lossy(&last));
        }
    }
    assert!(n_stopped > 0, "no reply was stopped before it began");
}

/// M-40
#[test]
fn a_turn_that_was_not_written_to_its_end_is_left_out() {
    let place = Place::new("kept-torn", true);
    let mut child = place.talking(&["one"]);
    let first = place.bytes();
    child.stdin.as_mut().expect("a pipe").write_all(b"two\n").expect("it reads");
    wait(|| place.bytes() > first);
    signal("-KILL", &child);
    child.wait().expect("it ends");
    let whole = std::fs::read(&place.session).expect("a session");
    let alone = said(&tell(place.chat(&["-q", "-n", "9"]), b"one\nthree\n"));
    let first = first as usize;
    for n in [first + 1, first + 8, first + 20, first + 43, first + 44, first + 45, whole.len() - 1] {
        std::fs::write(&place.session, &whole[..n]).expect("written");
        let output = tell(place.kept(), b"three\n");
        assert!(alone.ends_with(&said(&output)), "{n}");
        let words = format!("the last {} bytes are left out", n - first);
        assert!(told(&output).contains(&words) && told(&output).contains("talk.session"), "{n}: {}", told(&output));
    }
    // What has a whole record behind it is no end.
    let mut damaged = whole.clone();
    damaged[first - 3] ^= 1;
    std::fs::write(&place.session, &damaged).expect("written");
    let output = tell(place.kept(), b"three\n");
    assert_eq!(output.status.code(), Some(65));
    assert!(told(&output).contains("the record is damaged, and others follow it"), "{}", told(&output));
    assert!(std::fs::read(&place.session).expect("there") == damaged, "it stays as it is");
}

/// M-41
#[test]
fn a_session_belongs_to_one_process() {
    let place = Place::new("kept-owned", true);
    let child = place.talking(&["one"]);
    let link = place.folder.path("link.session");
    std::os::unix::fs::symlink(&place.session, &link).expect("a link");
    let bytes = std::fs::read(&place.session).expect("a session");
    for path in [&place.session, &link] {
        let mut chat = place.chat(&["--session"]);
        chat.arg(path);
        let mut generate = whit();
        generate.args(["generate", "-m"]).arg(&place.model).arg("--session").arg(path).args(["-n", "1", "x"]);
        generate.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut save = place.chat(&["--commands"]);
        save.arg("-q");
        let saved = tell(save, format!("/save {}\n", path.display()).as_bytes());
        assert!(told(&saved).contains("another process is using it"), "{}", told(&saved));
        for command in [chat, generate] {
            let output = tell(command, b"two\n");
            assert_eq!(output.status.code(), Some(71), "{}", told(&output));
            let name = path.file_name().and_then(|name| name.to_str()).expect("UTF-8");
            assert!(told(&output).contains(&format!("{name}: another process is using it")), "{}", told(&output));
        }
    }
    assert!(std::fs::read(&place.session).expect("there") == bytes);
    // The system gives it back, however its owner ends.
    signal("-KILL", &child);
    child.wait_with_output().expect("it ends");
    said(&tell(place.kept(), b"two\n"));
}

/// L-19
#[test]
fn a_piped_line_is_no_command() {
    let place = Place::new("kept-lines", true);
    let precious = place.folder.write("precious", "never to be lost");
    let session = place.folder.path("new.session");
    let (lines, path) = (format!("/save {}\n/quit\n", session.display()), precious.display());
    let plain = tell(place.chat(&["-q", "-n", "9"]), lines.as_bytes());
    assert!(!said(&plain).is_empty() && !session.exists(), "both are answered: {}", told(&plain));
    let output = tell(place.chat(&["-q", "-n", "9", "--commands"]), lines.as_bytes());
    assert!(said(&output).is_empty() && session.exists(), "{}", told(&output));
    // Nothing but a session is replaced, by whatever way.
    for lines in
        [format!("/save {path}\n"), format!("one\n/save {path}\n"), format!("/save {}\n", place.model.display())]
    {
        let model = std::fs::read(&place.model).expect("there");
        let output = tell(place.chat(&["-q", "-n", "9", "--commands"]), lines.as_bytes());
        assert!(told(&output).contains("this is not a saved session (name another file)"), "{}", told(&output));
        assert_eq!(std::fs::read(&precious).expect("there"), b"never to be lost");
        assert!(std::fs::read(&place.model).expect("there") == model);
    }
    let mut command = place.chat(&["-q", "--session"]);
    command.arg(&precious);
    let output = tell(command, b"one\n");
    assert_eq!(output.status.code(), Some(65), "{}", told(&output));
    assert_eq!(std::fs::read(&precious).expect("there"), b"never to be lost");
}

#[test]
fn a_conversation_is_no_text_to_go_on_with() {
    let place = Place::new("kept-text", true);
    said(&tell(place.kept(), b"one\n"));
    let before = std::fs::read(&place.session).expect("a session");
    let mut generate = whit();
    generate.args(["generate", "-m"]).arg(&place.model).arg("--session").arg(&place.session).args(["-n", "1", "x"]);
    let output = generate.output().expect("whit starts");
    assert_eq!(output.status.code(), Some(64));
    assert!(told(&output).contains("this is a conversation, not a text"), "{}", told(&output));
    assert!(std::fs::read(&place.session).expect("there") == before);
}
