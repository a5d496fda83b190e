//! Methods of Python's strings, lists and dicts, and of a loop. Positions are in characters.

use super::arguments::{Given, count, flag, optional_int, optional_string, string};
use super::compare;
use super::filters;
use super::format::braces;
use super::meter::{Meter, Result, fault};
use super::value::{self, Value};

mod texts;

/// What the method `name` of `owner` gives; `None` where there is no such method.
pub(super) fn call(owner: &Value, name: &str, given: &Given, meter: &Meter) -> Result<Option<Value>> {
    meter.pay_items(1)?;
    match owner {
        Value::Text(text) => of_text(owner, text, name, given, meter),
        Value::List(list) => {
            let wanted = |given: &Given| match given.parameters(name, ["value"])? {
                [Some(wanted)] => Ok(wanted.clone()),
                [None] => fault(format!("{name} lacks a value")),
            };
            let mut at = Vec::new();
            match name {
                "index" | "count" => {
                    let wanted = wanted(given)?;
                    for (i, item) in list.items.iter().enumerate() {
                        if compare::equal(item, &wanted, meter)? {
                            at.push(i as i64);
                        }
                    }
                }
                _ => return Ok(None),
            }
            match (name, at.first()) {
                ("count", _) => Ok(Some(Value::Int(at.len() as i64))),
                (_, Some(at)) => Ok(Some(Value::Int(*at))),
                (_, None) => fault("what index looks for is not in the list"),
            }
        }
        Value::Dict(dict) => Ok(Some(match name {
            "items" => filters::apply("items", owner, given, meter)?,
            "keys" => filters::apply("list", owner, given, meter)?,
            "values" => {
                given.none("values")?;
                meter.pay_items(dict.entries.len())?;
                value::list(dict.entries.iter().map(|(_, value)| value.clone()).collect(), meter)?
            }
            "get" => {
                let [key, default] = given.parameters("get", ["key", "default"])?;
                let Some(key) = key else { return fault("get lacks a key") };
                let found = compare::entry(dict, key, meter)?.or(default);
                found.cloned().unwrap_or(Value::None)
            }
            _ => return Ok(None),
        })),
        Value::Loop(own) if name == "cycle" => match given.by_place.len() {
            0 => fault("cycle lacks values"),
            n => Ok(Some(given.by_place[own.at.get() % n].clone())),
        },
        _ => Ok(None),
    }
}

fn of_text(owner: &Value, text: &str, name: &str, given: &Given, meter: &Meter) -> Result<Option<Value>> {
    // Read by characters, some twice.
    meter.pay_bytes(4 * text.len())?;
    let all = |is: fn(char) -> bool| !text.is_empty() && text.chars().all(is);
    let truth = |value: bool| {
        given.none(name)?;
        Ok(Some(Value::Bool(value)))
    };
    let one = || -> Result<&str> {
        let [only] = given.parameters(name, ["text"])?;
        let only = string(only, name)?;
        meter.pay_bytes(only.len())?;
        Ok(only)
    };
    let value = match name {
        "upper" | "lower" | "capitalize" => filters::apply(name, owner, given, meter)?,
        "islower" => return truth(text.chars().any(char::is_lowercase) && !text.chars().any(char::is_uppercase)),
        "isupper" => return truth(text.chars().any(char::is_uppercase) && !text.chars().any(char::is_lowercase)),
        "isspace" => return truth(all(char::is_whitespace)),
        "isdigit" | "isnumeric" | "isdecimal" => return truth(all(char::is_numeric)),
        "isalnum" => return truth(all(char::is_alphanumeric)),
        "isalpha" => return truth(all(char::is_alphabetic)),
        "isascii" => return truth(text.is_ascii()),
        "strip" | "lstrip" | "rstrip" => {
            let [characters] = given.parameters(name, ["chars"])?;
            let characters = optional_string(characters, name)?;
            meter.pay_bytes(text.len().saturating_mul(characters.map_or(1, str::len)))?;
            let goes = |c: char| characters.map_or(c.is_whitespace(), |characters| characters.contains(c));
            meter.text(match name {
                "strip" => text.trim_matches(goes),
                "lstrip" => text.trim_start_matches(goes),
                _ => text.trim_end_matches(goes),
            })?
        }
        "startswith" | "endswith" => texts::ends(text, name, given, meter)?,
        "removeprefix" => {
            let prefix = one()?;
            meter.text(text.strip_prefix(prefix).unwrap_or(text))?
        }
        "removesuffix" => {
            let suffix = one()?;
            meter.text(text.strip_suffix(suffix).unwrap_or(text))?
        }
        "replace" => {
            let [old, new, most] = given.parameters(name, ["old", "new", "count"])?;
            let most = optional_int(most, name)?.filter(|most| *most >= 0).map_or(usize::MAX, count);
            filters::replaced(text, string(old, name)?, string(new, name)?, most, meter)?
        }
        "split" | "rsplit" => {
            let [separator, most] = given.parameters(name, ["sep", "maxsplit"])?;
            let most = optional_int(most, name)?.filter(|most| *most >= 0).map_or(usize::MAX, count);
            texts::split(text, optional_string(separator, name)?, most, name == "rsplit", meter)?
        }
        "splitlines" => {
            let [ends] = given.parameters(name, ["keepends"])?;
            texts::lines(text, flag(ends), meter)?
        }
        "partition" | "rpartition" => {
            let separator = one()?;
            let last = name == "rpartition";
            let parts = if last { text.rsplit_once(separator) } else { text.split_once(separator) };
            let parts = parts.map(|(before, after)| [before, separator, after]);
            let parts = parts.unwrap_or(if last { ["", "", text] } else { [text, "", ""] });
            value::tuple(parts.into_iter().map(|part| meter.text(part)).collect::<Result<_>>()?, meter)?
        }
        "find" | "rfind" | "index" | "rindex" => {
            let wanted = one()?;
            let at = if name.starts_with('r') { text.rfind(wanted) } else { text.find(wanted) };
            match at {
                Some(at) => Value::Int(text[..at].chars().count() as i64),
                None if name.ends_with("index") => return fault(format!("what {name} looks for is not in the text")),
                None => Value::Int(-1),
            }
        }
        "count" => Value::Int(text.matches(one()?).count() as i64),
        "join" => {
            let [parts] = given.parameters(name, ["iterable"])?;
            texts::join(text, &parts.unwrap_or(&Value::None).items(meter)?, meter)?
        }
        "format" => braces(text, given, meter)?,
        "title" => {
            given.none(name)?;
            meter.text(texts::title(text))?
        }
        "casefold" => {
            given.none(name)?;
            meter.text(text.to_lowercase().to_uppercase().to_lowercase())?
        }
        "swapcase" => {
            given.none(name)?;
            meter.text(texts::swapcase(text))?
        }
        "zfill" | "ljust" | "rjust" | "center" => texts::widened(text, name, given, meter)?,
        _ => return Ok(None),
    };
    Ok(Some(value))
}
