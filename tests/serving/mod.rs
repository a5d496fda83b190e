//! A server of the story model, and requests to it by sockets.
#![allow(dead_code, reason = "each test uses a part of it")]

use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

/// Until something is taken for hung.
const PATIENCE: Duration = Duration::from_secs(120);

/// A chat template for a model that has none.
pub(crate) const TEMPLATE: &str = "{% for t in tools or [] %}<tool_call>{{ t['function']['name'] }}</tool_call>\n{% endfor %}\
    {% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}\
    {% if add_generation_prompt %}assistant:{% endif %}";

/// A server, ended when it is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    said: Mutex<Receiver<String>>,
    pub(crate) before_open: Vec<String>,
}

impl Server {
    /// The server of `whit serve` with these arguments, at a port that is free. It keeps nothing on disk, unless they name a folder.
    pub(crate) fn start(words: &[&str]) -> Server {
        let mut command = super::program::whit();
        command.args(["serve", "--port", "0"]).args(words);
        if !words.contains(&"--cache") {
            command.arg("--no-cache");
        }
        Server::of(command)
    }

    /// The server that `command` starts.
    pub(crate) fn of(mut command: Command) -> Server {
        command.stderr(Stdio::piped()).stdout(Stdio::null());
        let mut child = command.spawn().expect("the program starts");
        let stderr = BufReader::new(child.stderr.take().expect("standard error"));
        let (to, said) = channel();
        thread::spawn(move || stderr.lines().map_while(Result::ok).for_each(|line| drop(to.send(line))));
        let mut before_open = Vec::new();
        let address = loop {
            let line = said.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no port: {before_open:?}"));
            match line.split_once("serving at http://") {
                Some((_, address)) => break address.parse().expect("an address"),
                None => before_open.push(line),
            }
        };
        Server { child, address, said: Mutex::new(said), before_open }
    }

    /// A connection.
    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time");
        stream
    }

    /// The answer to these bytes, on a connection of their own, which then ends or is closed by the server.
    pub(crate) fn send(&self, bytes: &[u8]) -> Reply {
        let mut stream = self.connect();
        // Where the server refuses in the middle, the rest is not taken.
        let _ = stream.write_all(bytes);
        Reply::read(&mut stream)
    }

    /// The answer to a request with more headers, each a line.
    pub(crate) fn request(&self, method: &str, path: &str, headers: &[&str], body: &str) -> Reply {
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        let host = if headers.to_lowercase().contains("host:") { String::new() } else { "Host: localhost\r\n".into() };
        let length = body.len();
        let text = format!(
            "{method} {path} HTTP/1.1\r\n{host}Connection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
        );
        self.send(text.as_bytes())
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        self.request("GET", path, &[], "")
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Reply {
        self.request("POST", path, &["Content-Type: application/json"], &body.to_string())
    }

    /// The value that a request is answered, which has to succeed.
    pub(crate) fn ask(&self, path: &str, body: &Value) -> Value {
        let reply = self.post(path, body);
        assert_eq!(reply.status, 200, "{path}: {}", reply.body);
        reply.value()
    }

    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &id]).status().expect("kill");
        assert!(sent.success());
    }

    /// Its exit code, and what it said since it was open.
    pub(crate) fn wait(mut self) -> (Option<i32>, Vec<String>) {
        let status = self.child.wait().expect("an end");
        (status.code(), self.said.lock().expect("no panic").iter().collect())
    }

    /// What it said since it was open, so far.
    pub(crate) fn said(&self) -> Vec<String> {
        self.said.lock().expect("no panic").try_iter().collect()
    }

    /// Whether none of its threads wakes up for half a second, at last.
    pub(crate) fn comes_to_rest(&self) -> bool {
        let switches = || -> u64 {
            let tasks = std::fs::read_dir(format!("/proc/{}/task", self.process())).expect("threads");
            let of = |task: std::fs::DirEntry| {
                let status = std::fs::read_to_string(task.path().join("status")).unwrap_or_default();
                let counts = status.lines().filter(|line| line.contains("ctxt_switches"));
                counts.filter_map(|line| line.split_whitespace().last()?.parse::<u64>().ok()).sum::<u64>()
            };
            tasks.flatten().map(of).sum()
        };
        // Until what the last request left has come to rest.
        let mut before = switches();
        for _ in 0..20 {
            thread::sleep(Duration::from_millis(500));
            let now = switches();
            if now == before {
                return true;
            }
            before = now;
        }
        false
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a state").is_none()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reply {
    /// 0 where none came.
    pub(crate) status: u16,
    pub(crate) headers: String,
    pub(crate) body: String,
}

impl Reply {
    /// What comes until the server closes the connection.
    pub(crate) fn read(stream: &mut TcpStream) -> Reply {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        let text = String::from_utf8_lossy(&bytes);
        let Some((headers, body)) = text.split_once("\r\n\r\n") else { return Reply::default() };
        let status = headers.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        let headers = headers.to_lowercase();
        let body = if headers.contains("transfer-encoding: chunked") { whole(body) } else { body.to_owned() };
        Reply { status, headers, body }
    }

    pub(crate) fn value(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// The values of a stream of events, without its end.
    pub(crate) fn events(&self) -> Vec<Value> {
        let data = self.body.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]");
        data.map(|data| serde_json::from_str(data).unwrap_or_else(|error| panic!("{error}: {data}"))).collect()
    }

    /// The values of a stream of lines.
    pub(crate) fn lines(&self) -> Vec<Value> {
        self.body
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
            .collect()
    }
}

/// A body without the lengths of its parts. Their lengths are in bytes, and parts end between characters.
fn whole(chunked: &str) -> String {
    let (mut out, mut rest) = (String::new(), chunked);
    while let Some((length, after)) = rest.split_once("\r\n") {
        let n = usize::from_str_radix(length.trim(), 16).unwrap_or(0);
        if n == 0 || after.len() < n {
            break;
        }
        out += &after[..n];
        rest = after[n..].strip_prefix("\r\n").unwrap_or_default();
    }
    out
}
