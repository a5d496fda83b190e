//! `whit batch` and `whit embed`: files in, files out, the same whatever happens between.
#![cfg(feature = "cli")]

mod program;

use program::whit;
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::process::Output;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("whit-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.join(name), text).expect("written");
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).expect("a text")
    }

    /// What `words` give in the folder.
    fn run(&self, words: &str) -> Output {
        whit().current_dir(&self.0).args(words.split(' ')).output().expect("the program starts")
    }

    /// The same, which is not to fail.
    fn done(&self, words: &str) -> String {
        let output = self.run(words);
        assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    /// The error of what is to fail with this code.
    fn fails(&self, words: &str, code: i32) -> String {
        let output = self.run(words);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{words}: {told}");
        told
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn request(id: &str, body: Value) -> String {
    json!({"custom_id": id, "method": "POST", "url": "/v1/completions", "body": body}).to_string() + "\n"
}

/// Requests of several lengths; one has three answers, one has none.
fn requests() -> String {
    let text = |id: &str, prompt: &str, n: usize| {
        request(id, json!({"prompt": prompt, "max_tokens": n, "seed": n, "model": "any"}))
    };
    text("a", "Once upon a time", 12)
        + &text("b", "The dog", 30)
        + &request("c", json!({"prompt": "A red ball", "n": 3, "max_tokens": 9, "temperature": 1.2, "seed": 5}))
        + &request("d", json!({"prompt": "A", "tools": [{}]}))
        + &text("e", "One day, Lily", 1)
        + &text("f", "Once upon a time there was a", 20)
}

#[test]
fn answers_are_single_texts_in_the_order_of_the_requests_and_runs_go_on() {
    let folder = Folder::new("batch");
    folder.write("in.jsonl", &requests());
    folder.done("batch in.jsonl -o one.jsonl --parallel 1 -t 1 -q");
    let file = folder.read("one.jsonl");
    let rows: Vec<Value> = file.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let ids: Vec<&str> = rows.iter().map(|row| row["custom_id"].as_str().expect("an id")).collect();
    assert_eq!(ids, ["a", "b", "c", "d", "e", "f"]);
    let text = |row: usize, answer: usize| {
        rows[row]["response"]["body"]["choices"][answer]["text"].as_str().expect("a text").to_owned()
    };
    let singles = [
        (0, 0, "Once upon a time", "-n 12 -s 12"),
        (1, 0, "The dog", "-n 30 -s 30"),
        (5, 0, "Once upon a time there was a", "-n 20 -s 20"),
        (2, 0, "A red ball", "-n 9 --temp 1.2 -s 5"),
        (2, 1, "A red ball", "-n 9 --temp 1.2 -s 6"),
        (2, 2, "A red ball", "-n 9 --temp 1.2 -s 7"),
    ];
    for (row, answer, prompt, words) in singles {
        let output = whit().args(["generate", "-q", "--json", "--no-echo", prompt]).args(words.split(' ')).output();
        let lines = String::from_utf8(output.expect("the program starts").stdout).expect("text");
        let pieces = lines.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        let alone: String = pieces.filter_map(|piece| piece["text"].as_str().map(str::to_owned)).collect();
        assert_eq!(text(row, answer), alone);
    }
    assert_eq!(rows[3]["response"]["status_code"], 400);
    assert_eq!(rows[3]["response"]["body"]["error"]["param"], "tools");

    folder.done("batch in.jsonl -o many.jsonl --parallel 7 -t 2 -q");
    assert_eq!(folder.read("many.jsonl"), file);
    // Ended within its fourth row, and before its first.
    for n in [0, 10, file.len() / 2, file.len() - 1, file.len()] {
        fs::write(folder.0.join("rest.jsonl"), &file.as_bytes()[..n]).expect("written");
        folder.done("batch in.jsonl -o rest.jsonl --parallel 2 -q");
        assert_eq!(folder.read("rest.jsonl"), file, "{n}");
    }
    let mut parts: Vec<String> = Vec::new();
    for shard in 1..=4 {
        folder.done(&format!("batch in.jsonl -o part{shard}.jsonl --shard {shard}/4 -q"));
        parts.extend(folder.read(&format!("part{shard}.jsonl")).lines().map(str::to_owned));
    }
    parts.sort();
    let mut whole: Vec<&str> = file.lines().collect();
    whole.sort_unstable();
    assert_eq!(parts, whole);
}

#[test]
fn probabilities_come_where_they_are_asked_for_and_change_no_text() {
    let folder = Folder::new("batch-logprobs");
    let likely = |body: &mut Value| body["logprobs"] = json!(3);
    let mut lines = String::new();
    for (id, mut body) in [
        ("a", json!({"prompt": "Once upon a time", "max_tokens": 12, "seed": 3, "n": 2})),
        ("b", json!({"prompt": "The dog", "max_tokens": 9, "temperature": 0})),
        (
            "c",
            json!({"prompt": "They", "max_tokens": 40, "response_format": {"type": "json_schema",
            "json_schema": {"schema": {"enum": ["a long text", "another long text"]}}}}),
        ),
    ] {
        lines += &request(id, body.clone());
        likely(&mut body);
        lines += &request(&format!("{id}-likely"), body);
    }
    folder.write("in.jsonl", &lines);
    folder.done("batch in.jsonl -o one.jsonl --parallel 1 -t 1 -q");
    folder.done("batch in.jsonl -o many.jsonl --parallel 7 -t 2 -q");
    let file = folder.read("one.jsonl");
    assert_eq!(folder.read("many.jsonl"), file);
    let rows: Vec<Value> = file.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    for pair in rows.chunks_exact(2) {
        let choices = |row: &Value| row["response"]["body"]["choices"].as_array().expect("choices").clone();
        for (plain, likely) in choices(&pair[0]).iter().zip(choices(&pair[1])) {
            let text = likely["text"].as_str().expect("a text");
            assert_eq!((&plain["text"], &plain["logprobs"]), (&json!(text), &Value::Null));
            let of = |field: &str| likely["logprobs"][field].as_array().expect(field).clone();
            let (tokens, own, tops) = (of("tokens"), of("token_logprobs"), of("top_logprobs"));
            assert!(!tokens.is_empty() && tokens.len() == own.len() && own.len() == tops.len());
            let written: String = tokens.iter().map(|token| token.as_str().expect("a text")).collect();
            let is_forced = text.contains("long");
            assert!(if is_forced { written.len() < text.len() } else { written == text }, "{written} of {text}");
            for ((token, logprob), top) in tokens.iter().zip(&own).zip(&tops) {
                let top = top.as_object().expect("an object");
                assert_eq!(top.len(), 3);
                let best = top.values().filter_map(Value::as_f64).fold(f64::NEG_INFINITY, f64::max);
                assert!(logprob.as_f64().is_some_and(|logprob| logprob <= best && best <= 0.0), "{token}");
            }
        }
    }
}

/// M-48
#[test]
fn what_is_no_batch_is_refused_before_anything_is_written() {
    let folder = Folder::new("batch-refused");
    folder.write("in.jsonl", &requests());
    for (text, told) in [
        ("{", "line 1: EOF while parsing"),
        ("\n{}\n", "line 2: it has no custom_id, a string"),
        ("{\"custom_id\": \"a\"}\n{\"custom_id\": \"a\"}", "line 2: custom_id \"a\" is that of line 1, too"),
    ] {
        folder.write("wrong.jsonl", text);
        let error = folder.fails("batch wrong.jsonl -o out.jsonl -q", 65);
        assert!(error.contains(told), "{error}");
        assert!(!folder.0.join("out.jsonl").exists());
    }
    folder.write("other.txt", "Something else.\n");
    assert!(folder.fails("batch in.jsonl -o other.txt -q", 65).contains("line 1 is no row of whit batch"));
    assert_eq!(folder.read("other.txt"), "Something else.\n");
    assert!(folder.fails("batch in.jsonl -o in.jsonl -q", 65).contains("line 1 is no row of whit batch"));
    assert_eq!(folder.read("in.jsonl"), requests());
    folder.done("batch in.jsonl -o out.jsonl -q");
    let file = folder.read("out.jsonl");
    for words in ["--temp 0.1", "-n 3", "-s 4", "--ctx 99", "--kv int8"] {
        let error = folder.fails(&format!("batch in.jsonl -o out.jsonl -q {words}"), 65);
        assert!(error.contains("line 1 answers \"a\" as it was, or by another model or settings"), "{error}");
    }
    folder.write("fewer.jsonl", &requests().lines().take(2).map(|line| format!("{line}\n")).collect::<String>());
    assert!(folder.fails("batch fewer.jsonl -o out.jsonl -q", 65).contains("4 rows answer no request of these"));
    assert_eq!(folder.read("out.jsonl"), file);
    assert!(folder.fails("batch in.jsonl -o x.jsonl --shard 5/4", 64).contains("expected I/N"));
}

/// M-49
#[test]
fn a_request_that_cannot_be_answered_has_its_error_as_its_row() {
    let folder = Folder::new("batch-rows");
    let long = "word ".repeat(300);
    let chat = json!({"custom_id": "chat", "url": "/v1/chat/completions", "body": {"messages": [{"role": "user", "content": "Hi"}]}});
    let lines = [
        request("long", json!({"prompt": long})),
        request("hot", json!({"prompt": "A", "temperature": -1})),
        request("tokens", json!({"prompt": [5, 99999]})),
        chat.to_string() + "\n",
        json!({"custom_id": "got", "method": "GET", "url": "/v1/completions", "body": {}}).to_string() + "\n",
        json!({"custom_id": "none"}).to_string() + "\n",
    ];
    folder.write("in.jsonl", &lines.concat());
    folder.done("batch in.jsonl -o out.jsonl -q");
    let rows: Vec<Value> =
        folder.read("out.jsonl").lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let errors: Vec<String> = rows.iter().map(|row| row["response"]["body"]["error"]["message"].to_string()).collect();
    for (error, told) in errors.iter().zip([
        "leave no room in a context of 256",
        "temperature: -1 is outside 0..=1000000000",
        "prompt: token 99999 is outside the vocabulary of 1024",
        "this model has no chat template",
        "url: it is neither",
        "body: it is no object",
    ]) {
        assert!(error.contains(told), "{error}");
    }
    assert!(rows.iter().all(|row| row["response"]["status_code"] == 400));
}

#[test]
fn vectors_come_in_every_form_and_are_the_same() {
    let folder = Folder::new("embed");
    folder.write(
        "in.jsonl",
        "\"Once upon a time\"\n{\"text\": \"A red ball\", \"id\": 7}\n\n{\"input\": \"The dog\", \"id\": \"x\"}\n",
    );
    let whole: Value = serde_json::from_str(&folder.done("embed --jsonl in.jsonl -q")).expect("JSON");
    assert_eq!((&whole["dim"], &whole["pooling"], &whole["normalized"]), (&json!(160), &json!("mean"), &json!(true)));
    let rows = whole["embeddings"].as_array().expect("rows");
    let ids: Vec<&Value> = rows.iter().map(|row| &row["id"]).collect();
    assert_eq!(ids, [&Value::Null, &json!(7), &json!("x")]);
    let vector = |row: &Value| -> Vec<f32> {
        let values = row["embedding"].as_array().expect("a vector");
        values.iter().map(|value| value.to_string().parse().expect("a number")).collect()
    };
    for row in rows {
        let length: f64 = vector(row).iter().map(|value| f64::from(*value).powi(2)).sum();
        assert!((length - 1.0).abs() < 1e-6, "{length}");
    }
    let lines = folder.done("embed --jsonl in.jsonl -q --format jsonl -t 2");
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(&lines, rows);
    let output = whit().args(["embed", "-q", "The dog"]).output().expect("the program starts");
    let one: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(vector(&one["embeddings"][0]), vector(&rows[2]));

    folder.done("embed --jsonl in.jsonl -q -o vectors.npy");
    let bytes = fs::read(folder.0.join("vectors.npy")).expect("a file");
    let header = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    assert_eq!((&bytes[..8], (10 + header) % 64), (&b"\x93NUMPY\x01\x00"[..], 0));
    let said = String::from_utf8_lossy(&bytes[10..10 + header]).into_owned();
    assert_eq!(said.trim_end(), "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 160), }");
    let numbers: Vec<f32> =
        bytes[10 + header..].chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().expect("four"))).collect();
    assert_eq!(numbers, rows.iter().flat_map(vector).collect::<Vec<_>>());
    // A file that is there stays, unless that is asked for.
    assert!(folder.fails("embed --jsonl in.jsonl -q -o vectors.npy", 73).contains("--force"));
    let told = folder.fails("embed --jsonl in.jsonl -q --force --format jsonl -o ./in.jsonl", 64);
    assert!(told.contains("a file that this command reads"), "{told}");
    folder.done("embed --jsonl in.jsonl -q -o vectors.npy --force --pooling last --no-normalize");
    assert_ne!(fs::read(folder.0.join("vectors.npy")).expect("a file"), bytes);
}

/// Vectors of the story model, whose weights are rounded, are those of its checkpoint but for that.
#[test]
fn vectors_are_the_hidden_states_of_transformers() {
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/hidden.json");
    let texts: Value = serde_json::from_str(&fs::read_to_string(fixture).expect("a fixture")).expect("JSON");
    for (pooling, bound) in [("mean", 0.9995), ("last", 0.999), ("cls", 0.999)] {
        for text in texts.as_array().expect("texts") {
            let said = text["text"].as_str().expect("a text");
            let arguments = ["embed", "-q", "--pooling", pooling, "--no-normalize", "--kv", "f32", said];
            let output = whit().args(arguments).output().expect("the program starts");
            let whole: Value = serde_json::from_slice(&output.stdout).expect("JSON");
            let row = &whole["embeddings"][0];
            assert_eq!(row["tokens"], text["tokens"]);
            let of = |values: &Value| -> Vec<f64> {
                values.as_array().expect("a vector").iter().map(|value| value.as_f64().expect("a number")).collect()
            };
            let (got, want) = (of(&row["embedding"]), of(&text[pooling]));
            let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            let cosine = product(&got, &want) / (product(&got, &got) * product(&want, &want)).sqrt();
            let length = (product(&got, &got) / product(&want, &want)).sqrt();
            assert!(cosine > bound && (length - 1.0).abs() < 0.02, "{pooling} {said}: {cosine} {length}");
        }
    }
}

/// M-50
#[test]
fn what_is_no_text_is_refused_by_its_line() {
    let folder = Folder::new("embed-refused");
    for (text, told) in [
        ("\"a\"\n{}", "line 2: this is neither a string nor an object"),
        ("\"a\"\n\n5", "line 3: this is neither a string nor an object"),
        ("{", "line 1: EOF while parsing"),
        ("", "there is no line with a text"),
    ] {
        folder.write("in.jsonl", text);
        let error = folder.fails("embed --jsonl in.jsonl -q", 65);
        assert!(error.contains(told) && error.contains("in.jsonl"), "{error}");
    }
    folder.write("in.jsonl", &format!("\"a\"\n{}", json!("word ".repeat(300))));
    let error = folder.fails("embed --jsonl in.jsonl -q", 64);
    assert!(error.contains("above the 256 positions that this model was made for"), "{error}");
    assert!(folder.fails("embed", 64).contains("TEXT: there is no text"));
    assert!(folder.fails("embed a --format npy", 64).contains("-o FILE"));
    assert!(folder.fails("embed a -q --max-memory 1M", 71).contains("memory"));
}
