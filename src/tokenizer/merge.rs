//! The merge loop of both models: symbols in a linked list, candidate pairs in a priority queue, O(n log n).

use alloc::{collections::BinaryHeap, vec::Vec};
use core::cmp::Reverse;
use core::ops::Range;

use super::header::ABSENT;
use crate::token::TokenId;

/// No candidate.
const NEVER: u32 = u32::MAX;
/// The most bytes that are merged as one piece: positions are u32.
pub(super) const MAX_PIECE_BYTES: usize = 1 << 30;

/// A run of bytes that is one token so far. It lies in the list at its first byte.
#[derive(Debug, Clone, Copy)]
struct Symbol {
    id: TokenId,
    previous: u32,
    /// First byte of the next symbol, or the end of the text.
    next: u32,
    /// Priority of the merge with the next symbol, the lowest first.
    priority: u32,
    /// What that merge makes.
    merged: TokenId,
}

/// Two neighbours that may become one.
pub(super) struct Pair {
    pub(super) left: TokenId,
    pub(super) right: TokenId,
    /// The bytes of both.
    pub(super) span: Range<usize>,
}

/// Scratch memory of the merge loop, kept from piece to piece.
#[derive(Debug, Default)]
pub(super) struct Merger {
    symbols: Vec<Symbol>,
    first: usize,
    /// Candidates as priority * 2^32 + position, so that equal priorities merge from left to right: those of the start,
    /// sorted, and those that merges brought about.
    early: Vec<u64>,
    late: BinaryHeap<Reverse<u64>>,
    /// Symbols, lookups and queue removals so far: the measure of work.
    pub(super) steps: u64,
}

impl Merger {
    /// Merges the symbols (first byte, id) of a text of `end` bytes, in ascending order, as long as `lookup` gives a
    /// (priority, id) for two neighbours; the lowest priority goes first.
    pub(super) fn merge(
        &mut self,
        symbols: impl Iterator<Item = (usize, TokenId)>,
        end: usize,
        lookup: impl Fn(Pair) -> Option<(u32, TokenId)>,
    ) {
        self.link(symbols, end);
        self.early.clear();
        let mut at = self.first;
        while at < end {
            let candidate = self.candidate(at, &lookup);
            self.early.extend(candidate);
            at = self.symbols[at].next as usize;
        }
        self.early.sort_unstable();
        let mut done = 0;
        while let Some(entry) = self.lowest(&mut done) {
            self.steps += 1;
            let (priority, at) = ((entry >> 32) as u32, entry as u32 as usize);
            // A candidate is stale once either of its symbols has merged otherwise.
            if self.symbols[at].priority == priority {
                self.join(at);
                for at in [Some(at), self.previous(at)].into_iter().flatten() {
                    let candidate = self.candidate(at, &lookup);
                    self.late.extend(candidate.map(Reverse));
                }
            }
        }
    }

    /// The tokens after [`merge`](Self::merge): bytes and id, [`ABSENT`] where a symbol began without one and stayed.
    pub(super) fn tokens(&self) -> impl Iterator<Item = (Range<usize>, TokenId)> {
        let mut at = self.first;
        core::iter::from_fn(move || {
            let symbol = self.symbols.get(at)?;
            let span = at..symbol.next as usize;
            at = span.end;
            Some((span, symbol.id))
        })
    }

    fn link(&mut self, symbols: impl Iterator<Item = (usize, TokenId)>, end: usize) {
        assert!(end <= MAX_PIECE_BYTES, "{end} bytes are merged at once");
        let gap = Symbol { id: ABSENT, previous: NEVER, next: end as u32, priority: NEVER, merged: ABSENT };
        self.symbols.clear();
        self.symbols.resize(end, gap);
        self.first = end;
        let mut previous = NEVER;
        for (at, id) in symbols {
            self.steps += 1;
            match self.symbols.get_mut(previous as usize) {
                Some(symbol) => symbol.next = at as u32,
                None => self.first = at,
            }
            self.symbols[at] = Symbol { id, previous, ..gap };
            previous = at as u32;
        }
    }

    /// Takes the lowest candidate of all; `done` early ones are behind.
    fn lowest(&mut self, done: &mut usize) -> Option<u64> {
        let early = self.early.get(*done).copied();
        if let Some(late) = self.late.peek().filter(|late| early.is_none_or(|early| late.0 < early)).copied() {
            self.late.pop();
            return Some(late.0);
        }
        *done += 1;
        early
    }

    fn previous(&self, at: usize) -> Option<usize> {
        Some(self.symbols[at].previous).filter(|at| *at != NEVER).map(|at| at as usize)
    }

    /// Looks up the merge of the symbol at `at` with the next one, and gives its queue entry.
    fn candidate(&mut self, at: usize, lookup: &impl Fn(Pair) -> Option<(u32, TokenId)>) -> Option<u64> {
        let Symbol { id: left, next, .. } = self.symbols[at];
        let found = self.symbols.get(next as usize).and_then(|symbol| {
            self.steps += 1;
            lookup(Pair { left, right: symbol.id, span: at..symbol.next as usize })
        });
        let (priority, merged) = found.unwrap_or((NEVER, ABSENT));
        self.symbols[at].priority = priority;
        self.symbols[at].merged = merged;
        (priority != NEVER).then_some(u64::from(priority) << 32 | at as u64)
    }

    /// Makes the symbol at `at` and the next one into one.
    fn join(&mut self, at: usize) {
        let right = self.symbols[at].next as usize;
        let next = self.symbols[right].next;
        self.symbols[right].priority = NEVER;
        if let Some(symbol) = self.symbols.get_mut(next as usize) {
            symbol.previous = at as u32;
        }
        let symbol = &mut self.symbols[at];
        symbol.id = symbol.merged;
        symbol.next = next;
    }
}
