//! Writes a section from a vocabulary, for `quantize`. The same vocabulary gives the same bytes.

use alloc::borrow::Cow;
use std::collections::HashMap;

use super::buckets::{parted, size};
use super::header::{
    ABSENT, FLAG_ADD_BOS, FLAG_SPACE_PREFIX, FLAG_WORDS_APART, MAX_TOKENS, MODEL_BYTE_LEVEL, MODEL_SENTENCE_PIECE,
};
use super::merge::Merger;
use super::pipeline::{Encoded, Pipeline};
use super::sentencepiece::SPACE_MARK;
use super::tables::{ID_BITS, Merge, Model, Tables, pair_hash, piece_hash, piece_id};
use super::tokens::MAX_ADDED_BYTES;
use super::{PreTokenizer, TokenKind, bpe::Bpe};
use crate::error::{Error, Result, printable};
use crate::format::cursor::Encoder;
use crate::token::TokenId;

/// One entry of a vocabulary; its id is its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    /// Byte-level, or behind steps: the bytes that the token stands for (see [`byte_level_decode`]; an added token is its
    /// text).
    /// SentencePiece: the piece as the vocabulary writes it, with U+2581 for a space and `<0x0A>` for a byte.
    pub bytes: Vec<u8>,
    /// What it is for.
    pub kind: TokenKind,
    /// SentencePiece: of two merges the one that makes the higher score goes first.
    pub score: f32,
}

/// How text becomes tokens.
#[derive(Debug, Clone, PartialEq)]
pub enum VocabularyModel {
    /// GPT-2's way: bytes, merged by rank.
    ByteLevel {
        /// The pattern that cuts text first.
        pre: PreTokenizer,
        /// Two pieces each, in their bytes; the place is the rank, the lowest goes first.
        merges: Vec<(Vec<u8>, Vec<u8>)>,
        /// Whether a pre-token that is a token is taken as it is (Llama-3).
        ignore_merges: bool,
    },
    /// SentencePiece's BPE: characters, merged by score, with bytes as the fallback.
    SentencePiece {
        /// Whether a text gets a space in front.
        add_dummy_prefix: bool,
    },
    /// Merges by rank behind a row of steps.
    Pipeline(Pipeline),
}

/// A vocabulary as a converter finds it, whole and unchecked.
#[derive(Debug, Clone, PartialEq)]
pub struct Vocabulary {
    /// By id.
    pub tokens: Vec<Token>,
    /// How text becomes tokens.
    pub model: VocabularyModel,
    /// The token that begins a text.
    pub bos: Option<TokenId>,
    /// The token that ends a text.
    pub eos: Option<TokenId>,
    /// The token for what the vocabulary cannot spell.
    pub unk: Option<TokenId>,
    /// Whether a fresh text starts with BOS.
    pub add_bos: bool,
}

/// The bytes that a piece of a byte-level vocabulary stands for. GPT-2 writes a printable byte as the character of the
/// same number, and the others in ascending order as U+0100, U+0101, ... `None` where a character is none of these 256.
pub fn byte_level_decode(piece: &str) -> Option<Vec<u8>> {
    let printable = |byte: &u8| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    piece
        .chars()
        .map(|c| match u32::from(c) {
            code @ 0..=0xff => u8::try_from(code).ok().filter(printable),
            code => (0..=255).filter(|byte| !printable(byte)).nth((code - 0x100) as usize),
        })
        .collect()
}

/// The byte of a SentencePiece byte token, `<0x00>` to `<0xFF>`.
pub fn byte_token(piece: &str) -> Option<u8> {
    let digits = piece.strip_prefix("<0x")?.strip_suffix('>')?;
    let valid = digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_hexdigit());
    valid.then(|| u8::from_str_radix(digits, 16).ok())?
}

impl Vocabulary {
    /// The bytes of the section. Refuses what the tables cannot hold: a token or merge twice, a merge of unknown pieces,
    /// an id that does not exist; the error names the id or the line.
    pub fn build(&self) -> Result<Vec<u8>> {
        let draft = Draft::of(self)?;
        let section = match &self.model {
            VocabularyModel::ByteLevel { pre, merges, ignore_merges } => {
                let merges = draft.merges(merges)?;
                let section = draft.byte_level(*pre, &merges, &[])?;
                let words = if *ignore_merges { draft.words(&section)? } else { Vec::new() };
                if words.is_empty() { section } else { draft.byte_level(*pre, &merges, &words)? }
            }
            VocabularyModel::SentencePiece { add_dummy_prefix } => draft.sentence_piece(*add_dummy_prefix)?,
            VocabularyModel::Pipeline(pipeline) => {
                let section = draft.pipeline(pipeline, &[])?;
                let words = pipeline.words(&section)?;
                if words.is_empty() { section } else { draft.pipeline(pipeline, &words)? }
            }
        };
        Tables::read(&section).map_err(|error| error.hint("the builder wrote what the reader refuses"))?;
        Ok(section)
    }
}

/// The checked vocabulary, on its way into tables.
struct Draft<'v> {
    vocabulary: &'v Vocabulary,
    /// The text of each token, as the section holds it.
    texts: Vec<Cow<'v, [u8]>>,
    /// Tokens that text may become, by their bytes.
    pieces: HashMap<Cow<'v, [u8]>, TokenId>,
    added: Vec<TokenId>,
    byte_ids: [u32; 256],
}

impl<'v> Draft<'v> {
    fn of(vocabulary: &'v Vocabulary) -> Result<Self> {
        let Vocabulary { tokens, bos, eos, unk, .. } = vocabulary;
        if tokens.is_empty() || tokens.len() > MAX_TOKENS {
            return Err(Error::data(format!("{} tokens, 1 to {MAX_TOKENS} are supported", tokens.len())));
        }
        for (name, id) in [("BOS", bos), ("EOS", eos), ("the unknown token", unk)] {
            if let Some(id) = id.filter(|id| *id as usize >= tokens.len()) {
                return Err(Error::data(format!("{name} is token {id}, but there are {}", tokens.len())));
            }
        }
        let byte_level = !matches!(vocabulary.model, VocabularyModel::SentencePiece { .. });
        let steps = matches!(vocabulary.model, VocabularyModel::Pipeline(_));
        let mut draft = Draft {
            vocabulary,
            texts: Vec::with_capacity(tokens.len()),
            pieces: HashMap::with_capacity(tokens.len()),
            added: Vec::new(),
            byte_ids: [ABSENT; 256],
        };
        for (id, token) in (0..).zip(tokens) {
            let text = if byte_level { Cow::Borrowed(&token.bytes[..]) } else { draft.plain(id, token)?.into() };
            match steps {
                true => draft.texts.push(text),
                false => draft.place(id, token, text)?,
            }
        }
        draft.sort_added()?;
        if byte_level && !steps {
            for byte in 0..=255 {
                draft.byte_ids[usize::from(byte)] = draft.pieces.get(&[byte][..]).copied().unwrap_or(ABSENT);
            }
        }
        Ok(draft)
    }

    /// What a SentencePiece token stands for: a byte, or its text with spaces.
    fn plain(&mut self, id: TokenId, token: &Token) -> Result<Vec<u8>> {
        let piece = core::str::from_utf8(&token.bytes).map_err(|_| refused(id, token, "is not UTF-8"))?;
        if token.score.is_nan() {
            return Err(refused(id, token, "has a score that is not a number"));
        }
        if token.kind != TokenKind::Byte {
            return Ok(piece.replace(SPACE_MARK, " ").into_bytes());
        }
        let byte = byte_token(piece).ok_or_else(|| refused(id, token, "is a byte token but not <0x00> to <0xFF>"))?;
        let other = core::mem::replace(&mut self.byte_ids[usize::from(byte)], id);
        if other != ABSENT {
            return Err(refused(id, token, &format!("is the same byte as token {other}")));
        }
        Ok(vec![byte])
    }

    /// Takes a token up: its text, and its place among the pieces or the added tokens.
    fn place(&mut self, id: TokenId, token: &Token, text: Cow<'v, [u8]>) -> Result<()> {
        let added = matches!(token.kind, TokenKind::Control | TokenKind::UserDefined | TokenKind::Unknown);
        if text.is_empty() && token.kind != TokenKind::Unused {
            return Err(refused(id, token, "is empty"));
        }
        if added {
            if text.len() > MAX_ADDED_BYTES {
                let reason = format!("is an added token of {} bytes, the limit is {MAX_ADDED_BYTES}", text.len());
                return Err(refused(id, token, &reason));
            }
            self.added.push(id);
        }
        if token.kind == TokenKind::Normal
            && let Some(other) = self.pieces.insert(text.clone(), id)
        {
            return Err(refused(id, token, &format!("is the same as token {other}")));
        }
        self.texts.push(text);
        Ok(())
    }

    fn sort_added(&mut self) -> Result<()> {
        let Draft { added, texts, vocabulary, .. } = self;
        let text = |id: &TokenId| &texts[*id as usize];
        added.sort_by(|a, b| text(a).cmp(text(b)));
        match added.windows(2).find(|pair| text(&pair[0]) == text(&pair[1])) {
            Some(pair) => {
                let reason = format!("is the same as token {}", pair[0]);
                Err(refused(pair[1], &vocabulary.tokens[pair[1] as usize], &reason))
            }
            None => Ok(()),
        }
    }

    /// The id that merges may use for these bytes: a normal token, else a user-defined one.
    fn piece(&self, bytes: &[u8]) -> Option<TokenId> {
        let user_defined = || {
            let found = self.added.binary_search_by(|id| self.texts[*id as usize].as_ref().cmp(bytes)).ok()?;
            Some(self.added[found]).filter(|id| self.vocabulary.tokens[*id as usize].kind == TokenKind::UserDefined)
        };
        self.pieces.get(bytes).copied().or_else(user_defined)
    }

    /// The merges as ids, with the line in the error.
    fn merges(&self, merges: &[(Vec<u8>, Vec<u8>)]) -> Result<Vec<Merge>> {
        let mut lines = HashMap::with_capacity(merges.len());
        let mut out = Vec::with_capacity(merges.len());
        let mut joined = Vec::new();
        for (rank, (left, right)) in (0..).zip(merges) {
            joined.clear();
            joined.extend_from_slice(left);
            joined.extend_from_slice(right);
            let id = |bytes: &[u8]| {
                let reason = || format!("merge {} names {}, which is no token", rank + 1, shown(bytes));
                self.piece(bytes).ok_or_else(|| Error::data(reason()))
            };
            let merge = Merge { left: id(left)?, right: id(right)?, rank, merged: id(&joined)? };
            if let Some(line) = lines.insert((merge.left, merge.right), rank + 1) {
                return Err(Error::data(format!("merge {} is the same as merge {line}", rank + 1)));
            }
            out.push(merge);
        }
        Ok(out)
    }

    /// The tokens that the merges in `section` do not make of their own bytes.
    fn words(&self, section: &[u8]) -> Result<Vec<TokenId>> {
        let tables = Tables::read(section)?;
        let Model::Merges(model) = &tables.model else { return Ok(Vec::new()) };
        let model = Bpe { tables: &tables, model };
        let (mut merger, mut out) = (Merger::default(), Vec::new());
        let mut irregular: Vec<TokenId> = self.pieces.values().copied().collect();
        irregular.retain(|id| {
            out.clear();
            model.merge(&self.texts[*id as usize], &mut merger, &mut out);
            out != [*id]
        });
        irregular.sort_by_key(|id| &self.texts[*id as usize]);
        Ok(irregular)
    }

    fn byte_level(&self, pre: PreTokenizer, merges: &[Merge], words: &[TokenId]) -> Result<Vec<u8>> {
        let mut merges = merges.to_vec();
        let key = |merge: &Merge| pair_hash(merge.left, merge.right);
        let starts = parted(&mut merges, key, |a, b| (a.left, a.right).cmp(&(b.left, b.right)))?;
        let sizes = [merges.len(), starts.len(), words.len()];
        let mut out = self.head(MODEL_BYTE_LEVEL, pre.code(), 0, &self.added, &self.byte_ids, sizes)?;
        starts.iter().for_each(|start| out.u32(*start));
        for Merge { left, right, rank, merged } in merges {
            [left, right, rank, merged].iter().for_each(|word| out.u32(*word));
        }
        words.iter().for_each(|id| out.u32(*id));
        Ok(out.into_bytes())
    }

    fn sentence_piece(&self, space_prefix: bool) -> Result<Vec<u8>> {
        let hash = |id: TokenId| piece_hash(&self.texts[id as usize]);
        let mut pieces: Vec<u32> = self.pieces.values().map(|id| hash(*id).1 << ID_BITS | id).collect();
        let starts = parted(&mut pieces, |entry| hash(piece_id(*entry)).0, u32::cmp)?;
        let space_inside = |piece: &[u8]| piece.windows(2).any(|pair| pair[0] != b' ' && pair[1] == b' ');
        let words_apart = !self.pieces.keys().any(|piece| space_inside(piece));
        let flag = |set: bool, flag: u32| if set { flag } else { 0 };
        let flags = flag(space_prefix, FLAG_SPACE_PREFIX) | flag(words_apart, FLAG_WORDS_APART);
        let sizes = [pieces.len(), starts.len(), 0];
        let mut out = self.head(MODEL_SENTENCE_PIECE, 0, flags, &self.added, &self.byte_ids, sizes)?;
        starts.iter().for_each(|start| out.u32(*start));
        pieces.iter().for_each(|entry| out.u32(*entry));
        self.vocabulary.tokens.iter().for_each(|token| out.f32(token.score));
        Ok(out.into_bytes())
    }

    fn pipeline(&self, pipeline: &Pipeline, words: &[(Vec<u8>, TokenId)]) -> Result<Vec<u8>> {
        let Encoded { model, flags, added, n_merges, starts, n_words, tables } = pipeline.encode(words)?;
        let sizes = [n_merges, starts, n_words];
        let mut out = self.head(model, Pipeline::PRE, flags, &added, &pipeline.byte_ids(), sizes)?;
        out.bytes(&tables);
        Ok(out.into_bytes())
    }

    /// The header and the tables that all models have; `sizes` are those of entries, bucket starts and words.
    fn head(
        &self,
        model: u32,
        pre: u32,
        flags: u32,
        added: &[TokenId],
        byte_ids: &[u32; 256],
        sizes: [usize; 3],
    ) -> Result<Encoder> {
        let [entries, starts, words] = sizes;
        let Vocabulary { tokens, bos, eos, unk, add_bos, .. } = self.vocabulary;
        let text_bytes = self.texts.iter().map(|text| text.len()).sum();
        let mut out = Encoder::default();
        let flags = flags | if *add_bos { FLAG_ADD_BOS } else { 0 };
        let [bos, eos, unk] = [bos, eos, unk].map(|id| id.unwrap_or(ABSENT));
        let bucket_bits = (starts - 1).trailing_zeros();
        let sizes = [size(text_bytes)?, size(added.len())?, size(entries)?, bucket_bits, size(words)?];
        let header = [model, pre, flags, size(tokens.len())?, bos, eos, unk];
        header.iter().chain(&sizes).for_each(|word| out.u32(*word));
        let mut end = 0;
        for text in &self.texts {
            end += size(text.len())?;
            out.u32(end);
        }
        out.bytes(&tokens.iter().map(|token| token.kind as u8).collect::<Vec<u8>>());
        out.pad(4);
        self.texts.iter().for_each(|text| out.bytes(text));
        out.pad(4);
        added.iter().chain(byte_ids).for_each(|id| out.u32(*id));
        Ok(out)
    }
}

fn shown(bytes: &[u8]) -> String {
    format!("\"{}\"", printable(&String::from_utf8_lossy(bytes)))
}

fn refused(id: TokenId, token: &Token, reason: &str) -> Error {
    Error::data(format!("token {id} {} {reason}", shown(&token.bytes)))
}
