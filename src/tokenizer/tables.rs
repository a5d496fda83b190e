//! The section as borrowed tables: checked once, front to back, then read without a copy.

use super::header::{ABSENT, FLAG_ADD_BOS, FLAG_SPACE_PREFIX, FLAG_WORDS_APART, Header, wrong};
use super::{PreTokenizer, TokenKind};
use crate::error::{Error, Result};
use crate::format::cursor::Cursor;
use crate::token::TokenId;

pub(super) const MAX_ADDED_BYTES: usize = 256;
pub(super) const MAX_BUCKET: u32 = 64;
/// Bits of a piece entry that hold the id; the tag is above.
pub(super) const ID_BITS: u32 = 24;

/// A table of little-endian u32.
#[derive(Debug, Clone, Copy)]
pub(super) struct Words<'a>(&'a [[u8; 4]]);

impl<'a> Words<'a> {
    fn read(cursor: &mut Cursor<'a>, n: usize, field: &'static str) -> Result<Self> {
        // A product that wraps on a 32-bit host is more than any slice holds.
        Ok(Words(cursor.take(n.saturating_mul(4), field)?.as_chunks().0))
    }

    pub(super) fn len(self) -> usize {
        self.0.len()
    }

    pub(super) fn at(self, i: usize) -> u32 {
        u32::from_le_bytes(self.0[i])
    }

    pub(super) fn iter(self) -> impl Iterator<Item = u32> + 'a {
        self.0.iter().map(|word| u32::from_le_bytes(*word))
    }
}

/// Entries parted into 2^bits buckets by a hash.
#[derive(Debug, Clone, Copy)]
pub(super) struct Buckets<'a> {
    bits: u32,
    starts: Words<'a>,
}

impl<'a> Buckets<'a> {
    /// Entries of the bucket that `hash`'s top bits name.
    pub(super) fn range(self, hash: u64) -> core::ops::Range<usize> {
        let bucket = bucket(hash, self.bits);
        self.starts.at(bucket) as usize..self.starts.at(bucket + 1) as usize
    }

    fn read(cursor: &mut Cursor<'a>, bits: u32, entries: usize) -> Result<Self> {
        let at = cursor.position() as u64;
        let starts = Words::read(cursor, (1 << bits) + 1, "buckets")?;
        let mut last = 0;
        for (i, start) in starts.iter().enumerate() {
            if (i == 0 && start != 0) || start < last || start - last > MAX_BUCKET {
                let message = format!("bucket {i} begins at {start}, the one before at {last}");
                return Err(Error::data(message).field("tokenizer buckets").at(at + 4 * i as u64));
            }
            last = start;
        }
        if last as usize != entries {
            let message = format!("the buckets end at {last}, there are {entries} entries");
            return Err(Error::data(message).field("tokenizer buckets").at(at));
        }
        Ok(Buckets { bits, starts })
    }
}

/// The top `bits` of `hash`.
pub(super) fn bucket(hash: u64, bits: u32) -> usize {
    hash.checked_shr(64 - bits).unwrap_or(0) as usize
}

/// The hash of a pair of ids.
pub(super) fn pair_hash(left: TokenId, right: TokenId) -> u64 {
    (u64::from(left) << 32 | u64::from(right)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// The hash of a piece, widened so that its top bits choose the bucket, and its tag.
pub(super) fn piece_hash(piece: &[u8]) -> (u64, u32) {
    let fnv = piece.iter().fold(0x811c_9dc5_u32, |hash, b| (hash ^ u32::from(*b)).wrapping_mul(0x0100_0193));
    (u64::from(fnv.wrapping_mul(0x9e37_79b1)) << 32, fnv & 0xff)
}

/// A merge: `left` and `right` become `merged`; the lowest rank goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Merge {
    pub(super) left: TokenId,
    pub(super) right: TokenId,
    pub(super) rank: u32,
    pub(super) merged: TokenId,
}

impl Merge {
    fn of(row: &[u8; 16]) -> Self {
        let words = row.as_chunks::<4>().0;
        let [left, right, rank, merged] = [0, 1, 2, 3].map(|i| u32::from_le_bytes(words[i]));
        Merge { left, right, rank, merged }
    }
}

/// The tables of the SentencePiece-style model.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pieces<'a> {
    pub(super) space_prefix: bool,
    /// Whether no piece has a space after another character, so that words merge apart from each other.
    pub(super) words_apart: bool,
    pub(super) buckets: Buckets<'a>,
    pub(super) entries: Words<'a>,
    pub(super) scores: Words<'a>,
    /// Bytes of the longest piece.
    pub(super) longest: usize,
}

impl<'a> Pieces<'a> {
    fn read(cursor: &mut Cursor<'a>, header: &Header, tokens: Tokens) -> Result<Self> {
        let buckets = Buckets::read(cursor, header.bits, header.n_entries)?;
        let entries = Words::read(cursor, header.n_entries, "pieces")?;
        tokens.check_text(entries.iter().map(piece_id), "pieces")?;
        for bucket in buckets.starts.0.windows(2) {
            let [start, end] = [0, 1].map(|i| u32::from_le_bytes(bucket[i]) as usize);
            if let Some(i) = (start + 1..end).find(|i| entries.at(i - 1) >= entries.at(*i)) {
                return Err(Error::data(format!("piece {i} is not in its place")).field("tokenizer pieces"));
            }
        }
        let at = cursor.position();
        let scores = Words::read(cursor, header.n_tokens, "scores")?;
        if let Some(id) = scores.iter().position(|bits| f32::from_bits(bits).is_nan()) {
            return Err(wrong(format!("the score of token {id} is not a number"), at + 4 * id));
        }
        let longest = entries.iter().map(|entry| tokens.bytes(piece_id(entry)).len()).max().unwrap_or(0);
        let [space_prefix, words_apart] = [FLAG_SPACE_PREFIX, FLAG_WORDS_APART].map(|flag| header.has(flag));
        Ok(Pieces { space_prefix, words_apart, buckets, entries, scores, longest })
    }
}

/// The tables of one of the two models.
#[derive(Debug, Clone, Copy)]
pub(super) enum Model<'a> {
    ByteLevel { pre: PreTokenizer, buckets: Buckets<'a>, merges: &'a [[u8; 16]], words: Words<'a> },
    SentencePiece(Pieces<'a>),
}

/// Every table of the section.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tables<'a> {
    pub(super) bos: Option<TokenId>,
    pub(super) eos: Option<TokenId>,
    pub(super) unk: Option<TokenId>,
    pub(super) add_bos: bool,
    tokens: Tokens<'a>,
    pub(super) added: Words<'a>,
    byte_ids: Words<'a>,
    pub(super) model: Model<'a>,
}

impl<'a> Tables<'a> {
    /// Checks all of `section` and borrows its tables. Linear time, no heap.
    pub(super) fn read(section: &'a [u8]) -> Result<Self> {
        let mut cursor = Cursor::new(section, "tokenizer");
        let header = Header::read(&mut cursor)?;
        let n = header.n_tokens;
        let ends = Words::read(&mut cursor, n, "ends")?;
        check_ends(ends, header.text_bytes)?;
        let kinds = cursor.take(n, "kinds")?;
        if let Some(id) = kinds.iter().position(|code| TokenKind::from_code(*code).is_none()) {
            return Err(wrong(format!("token {id} is of unknown kind {}", kinds[id]), cursor.position() - n + id));
        }
        padding(&mut cursor)?;
        let text = cursor.take(header.text_bytes, "text")?;
        padding(&mut cursor)?;
        let tokens = Tokens { ends, kinds, text };
        let added = tokens.sorted(&mut cursor, header.n_added, "added tokens")?;
        for id in added.iter() {
            let matched = matches!(tokens.kind(id), TokenKind::Control | TokenKind::UserDefined | TokenKind::Unknown);
            if !matched || !(1..=MAX_ADDED_BYTES).contains(&tokens.bytes(id).len()) {
                return Err(wrong(format!("token {id} may not be an added token"), cursor.position()));
            }
        }
        let byte_ids = Words::read(&mut cursor, 256, "byte ids")?;
        tokens.check_text(byte_ids.iter().filter(|id| *id != ABSENT), "byte ids")?;
        let model = match header.pre {
            Some(pre) => {
                let buckets = Buckets::read(&mut cursor, header.bits, header.n_entries)?;
                let merges = read_merges(&mut cursor, buckets, header.n_entries, tokens)?;
                let words = tokens.sorted(&mut cursor, header.n_words, "whole words")?;
                tokens.check_text(words.iter(), "whole words")?;
                Model::ByteLevel { pre, buckets, merges, words }
            }
            None => Model::SentencePiece(Pieces::read(&mut cursor, &header, tokens)?),
        };
        cursor.finish()?;
        let Header { bos, eos, unk, .. } = header;
        Ok(Tables { bos, eos, unk, add_bos: header.has(FLAG_ADD_BOS), tokens, added, byte_ids, model })
    }

    pub(super) fn len(&self) -> usize {
        self.tokens.ends.len()
    }

    /// The bytes of token `id`; none where there is no such token.
    pub(super) fn bytes(&self, id: TokenId) -> &'a [u8] {
        if id as usize >= self.len() { &[] } else { self.tokens.bytes(id) }
    }

    pub(super) fn kind(&self, id: TokenId) -> TokenKind {
        self.tokens.kind(id)
    }

    /// The token of a single byte.
    pub(super) fn byte_id(&self, byte: u8) -> Option<TokenId> {
        Some(self.byte_ids.at(byte.into())).filter(|id| *id != ABSENT)
    }

    /// The id with exactly these bytes in a table sorted by bytes.
    pub(super) fn find(&self, table: Words<'a>, bytes: &[u8]) -> Option<TokenId> {
        table.0.binary_search_by(|id| self.bytes(u32::from_le_bytes(*id)).cmp(bytes)).ok().map(|i| table.at(i))
    }
}

/// The merge of two ids.
pub(super) fn find_merge(buckets: Buckets, merges: &[[u8; 16]], left: TokenId, right: TokenId) -> Option<Merge> {
    let bucket = &merges[buckets.range(pair_hash(left, right))];
    bucket.iter().map(Merge::of).find(|merge| (merge.left, merge.right) == (left, right))
}

/// The id in an entry of the piece table.
pub(super) fn piece_id(entry: u32) -> TokenId {
    entry & ((1 << ID_BITS) - 1)
}

/// Bytes and kind of each token.
#[derive(Debug, Clone, Copy)]
struct Tokens<'a> {
    ends: Words<'a>,
    kinds: &'a [u8],
    text: &'a [u8],
}

impl<'a> Tokens<'a> {
    fn bytes(self, id: TokenId) -> &'a [u8] {
        let id = id as usize;
        let start = if id == 0 { 0 } else { self.ends.at(id - 1) };
        &self.text[start as usize..self.ends.at(id) as usize]
    }

    fn kind(self, id: TokenId) -> TokenKind {
        self.kinds.get(id as usize).and_then(|code| TokenKind::from_code(*code)).unwrap_or(TokenKind::Unused)
    }

    /// Whether text may become token `id`: it exists and is no control token.
    fn is_text(self, id: TokenId) -> bool {
        (id as usize) < self.kinds.len() && !matches!(self.kind(id), TokenKind::Control | TokenKind::Unknown)
    }

    fn check_text(self, mut ids: impl Iterator<Item = TokenId>, field: &'static str) -> Result<()> {
        match ids.find(|id| !self.is_text(*id)) {
            Some(id) => Err(no_text(id, self.kinds.len()).field(format!("tokenizer {field}"))),
            None => Ok(()),
        }
    }

    /// Reads `n` ids that ascend strictly by their bytes.
    fn sorted(self, cursor: &mut Cursor<'a>, n: usize, field: &'static str) -> Result<Words<'a>> {
        let at = cursor.position();
        let ids = Words::read(cursor, n, field)?;
        ids_in_range(ids.iter(), self.ends.len(), field)?;
        let falls = (1..n).find(|i| self.bytes(ids.at(i - 1)) >= self.bytes(ids.at(*i)));
        match falls {
            Some(i) => Err(wrong(format!("{field} do not ascend at entry {i}"), at + 4 * i)),
            None => Ok(ids),
        }
    }
}

fn no_text(id: TokenId, n: usize) -> Error {
    Error::data(format!("token {id} of {n} is none that text may become"))
}

fn ids_in_range(mut ids: impl Iterator<Item = TokenId>, n: usize, field: &'static str) -> Result<()> {
    match ids.find(|id| *id as usize >= n) {
        Some(id) => Err(Error::data(format!("token {id} of {n}")).field(format!("tokenizer {field}"))),
        None => Ok(()),
    }
}

/// Refuses anything but zeros up to the next multiple of 4.
fn padding(cursor: &mut Cursor) -> Result<()> {
    let at = cursor.position();
    let bytes = cursor.take(at.next_multiple_of(4) - at, "padding")?;
    if bytes.iter().any(|b| *b != 0) {
        return Err(wrong("padding is not zero".into(), at));
    }
    Ok(())
}

fn check_ends(ends: Words, text_bytes: usize) -> Result<()> {
    let mut last = 0;
    for (id, end) in ends.iter().enumerate() {
        if end < last || end as usize > text_bytes {
            return Err(wrong(format!("token {id} is text {last}..{end} of {text_bytes} bytes"), 48 + 4 * id));
        }
        last = end;
    }
    if last as usize != text_bytes {
        return Err(wrong(format!("the tokens end at byte {last} of {text_bytes} of text"), 28));
    }
    Ok(())
}

/// Reads the merges; each lies in its bucket, in order, so none is there twice and each is found.
fn read_merges<'a>(cursor: &mut Cursor<'a>, buckets: Buckets, n: usize, tokens: Tokens) -> Result<&'a [[u8; 16]]> {
    let at = cursor.position();
    let merges: &[[u8; 16]] = cursor.take(n.saturating_mul(16), "merges")?.as_chunks().0;
    let (mut last, mut end) = (None, 0);
    for (i, merge) in merges.iter().map(Merge::of).enumerate() {
        let hash = pair_hash(merge.left, merge.right);
        let place = buckets.range(hash);
        if !place.contains(&i) || (i < end && last >= Some((merge.left, merge.right))) {
            return Err(wrong(format!("merge {i} is not in its place"), at + 16 * i));
        }
        if let Some(id) = [merge.left, merge.right, merge.merged].into_iter().find(|id| !tokens.is_text(*id)) {
            return Err(no_text(id, tokens.kinds.len()).field("tokenizer merges").at((at + 16 * i) as u64));
        }
        (last, end) = (Some((merge.left, merge.right)), place.end);
    }
    Ok(merges)
}
