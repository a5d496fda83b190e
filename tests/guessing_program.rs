//! Guesses ahead on the command line: the same bytes, the figures of how it went, and what is refused.
#![cfg(all(feature = "cli", feature = "default-model"))]

mod program;
mod support;

use serde_json::Value;
use std::process::Output;
use support::{Folder, TinyModel};

fn whit(arguments: &[&str]) -> Output {
    program::whit().args(arguments).output().expect("whit starts")
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).expect("UTF-8")
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).expect("UTF-8")
}

const PROMPT: &str = "Tom had a red ball. Tom had a red ball. Tom had a";

#[test]
fn the_text_is_the_same_and_the_figures_are_told() {
    let folder = Folder::new("guessing-program");
    let corpus = folder.write("corpus.txt", "Tom had a red ball. He was very happy. One day");
    let story = folder.write("story.whit", whit::default_model().expect("the story model"));
    let (corpus, draft) = (format!("ngram:{}", corpus.display()), format!("draft:{}", story.display()));
    for more in [&["--temp", "0"][..], &["--seed", "3"], &["--seed", "4", "--regex", "[a-z ]{20,40}[.]"]] {
        let generate = |how: &[&str]| {
            let output = whit(&[&["generate", "-t", "1", "-n", "40", "--prompt", PROMPT], more, how].concat());
            assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
            output
        };
        let plain = generate(&[]);
        assert!(!stderr(&plain).contains("guessed"));
        for how in ["ngram", &corpus, &draft] {
            let guessed = generate(&["--guess", how]);
            assert_eq!(stdout(&guessed), stdout(&plain), "{how}");
            let told = stderr(&guessed);
            assert!(told.contains("whit: guessed ") && told.contains(" tokens a pass"), "{told}");
        }
    }
}

#[test]
fn what_is_shown_differs_by_the_marks_alone() {
    let lines = |more: &[&str]| {
        let shown = ["generate", "-q", "--show", "--json", "--temp", "0", "-t", "1", "-n", "30", "--top", "2"];
        let output = whit(&[&shown, more, &["--prompt", PROMPT]].concat());
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let lines = stdout(&output).lines();
        lines.map(|line| serde_json::from_str(line).expect("JSON")).collect::<Vec<Value>>()
    };
    let (plain, mut guessed) = (lines(&[]), lines(&["--guess", "ngram"]));
    let summary = guessed.last().expect("a summary")["summary"].clone();
    let number = |name: &str| summary[name].as_u64().expect("a number");
    let marks = guessed.iter().filter_map(|line| line.get("guessed"));
    assert_eq!(marks.filter(|mark| **mark == true).count() as u64, number("accepted_tokens"));
    assert!(number("guessed_tokens") >= number("accepted_tokens") && number("decode_passes") > 0);
    for line in &mut guessed {
        line.as_object_mut().expect("an object").remove("guessed");
    }
    let n = plain.len() - 1;
    assert_eq!(guessed[..n], plain[..n]);
    assert!(plain[n]["summary"].get("guessed_tokens").is_none());
}

#[test]
fn a_conversation_is_the_same() {
    let folder = Folder::new("guessing-chat");
    let mut tiny = TinyModel::llama();
    tiny.config.context_length = 512;
    tiny.template = Some("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant: ");
    let path = folder.path("talks.whit");
    tiny.write(&path);
    let model = path.to_str().expect("a path");
    let chat = |more: &[&str]| {
        let command = ["chat", "-v", "--seed", "5", "-n", "40", "-t", "1", "-m", model, "--prompt", "the the the"];
        whit(&[&command, more].concat())
    };
    let (plain, guessed) = (chat(&[]), chat(&["--guess", "ngram"]));
    assert_eq!((guessed.status.code(), stdout(&guessed)), (Some(0), stdout(&plain)), "{}", stderr(&guessed));
    assert!(stderr(&guessed).contains("whit: guessed "), "{}", stderr(&guessed));
}

/// U-18
#[test]
fn what_cannot_guess_is_refused_before_a_token() {
    let folder = Folder::new("guessing-refused");
    let tiny = folder.path("tiny.whit");
    TinyModel::llama().write(&tiny);
    let draft = format!("draft:{}", tiny.display());
    let binary = format!("ngram:{}", folder.write("b.txt", b"\xff\xfe").display());
    let empty = format!("draft:{}", folder.write("empty.whit", b"").display());
    let cases: &[(&[&str], i32, &str)] = &[
        (&["--guess", "often"], 64, "expected ngram, ngram:FILE or draft:FILE"),
        (&["--guess", "draft:"], 64, "expected ngram, ngram:FILE or draft:FILE"),
        (&["--guess", &draft], 64, "tiny.whit: guess: the draft has 259 tokens, the model 1024"),
        (&["--guess", &draft, "--max-memory", "1G"], 64, "guess: weights that are streamed leave no memory to a draft"),
        (&["--guess", &binary], 65, "b.txt: byte 0x0: the text is not UTF-8"),
        (&["--guess", &empty], 65, "empty.whit: the file is empty"),
        (&["--guess", "ngram:no/such/file"], 66, "no/such/file: "),
        (&["--guess", "draft:no/such/file"], 66, "no/such/file: "),
        (&["--guess", "ngram", "--interactive"], 64, "cannot be used with"),
    ];
    for (arguments, code, words) in cases {
        let output = whit(&[&["generate", "-q"], *arguments, &["Once"]].concat());
        let error = stderr(&output);
        assert!(output.status.code() == Some(*code) && error.contains(words), "{arguments:?}: {error}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn a_plan_counts_what_guesses_need() {
    let folder = Folder::new("guessing-plan");
    let path = folder.path("m.whit");
    TinyModel::llama().write(&path);
    let model = path.to_str().expect("a path");
    let plan = |more: &[&str]| -> Value {
        let output = whit(&[&["plan", "-m", model, "--json", "-t", "1"], more].concat());
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        serde_json::from_str(stdout(&output)).expect("JSON")
    };
    let number = |plan: &Value, name: &str| plan[name].as_u64().expect("a number");
    let draft = format!("draft:{model}");
    let (plain, ngram, draft) = (plan(&[]), plan(&["--guess", "ngram"]), plan(&["--guess", &draft]));
    for name in ["mapped_bytes", "kv_bytes", "table_bytes"] {
        assert_eq!(number(&draft, name), 2 * number(&plain, name), "{name}");
        assert_eq!(number(&ngram, name), number(&plain, name), "{name}");
    }
    assert!(number(&ngram, "scratch_bytes") > number(&plain, "scratch_bytes"));
    assert!(number(&draft, "scratch_bytes") > number(&plain, "scratch_bytes"));
}
