//! Tiny networks of random shape, and their tensors as published checkpoints name them.

use quantize::families::{self, Layout};
use whit::model::{
    Attention, BranchNorms, Config, DeltaNet, Experts, Family, Gate, HeadNorm, Mamba1, Mamba2, Mixer, Mlp, MlpKind,
    NormKind, QkNorm, Routing, ScanNorm, Scores, SharedExpert, ShortConv, Uniform, tensors as table,
};

use crate::random::Random;

pub(crate) use quantize::families::Naming;

/// Whose checkpoints a network looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Gpt2,
    Llama,
    Mistral,
    Qwen2,
    Qwen3,
}

impl Style {
    /// All of them.
    pub(crate) const ALL: [Style; 5] = [Style::Gpt2, Style::Llama, Style::Mistral, Style::Qwen2, Style::Qwen3];

    /// The name in config.json.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Style::Gpt2 => "gpt2",
            Style::Llama => "llama",
            Style::Mistral => "mistral",
            Style::Qwen2 => "qwen2",
            Style::Qwen3 => "qwen3",
        }
    }

    /// The name of the architecture in GGUF files.
    pub(crate) fn in_gguf(self) -> &'static str {
        if self == Style::Mistral { "llama" } else { self.name() }
    }
}

/// A network of `vocab_size` tokens. Without `extras` it is what llama2.c can hold.
pub(crate) fn config(style: Style, vocab_size: usize, extras: bool, random: &mut Random) -> Uniform {
    let gpt2 = style == Style::Gpt2;
    let n_kv_heads = random.within(1, 2);
    let n_heads = if gpt2 { n_kv_heads } else { n_kv_heads * random.within(1, 2) };
    let wide_heads = !gpt2 && extras && random.once_in(40);
    let head_dim = if wide_heads { random.pick(&[64, 66, 258, 1024]) } else { 2 * random.within(1, 4) };
    let other_width = !gpt2 && extras && (wide_heads || random.once_in(3));
    let (biased, mlp_bias) = (extras && random.once_in(3), extras && random.once_in(3));
    let attention_bias = matches!(style, Style::Llama | Style::Qwen3) && biased;
    Uniform {
        family: if gpt2 { Family::Gpt2 } else { Family::Llama },
        dim: if other_width { random.pick(&[8, 32, 33]) } else { n_heads * head_dim },
        hidden_dim: random.pick(&[4, 16, 32]),
        n_layers: random.within(1, 2),
        n_heads,
        n_kv_heads,
        head_dim,
        vocab_size,
        context_length: random.within(4, 16),
        norm_eps: 1e-5,
        sliding_window: (style == Style::Mistral).then_some(3),
        tied: random.once_in(2),
        qkv_bias: gpt2 || attention_bias || style == Style::Qwen2,
        output_bias: gpt2 || attention_bias,
        mlp_bias: gpt2 || (style == Style::Llama && mlp_bias),
        qk_norm: style == Style::Qwen3,
        rope_freqs: if gpt2 { Vec::new() } else { (0..head_dim / 2).map(|i| 0.1_f32.powi(i as i32)).collect() },
    }
}

/// A network whose layers differ: attention, a short convolution, a delta net or a state space, which may stand beside an attention,
/// heads, windows, rotary tables or none, norms, MLPs or none, and biases.
pub(crate) fn varied(vocab_size: usize, random: &mut Random) -> Config {
    let style = random.pick(&[Style::Gpt2, Style::Llama]);
    let mut config = Uniform { n_layers: random.within(1, 4), ..config(style, vocab_size, true, random) }.config();
    // Eight bytes, so that the numbers after the name lie at multiples of four.
    config.family = "anything".into();
    config.norm = random.pick(&[NormKind::Rms, NormKind::Layer]);
    config.learned_positions = random.once_in(3);
    config.rotary_tables.clear();
    for layer in &mut config.layers {
        let mut norms = || BranchNorms { input: !random.once_in(3), output: random.once_in(2) };
        (layer.mixer_norms, layer.mlp_norms) = (norms(), norms());
        layer.mlp.kind = random.pick(&MlpKind::ALL);
        (layer.mlp.hidden_dim, layer.mlp.bias) = (random.within(1, 40), random.once_in(2));
        layer.mlp.inner_norm = random.once_in(4);
        layer.parallel = random.once_in(3);
        if random.once_in(5) {
            let n_experts = random.within(1, 4);
            let routing = Routing {
                n_active: random.within(1, n_experts),
                scores: random.pick(&Scores::ALL),
                normalized: random.once_in(2),
                scale: 1.5,
            };
            let shared = random.once_in(2).then_some(SharedExpert { hidden_dim: 9, gate: random.once_in(2) });
            (layer.mlp.kind, layer.mlp.bias) = (MlpKind::SWIGLU, false);
            layer.mlp.inner_norm = false;
            layer.mlp.experts = Some(Experts { n_experts, routing, bias: random.once_in(2), shared });
        }
        if random.once_in(3) {
            let (channels, width) = (random.within(1, 40), random.within(1, 5));
            layer.mixer = Mixer::ShortConv(ShortConv { channels, width, bias: random.once_in(2) });
        }
        if random.once_in(4) {
            let n_key_heads = random.within(1, 2);
            layer.mixer = Mixer::DeltaNet(DeltaNet {
                n_key_heads,
                n_heads: n_key_heads * random.within(1, 2),
                key_dim: random.within(1, 9),
                value_dim: random.within(1, 9),
                width: random.within(1, 4),
            });
        }
        let n_groups = random.within(1, 2);
        let mamba = Mamba2 {
            n_heads: n_groups * random.within(1, 2),
            head_dim: random.within(1, 9),
            state_dim: random.within(1, 9),
            n_groups,
            width: random.within(1, 4),
            conv_bias: random.once_in(2),
            step_limits: random.pick(&[None, Some([0.125, f32::INFINITY])]),
            norm: random.pick(&[None, Some(false), Some(true)]).map(|before_gate| ScanNorm { n_groups, before_gate }),
        };
        let channels = Mamba1 {
            channels: random.within(1, 40),
            state_dim: random.within(1, 9),
            step_rank: random.within(1, 9),
            width: random.within(1, 4),
            conv_bias: random.once_in(2),
        };
        if random.once_in(5) {
            layer.mixer = if random.once_in(2) { Mixer::Mamba2(mamba) } else { Mixer::Mamba1(channels) };
        } else if random.once_in(5) && layer.attention().is_some() {
            (layer.beside, layer.mixer_norms) = (Some(Mixer::Mamba2(mamba)), BranchNorms::PRE);
        }
        if random.once_in(8) {
            (layer.mlp, layer.mlp_norms, layer.parallel) = (Mlp::NONE, BranchNorms::NONE, false);
        }
        let Some(a) = layer.attention_mut() else { continue };
        a.n_kv_heads = random.within(1, 3);
        (a.n_heads, a.head_dim) = (a.n_kv_heads * random.within(1, 2), random.within(1, 9));
        a.window = random.pick(&[None, Some(1), Some(3), Some(40)]);
        (a.qkv_bias, a.output_bias) = (random.once_in(2), random.once_in(2));
        let norm = QkNorm {
            kind: random.pick(&[HeadNorm::Each, HeadNorm::All, HeadNorm::LayerOfEach]),
            after_rotation: random.once_in(2),
        };
        a.qk_norm = random.once_in(2).then_some(norm);
        a.cap = random.pick(&[None, Some(3.0)]);
        a.slopes = if random.once_in(4) { vec![0.5; a.n_heads] } else { Vec::new() };
        a.gate = random.pick(&[None, Some(Gate::Elements), Some(Gate::Heads)]);
        a.sinks = random.once_in(3);
        a.v_norm = random.once_in(3);
        a.inner_norm = random.once_in(4);
        a.rotary = None;
        if a.head_dim.is_multiple_of(2) && !random.once_in(4) {
            let n = a.head_dim / 2;
            let table = config.rotary_tables.iter().position(|freqs| freqs.len() == n && !random.once_in(3));
            a.rotary = Some(table.unwrap_or(config.rotary_tables.len()));
            if table.is_none() {
                config.rotary_tables.push((0..n).map(|_| random.unit().abs()).collect());
            }
        }
    }
    share(&mut config, random);
    config.layers.iter_mut().for_each(|layer| layer.scaled = random.once_in(4));
    config.layer_inputs = random.once_in(4).then(|| random.within(1, 9));
    config.embedding_norm = random.once_in(4);
    config.unembedding_bias = !config.tied && random.once_in(3);
    config.logit_cap = random.pick(&[None, Some(2.0)]);
    config
}

/// Has some layers read the keys and values of an earlier one, and leaves out the rotary tables that nobody has then.
fn share(config: &mut Config, random: &mut Random) {
    for i in 1..config.layers.len() {
        let from = random.within(0, i - 1);
        let other = config.layers[from].attention().filter(|other| other.shares.is_none()).cloned();
        let shares = random.once_in(3);
        if let (Some(other), Some(attention), true) = (other, config.layers[i].attention_mut(), shares) {
            *attention = Attention { shares: Some(from), v_norm: false, ..other };
        }
    }
    for table in (0..config.rotary_tables.len()).rev() {
        if config.attentions().any(|attention| attention.rotary == Some(table)) {
            continue;
        }
        config.rotary_tables.remove(table);
        let attentions = config.layers.iter_mut().filter_map(|layer| layer.attention_mut());
        attentions.filter_map(|a| a.rotary.as_mut()).filter(|n| **n > table).for_each(|n| *n -= 1);
    }
}

/// Names and shapes, outermost first, of a checkpoint of this network.
pub(crate) fn tensors(network: &Uniform, style: Style, naming: Naming) -> Vec<(String, Vec<u64>)> {
    let config = network.config();
    // A file of Mistral's is of the architecture llama in GGUF, where Mistral has no names.
    let name = if naming == Naming::Gguf { style.in_gguf() } else { style.name() };
    let layout = Layout { naming, interleaved_rotary: false, turning: None };
    let mut out: Vec<(String, Vec<u64>)> = Vec::new();
    for spec in table(&config) {
        let origin = families::Family::named(name).and_then(|family| family.origin(&config, &spec, layout));
        let Some(origin) = origin else { continue };
        if !out.iter().any(|(name, _)| *name == origin.name) {
            out.push((origin.name, origin.transform.source_dims(spec.shape)));
        }
    }
    out
}

/// `n` floats of `width` bytes each, all of them below 2.
pub(crate) fn floats(n: usize, width: usize, random: &mut Random) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::with_capacity(n * width + 8);
    while out.len() < n * width {
        out.extend(random.bits().to_le_bytes());
    }
    out.truncate(n * width);
    // The highest bit of the exponent is not set.
    out.iter_mut().skip(width - 1).step_by(width).for_each(|byte| *byte &= 0xbf);
    out
}
