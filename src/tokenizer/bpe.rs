//! BPE by merges: text is cut into pieces, the bytes or characters of a piece become tokens, and pairs merge by rank.

use super::merge::{MAX_PIECE_BYTES, Merger};
use super::normalize::nfc;
use super::tables::{Cut, Merges, Tables};
use crate::token::TokenId;
use alloc::vec::Vec;

/// The tables of BPE by merges.
pub(super) struct Bpe<'t, 'a> {
    pub(super) tables: &'t Tables<'a>,
    pub(super) model: &'t Merges<'a>,
}

impl Bpe<'_, '_> {
    /// Appends the tokens of `text`, which holds no added token; `first` says whether it begins the whole text.
    pub(super) fn encode(&self, text: &str, first: bool, merger: &mut Merger, out: &mut Vec<TokenId>) {
        match self.model.cut {
            Cut::Known(pre) => {
                let normal;
                let mut rest = text;
                if pre.normalizes() {
                    normal = nfc(text);
                    rest = &normal;
                }
                while !rest.is_empty() {
                    let (piece, tail) = rest.split_at(pre.first(rest));
                    self.piece(piece, merger, out);
                    rest = tail;
                }
            }
            Cut::Steps(steps) => steps.apply(text, first).iter().for_each(|piece| self.piece(piece, merger, out)),
        }
    }

    fn piece(&self, piece: &str, merger: &mut Merger, out: &mut Vec<TokenId>) {
        match self.model.words.find(piece.as_bytes(), self.tables.tokens) {
            Some(word) => out.push(self.model.words.id(word)),
            None => self.merge(piece.as_bytes(), merger, out),
        }
    }

    /// Appends the tokens of one piece of UTF-8, or of any bytes where the symbols are bytes.
    pub(super) fn merge(&self, piece: &[u8], merger: &mut Merger, out: &mut Vec<TokenId>) {
        let mut symbols =
            Symbols { unknown: false, fuse: self.model.fuse_unknown, unk: self.tables.unk, ids: Vec::new() };
        match self.model.characters {
            None => piece.iter().for_each(|byte| symbols.push(self.tables.byte_id(*byte))),
            Some((characters, ids)) => {
                for c in piece.utf8_chunks().flat_map(|chunk| chunk.valid().chars()) {
                    let mut buffer = [0; 4];
                    let bytes = c.encode_utf8(&mut buffer).as_bytes();
                    let spelled = || bytes.iter().map(|byte| self.tables.byte_id(*byte));
                    match characters.find(c as u32) {
                        Some(i) => symbols.push(Some(ids.at(i))),
                        None if spelled().all(|id| id.is_some()) => symbols.ids.extend(spelled().flatten()),
                        None => symbols.push(None),
                    }
                }
            }
        }
        for part in symbols.finish().chunks(MAX_PIECE_BYTES) {
            let places = part.iter().copied().enumerate();
            merger.merge(places, part.len(), |pair| {
                self.model.find(pair.left, pair.right).map(|merge| (merge.rank, merge.merged))
            });
            out.extend(merger.tokens().map(|(_, id)| id));
        }
    }
}

/// The tokens that merging begins with. Those of unknown symbols are put off until a known one follows, as the
/// `tokenizers` crate does it: bytes that spell a character come before them.
struct Symbols {
    unknown: bool,
    fuse: bool,
    unk: Option<TokenId>,
    ids: Vec<TokenId>,
}

impl Symbols {
    /// The symbol with this token, or one that has none.
    fn push(&mut self, id: Option<TokenId>) {
        match id {
            Some(id) => {
                self.flush();
                self.ids.push(id);
            }
            None if self.fuse => self.unknown = true,
            None => {
                self.flush();
                self.unknown = true;
            }
        }
    }

    fn flush(&mut self) {
        if core::mem::take(&mut self.unknown) {
            self.ids.extend(self.unk);
        }
    }

    fn finish(mut self) -> Vec<TokenId> {
        self.flush();
        self.ids
    }
}
