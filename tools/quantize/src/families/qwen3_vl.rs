//! The language model of Qwen3-VL (Alibaba): Qwen3. Of a text alone, all three of its rotary positions are one.

use super::family::{Family, Gguf};
use super::llama::{self, SHARED, SHARED_GGUF_NAMES};
use super::variant::{Variant, Window};
use crate::source::hf::rope::RotaryKind;

pub(super) static QWEN3_VL: Family = Family {
    model_type: "qwen3_vl_text",
    architectures: &["Qwen3VLTextModel"],
    config: |fields| llama::config(fields, &VARIANT),
    gguf: Some(Gguf {
        architecture: "qwen3vl",
        label: "qwen3vl",
        interleaved_rotary: false,
        config: |keys| llama::gguf_config(keys, &VARIANT),
        names: SHARED_GGUF_NAMES,
    }),
    ..SHARED
};

const VARIANT: Variant = Variant {
    context_default: 128_000,
    window: Window::Never,
    rotary: RotaryKind { theta: 500_000.0, ..RotaryKind::WHOLE },
    ..Variant::QWEN3
};
