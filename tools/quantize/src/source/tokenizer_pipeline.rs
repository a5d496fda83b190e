//! The stages around the model of a tokenizer.json: normalizer, pre-tokenizer, post-processor, decoder. Only the
//! combinations whose meaning is known exactly are accepted.

use std::borrow::Cow;

use whit::error::{Error, Result, printable};
use whit::tokenizer::PreTokenizer;

use super::json::Value;

/// The pipelines that are read, for hints.
pub(super) const SUPPORTED: &str =
    "supported: byte-level BPE as of GPT-2, Llama 3, Qwen2, SmolLM2, and BPE with byte fallback as of Llama 2";

/// How text is cut before it is merged.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Cut {
    ByteLevel(PreTokenizer),
    SentencePiece { add_dummy_prefix: bool },
}

/// A stage and its type.
fn typed<'j>(value: Value<'j>, field: &str) -> Result<Cow<'j, str>> {
    let kind = value.get("type").ok_or_else(|| value.error("missing: type", field))?;
    kind.str(&format!("{field}.type"))
}

fn unsupported(value: Value<'_>, kind: &str, field: &str) -> Error {
    value.error(format!("\"{}\" is not supported here", printable(kind)), field).hint(SUPPORTED)
}

/// The stage itself, or the stages of a `Sequence`, whose list is called `list`.
fn stages<'j>(value: Option<Value<'j>>, list: &str, field: &str) -> Result<Vec<(Cow<'j, str>, Value<'j>)>> {
    let Some(value) = value else { return Ok(Vec::new()) };
    let kind = typed(value, field)?;
    if kind != "Sequence" {
        return Ok(vec![(kind, value)]);
    }
    let inner = value.get(list).ok_or_else(|| value.error(format!("missing: {list}"), field))?;
    inner.items(field)?.map(|stage| Ok((typed(stage, field)?, stage))).collect()
}

fn flag(value: Value<'_>, key: &str, default: bool, field: &str) -> Result<bool> {
    value.get(key).map_or(Ok(default), |v| v.bool(&format!("{field}.{key}")))
}

/// What the normalizer does.
#[derive(Debug, Default)]
struct Normalizer {
    nfc: bool,
    prepends: bool,
    marks_spaces: bool,
}

fn normalizer(object: Value<'_>) -> Result<Normalizer> {
    let field = "normalizer";
    let mut out = Normalizer::default();
    for (kind, stage) in stages(object.get(field), "normalizers", field)? {
        let text = |key: &str| stage.get(key).and_then(|v| v.str("").ok());
        match &*kind {
            "NFC" => out.nfc = true,
            "Prepend" if text("prepend").as_deref() == Some("\u{2581}") => out.prepends = true,
            "Replace" => {
                let pattern = stage.get("pattern").and_then(|p| p.get("String")).and_then(|p| p.str("").ok());
                if pattern.as_deref() != Some(" ") || text("content").as_deref() != Some("\u{2581}") {
                    let message = "a Replace other than of a space by U+2581 is not supported";
                    return Err(stage.error(message, "normalizer.Replace").hint(SUPPORTED));
                }
                out.marks_spaces = true;
            }
            other => return Err(unsupported(stage, other, field)),
        }
    }
    Ok(out)
}

/// Reads normalizer, pre-tokenizer and decoder.
pub(super) fn cut(object: Value<'_>, notes: &mut Vec<String>) -> Result<Cut> {
    check_decoder(object)?;
    let normalizer = normalizer(object)?;
    let field = "pre_tokenizer";
    let stages = stages(object.get(field), "pretokenizers", field)?;
    if stages.is_empty() {
        return unicode_cut(object, &normalizer);
    }
    if let [(kind, stage)] = &stages[..]
        && *kind == "Metaspace"
    {
        return metaspace(*stage, &normalizer, notes);
    }
    let pre = byte_level(object, &stages)?;
    if normalizer.prepends || normalizer.marks_spaces {
        let stage = object.get("normalizer").unwrap_or(object);
        return Err(stage.error("not supported before a byte-level pre_tokenizer", "normalizer").hint(SUPPORTED));
    }
    if normalizer.nfc && !pre.normalizes() {
        notes.push("tokenizer.json normalizes text to NFC: whit does so for Qwen2's pattern only".into());
    } else if !normalizer.nfc && pre.normalizes() {
        notes
            .push("text is normalized to NFC, as Qwen2's pattern goes with; tokenizer.json does not ask for it".into());
    }
    Ok(Cut::ByteLevel(pre))
}

/// No pre-tokenizer: the normalizer has to do SentencePiece's work.
fn unicode_cut(object: Value<'_>, normalizer: &Normalizer) -> Result<Cut> {
    if !normalizer.marks_spaces || normalizer.nfc {
        return Err(object
            .error("no pre_tokenizer, and no normalizer that marks spaces", "pre_tokenizer")
            .hint(SUPPORTED));
    }
    Ok(Cut::SentencePiece { add_dummy_prefix: normalizer.prepends })
}

fn metaspace(stage: Value<'_>, normalizer: &Normalizer, notes: &mut Vec<String>) -> Result<Cut> {
    let field = "pre_tokenizer.Metaspace";
    if normalizer.nfc || normalizer.prepends {
        return Err(stage.error("not supported together with this normalizer", field).hint(SUPPORTED));
    }
    let replacement = stage.get("replacement").map(|v| v.str(field)).transpose()?;
    if replacement.is_some_and(|r| r != "\u{2581}") || flag(stage, "split", false, field)? {
        return Err(stage.error("only with replacement U+2581 and without split", field).hint(SUPPORTED));
    }
    let scheme = stage.get("prepend_scheme").map(|v| v.str(field)).transpose()?;
    let add_dummy_prefix = match scheme.as_deref() {
        Some("always") => true,
        Some("first") => {
            notes.push("a space is put before each text between special tokens, not before the first only".into());
            true
        }
        Some("never") => false,
        Some(other) => return Err(unsupported(stage, other, field)),
        None => flag(stage, "add_prefix_space", true, field)?,
    };
    Ok(Cut::SentencePiece { add_dummy_prefix })
}

fn byte_level(object: Value<'_>, stages: &[(Cow<'_, str>, Value<'_>)]) -> Result<PreTokenizer> {
    let field = "pre_tokenizer";
    let (mut pattern, mut digits, mut bytes) = (None, false, None);
    for (kind, stage) in stages {
        match &**kind {
            _ if bytes.is_some() => return Err(unsupported(*stage, kind, field)),
            "Split" if pattern.is_none() && !digits => pattern = Some((split(*stage)?, *stage)),
            "Digits" if pattern.is_none() && !digits => {
                digits = flag(*stage, "individual_digits", false, "pre_tokenizer.Digits")?;
                if !digits {
                    return Err(stage.error("only with individual_digits", "pre_tokenizer.Digits").hint(SUPPORTED));
                }
            }
            "ByteLevel" => {
                if flag(*stage, "add_prefix_space", true, "pre_tokenizer.ByteLevel")? {
                    return Err(stage.error("add_prefix_space is not supported", "pre_tokenizer.ByteLevel"));
                }
                bytes = Some(flag(*stage, "use_regex", true, "pre_tokenizer.ByteLevel")?);
            }
            other => return Err(unsupported(*stage, other, field)),
        }
    }
    match (pattern, digits, bytes) {
        (None, false, Some(true)) => Ok(PreTokenizer::Gpt2),
        (None, true, Some(true)) => Ok(PreTokenizer::SmolLm2),
        (Some((pattern, stage)), false, Some(false)) => PreTokenizer::from_pattern(&pattern).ok_or_else(|| {
            let message = format!("no known pattern: {}", printable(&pattern));
            stage.error(message, "pre_tokenizer.Split").hint(SUPPORTED)
        }),
        _ => {
            let stage = object.get(field).unwrap_or(object);
            Err(stage.error("this sequence of stages is not supported", field).hint(SUPPORTED))
        }
    }
}

fn split(stage: Value<'_>) -> Result<Cow<'_, str>> {
    let field = "pre_tokenizer.Split";
    let regex = stage.get("pattern").and_then(|p| p.get("Regex"));
    let regex = regex.ok_or_else(|| stage.error("only with a Regex pattern", field).hint(SUPPORTED))?;
    let behavior = stage.get("behavior").map(|v| v.str(field)).transpose()?;
    if behavior.as_deref() != Some("Isolated") || flag(stage, "invert", false, field)? {
        return Err(stage.error("only with behavior Isolated and without invert", field).hint(SUPPORTED));
    }
    regex.str(field)
}

fn check_decoder(object: Value<'_>) -> Result<()> {
    let field = "decoder";
    const KNOWN: [&str; 6] = ["ByteLevel", "Replace", "ByteFallback", "Fuse", "Strip", "Metaspace"];
    for (kind, stage) in stages(object.get(field), "decoders", field)? {
        if !KNOWN.contains(&&*kind) {
            return Err(unsupported(stage, &kind, field));
        }
    }
    Ok(())
}

/// The token that the post-processor puts before a text: `None` where no post-processor says so, `Some(None)` where
/// one puts nothing there.
pub(super) fn template(
    object: Value<'_>,
    find: impl Fn(&str) -> Option<u32>,
    notes: &mut Vec<String>,
) -> Result<Option<Option<u32>>> {
    let field = "post_processor";
    let mut out = None;
    for (kind, stage) in stages(object.get(field), "processors", field)? {
        match &*kind {
            "ByteLevel" => {}
            "TemplateProcessing" => {
                let single = stage.get("single").ok_or_else(|| stage.error("missing: single", field))?;
                out = Some(prefix(single, &find, notes)?);
            }
            other => return Err(unsupported(stage, other, field)),
        }
    }
    Ok(out)
}

fn prefix(single: Value<'_>, find: impl Fn(&str) -> Option<u32>, notes: &mut Vec<String>) -> Result<Option<u32>> {
    let field = "post_processor.single";
    let (mut before, mut seen_text) = (None, false);
    for piece in single.items(field)? {
        let Some(special) = piece.get("SpecialToken") else {
            seen_text = true;
            continue;
        };
        let name = special.get("id").ok_or_else(|| special.error("missing: id", field))?;
        let text = name.str(field)?;
        let missing = || name.error(format!("\"{}\" is no token", printable(&text)), field);
        let id = find(&text).ok_or_else(missing)?;
        match before {
            _ if seen_text => notes.push(format!("\"{}\" after a text is not added", printable(&text))),
            None => before = Some(id),
            Some(_) => return Err(name.error("more than one token before a text is not supported", field)),
        }
    }
    Ok(before)
}
