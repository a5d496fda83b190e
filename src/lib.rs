//! whit: a GPT in the smallest space.
//!
//! A `.whit` file (see [`format`]) is opened from a plain byte slice and checked once; a [`model::Session`] owns all
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

extern crate alloc;

#[cfg(feature = "cli")]
pub mod chat;
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
