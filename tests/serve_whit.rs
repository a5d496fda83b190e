//! What `whit serve` has and no other: looks into the model are what the commands print, and keep out of the way of texts.
#![cfg(feature = "serve")]

mod program;
mod serving;

use program::whit;
use serde_json::{Value, json};
use serving::Server;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::thread;

/// The lines of JSON that a command prints.
fn lines(words: &[&str]) -> Vec<Value> {
    let output = whit().args(words).output().expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// Asserts that `more` has all that `fewer` has, with equal values, but for fields that are null or `left_out`.
fn assert_within(fewer: &Value, more: &Value, left_out: &[&str], at: &str) {
    match (fewer, more) {
        (Value::Object(fields), Value::Object(_)) => {
            for (name, value) in fields.iter().filter(|(name, _)| !left_out.contains(&name.as_str())) {
                assert_within(value, &more[name], left_out, &format!("{at}.{name}"));
            }
        }
        (Value::Array(items), Value::Array(others)) => {
            assert_eq!(items.len(), others.len(), "{at}");
            for (i, (item, other)) in items.iter().zip(others).enumerate() {
                assert_within(item, other, left_out, &format!("{at}[{i}]"));
            }
        }
        (Value::Number(a), Value::Number(b)) => {
            let [a, b] = [a, b].map(|number| number.as_f64().expect("a number"));
            assert!((a - b).abs() <= 1e-12 * a.abs(), "{at}: {a} {b}");
        }
        _ => assert_eq!(fewer, more, "{at}"),
    }
}

const TEXT: &str = "Once upon a time, there was a little caf\u{e9}";

#[test]
fn looks_show_what_the_commands_print() {
    let server = Server::start(&["-t", "1"]);
    let next = lines(&["next", "--json", "-t", "1", TEXT]);
    let shown = server.ask("/whit/next", &json!({"text": TEXT, "film": true}));
    assert_within(&next[0], &shown, &[], "next");
    assert_within(&next[1], &shown, &[], "film");
    assert_eq!((&shown["top"][2]["rank"], &shown["model"]), (&json!(3), &json!("stories")));

    let score = server.ask("/whit/score", &json!({"text": TEXT}));
    let file = std::env::temp_dir().join(format!("whit-score-{}", std::process::id()));
    std::fs::write(&file, TEXT).expect("written");
    let mut printed = lines(&["score", "--json", "-q", "-t", "1", file.to_str().expect("a path")]);
    let _ = std::fs::remove_file(&file);
    let summary = printed.pop().expect("a summary");
    let left_out = ["kl_bits", "other_bits", "model", "other_model", "other_perplexity", "mean_kl_bits"];
    assert_within(&json!(printed), &score["tokens"], &left_out, "score");
    assert_within(&summary, &score, &left_out, "score");
    let sum: f64 =
        score["tokens"].as_array().expect("tokens").iter().filter_map(|token| token["logprob"].as_f64()).sum();
    assert!((sum - score["summary"]["log_likelihood"].as_f64().expect("a sum")).abs() < 1e-9);

    let mut printed = lines(&["tokens", "--json", TEXT]);
    let tokens = server.ask("/whit/tokens", &json!({"text": TEXT}));
    assert_within(&printed.pop().expect("a summary"), &tokens, &[], "tokens");
    assert_within(&json!(printed), &tokens["tokens"], &[], "tokens");
    let ids: Vec<Value> =
        tokens["tokens"].as_array().expect("tokens").iter().map(|token| token["id"].clone()).collect();
    assert_eq!(server.ask("/whit/tokens", &json!({"tokens": ids}))["text"], TEXT);

    let printed = lines(&["lens", "--json", "-q", "-t", "1", TEXT]);
    let lens = server.ask("/whit/lens", &json!({"text": TEXT, "last": 64}));
    assert_within(&json!(printed), &lens["positions"], &[], "lens");
    let last = server.ask("/whit/lens", &json!({"text": TEXT}));
    assert_eq!(last["positions"][0], *lens["positions"].as_array().expect("positions").last().expect("a last one"));

    let printed = lines(&["attend", "--json", "-t", "1", TEXT]);
    let attend = server.ask("/whit/attend", &json!({"text": TEXT}));
    assert_within(&printed[0], &attend, &[], "attend");
    assert_within(&json!(printed[1..]), &attend["looks"], &[], "attend");
    let one = server.ask("/whit/attend", &json!({"text": TEXT, "layer": 1, "head": 2}));
    let same = attend["looks"].as_array().expect("heads").iter().find(|head| head["layer"] == 1 && head["head"] == 2);
    assert_eq!(one["looks"], json!([same]));
}

#[test]
fn the_next_token_is_the_one_that_a_text_gets_and_its_beginning_is_held() {
    let server = Server::start(&["-t", "1"]);
    let options = json!({"prompt": TEXT, "seed": 5, "temperature": 1.1, "top_k": 7, "min_p": 0.02});
    let ask = |path: &str, more: Value| {
        let mut body = options.clone();
        more.as_object().expect("fields").iter().for_each(|(name, value)| body[name] = value.clone());
        server.ask(path, &body)
    };
    let next = ask("/whit/next", json!({"stages": true, "top": 4}));
    let written = ask("/v1/completions", json!({"max_tokens": 1, "whit": {"distribution": 4, "stages": true}}));
    let token = &written["choices"][0]["whit"]["tokens"][0];
    let choice = &next["choice"];
    assert_eq!((&choice["token"], &choice["u"]), (&token["id"], &token["draw"]));
    let names = |of: &Value, name: &str| -> Vec<Value> {
        of["stages"].as_array().expect("stages").iter().map(|stage| stage[name].clone()).collect()
    };
    assert_eq!(names(choice, "stage"), names(token, "name"));
    assert_eq!(names(choice, "candidates"), names(token, "n_candidates"));
    let after_top_k = choice["stages"].as_array().expect("stages").iter().find(|stage| stage["stage"] == "top-k");
    assert_eq!(after_top_k.expect("a stage")["candidates"], 7);
    assert_eq!(next["temperature"], 1.1);
    assert!(written["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64() > Some(0), "{written}");
    assert!(ask("/whit/next", json!({}))["cached_tokens"].as_u64() > Some(0));
}

#[test]
fn looks_change_no_text_beside_them_and_take_no_more_than_there_is_room_for() {
    let server = Server::start(&["-t", "1", "--parallel", "2", "--queue", "6", "--ctx", "256"]);
    let body = json!({"prompt": "The cat", "max_tokens": 24, "seed": 3});
    let alone = server.ask("/v1/completions", &body)["choices"][0]["text"].clone();
    let long = TEXT.repeat(4);
    let looks = [
        ("/whit/score", json!({"text": long})),
        ("/whit/lens", json!({"text": long, "last": 8})),
        ("/whit/attend", json!({"text": TEXT, "layer": 0})),
        ("/whit/next", json!({"text": long, "film": true, "stages": true})),
    ];
    thread::scope(|scope| {
        let texts: Vec<_> = (0..2).map(|_| scope.spawn(|| server.ask("/v1/completions", &body))).collect();
        for (path, body) in &looks {
            assert_eq!(server.post(path, body).status, 200, "{path}");
        }
        for text in texts {
            assert_eq!(text.join().expect("no panic")["choices"][0]["text"], alone);
        }
    });
    let refused = |path: &str, body: Value| {
        let reply = server.post(path, &body);
        assert_eq!(reply.status, 400, "{path}: {}", reply.body);
        reply.value()["error"]["message"].as_str().expect("words").to_owned()
    };
    let beyond = "a b c ".repeat(300);
    for path in ["/whit/score", "/whit/tokens", "/whit/lens"] {
        assert!(refused(path, json!({"text": beyond})).contains("more than the 256 that are looked at"), "{path}");
    }
    assert!(refused("/whit/attend", json!({"text": "a b c ".repeat(60)})).contains("more than the 128"));
    assert!(refused("/whit/attend", json!({"text": TEXT, "layer": 99})).starts_with("layer: "));
    assert!(refused("/whit/attend", json!({"text": TEXT, "head": 1})).starts_with("head: "));
    assert!(refused("/whit/lens", json!({"text": TEXT, "last": 65})).starts_with("last: "));
    assert!(refused("/whit/score", json!({"tokens": [1]})).starts_with("text: "));
    assert!(refused("/whit/score", json!({"tokens": [1, 70000]})).contains("outside the vocabulary"));
    assert!(refused("/whit/next", json!({})).starts_with("text: it is missing"));
    assert!(
        refused("/whit/next", json!({"messages": [{"role": "user", "content": "Hi"}]})).contains("no chat template")
    );
    assert_eq!(server.get("/whit/next").status, 405);
}

#[test]
fn answers_of_one_request_are_those_of_single_ones_and_share_the_prompt() {
    let server = Server::start(&["-t", "1", "--parallel", "5"]);
    let long = format!("{} And then", TEXT.repeat(9));
    let single = |seed: u64| {
        let body = json!({"prompt": long, "max_tokens": 12, "seed": seed, "temperature": 1.0});
        server.ask("/v1/completions", &body)["choices"][0]["text"].clone()
    };
    let all = server
        .ask("/v1/completions", &json!({"prompt": long, "max_tokens": 12, "seed": 7, "temperature": 1.0, "n": 5}));
    let n_prompt = all["usage"]["prompt_tokens"].as_u64().expect("a number");
    let computed: u64 = server
        .get("/metrics")
        .body
        .lines()
        .find_map(|line| line.strip_prefix("whit_prompt_tokens_total "))
        .and_then(|n| n.parse().ok())
        .expect("a counter");
    // What is left of less than 32 tokens is computed rather than copied.
    assert!(n_prompt > 90 && computed <= n_prompt + 4 * 33, "{computed} of a prompt of {n_prompt}");
    for (i, choice) in all["choices"].as_array().expect("answers").iter().enumerate() {
        assert_eq!(choice["text"], single(7 + i as u64), "{i}");
    }
}

#[test]
fn a_server_and_a_batch_name_a_model_alike() {
    let server = Server::start(&["-t", "1"]);
    let body = json!({"prompt": "Once", "max_tokens": 2});
    let folder = std::env::temp_dir().join(format!("whit-named-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let [requests, answers] = ["in.jsonl", "out.jsonl"].map(|name| folder.join(name));
    let request = json!({"custom_id": "a", "method": "POST", "url": "/v1/completions", "body": body});
    std::fs::write(&requests, format!("{request}\n")).expect("written");
    let output = whit().args(["batch", "-q", "-t", "1"]).arg(&requests).arg("-o").arg(&answers).output();
    assert!(output.expect("the program starts").status.success());
    let row: Value = serde_json::from_str(&std::fs::read_to_string(&answers).expect("answers")).expect("a row");
    let _ = std::fs::remove_dir_all(&folder);
    let served = server.ask("/v1/completions", &body);
    assert_eq!(row["response"]["body"]["system_fingerprint"], served["system_fingerprint"]);
    assert_eq!(server.get("/whit/status").value()["fingerprint"], served["system_fingerprint"]);
}

/// A file that is removed when it is dropped.
struct LogFile(PathBuf);

impl LogFile {
    fn new(name: &str) -> LogFile {
        let path = std::env::temp_dir().join(format!("whit-log-{name}-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        LogFile(path)
    }

    fn name(&self) -> &str {
        self.0.to_str().expect("a path")
    }

    /// Its lines, once the server that wrote it has ended.
    fn lines(&self, server: Server) -> Vec<Value> {
        server.signal("TERM");
        assert_eq!(server.wait().0, Some(0));
        let text = std::fs::read_to_string(&self.0).expect("a log");
        text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
    }
}

impl Drop for LogFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn each_request_is_a_line_of_the_log_without_what_was_said() {
    let log = LogFile::new("lines");
    std::fs::write(&log.0, "{\"older\":true}\n").expect("written");
    let server = Server::start(&["-t", "1", "--log", log.name()]);
    let body = json!({"prompt": "Once upon a secret", "max_tokens": 7, "n": 2}).to_string();
    let reply = server.request("POST", "/v1/completions", &["X-Request-Id: mine/1"], &body);
    assert!(reply.headers.contains("x-request-id: mine/1"), "{}", reply.headers);
    let reply = server.request("POST", "/v1/completions", &["X-Request-Id: not \"mine\""], &body);
    let own = reply.headers.lines().find_map(|line| line.strip_prefix("x-request-id: ")).expect("an id").to_owned();
    assert!(own.len() == 24 && own.bytes().all(|byte| byte.is_ascii_hexdigit()), "{own}");
    assert_eq!(server.get("/nowhere").status, 404);
    let streamed = json!({"prompt": "Once", "max_tokens": 5, "stream": true});
    assert_eq!(server.post("/v1/completions", &streamed).status, 200);
    // Somebody who leaves.
    let long = json!({"prompt": "Once", "max_tokens": 200, "temperature": 1.5, "stream": true}).to_string();
    let mut stream = server.connect();
    let length = long.len();
    write!(stream, "POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{long}").expect("sent");
    assert!(stream.read(&mut [0; 100]).is_ok());
    drop(stream);
    let lines = log.lines(server);
    assert_eq!(lines.len(), 6, "{lines:?}");
    assert_eq!(lines[0], json!({"older": true}));
    assert_eq!((&lines[1]["id"], &lines[2]["id"]), (&json!("mine/1"), &json!(own)));
    let whole = &lines[1];
    assert_eq!(
        (&whole["method"], &whole["path"], &whole["client"]),
        (&json!("POST"), &json!("/v1/completions"), &json!("127.0.0.1"))
    );
    assert_eq!((&whole["status"], &whole["model"], &whole["tokens"]), (&json!(200), &json!("stories"), &json!(14)));
    assert_eq!(whole["ended"], json!(["length", "length"]));
    assert!(
        lines[2]["cached_tokens"].as_u64() > Some(0)
            && lines[2]["cached_tokens"].as_u64() < whole["prompt_tokens"].as_u64()
    );
    let [queue, first, total] =
        ["queue_ms", "first_token_ms", "total_ms"].map(|name| whole[name].as_f64().expect("a time"));
    assert!(0.0 <= queue && queue <= first && first <= total, "{whole}");
    assert!(whole["time"].as_str().is_some_and(|time| time.len() == 24 && time.ends_with('Z')), "{whole}");
    assert_eq!((&lines[3]["status"], &lines[3]["model"]), (&json!(404), &Value::Null));
    assert_eq!((&lines[4]["tokens"], &lines[4]["ended"]), (&json!(5), &json!(["length"])));
    let said = std::fs::read_to_string(&log.0).expect("a log");
    assert!(!said.contains("secret") && !said.contains("request") && !said.contains("answer"), "{said}");
}

#[test]
fn what_is_said_is_logged_where_that_is_asked_for() {
    let log = LogFile::new("text");
    let server = Server::start(&["-t", "1", "--log", log.name(), "--log-text"]);
    let mut body = json!({"prompt": "Once upon", "max_tokens": 6, "seed": 1});
    let text = server.ask("/v1/completions", &body)["choices"][0]["text"].clone();
    body["stream"] = json!(true);
    assert_eq!(server.post("/v1/completions", &body).status, 200);
    let lines = log.lines(server);
    assert_eq!((&lines[0]["answer"], &lines[1]["answer"]), (&text, &text));
    assert!(lines[1]["request"].as_str().is_some_and(|asked| asked.contains("Once upon")));
}

/// L-24
#[cfg(target_os = "linux")]
#[test]
fn a_log_that_cannot_be_written_stops_nothing() {
    let server = Server::start(&["-t", "1", "--log", "/dev/full"]);
    for seed in 0..5 {
        server.ask("/v1/completions", &json!({"prompt": "Once", "max_tokens": 3, "seed": seed}));
    }
    server.signal("TERM");
    assert_eq!(server.wait().0, Some(0));
    let refused = |path: &str| {
        let output = whit().args(["serve", "--port", "0", "--log", path]).output().expect("the program starts");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = refused("/nowhere/at/all/log");
    assert!(code == Some(73) && said.contains("/nowhere/at/all/log") && said.contains("log"), "{code:?} {said}");
    assert_eq!(refused(std::env::temp_dir().to_str().expect("a path")).0, Some(73));
}
