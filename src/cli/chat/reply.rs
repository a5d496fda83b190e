//! One reply of a conversation: what the model reads, what it writes, what is told of it.

use super::super::args::Full;
use super::super::constraint;
use super::super::keeping;
use super::super::output::{Outcome, note};
use super::super::writing;
use super::Chatting;
use super::calling::{Parts, turn_of};
use super::stats::Stats;
use whit::TokenId;
use whit::error::{Error, Result};
use whit::generate::guess::Guesses;
use whit::generate::{StopReason, StopRules, Writer};
use whit::os::{clock::Stopwatch, interrupt, terminal};
use whit::sampler::Sampler;

impl Chatting<'_> {
    /// Lets the model reply to the last turn; whether it has.
    pub(super) fn reply(&mut self) -> Outcome<bool> {
        let tokens = match self.prompt() {
            Ok(tokens) => tokens,
            Err(error) => {
                self.failed(error);
                return Ok(false);
            }
        };
        match self.answer(&tokens) {
            Ok(replied) => Ok(replied),
            failed => self.source.if_unchanged(failed),
        }
    }

    /// Writes the reply to `tokens`; whether there is one. Whoever sees its end may rely on it: it is kept.
    fn answer(&mut self, tokens: &[TokenId]) -> Outcome<bool> {
        let _typing = terminal::hide_typing();
        let clock = Stopwatch::start();
        self.hold(tokens)?;
        let n_computed = tokens.len() - self.session.position();
        let mut options = self.options.clone();
        // Each reply draws its own numbers, the same ones after a restart.
        let n_replies = self.conversation.n_replies() as u64;
        options.seed = options.seed.wrapping_add((n_replies << 32) + self.n_again);
        let sampler = Sampler::new(options, self.model.config().vocab_size)?;
        let n_tokens = self.args.n_tokens.and_then(|n| usize::try_from(n).ok());
        let on_full = keeping::on_full(&self.args.keeping, self.n_system(tokens)?, self.session.context_length())?;
        let end_tokens = [self.conversation.end_tokens(), &self.ends].concat();
        let (stops, banned) = (self.args.stop.clone(), self.args.sampling.banned_string.clone());
        let rules = StopRules { n_tokens, stops, end_tokens, banned, on_full };
        let mut writer = Writer::new(self.model, tokens, self.session.context_length(), sampler, rules)?;
        self.rules.apply(&mut writer, tokens)?;
        let cache = self.cache.as_ref();
        if let Some(guesses) = &mut self.guesses {
            guesses.begin(tokens, &mut || !interrupt::requested())?;
        }
        writing::prefill(&mut writer, &mut self.session, cache, tokens, self.args.quiet, &mut ())?;
        let prefill_seconds = clock.seconds();
        let clock = Stopwatch::start();
        let mut parts =
            Parts::new(self.rules.reader(tokens).number_from(self.conversation.n_calls()), self.args.calling.thoughts);
        let guesses = self.guesses.as_mut();
        writing::write(&mut writer, &mut self.session, cache, tokens, guesses, &mut (), &mut |(), written| {
            parts.push(written.text, &mut self.out)
        })?;
        parts.finish(&mut self.out)?;
        self.source.check_unchanged()?;
        let reason = writer.stop_reason().unwrap_or(StopReason::Length);
        let n_generated = writer.n_generated();
        let n_prompt = tokens.len();
        self.stats = Some(Stats {
            n_prompt,
            n_computed,
            prefill_seconds,
            n_generated,
            decode_seconds: clock.seconds(),
            reason,
            guesses: self.guesses.as_ref().map(Guesses::tally),
        });
        let replied = reason != StopReason::Interrupted || !parts.whole.is_empty();
        if replied {
            self.conversation.add_reply(turn_of(&parts, writer.written(), self.conversation.takes_thoughts()));
            self.keep_or_tell();
        }
        // Lines of calls have ended already.
        if parts.calls.is_empty() {
            self.out.line(if self.at_terminal { "\n" } else { "" })?;
        }
        self.out.flush()?;
        self.tell_end(reason);
        self.ask_for_results();
        // Words may end anywhere.
        if reason != StopReason::Interrupted
            && !parts.is_quoted()
            && let Err(error) = constraint::cut_short(&mut writer)
        {
            self.failed(error);
        }
        interrupt::handled();
        Ok(replied)
    }

    /// The tokens of all turns, with room for a reply; old turns go where the context would be full, if they may.
    fn prompt(&mut self) -> Result<Vec<TokenId>> {
        let context_length = self.session.context_length();
        let mut n_dropped = 0;
        loop {
            let tokens = self.conversation.tokens()?;
            let most = if n_dropped > 0 { context_length / 2 } else { context_length - 1 };
            if tokens.len() <= most {
                if n_dropped > 0 {
                    note(format_args!(
                        "whit: the context is full; the model no longer sees the first {n_dropped} turns"
                    ));
                }
                return Ok(tokens);
            }
            let may_forget = self.args.keeping.on_full == Full::Shift;
            if !(may_forget && self.conversation.forget_first()) {
                let message = format!("{} tokens leave no room in a context of {context_length}", tokens.len());
                let error = Error::usage(message).field("conversation");
                return Err(error.hint("/undo, /reset, a longer --ctx, or --on-full shift"));
            }
            n_dropped += 2;
        }
    }

    /// How many of `tokens` the system prompt takes, as far as it stands at the beginning.
    fn n_system(&self, tokens: &[TokenId]) -> Result<usize> {
        Ok(common(&self.conversation.system_tokens()?, tokens))
    }

    /// Has the session hold as much of `tokens` as it can without computing, all but one at most.
    fn hold(&mut self, tokens: &[TokenId]) -> Result<()> {
        let n_before = self.session.position();
        let n = self.session.state_mut().hold(tokens);
        if self.args.verbose && n < n_before {
            note(format_args!("whit: {n} of {n_before} positions are used again: from there on the text is another"));
        }
        if let Some(cache) = self.cache.as_ref().filter(|_| n == 0) {
            writing::restore(cache, &mut self.session, tokens, self.args.verbose)?;
        }
        Ok(())
    }

    pub(super) fn was_interrupted(&self) -> bool {
        self.stats.as_ref().is_some_and(|stats| stats.reason == StopReason::Interrupted)
    }

    /// Says at a terminal what is to be typed next, where functions were called.
    fn ask_for_results(&self) {
        let names: Vec<&str> = self.conversation.open_calls().iter().map(|call| call.name.as_str()).collect();
        if self.at_terminal && !names.is_empty() {
            note(format_args!("whit: a line for what each of these gives: {}", names.join(", ")));
        }
    }

    fn tell_end(&self, reason: StopReason) {
        match reason {
            StopReason::Interrupted => note(format_args!("whit: stopped")),
            StopReason::ContextFull => {
                let n = self.session.context_length();
                note(format_args!("whit: the context of {n} tokens is full; see /reset, /undo and --on-full"));
            }
            _ => {}
        }
        if self.args.verbose {
            self.tell_stats();
        } else if let Some(stats) = self.stats.as_ref().filter(|_| !self.args.quiet) {
            let rate = stats.n_generated.saturating_sub(1) as f64 / stats.decode_seconds;
            let rate = if rate > 0.0 { format!(", {rate:.1}/s") } else { String::new() };
            let seed = if self.is_alone { format!("; seed {}", self.options.seed) } else { String::new() };
            if self.at_terminal || self.is_alone {
                note(format_args!("whit: {} tokens{rate}{seed}", stats.n_generated));
            }
        }
    }
}

/// How many tokens two texts have in common at their beginnings.
fn common(a: &[TokenId], b: &[TokenId]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
