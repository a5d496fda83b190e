//! Beginnings of texts that `whit serve` keeps on disk: they outlive the server, and whatever happens to the folder, an answer is
//! what it is without it.
#![cfg(feature = "serve")]

mod program;
mod serving;

use program::whit;
use serde_json::{Value, json};
use serving::Server;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("whit-serve-cache-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }

    /// A server that keeps beginnings in the folder `cache` here.
    fn server(&self, words: &[&str]) -> Server {
        let cache = self.cache();
        Server::start(&[&["-t", "1", "--cache", cache.to_str().expect("a path")], words].concat())
    }

    fn cache(&self) -> PathBuf {
        self.0.join("cache")
    }

    /// The files of the cache whose names end so.
    fn files(&self, end: &str) -> Vec<PathBuf> {
        let listed = fs::read_dir(self.cache()).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut found: Vec<_> = listed.filter(|path| path.to_string_lossy().ends_with(end)).collect();
        found.sort();
        found
    }

    /// Waits until so many parts of texts are kept.
    fn wait_for(&self, n_parts: usize) {
        let since = Instant::now();
        while self.files(".kv").len() < n_parts {
            assert!(since.elapsed() < Duration::from_secs(60), "{:?}", self.files(""));
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A prompt of some hundred tokens that begins as all others do, and a request for what follows it.
fn request(name: &str) -> Value {
    let beginning = "Once upon a time there was a little girl who liked to play in the park. ".repeat(8);
    json!({"prompt": format!("{beginning}{name}"), "max_tokens": 8, "seed": 3, "temperature": 1.0})
}

/// The text that is answered, and how many tokens of its prompt were held.
fn answer(server: &Server, request: &Value) -> (String, u64) {
    let answer = server.ask("/v1/completions", request);
    let text = answer["choices"][0]["text"].as_str().expect("a text").to_owned();
    (text, answer["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap_or(0))
}

/// What is answered without a cache.
fn expected(requests: &[Value]) -> Vec<String> {
    let server = Server::start(&["-t", "1"]);
    requests.iter().map(|request| answer(&server, request).0).collect()
}

fn metric(server: &Server, name: &str) -> u64 {
    let metrics = server.get("/metrics").body;
    let line = metrics.lines().find_map(|line| line.strip_prefix(&format!("whit_{name} "))).expect("a metric");
    line.parse().expect("a number")
}

#[test]
fn a_model_that_comes_again_goes_on_where_it_was() {
    let folder = Folder::new("again");
    let models = folder.0.join("models");
    fs::create_dir_all(&models).expect("a folder");
    let stories = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/stories.whit");
    // A file that was changed just now has no identity by which a later load would know its weights.
    std::os::unix::fs::symlink(stories, models.join("stories.whit")).expect("a link");
    let request = request("The end.");
    let expected = expected(std::slice::from_ref(&request));
    let server = folder.server(&["--models", models.to_str().expect("a path"), "--keep-alive", "1h"]);
    assert_eq!(answer(&server, &request), (expected[0].clone(), 0));
    folder.wait_for(4);
    server.ask("/api/generate", &json!({"model": "stories", "keep_alive": 0}));
    let since = Instant::now();
    while metric(&server, "models_unloaded_total") == 0 {
        assert!(since.elapsed() < Duration::from_secs(60), "it stays");
        thread::sleep(Duration::from_millis(5));
    }
    let (text, n_held) = answer(&server, &request);
    assert!(text == expected[0] && n_held >= 96, "{text:?}, {n_held}");
    assert_eq!((metric(&server, "models_loaded_total"), metric(&server, "cache_texts_total")), (2, 1));
    server.signal("TERM");
    assert_eq!(server.wait(), (Some(0), Vec::new()));
}

#[test]
fn a_killed_server_goes_on_where_it_was() {
    let folder = Folder::new("killed");
    let requests = ["The end.", "Then her mother came."].map(request);
    let expected = expected(&requests);
    let server = folder.server(&[]);
    let (text, n_held) = answer(&server, &requests[0]);
    assert_eq!((text, n_held), (expected[0].clone(), 0));
    let n_prompt = server.ask("/v1/completions", &requests[0])["usage"]["prompt_tokens"].as_u64().expect("a number");
    assert!(n_prompt > 100, "{n_prompt}");
    folder.wait_for((n_prompt + 7).div_ceil(32) as usize);
    assert!(metric(&server, "cache_written_bytes_total") > 0);
    server.signal("KILL");
    drop(server);

    let server = folder.server(&[]);
    let (text, n_held) = answer(&server, &requests[0]);
    assert_eq!((&text, n_held), (&expected[0], (n_prompt - 1) / 32 * 32), "all whole parts");
    assert_eq!((metric(&server, "cache_texts_total"), metric(&server, "cache_tokens_total") >= n_held), (1, true));
    // What only begins like it goes on from its last whole block in common, which is in memory by now.
    let (text, n_held) = answer(&server, &requests[1]);
    assert!(text == expected[1] && n_held > 100, "{text:?}, {n_held}");
    assert_eq!(metric(&server, "cache_texts_total"), 1);
    server.signal("TERM");
    let (code, said) = server.wait();
    assert_eq!((code, said), (Some(0), Vec::new()));

    // What was in memory at an orderly end is kept, too, and other settings find nothing of it.
    let server = folder.server(&[]);
    let (text, n_held) = answer(&server, &requests[1]);
    assert!(text == expected[1] && n_held > 100 && metric(&server, "cache_texts_total") == 1, "{text:?}, {n_held}");
    let server = folder.server(&["--kv", "f32"]);
    assert_eq!(answer(&server, &requests[0]).1, 0);
}

#[test]
fn the_beginning_is_kept_while_its_text_is_written() {
    let folder = Folder::new("midst");
    let mut long = request("And");
    long["max_tokens"] = json!(100_000);
    long["stream"] = json!(true);
    long["logit_bias"] = json!({"1": -100, "2": -100});
    let server = folder.server(&["--slice", "32"]);
    let body = long.to_string();
    let mut stream = server.connect();
    let head = format!("POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
    std::io::Write::write_all(&mut stream, (head + &body).as_bytes()).expect("sent");
    folder.wait_for(4);
    server.signal("KILL");
    drop((stream, server));
    let request = request("The end.");
    let expected = expected(core::slice::from_ref(&request));
    let server = folder.server(&[]);
    let (text, n_held) = answer(&server, &request);
    assert!(text == expected[0] && n_held >= 96, "{text:?}, {n_held}");
}

#[test]
fn two_servers_share_a_folder_and_texts_come_and_go() {
    let folder = Folder::new("two");
    let names: Vec<String> =
        (0..12).map(|i| format!("{} came {}.", ["Tom", "Mia", "A dog"][i % 3], "again ".repeat(i))).collect();
    let requests: Vec<Value> = names.iter().map(|name| request(name)).collect();
    let expected = expected(&requests);
    for _ in 0..2 {
        // Small enough that parts have to go.
        let words = ["--parallel", "3", "--slice", "16", "--cache-size", "2M"];
        let servers = [folder.server(&words), folder.server(&words)];
        thread::scope(|scope| {
            for (i, request) in requests.iter().enumerate() {
                let (server, expected) = (&servers[i % 2], &expected[i]);
                scope.spawn(move || assert_eq!(answer(server, request).0, *expected, "{i}"));
            }
        });
        for server in servers {
            server.signal("TERM");
            assert_eq!(server.wait(), (Some(0), Vec::new()));
        }
        let bytes: u64 = folder.files("").iter().map(|path| fs::metadata(path).expect("a file").len()).sum();
        assert!(bytes <= 4 << 20, "{bytes}");
        assert!(folder.files(".partial").is_empty());
    }
}

#[test]
fn what_is_damaged_is_told_once_and_replaced() {
    let folder = Folder::new("damaged");
    let request = request("The end.");
    let expected = expected(core::slice::from_ref(&request));
    let server = folder.server(&[]);
    answer(&server, &request);
    server.signal("TERM");
    assert_eq!(server.wait().0, Some(0));
    let whole: Vec<(PathBuf, Vec<u8>)> =
        folder.files(".kv").into_iter().map(|path| (path.clone(), fs::read(path).expect("read"))).collect();
    assert!(whole.len() > 4);
    type Damage<'d> = &'d dyn Fn(usize, &mut Vec<u8>);
    let other_text = whole[0].1.clone();
    let damages: [(&str, Damage<'_>); 4] = [
        ("a bit", &|i, bytes| {
            let place = i * 977 % bytes.len();
            bytes[place] ^= 1 << (i % 8);
        }),
        ("a cut", &|i, bytes| bytes.truncate(i * 971 % bytes.len())),
        ("another version", &|_, bytes| bytes[8] = 9),
        ("another text or more", &|_, bytes| bytes.clone_from(&[&other_text[..], b"x"].concat())),
    ];
    for (name, damage) in damages {
        for (i, (path, bytes)) in whole.iter().enumerate() {
            let mut bytes = bytes.clone();
            damage(i, &mut bytes);
            fs::write(path, bytes).expect("written");
        }
        let server = folder.server(&[]);
        assert_eq!(answer(&server, &request), (expected[0].clone(), 0), "{name}");
        assert_eq!(answer(&server, &request).0, expected[0], "{name}");
        server.signal("TERM");
        let (code, said) = server.wait();
        assert_eq!(code, Some(0), "{name}: {said:?}");
        assert_eq!(said.iter().filter(|line| line.contains("the cache on disk: ")).count(), 1, "{name}: {said:?}");
        for (path, bytes) in &whole {
            assert!(fs::read(path).is_ok_and(|found| found == *bytes), "{name}: {}", path.display());
        }
    }
}

/// Whether all of `said` is one complaint that says so.
fn is_told_once(said: &[String], what: &str) -> bool {
    said.len() == 1 && said[0].starts_with("whit: the cache on disk: ") && said[0].contains(what)
}

#[test]
fn a_folder_that_goes_away_is_told_once() {
    let folder = Folder::new("gone");
    let requests = ["The end.", "Then her mother came.", "Tom saw it."].map(request);
    let expected = expected(&requests);
    let server = folder.server(&[]);
    answer(&server, &requests[0]);
    folder.wait_for(4);
    fs::rename(folder.cache(), folder.0.join("elsewhere")).expect("renamed");
    for (request, expected) in requests.iter().zip(&expected) {
        for _ in 0..2 {
            assert_eq!(answer(&server, request).0, *expected);
        }
    }
    server.signal("TERM");
    let (code, said) = server.wait();
    assert!(code == Some(0) && is_told_once(&said, "it does not exist"), "{code:?}, {said:?}");
}

#[test]
fn a_folder_that_cannot_be_used_is_told_and_texts_are_written() {
    let folder = Folder::new("none");
    let request = request("The end.");
    let expected = expected(core::slice::from_ref(&request));
    fs::write(folder.cache(), "a file").expect("written");
    let server = folder.server(&[]);
    assert!(server.before_open.iter().any(|line| line.contains("the cache on disk: ")), "{:?}", server.before_open);
    assert_eq!(answer(&server, &request).0, expected[0]);
    assert_eq!(metric(&server, "cache_written_bytes_total"), 0);
}

/// A file may have no more bytes than a part of a text has, as on a disk that is full.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told_once_and_texts_are_written() {
    let folder = Folder::new("full");
    let requests = ["The end.", "Then her mother came."].map(request);
    let expected = expected(&requests);
    let program = whit();
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "trap '' XFSZ; ulimit -f 4; exec \"$@\"", "sh"]).arg(program.get_program());
    command.args(program.get_args()).args(["serve", "--port", "0", "-t", "1", "--cache"]).arg(folder.cache());
    let server = Server::of(command);
    for (request, expected) in requests.iter().zip(&expected) {
        assert_eq!(answer(&server, request).0, *expected);
    }
    server.signal("TERM");
    let (code, said) = server.wait();
    assert!(code == Some(0) && is_told_once(&said, "cannot write"), "{code:?}, {said:?}");
    assert!(folder.files("").is_empty(), "{:?}", folder.files(""));
}

/// The folder is the user's, by the environment, its owner's alone, and nothing is written anywhere else.
#[cfg(unix)]
#[test]
fn where_nobody_says_so_it_is_a_folder_of_the_user() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new("default");
    let files = |path: &Path| fs::read_dir(path).map_or(0, Iterator::count);
    let server = |words: &[&str], name: &str, path: &Path| {
        let mut command = whit();
        for name in ["WHIT_CACHE", "CACHE_DIRECTORY", "XDG_CACHE_HOME", "HOME"] {
            command.env_remove(name);
        }
        command.args(["serve", "--port", "0", "-t", "1"]).args(words).env(name, path);
        Server::of(command)
    };
    let places = [("HOME", ".cache/whit"), ("XDG_CACHE_HOME", "whit"), ("CACHE_DIRECTORY", ""), ("WHIT_CACHE", "")];
    for (name, place) in places {
        let home = folder.0.join(name);
        let path = home.join(place);
        let off = server(&["--no-cache"], name, &home);
        answer(&off, &request("The end."));
        off.signal("TERM");
        assert_eq!((off.wait().0, home.exists()), (Some(0), false), "{name}");
        let on = server(&[], name, &home);
        answer(&on, &request("The end."));
        on.signal("TERM");
        assert_eq!(on.wait().0, Some(0));
        assert!(files(&path) > 4, "{name}");
        let mode = fs::metadata(&path).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode, 0o700, "{name}");
    }
}
