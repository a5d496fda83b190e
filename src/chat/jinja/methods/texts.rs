//! Methods of strings that take more than a line.

use super::super::arguments::{Given, count, optional_int, optional_string, string};
use super::super::meter::{Meter, Result, fault};
use super::super::sink::Sink;
use super::super::value::{self, Value};

/// Whether `text` begins, or ends, with a text or with one of several.
pub(super) fn ends(text: &str, name: &str, given: &Given, meter: &Meter) -> Result<Value> {
    let [wanted] = given.parameters(name, ["text"])?;
    let several;
    let wanted = match wanted {
        Some(Value::List(list)) => &list.items[..],
        Some(other) => {
            several = [other.clone()];
            &several
        }
        None => return fault(format!("{name} lacks a string")),
    };
    for part in wanted {
        let part = string(Some(part), name)?;
        meter.pay_bytes(64 + part.len())?;
        if if name == "startswith" { text.starts_with(part) } else { text.ends_with(part) } {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}

/// The parts of `text` between separators, or between white space, of which `most` separate: the first, or the last.
pub(super) fn split(text: &str, separator: Option<&str>, most: usize, from_end: bool, meter: &Meter) -> Result<Value> {
    let mut parts = Vec::new();
    let mut part = |text: &str| -> Result<()> {
        parts.push(meter.text(text)?);
        Ok(())
    };
    let n = most.saturating_add(1);
    match (separator, from_end) {
        (Some(""), _) => return fault("split takes a separator that is not empty"),
        (Some(separator), false) => text.splitn(n, separator).try_for_each(&mut part)?,
        (Some(separator), true) => text.rsplitn(n, separator).try_for_each(&mut part)?,
        (None, _) => {
            let mut rest = text.trim();
            let mut left = most;
            while !rest.is_empty() {
                let cut =
                    if from_end { rest.rsplit_once(char::is_whitespace) } else { rest.split_once(char::is_whitespace) };
                let Some((before, after)) = cut.filter(|_| left > 0) else {
                    part(rest)?;
                    break;
                };
                left -= 1;
                part(if from_end { after } else { before })?;
                rest = if from_end { before.trim_end() } else { after.trim_start() };
            }
        }
    }
    if from_end {
        parts.reverse();
    }
    value::list(parts, meter)
}

/// The lines of `text`, with what ends them or without.
pub(super) fn lines(text: &str, with_ends: bool, meter: &Meter) -> Result<Value> {
    let mut out = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end =
            rest.find(['\n', '\r', '\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}', '\u{2029}']);
        let end = end.unwrap_or(rest.len());
        let ending = match &rest[end..] {
            more if more.starts_with("\r\n") => 2,
            more => more.chars().next().map_or(0, char::len_utf8),
        };
        out.push(meter.text(&rest[..if with_ends { end + ending } else { end }])?);
        rest = &rest[end + ending..];
    }
    value::list(out, meter)
}

/// `parts`, which are texts, with `between` between them.
pub(super) fn join(between: &str, parts: &[Value], meter: &Meter) -> Result<Value> {
    let mut sink = Sink::new(meter);
    for (i, part) in parts.iter().enumerate() {
        sink.push(if i > 0 { between } else { "" })?;
        sink.push(string(Some(part), "join")?)?;
    }
    sink.into_value()
}

/// `text` in which each letter after a letter is small, and each other is great.
pub(super) fn title(text: &str) -> String {
    let mut after_letter = false;
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match after_letter {
            true => out.extend(c.to_lowercase()),
            false => out.extend(c.to_uppercase()),
        }
        after_letter = c.is_alphabetic();
    }
    out
}

pub(super) fn swapcase(text: &str) -> String {
    let swapped = text.chars().map(|c| match c.is_uppercase() {
        true => c.to_lowercase().collect::<String>(),
        false => c.to_uppercase().collect(),
    });
    swapped.collect()
}

/// `text` with as much before or after it as gives it a width.
pub(super) fn widened(text: &str, name: &str, given: &Given, meter: &Meter) -> Result<Value> {
    let [width, fill] = given.parameters(name, ["width", "fillchar"])?;
    let Some(width) = optional_int(width, name)?.map(count) else { return fault(format!("{name} lacks a width")) };
    let fill = optional_string(fill, name)?.map_or(Some(' '), |fill| fill.chars().next());
    let Some(fill) = fill else { return fault(format!("{name} fills with a character")) };
    let n = width.saturating_sub(text.chars().count());
    let mut sink = Sink::new(meter);
    let (sign, rest) = text.split_at(usize::from(name == "zfill" && text.starts_with(['+', '-'])));
    let (before, fill) = match name {
        "zfill" => (n, '0'),
        "ljust" => (0, fill),
        "rjust" => (n, fill),
        // As Python rounds it.
        _ => (n / 2 + (n & width & 1), fill),
    };
    sink.push(sign)?;
    sink.repeat(fill, before)?;
    sink.push(rest)?;
    sink.repeat(fill, n - before)?;
    sink.into_value()
}
