//! The tokenizer in a GGUF file's metadata.

use std::collections::HashMap;

use whit::error::{Error, Result};
use whit::tokenizer::{AddedToken, Pipeline, Token, TokenKind, Vocabulary, VocabularyModel, byte_level_decode};

use super::meta::{Metadata, shown};
use super::patterns::Cut;

const TOKENS: &str = "tokenizer.ggml.tokens";
const SCORES: &str = "tokenizer.ggml.scores";
const KINDS: &str = "tokenizer.ggml.token_type";
const MERGES: &str = "tokenizer.ggml.merges";
const MODEL: &str = "tokenizer.ggml.model";
const PRE: &str = "tokenizer.ggml.pre";

/// The vocabulary; `None` where the file has none.
pub(in crate::source) fn read(metadata: &Metadata<'_>) -> Result<Option<Vocabulary>> {
    let Some(model) = metadata.str(MODEL)? else { return Ok(None) };
    let byte_level = match model {
        "gpt2" => true,
        "llama" => false,
        "no_vocab" | "none" => return Ok(None),
        other => {
            let error = metadata.error(MODEL, format!("tokenizer \"{}\" is not supported", shown(other)));
            return Err(error.hint("supported: gpt2 (byte-level BPE), llama (SentencePiece BPE)"));
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
    if !byte_level && scores.is_none() {
        return Err(metadata.error(SCORES, "missing"));
    }
    let mut tokens = Vec::with_capacity(names.len());
    for (id, name) in names.iter().enumerate() {
        let kind = match kinds.as_ref().map_or(1, |kinds| kinds[id]) {
            1 => TokenKind::Normal,
            2 => TokenKind::Unknown,
            3 => TokenKind::Control,
            4 => TokenKind::UserDefined,
            5 => TokenKind::Unused,
            6 => TokenKind::Byte,
            other => return Err(metadata.error(KINDS, format!("token {id} has the unknown type {other}"))),
        };
        let bytes = if byte_level && kind == TokenKind::Normal {
            let undecodable = || metadata.error(TOKENS, format!("token {id} \"{}\" is not byte-level", shown(name)));
            byte_level_decode(name).ok_or_else(undecodable)?
        } else {
            name.as_bytes().to_vec()
        };
        tokens.push(Token { bytes, kind, score: scores.as_ref().map_or(0.0, |scores| scores[id]) });
    }
    let n = tokens.len();
    let (model, begins) =
        if byte_level { byte_level_model(metadata, &tokens)? } else { (sentence_piece_model(metadata)?, true) };
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
    let lines = metadata.strings(MERGES)?.ok_or_else(|| metadata.error(MERGES, "missing"))?;
    let mut merges = Vec::with_capacity(lines.len());
    for (i, line) in lines.iter().enumerate() {
        let refused =
            |what: &str| -> Error { metadata.error(MERGES, format!("merge {} \"{}\" is {what}", i + 1, shown(line))) };
        let parts = line.split_once(' ').filter(|(a, b)| !a.is_empty() && !b.is_empty() && !b.contains(' '));
        let (left, right) = parts.ok_or_else(|| refused("no pair of pieces"))?;
        let pair = byte_level_decode(left).zip(byte_level_decode(right));
        merges.push(pair.ok_or_else(|| refused("not byte-level"))?);
    }
    let model = match cut.known {
        Some(pre) => VocabularyModel::ByteLevel { pre, merges, ignore_merges: cut.ignore_merges },
        None => VocabularyModel::Pipeline(pipeline(metadata, &cut, tokens, &merges)?),
    };
    Ok((model, cut.add_bos))
}

/// Merges of bytes behind patterns that need a table.
fn pipeline(metadata: &Metadata<'_>, cut: &Cut, tokens: &[Token], merges: &[(Vec<u8>, Vec<u8>)]) -> Result<Pipeline> {
    let (normalizer, pre_tokenizer) = cut.steps(metadata, PRE)?;
    let all = || (0_u32..).zip(tokens);
    let named = |kind| all().filter(move |(_, token)| token.kind == kind).map(|(id, token)| (&token.bytes[..], id));
    // A piece is a normal token before it is a user-defined one.
    let mut ids: HashMap<&[u8], u32> = named(TokenKind::UserDefined).collect();
    ids.extend(named(TokenKind::Normal));
    let mut ranked = Vec::with_capacity(merges.len());
    for (i, (left, right)) in merges.iter().enumerate() {
        let merged = [&left[..], right].concat();
        let [Some(left), Some(right), Some(merged)] = [&left[..], right, &merged].map(|piece| ids.get(piece).copied())
        else {
            return Err(metadata.error(MERGES, format!("merge {} names or makes no token", i + 1)));
        };
        ranked.push([left, right, merged]);
    }
    let added = |kind| matches!(kind, TokenKind::Control | TokenKind::UserDefined | TokenKind::Unknown);
    let token = |(id, token): (u32, &Token)| AddedToken {
        id,
        name: String::from_utf8_lossy(&token.bytes).into_owned(),
        lstrip: false,
        rstrip: false,
        single_word: false,
        normalized: false,
    };
    Ok(Pipeline {
        added: all().filter(|(_, token)| added(token.kind) && !token.bytes.is_empty()).map(token).collect(),
        normalizer,
        pre_tokenizer,
        bytes: ids.iter().filter(|(piece, _)| piece.len() == 1).map(|(piece, id)| (piece[0], *id)).collect(),
        merges: ranked,
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
