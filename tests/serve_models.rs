//! `whit serve --models`: models that come into memory when they are asked for and go again, and files that change meanwhile.
#![cfg(feature = "serve")]

mod program;
mod serving;

use serde_json::{Value, json};
use serving::Server;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const PROMPT: &str = "Once upon a time";

/// A folder of story models with these names, removed when it is dropped.
struct Models(PathBuf);

impl Models {
    fn new(test: &str, names: &[&str]) -> Models {
        let folder = std::env::temp_dir().join(format!("whit-models-{test}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder");
        let models = Models(folder);
        names.iter().for_each(|name| models.add(name));
        models
    }

    fn add(&self, name: &str) {
        let stories = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/stories.whit");
        fs::copy(stories, self.file(name)).expect("a copy");
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(format!("{name}.whit"))
    }

    /// A server of them.
    fn serve(&self, words: &[&str]) -> Server {
        let folder = self.0.to_str().expect("a path");
        Server::start(&[&["--models", folder, "-t", "1"], words].concat())
    }
}

impl Drop for Models {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The names in a list of models.
fn names(list: &Value, field: &str) -> Vec<String> {
    let of = |model: &Value| model[field].as_str().expect("a name").to_owned();
    list.as_array().expect("a list").iter().map(of).collect()
}

fn running(server: &Server) -> Vec<String> {
    names(&server.get("/api/ps").value()["models"], "name")
}

fn text(model: &str) -> Value {
    json!({"model": model, "prompt": PROMPT, "max_tokens": 12, "seed": 3})
}

fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_model_comes_when_it_is_asked_for_and_goes_when_it_is_told_to() {
    let models = Models::new("come", &["b", "a", "c"]);
    fs::write(models.0.join("notes.txt"), "no model").expect("written");
    let server = models.serve(&[]);
    assert_eq!(names(&server.get("/v1/models").value()["data"], "id"), ["a", "b", "c"]);
    let tags = server.get("/api/tags").value();
    assert_eq!(names(&tags["models"], "name"), ["a", "b", "c"]);
    assert!(tags["models"][0]["size"].as_u64().is_some_and(|size| size > 1 << 20), "{tags}");
    assert!(running(&server).is_empty());
    // To be looked at it need not be in memory.
    let shown = server.ask("/api/show", &json!({"model": "b"}));
    assert_eq!(shown["model_info"]["whit.vocab_size"], server.get("/v1/models/b").value()["meta"]["n_vocab"]);
    assert!(running(&server).is_empty());

    let alone = Server::start(&["-t", "1"]).ask("/v1/completions", &text("stories"))["choices"][0]["text"].take();
    for name in ["b", "c", "b:latest"] {
        assert_eq!(server.ask("/v1/completions", &text(name))["choices"][0]["text"], alone, "{name}");
    }
    assert_eq!(running(&server), ["b", "c"]);
    // Clients that name none ask the first.
    assert_eq!(server.ask("/v1/completions", &json!({"prompt": PROMPT, "max_tokens": 1}))["model"], "a");
    assert_eq!(running(&server), ["a", "b", "c"]);
    assert_eq!(server.post("/v1/completions", &text("d")).status, 404);
    let metrics = server.get("/metrics").body;
    assert!(
        metrics.contains("whit_models_loaded_total 3\n") && metrics.contains("whit_models_in_memory 3\n"),
        "{metrics}"
    );

    // As Ollama's clients say it.
    let answer = server.ask("/api/generate", &json!({"model": "b", "keep_alive": 0}));
    assert_eq!((&answer["done_reason"], &answer["done"]), (&json!("unload"), &json!(true)));
    eventually("it goes when it is told to", || running(&server) == ["a", "c"]);
    let once =
        json!({"model": "c", "prompt": PROMPT, "stream": false, "keep_alive": "0s", "options": {"num_predict": 3}});
    server.ask("/api/generate", &once);
    eventually("it goes when its text has ended", || running(&server) == ["a"]);
    let asked = json!({"model": "c", "keep_alive": -1});
    assert_eq!(server.ask("/api/generate", &asked)["done_reason"], "load");
    let ps = server.get("/api/ps").value();
    assert_eq!(ps["models"][1]["expires_at"], "2106-02-07T06:28:15Z");
    assert!(ps["models"][1]["size"].as_u64() > ps["models"][0]["size"].as_u64().map(|_| 0), "{ps}");
    server.ask(
        "/api/generate",
        &json!({"model": "c", "prompt": PROMPT, "stream": false, "keep_alive": 0.05, "options": {"num_predict": 3}}),
    );
    eventually("it goes after its time", || running(&server) == ["a"]);
    let wrong = server.post("/api/generate", &json!({"model": "c", "prompt": PROMPT, "keep_alive": "soon"}));
    assert!(wrong.status == 400 && wrong.body.contains("keep_alive"), "{}", wrong.body);
}

#[test]
fn models_that_were_not_used_for_longest_go_where_memory_is_bounded() {
    let models = Models::new("bounded", &["a", "b", "c"]);
    let plan = models.serve(&["--parallel", "2"]);
    let ps = {
        plan.ask("/v1/completions", &text("a"));
        plan.get("/api/ps").value()
    };
    drop(plan);
    let size = |field: &Value| field.as_u64().expect("bytes");
    let tags_size = fs::metadata(models.file("a")).expect("a file").len();
    let private = size(&ps["models"][0]["size"]) - tags_size;
    let bound = (private * 5 / 2 + tags_size).to_string();
    let server = models.serve(&["--parallel", "2", "--max-memory", &bound, "--keep-alive", "forever"]);
    for name in ["a", "b", "a", "c"] {
        server.ask("/v1/completions", &text(name));
    }
    let running_now = running(&server);
    assert!(running_now.contains(&"c".to_owned()) && !running_now.contains(&"b".to_owned()), "{running_now:?}");
}

#[test]
fn the_folder_is_read_again_when_it_is_asked_for() {
    let models = Models::new("again", &["a", "b"]);
    let server = models.serve(&[]);
    server.ask("/v1/completions", &text("a"));
    let listed = || names(&server.get("/v1/models").value()["data"], "id");
    models.add("c");
    fs::remove_file(models.file("b")).expect("removed");
    assert_eq!((listed(), server.post("/v1/completions", &text("c")).status), (vec!["a".into(), "b".into()], 404));
    let gone = server.post("/v1/completions", &text("b"));
    assert!(gone.status == 404 && gone.body.contains("does not exist"), "{}", gone.body);
    server.signal("HUP");
    eventually("the folder is read", || listed() == ["a", "c"]);
    assert_eq!(server.post("/v1/completions", &text("b")).status, 404);
    server.ask("/v1/completions", &text("c"));

    // A file in the place of another: the next time it is that one.
    let loads = || {
        let metrics = server.get("/metrics").body;
        let line = metrics.lines().find_map(|line| line.strip_prefix("whit_models_loaded_total ")).expect("a counter");
        line.parse::<u64>().expect("a number")
    };
    assert_eq!(loads(), 2);
    models.add("new");
    fs::rename(models.file("new"), models.file("a")).expect("renamed");
    server.ask("/v1/completions", &text("a"));
    assert_eq!(loads(), 2);
    server.signal("HUP");
    eventually("the model goes", || running(&server) == ["c"]);
    server.ask("/v1/completions", &text("a"));
    assert_eq!(loads(), 3);

    // Who asks for a model to be fetched has it, if it is in the folder by now.
    models.add("d");
    let pulled = server.post("/api/pull", &json!({"model": "d"})).lines();
    assert_eq!(pulled.last(), Some(&json!({"status": "success"})));
    assert_eq!(server.ask("/api/pull", &json!({"model": "d", "stream": false})), json!({"status": "success"}));
    let missing = server.post("/api/pull", &json!({"model": "none"}));
    assert!(
        missing.status == 200 && missing.lines().last().is_some_and(|line| line["error"].is_string()),
        "{}",
        missing.body
    );
    assert_eq!(server.post("/api/pull", &json!({"model": "none", "stream": false})).status, 404);
}

/// M-55
#[cfg(unix)]
#[test]
fn a_file_that_is_cut_spoils_its_own_texts_alone() {
    let models = Models::new("cut", &["a", "b"]);
    let mut server = models.serve(&[]);
    let whole = server.ask("/v1/completions", &text("b"))["choices"][0]["text"].take();
    server.ask("/v1/completions", &text("a"));
    let long = json!({"model": "a", "prompt": PROMPT, "max_tokens": 3000, "stream": true, "ignore_eos": true, "logit_bias": {"2": -100, "1": -100}});
    let body = long.to_string();
    let mut stream = server.connect();
    let length = body.len();
    write!(
        stream,
        "POST /v1/completions HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .expect("sent");
    let mut begun = [0; 400];
    stream.read_exact(&mut begun).expect("it begins");
    let bytes = fs::metadata(models.file("a")).expect("a file").len();
    fs::File::options().write(true).open(models.file("a")).and_then(|file| file.set_len(bytes / 3)).expect("cut");
    let mut rest = String::new();
    let _ = stream.read_to_string(&mut rest);
    assert!(rest.contains("while it was in use"), "{rest}");
    // The others go on, and it is told of each who asks for the one that was cut.
    assert_eq!(server.ask("/v1/completions", &text("b"))["choices"][0]["text"], whole);
    let refused = server.post("/v1/completions", &text("a"));
    assert!(refused.status == 500 && refused.body.contains("a.whit"), "{} {}", refused.status, refused.body);
    assert!(server.is_running());
    // Once it is there again, it is served again.
    models.add("new");
    fs::rename(models.file("new"), models.file("a")).expect("renamed");
    assert_eq!(server.ask("/v1/completions", &text("a"))["choices"][0]["text"], whole);
}

/// M-55
#[test]
fn a_file_that_is_no_model_is_told_and_the_others_are_served() {
    let models = Models::new("damaged", &["a"]);
    fs::write(models.file("b"), "no model at all").expect("written");
    let server = models.serve(&[]);
    assert_eq!(names(&server.get("/v1/models").value()["data"], "id"), ["a"]);
    assert!(server.before_open.iter().any(|line| line.contains("b cannot be served")), "{:?}", server.before_open);
    let refused = server.post("/v1/completions", &text("b"));
    assert!(refused.status == 500 && refused.body.contains("b.whit"), "{}", refused.body);
}

/// M-54
#[test]
fn a_folder_without_models_and_arguments_that_say_nothing_are_refused() {
    let models = Models::new("refused", &["a"]);
    fs::create_dir(models.0.join("empty")).expect("a folder");
    for (folder, more, code, what) in [
        ("none", &[][..], 66, "none"),
        ("empty", &[], 65, "it has no model file"),
        ("", &["--max-temp", "5"], 64, "expected a temperature"),
        ("", &["--keep-alive", "soon"], 64, "expected a duration"),
    ] {
        let mut command = program::whit();
        command.args(["serve", "--port", "0", "--models"]).arg(models.0.join(folder)).args(more);
        let output = command.output().expect("the program starts");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(code) && said.contains(what), "{said}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn waiting_for_a_models_time_wakes_nobody() {
    // An emulator has threads of its own.
    if std::env::var_os("WHIT_TEST_RUNNER").is_some() {
        return;
    }
    let models = Models::new("idle", &["a", "b"]);
    let server = models.serve(&["--keep-alive", "1h"]);
    for name in ["a", "b"] {
        server.ask("/v1/completions", &text(name));
    }
    assert!(server.comes_to_rest(), "it wakes up all the time");
    assert_eq!(running(&server), ["a", "b"]);
}
