//! Tokens as they are shown: a space, a line end and what is no character must be seen.

use crate::cli::json::{self, Object};
use whit::TokenId;
use whit::error::moves_cursor;
use whit::tokenizer::{Decoder, TokenKind, Tokenizer};

/// The piece of text that a token is, every character of it visible: a space as `·`, a line end as `↵`, a tabulator as `→`,
/// bytes that are no character as `\x..`.
pub(crate) fn visible(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                ' ' => out.push('·'),
                '\n' => out.push('↵'),
                '\t' => out.push('→'),
                c if moves_cursor(c) => out.extend(c.escape_default()),
                c => out.push(c),
            }
        }
        out.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    out
}

/// The visible piece of token `id`.
pub(crate) fn piece(tokenizer: &Tokenizer<'_>, id: TokenId) -> String {
    visible(tokenizer.bytes(id))
}

/// The text of token `id` for JSON: its characters as they are, bytes that are no character as `\x..`.
pub(crate) fn text(tokenizer: &Tokenizer<'_>, id: TokenId) -> String {
    let mut out = String::new();
    for chunk in tokenizer.bytes(id).utf8_chunks() {
        out.push_str(chunk.valid());
        out.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    out
}

/// A token as the beginning of an object: its id and text.
pub(crate) fn token(tokenizer: &Tokenizer<'_>, id: TokenId) -> Object {
    Object::default().raw("id", id).text("text", &text(tokenizer, id))
}

/// Tokens as a list.
pub(crate) fn token_list(tokenizer: &Tokenizer<'_>, ids: &[TokenId]) -> String {
    json::list(ids.iter().map(|id| token(tokenizer, *id).line()))
}

/// The text of some tokens: without control tokens, and without the space that a tokenizer puts before a text.
pub(crate) fn decoded(tokenizer: &Tokenizer<'_>, ids: &[TokenId]) -> String {
    let mut decoder = Decoder::new(tokenizer);
    let mut text = String::new();
    for id in ids.iter().filter(|id| tokenizer.kind(**id) != TokenKind::Control) {
        text.push_str(decoder.push(tokenizer, *id));
    }
    text + decoder.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_is_seen() {
        assert_eq!(visible(b" a\tb\n\r"), "·a→b↵\\r");
        assert_eq!(visible("é\u{202e}".as_bytes()), "é\\u{202e}");
        assert_eq!(visible(b"\xe2\x96x\xff"), "\\xe2\\x96x\\xff");
    }
}
