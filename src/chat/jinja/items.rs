//! Attributes, items and slices of values, as Python has them.

use super::arguments::optional_int;
use super::compare;
use super::meter::{Meter, Result, fault};
use super::value::{self, ListKind, Value};

/// `value.name`, where that is no method that is called.
pub(super) fn attribute(value: &Value, name: &str, meter: &Meter) -> Result<Value> {
    meter.pay_bytes(name.len())?;
    let found = match value {
        Value::Undefined(what) => return fault(format!("{what} is undefined and has no {name}")),
        Value::Dict(dict) => compare::entry(dict, &Value::text(name), meter)?.cloned(),
        Value::Namespace(own) => own.get(name, meter)?,
        Value::List(list) if list.kind == ListKind::Group => match name {
            "grouper" => list.items.first().cloned(),
            "list" => list.items.get(1).cloned(),
            _ => None,
        },
        Value::Loop(own) => {
            let (at, n) = (own.at.get(), own.items.len());
            let item = |i: Option<usize>| i.and_then(|i| own.items.get(i)).cloned();
            let number = |n: usize| Some(Value::Int(n as i64));
            match name {
                "index" => number(at + 1),
                "index0" => number(at),
                "revindex" => number(n - at),
                "revindex0" => number(n - at - 1),
                "first" => Some(Value::Bool(at == 0)),
                "last" => Some(Value::Bool(at + 1 == n)),
                "length" => number(n),
                "depth" => number(own.depth + 1),
                "depth0" => number(own.depth),
                "previtem" => item(at.checked_sub(1)),
                "nextitem" => item(at.checked_add(1)),
                _ => None,
            }
        }
        Value::Macro(closure) if name == "name" => Some(Value::Text(closure.definition.name.clone())),
        _ => None,
    };
    Ok(found.unwrap_or_else(|| Value::undefined(name)))
}

/// `value[key]`.
pub(super) fn item(value: &Value, key: &Value, meter: &Meter) -> Result<Value> {
    meter.pay_items(1)?;
    let place = |n: usize| {
        let at = key.as_int()?;
        let at = if at < 0 { at.checked_add(i64::try_from(n).ok()?)? } else { at };
        usize::try_from(at).ok().filter(|at| *at < n)
    };
    let found = match (value, key) {
        (Value::Undefined(what), _) => return fault(format!("{what} is undefined and has no items")),
        (Value::Text(text), _) if key.as_int().is_some() => {
            meter.pay_bytes(2 * text.len())?;
            let c = place(text.chars().count()).and_then(|at| text.chars().nth(at));
            c.map(|c| Value::text(c.encode_utf8(&mut [0; 4])))
        }
        (Value::List(list), _) if key.as_int().is_some() => {
            place(list.items.len()).and_then(|at| list.items.get(at)).cloned()
        }
        (Value::Dict(dict), _) => compare::entry(dict, key, meter)?.cloned(),
        (_, Value::Text(name)) => return attribute(value, name, meter),
        _ => None,
    };
    Ok(found.unwrap_or_else(|| Value::undefined("this item")))
}

/// `value[start:stop:step]`.
pub(super) fn slice(value: &Value, bounds: [Option<&Value>; 3], meter: &Meter) -> Result<Value> {
    let mut numbers = [None; 3];
    for (number, bound) in numbers.iter_mut().zip(bounds) {
        *number = optional_int(bound, "a slice")?;
    }
    let [start, stop, step] = numbers;
    let step = step.unwrap_or(1);
    if step == 0 {
        return fault("a slice has a step of zero");
    }
    match value {
        Value::Text(text) => {
            meter.pay_bytes(text.len().saturating_mul(if step == 1 { 3 } else { 8 }))?;
            let n = text.chars().count();
            if step == 1 {
                let (first, end) = (bound(start, 0, n), bound(stop, n, n));
                let part: &str = {
                    let mut places = text.char_indices().map(|(at, _)| at).chain([text.len()]);
                    let from = places.nth(first).unwrap_or(text.len());
                    let to = if end > first { places.nth(end - first - 1).unwrap_or(text.len()) } else { from };
                    &text[from..to]
                };
                return meter.text(part);
            }
            let characters: Vec<char> = text.chars().collect();
            meter.text(places(start, stop, step, n).map(|at| characters[at]).collect::<String>())
        }
        Value::List(list) => {
            let at = places(start, stop, step, list.items.len());
            meter.pay_items(list.items.len())?;
            let kind = if list.kind == ListKind::List { ListKind::List } else { ListKind::Tuple };
            value::sequence(at.map(|at| list.items[at].clone()).collect(), kind, meter)
        }
        Value::Undefined(what) => fault(format!("{what} is undefined and has no slices")),
        other => fault(format!("{} has no slices", other.name())),
    }
}

/// A bound of a slice of `n` items, counted from the end where it is negative.
fn bound(given: Option<i64>, otherwise: usize, n: usize) -> usize {
    match given {
        None => otherwise,
        Some(at) if at < 0 => n.saturating_sub(usize::try_from(at.unsigned_abs()).unwrap_or(usize::MAX)),
        Some(at) => usize::try_from(at).unwrap_or(usize::MAX).min(n),
    }
}

/// The places of a slice of `n` items.
fn places(start: Option<i64>, stop: Option<i64>, step: i64, n: usize) -> impl Iterator<Item = usize> {
    let stride = usize::try_from(step.unsigned_abs()).unwrap_or(usize::MAX);
    // Backwards, places are counted from the last, which turns both bounds around.
    let turned = |given: Option<i64>| given.map(|at| (-1_i64).saturating_sub(at));
    let (start, stop) = if step > 0 { (start, stop) } else { (turned(start), turned(stop)) };
    let (first, end) = (bound(start, 0, n), bound(stop, n, n));
    (first..end).step_by(stride).map(move |at| if step > 0 { at } else { n - 1 - at })
}
