//! Tests of whole tokenizers.
