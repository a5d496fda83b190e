//! Text to tokens and back. [`Tokenizer`] borrows the tables of a section and encodes; [`Decoder`] turns tokens into
//! text as they come; `Vocabulary`, with the feature `std`, writes a section.
#![doc = ""]
#![doc = include_str!("SECTION.md")]

mod added;
mod bpe;
#[cfg(feature = "std")]
mod build;
mod decode;
mod header;
mod kind;
mod merge;
mod normalize;
mod pretokenize;
mod sentencepiece;
mod tables;
mod unicode;
mod unicode_tables;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails may panic")]
mod tests;

#[cfg(feature = "std")]
pub use build::{Token, Vocabulary, VocabularyModel, byte_level_decode, byte_token};
pub use decode::Decoder;
pub use kind::{Specials, TokenKind};
pub use pretokenize::PreTokenizer;

use alloc::vec::Vec;
use core::ops::Range;

use crate::error::Result;
use crate::token::TokenId;
use added::FirstBytes;
use bpe::ByteLevel;
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
    /// By [`Specials`].
    first_bytes: [FirstBytes; 2],
    longest_token: usize,
}

impl<'a> Tokenizer<'a> {
    /// Checks every table of `section` once, in linear time and without heap memory, and borrows them.
    pub fn open(section: &'a [u8]) -> Result<Tokenizer<'a>> {
        let tables = Tables::read(section)?;
        let first_bytes = [Specials::AsText, Specials::Parse].map(|specials| FirstBytes::of(&tables, specials));
        let longest_token = (0..tables.len() as TokenId).map(|id| tables.bytes(id).len()).max().unwrap_or(0);
        Ok(Tokenizer { tables, first_bytes, longest_token })
    }

    /// The number of tokens; ids are below it.
    pub fn vocab_size(&self) -> usize {
        self.tables.len()
    }

    /// Appends the tokens of `text` to `out`, without BOS. O(n log n) in its length, without recursion.
    pub fn encode(&self, text: &str, specials: Specials, out: &mut Vec<TokenId>) {
        self.encode_with(text, specials, &mut Merger::default(), out);
    }

    fn encode_with(&self, text: &str, specials: Specials, merger: &mut Merger, out: &mut Vec<TokenId>) {
        let first = &self.first_bytes[specials as usize];
        let mut rest = text;
        while let Some((span, id)) = added::next(&self.tables, first, specials, rest) {
            self.encode_plain(&rest[..span.start], merger, out);
            out.push(id);
            rest = &rest[span.end..];
        }
        self.encode_plain(rest, merger, out);
    }

    /// The leftmost name of an added token in `text`, the longest at one place: where it stands, and its token.
    pub fn next_special(&self, text: &str) -> Option<(Range<usize>, TokenId)> {
        added::next(&self.tables, &self.first_bytes[Specials::Parse as usize], Specials::Parse, text)
    }

    /// Encodes text without added tokens, at the start of the whole or after one.
    fn encode_plain(&self, text: &str, merger: &mut Merger, out: &mut Vec<TokenId>) {
        let tables = &self.tables;
        match tables.model {
            Model::ByteLevel { pre, buckets, merges, words } => {
                ByteLevel { tables, pre, buckets, merges, words }.encode(text, merger, out);
            }
            Model::SentencePiece(pieces) => SentencePiece { tables, pieces }.encode(text, merger, out),
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
        matches!(self.tables.model, Model::SentencePiece(pieces) if pieces.space_prefix)
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
        self.tables.find(self.tables.added, name.as_bytes())
    }
}
