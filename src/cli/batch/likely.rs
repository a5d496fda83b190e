//! The probabilities of the tokens of an answer, where its request asks for them.

use crate::requests::logprobs;
use whit::TokenId;
use whit::generate::Listener;
use whit::inspect::{Standing, Standings};
use whit::model::Model;
use whit::sampler::{Stage, Watcher};

/// Remembers how probable the tokens of an answer were.
pub(super) struct LikelyTokens {
    /// Nothing where nobody asks.
    standings: Option<Standings>,
    /// Of each token of the text so far; `None` of one that was forced.
    tokens: Vec<Option<Standing>>,
}

impl LikelyTokens {
    /// With so many of the most probable tokens in the place of each, if that is asked for.
    pub(super) fn asked(n_top: Option<usize>) -> Self {
        LikelyTokens { standings: n_top.map(Standings::new), tokens: Vec::new() }
    }

    /// The field of an answer, as JSON: `null` where nobody asks, or where no token was chosen.
    pub(super) fn field(&self, model: &Model, is_chat: bool) -> String {
        let mut chosen = self.tokens.iter().flatten().map(|of| (of.token, of.probability, &of.top[..])).peekable();
        match chosen.peek() {
            None => "null".into(),
            Some(_) if is_chat => logprobs::of_conversation(model, chosen).to_string(),
            Some(_) => logprobs::of_completion(model, chosen).to_string(),
        }
    }
}

impl Watcher for LikelyTokens {
    fn logits(&mut self, stage: Stage, logits: &[f32]) {
        if let Some(standings) = &mut self.standings {
            standings.logits(stage, logits);
        }
    }

    fn drawn(&mut self, uniform: f64, token: TokenId) {
        if let Some(standings) = &mut self.standings {
            standings.drawn(uniform, token);
        }
    }
}

impl Listener for LikelyTokens {
    fn has(&mut self, n: usize, _token: TokenId) {
        let Some(standings) = &mut self.standings else { return };
        let last = standings.take();
        if n > self.tokens.len() {
            self.tokens.push(last);
        }
        self.tokens.truncate(n);
    }
}
