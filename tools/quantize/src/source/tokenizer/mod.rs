//! Tokenizers of Hugging Face directories and of llama2.c.

pub(in crate::source) mod bin;
pub(in crate::source) mod directory;
pub(in crate::source) mod json;
pub(in crate::source) mod pipeline;
pub(in crate::source) mod sentencepiece;
pub(in crate::source) mod vocab_merges;
