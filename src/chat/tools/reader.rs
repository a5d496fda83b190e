//! A reply, parted while it is written: text, thoughts, calls.

use super::super::thinking::Marks;
use super::family::{Begin, Family};
use super::parse::{self, Stop};
use super::tool::Tool;
use crate::chat::Call;
use std::sync::Arc;

/// A part of a reply.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// What it says.
    Text(String),
    /// What the model thought before.
    Thinking(String),
    /// A function that it calls.
    Call(Call),
}

/// Parts a reply. What is said comes as soon as it cannot be the beginning of a mark, a call when it is whole.
#[derive(Debug, Clone)]
pub struct Reader {
    family: Option<Arc<Family>>,
    tools: Arc<Vec<Tool>>,
    marks: Option<Marks>,
    state: State,
    /// What was read and is not given yet.
    held: String,
    /// White space before the mark of a block, which is nothing where calls follow.
    gap: String,
    /// Nothing but white space and thoughts came so far.
    is_first: bool,
    /// What the reply says is written as a string of JSON.
    is_quoted: bool,
    n_calls: usize,
    /// The number of the first call, for its id.
    first_call: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Text,
    Thinking,
    /// Within a block of calls behind its mark.
    Calls(Begin),
    /// Within words that are a string of JSON.
    Quoted,
    /// Behind thoughts or a block, where white space means nothing.
    Between,
}

impl Reader {
    /// A reader of replies that are text and nothing else.
    pub fn plain() -> Self {
        Reader::new(None, Arc::default(), None, false)
    }

    /// A reader of a reply that begins within thoughts, or does not.
    pub(super) fn new(family: Option<Family>, tools: Arc<Vec<Tool>>, marks: Option<Marks>, is_thinking: bool) -> Self {
        let state = if is_thinking { State::Thinking } else { State::Text };
        Reader {
            family: family.map(Arc::new),
            tools,
            marks,
            state,
            held: String::new(),
            gap: String::new(),
            is_first: true,
            is_quoted: false,
            n_calls: 0,
            first_call: 0,
        }
    }

    /// Gives calls ids by their numbers from `n` on, as a conversation with so many calls before may wish.
    pub fn number_from(mut self, n: usize) -> Self {
        self.first_call = n;
        self
    }

    /// Reads what comes next; the parts that are certain now.
    pub fn push(&mut self, text: &str) -> Vec<Part> {
        self.held.push_str(text);
        let mut parts = Vec::new();
        // A block is read anew only where what came may have ended it.
        let may_end = !matches!(self.state, State::Calls(_)) || text.contains(['}', ']', ')', '>']);
        while may_end && self.step(false, &mut parts) {}
        parts
    }

    /// The parts that were held back at the end of the reply.
    pub fn finish(&mut self) -> Vec<Part> {
        let mut parts = Vec::new();
        while self.step(true, &mut parts) {}
        parts
    }

    /// The calls read so far.
    pub fn n_calls(&self) -> usize {
        self.n_calls
    }

    /// Whether what the reply says is written as a string of JSON, so that its text is not what was written.
    pub fn is_quoted(&self) -> bool {
        self.is_quoted
    }

    /// Goes on as far as the next mark; false where there is nothing to go on with.
    fn step(&mut self, is_end: bool, parts: &mut Vec<Part>) -> bool {
        match self.state {
            State::Between => {
                let n = self.held.len() - self.held.trim_start().len();
                self.held.drain(..n);
                if self.held.is_empty() {
                    return false;
                }
                self.state = State::Text;
                true
            }
            State::Text => self.text(is_end, parts),
            State::Thinking => self.thoughts(is_end, parts),
            State::Calls(begin) => self.calls(begin, is_end, parts),
            State::Quoted => self.quoted(is_end, parts),
        }
    }

    fn text(&mut self, is_end: bool, parts: &mut Vec<Part>) -> bool {
        let begins = self.begins();
        let says = self.family.as_deref().and_then(|family| family.says).filter(|_| self.is_first);
        let says = says.map(|says| [says, "\""].concat());
        let opens = self.marks.filter(|_| self.is_first).map(|marks| marks.open.trim_end());
        let space = self.held.len() - self.held.trim_start().len();
        let find = |mark: &str, at_start: bool| {
            let found = self.held.find(mark);
            found.filter(|at| !at_start || *at == space)
        };
        let begin =
            begins.iter().filter_map(|begin| Some((find(begin.mark, begin.is_call)?, *begin))).min_by_key(|b| b.0);
        let open = opens.and_then(|open| Some((find(open, true)?, open)));
        if let Some(says) = says.as_deref().filter(|says| find(says, true).is_some()) {
            self.held.drain(..space + says.len());
            (self.is_first, self.is_quoted) = (false, true);
            self.state = State::Quoted;
            return true;
        }
        match (begin, open) {
            (Some((at, begin)), open) if open.is_none_or(|(before, _)| at < before) => {
                let said = self.held[..at].trim_end().to_owned();
                self.gap = self.held[said.len()..at].to_owned();
                self.say(said, parts);
                self.held.drain(..if begin.is_call { at } else { at + begin.mark.len() });
                self.state = State::Calls(begin);
                true
            }
            (_, Some((at, open))) => {
                self.held.drain(..at + open.len());
                self.state = State::Thinking;
                true
            }
            _ => {
                let marks = begins.iter().map(|begin| begin.mark).chain(opens).chain(says.as_deref());
                let certain = if is_end { self.held.len() } else { self.certain(marks) };
                let said: String = self.held.drain(..certain).collect();
                self.say(said, parts);
                false
            }
        }
    }

    /// Words as JSON writes them, up to the end of their object.
    fn quoted(&mut self, is_end: bool, parts: &mut Vec<Part>) -> bool {
        let written = string_of_json(&self.held);
        let said: String = self.held.drain(..written).collect();
        let plain = serde_json::from_str(&format!("\"{said}\""));
        self.say(plain.unwrap_or(said), parts);
        let close = ["\"}", "\""].into_iter().find(|close| self.held.starts_with(close));
        match close {
            Some("\"") if self.held.len() == 1 && !is_end => false,
            Some(close) => {
                self.held.drain(..close.len());
                self.state = State::Between;
                true
            }
            None => {
                if is_end {
                    self.held.clear();
                }
                false
            }
        }
    }

    fn thoughts(&mut self, is_end: bool, parts: &mut Vec<Part>) -> bool {
        let close = self.marks.map_or("", |marks| marks.close);
        let found = self.held.find(close);
        let certain = match found {
            Some(at) => at,
            None if is_end => self.held.len(),
            None => self.certain([close].into_iter()),
        };
        let thought: String = self.held.drain(..certain).collect();
        if !thought.is_empty() {
            parts.push(Part::Thinking(thought));
        }
        if found.is_some() {
            self.held.drain(..close.len());
            self.state = State::Between;
        }
        found.is_some()
    }

    fn calls(&mut self, begin: Begin, is_end: bool, parts: &mut Vec<Part>) -> bool {
        let Some(family) = self.family.as_deref().copied() else { return false };
        match parse::block(family, &self.tools, &self.held, is_end) {
            Ok((calls, length)) => {
                self.held.drain(..length);
                self.is_first = false;
                for mut call in calls {
                    // Nine letters and digits, as templates of Mistral want them.
                    call.id = format!("call{:05}", self.first_call + self.n_calls);
                    self.n_calls += 1;
                    parts.push(Part::Call(call));
                }
                self.state = State::Between;
                true
            }
            Err(Stop::Incomplete) if !is_end => false,
            // No call after all: it is what the model says.
            Err(_) => {
                let mark = if begin.is_call { "" } else { begin.mark };
                let length = self.held.chars().next().map_or(0, char::len_utf8);
                let said: String = self.held.drain(..length).collect();
                let gap = core::mem::take(&mut self.gap);
                self.say(format!("{gap}{mark}{said}"), parts);
                self.is_first = false;
                self.state = State::Text;
                true
            }
        }
    }

    /// Marks that may begin calls here.
    fn begins(&self) -> Vec<Begin> {
        let all = self.family.as_deref().map_or(&[][..], |family| family.begins);
        all.iter().filter(|begin| !begin.is_call || self.is_first).copied().collect()
    }

    fn say(&mut self, text: String, parts: &mut Vec<Part>) {
        self.is_first &= text.trim().is_empty();
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
    }

    /// The bytes of what is held that are no beginning of a mark, nor white space before one.
    fn certain<'m>(&self, marks: impl Iterator<Item = &'m str>) -> usize {
        let mut certain = self.held.len();
        let mut any = false;
        for mark in marks {
            any = true;
            let longest = (1..mark.len()).rev().filter(|n| mark.is_char_boundary(*n));
            let open = longest.into_iter().find(|n| self.held.ends_with(&mark[..*n])).unwrap_or(0);
            certain = certain.min(self.held.len() - open);
        }
        if any && self.state == State::Text { self.held[..certain].trim_end().len() } else { certain }
    }
}

/// The bytes of `text` that belong to a string of JSON and are certain: up to the quote that ends it, or to an escape that is cut off.
fn string_of_json(text: &str) -> usize {
    let mut at = 0;
    while let Some(length) = text[at..].find(['"', '\\']) {
        let before = at + length;
        let rest = &text[before..];
        let length = match rest.as_bytes() {
            [b'\\', b'u', b'd' | b'D', b'8' | b'9' | b'a' | b'b' | b'A' | b'B', ..] => 12,
            [b'\\', b'u', ..] => 6,
            [b'\\', ..] => 2,
            _ => return before,
        };
        let mut ends = rest.char_indices().map(|(at, c)| at + c.len_utf8());
        let Some(end) = ends.nth(length - 1) else { return before };
        at = before + end;
    }
    text.len()
}
