//! Which tokens may come next, whatever the model says of them: a bit for each.

use crate::token::TokenId;
use alloc::vec::Vec;

/// A set of tokens among which the next is chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask {
    /// Bit `id % 32` of word `id / 32` is token `id`; bits beyond the vocabulary are 0.
    words: Vec<u32>,
    vocab_size: usize,
}

impl Mask {
    /// No token of a vocabulary.
    pub fn none(vocab_size: usize) -> Self {
        Mask { words: vec![0; vocab_size.div_ceil(32)], vocab_size }
    }

    /// Whether `token` may come.
    pub fn allows(&self, token: TokenId) -> bool {
        let word = self.words.get(token as usize / 32).copied().unwrap_or(0);
        word >> (token % 32) & 1 == 1
    }

    /// `token` may come, or may not. One outside the vocabulary never may.
    pub fn set(&mut self, token: TokenId, allowed: bool) {
        if (token as usize) < self.vocab_size {
            let (word, bit) = (&mut self.words[token as usize / 32], 1 << (token % 32));
            *word = if allowed { *word | bit } else { *word & !bit };
        }
    }

    /// The tokens whose bits are set in `words`, 32 a word from the lowest bit on; those that are missing may not come.
    pub fn take_words(&mut self, words: &[u32]) {
        let n = words.len().min(self.words.len());
        self.words[..n].copy_from_slice(&words[..n]);
        self.words[n..].fill(0);
        if let Some(last) = self.words.last_mut().filter(|_| !self.vocab_size.is_multiple_of(32)) {
            *last &= (1 << (self.vocab_size % 32)) - 1;
        }
    }

    /// Leaves the tokens that may come by `other`, too.
    pub fn keep(&mut self, other: &Mask) {
        let others = other.words.iter().copied().chain(core::iter::repeat(0));
        self.words.iter_mut().zip(others).for_each(|(word, other)| *word &= other);
    }

    /// How many tokens may come.
    pub fn n_allowed(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Makes the logits of all other tokens minus infinity. One that is no number stays: it is an error whatever may come.
    pub(super) fn strike(&self, logits: &mut [f32]) {
        let words = self.words.iter().copied().chain(core::iter::repeat(0));
        for (logits, word) in logits.chunks_mut(32).zip(words) {
            for (bit, logit) in logits.iter_mut().enumerate() {
                if word >> bit & 1 == 0 && !logit.is_nan() {
                    *logit = f32::NEG_INFINITY;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_set_one_by_one_and_by_words() {
        let mut mask = Mask::none(70);
        for id in [0, 31, 32, 69, 70, 1000] {
            mask.set(id, true);
        }
        let allowed: Vec<TokenId> = (0..200).filter(|id| mask.allows(*id)).collect();
        assert_eq!((allowed, mask.n_allowed()), (vec![0, 31, 32, 69], 4));
        mask.set(31, false);
        assert_eq!(mask.n_allowed(), 3);
        mask.take_words(&[u32::MAX; 9]);
        assert_eq!(mask.n_allowed(), 70);
        mask.take_words(&[5]);
        assert_eq!((mask.n_allowed(), mask.allows(2)), (2, true));
        let mut other = Mask::none(70);
        other.set(2, true);
        other.set(60, true);
        mask.keep(&other);
        assert_eq!((mask.n_allowed(), mask.allows(2)), (1, true));
    }

    #[test]
    fn what_may_not_come_has_no_probability() {
        let mut mask = Mask::none(3);
        mask.set(1, true);
        let mut logits = [9.0, 1.0, f32::NAN, 4.0];
        mask.strike(&mut logits);
        assert_eq!((logits[0], logits[1], logits[3]), (f32::NEG_INFINITY, 1.0, f32::NEG_INFINITY));
        assert!(logits[2].is_nan());
    }
}
