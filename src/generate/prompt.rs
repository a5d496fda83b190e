//! How a text begins: its tokens, with the one that models want before the first, and how tokens are chosen where nobody says.

use super::writer::tokenizer;
use crate::error::{Error, Result};
use crate::model::{GenerationDefaults, Model};
use crate::sampler::SamplerOptions;
use crate::token::TokenId;
use crate::tokenizer::Specials;
use alloc::vec::Vec;

/// The tokens of `text` after those `before` it: the token that begins a text comes first where the model wants one, or where
/// there is nothing else.
///
/// Fails where there is no token at all, or the model has no tokenizer.
pub fn prompt_tokens(model: &Model, before: &[TokenId], text: &str, specials: Specials) -> Result<Vec<TokenId>> {
    let tokenizer = tokenizer(model)?;
    let mut tokens = before.to_vec();
    let begin = tokenizer.bos().or(tokenizer.eos());
    if tokens.is_empty() && (tokenizer.adds_bos() || text.is_empty()) {
        tokens.extend(begin);
    }
    tokenizer.encode(text, specials, &mut tokens);
    if tokens.is_empty() {
        let error = Error::usage("it is empty, and this model has no token that begins a text").field("prompt");
        return Err(error.hint("give a prompt"));
    }
    Ok(tokens)
}

/// How tokens are chosen where nobody says so: as the model's authors recommend, else at temperature 0.8 among the tokens that
/// make up 95 % of the probability; with the seed 0.
pub fn recommended_sampling(defaults: &GenerationDefaults) -> SamplerOptions {
    SamplerOptions {
        temperature: defaults.temperature.unwrap_or(0.8),
        top_k: defaults.top_k.unwrap_or(0) as usize,
        top_p: defaults.top_p.unwrap_or(0.95),
        min_p: defaults.min_p.unwrap_or(0.0),
        repeat_penalty: defaults.repeat_penalty.unwrap_or(1.0),
        ..SamplerOptions::default()
    }
}
