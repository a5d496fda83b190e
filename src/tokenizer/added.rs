//! Added tokens: control tokens and user-defined ones, cut out of text before all else.

use core::ops::Range;

use super::names::{Names, rule};
use super::tables::Tables;
use super::{Specials, TokenKind};
use crate::token::TokenId;

/// Added tokens that are found in text at one stage of its way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Added<'a> {
    names: Names<'a>,
    /// By [`Specials`].
    first_bytes: [FirstBytes; 2],
}

/// The bytes by which an added token may begin, so that plain text is passed over quickly.
#[derive(Debug, Clone, Copy)]
struct FirstBytes([u64; 4]);

impl FirstBytes {
    /// Those of the `names` that `specials` lets match.
    fn of(tables: &Tables, names: Names, specials: Specials) -> Self {
        let mut bits = [0; 4];
        for i in (0..names.len()).filter(|i| matched(tables, names.id(*i), specials)) {
            if let Some(first) = names.name(i, tables.tokens).first() {
                bits[usize::from(first >> 6)] |= 1 << (first & 63);
            }
        }
        FirstBytes(bits)
    }

    fn has(&self, byte: u8) -> bool {
        self.0[usize::from(byte >> 6)] >> (byte & 63) & 1 == 1
    }
}

/// An added token in a text.
pub(super) struct Found {
    /// Where its name is.
    pub(super) name: Range<usize>,
    /// The name with the white space that belongs to it.
    pub(super) span: Range<usize>,
    pub(super) id: TokenId,
}

impl<'a> Added<'a> {
    pub(super) fn new(tables: &Tables<'a>, names: Names<'a>) -> Self {
        let first_bytes = [Specials::AsText, Specials::Parse].map(|specials| FirstBytes::of(tables, names, specials));
        Added { names, first_bytes }
    }

    /// The leftmost one in `text` from byte `from` on, at one place the longest. What is before `from` belongs to others.
    pub(super) fn next(&self, tables: &Tables, specials: Specials, text: &str, from: usize) -> Option<Found> {
        self.find(tables, specials, text, from, true)
    }

    /// As [`next`](Self::next) in any text, also where a name is part of a word.
    pub(super) fn name(&self, tables: &Tables, text: &str) -> Option<Found> {
        self.find(tables, Specials::Parse, text, 0, false)
    }

    fn find(&self, tables: &Tables, specials: Specials, text: &str, from: usize, apart: bool) -> Option<Found> {
        let first = &self.first_bytes[specials as usize];
        if first.0 == [0; 4] {
            return None;
        }
        let mut at = from;
        loop {
            at += text.as_bytes()[at..].iter().position(|byte| first.has(*byte))?;
            let Some((end, entry)) = longest(tables, &self.names, specials, text, at) else {
                at += 1;
                continue;
            };
            let (before, behind) = (&text[..at], &text[end..]);
            let is = |rule: u8| self.names.rules(entry) & rule != 0;
            let beside = [before.chars().next_back(), behind.chars().next()];
            if apart && is(rule::SINGLE_WORD) && beside.into_iter().flatten().any(of_word) {
                at = end;
                continue;
            }
            let start = if is(rule::LSTRIP) { before.trim_end().len().max(from) } else { at };
            let stop = if is(rule::RSTRIP) { text.len() - behind.trim_start().len() } else { end };
            return Some(Found { name: at..end, span: start..stop, id: self.names.id(entry) });
        }
    }

    /// Gives those in `text` and what is between them, and of that whether it begins the text.
    pub(super) fn parts(&self, tables: &Tables, specials: Specials, text: &str, give: &mut dyn FnMut(Part<'_>)) {
        let mut from = 0;
        let between = |from: usize, to: usize, give: &mut dyn FnMut(Part<'_>)| {
            if from < to {
                give(Part::Text { text: &text[from..to], first: from == 0 });
            }
        };
        while let Some(found) = self.next(tables, specials, text, from) {
            between(from, found.span.start, give);
            give(Part::Token(found.id));
            from = found.span.end;
        }
        between(from, text.len(), give);
    }
}

/// A part of a text.
pub(super) enum Part<'t> {
    Token(TokenId),
    Text { text: &'t str, first: bool },
}

/// Whether `c` is part of a word.
fn of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The longest name at byte `at` of `text`: its end and entry. Walks down the sorted table as down a trie.
fn longest(tables: &Tables, names: &Names, specials: Specials, text: &str, at: usize) -> Option<(usize, usize)> {
    let (mut found, mut range) = (None, 0..names.len());
    for depth in 0.. {
        let end = at + depth;
        if range.is_empty() {
            break;
        }
        if names.name(range.start, tables.tokens).len() == depth {
            if matched(tables, names.id(range.start), specials) && text.get(at..end).is_some() {
                found = Some((end, range.start));
            }
            range.start += 1;
        }
        let Some(byte) = text.as_bytes().get(end) else { break };
        range = names.narrowed(range, depth, *byte, tables.tokens);
    }
    found
}

fn matched(tables: &Tables, id: TokenId, specials: Specials) -> bool {
    specials == Specials::Parse || tables.kind(id) == TokenKind::UserDefined
}
