//! tokenizer.json of Hugging Face: byte-level BPE, and BPE with byte fallback as converted from SentencePiece.

use std::borrow::Cow;
use std::collections::HashMap;

use whit::error::{Error, Result, listed, printable};
use whit::tokenizer::{Token, TokenKind, Vocabulary, VocabularyModel, byte_level_decode, byte_token};

use super::json::{Type, Value};
use super::tokenizer_pipeline::{self as pipeline, Cut};

/// Ids below this, at most.
const MAX_TOKENS: usize = 1 << 20;

/// A vocabulary with what was left aside to read it.
pub(super) struct Read {
    pub(super) vocabulary: Vocabulary,
    /// The token that the post-processor puts in front.
    pub(super) template_bos: Option<u32>,
    /// A post-processor says what is put in front.
    pub(super) has_template: bool,
    pub(super) notes: Vec<String>,
}

/// Reads the document. BOS and EOS are the caller's to find: they are named elsewhere.
pub(super) fn read(object: Value<'_>) -> Result<Read> {
    let mut notes = Vec::new();
    for key in ["truncation", "padding"] {
        if object.get(key).is_some() {
            notes.push(format!("tokenizer.json sets {key}: ignored"));
        }
    }
    let model = object.get("model").ok_or_else(|| object.error("missing: model", "model"))?;
    check_model(model)?;
    let cut = pipeline::cut(object, &mut notes)?;
    let ids = Ids::of(object, model, &mut notes)?;
    let byte_level = matches!(cut, Cut::ByteLevel(_));
    let byte_fallback = flag(model, "byte_fallback")?;
    if byte_level == byte_fallback {
        let message = format!("byte_fallback {byte_fallback} with this pre_tokenizer is not supported");
        return Err(model.error(message, "model.byte_fallback").hint(pipeline::SUPPORTED));
    }
    let unk = match model.get("unk_token") {
        Some(value) => {
            let name = value.str("model.unk_token")?;
            let missing = || value.error(format!("\"{}\" is no token", printable(&name)), "model.unk_token");
            Some(ids.find(&name).ok_or_else(missing)?)
        }
        None => None,
    };
    let merges = merges(model)?;
    let (tokens, model) = match cut {
        Cut::ByteLevel(pre) => {
            let ignore_merges = flag(model, "ignore_merges")?;
            let merges = byte_level_merges(model, &merges)?;
            (ids.byte_level_tokens()?, VocabularyModel::ByteLevel { pre, merges, ignore_merges })
        }
        Cut::SentencePiece { add_dummy_prefix } => {
            let tokens = ids.sentence_piece_tokens(model, &merges, unk, &mut notes)?;
            (tokens, VocabularyModel::SentencePiece { add_dummy_prefix })
        }
    };
    let template = pipeline::template(object, |name| ids.find(name), &mut notes)?;
    let vocabulary = Vocabulary { tokens, model, bos: None, eos: None, unk, add_bos: false };
    Ok(Read { vocabulary, template_bos: template.flatten(), has_template: template.is_some(), notes })
}

/// The id of the token `name`: added tokens go first.
pub(super) fn find(vocabulary: &Vocabulary, name: &str) -> Option<u32> {
    let added = |kind| matches!(kind, TokenKind::Control | TokenKind::UserDefined | TokenKind::Unknown);
    let position = |added_only: bool| {
        vocabulary.tokens.iter().position(|t| t.bytes == name.as_bytes() && (added(t.kind) || !added_only))
    };
    position(true).or_else(|| position(false)).map(|id| id as u32)
}

fn flag(object: Value<'_>, key: &str) -> Result<bool> {
    object.get(key).map_or(Ok(false), |value| value.bool(&format!("model.{key}")))
}

fn check_model(model: Value<'_>) -> Result<()> {
    if let Some(value) = model.get("type") {
        let name = value.str("model.type")?;
        if name != "BPE" {
            let error = value.error(format!("tokenizer model \"{}\" is not supported", printable(&name)), "model.type");
            return Err(error.hint("supported: BPE"));
        }
    }
    for key in ["continuing_subword_prefix", "end_of_word_suffix"] {
        let field = format!("model.{key}");
        if let Some(value) = model.get(key).filter(|v| v.str("").is_ok_and(|s| !s.is_empty())) {
            return Err(value.error("not supported", &field));
        }
    }
    match model.get("dropout") {
        Some(value) if value.f64("model.dropout")? != 0.0 => Err(value.error("not supported", "model.dropout")),
        _ => Ok(()),
    }
}

/// The tokens of the document by id.
struct Ids<'j> {
    /// Name, and the kind of an added token.
    tokens: Vec<(Cow<'j, str>, Option<TokenKind>)>,
    by_name: HashMap<Cow<'j, str>, u32>,
}

impl<'j> Ids<'j> {
    fn of(object: Value<'j>, model: Value<'j>, notes: &mut Vec<String>) -> Result<Self> {
        let field = "model.vocab";
        let vocab = model.get("vocab").ok_or_else(|| model.error("missing: vocab", field))?;
        let mut named: Vec<(u32, Cow<'j, str>, Option<TokenKind>, Value<'j>)> = Vec::new();
        for (name, value) in vocab.entries(field)? {
            named.push((id(value, &name, field)?, name, None, value));
        }
        let mut spaced = Vec::new();
        if let Some(added) = object.get("added_tokens") {
            let field = "added_tokens";
            for value in added.items(field)? {
                let missing = |key: &str| value.error(format!("an added token without {key}"), field);
                let name = value.get("content").ok_or_else(|| missing("content"))?.str(field)?;
                let id = id(value.get("id").ok_or_else(|| missing("id"))?, &name, field)?;
                let special = value.get("special").map_or(Ok(false), |v| v.bool(field))?;
                let kind = if special { TokenKind::Control } else { TokenKind::UserDefined };
                let is_set = |key: &&str| value.get(key).is_some_and(|v| v.bool(field).unwrap_or(false));
                if ["lstrip", "rstrip", "single_word"].iter().any(is_set) {
                    spaced.push(format!("\"{}\"", printable(&name)));
                }
                named.push((id, name, Some(kind), value));
            }
        }
        if !spaced.is_empty() {
            let names = listed(&spaced);
            notes.push(format!(
                "lstrip, rstrip and single_word of {names} are ignored: spaces beside them stay in the text"
            ));
        }
        if named.is_empty() {
            return Err(vocab.error("no tokens", field));
        }
        named.sort_by_key(|(id, _, kind, _)| (*id, kind.is_some()));
        let mut tokens: Vec<(Cow<'j, str>, Option<TokenKind>)> = Vec::with_capacity(named.len());
        let mut by_name = HashMap::with_capacity(named.len());
        for (id, name, kind, value) in named {
            let field = format!("token {id}");
            if id as usize == tokens.len() {
                tokens.push((name.clone(), kind));
            } else if id as usize > tokens.len() {
                return Err(value.error(format!("no token has the id {}: a hole", tokens.len()), &field));
            } else {
                let (other, other_kind) = &mut tokens[id as usize];
                let both = kind.is_some() && other_kind.is_none() && *other == name;
                if !both {
                    let message = format!("both \"{}\" and \"{}\" have this id", printable(other), printable(&name));
                    return Err(value.error(message, &field));
                }
                *other_kind = kind;
            }
            if let Some(other) = by_name.insert(name, id).filter(|other| *other != id) {
                return Err(value.error(format!("has the same name as token {other}"), &field));
            }
        }
        Ok(Ids { tokens, by_name })
    }

    fn find(&self, name: &str) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    fn byte_level_tokens(&self) -> Result<Vec<Token>> {
        let token = |(id, (name, kind)): (usize, &(Cow<'j, str>, Option<TokenKind>))| -> Result<Token> {
            let Some(kind) = *kind else {
                let message = || format!("\"{}\" is not byte-level", printable(name));
                let bytes = byte_level_decode(name);
                let bytes = bytes.ok_or_else(|| Error::data(message()).field(format!("token {id}")))?;
                return Ok(Token { bytes, kind: TokenKind::Normal, score: 0.0 });
            };
            Ok(Token { bytes: name.as_bytes().to_vec(), kind, score: 0.0 })
        };
        self.tokens.iter().enumerate().map(token).collect()
    }

    /// Pieces whose scores make a merge by score do what the merges do by rank.
    fn sentence_piece_tokens(
        &self,
        model: Value<'_>,
        merges: &[(Cow<'_, str>, Cow<'_, str>)],
        unk: Option<u32>,
        notes: &mut Vec<String>,
    ) -> Result<Vec<Token>> {
        let mut scores = vec![f32::NEG_INFINITY; self.tokens.len()];
        let (mut last, mut scattered) = (None, 0usize);
        for (rank, (left, right)) in merges.iter().enumerate() {
            let known = [left.as_ref(), right.as_ref()].iter().all(|piece| self.find(piece).is_some());
            let merged = self.find(&format!("{left}{right}")).filter(|_| known);
            let Some(merged) = merged else {
                let message = format!(
                    "merge {} of \"{}\" and \"{}\" names or makes no token",
                    rank + 1,
                    printable(left),
                    printable(right)
                );
                return Err(model.error(message, "model.merges"));
            };
            let score = &mut scores[merged as usize];
            if *score == f32::NEG_INFINITY {
                *score = -(rank as f32);
            } else if last != Some(merged) {
                scattered += 1;
            }
            last = Some(merged);
        }
        if scattered > 0 {
            notes.push(format!("{scattered} merges of tokenizer.json stand apart from others that make the same piece: the first counts"));
        }
        let kind = |id: usize, name: &str, added: Option<TokenKind>| match added {
            _ if unk == Some(id as u32) => TokenKind::Unknown,
            Some(kind) => kind,
            None if byte_token(name).is_some() => TokenKind::Byte,
            None => TokenKind::Normal,
        };
        let tokens = self.tokens.iter().zip(scores).enumerate();
        Ok(tokens
            .map(|(id, ((name, added), score))| Token {
                bytes: name.as_bytes().to_vec(),
                kind: kind(id, name, *added),
                score,
            })
            .collect())
    }
}

fn id(value: Value<'_>, name: &str, field: &str) -> Result<u32> {
    let field = format!("{field} \"{name}\"");
    let id = value.u32(&field)?;
    if id as usize >= MAX_TOKENS {
        return Err(value.error(format!("id {id}, the limit is {MAX_TOKENS} tokens"), &field));
    }
    Ok(id)
}

type Merges<'j> = Vec<(Cow<'j, str>, Cow<'j, str>)>;

/// Each merge is "a b" or ["a", "b"].
fn merges(model: Value<'_>) -> Result<Merges<'_>> {
    let field = "model.merges";
    let list = model.get("merges").ok_or_else(|| model.error("missing: merges", field))?;
    let items = list.items(field)?;
    let mut out = Vec::with_capacity(items.clone().count());
    for (i, value) in items.enumerate() {
        let wrong = || value.error(format!("merge {} is no pair of pieces", i + 1), field);
        let pair = if value.kind() == Type::Array {
            let mut parts = value.items(field)?.map(|part| part.str(field));
            let (Some(left), Some(right), None) = (parts.next(), parts.next(), parts.next()) else {
                return Err(wrong());
            };
            (left?, right?)
        } else {
            match value.str(field)? {
                Cow::Borrowed(line) => {
                    let (left, right) = line.split_once(' ').ok_or_else(wrong)?;
                    (Cow::Borrowed(left), Cow::Borrowed(right))
                }
                Cow::Owned(line) => {
                    let (left, right) = line.split_once(' ').ok_or_else(wrong)?;
                    (Cow::Owned(left.to_string()), Cow::Owned(right.to_string()))
                }
            }
        };
        if pair.0.is_empty() || pair.1.is_empty() || pair.1.contains(' ') {
            return Err(wrong());
        }
        out.push(pair);
    }
    Ok(out)
}

fn byte_level_merges(model: Value<'_>, merges: &Merges<'_>) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let decode = |(i, (left, right)): (usize, &(Cow<'_, str>, Cow<'_, str>))| {
        let message = || format!("merge {} \"{} {}\" is not byte-level", i + 1, printable(left), printable(right));
        let pair = byte_level_decode(left).zip(byte_level_decode(right));
        pair.ok_or_else(|| model.error(message(), "model.merges"))
    };
    merges.iter().enumerate().map(decode).collect()
}
