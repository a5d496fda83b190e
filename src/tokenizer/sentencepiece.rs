//! SentencePiece-style BPE: characters to pieces, merge by score, bytes for what is no piece.

use super::header::ABSENT;
use super::merge::{MAX_PIECE_BYTES, Merger};
use super::tables::{ID_BITS, Pieces, Tables, piece_hash, piece_id};
use crate::token::TokenId;
use alloc::{string::String, vec::Vec};

/// U+2581, by which SentencePiece writes a space.
pub(super) const SPACE_MARK: char = '\u{2581}';

/// SentencePiece-style BPE over its tables.
pub(super) struct SentencePiece<'t, 'a> {
    pub(super) tables: &'t Tables<'a>,
    pub(super) pieces: Pieces<'a>,
}

impl SentencePiece<'_, '_> {
    /// Appends the tokens of `text`, which holds no added token and stands at the start of the whole or after one.
    pub(super) fn encode(&self, text: &str, merger: &mut Merger, out: &mut Vec<TokenId>) {
        let mut spaced = String::with_capacity(text.len() + 1);
        if self.pieces.space_prefix && !text.is_empty() {
            spaced.push(' ');
        }
        spaced.extend(text.chars().map(|c| if c == SPACE_MARK { ' ' } else { c }));
        let (mut rest, mut unknown) = (spaced.as_str(), false);
        while !rest.is_empty() {
            let word = if self.pieces.words_apart { first_word(rest) } else { rest.len() };
            let (part, tail) = rest.split_at(rest.floor_char_boundary(word.min(MAX_PIECE_BYTES)));
            self.merge(part, &mut unknown, merger, out);
            rest = tail;
        }
    }

    /// Appends the tokens of `text`; `unknown` says whether the token before stands for unknown characters.
    fn merge(&self, text: &str, unknown: &mut bool, merger: &mut Merger, out: &mut Vec<TokenId>) {
        let piece = |bytes: &[u8]| self.piece(bytes);
        let symbols = text.char_indices().map(|(at, c)| {
            let bytes = &text.as_bytes()[at..at + c.len_utf8()];
            (at, piece(bytes).unwrap_or(ABSENT))
        });
        merger.merge(symbols, text.len(), |pair| {
            let id = piece(&text.as_bytes()[pair.span])?;
            Some((priority(f32::from_bits(self.pieces.scores.at(id as usize))), id))
        });
        for (span, id) in merger.tokens() {
            let bytes = &text.as_bytes()[span];
            let fallback = || bytes.iter().map(|byte| self.tables.byte_id(*byte));
            let whole = id != ABSENT || fallback().all(|id| id.is_some());
            match id {
                ABSENT if whole => out.extend(fallback().flatten()),
                ABSENT if *unknown => {}
                ABSENT => out.extend(self.tables.unk),
                id => out.push(id),
            }
            *unknown = !whole;
        }
    }

    /// The id of the piece with exactly these bytes.
    fn piece(&self, bytes: &[u8]) -> Option<TokenId> {
        if bytes.len() > self.pieces.longest {
            return None;
        }
        let (hash, tag) = piece_hash(bytes);
        let mut bucket = self.pieces.buckets.range(hash).map(|i| self.pieces.entries.at(i));
        bucket.find(|entry| entry >> ID_BITS == tag && self.tables.bytes(piece_id(*entry)) == bytes).map(piece_id)
    }
}

/// Bytes of the first word with the spaces before it.
fn first_word(text: &str) -> usize {
    let bytes = text.as_bytes();
    let spaces = bytes.iter().take_while(|byte| **byte == b' ').count();
    bytes[spaces..].iter().position(|byte| *byte == b' ').map_or(text.len(), |word| spaces + word)
}

/// Scores in descending order as numbers in ascending order. No score is `u32::MAX`, as none is NaN.
fn priority(score: f32) -> u32 {
    // -0.0 + 0.0 is 0.0: the two zeros are one score.
    let bits = (score + 0.0).to_bits();
    if bits >> 31 == 0 { !(bits | 1 << 31) } else { bits }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn higher_scores_come_first() {
        let scores = [f32::INFINITY, 1e30, 1.0, f32::MIN_POSITIVE, 0.0, -1e-40, -1.0, -31740.0, f32::NEG_INFINITY];
        assert!(scores.windows(2).all(|pair| priority(pair[0]) < priority(pair[1])));
        assert_eq!(priority(0.0), priority(-0.0));
        assert!(priority(f32::NEG_INFINITY) < u32::MAX);
    }
}
