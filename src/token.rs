//! The token: an index into the vocabulary.

/// An index into the vocabulary, `0..vocab_size`.
pub type TokenId = u32;
