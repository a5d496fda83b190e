//! The server itself, with all its threads, in this process: a small model under two names, one that talks and one that does not.
//! What it answers is looked at as a client would.

use crate::bench::Stop;
use crate::serve::{self, Door, Facts, Gate, Offered, Options, Outside, Served};
use crate::worker;
use serde_json::Value;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;
use whit::chat::Argument;
use whit::error::moves_cursor;
use whit::generate::{ModelFile, ScheduleOptions};
use whit::inspect::MemoryPlan;
use whit::ops::KvDtype;
use whit::sampler::SamplerOptions;
use whit::{Compute, kernels};

/// Tokens of a context, and of an answer to a request that does not say how many.
const CONTEXT: usize = 96;
const WRITTEN: usize = 3;
/// Until a client takes the server for hung: less than the watch over all cases waits.
const PATIENCE: Duration = Duration::from_secs(8);
/// Bytes of the message of an error, at most.
const MOST_MESSAGE: usize = 4000;
/// Has marks of a family of calls and of thoughts.
const TEMPLATE: &str = "{% for t in tools or [] %}<tool_call>{{ t | tojson }}</tool_call>\n{% endfor %}\
    {% for m in messages %}{{ m.role }}: {{ m.content }}{% if m.tool_calls %}{{ m.tool_calls | tojson }}{% endif %}\n{% endfor %}\
    {% if add_generation_prompt %}assistant:{% endif %}{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}";

/// Where the server is; it is started once, and ends with the process.
pub(crate) fn address() -> Result<SocketAddr, Stop> {
    static ADDRESS: OnceLock<Result<SocketAddr, String>> = OnceLock::new();
    ADDRESS.get_or_init(start).clone().map_err(Stop::Broken)
}

fn start() -> Result<SocketAddr, String> {
    let (told, address) = mpsc::channel();
    let serving = move || {
        let served = (|| {
            let compute = Arc::new(Compute::new(kernels::detect(), 1)?);
            let models = vec![offered("talks", Some(TEMPLATE))?, offered("writes", None)?];
            let options = Options {
                gate: Gate::default(),
                queue: 8,
                drain: Duration::ZERO,
                log: None,
                cache: None,
                max_celsius: None,
                tell: |_| (),
            };
            let failed = |error: std::io::Error| whit::Error::data(error.to_string()).field("port");
            let socket = tokio::net::TcpSocket::new_v4().map_err(failed)?;
            socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).map_err(failed)?;
            let outside = Outside { door: Door::Bound(socket), notifier: None, pressure: None };
            let served = Served { models, folder: None };
            serve::run(outside, served, &compute, options, |address| drop(told.send(Ok(address))))
        })();
        if let Err(error) = served {
            let _ = told.send(Err(error.to_string()));
        }
    };
    let thread = std::thread::Builder::new().name("server".into()).spawn(serving);
    thread.map_err(|error| error.to_string())?;
    address.recv().unwrap_or_else(|_| Err("the server ends before it begins".into()))
}

/// A model, and what is known of it; nobody asks what memory it takes.
fn offered(name: &str, template: Option<&str>) -> whit::Result<(Offered, Facts)> {
    let bytes = whit::default_model().ok_or_else(|| whit::Error::data("there is no story model").field("model"))?;
    let offered = Offered {
        name: name.into(),
        file: ModelFile::of_bytes(bytes)?,
        sampling: SamplerOptions::default(),
        template: template.map(str::to_owned),
        template_arguments: vec![("language".into(), Argument::Text("en".into()))],
        schedule: ScheduleOptions { n_texts: 4, context_length: CONTEXT, kv: KvDtype::F32, slice: 16 },
        stops: Vec::new(),
        n_tokens: Some(WRITTEN),
    };
    let plan = MemoryPlan { mapped: 0, kv: 0, scratch: 0, stacks: 0, reserved: 0, tables: 0, program: 0 };
    let facts = Facts::of(&offered, &plan);
    Ok((offered, facts))
}

/// An answer as it came.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: String,
    body: Vec<u8>,
}

impl Answer {
    /// The value of a header, whose name is of small letters.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let of = |line: &'_ str| line.split_once(':').is_some_and(|(key, _)| key == name);
        self.headers.lines().find(|line| of(line))?.split_once(':').map(|(_, value)| value.trim())
    }

    /// What the error says.
    pub(crate) fn message(&self) -> String {
        let value: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let error = &value["error"];
        error["message"].as_str().or(error.as_str()).unwrap_or_default().to_owned()
    }

    /// What is wrong with it, as an answer to a request for `path`.
    pub(crate) fn complaint(&self, path: &str) -> Option<String> {
        let told = |what: &str| {
            let body = String::from_utf8_lossy(&self.body);
            let body: String = body.chars().take(300).collect();
            Some(format!("{path}: {what}: {} {body}", self.status))
        };
        let kind = self.header("content-type").unwrap_or_default();
        match self.status {
            200 => match kind {
                "application/json" if serde_json::from_slice::<Value>(&self.body).is_err() => told("no JSON"),
                "text/event-stream" if !self.has_lines(|line| line.is_empty() || is_event(line)) => told("no events"),
                "application/x-ndjson" if !self.has_lines(is_value) => told("no lines of JSON"),
                "" => told("of no type"),
                _ => None,
            },
            204 => None,
            // Of what is no HTTP, hyper says nothing but its status.
            400 | 414 | 431 if self.body.is_empty() && kind.is_empty() => None,
            400..=499 | 501 | 503 => self.wrong_error(path).and_then(told),
            _ => told("a status that no request should see"),
        }
    }

    fn has_lines(&self, is_right: impl Fn(&str) -> bool) -> bool {
        core::str::from_utf8(&self.body).is_ok_and(|body| body.lines().all(is_right))
    }

    /// What is wrong with an error in the shape of the API of `path`.
    fn wrong_error(&self, path: &str) -> Option<&'static str> {
        let Ok(value) = serde_json::from_slice::<Value>(&self.body) else { return Some("an error that is no JSON") };
        let error = &value["error"];
        let (message, is_right) = if path.starts_with("/api/") {
            (error.as_str(), true)
        } else if path.starts_with("/v1/messages") {
            (error["message"].as_str(), value["type"] == "error" && error["type"].is_string())
        } else {
            (error["message"].as_str(), error["type"].is_string() && error.get("code").is_some())
        };
        match message {
            None => Some("an error without a message"),
            Some(_) if !is_right => Some("an error in the shape of another API"),
            Some("") => Some("an error that says nothing"),
            Some(message) if message.contains(moves_cursor) => Some("a message that moves the cursor"),
            Some(message) if message.len() > MOST_MESSAGE => Some("a message that fills the screen"),
            Some(_) => None,
        }
    }
}

fn is_value(line: &str) -> bool {
    serde_json::from_str::<Value>(line).is_ok()
}

fn is_event(line: &str) -> bool {
    match line.split_once(": ") {
        Some(("data", data)) => data == "[DONE]" || is_value(data),
        Some(("event", name)) => !name.is_empty(),
        _ => false,
    }
}

/// A connection to the server.
pub(crate) struct Client {
    stream: TcpStream,
    came: Vec<u8>,
    has_ended: bool,
}

impl Client {
    pub(crate) fn connect() -> Result<Client, Stop> {
        let stream = TcpStream::connect(address()?).map_err(|error| broken("no connection", &error))?;
        let set = stream.set_nodelay(true).and_then(|()| stream.set_read_timeout(Some(PATIENCE)));
        set.map_err(|error| broken("a connection", &error))?;
        Ok(Client { stream, came: Vec::new(), has_ended: false })
    }

    /// Sends bytes; false where the server takes no more.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Says that nothing comes any more.
    pub(crate) fn finish(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// The next answer; `None` where the server closes, in the middle of an answer or before it.
    pub(crate) fn answer(&mut self) -> Result<Option<Answer>, Stop> {
        let mut part = [0; 16 << 10];
        loop {
            if let Some((answer, n)) = taken(&self.came, self.has_ended).map_err(Stop::Broken)? {
                self.came.drain(..n);
                if answer.status != 100 {
                    return Ok(Some(answer));
                }
                continue;
            }
            if self.has_ended {
                return Ok(None);
            }
            match self.stream.read(&mut part) {
                Ok(0) => self.has_ended = true,
                Ok(n) => self.came.extend_from_slice(&part[..n]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    let panic = worker::take_panic().map(|said| format!(", after a panic: {said}")).unwrap_or_default();
                    return Err(Stop::Broken(format!("the server neither answers nor closes{panic}")));
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // It closed while bytes of ours were on their way.
                Err(_) => self.has_ended = true,
            }
        }
    }
}

fn broken(what: &str, error: &std::io::Error) -> Stop {
    Stop::Broken(format!("{what}: {error}"))
}

/// The answer that `bytes` begin with, and how many of them it takes; `None` where it is not whole.
fn taken(bytes: &[u8], has_ended: bool) -> Result<Option<(Answer, usize)>, String> {
    let Some(head) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        let is_http = b"HTTP/1.".starts_with(&bytes[..bytes.len().min(7)]);
        return if is_http { Ok(None) } else { Err("what comes is no HTTP".into()) };
    };
    let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    let (first, headers) = text.split_once("\r\n").unwrap_or((&text, ""));
    let status = first.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| format!("no status: {first}"))?;
    let mut answer = Answer { status, headers: headers.to_owned(), body: Vec::new() };
    let rest = &bytes[head + 4..];
    let n = if status < 200 || status == 204 {
        0
    } else if answer.header("transfer-encoding") == Some("chunked") {
        let Some((body, n)) = unchunked(rest)? else { return Ok(None) };
        answer.body = body;
        n
    } else {
        let length = answer.header("content-length").map(str::parse::<usize>);
        let n = match length {
            Some(Ok(n)) => n,
            Some(Err(_)) => return Err("a length that is no number".into()),
            None if has_ended => rest.len(),
            None => return Ok(None),
        };
        let Some(body) = rest.get(..n) else { return Ok(None) };
        answer.body = body.to_vec();
        n
    };
    Ok(Some((answer, head + 4 + n)))
}

/// A body in parts, and the bytes that it takes with their lengths.
fn unchunked(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, String> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let rest = &bytes[at..];
        let Some(end) = rest.windows(2).position(|two| two == b"\r\n") else { return Ok(None) };
        let length = core::str::from_utf8(&rest[..end]).ok().and_then(|hex| usize::from_str_radix(hex, 16).ok());
        let n = length.ok_or("a part without a length")?;
        let Some(part) = rest.get(end + 2..end + 2 + n + 2) else { return Ok(None) };
        body.extend_from_slice(&part[..n]);
        at += end + 2 + n + 2;
        if n == 0 {
            return Ok(Some((body, at)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_taken_apart() {
        let two = b"HTTP/1.1 400 Bad\r\nContent-Type: a\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n";
        let (first, n) = taken(two, false).expect("HTTP").expect("whole");
        assert_eq!((first.status, first.header("content-type"), &first.body[..]), (400, Some("a"), &b"{}"[..]));
        let (second, m) = taken(&two[n..], false).expect("HTTP").expect("whole");
        assert_eq!((second.status, &second.body[..], n + m), (200, &b"abc"[..], two.len()));
        assert!(taken(&two[n..two.len() - 1], true).is_ok_and(|answer| answer.is_none()));
        assert!(taken(b"{}", false).is_err());
        assert!(taken(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", false).is_err());
    }

    #[test]
    fn errors_of_another_api_are_complained_of() {
        let body = |text: &str| Answer {
            status: 400,
            headers: "content-type: application/json".into(),
            body: text.as_bytes().to_vec(),
        };
        let openai = r#"{"error":{"message":"n: 0","type":"invalid_request_error","param":"n","code":null}}"#;
        assert_eq!(body(openai).complaint("/v1/completions"), None);
        assert!(body(openai).complaint("/v1/messages").is_some() && body(openai).complaint("/api/chat").is_some());
        assert!(body("{}").complaint("/v1/completions").is_some());
        assert!(Answer { status: 500, ..body(openai) }.complaint("/v1/completions").is_some());
        assert!(Answer { status: 200, ..body("{") }.complaint("/v1/completions").is_some());
    }
}
