//! How tokens are chosen: the options of the command line over the model's own, and a seed.

use super::args::Sampling;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::SystemTime;
use whit::error::{Error, Result};
use whit::generate::{recommended_sampling, sequence_breakers};
use whit::model::Model;
use whit::sampler::{AdaptiveP, Dry, DynamicTemperature, Mirostat, SamplerOptions, Stage, Xtc};

/// Over these no repeated sequence goes on where nobody says otherwise.
const BREAKERS: [&str; 4] = ["\n", ":", "\"", "*"];

/// What the command line says, else what the model's authors say, else ours.
pub(super) fn sampler_options(args: &Sampling, model: &Model) -> Result<SamplerOptions> {
    if args.logit_bias.len() > 1024 {
        let message = format!("{} are given, at most 1024 are taken", args.logit_bias.len());
        return Err(Error::usage(message).field("logit-bias"));
    }
    let recommended = recommended_sampling(model.generation());
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
        dry: dry(args, model),
        top_n_sigma: args.top_n_sigma,
        dynamic: DynamicTemperature { range: args.dynatemp_range, exponent: args.dynatemp_exp },
        xtc: Xtc { probability: args.xtc_probability, threshold: args.xtc_threshold },
        mirostat: (args.mirostat > 0).then_some(Mirostat { tau: args.mirostat_ent, eta: args.mirostat_lr }),
        adaptive_p: args.adaptive_target.map(|target| AdaptiveP { target, decay: args.adaptive_decay }),
        order: order(args),
        seed: args.seed.unwrap_or_else(random_seed),
    })
}

/// The order that is asked for. Mirostat takes the place of the other filters.
fn order(args: &Sampling) -> Vec<Stage> {
    match &args.samplers {
        Some(order) => order.0.clone(),
        None if args.mirostat > 0 => vec![Stage::Penalties, Stage::Dry, Stage::Temperature],
        None => Stage::ORDER.to_vec(),
    }
}

/// How repeated sequences are penalized. What interrupts them is looked for among the tokens only where that is of use.
fn dry(args: &Sampling, model: &Model) -> Dry {
    let given: Vec<&str> = args.dry_sequence_breaker.iter().map(String::as_str).collect();
    let strings = if given.is_empty() { BREAKERS.to_vec() } else { given };
    let is_used = args.dry_multiplier > 0.0 && strings != ["none"];
    let breakers = model.tokenizer().filter(|_| is_used).map(|tokenizer| sequence_breakers(tokenizer, &strings));
    Dry {
        multiplier: args.dry_multiplier,
        base: args.dry_base,
        allowed_length: args.dry_allowed_length as usize,
        last_n: usize::try_from(args.dry_penalty_last_n).unwrap_or(usize::MAX),
        breakers: breakers.unwrap_or_default(),
    }
}

/// A seed of 32 bits, short enough to be typed again, from the keys that the system gives to hash maps and the time.
fn random_seed() -> u64 {
    let mut hasher = RandomState::new().build_hasher();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    hasher.write_u128(now.as_nanos());
    hasher.finish() >> 32
}
