//! whit without the standard library, as firmware uses it: the model lies in flash, one thread computes, the allocator is
//! whatever the board has. `tools/ci/bare.sh` builds this for boards without a system and runs its tests here.
#![no_std]

extern crate alloc;

use alloc::{string::String, vec::Vec};
use whit::generate::{Generator, Limits};
use whit::ops::KvDtype;
use whit::sampler::{Sampler, SamplerOptions};
use whit::tokenizer::Specials;
use whit::{Compute, Error, File, Model, Result, Session, SessionOptions, TokenId, kernels};

/// Continues `prompt` by `n` tokens of greatest logit with the model in the bytes `file`, at an address that is a multiple of
/// 64. Gives `each` the logits after the prompt and after each token.
pub fn continue_greedily(
    file: &[u8],
    kv: KvDtype,
    prompt: &[TokenId],
    n: usize,
    each: &mut dyn FnMut(&[f32]),
) -> Result<()> {
    let file = File::open(file)?;
    let model = Model::open(&file)?;
    let compute = Compute::new(kernels::detect(), 1)?;
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
pub fn story(file: &[u8], prompt: &str, seed: u64) -> Result<String> {
    let file = File::open(file)?;
    let model = Model::open(&file)?;
    let tokenizer = *model.tokenizer().ok_or_else(|| Error::usage("the model has no tokenizer"))?;
    let compute = Compute::new(kernels::detect(), 1)?;
    let context_length = model.config().context_length;
    let mut session = Session::new(&model, &compute, SessionOptions { context_length, ..SessionOptions::default() })?;
    let mut tokens = Vec::new();
    if tokenizer.adds_bos() {
        tokens.extend(tokenizer.bos());
    }
    tokenizer.encode(prompt, Specials::AsText, &mut tokens);
    let proposed = model.generation();
    let (temperature, top_p) = (proposed.temperature.unwrap_or(0.8), proposed.top_p.unwrap_or(0.95));
    let options = SamplerOptions { temperature, top_p, seed, ..SamplerOptions::default() };
    let sampler = Sampler::new(options, model.config().vocab_size)?;
    let limits = Limits { end_tokens: model.end_tokens(), ..Limits::default() };
    let mut generator = Generator::new(&mut session, tokenizer, sampler, limits);
    generator.prefill(&tokens, tokens.len(), &mut || true)?;
    let mut text = String::from(prompt);
    while let Some(piece) = generator.next_piece()? {
        text.push_str(piece.text);
    }
    Ok(text)
}
