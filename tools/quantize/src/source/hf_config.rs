//! config.json and generation_config.json of a Hugging Face directory. What the fields of the first mean is for the families to
//! say.

use whit::error::{Error, Result, printable};
use whit::model::{Config, GenerationDefaults};

use super::json::{Type, Value};
use super::rope;
use crate::families::{FAMILIES, Family};

/// What config.json says.
#[derive(Debug)]
pub(super) struct HfConfig {
    pub(super) family: &'static Family,
    pub(super) config: Config,
    pub(super) bos: Option<u32>,
    /// `None` where the file says nothing.
    pub(super) eos: Option<Vec<u32>>,
    /// The dtype that the weights are said to have.
    pub(super) dtype: Option<String>,
    pub(super) notes: Vec<String>,
}

/// Reads fields of the object and remembers those that are missing.
pub(crate) struct Fields<'j> {
    object: Value<'j>,
    missing: Vec<&'static str>,
    notes: Vec<String>,
}

impl<'j> Fields<'j> {
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

/// Reads config.json.
pub(super) fn parse(object: Value<'_>) -> Result<HfConfig> {
    if let Some(value) = object.get("quantization_config") {
        let method = value.get("quant_method").and_then(|m| m.str("").ok());
        let method = method.map_or("".into(), |m| format!(" ({})", printable(&m)));
        let error = value.error(format!("already quantized{method}: not supported"), "quantization_config");
        return Err(error.hint("convert the original f32, f16 or bf16 checkpoint"));
    }
    let family = family(object)?;
    let mut fields = Fields { object, missing: Vec::new(), notes: Vec::new() };
    let config = (family.config)(&mut fields)?;
    let vocab_size = config.vocab_size;
    let bos = ids(object, "bos_token_id", vocab_size)?.and_then(|ids| ids.first().copied());
    let eos = ids(object, "eos_token_id", vocab_size)?;
    let dtype = object.get("dtype").or_else(|| object.get("torch_dtype"));
    let dtype = dtype.map(|d| d.str("dtype").map(|d| d.into_owned())).transpose()?;
    Ok(HfConfig { family, config, bos, eos, dtype, notes: fields.notes })
}

/// The family that `architectures` and `model_type` name.
fn family(object: Value<'_>) -> Result<&'static Family> {
    let supported = || {
        let names: Vec<_> = FAMILIES.iter().map(|family| family.model_type).collect();
        format!("supported: {}", names.join(", "))
    };
    let unsupported = |value: Value<'_>, name: &str, key: &str| {
        value.error(format!("\"{}\" is not supported", printable(name)), key).hint(supported())
    };
    let mut of_architecture = None;
    if let Some(list) = object.get("architectures") {
        let key = "architectures";
        let names: Vec<_> = list.items(key)?.take(2).collect();
        let [value] = names[..] else {
            return Err(list.error("expected one architecture", key).hint(supported()));
        };
        let name = value.str(key)?;
        of_architecture = Some(Family::with_architecture(&name).ok_or_else(|| unsupported(value, &name, key))?);
    }
    let Some(value) = object.get("model_type") else {
        return of_architecture.ok_or_else(|| object.error("missing: model_type, architectures", "model_type"));
    };
    let name = value.str("model_type")?;
    let family = Family::named(&name).ok_or_else(|| unsupported(value, &name, "model_type"))?;
    match of_architecture {
        Some(other) if other.model_type != family.model_type => {
            Err(value
                .error(format!("\"{name}\" is not of the architecture that \"architectures\" names"), "model_type"))
        }
        _ => Ok(family),
    }
}

fn positive(object: Value<'_>, key: &str, path: &str) -> Result<Option<f64>> {
    let Some(value) = object.get(key) else { return Ok(None) };
    let field = if path.is_empty() { key.to_string() } else { format!("{path}.{key}") };
    let number = value.f64(&field)?;
    if number > 0.0 { Ok(Some(number)) } else { Err(value.expected("a positive number", &field)) }
}

/// A token id or a list of them, each within the vocabulary. An empty list says nothing.
pub(super) fn ids(object: Value<'_>, key: &str, vocab_size: usize) -> Result<Option<Vec<u32>>> {
    let Some(value) = object.get(key) else { return Ok(None) };
    let values: Vec<_> = if value.kind() == Type::Array { value.items(key)?.collect() } else { vec![value] };
    let mut out = Vec::new();
    for value in values {
        let id = value.u32(key)?;
        if id as usize >= vocab_size {
            return Err(value.error(format!("token {id} of a vocabulary of {vocab_size}"), key));
        }
        if !out.contains(&id) {
            out.push(id);
        }
        if out.len() > 1024 {
            return Err(value.error("more than 1024 ids", key));
        }
    }
    Ok(Some(out).filter(|ids| !ids.is_empty()))
}

/// Reads generation_config.json; `eos` stays empty where it names none.
pub(super) fn generation(object: Value<'_>, vocab_size: usize) -> Result<GenerationDefaults> {
    let float = |key: &str| -> Result<Option<f32>> {
        let Some(value) = object.get(key) else { return Ok(None) };
        let number = value.f64(key)?;
        if number < 0.0 { Err(value.expected("0 or more", key)) } else { Ok(Some(number as f32)) }
    };
    let top_k = object.get("top_k").map(|k| k.u32("top_k")).transpose()?;
    Ok(GenerationDefaults {
        temperature: float("temperature")?,
        top_k: top_k.filter(|k| *k > 0),
        top_p: float("top_p")?,
        min_p: float("min_p")?,
        repeat_penalty: float("repetition_penalty")?,
        eos: ids(object, "eos_token_id", vocab_size)?.unwrap_or_default(),
    })
}
