//! Tokens to text as they come: only whole characters leave, whatever the tokens cut apart.

use super::{TokenKind, Tokenizer};
use crate::token::TokenId;
use alloc::{string::String, vec::Vec};

/// The most bytes that wait for the rest of their character.
const WAITING: usize = 3;

/// Turns tokens into text one by one. What is no UTF-8 becomes U+FFFD, one for each maximal part that could have begun a
/// character (Unicode 16, section 3.9, table 3-8), as in [`String::from_utf8_lossy`].
#[derive(Debug, Clone)]
pub struct Decoder {
    /// Bytes that wait for the rest of their character: at most [`WAITING`] between calls.
    bytes: Vec<u8>,
    text: String,
    /// Whether the next text token is the first, whose leading space is the tokenizer's.
    strip_space: bool,
}

/// Where a decoder stands in a text, to go back to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecoderMark {
    bytes: [u8; WAITING],
    n_bytes: usize,
    strip_space: bool,
}

impl Decoder {
    /// A decoder at the start of a text: where the tokenizer puts a space before a text, that space is taken off again.
    ///
    /// It has room for the longest token and allocates nothing later.
    pub fn new(tokenizer: &Tokenizer) -> Self {
        Decoder {
            bytes: Vec::with_capacity(WAITING + tokenizer.longest_token()),
            text: String::with_capacity(Self::longest_piece(tokenizer)),
            strip_space: tokenizer.adds_space(),
        }
    }

    /// The most bytes of text that one token gives: each byte may be no character and become U+FFFD, three bytes.
    pub fn longest_piece(tokenizer: &Tokenizer) -> usize {
        char::REPLACEMENT_CHARACTER.len_utf8() * (WAITING + tokenizer.longest_token())
    }

    /// A decoder that goes on in the middle of a text and keeps the first space.
    pub fn continuing(tokenizer: &Tokenizer) -> Self {
        Decoder { strip_space: false, ..Self::new(tokenizer) }
    }

    /// The text that token `id` completes, which may be none; control, unknown and unused tokens are silent.
    pub fn push(&mut self, tokenizer: &Tokenizer, id: TokenId) -> &str {
        self.text.clear();
        let spoken = matches!(tokenizer.kind(id), TokenKind::Normal | TokenKind::Byte | TokenKind::UserDefined);
        if spoken {
            let bytes = tokenizer.bytes(id);
            let strip = core::mem::take(&mut self.strip_space) && bytes.first() == Some(&b' ');
            self.bytes.extend_from_slice(&bytes[usize::from(strip)..]);
            self.drain();
        }
        &self.text
    }

    /// The text that the name of token `id` completes, whatever kind it is of.
    pub fn push_name(&mut self, tokenizer: &Tokenizer, id: TokenId) -> &str {
        self.text.clear();
        self.strip_space = false;
        self.bytes.extend_from_slice(tokenizer.bytes(id));
        self.drain();
        &self.text
    }

    /// Where it stands.
    pub fn mark(&self) -> DecoderMark {
        let mut bytes = [0; WAITING];
        bytes.iter_mut().zip(&self.bytes).for_each(|(to, from)| *to = *from);
        DecoderMark { bytes, n_bytes: self.bytes.len(), strip_space: self.strip_space }
    }

    /// Goes back to where it stood.
    pub fn rewind(&mut self, mark: DecoderMark) {
        self.bytes.clear();
        self.bytes.extend_from_slice(&mark.bytes[..mark.n_bytes]);
        self.strip_space = mark.strip_space;
    }

    /// A character has begun and is not whole yet.
    pub fn is_amid_character(&self) -> bool {
        !self.bytes.is_empty()
    }

    /// What is left at the end of the text: a character that never came whole is U+FFFD.
    pub fn finish(&mut self) -> &str {
        self.text.clear();
        if !self.bytes.is_empty() {
            self.bytes.clear();
            self.text.push(char::REPLACEMENT_CHARACTER);
        }
        &self.text
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> (usize, usize) {
        (self.bytes.capacity(), self.text.capacity())
    }

    /// Moves whole characters from the bytes to the text.
    fn drain(&mut self) {
        let mut done = 0;
        for chunk in self.bytes.utf8_chunks() {
            self.text.push_str(chunk.valid());
            done += chunk.valid().len();
            let open = chunk.invalid().len();
            let at_end = done + open == self.bytes.len();
            if open > 0 && !(at_end && may_go_on(chunk.invalid())) {
                self.text.push(char::REPLACEMENT_CHARACTER);
                done += open;
            }
        }
        self.bytes.drain(..done);
    }
}

/// Whether more bytes could make `bytes` a character.
fn may_go_on(bytes: &[u8]) -> bool {
    core::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}
