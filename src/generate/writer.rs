//! The writer of one text: a machine that says which tokens it wants computed, takes the logits after them, and yields pieces
//! of text. Whoever has a model's logits can drive it: a command, a server with many texts, a binding, a guess to be verified.

use super::bans::{Back, Bans};
use super::constraint::{Constraint, Guide};
use super::{OnFull, Piece, StopReason, StopRules, Stops};
use crate::error::{Error, Kind, Remedy, Result};
use crate::model::{Model, Session};
use crate::sampler::{Sampler, Watcher};
use crate::token::TokenId;
use crate::tokenizer::{Decoder, TokenKind, Tokenizer};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// What a text waits for.
#[derive(Debug, Clone, Copy)]
enum Next {
    /// The logits after all of its tokens.
    Logits,
    /// A token is chosen and comes with the next piece.
    Piece(TokenId),
}

/// Writes a text token by token. Allocates nothing after [`Writer::new`], but where strings are banned or under a constraint.
pub struct Writer {
    model: Arc<Model>,
    sampler: Sampler,
    decoder: Decoder,
    bans: Bans,
    stops: Stops,
    rules: StopRules,
    context_length: usize,
    next: Next,
    guide: Option<Guide>,
    /// Control tokens whose names are a part of the text.
    spelled: Vec<TokenId>,
    n_generated: usize,
    /// The text in the context, with the token that is to be put into it next.
    tokens: Vec<TokenId>,
    n_shifts: usize,
    /// The text is to end as soon as it can.
    is_interrupted: bool,
    reason: Option<StopReason>,
}

impl Writer {
    /// The writer of what comes after `prompt`, in a context of `context_length` tokens.
    ///
    /// Fails where the prompt has no token, one that is not in the vocabulary, or more than the context holds, where the model has no
    /// tokenizer, and where strings are banned of a text that goes on where the context is full.
    pub fn new(
        model: &Arc<Model>,
        prompt: &[TokenId],
        context_length: usize,
        mut sampler: Sampler,
        mut rules: StopRules,
    ) -> Result<Self> {
        let tokenizer = tokenizer(model)?;
        if prompt.is_empty() {
            return Err(Error::usage("a prompt needs at least one token").field("prompt"));
        }
        let vocab_size = model.config().vocab_size;
        if let Some(token) = prompt.iter().find(|token| **token as usize >= vocab_size) {
            let message = format!("token {token} is outside the vocabulary of {vocab_size}");
            return Err(Error::usage(message).field("prompt"));
        }
        if prompt.len() > context_length {
            let message = format!("{} tokens exceed the context of {context_length}", prompt.len());
            return Err(Error::new(Kind::Resources, message).field("prompt").remedy(Remedy::LongerContext));
        }
        if !rules.banned.is_empty() && rules.on_full != OnFull::Stop {
            let message = "a text that goes on where the context is full cannot go back";
            return Err(Error::usage(message).field("banned-string").hint("end it there, or ban nothing"));
        }
        sampler.hold(context_length + 1);
        prompt.iter().for_each(|token| sampler.accept(*token));
        // A control token has no text in which its name could be found.
        rules.end_tokens.extend(rules.stops.iter().filter_map(|stop| tokenizer.special(stop)));
        // A prompt of control tokens alone has no text that the output continues.
        let has_text = prompt.iter().any(|token| tokenizer.kind(*token) != TokenKind::Control);
        let mut tokens = Vec::with_capacity(context_length + 1);
        tokens.extend_from_slice(prompt);
        Ok(Writer {
            sampler,
            decoder: if has_text { Decoder::continuing(tokenizer) } else { Decoder::new(tokenizer) },
            bans: Bans::new(core::mem::take(&mut rules.banned), tokenizer),
            stops: Stops::new(core::mem::take(&mut rules.stops), Decoder::longest_piece(tokenizer)),
            reason: None,
            rules,
            context_length,
            next: Next::Logits,
            guide: None,
            spelled: Vec::new(),
            n_generated: 0,
            tokens,
            n_shifts: 0,
            is_interrupted: false,
            model: Arc::clone(model),
        })
    }

    /// Makes this writer, which has begun nothing yet, one of a text that `constraint` allows. The text is all that is written: also
    /// where it follows control tokens alone, a space in front is part of it.
    ///
    /// Fails where the constraint does, and where strings are banned: for them a text goes back, which a constraint cannot.
    pub fn keep_to(&mut self, constraint: Box<dyn Constraint>) -> Result<()> {
        if !self.bans.is_empty() {
            return Err(Error::usage("no string can be banned under a constraint").field("banned-string"));
        }
        let mut guide = Guide::new(constraint, &self.rules.end_tokens)?;
        if guide.is_complete() {
            self.reason = Some(StopReason::Complete);
        }
        self.guide = Some(guide);
        self.decoder = Decoder::continuing(tokenizer(&self.model)?);
        Ok(())
    }

    /// From now on the names of these control tokens, which are silent otherwise, are a part of the text.
    pub fn spell(&mut self, tokens: Vec<TokenId>) {
        self.spelled = tokens;
    }

    /// The text whose logits after its last token are wanted: [`Writer::take`] is to be given them. `None` where a piece comes
    /// first, or where the text has ended.
    ///
    /// A part of it may be held from before; where the context was full and goes on, the text is another one.
    pub fn wants(&mut self) -> Option<&[TokenId]> {
        if self.reason.is_some() || matches!(self.next, Next::Piece(_)) {
            return None;
        }
        if let OnFull::Shift { keep } = self.rules.on_full {
            let keep = keep.min(self.context_length / 2);
            // Many tokens may have come at once.
            while self.is_full() {
                self.n_shifts += 1;
                let half = (self.tokens.len() - keep).div_ceil(2);
                self.tokens.drain(keep..keep + half);
            }
        }
        Some(&self.tokens)
    }

    /// Takes the `logits` after what it [wants](Writer::wants), and chooses the next token, which comes with the next piece;
    /// `watcher` sees how.
    pub fn take(&mut self, logits: &[f32], watcher: &mut impl Watcher) -> Result<()> {
        self.sampler.strike(self.bans.struck(self.tokens.len()));
        let bans = !self.bans.is_empty();
        let no_token = |error: Error| if bans { error.hint("any token here may end a banned string") } else { error };
        let token = match &mut self.guide {
            Some(guide) => guide.choose(&mut self.sampler, logits, &self.rules.end_tokens, watcher)?,
            None => self.sampler.sample_watched(logits, watcher).map_err(no_token)?,
        };
        self.next = Next::Piece(token);
        if self.rules.n_tokens == Some(0) {
            // The prompt was computed, as somebody may wish who keeps it.
            self.reason = Some(StopReason::Length);
        }
        Ok(())
    }

    /// The piece of the token that was chosen last. `None` where logits are wanted first, or where the text has ended and all of
    /// it was given.
    pub fn piece(&mut self) -> Option<Piece<'_>> {
        if self.reason.is_some() {
            return self.rest();
        }
        let Next::Piece(token) = self.next else { return None };
        self.next = self.guide.as_mut().and_then(Guide::next).map_or(Next::Logits, Next::Piece);
        if self.rules.end_tokens.contains(&token) {
            self.reason = Some(StopReason::EndOfText);
            return self.rest();
        }
        Some(self.show(token))
    }

    /// Computes what the writer wants in `session`, `batch` tokens at a time as long as `go_on` says so, and chooses a token. The
    /// session may hold a beginning of the text, which is not computed again.
    pub fn prefill(
        &mut self,
        session: &mut Session,
        batch: usize,
        go_on: &mut dyn FnMut(&mut Session) -> bool,
        watcher: &mut impl Watcher,
    ) -> Result<()> {
        let Some(text) = self.wants() else { return Ok(()) };
        let mut held = session.state_mut().hold(text);
        while go_on(session) {
            let tokens = &text[held..];
            if tokens.len() <= batch.max(1) {
                let logits = session.extend(tokens)?;
                return self.take(logits, watcher);
            }
            session.append(&tokens[..batch.max(1)])?;
            held += batch.max(1);
        }
        self.interrupt();
        Ok(())
    }

    /// The next piece of text; `None` once the text has ended. What it needs is computed in `session`; `watcher` sees how a token
    /// is chosen, if one is.
    pub fn next_piece(&mut self, session: &mut Session, watcher: &mut impl Watcher) -> Result<Option<Piece<'_>>> {
        if let Some(text) = self.wants() {
            let held = session.state_mut().hold(text);
            let logits = session.extend(&text[held..])?;
            self.take(logits, watcher)?;
        }
        Ok(self.piece())
    }

    /// Why the text ended, once it has.
    pub fn stop_reason(&self) -> Option<StopReason> {
        self.reason
    }

    /// Whether the text, which has ended, is none that its constraint allows: it was ended before it was whole.
    pub fn is_cut_short(&mut self) -> bool {
        let is_whole = |guide: &mut Guide| matches!(self.next, Next::Logits) && guide.may_end();
        match self.reason {
            None | Some(StopReason::EndOfText | StopReason::Complete) => false,
            Some(StopReason::StopString) => self.guide.is_some(),
            Some(_) => self.guide.as_mut().is_some_and(|guide| !is_whole(guide)),
        }
    }

    /// The number of tokens written so far; one that ended the text is not counted.
    pub fn n_generated(&self) -> usize {
        self.n_generated
    }

    /// The sampler as it will choose the next token.
    #[cfg(feature = "std")]
    pub(super) fn sampler(&self) -> &Sampler {
        &self.sampler
    }

    /// Tokens that may be written until the asked number of them is reached.
    #[cfg(feature = "std")]
    pub(super) fn n_left(&self) -> usize {
        self.rules.n_tokens.map_or(usize::MAX, |n| n.saturating_sub(self.n_generated))
    }

    /// The text in the context, from its first token to the last that was shown, which may not be computed yet.
    pub fn tokens(&self) -> &[TokenId] {
        &self.tokens
    }

    /// The tokens of the text that was written. None where they are not those of the text: after a stop string they say more
    /// than it, and where the context was full and went on, not all of them are there.
    pub fn written(&self) -> &[TokenId] {
        let is_whole = self.n_shifts == 0 && self.reason != Some(StopReason::StopString);
        &self.tokens[self.tokens.len() - if is_whole { self.n_generated } else { 0 }..]
    }

    /// How often the context was full and went on with a part of the text.
    pub fn n_shifts(&self) -> usize {
        self.n_shifts
    }

    /// Ends the text where it is, or with the character of which a part is written; [`Writer::piece`] gives what was held back.
    pub fn interrupt(&mut self) {
        self.is_interrupted = true;
        if !self.decoder.is_amid_character() {
            self.reason.get_or_insert(StopReason::Interrupted);
        }
    }

    /// There is a token for which the context has no position.
    fn is_full(&self) -> bool {
        self.n_generated > 0 && self.tokens.len() > self.context_length
    }

    fn show(&mut self, token: TokenId) -> Piece<'_> {
        self.sampler.accept(token);
        self.tokens.push(token);
        self.n_generated += 1;
        if !self.say(token) {
            return Piece { token: Some(token), text: "" };
        }
        self.reason = if self.stops.found() {
            Some(StopReason::StopString)
        } else if matches!(self.next, Next::Logits) && self.guide.as_mut().is_some_and(Guide::is_complete) {
            Some(StopReason::Complete)
        } else if self.rules.n_tokens.is_some_and(|n| self.n_generated >= n) {
            Some(StopReason::Length)
        } else if self.rules.on_full == OnFull::Stop && self.is_full() {
            Some(StopReason::ContextFull)
        } else if self.is_interrupted && !self.decoder.is_amid_character() {
            Some(StopReason::Interrupted)
        } else {
            None
        };
        Piece { token: Some(token), text: self.stops.ready() }
    }

    /// Adds the text of `token`, which was added last; false where it makes a banned string complete, and the text goes back.
    fn say(&mut self, token: TokenId) -> bool {
        let Some(tokenizer) = self.model.tokenizer() else { return true };
        let mark = self.decoder.mark();
        let piece = match self.spelled.contains(&token) {
            true => self.decoder.push_name(tokenizer, token),
            false => self.decoder.push(tokenizer, token),
        };
        if self.bans.is_empty() {
            self.stops.push(piece);
            return true;
        }
        if let Some(Back { n_tokens, decoder }) = self.bans.push(token, self.tokens.len() - 1, mark, piece) {
            self.decoder.rewind(decoder);
            self.tokens.truncate(self.tokens.len() - n_tokens);
            self.n_generated -= n_tokens;
            self.sampler.look_back_on(&self.tokens);
            return false;
        }
        let stops = &mut self.stops;
        self.bans.release(|text| {
            stops.push(text);
        });
        true
    }

    /// What was held back, once.
    fn rest(&mut self) -> Option<Piece<'_>> {
        let mut held = self.bans.rest();
        let last = self.decoder.finish();
        let text = match held.is_empty() {
            true => self.stops.finish(last),
            false => {
                held.push_str(last);
                self.stops.finish(&held)
            }
        };
        (!text.is_empty()).then_some(Piece { token: None, text })
    }
}

/// The tokenizer of a model that is to write text.
pub(super) fn tokenizer(model: &Model) -> Result<&Tokenizer<'_>> {
    model.tokenizer().ok_or_else(|| Error::data("this model has no tokenizer, so no text can be generated"))
}
