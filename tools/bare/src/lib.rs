//! whit without the standard library, as firmware uses it: the model lies in flash, one thread computes, the allocator is
//! whatever the board has. `tools/ci/bare.sh` builds this for boards without a system and runs its tests here.
#![no_std]

extern crate alloc;

use alloc::{string::String, sync::Arc};
use whit::format::Bytes;
use whit::generate::{StopRules, Writer, prompt_tokens, recommended_sampling};
use whit::ops::KvDtype;
use whit::sampler::{Sampler, SamplerOptions};
use whit::tokenizer::Specials;
use whit::{Compute, Model, Result, Session, SessionOptions, TokenId, kernels};

/// Continues `prompt` by `n` tokens of greatest logit with the model in the bytes `file`, at an address that is a multiple of
/// 64. Gives `each` the logits after the prompt and after each token.
pub fn continue_greedily(
    file: impl Into<Bytes>,
    kv: KvDtype,
    prompt: &[TokenId],
    n: usize,
    each: &mut dyn FnMut(&[f32]),
) -> Result<()> {
    let model = Arc::new(Model::open(file)?);
    let compute = Arc::new(Compute::new(kernels::detect(), 1)?);
    let options = SessionOptions { context_length: prompt.len() + n, kv, ..SessionOptions::default() };
    let mut session = Session::new(&model, &compute, options)?;
    let mut logits = session.extend(prompt)?;
    for _ in 0..n {
        each(logits);
        let next = greatest(logits);
        logits = session.extend(&[next])?;
    }
    each(logits);
    Ok(())
}

/// The first of the greatest logits.
fn greatest(logits: &[f32]) -> TokenId {
    let mut best = 0;
    for (i, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = i;
        }
    }
    best as TokenId
}

/// The text that the model in the bytes `file`, at an address that is a multiple of 64, writes after `prompt`, sampled as the
/// program would.
pub fn story(file: impl Into<Bytes>, prompt: &str, seed: u64) -> Result<String> {
    let model = Arc::new(Model::open(file)?);
    let compute = Arc::new(Compute::new(kernels::detect(), 1)?);
    let context_length = model.config().context_length;
    let mut session = Session::new(&model, &compute, SessionOptions { context_length, ..SessionOptions::default() })?;
    let tokens = prompt_tokens(&model, &[], prompt, Specials::AsText)?;
    let options = SamplerOptions { seed, ..recommended_sampling(model.generation()) };
    let sampler = Sampler::new(options, model.config().vocab_size)?;
    let rules = StopRules { end_tokens: model.end_tokens(), ..StopRules::default() };
    let mut writer = Writer::new(&model, &tokens, context_length, sampler, rules)?;
    let mut text = String::from(prompt);
    while let Some(piece) = writer.next_piece(&mut session, &mut ())? {
        text.push_str(piece.text);
    }
    Ok(text)
}
