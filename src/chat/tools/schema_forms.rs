//! What a schema allows in forms that are not JSON: arguments as in Python, between braces, between tags.

use super::lark::{Rules, quoted};
use super::tool::Tool;
use crate::error::{Error, Result};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// How deep lists and objects of a schema may lie within one another.
const MOST_NESTED: usize = 32;

/// `f(a=1, b="x")`: what is given in the order of the schema, values as JSON, but `True`, `False` and `None`.
pub(super) fn python(rules: &mut Rules<'_>, tool: &Tool) -> Result<String> {
    let root = &tool.parameters;
    let mut entries = Vec::new();
    for property in properties(root)? {
        let value = match constants(property.schema, &|value| match value {
            Value::Bool(true) => Some("True".into()),
            Value::Bool(false) => Some("False".into()),
            Value::Null => Some("None".into()),
            other => Some(other.to_string()),
        }) {
            Some(values) => rules.rule(&choice(rules_of(values))),
            None => rules.json(property.schema, root)?,
        };
        let entry = format!("{} {value}", rules.literal(&format!("{}=", property.name)));
        entries.push((rules.rule(&entry), property.is_required));
    }
    let given = in_order(rules, entries, "\", \"");
    Ok(format!("{} {given} \")\"", rules.literal(&format!("{}(", tool.name))))
}

/// `call:f{a:1,b:<escape>x<escape>}`: names ascend, texts stand between quotes and as they are.
pub(super) fn braces(rules: &mut Rules<'_>, tool: &Tool, quote: &str) -> Result<String> {
    let object = Braces { root: &tool.parameters, quote }.object(rules, &tool.parameters, MOST_NESTED)?;
    Ok(format!("{} {object}", rules.literal(&format!("call:{}", tool.name))))
}

struct Braces<'b> {
    root: &'b Value,
    quote: &'b str,
}

impl Braces<'_> {
    fn object(&self, rules: &mut Rules<'_>, schema: &Value, most: usize) -> Result<String> {
        let mut all = properties(schema)?;
        all.sort_by_key(|property| property.name);
        let mut entries = Vec::new();
        for property in all {
            let value = self.value(rules, property.schema, most)?;
            let entry = format!("{} {value}", rules.literal(&format!("{}:", property.name)));
            entries.push((rules.rule(&entry), property.is_required));
        }
        let given = in_order(rules, entries, "\",\"");
        Ok(rules.rule(&format!("\"{{\" {given} \"}}\"")))
    }

    fn value(&self, rules: &mut Rules<'_>, schema: &Value, most: usize) -> Result<String> {
        let most = most.checked_sub(1).ok_or_else(|| Error::data("values lie too deep within one another"))?;
        if let Some(values) = constants(schema, &|value| Some(value.clone())) {
            let of = values.iter().map(|value| match value.as_str() {
                Some(text) => Ok(rules.literal(&format!("{0}{text}{0}", self.quote))),
                None if value.is_object() || value.is_array() => {
                    Err(Error::data("a list or an object as a constant is not supported in the form of this model"))
                }
                None => Ok(quoted(&value.to_string())),
            });
            let of = of.collect::<Result<Vec<_>>>()?;
            return Ok(rules.rule(&choice(of)));
        }
        let alternatives = ["anyOf", "oneOf"].iter().find_map(|key| schema.get(key)?.as_array());
        if let Some(alternatives) = alternatives {
            let of = alternatives.iter().map(|schema| self.value(rules, schema, most)).collect::<Result<Vec<_>>>()?;
            return Ok(rules.rule(&choice(of)));
        }
        if let Some(types) = schema.get("type").and_then(Value::as_array) {
            let one = |name: &Value| {
                let mut schema = schema.clone();
                schema["type"] = name.clone();
                schema
            };
            let of = types.iter().map(|name| self.value(rules, &one(name), most)).collect::<Result<Vec<_>>>()?;
            return Ok(rules.rule(&choice(of)));
        }
        match schema.get("type").and_then(Value::as_str) {
            Some("string") => self.string(rules, schema),
            Some("array") => {
                let items = schema.get("items").unwrap_or(&STRING_OF_ANY);
                let items = if items.is_object() { items } else { &STRING_OF_ANY };
                let item = self.value(rules, items, most)?;
                let n = |key: &str| schema.get(key).and_then(Value::as_u64);
                let (least, most) = (n("minItems").unwrap_or(0), n("maxItems"));
                let more = |least: u64| match most {
                    Some(most) => format!("(\",\" {item}){{{},{}}}", least, most.saturating_sub(1)),
                    None => format!("(\",\" {item}){{{least},}}"),
                };
                let body = match (least, most) {
                    (_, Some(0)) => "\"\"".into(),
                    (0, _) => format!("({item} {})?", more(0)),
                    (least, _) => format!("{item} {}", more(least - 1)),
                };
                Ok(rules.rule(&format!("\"[\" {body} \"]\"")))
            }
            Some("object") => self.object(rules, schema, most),
            Some("integer" | "number" | "boolean" | "null") => rules.json(schema, self.root),
            _ => Err(Error::data("a value without a type is not supported in the form of this model")
                .hint("name its type, or its constants with enum")),
        }
    }

    /// A text of a type, behind its first quote up to the last.
    fn string(&self, rules: &mut Rules<'_>, schema: &Value) -> Result<String> {
        let (least, most) = lengths(schema)?;
        let of = |of: &str| format!("(?s:{of}){{{least},{most}}}");
        let quote = rules.literal(self.quote);
        let body = if rules.is_control(self.quote) {
            let text = rules.terminal(&of("."));
            format!("{quote} {text} {quote}")
        } else {
            let text = rules.lazy(&(of(".") + &escaped(self.quote)));
            format!("{quote} {text}")
        };
        Ok(rules.rule(&body))
    }
}

/// `<function=f>`, and for each of what is given `<parameter=a>`, its value, `</parameter>`, in lines of their own.
pub(super) fn tags(rules: &mut Rules<'_>, tool: &Tool) -> Result<String> {
    const CLOSE: &str = "\n</parameter>\n";
    let root = &tool.parameters;
    let mut entries = Vec::new();
    for property in properties(root)? {
        let open = rules.literal(&format!("<parameter={}>\n", property.name));
        let is_text = property.schema.get("type").is_some_and(|of| of == "string");
        let constants = constants(property.schema, &|value| match value.as_str() {
            Some(text) if is_text => Some(text.to_owned()),
            _ => Some(value.to_string()),
        });
        let body = match constants {
            Some(values) => format!("{open} ({}) {}", choice(rules_of(values)), rules.literal(CLOSE)),
            None if is_text => {
                let (least, most) = lengths(property.schema)?;
                let text = rules.lazy(&(format!("(?s:.){{{least},{most}}}") + &escaped(CLOSE)));
                format!("{open} {text}")
            }
            None => format!("{open} {} {}", rules.json(property.schema, root)?, rules.literal(CLOSE)),
        };
        entries.push((rules.rule(&body), property.is_required));
    }
    let given = in_order(rules, entries, "\"\"");
    let open = rules.literal(&format!("<function={}>\n", tool.name));
    Ok(format!("{open} {given} \"</function>\""))
}

/// A text of which nothing is said.
static STRING_OF_ANY: std::sync::LazyLock<Value> = std::sync::LazyLock::new(|| serde_json::json!({"type": "string"}));

struct Property<'p> {
    name: &'p str,
    schema: &'p Value,
    is_required: bool,
}

/// The properties of a schema, in its order.
fn properties(schema: &Value) -> Result<Vec<Property<'_>>> {
    static NONE: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
    let all = schema.get("properties").and_then(Value::as_object).unwrap_or(&NONE);
    let required = schema.get("required").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let required: BTreeSet<&str> = required.iter().filter_map(Value::as_str).collect();
    if let Some(name) = required.iter().find(|name| !all.contains_key(**name)) {
        return Err(Error::data(format!("{name:?} is required and no property")).field("#/required"));
    }
    for keyword in ["anyOf", "oneOf", "allOf", "$ref", "patternProperties"] {
        if schema.get(keyword).is_some() {
            let message = "beside the properties of an object this keyword is not supported in the form of this model";
            return Err(Error::data(message).field(format!("#/{keyword}")));
        }
    }
    for name in all.keys() {
        if name.is_empty() || !name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.')) {
            let message = format!("the name {name:?} cannot stand in the form of this model");
            return Err(Error::data(message).field("#/properties"));
        }
    }
    Ok(all
        .iter()
        .map(|(name, schema)| Property { name, schema, is_required: required.contains(name.as_str()) })
        .collect())
}

/// The values of a schema that names them.
fn constants<T>(schema: &Value, write: &dyn Fn(&Value) -> Option<T>) -> Option<Vec<T>> {
    if let Some(value) = schema.get("const") {
        return Some(vec![write(value)?]);
    }
    if let Some(values) = schema.get("enum").and_then(Value::as_array).filter(|values| !values.is_empty()) {
        return values.iter().map(write).collect();
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("boolean") => [Value::Bool(true), Value::Bool(false)].iter().map(write).collect(),
        Some("null") => Some(vec![write(&Value::Null)?]),
        _ => None,
    }
}

/// How many characters a text has: the least, and the most or nothing.
fn lengths(schema: &Value) -> Result<(u64, String)> {
    for keyword in ["pattern", "format"] {
        if schema.get(keyword).is_some() {
            let message = "this keyword of a text is not supported in the form of this model";
            return Err(Error::data(message).field(format!("#/{keyword}")));
        }
    }
    let n = |key: &str| schema.get(key).and_then(Value::as_u64);
    Ok((n("minLength").unwrap_or(0), n("maxLength").map(|n| n.to_string()).unwrap_or_default()))
}

fn rules_of(texts: Vec<String>) -> Vec<String> {
    texts.iter().map(|text| quoted(text)).collect()
}

fn choice(of: Vec<String>) -> String {
    of.join(" | ")
}

/// Entries in order with `between` them; those that are not required may be left out.
fn in_order(rules: &mut Rules<'_>, entries: Vec<(String, bool)>, between: &str) -> String {
    // From the last one on: what may follow where something was written, and where nothing was.
    let (mut more, mut first) = (String::from("\"\""), String::from("\"\""));
    for (entry, is_required) in entries.into_iter().rev() {
        let follows = format!("{between} {entry} {more}");
        let begins = format!("{entry} {more}");
        if is_required {
            (more, first) = (rules.rule(&follows), rules.rule(&begins));
        } else {
            let (follows, begins) = (format!("{follows} | {more}"), format!("{begins} | {first}"));
            (more, first) = (rules.rule(&follows), rules.rule(&begins));
        }
    }
    first
}

/// `text` in a regular expression of Lark.
fn escaped(text: &str) -> String {
    text.chars().map(|c| format!("\\x{{{:x}}}", c as u32)).collect()
}
