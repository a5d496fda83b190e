//! Where words go: the product to standard output, all else to standard error. A reader that went away ends the work
//! quietly.

use super::screen::{columns, fold, folded};
use console::Term;
use std::fmt::Arguments;
use std::io::{self, IsTerminal, Write};
use whit::error::{self, Error, Kind};

/// Why a command ended early.
#[derive(Debug)]
pub(crate) enum End {
    /// Something is wrong.
    Failed(Error),
    /// Nobody reads the output any more.
    BrokenPipe,
    /// The user interrupted the command, which has printed its results.
    Interrupted,
    /// What was compared is not the same, as was printed.
    Differs,
    /// A signal has asked the command to end, which has saved its results.
    Signal(u8),
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        End::Failed(error)
    }
}

/// The result of a command.
pub(crate) type Outcome<T> = Result<T, End>;

/// Standard output.
#[derive(Debug)]
pub(crate) struct Output {
    out: io::StdoutLock<'static>,
    escape: bool,
}

impl Output {
    /// Standard output; control characters of foreign text are escaped if it is a terminal.
    pub(crate) fn new() -> Self {
        let out = io::stdout().lock();
        Output { escape: out.is_terminal(), out }
    }

    /// Standard output that passes foreign text on as it is.
    pub(crate) fn raw(self) -> Self {
        Output { escape: false, ..self }
    }

    /// Writes text of ours.
    pub(crate) fn write(&mut self, text: &str) -> Outcome<()> {
        self.out.write_all(text.as_bytes()).map_err(failed)
    }

    /// Writes a line of ours.
    pub(crate) fn line(&mut self, text: &str) -> Outcome<()> {
        self.write(text)?;
        self.write("\n")
    }

    /// Writes a page of ours, whose lines are folded to the screen.
    pub(crate) fn page(&mut self, text: &str) -> Outcome<()> {
        self.write(&folded(text, usize::MAX))
    }

    /// Writes text of a model or a prompt, and at once.
    pub(crate) fn foreign(&mut self, text: &str) -> Outcome<()> {
        if !self.escape || !text.contains(moves_cursor) {
            self.write(text)?;
        } else {
            let mut shown = String::new();
            for c in text.chars() {
                if moves_cursor(c) {
                    shown.extend(c.escape_default());
                } else {
                    shown.push(c);
                }
            }
            self.write(&shown)?;
        }
        self.flush()
    }

    /// Writes text of a model that stands back, and at once: dimmed on a terminal that has colours.
    pub(crate) fn dimmed(&mut self, text: &str) -> Outcome<()> {
        if !(self.is_terminal() && console::colors_enabled()) {
            return self.foreign(text);
        }
        self.write("\u{1b}[2m")?;
        self.foreign(text)?;
        self.write("\u{1b}[22m")?;
        self.flush()
    }

    /// Whether somebody sees it.
    pub(crate) fn is_terminal(&self) -> bool {
        self.out.is_terminal()
    }

    /// Sends what was written.
    pub(crate) fn flush(&mut self) -> Outcome<()> {
        self.out.flush().map_err(failed)
    }
}

/// What moves the cursor otherwise than text does.
fn moves_cursor(c: char) -> bool {
    error::moves_cursor(c) && c != '\n' && c != '\t'
}

fn failed(error: io::Error) -> End {
    match error.kind() {
        io::ErrorKind::BrokenPipe => End::BrokenPipe,
        _ => End::Failed(Error::new(Kind::Io, error.to_string()).in_file("standard output")),
    }
}

/// Writes a line to standard error; where that is closed, the line is lost.
pub(crate) fn note(line: Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Writes words to standard error, folded to its terminal.
pub(crate) fn tell(words: &str) {
    let width = columns(&Term::stderr()).unwrap_or(usize::MAX);
    words.lines().flat_map(|line| fold(line, width)).for_each(|line| note(format_args!("{line}")));
}

/// `bytes` with a unit of 1000s, three digits or so.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.*} {}", if value < 10.0 { 2 } else { 1 }, UNITS[unit])
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_moves_the_cursor_is_escaped() {
        let escaped: Vec<char> = "a\n\t\r\u{1b}\u{7}\u{9b}\u{202e}é".chars().filter(|c| moves_cursor(*c)).collect();
        assert_eq!(escaped, ['\r', '\u{1b}', '\u{7}', '\u{9b}', '\u{202e}']);
    }

    #[test]
    fn sizes_have_their_unit() {
        let cases = [(0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (999_960, "1.00 MB"), (538_000_000, "538.0 MB")];
        for (n, text) in cases {
            assert_eq!(bytes(n), text);
        }
        assert_eq!(bytes(u64::MAX), "18446744.1 TB");
        assert_eq!(hex(&[0, 255, 16]), "00ff10");
    }
}
