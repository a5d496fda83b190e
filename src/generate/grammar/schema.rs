//! JSON schemas: what is not supported is refused by its place before anything is made of it, for a keyword that is passed over
//! would be a promise that nobody keeps.

use super::formats::{self, FORMATS};
use crate::error::{Error, Result, escaped as shown};
use serde_json::{Map, Value};

const TYPES: [&str; 7] = ["null", "boolean", "integer", "number", "string", "array", "object"];
/// The forms of JSON Schema that are read.
const DRAFTS: [&str; 5] = [
    "https://json-schema.org/draft/2020-12/schema",
    "https://json-schema.org/draft/2019-09/schema",
    "http://json-schema.org/draft-07/schema",
    "http://json-schema.org/draft-06/schema",
    "http://json-schema.org/draft-04/schema",
];
/// What says something of a schema to people, and nothing of what it allows.
const ANNOTATIONS: [&str; 13] = [
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
    "contentMediaType",
    "contentEncoding",
    "contentSchema",
    "$comment",
    "$anchor",
    "discriminator",
];
/// Keywords of JSON Schema that no grammar holds.
const UNSUPPORTED: [&str; 19] = [
    "not",
    "if",
    "then",
    "else",
    "contains",
    "minContains",
    "maxContains",
    "uniqueItems",
    "propertyNames",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
    "unevaluatedItems",
    "unevaluatedProperties",
    "$dynamicRef",
    "$dynamicAnchor",
    "$recursiveRef",
    "$recursiveAnchor",
    "$vocabulary",
];

/// Bytes of a message and of a place in it.
const MOST_SAID: usize = 1000;
/// How deep schemas may lie within each other, references followed: the engine reads them by recursion.
const MAX_DEPTH: usize = 128;
/// Entries of the keywords whose lists the engine reads by recursion, too.
const MAX_LISTED: usize = 1000;
const LISTS: [&str; 8] =
    ["properties", "patternProperties", "required", "items", "prefixItems", "anyOf", "oneOf", "allOf"];
/// Bytes of what is put in the place of references.
const MAX_INLINED: usize = 1 << 18;
/// How deep references may lead to references.
const MAX_REFERENCES: usize = 64;

/// No whole number of the engine, which counts in 64 bits, is so large.
const BOUND: f64 = 9_223_372_036_854_775_808.0;
/// The least and the greatest bound that the engine can hold of whole numbers, which it reads as f64 and negates, and of others.
const WHOLE: (i64, i64) = (-((1 << 62) - 512) * 2, i64::MAX);
const ANY: (i64, i64) = (-1_000_000_000_000_000_000, 1_000_000_000_000_000_000);

/// Whether a regular expression can be held, and why not.
pub(super) type CheckPattern<'c> = dyn Fn(&str) -> core::result::Result<(), String> + 'c;

/// The schema in `text`, whose every keyword is supported and well formed.
pub(super) fn read(text: &str, check_pattern: &CheckPattern) -> Result<Value> {
    let schema: Value = serde_json::from_str(text).map_err(|error| Error::data(format!("no JSON: {error}")))?;
    Reader { root: &schema, check_pattern }.schema(&schema, "#")?;
    if !ends(&schema) {
        return Err(Error::data("every value goes on without end, since what is required refers back to it").field("#"));
    }
    let mut whole = match schema {
        Value::Bool(true) => Value::Object(Map::new()),
        Value::Bool(false) => return Err(Error::data("the schema false allows nothing").field("#")),
        schema => schema,
    };
    let (root, mut room) = (whole.clone(), MAX_INLINED);
    inline_alternatives(&mut whole, &root, &mut room);
    if depth(&whole, &whole, &mut Vec::new(), 0).is_none() {
        return Err(Error::data(format!("schemas nest more than {MAX_DEPTH} deep, references followed")).field("#"));
    }
    Ok(whole)
}

/// The schemas within `schema`: the keyword and place of each, as the rest of a path.
pub(super) fn within(schema: &Value) -> Vec<(String, &Value)> {
    let Some(object) = schema.as_object() else { return Vec::new() };
    let mut found = Vec::new();
    for (key, value) in object {
        match (key.as_str(), value) {
            ("properties" | "patternProperties" | "$defs" | "definitions", Value::Object(of)) => {
                found.extend(of.iter().map(|(name, schema)| (format!("/{key}/{}", escaped(name)), schema)));
            }
            ("anyOf" | "oneOf" | "allOf" | "prefixItems" | "items", Value::Array(of)) => {
                found.extend(of.iter().enumerate().map(|(i, schema)| (format!("/{key}/{i}"), schema)));
            }
            ("items" | "additionalItems" | "additionalProperties", schema) => found.push((format!("/{key}"), schema)),
            _ => {}
        }
    }
    found
}

/// A name in a path (RFC 6901).
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// Puts what alternatives of `oneOf` refer to in their place, as long as it has no more than `room` bytes: only where it is seen can they
/// be told apart. What is put there is left as it is.
fn inline_alternatives(schema: &mut Value, root: &Value, room: &mut usize) {
    let Value::Object(object) = schema else { return };
    for inner in schemas_of(object) {
        inline_alternatives(inner, root, room);
    }
    let Some(Value::Array(options)) = object.get_mut("oneOf") else { return };
    for option in options {
        for _ in 0..MAX_REFERENCES {
            let Some(target) = alone(option).and_then(|reference| target(root, reference)) else { break };
            let Some(left) = room.checked_sub(target.to_string().len()) else { return };
            *room = left;
            *option = target.clone();
        }
    }
}

/// What may be a schema within `schema`, notes included, to which references may lead; values are none.
fn schemas_of(schema: &mut Map<String, Value>) -> impl Iterator<Item = &mut Value> {
    let is_value = |key: &str| ["const", "enum", "default", "examples"].contains(&key);
    schema.iter_mut().filter(move |(key, _)| !is_value(key)).flat_map(|(key, value)| match (key.as_str(), value) {
        ("properties" | "patternProperties" | "$defs" | "definitions", Value::Object(of)) => of.values_mut().collect(),
        (_, Value::Array(of)) => of.iter_mut().collect(),
        (_, value) => Vec::from([value]),
    })
}

/// Writes `schema` and all within it as the engine can hold it: formats are patterns, and bounds that lie further out are its own.
pub(super) fn write_out(schema: &mut Value) {
    let Value::Object(object) = schema else { return };
    schemas_of(object).for_each(write_out);
    formats::write_out(object);
    let is_whole = match object.get("type") {
        Some(Value::Array(of)) => of.iter().all(|of| of != "number"),
        of => of.is_some_and(|of| of != "number"),
    };
    let (lowest, highest) = if is_whole { WHOLE } else { ANY };
    for (key, value) in object {
        match (key.as_str(), value.as_f64()) {
            ("minimum" | "exclusiveMinimum", Some(n)) if n < lowest as f64 => *value = lowest.into(),
            ("maximum" | "exclusiveMaximum", Some(n)) if n > highest as f64 => *value = highest.into(),
            _ => {}
        }
    }
}

/// The reference that a schema is, if it is nothing else.
fn alone(schema: &Value) -> Option<&str> {
    schema.as_object().filter(|object| object.len() == 1)?.get("$ref")?.as_str()
}

/// The schema that a reference leads to.
fn target<'r>(root: &'r Value, reference: &str) -> Option<&'r Value> {
    match reference.strip_prefix('#')? {
        "" => Some(root),
        path => root.pointer(path),
    }
}

/// The depth that the engine reaches in `schema`, `above` included; it follows every reference once. `None` beyond the limit.
fn depth<'v>(root: &'v Value, schema: &'v Value, seen: &mut Vec<&'v str>, above: usize) -> Option<usize> {
    if above >= MAX_DEPTH {
        return None;
    }
    let mut deepest = above + 1;
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str)
        && !seen.contains(&reference)
        && let Some(target) = target(root, reference)
    {
        seen.push(reference);
        deepest = depth(root, target, seen, above + 1)?;
    }
    for (_, inner) in within(schema) {
        deepest = deepest.max(depth(root, inner, seen, above + 1)?);
    }
    Some(deepest)
}

/// Whether a value that the schema allows comes to an end, whatever else it is.
fn ends(root: &Value) -> bool {
    let references = references_of(root);
    let mut known: Vec<&str> = Vec::new();
    loop {
        let ending = |reference: &&str| target(root, reference).is_some_and(|target| ends_by(target, &known));
        let new: Vec<&str> =
            references.iter().copied().filter(|of| !known.contains(of)).filter(|of| ending(of)).collect();
        if new.is_empty() {
            return ends_by(root, &known);
        }
        known.extend(new);
    }
}

/// The references in a schema, each once.
fn references_of(root: &Value) -> Vec<&str> {
    let mut references = Vec::new();
    collect_references(root, &mut references);
    references
}

fn collect_references<'v>(schema: &'v Value, found: &mut Vec<&'v str>) {
    match schema {
        Value::Object(object) => {
            if let Some(reference) = object.get("$ref").and_then(Value::as_str)
                && !found.contains(&reference)
            {
                found.push(reference);
            }
            object.values().for_each(|value| collect_references(value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| collect_references(value, found)),
        _ => {}
    }
}

/// Whether a value that `schema` allows comes to an end, where those at the references `known` do.
fn ends_by(schema: &Value, known: &[&str]) -> bool {
    let Some(object) = schema.as_object() else { return true };
    let list = |key: &str| object.get(key).and_then(Value::as_array).map(Vec::as_slice);
    let can_be = |name: &str| match object.get("type") {
        None => true,
        Some(Value::Array(names)) => names.iter().any(|of| of == name),
        Some(of) => of == name,
    };
    let is_flat = TYPES.iter().any(|name| !["object", "array"].contains(name) && can_be(name));
    let property = |name: &str| object.get("properties").and_then(|of| of.get(name));
    let of_object = || {
        let required = list("required").unwrap_or_default().iter().filter_map(Value::as_str);
        required.filter_map(property).all(|of| ends_by(of, known))
    };
    let of_array = || {
        let n = object.get("minItems").and_then(Value::as_u64).unwrap_or(0);
        let first = list("prefixItems").unwrap_or_default();
        let rest = object.get("items").filter(|_| n > first.len() as u64);
        first.iter().take(n as usize).chain(rest).all(|of| ends_by(of, known))
    };
    object.get("$ref").and_then(Value::as_str).is_none_or(|reference| known.contains(&reference))
        && ["anyOf", "oneOf"].iter().all(|key| list(key).is_none_or(|of| of.iter().any(|of| ends_by(of, known))))
        && list("allOf").is_none_or(|of| of.iter().all(|of| ends_by(of, known)))
        && (is_flat || (can_be("object") && of_object()) || (can_be("array") && of_array()))
}

struct Reader<'r> {
    root: &'r Value,
    check_pattern: &'r CheckPattern<'r>,
}

impl Reader<'_> {
    /// Checks the `schema` at `place`, and all within it.
    fn schema(&self, schema: &Value, place: &str) -> Result<()> {
        let object = match schema {
            Value::Bool(_) => return Ok(()),
            Value::Object(object) => object,
            _ => return Err(Error::data("a schema is an object, true or false").field(place)),
        };
        for (key, value) in object {
            let wrong = |message: String| {
                let place = format!("{place}/{}", escaped(key));
                Err(Error::data(shown(&message, MOST_SAID)).field(shown(&place, MOST_SAID)))
            };
            if let Some(message) = self.keyword(key, value, place == "#") {
                return wrong(message);
            }
        }
        within(schema).into_iter().try_for_each(|(path, schema)| self.schema(schema, &format!("{place}{path}")))
    }

    /// What is wrong with a keyword, if something is.
    fn keyword(&self, key: &str, value: &Value, at_root: bool) -> Option<String> {
        let unless = |is_right: bool, wanted: &str| (!is_right).then(|| format!("{wanted} is expected here"));
        let n = value.as_array().map(Vec::len).or(value.as_object().map(Map::len)).unwrap_or(0);
        if n > MAX_LISTED && LISTS.contains(&key) {
            return Some(format!("{n} entries are more than the {MAX_LISTED} that are held"));
        }
        match key {
            "type" => of_type(value),
            "$ref" => self.reference(value),
            "pattern" => match value.as_str() {
                Some(pattern) => self.pattern(pattern),
                None => unless(false, "a string"),
            },
            "format" => match value.as_str() {
                Some(format) if FORMATS.contains(&format) => None,
                Some(format) => Some(format!("the format {format:?} is not held; those are: {}", FORMATS.join(", "))),
                None => unless(false, "a string"),
            },
            "enum" => unless(value.as_array().is_some_and(|of| !of.is_empty()), "a list of values"),
            "anyOf" | "oneOf" | "allOf" => {
                unless(value.as_array().is_some_and(|of| !of.is_empty()), "a list of schemas")
            }
            "prefixItems" => unless(value.is_array(), "a list of schemas"),
            "properties" | "$defs" | "definitions" => unless(value.is_object(), "an object of schemas"),
            "patternProperties" => match value.as_object() {
                Some(of) => of.keys().find_map(|pattern| self.pattern(pattern)),
                None => unless(false, "an object of schemas"),
            },
            "required" => unless(value.as_array().is_some_and(|of| of.iter().all(Value::is_string)), "a list of names"),
            "minLength" | "maxLength" | "minItems" | "maxItems" | "minProperties" | "maxProperties" => {
                unless(value.as_u64().is_some_and(|n| n <= u64::from(u32::MAX)), "a whole number of 0 to 4294967295")
            }
            "minimum" => unless(value.as_f64().is_some_and(|n| n < BOUND), "a number below 2^63"),
            "maximum" => unless(value.as_f64().is_some_and(|n| n > -BOUND), "a number above -2^63"),
            "exclusiveMinimum" | "exclusiveMaximum" if value.is_boolean() => None,
            "exclusiveMinimum" => unless(value.as_f64().is_some_and(|n| n < BOUND), "a number below 2^63"),
            "exclusiveMaximum" => unless(value.as_f64().is_some_and(|n| n > -BOUND), "a number above -2^63"),
            "multipleOf" => unless(value.as_f64().is_some_and(|of| of > 0.0), "a number above 0"),
            "const" | "items" | "additionalItems" | "additionalProperties" => None,
            "$id" | "id" if at_root => None,
            "$id" | "id" => Some("a base of its own for references is not supported".into()),
            "$schema" => match value.as_str().map(|name| name.trim_end_matches('#')) {
                Some(name) if DRAFTS.contains(&name) => None,
                _ => Some(format!("{value} is not known; those are: {}", DRAFTS.join(", "))),
            },
            _ if ANNOTATIONS.contains(&key) || key.starts_with("x-") => None,
            _ if UNSUPPORTED.contains(&key) => Some("this keyword is not supported".into()),
            _ => Some("this keyword is unknown; a note of your own begins with x-".into()),
        }
    }

    fn pattern(&self, pattern: &str) -> Option<String> {
        (self.check_pattern)(pattern).err().map(|why| format!("the pattern {pattern:?} cannot be held: {why}"))
    }

    fn reference(&self, value: &Value) -> Option<String> {
        let Some(reference) = value.as_str() else { return Some("a string is expected here".into()) };
        if reference.contains(['~', '%']) {
            return Some(format!("{reference:?}: escapes in references are not supported"));
        }
        if reference != "#" && !reference.starts_with("#/") {
            return Some(format!("{reference:?} leads out of this schema; only #/... is supported"));
        }
        target(self.root, reference).is_none().then(|| format!("nothing is at {reference:?}"))
    }
}

/// What is wrong with a type, if something is.
fn of_type(value: &Value) -> Option<String> {
    let names = match value {
        Value::Array(names) if !names.is_empty() => &names[..],
        name => std::slice::from_ref(name),
    };
    let unknown = names.iter().find(|name| !name.as_str().is_some_and(|name| TYPES.contains(&name)))?;
    Some(format!("{unknown} is no type; those are: {}", TYPES.join(", ")))
}
