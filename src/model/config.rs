//! The dimensions and options of a network, and the defaults of its generation.

use crate::error::{Error, Result};
use crate::format::cursor::{Cursor, Encoder};
use alloc::vec::Vec;

/// An architecture family: one forward pass each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Learned positions, LayerNorm, GELU (tanh form), biases (Radford et al. 2019).
    Gpt2,
    /// RMSNorm, rotary positions, SwiGLU, grouped queries (Touvron et al. 2023), with the variants that
    /// [`Config`]'s fields name: Mistral, Qwen2, Qwen3.
    Llama,
}

impl Family {
    /// The name of the family, lower case.
    pub fn name(self) -> &'static str {
        match self {
            Family::Gpt2 => "gpt2",
            Family::Llama => "llama",
        }
    }
}

/// The dimensions and options of a network.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Architecture family.
    pub family: Family,
    /// Width of the residual stream.
    pub dim: usize,
    /// Width of the MLP's inner layer.
    pub hidden_dim: usize,
    /// Number of blocks.
    pub n_layers: usize,
    /// Number of query heads.
    pub n_heads: usize,
    /// Number of key and value heads; divides `n_heads`.
    pub n_kv_heads: usize,
    /// Width of a head; `n_heads * head_dim` need not equal `dim`.
    pub head_dim: usize,
    /// Number of tokens.
    pub vocab_size: usize,
    /// Positions the model was made for.
    pub context_length: usize,
    /// Epsilon of RMSNorm or LayerNorm.
    pub norm_eps: f32,
    /// Attention sees this many last positions, itself included (Mistral); `None`: all.
    pub sliding_window: Option<usize>,
    /// The unembedding is the embedding.
    pub tied: bool,
    /// q, k and v have biases.
    pub qkv_bias: bool,
    /// The attention output has a bias.
    pub output_bias: bool,
    /// The MLP's matrices have biases.
    pub mlp_bias: bool,
    /// q and k are RMS-normed per head (Qwen3).
    pub qk_norm: bool,
    /// Rotary frequencies, radians per position, `head_dim / 2` of them (pair i is elements i and i + head_dim / 2);
    /// scaling (linear, llama3) is already in them. Empty for learned positions.
    pub rope_freqs: Vec<f32>,
}

/// What the checkpoint's authors recommend for generation; absent where they say nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GenerationDefaults {
    /// Sampling temperature; 0 is arg-max.
    pub temperature: Option<f32>,
    /// Keep the k most probable tokens.
    pub top_k: Option<u32>,
    /// Keep the smallest set of tokens of this probability.
    pub top_p: Option<f32>,
    /// Keep tokens of at least this share of the most probable one.
    pub min_p: Option<f32>,
    /// Repetition penalty (Keskar et al. 2019).
    pub repeat_penalty: Option<f32>,
    /// Tokens that end a text.
    pub eos: Vec<u32>,
}

const FLAG_TIED: u32 = 1;
const FLAG_QKV_BIAS: u32 = 2;
const FLAG_OUTPUT_BIAS: u32 = 4;
const FLAG_MLP_BIAS: u32 = 8;
const FLAG_QK_NORM: u32 = 16;

impl Config {
    /// Refuses dimensions that are zero, beyond the limits or do not fit each other.
    pub fn check(&self) -> Result<()> {
        let limits = [
            ("dim", self.dim, 1 << 16),
            ("hidden_dim", self.hidden_dim, 1 << 20),
            ("n_layers", self.n_layers, 1024),
            ("n_heads", self.n_heads, 1024),
            ("n_kv_heads", self.n_kv_heads, 1024),
            ("head_dim", self.head_dim, 1 << 12),
            ("vocab_size", self.vocab_size, 1 << 20),
            ("context_length", self.context_length, 1 << 20),
        ];
        for (field, value, limit) in limits {
            if value == 0 || value > limit {
                return Err(Error::data(format!("{value} is outside 1..={limit}")).field(field));
            }
        }
        if !self.n_heads.is_multiple_of(self.n_kv_heads) {
            let message = format!("{} does not divide n_heads {}", self.n_kv_heads, self.n_heads);
            return Err(Error::data(message).field("n_kv_heads"));
        }
        if !(self.norm_eps > 0.0 && self.norm_eps < 1.0) {
            return Err(Error::data(format!("{} is outside (0, 1)", self.norm_eps)).field("norm_eps"));
        }
        if self.sliding_window == Some(0) {
            return Err(Error::data("0 positions").field("sliding_window"));
        }
        match self.family {
            Family::Gpt2 if !self.rope_freqs.is_empty() || self.qk_norm || self.sliding_window.is_some() => {
                Err(Error::data("gpt2 has no rotary positions, q/k norms or sliding window").field("family"))
            }
            Family::Gpt2 if self.n_kv_heads != self.n_heads => {
                Err(Error::data("gpt2 has as many key as query heads").field("n_kv_heads"))
            }
            Family::Llama if !self.head_dim.is_multiple_of(2) => {
                Err(Error::data(format!("{} is odd", self.head_dim)).field("head_dim"))
            }
            Family::Llama if self.rope_freqs.len() != self.head_dim / 2 => {
                let message = format!("{} for head_dim {}", self.rope_freqs.len(), self.head_dim);
                Err(Error::data(message).field("rope_freqs"))
            }
            _ => match self.rope_freqs.iter().position(|f| !(f.is_finite() && *f >= 0.0)) {
                Some(i) => Err(Error::data(format!("element {i} is {}", self.rope_freqs[i])).field("rope_freqs")),
                None => Ok(()),
            },
        }
    }

    /// The bytes of the CONF section (FORMAT.md, "Configuration").
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::default();
        out.u32(match self.family {
            Family::Gpt2 => 0,
            Family::Llama => 1,
        });
        let dims = [self.dim, self.hidden_dim, self.n_layers, self.n_heads, self.n_kv_heads, self.head_dim];
        for value in dims.into_iter().chain([self.vocab_size, self.context_length]) {
            out.u32(value as u32);
        }
        out.f32(self.norm_eps);
        out.u32(self.sliding_window.unwrap_or(0) as u32);
        let flags = [
            (self.tied, FLAG_TIED),
            (self.qkv_bias, FLAG_QKV_BIAS),
            (self.output_bias, FLAG_OUTPUT_BIAS),
            (self.mlp_bias, FLAG_MLP_BIAS),
            (self.qk_norm, FLAG_QK_NORM),
        ];
        out.u32(flags.iter().filter(|(set, _)| *set).map(|(_, bit)| bit).sum());
        out.u32(self.rope_freqs.len() as u32);
        self.rope_freqs.iter().for_each(|f| out.f32(*f));
        out.into_bytes()
    }

    /// Reads and checks a CONF section.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut input = Cursor::new(bytes, "configuration");
        let family = match input.u32("family")? {
            0 => Family::Gpt2,
            1 => Family::Llama,
            other => return Err(Error::data(format!("unknown family {other}")).field("family").at(0)),
        };
        let mut dims = [0; 8];
        for value in &mut dims {
            *value = input.u32("dimension")? as usize;
        }
        let [dim, hidden_dim, n_layers, n_heads, n_kv_heads, head_dim, vocab_size, context_length] = dims;
        let norm_eps = input.f32("norm_eps")?;
        let sliding_window = Some(input.u32("sliding_window")? as usize).filter(|w| *w > 0);
        let flags = input.u32("flags")?;
        if flags >= 32 {
            return Err(Error::data(format!("unknown bits {flags:#x}")).field("configuration flags"));
        }
        let n = input.count(4, "rope_freqs")?;
        let rope_freqs = (0..n).map(|_| input.f32("rope_freqs")).collect::<Result<Vec<_>>>()?;
        input.finish()?;
        let config = Config {
            family,
            dim,
            hidden_dim,
            n_layers,
            n_heads,
            n_kv_heads,
            head_dim,
            vocab_size,
            context_length,
            norm_eps,
            sliding_window,
            tied: flags & FLAG_TIED != 0,
            qkv_bias: flags & FLAG_QKV_BIAS != 0,
            output_bias: flags & FLAG_OUTPUT_BIAS != 0,
            mlp_bias: flags & FLAG_MLP_BIAS != 0,
            qk_norm: flags & FLAG_QK_NORM != 0,
            rope_freqs,
        };
        config.check()?;
        Ok(config)
    }
}

impl GenerationDefaults {
    /// The bytes of the GENR section (FORMAT.md, "Generation defaults"): absent values are NaN or 0xffff_ffff.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::default();
        for value in [self.temperature, self.top_p, self.min_p, self.repeat_penalty] {
            out.f32(value.unwrap_or(f32::NAN));
        }
        out.u32(self.top_k.unwrap_or(u32::MAX));
        out.u32(self.eos.len() as u32);
        self.eos.iter().for_each(|id| out.u32(*id));
        out.into_bytes()
    }

    /// Reads a GENR section.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut input = Cursor::new(bytes, "generation defaults");
        let mut values = [None; 4];
        for value in &mut values {
            *value = Some(input.f32("generation default")?).filter(|v| !v.is_nan());
        }
        let [temperature, top_p, min_p, repeat_penalty] = values;
        let top_k = Some(input.u32("top_k")?).filter(|k| *k != u32::MAX);
        let n = input.count(4, "eos")?;
        let eos = (0..n).map(|_| input.u32("eos")).collect::<Result<Vec<_>>>()?;
        input.finish()?;
        Ok(GenerationDefaults { temperature, top_k, top_p, min_p, repeat_penalty, eos })
    }
}
