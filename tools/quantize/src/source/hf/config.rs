//! config.json and generation_config.json of a Hugging Face directory. What the fields of the first mean is for the families to
//! say.

use whit::error::{Result, printable};
use whit::model::{Config, GenerationDefaults};

use super::fields::Fields;
use super::packed::{self, Scaling};
use crate::families::{FAMILIES, Factors, Family, Wrapper, missing};
use crate::source::json::{Type, Value};

/// What config.json says.
#[derive(Debug)]
pub(in crate::source) struct HfConfig {
    pub(in crate::source) family: &'static Family,
    pub(in crate::source) config: Config,
    pub(in crate::source) bos: Option<u32>,
    /// `None` where the file says nothing.
    pub(in crate::source) eos: Option<Vec<u32>>,
    /// The dtype that the weights are said to have.
    pub(in crate::source) dtype: Option<String>,
    pub(in crate::source) notes: Vec<String>,
    /// What parts of the network are multiplied by on the way.
    pub(in crate::source) factors: Factors,
    /// Modules whose tensors are left out.
    pub(in crate::source) left_out: &'static [&'static str],
    /// How the scales of packed weights count, where there are such.
    pub(in crate::source) packed: Option<Scaling>,
}

/// Reads config.json; so many positions are `wanted`.
pub(in crate::source) fn parse(whole: Value<'_>, wanted: Option<usize>) -> Result<HfConfig> {
    let of_whole = packed::scaling(whole)?;
    let wrapper = wrapper(whole)?;
    let object = match wrapper {
        Some(_) => whole.set(TEXT).ok_or_else(|| {
            let error = whole.error(format!("missing: {TEXT}"), TEXT);
            error.hint("the language model of such a model is described there: copy config.json again")
        })?,
        None => whole,
    };
    let packed = packed::scaling(object)?.or(of_whole);
    let family = family(object)?;
    let mut fields = Fields::new(object, wrapper.map(|_| whole), wanted);
    let config = family.name_plan((family.config)(&mut fields)?);
    let (mut notes, factors) = fields.into_told();
    let left_out = wrapper.map_or(&[][..], |wrapper| wrapper.left_out);
    if !left_out.is_empty() {
        notes.push(format!("the language model alone is read, without {}", left_out.join(" and ")));
    }
    let mut ids = |key: &str| -> Result<Option<Vec<u32>>> {
        let of = |object, notes: &mut _| ids(object, key, config.vocab_size, notes);
        Ok(of(object, &mut notes)?.or(of(whole, &mut notes)?))
    };
    let bos = ids("bos_token_id")?.and_then(|ids| ids.first().copied());
    let eos = ids("eos_token_id")?;
    let named =
        [object, whole].into_iter().find_map(|object| object.get("dtype").or_else(|| object.get("torch_dtype")));
    let dtype = named.and_then(|dtype| Some(dtype.str("dtype").ok()?.into_owned()));
    Ok(HfConfig { family, config, bos, eos, dtype, notes, factors, left_out, packed })
}

/// The field that describes the language model of something larger.
const TEXT: &str = "text_config";

/// What the language model is a part of.
fn wrapper(object: Value<'_>) -> Result<Option<&'static Wrapper>> {
    if let Some(value) = object.get("model_type") {
        return Ok(Wrapper::named(&value.str("model_type")?));
    }
    let first = object.set("architectures").and_then(|list| list.items("architectures").ok()?.next());
    Ok(first.and_then(|value| Wrapper::named(&value.str("architectures").ok()?)))
}

/// The family that `architectures` and `model_type` name.
fn family(object: Value<'_>) -> Result<&'static Family> {
    let supported = || {
        let names = FAMILIES.iter().map(|family| family.model_type).chain(Wrapper::model_types());
        let names: Vec<_> = names.collect();
        format!("supported: {}, as language models", names.join(", "))
    };
    let unsupported = |value: Value<'_>, name: &str, key: &str| {
        let lacks = missing(name).map_or(String::new(), |what| format!("whit lacks {what}; "));
        value.error(format!("\"{}\" is not supported", printable(name)), key).hint(format!("{lacks}{}", supported()))
    };
    let mut of_architecture = None;
    if let Some(list) = object.set("architectures") {
        let key = "architectures";
        let names: Vec<_> = list.items(key)?.take(2).collect();
        let [value] = names[..] else {
            return Err(list.error("expected one architecture", key).hint(supported()));
        };
        let name = value.str(key)?;
        let family = Family::with_architecture(&name).ok_or_else(|| unsupported(value, &name, key))?;
        of_architecture = Some((family, name));
    }
    let Some(value) = object.get("model_type") else {
        return of_architecture
            .map(|(family, _)| family)
            .ok_or_else(|| object.error("missing: model_type, architectures", "model_type").hint(supported()));
    };
    let name = value.str("model_type")?;
    let family = Family::named(&name).ok_or_else(|| unsupported(value, &name, "model_type"))?;
    match of_architecture {
        Some((_, class)) if !family.architectures.contains(&&*class) => {
            let message = format!("\"{name}\" is not of the architecture that \"architectures\" names");
            Err(value.error(message, "model_type").hint("remove the one that is wrong"))
        }
        _ => Ok(family),
    }
}

/// A token id or a list of them. One beyond the vocabulary never comes: it is left out, which the user is told.
pub(in crate::source) fn ids(
    object: Value<'_>,
    key: &str,
    vocab_size: usize,
    notes: &mut Vec<String>,
) -> Result<Option<Vec<u32>>> {
    let Some(value) = object.get(key) else { return Ok(None) };
    let values: Vec<_> = if value.kind() == Type::Array { value.items(key)?.collect() } else { vec![value] };
    let mut out = Vec::new();
    for value in values {
        if value.is_off() && value.u64(key).is_err() {
            continue;
        }
        let id = value.u32(key)?;
        if id as usize >= vocab_size {
            notes.push(format!("{key}: token {id} of a vocabulary of {vocab_size} is ignored"));
        } else if !out.contains(&id) {
            out.push(id);
        }
        if out.len() > 1024 || notes.len() > 1024 {
            return Err(value.error("more than 1024 ids", key));
        }
    }
    Ok(Some(out).filter(|ids| !ids.is_empty()))
}

/// Reads generation_config.json; `eos` stays empty where it names none.
pub(in crate::source) fn generation(
    object: Value<'_>,
    vocab_size: usize,
    notes: &mut Vec<String>,
) -> Result<GenerationDefaults> {
    let number = |key: &str| object.get(key).filter(|value| value.kind() == Type::Number || !value.is_off());
    let float = |key: &str| -> Result<Option<f32>> {
        let Some(value) = number(key) else { return Ok(None) };
        let number = value.f64(key)?;
        if number < 0.0 { Err(value.expected("0 or more", key)) } else { Ok(Some(number as f32)) }
    };
    Ok(GenerationDefaults {
        temperature: float("temperature")?,
        top_k: object.set("top_k").map(|k| k.u32("top_k")).transpose()?,
        top_p: float("top_p")?,
        min_p: float("min_p")?,
        repeat_penalty: float("repetition_penalty")?,
        eos: ids(object, "eos_token_id", vocab_size, notes)?.unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::json::Json;

    fn plan(config: &str) -> Config {
        let json = Json::parse(config.as_bytes(), 0).expect("valid");
        parse(json.root(), None).expect("a plan").config
    }

    /// The dimensions of Falcon3-1B-Base, DeepSeek-R1-Distill-Qwen-1.5B and DeepSeek-R1-Distill-Llama-8B as they are published.
    #[test]
    fn relatives_without_a_name_of_their_own_are_read() {
        let falcon3 = plan(
            r#"{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 2048, "head_dim": 256, "hidden_act": "silu",
                "intermediate_size": 8192, "max_position_embeddings": 4096, "num_attention_heads": 8, "num_hidden_layers": 18,
                "num_key_value_heads": 4, "rms_norm_eps": 1e-6, "rope_scaling": null, "rope_theta": 1000042, "vocab_size": 131072,
                "attention_bias": false, "mlp_bias": false, "tie_word_embeddings": false}"#,
        );
        let attention = falcon3.attentions().next().expect("attention");
        assert_eq!((attention.n_heads, attention.n_kv_heads, attention.head_dim), (8, 4, 256));
        let qwen = plan(
            r#"{"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": 1536, "intermediate_size": 8960,
                "hidden_act": "silu", "max_position_embeddings": 131072, "max_window_layers": 21, "num_attention_heads": 12,
                "num_hidden_layers": 28, "num_key_value_heads": 2, "rms_norm_eps": 1e-6, "rope_theta": 10000, "sliding_window": 4096,
                "use_mrope": false, "use_sliding_window": false, "vocab_size": 151936, "tie_word_embeddings": false}"#,
        );
        assert!(qwen.attentions().all(|a| a.qkv_bias && !a.output_bias && a.window.is_none() && a.head_dim == 128));
        let llama = plan(
            r#"{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336,
                "hidden_act": "silu", "max_position_embeddings": 131072, "num_attention_heads": 32, "num_hidden_layers": 32,
                "num_key_value_heads": 8, "rms_norm_eps": 1e-5, "rope_theta": 500000, "vocab_size": 128256, "pretraining_tp": 1,
                "rope_scaling": {"factor": 8, "low_freq_factor": 1, "high_freq_factor": 4, "rope_type": "llama3",
                "original_max_position_embeddings": 8192}, "tie_word_embeddings": false}"#,
        );
        assert_eq!((llama.context_length, llama.rotary_tables[0].len()), (131_072, 64));
    }

    /// gemma-3-4b-it as it is published: half of its dimensions are those that transformers assumes.
    #[test]
    fn what_a_configuration_leaves_out_is_what_transformers_assumes() {
        let gemma = plan(
            r#"{"architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3", "eos_token_id": [1, 106],
                "text_config": {"hidden_size": 2560, "intermediate_size": 10240, "model_type": "gemma3_text",
                "num_hidden_layers": 34, "rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "sliding_window": 1024},
                "vision_config": {"hidden_size": 1152}}"#,
        );
        assert_eq!((gemma.vocab_size, gemma.context_length, gemma.tied), (262_208, 131_072, true));
        let attentions: Vec<_> = gemma.attentions().collect();
        assert!(attentions.iter().all(|a| (a.n_heads, a.n_kv_heads, a.head_dim) == (8, 4, 256)));
        let windows = attentions.iter().map(|a| a.window.is_some());
        assert!(windows.eq((1..=34).map(|layer| layer % 6 != 0)));
        assert_eq!(gemma.rotary_tables[0][0], 0.125, "the table of layers without a window, divided by 8");
        assert_eq!(gemma.rotary_tables[1][0], 1.0, "that of the others");
    }
}
