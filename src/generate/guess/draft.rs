//! Guesses by another model of the same tokens, a smaller one.

use crate::error::{Error, Result};
use crate::model::{Model, Session};
use crate::sampler::Sampler;
use crate::token::TokenId;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// A model that guesses, with what it remembers of the text.
pub struct Draft {
    session: Session,
    /// Its logits, as many as the guessed model has.
    logits: Vec<f32>,
}

impl Draft {
    /// The model of `session` guesses what `model` writes. Fails where its tokens are others.
    pub fn new(session: Session, model: &Arc<Model>) -> Result<Self> {
        Self::check(session.model(), model)?;
        let logits = vec![f32::NEG_INFINITY; model.config().vocab_size];
        Ok(Draft { session, logits })
    }

    /// Refuses a `draft` whose tokens are not those of `model`.
    pub fn check(draft: &Model, model: &Model) -> Result<()> {
        let other = |message: String| {
            let error = Error::usage(message).field("guess");
            error.hint("a draft is a model of the same family with the same tokenizer")
        };
        let (Some(theirs), Some(ours)) = (draft.tokenizer(), model.tokenizer()) else {
            return Err(other("one of the two models has no tokenizer".into()));
        };
        let (n_theirs, n_ours) = (theirs.vocab_size(), ours.vocab_size());
        if n_theirs != n_ours {
            return Err(other(format!("the draft has {n_theirs} tokens, the model {n_ours}")));
        }
        let differs = |id: &TokenId| theirs.bytes(*id) != ours.bytes(*id) || theirs.kind(*id) != ours.kind(*id);
        match (0..n_ours as TokenId).find(differs) {
            Some(id) => Err(other(format!("token {id} of the draft is another than that of the model"))),
            None => Ok(()),
        }
    }

    /// Reads `text` up to its last tokens, as long as `go_on` says so, `batch` tokens at a time: the first guess after a long prompt
    /// then takes no longer than others.
    pub fn read(&mut self, text: &[TokenId], batch: usize, go_on: &mut dyn FnMut() -> bool) -> Result<()> {
        if !self.takes(text) || text.len() > self.session.context_length() {
            return Ok(());
        }
        let held = self.session.state_mut().hold(text);
        for tokens in text[held..text.len() - 1].chunks(batch.max(1)) {
            if !go_on() {
                return Ok(());
            }
            self.session.append(tokens)?;
        }
        Ok(())
    }

    /// Appends `n` tokens to `out` that may come after `text`, or fewer: those that `sampler`, the state of the text's own, chooses by
    /// this model.
    pub(super) fn guess(
        &mut self,
        text: &[TokenId],
        n: usize,
        mut sampler: Sampler,
        out: &mut Vec<TokenId>,
    ) -> Result<()> {
        let room = (self.session.context_length() + 1).saturating_sub(text.len());
        if !self.takes(text) || room == 0 {
            return Ok(());
        }
        let Draft { session, logits } = self;
        let held = session.state_mut().hold(text);
        let mut next = &text[held..];
        for i in 0..n.min(room) {
            let given = session.extend(next)?;
            let n_logits = given.len().min(logits.len());
            logits[..n_logits].copy_from_slice(&given[..n_logits]);
            if i == 0 {
                session.state_mut().note();
            }
            let Ok(token) = sampler.sample(logits) else { break };
            sampler.accept(token);
            out.push(token);
            if token as usize >= session.model().config().vocab_size {
                break;
            }
            next = &out[out.len() - 1..];
        }
        Ok(())
    }

    /// All tokens of `text` are some of this model.
    fn takes(&self, text: &[TokenId]) -> bool {
        let vocab_size = self.session.model().config().vocab_size;
        !text.is_empty() && text.iter().all(|token| (*token as usize) < vocab_size)
    }
}
