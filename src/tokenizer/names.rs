//! The names by which added tokens are found in text, with what surrounds them.

use core::ops::Range;

use super::header::wrong;
use super::tokens::{Tokens, ids_in_range};
use super::words::{Words, padding};
use crate::error::Result;
use crate::format::cursor::Cursor;
use crate::token::TokenId;

/// What an added token takes with it, or asks of its neighbours, as bits.
pub(super) mod rule {
    /// White space before it belongs to it.
    pub(crate) const LSTRIP: u8 = 1;
    /// White space behind it belongs to it.
    pub(crate) const RSTRIP: u8 = 2;
    /// No letter, digit or mark of a word may stand beside it.
    pub(crate) const SINGLE_WORD: u8 = 4;
}

/// Added tokens in the order of their names.
#[derive(Debug, Clone, Copy)]
pub(super) struct Names<'a> {
    ids: Words<'a>,
    /// End of each name in the text, the text, and the rules; without them a token's text is its name.
    own: Option<(Words<'a>, &'a [u8], &'a [u8])>,
}

impl<'a> Names<'a> {
    /// No names.
    pub(super) const NONE: Names<'static> = Names { ids: Words::NONE, own: None };

    /// Tokens whose text is their name.
    pub(super) fn texts(ids: Words<'a>) -> Self {
        Names { ids, own: None }
    }

    /// Reads the names of `ids`, or of as many ids as the section says, each of at most `longest` bytes.
    pub(super) fn read(cursor: &mut Cursor<'a>, ids: Option<Words<'a>>, longest: usize) -> Result<Self> {
        let ids = match ids {
            Some(ids) => ids,
            None => {
                let n = cursor.count(4, "added tokens")?;
                Words::read(cursor, n, "added tokens")?
            }
        };
        let at = cursor.position();
        let bytes = cursor.count(1, "names")?;
        let ends = Words::read(cursor, ids.len(), "names")?;
        let rules = cursor.take(ids.len(), "rules")?;
        padding(cursor)?;
        let text = cursor.take(bytes, "names")?;
        padding(cursor)?;
        let names = Names { ids, own: Some((ends, text, rules)) };
        let mut last = 0;
        for (i, end) in ends.iter().enumerate() {
            let length = (end as usize).checked_sub(last);
            if length.is_none_or(|length| length == 0 || length > longest) || end as usize > bytes {
                return Err(wrong(format!("name {i} is {last}..{end} of {bytes} bytes"), at));
            }
            last = end as usize;
        }
        if last != bytes {
            return Err(wrong(format!("the names end at byte {last} of {bytes}"), at));
        }
        if rules.iter().any(|rule| *rule > rule::LSTRIP | rule::RSTRIP | rule::SINGLE_WORD) {
            return Err(wrong("unknown rules of added tokens".into(), at));
        }
        Ok(names)
    }

    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = TokenId> + 'a {
        self.ids.iter()
    }

    pub(super) fn id(&self, i: usize) -> TokenId {
        self.ids.at(i)
    }

    /// The name of entry `i`.
    pub(super) fn name(&self, i: usize, tokens: Tokens<'a>) -> &'a [u8] {
        match self.own {
            Some((ends, text, _)) => &text[if i == 0 { 0 } else { ends.at(i - 1) as usize }..ends.at(i) as usize],
            None => tokens.bytes(self.ids.at(i)),
        }
    }

    /// The [`rule`]s of entry `i`.
    pub(super) fn rules(&self, i: usize) -> u8 {
        self.own.map_or(0, |(_, _, rules)| rules[i])
    }

    /// Refuses ids that do not exist, and names that do not ascend strictly.
    pub(super) fn check(&self, tokens: Tokens<'a>, field: &'static str) -> Result<()> {
        ids_in_range(self.ids.iter(), tokens.len(), field)?;
        match (1..self.len()).find(|i| self.name(i - 1, tokens) >= self.name(*i, tokens)) {
            Some(i) => Err(wrong(format!("{field} do not ascend at entry {i}"), 32)),
            None => Ok(()),
        }
    }

    /// The entry of this name.
    pub(super) fn find(&self, name: &[u8], tokens: Tokens<'a>) -> Option<usize> {
        let at = self.first_not_below(0..self.len(), |i| self.name(i, tokens) >= name);
        (at < self.len() && self.name(at, tokens) == name).then_some(at)
    }

    /// Those of the entries `range` whose byte `depth` is `byte`; all of them are longer than `depth`.
    pub(super) fn narrowed(&self, range: Range<usize>, depth: usize, byte: u8, tokens: Tokens<'a>) -> Range<usize> {
        let bound = |least: u16| {
            self.first_not_below(range.clone(), |i| {
                self.name(i, tokens).get(depth).is_some_and(|b| u16::from(*b) >= least)
            })
        };
        bound(byte.into())..bound(u16::from(byte) + 1)
    }

    /// The first entry of `range` for which `holds`, which holds for all behind it.
    fn first_not_below(&self, range: Range<usize>, holds: impl Fn(usize) -> bool) -> usize {
        let (mut low, mut high) = (range.start, range.end);
        while low < high {
            let middle = low + (high - low) / 2;
            if holds(middle) { high = middle } else { low = middle + 1 }
        }
        low
    }
}
