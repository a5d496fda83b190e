//! A part of a text with its keys and values, as bytes: what a session is saved as, and an entry of a prefix cache.
//!
//! Little-endian, in this order:
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `whitKV` and two zeros |
//! | 4 | version of this layout, 1 |
//! | 4 | numerics version |
//! | 4, 4, 4, 4 | type of the cache (0 f16, 1 int8, 2 f32), layers, KV heads, elements of a head |
//! | 32 | content hash of the model |
//! | 32 | key of the text before this part; zeros at its beginning |
//! | 4 | position of the first token, a multiple of 32 |
//! | 4, 4, 4 | number of tokens, of those with keys and values, bytes of the note |
//! | 4 a token | tokens |
//! | as told | note: what the program that saved it wants to know again |
//! | whole blocks | keys and values in blocks of 32 positions, each `[layer][head][keys, values]`; zeros where there is no token |
//! | 32 | BLAKE3 of all before |

use super::{Model, Session};
use crate::error::{Error, Result};
use crate::format::cursor::{Cursor, Encoder};
use crate::ops::{KV_BLOCK, KvCache, KvDtype, NUMERICS_VERSION};
use crate::token::TokenId;
use alloc::vec::Vec;

const MAGIC: &[u8; 8] = b"whitKV\0\0";
const VERSION: u32 = 1;
const HASH_BYTES: usize = 32;

/// What names a text under [`Settings`]: a hash over its tokens.
pub type Key = [u8; HASH_BYTES];

/// All that keys and values depend on but the tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    model: [u8; HASH_BYTES],
    /// Numerics version, type of the cache, layers, KV heads, elements of a head.
    numbers: [u32; 5],
    block_bytes: u64,
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
    pub fn new(model: &Model<'_>, kv_dtype: KvDtype) -> Settings {
        let c = model.config();
        let kv = KvDtype::ALL.iter().position(|dtype| *dtype == kv_dtype).unwrap_or(0) as u32;
        let numbers = [NUMERICS_VERSION, kv, c.n_layers as u32, c.n_kv_heads as u32, c.head_dim as u32];
        let block_bytes = KvCache::bytes(kv_dtype, c.n_layers, c.n_kv_heads, c.head_dim, KV_BLOCK);
        Settings { model: model.content_hash(), numbers, block_bytes, vocab_size: c.vocab_size }
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
        out.u32(VERSION);
        self.numbers.iter().for_each(|number| out.u32(*number));
        out.bytes(&self.model);
        out.into_bytes()
    }

    /// Refuses a head that other settings wrote, by what differs.
    fn check(&self, cursor: &mut Cursor<'_>) -> Result<()> {
        const WHAT: [&str; 5] = ["numerics", "type of the KV cache", "layers", "KV heads", "elements of a head"];
        if cursor.take(MAGIC.len(), "magic")? != MAGIC {
            return Err(Error::data("this is not a saved session").field("magic").at(0));
        }
        let version = cursor.u32("version")?;
        if version != VERSION {
            let message = format!("version {version} is not {VERSION}, which this program reads");
            return Err(Error::data(message).field("version").at(8));
        }
        for (expected, what) in self.numbers.iter().zip(WHAT) {
            let at = cursor.offset();
            let found = cursor.u32(what)?;
            if found != *expected {
                let message = format!("it was saved with another one ({found}, now {expected})");
                return Err(Error::data(message).field(what).at(at).hint("run it as it was saved, or begin a new one"));
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

/// Hands the bytes of `part` to `write` in order. Positions after the part's held ones must be of no use to `session`.
pub fn save(
    session: &mut Session<'_, '_>,
    settings: &Settings,
    part: Part<'_>,
    write: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    assert!(part.start.is_multiple_of(KV_BLOCK), "a part from position {}", part.start);
    let mut out = Encoder::default();
    out.bytes(&settings.head());
    out.bytes(&part.parent);
    for number in [part.start, part.tokens.len(), part.n_held, part.note.len()] {
        let number = u32::try_from(number).map_err(|_| Error::data("too long to be saved").field("saved session"))?;
        out.u32(number);
    }
    part.tokens.iter().for_each(|token| out.u32(*token));
    out.bytes(part.note);
    let mut hash = blake3::Hasher::new();
    let mut both = |bytes: &[u8]| {
        hash.update(bytes);
        write(bytes)
    };
    both(&out.into_bytes())?;
    session.clear_after(part.start + part.n_held);
    for block in part.start / KV_BLOCK..(part.start + part.n_held).div_ceil(KV_BLOCK) {
        session.block(block).try_for_each(&mut both)?;
    }
    write(hash.finalize().as_bytes())
}

impl<'b> Saved<'b> {
    /// Reads what [`save`] wrote under the same `settings`; every byte is verified.
    pub fn read(bytes: &'b [u8], settings: &Settings) -> Result<Saved<'b>> {
        let mut cursor = Cursor::new(bytes, "saved session");
        settings.check(&mut cursor)?;
        let mut parent = Key::default();
        parent.copy_from_slice(cursor.take(HASH_BYTES, "parent")?);
        let start = cursor.u32("start")? as usize;
        let n_tokens = cursor.u32("tokens")? as usize;
        let n_held = cursor.u32("held tokens")? as usize;
        let n_note = cursor.u32("note")? as usize;
        let wrong = |what: &str| Error::data(what).field("saved session").at(80).hint("remove the file");
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
        let n_bytes = settings.block_bytes.checked_mul(n_held.div_ceil(KV_BLOCK) as u64);
        let n_bytes = n_bytes.and_then(|n| usize::try_from(n).ok()).ok_or_else(|| wrong("it is too large"))?;
        let blocks = cursor.take(n_bytes, "keys and values")?;
        let before = cursor.position();
        let hash = cursor.take(HASH_BYTES, "checksum")?;
        cursor.finish()?;
        if *blake3::hash(&bytes[..before]).as_bytes() != *hash {
            let error = Error::data("the checksum is wrong: the file is damaged").field("checksum").at(before as u64);
            return Err(error.hint("remove the file"));
        }
        Ok(Saved { start, parent, tokens, n_held, note, blocks })
    }

    /// Puts the keys and values into `session`, which holds the text before them.
    pub fn restore(&self, session: &mut Session<'_, '_>) -> Result<()> {
        session.restore(self.start, self.n_held, self.blocks)
    }
}
