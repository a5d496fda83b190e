//! What is kept of a text: the cache of its beginnings on disk, and its own beginning where the context is full.

use super::args::{Full, Keeping};
use whit::TokenId;
use whit::error::{Error, Result};
use whit::generate::{OnFull, PrefixCache};
use whit::model::saved::Saved;
use whit::model::{Model, Session};
use whit::ops::KvDtype;

/// Puts what was saved back; `tokens` begin with it and have one at least to be computed. Returns how many are held.
pub(super) fn restore(saved: &Saved<'_>, session: &mut Session, tokens: &[TokenId]) -> Result<usize> {
    saved.restore(session.state_mut())?;
    Ok(session.rewind(tokens.len() - 1))
}

/// The cache that the arguments or the environment name.
pub(super) fn cache(args: &Keeping, model: &Model, kv: KvDtype) -> Result<Option<PrefixCache>> {
    let named = std::env::var_os("WHIT_CACHE").filter(|path| !path.is_empty()).map(Into::into);
    let Some(path) = args.cache.clone().or(named) else { return Ok(None) };
    PrefixCache::open(&path, model, kv, args.cache_size).map(Some)
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
