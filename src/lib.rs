//! whit: a GPT in the smallest space.

pub mod compute;
pub mod error;
pub mod format;
pub mod generate;
pub mod inspect;
pub mod kernels;
pub mod model;
pub mod ops;
pub mod os;
pub mod quant;
pub mod sampler;
pub mod threads;
mod token;
pub mod tokenizer;

pub use error::{Error, Result};
pub use token::TokenId;

/// The embedded story model.
pub fn default_model() -> Option<&'static [u8]> {
    None
}
