//! Which values are equal, which is less, and what lies in what.

use super::meter::{Meter, Result, fault};
use super::value::{Dict, ListKind, Value};
use core::cmp::Ordering;
use std::rc::Rc;

pub(super) fn equal(a: &Value, b: &Value, meter: &Meter) -> Result<bool> {
    meter.pay_items(1)?;
    Ok(match (a, b) {
        (Value::Undefined(_), Value::Undefined(_)) | (Value::None, Value::None) => true,
        (Value::Text(a), Value::Text(b)) => {
            a.len() == b.len() && {
                meter.pay_bytes(a.len())?;
                a == b
            }
        }
        (Value::List(a), Value::List(b)) => {
            let same_kind = (a.kind == ListKind::List) == (b.kind == ListKind::List);
            if !same_kind || a.items.len() != b.items.len() {
                return Ok(false);
            }
            for (a, b) in a.items.iter().zip(&b.items) {
                if !equal(a, b, meter)? {
                    return Ok(false);
                }
            }
            true
        }
        (Value::Dict(a), Value::Dict(b)) => {
            if a.entries.len() != b.entries.len() {
                return Ok(false);
            }
            for (key, value) in &a.entries {
                match entry(b, key, meter)? {
                    Some(other) if equal(value, other, meter)? => {}
                    _ => return Ok(false),
                }
            }
            true
        }
        (Value::Namespace(a), Value::Namespace(b)) => Rc::ptr_eq(a, b),
        (Value::Loop(a), Value::Loop(b)) => Rc::ptr_eq(a, b),
        (Value::Macro(a), Value::Macro(b)) => Rc::ptr_eq(a, b),
        (Value::Function(a), Value::Function(b)) => a == b,
        _ => numbers(a, b) == Some(Ordering::Equal),
    })
}

/// How two numbers compare; `None` where one is none, or not a number.
fn numbers(a: &Value, b: &Value) -> Option<Ordering> {
    match (a.as_int(), b.as_int()) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        _ => a.as_float()?.partial_cmp(&b.as_float()?),
    }
}

/// How `a` compares to `b`; `None` where one is not a number (NaN).
pub(super) fn order(a: &Value, b: &Value, meter: &Meter) -> Result<Option<Ordering>> {
    meter.pay_items(1)?;
    match (a, b) {
        (Value::Text(a), Value::Text(b)) => {
            meter.pay_bytes(a.len().min(b.len()))?;
            Ok(Some(a.cmp(b)))
        }
        (Value::List(x), Value::List(y)) if (x.kind == ListKind::List) == (y.kind == ListKind::List) => {
            for (a, b) in x.items.iter().zip(&y.items) {
                if !equal(a, b, meter)? {
                    return order(a, b, meter);
                }
            }
            Ok(Some(x.items.len().cmp(&y.items.len())))
        }
        _ if a.as_float().is_some() && b.as_float().is_some() => Ok(numbers(a, b)),
        _ => fault(format!("{} and {} have no order", a.name(), b.name())),
    }
}

/// The value of `key`.
pub(super) fn entry<'d>(dict: &'d Dict, key: &Value, meter: &Meter) -> Result<Option<&'d Value>> {
    for (own, value) in &dict.entries {
        if equal(own, key, meter)? {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

/// Puts an entry with `key` into `entries`, or changes its value.
pub(super) fn put(entries: &mut Vec<(Value, Value)>, key: Value, value: Value, meter: &Meter) -> Result<()> {
    if matches!(key, Value::Dict(_) | Value::Namespace(_))
        || matches!(&key, Value::List(list) if list.kind == ListKind::List)
    {
        return fault(format!("{} cannot be a key", key.name()));
    }
    for (own, place) in entries.iter_mut() {
        if equal(own, &key, meter)? {
            *place = value;
            return Ok(());
        }
    }
    entries.push((key, value));
    Ok(())
}

/// Whether `part` lies in `whole`.
pub(super) fn contains(whole: &Value, part: &Value, meter: &Meter) -> Result<bool> {
    match whole {
        Value::Undefined(_) => Ok(false),
        Value::Text(text) => match part.as_str() {
            Some(part) => {
                meter.pay_bytes(text.len() + part.len())?;
                Ok(text.contains(part))
            }
            None => fault(format!("a string holds strings, not {}", part.name())),
        },
        Value::List(list) => {
            for item in &list.items {
                if equal(item, part, meter)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Value::Dict(dict) => Ok(entry(dict, part, meter)?.is_some()),
        Value::Namespace(own) => Ok(part.as_str().map_or(Ok(None), |name| own.get(name, meter))?.is_some()),
        other => fault(format!("nothing lies in {}", other.name())),
    }
}

/// `values` in the order of their keys; those with equal keys stay in theirs.
pub(super) fn sort(values: Vec<(Value, Value)>, reverse: bool, meter: &Meter) -> Result<Vec<Value>> {
    meter.pay_items(values.len())?;
    let mut runs: Vec<Vec<(Value, Value)>> = values.into_iter().map(|value| vec![value]).collect();
    while runs.len() > 1 {
        let mut merged = Vec::with_capacity(runs.len().div_ceil(2));
        let mut rest = runs.into_iter();
        while let Some(first) = rest.next() {
            merged.push(match rest.next() {
                Some(second) => merge(first, second, reverse, meter)?,
                None => first,
            });
        }
        runs = merged;
    }
    Ok(runs.pop().unwrap_or_default().into_iter().map(|(_, value)| value).collect())
}

fn merge(
    first: Vec<(Value, Value)>,
    second: Vec<(Value, Value)>,
    reverse: bool,
    meter: &Meter,
) -> Result<Vec<(Value, Value)>> {
    meter.pay_items(first.len() + second.len())?;
    let mut out = Vec::with_capacity(first.len() + second.len());
    let mut second = second.into_iter().peekable();
    for value in first {
        while let Some(other) = second.peek() {
            let order = order(&other.0, &value.0, meter)?;
            if order != Some(if reverse { Ordering::Greater } else { Ordering::Less }) {
                break;
            }
            out.extend(second.next());
        }
        out.push(value);
    }
    out.extend(second);
    Ok(out)
}
