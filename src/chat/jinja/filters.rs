//! The filters of the language: Jinja2's, but for those that make HTML.

mod choosing;
mod lists;
mod texts;

pub(super) use texts::replaced;

use super::arguments::{Given, flag, optional_int, string};
use super::items;
use super::json;
use super::meter::{Meter, Result, fault};
use super::operators;
use super::print;
use super::sink::Sink;
use super::value::Value;

type Filter = fn(&Value, &Given, &Meter) -> Result<Value>;

const FILTERS: &[(&str, Filter)] = &[
    ("abs", abs),
    ("attr", |value, given, meter| {
        let [name] = given.parameters("attr", ["name"])?;
        let name = string(name, "attr")?;
        // A key is no attribute.
        if matches!(value, Value::Dict(_)) { Ok(Value::undefined(name)) } else { items::attribute(value, name, meter) }
    }),
    ("batch", lists::batch),
    ("capitalize", texts::capitalize),
    ("count", length),
    ("d", default),
    ("default", default),
    ("dictsort", lists::dictsort),
    ("e", texts::escape),
    ("escape", texts::escape),
    ("first", lists::first),
    ("float", float),
    ("format", texts::format),
    ("groupby", lists::groupby),
    ("indent", texts::indent),
    ("int", int),
    ("items", lists::pairs),
    ("join", lists::join),
    ("last", lists::last),
    ("length", length),
    ("list", lists::list),
    ("lower", texts::lower),
    ("map", |value, given, meter| choosing::map(value, given, meter, apply)),
    ("max", |value, given, meter| lists::extreme(value, given, meter, true)),
    ("min", |value, given, meter| lists::extreme(value, given, meter, false)),
    ("reject", |value, given, meter| choosing::select(value, given, meter, false)),
    ("rejectattr", |value, given, meter| choosing::selectattr(value, given, meter, false)),
    ("replace", texts::replace),
    ("reverse", lists::reverse),
    ("round", round),
    ("safe", text),
    ("select", |value, given, meter| choosing::select(value, given, meter, true)),
    ("selectattr", |value, given, meter| choosing::selectattr(value, given, meter, true)),
    ("slice", lists::slice),
    ("sort", lists::sort),
    ("string", text),
    ("sum", lists::sum),
    ("title", texts::title),
    ("tojson", |value, given, meter| json::tojson(value, given, Sink::new(meter))),
    ("trim", texts::trim),
    ("unique", lists::unique),
    ("upper", texts::upper),
];

pub(super) fn exists(name: &str) -> bool {
    FILTERS.iter().any(|(own, _)| *own == name)
}

/// What the filter `name` makes of `value`.
pub(super) fn apply(name: &str, value: &Value, given: &Given, meter: &Meter) -> Result<Value> {
    meter.pay_items(1)?;
    match FILTERS.iter().find(|(own, _)| *own == name) {
        Some((_, filter)) => filter(value, given, meter),
        None => fault(format!("there is no filter {name:.40}")),
    }
}

fn length(value: &Value, given: &Given, meter: &Meter) -> Result<Value> {
    given.none("length")?;
    Ok(Value::Int(value.length(meter)? as i64))
}

fn text(value: &Value, given: &Given, meter: &Meter) -> Result<Value> {
    given.none("string")?;
    Ok(Value::Text(print::text(value, meter)?))
}

fn default(value: &Value, given: &Given, _meter: &Meter) -> Result<Value> {
    let [instead, boolean] = given.parameters("default", ["default_value", "boolean"])?;
    let missing = value.is_undefined() || flag(boolean) && !value.is_true();
    Ok(if missing { instead.cloned().unwrap_or_else(|| Value::text("")) } else { value.clone() })
}

fn abs(value: &Value, given: &Given, _meter: &Meter) -> Result<Value> {
    given.none("abs")?;
    match (value.as_int(), value.as_float()) {
        (Some(n), _) if n < 0 => operators::negative(value),
        (Some(n), _) => Ok(Value::Int(n)),
        (None, Some(x)) => Ok(Value::Float(x.abs())),
        _ => fault(format!("abs does not take {}", operators::described(value))),
    }
}

/// The number that a text is, or a number.
fn number(value: &Value, meter: &Meter) -> Result<Option<f64>> {
    match value {
        Value::Text(text) => {
            meter.pay_bytes(text.len())?;
            Ok(text.trim().parse().ok())
        }
        other => Ok(other.as_float()),
    }
}

/// What is no number is 0, or what is named instead.
fn int(value: &Value, given: &Given, meter: &Meter) -> Result<Value> {
    let [instead, base] = given.parameters("int", ["default", "base"])?;
    let base = optional_int(base, "int")?.and_then(|base| u32::try_from(base).ok());
    let base = base.filter(|base| (2..=36).contains(base)).unwrap_or(10);
    if let Some(n) = value.as_int() {
        return Ok(Value::Int(n));
    }
    let float = number(value, meter)?;
    let whole = value.as_str().and_then(|text| i64::from_str_radix(text.trim(), base).ok());
    let cut = || float.map(f64::trunc).filter(|x| x.abs() < 9e18).map(|x| x as i64);
    Ok(whole.or_else(cut).map_or_else(|| instead.cloned().unwrap_or(Value::Int(0)), Value::Int))
}

fn float(value: &Value, given: &Given, meter: &Meter) -> Result<Value> {
    let [instead] = given.parameters("float", ["default"])?;
    let number = number(value, meter)?.map(Value::Float);
    Ok(number.unwrap_or_else(|| instead.cloned().unwrap_or(Value::Float(0.0))))
}

fn round(value: &Value, given: &Given, meter: &Meter) -> Result<Value> {
    let [precision, method] = given.parameters("round", ["precision", "method"])?;
    let precision = optional_int(precision, "round")?.unwrap_or(0);
    let method = method.map_or(Ok("common"), |method| string(Some(method), "round"))?;
    let Some(x) = value.as_float() else {
        return fault(format!("round does not take {}", operators::described(value)));
    };
    let Ok(digits) = usize::try_from(precision.clamp(-300, 300)) else {
        return fault("round takes digits after the point");
    };
    meter.pay_bytes(digits + 400)?;
    let scale = (0..digits).fold(1.0_f64, |scale, _| scale * 10.0);
    match method {
        // The decimal digits are exact, and a half goes to the even one, in both languages.
        "common" if matches!(value, Value::Float(_)) => Ok(Value::Float(format!("{x:.digits$}").parse().unwrap_or(x))),
        "common" => Ok(value.as_int().map_or_else(|| value.clone(), Value::Int)),
        "ceil" => Ok(Value::Float((x * scale).ceil() / scale)),
        "floor" => Ok(Value::Float((x * scale).floor() / scale)),
        _ => fault("round goes by common, ceil or floor"),
    }
}
