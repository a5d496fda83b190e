//! The section as borrowed tables: checked once, front to back, then read without a copy.

use super::header::{
    ABSENT, FLAG_ADD_BOS, FLAG_FUSE_UNKNOWN, FLAG_SPACE_PREFIX, FLAG_WORDS_APART, Header, Kind, wrong,
};
use super::names::Names;
use super::steps::Steps;
use super::tokens::{MAX_ADDED_BYTES, Tokens, check_ends, ids_in_range, no_text};
use super::words::{Words, padding};
use super::{PreTokenizer, TokenKind};
use crate::error::{Error, Result};
use crate::format::cursor::Cursor;
use crate::token::TokenId;

pub(super) const MAX_BUCKET: u32 = 64;
/// Bits of a piece entry that hold the id; the tag is above.
pub(super) const ID_BITS: u32 = 24;

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

/// What cuts text into the pieces in which symbols are merged.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cut<'a> {
    Known(PreTokenizer),
    Steps(Steps<'a>),
}

/// The tables of merging by rank.
#[derive(Debug, Clone, Copy)]
pub(super) struct Merges<'a> {
    pub(super) cut: Cut<'a>,
    /// Characters, ascending, and their tokens; without them the symbols are bytes.
    pub(super) characters: Option<(Words<'a>, Words<'a>)>,
    pub(super) buckets: Buckets<'a>,
    pub(super) merges: &'a [[u8; 16]],
    /// Pieces that are a token although their merges lead elsewhere.
    pub(super) words: Names<'a>,
    /// Whether a run of symbols that have no token becomes one unknown token.
    pub(super) fuse_unknown: bool,
    /// Whether decoding takes the first space of a text off.
    pub(super) strips_space: bool,
}

/// The tables of one of the models.
#[derive(Debug, Clone, Copy)]
pub(super) enum Model<'a> {
    Merges(Merges<'a>),
    SentencePiece(Pieces<'a>),
}

/// Every table of the section.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tables<'a> {
    pub(super) bos: Option<TokenId>,
    pub(super) eos: Option<TokenId>,
    pub(super) unk: Option<TokenId>,
    pub(super) add_bos: bool,
    pub(super) tokens: Tokens<'a>,
    /// Found in text as it is.
    pub(super) added: Names<'a>,
    /// What is done to text next.
    pub(super) normalizer: Steps<'a>,
    /// Found in text after that.
    pub(super) normalized: Names<'a>,
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
        let ids = Words::read(&mut cursor, header.n_added, "added tokens")?;
        ids_in_range(ids.iter(), n, "added tokens")?;
        let byte_ids = Words::read(&mut cursor, 256, "byte ids")?;
        tokens.check_text(byte_ids.iter().filter(|id| *id != ABSENT), "byte ids")?;
        let mut tables = Tables {
            bos: header.bos,
            eos: header.eos,
            unk: header.unk,
            add_bos: header.has(FLAG_ADD_BOS),
            tokens,
            added: Names::texts(ids),
            normalizer: Steps::NONE,
            normalized: Names::NONE,
            byte_ids,
            model: match header.kind {
                Kind::Scores => Model::SentencePiece(Pieces::read(&mut cursor, &header, tokens)?),
                Kind::Bytes(pre) => Model::Merges(Merges::read(&mut cursor, &header, tokens, Cut::Known(pre))?),
                Kind::Steps { .. } => Model::Merges(Merges::NONE),
            },
        };
        if let Kind::Steps { characters } = header.kind {
            tables.added = Names::read(&mut cursor, Some(ids), MAX_ADDED_BYTES)?;
            tables.normalizer = Steps::read(section, &mut cursor)?;
            tables.normalized = Names::read(&mut cursor, None, MAX_ADDED_BYTES)?;
            let cut = Cut::Steps(Steps::read(section, &mut cursor)?);
            let characters = if characters { Some(read_characters(&mut cursor, tokens)?) } else { None };
            let merges = Merges::read(&mut cursor, &header, tokens, cut)?;
            tables.model = Model::Merges(Merges { characters, ..merges });
        }
        for names in [tables.added, tables.normalized] {
            names.check(tokens, "added tokens")?;
            let added = |id| {
                let matched =
                    matches!(tokens.kind(id), TokenKind::Control | TokenKind::UserDefined | TokenKind::Unknown);
                matched && (1..=MAX_ADDED_BYTES).contains(&tokens.bytes(id).len())
            };
            if let Some(id) = names.ids().find(|id| !added(*id)) {
                return Err(wrong(format!("token {id} may not be an added token"), 32));
            }
        }
        cursor.finish()?;
        Ok(tables)
    }

    pub(super) fn len(&self) -> usize {
        self.tokens.len()
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
}

impl<'a> Merges<'a> {
    /// Tables of nothing, until those of the section are read.
    const NONE: Merges<'static> = Merges {
        cut: Cut::Steps(Steps::NONE),
        characters: None,
        buckets: Buckets { bits: 0, starts: Words::NONE },
        merges: &[],
        words: Names::NONE,
        fuse_unknown: false,
        strips_space: false,
    };

    fn read(cursor: &mut Cursor<'a>, header: &Header, tokens: Tokens<'a>, cut: Cut<'a>) -> Result<Self> {
        let buckets = Buckets::read(cursor, header.bits, header.n_entries)?;
        let merges = read_merges(cursor, buckets, header.n_entries, tokens)?;
        let ids = Words::read(cursor, header.n_words, "whole words")?;
        let words = match cut {
            Cut::Known(_) => Names::texts(ids),
            Cut::Steps(_) => Names::read(cursor, Some(ids), usize::MAX)?,
        };
        tokens.check_text(ids.iter(), "whole words")?;
        words.check(tokens, "whole words")?;
        let [fuse_unknown, strips_space] = [FLAG_FUSE_UNKNOWN, FLAG_SPACE_PREFIX].map(|flag| header.has(flag));
        Ok(Merges { cut, characters: None, buckets, merges, words, fuse_unknown, strips_space })
    }

    /// The merge of two ids.
    pub(super) fn find(&self, left: TokenId, right: TokenId) -> Option<Merge> {
        let bucket = &self.merges[self.buckets.range(pair_hash(left, right))];
        bucket.iter().map(Merge::of).find(|merge| (merge.left, merge.right) == (left, right))
    }
}

/// Reads characters, ascending, and the token of each.
fn read_characters<'a>(cursor: &mut Cursor<'a>, tokens: Tokens) -> Result<(Words<'a>, Words<'a>)> {
    let at = cursor.position();
    let n = cursor.count(8, "characters")?;
    let (characters, ids) = (Words::read(cursor, n, "characters")?, Words::read(cursor, n, "characters")?);
    tokens.check_text(ids.iter(), "characters")?;
    match (1..n).find(|i| characters.at(i - 1) >= characters.at(*i)) {
        Some(i) => Err(wrong(format!("characters do not ascend at entry {i}"), at + 4 * (i + 1))),
        None => Ok((characters, ids)),
    }
}

/// The id in an entry of the piece table.
pub(super) fn piece_id(entry: u32) -> TokenId {
    entry & ((1 << ID_BITS) - 1)
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
