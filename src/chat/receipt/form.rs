//! Receipts as JSON. A hash over all other fields, the names in alphabetical order, tells a receipt that was changed.

use super::{RECEIPT_VERSION, Receipt, ReplyTerms, Terms};
use crate::chat::Think;
use crate::error::{Error, Kind, Result};
use crate::generate::StopReason;
use crate::generate::grammar::Rule;
use crate::ops::KvDtype;
use crate::sampler::{AdaptiveP, Dry, DynamicTemperature, Mirostat, SamplerOptions, Stage, Xtc};
use crate::token::TokenId;
use serde_json::{Map, Value, json};

/// The field of the hash over all others.
const HASH: &str = "hash";
/// Types of cached keys and values.
const KV: [KvDtype; 4] = [KvDtype::F16, KvDtype::Int8, KvDtype::F32, KvDtype::Q4];
/// Reasons for which texts with receipts end. One that somebody ended has none: nobody else would end it there.
const REASONS: [StopReason; 5] =
    [StopReason::EndOfText, StopReason::Complete, StopReason::Length, StopReason::StopString, StopReason::ContextFull];

impl Receipt {
    /// The receipt as JSON.
    pub fn to_json(&self) -> Value {
        let mut value = json!({
            "receipt": RECEIPT_VERSION,
            "model": hex(&self.model),
            "numerics": self.numerics,
            "settings": settings(&self.terms),
            "prompt": self.prompt,
            "output": self.output,
            "ended": self.reason.name(),
            "logits": hex(&self.logits),
        });
        value[HASH] = json!(hash_of(&value));
        value
    }

    /// Reads a receipt.
    ///
    /// Fails where it is none, is of a newer version, or was changed since it was written. The error names the field.
    pub fn of_json(value: &Value) -> Result<Receipt> {
        let fields = Fields::of("receipt", value)?;
        match fields.integer("receipt")? {
            RECEIPT_VERSION => {}
            version => {
                let message = format!("it is of version {version}, this program knows {RECEIPT_VERSION}");
                return Err(Error::new(Kind::Unavailable, message).field("receipt"));
            }
        }
        let receipt = Receipt {
            model: fields.hash("model")?,
            numerics: fields.small("numerics")?,
            terms: terms(&Fields::of("settings", fields.get("settings")?)?)?,
            prompt: fields.tokens("prompt")?,
            output: fields.tokens("output")?,
            reason: fields.one_of("ended", &REASONS, StopReason::name)?,
            logits: fields.hash("logits")?,
        };
        let again = receipt.to_json();
        if let Some(field) = unknown(value, &again) {
            return Err(Error::data("a receipt has no such field").field(field));
        }
        if again[HASH] != *fields.get(HASH)? {
            let error = Error::data("the hash of the receipt is not that of what it says").field(HASH);
            return Err(error.hint("it was changed since it was written"));
        }
        Ok(receipt)
    }
}

/// The first field of `value` that is not one of `known`.
fn unknown(value: &Value, known: &Value) -> Option<String> {
    let (value, known) = (value.as_object()?, known.as_object()?);
    value.iter().find_map(|(name, value)| match known.get(name) {
        None => Some(name.clone()),
        Some(known) => unknown(value, known).map(|inner| format!("{name}.{inner}")),
    })
}

/// The hash over a value: of its text without spaces, the names of every object in alphabetical order.
fn hash_of(value: &Value) -> String {
    blake3::hash(sorted(value).to_string().as_bytes()).to_hex().to_string()
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut names: Vec<&String> = fields.keys().collect();
            names.sort();
            let one = |name: &String| (name.clone(), sorted(&fields[name]));
            Value::Object(names.into_iter().map(one).collect::<Map<_, _>>())
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        plain => plain.clone(),
    }
}

fn hex(hash: &[u8; 32]) -> String {
    blake3::Hash::from_bytes(*hash).to_hex().to_string()
}

/// A number with the fewest digits that mean it; what JSON has no number for is null.
fn number(value: f32) -> Value {
    serde_json::from_str(&value.to_string()).unwrap_or(Value::Null)
}

fn settings(terms: &Terms) -> Value {
    let o = &terms.sampling;
    let bias = o.logit_bias.iter().map(|(id, bias)| json!([id, number(*bias)]));
    let mut value = json!({
        "temperature": number(o.temperature),
        "top_k": o.top_k,
        "top_p": number(o.top_p),
        "min_p": number(o.min_p),
        "typical_p": number(o.typical_p),
        "repeat_penalty": number(o.repeat_penalty),
        "repeat_last_n": o.repeat_last_n,
        "presence_penalty": number(o.presence_penalty),
        "frequency_penalty": number(o.frequency_penalty),
        "logit_bias": bias.collect::<Vec<_>>(),
        "dry": {
            "multiplier": number(o.dry.multiplier),
            "base": number(o.dry.base),
            "allowed_length": o.dry.allowed_length,
            // Where it is all of the text, it is more than JSON's numbers say everywhere.
            "last_n": (o.dry.last_n < usize::MAX).then_some(o.dry.last_n),
            "breakers": o.dry.breakers,
        },
        "top_n_sigma": number(o.top_n_sigma),
        "dynatemp_range": number(o.dynamic.range),
        "dynatemp_exponent": number(o.dynamic.exponent),
        "xtc_probability": number(o.xtc.probability),
        "xtc_threshold": number(o.xtc.threshold),
        "mirostat": o.mirostat.map(|m| json!({"tau": number(m.tau), "eta": number(m.eta)})),
        "adaptive_p": o.adaptive_p.map(|a| json!({"target": number(a.target), "decay": number(a.decay)})),
        "samplers": o.order.iter().map(|stage| stage.name()).collect::<Vec<_>>(),
        "seed": o.seed,
    });
    value["kv"] = json!(terms.kv.name());
    value["context_length"] = json!(terms.context_length);
    value["max_tokens"] = json!(terms.n_tokens);
    value["stop"] = json!(terms.stops);
    value["end_tokens"] = json!(terms.end_tokens);
    value["constraint"] = terms.rule.as_ref().map_or(Value::Null, constraint);
    value["reply"] = match &terms.reply {
        None => Value::Null,
        Some(ReplyTerms { thoughts, think }) => json!({"thoughts": thoughts, "think": thinking(*think)}),
    };
    value
}

fn terms(fields: &Fields<'_>) -> Result<Terms> {
    let dry = Fields::of("settings.dry", fields.get("dry")?)?;
    let part = |name: &str| fields.object(name);
    let sampling = SamplerOptions {
        temperature: fields.number("temperature")?,
        top_k: fields.size("top_k")?,
        top_p: fields.number("top_p")?,
        min_p: fields.number("min_p")?,
        typical_p: fields.number("typical_p")?,
        repeat_penalty: fields.number("repeat_penalty")?,
        repeat_last_n: fields.size("repeat_last_n")?,
        presence_penalty: fields.number("presence_penalty")?,
        frequency_penalty: fields.number("frequency_penalty")?,
        logit_bias: fields.list("logit_bias", biased)?,
        dry: Dry {
            multiplier: dry.number("multiplier")?,
            base: dry.number("base")?,
            allowed_length: dry.size("allowed_length")?,
            last_n: if dry.get("last_n")?.is_null() { usize::MAX } else { dry.size("last_n")? },
            breakers: dry.list("breakers", |item| item.as_array()?.iter().map(token).collect())?,
        },
        top_n_sigma: fields.number("top_n_sigma")?,
        dynamic: DynamicTemperature {
            range: fields.number("dynatemp_range")?,
            exponent: fields.number("dynatemp_exponent")?,
        },
        xtc: Xtc { probability: fields.number("xtc_probability")?, threshold: fields.number("xtc_threshold")? },
        mirostat: match part("mirostat")? {
            None => None,
            Some(part) => Some(Mirostat { tau: part.number("tau")?, eta: part.number("eta")? }),
        },
        adaptive_p: match part("adaptive_p")? {
            None => None,
            Some(part) => Some(AdaptiveP { target: part.number("target")?, decay: part.number("decay")? }),
        },
        order: fields.list("samplers", |item| item.as_str().and_then(Stage::named))?,
        seed: fields.integer("seed")?,
    };
    let reply = match part("reply")? {
        None => None,
        Some(part) => {
            let wrong = |name| part.wrong(name, "it is none of as-ever, on, off and a number of tokens");
            let thoughts = part.get("thoughts")?.as_str().map(str::to_owned);
            Some(ReplyTerms { thoughts, think: thought(part.get("think")?).ok_or_else(|| wrong("think"))? })
        }
    };
    let n_tokens = if fields.get("max_tokens")?.is_null() { None } else { Some(fields.size("max_tokens")?) };
    Ok(Terms {
        sampling,
        kv: fields.one_of("kv", &KV, KvDtype::name)?,
        context_length: fields.size("context_length")?,
        n_tokens,
        stops: fields.list("stop", |item| item.as_str().map(str::to_owned))?,
        end_tokens: fields.tokens("end_tokens")?,
        rule: match part("constraint")? {
            None => None,
            Some(part) => Some(rule(&part)?),
        },
        reply,
    })
}

fn constraint(rule: &Rule) -> Value {
    let (kind, text) = match rule {
        Rule::Schema(text) => ("schema", json!(text)),
        Rule::JsonObject => ("json-object", Value::Null),
        Rule::Regex(text) => ("regex", json!(text)),
        Rule::Choice(texts) => ("choice", json!(texts)),
        Rule::Gbnf(text) => ("gbnf", json!(text)),
        Rule::Lark(text) => ("lark", json!(text)),
    };
    json!({"kind": kind, "text": text})
}

fn rule(fields: &Fields<'_>) -> Result<Rule> {
    let text = || fields.text("text").map(str::to_owned);
    Ok(match fields.text("kind")? {
        "schema" => Rule::Schema(text()?),
        "json-object" => Rule::JsonObject,
        "regex" => Rule::Regex(text()?),
        "choice" => Rule::Choice(fields.list("text", |item| item.as_str().map(str::to_owned))?),
        "gbnf" => Rule::Gbnf(text()?),
        "lark" => Rule::Lark(text()?),
        _ => return Err(fields.wrong("kind", "it is none of schema, json-object, regex, choice, gbnf and lark")),
    })
}

fn thinking(think: Think) -> Value {
    match think {
        Think::AsEver => json!("as-ever"),
        Think::On => json!("on"),
        Think::Off => json!("off"),
        Think::Budget(n) => json!(n),
    }
}

fn thought(value: &Value) -> Option<Think> {
    match value.as_str() {
        Some("as-ever") => Some(Think::AsEver),
        Some("on") => Some(Think::On),
        Some("off") => Some(Think::Off),
        Some(_) => None,
        None => Some(Think::Budget(size(value)?)),
    }
}

fn token(value: &Value) -> Option<TokenId> {
    value.as_u64().and_then(|id| id.try_into().ok())
}

fn size(value: &Value) -> Option<usize> {
    value.as_u64().and_then(|n| n.try_into().ok())
}

fn f32_of(value: &Value) -> Option<f32> {
    value.as_number()?.to_string().parse().ok()
}

/// A token with its bias; null bans it.
fn biased(item: &Value) -> Option<(TokenId, f32)> {
    match item.as_array()?.as_slice() {
        [id, Value::Null] => Some((token(id)?, f32::NEG_INFINITY)),
        [id, bias] => Some((token(id)?, f32_of(bias)?)),
        _ => None,
    }
}

/// The fields of an object, which has the name `place`.
struct Fields<'v> {
    place: String,
    fields: &'v Map<String, Value>,
}

impl<'v> Fields<'v> {
    fn of(place: &str, value: &'v Value) -> Result<Self> {
        let fields = value.as_object().ok_or_else(|| Error::data("it is no object").field(place))?;
        Ok(Fields { place: place.to_owned(), fields })
    }

    fn wrong(&self, name: &str, message: &str) -> Error {
        let is_top = self.place == "receipt";
        Error::data(message).field(if is_top { name.to_owned() } else { format!("{}.{name}", self.place) })
    }

    fn get(&self, name: &str) -> Result<&'v Value> {
        self.fields.get(name).ok_or_else(|| self.wrong(name, "it is missing"))
    }

    fn read<T>(&self, name: &str, what: &str, of: impl Fn(&'v Value) -> Option<T>) -> Result<T> {
        of(self.get(name)?).ok_or_else(|| self.wrong(name, &format!("it is no {what}")))
    }

    /// An object, or null.
    fn object(&self, name: &str) -> Result<Option<Fields<'v>>> {
        match self.get(name)? {
            Value::Null => Ok(None),
            value => Fields::of(&format!("{}.{name}", self.place), value).map(Some),
        }
    }

    fn text(&self, name: &str) -> Result<&'v str> {
        self.read(name, "string", Value::as_str)
    }

    fn integer(&self, name: &str) -> Result<u64> {
        self.read(name, "whole number", Value::as_u64)
    }

    fn small(&self, name: &str) -> Result<u32> {
        self.read(name, "whole number of 32 bits", |value| value.as_u64()?.try_into().ok())
    }

    fn size(&self, name: &str) -> Result<usize> {
        self.read(name, "whole number", size)
    }

    fn number(&self, name: &str) -> Result<f32> {
        self.read(name, "number", f32_of)
    }

    fn hash(&self, name: &str) -> Result<[u8; 32]> {
        let of = |value: &Value| blake3::Hash::from_hex(value.as_str()?).ok().map(|hash| *hash.as_bytes());
        self.read(name, "hash of 64 hexadecimal digits", of)
    }

    fn tokens(&self, name: &str) -> Result<Vec<TokenId>> {
        self.list(name, token)
    }

    fn list<T>(&self, name: &str, of: impl Fn(&Value) -> Option<T>) -> Result<Vec<T>> {
        self.read(name, "list of the right things", |value| value.as_array()?.iter().map(&of).collect())
    }

    fn one_of<T: Copy>(&self, name: &str, all: &[T], name_of: fn(T) -> &'static str) -> Result<T> {
        let named = self.text(name)?;
        let found = all.iter().copied().find(|one| name_of(*one) == named);
        found.ok_or_else(|| self.wrong(name, &format!("{named:?} is not known")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt() -> Receipt {
        let sampling = SamplerOptions {
            temperature: 0.7,
            logit_bias: vec![(3, f32::NEG_INFINITY), (4, -1.5e-7)],
            mirostat: Some(Mirostat { tau: 5.0, eta: 0.1 }),
            adaptive_p: Some(AdaptiveP { target: 0.5, decay: 0.9 }),
            order: vec![Stage::Penalties, Stage::Temperature],
            seed: u64::MAX,
            ..SamplerOptions::default()
        };
        let terms = Terms {
            sampling,
            kv: KvDtype::Int8,
            context_length: 64,
            n_tokens: Some(3),
            stops: vec!["a\"\n".into()],
            end_tokens: vec![0, 2],
            rule: Some(Rule::Choice(vec!["x".into(), "y".into()])),
            reply: Some(ReplyTerms { thoughts: Some("<think>".into()), think: Think::Budget(7) }),
        };
        let (prompt, output) = (vec![1, 2], vec![9]);
        Receipt { model: [7; 32], numerics: 1, terms, prompt, output, reason: StopReason::Complete, logits: [9; 32] }
    }

    #[test]
    fn what_is_written_is_read() {
        let plain = Terms { rule: None, reply: None, n_tokens: None, ..receipt().terms };
        for receipt in [receipt(), Receipt { terms: plain, ..receipt() }] {
            let text = receipt.to_json().to_string();
            assert_eq!(Receipt::of_json(&serde_json::from_str(&text).expect("JSON")), Ok(receipt));
        }
    }

    #[test]
    fn whatever_is_changed_is_found() {
        fn places(value: &Value, at: String, out: &mut Vec<String>) {
            match value {
                Value::Object(fields) => {
                    fields.iter().for_each(|(name, value)| places(value, format!("{at}/{name}"), out));
                }
                Value::Array(items) => {
                    items.iter().enumerate().for_each(|(i, value)| places(value, format!("{at}/{i}"), out));
                }
                _ => {}
            }
            out.push(at);
        }
        let whole = receipt().to_json();
        let mut all = Vec::new();
        places(&whole, String::new(), &mut all);
        assert!(all.len() > 60, "{}", all.len());
        for place in &all {
            for other in [Value::Null, json!(0.25), json!(11), json!("length"), json!([]), json!({})] {
                let mut changed = whole.clone();
                let value = changed.pointer_mut(place).expect("a place");
                if *value == other {
                    continue;
                }
                *value = other.clone();
                assert!(Receipt::of_json(&changed).is_err(), "{place}: {other}");
            }
        }
        let mut more = whole.clone();
        more["settings"]["spare"] = json!(1);
        let error = Receipt::of_json(&more).expect_err("refused").to_string();
        assert_eq!(error, "settings.spare: a receipt has no such field");
        let mut newer = whole;
        newer["receipt"] = json!(2);
        assert_eq!(Receipt::of_json(&newer).expect_err("refused").kind(), Kind::Unavailable);
    }
}
