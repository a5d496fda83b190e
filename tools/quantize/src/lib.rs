//! Reads published checkpoints and writes them as one flat `.whit` file.

pub mod args;
pub mod convert;
pub mod families;
pub mod pattern;
pub mod report;
pub mod source;
