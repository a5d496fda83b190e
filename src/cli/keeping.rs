//! What is kept of a text: the cache of its beginnings on disk, and its own beginning where the context is full.

use super::args::{ComputeArgs, Full, Keeping};
use super::output::{bytes, note};
use std::path::PathBuf;
use whit::TokenId;
use whit::error::{Error, Result};
use whit::generate::{ModelFile, OnFull, PrefixCache};
use whit::model::Session;
use whit::model::saved::Saved;
use whit::os::clock::Stopwatch;
use whit::os::folder::Folder;

/// Puts what was saved back; `tokens` begin with it and have one at least to be computed. Returns how many are held.
pub(super) fn restore(saved: &Saved<'_>, session: &mut Session, tokens: &[TokenId]) -> Result<usize> {
    saved.restore(session.state_mut())?;
    Ok(session.rewind(tokens.len() - 1))
}

/// The cache that the arguments or the environment name. Where anything of a text is kept, the weights are verified first.
pub(super) fn cache(
    args: &Keeping,
    compute: &ComputeArgs,
    model: &ModelFile,
    verbose: bool,
) -> Result<Option<PrefixCache>> {
    let named = std::env::var_os("WHIT_CACHE").filter(|path| !path.is_empty()).map(Into::into);
    let path: Option<PathBuf> = args.cache.clone().or(named);
    if path.is_none() && args.session.is_none() {
        return Ok(None);
    }
    let notes = path.as_deref().map(Folder::open).transpose()?;
    let clock = Stopwatch::start();
    if model.verify(notes.as_ref(), compute.max_memory.is_some())? && verbose {
        let until = if notes.is_some() { ", which holds until the file is changed" } else { "" };
        let weights = bytes(model.model().weight_bytes());
        note(format_args!("whit: {weights} of weights verified in {:.2} s{until}", clock.seconds()));
    }
    path.map(|path| PrefixCache::open(&path, model, compute.kv.into(), args.cache_size)).transpose()
}

/// What a full context means for a text that begins with `n_prompt` tokens.
pub(super) fn on_full(args: &Keeping, n_prompt: usize, context_length: usize) -> Result<OnFull> {
    match (args.on_full, args.keep) {
        (Full::Stop, None) => Ok(OnFull::Stop),
        (Full::Stop, Some(_)) => Err(Error::usage("it is of use with --on-full shift only").field("keep")),
        (Full::Shift, Some(keep)) if keep as usize > context_length / 2 => {
            let message = format!("{keep} tokens are more than half of a context of {context_length}");
            Err(Error::usage(message).field("keep"))
        }
        (Full::Shift, Some(keep)) => Ok(OnFull::Shift { keep: keep as usize }),
        (Full::Shift, None) => Ok(OnFull::Shift { keep: n_prompt.min(context_length / 4) }),
    }
}
