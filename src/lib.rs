//! whit: a GPT in the smallest space.
//!
//! A `.whit` file (see [`mod@format`]) is opened from a plain byte slice and checked once; a [`model::Session`] owns all
//! that changes, allocated once; a [`generate::Generator`] writes:
//!
//! ```
//! use whit::generate::{Generator, Limits};
//! use whit::sampler::{Sampler, SamplerOptions};
//! use whit::tokenizer::Specials;
//! use whit::{Compute, File, Model, Session, SessionOptions, kernels};
//!
//! fn main() -> whit::Result<()> {
//!     let Some(bytes) = whit::default_model() else { return Ok(()) };
//!     let file = File::open(bytes)?;
//!     let model = Model::open(&file)?;
//!     let compute = Compute::new(kernels::detect(), 1)?;
//!     let options = SessionOptions { context_length: 64, ..SessionOptions::default() };
//!     let mut session = Session::new(&model, &compute, options)?;
//!
//!     let tokenizer = *model.tokenizer().expect("the story model has a tokenizer");
//!     let mut prompt = Vec::new();
//!     tokenizer.encode("Once upon a time", Specials::AsText, &mut prompt);
//!     let sampler = Sampler::new(SamplerOptions::default(), model.config().vocab_size)?;
//!     let limits = Limits { n_tokens: Some(8), stops: vec![".".into()], end_tokens: vec![], ..Limits::default() };
//!     let mut generator = Generator::new(&mut session, tokenizer, sampler, limits);
//!     generator.prefill(&prompt, 64, &mut || true)?;
//!     while let Some(piece) = generator.next_piece()? {
//!         print!("{}", piece.text);
//!     }
//!     println!(" ({})", generator.stop_reason().map_or("", |reason| reason.name()));
//!     Ok(())
//! }
//! ```
//!
//! # Features
//!
//! | feature | default | what it brings |
//! |---|---|---|
//! | `std` | yes | threads, kernels chosen by what the CPU can do, and all that needs an operating system: `os`, `inspect`, mapped and written files, kept beginnings, streamed weights |
//! | `chat` | | `chat`: conversations by a model's chat template |
//! | `default-model` | | the story model inside the library, 1.5 MB: [`default_model`] |
//! | `cli` | | all of the above and what the program `whit` needs |
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
pub mod sampler;
pub mod threads;
mod token;
pub mod tokenizer;

pub use compute::Compute;
pub use error::{Error, Result};
pub use format::File;
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
