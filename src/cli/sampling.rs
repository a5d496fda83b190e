//! How tokens are chosen: the options of the command line over the model's own, and a seed.

use super::args::Sampling;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::SystemTime;
use whit::error::{Error, Result};
use whit::generate::recommended_sampling;
use whit::model::GenerationDefaults;
use whit::sampler::SamplerOptions;

/// What the command line says, else what the model's authors say, else ours.
pub(super) fn sampler_options(args: &Sampling, defaults: &GenerationDefaults) -> Result<SamplerOptions> {
    if args.logit_bias.len() > 1024 {
        let message = format!("{} are given, at most 1024 are taken", args.logit_bias.len());
        return Err(Error::usage(message).field("logit-bias"));
    }
    let recommended = recommended_sampling(defaults);
    Ok(SamplerOptions {
        temperature: args.temp.unwrap_or(recommended.temperature),
        top_k: args.top_k.map_or(recommended.top_k, |k| k as usize),
        top_p: args.top_p.unwrap_or(recommended.top_p),
        min_p: args.min_p.unwrap_or(recommended.min_p),
        typical_p: args.typical,
        repeat_penalty: args.repeat_penalty.unwrap_or(recommended.repeat_penalty),
        repeat_last_n: args.repeat_last_n as usize,
        presence_penalty: args.presence_penalty,
        frequency_penalty: args.frequency_penalty,
        logit_bias: args.logit_bias.clone(),
        seed: args.seed.unwrap_or_else(random_seed),
    })
}

/// A seed of 32 bits, short enough to be typed again, from the keys that the system gives to hash maps and the time.
fn random_seed() -> u64 {
    let mut hasher = RandomState::new().build_hasher();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    hasher.write_u128(now.as_nanos());
    hasher.finish() >> 32
}
