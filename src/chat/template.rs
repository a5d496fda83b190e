//! A model's chat template: messages to the text that the model was trained on. Templates come with model files, so they
//! may compute only so much: by steps, never by time, so that a slow board gets the same text.

use super::argument::Argument;
use super::jinja::{self, Fault, Meter, Value, Why};
use super::turn::{Call, Speaker, Turn};
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
    /// The functions that the model may call, each as whoever offers them describes it.
    tools: Vec<Argument>,
    /// The form in which it is given calls.
    form: CallForm,
}

/// In which form a template is given the calls of a reply.
#[derive(Debug, Clone, Copy, Default)]
struct CallForm {
    /// What a function is given is a text in JSON.
    as_json: bool,
    /// The content of a reply that is calls alone is `None`.
    as_none: bool,
}

/// What is changed of the words of functions and calls before they are written.
pub(super) type Change<'c> = dyn Fn(&str) -> String + 'c;

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
            tools: Vec::new(),
            form: CallForm::default(),
        }
    }

    /// Gives it `value` as `name` from now on.
    pub fn set(&mut self, name: String, value: Argument) {
        self.arguments.retain(|(known, _)| *known != name);
        self.arguments.push((name, value));
    }

    /// Gives it descriptions of the functions that the model may call; none takes them away. Finds out in which form it wants calls.
    pub fn set_tools(&mut self, tools: Vec<Argument>) {
        self.tools = tools;
        let forms = [(false, false), (true, false), (false, true), (true, true)];
        let forms = forms.into_iter().map(|(as_json, as_none)| CallForm { as_json, as_none });
        let fitting = forms.into_iter().find(|form| Template { form: *form, ..self.clone() }.writes_given());
        self.form = fitting.unwrap_or_default();
    }

    /// Whether it writes what a call is given, and not in Python's own form.
    fn writes_given(&self) -> bool {
        const NAME: &str = "given_name";
        let given = Argument::Dict(vec![(NAME.into(), Argument::Text("given value".into()))]);
        let mut reply = Turn::new(Speaker::Assistant, "");
        reply.calls.push(Call { id: "call00000".into(), name: "function_name".into(), arguments: given });
        let text = self.render(&[Turn::new(Speaker::User, "A question?"), reply]);
        text.is_ok_and(|text| text.contains(NAME) && !text.contains(&format!("'{NAME}'")))
    }

    /// Whether it tells the model of its functions.
    #[cfg(feature = "rules")]
    pub(super) fn tells_of_tools(&self) -> bool {
        let names = self.tools.iter().filter_map(|tool| tool.get("function")?.get("name")?.text());
        let text = self.render(&[Turn::new(Speaker::User, "A question?")]);
        text.is_ok_and(|text| names.into_iter().all(|name| text.contains(name)))
    }

    /// Its text.
    pub(super) fn source(&self) -> &str {
        &self.source
    }

    /// Whether it writes a token of this name: its text has it, or it is one that begins or ends a text.
    pub(super) fn names(&self, token: &str) -> bool {
        let of_role = |role: &str| {
            let parts = token.split_once(role).filter(|(before, after)| !before.is_empty() && !after.is_empty());
            parts.is_some_and(|(before, after)| self.source.contains(before) && self.source.contains(after))
        };
        self.source.contains(token)
            || [&self.bos, &self.eos].into_iter().flatten().any(|name| name == token)
            || Speaker::ALL.iter().any(|speaker| of_role(speaker.name()))
    }

    /// The descriptions of functions.
    pub(super) fn tools(&self) -> &[Argument] {
        &self.tools
    }

    /// The words that the template itself names, as which it may look for something.
    pub(super) fn literals(&self) -> &[String] {
        &self.literals
    }

    /// The text of `turns`, which ends where the model's next reply begins.
    pub fn render(&self, turns: &[Turn]) -> Result<String> {
        self.render_with(turns, turns.iter().map(|turn| turn.text.clone()).collect(), &str::to_owned)
    }

    /// The text of `turns`, in which `contents` is said instead, and the words of functions and calls are changed.
    pub(super) fn render_with(&self, turns: &[Turn], contents: Vec<String>, change: &Change) -> Result<String> {
        let calls = turns.iter().flat_map(|turn| &turn.calls).map(|call| call.arguments.n_bytes() + TURN);
        let tools = self.tools.iter().map(|tool| tool.n_bytes() + TURN);
        let length: usize = contents.iter().map(|content| content.len() + TURN).chain(calls).chain(tools).sum();
        let meter = Meter::new(STEPS + STEPS_A_BYTE * length as u64);
        let most = MOST_BYTES.max(2 * length);
        match self.fill(turns, &contents, change, &meter) {
            Ok(text) if text.len() <= most => Ok(text),
            Ok(_) => Err(Error::data(format!("it writes more than {most} bytes")).field("chat template")),
            Err(fault) => Err(refusal(&fault)),
        }
    }

    fn fill(
        &self,
        turns: &[Turn],
        contents: &[String],
        change: &Change,
        meter: &Meter,
    ) -> core::result::Result<String, Fault> {
        let message = |(turn, content): (&Turn, &String)| self.message(turn, content, change, meter);
        let messages = turns.iter().zip(contents).map(message).collect::<core::result::Result<_, _>>()?;
        let tools: Vec<Value> =
            self.tools.iter().map(|tool| tool.changed(change).value(meter)).collect::<core::result::Result<_, _>>()?;
        let tools = if tools.is_empty() { Value::None } else { jinja::list(tools, meter)? };
        let arguments = self.arguments.iter().map(|(name, value)| Ok((name.as_str(), value.value(meter)?)));
        let arguments = arguments.collect::<core::result::Result<Vec<_>, Fault>>()?;
        let token = |name: &Option<String>, what| name.as_deref().map_or_else(|| Value::Undefined(what), Value::text);
        let mut values = vec![
            ("messages", jinja::list(messages, meter)?),
            ("tools", tools),
            ("documents", Value::None),
            ("add_generation_prompt", Value::Bool(true)),
            ("bos_token", token(&self.bos, "bos_token".into())),
            ("eos_token", token(&self.eos, "eos_token".into())),
        ];
        values.splice(0..0, arguments);
        jinja::render(&self.source, values, self.now, meter)
    }

    /// A turn as templates are given it.
    fn message(
        &self,
        turn: &Turn,
        content: &str,
        change: &Change,
        meter: &Meter,
    ) -> core::result::Result<Value, Fault> {
        let text = |text: &str| Value::text(&change(text));
        let is_none = self.form.as_none && !turn.calls.is_empty() && content.is_empty();
        let content = if is_none { Value::None } else { Value::text(content) };
        let mut entries = vec![("role", Value::text(turn.role.name())), ("content", content)];
        if !turn.thinking.is_empty() {
            entries.push(("reasoning_content", text(&turn.thinking)));
        }
        if !turn.calls.is_empty() {
            let call = |call: &Call| {
                let given = call.arguments.changed(change);
                let given = if self.form.as_json { Value::text(&given.json()) } else { given.value(meter)? };
                let function = jinja::dict(vec![("name", text(&call.name)), ("arguments", given)], meter)?;
                let entries = vec![("id", text(&call.id)), ("type", Value::text("function")), ("function", function)];
                jinja::dict(entries, meter)
            };
            let calls = turn.calls.iter().map(call).collect::<core::result::Result<_, _>>()?;
            entries.push(("tool_calls", jinja::list(calls, meter)?));
        }
        if let Some(answers) = &turn.answers {
            let named = [("tool_call_id", &answers.id), ("name", &answers.name)];
            entries.extend(named.into_iter().filter(|(_, of)| !of.is_empty()).map(|(name, of)| (name, text(of))));
        }
        jinja::dict(entries, meter)
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
