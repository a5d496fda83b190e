//! What requests ask for: the bodies of OpenAI's API, and for a server those of Ollama, llama.cpp and Anthropic, as a prompt,
//! options of the choice of tokens and rules of the text. No sockets, and of answers only the probabilities that were asked for.

#[cfg(feature = "serve")]
pub(crate) mod anthropic;
mod asked;
mod body;
#[cfg(feature = "serve")]
pub(crate) mod embeddings;
#[cfg(feature = "serve")]
pub(crate) mod extension;
#[cfg(feature = "serve")]
mod json;
#[cfg(feature = "serve")]
mod keep;
#[cfg(feature = "serve")]
pub(crate) mod llama;
pub(crate) mod logprobs;
#[cfg(feature = "serve")]
pub(crate) mod looks;
mod messages;
#[cfg(feature = "serve")]
pub(crate) mod ollama;
pub(crate) mod openai;
#[cfg(feature = "serve")]
pub(crate) mod responses;

pub(crate) use asked::{Asked, Prompt, Sending};
#[cfg(feature = "serve")]
pub(crate) use json::value;
#[cfg(feature = "serve")]
pub(crate) use keep::Keep;
