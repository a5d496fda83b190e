//! Arithmetic, as Python has it. Integers have 64 bits; what needs more is refused.

use super::ast::Operator;
use super::format::percent;
use super::meter::{Meter, Result, fault};
use super::value::{self, ListKind, Value};

pub(super) fn binary(operator: Operator, a: &Value, b: &Value, meter: &Meter) -> Result<Value> {
    use Operator::{Add, Divide, Modulo, Multiply, Power, Subtract};
    match (operator, a, b) {
        (Add, Value::Text(a), Value::Text(b)) => {
            meter.pay_bytes(a.len() + b.len())?;
            return meter.text([&**a, b].concat());
        }
        (Add, Value::List(x), Value::List(y)) if (x.kind == ListKind::List) == (y.kind == ListKind::List) => {
            meter.pay_items(x.items.len() + y.items.len())?;
            let kind = if x.kind == ListKind::List { ListKind::List } else { ListKind::Tuple };
            return value::sequence([&x.items[..], &y.items].concat(), kind, meter);
        }
        (Multiply, Value::Text(_) | Value::List(_), n) | (Multiply, n, Value::Text(_) | Value::List(_)) => {
            let repeated = if matches!(a, Value::Text(_) | Value::List(_)) { a } else { b };
            if let Some(n) = n.as_int() {
                return repeat(repeated, super::arguments::count(n), meter);
            }
        }
        (Modulo, Value::Text(pattern), _) => {
            let values = match b {
                Value::List(list) if list.kind != ListKind::List => list.items.clone(),
                other => vec![other.clone()],
            };
            // A dict or a list may stand there for nothing.
            let may_be_left =
                matches!(b, Value::Dict(_)) || matches!(b, Value::List(list) if list.kind == ListKind::List);
            return percent(pattern, &values, may_be_left, meter);
        }
        _ => {}
    }
    let result = match (operator, a.as_int(), b.as_int()) {
        (Divide, ..) | (_, None, _) | (_, _, None) => None,
        (Power, Some(_), Some(exponent)) if exponent < 0 => None,
        (operator, Some(a), Some(b)) => match integers(operator, a, b) {
            Some(n) => Some(Value::Int(n)),
            None if b == 0 => return fault("it divides by zero"),
            None => return fault("an integer has more than 64 bits"),
        },
    };
    match (result, a.as_float(), b.as_float()) {
        (Some(value), ..) => Ok(value),
        (None, Some(x), Some(y)) => floats(operator, x, y),
        _ => {
            let sign = match operator {
                Add => "+",
                Subtract => "-",
                Multiply => "*",
                Divide => "/",
                Operator::FloorDivide => "//",
                Modulo => "%",
                Power => "**",
            };
            fault(format!("{sign} does not take {} and {}", described(a), described(b)))
        }
    }
}

/// What `value` is, and which one that has no value.
pub(super) fn described(value: &Value) -> String {
    match value {
        Value::Undefined(what) => format!("{what}, which is undefined"),
        other => other.name().into(),
    }
}

fn integers(operator: Operator, a: i64, b: i64) -> Option<i64> {
    match operator {
        Operator::Add => a.checked_add(b),
        Operator::Subtract => a.checked_sub(b),
        Operator::Multiply => a.checked_mul(b),
        Operator::FloorDivide | Operator::Divide => {
            let quotient = a.checked_div(b)?;
            Some(quotient - i64::from(a % b != 0 && (a < 0) != (b < 0)))
        }
        Operator::Modulo => {
            let rest = a.checked_rem(b)?;
            Some(if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest })
        }
        Operator::Power => match a {
            0 | 1 => Some(if b == 0 { 1 } else { a }),
            -1 => Some(if b % 2 == 0 { 1 } else { -1 }),
            _ => a.checked_pow(u32::try_from(b).ok()?),
        },
    }
}

fn floats(operator: Operator, a: f64, b: f64) -> Result<Value> {
    if b == 0.0 && matches!(operator, Operator::Divide | Operator::FloorDivide | Operator::Modulo) {
        return fault("it divides by zero");
    }
    let modulo = || {
        let rest = a % b;
        if rest != 0.0 && (rest < 0.0) != (b < 0.0) { rest + b } else { rest }
    };
    Ok(Value::Float(match operator {
        Operator::Add => a + b,
        Operator::Subtract => a - b,
        Operator::Multiply => a * b,
        Operator::Divide => a / b,
        Operator::FloorDivide => ((a - modulo()) / b).round(),
        Operator::Modulo => modulo(),
        Operator::Power if a == 0.0 && b < 0.0 => return fault("it divides by zero"),
        Operator::Power if a < 0.0 && b.fract() != 0.0 => return fault("a root of a negative number is no number"),
        // A whole power by multiplying, which gives the same bits everywhere.
        Operator::Power if b.fract() == 0.0 && b.abs() <= 1024.0 => whole_power(a, b as i32),
        Operator::Power => return fault("a power is of a whole number"),
    }))
}

fn whole_power(x: f64, n: i32) -> f64 {
    let power = (0..n.unsigned_abs()).fold(1.0, |power, _| power * x);
    if n < 0 { 1.0 / power } else { power }
}

/// `value`, `n` times.
fn repeat(value: &Value, n: usize, meter: &Meter) -> Result<Value> {
    match value {
        Value::Text(text) => {
            meter.pay_bytes(text.len().saturating_mul(n))?;
            meter.text(text.repeat(n))
        }
        Value::List(list) => {
            let n = if list.items.is_empty() { 0 } else { n };
            meter.pay_items(list.items.len().saturating_mul(n))?;
            value::sequence((0..n).flat_map(|_| list.items.iter().cloned()).collect(), list.kind, meter)
        }
        other => Ok(other.clone()),
    }
}

pub(super) fn negative(value: &Value) -> Result<Value> {
    match (value.as_int(), value) {
        (Some(n), _) => {
            n.checked_neg().map_or_else(|| fault("an integer has more than 64 bits"), |n| Ok(Value::Int(n)))
        }
        (None, Value::Float(x)) => Ok(Value::Float(-x)),
        _ => fault(format!("- does not take {}", described(value))),
    }
}

pub(super) fn positive(value: &Value) -> Result<Value> {
    match (value.as_int(), value) {
        (Some(n), _) => Ok(Value::Int(n)),
        (None, Value::Float(x)) => Ok(Value::Float(*x)),
        _ => fault(format!("+ does not take {}", described(value))),
    }
}
