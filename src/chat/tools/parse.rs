//! A block of calls, read: what the grammar of its family allows, and what models write that are free.

use super::family::{Family, Form};
use super::tool::{Tool, argument_of};
use crate::chat::{Argument, Call};
use serde_json::Value;

/// How deep values may lie within one another.
const MOST_NESTED: usize = 64;

/// Why a text is no block of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// It ends too early.
    Incomplete,
    /// It goes on otherwise.
    Wrong,
}

type Read<T> = core::result::Result<T, Stop>;

/// The calls of the block that `text` begins with, behind the mark of a block, and how many bytes they take. `is_whole` says that
/// nothing follows, so that a mark that closes may be missing.
pub(super) fn block(family: Family, tools: &[Tool], text: &str, is_whole: bool) -> Read<(Vec<Call>, usize)> {
    let mut reader = Text { text, at: 0, tools };
    reader.space();
    let calls = match family.form {
        Form::Json { .. } if reader.rest().starts_with(['{', '[']) => reader.json_calls()?,
        // As Llama 3 calls functions that it knows from its training.
        Form::Json { .. } => vec![reader.python_call()?],
        Form::Python if reader.rest().trim_start_matches(['[', ' ', '\n']).starts_with('{') => reader.json_calls()?,
        Form::Python => {
            reader.eat("[")?;
            let calls = reader.listed("]", Text::python_call)?;
            reader.eat("]")?;
            calls
        }
        Form::Braces { quote } => vec![reader.braces_call(quote)?],
        Form::Tags => vec![reader.tags_call()?],
        Form::Named { before, between, after } => {
            let mut calls = vec![reader.named_call(before, between, after)?];
            while family.between.is_some() && !before.is_empty() && reader.comes(before)? {
                calls.push(reader.named_call(before, between, after)?);
            }
            calls
        }
    };
    let close = family.close.trim_start_matches([']', '\n']);
    let before = reader.at;
    reader.space();
    match reader.eat(close) {
        Err(Stop::Incomplete) if is_whole => {}
        Err(stop) => return Err(stop),
        Ok(()) if close.is_empty() => reader.at = before,
        Ok(()) => {}
    }
    if calls.is_empty() { Err(Stop::Wrong) } else { Ok((calls, reader.at)) }
}

struct Text<'t> {
    text: &'t str,
    at: usize,
    tools: &'t [Tool],
}

impl<'t> Text<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    /// Whether `wanted` follows behind white space, which is passed over then.
    fn comes(&mut self, wanted: &str) -> Read<bool> {
        let rest = self.rest().trim_start();
        let comes = rest.starts_with(wanted);
        if comes {
            self.space();
        }
        if !comes && !rest.is_empty() && wanted.starts_with(rest) { Err(Stop::Incomplete) } else { Ok(comes) }
    }

    fn eat(&mut self, wanted: &str) -> Read<()> {
        let rest = self.rest();
        if rest.starts_with(wanted) {
            self.at += wanted.len();
            return Ok(());
        }
        Err(if wanted.starts_with(rest) { Stop::Incomplete } else { Stop::Wrong })
    }

    /// What stands before `end`, which is passed over.
    fn until(&mut self, end: &str) -> Read<&'t str> {
        let rest = self.rest();
        let length = rest.find(end).ok_or(Stop::Incomplete)?;
        self.at += length + end.len();
        Ok(&rest[..length])
    }

    /// A name of a function or of what it is given.
    fn name(&mut self) -> Read<&'t str> {
        let rest = self.rest();
        let length = rest.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '.')));
        let name = &rest[..length.ok_or(Stop::Incomplete)?];
        self.at += name.len();
        if name.is_empty() { Err(Stop::Wrong) } else { Ok(name) }
    }

    fn json(&mut self) -> Read<Value> {
        let mut values = serde_json::Deserializer::from_str(self.rest()).into_iter::<Value>();
        match values.next() {
            Some(Ok(value)) => {
                self.at += values.byte_offset();
                Ok(value)
            }
            Some(Err(error)) if !error.is_eof() => Err(Stop::Wrong),
            _ => Err(Stop::Incomplete),
        }
    }

    /// Items with commas between them, up to `end`, which stays.
    fn listed<T>(&mut self, end: &str, mut item: impl FnMut(&mut Self) -> Read<T>) -> Read<Vec<T>> {
        let mut items = Vec::new();
        loop {
            self.space();
            if self.rest().starts_with(end) {
                return Ok(items);
            }
            if !items.is_empty() {
                self.eat(",")?;
                self.space();
            }
            items.push(item(self)?);
        }
    }

    /// An object that names a function, or a list of such.
    fn json_calls(&mut self) -> Read<Vec<Call>> {
        match self.json()? {
            Value::Array(calls) => calls.iter().map(json_call).collect::<Option<_>>().ok_or(Stop::Wrong),
            value => Ok(vec![json_call(&value).ok_or(Stop::Wrong)?]),
        }
    }

    /// `f(a=1, b="x")`
    fn python_call(&mut self) -> Read<Call> {
        let name = self.name()?;
        let name = name.strip_suffix(".call").unwrap_or(name);
        self.eat("(")?;
        let given = self.listed(")", |text| {
            let name = text.name()?;
            text.space();
            text.eat("=")?;
            text.space();
            Ok((name.to_owned(), text.python(MOST_NESTED)?))
        })?;
        self.eat(")")?;
        call(name, Argument::Dict(given))
    }

    /// A value as Python or JSON has it.
    fn python(&mut self, most: usize) -> Read<Argument> {
        let most = most.checked_sub(1).ok_or(Stop::Wrong)?;
        match self.rest().chars().next().ok_or(Stop::Incomplete)? {
            '[' => {
                self.eat("[")?;
                let items = self.listed("]", |text| text.python(most))?;
                self.eat("]")?;
                Ok(Argument::List(items))
            }
            '{' => {
                self.eat("{")?;
                let entries = self.listed("}", |text| {
                    let Argument::Text(name) = text.python(most)? else { return Err(Stop::Wrong) };
                    text.space();
                    text.eat(":")?;
                    text.space();
                    Ok((name, text.python(most)?))
                })?;
                self.eat("}")?;
                Ok(Argument::Dict(entries))
            }
            '"' => Ok(argument_of(&self.json()?)),
            '\'' => self.single_quoted().map(Argument::Text),
            _ => {
                let rest = self.rest();
                let length = rest.find([',', ')', ']', '}', ' ', '\n']).ok_or(Stop::Incomplete)?;
                self.at += length;
                match &rest[..length] {
                    "True" => Ok(Argument::Boolean(true)),
                    "False" => Ok(Argument::Boolean(false)),
                    "None" => Ok(Argument::None),
                    word => serde_json::from_str(word).map(|value| argument_of(&value)).map_err(|_| Stop::Wrong),
                }
            }
        }
    }

    fn single_quoted(&mut self) -> Read<String> {
        let mut text = String::new();
        let mut rest = self.rest().char_indices().skip(1);
        while let Some((at, c)) = rest.next() {
            match c {
                '\'' => {
                    self.at += at + 1;
                    return Ok(text);
                }
                '\\' => text.push(match rest.next().ok_or(Stop::Incomplete)?.1 {
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    other => other,
                }),
                c => text.push(c),
            }
        }
        Err(Stop::Incomplete)
    }

    /// `call:f{a:1,b:<escape>x<escape>}`
    fn braces_call(&mut self, quote: &str) -> Read<Call> {
        self.eat("call:")?;
        let name = self.name()?;
        call(name, self.braces(quote, MOST_NESTED)?)
    }

    fn braces(&mut self, quote: &str, most: usize) -> Read<Argument> {
        let most = most.checked_sub(1).ok_or(Stop::Wrong)?;
        let rest = self.rest();
        if rest.starts_with(quote) {
            self.eat(quote)?;
            return Ok(Argument::Text(self.until(quote)?.to_owned()));
        }
        match rest.chars().next().ok_or(Stop::Incomplete)? {
            '{' => {
                self.eat("{")?;
                let entries = self.listed("}", |text| {
                    let name = match text.rest().starts_with(quote) {
                        true => text.eat(quote).and_then(|()| text.until(quote))?,
                        false => text.name()?,
                    };
                    text.eat(":")?;
                    Ok((name.to_owned(), text.braces(quote, most)?))
                })?;
                self.eat("}")?;
                Ok(Argument::Dict(entries))
            }
            '[' => {
                self.eat("[")?;
                let items = self.listed("]", |text| text.braces(quote, most))?;
                self.eat("]")?;
                Ok(Argument::List(items))
            }
            _ if quote.starts_with(rest) => Err(Stop::Incomplete),
            _ => {
                let length = rest.find([',', '}', ']']).ok_or(Stop::Incomplete)?;
                self.at += length;
                let word = &rest[..length];
                Ok(serde_json::from_str(word).map_or(Argument::Text(word.into()), |value| argument_of(&value)))
            }
        }
    }

    /// `<function=f>`, parameters, `</function>`
    fn tags_call(&mut self) -> Read<Call> {
        self.eat("<function=")?;
        let name = self.until(">")?;
        let mut given = Vec::new();
        self.space();
        while self.comes("<parameter=")? {
            self.eat("<parameter=")?;
            let parameter = self.until(">")?;
            let value = self.until("</parameter>")?;
            let value = value.strip_prefix('\n').unwrap_or(value);
            let value = value.strip_suffix('\n').unwrap_or(value);
            given.push((parameter.to_owned(), self.tagged(name, parameter, value)));
            self.space();
        }
        self.eat("</function>")?;
        call(name, Argument::Dict(given))
    }

    /// The value of a parameter, which is text where the schema says so, else JSON.
    fn tagged(&self, function: &str, parameter: &str, value: &str) -> Argument {
        let tool = self.tools.iter().find(|tool| tool.name == function);
        let is_text = tool.is_some_and(|tool| tool.parameters["properties"][parameter]["type"] == "string");
        let json = || serde_json::from_str(value).ok().map(|value| argument_of(&value));
        json().filter(|_| !is_text).unwrap_or_else(|| Argument::Text(value.into()))
    }

    /// A name with words around it, and JSON behind.
    fn named_call(&mut self, before: &str, between: &str, after: &str) -> Read<Call> {
        self.eat(before)?;
        let name = self.until(between)?.trim();
        let given = self.json()?;
        self.eat(after)?;
        call(name, argument_of(&given))
    }
}

fn call(name: &str, arguments: Argument) -> Read<Call> {
    let is_call = !name.is_empty() && matches!(arguments, Argument::Dict(_));
    if is_call { Ok(Call { id: String::new(), name: name.into(), arguments }) } else { Err(Stop::Wrong) }
}

/// The call that an object names.
fn json_call(value: &Value) -> Option<Call> {
    let function = if value["function"].is_object() { &value["function"] } else { value };
    let name = function["name"].as_str().or(function["call"].as_str())?;
    let given = ["arguments", "parameters"].iter().find_map(|key| function.get(key));
    let arguments = match given {
        None | Some(Value::Null) => Argument::Dict(Vec::new()),
        Some(Value::String(text)) => argument_of(&serde_json::from_str(text).ok()?),
        Some(value) => argument_of(value),
    };
    call(name, arguments).ok()
}
