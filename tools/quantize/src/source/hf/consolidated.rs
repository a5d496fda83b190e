//! The form in which Mistral and Meta publish their own models: params.json beside consolidated.safetensors or consolidated.00.pth.
//! Tensors have other names than in transformers, and the rows of q and k pair neighbours for the rotation.

use std::path::Path;

use whit::error::{Error, Result, printable};
use whit::model::{self, Config, Uniform};

use super::config::HfConfig;
use super::files::{MAX_CONFIG, optional, with_object};
use super::weights::{self, Form, Forms};
use crate::families::{Factors, LLAMA, Layout, Naming};
use crate::source::checkpoint::{Checkpoint, OpenOptions, SourceFormat};
use crate::source::json::Value;
use crate::source::rope;
use crate::source::tensor::SourceTensor;

const PARAMS: &str = "params.json";
const FORMS: Forms = Forms {
    forms: &[
        Form { single: "consolidated.safetensors", index: "consolidated.safetensors.index.json", end: ".safetensors" },
        Form { single: "consolidated.00.pth", index: "consolidated.pth.index.json", end: ".pth" },
    ],
    rename,
    any_name: false,
};
/// What is done where this program does not know how.
const ELSEWHERE: &str = "convert the model as transformers has it: the directory with config.json";

/// Fields that are read, and those that follow from the tensors or say nothing of the network.
const KNOWN: [&str; 17] = [
    "dim",
    "n_layers",
    "n_heads",
    "n_kv_heads",
    "head_dim",
    "hidden_dim",
    "norm_eps",
    "vocab_size",
    "rope_theta",
    "sliding_window",
    "max_seq_len",
    "max_position_embeddings",
    "multiple_of",
    "ffn_dim_multiplier",
    "max_batch_size",
    "tied_embeddings",
    "causal",
];

/// Whether `dir` is of this form.
pub(in crate::source) fn is_consolidated(dir: &Path) -> bool {
    dir.join(PARAMS).exists() && !dir.join("config.json").exists()
}

/// Opens the directory.
pub(in crate::source) fn open(dir: &Path, options: &OpenOptions) -> Result<Checkpoint> {
    if !options.lora.is_empty() {
        let error = Error::usage("adapters are of models as transformers has them").field("--lora");
        return Err(error.in_file(dir.display().to_string()).hint("give the directory with config.json"));
    }
    let Some(params) = optional(dir, PARAMS, MAX_CONFIG)? else {
        return Err(Error::data("missing").field(PARAMS).in_file(dir.display().to_string()));
    };
    if dir.join("consolidated.01.pth").exists() {
        let error = Error::data("consolidated.00.pth is one part of several, between which matrices are divided");
        return Err(error.field("weights").in_file(dir.display().to_string()).hint(ELSEWHERE));
    }
    let (mut files, mut notes) = (Vec::new(), Vec::new());
    let weights = weights::read(dir, (&LLAMA, &[], false), &FORMS, &mut files, &mut notes)?;
    let config = with_object(&params, |object| config(object, &weights.0, &mut notes))?;
    files.insert(0, params);
    let weights = (
        weights.0,
        weights
            .1
            .into_iter()
            .map(|mut location| {
                location.file += 1;
                location
            })
            .collect(),
    );
    let mut settings = HfConfig {
        family: &LLAMA,
        config,
        bos: None,
        eos: None,
        dtype: None,
        notes,
        factors: Factors::default(),
        left_out: &[],
        packed: None,
    };
    let generation = super::generation(dir, &mut settings, &mut files)?;
    let layout = Layout { naming: Naming::HuggingFace, interleaved_rotary: true, turning: None };
    super::finish(dir, options, (SourceFormat::Consolidated, layout), settings, generation, files, weights)
}

/// The name in transformers of a tensor of this form; of another, its own.
fn rename(name: &str) -> String {
    let outside = match name {
        "tok_embeddings.weight" => "model.embed_tokens.weight",
        "norm.weight" => "model.norm.weight",
        "output.weight" => "lm_head.weight",
        "rope.freqs" => "rotary_emb.inv_freq",
        _ => "",
    };
    if !outside.is_empty() {
        return outside.into();
    }
    let part = |part: &str| {
        Some(match part {
            "attention.wq.weight" => "self_attn.q_proj.weight",
            "attention.wk.weight" => "self_attn.k_proj.weight",
            "attention.wv.weight" => "self_attn.v_proj.weight",
            "attention.wo.weight" => "self_attn.o_proj.weight",
            "attention_norm.weight" => "input_layernorm.weight",
            "ffn_norm.weight" => "post_attention_layernorm.weight",
            "feed_forward.w1.weight" => "mlp.gate_proj.weight",
            "feed_forward.w2.weight" => "mlp.down_proj.weight",
            "feed_forward.w3.weight" => "mlp.up_proj.weight",
            _ => return None,
        })
    };
    let block = name.strip_prefix("layers.").and_then(|rest| rest.split_once('.'));
    match block.and_then(|(number, rest)| Some((number, part(rest)?))) {
        Some((number, part)) => format!("model.layers.{number}.{part}"),
        None => name.into(),
    }
}

/// The plan that params.json describes, of a model of these `tensors`.
fn config(object: Value<'_>, tensors: &[SourceTensor], notes: &mut Vec<String>) -> Result<Config> {
    for (key, value) in object.entries("document")? {
        if !KNOWN.contains(&&*key) && !value.is_off() {
            let error = value.error("what this means for the network is not known here", &printable(&key));
            return Err(error.hint(ELSEWHERE));
        }
    }
    let number = |key: &str| -> Result<Option<usize>> {
        let Some(value) = object.set(key) else { return Ok(None) };
        let n = value.u64(key)?;
        if n > 1 << 31 { Err(value.error(format!("{n} is beyond every limit"), key)) } else { Ok(Some(n as usize)) }
    };
    let required = |key: &str| number(key)?.ok_or_else(|| object.error(format!("missing: {key}"), key).hint(ELSEWHERE));
    let float = |key: &str| object.get(key).map(|value| value.f64(key)).transpose();
    let (dim, n_layers, n_heads) = (required("dim")?, required("n_layers")?, required("n_heads")?);
    let n_kv_heads = number("n_kv_heads")?.unwrap_or(n_heads);
    if !n_heads.is_multiple_of(n_kv_heads) {
        let error = object.error(format!("{n_kv_heads} does not divide n_heads {n_heads}"), "n_kv_heads");
        return Err(error.hint(ELSEWHERE));
    }
    let head_dim = number("head_dim")?.unwrap_or(dim / n_heads);
    if !head_dim.is_multiple_of(2) || !(2..=4096).contains(&head_dim) {
        let error = object.error(format!("heads of {head_dim}, expected an even number from 2 to 4096"), "head_dim");
        return Err(error.hint(ELSEWHERE));
    }
    let rows = |name: &str| tensors.iter().find(|tensor| tensor.name == name).map(|tensor| tensor.shape[0] as usize);
    let of = |key: &str, found: Option<usize>| found.ok_or_else(|| object.error(format!("no tensor tells {key}"), key));
    let hidden_dim = of("hidden_dim", number("hidden_dim")?.or(rows("model.layers.0.mlp.gate_proj.weight")))?;
    let vocab_size = of("vocab_size", number("vocab_size")?.or(rows("model.embed_tokens.weight")))?;
    let eps = float("norm_eps")?.ok_or_else(|| object.error("missing: norm_eps", "norm_eps").hint(ELSEWHERE))?;
    let theta = float("rope_theta")?.unwrap_or(10_000.0);
    if theta <= 0.0 {
        return Err(object.error(format!("{theta}, expected a positive number"), "rope_theta").hint(ELSEWHERE));
    }
    let named = number("max_seq_len")?.or(number("max_position_embeddings")?);
    let context_length = named.unwrap_or_else(|| {
        let assumed = match (object.set("hidden_dim").is_some(), theta > 10_000.0, eps < 5e-6) {
            (true, ..) => 32_768,
            (_, true, _) => 8192,
            (_, _, true) => 2048,
            _ => 4096,
        };
        notes.push(format!("{PARAMS} does not name max_seq_len: {assumed} is assumed, as models of this kind have"));
        assumed
    });
    let network = Uniform {
        family: model::Family::Llama,
        dim,
        hidden_dim,
        n_layers,
        n_heads,
        n_kv_heads,
        head_dim,
        vocab_size,
        context_length,
        norm_eps: eps as f32,
        sliding_window: number("sliding_window")?.filter(|window| *window < context_length),
        tied: rows("lm_head.weight").is_none(),
        qkv_bias: false,
        output_bias: false,
        mlp_bias: false,
        qk_norm: false,
        rope_freqs: rope::frequencies(head_dim, theta),
    };
    network.check().map_err(|e| e.hint(ELSEWHERE))?;
    Ok(network.config())
}
