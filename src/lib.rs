//! whit: a GPT in the smallest space.
//!
//! An [`Engine`] is a model with what computes it; it begins texts, which own all that writes them:
//!
//! ```no_run
//! use whit::{Engine, generate::WriteOptions};
//!
//! fn main() -> whit::Result<()> {
//!     let engine = Engine::open("model.whit")?;
//!     let mut text = engine.write("Once upon a time", WriteOptions::default())?;
//!     while let Some(piece) = text.next_piece()? {
//!         print!("{}", piece.text);
//!     }
//!     Ok(())
//! }
//! ```
//!
//! Below it lie a [`Model`], opened from the bytes of a `.whit` file (see [`mod@format`]), a [`Session`] for each text, and the
//! [`generate::Writer`], which says what it wants computed and turns logits into pieces of text; many texts go through the
//! network together by [`generate::advance`]. The folder `examples` shows each of them.
//!
//! # Features
//!
//! | feature | default | what it brings |
//! |---|---|---|
//! | `std` | yes | threads, kernels chosen by what the CPU can do, and all that needs an operating system: `os`, `inspect`, mapped and written files, kept beginnings, streamed weights |
//! | `chat` | | `chat`: conversations by a model's chat template |
//! | `constraints` | | [`generate`]`::grammar`: JSON schemas, grammars, regular expressions and choices that a text keeps to |
//! | `default-model` | | the story model inside the library, 2.3 MB: [`default_model`] |
//! | `program`, `server` | | what the program `whit` needs at its smallest, and `whit serve` besides |
//! | `cli`, `serve` | | the same with all of the above |
//!
//! Without `std` the library needs an allocator and nothing else. It computes on the calling thread, with the kernels that
//! the target is sure to have; the bits are the same.

#![cfg_attr(not(feature = "std"), no_std)]

#[macro_use]
extern crate alloc;

#[cfg(feature = "chat")]
pub mod chat;
pub mod compute;
pub mod error;
#[cfg(feature = "std")]
pub mod failure;
pub mod format;
pub mod generate;
#[cfg(feature = "std")]
pub mod inspect;
pub mod kernels;
pub mod model;
pub mod ops;
#[cfg(feature = "std")]
pub mod os;
pub mod quant;
mod room;
pub mod sampler;
pub mod threads;
mod token;
pub mod tokenizer;

pub use compute::Compute;
pub use error::{Error, Result};
pub use format::File;
#[cfg(feature = "std")]
pub use generate::Engine;
pub use model::{Model, Session, SessionOptions};
pub use token::TokenId;

/// The story model that is part of the program, a `.whit` file; `None` without the feature `default-model`.
pub fn default_model() -> Option<&'static [u8]> {
    #[cfg(feature = "default-model")]
    {
        use format::cast::Aligned;
        static MODEL: &Aligned<[u8]> = &Aligned(*include_bytes!("../models/stories.whit"));
        Some(&MODEL.0)
    }
    #[cfg(not(feature = "default-model"))]
    None
}
