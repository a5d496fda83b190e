//! The tests of the language: `value is test`.

use super::arguments::Given;
use super::compare;
use super::meter::{Meter, Result, fault};
use super::value::Value;
use core::cmp::Ordering;

type Test = fn(&Value, &Given, &Meter) -> Result<bool>;

const TESTS: &[(&str, Test)] = &[
    ("boolean", |value, _, _| Ok(matches!(value, Value::Bool(_)))),
    ("callable", |value, _, _| Ok(matches!(value, Value::Macro(_) | Value::Function(_) | Value::Loop(_)))),
    ("defined", |value, _, _| Ok(!value.is_undefined())),
    ("divisibleby", |value, given, _| {
        let [by] = given.parameters("divisibleby", ["num"])?;
        match (value.as_int(), by.and_then(Value::as_int)) {
            (Some(_), Some(0)) => fault("it divides by zero"),
            (Some(n), Some(by)) => Ok(n.checked_rem(by).unwrap_or(0) == 0),
            _ => fault("divisibleby is of integers"),
        }
    }),
    ("escaped", |_, _, _| Ok(false)),
    ("even", |value, _, _| rest_of_two(value).map(|rest| rest == 0.0)),
    ("false", |value, _, _| Ok(matches!(value, Value::Bool(false)))),
    ("float", |value, _, _| Ok(matches!(value, Value::Float(_)))),
    ("in", |value, given, meter| {
        let [whole] = given.parameters("in", ["seq"])?;
        compare::contains(whole.unwrap_or(&Value::None), value, meter)
    }),
    ("integer", |value, _, _| Ok(matches!(value, Value::Int(_)))),
    ("iterable", |value, _, _| {
        Ok(matches!(value, Value::Text(_) | Value::List(_) | Value::Dict(_) | Value::Loop(_) | Value::Undefined(_)))
    }),
    ("lower", |value, _, meter| of_case(value, meter, char::is_lowercase, char::is_uppercase)),
    ("mapping", |value, _, _| Ok(matches!(value, Value::Dict(_)))),
    ("none", |value, _, _| Ok(matches!(value, Value::None))),
    ("number", |value, _, _| Ok(value.as_float().is_some())),
    ("odd", |value, _, _| rest_of_two(value).map(|rest| rest == 1.0)),
    ("sameas", |value, given, meter| {
        let [other] = given.parameters("sameas", ["other"])?;
        let other = other.unwrap_or(&Value::None);
        let same_kind = core::mem::discriminant(value) == core::mem::discriminant(other);
        Ok(same_kind && compare::equal(value, other, meter)?)
    }),
    ("sequence", |value, _, _| {
        Ok(matches!(value, Value::Text(_) | Value::List(_) | Value::Dict(_) | Value::Undefined(_)))
    }),
    ("string", |value, _, _| Ok(matches!(value, Value::Text(_)))),
    ("true", |value, _, _| Ok(matches!(value, Value::Bool(true)))),
    ("undefined", |value, _, _| Ok(value.is_undefined())),
    ("upper", |value, _, meter| of_case(value, meter, char::is_uppercase, char::is_lowercase)),
    ("==", equal),
    ("eq", equal),
    ("equalto", equal),
    ("!=", |value, given, meter| equal(value, given, meter).map(|equal| !equal)),
    ("ne", |value, given, meter| equal(value, given, meter).map(|equal| !equal)),
    ("<", less),
    ("lt", less),
    ("lessthan", less),
    ("<=", |value, given, meter| ordered(value, given, meter, Ordering::is_le)),
    ("le", |value, given, meter| ordered(value, given, meter, Ordering::is_le)),
    (">", greater),
    ("gt", greater),
    ("greaterthan", greater),
    (">=", |value, given, meter| ordered(value, given, meter, Ordering::is_ge)),
    ("ge", |value, given, meter| ordered(value, given, meter, Ordering::is_ge)),
];

pub(super) fn exists(name: &str) -> bool {
    TESTS.iter().any(|(own, _)| *own == name)
}

/// Whether `value` is what `test` asks for.
pub(super) fn holds(test: &str, value: &Value, given: &Given, meter: &Meter) -> Result<bool> {
    meter.pay_items(1)?;
    match TESTS.iter().find(|(own, _)| *own == test) {
        Some((_, holds)) => holds(value, given, meter),
        None => fault(format!("there is no test {test:.40}")),
    }
}

fn equal(value: &Value, given: &Given, meter: &Meter) -> Result<bool> {
    let [other] = given.parameters("eq", ["other"])?;
    compare::equal(value, other.unwrap_or(&Value::None), meter)
}

fn less(value: &Value, given: &Given, meter: &Meter) -> Result<bool> {
    ordered(value, given, meter, Ordering::is_lt)
}

fn greater(value: &Value, given: &Given, meter: &Meter) -> Result<bool> {
    ordered(value, given, meter, Ordering::is_gt)
}

fn ordered(value: &Value, given: &Given, meter: &Meter, is: fn(Ordering) -> bool) -> Result<bool> {
    let [other] = given.parameters("a comparison", ["other"])?;
    Ok(compare::order(value, other.unwrap_or(&Value::None), meter)?.is_some_and(is))
}

/// What is left of a number by twos.
fn rest_of_two(value: &Value) -> Result<f64> {
    match (value.as_int(), value.as_float()) {
        (Some(n), _) => Ok(n.rem_euclid(2) as f64),
        (None, Some(x)) => Ok(x.rem_euclid(2.0)),
        _ => fault(format!("{} is neither odd nor even", value.name())),
    }
}

/// Whether `value` has a character that `is`, and none that `is_not`.
fn of_case(value: &Value, meter: &Meter, is: fn(char) -> bool, is_not: fn(char) -> bool) -> Result<bool> {
    let text = super::print::text(value, meter)?;
    meter.pay_bytes(text.len())?;
    Ok(text.chars().any(is) && !text.chars().any(is_not))
}
