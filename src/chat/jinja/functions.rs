//! The functions of the language.

use super::arguments::{Given, string};
use super::compare;
use super::meter::{Meter, Result, fault};
use super::value::{self, Function, Namespace, Value};
use crate::os::calendar::Moment;
use std::rc::Rc;

/// Numbers of a `range`, as in the sandbox of Jinja2.
const MOST_NUMBERS: i128 = 100_000;

/// The function of this name.
pub(super) fn named(name: &str) -> Option<Function> {
    Some(match name {
        "range" => Function::Range,
        "namespace" => Function::Namespace,
        "dict" => Function::Dict,
        "raise_exception" => Function::RaiseException,
        "strftime_now" => Function::StrftimeNow,
        _ => return None,
    })
}

pub(super) fn call(function: Function, given: &Given, now: Moment, meter: &Meter) -> Result<Value> {
    match function {
        Function::Range => range(given, meter),
        Function::Namespace => {
            let own = Namespace::default();
            for (name, value) in entries(given, "namespace", meter)? {
                let Value::Text(name) = name else { return fault("a namespace has names") };
                own.set(&name, value, meter)?;
            }
            Ok(Value::Namespace(Rc::new(own)))
        }
        Function::Dict => value::dict(entries(given, "dict", meter)?, meter),
        Function::RaiseException => {
            let [message] = given.parameters("raise_exception", ["message"])?;
            fault(string(message, "raise_exception")?)
        }
        Function::StrftimeNow => {
            let [format] = given.parameters("strftime_now", ["format"])?;
            let format = string(format, "strftime_now")?;
            // A directive of two characters gives a text of bounded length.
            meter.pay_bytes(format.len().saturating_mul(32))?;
            now.format(format).map_or_else(fault, |text| meter.text(text))
        }
    }
}

/// What `dict` and `namespace` begin with: another dict, and values by name.
fn entries(given: &Given, what: &str, meter: &Meter) -> Result<Vec<(Value, Value)>> {
    let mut out = Vec::new();
    for first in &given.by_place {
        let Value::Dict(dict) = first else { return fault(format!("{what} takes a dict, not {}", first.name())) };
        meter.pay_items(dict.entries.len())?;
        for (key, value) in &dict.entries {
            compare::put(&mut out, key.clone(), value.clone(), meter)?;
        }
    }
    for (name, value) in &given.by_name {
        compare::put(&mut out, Value::Text(name.clone()), value.clone(), meter)?;
    }
    Ok(out)
}

fn range(given: &Given, meter: &Meter) -> Result<Value> {
    let mut numbers = [None; 3];
    for (number, value) in numbers.iter_mut().zip(given.parameters("range", ["start", "stop", "step"])?) {
        *number = super::arguments::optional_int(value, "range")?;
    }
    let (start, stop, step) = match numbers {
        [Some(stop), None, None] => (0, stop, 1),
        [Some(start), Some(stop), step] => (start, stop, step.unwrap_or(1)),
        _ => return fault("range takes an end, or a start and an end"),
    };
    if step == 0 {
        return fault("range has a step of zero");
    }
    let (start, stop, step) = (i128::from(start), i128::from(stop), i128::from(step));
    let way = if step > 0 { stop - start } else { start - stop };
    let n = if way > 0 { (way + step.abs() - 1) / step.abs() } else { 0 };
    if n > MOST_NUMBERS {
        return fault(format!("range has more than {MOST_NUMBERS} numbers"));
    }
    meter.pay_items(n as usize)?;
    value::list((0..n).map(|i| Value::Int((start + i * step) as i64)).collect(), meter)
}
