//! The token loop: prefill a prompt, then sample, decode and stop. Yields text; knows no terminal, clock or signal.

#[cfg(feature = "std")]
pub mod prefix_cache;
mod stops;
#[cfg(feature = "std")]
pub mod stream;
pub mod tree;

#[cfg(feature = "std")]
pub use prefix_cache::PrefixCache;
pub use stops::Stops;

use crate::error::{Error, Result};
use crate::model::Session;
use crate::sampler::{Sampler, Watcher};
use crate::token::TokenId;
use crate::tokenizer::{Decoder, TokenKind, Tokenizer};
use alloc::{string::String, vec::Vec};

/// Why a text ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// The model chose a token that ends a text.
    EndOfText,
    /// The asked number of tokens is reached.
    Length,
    /// A stop string was found.
    StopString,
    /// No position is left in the context.
    ContextFull,
    /// The caller ended it.
    Interrupted,
}

impl StopReason {
    /// The stable name, as it stands in reports.
    pub fn name(self) -> &'static str {
        match self {
            StopReason::EndOfText => "end-of-text",
            StopReason::Length => "length",
            StopReason::StopString => "stop-string",
            StopReason::ContextFull => "context-full",
            StopReason::Interrupted => "interrupted",
        }
    }
}

/// What happens when no position is left in the context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFull {
    /// The text ends.
    #[default]
    Stop,
    /// The first `keep` tokens and the later half of the others stay and are computed anew, as a fresh run on them would.
    Shift {
        /// Tokens that stay; at most half of the context is taken.
        keep: usize,
    },
}

/// When a text ends.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Limits {
    /// At most this many tokens; `None`: as many as the context holds.
    pub n_tokens: Option<usize>,
    /// Strings that end the text and are not part of it.
    pub stops: Vec<String>,
    /// Tokens that end the text and are not part of it.
    pub end_tokens: Vec<TokenId>,
    /// What a full context means.
    pub on_full: OnFull,
}

/// A part of the text: whole characters, maybe none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece<'t> {
    /// The token that was chosen; `None` where the piece is only what was still held back at the end.
    pub token: Option<TokenId>,
    /// The text that became certain with it.
    pub text: &'t str,
}

/// What happens to a chosen token next.
#[derive(Debug, Clone, Copy)]
enum Next {
    /// Nothing is chosen: the prompt is still to come.
    Prompt,
    /// Chosen, to be shown.
    Show(TokenId),
    /// Shown, to be put into the context before the next choice.
    Extend(TokenId),
}

/// Writes a text token by token. Allocates nothing after [`Generator::new`].
pub struct Generator<'g, 'm, 'a> {
    session: &'g mut Session<'m, 'a>,
    tokenizer: Tokenizer<'a>,
    sampler: Sampler,
    decoder: Decoder,
    /// Takes over where a prompt has text, which the output continues.
    continuing: Option<Decoder>,
    stops: Stops,
    limits: Limits,
    next: Next,
    n_generated: usize,
    /// The text in the context, with the token that is to be put into it next.
    tokens: Vec<TokenId>,
    n_shifts: usize,
    reason: Option<StopReason>,
}

impl<'g, 'm, 'a> Generator<'g, 'm, 'a> {
    /// A generator that writes into `session`.
    pub fn new(
        session: &'g mut Session<'m, 'a>,
        tokenizer: Tokenizer<'a>,
        sampler: Sampler,
        mut limits: Limits,
    ) -> Self {
        let stops = Stops::new(core::mem::take(&mut limits.stops), Decoder::longest_piece(&tokenizer));
        Generator {
            tokens: Vec::with_capacity(session.context_length() + 1),
            session,
            tokenizer,
            sampler,
            decoder: Decoder::new(&tokenizer),
            continuing: Some(Decoder::continuing(&tokenizer)),
            stops,
            limits,
            next: Next::Prompt,
            n_generated: 0,
            n_shifts: 0,
            reason: None,
        }
    }

    /// Puts `prompt` into the context, `batch` tokens at a time as long as `go_on` says so, and chooses the first
    /// token. The session may hold a beginning of the prompt, which is not computed again; at least one token must be
    /// left.
    pub fn prefill(&mut self, prompt: &[TokenId], batch: usize, go_on: &mut dyn FnMut() -> bool) -> Result<()> {
        self.prefill_watched(prompt, batch, go_on, &mut ())
    }

    /// [`prefill`](Self::prefill), showing `watcher` how the first token is chosen.
    pub fn prefill_watched(
        &mut self,
        prompt: &[TokenId],
        batch: usize,
        go_on: &mut dyn FnMut() -> bool,
        watcher: &mut impl Watcher,
    ) -> Result<()> {
        let held = self.session.position();
        if held >= prompt.len() {
            return Err(Error::usage("a prompt needs at least one token to compute").field("prompt"));
        }
        prompt[..held].iter().for_each(|token| self.sampler.accept(*token));
        self.tokens.clear();
        self.tokens.extend_from_slice(prompt);
        let has_text = prompt.iter().any(|token| self.tokenizer.kind(*token) != TokenKind::Control);
        if let Some(decoder) = self.continuing.take_if(|_| has_text) {
            self.decoder = decoder;
        }
        let n_batches = (prompt.len() - held).div_ceil(batch.max(1));
        for (i, tokens) in prompt[held..].chunks(batch.max(1)).enumerate() {
            if !go_on() {
                self.interrupt();
                return Ok(());
            }
            tokens.iter().for_each(|token| self.sampler.accept(*token));
            let logits = self.session.extend(tokens)?;
            if i + 1 == n_batches {
                self.next = Next::Show(self.sampler.sample_watched(logits, watcher)?);
            }
        }
        if self.limits.n_tokens == Some(0) {
            self.reason = Some(StopReason::Length);
        }
        Ok(())
    }

    /// The next piece of text; `None` once the text has ended. Computes one token at most.
    pub fn next_piece(&mut self) -> Result<Option<Piece<'_>>> {
        self.next_piece_watched(&mut ())
    }

    /// [`next_piece`](Self::next_piece), showing `watcher` how a token is chosen; that of the first piece was chosen when the
    /// prompt was computed.
    pub fn next_piece_watched(&mut self, watcher: &mut impl Watcher) -> Result<Option<Piece<'_>>> {
        if self.reason.is_some() {
            return Ok(self.rest());
        }
        let token = match self.next {
            Next::Prompt => return Err(Error::usage("no prompt was given").field("prompt")),
            Next::Show(token) => token,
            Next::Extend(token) => {
                let logits = match self.limits.on_full {
                    OnFull::Shift { keep } if self.session.is_full() => {
                        self.n_shifts += 1;
                        shift(self.session, &mut self.tokens, keep)?
                    }
                    _ => self.session.extend(&[token])?,
                };
                self.sampler.sample_watched(logits, watcher)?
            }
        };
        self.next = Next::Extend(token);
        if self.limits.end_tokens.contains(&token) {
            self.reason = Some(StopReason::EndOfText);
            return Ok(self.rest());
        }
        Ok(Some(self.show(token)))
    }

    /// Why the text ended, once it has.
    pub fn stop_reason(&self) -> Option<StopReason> {
        self.reason
    }

    /// The number of tokens written so far; one that ended the text is not counted.
    pub fn n_generated(&self) -> usize {
        self.n_generated
    }

    /// The text in the context, from its first token to the last that was shown, which is not computed yet.
    pub fn tokens(&self) -> &[TokenId] {
        &self.tokens
    }

    /// How often the context was full and went on with a part of the text.
    pub fn n_shifts(&self) -> usize {
        self.n_shifts
    }

    /// The session, to save it.
    pub fn session(&mut self) -> &mut Session<'m, 'a> {
        self.session
    }

    /// Ends the text where it is; [`Generator::next_piece`] gives what was held back.
    pub fn interrupt(&mut self) {
        self.reason.get_or_insert(StopReason::Interrupted);
    }

    fn show(&mut self, token: TokenId) -> Piece<'_> {
        self.sampler.accept(token);
        self.tokens.push(token);
        self.n_generated += 1;
        self.stops.push(self.decoder.push(&self.tokenizer, token));
        self.reason = if self.stops.found() {
            Some(StopReason::StopString)
        } else if self.limits.n_tokens.is_some_and(|n| self.n_generated >= n) {
            Some(StopReason::Length)
        } else if self.limits.on_full == OnFull::Stop && self.session.is_full() {
            Some(StopReason::ContextFull)
        } else {
            None
        };
        Piece { token: Some(token), text: self.stops.ready() }
    }

    /// What was held back, once.
    fn rest(&mut self) -> Option<Piece<'_>> {
        let text = self.stops.finish(self.decoder.finish());
        (!text.is_empty()).then_some(Piece { token: None, text })
    }
}

/// Takes the earlier half of `tokens` after the first `keep` out and computes what follows anew; the logits after it.
fn shift<'s>(session: &'s mut Session<'_, '_>, tokens: &mut Vec<TokenId>, keep: usize) -> Result<&'s [f32]> {
    let keep = keep.min(session.context_length() / 2);
    let half = (tokens.len() - keep).div_ceil(2);
    tokens.drain(keep..keep + half);
    session.rewind(keep);
    session.extend(&tokens[keep..])
}
