//! config.json and generation_config.json of a Hugging Face directory.

use whit::error::{Error, Result, printable};
use whit::model::{Config, Family, GenerationDefaults};

use super::json::{Type, Value};
use super::rope;

/// A model type of transformers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Model {
    Gpt2,
    Llama,
    Mistral,
    Qwen2,
    Qwen3,
}

const SUPPORTED: &str = "gpt2, llama, mistral, qwen2, qwen3";

const MODELS: [(Model, &str, &str); 6] = [
    (Model::Gpt2, "gpt2", "GPT2LMHeadModel"),
    (Model::Gpt2, "gpt2", "GPT2Model"),
    (Model::Llama, "llama", "LlamaForCausalLM"),
    (Model::Mistral, "mistral", "MistralForCausalLM"),
    (Model::Qwen2, "qwen2", "Qwen2ForCausalLM"),
    (Model::Qwen3, "qwen3", "Qwen3ForCausalLM"),
];

/// What config.json says.
#[derive(Debug)]
pub(super) struct HfConfig {
    pub(super) config: Config,
    pub(super) bos: Option<u32>,
    /// `None` where the file says nothing.
    pub(super) eos: Option<Vec<u32>>,
    /// The dtype that the weights are said to have.
    pub(super) dtype: Option<String>,
    pub(super) notes: Vec<String>,
}

/// Reads fields of the object and remembers those that are missing.
struct Fields<'j> {
    object: Value<'j>,
    missing: Vec<&'static str>,
    notes: Vec<String>,
}

impl<'j> Fields<'j> {
    fn usize(&self, key: &str) -> Result<Option<usize>> {
        let Some(value) = self.object.get(key) else { return Ok(None) };
        let number = value.u64(key)?;
        if number > 1 << 31 {
            return Err(value.error(format!("{number} is beyond every limit"), key));
        }
        Ok(Some(number as usize))
    }

    fn required(&mut self, key: &'static str) -> Result<usize> {
        let value = self.usize(key)?;
        if value.is_none() {
            self.missing.push(key);
        }
        Ok(value.unwrap_or(1))
    }

    fn required_float(&mut self, key: &'static str) -> Result<f64> {
        match self.object.get(key) {
            Some(value) => value.f64(key),
            None => {
                self.missing.push(key);
                Ok(1.0)
            }
        }
    }

    fn bool(&self, key: &str, default: bool) -> Result<bool> {
        self.object.get(key).map_or(Ok(default), |value| value.bool(key))
    }

    fn error(&self, key: &str, message: impl AsRef<str>) -> Error {
        self.object.get(key).unwrap_or(self.object).error(message, key)
    }

    fn check(&self) -> Result<()> {
        match &self.missing[..] {
            [] => Ok(()),
            [only] => Err(self.object.error(format!("missing: {only}"), only)),
            all => Err(self.object.error(format!("missing: {}", all.join(", ")), "fields")),
        }
    }

    /// The activation of the MLP has to be one of `names`.
    fn activation(&self, key: &str, names: &[&str]) -> Result<()> {
        let Some(value) = self.object.get(key) else { return Ok(()) };
        let name = value.str(key)?;
        if names.contains(&&*name) {
            return Ok(());
        }
        let error = value.error(format!("activation \"{}\" is not supported", printable(&name)), key);
        Err(error.hint(format!("supported: {}", names.join(", "))))
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
    let model = model(object)?;
    let mut fields = Fields { object, missing: Vec::new(), notes: Vec::new() };
    let config = if model == Model::Gpt2 { gpt2(&mut fields)? } else { llama(&mut fields, model)? };
    let vocab_size = config.vocab_size;
    let bos = ids(object, "bos_token_id", vocab_size)?.and_then(|ids| ids.first().copied());
    let eos = ids(object, "eos_token_id", vocab_size)?;
    let dtype = object.get("dtype").or_else(|| object.get("torch_dtype"));
    let dtype = dtype.map(|d| d.str("dtype").map(|d| d.into_owned())).transpose()?;
    Ok(HfConfig { config, bos, eos, dtype, notes: fields.notes })
}

fn model(object: Value<'_>) -> Result<Model> {
    let unsupported = |value: Value<'_>, name: &str, key: &str| {
        let error = value.error(format!("\"{}\" is not supported", printable(name)), key);
        error.hint(format!("supported: {SUPPORTED}"))
    };
    let mut of_architecture = None;
    if let Some(list) = object.get("architectures") {
        let key = "architectures";
        let names: Vec<_> = list.items(key)?.take(2).collect();
        let [value] = names[..] else {
            let error = list.error("expected one architecture", key);
            return Err(error.hint(format!("supported: {SUPPORTED}")));
        };
        let name = value.str(key)?;
        let found = MODELS.iter().find(|(_, _, architecture)| *architecture == name);
        of_architecture = Some(found.ok_or_else(|| unsupported(value, &name, key))?.0);
    }
    let Some(value) = object.get("model_type") else {
        return of_architecture.ok_or_else(|| object.error("missing: model_type, architectures", "model_type"));
    };
    let name = value.str("model_type")?;
    let found = MODELS.iter().find(|(_, model_type, _)| *model_type == name);
    let model = found.ok_or_else(|| unsupported(value, &name, "model_type"))?.0;
    match of_architecture {
        Some(other) if other != model => {
            Err(value
                .error(format!("\"{name}\" is not of the architecture that \"architectures\" names"), "model_type"))
        }
        _ => Ok(model),
    }
}

fn gpt2(fields: &mut Fields<'_>) -> Result<Config> {
    let dim = fields.required("n_embd")?;
    let n_layers = fields.required("n_layer")?;
    let n_heads = fields.required("n_head")?;
    let vocab_size = fields.required("vocab_size")?;
    let context_length = fields.required("n_positions")?;
    let norm_eps = fields.required_float("layer_norm_epsilon")? as f32;
    fields.check()?;
    fields.activation("activation_function", &["gelu_new", "gelu_pytorch_tanh"])?;
    for key in ["scale_attn_by_inverse_layer_idx", "reorder_and_upcast_attn", "add_cross_attention"] {
        if fields.bool(key, false)? {
            return Err(fields.error(key, "true is not supported"));
        }
    }
    if !fields.bool("scale_attn_weights", true)? {
        return Err(fields.error("scale_attn_weights", "false is not supported"));
    }
    if n_heads == 0 || !dim.is_multiple_of(n_heads) {
        return Err(fields.error("n_head", format!("{n_heads} does not divide n_embd {dim}")));
    }
    let config = Config {
        family: Family::Gpt2,
        dim,
        hidden_dim: fields.usize("n_inner")?.unwrap_or(4 * dim),
        n_layers,
        n_heads,
        n_kv_heads: n_heads,
        head_dim: dim / n_heads,
        vocab_size,
        context_length,
        norm_eps,
        sliding_window: None,
        tied: fields.bool("tie_word_embeddings", true)?,
        qkv_bias: true,
        output_bias: true,
        mlp_bias: true,
        qk_norm: false,
        rope_freqs: Vec::new(),
    };
    config.check().map(|()| config)
}

fn llama(fields: &mut Fields<'_>, model: Model) -> Result<Config> {
    let dim = fields.required("hidden_size")?;
    let hidden_dim = fields.required("intermediate_size")?;
    let n_layers = fields.required("num_hidden_layers")?;
    let n_heads = fields.required("num_attention_heads")?;
    let n_kv_heads = match model {
        Model::Llama => fields.usize("num_key_value_heads")?.unwrap_or(n_heads),
        _ => fields.required("num_key_value_heads")?,
    };
    let vocab_size = fields.required("vocab_size")?;
    let context_length = fields.required("max_position_embeddings")?;
    let norm_eps = fields.required_float("rms_norm_eps")? as f32;
    fields.check()?;
    fields.activation("hidden_act", &["silu", "swish"])?;
    if n_heads == 0 || n_kv_heads == 0 || !n_heads.is_multiple_of(n_kv_heads) {
        let message = format!("{n_kv_heads} does not divide num_attention_heads {n_heads}");
        return Err(fields.error("num_key_value_heads", message));
    }
    let head_dim = match fields.usize("head_dim")? {
        Some(head_dim) => head_dim,
        // transformers' default for Qwen3
        None if model == Model::Qwen3 => 128,
        None if dim.is_multiple_of(n_heads) => dim / n_heads,
        None => {
            let message = format!("{n_heads} does not divide hidden_size {dim}, and there is no head_dim");
            return Err(fields.error("num_attention_heads", message));
        }
    };
    if !head_dim.is_multiple_of(2) || !(2..=4096).contains(&head_dim) {
        return Err(fields.error("head_dim", format!("{head_dim}, expected an even number from 2 to 4096")));
    }
    let attention_bias = matches!(model, Model::Llama | Model::Qwen3) && fields.bool("attention_bias", false)?;
    let config = Config {
        family: Family::Llama,
        dim,
        hidden_dim,
        n_layers,
        n_heads,
        n_kv_heads,
        head_dim,
        vocab_size,
        context_length,
        norm_eps,
        sliding_window: sliding_window(fields, model, n_layers, context_length)?,
        tied: fields.bool("tie_word_embeddings", false)?,
        qkv_bias: attention_bias || model == Model::Qwen2,
        output_bias: attention_bias,
        mlp_bias: model == Model::Llama && fields.bool("mlp_bias", false)?,
        qk_norm: model == Model::Qwen3,
        rope_freqs: rope_freqs(fields, head_dim, context_length)?,
    };
    config.check().map(|()| config)
}

/// The window of all layers; layers that differ are refused.
fn sliding_window(fields: &mut Fields<'_>, model: Model, n_layers: usize, context: usize) -> Result<Option<usize>> {
    let key = "sliding_window";
    let qwen = matches!(model, Model::Qwen2 | Model::Qwen3);
    if model == Model::Llama || (qwen && !fields.bool("use_sliding_window", false)?) {
        return Ok(None);
    }
    let Some(window) = fields.usize(key)? else { return Ok(None) };
    if window == 0 {
        return Err(fields.error(key, "0 positions"));
    }
    let mut sliding = n_layers;
    if let Some(types) = fields.object.get("layer_types") {
        let key = "layer_types";
        let (mut n, mut n_sliding) = (0, 0);
        for value in types.items(key)? {
            match &*value.str(key)? {
                "sliding_attention" => n_sliding += 1,
                "full_attention" => {}
                other => return Err(value.error(format!("unknown type \"{}\"", printable(other)), key)),
            }
            n += 1;
        }
        if n != n_layers {
            return Err(types.error(format!("{n} elements for {n_layers} layers"), key));
        }
        sliding = n_sliding;
    } else if qwen {
        let full = fields.usize("max_window_layers")?.unwrap_or(28);
        sliding = n_layers.saturating_sub(full);
    }
    if sliding != 0 && sliding != n_layers {
        let message = format!("{sliding} of {n_layers} layers have a window: only all or none is supported");
        return Err(fields.error(key, message));
    }
    if sliding > 0 && window >= context {
        fields.notes.push(format!("sliding_window {window} spans the whole context of {context}: ignored"));
        return Ok(None);
    }
    Ok(Some(window).filter(|_| sliding > 0))
}

fn positive(object: Value<'_>, key: &str, path: &str) -> Result<Option<f64>> {
    let Some(value) = object.get(key) else { return Ok(None) };
    let field = if path.is_empty() { key.to_string() } else { format!("{path}.{key}") };
    let number = value.f64(&field)?;
    if number > 0.0 { Ok(Some(number)) } else { Err(value.expected("a positive number", &field)) }
}

/// `rope_parameters` of transformers 5, or `rope_theta` and `rope_scaling`.
fn rope_freqs(fields: &Fields<'_>, head_dim: usize, context: usize) -> Result<Vec<f32>> {
    let object = fields.object;
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
