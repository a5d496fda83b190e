//! Where the tokens of a text stood when they were chosen, by the model's own distribution.

use super::distribution::{Distribution, Ranked, standing};
use crate::sampler::{Stage, Watcher};
use crate::token::TokenId;

/// A token that was chosen, as the model saw it before any stage of the chain.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// The token.
    pub token: TokenId,
    /// Its probability.
    pub probability: f64,
    /// How many tokens are more probable.
    pub rank: usize,
    /// The most probable tokens, best first.
    pub top: Vec<Ranked>,
    /// The number that was drawn, in [0, 1); 0 at temperature 0.
    pub uniform: f64,
}

/// Watches where each token stands that is chosen.
#[derive(Debug, Clone, Default)]
pub struct Standings {
    n_top: usize,
    /// The model's own, of the choice under way.
    logits: Vec<f32>,
    last: Option<Standing>,
}

impl Standings {
    /// With the `n_top` most probable tokens at each choice.
    pub fn new(n_top: usize) -> Self {
        Standings { n_top, ..Standings::default() }
    }

    /// The last token, if one was chosen since this was asked.
    pub fn take(&mut self) -> Option<Standing> {
        self.last.take()
    }
}

impl Watcher for Standings {
    fn logits(&mut self, stage: Stage, of_stage: &[f32]) {
        if stage == Stage::Logits {
            self.logits.clear();
            self.logits.extend_from_slice(of_stage);
        }
    }

    fn drawn(&mut self, uniform: f64, token: TokenId) {
        let (rank, probability) = standing(&self.logits, token).unwrap_or_default();
        let top = Distribution::of_logits(&self.logits, 1.0, self.n_top).top;
        self.last = Some(Standing { token, probability, rank: rank.saturating_sub(1), top, uniform });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampler::{Sampler, SamplerOptions};

    #[test]
    fn a_token_stands_where_the_model_has_it_whatever_the_chain_does() {
        let logits = [0.5f32, 0.25, 0.125, 0.125].map(f32::ln);
        let options =
            SamplerOptions { temperature: 0.0, logit_bias: vec![(0, f32::NEG_INFINITY)], ..SamplerOptions::default() };
        let mut sampler = Sampler::new(options, 4).expect("options");
        let mut standings = Standings::new(2);
        sampler.sample_watched(&logits, &mut standings).expect("a token");
        let found = standings.take().expect("a token was chosen");
        assert_eq!((found.token, found.rank, found.uniform), (1, 1, 0.0));
        assert!((found.probability - 0.25).abs() < 1e-6);
        assert_eq!(found.top.iter().map(|ranked| ranked.id).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(standings.take(), None, "once");
    }
}
