//! What comes over a connection of the server: several requests, or what was to be one, in parts, from clients that go.

use super::{Target, bodies, requests};
use crate::bench::{Bench, Bound, Files, Stop, Verdict};
use crate::bytes::scramble;
use crate::random::Random;
use crate::server::Client;
use whit::error::Error;

pub(super) struct Http;

const METHODS: [&str; 6] = ["GET", "POST", "OPTIONS", "DELETE", "PUT", "get"];
const PATHS: [&str; 16] = [
    "/",
    "/livez",
    "/readyz",
    "/health",
    "/metrics",
    "/whit/status",
    "/v1/models",
    "/v1/models/talks",
    "/v1/models/%zz",
    "/props",
    "/slots",
    "/api/tags",
    "/api/ps",
    "/api/version",
    "/none",
    "*",
];
const HEADERS: [&str; 18] = [
    "Host: rebound.example.com",
    "Host: [::1]:80",
    "Origin: http://localhost",
    "Origin: null",
    "Authorization: Bearer x",
    "x-api-key: k",
    "Content-Type: text/html",
    "Content-Type: application/json; charset=utf-8",
    "Expect: 100-continue",
    "Connection: close",
    "Connection: keep-alive, upgrade",
    "Upgrade: h2c",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: gzip, chunked",
    "Content-Length: 5",
    "Content-Length: -1",
    "Content-Length: 99999999999999999999",
    "Accept-Encoding: gzip",
];

impl Target for Http {
    fn name(&self) -> &'static str {
        "http"
    }

    fn bound(&self) -> Bound {
        Bound::REQUEST
    }

    fn make(&self, random: &mut Random) -> Files {
        let n = random.pick(&[1, 1, 1, 2, 4]);
        let mut bytes: Vec<u8> = (0..n).flat_map(|_| request(random)).collect();
        if random.once_in(3) {
            scramble(&mut bytes, random);
        }
        vec![(requests::FILE.to_string(), bytes)]
    }

    fn run(&self, files: &Files, bench: &mut Bench, random: &mut Random) -> Verdict {
        let [(_, bytes)] = &files[..] else { return Ok(()) };
        crate::server::address()?;
        let goes = random.once_in(6);
        let mut outcome = Ok(Vec::new());
        let measured = bench.reading(bytes.len(), || {
            outcome = answers(bytes, goes, random);
            Ok(())
        });
        let answers = outcome?;
        measured?;
        // Who sends what is no request may be told so before the path is known: then any shape is right.
        let path = requests::path_of(bytes);
        let Some(answer) = answers.first() else {
            return Err(Stop::Refused(Error::data("closed").field("connection")));
        };
        match answers.iter().skip(1).find(|answer| answer.status >= 500 && ![501, 503].contains(&answer.status)) {
            Some(worse) => requests::judged(worse, &path),
            None => requests::judged(answer, &path),
        }
    }
}

/// A request, with headers that may say what is not so.
fn request(random: &mut Random) -> Vec<u8> {
    let (mut path, mut method, mut body) = (random.pick(&PATHS), random.pick(&METHODS), Vec::new());
    if random.once_in(2) {
        (path, body) = bodies::body(random);
        method = "POST";
    } else if random.once_in(2) {
        method = "GET";
    }
    let version =
        if random.once_in(30) { random.pick(&["HTTP/1.0", "HTTP/2.0", "HTTP/0.9", "HTTP/1.1 "]) } else { "HTTP/1.1" };
    let mut head = format!("{method} {path} {version}\r\nHost: localhost\r\n");
    for _ in 0..random.pick(&[0, 0, 0, 1, 2]) {
        head += random.pick(&HEADERS);
        head += "\r\n";
    }
    if random.once_in(200) {
        head += &format!("X: {}\r\n", "a".repeat(random.pick(&[1000, 70_000])));
    }
    if random.once_in(6) {
        head += "Transfer-Encoding: chunked\r\n\r\n";
        let half = body.len() / 2;
        let mut parts = Vec::new();
        for part in [&body[..half], &body[half..]].into_iter().filter(|part| !part.is_empty()) {
            parts.extend(format!("{:x}\r\n", part.len()).into_bytes());
            parts.extend(part);
            parts.extend(b"\r\n");
        }
        parts.extend(b"0\r\n\r\n");
        return [head.into_bytes(), parts].concat();
    }
    if !body.is_empty() {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    [head.into_bytes(), b"\r\n".to_vec(), body].concat()
}

/// The answers to what a client sends in parts, who then says that this was all, or `goes` without a word.
fn answers(bytes: &[u8], goes: bool, random: &mut Random) -> Result<Vec<crate::server::Answer>, Stop> {
    let mut client = Client::connect()?;
    let mut rest = bytes;
    while !rest.is_empty() {
        let n = if random.once_in(3) { random.within(1, rest.len()) } else { rest.len() };
        if !client.send(&rest[..n]) {
            break;
        }
        rest = &rest[n..];
    }
    let mut answers = Vec::new();
    if goes {
        return Ok(answers);
    }
    // A client that is done with writing reads on; the server may close before it has answered, but close it must.
    if random.once_in(2) {
        client.finish();
    } else if let Some(answer) = first_whole(&mut client, bytes)? {
        answers.push(answer);
        client.finish();
    } else {
        client.finish();
    }
    while let Some(answer) = client.answer()? {
        answers.push(answer);
    }
    Ok(answers)
}

/// The answer to a request that is surely whole, before the client says that nothing more comes.
fn first_whole(client: &mut Client, bytes: &[u8]) -> Result<Option<crate::server::Answer>, Stop> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    let head = end.and_then(|end| core::str::from_utf8(&bytes[..end]).ok()).unwrap_or_default().to_ascii_lowercase();
    let is_plain = head.starts_with("get /") && head.ends_with("http/1.1\r\nhost: localhost");
    if is_plain { client.answer() } else { Ok(None) }
}
