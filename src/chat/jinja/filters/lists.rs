//! Filters of lists and dicts.

use super::super::arguments::{Given, count, flag, optional_int, optional_string, string};
use super::super::ast::Operator;
use super::super::compare;
use super::super::items;
use super::super::meter::{Meter, Result, fault};
use super::super::operators;
use super::super::print;
use super::super::sink::Sink;
use super::super::value::{self, ListKind, Value};

/// The parts of an attribute that is named with points, as `a.b.0`.
pub(super) fn path(attribute: &Value) -> Result<Vec<Value>> {
    match attribute {
        Value::Int(_) => Ok(vec![attribute.clone()]),
        _ => {
            let parts = string(Some(attribute), "an attribute")?.split('.');
            Ok(parts.map(|part| part.parse().map_or_else(|_| Value::text(part), Value::Int)).collect())
        }
    }
}

/// What lies in `value` at `path`.
pub(super) fn at_path(value: &Value, path: &[Value], meter: &Meter) -> Result<Value> {
    path.iter().try_fold(value.clone(), |value, part| items::item(&value, part, meter))
}

/// `value` as it counts in an order: at an attribute, its letters small unless their case counts.
fn key(value: &Value, path: &[Value], with_case: bool, meter: &Meter) -> Result<Value> {
    meter.pay_items(1 + path.len())?;
    let found = at_path(value, path, meter)?;
    match &found {
        Value::Text(text) if !with_case => {
            meter.pay_bytes(text.len())?;
            meter.text(text.to_lowercase())
        }
        _ => Ok(found),
    }
}

fn attribute(given: Option<&Value>) -> Result<Vec<Value>> {
    match given {
        None | Some(Value::None) => Ok(Vec::new()),
        Some(attribute) => path(attribute),
    }
}

pub(super) fn list(value: &Value, given: &Given, meter: &Meter) -> Result<Value> {
    given.none("list")?;
    value::list(value.items(meter)?, meter)
}

pub(super) fn first(value: &Value, given: &Given, meter: &Meter) -> Result<Value> {
    given.none("first")?;
    let first = value.items(meter)?.into_iter().next();
    Ok(first.unwrap_or_else(|| Value::undefined("the first of nothing")))
}

pub(super) fn last(value: &Value, given: &Given, meter: &Meter) -> Result<Value> {
    given.none("last")?;
    Ok(value.items(meter)?.pop().unwrap_or_else(|| Value::undefined("the last of nothing")))
}

pub(super) fn reverse(value: &Value, given: &Given, meter: &Meter) -> Result<Value> {
    given.none("reverse")?;
    if let Value::Text(text) = value {
        meter.pay_bytes(text.len())?;
        return meter.text(text.chars().rev().collect::<String>());
    }
    let mut items = value.items(meter)?;
    items.reverse();
    value::list(items, meter)
}

/// Pairs of keys and values.
pub(super) fn pairs(value: &Value, given: &Given, meter: &Meter) -> Result<Value> {
    given.none("items")?;
    let Value::Dict(dict) = value else {
        return if value.is_undefined() { value::list(Vec::new(), meter) } else { fault("items are of a dict") };
    };
    let pair = |(key, value): &(Value, Value)| value::tuple(vec![key.clone(), value.clone()], meter);
    value::list(dict.entries.iter().map(pair).collect::<Result<_>>()?, meter)
}

pub(super) fn join(value: &Value, given: &Given, meter: &Meter) -> Result<Value> {
    let [between, by] = given.parameters("join", ["d", "attribute"])?;
    let between = optional_string(between, "join")?.unwrap_or("");
    let path = attribute(by)?;
    let mut sink = Sink::new(meter);
    for (i, item) in value.items(meter)?.iter().enumerate() {
        sink.push(if i > 0 { between } else { "" })?;
        print::write(&mut sink, &at_path(item, &path, meter)?)?;
    }
    sink.into_value()
}

pub(super) fn sum(value: &Value, given: &Given, meter: &Meter) -> Result<Value> {
    let [by, start] = given.parameters("sum", ["attribute", "start"])?;
    let path = attribute(by)?;
    let mut total = start.cloned().unwrap_or(Value::Int(0));
    for item in value.items(meter)? {
        total = operators::binary(Operator::Add, &total, &at_path(&item, &path, meter)?, meter)?;
    }
    Ok(total)
}

/// The greatest item, or the least.
pub(super) fn extreme(value: &Value, given: &Given, meter: &Meter, greatest: bool) -> Result<Value> {
    let [case, by] = given.parameters("max", ["case_sensitive", "attribute"])?;
    let path = attribute(by)?;
    let mut best: Option<(Value, Value)> = None;
    for item in value.items(meter)? {
        let key = key(&item, &path, flag(case), meter)?;
        let better = match &best {
            None => true,
            Some((best, _)) => {
                let order = compare::order(&key, best, meter)?;
                order.is_some_and(|order| if greatest { order.is_gt() } else { order.is_lt() })
            }
        };
        if better {
            best = Some((key, item));
        }
    }
    Ok(best.map_or_else(|| Value::undefined("an extreme of nothing"), |(_, item)| item))
}

pub(super) fn unique(value: &Value, given: &Given, meter: &Meter) -> Result<Value> {
    let [case, by] = given.parameters("unique", ["case_sensitive", "attribute"])?;
    let path = attribute(by)?;
    let (mut seen, mut out): (Vec<Value>, Vec<Value>) = (Vec::new(), Vec::new());
    'items: for item in value.items(meter)? {
        let key = key(&item, &path, flag(case), meter)?;
        for other in &seen {
            if compare::equal(other, &key, meter)? {
                continue 'items;
            }
        }
        seen.push(key);
        out.push(item);
    }
    value::list(out, meter)
}

pub(super) fn sort(value: &Value, given: &Given, meter: &Meter) -> Result<Value> {
    let [reverse, case, by] = given.parameters("sort", ["reverse", "case_sensitive", "attribute"])?;
    let paths: Vec<Vec<Value>> = match by {
        Some(Value::Text(names)) => names.split(',').map(|name| path(&Value::text(name))).collect::<Result<_>>()?,
        by => vec![attribute(by)?],
    };
    let mut keyed = Vec::new();
    for item in value.items(meter)? {
        let keys = paths.iter().map(|path| key(&item, path, flag(case), meter)).collect::<Result<Vec<_>>>()?;
        keyed.push((value::tuple(keys, meter)?, item));
    }
    value::list(compare::sort(keyed, flag(reverse), meter)?, meter)
}

pub(super) fn dictsort(value: &Value, given: &Given, meter: &Meter) -> Result<Value> {
    let [case, by, reverse] = given.parameters("dictsort", ["case_sensitive", "by", "reverse"])?;
    let by_value = match by.map_or(Ok("key"), |by| string(Some(by), "dictsort"))? {
        "key" => false,
        "value" => true,
        _ => return fault("dictsort goes by key or by value"),
    };
    let Value::Dict(dict) = value else { return fault("dictsort is of a dict") };
    let mut keyed = Vec::new();
    for (own, value) in &dict.entries {
        let pair = value::tuple(vec![own.clone(), value.clone()], meter)?;
        keyed.push((key(if by_value { value } else { own }, &[], flag(case), meter)?, pair));
    }
    value::list(compare::sort(keyed, flag(reverse), meter)?, meter)
}

/// Pairs of a value of an attribute and the items that have it.
pub(super) fn groupby(value: &Value, given: &Given, meter: &Meter) -> Result<Value> {
    let [by, default, case] = given.parameters("groupby", ["attribute", "default", "case_sensitive"])?;
    let Some(by) = by else { return fault("groupby takes an attribute") };
    let path = path(by)?;
    let own = |item: &Value| {
        let found = at_path(item, &path, meter)?;
        Ok(if found.is_undefined() { default.cloned().unwrap_or(found) } else { found })
    };
    let mut keyed = Vec::new();
    for item in value.items(meter)? {
        keyed.push((key(&own(&item)?, &[], flag(case), meter)?, item));
    }
    let mut groups: Vec<(Value, Vec<Value>)> = Vec::new();
    for item in compare::sort(keyed, false, meter)? {
        let key = key(&own(&item)?, &[], flag(case), meter)?;
        match groups.last_mut() {
            Some((last, members)) if compare::equal(last, &key, meter)? => members.push(item),
            _ => groups.push((key, vec![item])),
        }
    }
    let mut out = Vec::new();
    for (_, members) in groups {
        let name = members.first().map_or(Ok(Value::None), own)?;
        out.push(value::sequence(vec![name, value::list(members, meter)?], ListKind::Group, meter)?);
    }
    value::list(out, meter)
}

/// Lists of so many items each, of which the last may be filled up.
pub(super) fn batch(value: &Value, given: &Given, meter: &Meter) -> Result<Value> {
    let [size, fill] = given.parameters("batch", ["linecount", "fill_with"])?;
    let size = count(optional_int(size, "batch")?.unwrap_or(0));
    if size == 0 {
        return fault("batch takes a number of items");
    }
    let mut out = Vec::new();
    for part in value.items(meter)?.chunks(size) {
        let mut part = part.to_vec();
        if let Some(fill) = fill.filter(|fill| !matches!(fill, Value::None)) {
            meter.pay_items(size - part.len())?;
            part.resize(size, fill.clone());
        }
        out.push(value::list(part, meter)?);
    }
    value::list(out, meter)
}

/// So many lists of about as many items.
pub(super) fn slice(value: &Value, given: &Given, meter: &Meter) -> Result<Value> {
    let [n, fill] = given.parameters("slice", ["slices", "fill_with"])?;
    let n = count(optional_int(n, "slice")?.unwrap_or(0));
    if n == 0 {
        return fault("slice takes a number of lists");
    }
    let items = value.items(meter)?;
    let (each, longer) = (items.len() / n, items.len() % n);
    let (mut out, mut at) = (Vec::new(), 0);
    for i in 0..n {
        let end = at + each + usize::from(i < longer);
        let mut part = items[at..end].to_vec();
        if let Some(fill) = fill.filter(|fill| i >= longer && longer > 0 && !matches!(fill, Value::None)) {
            part.push(fill.clone());
        }
        out.push(value::list(part, meter)?);
        at = end;
    }
    value::list(out, meter)
}
