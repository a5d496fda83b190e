//! Answers of OpenAI's API.

pub(super) mod chat;
pub(super) mod completions;
mod fields;
pub(super) mod responses;
pub(super) mod vectors;

pub(super) use fields::{logprobs, model, models, timings};
