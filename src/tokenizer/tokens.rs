//! Bytes and kind of each token, borrowed from a section.

use super::TokenKind;
use super::header::wrong;
use super::words::Words;
use crate::error::{Error, Result};
use crate::token::TokenId;

/// Bytes of an added token, at most.
pub(super) const MAX_ADDED_BYTES: usize = 256;

/// Bytes and kind of each token.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tokens<'a> {
    pub(super) ends: Words<'a>,
    pub(super) kinds: &'a [u8],
    pub(super) text: &'a [u8],
}

impl<'a> Tokens<'a> {
    pub(super) fn len(self) -> usize {
        self.kinds.len()
    }

    pub(super) fn bytes(self, id: TokenId) -> &'a [u8] {
        let id = id as usize;
        let start = if id == 0 { 0 } else { self.ends.at(id - 1) };
        &self.text[start as usize..self.ends.at(id) as usize]
    }

    pub(super) fn kind(self, id: TokenId) -> TokenKind {
        self.kinds.get(id as usize).and_then(|code| TokenKind::from_code(*code)).unwrap_or(TokenKind::Unused)
    }

    /// Whether text may become token `id`: it exists and is no control token.
    pub(super) fn is_text(self, id: TokenId) -> bool {
        (id as usize) < self.kinds.len() && !matches!(self.kind(id), TokenKind::Control | TokenKind::Unknown)
    }

    pub(super) fn check_text(self, mut ids: impl Iterator<Item = TokenId>, field: &'static str) -> Result<()> {
        match ids.find(|id| !self.is_text(*id)) {
            Some(id) => Err(no_text(id, self.kinds.len()).field(format!("tokenizer {field}"))),
            None => Ok(()),
        }
    }
}

pub(super) fn no_text(id: TokenId, n: usize) -> Error {
    Error::data(format!("token {id} of {n} is none that text may become"))
}

pub(super) fn ids_in_range(mut ids: impl Iterator<Item = TokenId>, n: usize, field: &'static str) -> Result<()> {
    match ids.find(|id| *id as usize >= n) {
        Some(id) => Err(Error::data(format!("token {id} of {n}")).field(format!("tokenizer {field}"))),
        None => Ok(()),
    }
}

/// Refuses tokens that do not follow each other through the text.
pub(super) fn check_ends(ends: Words, text_bytes: usize) -> Result<()> {
    let mut last = 0;
    for (id, end) in ends.iter().enumerate() {
        if end < last || end as usize > text_bytes {
            return Err(wrong(format!("token {id} is text {last}..{end} of {text_bytes} bytes"), 48 + 4 * id));
        }
        last = end;
    }
    if last as usize != text_bytes {
        return Err(wrong(format!("the tokens end at byte {last} of {text_bytes} of text"), 28));
    }
    Ok(())
}
