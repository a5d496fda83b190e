//! The recent tokens, counted, for the penalties.

use super::options::SamplerOptions;
use crate::token::TokenId;
use alloc::vec::Vec;

/// The last n tokens in a ring, and how often each token is in it.
#[derive(Debug, Clone)]
pub(super) struct History {
    ring: Vec<TokenId>,
    next: usize,
    filled: usize,
    counts: Vec<u32>,
}

impl History {
    /// Room for `n` tokens of `0..vocab_size`.
    pub(super) fn new(n: usize, vocab_size: usize) -> Self {
        History { ring: vec![0; n], next: 0, filled: 0, counts: vec![0; if n == 0 { 0 } else { vocab_size }] }
    }

    /// Adds `token`; the oldest one falls out of a full ring.
    pub(super) fn push(&mut self, token: TokenId) {
        if self.ring.is_empty() || token as usize >= self.counts.len() {
            return;
        }
        if self.filled == self.ring.len() {
            self.counts[self.ring[self.next] as usize] -= 1;
        } else {
            self.filled += 1;
        }
        self.counts[token as usize] += 1;
        self.ring[self.next] = token;
        self.next = (self.next + 1) % self.ring.len();
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.counts.fill(0);
        (self.next, self.filled) = (0, 0);
    }

    /// `logit` of a token that occurs `count` times: repetition, then frequency, then presence penalty.
    fn penalized(logit: f32, count: u32, options: &SamplerOptions) -> f32 {
        let repeated = if logit > 0.0 { logit / options.repeat_penalty } else { logit * options.repeat_penalty };
        repeated - count as f32 * options.frequency_penalty - options.presence_penalty
    }

    /// Penalizes the logits of the tokens in the ring.
    pub(super) fn penalize(&self, logits: &mut [f32], options: &SamplerOptions) {
        for (logit, &count) in logits.iter_mut().zip(&self.counts) {
            if count > 0 {
                *logit = Self::penalized(*logit, count, options);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_token_falls_out() {
        let mut history = History::new(3, 5);
        for token in [1, 1, 2, 3] {
            history.push(token);
        }
        assert_eq!(history.counts, [0, 1, 1, 1, 0]);
        history.clear();
        history.push(4);
        assert_eq!(history.counts, [0, 0, 0, 0, 1]);
    }

    #[test]
    fn a_long_run_is_counted_as_a_window_is() {
        let tokens: Vec<TokenId> = (0..500u32).map(|i| (i * i + i / 7) % 11).collect();
        let mut history = History::new(17, 11);
        for (i, &token) in tokens.iter().enumerate() {
            history.push(token);
            let window = &tokens[(i + 1).saturating_sub(17)..=i];
            for id in 0..11 {
                let count = window.iter().filter(|t| **t == id).count();
                assert_eq!(history.counts[id as usize], count as u32);
            }
        }
    }

    #[test]
    fn each_penalty_does_its_part() {
        let plain = SamplerOptions::default();
        let case = |logit, count, options: SamplerOptions| History::penalized(logit, count, &options);
        assert_eq!(case(3.0, 2, SamplerOptions { repeat_penalty: 2.0, ..plain.clone() }), 1.5);
        assert_eq!(case(-3.0, 2, SamplerOptions { repeat_penalty: 2.0, ..plain.clone() }), -6.0);
        assert_eq!(case(3.0, 2, SamplerOptions { frequency_penalty: 0.5, ..plain.clone() }), 2.0);
        assert_eq!(case(3.0, 2, SamplerOptions { presence_penalty: 0.5, ..plain.clone() }), 2.5);
        assert_eq!(case(f32::NEG_INFINITY, 2, SamplerOptions { repeat_penalty: 2.0, ..plain }), f32::NEG_INFINITY);
    }
}
