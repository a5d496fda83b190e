//! A tiny checkpoint in the shape of a Hugging Face directory, before it is written.

use whit::model::Uniform;

use crate::bench::Files;
use crate::json::{Json, map, number, text};
use crate::model::{self, Naming, Style};
use crate::pieces::{BOS, EOS, Pieces};
use crate::random::Random;

/// The documents of the directory; what is `None` is not written.
pub(crate) struct Checkpoint {
    pub(crate) config: Json,
    pub(crate) generation: Option<Json>,
    /// The header of model.safetensors.
    pub(crate) header: Json,
    pub(crate) data: Vec<u8>,
    pub(crate) tokenizer: Option<Json>,
    pub(crate) tokenizer_config: Option<Json>,
}

/// Keys and values that mean something in one of the documents.
pub(crate) const WORDS: &[&str] = &[
    "model_type",
    "architectures",
    "gpt2",
    "llama",
    "mistral",
    "qwen2",
    "qwen3",
    "LlamaForCausalLM",
    "hidden_size",
    "num_hidden_layers",
    "num_key_value_heads",
    "head_dim",
    "vocab_size",
    "max_position_embeddings",
    "rms_norm_eps",
    "rope_theta",
    "rope_scaling",
    "rope_parameters",
    "rope_type",
    "type",
    "linear",
    "llama3",
    "default",
    "factor",
    "low_freq_factor",
    "high_freq_factor",
    "original_max_position_embeddings",
    "partial_rotary_factor",
    "sliding_window",
    "use_sliding_window",
    "layer_types",
    "sliding_attention",
    "full_attention",
    "max_window_layers",
    "tie_word_embeddings",
    "attention_bias",
    "mlp_bias",
    "hidden_act",
    "silu",
    "gelu_new",
    "n_inner",
    "quantization_config",
    "quant_method",
    "eos_token_id",
    "bos_token_id",
    "dtype",
    "torch_dtype",
    "float16",
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "repetition_penalty",
    "__metadata__",
    "shape",
    "data_offsets",
    "F32",
    "F16",
    "BF16",
    "F4",
    "U8",
    "F64",
    "model",
    "vocab",
    "merges",
    "added_tokens",
    "content",
    "id",
    "special",
    "normalizer",
    "pre_tokenizer",
    "post_processor",
    "decoder",
    "Sequence",
    "normalizers",
    "pretokenizers",
    "ByteLevel",
    "Metaspace",
    "Split",
    "Digits",
    "Regex",
    "String",
    "pattern",
    "Replace",
    "Prepend",
    "NFC",
    "byte_fallback",
    "unk_token",
    "ignore_merges",
    "dropout",
    "truncation",
    "padding",
    "chat_template",
    "name",
    "template",
    "add_bos_token",
    "bos_token",
    "eos_token",
    "<s>",
    "</s>",
    "<unk>",
    "<x>",
    "<0x0A>",
    "<0xFF>",
    "a b",
    "a",
    "ab",
    "\u{2581}",
    "\u{120}",
    "lm_head.weight",
    "model.norm.weight",
    "rotary_emb.inv_freq",
    "h.0.attn.bias",
];

impl Checkpoint {
    /// A checkpoint in which everything fits.
    pub(crate) fn new(random: &mut Random) -> Self {
        let pieces = Pieces::new(random.once_in(2), random);
        let style = random.pick(&Style::ALL);
        let config = model::config(style, pieces.tokens.len() + random.below(3), true, random);
        let (header, data) = header(&config, style, random);
        let mut document = describe(&config, style);
        document.set("eos_token_id", number(EOS));
        if random.once_in(3) {
            document.set("bos_token_id", number(BOS));
        }
        let generation = map([
            ("temperature", number("0.7")),
            ("top_k", number(40)),
            ("top_p", number("0.9")),
            ("eos_token_id", Json::List(vec![number(EOS), number(0)])),
        ]);
        let tokenizer_config = map([
            ("bos_token", text("<s>")),
            ("eos_token", map([("content", text("</s>"))])),
            ("add_bos_token", Json::Bool(true)),
            ("chat_template", text("{{ messages }}")),
        ]);
        Checkpoint {
            config: document,
            generation: random.once_in(3).then_some(generation),
            header,
            data,
            tokenizer: (!random.once_in(4)).then(|| pieces.tokenizer_json(random)),
            tokenizer_config: random.once_in(3).then_some(tokenizer_config),
        }
    }

    /// The files of the directory.
    pub(crate) fn files(&self, random: &mut Random) -> Files {
        let mut files = vec![
            ("config.json".to_string(), self.config.bytes(random)),
            ("model.safetensors".to_string(), self.weights(random)),
        ];
        let optional = [
            ("generation_config.json", &self.generation),
            ("tokenizer.json", &self.tokenizer),
            ("tokenizer_config.json", &self.tokenizer_config),
        ];
        for (name, document) in optional {
            files.extend(document.as_ref().map(|document| (name.to_string(), document.bytes(random))));
        }
        files
    }

    /// model.safetensors.
    pub(crate) fn weights(&self, random: &mut Random) -> Vec<u8> {
        let header = self.header.bytes(random);
        let mut out = (header.len() as u64).to_le_bytes().to_vec();
        out.extend(header);
        out.extend(&self.data);
        out
    }
}

fn describe(c: &Uniform, style: Style) -> Json {
    let head = map([("model_type", text(style.name())), ("dtype", text("float32"))]);
    let rest = if style == Style::Gpt2 {
        vec![
            ("n_embd", number(c.dim)),
            ("n_layer", number(c.n_layers)),
            ("n_head", number(c.n_heads)),
            ("n_inner", number(c.hidden_dim)),
            ("n_positions", number(c.context_length)),
            ("layer_norm_epsilon", number("1e-5")),
            ("activation_function", text("gelu_new")),
        ]
    } else {
        vec![
            ("hidden_size", number(c.dim)),
            ("intermediate_size", number(c.hidden_dim)),
            ("num_hidden_layers", number(c.n_layers)),
            ("num_attention_heads", number(c.n_heads)),
            ("num_key_value_heads", number(c.n_kv_heads)),
            ("head_dim", number(c.head_dim)),
            ("max_position_embeddings", number(c.context_length)),
            ("rms_norm_eps", number("1e-5")),
            ("hidden_act", text("silu")),
            ("rope_theta", number(10_000)),
            ("sliding_window", c.sliding_window.map_or(Json::Null, number)),
            ("attention_bias", Json::Bool(c.output_bias)),
            ("mlp_bias", Json::Bool(c.mlp_bias)),
        ]
    };
    let shared = [("vocab_size", number(c.vocab_size)), ("tie_word_embeddings", Json::Bool(c.tied))];
    let mut out = head;
    rest.into_iter().chain(shared).for_each(|(key, value)| out.set(key, value));
    out
}

fn header(config: &Uniform, style: Style, random: &mut Random) -> (Json, Vec<u8>) {
    let mut entries = Vec::new();
    let mut data = Vec::new();
    for (name, dims) in model::tensors(config, style, Naming::HuggingFace) {
        let (dtype, width) = random.pick(&[("F32", 4), ("F16", 2), ("BF16", 2)]);
        let start = data.len();
        data.extend(model::floats(dims.iter().product::<u64>() as usize, width, random));
        let entry = map([
            ("dtype", text(dtype)),
            ("shape", Json::List(dims.iter().map(number).collect())),
            ("data_offsets", Json::List(vec![number(start), number(data.len())])),
        ]);
        entries.push((name, entry));
    }
    (Json::Map(entries), data)
}
