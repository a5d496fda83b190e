//! Models that read more than text, around a language model.

/// A model whose config.json has that of a language model in `text_config`.
#[derive(Debug)]
pub(crate) struct Wrapper {
    /// `model_type` in config.json.
    pub(crate) model_type: &'static str,
    /// Its class.
    pub(crate) architecture: &'static str,
    /// Modules whose tensors are left out.
    pub(crate) left_out: &'static [&'static str],
}

/// All that are read.
static WRAPPERS: [Wrapper; 5] = [
    Wrapper { model_type: "qwen3_5", architecture: "Qwen3_5ForConditionalGeneration", left_out: &["visual"] },
    Wrapper { model_type: "qwen3_vl", architecture: "Qwen3VLForConditionalGeneration", left_out: &["visual"] },
    Wrapper {
        model_type: "mistral3",
        architecture: "Mistral3ForConditionalGeneration",
        left_out: &["vision_tower", "multi_modal_projector"],
    },
    Wrapper {
        model_type: "gemma3",
        architecture: "Gemma3ForConditionalGeneration",
        left_out: &["vision_tower", "multi_modal_projector"],
    },
    Wrapper {
        model_type: "gemma4",
        architecture: "Gemma4ForConditionalGeneration",
        left_out: &["vision_tower", "embed_vision", "audio_tower", "embed_audio"],
    },
];

impl Wrapper {
    /// The one whose `model_type` or class is `name`.
    pub(crate) fn named(name: &str) -> Option<&'static Wrapper> {
        WRAPPERS.iter().find(|wrapper| wrapper.model_type == name || wrapper.architecture == name)
    }

    /// The `model_type` of all.
    pub(crate) fn model_types() -> impl Iterator<Item = &'static str> {
        WRAPPERS.iter().map(|wrapper| wrapper.model_type)
    }
}
