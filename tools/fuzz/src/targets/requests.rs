//! Requests to the server: sound HTTP with any body.

use super::{Target, bodies};
use crate::bench::{Bench, Bound, Files, Stop, Verdict};
use crate::memory;
use crate::random::Random;
use crate::server::{Answer, Client};
use crate::worker;
use std::cell::RefCell;
use std::time::Duration;
use whit::error::Error;

pub(super) struct Requests;

/// The file of a case.
pub(super) const FILE: &str = "request.http";
/// How often a request is sent again that has found no room, and when: what was asked before ends.
const TRIES: usize = 200;
const PAUSE: Duration = Duration::from_millis(2);
/// What the server may hold between two requests: rules that it keeps, and buffers.
const MOST_HELD: usize = 256 << 20;

thread_local! {
    /// The connection, which is used for as long as the server leaves it open.
    static CLIENT: RefCell<Option<Client>> = const { RefCell::new(None) };
}

impl Target for Requests {
    fn name(&self) -> &'static str {
        "requests"
    }

    fn bound(&self) -> Bound {
        Bound::REQUEST
    }

    fn make(&self, random: &mut Random) -> Files {
        let (path, body) = bodies::body(random);
        let mut bytes = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", body.len());
        if random.once_in(30) {
            bytes = bytes.replace("Host:", "Connection: close\r\nHost:");
        }
        vec![(FILE.to_string(), [bytes.into_bytes(), body].concat())]
    }

    fn run(&self, files: &Files, bench: &mut Bench, _: &mut Random) -> Verdict {
        let [(_, bytes)] = &files[..] else { return Ok(()) };
        let path = path_of(bytes);
        // What is made once counts for no case.
        crate::server::address()?;
        let mut outcome = Err(Stop::Broken("nothing was asked".into()));
        let measured = bench.reading(bytes.len(), || {
            outcome = asked(bytes);
            Ok(())
        });
        let answer = outcome?;
        measured?;
        judged(&answer, &path)
    }
}

/// The path that the request `bytes` name.
pub(super) fn path_of(bytes: &[u8]) -> String {
    let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
    String::from_utf8_lossy(line).split(' ').nth(1).unwrap_or_default().to_owned()
}

/// The answer to a request, once there is room for it.
fn asked(bytes: &[u8]) -> Result<Answer, Stop> {
    let mut left = TRIES;
    loop {
        let answer = once(bytes)?;
        if answer.status != 503 {
            return Ok(answer);
        }
        left -= 1;
        if left == 0 {
            return Err(Stop::Broken(format!("there is no room any more: {}", answer.message())));
        }
        std::thread::sleep(PAUSE);
    }
}

fn once(bytes: &[u8]) -> Result<Answer, Stop> {
    CLIENT.with_borrow_mut(|kept| {
        // Twice: the one that was kept may have been closed meanwhile.
        for _ in 0..2 {
            let mut client = match kept.take() {
                Some(client) => client,
                None => Client::connect()?,
            };
            client.send(bytes);
            if let Some(answer) = client.answer()? {
                *kept = Some(client).filter(|_| answer.header("connection") != Some("close"));
                return Ok(answer);
            }
        }
        Err(Stop::Broken("the server closes without an answer".into()))
    })
}

/// What an answer is worth.
pub(super) fn judged(answer: &Answer, path: &str) -> Verdict {
    if let Some(said) = worker::take_panic() {
        return Err(Stop::Broken(format!("panic: {said}")));
    }
    if let Some(complaint) = answer.complaint(path) {
        return Err(Stop::Broken(complaint));
    }
    if memory::live() > MOST_HELD {
        return Err(Stop::Broken(format!("the server holds {} bytes", memory::live())));
    }
    if answer.status >= 400 {
        return Err(Stop::Refused(Error::data(answer.message()).field("request")));
    }
    Ok(())
}
