//! The tokenizer of a Hugging Face directory: tokenizer.json, else tokenizer.model, else vocab.json with merges.txt; and
//! tokenizer_config.json, added_tokens.json, special_tokens_map.json, chat_template.jinja, chat_template.json.

use std::path::Path;

use serde_json::{Map, json};
use whit::error::{Error, Result, printable};
use whit::model::Config;
use whit::tokenizer::{Token, TokenKind, Vocabulary};

use super::json::{self, Read};
use super::sentencepiece;
use super::vocab_merges::{self, Added};
use crate::source::checkpoint::OpenOptions;
use crate::source::gguf::config::MAX_TEMPLATE;
use crate::source::hf::files::{MAX_CONFIG, optional, with_object};
use crate::source::json::{Type, Value};
use crate::source::source_file::SourceFile;

/// Bytes of a tokenizer.json, at most.
const MAX_TOKENIZER: u64 = 256 << 20;

/// Files of tokenizers that are not read.
const OTHERS: [&str; 6] = ["tekken.json", "spiece.model", "vocab.json", "merges.txt", "vocab.txt", "qwen.tiktoken"];
/// The token that begins and ends all texts of GPT-2's kind.
const END_OF_TEXT: &str = "<|endoftext|>";

/// What the files say.
#[derive(Default)]
pub(in crate::source) struct HfTokenizer {
    pub(in crate::source) vocabulary: Option<Vocabulary>,
    /// The number of the tokenizer's file among the files.
    pub(in crate::source) file: usize,
    pub(in crate::source) chat_template: Option<String>,
}

/// What tokenizer_config.json says.
#[derive(Default)]
struct Settings {
    bos: Option<String>,
    eos: Option<String>,
    add_bos: Option<bool>,
    chat_template: Option<String>,
    class: Option<String>,
}

/// Reads the files of `dir`; `bos` is the one of config.json.
pub(in crate::source) fn read(
    dir: &Path,
    options: &OpenOptions,
    config: &Config,
    bos: Option<u32>,
    files: &mut Vec<SourceFile>,
    notes: &mut Vec<String>,
) -> Result<HfTokenizer> {
    let mut settings = Settings::default();
    if let Some(file) = optional(dir, "tokenizer_config.json", MAX_CONFIG)? {
        settings = with_object(&file, tokenizer_config)?;
        files.push(file);
    }
    let mut out = HfTokenizer { chat_template: settings.chat_template.take(), ..HfTokenizer::default() };
    if let Some(file) = optional(dir, "chat_template.jinja", MAX_TEMPLATE as u64)? {
        let text = std::str::from_utf8(&file.map);
        let text = text.map_err(|e| file.error(Error::data("not UTF-8").at(e.valid_up_to() as u64)))?;
        if out.chat_template.as_deref().is_some_and(|other| other != text) {
            notes.push("chat_template.jinja is used, not the template of tokenizer_config.json".into());
        }
        out.chat_template = Some(text.to_string());
        files.push(file);
    }
    // Written by processors of several kinds of input, beside whose tokenizers there is no other.
    if let (None, Some(file)) = (&out.chat_template, optional(dir, "chat_template.json", MAX_CONFIG)?) {
        out.chat_template = with_object(&file, chat_template)?;
        files.push(file);
    }
    let Some((file, read)) = vocabulary(dir, options, settings.class.take())? else {
        notes.push(
            "there is no tokenizer: the model can be measured, but not write; --tokenizer FILE names one that lies elsewhere".into(),
        );
        return Ok(out);
    };
    let Read { mut vocabulary, template_bos, has_template, notes: more } = read;
    notes.extend(more);
    let mut find = |name: Option<String>, what: &str| {
        let name = name?;
        let id = json::find(&vocabulary, &name);
        if id.is_none() {
            notes.push(format!("{what} \"{}\" of tokenizer_config.json is no token: ignored", printable(&name)));
        }
        id
    };
    let named_bos = find(settings.bos, "bos_token");
    let eos = find(settings.eos, "eos_token");
    // An id of config.json beyond the tokenizer's tokens names none of them.
    let config_bos = bos.filter(|id| (*id as usize) < vocabulary.tokens.len().min(config.vocab_size));
    vocabulary.bos = template_bos.or(named_bos).or(config_bos).or(vocabulary.bos);
    vocabulary.eos = eos.or(vocabulary.eos);
    let wanted = if has_template { template_bos.is_some() } else { settings.add_bos.unwrap_or(vocabulary.add_bos) };
    vocabulary.add_bos = wanted && vocabulary.bos.is_some();
    if let Some(add_bos) = settings.add_bos.filter(|add| has_template && *add != vocabulary.add_bos) {
        notes.push(format!(
            "tokenizer_config.json says add_bos_token {add_bos}, tokenizer.json's post_processor otherwise: it counts"
        ));
    }
    out.vocabulary = Some(vocabulary);
    out.file = files.len();
    files.push(file);
    Ok(out)
}

/// The tokenizer's file, and what it says.
fn vocabulary(dir: &Path, options: &OpenOptions, class: Option<String>) -> Result<Option<(SourceFile, Read)>> {
    let file = match &options.tokenizer {
        Some(path) => Some(SourceFile::open(path)?),
        None => match optional(dir, "tokenizer.json", MAX_TOKENIZER)? {
            Some(file) => Some(file),
            None => optional(dir, "tokenizer.model", MAX_TOKENIZER)?,
        },
    };
    if let Some(file) = file {
        if file.bytes > MAX_TOKENIZER {
            let message = format!("{} bytes, the limit is {MAX_TOKENIZER}", file.bytes);
            return Err(file.error(Error::data(message).at(MAX_TOKENIZER)));
        }
        // A JSON file begins with a brace, maybe behind white space or a mark that is refused with its own words; a message of
        // Protocol Buffers of this kind with the tag of its first piece.
        if !file.map.starts_with(&[SENTENCE_PIECE]) {
            let read = with_object(&file, json::read)?;
            return Ok(Some((file, read)));
        }
        let vocabulary = sentencepiece::read(&file.map).map_err(|error| file.error(error))?;
        let vocabulary = extended(vocabulary, &added_tokens(dir)?).map_err(|error| file.error(error))?;
        return Ok(Some((file, Read { vocabulary, template_bos: None, has_template: false, notes: Vec::new() })));
    }
    if let (Some(vocab), Some(merges)) =
        (optional(dir, "vocab.json", MAX_TOKENIZER)?, optional(dir, "merges.txt", MAX_TOKENIZER)?)
    {
        let mut others = added_tokens(dir)?;
        others.push(added(None, END_OF_TEXT, true));
        let class = match (class, model_type(dir)?.as_deref()) {
            (Some(class), _) => class,
            (None, Some("qwen2" | "qwen3")) => "Qwen2Tokenizer".into(),
            (None, _) => "GPT2Tokenizer".into(),
        };
        let mut read = vocab_merges::read(&vocab, &merges, &class, &others)?;
        read.notes
            .push(format!("vocab.json and merges.txt are read as {class} does, since there is no tokenizer.json"));
        return Ok(Some((vocab, read)));
    }
    match OTHERS.into_iter().map(|name| dir.join(name)).find(|path| path.exists()) {
        Some(path) => {
            let error =
                Error::data("of this tokenizer's files this one alone is there, which is not enough, or is not read");
            let hint = "with transformers, AutoTokenizer.from_pretrained(DIRECTORY).save_pretrained(DIRECTORY) writes a \
                        tokenizer.json; --tokenizer FILE names one that lies elsewhere";
            Err(error.hint(hint).in_file(path.display().to_string()))
        }
        None => Ok(None),
    }
}

/// The tag of a field of pieces, which a tokenizer.model begins with.
const SENTENCE_PIECE: u8 = 0x0a;

/// The model's type, which says what its tokenizer is where no other file does.
fn model_type(dir: &Path) -> Result<Option<String>> {
    let Some(file) = optional(dir, "config.json", MAX_CONFIG)? else { return Ok(None) };
    with_object(&file, |object| {
        object.get("model_type").map(|kind| Ok(kind.str("model_type")?.into_owned())).transpose()
    })
}

/// A token as a tokenizer.json lists it, but for its id.
fn added(id: Option<u32>, name: &str, special: bool) -> Added {
    let rules = json!({"content": name, "special": special, "normalized": !special, "lstrip": false, "rstrip": false,
        "single_word": false});
    Added { id, token: rules.as_object().cloned().unwrap_or_else(Map::new) }
}

/// The tokens that tokenizer_config.json, special_tokens_map.json and added_tokens.json name.
fn added_tokens(dir: &Path) -> Result<Vec<Added>> {
    let mut out = Vec::new();
    if let Some(file) = optional(dir, "tokenizer_config.json", MAX_CONFIG)? {
        out.extend(with_object(&file, decoder_tokens)?);
        out.extend(with_object(&file, special_tokens)?);
    }
    if let Some(file) = optional(dir, "special_tokens_map.json", MAX_CONFIG)? {
        out.extend(with_object(&file, special_tokens)?);
    }
    if let Some(file) = optional(dir, "added_tokens.json", MAX_CONFIG)? {
        with_object(&file, |object| {
            for (name, id) in object.entries("added_tokens")? {
                out.push(added(Some(id.u32("added_tokens")?), &name, false));
            }
            Ok(())
        })?;
    }
    Ok(out)
}

/// The tokens of `added_tokens_decoder`, with their ids and rules.
fn decoder_tokens(object: Value<'_>) -> Result<Vec<Added>> {
    let (mut out, key) = (Vec::new(), "added_tokens_decoder");
    let Some(decoder) = object.get(key) else { return Ok(out) };
    for (id, value) in decoder.entries(key)? {
        let id = id.parse().map_err(|_| value.error("an id that is no number", key))?;
        let is = |rule: &str| value.get(rule).map_or(Ok(false), |set| set.bool(key));
        let name = value.get("content").ok_or_else(|| value.error("missing: content", key))?.str(key)?;
        let mut token = added(Some(id), &name, is("special")?);
        for rule in ["normalized", "lstrip", "rstrip", "single_word"] {
            token.token.insert(rule.into(), json!(is(rule)?));
        }
        out.push(token);
    }
    Ok(out)
}

/// The tokens that are special by their part: BOS, EOS, and others.
fn special_tokens(object: Value<'_>) -> Result<Vec<Added>> {
    let mut out = Vec::new();
    for key in ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"] {
        out.extend(token_text(object, key)?.map(|name| added(None, &name, true)));
    }
    let key = "additional_special_tokens";
    if let Some(list) = object.get(key).filter(|list| list.kind() == Type::Array) {
        for value in list.items(key)? {
            let text = if value.kind() == Type::Object { value.get("content").unwrap_or(value) } else { value };
            out.push(added(None, &text.str(key)?, true));
        }
    }
    Ok(out)
}

/// SentencePiece's vocabulary with the tokens that other files add behind its pieces, or call special.
fn extended(mut vocabulary: Vocabulary, added: &[Added]) -> Result<Vocabulary> {
    for Added { id, token } in added {
        let (name, special) = (token["content"].as_str().unwrap_or_default(), token["special"] == true);
        let Some(id) = id.map(|id| id as usize) else { continue };
        if id >= vocabulary.tokens.len() {
            if id >= vocabulary.tokens.len() + MAX_ADDED {
                let message = format!("an added token has the id {id}, far behind the pieces");
                return Err(Error::data(message).field(format!("token {id}")));
            }
            vocabulary.tokens.resize(id + 1, Token { bytes: Vec::new(), kind: TokenKind::Unused, score: 0.0 });
        }
        let place = &mut vocabulary.tokens[id];
        match place.kind {
            TokenKind::Unused => {
                let kind = if special { TokenKind::Control } else { TokenKind::UserDefined };
                *place = Token { bytes: name.as_bytes().to_vec(), kind, score: 0.0 };
            }
            TokenKind::Normal | TokenKind::UserDefined if special => place.kind = TokenKind::Control,
            TokenKind::Normal => place.kind = TokenKind::UserDefined,
            _ => {}
        }
    }
    Ok(vocabulary)
}

/// Tokens that are added behind the pieces of a tokenizer.model, at most.
const MAX_ADDED: usize = 1 << 10;

/// A token is its text, or an object with its text.
fn token_text(object: Value<'_>, key: &str) -> Result<Option<String>> {
    let Some(value) = object.get(key) else { return Ok(None) };
    let text = match value.kind() {
        Type::Object => value.get("content").ok_or_else(|| value.error("missing: content", key))?,
        _ => value,
    };
    Ok(Some(text.str(key)?.into_owned()))
}

fn tokenizer_config(object: Value<'_>) -> Result<Settings> {
    Ok(Settings {
        bos: token_text(object, "bos_token")?,
        eos: token_text(object, "eos_token")?,
        add_bos: object.get("add_bos_token").map(|v| v.bool("add_bos_token")).transpose()?,
        chat_template: chat_template(object)?,
        class: object.get("tokenizer_class").and_then(|class| class.str("").ok()).map(|class| class.into_owned()),
    })
}

/// A template, or a list of named ones of which the default is taken.
fn chat_template(object: Value<'_>) -> Result<Option<String>> {
    let key = "chat_template";
    let Some(value) = object.get(key) else { return Ok(None) };
    let mut chosen = Some(value);
    if value.kind() == Type::Array {
        chosen = None;
        for entry in value.items(key)? {
            let name = entry.get("name").ok_or_else(|| entry.error("missing: name", key))?.str(key)?;
            let template = entry.get("template").ok_or_else(|| entry.error("missing: template", key))?;
            if name == "default" {
                chosen = Some(template);
            }
        }
    }
    let Some(value) = chosen else { return Ok(None) };
    let text = value.str(key)?;
    if text.len() > MAX_TEMPLATE {
        return Err(value.error(format!("{} bytes, the limit is {MAX_TEMPLATE}", text.len()), key));
    }
    Ok(Some(text.into_owned()).filter(|text| !text.is_empty()))
}
