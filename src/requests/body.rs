//! The fields of a body: numbers, texts and options of the choice of tokens, each refused by its name where it is none.

use serde_json::{Map, Value};
use whit::TokenId;
use whit::error::{Error, Result};
use whit::sampler::{Mirostat, SamplerOptions};

/// The most tokens that a field can name.
pub(super) const MOST_TOKENS: u64 = 1 << 20;

/// The error of a field.
pub(super) fn wrong(field: &str, message: &str) -> Error {
    Error::usage(message).field(field)
}

/// The fields of a body; those that are null are absent.
#[derive(Clone, Copy)]
pub(super) struct Body<'b>(&'b Map<String, Value>);

impl<'b> Body<'b> {
    /// The fields of the object `value`, which is the field `name`, or the body.
    pub(super) fn of(name: &str, value: &'b Value) -> Result<Body<'b>> {
        value.as_object().map(Body).ok_or_else(|| wrong(name, "it is no object"))
    }

    pub(super) fn get(&self, name: &str) -> Option<&'b Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// Refuses fields that ask for what is not there.
    pub(super) fn refuse(&self, names: &[&str]) -> Result<()> {
        for name in names {
            if self.get(name).is_some_and(|value| !is_nothing(name, value)) {
                return Err(wrong(name, "it is not supported"));
            }
        }
        Ok(())
    }

    /// Whether a field is true; false where it is absent.
    pub(super) fn flag(&self, name: &str) -> Result<bool> {
        let flag = |value: &Value| value.as_bool().ok_or_else(|| wrong(name, "it is neither true nor false"));
        self.get(name).map_or(Ok(false), flag)
    }

    /// A text.
    #[cfg(feature = "server")]
    pub(super) fn text(&self, name: &str) -> Result<Option<&'b str>> {
        self.get(name).map(|value| value.as_str().ok_or_else(|| wrong(name, "it is no string"))).transpose()
    }

    /// A number, as an argument of the same digits is read.
    pub(super) fn number(&self, name: &str) -> Result<Option<f32>> {
        let number = |value: &Value| value.as_number().and_then(|number| number.to_string().parse().ok());
        self.get(name).map(|value| number(value).ok_or_else(|| wrong(name, "it is no number"))).transpose()
    }

    /// A whole number, `most` at most.
    pub(super) fn integer(&self, name: &str, most: u64) -> Result<Option<u64>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        match value.as_u64() {
            Some(n) if n <= most => Ok(Some(n)),
            _ => Err(wrong(name, &format!("it is no whole number in 0..={most}"))),
        }
    }

    /// A number of tokens, where one below zero says nothing.
    pub(super) fn bound(&self, name: &str) -> Result<Option<usize>> {
        if self.is_negative(name) {
            return Ok(None);
        }
        Ok(self.integer(name, MOST_TOKENS)?.map(|n| n as usize))
    }

    fn is_negative(&self, name: &str) -> bool {
        self.get(name).and_then(Value::as_i64).is_some_and(|n| n < 0)
    }

    /// A string, or a list of them; empty ones are left out.
    pub(super) fn strings(&self, name: &str) -> Result<Vec<String>> {
        let one = |value: &Value| value.as_str().map(str::to_owned);
        let all = match self.get(name) {
            None => Some(Vec::new()),
            Some(Value::Array(items)) => items.iter().map(one).collect(),
            Some(value) => one(value).map(|text| vec![text]),
        };
        let all = all.ok_or_else(|| wrong(name, "it is neither a string nor a list of strings"))?;
        Ok(all.into_iter().filter(|text| !text.is_empty()).collect())
    }

    /// A list of tokens.
    pub(super) fn tokens(name: &str, items: &[Value]) -> Result<Vec<TokenId>> {
        let token = |value: &Value| value.as_u64().and_then(|id| TokenId::try_from(id).ok());
        let tokens = items.iter().map(token).collect::<Option<_>>();
        tokens.ok_or_else(|| wrong(name, "a list is one of tokens, which are numbers"))
    }

    /// How tokens are chosen.
    pub(super) fn sampling(&self, defaults: &SamplerOptions) -> Result<SamplerOptions> {
        let mut options = defaults.clone();
        let penalty = if self.get("repeat_penalty").is_some() { "repeat_penalty" } else { "repetition_penalty" };
        let typical = if self.get("typ_p").is_some() { "typ_p" } else { "typical_p" };
        for (name, option) in [
            ("temperature", &mut options.temperature),
            ("top_p", &mut options.top_p),
            ("min_p", &mut options.min_p),
            (typical, &mut options.typical_p),
            (penalty, &mut options.repeat_penalty),
            ("presence_penalty", &mut options.presence_penalty),
            ("frequency_penalty", &mut options.frequency_penalty),
            ("top_n_sigma", &mut options.top_n_sigma),
            ("dynatemp_range", &mut options.dynamic.range),
            ("dynatemp_exponent", &mut options.dynamic.exponent),
            ("xtc_probability", &mut options.xtc.probability),
            ("xtc_threshold", &mut options.xtc.threshold),
        ] {
            *option = self.number(name)?.unwrap_or(*option);
        }
        options.top_n_sigma = options.top_n_sigma.max(0.0);
        options.top_k = self.integer("top_k", MOST_TOKENS)?.map_or(options.top_k, |k| k as usize);
        options.repeat_last_n =
            self.integer("repeat_last_n", MOST_TOKENS)?.map_or(options.repeat_last_n, |n| n as usize);
        // Below zero it says that any seed will do.
        if !self.is_negative("seed") {
            options.seed = self.integer("seed", u64::MAX)?.unwrap_or(options.seed);
        }
        if let Some(bias) = self.get("logit_bias") {
            options.logit_bias = biases(bias)?;
        }
        if self.number("dry_multiplier")?.is_some_and(|multiplier| multiplier > 0.0) {
            return Err(wrong("dry_multiplier", "it is not supported"));
        }
        self.mirostat(&mut options)?;
        Ok(options)
    }

    /// Mirostat takes the place of the other filters.
    fn mirostat(&self, options: &mut SamplerOptions) -> Result<()> {
        match self.integer("mirostat", 2)? {
            None | Some(0) => Ok(()),
            Some(1) => Err(wrong("mirostat", "of its versions, 2 alone is supported")),
            Some(_) => {
                use whit::sampler::Stage;
                let number = |name, usual| self.number(name).map(|given| given.unwrap_or(usual));
                options.mirostat =
                    Some(Mirostat { tau: number("mirostat_tau", 5.0)?, eta: number("mirostat_eta", 0.1)? });
                options.order = vec![Stage::Penalties, Stage::Dry, Stage::Temperature];
                Ok(())
            }
        }
    }
}

/// Whether a field that is not supported asks for nothing.
fn is_nothing(name: &str, value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        // Of completions, 0 asks for those of the tokens themselves.
        Value::Number(_) if name == "logprobs" => false,
        Value::Number(number) => number.as_u64() == Some(if name == "best_of" { 1 } else { 0 }),
        Value::String(text) => text.is_empty() || name == "tool_choice" && text == "none",
        Value::Array(items) => items.is_empty(),
        Value::Bool(true) | Value::Object(_) => false,
    }
}

/// The biases of tokens: an object from their numbers, or a list of pairs.
fn biases(value: &Value) -> Result<Vec<(TokenId, f32)>> {
    let wrong = || wrong("logit_bias", "it is no object from numbers of tokens to numbers");
    // In lists, false bans a token.
    let bias = |value: &Value| if value == false { Some(f32::NEG_INFINITY) } else { value.as_f64().map(|x| x as f32) };
    let pair = |(id, value): (&String, &Value)| Some((id.parse().ok()?, value.as_f64()? as f32));
    let listed = |item: &Value| match item.as_array().map(Vec::as_slice) {
        Some([id, value]) => Some((TokenId::try_from(id.as_u64()?).ok()?, bias(value)?)),
        _ => None,
    };
    match value {
        Value::Object(entries) => entries.iter().map(|entry| pair(entry).ok_or_else(wrong)).collect(),
        Value::Array(items) => items.iter().map(|item| listed(item).ok_or_else(wrong)).collect(),
        _ => Err(wrong()),
    }
}
