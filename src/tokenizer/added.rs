//! Added tokens: control tokens and user-defined ones, cut out of text before all else.

use core::ops::Range;

use super::tables::{Tables, Words};
use super::{Specials, TokenKind};
use crate::token::TokenId;

/// The bytes by which an added token may begin, so that plain text is passed over quickly.
#[derive(Debug, Clone, Copy)]
pub(super) struct FirstBytes([u64; 4]);

impl FirstBytes {
    /// Those of the tokens that `specials` lets match.
    pub(super) fn of(tables: &Tables, specials: Specials) -> Self {
        let mut bits = [0; 4];
        for id in tables.added.iter().filter(|id| matched(tables, *id, specials)) {
            if let Some(first) = tables.bytes(id).first() {
                bits[usize::from(first >> 6)] |= 1 << (first & 63);
            }
        }
        FirstBytes(bits)
    }

    fn has(&self, byte: u8) -> bool {
        self.0[usize::from(byte >> 6)] >> (byte & 63) & 1 == 1
    }
}

/// The leftmost added token in `text`, at one place the longest.
pub(super) fn next(
    tables: &Tables,
    first: &FirstBytes,
    specials: Specials,
    text: &str,
) -> Option<(Range<usize>, TokenId)> {
    if first.0 == [0; 4] {
        return None;
    }
    let mut at = 0;
    loop {
        at += text.as_bytes()[at..].iter().position(|byte| first.has(*byte))?;
        if let Some((end, id)) = longest(tables, specials, text, at) {
            return Some((at..end, id));
        }
        at += 1;
    }
}

/// The longest added token at byte `at` of `text`: its end and id. Walks down the sorted table as down a trie.
pub(super) fn longest(tables: &Tables, specials: Specials, text: &str, at: usize) -> Option<(usize, TokenId)> {
    let (mut found, mut range) = (None, 0..tables.added.len());
    for depth in 0.. {
        let end = at + depth;
        if range.is_empty() {
            break;
        }
        let token = tables.added.at(range.start);
        if tables.bytes(token).len() == depth {
            if matched(tables, token, specials) && text.get(at..end).is_some() {
                found = Some((end, token));
            }
            range.start += 1;
        }
        let Some(byte) = text.as_bytes().get(end) else { break };
        range = narrowed(tables, tables.added, range, depth, *byte);
    }
    found
}

/// Those of the sorted ids `range` whose byte `depth` is `byte`; all of them are longer than `depth`.
fn narrowed(tables: &Tables, ids: Words, range: Range<usize>, depth: usize, byte: u8) -> Range<usize> {
    let first_not_below = |bound: u16| {
        let (mut low, mut high) = (range.start, range.end);
        while low < high {
            let middle = low + (high - low) / 2;
            match tables.bytes(ids.at(middle)).get(depth) {
                Some(b) if u16::from(*b) >= bound => high = middle,
                _ => low = middle + 1,
            }
        }
        low
    };
    first_not_below(byte.into())..first_not_below(u16::from(byte) + 1)
}

fn matched(tables: &Tables, id: TokenId, specials: Specials) -> bool {
    specials == Specials::Parse || tables.kind(id) == TokenKind::UserDefined
}
