//! Values that templates are given: by names of their own, as descriptions of functions, as what a call is given.

use super::jinja::{self, Fault, Meter, Value};
use crate::error::{Error, Result};
use crate::format::cursor::{Cursor, Encoder};

/// Lists and dicts within one another, in what a saved session holds.
const MOST_NESTED: usize = 100;

/// A value that a template is given, in the kinds of Python and JSON.
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
    /// Several values.
    List(Vec<Argument>),
    /// Values by their names, each of which is there once.
    Dict(Vec<(String, Argument)>),
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

    /// The text of it in JSON, in one line with a space behind `,` and `:`.
    pub fn json(&self) -> String {
        match self {
            Argument::None => "null".into(),
            Argument::Boolean(value) => value.to_string(),
            Argument::Integer(n) => n.to_string(),
            Argument::Float(x) => jinja::json_number(*x),
            Argument::Text(text) => json_string(text),
            Argument::List(items) => {
                format!("[{}]", items.iter().map(Argument::json).collect::<Vec<_>>().join(", "))
            }
            Argument::Dict(entries) => {
                let entry = |(name, value): &(String, Argument)| format!("{}: {}", json_string(name), value.json());
                format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
            }
        }
    }

    /// What the dict has by this name.
    pub fn get(&self, name: &str) -> Option<&Argument> {
        match self {
            Argument::Dict(entries) => entries.iter().find(|(known, _)| known == name).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The text that it is.
    pub fn text(&self) -> Option<&str> {
        match self {
            Argument::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The bytes of its texts and names, and some for each value.
    pub(super) fn n_bytes(&self) -> usize {
        8 + match self {
            Argument::Text(text) => text.len(),
            Argument::List(items) => items.iter().map(Argument::n_bytes).sum(),
            Argument::Dict(entries) => entries.iter().map(|(name, value)| name.len() + value.n_bytes()).sum(),
            _ => 0,
        }
    }

    /// It with every text in it changed, names of entries apart.
    pub(super) fn changed(&self, change: &dyn Fn(&str) -> String) -> Argument {
        match self {
            Argument::Text(text) => Argument::Text(change(text)),
            Argument::List(items) => Argument::List(items.iter().map(|item| item.changed(change)).collect()),
            Argument::Dict(entries) => {
                let entry = |(name, value): &(String, Argument)| (name.clone(), value.changed(change));
                Argument::Dict(entries.iter().map(entry).collect())
            }
            other => other.clone(),
        }
    }

    /// Gives every text in it to `each`, names of entries too.
    pub(super) fn texts<'a>(&'a self, each: &mut dyn FnMut(&'a str)) {
        match self {
            Argument::Text(text) => each(text),
            Argument::List(items) => items.iter().for_each(|item| item.texts(each)),
            Argument::Dict(entries) => entries.iter().for_each(|(name, value)| {
                each(name);
                value.texts(each);
            }),
            _ => {}
        }
    }

    pub(super) fn value(&self, meter: &Meter) -> core::result::Result<Value, Fault> {
        Ok(match self {
            Argument::None => Value::None,
            Argument::Boolean(value) => Value::Bool(*value),
            Argument::Integer(value) => Value::Int(*value),
            Argument::Float(value) => Value::Float(*value),
            Argument::Text(value) => Value::text(value),
            Argument::List(items) => {
                jinja::list(items.iter().map(|item| item.value(meter)).collect::<core::result::Result<_, _>>()?, meter)?
            }
            Argument::Dict(entries) => {
                let entry = |(name, value): &(String, Argument)| Ok((name.clone(), value.value(meter)?));
                let entries = entries.iter().map(entry).collect::<core::result::Result<Vec<_>, Fault>>()?;
                jinja::dict(entries.iter().map(|(name, value)| (name.as_str(), value.clone())).collect(), meter)?
            }
        })
    }

    /// Writes it into the note of a saved session: a byte for its kind, then its bytes, or how many values follow.
    pub(super) fn write(&self, out: &mut Encoder) {
        let text = |text: &str, out: &mut Encoder| {
            out.u32(text.len() as u32);
            out.bytes(text.as_bytes());
        };
        match self {
            Argument::None => out.u32(0),
            Argument::Boolean(value) => out.u32(1 + u32::from(*value)),
            Argument::Integer(n) => {
                out.u32(3);
                out.bytes(&n.to_le_bytes());
            }
            Argument::Float(x) => {
                out.u32(4);
                out.bytes(&x.to_le_bytes());
            }
            Argument::Text(value) => {
                out.u32(5);
                text(value, out);
            }
            Argument::List(items) => {
                out.u32(6);
                out.u32(items.len() as u32);
                items.iter().for_each(|item| item.write(out));
            }
            Argument::Dict(entries) => {
                out.u32(7);
                out.u32(entries.len() as u32);
                for (name, value) in entries {
                    text(name, out);
                    value.write(out);
                }
            }
        }
    }

    /// What [`write`](Self::write) wrote.
    pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<Argument> {
        Argument::read_within(cursor, MOST_NESTED)
    }

    fn read_within(cursor: &mut Cursor<'_>, most: usize) -> Result<Argument> {
        let at = cursor.offset();
        let wrong = |message: &str| Error::data(message).field("conversation").at(at);
        let most = most.checked_sub(1).ok_or_else(|| wrong("values lie too deep within one another"))?;
        let eight = |cursor: &mut Cursor<'_>| -> Result<[u8; 8]> {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(cursor.take(8, "number")?);
            Ok(bytes)
        };
        Ok(match cursor.u32("kind of value")? {
            0 => Argument::None,
            1 => Argument::Boolean(false),
            2 => Argument::Boolean(true),
            3 => Argument::Integer(i64::from_le_bytes(eight(cursor)?)),
            4 => Argument::Float(f64::from_le_bytes(eight(cursor)?)),
            5 => Argument::Text(read_text(cursor)?),
            6 => {
                let n = cursor.count(4, "items")?;
                Argument::List((0..n).map(|_| Argument::read_within(cursor, most)).collect::<Result<_>>()?)
            }
            7 => {
                let n = cursor.count(8, "entries")?;
                let entry = |_| Ok((read_text(cursor)?, Argument::read_within(cursor, most)?));
                Argument::Dict((0..n).map(entry).collect::<Result<_>>()?)
            }
            _ => return Err(wrong("unknown kind of value")),
        })
    }
}

/// A text of a note: its length and its bytes.
pub(super) fn read_text(cursor: &mut Cursor<'_>) -> Result<String> {
    let at = cursor.offset();
    let length = cursor.count(1, "text")?;
    let text = core::str::from_utf8(cursor.take(length, "text")?);
    let text = text.map_err(|_| Error::data("the text is not UTF-8").field("conversation").at(at))?;
    Ok(text.to_owned())
}

/// `text` as a string of JSON, as Python writes it without escaping what is not ASCII.
fn json_string(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_holds_every_kind_and_nothing_deeper_than_it_may() {
        let dict = |value| Argument::Dict(vec![("a\"b".into(), value), (String::new(), Argument::None)]);
        let all = vec![
            Argument::Boolean(true),
            Argument::Boolean(false),
            Argument::Integer(-7),
            Argument::Float(1.0),
            Argument::Text("é\n\u{1}\u{8}\u{c}\\".into()),
            Argument::List(vec![]),
        ];
        let value = dict(Argument::List(all));
        let note = |value: &Argument| {
            let mut out = Encoder::default();
            value.write(&mut out);
            out.into_bytes()
        };
        let bytes = note(&value);
        assert_eq!(Argument::read(&mut Cursor::new(&bytes, "conversation")), Ok(value.clone()));
        let json = r#"{"a\"b": [true, false, -7, 1.0, "é\n\u0001\b\f\\", []], "": null}"#;
        assert_eq!(value.json(), json);
        let mut deep = Argument::None;
        for _ in 0..200 {
            deep = Argument::List(vec![deep]);
        }
        let error = Argument::read(&mut Cursor::new(&note(&deep), "conversation")).expect_err("too deep").to_string();
        assert!(error.contains("too deep"), "{error}");
        for cut in 0..bytes.len() {
            assert!(Argument::read(&mut Cursor::new(&bytes[..cut], "conversation")).is_err(), "{cut}");
        }
    }
}
