//! How a file of word vectors is laid out, whatever its form.

/// Numbers of a word.
pub(super) const MAX_DIM: usize = 1 << 16;

/// Where a word and its numbers lie.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Row {
    /// From 1 on: of the line, or of the word in a binary file.
    pub(super) number: usize,
    pub(super) start: usize,
    pub(super) word_bytes: usize,
    /// Its numbers, from the first byte of them on.
    pub(super) vector: usize,
    pub(super) end: usize,
}

/// How a file is laid out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Layout {
    /// Numbers of a word.
    pub(super) dim: usize,
    /// Words, where the first line says how many there are.
    pub(super) n_words: Option<u64>,
    /// Where the first word is.
    pub(super) start: usize,
    /// The numbers are f32, not text.
    pub(super) binary: bool,
}

/// What the first line of a file says: words and numbers of a word.
pub(super) fn promised(line: &[u8]) -> Option<(u64, usize)> {
    let text = core::str::from_utf8(line).ok()?;
    let mut fields = text.split_ascii_whitespace();
    let (n, dim) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    (fields.next().is_none() && (1..=MAX_DIM).contains(&dim)).then_some((n, dim))
}
