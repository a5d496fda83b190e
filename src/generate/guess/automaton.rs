//! The suffix automaton of a sequence of tokens, which grows with it: the smallest automaton that follows every part of the
//! sequence (Blumer et al. 1985). It says where the longest end of a text was met before.

use crate::token::TokenId;
use alloc::vec::Vec;
use std::collections::HashMap;

const ROOT: u32 = 0;
const NONE: u32 = u32::MAX;
/// States of the ends of a text for which it is noted where they were met last; those of longer texts stay where they were.
const MOST_NOTED: usize = 32;

/// Parts of the sequence that end at the same places, the longest of which is so long.
#[derive(Debug, Clone, Copy)]
struct State {
    len: u32,
    /// The longest end of these parts that also ends elsewhere.
    link: u32,
    /// One past a place where they end: the last that was noted.
    end: u32,
    /// The first of its labels.
    label: u32,
}

/// A token that leads on from a state, in a list of them.
#[derive(Debug, Clone, Copy)]
struct Label {
    token: TokenId,
    next: u32,
}

/// An end of a text that occurs in a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Match {
    /// Tokens of it.
    pub(super) len: usize,
    /// Where in the sequence the token after it stands.
    pub(super) next: usize,
}

/// A place in the automaton: the longest end of a text that the sequence has.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Walk {
    state: u32,
    len: u32,
}

/// The automaton with its sequence.
#[derive(Debug, Clone)]
pub(super) struct Automaton {
    tokens: Vec<TokenId>,
    states: Vec<State>,
    labels: Vec<Label>,
    edges: HashMap<(u32, TokenId), u32>,
    /// The state of the whole sequence.
    last: u32,
    found: Match,
}

impl Automaton {
    /// That of an empty sequence.
    pub(super) fn new() -> Self {
        let root = State { len: 0, link: NONE, end: 0, label: NONE };
        Automaton {
            tokens: Vec::new(),
            states: vec![root],
            labels: Vec::new(),
            edges: HashMap::new(),
            last: ROOT,
            found: Match::default(),
        }
    }

    /// The sequence.
    pub(super) fn tokens(&self) -> &[TokenId] {
        &self.tokens
    }

    /// The longest end of the sequence that was in it before, where it was met last; of length 0 where there is none.
    pub(super) fn found(&self) -> Match {
        self.found
    }

    /// Adds `token` to the sequence.
    pub(super) fn push(&mut self, token: TokenId) {
        self.tokens.push(token);
        let end = self.tokens.len() as u32;
        let new = self.add(State { len: end, link: ROOT, end, label: NONE });
        let mut from = self.last;
        while from != NONE && !self.edges.contains_key(&(from, token)) {
            self.connect(from, token, new);
            from = self.states[from as usize].link;
        }
        if let Some(&to) = self.edges.get(&(from, token)) {
            let whole = self.states[from as usize].len + 1 == self.states[to as usize].len;
            let link = if whole { to } else { self.divide(from, token, to) };
            self.states[new as usize].link = link;
        }
        self.last = new;
        self.note(end);
    }

    /// Divides state `to`: the parts that also end where `from` goes on with `token` become a state of their own.
    fn divide(&mut self, mut from: u32, token: TokenId, to: u32) -> u32 {
        let old = self.states[to as usize];
        let part = self.add(State { len: self.states[from as usize].len + 1, label: NONE, ..old });
        let mut label = old.label;
        while label != NONE {
            let Label { token, next } = self.labels[label as usize];
            self.connect(part, token, self.edges[&(to, token)]);
            label = next;
        }
        while from != NONE && self.edges.get(&(from, token)) == Some(&to) {
            self.edges.insert((from, token), part);
            from = self.states[from as usize].link;
        }
        self.states[to as usize].link = part;
        part
    }

    /// Sets what was found before the sequence ended at `end`, and notes that its ends are met there.
    fn note(&mut self, end: u32) {
        let mut state = self.states[self.last as usize].link;
        let State { len, end: next, .. } = self.states[state as usize];
        self.found = Match { len: len as usize, next: next as usize };
        for _ in 0..MOST_NOTED {
            if state == ROOT {
                return;
            }
            self.states[state as usize].end = end;
            state = self.states[state as usize].link;
        }
    }

    fn add(&mut self, state: State) -> u32 {
        self.states.push(state);
        (self.states.len() - 1) as u32
    }

    /// Leads from state `from` to state `to` by `token`, which led nowhere.
    fn connect(&mut self, from: u32, token: TokenId, to: u32) {
        self.edges.insert((from, token), to);
        let next = self.states[from as usize].label;
        self.labels.push(Label { token, next });
        self.states[from as usize].label = (self.labels.len() - 1) as u32;
    }

    /// Follows a text of somebody else by one more `token`; the longest end of that text which the sequence has.
    pub(super) fn follow(&self, walk: &mut Walk, token: TokenId) -> Match {
        loop {
            if let Some(to) = self.edges.get(&(walk.state, token)) {
                *walk = Walk { state: *to, len: walk.len + 1 };
                break;
            }
            if walk.state == ROOT {
                *walk = Walk::default();
                break;
            }
            let link = self.states[walk.state as usize].link;
            *walk = Walk { state: link, len: self.states[link as usize].len };
        }
        Match { len: walk.len as usize, next: self.states[walk.state as usize].end as usize }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampler::Rng;

    /// The length of the longest end of `text` that is in `sequence`.
    fn longest(sequence: &[TokenId], text: &[TokenId]) -> usize {
        let is_there = |n: &usize| *n == 0 || sequence.windows(*n).any(|part| part == &text[text.len() - n..]);
        (0..=text.len()).rev().find(is_there).unwrap_or(0)
    }

    #[test]
    fn the_longest_end_that_was_there_before_is_found_where_it_was_met() {
        let mut rng = Rng::new(3);
        for n_kinds in [1, 2, 3, 20] {
            let mut automaton = Automaton::new();
            let mut tokens: Vec<TokenId> = Vec::new();
            for _ in 0..160 {
                let token = (rng.uniform() * n_kinds as f64) as TokenId;
                tokens.push(token);
                automaton.push(token);
                let Match { len, next } = automaton.found();
                let before = &tokens[..tokens.len() - 1];
                assert_eq!(len, longest(before, &tokens), "{tokens:?}");
                if len > 0 {
                    assert!(next < tokens.len());
                    assert_eq!(tokens[next - len..next], tokens[tokens.len() - len..]);
                }
            }
            assert_eq!(automaton.tokens(), tokens);
        }
    }

    #[test]
    fn what_was_met_twice_goes_on_as_it_did_last() {
        let mut automaton = Automaton::new();
        for token in [1, 2, 3, 9, 1, 2, 4, 9, 1, 2] {
            automaton.push(token);
        }
        assert_eq!(automaton.found(), Match { len: 3, next: 6 });
    }

    #[test]
    fn another_text_is_followed_by_its_longest_ends() {
        let mut rng = Rng::new(4);
        for n_kinds in [2, 3, 9] {
            let mut draw = || (rng.uniform() * n_kinds as f64) as TokenId;
            let sequence: Vec<TokenId> = (0..120).map(|_| draw()).collect();
            let mut automaton = Automaton::new();
            sequence.iter().for_each(|token| automaton.push(*token));
            let (mut walk, mut text) = (Walk::default(), Vec::new());
            for i in 0..120 {
                let token = if i % 40 == 39 { 77 } else { draw() };
                text.push(token);
                let Match { len, next } = automaton.follow(&mut walk, token);
                assert_eq!(len, longest(&sequence, &text));
                assert_eq!(sequence[next - len..next], text[text.len() - len..]);
            }
        }
    }
}
