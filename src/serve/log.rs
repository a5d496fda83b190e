//! The log of requests: a line of JSON each. A thread of its own writes it, so that nobody waits for a disk; where it cannot keep up,
//! or writing fails, lines are lost and the server goes on.

use serde_json::{Value, json};
use std::io::Write;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};
use whit::error::{Error, Kind, Result};
use whit::os::calendar::Moment;

/// Lines that wait to be written, at most.
const MOST_LINES: usize = 1024;
/// Characters of a path that are logged.
const PATH_CHARACTERS: usize = 256;
/// How long the last lines may take when the server ends.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Where the log goes, opened before the process gives up to open files.
pub(crate) struct LogFile {
    pub(crate) file: Box<dyn Write + Send + Sync>,
    /// What is asked and answered is logged, too.
    pub(crate) with_text: bool,
}

/// The log.
pub(super) struct Log {
    to: SyncSender<Message>,
    n_lost: Arc<AtomicU64>,
    with_text: bool,
}

enum Message {
    Line(String),
    /// Everything before was written.
    Last(SyncSender<()>),
}

impl Log {
    /// Starts the thread that writes to `file`.
    pub(super) fn start(file: LogFile) -> Result<Log> {
        let (to, lines) = sync_channel(MOST_LINES);
        let n_lost = Arc::new(AtomicU64::new(0));
        let lost = Arc::clone(&n_lost);
        let with_text = file.with_text;
        let started = thread::Builder::new().name("whit-log".into()).spawn(move || write(file.file, &lines, &lost));
        started.map_err(|error| Error::new(Kind::Resources, format!("no thread: {error}")))?;
        Ok(Log { to, n_lost, with_text })
    }

    fn line(&self, line: &Value) {
        if self.to.try_send(Message::Line(format!("{line}\n"))).is_err() {
            self.n_lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until what was logged is written, if that is soon.
    pub(super) fn end(&self) {
        let (done, last) = sync_channel(1);
        if self.to.try_send(Message::Last(done)).is_ok() {
            let _ = last.recv_timeout(LAST_LINES);
        }
    }
}

/// Writes lines as long as there are any. After some were lost, how many they were is said first.
fn write(mut file: Box<dyn Write + Send + Sync>, lines: &Receiver<Message>, n_lost: &AtomicU64) {
    let mut is_torn = false;
    for message in lines {
        let line = match message {
            Message::Line(line) => line,
            Message::Last(done) => {
                let _ = done.try_send(());
                continue;
            }
        };
        let lost = n_lost.swap(0, Ordering::Relaxed);
        let before = if lost > 0 { format!("{}\n", json!({"time": now(), "lost_lines": lost})) } else { String::new() };
        let start = if is_torn { "\n" } else { "" };
        // In one piece, so that lines of several servers in one file stay whole.
        is_torn = file.write_all(format!("{start}{before}{line}").as_bytes()).and_then(|()| file.flush()).is_err();
        if is_torn {
            n_lost.fetch_add(lost + 1, Ordering::Relaxed);
        }
    }
}

/// What an answer of texts took.
pub(super) struct Figures {
    pub(super) n_prompt: usize,
    pub(super) n_held: usize,
    pub(super) n_written: usize,
    /// Why each text ended, where it has.
    pub(super) ended: Vec<Option<&'static str>>,
    /// Until the first of them was begun, and until its first token was there.
    pub(super) begun: Option<Duration>,
    pub(super) first: Option<Duration>,
    /// What was written.
    pub(super) text: String,
}

/// The line of a request, written when its answer was sent, or given up.
pub(super) struct Entry {
    log: Arc<Log>,
    id: String,
    client: IpAddr,
    method: String,
    path: String,
    came: Instant,
    pub(super) model: Option<String>,
    pub(super) status: u16,
    /// What the answer took, where it has texts.
    figures: Option<Value>,
    asked: Option<String>,
    answered: Option<String>,
}

impl Entry {
    /// The line of a request with this `id`, if there is a `log`.
    pub(super) fn begin(log: Option<&Arc<Log>>, id: &str, client: IpAddr, method: &str, path: &str) -> Option<Entry> {
        Some(Entry {
            log: Arc::clone(log?),
            id: id.to_owned(),
            client,
            method: method.to_owned(),
            path: path.chars().take(PATH_CHARACTERS).collect(),
            came: Instant::now(),
            model: None,
            status: 0,
            figures: None,
            asked: None,
            answered: None,
        })
    }

    /// Whether what is asked and answered is logged.
    pub(super) fn has_text(&self) -> bool {
        self.log.with_text
    }

    /// Notes what is asked.
    pub(super) fn ask(&mut self, body: &[u8]) {
        if self.has_text() {
            self.asked = Some(String::from_utf8_lossy(body).into_owned());
        }
    }

    /// Notes an answer of texts, as far as it is written.
    pub(super) fn answer(&mut self, figures: Figures) {
        let millis = |time: Duration| (time.as_secs_f64() * 1e6).round() / 1e3;
        self.figures = Some(json!({
            "prompt_tokens": figures.n_prompt,
            "cached_tokens": figures.n_held,
            "tokens": figures.n_written,
            "ended": figures.ended,
            "queue_ms": figures.begun.map(millis),
            "first_token_ms": figures.first.map(millis),
        }));
        self.answered = Some(figures.text).filter(|_| self.has_text());
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut line = json!({
            "time": now(),
            "id": self.id,
            "client": self.client.to_string(),
            "method": self.method,
            "path": self.path,
            "model": self.model,
            "status": self.status,
        });
        if let Some(Value::Object(figures)) = self.figures.take() {
            figures.into_iter().for_each(|(name, value)| line[name] = value);
        }
        line["total_ms"] = json!((self.came.elapsed().as_secs_f64() * 1e6).round() / 1e3);
        if self.has_text() {
            line["request"] = json!(self.asked.take());
            line["answer"] = json!(self.answered.take());
        }
        self.log.line(&line);
    }
}

/// The time now, as RFC 3339 has it, in milliseconds.
fn now() -> String {
    let passed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let seconds = passed.as_secs().min(u64::from(u32::MAX)) as u32;
    let moment = Moment::utc(seconds).format("%Y-%m-%dT%H:%M:%S").unwrap_or_default();
    format!("{moment}.{:03}Z", passed.subsec_millis())
}

/// The id that a client gave its request, if it may stand in a log: of letters, digits and some signs, not too long.
pub(super) fn sane(id: &str) -> Option<&str> {
    const LONGEST: usize = 128;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.:/+=@".contains(c);
    Some(id).filter(|id| !id.is_empty() && id.len() <= LONGEST && id.chars().all(is_plain))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn ids_that_could_be_something_else_are_not_taken() {
        assert_eq!(sane("6f1c-A_b.c:d/e+f=@1"), Some("6f1c-A_b.c:d/e+f=@1"));
        let long = "a".repeat(129);
        for id in ["", "a b", "a\"b", "a\nb", "\u{e9}", long.as_str()] {
            assert_eq!(sane(id), None, "{id:?}");
        }
    }

    /// A file that is full for the first writes.
    struct Full {
        n_failing: usize,
        written: Arc<Mutex<String>>,
    }

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let mut written = self.written.lock().expect("no panic");
            if self.n_failing > 0 {
                self.n_failing -= 1;
                return Err(std::io::ErrorKind::StorageFull.into());
            }
            written.push_str(&String::from_utf8_lossy(bytes));
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// L-24
    #[test]
    fn what_could_not_be_written_is_counted_and_the_next_line_is_whole() {
        let written = Arc::new(Mutex::new(String::new()));
        let file = Box::new(Full { n_failing: 2, written: Arc::clone(&written) });
        let log = Log::start(LogFile { file, with_text: false }).expect("a thread");
        for n in 0..3 {
            log.line(&json!({"n": n}));
        }
        log.end();
        let written = written.lock().expect("no panic");
        let lines: Vec<&str> = written.lines().filter(|line| !line.is_empty()).collect();
        assert_eq!(lines.len(), 2, "{written}");
        assert!(lines[0].contains("\"lost_lines\":2"), "{written}");
        assert_eq!(lines[1], "{\"n\":2}");
    }
}
