//! The fields of config.json, as the families read them.

use whit::error::{Error, Result, printable};

use super::json::{Type, Value};
use super::rope;

/// Reads fields of the object and remembers those that are missing.
pub(crate) struct Fields<'j> {
    object: Value<'j>,
    missing: Vec<&'static str>,
    notes: Vec<String>,
}

impl<'j> Fields<'j> {
    /// Of the file's `object`.
    pub(super) fn new(object: Value<'j>) -> Self {
        Fields { object, missing: Vec::new(), notes: Vec::new() }
    }

    /// What [`Fields::note`] was given.
    pub(super) fn into_notes(self) -> Vec<String> {
        self.notes
    }

    /// A number, where there is one.
    pub(crate) fn usize(&self, key: &str) -> Result<Option<usize>> {
        let Some(value) = self.object.get(key) else { return Ok(None) };
        let number = value.u64(key)?;
        if number > 1 << 31 {
            return Err(value.error(format!("{number} is beyond every limit"), key));
        }
        Ok(Some(number as usize))
    }

    /// A number that must be there; [`Fields::check`] tells of those that are not.
    pub(crate) fn required(&mut self, key: &'static str) -> Result<usize> {
        let value = self.usize(key)?;
        if value.is_none() {
            self.missing.push(key);
        }
        Ok(value.unwrap_or(1))
    }

    /// As [`Fields::required`].
    pub(crate) fn required_float(&mut self, key: &'static str) -> Result<f64> {
        match self.object.get(key) {
            Some(value) => value.f64(key),
            None => {
                self.missing.push(key);
                Ok(1.0)
            }
        }
    }

    /// A truth value, or `default` where there is none.
    pub(crate) fn bool(&self, key: &str, default: bool) -> Result<bool> {
        self.object.get(key).map_or(Ok(default), |value| value.bool(key))
    }

    /// An error in the field `key`.
    pub(crate) fn error(&self, key: &str, message: impl AsRef<str>) -> Error {
        self.object.get(key).unwrap_or(self.object).error(message, key)
    }

    /// Refuses to go on where a required field was missing.
    pub(crate) fn check(&self) -> Result<()> {
        match &self.missing[..] {
            [] => Ok(()),
            [only] => Err(self.object.error(format!("missing: {only}"), only)),
            all => Err(self.object.error(format!("missing: {}", all.join(", ")), "fields")),
        }
    }

    /// The activation of the MLP has to be one of `names`.
    pub(crate) fn activation(&self, key: &str, names: &[&str]) -> Result<()> {
        let Some(value) = self.object.get(key) else { return Ok(()) };
        let name = value.str(key)?;
        if names.contains(&&*name) {
            return Ok(());
        }
        let error = value.error(format!("activation \"{}\" is not supported", printable(&name)), key);
        Err(error.hint(format!("supported: {}", names.join(", "))))
    }

    /// Something that the user should know.
    pub(crate) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// Of each layer whether its attention has a window, where `layer_types` says so.
    pub(crate) fn layer_types(&self, n_layers: usize) -> Result<Option<Vec<bool>>> {
        let key = "layer_types";
        let Some(types) = self.object.get(key) else { return Ok(None) };
        let mut slides = Vec::new();
        for value in types.items(key)? {
            slides.push(match &*value.str(key)? {
                "sliding_attention" => true,
                "full_attention" => false,
                other => return Err(value.error(format!("unknown type \"{}\"", printable(other)), key)),
            });
        }
        if slides.len() != n_layers {
            return Err(types.error(format!("{} elements for {n_layers} layers", slides.len()), key));
        }
        Ok(Some(slides))
    }

    /// Rotary frequencies by `rope_parameters` of transformers 5, or by `rope_theta` and `rope_scaling`.
    pub(crate) fn rope_freqs(&self, head_dim: usize, context: usize) -> Result<Vec<f32>> {
        let object = self.object;
        let (parameters, path) = match object.get("rope_parameters") {
            Some(parameters) => (Some(parameters), "rope_parameters"),
            None => (object.get("rope_scaling"), "rope_scaling"),
        };
        if let Some(parameters) = parameters.filter(|p| p.kind() != Type::Object) {
            return Err(parameters.expected("an object", path));
        }
        for holder in [Some(object), parameters].into_iter().flatten() {
            if let Some(value) = holder.get("partial_rotary_factor").filter(|v| v.f64("").ok() != Some(1.0)) {
                return Err(value.error("only 1.0 is supported", "partial_rotary_factor"));
            }
        }
        let inner = parameters.map(|p| positive(p, "rope_theta", path)).transpose()?.flatten();
        let theta = inner.or(positive(object, "rope_theta", "")?).unwrap_or(10_000.0);
        let mut freqs = rope::frequencies(head_dim, theta);
        let Some(parameters) = parameters else { return Ok(freqs) };
        let key = if parameters.get("rope_type").is_some() { "rope_type" } else { "type" };
        let Some(kind) = parameters.get(key) else { return Ok(freqs) };
        let field = format!("{path}.{key}");
        let required = |key: &str| -> Result<f64> {
            positive(parameters, key, path)?
                .ok_or_else(|| parameters.error(format!("missing: {key}"), &format!("{path}.{key}")))
        };
        match &*kind.str(&field)? {
            "default" => {}
            "linear" => rope::scale_linear(&mut freqs, required("factor")?),
            "llama3" => {
                let original = positive(parameters, "original_max_position_embeddings", path)?;
                let scaling = rope::Llama3 {
                    factor: required("factor")?,
                    low_freq_factor: required("low_freq_factor")?,
                    high_freq_factor: required("high_freq_factor")?,
                    original_context: original.unwrap_or(context as f64),
                };
                if scaling.high_freq_factor <= scaling.low_freq_factor {
                    let message = "high_freq_factor has to exceed low_freq_factor";
                    return Err(parameters.error(message, &format!("{path}.high_freq_factor")));
                }
                rope::scale_llama3(&mut freqs, scaling);
            }
            other => {
                let error = kind.error(format!("\"{}\" is not supported", printable(other)), &field);
                return Err(error.hint("supported: default, linear, llama3"));
            }
        }
        Ok(freqs)
    }
}

fn positive(object: Value<'_>, key: &str, path: &str) -> Result<Option<f64>> {
    let Some(value) = object.get(key) else { return Ok(None) };
    let field = if path.is_empty() { key.to_string() } else { format!("{path}.{key}") };
    let number = value.f64(&field)?;
    if number > 0.0 { Ok(Some(number)) } else { Err(value.expected("a positive number", &field)) }
}
