//! The section as borrowed tables: checked once, front to back, then read without a copy.

use super::{PreTokenizer, TokenKind};
use crate::error::{Error, Result};
use crate::format::cursor::Cursor;
use crate::token::TokenId;

/// An id that is not there.
pub(super) const ABSENT: u32 = u32::MAX;
pub(super) const MAX_TOKENS: usize = 1 << 20;
pub(super) const MAX_ADDED_BYTES: usize = 256;
pub(super) const MAX_BUCKET: u32 = 64;
pub(super) const MAX_BUCKET_BITS: u32 = 24;
pub(super) const MODEL_BYTE_LEVEL: u32 = 1;
pub(super) const MODEL_SENTENCE_PIECE: u32 = 2;
pub(super) const FLAG_ADD_BOS: u32 = 1;
pub(super) const FLAG_SPACE_PREFIX: u32 = 2;
pub(super) const FLAG_WORDS_APART: u32 = 4;
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
    ends: Words<'a>,
    kinds: &'a [u8],
    text: &'a [u8],
    pub(super) added: Words<'a>,
    byte_ids: Words<'a>,
    pub(super) model: Model<'a>,
}

impl<'a> Tables<'a> {
    /// Checks all of `section` and borrows its tables. Linear time, no heap.
    pub(super) fn read(section: &'a [u8]) -> Result<Self> {
        let mut cursor = Cursor::new(section, "tokenizer");
        let model = cursor.u32("model")?;
        let pre = cursor.u32("pre-tokenizer")?;
        let flags = cursor.u32("flags")?;
        let n = cursor.u32("tokens")? as usize;
        if n == 0 || n > MAX_TOKENS {
            return Err(wrong(format!("{n} tokens, the limit is {MAX_TOKENS}"), 12));
        }
        let bos = optional_id(&mut cursor, "BOS", n)?;
        let eos = optional_id(&mut cursor, "EOS", n)?;
        let unk = optional_id(&mut cursor, "unknown token", n)?;
        let [text_bytes, n_added, n_entries] = [
            cursor.u32("text bytes")? as usize,
            cursor.u32("added tokens")? as usize,
            cursor.u32("merges or pieces")? as usize,
        ];
        let bits = cursor.u32("bucket bits")?;
        let n_words = cursor.u32("whole words")? as usize;
        if bits > MAX_BUCKET_BITS {
            return Err(wrong(format!("{bits} bucket bits, the limit is {MAX_BUCKET_BITS}"), 40));
        }
        let allowed = if model == MODEL_SENTENCE_PIECE {
            FLAG_ADD_BOS | FLAG_SPACE_PREFIX | FLAG_WORDS_APART
        } else {
            FLAG_ADD_BOS
        };
        if flags & !allowed != 0 {
            return Err(wrong(format!("unknown flags {flags:#x}"), 8));
        }
        if n_words > n || n_added > n {
            return Err(wrong(format!("{n_words} whole words and {n_added} added tokens of {n} tokens"), 32));
        }

        let ends = Words::read(&mut cursor, n, "ends")?;
        check_ends(ends, text_bytes)?;
        let kinds = cursor.take(n, "kinds")?;
        if let Some(id) = kinds.iter().position(|code| TokenKind::from_code(*code).is_none()) {
            return Err(wrong(format!("token {id} is of unknown kind {}", kinds[id]), cursor.position() - n + id));
        }
        padding(&mut cursor)?;
        let text = cursor.take(text_bytes, "text")?;
        padding(&mut cursor)?;
        let tokens = Tokens { ends, text };
        let added = tokens.sorted(&mut cursor, n_added, "added tokens")?;
        for id in added.iter() {
            let kind = TokenKind::from_code(kinds[id as usize]);
            let matched = matches!(kind, Some(TokenKind::Control | TokenKind::UserDefined | TokenKind::Unknown));
            if !matched || !(1..=MAX_ADDED_BYTES).contains(&tokens.bytes(id).len()) {
                return Err(wrong(format!("token {id} may not be an added token"), cursor.position()));
            }
        }
        let byte_ids = Words::read(&mut cursor, 256, "byte ids")?;
        ids_in_range(byte_ids.iter().filter(|id| *id != ABSENT), n, "byte ids")?;

        let model = match (model, pre) {
            (MODEL_BYTE_LEVEL, pre) => {
                let Some(pre) = PreTokenizer::from_code(pre) else {
                    return Err(wrong(format!("unknown pre-tokenizer {pre}"), 4));
                };
                let buckets = Buckets::read(&mut cursor, bits, n_entries)?;
                let merges = read_merges(&mut cursor, buckets, n_entries, n)?;
                let words = tokens.sorted(&mut cursor, n_words, "whole words")?;
                Model::ByteLevel { pre, buckets, merges, words }
            }
            (MODEL_SENTENCE_PIECE, 0) if n_words == 0 => {
                let buckets = Buckets::read(&mut cursor, bits, n_entries)?;
                let pieces = Words::read(&mut cursor, n_entries, "pieces")?;
                check_pieces(buckets, pieces, n)?;
                let scores = Words::read(&mut cursor, n, "scores")?;
                if let Some(id) = scores.iter().position(|bits| f32::from_bits(bits).is_nan()) {
                    return Err(wrong(
                        format!("the score of token {id} is not a number"),
                        cursor.position() - 4 * (n - id),
                    ));
                }
                let longest = pieces.iter().map(|entry| tokens.bytes(piece_id(entry)).len()).max().unwrap_or(0);
                let [space_prefix, words_apart] = [FLAG_SPACE_PREFIX, FLAG_WORDS_APART].map(|flag| flags & flag != 0);
                Model::SentencePiece(Pieces { space_prefix, words_apart, buckets, entries: pieces, scores, longest })
            }
            _ => return Err(wrong(format!("unknown model {model} with pre-tokenizer {pre}"), 0)),
        };
        cursor.finish()?;
        Ok(Tables { bos, eos, unk, add_bos: flags & FLAG_ADD_BOS != 0, ends, kinds, text, added, byte_ids, model })
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The bytes of token `id`; none where there is no such token.
    pub(super) fn bytes(&self, id: TokenId) -> &'a [u8] {
        if id as usize >= self.len() { &[] } else { Tokens { ends: self.ends, text: self.text }.bytes(id) }
    }

    pub(super) fn kind(&self, id: TokenId) -> TokenKind {
        self.kinds.get(id as usize).and_then(|code| TokenKind::from_code(*code)).unwrap_or(TokenKind::Unused)
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

#[derive(Clone, Copy)]
struct Tokens<'a> {
    ends: Words<'a>,
    text: &'a [u8],
}

impl<'a> Tokens<'a> {
    fn bytes(self, id: TokenId) -> &'a [u8] {
        let id = id as usize;
        let start = if id == 0 { 0 } else { self.ends.at(id - 1) };
        &self.text[start as usize..self.ends.at(id) as usize]
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

fn wrong(message: String, at: usize) -> Error {
    Error::data(message).field("tokenizer").at(at as u64)
}

fn optional_id(cursor: &mut Cursor, field: &'static str, n: usize) -> Result<Option<TokenId>> {
    let at = cursor.position();
    match cursor.u32(field)? {
        ABSENT => Ok(None),
        id if (id as usize) < n => Ok(Some(id)),
        id => Err(wrong(format!("{field} is token {id} of {n}"), at)),
    }
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
fn read_merges<'a>(cursor: &mut Cursor<'a>, buckets: Buckets, n: usize, n_tokens: usize) -> Result<&'a [[u8; 16]]> {
    let at = cursor.position();
    let merges: &[[u8; 16]] = cursor.take(n.saturating_mul(16), "merges")?.as_chunks().0;
    let (mut last, mut end) = (None, 0);
    for (i, merge) in merges.iter().map(Merge::of).enumerate() {
        let hash = pair_hash(merge.left, merge.right);
        let place = buckets.range(hash);
        if !place.contains(&i) || (i < end && last >= Some((merge.left, merge.right))) {
            return Err(wrong(format!("merge {i} is not in its place"), at + 16 * i));
        }
        if [merge.left, merge.right, merge.merged].iter().any(|id| *id as usize >= n_tokens) {
            return Err(wrong(format!("merge {i} names a token past {n_tokens}"), at + 16 * i));
        }
        (last, end) = (Some((merge.left, merge.right)), place.end);
    }
    Ok(merges)
}

/// Each piece is a token, in order within its bucket.
fn check_pieces(buckets: Buckets, pieces: Words, n_tokens: usize) -> Result<()> {
    ids_in_range(pieces.iter().map(piece_id), n_tokens, "pieces")?;
    for bucket in buckets.starts.0.windows(2) {
        let [start, end] = [0, 1].map(|i| u32::from_le_bytes(bucket[i]) as usize);
        if let Some(i) = (start + 1..end).find(|i| pieces.at(i - 1) >= pieces.at(*i)) {
            return Err(Error::data(format!("piece {i} is not in its place")).field("tokenizer pieces"));
        }
    }
    Ok(())
}
