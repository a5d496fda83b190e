//! Constraints on the command line: what is written is what was asked for, and what is not is said.
#![cfg(all(feature = "cli", feature = "default-model"))]

mod program;
mod support;

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

/// The text of a run that ends well.
fn text(arguments: &[&str]) -> String {
    let output = whit(&[&["generate", "-q", "--no-echo", "-n", "400"], arguments].concat());
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", stderr(&output));
    stdout(&output).trim_end_matches('\n').to_owned()
}

/// The exit code and the error of one that does not.
fn refused(arguments: &[&str]) -> (i32, String) {
    let output = whit(&[&["generate", "-q"], arguments].concat());
    (output.status.code().expect("a code"), stderr(&output).trim().to_owned())
}

const SCHEMA: &str = r#"{"type":"object","properties":{"name":{"type":"string","maxLength":12},
    "age":{"type":"integer","minimum":1,"maximum":99}},"required":["name","age"],"additionalProperties":false}"#;

#[test]
fn every_kind_of_constraint_is_kept() {
    let folder = Folder::new("constrained");
    let schema = folder.write("person.json", SCHEMA);
    let gbnf = folder.write("pets.gbnf", "root ::= \"- \" pet (\"\\n- \" pet){1,2}\npet ::= \"cat\" | \"dog\"\n");
    let lark = folder.write("pets.lark", "start: PET (\", \" PET){0,2}\nPET: \"cat\" | \"dog\" | \"bird\"\n");
    let [schema, gbnf, lark] = [&schema, &gbnf, &lark].map(|path| path.to_str().expect("a path"));
    for seed in ["1", "2", "3", "4"] {
        let json = text(&["--seed", seed, "--schema", schema, "Once upon a time"]);
        let value: serde_json::Value = serde_json::from_str(&json).expect(&json);
        assert!((1..=99).contains(&value["age"].as_i64().expect("an age")), "{json}");
        let pets = text(&["--seed", seed, "--grammar", gbnf, "Pets:\n"]);
        let lines: Vec<&str> = pets.lines().collect();
        assert!((2..=3).contains(&lines.len()) && lines.iter().all(|line| ["- cat", "- dog"].contains(line)), "{pets}");
        let pets = text(&["--seed", seed, "--grammar", lark, "Pets: "]);
        assert!(pets.split(", ").all(|pet| ["cat", "dog", "bird"].contains(&pet)), "{pets}");
        let number = text(&["--seed", seed, "--regex", "-?[0-9]{1,3}", "A number: "]);
        assert!(number.parse::<i32>().is_ok_and(|number| number.abs() < 1000), "{number}");
        let choice = text(&["--seed", seed, "--choice", "yes", "--choice", "no", "Was she happy? "]);
        assert!(["yes", "no"].contains(&choice.as_str()), "{choice}");
    }
    let object = whit(&["generate", "-q", "--no-echo", "-n", "60", "--seed", "1", "--json-object", "JSON: "]);
    assert!(stdout(&object).starts_with('{'), "{}", stdout(&object));
    // The same bytes on any number of threads.
    let on = |threads| text(&["--seed", "7", "-t", threads, "--schema", schema, "Once upon a time"]);
    assert_eq!(on("1"), on("3"));
}

#[test]
fn what_cuts_a_text_short_is_an_error_behind_it() {
    let folder = Folder::new("constrained-cut");
    let schema = folder.write("person.json", SCHEMA);
    let arguments = ["generate", "-q", "--no-echo", "-n", "3", "--schema", schema.to_str().expect("a path"), "Once"];
    let output = whit(&arguments);
    let text = stdout(&output).trim_end();
    assert!(output.status.code() == Some(71) && !text.is_empty() && "{\"name\": \"".starts_with(text), "{text}");
    let said = "error[resources]: constraint: the text ended after 3 tokens, before it was whole: length";
    assert!(stderr(&output).starts_with(said), "{}", stderr(&output));
}

/// U-16, U-17
#[test]
fn a_wrong_constraint_is_refused_before_a_token() {
    let folder = Folder::new("constrained-refused");
    let schema = folder.write("s.json", r#"{"properties":{"a":{"contains":{}}}}"#);
    let grammar = folder.write("g.gbnf", "root ::= \"a\" b\n");
    let binary = folder.write("b.json", b"\xff\xfe");
    let [schema, grammar, binary] = [&schema, &grammar, &binary].map(|path| path.to_str().expect("a path"));
    let cases: &[(&[&str], i32, &str)] = &[
        (&["--schema", schema], 65, "s.json: #/properties/a/contains: this keyword is not supported"),
        (&["--grammar", grammar], 65, "g.gbnf: line 1, column 14: there is no rule b"),
        (&["--schema", binary], 65, "b.json: byte 0x0: the text is not UTF-8"),
        (&["--schema", "no/such/file"], 66, "no/such/file: "),
        (&["--regex", "(a"], 64, "regex: "),
        (&["--choice", ""], 64, "choice: a choice is among texts that are not empty"),
        (&["--regex", "a", "--json-object"], 64, "cannot be used with"),
        (&["--regex", "a", "--interactive"], 64, "cannot be used with"),
    ];
    for (arguments, code, words) in cases {
        let (got, error) = refused(&[arguments, &["Once"][..]].concat());
        assert!(got == *code && error.contains(words), "{arguments:?}: {got} {error}");
    }
}

#[test]
fn show_tells_what_the_constraint_struck_out() {
    let shown = whit(&["generate", "-q", "--show", "--seed", "1", "--regex", "(red|blue)!", "Her hat was "]);
    let text = stdout(&shown);
    assert!(text.contains("softmax(logits) → constraint"), "{text}");
    assert!(text.contains("the constraint strikes out") && text.contains("legal"), "{text}");
    assert!(text.contains("only this may come: nothing is asked, nothing is drawn"), "{text}");
    let json = whit(&["generate", "-q", "--show", "--json", "--seed", "1", "--regex", "(red|blue)!", "Her hat was "]);
    let lines: Vec<serde_json::Value> =
        stdout(&json).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let choice = lines.iter().find(|line| line.get("stages").is_some()).expect("a choice");
    let stages = choice["stages"].as_array().expect("stages");
    assert_eq!(stages[1]["stage"], "constraint");
    let struck = choice["struck_out"].as_f64().expect("a share");
    let kept = stages[0]["chosen_probability"].as_f64().expect("a share")
        / stages[1]["chosen_probability"].as_f64().expect("a share");
    assert!((struck + kept - 1.0).abs() < 1e-3, "{struck} {kept}");
    assert_eq!(lines.last().expect("a summary")["summary"]["stop_reason"], "complete");
}

#[test]
fn replies_of_a_conversation_keep_to_it_too() {
    let folder = Folder::new("constrained-chat");
    let mut tiny = TinyModel::llama();
    tiny.config.context_length = 512;
    tiny.template = Some("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant: ");
    let path = folder.path("talks");
    tiny.write(&path);
    let model = path.to_str().expect("a path");
    let chat = |more: &[&str]| whit(&[&["chat", "-q", "--seed", "5", "-m", model, "--prompt", "the"], more].concat());
    let output = chat(&["--choice", "the", "--choice", "other"]);
    assert!(["the\n", "other\n"].contains(&stdout(&output)), "{}", stdout(&output));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let output = chat(&["-n", "4", "--regex", "a{20}b"]);
    assert_eq!((output.status.code(), stdout(&output)), (Some(71), "aaaa\n"), "{}", stderr(&output));
}
