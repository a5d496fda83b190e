//! Memory that ends under a program: an error in words, whoever asked for it.
#![cfg(all(feature = "cli", target_os = "linux"))]

mod program;
mod support;

use program::whit;
use std::fs::File;
use std::process::Command;
use support::{Folder, TinyModel};

/// L-22: a line of a chat, a prompt, a text to be cut into tokens, each longer than there is memory for.
#[test]
fn memory_that_ends_is_an_error_wherever_it_does() {
    // An emulator would be limited, too.
    if std::env::var_os("WHIT_TEST_RUNNER").is_some() {
        return;
    }
    let folder = Folder::new("no-memory");
    let model = folder.path("m.whit");
    TinyModel { template: Some("{% for m in messages %}{{ m.content }} {% endfor %}"), ..TinyModel::llama() }
        .write(&model);
    let text = folder.write("text", "the other ".repeat(150_000));
    let commands: [&[&str]; 3] =
        [&["chat", "-q", "-t", "1"], &["generate", "-q", "-t", "1", "-f", "-"], &["tokens", "-f", "-"]];
    let within = |kib: usize, words: &[&str]| {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -v {kib}; exec \"$@\""), "sh"]).arg(whit().get_program()).args(words);
        command
    };
    // What the program and the libraries of the system take before its first line.
    let starts = |kib: &usize| within(*kib, &["--version"]).output().expect("sh starts").status.success();
    let least = (8_000..80_000).step_by(1_000).find(starts).expect("memory for the program itself");
    let mut n_ended = 0;
    for kib in (least..least + 36_000).step_by(4_000) {
        for words in commands {
            let mut command = within(kib, words);
            command.arg("-m").arg(&model).stdin(File::open(&text).expect("there"));
            let output = command.output().expect("sh starts");
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            let code = output.status.code();
            // Where there is enough, the text is longer than any context.
            assert!(matches!(code, Some(0 | 64 | 65 | 71)), "{words:?} {kib}: {:?} {told}", output.status);
            if code == Some(71) {
                assert!(told.starts_with("error[resources]: ") && told.lines().count() == 1, "{words:?} {kib}: {told}");
                n_ended += usize::from(told.contains("there is no memory for another"));
            }
        }
    }
    assert!(n_ended > 4, "{n_ended} runs ended without memory");
}
