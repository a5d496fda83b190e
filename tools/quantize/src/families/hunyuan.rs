//! Hunyuan of dense layers (Tencent 2025): Llama with norms of queries and keys after they turned.

use whit::model::spec::Part;
use whit::model::{HeadNorm, QkNorm};

use super::family::{Family, Gguf};
use super::llama::{self, NAMES, SHARED, SHARED_GGUF_NAMES};
use super::variant::Variant;
use crate::source::hf::rope::RotaryKind;

pub(super) static HUNYUAN: Family = Family {
    model_type: "hunyuan_v1_dense",
    architectures: &["HunYuanDenseV1ForCausalLM", "HunYuanDenseV1Model"],
    config: |fields| llama::config(fields, &VARIANT),
    names: &[QK_NORMS, NAMES],
    gguf: Some(Gguf {
        architecture: "hunyuan-dense",
        label: "hunyuan-dense",
        interleaved_rotary: false,
        config: |keys| llama::gguf_config(keys, &VARIANT),
        names: SHARED_GGUF_NAMES,
    }),
    ..SHARED
};

const QK_NORMS: &[(Part, &str)] = &[
    (Part::QueryNorm, "model.layers.{}.self_attn.query_layernorm"),
    (Part::KeyNorm, "model.layers.{}.self_attn.key_layernorm"),
];

const VARIANT: Variant = Variant {
    eps_default: 1e-5,
    mlp_bias_field: None,
    rotary: RotaryKind { alpha: true, ..RotaryKind::WHOLE },
    qk_norm: Some(QkNorm { kind: HeadNorm::Each, after_rotation: true }),
    ..Variant::LLAMA
};
