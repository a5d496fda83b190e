//! Commands that have confined themselves do what they do without: every kind of file that one reads or writes, wherever it lies.
#![cfg(all(feature = "cli", target_os = "linux"))]

mod program;

use program::whit;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

struct Folder(PathBuf);

impl Folder {
    /// A folder with a model, a text, and links to both and to a folder.
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("whit-confined-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        for inner in ["models", "kept", "work"] {
            fs::create_dir_all(path.join(inner)).expect("a folder");
        }
        let model = concat!(env!("CARGO_MANIFEST_DIR"), "/models/stories.whit");
        fs::copy(model, path.join("models/model.whit")).expect("a model");
        fs::write(path.join("models/text"), "Once upon a time, there was a dog. ".repeat(9)).expect("a text");
        fs::write(path.join("models/texts.jsonl"), "\"Once\"\n{\"text\": \"A dog\", \"id\": 1}\n").expect("texts");
        let request = r#"{"custom_id": "a", "url": "/v1/completions", "body": {"prompt": "Once", "max_tokens": 5}}"#;
        fs::write(path.join("models/requests.jsonl"), request).expect("requests");
        fs::write(path.join("models/template"), "{{ messages[0].content }}{{ strftime_now('%Y') }}")
            .expect("a template");
        fs::write(
            path.join("models/config.json"),
            "{\"n_embd\": 64, \"n_layer\": 2, \"n_head\": 2, \"vocab_size\": 99}",
        )
        .expect("a file");
        symlink("../models/model.whit", path.join("work/model.whit")).expect("a link");
        symlink("../models/text", path.join("work/text")).expect("a link");
        symlink("../kept/session", path.join("work/session-link")).expect("a link");
        symlink("../kept", path.join("work/kept-link")).expect("a link");
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What `words` give in the folder `work`, `input` typed.
fn run(folder: &Folder, words: &str, confined: bool, input: &str) -> Output {
    let mut command = whit();
    command.current_dir(folder.0.join("work")).args(words.split(' ')).env("WHIT_CACHE", "kept-link/by/environment");
    command.args((!confined).then_some("--no-sandbox"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    std::io::Write::write_all(&mut child.stdin.take().expect("a pipe"), input.as_bytes()).expect("typed");
    child.wait_with_output().expect("it ends")
}

/// The files below `folder`, by their paths from there, and their sizes.
fn files(folder: &Path) -> Vec<(String, u64)> {
    let mut open = vec![folder.to_path_buf()];
    let mut found = Vec::new();
    while let Some(path) = open.pop() {
        for entry in fs::read_dir(&path).expect("a folder").flatten() {
            let metadata = entry.metadata().expect("metadata");
            match metadata.is_dir() {
                true => open.push(entry.path()),
                false => found
                    .push((entry.path().strip_prefix(folder).expect("below").display().to_string(), metadata.len())),
            }
        }
    }
    found.sort();
    found
}

#[test]
fn confined_commands_do_what_they_do_without() {
    let commands = [
        ("generate -m model.whit -q --seed 1 -n 9 Once", ""),
        ("generate -q --seed 1 -n 9 -f text", ""),
        ("generate -m model.whit -q --seed 1 -n 40 --max-memory 3M Once", ""),
        ("generate -q --seed 1 -n 9 --cache new/folder/of/a/cache -f text", ""),
        ("generate -q --seed 1 -n 9 --cache new/folder/of/a/cache -f text", ""),
        ("generate -q --seed 1 -n 9 --cache kept-link -f text", ""),
        ("generate -q --seed 1 -n 9 --session session Once", ""),
        ("generate -q --seed 1 -n 9 --session session", ""),
        ("generate -q --seed 1 -n 9 --session session-link Once", ""),
        ("generate -q --seed 1 -n 9 --session session-link", ""),
        ("generate -q --seed 1 -n 9 --session ../kept/other Once", ""),
        ("generate -q --seed 1 -n 9 --session nowhere/session Once", ""),
        ("generate -q -m nowhere.whit Once", ""),
        (
            "chat -q --seed 1 -n 5 --chat-template ../models/template",
            "Hi\n/save saved\n/save ../kept/saved\n/load saved\nAgain\n",
        ),
        ("generate -q --seed 1 -n 9 --receipt receipt.json Once", ""),
        ("generate -q --seed 1 -n 9 --receipt ../kept/receipt.json Once", ""),
        ("verify-receipt receipt.json -q", ""),
        ("inspect -m model.whit", ""),
        ("verify -m model.whit", ""),
        ("eval -m model.whit text --against ../models/model.whit", ""),
        ("plan -m model.whit", ""),
        ("tokens -m model.whit Once", ""),
        ("next Once", ""),
        ("next Once --html page.html", ""),
        ("next Once --html ../kept/page.html", ""),
        ("lens Once", ""),
        ("attend Once", ""),
        ("score text", ""),
        ("tally --shape ../models/config.json", ""),
        ("tokens -f ../models/text", ""),
        ("embed -f ../models/text -o vectors.npy -q", ""),
        ("embed --jsonl ../models/texts.jsonl -o ../kept/vectors.jsonl -q", ""),
        ("batch ../models/requests.jsonl -o answers.jsonl -q", ""),
        ("batch ../models/requests.jsonl -o ../kept/answers.jsonl -q", ""),
        ("batch ../models/requests.jsonl -o answers.jsonl -q", ""),
        ("completions bash", ""),
        ("man ../kept", ""),
    ];
    let (with, without) = (Folder::new("with"), Folder::new("without"));
    for (words, input) in commands {
        let [a, b] = [(&with, true), (&without, false)].map(|(folder, confined)| run(folder, words, confined, input));
        let shown = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(a.status.code(), b.status.code(), "{words}: {} {}", shown(&a), shown(&b));
        assert!(a.stdout == b.stdout, "{words}: {} {}", shown(&a), shown(&b));
        assert_eq!(files(&with.0), files(&without.0), "{words}");
    }
    // What measures, which never gives the same figures twice.
    for words in [
        "bench -m model.whit --runs 1 --limit-seconds 0.1",
        "trace -m model.whit",
        "explain Once --json",
        "tally -m model.whit",
        "doctor -m model.whit --limit-seconds 0.1",
    ] {
        let [a, b] = [(&with, true), (&without, false)].map(|(folder, confined)| run(folder, words, confined, ""));
        assert_eq!(a.status.code(), b.status.code(), "{words}: {}", String::from_utf8_lossy(&a.stderr));
        assert_eq!(a.stderr.is_empty(), b.stderr.is_empty(), "{words}: {}", String::from_utf8_lossy(&a.stderr));
    }
}

#[test]
fn doctor_says_whether_it_is_confined() {
    let folder = Folder::new("doctor");
    let told = |words: &str, confined| {
        let output = run(&folder, words, confined, "");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        text.lines().find(|line| line.starts_with("confined")).expect("a line").to_owned()
    };
    let words = "doctor --limit-seconds 0";
    assert!(told(words, false).ends_with("no: it was not wanted, or the system cannot"));
    // Every kernel has one of these, and emulators none.
    assert!(told(words, true).contains("no"), "{}", told(words, true));
    let json = run(&folder, "doctor --limit-seconds 0 --json", false, "");
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!((&json["confined_files"], &json["confined_calls"]), (&false.into(), &false.into()));
}
