//! tokenizer.json of Hugging Face: BPE over bytes, and over characters with bytes as the fallback.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};

use whit::error::{Result, printable};
use whit::tokenizer::{
    AddedToken, Pipeline, PreTokenizer, Token, TokenKind, Vocabulary, VocabularyModel, byte_level_decode, byte_token,
};

use super::pipeline::{self as pipeline, Cut, Decoding};
use crate::source::json::{Type, Value};

/// Ids below this, at most.
const MAX_TOKENS: usize = 1 << 20;

/// Numbers that no token has, at most, besides as many as there are tokens.
const MAX_UNUSED: usize = 1024;

/// A vocabulary with what was left aside to read it.
pub(in crate::source) struct Read {
    pub(in crate::source) vocabulary: Vocabulary,
    /// The token that the post-processor puts in front.
    pub(in crate::source) template_bos: Option<u32>,
    /// A post-processor says what is put in front.
    pub(in crate::source) has_template: bool,
    pub(in crate::source) notes: Vec<String>,
}

/// Reads the document. BOS and EOS are the caller's to find: they are named elsewhere.
pub(in crate::source) fn read(object: Value<'_>) -> Result<Read> {
    let mut notes = Vec::new();
    for key in ["truncation", "padding"] {
        if object.get(key).is_some() {
            notes.push(format!("tokenizer.json sets {key}: ignored"));
        }
    }
    let model = object.get("model").ok_or_else(|| object.error("missing: model", "model"))?;
    check_model(model)?;
    let ids = Ids::of(object, model)?;
    let unk = match model.get("unk_token") {
        Some(value) => {
            let name = value.str("model.unk_token")?;
            let missing = || value.error(format!("\"{}\" is no token", printable(&name)), "model.unk_token");
            Some(ids.model(&name).ok_or_else(missing)?)
        }
        None => None,
    };
    let mut stages = Stages {
        ids: &ids,
        model,
        unk,
        normalizer: pipeline::normalizer(object)?,
        cut: pipeline::cut(object)?,
        decoding: pipeline::decoding(object, &mut notes)?,
        byte_fallback: flag(model, "byte_fallback")?,
        merges: merges(model)?,
    };
    let mut tokens = stages.tokens();
    let model = match stages.plain()? {
        Some(pre) => stages.byte_level(pre)?,
        None => {
            let pipeline = stages.pipeline(&mut notes)?;
            // The library knows a normalized token by what normalization makes of its name.
            let said =
                |token: &&AddedToken| token.normalized && tokens[token.id as usize].kind == TokenKind::UserDefined;
            let named: Vec<&AddedToken> = pipeline.added.iter().filter(said).collect();
            for (token, name) in named.iter().zip(pipeline.normalized(named.iter().map(|token| &*token.name))?) {
                tokens[token.id as usize].bytes = stages.decoding.bytes(&name);
            }
            VocabularyModel::Pipeline(pipeline)
        }
    };
    let template = pipeline::template(object, |name| ids.find(name), &mut notes)?;
    let vocabulary = Vocabulary { tokens, model, bos: None, eos: None, unk, add_bos: false };
    Ok(Read { vocabulary, template_bos: template.flatten(), has_template: template.is_some(), notes })
}

/// The id of the token `name`: added tokens go first.
pub(in crate::source) fn find(vocabulary: &Vocabulary, name: &str) -> Option<u32> {
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
    /// By id.
    names: BTreeMap<u32, Cow<'j, str>>,
    /// Those of the model's own vocabulary.
    model: HashMap<Cow<'j, str>, u32>,
    /// Those that are added, and what they are.
    added: BTreeMap<u32, (AddedToken, TokenKind)>,
}

impl<'j> Ids<'j> {
    fn of(object: Value<'j>, model: Value<'j>) -> Result<Self> {
        let field = "model.vocab";
        let vocab = model.get("vocab").ok_or_else(|| model.error("missing: vocab", field))?;
        let mut ids = Ids { names: BTreeMap::new(), model: HashMap::new(), added: BTreeMap::new() };
        for (name, value) in vocab.entries(field)? {
            let id = id(value, &name, field)?;
            ids.place(id, name.clone(), value)?;
            ids.model.insert(name, id);
        }
        if let Some(added) = object.get("added_tokens") {
            for value in added.items("added_tokens")? {
                ids.add(value)?;
            }
        }
        let Some((last, _)) = ids.names.last_key_value() else { return Err(vocab.error("no tokens", field)) };
        let n = ids.names.len();
        if *last as usize > 2 * n + MAX_UNUSED {
            return Err(
                vocab.error(format!("{n} tokens, of which one has the id {last}: most numbers are unused"), field)
            );
        }
        Ok(ids)
    }

    fn place(&mut self, id: u32, name: Cow<'j, str>, value: Value<'_>) -> Result<()> {
        match self.names.insert(id, name.clone()) {
            Some(other) if other != name => {
                let message = format!("both \"{}\" and \"{}\" have this id", printable(&other), printable(&name));
                Err(value.error(message, &format!("token {id}")))
            }
            _ => Ok(()),
        }
    }

    /// The name of each id up to the last one; a number that no token has is unused.
    fn all(&self) -> impl Iterator<Item = (u32, Option<&str>)> {
        let n = self.names.last_key_value().map_or(0, |(id, _)| id + 1);
        (0..n).map(|id| (id, self.names.get(&id).map(|name| &**name)))
    }

    fn add(&mut self, value: Value<'j>) -> Result<()> {
        let field = "added_tokens";
        let missing = |key: &str| value.error(format!("an added token without {key}"), field);
        let name = value.get("content").ok_or_else(|| missing("content"))?.str(field)?;
        let id = id(value.get("id").ok_or_else(|| missing("id"))?, &name, field)?;
        let token = format!("token {id}");
        if name.is_empty() {
            return Err(value.error("an added token that is empty", &token));
        }
        if let Some(other) = self.find(&name).filter(|other| *other != id) {
            return Err(value.error(format!("has the same name as token {other}"), &token));
        }
        let is = |key: &str| value.get(key).map_or(Ok(false), |v| v.bool(field));
        let special = is("special")?;
        // A token that is not said to be otherwise is normalized, unless it is special.
        let normalized = value.get("normalized").map_or(Ok(!special), |v| v.bool(field))?;
        let [lstrip, rstrip, single_word] = ["lstrip", "rstrip", "single_word"].map(is);
        let added = AddedToken {
            id,
            name: name.clone().into_owned(),
            lstrip: lstrip?,
            rstrip: rstrip?,
            single_word: single_word?,
            normalized,
        };
        self.place(id, name, value)?;
        let kind = if special { TokenKind::Control } else { TokenKind::UserDefined };
        if self.added.insert(id, (added, kind)).is_some() {
            return Err(value.error("is added twice", &token));
        }
        Ok(())
    }

    /// The token of the model's vocabulary.
    fn model(&self, name: &str) -> Option<u32> {
        self.model.get(name).copied()
    }

    fn find(&self, name: &str) -> Option<u32> {
        let added = || self.added.iter().find(|(_, (token, _))| token.name == name).map(|(id, _)| *id);
        self.model(name).or_else(added)
    }
}

/// All that the document says of the way from text to tokens.
struct Stages<'s, 'j> {
    ids: &'s Ids<'j>,
    model: Value<'j>,
    unk: Option<u32>,
    normalizer: Vec<whit::tokenizer::Step>,
    cut: Cut,
    decoding: Decoding,
    byte_fallback: bool,
    merges: Merges<'j>,
}

impl Stages<'_, '_> {
    /// The pattern, where the document says no more than that text is cut by it and bytes are merged.
    fn plain(&self) -> Result<Option<PreTokenizer>> {
        let Some(pre) = self.cut.known else { return Ok(None) };
        let normalized = match &self.normalizer[..] {
            [] => !pre.normalizes(),
            [whit::tokenizer::Step::FormC] => pre.normalizes(),
            _ => false,
        };
        let mut pairs = HashSet::new();
        let once = self.merges.iter().all(|pair| pairs.insert(pair));
        let added = self.ids.added.values();
        let by_name = |(token, _): &(AddedToken, TokenKind)| {
            !(token.lstrip || token.rstrip || token.single_word || token.normalized)
        };
        let level = |(name, _): (&Cow<'_, str>, &u32)| byte_level_decode(name).is_some();
        let names = self.ids.model.iter().filter(|(_, id)| !self.ids.added.contains_key(id));
        let whole = self.unk.is_none() && !flag(self.model, "fuse_unk")? && names.into_iter().all(level);
        let whole = whole && self.ids.all().all(|(_, name)| name.is_some());
        Ok(Some(pre)
            .filter(|_| self.decoding.byte_level && normalized && once && whole && added.into_iter().all(by_name)))
    }

    /// What a token is for.
    fn kind(&self, id: u32, name: &str) -> TokenKind {
        let in_model = self.ids.model(name) == Some(id);
        match self.ids.added.get(&id) {
            _ if self.unk == Some(id) => TokenKind::Unknown,
            _ if in_model && !self.cut.byte_level && self.byte_fallback && byte_token(name).is_some() => {
                TokenKind::Byte
            }
            Some((_, kind)) => *kind,
            None => TokenKind::Normal,
        }
    }

    fn tokens(&self) -> Vec<Token> {
        let token = |(id, name): (u32, Option<&str>)| {
            let Some(name) = name else { return Token { bytes: Vec::new(), kind: TokenKind::Unused, score: 0.0 } };
            let kind = self.kind(id, name);
            let bytes = match kind {
                TokenKind::Control | TokenKind::Unknown | TokenKind::Unused => name.as_bytes().to_vec(),
                _ => self.decoding.bytes(name),
            };
            Token { bytes, kind, score: 0.0 }
        };
        self.ids.all().map(token).collect()
    }

    fn byte_level(&self, pre: PreTokenizer) -> Result<VocabularyModel> {
        let ignore_merges = flag(self.model, "ignore_merges")?;
        let decode = |(i, (left, right)): (usize, &(Cow<'_, str>, Cow<'_, str>))| {
            let message = || format!("merge {} \"{} {}\" is not byte-level", i + 1, printable(left), printable(right));
            let pair = byte_level_decode(left).zip(byte_level_decode(right));
            pair.ok_or_else(|| self.model.error(message(), "model.merges"))
        };
        let merges = self.merges.iter().enumerate().map(decode).collect::<Result<_>>()?;
        Ok(VocabularyModel::ByteLevel { pre, merges, ignore_merges })
    }

    fn pipeline(&mut self, notes: &mut Vec<String>) -> Result<Pipeline> {
        let pieces = || self.ids.model.iter().map(|(name, id)| (name.as_ref(), *id, self.kind(*id, name)));
        let is_text = |kind| matches!(kind, TokenKind::Normal | TokenKind::UserDefined | TokenKind::Byte);
        let text = || pieces().filter(|(_, _, kind)| is_text(*kind));
        let single = |name: &str| {
            let mut chars = name.chars();
            chars.next().filter(|_| chars.next().is_none())
        };
        let (mut characters, mut bytes) = (None, BTreeMap::new());
        if self.cut.byte_level {
            bytes.extend(text().filter_map(|(name, id, _)| match byte_level_decode(name)?[..] {
                [byte] => Some((byte, id)),
                _ => None,
            }));
        } else {
            characters = Some(text().filter_map(|(name, id, _)| Some((single(name)?, id))).collect());
            if self.byte_fallback {
                bytes.extend(text().filter_map(|(name, id, _)| Some((byte_token(name)?, id))));
            }
        }
        let mut whole = Vec::new();
        if flag(self.model, "ignore_merges")? {
            whole.extend(text().filter_map(|(name, id, _)| {
                let bytes = if self.cut.byte_level { byte_level_decode(name)? } else { name.as_bytes().to_vec() };
                Some((bytes, id)).filter(|(bytes, _)| !bytes.is_empty())
            }));
        }
        let merges = self.ranked(is_text)?;
        let spelled = |(token, _): &&(AddedToken, TokenKind)| self.kind(token.id, &token.name) == TokenKind::Byte;
        let bytes_by_name = self.ids.added.values().filter(spelled).count();
        if bytes_by_name > 0 {
            notes.push(format!(
                "{bytes_by_name} tokens of single bytes are listed as added tokens: text that spells their names stays text"
            ));
        }
        Ok(Pipeline {
            added: self.ids.added.values().filter(|token| !spelled(token)).map(|(token, _)| token.clone()).collect(),
            fuse_unknown: flag(self.model, "fuse_unk")?,
            strips_space: self.decoding.strips_space,
            characters,
            bytes,
            merges,
            whole,
            normalizer: std::mem::take(&mut self.normalizer),
            pre_tokenizer: std::mem::take(&mut self.cut.steps),
        })
    }

    /// The merges as ids.
    fn ranked(&self, is_text: impl Fn(TokenKind) -> bool) -> Result<Vec<[u32; 3]>> {
        let mut out = Vec::with_capacity(self.merges.len());
        for (i, (left, right)) in self.merges.iter().enumerate() {
            let refused = |what: &str| {
                let message = format!("merge {} of \"{}\" and \"{}\" {what}", i + 1, printable(left), printable(right));
                self.model.error(message, "model.merges")
            };
            let merged = format!("{left}{right}");
            let id = |name: &str| {
                let id = self.ids.model(name).ok_or_else(|| refused("names or makes no token"))?;
                let text = is_text(self.kind(id, name));
                if text { Ok(id) } else { Err(refused("names or makes a control token, which no text may become")) }
            };
            out.push([id(left)?, id(right)?, id(&merged)?]);
        }
        Ok(out)
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
