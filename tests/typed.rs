//! Commands as people type them: a model file alone, one question, no command at all.
#![cfg(feature = "cli")]

mod program;
mod support;

use program::whit;
use std::io::Write;
use std::process::{Output, Stdio};
use support::{Folder, TinyModel};

const TEMPLATE: &str = "{% for m in messages %}{{ m.role }}: {{ m.content }}<|end|>\n{% endfor %}assistant: ";

/// A folder with a model that talks and one that does not.
struct Place {
    folder: Folder,
    talks: String,
    plain: String,
}

impl Place {
    fn new(name: &str) -> Self {
        let folder = Folder::new(name);
        let [talks, plain] = [("talks.whit", Some(TEMPLATE)), ("plain.whit", None)].map(|(name, template)| {
            let path = folder.path(name);
            let mut tiny = TinyModel { template, ..TinyModel::llama() };
            tiny.config.context_length = 512;
            tiny.write(&path);
            path.to_str().expect("UTF-8").to_string()
        });
        Place { folder, talks, plain }
    }
}

fn run(args: &[&str], input: &str) -> Output {
    let pipes = whit().args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = pipes.expect("the program starts");
    // A program that does not read its input closes the pipe.
    let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    child.wait_with_output().expect("the program ends")
}

fn said(args: &[&str], input: &str) -> String {
    let output = run(args, input);
    assert!(output.status.success(), "{args:?}: {}", told(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn refused(args: &[&str], code: i32, part: &str) {
    let output = run(args, "");
    let line = told(&output);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {line}");
    assert!(line.lines().count() == 1 && line.contains(part), "{args:?} wants {part}: {line}");
    assert!(output.stdout.is_empty());
}

const SAME: [&str; 7] = ["--raw", "-q", "-s", "7", "-n", "9", "-t1"];

#[test]
fn one_question_has_one_answer() {
    let place = Place::new("typed-question");
    let talks = place.talks.as_str();
    let piped = said(&[&["chat", "-m", talks][..], &SAME].concat(), "What is 2+2?\n");
    let file = place.folder.write("question.txt", "What is 2+2?");
    let file = file.to_str().expect("UTF-8");
    for question in [&["What is 2+2?"][..], &["-p", "What is 2+2?"], &["--prompt=What is 2+2?"], &["-"], &["-f", file]]
    {
        for model in [&["chat", "-m", talks][..], &["chat", talks], &["run", talks], &[talks], &["-m", talks]] {
            let args = [model, question, &SAME].concat();
            assert_eq!(said(&args, "What is 2+2?"), piped, "{args:?}");
        }
    }
    // What is asked is no command, and may begin like an option.
    for question in ["/quit", "-1 + 2?"] {
        assert!(!said(&[&["chat", talks, "-p", question][..], &SAME].concat(), "").is_empty());
    }
    // Its figures are one line, with the seed; -v tells more.
    let output = run(&["chat", talks, "hi", "-n", "9", "-s", "7"], "");
    let line = told(&output);
    assert!(line.lines().count() == 1 && line.contains("9 tokens") && line.contains("seed 7"), "{line}");
    assert!(told(&run(&["chat", talks, "hi", "-v"], "")).lines().count() > 2);
    refused(&["chat", talks, "--ctx", "64", "-q", &"word ".repeat(40)], 64, "leave no room");
}

#[test]
fn run_does_what_the_model_was_made_for() {
    let place = Place::new("typed-run");
    let generated = said(&[&["generate", "-m", &place.plain, "the cat"][..], &SAME].concat(), "");
    assert!(generated.starts_with("the cat"));
    for args in [
        &["run", &place.plain, "the cat"][..],
        &[&place.plain, "the cat"],
        &["run", "-m", &place.plain, "-p", "the cat"],
    ] {
        assert_eq!(said(&[args, &SAME].concat(), ""), generated, "{args:?}");
    }
    let talked = said(&[&["chat", "-m", &place.talks][..], &SAME].concat(), "one\ntwo\n");
    assert_eq!(said(&[&[place.talks.as_str()][..], &SAME].concat(), "one\ntwo\n"), talked);
    refused(&["run", &place.plain, "--system", "x", "hello"], 65, "no chat template");
}

#[test]
fn a_model_file_alone_is_the_model_of_every_command() {
    let place = Place::new("typed-alone");
    let model = place.plain.as_str();
    let text = place.folder.write("text.txt", "the other the ".repeat(20));
    let text = text.to_str().expect("UTF-8");
    let receipt = place.folder.write("receipt.json", r#"{"receipt":0}"#);
    let receipt = receipt.to_str().expect("UTF-8");
    said(&[&["generate", "-m", model, "--receipt", receipt, "the cat"][..], &SAME].concat(), "");
    let commands: [&[&str]; 13] = [
        &["inspect"],
        &["verify"],
        &["plan", "--json"],
        &["tally", "-q"],
        &["tokens", "the cat"],
        &["next", "the cat"],
        &["attend", "the cat"],
        &["lens", "the cat", "-q"],
        &["explain", "the cat", "-s", "1"],
        &["words", "the"],
        &["score", text, "-q"],
        &["eval", text, "--window", "16", "-q"],
        &["verify-receipt", receipt, "-q"],
    ];
    for command in commands {
        let named = said(&[command, &["-m", model]].concat(), "");
        let alone = said(&[&[command[0], model][..], &command[1..]].concat(), "");
        // Free memory is another one at each look.
        assert!(command[0] == "plan" || named == alone, "{command:?}");
        let absent = place.folder.path("absent.whit");
        refused(&[&[command[0], absent.to_str().expect("UTF-8")][..], &command[1..]].concat(), 66, "does not exist");
    }
    let foreign = place.folder.write("model.gguf", b"GGUF\x03\0\0\0and so on");
    let foreign = foreign.to_str().expect("UTF-8");
    for command in [&[][..], &["run"], &["chat"], &["generate"], &["inspect"]] {
        refused(&[command, &[foreign]].concat(), 65, "a GGUF model");
    }
    refused(&["inspect", model, model], 64, "cannot be used with");
}

#[test]
fn what_is_no_model_is_text() {
    let place = Place::new("typed-text");
    let base = ["generate", "-m", &place.plain, "-q", "-n", "1"];
    // A text file that is there, and the name of a model where it is said to be a text.
    let text = place.folder.write("story", "{\"a\": 1}");
    let text = text.to_str().expect("UTF-8");
    for (args, echoed) in [(&[text][..], text), (&["--", "m.whit"], "m.whit"), (&["m.whit"], "m.whit")] {
        assert!(said(&[&base[..], args].concat(), "").starts_with(echoed), "{args:?}");
    }
    let about = "Tell me about m.whit";
    assert!(said(&["generate", about, "-q", "-n", "1"], "").starts_with(about));
    let named = said(&["generate", &place.plain, "-q", "-n", "1", "-p", "m.whit"], "");
    assert!(named.starts_with("m.whit"), "{named}");
    refused(&["generate", "the", "-p", "cat"], 64, "cannot be used with");
}

#[test]
fn help_is_near() {
    let output = run(&[], "");
    let page = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && page.contains("Usage: whit") && page.contains("whit chat MODEL.whit"), "{page}");
    refused(&["chat", "--nosuch"], 64, "see whit chat --help");
    refused(&["eval"], 64, "see whit eval --help");
    refused(&["nosuch"], 64, "see whit --help");
    let help = said(&["tokens", "--help"], "");
    assert!(help.contains("whit tokens [OPTIONS] [MODEL] [TEXT]"), "{help}");
}

#[test]
fn a_conversation_speaks_within_forty_columns() {
    let place = Place::new("typed-narrow");
    let mut command = whit();
    command.args(["chat", &place.talks, "-n", "5", "--commands"]).env("COLUMNS", "40");
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = pipes.expect("the program starts");
    child.stdin.take().expect("a pipe").write_all(b"/help\nhello\n").expect("it reads");
    let said = told(&child.wait_with_output().expect("the program ends"));
    assert!(said.contains("/regenerate") && said.lines().all(|line| line.chars().count() <= 40), "{said}");
}
