//! Byte-level BPE: cut into pieces, bytes to tokens, merge by rank.

use super::merge::{MAX_PIECE_BYTES, Merger};
use super::normalize::nfc;
use super::pretokenize::PreTokenizer;
use super::tables::{Buckets, Tables, Words, find_merge};
use crate::token::TokenId;
use alloc::vec::Vec;

/// The tables of byte-level BPE.
pub(super) struct ByteLevel<'t, 'a> {
    pub(super) tables: &'t Tables<'a>,
    pub(super) pre: PreTokenizer,
    pub(super) buckets: Buckets<'a>,
    pub(super) merges: &'a [[u8; 16]],
    pub(super) words: Words<'a>,
}

impl ByteLevel<'_, '_> {
    /// Appends the tokens of `text`, which holds no added token.
    pub(super) fn encode(&self, text: &str, merger: &mut Merger, out: &mut Vec<TokenId>) {
        let normal;
        let mut rest = text;
        if self.pre.normalizes() {
            normal = nfc(text);
            rest = &normal;
        }
        while !rest.is_empty() {
            let (piece, tail) = rest.split_at(self.pre.first(rest));
            match self.tables.find(self.words, piece.as_bytes()) {
                Some(word) => out.push(word),
                None => piece.as_bytes().chunks(MAX_PIECE_BYTES).for_each(|part| self.merge(part, merger, out)),
            }
            rest = tail;
        }
    }

    /// Appends the tokens of one piece.
    pub(super) fn merge(&self, piece: &[u8], merger: &mut Merger, out: &mut Vec<TokenId>) {
        let bytes = piece.iter().enumerate();
        let symbols = bytes.filter_map(|(at, byte)| Some((at, self.tables.byte_id(*byte).or(self.tables.unk)?)));
        merger.merge(symbols, piece.len(), |pair| {
            find_merge(self.buckets, self.merges, pair.left, pair.right).map(|merge| (merge.rank, merge.merged))
        });
        out.extend(merger.tokens().map(|(_, id)| id));
    }
}
