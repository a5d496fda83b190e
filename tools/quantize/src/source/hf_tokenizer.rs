//! The tokenizer of a Hugging Face directory: tokenizer.json, tokenizer_config.json, chat_template.jinja.

use std::path::Path;

use whit::error::{Error, Result, printable};
use whit::model::Config;
use whit::tokenizer::Vocabulary;

use super::checkpoint::OpenOptions;
use super::gguf_config::MAX_TEMPLATE;
use super::hf_files::{MAX_CONFIG, optional, with_object};
use super::json::{Type, Value};
use super::source_file::SourceFile;
use super::tokenizer_json;

/// Bytes of a tokenizer.json, at most.
const MAX_TOKENIZER: u64 = 256 << 20;

/// What the files say.
#[derive(Default)]
pub(super) struct HfTokenizer {
    pub(super) vocabulary: Option<Vocabulary>,
    /// The number of tokenizer.json among the files.
    pub(super) file: usize,
    pub(super) chat_template: Option<String>,
}

/// What tokenizer_config.json says.
#[derive(Default)]
struct Settings {
    bos: Option<String>,
    eos: Option<String>,
    add_bos: Option<bool>,
    chat_template: Option<String>,
}

/// Reads the files of `dir`; `bos` is the one of config.json.
pub(super) fn read(
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
    let file = match &options.tokenizer {
        Some(path) => Some(SourceFile::open(path)?),
        None => optional(dir, "tokenizer.json", MAX_TOKENIZER)?,
    };
    let Some(file) = file else {
        notes.push("there is no tokenizer.json: the model will take and give token ids only".into());
        return Ok(out);
    };
    if file.bytes > MAX_TOKENIZER {
        let message = format!("{} bytes, the limit is {MAX_TOKENIZER}", file.bytes);
        return Err(file.error(Error::data(message).at(MAX_TOKENIZER)));
    }
    let tokenizer_json::Read { mut vocabulary, template_bos, has_template, notes: more } =
        with_object(&file, tokenizer_json::read)?;
    notes.extend(more);
    let mut find = |name: Option<String>, what: &str| {
        let name = name?;
        let id = tokenizer_json::find(&vocabulary, &name);
        if id.is_none() {
            notes.push(format!("{what} \"{}\" of tokenizer_config.json is no token: ignored", printable(&name)));
        }
        id
    };
    let named_bos = find(settings.bos, "bos_token");
    let eos = find(settings.eos, "eos_token");
    // An id of config.json beyond the tokenizer's tokens names none of them.
    let config_bos = bos.filter(|id| (*id as usize) < vocabulary.tokens.len().min(config.vocab_size));
    vocabulary.bos = template_bos.or(named_bos).or(config_bos);
    vocabulary.eos = eos;
    let wanted = if has_template { template_bos.is_some() } else { settings.add_bos.unwrap_or(false) };
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

fn tokenizer_config(object: Value<'_>) -> Result<Settings> {
    // A token is its text, or an object with its text.
    let token = |key: &str| -> Result<Option<String>> {
        let Some(value) = object.get(key) else { return Ok(None) };
        let text = match value.kind() {
            Type::Object => value.get("content").ok_or_else(|| value.error("missing: content", key))?,
            _ => value,
        };
        Ok(Some(text.str(key)?.into_owned()))
    };
    Ok(Settings {
        bos: token("bos_token")?,
        eos: token("eos_token")?,
        add_bos: object.get("add_bos_token").map(|v| v.bool("add_bos_token")).transpose()?,
        chat_template: chat_template(object)?,
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
