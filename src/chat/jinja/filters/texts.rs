//! Filters of texts. What is no text is taken as the one that it is written as.

use super::super::arguments::{Given, count, flag, optional_int, optional_string, string};
use super::super::format::percent;
use super::super::meter::{Meter, Result, fault};
use super::super::print;
use super::super::sink::Sink;
use super::super::value::Value;
use std::rc::Rc;

/// The text of `value`, which is paid for as it is about to be read: by characters, which takes more than copying.
fn text(value: &Value, meter: &Meter) -> Result<Rc<str>> {
    let text = print::text(value, meter)?;
    meter.pay_bytes(8 * text.len())?;
    Ok(text)
}

pub(super) fn upper(value: &Value, given: &Given, meter: &Meter) -> Result<Value> {
    given.none("upper")?;
    meter.text(text(value, meter)?.to_uppercase())
}

pub(super) fn lower(value: &Value, given: &Given, meter: &Meter) -> Result<Value> {
    given.none("lower")?;
    meter.text(text(value, meter)?.to_lowercase())
}

pub(super) fn capitalize(value: &Value, given: &Given, meter: &Meter) -> Result<Value> {
    given.none("capitalize")?;
    meter.text(with_capital(&text(value, meter)?))
}

/// `text` with a great letter in front of small ones.
fn with_capital(text: &str) -> String {
    let mut rest = text.chars();
    let first = rest.next().map(|c| c.to_uppercase().collect::<String>());
    first.unwrap_or_default() + &rest.as_str().to_lowercase()
}

/// Words with capitals, as Jinja2 cuts them.
pub(super) fn title(value: &Value, given: &Given, meter: &Meter) -> Result<Value> {
    given.none("title")?;
    let text = text(value, meter)?;
    let begins = |c: char| c.is_whitespace() || "-({[<".contains(c);
    meter.text(text.split_inclusive(begins).map(with_capital).collect::<String>())
}

pub(super) fn trim(value: &Value, given: &Given, meter: &Meter) -> Result<Value> {
    let [characters] = given.parameters("trim", ["chars"])?;
    let text = text(value, meter)?;
    match optional_string(characters, "trim")? {
        None => meter.text(text.trim()),
        Some(characters) => {
            meter.pay_bytes(text.len().saturating_mul(characters.len()))?;
            meter.text(text.trim_matches(|c| characters.contains(c)))
        }
    }
}

pub(super) fn escape(value: &Value, given: &Given, meter: &Meter) -> Result<Value> {
    given.none("escape")?;
    let mut sink = Sink::new(meter);
    for c in text(value, meter)?.chars() {
        match c {
            '&' => sink.push("&amp;")?,
            '<' => sink.push("&lt;")?,
            '>' => sink.push("&gt;")?,
            '"' => sink.push("&#34;")?,
            '\'' => sink.push("&#39;")?,
            c => sink.push_char(c)?,
        }
    }
    sink.into_value()
}

pub(super) fn format(value: &Value, given: &Given, meter: &Meter) -> Result<Value> {
    if !given.by_name.is_empty() {
        return fault("format takes values without names");
    }
    percent(&text(value, meter)?, &given.by_place, false, meter)
}

pub(super) fn replace(value: &Value, given: &Given, meter: &Meter) -> Result<Value> {
    let [old, new, most] = given.parameters("replace", ["old", "new", "count"])?;
    let most = optional_int(most, "replace")?.map_or(usize::MAX, count);
    replaced(&text(value, meter)?, string(old, "replace")?, string(new, "replace")?, most, meter)
}

/// `text` with `new` in the places of `old`, of the first `most`.
pub(in super::super) fn replaced(text: &str, old: &str, new: &str, most: usize, meter: &Meter) -> Result<Value> {
    let mut sink = Sink::new(meter);
    let mut from = 0;
    for (at, old) in text.match_indices(old).take(most) {
        sink.push(&text[from..at])?;
        sink.push(new)?;
        from = at + old.len();
    }
    sink.push(&text[from..])?;
    sink.into_value()
}

pub(super) fn indent(value: &Value, given: &Given, meter: &Meter) -> Result<Value> {
    let [width, first, blank] = given.parameters("indent", ["width", "first", "blank"])?;
    let own;
    let indent = match width {
        Some(Value::Text(indent)) => &**indent,
        width => {
            let n = count(optional_int(width, "indent")?.unwrap_or(4));
            let mut sink = Sink::new(meter);
            sink.repeat(' ', n)?;
            own = sink.into_string();
            &own
        }
    };
    let text = text(value, meter)?;
    let mut sink = Sink::new(meter);
    if flag(first) {
        sink.push(indent)?;
    }
    for (i, line) in text.lines().chain(text.ends_with('\n').then_some("")).enumerate() {
        sink.push(if i > 0 { "\n" } else { "" })?;
        if i > 0 && (flag(blank) || !line.is_empty()) {
            sink.push(indent)?;
        }
        sink.push(line)?;
    }
    sink.into_value()
}
