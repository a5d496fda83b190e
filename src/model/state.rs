//! The state of one text: its tokens and what each layer remembers of them.

use crate::compute::Compute;
use crate::error::{Error, Kind, Remedy, Result};
use crate::ops::{KV_BLOCK, KvCache, KvDtype};
use crate::room;
use crate::token::TokenId;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::any::Any;
use core::borrow::Borrow;
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
pub(super) struct LayerState {
    /// The block whose mixer remembers it.
    pub(super) layer: usize,
    pub(super) kind: StateKind,
    pub(super) memory: Box<dyn Memory>,
}

/// Where a layer remembers a text: in blocks of 32 positions, all of them or a ring of the last.
pub(super) trait Memory: Any + Send + Sync {
    /// Blocks that there is room for: block `b` of a text takes the place of block `b - n_blocks`.
    fn n_blocks(&self) -> usize;

    /// Writes what is remembered of a block, in as many pieces as it has.
    fn save_block(&self, block: usize, write: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()>;

    /// Puts back what [`save_block`](Self::save_block) wrote, in one piece.
    fn restore_block(&mut self, block: usize, bytes: &[u8]);

    /// Puts zeros where something is remembered of `positions`, the last ones of a block, which are of no use.
    fn clear(&mut self, compute: &Compute, positions: Range<usize>);
}

/// What a layer remembers of a text, and how a text goes on or back by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StateKind {
    /// As a saved text describes it: the number of the kind, then what the kind says. Keys and values: 0, KV heads, elements of
    /// a head, window (0: all positions). The inputs of a short convolution: 1, channels, width of its kernel, 0. The state of a delta net: 2,
    /// heads of keys times 2^16 plus heads, width of keys times 2^16 plus width of values, width of its kernel. That of a state
    /// space with heads: 3, groups times 2^16 plus heads, width of states times 2^16 plus width of heads, width of its kernel. That of a state space of channels:
    /// 4, channels, width of states, width of its kernel.
    pub(super) numbers: [u32; 4],
    /// Bytes of a block of 32 positions.
    pub(super) block_bytes: usize,
    /// A token needs what is remembered of this many last positions, itself included; `None`: of all.
    pub(super) window: Option<usize>,
    /// A power of two. A text goes on at its end or, after it was taken back, at a multiple of this position: 1 where a position
    /// is remembered by itself, [`KV_BLOCK`] where a block is remembered as what stands after its last token.
    pub(super) step: usize,
}

impl StateKind {
    /// KV heads and elements of a head, where it is keys and values of all positions.
    pub(super) fn plain(&self) -> Option<[u32; 2]> {
        match self.numbers {
            [0, heads, elements, 0] => Some([heads, elements]),
            _ => None,
        }
    }

    /// The first block that the token at `position` needs.
    pub(super) fn first_needed(&self, position: usize) -> usize {
        self.window.map_or(0, |window| (position + 1).saturating_sub(window)) / KV_BLOCK
    }
}

/// The position from which on a saved text of `n` tokens needs its layers, all of these `kinds`: so that it goes on after them, or
/// with the last anew.
pub(super) fn last_mark<'k>(kinds: impl Iterator<Item = &'k StateKind>, n: usize) -> usize {
    mark(kinds, n.saturating_sub(1))
}

/// The last position, `position` at most, that a text with layers of all these `kinds` can be taken back to.
fn mark<'k>(kinds: impl Iterator<Item = &'k StateKind>, position: usize) -> usize {
    let step = kinds.map(|kind| kind.step).max().unwrap_or(1);
    position / step * step
}

/// Bytes of what [`State::note`] notes of layers of these `kinds`.
pub(super) fn note_bytes(kinds: impl Iterator<Item = impl Borrow<StateKind>>) -> usize {
    let marked = kinds.filter(|kind| kind.borrow().step > 1);
    marked.map(|kind| kind.borrow().block_bytes).fold(0, usize::saturating_add)
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
    /// What the blocks remember, in their order.
    layers: Vec<LayerState>,
    /// The tokens that the layers remember.
    tokens: Vec<TokenId>,
    context_length: usize,
    max_span: usize,
    /// One past the last position that was computed since the text began.
    end: usize,
    /// Up to this token the text was restored; of the blocks before it, layers with a window hold only those needed to go on from
    /// there. 0: nothing was restored without them.
    restored: usize,
    noted: Noted,
}

/// What the layers that go back to marks alone remember at one more position.
#[derive(Default)]
struct Noted {
    /// 0: nothing is noted.
    position: usize,
    /// Of each of these layers the block in which the token before the position stands.
    bytes: Vec<u8>,
}

impl State {
    /// The state of an empty text whose `layers` have room for what `options` say.
    pub(super) fn new(layers: Vec<LayerState>, options: StateOptions) -> Result<Self> {
        let context_length = options.context_length;
        let n_blocks = context_length.div_ceil(KV_BLOCK);
        let forgets = layers.iter().any(|layer| layer.memory.n_blocks() < n_blocks);
        let mut tokens = Vec::new();
        if !room::reserve(&mut tokens, context_length) {
            return Err(Error::new(Kind::Resources, format!("no memory for a context of {context_length} tokens")));
        }
        let max_span = if forgets { options.slack } else { context_length };
        Ok(State { layers, tokens, context_length, max_span, end: 0, restored: 0, noted: Noted::default() })
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

    /// Forgets every token from `position` on, and some before it where a layer can only go back to marks, which are set every
    /// [`KV_BLOCK`] positions and by [`State::note`]; returns how many are held then, so that the caller computes the rest. None are
    /// held where a layer has given up what the next token needs: then the text must be computed anew.
    pub fn rewind(&mut self, position: usize) -> usize {
        if position < self.tokens.len() {
            let mark = mark(self.kinds(), position);
            let mark = if self.noted.position <= position { mark.max(self.noted.position) } else { mark };
            let reaches = |layer: &LayerState| layer.kind.first_needed(mark) >= self.oldest_block(layer);
            let held = if self.layers.iter().all(reaches) { mark } else { 0 };
            self.tokens.truncate(held);
            if held == 0 {
                (self.end, self.restored) = (0, 0);
            }
            if held > 0 && held == self.noted.position {
                self.put_back();
            } else if held < self.noted.position {
                self.noted.position = 0;
            }
        }
        self.tokens.len()
    }

    /// Some layer goes back to marks alone.
    pub fn has_marks(&self) -> bool {
        self.kinds().any(|kind| kind.step > 1)
    }

    /// The position to which the text can be taken back besides those of the other marks; 0: none was noted, or it was taken back
    /// further.
    pub fn noted(&self) -> usize {
        self.noted.position
    }

    /// Has layers that go back to marks alone go back to this position, too, in place of the one that was noted before. False where
    /// there is no memory for it.
    pub fn note(&mut self) -> bool {
        let n_bytes = note_bytes(self.kinds());
        let position = self.position();
        let State { layers, noted, .. } = self;
        noted.position = 0;
        noted.bytes.clear();
        if n_bytes == 0 || position == 0 {
            return true;
        }
        if !room::reserve(&mut noted.bytes, n_bytes) {
            return false;
        }
        let block = (position - 1) / KV_BLOCK;
        let mut write = |bytes: &[u8]| {
            noted.bytes.extend_from_slice(bytes);
            Ok(())
        };
        let mut marked = layers.iter().filter(|layer| layer.kind.step > 1);
        if marked.all(|layer| layer.memory.save_block(block, &mut write).is_ok()) {
            noted.position = position;
        }
        noted.position > 0
    }

    /// Has the layers remember what was noted.
    fn put_back(&mut self) {
        let State { layers, noted, .. } = self;
        let block = (noted.position - 1) / KV_BLOCK;
        let mut bytes = &noted.bytes[..];
        for layer in layers.iter_mut().filter(|layer| layer.kind.step > 1) {
            let (piece, rest) = bytes.split_at(layer.kind.block_bytes);
            layer.memory.restore_block(block, piece);
            bytes = rest;
        }
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

    /// Forgets its text and takes over the first tokens of `other`, a state of the same model: `n` of them, or so many fewer that a
    /// text can go on from there. Does nothing where layers of the other have given up what is needed, or where there is no room.
    pub fn copy_beginning(&mut self, other: &State, n: usize) {
        let n = mark(other.kinds(), n.min(other.position()));
        let mut bytes = Vec::new();
        let most = other.kinds().map(|kind| kind.block_bytes).max().unwrap_or(0);
        if n == 0 || n > self.context_length || !other.holds_needed(0, n) || !room::reserve(&mut bytes, most) {
            return;
        }
        self.rewind(0);
        let mark = last_mark(other.kinds(), n);
        for (to, from) in self.layers.iter_mut().zip(&other.layers) {
            for block in from.kind.first_needed(mark)..n.div_ceil(KV_BLOCK) {
                bytes.clear();
                let mut take = |piece: &[u8]| {
                    bytes.extend_from_slice(piece);
                    Ok(())
                };
                if from.memory.save_block(block, &mut take).is_ok() {
                    to.memory.restore_block(block, &bytes);
                }
            }
        }
        if other.kinds().any(|kind| kind.first_needed(mark) > 0) {
            self.restored = n;
        }
        self.computed(&other.tokens[..n]);
    }

    /// Decodes the key of `position` of KV head `head` of block `layer`, as it is held, into `out` (head_dim).
    ///
    /// Panics where it is not held, or where the block has no attention.
    pub fn key(&self, layer: usize, head: usize, position: usize, out: &mut [f32]) {
        assert!(position < self.position(), "position {position} of {}", self.position());
        let layer = &self.layers[self.place::<KvCache>(layer)];
        assert!(position / KV_BLOCK >= self.oldest_block(layer), "position {position} was given up");
        of::<KvCache>(&*layer.memory).read_key(head, position, out);
    }

    /// What block `layer` remembers by the mixer whose memory is of this type.
    pub(super) fn memory<M: Memory>(&self, layer: usize) -> &M {
        of(&*self.layers[self.place::<M>(layer)].memory)
    }

    /// Where it is among what all blocks remember.
    fn place<M: Memory>(&self, layer: usize) -> usize {
        let first = self.layers.partition_point(|state| state.layer < layer);
        let of_block = self.layers[first..].iter().take_while(|state| state.layer == layer);
        let is = |state: &LayerState| (&*state.memory as &dyn Any).is::<M>();
        first + of_block.into_iter().position(is).expect("a state of the model that computes it")
    }

    /// The same, to be changed.
    pub(super) fn memory_mut<M: Memory>(&mut self, layer: usize) -> &mut M {
        let place = self.place::<M>(layer);
        let memory: &mut dyn Any = &mut *self.layers[place].memory;
        memory.downcast_mut().expect("a state of the model that computes it")
    }

    fn kinds(&self) -> impl Iterator<Item = &StateKind> {
        self.layers.iter().map(|layer| &layer.kind)
    }

    /// Every layer holds all of block `block` of [`KV_BLOCK`] positions.
    pub fn holds_block(&self, block: usize) -> bool {
        self.layers.iter().all(|layer| block >= self.oldest_block(layer))
    }

    /// The oldest block that `layer` holds.
    fn oldest_block(&self, layer: &LayerState) -> usize {
        let needed = layer.kind.first_needed(last_mark(self.kinds(), self.restored));
        match layer.kind.window {
            None => 0,
            Some(_) => self.end.div_ceil(KV_BLOCK).saturating_sub(layer.memory.n_blocks()).max(needed),
        }
    }

    /// Every layer holds the blocks from position `start` on that a part of a text up to its `n`-th token is saved with: those that
    /// the last token needs to be computed anew. After tokens were taken back this may not be so, although the text can go on: to
    /// compute the next token, a layer with a window needs one position less.
    pub(super) fn holds_needed(&self, start: usize, n: usize) -> bool {
        let mark = last_mark(self.kinds(), n);
        let held = |layer: &LayerState| layer.kind.first_needed(mark).max(start / KV_BLOCK) >= self.oldest_block(layer);
        self.layers.iter().all(held)
    }

    /// Writes what the layers remember of block `block`: each only where the text needs it to go on after `n` tokens.
    pub(super) fn save_block(&self, block: usize, n: usize, write: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mark = last_mark(self.kinds(), n);
        let mut needing = self.layers.iter().filter(|layer| block >= layer.kind.first_needed(mark));
        needing.try_for_each(|layer| layer.memory.save_block(block, write))
    }

    /// Puts zeros where the last block that holds a token goes on after position `n`; no token after it may be in use.
    pub(super) fn clear_after(&mut self, compute: &Compute, n: usize) {
        let end = n.next_multiple_of(KV_BLOCK);
        if n < end {
            assert!(self.position() <= n, "positions from {n} on are in use");
            self.layers.iter_mut().for_each(|layer| layer.memory.clear(compute, n..end));
        }
    }

    /// Puts back what the layers remember of `tokens` from position `start` on: `blocks` are what
    /// [`save_block`](Self::save_block) wrote of each of their blocks. Fails where the context is too short for them, and where the
    /// text up to `start` is not held: it never was, or layers with a window have given it up, and the state may then hold less
    /// than before.
    pub(super) fn restore(&mut self, start: usize, tokens: &[TokenId], mut blocks: &[u8]) -> Result<()> {
        let n = start + tokens.len();
        if n > self.context_length {
            let message =
                format!("{} tokens from position {start} on, in a context of {}", tokens.len(), self.context_length);
            return Err(Error::new(Kind::Resources, message).field("saved session").remedy(Remedy::LongerContext));
        }
        if start > self.position() || self.rewind(start) < start {
            let message = format!("the text before position {start} is not held, or no longer");
            return Err(Error::new(Kind::Resources, message).field("saved session").hint("compute it first"));
        }
        let mark = last_mark(self.kinds(), n);
        for block in start / KV_BLOCK..n.div_ceil(KV_BLOCK) {
            for layer in self.layers.iter_mut().filter(|layer| block >= layer.kind.first_needed(mark)) {
                let (piece, rest) = blocks.split_at(layer.kind.block_bytes);
                layer.memory.restore_block(block, piece);
                blocks = rest;
            }
        }
        if self.kinds().any(|kind| kind.first_needed(mark) > start / KV_BLOCK) {
            self.restored = self.restored.max(n);
        }
        self.computed(tokens);
        Ok(())
    }
}

/// `memory` as what it is.
fn of<M: Memory>(memory: &dyn Memory) -> &M {
    let memory: &dyn Any = memory;
    memory.downcast_ref().expect("a state of the model that computes it")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Remembers nothing in its blocks.
    struct Blocks(usize);

    impl Memory for Blocks {
        fn n_blocks(&self) -> usize {
            self.0
        }

        fn save_block(&self, block: usize, write: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
            write(&[block as u8])
        }

        fn restore_block(&mut self, block: usize, bytes: &[u8]) {
            assert_eq!(bytes, [block as u8]);
        }

        fn clear(&mut self, _compute: &Compute, _positions: Range<usize>) {}
    }

    /// A text of `n` tokens with layers of these windows, steps and rings.
    fn text(layers: &[(Option<usize>, usize, usize)], n: usize) -> State {
        let layer = |(layer, &(window, step, n_blocks)): (usize, &(Option<usize>, usize, usize))| LayerState {
            layer,
            kind: StateKind { numbers: [9, 0, 0, 0], block_bytes: 1, window, step },
            memory: Box::new(Blocks(n_blocks)),
        };
        let options = StateOptions { context_length: 320, kv: KvDtype::F16, slack: 40 };
        let mut state = State::new(layers.iter().enumerate().map(layer).collect(), options).expect("memory");
        state.computed(&vec![1; n]);
        state
    }

    /// A recurrent state with room for four marks, among the last of which a text of 40 tokens of slack goes back.
    const MARKS: (Option<usize>, usize, usize) = (Some(2), KV_BLOCK, 4);

    #[test]
    fn a_text_goes_back_as_far_as_all_its_layers_must() {
        let all = (None, 1, 10);
        assert_eq!(text(&[all], 100).rewind(99), 99);
        for position in [64, 65, 95] {
            assert_eq!(text(&[all, MARKS], 100).rewind(position), 64);
        }
        assert_eq!(text(&[MARKS, all], 100).rewind(100), 100, "where it is");
        assert_eq!(text(&[MARKS, all], 100).rewind(31), 0);
        assert_eq!(text(&[MARKS], 320).rewind(319), 288);
        assert_eq!(text(&[MARKS], 320).rewind(230), 224, "the oldest mark");
        assert_eq!(text(&[MARKS], 320).rewind(223), 0, "given up");
        // Its window reaches back from the mark to what the ring has given up.
        assert_eq!(text(&[MARKS, (Some(40), 1, 3)], 319).rewind(318), 288);
        assert_eq!(text(&[MARKS, (Some(40), 1, 2)], 319).rewind(318), 0);
    }

    #[test]
    fn a_text_goes_back_to_what_was_noted_as_well() {
        let mut state = text(&[(None, 1, 10), MARKS], 70);
        assert!(state.has_marks() && state.note() && state.noted() == 70);
        state.computed(&[1; 20]);
        assert_eq!((state.rewind(85), state.noted()), (70, 70));
        state.computed(&[1; 40]);
        assert_eq!((state.rewind(100), state.noted()), (96, 70), "a mark that is nearer");
        assert_eq!(state.rewind(80), 70);
        assert_eq!((state.rewind(69), state.noted()), (64, 0), "before it");
        let mut plain = text(&[(None, 1, 10)], 70);
        assert!(!plain.has_marks() && plain.note() && plain.noted() == 0);
        assert_eq!(plain.rewind(69), 69);
    }

    #[test]
    fn a_saved_text_has_what_its_last_token_needs_anew() {
        let layers = [(None, 1, 10), MARKS, (Some(9), 1, 4)];
        for n in [1, 32, 33, 64, 65, 128, 129, 300] {
            let mut blocks = Vec::new();
            let saved = text(&layers, n);
            for block in 0..n.div_ceil(KV_BLOCK) {
                let mut write = |bytes: &[u8]| {
                    blocks.extend_from_slice(bytes);
                    Ok(())
                };
                saved.save_block(block, n, &mut write).expect("written");
            }
            let mut state = text(&layers, 0);
            state.restore(0, &vec![1; n], &blocks).expect("room");
            assert_eq!(state.position(), n);
            assert_eq!(state.rewind(n - 1), (n - 1) / KV_BLOCK * KV_BLOCK);
        }
    }
    #[test]
    fn what_cannot_be_restored_is_told_by_its_cause() {
        let mut state = text(&[(Some(9), 1, 2)], 300);
        let error =
            |state: &mut State, start, n| state.restore(start, &vec![1; n], &[0; 20]).expect_err("no room").to_string();
        assert!(
            error(&mut state, 288, 33)
                .contains("33 tokens from position 288 on, in a context of 320 (a longer context")
        );
        assert_eq!(state.position(), 300, "nothing was taken back");
        assert!(error(&mut state, 32, 32).contains("the text before position 32 is not held, or no longer"));
        assert_eq!(state.position(), 0, "what the ring has given up must be computed anew");
        assert!(error(&mut state, 32, 32).contains("the text before position 32 is not held"));
    }
}
