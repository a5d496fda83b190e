//! Filters that apply a filter or a test to every item.

use super::super::arguments::{Given, string};
use super::super::meter::{Meter, Result, fault};
use super::super::predicates;
use super::super::value::{self, Value};
use super::lists::{at_path, path};

/// What `apply` makes of each item by the filter that is named, or the attribute of each.
pub(super) fn map(
    value: &Value,
    given: &Given,
    meter: &Meter,
    apply: fn(&str, &Value, &Given, &Meter) -> Result<Value>,
) -> Result<Value> {
    let items = items(value, meter)?;
    let mut out = Vec::with_capacity(items.len());
    if let Some((filter, rest)) = given.by_place.split_first() {
        let filter = string(Some(filter), "map")?;
        let rest = Given { by_place: rest.to_vec(), by_name: given.by_name.clone() };
        for item in &items {
            out.push(apply(filter, item, &rest, meter)?);
        }
    } else {
        let [attribute, default] = given.parameters("map", ["attribute", "default"])?;
        let Some(attribute) = attribute else { return fault("map takes the name of a filter, or an attribute") };
        let path = path(attribute)?;
        for item in &items {
            let found = at_path(item, &path, meter)?;
            out.push(match default {
                Some(default) if found.is_undefined() => default.clone(),
                _ => found,
            });
        }
    }
    value::list(out, meter)
}

/// What is gone over: of what is not true, nothing.
fn items(value: &Value, meter: &Meter) -> Result<Vec<Value>> {
    if value.is_true() { value.items(meter) } else { Ok(Vec::new()) }
}

/// The items that pass a test, or are true where none is named; or those that do not.
pub(super) fn select(value: &Value, given: &Given, meter: &Meter, wanted: bool) -> Result<Value> {
    chosen(value, &given.by_place, given, meter, wanted, |item| Ok(item.clone()))
}

/// The items of which an attribute passes a test, or is true; or those of which it does not.
pub(super) fn selectattr(value: &Value, given: &Given, meter: &Meter, wanted: bool) -> Result<Value> {
    let Some((attribute, rest)) = given.by_place.split_first() else { return fault("selectattr takes an attribute") };
    let path = path(attribute)?;
    chosen(value, rest, given, meter, wanted, |item| at_path(item, &path, meter))
}

fn chosen(
    value: &Value,
    by_place: &[Value],
    given: &Given,
    meter: &Meter,
    wanted: bool,
    looked_at: impl Fn(&Value) -> Result<Value>,
) -> Result<Value> {
    let test = by_place.split_first().map(|(test, rest)| {
        let rest = Given { by_place: rest.to_vec(), by_name: given.by_name.clone() };
        string(Some(test), "select").map(|test| (test, rest))
    });
    let test = test.transpose()?;
    let mut out = Vec::new();
    for item in items(value, meter)? {
        let looked_at = looked_at(&item)?;
        let holds = match &test {
            Some((test, rest)) => predicates::holds(test, &looked_at, rest, meter)?,
            None => looked_at.is_true(),
        };
        if holds == wanted {
            out.push(item);
        }
    }
    value::list(out, meter)
}
