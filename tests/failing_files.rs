//! A model file that changes or fails under the program; errors for programs.
#![cfg(feature = "cli")]

mod program;
mod support;

use program::whit;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Stdio};
use support::{Folder, TinyModel};

/// A model whose weights have some pages, and a chat with it that has replied once: it waits for the next line.
#[cfg(unix)]
fn talking(folder: &Folder) -> (std::path::PathBuf, Child, BufReader<std::process::ChildStdout>) {
    let path = folder.path("m.whit");
    let mut tiny = TinyModel::llama();
    (tiny.config.n_layers, tiny.config.hidden_dim) = (12, 640);
    tiny.template = Some("{% for m in messages %}{{ m.content }}<|end|>{% endfor %}");
    tiny.write(&path);
    let mut command = whit();
    command.args(["chat", "-q", "--raw", "-n", "4", "-s", "1", "-m"]).arg(&path);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("whit");
    child.stdin.as_mut().expect("a pipe").write_all(b"hi\n").expect("it reads");
    let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut line = Vec::new();
    out.read_until(b'\n', &mut line).expect("a reply");
    (path, child, out)
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
        let line = told.trim_start();
        assert!(
            line.starts_with("error[io]: ") && line.contains("m.whit at byte 0x") && line.contains("again"),
            "{told}"
        );
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
        assert!(error.get("file").is_some() && error.get("offset").is_some() && error.get("hint").is_some());
    }
}
