//! Networks all of whose layers are alike, of the two families that the first form of the configuration section names.

use super::attention::Attention;
use super::block::Layer;
use super::config::Config;
use super::fields::in_limit;
use super::head_norm::QkNorm;
use super::mixer::Mixer;
use super::mlp::{Mlp, MlpKind};
use super::spec::{BranchNorms, NormKind};
use crate::error::{Error, Result};
use crate::format::cursor::{Cursor, Encoder};
use crate::ops::Activation;
use alloc::vec::Vec;

/// A family of the first form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Learned positions, LayerNorm, GELU (tanh form), biases (Radford et al. 2019).
    Gpt2,
    /// RMSNorm, rotary positions, SwiGLU, grouped queries (Touvron et al. 2023), with the variants that
    /// [`Uniform`]'s fields name: Mistral, Qwen2, Qwen3.
    Llama,
}

impl Family {
    /// All families, in the order of their codes.
    pub const ALL: [Family; 2] = [Family::Gpt2, Family::Llama];

    /// The name of the family, lower case.
    pub fn name(self) -> &'static str {
        match self {
            Family::Gpt2 => "gpt2",
            Family::Llama => "llama",
        }
    }
}

/// The dimensions and options of a network whose layers are alike.
#[derive(Debug, Clone, PartialEq)]
pub struct Uniform {
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
    /// Width of a head.
    pub head_dim: usize,
    /// Number of tokens.
    pub vocab_size: usize,
    /// Positions the model was made for.
    pub context_length: usize,
    /// Epsilon of RMSNorm or LayerNorm.
    pub norm_eps: f32,
    /// Attention sees this many last positions, itself included; `None`: all.
    pub sliding_window: Option<usize>,
    /// The unembedding is the embedding.
    pub tied: bool,
    /// q, k and v have biases.
    pub qkv_bias: bool,
    /// The attention output has a bias.
    pub output_bias: bool,
    /// The MLP's matrices have biases.
    pub mlp_bias: bool,
    /// q and k are RMS-normed per head.
    pub qk_norm: bool,
    /// Rotary frequencies, `head_dim / 2` of them; empty for learned positions.
    pub rope_freqs: Vec<f32>,
}

const FLAG_TIED: u32 = 1;
const FLAG_QKV_BIAS: u32 = 2;
const FLAG_OUTPUT_BIAS: u32 = 4;
const FLAG_MLP_BIAS: u32 = 8;
const FLAG_QK_NORM: u32 = 16;

impl Uniform {
    /// The network as a plan of layers.
    pub fn config(&self) -> Config {
        let gpt2 = self.family == Family::Gpt2;
        let attention = Attention {
            window: self.sliding_window,
            rotary: (!gpt2).then_some(0),
            qk_norm: self.qk_norm.then_some(QkNorm::HEADS),
            qkv_bias: self.qkv_bias,
            output_bias: self.output_bias,
            ..Attention::plain(self.n_heads, self.n_kv_heads, self.head_dim)
        };
        let kind = if gpt2 { MlpKind::plain(Activation::GeluTanh) } else { MlpKind::SWIGLU };
        let layer = Layer {
            mixer: Mixer::Attention(attention),
            beside: None,
            mixer_norms: BranchNorms::PRE,
            mlp: Mlp { hidden_dim: self.hidden_dim, kind, bias: self.mlp_bias, inner_norm: false, experts: None },
            mlp_norms: BranchNorms::PRE,
            parallel: false,
            scaled: false,
        };
        Config {
            family: self.family.name().into(),
            dim: self.dim,
            vocab_size: self.vocab_size,
            context_length: self.context_length,
            learned_positions: gpt2,
            embedding_norm: false,
            rotary_tables: if gpt2 { Vec::new() } else { vec![self.rope_freqs.clone()] },
            norm: if gpt2 { NormKind::Layer } else { NormKind::Rms },
            norm_eps: self.norm_eps,
            layers: vec![layer; self.n_layers],
            tied: self.tied,
            unembedding_bias: false,
            logit_cap: None,
            layer_inputs: None,
        }
    }

    /// The form of `config`, where its layers are alike and it is of one of the families.
    pub fn of(config: &Config) -> Option<Uniform> {
        let family = Family::ALL.into_iter().find(|family| family.name() == config.family)?;
        let first = config.layers.first()?;
        let a = first.attention()?;
        let uniform = Uniform {
            family,
            dim: config.dim,
            hidden_dim: first.mlp.hidden_dim,
            n_layers: config.layers.len(),
            n_heads: a.n_heads,
            n_kv_heads: a.n_kv_heads,
            head_dim: a.head_dim,
            vocab_size: config.vocab_size,
            context_length: config.context_length,
            norm_eps: config.norm_eps,
            sliding_window: a.window,
            tied: config.tied,
            qkv_bias: a.qkv_bias,
            output_bias: a.output_bias,
            mlp_bias: first.mlp.bias,
            qk_norm: a.qk_norm.is_some(),
            rope_freqs: config.rotary_tables.first().cloned().unwrap_or_default(),
        };
        (uniform.check().is_ok() && uniform.config() == *config).then_some(uniform)
    }

    /// Refuses what does not fit the family or a plan.
    pub fn check(&self) -> Result<()> {
        if self.n_layers == 0 || self.n_layers > 1024 {
            return Err(Error::data(format!("{} is outside 1..=1024", self.n_layers)).field("n_layers"));
        }
        if let Some(window) = self.sliding_window {
            in_limit("sliding_window", window, u32::MAX as usize)?;
        }
        self.config().check()?;
        match self.family {
            Family::Gpt2 if !self.rope_freqs.is_empty() || self.qk_norm || self.sliding_window.is_some() => {
                Err(Error::data("gpt2 has no rotary positions, q/k norms or sliding window").field("family"))
            }
            Family::Gpt2 if self.n_kv_heads != self.n_heads => {
                Err(Error::data("gpt2 has as many key as query heads").field("n_kv_heads"))
            }
            _ => Ok(()),
        }
    }

    /// The bytes of the CONF section in its first form (FORMAT.md, "Configuration").
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::default();
        out.u32(self.family as u32);
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

    /// Reads and checks a CONF section of the first form whose `family` was read.
    pub(super) fn decode(family: Family, mut input: Cursor<'_>) -> Result<Self> {
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
        let uniform = Uniform {
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
        uniform.check()?;
        Ok(uniform)
    }
}
