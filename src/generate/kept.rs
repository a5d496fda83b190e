//! What of a text is to be kept elsewhere: whole blocks of it while it is computed, what is left when it has ended.

use crate::compute::Compute;
use crate::model::State;
use crate::model::saved::{Key, Part, Settings, save_unsealed};
use crate::ops::KV_BLOCK;
use crate::room;
use crate::token::TokenId;
use alloc::vec::Vec;

/// What is to be done for a text that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToKeep {
    /// This part of it is to be kept.
    Entry(Entry),
    /// It has ended, and these are the keys of all its parts, each kept or found in no state any more.
    Used(Vec<Key>),
}

/// A part of a text: a block of 32 tokens or, at its end, fewer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What names it.
    pub key: Key,
    /// What is saved of it, but for the checksum.
    pub unsealed: Vec<u8>,
}

/// How far the text of a state is kept. Whatever happens to the state, parts are named by the tokens that it holds at that time.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// The text whose parts were handed over.
    tokens: Vec<TokenId>,
    /// The keys of these parts.
    keys: Vec<Key>,
    /// Its end was told.
    is_over: bool,
}

impl Kept {
    /// The next part of the text of `state` whose key is not known; of one that has ended also what is no whole block.
    pub(super) fn next(
        &mut self,
        state: &mut State,
        (compute, settings): (&Compute, &Settings),
        has_ended: bool,
        is_known: &mut dyn FnMut(&Key) -> bool,
    ) -> Option<ToKeep> {
        loop {
            let n = state.position();
            let n_parts = if has_ended { n.div_ceil(KV_BLOCK) } else { n / KV_BLOCK };
            // Less than a block is computed rather than kept.
            if self.keys.len() >= n_parts || n < KV_BLOCK {
                let tells = has_ended && !self.is_over && !self.keys.is_empty();
                self.is_over |= has_ended;
                return tells.then(|| ToKeep::Used(self.keys.clone()));
            }
            self.go_back(state.tokens());
            let start = self.tokens.len();
            let tokens = state.tokens()[start..n.min(start + KV_BLOCK)].to_vec();
            let parent = self.keys.last().copied().unwrap_or_default();
            let key = settings.key(&parent, &tokens);
            self.tokens.extend_from_slice(&tokens);
            self.keys.push(key);
            if is_known(&key) || !state.holds_block(start / KV_BLOCK) {
                continue;
            }
            let mut unsealed = Vec::new();
            if !room::reserve(&mut unsealed, settings.most_block_bytes()) {
                continue;
            }
            let part = Part { start, parent, tokens: &tokens, n_held: tokens.len(), note: &[] };
            let mut write = |bytes: &[u8]| {
                unsealed.extend_from_slice(bytes);
                Ok(())
            };
            if save_unsealed(state, compute, settings, part, &mut write).is_ok() {
                return Some(ToKeep::Entry(Entry { key, unsealed }));
            }
        }
    }

    /// Forgets all but the whole blocks that the text has in common with `tokens`.
    fn go_back(&mut self, tokens: &[TokenId]) {
        let n_common = self.tokens.iter().zip(tokens).take_while(|(a, b)| a == b).count();
        self.keys.truncate(n_common / KV_BLOCK);
        self.tokens.truncate(self.keys.len() * KV_BLOCK);
    }
}
