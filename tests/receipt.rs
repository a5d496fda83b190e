//! Receipts: what a server or `whit generate` wrote can be written again elsewhere, and whatever was changed is found.
#![cfg(feature = "serve")]

mod program;
mod serving;

use program::whit;
use serde_json::{Value, json};
use serving::{Server, TEMPLATE};
use std::path::PathBuf;
use whit::chat::receipt::{Difference, Receipt};

/// A folder of its own.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("whit-receipt-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("a path").to_owned()
    }

    fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.path(name), text).expect("written");
        self.path(name)
    }

    /// Exit code and words of the verification of `value`.
    fn verify(&self, value: &Value, words: &[&str]) -> (Option<i32>, String) {
        let path = self.write("receipt.json", &value.to_string());
        let output = whit().args(["verify-receipt", "-q", &path]).args(words).output().expect("the program starts");
        let text = String::from_utf8(output.stdout).expect("text") + &String::from_utf8_lossy(&output.stderr);
        (output.status.code(), text)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The receipt with other contents, as somebody would write it who knows its form.
fn forged(receipt: &Receipt, change: impl FnOnce(&mut Receipt)) -> Value {
    let mut receipt = receipt.clone();
    change(&mut receipt);
    receipt.to_json()
}

fn read(value: &Value) -> Receipt {
    Receipt::of_json(value).expect("a receipt")
}

#[test]
fn receipts_of_the_server_hold_with_other_threads_and_kernels() {
    let folder = Folder::new("server");
    let template = folder.write("template", TEMPLATE);
    let server = Server::start(&["--chat-template", &template, "-t", "2", "--ctx", "250", "--stop", "zzz"]);
    let schema =
        json!({"type": "object", "properties": {"name": {"type": "string", "maxLength": 9}}, "required": ["name"]});
    let format = json!({"type": "json_schema", "json_schema": {"schema": schema}});
    let messages = json!([{"role": "user", "content": "Tell a story."}]);
    let bodies = [
        json!({"text": "Once upon a time", "max_tokens": 30, "seed": 3}),
        json!({"prompt": "The cat", "max_tokens": 40, "seed": 1, "temperature": 0.9, "top_k": 0, "repeat_penalty": 1.2, "stop": ["."]}),
        json!({"tokens": [5, 7, 9], "max_tokens": 8, "temperature": 0, "logit_bias": {"5": -100, "300": 2.5}}),
        json!({"prompt": "A name:", "max_tokens": 60, "seed": 4, "response_format": format}),
        json!({"messages": messages, "max_tokens": 12, "seed": 9}),
        json!({"messages": messages, "max_tokens": 60, "seed": 2, "response_format": {"type": "json_object"}}),
        json!({"prompt": "The end", "max_tokens": 9, "mirostat": 2, "xtc_probability": 0.5, "dynatemp_range": 0.3}),
    ];
    for (i, body) in bodies.iter().enumerate() {
        let answer = server.ask("/whit/receipt", body);
        let words = [&["-t", "1", "--kernels", "scalar"][..], &["-t", "2"]][i % 2];
        // The whole answer can be given, or the receipt alone.
        let given = if i % 3 == 0 { &answer } else { &answer["receipt"] };
        let (code, said) = folder.verify(given, words);
        assert_eq!(code, Some(0), "{body}: {said}");
        assert!(said.lines().count() == 1 && said.contains("it holds: "), "{said}");
    }
    // Each answer of a request has its own, streamed or not, in the words of each API.
    let asked = json!({"prompt": "Once", "max_tokens": 6, "n": 2, "seed": 8, "whit": {"receipt": true}});
    let whole = server.ask("/v1/completions", &asked);
    let mut streamed = asked.clone();
    streamed["stream"] = json!(true);
    let events = server.post("/v1/completions", &streamed).events();
    for i in 0..2 {
        let receipt = &whole["choices"][i]["whit"]["receipt"];
        assert_eq!(receipt["settings"]["seed"], 8 + i);
        let in_stream = events.iter().map(|event| &event["choices"][0]).filter(|choice| choice["index"] == i);
        let in_stream: Vec<&Value> =
            in_stream.map(|choice| &choice["whit"]["receipt"]).filter(|of| !of.is_null()).collect();
        assert_eq!(in_stream, [receipt]);
        assert_eq!(folder.verify(receipt, &[]).0, Some(0));
    }
    let mut chat = json!({"messages": messages, "max_tokens": 6, "whit": {"receipt": true}});
    assert_eq!(folder.verify(&server.ask("/v1/chat/completions", &chat), &[]).0, Some(0));
    assert_eq!(folder.verify(&server.ask("/v1/messages", &chat), &[]).0, Some(0));
    let ollama =
        json!({"messages": messages, "stream": false, "options": {"num_predict": 5}, "whit": {"receipt": true}});
    assert_eq!(folder.verify(&server.ask("/api/chat", &ollama), &[]).0, Some(0));
    let llama = json!({"prompt": "Once", "n_predict": 5, "grammar": "root ::= [a-z ]+", "whit": {"receipt": true}});
    assert_eq!(folder.verify(&server.ask("/completion", &llama), &[]).0, Some(0));

    chat["tools"] = json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]);
    let refused = server.post("/v1/chat/completions", &chat);
    assert_eq!(refused.status, 400);
    assert!(refused.body.contains("a reply that may call functions has no receipt"), "{}", refused.body);
    assert_eq!(server.post("/whit/receipt", &json!({"prompt": "a", "n": 2})).status, 400);
}

#[test]
fn what_was_changed_is_found_by_its_hash_or_by_writing_it_again() {
    let folder = Folder::new("changed");
    let path = folder.path("out.json");
    let words =
        ["generate", "-q", "-t", "1", "-s", "7", "-n", "20", "--temp", "0.9", "--receipt", &path, "Once upon a time"];
    assert!(whit().args(words).output().expect("the program starts").status.success());
    let whole: Value = serde_json::from_str(&std::fs::read_to_string(&path).expect("a receipt")).expect("JSON");
    assert_eq!(folder.verify(&whole, &[]).0, Some(0));
    let receipt = read(&whole);
    assert_eq!(receipt.output.len(), 20);

    // Changed by somebody who forgets the hash.
    for (place, value) in
        [("seed", json!(8)), ("temperature", json!(1)), ("max_tokens", json!(21)), ("kv", json!("f32"))]
    {
        let mut changed = whole.clone();
        changed["settings"][place] = value;
        let (code, said) = folder.verify(&changed, &[]);
        assert!(code == Some(65) && said.contains("it was changed since it was written"), "{place}: {said}");
    }

    // Changed by somebody who does not. An end that was said to come earlier is a text that was cut.
    let differing = |what: &str, change: &dyn Fn(&mut Receipt), expected: &str| {
        let (code, said) = folder.verify(&forged(&receipt, change), &[]);
        assert!(code == Some(1) && said.contains(expected), "{what}: {code:?} {said}");
    };
    let other = (receipt.output[5] + 1) % 1000;
    differing("a token", &|r| r.output[5] = other, &format!("token 5 differs: expected {other}"));
    differing("its end", &|r| r.output.truncate(9), "token 9 differs: expected the end, got");
    differing("one more", &|r| r.output.push(5), "token 20 differs: expected 5");
    differing(
        "the reason",
        &|r| r.reason = whit::generate::StopReason::EndOfText,
        "their end differs: expected end-of-text, got length",
    );
    differing("the logits", &|r| r.logits[0] ^= 1, "the bits of their logits are not");
    differing("the seed", &|r| r.terms.sampling.seed += 1, "");
    differing("the temperature", &|r| r.terms.sampling.temperature = 1.4, "");
    differing("the prompt", &|r| r.prompt[0] += 1, "");
    differing("the cache", &|r| r.terms.kv = whit::ops::KvDtype::Q4, "");
    differing("the most tokens", &|r| r.terms.n_tokens = Some(12), "token 12 differs: expected");
    differing("a stop", &|r| r.terms.stops.push("a".into()), "");

    let json_of = |value: &Value| {
        let (code, said) = folder.verify(value, &["--json"]);
        (code, serde_json::from_str::<Value>(&said).expect("JSON"))
    };
    assert_eq!(json_of(&whole).1["holds"], true);
    let (code, said) = json_of(&forged(&receipt, |r| r.output[5] = other));
    assert_eq!((code, &said["differs"]["token"], &said["differs"]["expected"]), (Some(1), &json!(5), &json!(other)));
}

/// U-19
#[test]
fn what_cannot_be_written_again_is_refused_in_words() {
    let folder = Folder::new("refused");
    let path = folder.path("out.json");
    let words =
        ["generate", "-q", "-t", "1", "-n", "9", "--receipt", &path, "--choice", "yes", "--choice", "no", "Well,"];
    assert!(whit().args(words).output().expect("the program starts").status.success());
    let whole: Value = serde_json::from_str(&std::fs::read_to_string(&path).expect("a receipt")).expect("JSON");
    assert_eq!(whole["settings"]["constraint"], json!({"kind": "choice", "text": ["yes", "no"]}));
    assert_eq!(folder.verify(&whole, &[]).0, Some(0));
    let receipt = read(&whole);
    let refused = |value: &Value, code: i32, expected: &str| {
        let (got, said) = folder.verify(value, &[]);
        assert!(got == Some(code) && said.contains(expected), "{expected}: {got:?} {said}");
    };
    refused(&forged(&receipt, |r| r.model[0] ^= 1), 65, "model: it is of the model with content");
    refused(&forged(&receipt, |r| r.numerics += 1), 69, "numerics: it was computed with numerics");
    refused(&forged(&receipt, |r| r.output = vec![1 << 20]), 65, "outside the vocabulary");
    refused(&forged(&receipt, |r| r.terms.context_length = 1 << 30), 65, "settings.context_length: ");
    refused(&json!({"receipt": 9}), 69, "it is of version 9");
    refused(&json!([]), 65, "it is no object");
    refused(&json!({}), 65, "receipt: it is missing");
    let missing = whit().args(["verify-receipt", "/nowhere/receipt"]).output().expect("the program starts");
    assert_eq!(missing.status.code(), Some(66));
    for words in [&["--banned-string", "a"][..], &["--show"], &["--on-full", "shift"]] {
        let output = whit().args(["generate", "-q", "-n", "2", "--receipt", &path, "Once"]).args(words).output();
        assert_eq!(output.expect("the program starts").status.code(), Some(64), "{words:?}");
    }
    // A file that is no receipt is not replaced.
    let other = folder.write("other", "precious");
    let output = whit().args(["generate", "-q", "-n", "2", "--receipt", &other, "Once"]).output();
    assert_eq!(output.expect("the program starts").status.code(), Some(73));
    assert_eq!(std::fs::read_to_string(&other).expect("a file"), "precious");
}

#[test]
fn guesses_leave_the_receipt_as_it_is() {
    let folder = Folder::new("guesses");
    let written = |name: &str, more: &[&str]| {
        let path = folder.path(name);
        let words = [
            "generate",
            "-s",
            "1",
            "-q",
            "-t",
            "1",
            "-n",
            "60",
            "--temp",
            "0",
            "--receipt",
            &path,
            "The cat sat. The cat sat. The",
        ];
        assert!(whit().args(words).args(more).output().expect("the program starts").status.success());
        std::fs::read_to_string(&path).expect("a receipt")
    };
    assert_eq!(written("plain", &[]), written("guessed", &["--guess", "ngram"]));
}

#[test]
fn a_library_user_replays_a_receipt() {
    let server = Server::start(&["-t", "1"]);
    let answer = server.ask("/whit/receipt", &json!({"prompt": "Once", "max_tokens": 9, "seed": 2}));
    let mut receipt = read(&answer["receipt"]);
    let file = whit::generate::ModelFile::of_bytes(whit::default_model().expect("the story model")).expect("a model");
    let compute = whit::Compute::new(whit::kernels::detect(), 1).expect("a thread");
    receipt.check(file.model()).expect("the same model");
    let options = receipt.session_options(16);
    let mut session = whit::Session::new(file.model(), &std::sync::Arc::new(compute), options).expect("memory");
    assert_eq!(receipt.replay(&mut session, 16, &mut |_| true), Ok(None));
    receipt.output.pop();
    let found = receipt.replay(&mut session, 16, &mut |_| true).expect("no error");
    assert!(matches!(found, Some(Difference::Token { place: 8, expected: None, got: Some(_) })), "{found:?}");
    assert!(
        receipt
            .replay(&mut session, 16, &mut |n| n < 4)
            .is_err_and(|error| error.kind() == whit::error::Kind::Interrupted)
    );
}
