//! Guesses by what was written before: where the end of a text was met before, in the text or in a corpus, it may go on as it did
//! there.

use super::automaton::{Automaton, Match, Walk};
use crate::token::TokenId;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// A text that other texts may repeat.
#[derive(Debug, Clone)]
pub struct Corpus(Arc<Automaton>);

impl Corpus {
    /// Bytes of one of `n_tokens`, about.
    pub fn bytes(n_tokens: usize) -> u64 {
        // Up to two states and three edges for each token; a table has room to spare.
        (n_tokens as u64).saturating_mul(4 + 2 * 16 + 3 * (8 + 2 * 13))
    }

    /// That of these tokens.
    pub fn new(tokens: &[TokenId]) -> Self {
        let mut automaton = Automaton::new();
        tokens.iter().for_each(|token| automaton.push(*token));
        Corpus(Arc::new(automaton))
    }
}

/// What a text and a corpus, if there is one, say of how the text goes on.
#[derive(Debug, Clone)]
pub(super) struct Ngram {
    text: Automaton,
    corpus: Option<Corpus>,
    walk: Walk,
    in_corpus: Match,
}

impl Ngram {
    /// Of an empty text.
    pub(super) fn new(corpus: Option<Corpus>) -> Self {
        Ngram { text: Automaton::new(), corpus, walk: Walk::default(), in_corpus: Match::default() }
    }

    /// Begins another text.
    pub(super) fn clear(&mut self) {
        *self = Ngram::new(self.corpus.take());
    }

    /// `token` comes next in the text.
    pub(super) fn push(&mut self, token: TokenId) {
        self.text.push(token);
        if let Some(Corpus(corpus)) = &self.corpus {
            self.in_corpus = corpus.follow(&mut self.walk, token);
        }
    }

    /// Appends up to `n` tokens to `out` that may come next; returns how long an end of the text was met before which they followed,
    /// 0 where there is none.
    pub(super) fn guess(&self, n: usize, out: &mut Vec<TokenId>) -> usize {
        let found = self.text.found();
        let first = out.len();
        if let Some(Corpus(corpus)) = self.corpus.as_ref().filter(|_| self.in_corpus.len > found.len) {
            out.extend(corpus.tokens()[self.in_corpus.next..].iter().take(n));
            return if out.len() > first { self.in_corpus.len } else { 0 };
        }
        if found.len == 0 {
            return 0;
        }
        let tokens = self.text.tokens();
        for place in found.next..found.next + n {
            // A text that repeats what it has just begun to repeat goes on with the guess itself.
            let token = tokens.get(place).copied().unwrap_or_else(|| out[first + place - tokens.len()]);
            out.push(token);
        }
        found.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guess(ngram: &Ngram, n: usize) -> (usize, Vec<TokenId>) {
        let mut out = Vec::new();
        (ngram.guess(n, &mut out), out)
    }

    #[test]
    fn a_text_goes_on_as_it_did_and_a_loop_goes_on_for_ever() {
        let mut ngram = Ngram::new(None);
        assert_eq!(guess(&ngram, 4), (0, vec![]));
        [5, 6, 7, 8, 5, 6].into_iter().for_each(|token| ngram.push(token));
        assert_eq!(guess(&ngram, 2), (2, vec![7, 8]));
        assert_eq!(guess(&ngram, 9), (2, vec![7, 8, 5, 6, 7, 8, 5, 6, 7]));
        ngram.push(1);
        assert_eq!(guess(&ngram, 3), (0, vec![]));
        ngram.clear();
        [3, 3, 3].into_iter().for_each(|token| ngram.push(token));
        assert_eq!(guess(&ngram, 3), (2, vec![3, 3, 3]));
    }

    #[test]
    fn the_longer_match_decides_and_a_corpus_has_an_end() {
        let mut ngram = Ngram::new(Some(Corpus::new(&[1, 2, 3, 4, 5])));
        [9, 3].into_iter().for_each(|token| ngram.push(token));
        assert_eq!(guess(&ngram, 5), (1, vec![4, 5]));
        [4, 9, 3, 4].into_iter().for_each(|token| ngram.push(token));
        assert_eq!(guess(&ngram, 3), (3, vec![9, 3, 4]), "the text itself");
        ngram.push(5);
        assert_eq!(guess(&ngram, 3), (0, vec![]), "the corpus ends here");
        ngram.clear();
        [2, 3].into_iter().for_each(|token| ngram.push(token));
        assert_eq!(guess(&ngram, 1), (2, vec![4]), "the corpus stays");
    }
}
