//! The loop that writes a text to its end.

use super::interrupt;
use super::output::{Outcome, note};
use whit::TokenId;
use whit::failure::with_flags;
use whit::generate::{Generator, PrefixCache};
use whit::sampler::Watcher;

/// Given each piece of a text: its token, if one was chosen, and what became certain.
pub(super) type Each<'e, W> = dyn FnMut(&mut W, Option<TokenId>, &str) -> Outcome<()> + 'e;

/// Writes a text to its end: hands each piece to `each`, keeps `prompt` once the first is out, ends where the user interrupts.
/// `watcher` sees how the tokens are chosen.
pub(super) fn write<W: Watcher>(
    generator: &mut Generator<'_, '_, '_>,
    mut cache: Option<&PrefixCache>,
    prompt: &[TokenId],
    watcher: &mut W,
    each: &mut Each<'_, W>,
) -> Outcome<()> {
    let mut n_shifts = 0;
    loop {
        if interrupt::requested() {
            generator.interrupt();
        }
        let Some(piece) = generator.next_piece_watched(watcher)? else { return Ok(()) };
        each(watcher, piece.token, piece.text)?;
        if let Some(cache) = cache.take()
            && let Err(error) = cache.keep(generator.session(), prompt)
        {
            // The text does not depend on the cache, so one that cannot be written to is no error.
            note(format_args!("whit: nothing was kept: {}", with_flags(&error)));
        }
        if generator.n_shifts() > n_shifts {
            n_shifts = generator.n_shifts();
            // The last token came after the shift.
            let (n, n_tokens) = (generator.session().context_length(), generator.tokens().len() - 1);
            note(format_args!("whit: the context of {n} tokens was full; the text goes on with {n_tokens} of them"));
        }
    }
}
