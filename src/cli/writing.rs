//! The loop that writes a text to its end.

use super::output::{Outcome, note};
use super::progress::Reading;
use super::setup::BATCH;
use std::sync::Arc;
use whit::TokenId;
use whit::error::Result;
use whit::failure::with_flags;
use whit::generate::guess::Guesses;
use whit::generate::{Piece, PrefixCache, Writer};
use whit::model::Session;
use whit::ops::KV_BLOCK;
use whit::os::interrupt;
use whit::sampler::Watcher;

/// A piece of a text.
#[derive(Clone, Copy)]
pub(super) struct Written<'t> {
    /// Its token, if one was chosen.
    pub(super) token: Option<TokenId>,
    /// What became certain.
    pub(super) text: &'t str,
    /// Whether the token was the one that had been guessed, if one was.
    pub(super) guessed: Option<bool>,
}

/// Given each piece of a text.
pub(super) type Each<'e, W> = dyn FnMut(&mut W, Written<'_>) -> Outcome<()> + 'e;

/// Writes a text to its end: hands each piece to `each`, keeps `prompt` once the first is out, ends where the user interrupts.
/// `guesses` are made ahead, if there are any. `watcher` sees how the tokens are chosen.
pub(super) fn write<W: Watcher>(
    writer: &mut Writer,
    session: &mut Session,
    mut cache: Option<&PrefixCache>,
    prompt: &[TokenId],
    mut guesses: Option<&mut Guesses>,
    watcher: &mut W,
    each: &mut Each<'_, W>,
) -> Outcome<()> {
    let mut n_shifts = 0;
    loop {
        if interrupt::requested() {
            writer.interrupt();
        }
        let piece = match &mut guesses {
            Some(guesses) => guesses.next_piece(writer, session, watcher)?,
            None => writer.next_piece(session, watcher)?,
        };
        let Some(Piece { token, text }) = piece else { break };
        let guessed = guesses.as_ref().and_then(|guesses| guesses.last()).filter(|_| token.is_some());
        each(watcher, Written { token, text, guessed })?;
        if let Some(cache) = cache.take() {
            keep(cache, session, prompt);
        }
        if writer.n_shifts() > n_shifts {
            n_shifts = writer.n_shifts();
            // The last token came after the shift.
            let (n, n_tokens) = (session.context_length(), writer.tokens().len() - 1);
            note(format_args!("whit: the context of {n} tokens was full; the text goes on with {n_tokens} of them"));
        }
    }
    if let Some(guesses) = guesses {
        guesses.end(writer, session);
    }
    Ok(())
}

/// Keeps what `session` holds of `prompt`. The text does not depend on the cache, so one that cannot be written to is no error.
pub(super) fn keep(cache: &PrefixCache, session: &mut Session, prompt: &[TokenId]) {
    let compute = Arc::clone(session.compute());
    if let Err(error) = cache.keep(session.state_mut(), &compute, prompt) {
        note(format_args!("whit: nothing was kept: {}", with_flags(&error)));
    }
}

/// Has the empty `session` hold what `cache` has of `tokens`; how many that are. Says that there are none where `tells`.
pub(super) fn restore(cache: &PrefixCache, session: &mut Session, tokens: &[TokenId], tells: bool) -> Result<usize> {
    let n = cache.restore(session.state_mut(), tokens)?;
    if tells && n == 0 {
        note(format_args!("whit: nothing in the cache begins as this text"));
    }
    Ok(n)
}

/// Computes `prompt` for `writer`, of which `session` may hold a part; says how far it is unless `quiet`.
pub(super) fn prefill<W: Watcher>(
    writer: &mut Writer,
    session: &mut Session,
    cache: Option<&PrefixCache>,
    prompt: &[TokenId],
    quiet: bool,
    watcher: &mut W,
) -> Outcome<()> {
    let mut reading = Reading::begin(session.position().min(prompt.len()), prompt.len(), quiet);
    let mut each = |session: &mut Session| {
        reading.is_at(session.position());
        go_on(cache, session, prompt)
    };
    writer.prefill(session, BATCH, &mut each, watcher)?;
    Ok(())
}

/// Whether a prefill goes on, which is asked before each of its steps. A text whose early parts are soon given up is kept while
/// it is computed.
fn go_on(cache: Option<&PrefixCache>, session: &mut Session, prompt: &[TokenId]) -> bool {
    let forgets = session.state().max_span() < session.context_length();
    let n_whole = session.position() / KV_BLOCK * KV_BLOCK;
    if let Some(cache) = cache.filter(|_| forgets && n_whole > 0) {
        keep(cache, session, &prompt[..n_whole]);
    }
    !interrupt::requested()
}
