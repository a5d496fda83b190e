//! A part of a text with its keys and values, as bytes: what a session is saved as, and an entry of a prefix cache.
//!
//! Little-endian, in this order:
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `whitKV` and two zeros |
//! | 4 | version of this layout, 1 or 2 |
//! | 4 | numerics version |
//! | 4, 4 | type of the cache (0 f16, 1 int8, 2 f32, 3 q4), layers |
//! | 4, 4 | version 1, where all layers remember the same and every position: KV heads, elements of a head |
//! | 16 a layer | version 2: kind of its state, and three numbers that the kind gives a meaning; of keys and values 0, then KV heads, elements of a head, window (0: all positions); of a short convolution 1, then channels, width of the kernel, 0; of a delta net 2, then heads of keys times 2^16 plus heads, width of keys times 2^16 plus width of values, width of the kernel; of a state space with heads 3, then groups times 2^16 plus heads, width of states times 2^16 plus width of heads, width of the kernel; of a state space of channels 4, then channels, width of states, width of the kernel; of a layer with two mixers, the same of the second |
//! | 32 | content hash of the model |
//! | 32 | key of the text before this part; zeros at its beginning |
//! | 4 | position of the first token, a multiple of 32 |
//! | 4, 4, 4 | number of tokens, of those with keys and values, bytes of the note |
//! | 4 a token | tokens |
//! | as said | note: what the program that saved it wants to know again |
//! | whole blocks | what the layers remember in blocks of 32 positions, zeros where there is no token, each layer after layer: of attention `[head][keys, values]`, of a short convolution its inputs as f32, `[position][channel]`, of a delta net what stands after the last token of the block as f32, `[head][width of keys + 1][width of values]`, then the last inputs of its convolution, of a state space likewise `[head][width of states + 1][width of heads]`, each 16 channels being a head; of a layer with a window, or with a kernel of some width, only the blocks that the text after this part needs |
//! | 32 | BLAKE3 of all before |
//!
//! In the file of a session, records may follow ([`journal`](super::journal)).

use super::language_model::Model;
use super::state::{State, StateKind, last_mark};
use crate::compute::Compute;
use crate::error::{Error, Result};
use crate::format::cursor::{Cursor, Encoder};
use crate::ops::{KV_BLOCK, KvDtype, NUMERICS_VERSION};
use crate::token::TokenId;
use alloc::string::String;
use alloc::vec::Vec;

const MAGIC: &[u8; 8] = b"whitKV\0\0";
const HASH_BYTES: usize = 32;

/// What names a text under [`Settings`]: a hash over its tokens.
pub type Key = [u8; HASH_BYTES];

/// All that keys and values depend on but the tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    model: [u8; HASH_BYTES],
    version: u32,
    /// Numerics version, type of the cache, layers, and what the version says of these.
    numbers: Vec<u32>,
    /// What the layers remember, each by one mixer or two.
    layers: Vec<StateKind>,
    /// The number of the layer of each of these.
    numbers_of_layers: Vec<usize>,
    vocab_size: usize,
}

/// A part of a text, to be saved.
#[derive(Debug, Clone, Copy)]
pub struct Part<'p> {
    /// Position of the first token, a multiple of [`KV_BLOCK`].
    pub start: usize,
    /// Key of the text before it.
    pub parent: Key,
    /// Its tokens.
    pub tokens: &'p [TokenId],
    /// How many of them, from the first on, the session holds keys and values of.
    pub n_held: usize,
    /// What its reader wants to know besides.
    pub note: &'p [u8],
}

/// A part of a text, read and verified.
#[derive(Debug)]
pub struct Saved<'b> {
    /// Position of the first token.
    pub start: usize,
    /// Key of the text before it.
    pub parent: Key,
    /// Its tokens.
    pub tokens: Vec<TokenId>,
    /// How many of them have keys and values.
    pub n_held: usize,
    /// What its writer wanted to know again.
    pub note: &'b [u8],
    blocks: &'b [u8],
}

impl Settings {
    /// Those of `model` with a cache of type `kv`.
    pub fn new(model: &Model, kv_dtype: KvDtype) -> Settings {
        let c = model.config();
        let kv = KvDtype::ALL.iter().position(|dtype| *dtype == kv_dtype).unwrap_or(0) as u32;
        let layers = c.layers.iter().enumerate();
        let kinds = layers.flat_map(|(i, layer)| layer.state_kinds(kv_dtype).map(move |kind| (i, kind)));
        let (numbers_of_layers, layers): (Vec<usize>, Vec<StateKind>) = kinds.unzip();
        let mut numbers = vec![NUMERICS_VERSION, kv, c.n_layers() as u32];
        let alike = layers.iter().all(|kind| *kind == layers[0]);
        let version = match layers.first().and_then(StateKind::plain) {
            Some(heads) if alike => {
                numbers.extend(heads);
                1
            }
            _ => {
                numbers.extend(layers.iter().flat_map(|kind| kind.numbers));
                2
            }
        };
        Settings { model: model.content_hash(), version, numbers, layers, numbers_of_layers, vocab_size: c.vocab_size }
    }

    /// Bytes of the blocks of a part of `n_held` tokens from position `start` on.
    fn block_bytes(&self, start: usize, n_held: usize) -> Option<u64> {
        let (first, end) = (start / KV_BLOCK, (start + n_held).div_ceil(KV_BLOCK));
        let mark = last_mark(self.layers.iter(), start + n_held);
        self.layers.iter().try_fold(0_u64, |sum, kind| {
            let n_blocks = end - end.min(first.max(kind.first_needed(mark)));
            sum.checked_add((kind.block_bytes as u64).checked_mul(n_blocks as u64)?)
        })
    }

    /// Bytes of a part of [`KV_BLOCK`] tokens without a note, at most.
    pub fn most_block_bytes(&self) -> usize {
        const NUMBERS: usize = 4;
        let head = self.head().len() + HASH_BYTES + size_of::<u32>() * (NUMBERS + KV_BLOCK);
        let blocks = self.layers.iter().map(|kind| kind.block_bytes).fold(0, usize::saturating_add);
        blocks.saturating_add(head + HASH_BYTES)
    }

    /// The key of the text that `tokens` continue from `parent`.
    pub fn key(&self, parent: &Key, tokens: &[TokenId]) -> Key {
        let mut hash = blake3::Hasher::new();
        hash.update(&self.head());
        hash.update(parent);
        tokens.iter().for_each(|token| {
            hash.update(&token.to_le_bytes());
        });
        hash.finalize().into()
    }

    /// The bytes up to the content hash, that included.
    fn head(&self) -> Vec<u8> {
        let mut out = Encoder::default();
        out.bytes(MAGIC);
        out.u32(self.version);
        self.numbers.iter().for_each(|number| out.u32(*number));
        out.bytes(&self.model);
        out.into_bytes()
    }

    /// What the number `i` of the settings says.
    fn what(&self, i: usize) -> String {
        const ALL: [&str; 3] = ["numerics", "type of the KV cache", "layers"];
        const KINDS: [[&str; 4]; 5] = [
            ["kind of state", "KV heads", "elements of a head", "window"],
            ["kind of state", "channels", "width of the kernel", "zero"],
            ["kind of state", "heads", "widths of keys and values", "width of the kernel"],
            ["kind of state", "groups and heads", "widths of states and heads", "width of the kernel"],
            ["kind of state", "channels", "width of states", "width of the kernel"],
        ];
        match (ALL.get(i), self.version) {
            (Some(what), _) => (*what).into(),
            (None, 1) => KINDS[0][i - ALL.len() + 1].into(),
            (None, _) => {
                let i = i - ALL.len();
                let (state, number) = (i / 4, i % 4);
                let kind = self.layers.get(state).map_or(0, |kind| kind.numbers[0] as usize);
                let layer = self.numbers_of_layers.get(state).copied().unwrap_or(state);
                format!("{} of layer {layer}", KINDS[kind.min(KINDS.len() - 1)][number])
            }
        }
    }

    /// Refuses a head that other settings wrote, by what differs.
    fn check(&self, cursor: &mut Cursor<'_>) -> Result<()> {
        if cursor.take(MAGIC.len(), "magic")? != MAGIC {
            return Err(Error::data("this is not a saved session").field("magic").at(0));
        }
        let version = cursor.u32("version")?;
        if version != self.version {
            let error = Error::data(match version {
                1 => "its layers all remember alike and every position, which those of this model do not".into(),
                2 => "its layers differ, have windows or are no attention, which those of this model do not".into(),
                _ => format!("version {version} is not one of 1 and 2, which this program reads"),
            });
            let error = error.field("version").at(8);
            return Err(if matches!(version, 1 | 2) {
                error.hint("run it with its own model, or begin a new one")
            } else {
                error
            });
        }
        for (i, expected) in self.numbers.iter().enumerate() {
            let at = cursor.offset();
            let found = cursor.u32("settings")?;
            if found != *expected {
                let error = Error::data(format!("it was saved with another one ({found}, now {expected})"));
                return Err(error.field(self.what(i)).at(at).hint("run it as it was saved, or begin a new one"));
            }
        }
        let at = cursor.offset();
        if cursor.take(HASH_BYTES, "model")? != self.model {
            let error = Error::data("it was saved with another model file").field("model").at(at);
            return Err(error.hint("run it with that model, or begin a new one"));
        }
        Ok(())
    }
}

/// Hands the bytes of `part` to `write` in order. Positions after the part's held ones must be of no use to `state`. Where a
/// layer with a window lacks what the text after the part needs, because tokens were taken back, the part is saved as one
/// without keys and values, and is computed anew.
///
/// The settings name the model by what its file says of its weights: who saves has had them verified.
pub fn save(
    state: &mut State,
    compute: &Compute,
    settings: &Settings,
    part: Part<'_>,
    write: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let mut hash = blake3::Hasher::new();
    let mut both = |bytes: &[u8]| {
        hash.update(bytes);
        write(bytes)
    };
    save_unsealed(state, compute, settings, part, &mut both)?;
    write(&seal_of(&hash))
}

/// The same but for the checksum at the end: where a state is not to wait for that, [`seal`] makes it later.
pub fn save_unsealed(
    state: &mut State,
    compute: &Compute,
    settings: &Settings,
    part: Part<'_>,
    write: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    assert!(part.start.is_multiple_of(KV_BLOCK), "a part from position {}", part.start);
    let n_held = if state.holds_needed(part.start, part.start + part.n_held) { part.n_held } else { 0 };
    let mut out = Encoder::default();
    out.bytes(&settings.head());
    out.bytes(&part.parent);
    for number in [part.start, part.tokens.len(), n_held, part.note.len()] {
        let number = u32::try_from(number).map_err(|_| Error::data("too long to be saved").field("saved session"))?;
        out.u32(number);
    }
    part.tokens.iter().for_each(|token| out.u32(*token));
    out.bytes(part.note);
    write(&out.into_bytes())?;
    let end = part.start + n_held;
    state.clear_after(compute, end);
    (part.start / KV_BLOCK..end.div_ceil(KV_BLOCK)).try_for_each(|block| state.save_block(block, end, write))
}

/// The checksum that follows what [`save_unsealed`] wrote.
pub fn seal(unsealed: &[u8]) -> [u8; HASH_BYTES] {
    seal_of(blake3::Hasher::new().update(unsealed))
}

fn seal_of(hash: &blake3::Hasher) -> [u8; HASH_BYTES] {
    hash.finalize().into()
}

impl<'b> Saved<'b> {
    /// Whether `bytes` begin as what [`save`] wrote does.
    pub fn is_one(bytes: &[u8]) -> bool {
        bytes.starts_with(MAGIC)
    }

    /// Reads what [`save`] wrote under the same `settings`; every byte is verified.
    pub fn read(bytes: &'b [u8], settings: &Settings) -> Result<Saved<'b>> {
        let (saved, end) = Self::read_first(bytes, settings)?;
        match bytes.len() - end {
            0 => Ok(saved),
            n => {
                let error = Error::data(format!("{n} unexpected bytes at the end")).field("saved session");
                Err(error.at(end as u64))
            }
        }
    }

    /// Reads what [`save`] wrote at the beginning of `bytes`, and where it ends; each of its bytes is verified.
    pub fn read_first(bytes: &'b [u8], settings: &Settings) -> Result<(Saved<'b>, usize)> {
        let mut cursor = Cursor::new(bytes, "saved session");
        settings.check(&mut cursor)?;
        let mut parent = Key::default();
        parent.copy_from_slice(cursor.take(HASH_BYTES, "parent")?);
        let numbers_at = cursor.offset();
        let start = cursor.u32("start")? as usize;
        let n_tokens = cursor.u32("tokens")? as usize;
        let n_held = cursor.u32("held tokens")? as usize;
        let n_note = cursor.u32("note")? as usize;
        let wrong = |what: &str| Error::data(what).field("saved session").at(numbers_at).hint("remove the file");
        if !start.is_multiple_of(KV_BLOCK) || n_held > n_tokens {
            return Err(wrong("its numbers do not fit together"));
        }
        if n_tokens > cursor.left() / size_of::<TokenId>() {
            return Err(wrong("it has fewer bytes than tokens"));
        }
        let at = cursor.offset();
        let tokens = (0..n_tokens).map(|_| cursor.u32("tokens")).collect::<Result<Vec<_>>>()?;
        if let Some(i) = tokens.iter().position(|token| *token as usize >= settings.vocab_size) {
            let message = format!("token {} is outside the vocabulary of {}", tokens[i], settings.vocab_size);
            return Err(Error::data(message).field("tokens").at(at + 4 * i as u64).hint("remove the file"));
        }
        let note = cursor.take(n_note, "note")?;
        let n_bytes = settings.block_bytes(start, n_held);
        let n_bytes = n_bytes.and_then(|n| usize::try_from(n).ok()).ok_or_else(|| wrong("it is too large"))?;
        let blocks = cursor.take(n_bytes, "keys and values")?;
        let before = cursor.position();
        let hash = cursor.take(HASH_BYTES, "checksum")?;
        if *blake3::hash(&bytes[..before]).as_bytes() != *hash {
            let error = Error::data("the checksum is wrong: the file is damaged").field("checksum").at(before as u64);
            return Err(error.hint("remove the file"));
        }
        Ok((Saved { start, parent, tokens, n_held, note, blocks }, cursor.position()))
    }

    /// Puts the keys and values into `state`, which holds the text before them.
    pub fn restore(&self, state: &mut State) -> Result<()> {
        state.restore(self.start, &self.tokens[..self.n_held], self.blocks)
    }
}
