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

/// How tokens are chosen where nobody says so: each option as the model's authors recommend, else as other programs have it, with
/// temperature 0.8, top-k 40, top-p 0.95 and min-p 0.05; with the seed 0. [`SamplerOptions::default`] is another thing: a chain
/// without filters, for those who name their own.
pub fn recommended_sampling(defaults: &GenerationDefaults) -> SamplerOptions {
    SamplerOptions {
        temperature: defaults.temperature.unwrap_or(0.8),
        top_k: defaults.top_k.unwrap_or(40) as usize,
        top_p: defaults.top_p.unwrap_or(0.95),
        min_p: defaults.min_p.unwrap_or(0.05),
        repeat_penalty: defaults.repeat_penalty.unwrap_or(1.0),
        ..SamplerOptions::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_file_recommends_counts_first_option_by_option() {
        let chosen = |defaults| {
            let o = recommended_sampling(&defaults);
            (o.temperature, o.top_k, o.top_p, o.min_p, o.repeat_penalty)
        };
        let silent = GenerationDefaults::default();
        assert_eq!(chosen(silent.clone()), (0.8, 40, 0.95, 0.05, 1.0));
        assert_eq!(chosen(GenerationDefaults { temperature: Some(0.5), ..silent.clone() }), (0.5, 40, 0.95, 0.05, 1.0));
        // What switches a filter off is a recommendation, too.
        let off = GenerationDefaults { top_k: Some(0), top_p: Some(1.0), min_p: Some(0.0), ..silent.clone() };
        assert_eq!(chosen(off), (0.8, 0, 1.0, 0.0, 1.0));
        let greedy = GenerationDefaults { temperature: Some(0.0), repeat_penalty: Some(1.1), ..silent };
        assert_eq!(chosen(greedy), (0.0, 40, 0.95, 0.05, 1.1));
    }
}
