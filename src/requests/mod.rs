//! What requests ask for: the bodies of OpenAI's API, and for a server those of Ollama, llama.cpp and Anthropic, as a prompt,
//! options of the choice of tokens and rules of the text. No sockets, and of answers only the probabilities that were asked for.

#[cfg(feature = "server")]
pub(crate) mod anthropic;
mod asked;
mod body;
#[cfg(feature = "server")]
pub(crate) mod embeddings;
#[cfg(feature = "server")]
pub(crate) mod extension;
#[cfg(feature = "server")]
mod json;
#[cfg(feature = "server")]
mod keep;
#[cfg(feature = "server")]
pub(crate) mod llama;
pub(crate) mod logprobs;
#[cfg(feature = "server")]
pub(crate) mod looks;
mod messages;
#[cfg(feature = "server")]
pub(crate) mod ollama;
pub(crate) mod openai;
#[cfg(feature = "server")]
pub(crate) mod responses;

pub(crate) use asked::{Asked, Prompt, Sending};
#[cfg(feature = "server")]
pub(crate) use json::value;
#[cfg(feature = "server")]
pub(crate) use keep::Keep;
