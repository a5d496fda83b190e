//! The text of JSON: what the escapes in a string mean, and the line and column of an error.

use std::borrow::Cow;

use whit::error::Error;

/// The meaning of a string's text; escapes were checked by the parser.
pub(in crate::source) fn unescape(raw: &str) -> Cow<'_, str> {
    let Some(first) = raw.find('\\') else { return Cow::Borrowed(raw) };
    let mut out = String::with_capacity(raw.len());
    out.push_str(&raw[..first]);
    let mut rest = &raw[first..];
    while let Some(escape) = rest.as_bytes().get(1) {
        let (c, length) = match escape {
            b'u' => unicode(rest.as_bytes()).unwrap_or((char::REPLACEMENT_CHARACTER, rest.len())),
            b'b' => ('\u{8}', 2),
            b'f' => ('\u{c}', 2),
            b'n' => ('\n', 2),
            b'r' => ('\r', 2),
            b't' => ('\t', 2),
            other => (*other as char, 2),
        };
        out.push(c);
        rest = &rest[length..];
        let plain = rest.find('\\').unwrap_or(rest.len());
        out.push_str(&rest[..plain]);
        rest = &rest[plain..];
    }
    Cow::Owned(out)
}

/// An error about byte `at` of `text`, with its line and column.
pub(in crate::source) fn place(text: &str, at: usize, base: u64, message: &str) -> Error {
    let before = &text.as_bytes()[..at];
    let line = before.iter().filter(|b| **b == b'\n').count() + 1;
    let column = before.iter().rev().take_while(|b| **b != b'\n').count() + 1;
    Error::data(format!("{message} (line {line} column {column})")).at(base + at as u64)
}

/// The character of a `\uXXXX` escape (two of them for a surrogate pair) at the start of `bytes`, and its length.
pub(in crate::source) fn unicode(bytes: &[u8]) -> Option<(char, usize)> {
    let unit = |at: usize| -> Option<u32> {
        let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
        digits.iter().try_fold(0, |n, d| Some(n * 16 + (*d as char).to_digit(16)?))
    };
    let first = unit(0)?;
    if !(0xd800..0xdc00).contains(&first) {
        return Some((char::from_u32(first)?, 6));
    }
    let second = unit(6).filter(|u| (0xdc00..0xe000).contains(u))?;
    Some((char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00))?, 12))
}
