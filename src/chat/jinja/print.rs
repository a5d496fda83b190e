//! Values as text, as Python writes them.

use super::meter::{Meter, Result};
use super::sink::Sink;
use super::value::{ListKind, Value};

/// What `{{ value }}` writes, Python's `str`.
pub(super) fn text(value: &Value, meter: &Meter) -> Result<std::rc::Rc<str>> {
    match value {
        Value::Text(text) => Ok(text.clone()),
        _ => {
            let mut sink = Sink::new(meter);
            write(&mut sink, value)?;
            Ok(sink.into_string().into())
        }
    }
}

/// Writes `value` as [`text`] gives it.
pub(super) fn write(sink: &mut Sink<'_>, value: &Value) -> Result<()> {
    match value {
        Value::Undefined(_) => Ok(()),
        Value::Text(text) => sink.push(text),
        _ => represent(sink, value),
    }
}

/// Python's `repr`.
pub(super) fn represent(sink: &mut Sink<'_>, value: &Value) -> Result<()> {
    sink.meter().pay_items(1)?;
    match value {
        Value::Undefined(_) => sink.push("Undefined"),
        Value::None => sink.push("None"),
        Value::Bool(true) => sink.push("True"),
        Value::Bool(false) => sink.push("False"),
        Value::Int(n) => sink.push(&n.to_string()),
        Value::Float(x) => sink.push(&float(*x)),
        Value::Text(text) => quoted(sink, text),
        Value::List(list) => {
            let (open, close) = if list.kind == ListKind::List { ("[", "]") } else { ("(", ")") };
            sink.push(open)?;
            for (i, item) in list.items.iter().enumerate() {
                sink.push(if i > 0 { ", " } else { "" })?;
                represent(sink, item)?;
            }
            sink.push(if list.kind != ListKind::List && list.items.len() == 1 { "," } else { "" })?;
            sink.push(close)
        }
        Value::Dict(dict) => {
            sink.push("{")?;
            for (i, (key, value)) in dict.entries.iter().enumerate() {
                sink.push(if i > 0 { ", " } else { "" })?;
                represent(sink, key)?;
                sink.push(": ")?;
                represent(sink, value)?;
            }
            sink.push("}")
        }
        Value::Namespace(_) => sink.push("<Namespace>"),
        Value::Loop(own) => sink.push(&format!("<LoopContext {}/{}>", own.at.get() + 1, own.items.len())),
        Value::Macro(closure) => sink.push(&format!("<Macro '{}'>", closure.definition.name)),
        Value::Function(_) => sink.push("<function>"),
    }
}

fn quoted(sink: &mut Sink<'_>, text: &str) -> Result<()> {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    sink.push_char(quote)?;
    for c in text.chars() {
        match c {
            '\n' => sink.push("\\n")?,
            '\r' => sink.push("\\r")?,
            '\t' => sink.push("\\t")?,
            '\\' => sink.push("\\\\")?,
            c if c == quote => {
                sink.push("\\")?;
                sink.push_char(c)?;
            }
            c if c.is_control() => sink.push(&format!("\\x{:02x}", u32::from(c)))?,
            c => sink.push_char(c)?,
        }
    }
    sink.push_char(quote)
}

/// `x` as Python's `repr` writes it.
pub(super) fn float(x: f64) -> String {
    if x.is_nan() {
        return "nan".into();
    }
    if x.is_infinite() {
        return (if x > 0.0 { "inf" } else { "-inf" }).into();
    }
    // The shortest digits that give `x` again, in both; Python writes exponents with a sign and two digits, and from 1e16 on.
    let scientific = format!("{x:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if x != 0.0 && !(-4..16).contains(&exponent) {
        return format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs());
    }
    format!("{x:?}")
}
