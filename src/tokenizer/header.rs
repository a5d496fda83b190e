//! The 48 bytes at the head of the section.

use super::PreTokenizer;
use crate::error::{Error, Result};
use crate::format::cursor::Cursor;
use crate::token::TokenId;
use alloc::string::String;

/// An id that is not there.
pub(super) const ABSENT: u32 = u32::MAX;
pub(super) const MAX_TOKENS: usize = 1 << 20;
pub(super) const MAX_BUCKET_BITS: u32 = 24;
pub(super) const MODEL_BYTE_LEVEL: u32 = 1;
pub(super) const MODEL_SENTENCE_PIECE: u32 = 2;
pub(super) const MODEL_CHARACTERS: u32 = 3;
/// In the place of a pre-tokenizer's number: the section has a list of steps.
pub(super) const PRE_STEPS: u32 = 5;
pub(super) const FLAG_ADD_BOS: u32 = 1;
pub(super) const FLAG_SPACE_PREFIX: u32 = 2;
pub(super) const FLAG_WORDS_APART: u32 = 4;
pub(super) const FLAG_FUSE_UNKNOWN: u32 = 8;

/// How text becomes pieces and pieces become tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Bytes are merged in pieces that a known pattern cuts.
    Bytes(PreTokenizer),
    /// Characters are merged by the scores of what they make.
    Scores,
    /// Bytes or, so says the field, characters are merged in pieces that steps cut.
    Steps { characters: bool },
}

/// What the tables are and how large.
pub(super) struct Header {
    pub(super) kind: Kind,
    flags: u32,
    pub(super) n_tokens: usize,
    pub(super) bos: Option<TokenId>,
    pub(super) eos: Option<TokenId>,
    pub(super) unk: Option<TokenId>,
    pub(super) text_bytes: usize,
    pub(super) n_added: usize,
    /// Merges or pieces.
    pub(super) n_entries: usize,
    /// The hash table has 2^bits buckets.
    pub(super) bits: u32,
    pub(super) n_words: usize,
}

impl Header {
    pub(super) fn read(cursor: &mut Cursor) -> Result<Self> {
        let (model, pre, flags) = (cursor.u32("model")?, cursor.u32("pre-tokenizer")?, cursor.u32("flags")?);
        let n_tokens = cursor.u32("tokens")? as usize;
        if n_tokens == 0 || n_tokens > MAX_TOKENS {
            return Err(wrong(format!("{n_tokens} tokens, the limit is {MAX_TOKENS}"), 12));
        }
        let mut id = |field| optional_id(cursor, field, n_tokens);
        let (bos, eos, unk) = (id("BOS")?, id("EOS")?, id("unknown token")?);
        let mut size = |field| cursor.u32(field).map(|size| size as usize);
        let (text_bytes, n_added, n_entries) = (size("text bytes")?, size("added tokens")?, size("merges or pieces")?);
        let bits = cursor.u32("bucket bits")?;
        let n_words = cursor.u32("whole words")? as usize;
        if bits > MAX_BUCKET_BITS {
            return Err(wrong(format!("{bits} bucket bits, the limit is {MAX_BUCKET_BITS}"), 40));
        }
        if n_words > n_tokens || n_added > n_tokens {
            return Err(wrong(format!("{n_words} whole words and {n_added} added tokens of {n_tokens} tokens"), 32));
        }
        const STEPS: u32 = FLAG_ADD_BOS | FLAG_SPACE_PREFIX | FLAG_FUSE_UNKNOWN;
        let (kind, allowed) = match (model, PreTokenizer::from_code(pre)) {
            (MODEL_BYTE_LEVEL, Some(pre)) => (Kind::Bytes(pre), FLAG_ADD_BOS),
            (MODEL_BYTE_LEVEL, None) if pre == PRE_STEPS => (Kind::Steps { characters: false }, STEPS),
            (MODEL_CHARACTERS, None) if pre == PRE_STEPS => (Kind::Steps { characters: true }, STEPS),
            (MODEL_SENTENCE_PIECE, None) if pre == 0 && n_words == 0 => {
                (Kind::Scores, FLAG_ADD_BOS | FLAG_SPACE_PREFIX | FLAG_WORDS_APART)
            }
            _ => {
                let message = format!("unknown model {model} with pre-tokenizer {pre} and {n_words} whole words");
                return Err(wrong(message, 0));
            }
        };
        if flags & !allowed != 0 {
            return Err(wrong(format!("unknown flags {flags:#x}"), 8));
        }
        Ok(Header { kind, flags, n_tokens, bos, eos, unk, text_bytes, n_added, n_entries, bits, n_words })
    }

    pub(super) fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }
}

fn optional_id(cursor: &mut Cursor, field: &'static str, n: usize) -> Result<Option<TokenId>> {
    let at = cursor.position();
    match cursor.u32(field)? {
        ABSENT => Ok(None),
        id if (id as usize) < n => Ok(Some(id)),
        id => Err(wrong(format!("{field} is token {id} of {n}"), at)),
    }
}

/// The error of a section that says something wrong at byte `at`.
pub(super) fn wrong(message: String, at: usize) -> Error {
    Error::data(message).field("tokenizer").at(at as u64)
}
