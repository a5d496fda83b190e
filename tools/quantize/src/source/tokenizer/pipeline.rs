//! The stages around the model of a tokenizer.json: normalizer, pre-tokenizer, post-processor, decoder. Each stage of the
//! `tokenizers` library that is read becomes steps that compute the same; any other is refused by its name.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use unicode_normalization::UnicodeNormalization;
use whit::error::{Error, Result, printable};
use whit::tokenizer::{Behavior, Pattern, PreTokenizer, Step, byte_level_decode, byte_token};

use crate::pattern;
use crate::source::json::Value;

/// SentencePiece's mark for a space.
const SPACE_MARK: char = '\u{2581}';

/// A stage and its type.
fn typed<'j>(value: Value<'j>, field: &str) -> Result<Cow<'j, str>> {
    let kind = value.get("type").ok_or_else(|| value.error("missing: type", field))?;
    kind.str(&format!("{field}.type"))
}

fn unsupported(value: Value<'_>, kind: &str, field: &str) -> Error {
    let hint = "a tokenizer of another kind of the same model may be among the files: name it with --tokenizer";
    value.error(format!("\"{}\" is not supported here", printable(kind)), field).hint(hint)
}

/// The stage itself, or the stages of a `Sequence`, whose list is called `list`; sequences within it, too.
fn stages<'j>(value: Option<Value<'j>>, list: &str, field: &str) -> Result<Vec<(Cow<'j, str>, Value<'j>)>> {
    let (mut out, mut left) = (Vec::new(), Vec::from_iter(value));
    while let Some(value) = left.pop() {
        let kind = typed(value, field)?;
        if kind != "Sequence" {
            out.push((kind, value));
            continue;
        }
        let inner = value.get(list).ok_or_else(|| value.error(format!("missing: {list}"), field))?;
        let inner: Vec<Value<'j>> = inner.items(field)?.collect();
        left.extend(inner.into_iter().rev());
    }
    Ok(out)
}

fn flag(value: Value<'_>, key: &str, default: bool, field: &str) -> Result<bool> {
    value.get(key).map_or(Ok(default), |v| v.bool(&format!("{field}.{key}")))
}

fn text<'j>(value: Value<'j>, key: &str, field: &str) -> Result<Cow<'j, str>> {
    let field = format!("{field}.{key}");
    value.get(key).ok_or_else(|| value.error(format!("missing: {key}"), &field))?.str(&field)
}

fn one_char(value: Value<'_>, key: &str, default: Option<char>, field: &str) -> Result<char> {
    if let (None, Some(default)) = (value.get(key), default) {
        return Ok(default);
    }
    let text = text(value, key, field)?;
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (Some(c), None) => Ok(c),
        _ => Err(value.error(format!("\"{}\" is no single character", printable(&text)), &format!("{field}.{key}"))),
    }
}

/// The pattern of a stage: `{"String": ...}` as it is, or `{"Regex": ...}`.
fn compiled(stage: Value<'_>, field: &str) -> Result<Pattern> {
    let field = format!("{field}.pattern");
    let value = stage.get("pattern").ok_or_else(|| stage.error("missing: pattern", &field))?;
    let (text, pattern) = if let Some(literal) = value.get("String") {
        let text = literal.str(&field)?;
        let pattern = pattern::literal(&text);
        (text, pattern)
    } else {
        let regex = value.get("Regex").ok_or_else(|| value.error("neither String nor Regex", &field))?;
        let text = regex.str(&field)?;
        let pattern = pattern::compile(&text);
        (text, pattern)
    };
    pattern.map_err(|reason| value.error(format!("\"{}\": {reason}", printable(&text)), &field))
}

/// The pattern of one character.
fn character(stage: Value<'_>, field: &str, c: char) -> Result<Pattern> {
    pattern::literal(c.encode_utf8(&mut [0; 4])).map_err(|reason| stage.error(reason, field))
}

/// The steps of the normalizer.
pub(in crate::source) fn normalizer(object: Value<'_>) -> Result<Vec<Step>> {
    let mut out = Vec::new();
    for (kind, stage) in stages(object.get("normalizer"), "normalizers", "normalizer")? {
        let field = &format!("normalizer.{kind}");
        match &*kind {
            "NFC" => out.push(Step::FormC),
            "NFD" => out.push(Step::FormD),
            "NFKC" => out.extend([Step::Characters(COMPATIBLE.clone()), Step::FormC]),
            "NFKD" => out.extend([Step::Characters(COMPATIBLE.clone()), Step::FormD]),
            "Lowercase" => out.push(Step::Characters(LOWERCASE.clone())),
            "StripAccents" => {
                let pattern = pattern::compile(r"\p{M}").map_err(|reason| stage.error(reason, field))?;
                out.push(Step::Replace { pattern, by: String::new() });
            }
            "Strip" => {
                let [left, right] = ["strip_left", "strip_right"].map(|key| flag(stage, key, true, field));
                let (left, right) = (left?, right?);
                out.extend((left || right).then_some(Step::Trim { left, right }));
            }
            "Prepend" => {
                let text = text(stage, "prepend", field)?.into_owned();
                out.push(Step::Prepend { text, unless_there: false, first: false });
            }
            "Replace" => {
                let by = text(stage, "content", field)?.into_owned();
                out.push(Step::Replace { pattern: compiled(stage, field)?, by });
            }
            other => return Err(unsupported(stage, other, "normalizer")),
        }
    }
    Ok(out)
}

// What walks through all characters is made once: a process may convert many files.

/// What lowering changes.
static LOWERCASE: LazyLock<BTreeMap<char, String>> =
    LazyLock::new(|| mapped('\0'..=char::MAX, |c| c.to_lowercase().collect()));

/// Characters that forms KC and KD change more than forms C and D do; what they become is in order. The forms of the
/// `tokenizers` library are those of Unicode 9.
static COMPATIBLE: LazyLock<BTreeMap<char, String>> = LazyLock::new(|| {
    let becomes = |c: char| {
        let text: String = [c].into_iter().nfkd().collect();
        if text.chars().eq([c].into_iter().nfd()) { String::from(c) } else { text }
    };
    mapped(pattern::members(r"\p{Age:9.0}"), becomes)
});

/// A number of any script.
static NUMERIC: LazyLock<std::result::Result<Pattern, String>> =
    LazyLock::new(|| pattern::characters(char::is_numeric));

/// Those of `characters` that `becomes` changes.
fn mapped(characters: impl Iterator<Item = char>, becomes: impl Fn(char) -> String) -> BTreeMap<char, String> {
    characters.map(|c| (c, becomes(c))).filter(|(c, text)| !text.chars().eq([*c])).collect()
}

/// What the pre-tokenizer does.
pub(in crate::source) struct Cut {
    pub(in crate::source) steps: Vec<Step>,
    /// The bytes of the pieces are the symbols, not their characters.
    pub(in crate::source) byte_level: bool,
    /// The pattern that the steps amount to, where it is one of those that need no table.
    pub(in crate::source) known: Option<PreTokenizer>,
}

/// Reads the pre-tokenizer.
pub(in crate::source) fn cut(object: Value<'_>) -> Result<Cut> {
    let stages = stages(object.get("pre_tokenizer"), "pretokenizers", "pre_tokenizer")?;
    let mut cut = Cut { steps: Vec::new(), byte_level: false, known: known(&stages)? };
    for (kind, stage) in stages {
        let field = &format!("pre_tokenizer.{kind}");
        if cut.byte_level {
            return Err(unsupported(stage, &format!("{kind} behind ByteLevel"), "pre_tokenizer"));
        }
        let behavior = |default: &str| behavior(stage, default, field);
        let split = |pattern, behavior, invert| Step::Split { pattern, behavior, invert };
        match &*kind {
            "ByteLevel" => {
                cut.byte_level = true;
                if flag(stage, "add_prefix_space", true, field)? {
                    cut.steps.push(Step::Prepend { text: " ".into(), unless_there: true, first: false });
                }
                if flag(stage, "use_regex", true, field)? {
                    let pattern =
                        pattern::compile(PreTokenizer::GPT2_PATTERN).map_err(|reason| stage.error(reason, field))?;
                    cut.steps.push(split(pattern, Behavior::Isolated, false));
                }
            }
            "Split" => {
                cut.steps.push(split(compiled(stage, field)?, behavior("")?, flag(stage, "invert", false, field)?))
            }
            "Digits" => {
                let alone = flag(stage, "individual_digits", false, field)?;
                let behavior = if alone { Behavior::Isolated } else { Behavior::Contiguous };
                let numeric = NUMERIC.clone().map_err(|reason| stage.error(reason, field))?;
                cut.steps.push(split(numeric, behavior, false));
            }
            "Punctuation" => {
                let pattern = pattern::compile(r"[\p{P}$+<=>^`|~]").map_err(|reason| stage.error(reason, field))?;
                cut.steps.push(split(pattern, behavior("Isolated")?, false));
            }
            "Whitespace" => {
                let pattern = pattern::compile(r"\w+|[^\w\s]+").map_err(|reason| stage.error(reason, field))?;
                cut.steps.push(split(pattern, Behavior::Removed, true));
            }
            "WhitespaceSplit" => {
                let space = pattern::characters(char::is_whitespace).map_err(|reason| stage.error(reason, field))?;
                cut.steps.push(split(space, Behavior::Removed, false));
            }
            "CharDelimiterSplit" => {
                let delimiter = one_char(stage, "delimiter", None, field)?;
                cut.steps.push(split(character(stage, field, delimiter)?, Behavior::Removed, false));
            }
            "Metaspace" => cut.steps.extend(metaspace(stage, field)?),
            other => return Err(unsupported(stage, other, "pre_tokenizer")),
        }
    }
    Ok(cut)
}

fn behavior(stage: Value<'_>, default: &str, field: &str) -> Result<Behavior> {
    let key = "behavior";
    let name = if stage.get(key).is_none() { default.into() } else { text(stage, key, field)? };
    match &*name {
        "Isolated" => Ok(Behavior::Isolated),
        "Removed" => Ok(Behavior::Removed),
        "Contiguous" => Ok(Behavior::Contiguous),
        "MergedWithPrevious" => Ok(Behavior::MergedWithPrevious),
        "MergedWithNext" => Ok(Behavior::MergedWithNext),
        other => Err(unsupported(stage, other, &format!("{field}.{key}"))),
    }
}

fn metaspace(stage: Value<'_>, field: &str) -> Result<Vec<Step>> {
    let mark = one_char(stage, "replacement", Some(SPACE_MARK), field)?;
    let replace = Step::Replace { pattern: character(stage, field, ' ')?, by: mark.into() };
    let prepend = |first| Step::Prepend { text: mark.into(), unless_there: true, first };
    let mut out = vec![replace];
    match &*scheme(stage, field)? {
        "always" => out.push(prepend(false)),
        "first" => out.push(prepend(true)),
        "never" => {}
        other => return Err(unsupported(stage, other, &format!("{field}.prepend_scheme"))),
    }
    if flag(stage, "split", true, field)? {
        let pattern = character(stage, field, mark)?;
        out.push(Step::Split { pattern, behavior: Behavior::MergedWithNext, invert: false });
    }
    Ok(out)
}

fn scheme<'j>(stage: Value<'j>, field: &str) -> Result<Cow<'j, str>> {
    if stage.get("prepend_scheme").is_some() {
        return text(stage, "prepend_scheme", field);
    }
    let prepends = flag(stage, "add_prefix_space", true, field)?;
    Ok(if prepends { "always" } else { "never" }.into())
}

/// The pattern that needs no table and does what all of `stages` do.
fn known(stages: &[(Cow<'_, str>, Value<'_>)]) -> Result<Option<PreTokenizer>> {
    let (Some(&(ref last, byte_level)), before) = (stages.last(), &stages[..stages.len().saturating_sub(1)]) else {
        return Ok(None);
    };
    if last != "ByteLevel" || flag(byte_level, "add_prefix_space", true, "pre_tokenizer.ByteLevel")? {
        return Ok(None);
    }
    let use_regex = flag(byte_level, "use_regex", true, "pre_tokenizer.ByteLevel")?;
    Ok(match before {
        [] if use_regex => Some(PreTokenizer::Gpt2),
        [(kind, stage)] if kind == "Digits" && use_regex => {
            let alone = flag(*stage, "individual_digits", false, "pre_tokenizer.Digits")?;
            alone.then_some(PreTokenizer::SmolLm2)
        }
        [(kind, stage)] if kind == "Split" && !use_regex => {
            let field = "pre_tokenizer.Split";
            let invert = flag(*stage, "invert", false, field)?;
            // The known patterns leave nothing out: to remove what is between their matches removes nothing.
            let whole = match behavior(*stage, "", field)? {
                Behavior::Isolated => true,
                Behavior::Removed => invert,
                _ => false,
            };
            let regex = stage.get("pattern").and_then(|pattern| pattern.get("Regex"));
            let regex = regex.map(|regex| regex.str(field)).transpose()?;
            regex.filter(|_| whole).and_then(|regex| PreTokenizer::from_pattern(&regex))
        }
        _ => None,
    })
}

/// How tokens become text again.
#[derive(Debug, Default)]
pub(in crate::source) struct Decoding {
    /// Text in pieces, and what it stands for, in this order.
    replaced: Vec<(String, String)>,
    /// Characters of the byte alphabet are bytes.
    pub(in crate::source) byte_level: bool,
    /// `<0x0A>` is a byte.
    pub(in crate::source) byte_fallback: bool,
    /// The first space of a text is taken off.
    pub(in crate::source) strips_space: bool,
}

impl Decoding {
    /// What `piece` stands for.
    pub(in crate::source) fn bytes(&self, piece: &str) -> Vec<u8> {
        if let Some(byte) = byte_token(piece).filter(|_| self.byte_fallback) {
            return vec![byte];
        }
        let text = self.replaced.iter().fold(piece.to_string(), |text, (from, to)| text.replace(from, to));
        let bytes = if self.byte_level { byte_level_decode(&text) } else { None };
        bytes.unwrap_or_else(|| text.into_bytes())
    }
}

/// Reads the decoder.
pub(in crate::source) fn decoding(object: Value<'_>, notes: &mut Vec<String>) -> Result<Decoding> {
    let mut out = Decoding::default();
    let mut fused = false;
    let stages = stages(object.get("decoder"), "decoders", "decoder")?;
    if stages.is_empty() {
        notes.push("tokenizer.json has no decoder: tokens are joined as they are".into());
    }
    for (kind, stage) in stages {
        let field = &format!("decoder.{kind}");
        match &*kind {
            "ByteLevel" => out.byte_level = true,
            "ByteFallback" => out.byte_fallback = true,
            "Fuse" => fused = true,
            "Replace" => {
                let from = stage.get("pattern").and_then(|p| p.get("String")).map(|p| p.str(field)).transpose()?;
                let from = from.filter(|from| !from.is_empty());
                let from = from.ok_or_else(|| unsupported(stage, "a pattern that is no text", field))?;
                out.replaced.push((from.into_owned(), text(stage, "content", field)?.into_owned()));
            }
            "Metaspace" => {
                let mark = one_char(stage, "replacement", Some(SPACE_MARK), field)?;
                out.strips_space |= scheme(stage, field)? != "never";
                out.replaced.push((mark.into(), " ".into()));
            }
            "Strip" => {
                let count = |key: &str| stage.get(key).map_or(Ok(0), |n| n.u32(&format!("{field}.{key}")));
                let space = one_char(stage, "content", Some(' '), field)? == ' ';
                match (count("start")?, count("stop")?) {
                    (0, 0) => {}
                    (1, 0) if space && fused => out.strips_space = true,
                    _ => return Err(unsupported(stage, "more than one space at the start of a text", field)),
                }
            }
            other => return Err(unsupported(stage, other, "decoder")),
        }
    }
    Ok(out)
}

/// The token that the post-processor puts before a text: `None` where no post-processor says so, `Some(None)` where
/// one puts nothing there.
pub(in crate::source) fn template(
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
