//! Text to tokens and back. [`Tokenizer`] borrows the tables of a section and encodes; [`Decoder`] turns tokens into
//! text as they come; `Vocabulary`, with the feature `std`, writes a section.
#![doc = ""]
#![doc = include_str!("SECTION.md")]

mod added;
mod automaton;
mod bpe;
#[cfg(feature = "std")]
mod buckets;
#[cfg(feature = "std")]
mod build;
mod decode;
mod header;
mod kind;
mod merge;
mod names;
mod normalize;
#[cfg(feature = "std")]
mod pipeline;
mod pretokenize;
mod sentencepiece;
mod steps;
mod tables;
mod tokens;
mod unicode;
mod unicode_tables;
mod words;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails may panic")]
mod tests;

#[cfg(feature = "std")]
pub use build::{Token, Vocabulary, VocabularyModel, byte_level_decode, byte_token};
pub use decode::{Decoder, DecoderMark};
pub use kind::{Specials, TokenKind};
#[cfg(feature = "std")]
pub use pipeline::{AddedToken, Pattern, Pipeline, Step};
pub use pretokenize::PreTokenizer;
pub use steps::Behavior;

use alloc::vec::Vec;
use core::ops::Range;

use crate::error::Result;
use crate::token::TokenId;
use added::{Added, Found, Part};
use bpe::Bpe;
use merge::Merger;
use sentencepiece::SentencePiece;
use tables::{Model, Tables};

/// Names of tokens that end a text or a turn, in the vocabularies of published models.
const ENDS: [&str; 19] = [
    "</s>",
    "<eos>",
    "<|eos|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|eot|>",
    "<end_of_turn>",
    "<turn|>",
    "<end_of_utterance>",
    "<EOT>",
    "[EOT]",
    "[EOS]",
    "<\u{ff5c}end\u{2581}of\u{2581}sentence\u{ff5c}>",
];

/// A tokenizer whose tables lie in the section it was opened from. Copies are cheap.
#[derive(Debug, Clone, Copy)]
pub struct Tokenizer<'a> {
    tables: Tables<'a>,
    /// Found in text as it is.
    added: Added<'a>,
    /// Found in text after normalization.
    normalized: Added<'a>,
    longest_token: usize,
}

impl<'a> Tokenizer<'a> {
    /// Checks every table of `section` once, in linear time and without heap memory, and borrows them.
    pub fn open(section: &'a [u8]) -> Result<Tokenizer<'a>> {
        let tables = Tables::read(section)?;
        let [added, normalized] = [tables.added, tables.normalized].map(|names| Added::new(&tables, names));
        let longest_token = (0..tables.len() as TokenId).map(|id| tables.bytes(id).len()).max().unwrap_or(0);
        Ok(Tokenizer { tables, added, normalized, longest_token })
    }

    /// The number of tokens; ids are below it.
    pub fn vocab_size(&self) -> usize {
        self.tables.len()
    }

    /// Appends the tokens of `text` to `out`, without BOS. O(n log n) in its length, without recursion.
    pub fn encode(&self, text: &str, specials: Specials, out: &mut Vec<TokenId>) {
        self.encode_with(text, specials, true, &mut Merger::default(), out);
    }

    /// As [`encode`](Self::encode) for text that goes on behind other text or behind a control token, where some tokenizers
    /// put no space before it.
    pub fn encode_on(&self, text: &str, specials: Specials, out: &mut Vec<TokenId>) {
        self.encode_with(text, specials, false, &mut Merger::default(), out);
    }

    fn encode_with(&self, text: &str, specials: Specials, first: bool, merger: &mut Merger, out: &mut Vec<TokenId>) {
        let tables = &self.tables;
        self.added.parts(tables, specials, text, &mut |part| match part {
            Part::Token(id) => out.push(id),
            Part::Text { text, first: begins } => {
                let normal = tables.normalizer.changed(text);
                self.normalized.parts(tables, specials, &normal, &mut |part| match part {
                    Part::Token(id) => out.push(id),
                    Part::Text { text, first: as_well } => {
                        self.encode_plain(text, first && begins && as_well, merger, out);
                    }
                });
            }
        });
    }

    /// The leftmost name of an added token in `text`, the longest at one place: where it stands, and its token. Also where it is a
    /// part of a word, as which some tokens are not taken.
    pub fn next_special(&self, text: &str) -> Option<(Range<usize>, TokenId)> {
        let found = [&self.added, &self.normalized].into_iter().filter_map(|added| added.name(&self.tables, text));
        leftmost(found).map(|found| (found.name, found.id))
    }

    /// The added token that comes next in `text` from byte `from` on: where its name stands, the name with the white space around
    /// it that belongs to the token, and the token.
    pub fn next_special_from(&self, text: &str, from: usize) -> Option<(Range<usize>, Range<usize>, TokenId)> {
        let both = [&self.added, &self.normalized].into_iter();
        let found = both.filter_map(|added| added.next(&self.tables, Specials::Parse, text, from));
        leftmost(found).map(|found| (found.name, found.span, found.id))
    }

    /// Encodes text without added tokens; `first` says whether it begins the whole text.
    fn encode_plain(&self, text: &str, first: bool, merger: &mut Merger, out: &mut Vec<TokenId>) {
        let tables = &self.tables;
        match &tables.model {
            Model::Merges(model) => Bpe { tables, model }.encode(text, first, merger, out),
            Model::SentencePiece(pieces) => SentencePiece { tables, pieces: *pieces }.encode(text, merger, out),
        }
    }

    /// The token that begins a text.
    pub fn bos(&self) -> Option<TokenId> {
        self.tables.bos
    }

    /// The token that ends a text.
    pub fn eos(&self) -> Option<TokenId> {
        self.tables.eos
    }

    /// The tokens whose names say that they end a text or a turn. Checkpoints often name one of them alone as their end.
    pub fn named_ends(&self) -> impl Iterator<Item = TokenId> {
        // Where the model closes calls and replies of its own, `<|end|>` only closes a thought (gpt-oss).
        let closes_more = self.special("<|return|>").is_some() && self.special("<|call|>").is_some();
        ENDS.iter().filter(move |name| !(closes_more && **name == "<|end|>")).filter_map(|name| self.special(name))
    }

    /// The token for what the vocabulary cannot spell.
    pub fn unk(&self) -> Option<TokenId> {
        self.tables.unk
    }

    /// Whether a fresh text starts with BOS.
    pub fn adds_bos(&self) -> bool {
        self.tables.add_bos && self.tables.bos.is_some()
    }

    /// Whether a text gets a space in front, which decoding takes off again.
    pub fn adds_space(&self) -> bool {
        match self.tables.model {
            Model::SentencePiece(pieces) => pieces.space_prefix,
            Model::Merges(model) => model.strips_space,
        }
    }

    /// The raw bytes of token `id` in a text, which need not be UTF-8: a byte token is its byte, a control token its
    /// name. Empty for an id that does not exist.
    pub fn bytes(&self, id: TokenId) -> &'a [u8] {
        self.tables.bytes(id)
    }

    /// Bytes of the longest token.
    pub fn longest_token(&self) -> usize {
        self.longest_token
    }

    /// What token `id` is for; [`TokenKind::Unused`] for an id that does not exist.
    pub fn kind(&self, id: TokenId) -> TokenKind {
        self.tables.kind(id)
    }

    /// The control, user-defined or unknown token of this name.
    pub fn special(&self, name: &str) -> Option<TokenId> {
        let Tables { added, normalizer, normalized, tokens, .. } = &self.tables;
        let found = added.find(name.as_bytes(), *tokens).map(|i| added.id(i));
        found.or_else(|| normalized.find(normalizer.changed(name).as_bytes(), *tokens).map(|i| normalized.id(i)))
    }
}

/// The first one in the text, of several there the longest.
fn leftmost(found: impl Iterator<Item = Found>) -> Option<Found> {
    found.min_by_key(|found| (found.name.start, core::cmp::Reverse(found.name.end)))
}
