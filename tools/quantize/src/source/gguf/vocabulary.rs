//! The tokenizer in a GGUF file's metadata.

use std::collections::HashMap;

use whit::error::{Error, Result};
use whit::tokenizer::{
    AddedToken, Pipeline, Step, Token, TokenKind, Vocabulary, VocabularyModel, byte_level_decode, byte_token,
};

use super::meta::{Metadata, shown};
use super::patterns::Cut;
use crate::pattern;

const TOKENS: &str = "tokenizer.ggml.tokens";
const SCORES: &str = "tokenizer.ggml.scores";
const KINDS: &str = "tokenizer.ggml.token_type";
const MERGES: &str = "tokenizer.ggml.merges";
const MODEL: &str = "tokenizer.ggml.model";
const PRE: &str = "tokenizer.ggml.pre";
/// SentencePiece's mark for a space.
const SPACE_MARK: char = '\u{2581}';

/// What is merged.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Bytes, written as characters, by merges.
    ByteLevel,
    /// Characters, by the scores of what they become.
    SentencePiece,
    /// Characters, by merges; what has no token becomes bytes.
    Characters,
}

/// The vocabulary; `None` where the file has none.
pub(in crate::source) fn read(metadata: &Metadata<'_>) -> Result<Option<Vocabulary>> {
    let Some(model) = metadata.str(MODEL)? else { return Ok(None) };
    let kind = match model {
        "gpt2" => Kind::ByteLevel,
        "llama" => Kind::SentencePiece,
        "gemma4" => Kind::Characters,
        "no_vocab" | "none" => return Ok(None),
        other => {
            let error = metadata.error(MODEL, format!("tokenizer \"{}\" is not supported", shown(other)));
            let known = "gpt2 (byte-level BPE), llama (SentencePiece BPE), gemma4 (BPE of characters)";
            return Err(error.hint(format!("supported: {known}")));
        }
    };
    let names = metadata.strings(TOKENS)?.ok_or_else(|| metadata.error(TOKENS, "missing"))?;
    let kinds = metadata.integers(KINDS)?;
    let scores = metadata.floats(SCORES)?;
    let lengths = [(KINDS, kinds.as_ref().map(Vec::len)), (SCORES, scores.as_ref().map(Vec::len))];
    for (key, length) in lengths {
        if let Some(n) = length.filter(|n| *n != names.len()) {
            return Err(metadata.error(key, format!("{n} elements for {} tokens", names.len())));
        }
    }
    if kind == Kind::SentencePiece && scores.is_none() {
        return Err(metadata.error(SCORES, "missing"));
    }
    let mut tokens = Vec::with_capacity(names.len());
    for (id, name) in names.iter().enumerate() {
        let of = match kinds.as_ref().map_or(1, |kinds| kinds[id]) {
            1 => TokenKind::Normal,
            2 => TokenKind::Unknown,
            3 => TokenKind::Control,
            4 => TokenKind::UserDefined,
            5 => TokenKind::Unused,
            6 => TokenKind::Byte,
            other => return Err(metadata.error(KINDS, format!("token {id} has the unknown type {other}"))),
        };
        let bytes = match (kind, of) {
            (Kind::ByteLevel, TokenKind::Normal) => {
                let undecodable =
                    || metadata.error(TOKENS, format!("token {id} \"{}\" is not byte-level", shown(name)));
                byte_level_decode(name).ok_or_else(undecodable)?
            }
            (Kind::Characters, TokenKind::Normal) => name.replace(SPACE_MARK, " ").into_bytes(),
            (Kind::Characters, TokenKind::Byte) => {
                let no_byte = || metadata.error(TOKENS, format!("token {id} \"{}\" is no byte", shown(name)));
                vec![byte_token(name).ok_or_else(no_byte)?]
            }
            _ => name.as_bytes().to_vec(),
        };
        tokens.push(Token { bytes, kind: of, score: scores.as_ref().map_or(0.0, |scores| scores[id]) });
    }
    let n = tokens.len();
    let (model, begins) = match kind {
        Kind::ByteLevel => byte_level_model(metadata, &tokens)?,
        Kind::SentencePiece => (sentence_piece_model(metadata)?, true),
        Kind::Characters => (VocabularyModel::Pipeline(characters(metadata, &names, &tokens)?), true),
    };
    let bos = id(metadata, "bos", n)?;
    let add_bos = metadata.bool("tokenizer.ggml.add_bos_token")?.unwrap_or(begins);
    if add_bos && bos.is_none() {
        return Err(metadata.error("tokenizer.ggml.add_bos_token", "true, but there is no bos_token_id"));
    }
    let (eos, unk) = (id(metadata, "eos", n)?, id(metadata, "unknown", n)?);
    Ok(Some(Vocabulary { tokens, model, bos, eos, unk, add_bos }))
}

/// What the user should know of a vocabulary whose pattern is not named.
pub(in crate::source) fn guessed(metadata: &Metadata<'_>) -> Result<Option<String>> {
    let guess = metadata.str(MODEL)? == Some("gpt2") && metadata.str(PRE)?.is_none();
    let note =
        "no tokenizer.ggml.pre: text is cut as GPT-2 cuts it; if the model is of another family, convert its original";
    Ok(guess.then(|| format!("{note} directory, or name its tokenizer.json with --tokenizer")))
}

fn id(metadata: &Metadata<'_>, name: &str, n: usize) -> Result<Option<u32>> {
    let key = format!("tokenizer.ggml.{name}_token_id");
    match metadata.integer(&key)? {
        // The writers' mark for "none".
        None | Some(0xffff_ffff) if name == "unknown" => Ok(None),
        None => Ok(None),
        Some(id) if id < n as u64 => Ok(Some(id as u32)),
        Some(id) => Err(metadata.error(&key, format!("token {id} of a vocabulary of {n}"))),
    }
}

/// How text becomes tokens, and whether it begins with BOS where the file does not say.
fn byte_level_model(metadata: &Metadata<'_>, tokens: &[Token]) -> Result<(VocabularyModel, bool)> {
    // Files older than the key are of GPT-2's kind.
    let name = metadata.str(PRE)?.unwrap_or("gpt-2");
    let cut = Cut::named(name).ok_or_else(|| {
        let error = metadata.error(PRE, format!("pre-tokenizer \"{}\" is not supported", shown(name)));
        error.hint("convert its original directory, or name its tokenizer.json with --tokenizer")
    })?;
    let merges = merges(metadata, "not byte-level", byte_level_decode)?;
    let model = match cut.known {
        Some(pre) => VocabularyModel::ByteLevel { pre, merges, ignore_merges: cut.ignore_merges },
        None => VocabularyModel::Pipeline(pipeline(metadata, &cut, tokens, &merges)?),
    };
    Ok((model, cut.add_bos))
}

/// The pairs that are merged, each half of which `spell` makes of what stands in the file; one of which it makes nothing is refused as
/// `otherwise`.
fn merges(
    metadata: &Metadata<'_>,
    otherwise: &str,
    spell: impl Fn(&str) -> Option<Vec<u8>>,
) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let lines = metadata.strings(MERGES)?.ok_or_else(|| metadata.error(MERGES, "missing"))?;
    let mut merges = Vec::with_capacity(lines.len());
    for (i, line) in lines.iter().enumerate() {
        let refused =
            |what: &str| -> Error { metadata.error(MERGES, format!("merge {} \"{}\" is {what}", i + 1, shown(line))) };
        let parts = line.split_once(' ').filter(|(a, b)| !a.is_empty() && !b.is_empty() && !b.contains(' '));
        let (left, right) = parts.ok_or_else(|| refused("no pair of pieces"))?;
        merges.push(spell(left).zip(spell(right)).ok_or_else(|| refused(otherwise))?);
    }
    Ok(merges)
}

/// Each merge as the ids of its halves and of what they become.
fn ranked(metadata: &Metadata<'_>, merges: &[(Vec<u8>, Vec<u8>)], ids: &HashMap<&[u8], u32>) -> Result<Vec<[u32; 3]>> {
    let rank = |(i, (left, right)): (usize, &(Vec<u8>, Vec<u8>))| {
        let merged = [&left[..], right].concat();
        match [&left[..], right, &merged].map(|piece| ids.get(piece).copied()) {
            [Some(left), Some(right), Some(merged)] => Ok([left, right, merged]),
            _ => Err(metadata.error(MERGES, format!("merge {} names or makes no token", i + 1))),
        }
    };
    merges.iter().enumerate().map(rank).collect()
}

/// The tokens that are found in text by their names.
fn added(tokens: &[Token]) -> Vec<AddedToken> {
    let found = |kind| matches!(kind, TokenKind::Control | TokenKind::UserDefined | TokenKind::Unknown);
    let token = |(id, token): (u32, &Token)| AddedToken {
        id,
        name: String::from_utf8_lossy(&token.bytes).into_owned(),
        lstrip: false,
        rstrip: false,
        single_word: false,
        normalized: false,
    };
    (0_u32..).zip(tokens).filter(|(_, token)| found(token.kind) && !token.bytes.is_empty()).map(token).collect()
}

/// Merges of characters, a space being a mark of its own, as Gemma's tokenizer.json has it.
fn characters(metadata: &Metadata<'_>, names: &[&str], tokens: &[Token]) -> Result<Pipeline> {
    let named = |kind| {
        let all = (0_u32..).zip(names.iter().zip(tokens));
        all.filter(move |(_, (_, token))| token.kind == kind).map(|(id, (name, _))| (*name, id))
    };
    let mut ids: HashMap<&[u8], u32> = named(TokenKind::UserDefined).map(|(name, id)| (name.as_bytes(), id)).collect();
    ids.extend(named(TokenKind::Normal).map(|(name, id)| (name.as_bytes(), id)));
    let merges = merges(metadata, "no text", |half| Some(half.as_bytes().to_vec()))?;
    let single = |piece: &[u8]| {
        let mut chars = str::from_utf8(piece).ok()?.chars();
        chars.next().filter(|_| chars.next().is_none())
    };
    let pattern = pattern::literal(" ").map_err(|reason| metadata.error(MODEL, reason))?;
    Ok(Pipeline {
        added: added(tokens),
        normalizer: vec![Step::Replace { pattern, by: SPACE_MARK.into() }],
        characters: Some(ids.iter().filter_map(|(piece, id)| Some((single(piece)?, *id))).collect()),
        bytes: named(TokenKind::Byte).filter_map(|(name, id)| Some((byte_token(name)?, id))).collect(),
        merges: ranked(metadata, &merges, &ids)?,
        fuse_unknown: true,
        ..Pipeline::default()
    })
}

/// Merges of bytes behind patterns that need a table.
fn pipeline(metadata: &Metadata<'_>, cut: &Cut, tokens: &[Token], merges: &[(Vec<u8>, Vec<u8>)]) -> Result<Pipeline> {
    let (normalizer, pre_tokenizer) = cut.steps(metadata, PRE)?;
    let all = || (0_u32..).zip(tokens);
    let named = |kind| all().filter(move |(_, token)| token.kind == kind).map(|(id, token)| (&token.bytes[..], id));
    // A piece is a normal token before it is a user-defined one.
    let mut ids: HashMap<&[u8], u32> = named(TokenKind::UserDefined).collect();
    ids.extend(named(TokenKind::Normal));
    Ok(Pipeline {
        added: added(tokens),
        normalizer,
        pre_tokenizer,
        bytes: ids.iter().filter(|(piece, _)| piece.len() == 1).map(|(piece, id)| (piece[0], *id)).collect(),
        merges: ranked(metadata, merges, &ids)?,
        whole: match cut.ignore_merges {
            true => ids.iter().map(|(piece, id)| (piece.to_vec(), *id)).collect(),
            false => Vec::new(),
        },
        ..Pipeline::default()
    })
}

fn sentence_piece_model(metadata: &Metadata<'_>) -> Result<VocabularyModel> {
    let add_dummy_prefix = metadata.bool("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
    Ok(VocabularyModel::SentencePiece { add_dummy_prefix })
}
