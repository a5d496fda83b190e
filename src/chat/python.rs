//! Methods of Python's strings and lists that templates may call and that minijinja-contrib does not have, or not as Python has
//! them. Positions are in characters.

use minijinja::value::{Tuple, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State, Value};
use minijinja_contrib::pycompat;

/// Calls a method that minijinja itself does not know.
pub(super) fn method(state: &mut State<'_, '_>, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    let own = match value.kind() {
        ValueKind::String => of_string(value.as_str().unwrap_or_default(), name, args)?,
        ValueKind::Seq => of_list(value, name, args)?,
        _ => None,
    };
    own.map_or_else(|| pycompat::unknown_method_callback(state, value, name, args), Ok)
}

fn of_list(list: &Value, name: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    if name != "index" {
        return Ok(None);
    }
    let (wanted,): (&Value,) = from_args(args)?;
    let at = list.try_iter()?.position(|item| item == *wanted);
    at.map(|at| Some(Value::from(at)))
        .ok_or_else(|| Error::new(ErrorKind::InvalidOperation, format!("{wanted} is not in the list")))
}

fn of_string(text: &str, name: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    Ok(Some(match name {
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(args)?;
            text.strip_prefix(prefix).unwrap_or(text).into()
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(args)?;
            text.strip_suffix(suffix).unwrap_or(text).into()
        }
        "partition" | "rpartition" => {
            let (separator,): (&str,) = from_args(args)?;
            let last = name == "rpartition";
            let parts = if last { text.rsplit_once(separator) } else { text.split_once(separator) };
            let parts = parts.map(|(before, after)| [before, separator, after]);
            let parts = parts.unwrap_or(if last { ["", "", text] } else { [text, "", ""] });
            Tuple::from(parts.map(Value::from)).into()
        }
        "rsplit" => {
            let (separator, most): (Option<&str>, Option<i64>) = from_args(args)?;
            rsplit(text, separator, most.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX)).into()
        }
        "find" | "rfind" | "index" | "rindex" => {
            let (wanted,): (&str,) = from_args(args)?;
            let at = if name.starts_with('r') { text.rfind(wanted) } else { text.find(wanted) };
            match at {
                Some(at) => text[..at].chars().count().into(),
                None if name.ends_with("index") => {
                    return Err(Error::new(ErrorKind::InvalidOperation, format!("{wanted:?} is not in the text")));
                }
                None => (-1).into(),
            }
        }
        "title" => {
            let () = from_args(args)?;
            title(text).into()
        }
        "casefold" => {
            let () = from_args(args)?;
            text.to_uppercase().to_lowercase().into()
        }
        "swapcase" => {
            let () = from_args(args)?;
            let swapped = text.chars().map(|c| match c.is_uppercase() {
                true => c.to_lowercase().collect::<String>(),
                false => c.to_uppercase().collect(),
            });
            swapped.collect::<String>().into()
        }
        "zfill" => {
            let (width,): (usize,) = from_args(args)?;
            let (sign, digits) = text.split_at(usize::from(text.starts_with(['+', '-'])));
            format!("{sign}{}{digits}", "0".repeat(width.saturating_sub(text.chars().count()))).into()
        }
        "ljust" | "rjust" | "center" => {
            let (width, fill): (usize, Option<char>) = from_args(args)?;
            let n = width.saturating_sub(text.chars().count());
            let before = match name {
                "ljust" => 0,
                "rjust" => n,
                // As Python rounds it.
                _ => n / 2 + (n & width & 1),
            };
            let space = |n: usize| core::iter::repeat_n(fill.unwrap_or(' '), n).collect::<String>();
            format!("{}{text}{}", space(before), space(n - before)).into()
        }
        _ => return Ok(None),
    }))
}

/// The parts of `text` between separators, or between white space, of which the last `most` separate.
fn rsplit(text: &str, separator: Option<&str>, most: usize) -> Vec<Value> {
    let mut parts: Vec<Value> = match separator {
        Some(separator) => text.rsplitn(most.saturating_add(1), separator).map(Value::from).collect(),
        None => {
            let mut parts = Vec::new();
            let mut rest = text.trim();
            while let Some((before, last)) = rest.rsplit_once(char::is_whitespace).filter(|_| parts.len() < most) {
                parts.push(Value::from(last));
                rest = before.trim_end();
            }
            parts.extend((!rest.is_empty()).then(|| Value::from(rest)));
            parts
        }
    };
    parts.reverse();
    parts
}

/// `text` in which each letter after a letter is small, and each other is great.
fn title(text: &str) -> String {
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
