//! Nothing but tests: whit's token ids against those of the `tokenizers` crate. See tests/against_tokenizers.rs.
