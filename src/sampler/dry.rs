//! DRY, "don't repeat yourself" (Weidmann 2024, text-generation-webui pull request 5677): a token that would go on with a repeated
//! sequence is penalized, the more the longer the sequence is.

use crate::ops::math::{exp_f64, ln_f64};
use crate::token::TokenId;
use alloc::vec::Vec;

/// The largest exponent of e in a penalty: times the largest multiplier it is still far from the largest f32.
const MOST: f64 = 80.0;

/// How repeated sequences are penalized.
#[derive(Debug, Clone, PartialEq)]
pub struct Dry {
    /// The penalty of the shortest sequence that is penalized. `0..=1e3`; 0 is off.
    pub multiplier: f32,
    /// Each further token multiplies the penalty by this. `1..=1e3`.
    pub base: f32,
    /// Sequences shorter than this are not penalized. 1 at least.
    pub allowed_length: usize,
    /// Sequences are looked for in this many last tokens; [`usize::MAX`]: in all that the context holds.
    pub last_n: usize,
    /// No sequence goes on over one of these, which are a token or several. A token that is one by itself is never penalized.
    pub breakers: Vec<Vec<TokenId>>,
}

impl Default for Dry {
    fn default() -> Self {
        Dry { multiplier: 0.0, base: 1.75, allowed_length: 2, last_n: usize::MAX, breakers: Vec::new() }
    }
}

/// The last tokens, and the sequences in them that the text has just repeated.
#[derive(Debug, Clone, Default)]
pub(super) struct Repeats {
    /// The last tokens, the oldest first.
    tokens: Vec<TokenId>,
    /// As many are kept, at most.
    most: usize,
    /// How far the text before each place is what the text ends with, from its end on.
    matches: Vec<u32>,
    /// Of each token, the longest sequence that it would go on with, (vocab_size); 0 between calls.
    longest: Vec<u32>,
}

impl Repeats {
    /// Looks back over `last_n` tokens of `0..vocab_size`.
    pub(super) fn new(last_n: usize, vocab_size: usize) -> Self {
        Repeats { most: last_n, longest: vec![0; if last_n == 0 { 0 } else { vocab_size }], ..Repeats::default() }
    }

    /// Makes room for texts of up to `n` tokens, and looks back no further.
    pub(super) fn hold(&mut self, n: usize) {
        self.most = self.most.min(n);
        self.tokens.reserve_exact(self.most.saturating_sub(self.tokens.len()));
        self.matches.reserve_exact(self.most);
    }

    /// Adds `token`; the oldest one goes where there are too many.
    pub(super) fn push(&mut self, token: TokenId) {
        if token as usize >= self.longest.len() || self.most == 0 {
            return;
        }
        if self.tokens.len() == self.most {
            self.tokens.remove(0);
        }
        self.tokens.push(token);
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.tokens.clear();
    }

    /// Penalizes the logits of the tokens that would go on with a repeated sequence:
    /// `logit - multiplier * base^(length - allowed_length)`.
    pub(super) fn penalize(&mut self, logits: &mut [f32], dry: &Dry) {
        let limit = self.since_breaker(&dry.breakers);
        if self.tokens.len() <= dry.allowed_length || limit < dry.allowed_length {
            return;
        }
        self.find_matches();
        let n = self.tokens.len();
        for k in 1..n {
            let length = (self.matches[k] as usize).min(limit);
            if length >= dry.allowed_length {
                let next = &mut self.longest[self.tokens[n - k] as usize];
                *next = (*next).max(length as u32);
            }
        }
        let ln_base = ln_f64(f64::from(dry.base));
        for k in 1..n {
            let token = self.tokens[n - k];
            // Taken, so that a token that stands there several times is penalized once.
            let length = core::mem::take(&mut self.longest[token as usize]) as usize;
            if length > 0 && !is_breaker(&dry.breakers, token) {
                let exponent = ((length - dry.allowed_length) as f64 * ln_base).min(MOST);
                logits[token as usize] -= (f64::from(dry.multiplier) * exp_f64(exponent)) as f32;
            }
        }
    }

    /// The number of tokens after the last breaker; of all where there is none.
    fn since_breaker(&self, breakers: &[Vec<TokenId>]) -> usize {
        let n = self.tokens.len();
        for start in (0..n).rev() {
            let rest = &self.tokens[start..];
            let first = breakers.partition_point(|breaker| breaker[0] < rest[0]);
            let here = breakers[first..].iter().take_while(|breaker| breaker[0] == rest[0]);
            if let Some(longest) = here.filter(|breaker| rest.starts_with(breaker)).map(Vec::len).max() {
                return rest.len() - longest;
            }
        }
        n
    }

    /// Fills `matches`: at k, how long the text without its last k tokens ends as the whole text does ("Z algorithm", from the end).
    fn find_matches(&mut self) {
        let n = self.tokens.len();
        let from_end = |i: usize| self.tokens[n - 1 - i];
        self.matches.clear();
        self.matches.resize(n, 0);
        // What lies between left and right is known to equal the beginning.
        let (mut left, mut right) = (0, 0);
        for k in 1..n {
            let mut length = if k < right { (self.matches[k - left] as usize).min(right - k) } else { 0 };
            while k + length < n && from_end(length) == from_end(k + length) {
                length += 1;
            }
            if k + length > right {
                (left, right) = (k, k + length);
            }
            self.matches[k] = length as u32;
        }
    }
}

/// The token is a breaker by itself. `breakers` are in order.
fn is_breaker(breakers: &[Vec<TokenId>], token: TokenId) -> bool {
    breakers.binary_search_by(|breaker| breaker.as_slice().cmp(&[token])).is_ok()
}

#[cfg(test)]
mod tests {
    use super::super::Rng;
    use super::*;

    fn options(multiplier: f32, breakers: &[&[TokenId]]) -> Dry {
        let mut breakers: Vec<Vec<TokenId>> = breakers.iter().map(|breaker| breaker.to_vec()).collect();
        breakers.sort();
        Dry { multiplier, base: 2.0, breakers, ..Dry::default() }
    }

    /// What the tokens after `text` are penalized by, by the description alone.
    fn naive(text: &[TokenId], vocab_size: usize, dry: &Dry) -> Vec<f64> {
        let ends_in = |text: &[TokenId]| dry.breakers.iter().any(|breaker| text.ends_with(breaker));
        // From the last place where a breaker begins.
        let starts = (0..text.len()).rev();
        let after = starts.clone().find_map(|start| {
            let here =
                (start + 1..=text.len()).rev().find(|end| dry.breakers.iter().any(|b| text[start..*end] == b[..]));
            here.map(|end| text.len() - end)
        });
        assert_eq!(ends_in(text), after == Some(0), "{text:?}");
        let limit = after.unwrap_or(text.len());
        (0..vocab_size as TokenId)
            .map(|token| {
                let places = (1..text.len()).filter(|place| text[*place] == token);
                let length = |place: usize| {
                    let equal = text[..place].iter().rev().zip(text.iter().rev()).take_while(|(a, b)| a == b).count();
                    equal.min(limit)
                };
                let longest = places.map(length).max().unwrap_or(0);
                let is_free = longest < 2 || dry.breakers.contains(&vec![token]);
                if is_free { 0.0 } else { f64::from(dry.multiplier) * 2f64.powi(longest as i32 - 2) }
            })
            .collect()
    }

    fn penalties(repeats: &mut Repeats, vocab_size: usize, dry: &Dry) -> Vec<f64> {
        let mut logits = vec![0.0; vocab_size];
        repeats.penalize(&mut logits, dry);
        assert!(repeats.longest.iter().all(|length| *length == 0));
        logits.iter().map(|logit| -f64::from(*logit)).collect()
    }

    #[test]
    fn random_texts_are_penalized_as_described() {
        let mut rng = Rng::new(9);
        let breakers: [&[&[TokenId]]; 4] = [&[], &[&[4]], &[&[4], &[1, 2], &[1, 2, 3]], &[&[0, 0], &[3, 4, 3]]];
        for case in 0..400 {
            let options = options(0.5, breakers[case % 4]);
            let (n, vocab_size) = (rng.next_u64() % 40, 2 + rng.next_u64() % 4);
            let text: Vec<TokenId> = (0..n).map(|_| (rng.next_u64() % vocab_size) as TokenId).collect();
            let last_n = if case % 3 == 0 { 11 } else { usize::MAX };
            let mut repeats = Repeats::new(last_n, 6);
            repeats.hold(30);
            text.iter().for_each(|token| repeats.push(*token));
            let seen = &text[text.len().saturating_sub(last_n.min(30))..];
            let (got, want) = (penalties(&mut repeats, 6, &options), naive(seen, 6, &options));
            for (got, want) in got.iter().zip(&want) {
                assert!((got - want).abs() <= want * 1e-6, "{seen:?}: {got} {want}");
            }
            assert!(repeats.matches.capacity() <= 30 && repeats.tokens.capacity() <= 30, "no growth");
        }
    }

    #[test]
    fn a_long_repetition_is_forbidden_and_nothing_is_infinite() {
        let mut repeats = Repeats::new(usize::MAX, 2);
        (0..5000).for_each(|_| repeats.push(1));
        let got = penalties(&mut repeats, 2, &options(1e3, &[]));
        assert!(got[0] == 0.0 && got[1] > 1e30 && got[1].is_finite(), "{got:?}");
        repeats.clear();
        assert_eq!(penalties(&mut repeats, 2, &options(1e3, &[])), [0.0, 0.0]);
    }
}
