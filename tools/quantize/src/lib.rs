//! Reads published checkpoints and writes them as one flat `.whit` file.
pub mod source;
