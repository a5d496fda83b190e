//! How a file of word vectors is laid out, whatever its form.

/// Numbers of a word.
pub(in crate::source) const MAX_DIM: usize = 1 << 16;

/// Where a word and its numbers lie.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::source) struct Row {
    /// From 1 on: of the line, or of the word in a binary file.
    pub(in crate::source) number: usize,
    pub(in crate::source) start: usize,
    pub(in crate::source) word_bytes: usize,
    /// Its numbers, from the first byte of them on.
    pub(in crate::source) vector: usize,
    pub(in crate::source) end: usize,
}

/// How a file is laid out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::source) struct Layout {
    /// Numbers of a word.
    pub(in crate::source) dim: usize,
    /// Words, where the first line says how many there are.
    pub(in crate::source) n_words: Option<u64>,
    /// Where the first word is.
    pub(in crate::source) start: usize,
    /// The numbers are f32, not text.
    pub(in crate::source) binary: bool,
}

/// What the first line of a file says: words and numbers of a word.
pub(in crate::source) fn promised(line: &[u8]) -> Option<(u64, usize)> {
    let text = core::str::from_utf8(line).ok()?;
    let mut fields = text.split_ascii_whitespace();
    let (n, dim) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    (fields.next().is_none() && (1..=MAX_DIM).contains(&dim)).then_some((n, dim))
}
