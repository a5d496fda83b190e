//! The merge loop of both models: symbols in a linked list, candidate pairs in a priority queue, O(n log n).

use core::cmp::Reverse;
use core::ops::Range;
use std::collections::BinaryHeap;

use super::tables::ABSENT;
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
    /// priority * 2^32 + position: equal priorities merge from left to right.
    queue: BinaryHeap<Reverse<u64>>,
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
        let mut queue = core::mem::take(&mut self.queue).into_vec();
        queue.clear();
        let mut at = self.first;
        while at < end {
            queue.extend(self.candidate(at, &lookup));
            at = self.symbols[at].next as usize;
        }
        self.queue = queue.into();
        while let Some(Reverse(entry)) = self.queue.pop() {
            self.steps += 1;
            let (priority, at) = ((entry >> 32) as u32, entry as u32 as usize);
            // A candidate is stale once either of its symbols has merged otherwise.
            if self.symbols[at].priority == priority {
                self.join(at);
                let entries = [Some(at), self.previous(at)].map(|at| self.candidate(at?, &lookup));
                self.queue.extend(entries.into_iter().flatten());
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

    fn previous(&self, at: usize) -> Option<usize> {
        Some(self.symbols[at].previous).filter(|at| *at != NEVER).map(|at| at as usize)
    }

    /// Looks up the merge of the symbol at `at` with the next one, and gives its queue entry.
    fn candidate(&mut self, at: usize, lookup: &impl Fn(Pair) -> Option<(u32, TokenId)>) -> Option<Reverse<u64>> {
        let Symbol { id: left, next, .. } = self.symbols[at];
        let found = self.symbols.get(next as usize).and_then(|symbol| {
            self.steps += 1;
            lookup(Pair { left, right: symbol.id, span: at..symbol.next as usize })
        });
        let (priority, merged) = found.unwrap_or((NEVER, ABSENT));
        self.symbols[at].priority = priority;
        self.symbols[at].merged = merged;
        (priority != NEVER).then_some(Reverse(u64::from(priority) << 32 | at as u64))
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
