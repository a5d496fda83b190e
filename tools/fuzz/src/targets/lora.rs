//! adapter_config.json and adapter_model.safetensors beside a model that is sound, into which they are merged.

use quantize::source::OpenOptions;

use super::{Target, size};
use crate::bench::{Bench, Bound, Files, Verdict};
use crate::bytes::scramble;
use crate::hub::Checkpoint;
use crate::json::{Json, map, number, text};
use crate::model;
use crate::random::Random;

pub(super) struct Lora;

/// Keys, values and parts of names that mean something in an adapter.
const WORDS: &[&str] = &[
    "peft_type",
    "LORA",
    "r",
    "lora_alpha",
    "use_rslora",
    "rank_pattern",
    "alpha_pattern",
    "use_dora",
    "init_lora_weights",
    "pissa",
    "layer_replication",
    "base_model.model.lm_head.weight",
    "base_model.model.model.embed_tokens.lora_embedding_A",
    "base_model.model.model.norm.modules_to_save.weight",
    "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight",
    "base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector",
    "lora_B.weight",
    "shape",
    "data_offsets",
    "dtype",
    "F16",
    "I8",
];

impl Target for Lora {
    fn name(&self) -> &'static str {
        "lora"
    }

    fn bound(&self) -> Bound {
        Bound::JSON
    }

    fn make(&self, random: &mut Random) -> Files {
        let base = Checkpoint::new(random);
        let rank = random.within(1, 4);
        let dora = random.once_in(6);
        let (mut header, data) = tensors(&base, rank, dora, random);
        let mut config = map([("peft_type", text("LORA")), ("r", number(rank)), ("lora_alpha", number(8))]);
        if dora {
            config.set("use_dora", Json::Bool(true));
        }
        if random.once_in(4) {
            config.set("use_rslora", Json::Bool(random.once_in(2)));
            config.set("alpha_pattern", map([("q_proj", number("0.5")), ("layers.1.mlp.up_proj", number(3))]));
        }
        if random.once_in(3) {
            config.change(WORDS, random);
        }
        if random.once_in(3) {
            header.change(WORDS, random);
        }
        let mut files = base.files(random);
        let adapter =
            Checkpoint { config: Json::Null, generation: None, header, data, tokenizer: None, tokenizer_config: None };
        let mut weights = adapter.weights(random);
        let mut config = config.bytes(random);
        match random.below(12) {
            0 => scramble(&mut weights, random),
            1 => scramble(&mut config, random),
            _ => {}
        }
        files.push(("adapter_config.json".into(), config));
        files.push(("adapter_model.safetensors".into(), weights));
        files
    }

    fn run(&self, files: &Files, bench: &mut Bench, random: &mut Random) -> Verdict {
        let path = bench.checkpoint(files, None)?;
        let strength = random.pick(&[1.0, 1.0, -0.5, 1e30]);
        let options = OpenOptions { lora: vec![(path.clone(), strength)], ..OpenOptions::default() };
        bench.convert_with(&path, &options, size(files), random)
    }
}

/// A and B, with `dora` also the magnitudes, of some of the base model's matrices, and now and then a whole tensor.
fn tensors(base: &Checkpoint, rank: usize, dora: bool, random: &mut Random) -> (Json, Vec<u8>) {
    let Json::Map(entries) = &base.header else { return (Json::Null, Vec::new()) };
    let (mut out, mut data) = (Vec::new(), Vec::new());
    let mut add = |name: String, shape: &[usize], random: &mut Random| {
        let (dtype, width) = random.pick(&[("F32", 4), ("F16", 2), ("BF16", 2)]);
        let start = data.len();
        data.extend(model::floats(shape.iter().product(), width, random));
        let entry = map([
            ("dtype", text(dtype)),
            ("shape", Json::List(shape.iter().map(number).collect())),
            ("data_offsets", Json::List(vec![number(start), number(data.len())])),
        ]);
        out.push((format!("base_model.model.{name}"), entry));
    };
    for (name, entry) in entries {
        let Some(Json::List(shape)) = entry.clone().entry("shape").cloned() else { continue };
        let size = |item: &Json| if let Json::Number(digits) = item { digits.parse().ok() } else { None };
        let shape: Vec<usize> = shape.iter().filter_map(size).collect();
        let outside = ["embed_tokens", "wte", "wpe", "lm_head"].iter().any(|part| name.contains(part));
        let Some(module) = name.strip_suffix(".weight") else { continue };
        match shape[..] {
            [rows, cols] if !outside && !random.once_in(3) => {
                let turned = name.contains(".c_");
                let (inputs, outputs) = if turned { (rows, cols) } else { (cols, rows) };
                add(format!("{module}.lora_A.weight"), &[rank, inputs], random);
                add(format!("{module}.lora_B.weight"), &[outputs, rank], random);
                if dora {
                    add(format!("{module}.lora_magnitude_vector"), &[outputs], random);
                }
            }
            [n] if random.once_in(12) => add(name.clone(), &[n], random),
            [rows, cols] if name.contains("embed_tokens") && random.once_in(8) => {
                add(format!("{module}.lora_embedding_A"), &[rank, rows], random);
                add(format!("{module}.lora_embedding_B"), &[cols, rank], random);
            }
            _ => {}
        }
    }
    (Json::Map(out), data)
}
