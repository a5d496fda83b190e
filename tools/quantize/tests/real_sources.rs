//! The readers on real checkpoints, where `shared` lies beside the repository.

use std::path::{Path, PathBuf};

use quantize::source::{Checkpoint, OpenOptions, SourceFormat, open_vocabulary};
use whit::tokenizer::{Specials, Tokenizer};

/// The file or directory `name` of the shared models; `None`, and said, where it is not there.
fn model(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/models").join(name);
    if path.exists() {
        return Some(path);
    }
    assert!(std::env::var_os("WHIT_REQUIRE_SHARED").is_none(), "shared model {name} is missing");
    eprintln!("skipped: shared model {name} is missing");
    None
}

fn open(name: &str) -> Option<Checkpoint> {
    let path = model(name)?;
    Some(Checkpoint::open(&path, &OpenOptions::default()).unwrap_or_else(|e| panic!("{name}: {e}")))
}

fn values(source: &Checkpoint, name: &str) -> Vec<f32> {
    let tensor = source.tensors.iter().position(|t| t.name == name).unwrap_or_else(|| panic!("no {name}"));
    let mut out = vec![f32::NAN; source.tensors[tensor].elements() as usize];
    source.read(tensor, 0, &mut out).expect("readable");
    out
}

/// Rows of pairs (2i, 2i + 1) of each head, put where pairs (i, i + head_dim / 2) have them.
fn halves(rows: &[f32], head_dim: usize, dim: usize) -> Vec<f32> {
    let mut out = vec![0.0; rows.len()];
    for (head, (from, to)) in rows.chunks(head_dim * dim).zip(out.chunks_mut(head_dim * dim)).enumerate() {
        assert_eq!(from.len(), head_dim * dim, "head {head}");
        for i in 0..head_dim {
            let target = i / 2 + i % 2 * (head_dim / 2);
            to[target * dim..][..dim].copy_from_slice(&from[i * dim..][..dim]);
        }
    }
    out
}

/// (name in Hugging Face's and llama2.c's forms, name in GGUF)
fn names(layer: usize) -> Vec<(String, String)> {
    let pairs = [
        ("input_layernorm", "attn_norm"),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("post_attention_layernorm", "ffn_norm"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
    ];
    pairs
        .iter()
        .map(|(hf, gguf)| (format!("model.layers.{layer}.{hf}.weight"), format!("blk.{layer}.{gguf}.weight")))
        .collect()
}

#[test]
fn stories260k_is_the_same_in_all_its_forms() {
    let forms = ["hf-f32", "stories260K.bin", "ckpt_v1_a.bin", "stories260K-f32.gguf", "stories260K-q8_0.gguf"];
    let opened: Option<Vec<_>> = forms.iter().map(|form| open(&format!("stories260k/{form}"))).collect();
    let Some(sources) = opened else { return };
    let hf = &sources[0];
    assert_eq!(hf.format, SourceFormat::HuggingFace);
    assert_eq!(hf.generation.eos, [2]);
    assert!(!hf.layout.interleaved_rotary && hf.config.tied);
    for (form, source) in forms.iter().zip(&sources) {
        let mut config = source.config.clone();
        if *form == "stories260K.bin" {
            assert_eq!(config.context_length, 512);
        }
        config.context_length = hf.config.context_length;
        assert_eq!(config, hf.config, "{form}");
        assert_eq!(source.tensors.len(), hf.tensors.len(), "{form}");
        let gguf = source.format == SourceFormat::Gguf;
        let mut pairs: Vec<_> = (0..5).flat_map(names).collect();
        pairs.push(("model.embed_tokens.weight".into(), "token_embd.weight".into()));
        pairs.push(("model.norm.weight".into(), "output_norm.weight".into()));
        for (hf_name, gguf_name) in pairs {
            let want = values(hf, &hf_name);
            let mut got = values(source, if gguf { &gguf_name } else { &hf_name });
            if source.layout.interleaved_rotary && (gguf_name.contains("attn_q.") || gguf_name.contains("attn_k.")) {
                got = halves(&got, 8, 64);
            }
            let tolerance = if form.contains("q8_0") { 0.02 } else { 0.0 };
            let worst = want.iter().zip(&got).map(|(w, g)| (w - g).abs()).fold(0.0, f32::max);
            assert!(worst <= tolerance, "{form} {hf_name}: {worst}");
        }
    }
}

#[test]
fn smollm2_opens() {
    let Some(source) = open("SmolLM2-135M-Instruct.Q4_1.gguf") else { return };
    let config = &source.config;
    assert_eq!((config.dim, config.hidden_dim(), config.n_layers()), (576, 1536, 30));
    assert!(config.attentions().all(|a| (a.n_heads, a.n_kv_heads, a.head_dim) == (9, 3, 64)));
    assert_eq!(config.vocab_size, 49152);
    assert!(config.tied && source.layout.interleaved_rotary && source.chat_template.is_some());
    assert_eq!(source.tensors.len(), 30 * 9 + 2);
    let embedding = source.tensors.iter().find(|t| t.name == "token_embd.weight").expect("embedding");
    assert_eq!(embedding.shape, [49152, 576]);
    let down = values(&source, "blk.0.ffn_down.weight");
    assert!(down.iter().all(|v| v.is_finite()) && down.iter().any(|v| v.abs() > 0.1));
}

#[test]
fn gpt2_models_agree_with_their_gguf() {
    let (Some(hf), Some(gguf)) = (open("gpt2-tiny-stories"), open("gpt2-tiny-stories/gpt2-tiny-stories-f32.gguf"))
    else {
        return;
    };
    assert_eq!(hf.config, gguf.config);
    assert_eq!(hf.generation.eos, [0]);
    assert_eq!(values(&hf, "wte.weight"), values(&gguf, "token_embd.weight"));
    assert_eq!(values(&hf, "h.3.mlp.c_fc.bias"), values(&gguf, "blk.3.ffn_up.bias"));
    // Conv1D of transformers is (in, out), GGUF has (out, in).
    let (conv, linear) = (values(&hf, "h.1.attn.c_attn.weight"), values(&gguf, "blk.1.attn_qkv.weight"));
    assert!((0..128).all(|i| (0..384).all(|o| conv[i * 384 + o] == linear[o * 128 + i])));
    assert_eq!(hf.tensors.len(), gguf.tensors.len());
}

#[test]
fn nano_sort_opens_without_a_tokenizer() {
    let Some(source) = open("gpt2-nano-sort") else { return };
    assert_eq!((source.config.dim, source.config.n_layers(), source.config.vocab_size), (48, 3, 3));
    assert!(!source.config.tied && source.generation.eos.is_empty());
    assert!(source.tensors.iter().any(|t| t.name == "lm_head.weight"));
}

#[test]
fn version_1_of_gguf_is_refused() {
    let Some(path) = model("stories260k/gguf-version-1-to-refuse.gguf") else { return };
    let error = Checkpoint::open(&path, &OpenOptions::default()).expect_err("version 1");
    assert!(error.to_string().contains("version 1"), "{error}");
}

fn encode(section: &[u8], text: &str) -> Vec<u32> {
    let mut ids = Vec::new();
    Tokenizer::open(section).expect("section").encode(text, Specials::AsText, &mut ids);
    ids
}

#[test]
fn vocabularies_encode_as_their_vectors_say() {
    for name in ["gpt-2", "llama-bpe", "llama-spm", "qwen2", "phi-3"] {
        let Some(path) = model(&format!("../vocab/ggml-vocab-{name}.gguf")) else { return };
        let vocabulary = open_vocabulary(&path).unwrap_or_else(|e| panic!("{name}: {e}"));
        let section = vocabulary.build().unwrap_or_else(|e| panic!("{name}: {e}"));
        let read = |suffix: &str| std::fs::read_to_string(format!("{}{suffix}", path.display())).expect("vectors");
        let (texts, ids) = (read(".inp"), read(".out"));
        for (text, want) in texts.split("\n__ggml_vocab_test__\n").zip(ids.lines()) {
            let want: Vec<u32> = want.split_whitespace().map(|id| id.parse().expect("id")).collect();
            assert_eq!(encode(&section, text), want, "{name}: {text:?}");
        }
    }
}

/// The forms of one model: (their files, text that both tokenize alike).
#[test]
fn tokenizers_of_all_forms_agree() {
    let text = "Once upon a time, there was a little girl named Lily.\n\nShe said: \u{e9}\u{1f600}! 123";
    let pairs = [
        ("gpt2-tiny-stories", "gpt2-tiny-stories/gpt2-tiny-stories-q8_0.gguf"),
        ("stories260k/stories260K.bin", "stories260k/stories260K-f32.gguf"),
    ];
    for (one, other) in pairs {
        let (Some(one), Some(other)) = (open(one), open(other)) else { return };
        let section = |s: &Checkpoint| s.tokenizer_section().expect("valid").expect("present");
        let (a, b) = (section(&one), section(&other));
        assert_eq!(encode(&a, text), encode(&b, text));
        let (a, b) = (one.vocabulary.expect("a vocabulary"), other.vocabulary.expect("a vocabulary"));
        assert_eq!((a.tokens.len(), a.eos), (b.tokens.len(), b.eos));
        assert!(a.tokens.iter().zip(&b.tokens).all(|(a, b)| a.kind == b.kind));
    }
}
