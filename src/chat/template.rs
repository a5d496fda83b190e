//! A model's chat template: messages to the text that the model was trained on. Templates come with model files, so they
//! may compute only so much: by steps, never by time, so that a slow board gets the same text.

use super::jinja::{self, Fault, Meter, Value, Why};
use super::turn::Turn;
use crate::error::{Error, Kind, Result};
use crate::os::calendar::Moment;
use crate::tokenizer::Tokenizer;

/// Steps that a template may take for any messages. A step is about a byte read or written, an expression is some; so this
/// is the memory that it can take, too.
const STEPS: u64 = 64 << 20;
/// More of them for each byte of the messages.
const STEPS_A_BYTE: u64 = 64;
/// Bytes for which a message counts besides its own.
const TURN: usize = 256;
/// Words between quotes that are known of it, several times as many as published templates have.
const MOST_LITERALS: usize = 400;
/// Bytes that its text may have.
const MOST_BYTES: usize = 1 << 20;

/// A chat template with the names of the tokens that it may write.
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
            Argument::None => Value::None,
            Argument::Boolean(value) => Value::Bool(*value),
            Argument::Integer(value) => Value::Int(*value),
            Argument::Float(value) => Value::Float(*value),
            Argument::Text(value) => Value::text(value),
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
        let length: usize = contents.iter().map(|content| content.len() + TURN).sum();
        let meter = Meter::new(STEPS + STEPS_A_BYTE * length as u64);
        let most = MOST_BYTES.max(2 * length);
        match self.fill(turns, &contents, &meter) {
            Ok(text) if text.len() <= most => Ok(text),
            Ok(_) => Err(Error::data(format!("it writes more than {most} bytes")).field("chat template")),
            Err(fault) => Err(refusal(&fault)),
        }
    }

    fn fill(&self, turns: &[Turn], contents: &[String], meter: &Meter) -> core::result::Result<String, Fault> {
        let message = |(turn, content): (&Turn, &String)| {
            let entries = vec![("role", Value::text(turn.role.name())), ("content", Value::text(content))];
            jinja::dict(entries, meter)
        };
        let messages = turns.iter().zip(contents).map(message).collect::<core::result::Result<_, _>>()?;
        let token = |name: &Option<String>, what| name.as_deref().map_or_else(|| Value::Undefined(what), Value::text);
        let mut values = vec![
            ("messages", jinja::list(messages, meter)?),
            ("tools", Value::None),
            ("documents", Value::None),
            ("add_generation_prompt", Value::Bool(true)),
            ("bos_token", token(&self.bos, "bos_token".into())),
            ("eos_token", token(&self.eos, "eos_token".into())),
        ];
        values.splice(0..0, self.arguments.iter().map(|(name, value)| (name.as_str(), value.value())));
        jinja::render(&self.source, values, self.now, meter)
    }
}

/// The error of a template that gives no text, with its line.
fn refusal(fault: &Fault) -> Error {
    let said = match &fault.why {
        Why::Interrupted => return Error::new(Kind::Interrupted, "the template was stopped").field("chat template"),
        Why::Work => "it takes more steps than a template may".into(),
        Why::Said(message) if message.trim().is_empty() => "it refuses the conversation without a word".into(),
        Why::Said(message) => crate::error::printable(message),
    };
    let said = match fault.line {
        Some(line) => format!("line {line}: {said}"),
        None => said,
    };
    Error::data(said).field("chat template")
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

/// What stands between quotes in `source`, the first of it. Quotes outside of tags are taken for such, too, which does no harm.
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
            if out.len() == MOST_LITERALS {
                return out;
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
