//! Lines from a terminal, where they can be edited and come back with the arrow keys, or from a pipe.

use rustyline::error::ReadlineError;
use rustyline::{Behavior, Config, DefaultEditor};
use std::io::{self, IsTerminal};
use whit::error::{Error, Kind, Result};

const PROMPT: &str = "> ";
/// The longest line, a terminal's or a pipe's.
const MOST_BYTES: u64 = 16 << 20;

/// Where lines come from.
pub(super) enum Lines {
    Terminal(Box<DefaultEditor>),
    Pipe,
}

/// A line that was read.
pub(super) enum Line {
    Text(String),
    /// Ctrl-C at the prompt: what stood there is dropped.
    Dropped,
    End,
}

impl Lines {
    /// Standard input.
    pub(super) fn new() -> Result<Lines> {
        if !io::stdin().is_terminal() {
            return Ok(Lines::Pipe);
        }
        let config = Config::builder().behavior(Behavior::PreferTerm).auto_add_history(true).build();
        let editor = DefaultEditor::with_config(config).map_err(|error| failed(&error.to_string()))?;
        Ok(Lines::Terminal(Box::new(editor)))
    }

    /// Whether somebody sits there.
    pub(super) fn is_terminal(&self) -> bool {
        matches!(self, Lines::Terminal(_))
    }

    /// The next line, with those that a backslash at the end joins to it.
    pub(super) fn next(&mut self) -> Result<Line> {
        let mut whole = String::new();
        loop {
            let line = match self {
                Lines::Pipe => piped()?,
                Lines::Terminal(editor) => match editor.readline(if whole.is_empty() { PROMPT } else { "" }) {
                    Ok(text) => Some(text),
                    Err(ReadlineError::Interrupted) => return Ok(Line::Dropped),
                    Err(ReadlineError::Eof) => None,
                    Err(error) => return Err(failed(&error.to_string())),
                },
            };
            let Some(line) = line else {
                return Ok(if whole.is_empty() { Line::End } else { Line::Text(whole) });
            };
            match line.strip_suffix('\\') {
                Some(part) => {
                    whole.push_str(part);
                    whole.push('\n');
                }
                None => return Ok(Line::Text(whole + &line)),
            }
        }
    }
}

/// A line of a pipe, without its end; `None` at the end.
fn piped() -> Result<Option<String>> {
    use std::io::{BufRead, Read};
    let mut bytes = Vec::new();
    let read = io::stdin().lock().take(MOST_BYTES).read_until(b'\n', &mut bytes);
    if read.map_err(|error| failed(&error.to_string()))? == 0 {
        return Ok(None);
    }
    while bytes.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
        bytes.pop();
    }
    let line = super::super::input::utf8(bytes).map_err(|error| error.in_file("standard input"))?;
    Ok(Some(line))
}

fn failed(message: &str) -> Error {
    Error::new(Kind::Io, message).in_file("standard input")
}
