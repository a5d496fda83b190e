//! Fields that several answers of OpenAI's API have.

use super::super::facts::Facts;
use super::super::form::{Gathered, Name};
use super::super::house::House;
use super::super::job::{End, Token};
use crate::requests::logprobs::{self, Likely};
use serde_json::{Value, json};

/// How many tokens an answer has.
pub(crate) fn usage(whole: &Gathered) -> Value {
    let n_written = whole.n_written();
    json!({
        "prompt_tokens": whole.n_prompt,
        "completion_tokens": n_written,
        "total_tokens": whole.n_prompt + n_written,
        "prompt_tokens_details": {"cached_tokens": whole.n_held()},
    })
}

/// How fast an answer came, as llama.cpp tells it.
pub(crate) fn timings(whole: &Gathered, end: &End) -> Value {
    let n_computed = whole.n_prompt.saturating_sub(whole.n_held());
    let (prompt, written) = (end.times.prefill.as_secs_f64() * 1e3, end.times.writing.as_secs_f64() * 1e3);
    let pace = |n: usize, ms: f64| if ms > 0.0 { n as f64 * 1e3 / ms } else { 0.0 };
    // The first token comes with the prompt.
    let n_written = end.n_generated.saturating_sub(1);
    json!({
        "cache_n": whole.n_held(), "prompt_n": n_computed, "prompt_ms": prompt,
        "prompt_per_second": pace(n_computed, prompt),
        "predicted_n": end.n_generated, "predicted_ms": written, "predicted_per_second": pace(n_written, written),
    })
}

/// The probabilities of tokens of a conversation.
pub(crate) fn logprobs(name: &Name, tokens: &[Token]) -> Value {
    logprobs::of_conversation(name.offered().model(), likely(tokens))
}

/// The tokens of which it is known how probable they were.
pub(crate) fn likely(tokens: &[Token]) -> impl Iterator<Item = Likely<'_>> {
    tokens.iter().filter_map(|token| {
        let shown = token.shown.as_ref()?;
        Some((token.id, shown.probability, &shown.top[..]))
    })
}

/// The list of models.
pub(crate) fn models(house: &House) -> Value {
    let all = house.models.all();
    json!({"object": "list", "data": all.iter().map(|facts| model(house, facts)).collect::<Vec<_>>()})
}

/// A model of the list.
pub(crate) fn model(house: &House, facts: &Facts) -> Value {
    json!({
        "id": facts.name,
        "object": "model",
        "created": house.started_at,
        "owned_by": "whit",
        "meta": {
            "n_vocab": facts.vocab_size,
            "n_ctx": facts.context_length,
            "n_ctx_train": facts.longest_context,
            "n_embd": facts.dim,
            "size": facts.file_bytes,
        },
    })
}
