//! How a token is chosen: the distribution after every stage of the sampler chain, and the draw.

use super::distribution::{Distribution, standing};
use crate::sampler::{Candidates, SamplerOptions, Stage, Watcher};
use crate::token::TokenId;
use core::ops::Range;
use std::collections::HashMap;

/// A distribution after a stage of the chain.
#[derive(Debug, Clone, PartialEq)]
pub struct StageDistribution {
    /// The stage.
    pub stage: Stage,
    /// What it left over.
    pub distribution: Distribution,
    /// The probability that the token has here which is drawn in the end.
    pub chosen: f64,
    /// The probability here of each token in the top of the model's own distribution; `None` of one that is gone.
    pub of_top: Vec<Option<f64>>,
}

/// A token that was chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// The token.
    pub token: TokenId,
    /// Its rank among all tokens before the chain, 1 being the most probable.
    pub rank: usize,
    /// Every stage that is switched on, the model's own distribution first.
    pub stages: Vec<StageDistribution>,
    /// The number that was drawn, in [0, 1); `None` at temperature 0, where nothing is drawn.
    pub uniform: Option<f64>,
    /// The token's part of [0, 1) after the last stage, the candidates laid end to end from the best on.
    pub part: Range<f64>,
    /// The candidates that the draw chose from.
    pub n_left: usize,
    struck: Option<(usize, f64)>,
}

impl Choice {
    /// The model's own distribution.
    pub fn first(&self) -> &StageDistribution {
        &self.stages[0]
    }

    /// What the draw chose from.
    pub fn last(&self) -> &StageDistribution {
        &self.stages[self.stages.len() - 1]
    }

    /// What a constraint struck out, if there is one: how many tokens, and their probability by the model.
    pub fn struck(&self) -> Option<(usize, f64)> {
        self.struck
    }
}

/// Records the choice of each token.
#[derive(Debug, Clone)]
pub struct Recorder {
    options: SamplerOptions,
    n_top: usize,
    /// Logits of the tokens that a stage has left, of each stage that is switched on.
    stages: Vec<(Stage, Vec<(TokenId, f64)>)>,
    logits: Vec<f32>,
    /// What the draw chooses from.
    left: Vec<(TokenId, f64)>,
    choice: Option<Choice>,
}

impl Recorder {
    /// A recorder of a chain with these `options`, that keeps the `n_top` most probable tokens of each stage.
    pub fn new(options: SamplerOptions, n_top: usize) -> Self {
        Recorder { options, n_top, stages: Vec::new(), logits: Vec::new(), left: Vec::new(), choice: None }
    }

    /// The last choice, if there was one since this was asked.
    pub fn take(&mut self) -> Option<Choice> {
        self.choice.take()
    }

    /// The tokens that the model knows and a constraint does not leave: how many, and their probability.
    fn struck(&self) -> Option<(usize, f64)> {
        let left = |stage| self.stages.iter().find(|(of, _)| *of == stage).map(|(_, left)| left);
        let (all, legal) = (left(Stage::Logits)?, left(Stage::Constraint)?);
        let best = all.iter().map(|(_, logit)| *logit).fold(f64::NEG_INFINITY, f64::max);
        let mass = |of: &[(TokenId, f64)]| of.iter().map(|(_, logit)| (logit - best).exp()).sum::<f64>();
        Some((all.len() - legal.len(), (1.0 - mass(legal) / mass(all)).max(0.0)))
    }

    fn keep(&mut self, stage: Stage, left: impl Iterator<Item = (TokenId, f64)>) {
        if stage.is_on(&self.options) {
            self.stages.push((stage, left.filter(|(_, logit)| *logit > f64::NEG_INFINITY).collect()));
        }
    }
}

impl Watcher for Recorder {
    fn logits(&mut self, stage: Stage, logits: &[f32]) {
        if stage == Stage::Logits {
            self.stages.clear();
            self.logits.clear();
            self.logits.extend_from_slice(logits);
        }
        self.keep(stage, (0..).zip(logits.iter().map(|logit| *logit as f64)));
    }

    fn candidates(&mut self, stage: Stage, candidates: &Candidates) {
        self.keep(stage, candidates.items().iter().map(|c| (c.id, c.logit as f64)));
    }

    fn left(&mut self, candidates: &Candidates) {
        self.left.clear();
        self.left.extend(candidates.items().iter().map(|c| (c.id, c.logit as f64)));
    }

    fn drawn(&mut self, uniform: f64, token: TokenId) {
        let n_top = self.n_top;
        let struck = self.struck();
        let mut top: Vec<TokenId> = Vec::new();
        let stages = self.stages.drain(..).map(|(stage, left)| {
            let shares = Shares::of(&left);
            let distribution = Distribution::softmax(left, n_top);
            if stage == Stage::Logits {
                top.extend(distribution.top.iter().map(|ranked| ranked.id));
            }
            StageDistribution {
                stage,
                chosen: shares.get(token).unwrap_or(0.0),
                of_top: top.iter().map(|id| shares.get(*id)).collect(),
                distribution,
            }
        });
        let stages = stages.collect();
        self.choice = Some(Choice {
            token,
            rank: standing(&self.logits, token).map_or(0, |(rank, _)| rank),
            stages,
            uniform: (self.options.temperature > 0.0).then_some(uniform),
            part: part_of(&self.left, token),
            n_left: self.left.len(),
            struck,
        });
    }
}

/// The softmax of some logits, by token.
struct Shares(HashMap<TokenId, f64>);

impl Shares {
    fn of(logits: &[(TokenId, f64)]) -> Self {
        let best = logits.iter().map(|(_, logit)| *logit).fold(f64::NEG_INFINITY, f64::max);
        let mass: f64 = logits.iter().map(|(_, logit)| (logit - best).exp()).sum();
        Shares(logits.iter().map(|(id, logit)| (*id, (logit - best).exp() / mass)).collect())
    }

    fn get(&self, token: TokenId) -> Option<f64> {
        self.0.get(&token).copied()
    }
}

/// The part of [0, 1) that `token` has if the tokens of `logits` are laid end to end, best first, equal ones by id.
fn part_of(logits: &[(TokenId, f64)], token: TokenId) -> Range<f64> {
    let Some(&(_, own)) = logits.iter().find(|(id, _)| *id == token) else { return 0.0..0.0 };
    let best = logits.iter().map(|(_, logit)| *logit).fold(f64::NEG_INFINITY, f64::max);
    let weight = |logit: f64| (logit - best).exp();
    let before = |(id, logit): &&(TokenId, f64)| *logit > own || (*logit == own && *id < token);
    let mass: f64 = logits.iter().map(|(_, logit)| weight(*logit)).sum();
    let start =
        logits.iter().filter(before).map(|(_, logit)| weight(*logit)).fold(0.0, |sum, weight| sum + weight) / mass;
    start..start + weight(own) / mass
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampler::{Mask, Rng, Sampler};

    fn choices(options: SamplerOptions, n: usize) -> Vec<Choice> {
        let mut rng = Rng::new(4);
        let mut sampler = Sampler::new(options.clone(), 200).expect("options");
        let mut recorder = Recorder::new(options, 20);
        (0..n)
            .map(|_| {
                let logits: Vec<f32> = (0..200).map(|_| (rng.uniform() * 10.0) as f32).collect();
                let token = sampler.sample_watched(&logits, &mut recorder).expect("a token");
                sampler.accept(token);
                let choice = recorder.take().expect("recorded");
                assert_eq!(choice.token, token);
                choice
            })
            .collect()
    }

    #[test]
    fn the_drawn_number_lies_in_the_part_of_the_chosen_token() {
        let options =
            SamplerOptions { temperature: 0.7, top_k: 50, top_p: 0.9, min_p: 0.02, ..SamplerOptions::default() };
        for choice in choices(options, 200) {
            let names: Vec<&str> = choice.stages.iter().map(|stage| stage.stage.name()).collect();
            assert_eq!(names, ["logits", "temperature", "top-k", "top-p", "min-p"]);
            let uniform = choice.uniform.expect("drawn");
            // Weights are f32 in the chain.
            assert!(choice.part.start - 1e-6 <= uniform && uniform <= choice.part.end + 1e-6, "{choice:?}");
            assert!((choice.last().chosen - (choice.part.end - choice.part.start)).abs() < 1e-12);
            assert_eq!(choice.n_left, choice.last().distribution.n);
            assert!(choice.stages.windows(2).all(|w| w[0].distribution.n >= w[1].distribution.n));
            assert_eq!(choice.first().distribution.n, 200);
        }
    }

    #[test]
    fn only_stages_that_are_on_are_told_and_penalties_move_the_rank() {
        let greedy = choices(SamplerOptions { temperature: 0.0, ..SamplerOptions::default() }, 3);
        for choice in &greedy {
            assert_eq!((choice.rank, choice.uniform, choice.last().chosen), (1, None, 1.0));
        }
        let cold = &choices(SamplerOptions { temperature: 0.01, ..SamplerOptions::default() }, 1)[0];
        assert!(cold.n_left < cold.last().distribution.n, "weights too small for an f32 are no candidates");
        let plain = &choices(SamplerOptions::default(), 1)[0];
        assert_eq!(plain.stages.len(), 1);
        let banned = plain.first().distribution.top[0].id;
        let options = SamplerOptions {
            temperature: 0.0,
            logit_bias: vec![(banned, f32::NEG_INFINITY)],
            ..SamplerOptions::default()
        };
        let choice = &choices(options, 1)[0];
        assert_eq!((choice.rank, choice.stages[1].stage), (2, Stage::Penalties));
        assert_eq!(choice.stages[1].distribution.n, 199);
    }
    #[test]
    fn a_constraint_tells_what_it_struck_out() {
        let mut mask = Mask::none(4);
        mask.set(2, true);
        mask.set(3, true);
        let mut sampler = Sampler::new(SamplerOptions::default(), 4).expect("options");
        let mut recorder = Recorder::new(SamplerOptions::default(), 4);
        let logits = [0.5f32, 0.25, 0.125, 0.125].map(f32::ln);
        sampler.sample_among(&logits, Some(&mask), &mut recorder).expect("a token");
        let choice = recorder.take().expect("recorded");
        assert_eq!(choice.stages.iter().map(|stage| stage.stage.name()).collect::<Vec<_>>(), ["logits", "constraint"]);
        let (n, share) = choice.struck().expect("a constraint");
        assert!(n == 2 && (share - 0.75).abs() < 1e-6, "{n} {share}");
        assert!((choice.last().chosen - 0.5).abs() < 1e-6);
        assert_eq!(choices(SamplerOptions::default(), 1)[0].struck(), None);
    }
}
