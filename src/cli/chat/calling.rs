//! Functions and thoughts in a chat: what is offered to the model, and how the parts of a reply are printed.

use super::super::args::{Calling, Chat};
use super::super::input;
use super::super::json::Object;
use super::super::output::{Outcome, Output};
use serde_json::Value;
use whit::TokenId;
use whit::chat::tools::{Part, Reader, ReplyRules, Tools};
use whit::chat::{Call, Conversation, Speaker, Turn};
use whit::error::{Error, Result};
use whit::generate::grammar::Grammar;

/// Has `conversation` offer the functions that the arguments name, and think as they say.
pub(super) fn prepare(conversation: &mut Conversation, args: &Calling) -> Result<()> {
    if let Some(path) = &args.tools {
        let named = |error: Error| error.in_file(path.display().to_string());
        let text = input::text(path)?;
        let tools: Value =
            serde_json::from_str(&text).map_err(|error| named(Error::data(format!("no JSON: {error}"))))?;
        let choice = match args.tool_choice.as_deref() {
            None => Value::Null,
            Some(word @ ("auto" | "none" | "required")) => word.into(),
            Some(name) => serde_json::json!({"function": {"name": name}}),
        };
        let parallel = Value::Bool(!args.single_call);
        let tools = Tools::of_request(&tools, &choice, &parallel).map_err(|error| match error.named_field() {
            Some("tool_choice") => error.clone().field("--tool-choice"),
            Some(field) => named(Error::data(error.message()).field(field)),
            None => named(error.clone()),
        })?;
        if tools.is_none() {
            return Err(named(Error::data("there is no function in it")));
        }
        conversation.set_tools(tools);
    }
    if let Some(think) = args.think {
        conversation.set_think(think).map_err(|error| error.field("--think"))?;
    }
    Ok(())
}

/// What the replies of `conversation` keep to and are parted by.
pub(super) fn rules(conversation: &Conversation, grammar: Option<Grammar>, args: &Chat) -> Result<ReplyRules> {
    let rules = conversation.reply_rules(grammar, None);
    rules.map_err(|error| match &args.calling.tools {
        Some(path) if error.named_field().is_some_and(|field| field.starts_with("function ")) => {
            error.in_file(path.display().to_string())
        }
        _ => error,
    })
}

/// The parts of a reply, as they are printed.
pub(super) struct Parts {
    reader: Reader,
    /// Thoughts are printed as text is.
    shows_thoughts: bool,
    /// All that was written.
    pub(super) whole: String,
    pub(super) text: String,
    pub(super) thoughts: String,
    pub(super) calls: Vec<Call>,
    /// Something stands on the line that is under way.
    is_amid_line: bool,
}

impl Parts {
    pub(super) fn new(reader: Reader, shows_thoughts: bool) -> Self {
        let (whole, text, thoughts) = (String::new(), String::new(), String::new());
        Parts { reader, shows_thoughts, whole, text, thoughts, calls: Vec::new(), is_amid_line: false }
    }

    /// Prints what of `text` is certain.
    pub(super) fn push(&mut self, text: &str, out: &mut Output) -> Outcome<()> {
        self.whole.push_str(text);
        let parts = self.reader.push(text);
        parts.into_iter().try_for_each(|part| self.print(part, out))
    }

    /// Prints what was held back.
    pub(super) fn finish(&mut self, out: &mut Output) -> Outcome<()> {
        let parts = self.reader.finish();
        parts.into_iter().try_for_each(|part| self.print(part, out))
    }

    /// Whether what is said is written otherwise.
    pub(super) fn is_quoted(&self) -> bool {
        self.reader.is_quoted()
    }

    fn print(&mut self, part: Part, out: &mut Output) -> Outcome<()> {
        match part {
            Part::Text(text) => {
                if self.text.is_empty() && self.is_amid_line {
                    out.write("\n")?;
                }
                self.is_amid_line = !text.ends_with('\n');
                self.text.push_str(&text);
                out.foreign(&text)
            }
            Part::Thinking(text) => {
                self.thoughts.push_str(&text);
                if !out.is_terminal() && !self.shows_thoughts {
                    return Ok(());
                }
                self.is_amid_line = !text.ends_with('\n');
                out.dimmed(&text)
            }
            Part::Call(call) => {
                if core::mem::take(&mut self.is_amid_line) {
                    out.write("\n")?;
                }
                let arguments = call.arguments.json();
                let line = Object::default().text("id", &call.id).text("name", &call.name).raw("arguments", arguments);
                out.foreign(&(line.line() + "\n"))?;
                self.calls.push(call);
                Ok(())
            }
        }
    }
}

/// The turn of a reply of `parts`, which are those of `tokens`. A template that does not take thoughts apart is given all that was
/// written, of which it takes what it likes, if words are written as they are said.
pub(super) fn turn_of(parts: &Parts, tokens: &[TokenId], takes_thoughts: bool) -> Turn {
    let Parts { whole, text, thoughts, calls, .. } = parts;
    if calls.is_empty() && !parts.is_quoted() && (thoughts.is_empty() || !takes_thoughts) {
        return Turn { tokens: tokens.to_vec(), ..Turn::new(Speaker::Assistant, whole.clone()) };
    }
    let thinking = if takes_thoughts { thoughts.clone() } else { String::new() };
    Turn { calls: calls.clone(), thinking, ..Turn::new(Speaker::Assistant, text.clone()) }
}
