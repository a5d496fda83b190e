//! The data of every view on a model; rendering is the command line's.

mod score;

pub use score::{Agreement, Summary, agreement, nll};
