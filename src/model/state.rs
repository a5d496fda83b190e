//! The state of one text: its tokens and what each layer remembers of them.

use crate::compute::Compute;
use crate::error::{Error, Kind, Remedy, Result};
use crate::ops::{KV_BLOCK, KvCache, KvDtype};
use crate::token::TokenId;
use alloc::vec::Vec;
use core::ops::Range;

/// What a state has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateOptions {
    /// Positions of the text; at most the model's own `context_length` for learned positions.
    pub context_length: usize,
    /// Type of cached keys and values.
    pub kv: KvDtype,
    /// Tokens that a layer with a window holds beyond it. So many can be computed in one pass, and be taken back.
    pub slack: usize,
}

/// What one layer remembers of a text.
pub(super) enum LayerState {
    /// Keys and values: of all positions, or in a ring of those that a window still needs.
    Attention {
        cache: KvCache,
        /// As in [`Attention::window`](super::Attention::window).
        window: Option<usize>,
    },
}

impl LayerState {
    /// The oldest block that it holds after `end` tokens were computed.
    fn oldest_block(&self, end: usize) -> usize {
        match self {
            LayerState::Attention { cache, .. } => end.div_ceil(KV_BLOCK).saturating_sub(cache.shape().n_blocks),
        }
    }

    /// It never gives a position up.
    fn keeps_all(&self) -> bool {
        match self {
            LayerState::Attention { window, .. } => window.is_none(),
        }
    }

    /// The first block that it needs so that the text can go on after `n` tokens.
    fn first_needed(&self, n: usize) -> usize {
        match self {
            LayerState::Attention { window, .. } => first_needed(*window, n),
        }
    }

    /// Bytes of a block of 32 positions.
    fn block_bytes(&self) -> usize {
        match self {
            LayerState::Attention { cache, .. } => cache.shape().block_bytes(),
        }
    }

    /// What it remembers of a block, in pieces.
    fn block(&self, block: usize) -> impl Iterator<Item = &[u8]> {
        match self {
            LayerState::Attention { cache, .. } => cache.block(block),
        }
    }

    /// Puts back what [`block`](Self::block) gave, in one piece.
    fn restore_block(&mut self, block: usize, bytes: &[u8]) {
        match self {
            LayerState::Attention { cache, .. } => cache.restore_block(block, bytes),
        }
    }

    /// Puts zeros at `positions`, which are of no use.
    fn clear(&mut self, compute: &Compute, positions: Range<usize>) {
        match self {
            LayerState::Attention { cache, .. } => cache.clear(compute, positions),
        }
    }
}

/// What a layer remembers, as a saved text describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StateKind {
    /// Kind (0 keys and values), KV heads, elements of a head, window (0: all positions).
    pub(super) numbers: [u32; 4],
    /// Bytes of a block of 32 positions.
    pub(super) block_bytes: usize,
    pub(super) window: Option<usize>,
}

impl StateKind {
    /// KV heads and elements of a head, where it is keys and values of all positions.
    pub(super) fn plain(&self) -> Option<[u32; 2]> {
        match self.numbers {
            [0, heads, elements, 0] => Some([heads, elements]),
            _ => None,
        }
    }

    /// The first block that the text needs to go on after `n` tokens.
    pub(super) fn first_needed(&self, n: usize) -> usize {
        first_needed(self.window, n)
    }
}

/// The first block of 32 positions that a layer with this `window` needs so that a text can go on after its first `n` tokens, or
/// with its `n`-th anew.
fn first_needed(window: Option<usize>, n: usize) -> usize {
    window.map_or(0, |window| n.saturating_sub(window)) / KV_BLOCK
}

/// The tokens of one text in a pass.
pub struct Span<'s> {
    /// The state of the text, which they continue.
    pub state: &'s mut State,
    /// The tokens, one at least, at most [`State::max_span`] of them.
    pub tokens: &'s [TokenId],
    /// After which of them logits can be asked for.
    pub wants: Wants,
}

impl Span<'_> {
    /// The tokens with their positions in the text.
    pub(super) fn positions(&self) -> impl Iterator<Item = (usize, TokenId)> {
        (self.state.position()..).zip(self.tokens.iter().copied())
    }
}

/// After which tokens of a span logits can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants {
    /// None: the text goes on in a later pass.
    Nothing,
    /// The last.
    Last,
    /// Each.
    Each,
}

impl Wants {
    /// Of `n` tokens.
    pub(super) fn of(self, n: usize) -> Range<usize> {
        match self {
            Wants::Nothing => n..n,
            Wants::Last => n - 1..n,
            Wants::Each => 0..n,
        }
    }
}

/// The state of one text, all of it allocated once. It can be sent to another thread, and computed by any
/// [`Workspace`](super::Workspace) of its model.
pub struct State {
    pub(super) layers: Vec<LayerState>,
    /// The tokens that the layers remember.
    tokens: Vec<TokenId>,
    context_length: usize,
    max_span: usize,
    /// One past the last position that was computed since the text began.
    end: usize,
    /// So many tokens were put back without all of the blocks before them: layers that give positions up lack those that the
    /// text needs no more to go on after these tokens. 0: nothing is lacking.
    begin: usize,
}

impl State {
    /// The state of an empty text whose `layers` have room for what `options` say.
    pub(super) fn new(layers: Vec<LayerState>, options: StateOptions) -> Result<Self> {
        let context_length = options.context_length;
        let n_blocks = context_length.div_ceil(KV_BLOCK);
        let forgets = layers.iter().any(|layer| layer.oldest_block(n_blocks * KV_BLOCK) > 0);
        let mut tokens = Vec::new();
        tokens
            .try_reserve_exact(context_length)
            .map_err(|_| Error::new(Kind::Resources, format!("no memory for a context of {context_length} tokens")))?;
        let max_span = if forgets { options.slack } else { context_length };
        Ok(State { layers, tokens, context_length, max_span, end: 0, begin: 0 })
    }

    /// The tokens held.
    pub fn tokens(&self) -> &[TokenId] {
        &self.tokens
    }

    /// Number of tokens held: the position of the next one.
    pub fn position(&self) -> usize {
        self.tokens.len()
    }

    /// Positions there is room for.
    pub fn context_length(&self) -> usize {
        self.context_length
    }

    /// No position is left.
    pub fn is_full(&self) -> bool {
        self.position() >= self.context_length
    }

    /// The most tokens that one pass can compute.
    pub fn max_span(&self) -> usize {
        self.max_span
    }

    /// Takes in the tokens that the layers have computed.
    pub(super) fn computed(&mut self, tokens: &[TokenId]) {
        self.tokens.extend_from_slice(tokens);
        self.end = self.end.max(self.tokens.len());
    }

    /// Forgets every token from `position` on and returns how many are held then. These are fewer, none, where a layer no
    /// longer holds what the token at `position` needs: then the text must be computed anew.
    pub fn rewind(&mut self, position: usize) -> usize {
        if position < self.tokens.len() {
            let reaches = |layer: &LayerState| {
                // The token at `position` is the one after it, less one.
                let first = layer.first_needed(position + 1);
                first >= self.oldest_block(layer)
            };
            let held = if self.layers.iter().all(reaches) { position } else { 0 };
            self.tokens.truncate(held);
            if held == 0 {
                (self.end, self.begin) = (0, 0);
            }
        }
        self.tokens.len()
    }

    /// Forgets all but the longest beginning that it has in common with `tokens`, and of `tokens` the last at least, so that
    /// there is something to compute; returns how many are held.
    pub fn hold(&mut self, tokens: &[TokenId]) -> usize {
        // Most often the text goes on where it was.
        let n = match tokens.starts_with(&self.tokens) {
            true => self.tokens.len(),
            false => self.tokens.iter().zip(tokens).take_while(|(held, token)| held == token).count(),
        };
        self.rewind(n.min(tokens.len().saturating_sub(1)))
    }

    /// Decodes the key of `position` of KV head `head` of block `layer`, as it is held, into `out` (head_dim).
    ///
    /// Panics where it is not held, or where the block is no attention.
    pub fn key(&self, layer: usize, head: usize, position: usize, out: &mut [f32]) {
        assert!(position < self.position(), "position {position} of {}", self.position());
        let layer = &self.layers[layer];
        assert!(position / KV_BLOCK >= self.oldest_block(layer), "position {position} was given up");
        match layer {
            LayerState::Attention { cache, .. } => cache.read_key(head, position, out),
        }
    }

    /// Every layer holds all of block `block` of [`KV_BLOCK`] positions.
    pub fn holds_block(&self, block: usize) -> bool {
        self.layers.iter().all(|layer| block >= self.oldest_block(layer))
    }

    /// The oldest block that `layer` holds.
    fn oldest_block(&self, layer: &LayerState) -> usize {
        if layer.keeps_all() { 0 } else { layer.oldest_block(self.end).max(layer.first_needed(self.begin)) }
    }

    /// Every layer holds the blocks from position `start` on that a part of a text up to its `n`-th token is saved with. After
    /// tokens were taken back this may not be so, although the text can go on: that needs one position less.
    pub(super) fn holds_needed(&self, start: usize, n: usize) -> bool {
        let held = |layer: &LayerState| layer.first_needed(n).max(start / KV_BLOCK) >= self.oldest_block(layer);
        self.layers.iter().all(held)
    }

    /// Writes what the layers remember of block `block`: each only where the text needs it to go on after `n` tokens.
    pub(super) fn save_block(&self, block: usize, n: usize, write: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let needing = self.layers.iter().filter(|layer| block >= layer.first_needed(n));
        needing.flat_map(|layer| layer.block(block)).try_for_each(write)
    }

    /// Puts zeros where the last block that holds a token goes on after position `n`; no token after it may be in use.
    pub(super) fn clear_after(&mut self, compute: &Compute, n: usize) {
        let end = n.next_multiple_of(KV_BLOCK);
        if n < end {
            assert!(self.position() <= n, "positions from {n} on are in use");
            self.layers.iter_mut().for_each(|layer| layer.clear(compute, n..end));
        }
    }

    /// Puts back what the layers remember of `tokens` from position `start` on: `blocks` are what
    /// [`save_block`](Self::save_block) wrote of each of their blocks. The text up to `start` must be held.
    pub(super) fn restore(&mut self, start: usize, tokens: &[TokenId], mut blocks: &[u8]) -> Result<()> {
        let n = start + tokens.len();
        if start > self.position() || n > self.context_length || self.rewind(start) < start {
            let message =
                format!("{} tokens from position {start} on, in a context of {}", tokens.len(), self.context_length);
            return Err(Error::new(Kind::Resources, message).field("saved session").remedy(Remedy::LongerContext));
        }
        for block in start / KV_BLOCK..n.div_ceil(KV_BLOCK) {
            for layer in self.layers.iter_mut().filter(|layer| block >= layer.first_needed(n)) {
                let (piece, rest) = blocks.split_at(layer.block_bytes());
                layer.restore_block(block, piece);
                blocks = rest;
            }
        }
        if self.layers.iter().any(|layer| layer.first_needed(n) > start / KV_BLOCK) {
            self.begin = self.begin.max(n);
        }
        self.computed(tokens);
        Ok(())
    }
}
