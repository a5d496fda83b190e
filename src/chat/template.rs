//! A model's chat template: messages to the text that the model was trained on. Templates come with model files, so they
//! may compute only so much: by fuel and bytes, never by time, so that a slow board gets the same text.

use super::jinja::{environment, refusal};
use super::turn::{Speaker, Turn};
use crate::error::{Error, Result};
use crate::os::budget::{self, Beyond};
use crate::os::calendar::Moment;
use crate::tokenizer::Tokenizer;
use minijinja::{ErrorKind, Value, context};
use std::collections::BTreeMap;

/// Instructions that a template may run.
const FUEL: u64 = 1_000_000;
/// Bytes that its text may have.
const MOST_BYTES: usize = 1 << 20;
/// Bytes it may ask for in all, besides what goes with the length of the messages.
const MEMORY: u64 = 64 << 20;
/// Macros, loops and conditions within one another.
const DEPTH: usize = 150;

/// A chat template with the names of the tokens that it may write. What it may allocate is bounded where
/// [`budget::Budgeted`] is the program's allocator.
#[derive(Debug, Clone)]
pub struct Template {
    source: String,
    /// What stands between quotes in it.
    literals: Vec<String>,
    bos: Option<String>,
    eos: Option<String>,
    now: Moment,
    /// What it is given besides, by name.
    arguments: Vec<(String, Argument)>,
}

/// A value that a template is given by a name of its own, as `enable_thinking`.
#[derive(Debug, Clone, PartialEq)]
pub enum Argument {
    /// `None`.
    None,
    /// `True` or `False`.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// Another number.
    Float(f64),
    /// A text.
    Text(String),
}

impl Argument {
    /// The value that `text` names: `true`, `false`, `none`, a number, or else the text itself.
    pub fn of(text: &str) -> Argument {
        match text {
            "none" | "None" | "null" => Argument::None,
            "true" | "True" => Argument::Boolean(true),
            "false" | "False" => Argument::Boolean(false),
            _ => match (text.parse(), text.parse()) {
                (Ok(n), _) => Argument::Integer(n),
                (_, Ok(x)) => Argument::Float(x),
                _ => Argument::Text(text.into()),
            },
        }
    }

    fn value(&self) -> Value {
        match self {
            Argument::None => ().into(),
            Argument::Boolean(value) => (*value).into(),
            Argument::Integer(value) => (*value).into(),
            Argument::Float(value) => (*value).into(),
            Argument::Text(value) => value.into(),
        }
    }
}

impl Template {
    /// The template in `source` of a model with this tokenizer, for a conversation that takes place at `now`.
    pub fn new(source: &str, tokenizer: &Tokenizer<'_>, now: Moment) -> Template {
        let name = |id: Option<u32>| id.map(|id| String::from_utf8_lossy(tokenizer.bytes(id)).into_owned());
        Template::with_tokens(source, name(tokenizer.bos()), name(tokenizer.eos()), now)
    }

    /// The template in `source`, which may write these names of the tokens that begin and end a text.
    pub fn with_tokens(source: &str, bos: Option<String>, eos: Option<String>, now: Moment) -> Template {
        // As Jinja2 reads lines, whatever ends them.
        let source = source.replace("\r\n", "\n").replace('\r', "\n");
        Template {
            source: without_generation_tags(&source),
            literals: literals(&source),
            bos,
            eos,
            now,
            arguments: Vec::new(),
        }
    }

    /// Gives it `value` as `name` from now on.
    pub fn set(&mut self, name: String, value: Argument) {
        self.arguments.push((name, value));
    }

    /// The words that the template itself names, as which it may look for something.
    pub(super) fn literals(&self) -> &[String] {
        &self.literals
    }

    /// The text of `turns`, which ends where the model's next reply begins.
    pub fn render(&self, turns: &[Turn]) -> Result<String> {
        self.render_with(turns, turns.iter().map(|turn| turn.text.clone()).collect())
    }

    /// The text of `turns`, in which `contents` is said instead.
    pub(super) fn render_with(&self, turns: &[Turn], contents: Vec<String>) -> Result<String> {
        let roles: Vec<Speaker> = turns.iter().map(|turn| turn.role).collect();
        let length: usize = contents.iter().map(String::len).sum();
        let template = self.clone();
        let most = MOST_BYTES.max(2 * length);
        let rendered = budget::within(MEMORY + 64 * length as u64, move || template.fill(&roles, contents, most));
        let told = |message: String| Error::data(message).field("chat template");
        match rendered {
            Ok(Ok(text)) => Ok(text),
            Ok(Err(message)) => Err(told(message)),
            Err(Beyond::Memory) => Err(told(format!("it takes more than {} MiB of memory", MEMORY >> 20))),
            Err(Beyond::Stack) => Err(told("it puts too many values into one another".into())),
        }
    }

    fn fill(&self, roles: &[Speaker], contents: Vec<String>, most: usize) -> core::result::Result<String, String> {
        let messages: Vec<Value> = roles
            .iter()
            .zip(contents)
            .map(|(role, content)| context! { role => role.name(), content => content })
            .collect();
        let mut environment = environment().map_err(|error| one_line(&error))?;
        environment.set_fuel(Some(FUEL));
        environment.set_recursion_limit(DEPTH);
        let now = self.now;
        environment.add_function("strftime_now", move |format: &str| now.format(format).map_err(refusal));
        let token = |name: &Option<String>| name.as_ref().map_or(Value::UNDEFINED, Value::from);
        let mut values: BTreeMap<&str, Value> =
            self.arguments.iter().map(|(name, value)| (name.as_str(), value.value())).collect();
        values.extend([
            ("messages", messages.into()),
            ("tools", ().into()),
            ("documents", ().into()),
            ("add_generation_prompt", true.into()),
            ("bos_token", token(&self.bos)),
            ("eos_token", token(&self.eos)),
        ]);
        let template = environment.template_from_str(&self.source).map_err(|error| one_line(&error))?;
        let text = template.render(values).map_err(|error| one_line(&error))?;
        if text.len() > most {
            return Err(format!("it writes more than {most} bytes"));
        }
        Ok(text)
    }
}

/// The template's own message, with its line.
fn one_line(error: &minijinja::Error) -> String {
    let detail = error.detail().filter(|detail| !detail.trim().is_empty());
    let said = detail.map_or_else(|| error.kind().to_string(), str::to_owned);
    let said = match error.kind() {
        ErrorKind::OutOfFuel => format!("it runs more than {FUEL} instructions"),
        _ => crate::error::printable(&said),
    };
    match error.line() {
        Some(line) => format!("line {line}: {said}"),
        None => said,
    }
}

/// `source` with the tags by which training code finds replies, `{% generation %}` and its end, turned into a condition that
/// always holds.
fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at + 2);
        out.push_str(before);
        let word = tag.trim_start_matches(['-', '+']).trim_start();
        let skipped = tag.len() - word.len();
        out.push_str(&tag[..skipped]);
        rest = word;
        for (name, instead) in [("generation", "if true"), ("endgeneration", "endif")] {
            let Some(after) = word.strip_prefix(name) else { continue };
            if after.trim_start().trim_start_matches(['-', '+']).starts_with("%}") {
                out.push_str(instead);
                rest = after;
            }
        }
    }
    out + rest
}

/// What stands between quotes in `source`. Quotes outside of tags are taken for such, too, which does no harm.
fn literals(source: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for tag in source.split("{{").flat_map(|part| part.split("{%")) {
        let mut rest = tag.chars();
        while let Some(quote) = rest.find(|c| ['\'', '"'].contains(c)) {
            let mut literal = String::new();
            while let Some(c) = rest.next().filter(|c| *c != quote) {
                literal.push(if c == '\\' { escaped(rest.next()) } else { c });
            }
            if !literal.trim().is_empty() && !out.contains(&literal) {
                out.push(literal);
            }
        }
    }
    out
}

/// The character that a backslash and `c` mean.
fn escaped(c: Option<char>) -> char {
    match c {
        Some('n') => '\n',
        Some('r') => '\r',
        Some('t') => '\t',
        Some(c) => c,
        None => '\\',
    }
}
