//! whit: a GPT in the smallest space.

pub mod error;
pub mod format;
pub mod model;
pub mod os;
pub mod quant;
pub mod sampler;
mod token;

pub use error::{Error, Result};
pub use token::TokenId;
