//! The steps by which text is changed and cut before its pieces become tokens: those that a `tokenizer.json` names as its
//! normalizer and its pre-tokenizer, in their order.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

use super::automaton::Automaton;
use super::header::wrong;
use super::normalize::{nfc, nfd};
use super::words::{Words, padding};
use crate::error::Result;
use crate::format::cursor::Cursor;

/// What a step does with the matches of its pattern and with what lies between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behavior {
    /// Each is a piece.
    Isolated,
    /// A match is dropped.
    Removed,
    /// Neighbours of the same sort are one piece.
    Contiguous,
    /// A match belongs to what is before it.
    MergedWithPrevious,
    /// A match belongs to what is behind it.
    MergedWithNext,
}

impl Behavior {
    const ALL: [Behavior; 5] = [
        Behavior::Isolated,
        Behavior::Removed,
        Behavior::Contiguous,
        Behavior::MergedWithPrevious,
        Behavior::MergedWithNext,
    ];
}

/// Numbers of the kinds of steps in a section.
pub(super) mod code {
    pub(crate) const FORM_C: u32 = 1;
    pub(crate) const FORM_D: u32 = 2;
    pub(crate) const CHARACTERS: u32 = 3;
    pub(crate) const PREPEND: u32 = 4;
    pub(crate) const REPLACE: u32 = 5;
    pub(crate) const TRIM: u32 = 6;
    pub(crate) const SPLIT: u32 = 7;
}

/// Conditions of [`code::PREPEND`], ends of [`code::TRIM`], and [`code::SPLIT`]'s inversion, as bits.
pub(super) mod bit {
    /// Only where the piece does not begin so.
    pub(crate) const UNLESS_THERE: u32 = 1;
    /// Only where the piece begins the text.
    pub(crate) const FIRST: u32 = 2;
    pub(crate) const LEFT: u32 = 1;
    pub(crate) const RIGHT: u32 = 2;
    /// Matches and what lies between them change places.
    pub(crate) const INVERT: u32 = 8;
}

/// One step, borrowed from a section.
#[derive(Debug, Clone, Copy)]
enum Step<'a> {
    FormC,
    FormD,
    Characters(Characters<'a>),
    Prepend { text: &'a str, unless_there: bool, first: bool },
    Replace { pattern: Automaton<'a>, by: &'a str },
    Trim { left: bool, right: bool },
    Split { pattern: Automaton<'a>, behavior: Behavior, invert: bool },
}

impl<'a> Step<'a> {
    fn read(cursor: &mut Cursor<'a>) -> Result<Self> {
        let at = cursor.position();
        let (kind, argument) = (cursor.u32("step")?, cursor.u32("step")?);
        let is = |bit: u32| argument & bit != 0;
        let step = match (kind, argument) {
            (code::FORM_C, 0) => Step::FormC,
            (code::FORM_D, 0) => Step::FormD,
            (code::CHARACTERS, 0) => Step::Characters(Characters::read(cursor)?),
            (code::PREPEND, 0..4) => {
                Step::Prepend { text: string(cursor)?, unless_there: is(bit::UNLESS_THERE), first: is(bit::FIRST) }
            }
            (code::REPLACE, 0) => Step::Replace { by: string(cursor)?, pattern: Automaton::read(cursor)? },
            (code::TRIM, 1..4) => Step::Trim { left: is(bit::LEFT), right: is(bit::RIGHT) },
            (code::SPLIT, _) if Behavior::ALL.len() as u32 > argument & !bit::INVERT => {
                let behavior = Behavior::ALL[(argument & !bit::INVERT) as usize];
                Step::Split { pattern: Automaton::read(cursor)?, behavior, invert: is(bit::INVERT) }
            }
            _ => return Err(wrong(format!("unknown step {kind} with {argument:#x}"), at)),
        };
        Ok(step)
    }

    /// Refuses a step whose tables lead nowhere; `at` is its place in the section.
    fn check(&self, at: usize) -> Result<()> {
        match self {
            Step::Characters(characters) => characters.check(at),
            Step::Replace { pattern, .. } | Step::Split { pattern, .. } => pattern.check(at),
            Step::FormC | Step::FormD | Step::Prepend { .. } | Step::Trim { .. } => Ok(()),
        }
    }

    /// How many times as many bytes a text may have after this step, at most.
    fn growth(&self) -> usize {
        match self {
            // Three characters of four bytes for one of two (Unicode Standard Annex 15, table "Maximum Expansion Factors").
            Step::FormC | Step::FormD => 4,
            Step::Characters(characters) => characters.longest().max(1),
            Step::Prepend { text, .. } => text.len() + 1,
            Step::Replace { by, .. } => by.len().max(1),
            Step::Trim { .. } | Step::Split { .. } => 1,
        }
    }

    /// Appends what becomes of `piece`, which `first` says begins the text.
    fn apply(&self, piece: &str, first: bool, out: &mut Pieces) {
        match self {
            Step::FormC => out.push(&nfc(piece)),
            Step::FormD => out.push(&nfd(piece)),
            Step::Characters(characters) => {
                piece.chars().for_each(|c| characters.replace(c, &mut out.text));
                out.close();
            }
            Step::Prepend { text, unless_there, first: only_first } => {
                if !(*unless_there && piece.starts_with(text) || *only_first && !first) {
                    out.text.push_str(text);
                }
                out.push(piece);
            }
            Step::Replace { pattern, by } => {
                let mut from = 0;
                for span in pattern.matches(piece) {
                    out.text.push_str(&piece[from..span.start]);
                    out.text.push_str(by);
                    from = span.end;
                }
                out.push(&piece[from..]);
            }
            Step::Trim { left, right } => {
                let piece = if *left { piece.trim_start() } else { piece };
                out.push(if *right { piece.trim_end() } else { piece });
            }
            Step::Split { pattern, behavior, invert } => split(piece, *pattern, *behavior, *invert, out),
        }
    }
}

/// How many times as long a text may become by all steps of a list.
const MAX_GROWTH: usize = 512;

/// Steps of a section, checked when it was opened.
#[derive(Debug, Clone, Copy)]
pub(super) struct Steps<'a> {
    bytes: &'a [u8],
    count: usize,
}

impl<'a> Steps<'a> {
    /// No step.
    pub(super) const NONE: Steps<'static> = Steps { bytes: &[], count: 0 };

    /// Reads the number of steps and each of them.
    pub(super) fn read(section: &'a [u8], cursor: &mut Cursor<'a>) -> Result<Self> {
        let count = cursor.count(8, "steps")?;
        let start = cursor.position();
        let mut growth: usize = 1;
        for _ in 0..count {
            let at = cursor.position();
            let step = Step::read(cursor)?;
            step.check(at)?;
            growth = growth.saturating_mul(step.growth());
        }
        if growth > MAX_GROWTH {
            let message = format!("steps that may make a text {growth} times as long, the limit is {MAX_GROWTH}");
            return Err(wrong(message, start));
        }
        Ok(Steps { bytes: &section[start..cursor.position()], count })
    }

    /// The pieces that become of `text`, which `first` says begins the whole text.
    pub(super) fn apply(&self, text: &str, first: bool) -> Pieces {
        let mut pieces = Pieces::default();
        pieces.push(text);
        let mut cursor = Cursor::new(self.bytes, "tokenizer");
        for _ in 0..self.count {
            let Ok(step) = Step::read(&mut cursor) else { break };
            let mut next = Pieces { text: String::with_capacity(pieces.text.len() + 4), ends: Vec::new() };
            for (i, piece) in pieces.iter().enumerate() {
                step.apply(piece, first && i == 0, &mut next);
            }
            pieces = next;
        }
        pieces
    }

    /// `text` after these steps, which cut nothing.
    pub(super) fn changed<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if self.count == 0 { Cow::Borrowed(text) } else { Cow::Owned(self.apply(text, true).text) }
    }
}

/// Pieces of text, one behind the other; none is empty.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    text: String,
    ends: Vec<usize>,
}

impl Pieces {
    /// Appends `text` and ends the piece.
    fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.close();
    }

    /// Ends the piece here, unless nothing was added since the last one.
    fn close(&mut self) {
        if self.ends.last().copied().unwrap_or(0) < self.text.len() {
            self.ends.push(self.text.len());
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        let mut start = 0;
        self.ends.iter().map(move |end| &self.text[core::mem::replace(&mut start, *end)..*end])
    }
}

/// Cuts `piece` at the matches of `pattern`.
fn split(piece: &str, pattern: Automaton<'_>, behavior: Behavior, invert: bool, out: &mut Pieces) {
    // Of the part before: whether it was a match. A part ends its piece only once the next one is known not to join it.
    let mut before: Option<bool> = None;
    let mut part = |text: &str, matched: bool, out: &mut Pieces| {
        if text.is_empty() {
            return;
        }
        let matched = matched != invert;
        let joins = match (behavior, before) {
            (_, None) => false,
            (Behavior::Isolated | Behavior::Removed, _) => false,
            (Behavior::Contiguous, Some(before)) => before == matched,
            (Behavior::MergedWithPrevious, Some(before)) => matched && !before,
            (Behavior::MergedWithNext, Some(before)) => before && !matched,
        };
        if !joins {
            out.close();
        }
        if behavior != Behavior::Removed || !matched {
            out.text.push_str(text);
        }
        before = Some(matched);
    };
    let mut from = 0;
    for span in pattern.matches(piece) {
        part(&piece[from..span.start], false, out);
        part(&piece[span.clone()], true, out);
        from = span.end;
    }
    part(&piece[from..], false, out);
    out.close();
}

/// Characters that become other text, each by itself.
#[derive(Debug, Clone, Copy)]
struct Characters<'a> {
    /// Ascending.
    from: Words<'a>,
    /// Where each one's text ends.
    ends: Words<'a>,
    text: &'a str,
}

impl<'a> Characters<'a> {
    fn read(cursor: &mut Cursor<'a>) -> Result<Self> {
        let n = cursor.count(8, "characters")?;
        let (from, ends) = (Words::read(cursor, n, "characters")?, Words::read(cursor, n, "characters")?);
        Ok(Characters { from, ends, text: string(cursor)? })
    }

    fn check(&self, at: usize) -> Result<()> {
        let Characters { from, ends, text } = *self;
        let ascending = (1..from.len()).all(|i| from.at(i - 1) < from.at(i) && ends.at(i - 1) <= ends.at(i));
        let whole = ends.iter().all(|end| text.is_char_boundary(end as usize));
        if !ascending || !whole || ends.iter().last().unwrap_or(0) as usize != text.len() {
            return Err(wrong("characters and what they become are not in order".into(), at));
        }
        Ok(())
    }

    /// The most bytes of text that become of one byte.
    fn longest(&self) -> usize {
        let lengths = (0..self.from.len()).map(|i| {
            let bytes = char::from_u32(self.from.at(i)).map_or(1, char::len_utf8);
            self.text_of(i).len().div_ceil(bytes)
        });
        lengths.max().unwrap_or(0)
    }

    /// What entry `i` becomes.
    fn text_of(&self, i: usize) -> &'a str {
        let start = if i == 0 { 0 } else { self.ends.at(i - 1) };
        &self.text[start as usize..self.ends.at(i) as usize]
    }

    /// Appends what `c` becomes.
    fn replace(&self, c: char, out: &mut String) {
        match self.from.find(c as u32) {
            Some(i) => out.push_str(self.text_of(i)),
            None => out.push(c),
        }
    }
}

/// A length in bytes, UTF-8 of it, and zeros up to a multiple of 4.
fn string<'a>(cursor: &mut Cursor<'a>) -> Result<&'a str> {
    let at = cursor.position();
    let n = cursor.count(1, "text of a step")?;
    let bytes = cursor.take(n, "text of a step")?;
    padding(cursor)?;
    core::str::from_utf8(bytes).map_err(|_| wrong("the text of a step is not UTF-8".into(), at))
}
