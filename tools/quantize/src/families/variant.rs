//! What a family has that Llama has not, as data.

use whit::model::spec::NormKind;
use whit::model::{BranchNorms, MlpKind, QkNorm};

use crate::source::hf::rope::RotaryKind;

/// What one of the families has that another lacks. Defaults are those of transformers.
#[derive(Debug)]
pub(super) struct Variant {
    /// Fields of config.json, and other names of them.
    pub(super) also_called: &'static [(&'static str, &'static str)],
    /// Dimensions that config.json may leave out.
    pub(super) defaults: &'static [(&'static str, usize)],
    /// The field that has the width of the MLP.
    pub(super) hidden_dim_field: &'static str,
    /// How many times as wide the MLP is as the residual stream where that field is left out; `None`: it has to be there.
    pub(super) hidden_dim_times: Option<usize>,
    /// The number of key and value heads where config.json leaves it out; `None`: as many as query heads.
    pub(super) kv_heads_default: Option<usize>,
    /// The width of heads where config.json leaves it out; `None`: the heads share the width of the residual stream.
    pub(super) head_dim_default: Option<usize>,
    /// The number of positions where config.json leaves it out.
    pub(super) context_default: usize,
    /// The field of the epsilon of the norms; `None`: it is always the default.
    pub(super) eps_field: Option<&'static str>,
    /// The epsilon of the norms where config.json leaves it out.
    pub(super) eps_default: f64,
    /// The unembedding is the embedding where config.json does not say.
    pub(super) tied_default: bool,
    /// The field that says whether q, k and v have biases, and what holds where it is left out.
    pub(super) attention_bias_field: Option<(&'static str, bool)>,
    /// Where they have by that field, the output has one, too.
    pub(super) output_bias: bool,
    /// q, k and v have biases, whatever else is said.
    pub(super) qkv_bias: bool,
    /// The output has a bias, whatever else is said.
    pub(super) o_bias: bool,
    /// The field that says whether the MLP has biases, and what holds where it is left out.
    pub(super) mlp_bias_field: Option<(&'static str, bool)>,
    /// The MLP has biases, whatever else is said.
    pub(super) mlp_bias: bool,
    /// The field that names what stands between the matrices of the MLP.
    pub(super) mlp_field: &'static str,
    /// What stands between the matrices of the MLP where config.json does not say.
    pub(super) mlp: MlpKind,
    /// What the norms of the residual stream are.
    pub(super) norm: NormKind,
    /// Both branches of a block read what the block reads.
    pub(super) parallel: bool,
    /// The logits have a bias.
    pub(super) unembedding_bias: bool,
    /// The norms of attention and those of the MLP.
    pub(super) norms: [BranchNorms; 2],
    pub(super) qk_norm: Option<QkNorm>,
    /// A norm stands before the last matrix of each branch.
    pub(super) inner_norms: bool,
    pub(super) window: Window,
    pub(super) rotary: RotaryKind,
    /// Layers with a window turn by a table of their own.
    pub(super) local_rotary: Option<LocalRotary>,
    /// Layers without a window turn, too, where others have one.
    pub(super) full_turns: bool,
    /// The field that has to be "rope": else nothing tells positions apart but the order that causal attention makes.
    pub(super) positions_field: Option<&'static str>,
}

/// The rotary positions of layers with a window, where they are not those of the others: without a scaling, by this base.
#[derive(Debug, Clone, Copy)]
pub(super) struct LocalRotary {
    /// The field of config.json that names the base, where settings are not by type of layer.
    pub(super) field: Option<&'static str>,
    /// The base where nothing is said.
    pub(super) theta: f64,
}

/// What config.json says of windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Window {
    /// Nothing.
    Never,
    /// `sliding_window` counts, which is so many where it is left out; `None`: there is none then.
    Always(Option<usize>),
    /// `sliding_window` counts where `use_sliding_window` is true, from layer `max_window_layers` on.
    Asked,
    /// `sliding_window` counts where `use_sliding_window` is true, in the layers that `layer_types` names.
    Listed,
    /// `sliding_window` counts, 4096 where it is left out, but for the last of each so many layers, where `layer_types` does not say
    /// which.
    AllBut(usize),
}

impl Variant {
    pub(super) const LLAMA: Variant = Variant {
        also_called: &[],
        defaults: &[],
        hidden_dim_field: "intermediate_size",
        hidden_dim_times: None,
        kv_heads_default: None,
        head_dim_default: None,
        context_default: 2048,
        eps_field: Some("rms_norm_eps"),
        eps_default: 1e-6,
        tied_default: false,
        attention_bias_field: Some(("attention_bias", false)),
        output_bias: true,
        qkv_bias: false,
        o_bias: false,
        mlp_bias_field: Some(("mlp_bias", false)),
        mlp_bias: false,
        mlp_field: "hidden_act",
        mlp: MlpKind::SWIGLU,
        norm: NormKind::Rms,
        parallel: false,
        unembedding_bias: false,
        norms: [BranchNorms::PRE; 2],
        qk_norm: None,
        inner_norms: false,
        window: Window::Never,
        rotary: RotaryKind::WHOLE,
        local_rotary: None,
        full_turns: true,
        positions_field: None,
    };
    pub(super) const MISTRAL: Variant = Variant {
        kv_heads_default: Some(8),
        context_default: 131_072,
        attention_bias_field: None,
        mlp_bias_field: None,
        window: Window::Always(Some(4096)),
        ..Variant::LLAMA
    };
    pub(super) const QWEN2: Variant = Variant {
        kv_heads_default: Some(32),
        context_default: 32_768,
        qkv_bias: true,
        window: Window::Asked,
        ..Variant::MISTRAL
    };
    pub(super) const QWEN3: Variant = Variant {
        head_dim_default: Some(128),
        attention_bias_field: Some(("attention_bias", false)),
        qkv_bias: false,
        qk_norm: Some(QkNorm::HEADS),
        ..Variant::QWEN2
    };
}
