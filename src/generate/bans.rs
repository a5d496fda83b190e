//! Banned strings: text is held back as long as one may begin in it, and where one is complete, the token is known with which it
//! began.

use super::breakers::contains;
use crate::token::TokenId;
use crate::tokenizer::{Decoder, DecoderMark, Tokenizer};
use alloc::string::String;
use alloc::vec::Vec;

/// The banned strings, the text that may be the beginning of one, and what was struck out.
#[derive(Debug, Clone)]
pub(super) struct Bans {
    strings: Vec<String>,
    /// Tokens that hold one by themselves, which are never drawn.
    alone: Vec<TokenId>,
    /// Text that is held back, and the tokens that it came with.
    text: String,
    tokens: Vec<Held>,
    /// Tokens that are not drawn at a place of the text as it is before that, with the place.
    struck: Vec<(usize, TokenId)>,
}

/// A token of text that is held back.
#[derive(Debug, Clone, Copy)]
struct Held {
    token: TokenId,
    /// Where in the text its own begins.
    start: usize,
    /// The decoder before it.
    decoder: DecoderMark,
}

/// How far a text goes back.
pub(super) struct Back {
    /// So many tokens are taken back.
    pub(super) n_tokens: usize,
    /// The decoder before them.
    pub(super) decoder: DecoderMark,
}

impl Bans {
    /// Watches for `strings`; empty ones are ignored.
    pub(super) fn new(mut strings: Vec<String>, tokenizer: &Tokenizer<'_>) -> Self {
        strings.retain(|string| !string.is_empty());
        let holds_one = |token: &TokenId| {
            let bytes = tokenizer.bytes(*token);
            strings.iter().any(|string| contains(bytes, string.as_bytes()))
        };
        let n_tokens = if strings.is_empty() { 0 } else { tokenizer.vocab_size() as TokenId };
        let alone = (0..n_tokens).filter(holds_one).collect();
        let longest = strings.iter().map(String::len).max().unwrap_or(0);
        let text = String::with_capacity(longest + Decoder::longest_piece(tokenizer));
        Bans { tokens: Vec::with_capacity(longest + 1), strings, alone, text, struck: Vec::new() }
    }

    /// Nothing is banned.
    pub(super) fn is_empty(&self) -> bool {
        self.strings.is_empty()
    }

    /// The tokens that must not be drawn at `place` of the text.
    pub(super) fn struck(&self, place: usize) -> impl Iterator<Item = TokenId> {
        let here = self.struck.iter().filter(move |(at, _)| *at == place).map(|(_, token)| *token);
        self.alone.iter().copied().chain(here)
    }

    /// Adds the text `piece` of `token` at `place`, before which `decoder` stood. Where a banned string is complete, the text goes back
    /// to before the token with which it began, which is struck out there.
    pub(super) fn push(&mut self, token: TokenId, place: usize, decoder: DecoderMark, piece: &str) -> Option<Back> {
        let old = self.text.len();
        self.tokens.push(Held { token, start: old, decoder });
        self.text.push_str(piece);
        let start = self.first_banned(old)?;
        let first = self.tokens.partition_point(|held| held.start <= start) - 1;
        let n_tokens = self.tokens.len() - first;
        let Held { token, start, decoder } = self.tokens[first];
        let first_place = place + 1 - n_tokens;
        // What was struck out after it was so for another text.
        self.struck.retain(|(at, _)| *at <= first_place);
        self.struck.push((first_place, token));
        self.text.truncate(start);
        self.tokens.truncate(first);
        Some(Back { n_tokens, decoder })
    }

    /// Hands over the text that is now sure not to be part of a banned string.
    pub(super) fn release(&mut self, take: impl FnOnce(&str)) {
        let n = self.text.len() - self.held();
        take(&self.text[..n]);
        self.text.drain(..n);
        // Of those that end where the held text begins, none is part of it.
        let first = self.tokens.partition_point(|held| held.start <= n).saturating_sub(1);
        let first = if self.text.is_empty() { self.tokens.len() } else { first };
        self.tokens.drain(..first);
        self.tokens.iter_mut().for_each(|held| held.start = held.start.saturating_sub(n));
    }

    /// All text that is held back, at the end.
    pub(super) fn rest(&mut self) -> String {
        self.tokens.clear();
        core::mem::take(&mut self.text)
    }

    /// Where the banned string begins that ends first, after byte `old`; of those that end at the same place the longest.
    fn first_banned(&self, old: usize) -> Option<usize> {
        let ends = self.text[old..].char_indices().map(|(at, c)| old + at + c.len_utf8());
        let longest_ending = |end: usize| {
            let head = &self.text[..end];
            let ending = self.strings.iter().filter(|string| head.ends_with(string.as_str()));
            ending.map(|string| end - string.len()).min()
        };
        ends.into_iter().find_map(longest_ending)
    }

    /// Length of the longest end of the text with which a banned string begins.
    fn held(&self) -> usize {
        let longest = self.strings.iter().map(|string| string.len() - 1).max().unwrap_or(0);
        let starts = self.text.char_indices().map(|(at, _)| at).filter(|at| self.text.len() - at <= longest);
        let may_begin = |at: &usize| self.strings.iter().any(|string| string.starts_with(&self.text[*at..]));
        starts.into_iter().find(may_begin).map_or(0, |at| self.text.len() - at)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{OnFull, StopReason, StopRules, Writer};
    use crate::compute::Compute;
    use crate::kernels;
    use crate::model::{Model, Session, SessionOptions};
    use crate::sampler::{Sampler, SamplerOptions};
    use crate::token::TokenId;
    use alloc::string::{String, ToString};
    use alloc::sync::Arc;
    use alloc::vec::Vec;

    fn model() -> Option<Arc<Model>> {
        Some(Arc::new(Model::open(crate::default_model()?).expect("the story model")))
    }

    const PROMPT: [TokenId; 4] = [425, 437, 259, 396];

    fn options(seed: u64) -> SamplerOptions {
        let temperature = if seed == 0 { 0.0 } else { 1.0 };
        SamplerOptions { seed, temperature, top_k: 40, frequency_penalty: 0.1, ..SamplerOptions::default() }
    }

    /// The text after the prompt, its pieces joined, with its tokens.
    fn written(model: &Arc<Model>, seed: u64, banned: &[&str], stops: &[&str]) -> (String, Vec<TokenId>) {
        let compute = Arc::new(Compute::new(kernels::detect(), 1).expect("a thread"));
        let session = SessionOptions { context_length: 96, batch: 16, ..SessionOptions::default() };
        let mut session = Session::new(model, &compute, session).expect("a session");
        let sampler = Sampler::new(options(seed), model.config().vocab_size).expect("options");
        let strings = |of: &[&str]| of.iter().map(|string| string.to_string()).collect();
        let rules = StopRules {
            n_tokens: Some(60),
            banned: strings(banned),
            stops: strings(stops),
            end_tokens: model.end_tokens(),
            ..StopRules::default()
        };
        let mut writer = Writer::new(model, &PROMPT, 96, sampler, rules).expect("a prompt");
        let mut text = String::new();
        while let Some(piece) = writer.next_piece(&mut session, &mut ()).expect("a piece") {
            text.push_str(piece.text);
        }
        assert_eq!(writer.tokens().len(), PROMPT.len() + writer.n_generated());
        (text, writer.tokens()[PROMPT.len()..].to_vec())
    }

    /// The text by trying: each time a banned string is complete, everything is computed anew up to where it began, and on from there.
    /// It draws the same numbers, one for each choice.
    fn by_trying(model: &Arc<Model>, seed: u64, banned: &[&str]) -> (String, Vec<TokenId>) {
        let tokenizer = model.tokenizer().expect("a tokenizer");
        let compute = Arc::new(Compute::new(kernels::detect(), 1).expect("a thread"));
        let mut sampler = Sampler::new(options(seed), model.config().vocab_size).expect("options");
        let text_of = |tokens: &[TokenId]| {
            let bytes: Vec<u8> = tokens.iter().flat_map(|token| tokenizer.bytes(*token)).copied().collect();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let mut tokens: Vec<TokenId> = Vec::new();
        let mut struck: Vec<(usize, TokenId)> = Vec::new();
        while tokens.len() < 60 {
            let session = SessionOptions { context_length: 96, ..SessionOptions::default() };
            let mut session = Session::new(model, &compute, session).expect("a session");
            let whole: Vec<TokenId> = PROMPT.into_iter().chain(tokens.iter().copied()).collect();
            let logits = session.extend(&whole).expect("room");
            sampler.look_back_on(&whole);
            let alone = (0..1024).filter(|token| banned.iter().any(|b| text_of(&[*token]).contains(b)));
            sampler.strike(alone.chain(struck.iter().filter(|(at, _)| *at == tokens.len()).map(|(_, token)| *token)));
            let token = sampler.sample(logits).expect("a token");
            if model.end_tokens().contains(&token) {
                break;
            }
            tokens.push(token);
            let text = text_of(&tokens);
            let Some(start) = banned.iter().filter_map(|b| text.find(b)).min() else { continue };
            let first = (0..tokens.len()).rfind(|n| text_of(&tokens[..*n]).len() <= start).expect("the beginning");
            struck.retain(|(at, _)| *at <= first);
            struck.push((first, tokens[first]));
            tokens.truncate(first);
        }
        (text_of(&tokens), tokens)
    }

    #[test]
    fn a_banned_string_is_written_nowhere_and_the_text_is_that_of_trying() {
        let Some(model) = model() else { return };
        let mut n_changed = 0;
        for seed in 0..12 {
            let (plain, _) = written(&model, seed, &[], &[]);
            // Words of the text itself, and a string over several of them.
            let middle: String = plain.chars().skip(12).take(9).collect();
            let banned = ["little", " was", "the", middle.as_str()];
            let got = written(&model, seed, &banned, &[]);
            assert!(banned.iter().all(|string| !got.0.contains(string)), "{got:?}");
            assert_eq!(got, by_trying(&model, seed, &banned), "seed {seed}");
            n_changed += usize::from(got.0 != plain);
            assert_eq!(written(&model, seed, &["qqqq"], &[]).0, plain, "what never comes changes nothing");
        }
        assert!(n_changed >= 10, "{n_changed}");
    }

    #[test]
    fn held_text_comes_at_the_end_and_stops_still_stop() {
        let Some(model) = model() else { return };
        let (plain, _) = written(&model, 3, &[], &[]);
        // It begins as the text ends.
        let end: String = plain.chars().skip(plain.chars().count() - 5).collect();
        assert_eq!(written(&model, 3, &[&(end + "zzz")], &[]).0, plain);
        let stop: String = plain.chars().skip(20).take(4).collect();
        let stopped = written(&model, 3, &[&(stop.clone() + "zzz")], &[&stop]).0;
        assert_eq!(stopped, plain[..plain.find(&stop).expect("it is there")]);
    }

    #[test]
    fn where_nothing_else_may_come_it_is_said_and_a_text_that_shifts_is_refused() {
        let Some(model) = model() else { return };
        let compute = Arc::new(Compute::new(kernels::detect(), 1).expect("a thread"));
        let session =
            Session::new(&model, &compute, SessionOptions { context_length: 96, ..SessionOptions::default() });
        let mut session = session.expect("a session");
        let rules = |banned: &[&str]| StopRules {
            banned: banned.iter().map(|string| string.to_string()).collect(),
            ..StopRules::default()
        };
        let bias = (0..1024).filter(|id| *id != 290).map(|id| (id, f32::NEG_INFINITY)).collect();
        let only = SamplerOptions { logit_bias: bias, ..SamplerOptions::default() };
        let sampler = Sampler::new(only.clone(), 1024).expect("options");
        let said = String::from_utf8_lossy(model.tokenizer().expect("a tokenizer").bytes(290)).repeat(2);
        let mut writer = Writer::new(&model, &PROMPT, 96, sampler.clone(), rules(&[&said])).expect("a prompt");
        let error = loop {
            if let Err(error) = writer.next_piece(&mut session, &mut ()) {
                break error.to_string();
            }
        };
        assert!(error.contains("any token here may end a banned string"), "{error}");
        writer.interrupt();
        assert_eq!(writer.stop_reason(), Some(StopReason::Interrupted));
        let shifts = StopRules { on_full: OnFull::Shift { keep: 0 }, ..rules(&["a"]) };
        let error = Writer::new(&model, &PROMPT, 96, sampler, shifts).err().expect("refused").to_string();
        assert!(error.starts_with("banned-string: "), "{error}");
    }
}
