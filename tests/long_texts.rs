//! Long texts on the command line: saved sessions, kept beginnings, full contexts.
#![cfg(feature = "cli")]

mod program;
mod support;

use program::whit;
use std::process::Output;
use support::{Folder, TinyModel};

fn run(args: &[&str]) -> Output {
    whit().args(args).env_remove("WHIT_CACHE").output().expect("whit starts")
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

struct Place {
    folder: Folder,
    model: String,
}

impl Place {
    fn new(name: &str) -> Self {
        let folder = Folder::new(name);
        let path = folder.path("m.whit");
        let mut tiny = TinyModel::llama();
        tiny.config.context_length = 128;
        tiny.write(&path);
        Place { model: path.to_str().expect("UTF-8").into(), folder }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path(name).to_str().expect("UTF-8").into()
    }

    /// `whit generate` with temperature 0 and what `more` says.
    fn generate(&self, more: &[&str]) -> Output {
        run(&[&["generate", "--raw", "-m", &self.model, "--temp", "0", "--ctx", "128", "--no-echo"], more].concat())
    }
}

#[test]
fn a_saved_session_goes_on_as_if_it_had_not_ended() {
    let place = Place::new("cli-session");
    let file = place.path("text.session");
    let whole = text(&place.generate(&["-q", "-n", "60", "the other thing"]));
    let mut parts = text(&place.generate(&["-q", "-n", "20", "--session", &file, "the other thing"]));
    parts.truncate(parts.trim_end_matches('\n').len());
    let second = place.generate(&["-n", "40", "--session", &file]);
    assert!(stderr(&second).contains("restored"), "{}", stderr(&second));
    assert_eq!(parts + &text(&second), whole);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&file).expect("saved").permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn a_session_of_another_cache_or_model_is_refused_and_kept() {
    let place = Place::new("cli-session-other");
    let file = place.path("text.session");
    text(&place.generate(&["-q", "-n", "4", "--session", &file, "the other thing"]));
    let before = std::fs::read(&file).expect("saved");
    for (more, part) in
        [(["--kv", "int8"], "type of the KV cache"), (["--session", &place.model], "not a saved session")]
    {
        let mut args = vec!["-q", "-n", "4"];
        if more[0] != "--session" {
            args.extend(["--session", &file]);
        }
        args.extend(more);
        let output = place.generate(&args);
        assert_eq!(output.status.code(), Some(65), "{}", stderr(&output));
        assert!(stderr(&output).starts_with("error[data]: /") && stderr(&output).contains(part), "{}", stderr(&output));
    }
    assert_eq!(std::fs::read(&file).expect("there"), before);
}

#[test]
fn a_kept_beginning_changes_no_byte() {
    let place = Place::new("cli-cache");
    let cache = place.path("cache");
    let prompt = "the other thing then is what they gather there, whether or not";
    let plain = text(&place.generate(&["-q", "-n", "20", prompt]));
    let first = place.generate(&["-n", "20", "--cache", &cache, prompt]);
    assert_eq!(text(&first), plain);
    assert!(!stderr(&first).contains("restored"));
    let second = place.generate(&["-n", "20", "--cache", &cache, prompt]);
    assert_eq!(text(&second), plain);
    assert!(stderr(&second).contains("restored"), "{}", stderr(&second));
    let by_name = whit()
        .args(["generate", "--raw", "-m", &place.model, "--temp", "0", "--ctx", "128", "--no-echo", "-n", "20", prompt])
        .env("WHIT_CACHE", &cache)
        .output()
        .expect("whit starts");
    assert!(stderr(&by_name).contains("restored") && text(&by_name) == plain);
    let unwritable = place.generate(&["-n", "20", "--cache", "/dev/null/x", prompt]);
    assert_eq!(unwritable.status.code(), Some(73), "{}", stderr(&unwritable));
}

#[test]
fn a_shifted_text_goes_on_as_a_fresh_one_would() {
    let place = Place::new("cli-shift");
    let shift = |n: &str| {
        let args = ["--json", "-n", n, "--ctx", "40", "--on-full", "shift", "--keep", "6", "the other thing"];
        run(&[&["generate", "-m", &place.model, "--temp", "0"], &args[..]].concat())
    };
    let (output, told) = (shift("90"), stderr(&shift("90")));
    assert!(told.contains("the context of 40 tokens was full; the text goes on with 23 of them"), "{told}");
    let mut tokens = Vec::new();
    for line in text(&output).lines() {
        let value: serde_json::Value = serde_json::from_str(line).expect("JSON");
        match (&value["prompt"], &value["token"]) {
            (serde_json::Value::String(_), _) => {
                tokens.extend(value["tokens"].as_array().expect("tokens").iter().map(|id| id.as_u64().expect("an id")));
            }
            (_, serde_json::Value::Number(id)) => tokens.push(id.as_u64().expect("an id")),
            _ => assert_eq!(value["summary"]["stop_reason"], "length"),
        }
    }
    // 41 tokens when the context is full: the first 6 and the later half of the others.
    let mut expected: Vec<u64> = tokens[..6].to_vec();
    expected.extend(&tokens[6 + 35_usize.div_ceil(2)..41]);
    assert_eq!(expected.len(), 23);
    let next = library_choice(&place.model, &expected);
    assert_eq!(next, tokens[41]);
    let both = run(&["generate", "-m", &place.model, "--keep", "3", "x"]);
    assert_eq!(both.status.code(), Some(64), "{}", stderr(&both));
}

/// A prompt can be computed and saved without a word being written.
#[test]
fn no_tokens_asked_for_still_computes_the_prompt() {
    let place = Place::new("prompt-only");
    let session = place.path("text.session");
    let first =
        run(&["generate", "-m", &place.model, "--session", &session, "-n", "0", "--temp", "0", "the other thing"]);
    assert_eq!(text(&first).trim_end(), "the other thing");
    let goes_on = run(&["generate", "-m", &place.model, "--session", &session, "-n", "5", "--temp", "0", " then"]);
    text(&goes_on);
    let whole = run(&["generate", "-m", &place.model, "-n", "5", "--temp", "0", "the other thing then"]);
    assert!(stderr(&goes_on).contains("restored"), "{}", stderr(&goes_on));
    assert_eq!(text(&goes_on).trim_start_matches(" then"), text(&whole).trim_start_matches("the other thing then"));
}

/// The most probable token after `tokens` in a fresh session.
fn library_choice(model: &str, tokens: &[u64]) -> u64 {
    let engine = whit::Engine::open(model).expect("a model");
    let options = whit::SessionOptions::default();
    let mut session = whit::Session::new(engine.model(), engine.compute(), options).expect("a session");
    let tokens: Vec<u32> = tokens.iter().map(|id| *id as u32).collect();
    let logits = session.extend(&tokens).expect("room");
    let best = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    logits.iter().position(|logit| *logit == best).expect("a token") as u64
}
