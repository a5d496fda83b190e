//! Receipts: all that a text depends on, what it became, and a hash of the logits from which its tokens were drawn. Whoever has the
//! model can write the text again, on any machine, and find the first token that is another one.

mod form;

use super::thinking::Think;
use super::tools::ReplyRules;
use crate::error::{Error, Kind, Result};
use crate::generate::grammar::{Grammars, Rule};
use crate::generate::{OnFull, StopReason, StopRules, Writer};
use crate::model::{Model, Session, SessionOptions};
use crate::ops::{KvDtype, NUMERICS_VERSION};
use crate::sampler::{Sampler, SamplerOptions, Stage, Watcher};
use crate::token::TokenId;
use std::sync::Arc;

/// The version of the form in which receipts are written.
pub const RECEIPT_VERSION: u64 = 1;

/// What a text depends on, besides its model and its prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct Terms {
    /// How tokens were chosen.
    pub sampling: SamplerOptions,
    /// The type of cached keys and values.
    pub kv: KvDtype,
    /// Positions of the context.
    pub context_length: usize,
    /// At most so many tokens.
    pub n_tokens: Option<usize>,
    /// Strings that end the text.
    pub stops: Vec<String>,
    /// Tokens that end it.
    pub end_tokens: Vec<TokenId>,
    /// What it has to be; of a reply, behind its thoughts.
    pub rule: Option<Rule>,
    /// The text is a reply in a conversation.
    pub reply: Option<ReplyTerms>,
}

/// What a reply depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplyTerms {
    /// The mark that opens thoughts, if the model knows any.
    pub thoughts: Option<String>,
    /// How much was thought.
    pub think: Think,
}

/// A receipt.
#[derive(Debug, Clone, PartialEq)]
pub struct Receipt {
    /// The hash of the model's content.
    pub model: [u8; 32],
    /// The version of the arithmetic.
    pub numerics: u32,
    /// What the text depends on.
    pub terms: Terms,
    /// The tokens before the text.
    pub prompt: Vec<TokenId>,
    /// Its own.
    pub output: Vec<TokenId>,
    /// Why it ended.
    pub reason: StopReason,
    /// BLAKE3 of all logits from which a token was drawn, in their order: 32-bit floats, the lowest byte first.
    pub logits: [u8; 32],
}

/// Hashes the logits from which tokens are drawn.
#[derive(Debug, Clone, Default)]
pub struct Evidence(blake3::Hasher);

impl Evidence {
    /// The hash of all logits so far.
    pub fn hash(&self) -> [u8; 32] {
        *self.0.finalize().as_bytes()
    }
}

impl Watcher for Evidence {
    fn logits(&mut self, stage: Stage, logits: &[f32]) {
        if stage == Stage::Logits {
            for part in logits.chunks(256) {
                let mut bytes = [0; 1024];
                for (bytes, logit) in bytes.chunks_exact_mut(4).zip(part) {
                    bytes.copy_from_slice(&logit.to_le_bytes());
                }
                self.0.update(&bytes[..4 * part.len()]);
            }
        }
    }
}

/// Where a text is not that of its receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    /// A token is another one, or only one of both texts has it.
    Token {
        /// Its place in the text, the first being 0.
        place: usize,
        /// That of the receipt.
        expected: Option<TokenId>,
        /// That of the text.
        got: Option<TokenId>,
    },
    /// All tokens are the same, and one of the texts ended for another reason.
    Reason {
        /// That of the receipt.
        expected: StopReason,
        /// That of the text.
        got: StopReason,
    },
    /// Tokens and end are the same, and the logits are not.
    Logits,
}

impl Receipt {
    /// The receipt of a text of `model` before its first token.
    pub fn begin(model: &Model, terms: Terms, prompt: &[TokenId]) -> Receipt {
        Receipt {
            model: model.content_hash(),
            numerics: NUMERICS_VERSION,
            terms,
            prompt: prompt.to_vec(),
            output: Vec::new(),
            reason: StopReason::Length,
            logits: Evidence::default().hash(),
        }
    }

    /// Fails where `model` is another one than that of the receipt, or where this program computes otherwise.
    pub fn check(&self, model: &Model) -> Result<()> {
        if self.model != model.content_hash() {
            let [expected, got] =
                [self.model, model.content_hash()].map(|hash| blake3::Hash::from_bytes(hash).to_hex());
            let message = format!("it is of the model with content {expected}, and this one has {got}");
            return Err(Error::data(message).field("model"));
        }
        if self.numerics != NUMERICS_VERSION {
            let message =
                format!("it was computed with numerics {}, this program has {NUMERICS_VERSION}", self.numerics);
            let error = Error::new(Kind::Unavailable, message).field("numerics");
            return Err(error.hint("the program that wrote it, or one as old, can verify it"));
        }
        Ok(())
    }

    /// The session in which the text is written again, `batch` tokens of its prompt at a time.
    pub fn session_options(&self, batch: usize) -> SessionOptions {
        SessionOptions {
            context_length: self.terms.context_length,
            kv: self.terms.kv,
            batch,
            ..SessionOptions::default()
        }
    }

    /// Writes the text again in `session`, `batch` tokens of its prompt at a time, and compares it. `step` is given the tokens written
    /// so far, before each, and ends the work where it returns false. `None` where the text is that of the receipt.
    ///
    /// Fails where the receipt says what no text can have.
    pub fn replay(
        &self,
        session: &mut Session,
        batch: usize,
        step: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Option<Difference>> {
        let model = Arc::clone(session.model());
        let mut writer = self.writer(&model)?;
        let mut evidence = Evidence::default();
        let mut n = 0;
        let stopped = || Error::new(Kind::Interrupted, "stopped before all was compared");
        session.rewind(0);
        let mut is_wanted = true;
        let mut go_on = |_: &mut Session| {
            is_wanted = step(0);
            is_wanted
        };
        writer.prefill(session, batch, &mut go_on, &mut evidence)?;
        if !is_wanted {
            return Err(stopped());
        }
        loop {
            if !step(n) {
                return Err(stopped());
            }
            let Some(piece) = writer.next_piece(session, &mut evidence)? else { break };
            let Some(got) = piece.token else { continue };
            let expected = self.output.get(n).copied();
            if expected != Some(got) {
                return Ok(Some(Difference::Token { place: n, expected, got: Some(got) }));
            }
            n += 1;
        }
        let reason = writer.stop_reason().unwrap_or(StopReason::Interrupted);
        Ok(match self.output.get(n) {
            Some(expected) => Some(Difference::Token { place: n, expected: Some(*expected), got: None }),
            None if reason != self.reason => Some(Difference::Reason { expected: self.reason, got: reason }),
            None if evidence.hash() != self.logits => Some(Difference::Logits),
            None => None,
        })
    }

    fn writer(&self, model: &Arc<Model>) -> Result<Writer> {
        let Terms { sampling, context_length, n_tokens, stops, end_tokens, rule, reply, .. } = &self.terms;
        let vocab_size = model.config().vocab_size;
        let all = || self.prompt.iter().chain(&self.output).chain(end_tokens);
        if let Some(token) = all().find(|token| **token as usize >= vocab_size) {
            let message = format!("token {token} is outside the vocabulary of {vocab_size}");
            return Err(Error::data(message).field("receipt"));
        }
        let sampler = Sampler::new(sampling.clone(), vocab_size)?;
        let rules = StopRules {
            n_tokens: *n_tokens,
            stops: stops.clone(),
            end_tokens: end_tokens.clone(),
            banned: Vec::new(),
            on_full: OnFull::Stop,
        };
        let mut writer = Writer::new(model, &self.prompt, *context_length, sampler, rules)?;
        let grammar = rule.as_ref().map(|rule| Grammars::new(model)?.compile(rule)).transpose()?;
        match (reply, grammar) {
            (Some(ReplyTerms { thoughts, think }), grammar) => {
                let rules = ReplyRules::without_tools(model, thoughts.as_deref(), *think, grammar)?;
                rules.apply(&mut writer, &self.prompt)?;
            }
            (None, Some(grammar)) => writer.keep_to(grammar.begin()?)?,
            (None, None) => {}
        }
        Ok(writer)
    }
}
