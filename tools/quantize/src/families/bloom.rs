//! BLOOM (BigScience 2022): scores fall with the distance (ALiBi), and what enters the first block is normed.

use whit::error::Result;
use whit::model::Config;
use whit::model::spec::Part;

use super::family::{Family, Gguf};
use super::gpt2::{self, GPT2};
use super::transform::Transform;
use crate::source::hf::fields::Fields;

pub(super) static BLOOM: Family = Family {
    model_type: "bloom",
    architectures: &["BloomForCausalLM", "BloomModel"],
    config,
    ignored: &[],
    names: &[NAMES],
    transform: |_, _, _| Transform::default(),
    fused_by_head: true,
    gguf: Some(Gguf {
        architecture: "bloom",
        label: "bloom",
        interleaved_rotary: false,
        config: |keys| gpt2::gguf_config(keys).map(with_slopes),
        names: gpt2::GGUF,
    }),
    ..GPT2
};

const NAMES: &[(Part, &str)] = &[
    (Part::Embedding, "word_embeddings"),
    (Part::EmbeddingNorm, "word_embeddings_layernorm"),
    (Part::AttentionNorm, "h.{}.input_layernorm"),
    (Part::Query, "h.{}.self_attention.query_key_value"),
    (Part::Key, "h.{}.self_attention.query_key_value"),
    (Part::Value, "h.{}.self_attention.query_key_value"),
    (Part::Output, "h.{}.self_attention.dense"),
    (Part::MlpNorm, "h.{}.post_attention_layernorm"),
    (Part::Up, "h.{}.mlp.dense_h_to_4h"),
    (Part::Down, "h.{}.mlp.dense_4h_to_h"),
    (Part::FinalNorm, "ln_f"),
    (Part::Unembedding, "lm_head"),
];

/// Positions of the training, which config.json need not name: scores fall on beyond them.
const CONTEXT: usize = 2048;

fn config(fields: &mut Fields<'_>) -> Result<Config> {
    fields.also_called(&[("n_embd", "hidden_size"), ("n_embd", "n_embed"), ("n_positions", "seq_length")]);
    if fields.bool("apply_residual_connection_post_layernorm", false)? {
        let error = fields.error("apply_residual_connection_post_layernorm", "true is not supported");
        return Err(error.hint("BLOOM is read as it was published, where branches add to what their norms read"));
    }
    let context = fields.usize("n_positions", Some(CONTEXT))?.unwrap_or(CONTEXT);
    let variant = gpt2::Variant { context: Some(context), ..gpt2::Variant::GPT2 };
    gpt2::config(fields, variant).map(with_slopes)
}

/// The plan with the slopes of Press et al. 2022 in place of learned positions, and a norm of what enters the first block.
fn with_slopes(mut config: Config) -> Config {
    config.learned_positions = false;
    config.embedding_norm = true;
    for layer in &mut config.layers {
        if let Some(attention) = layer.attention_mut() {
            attention.slopes = slopes(attention.n_heads);
        }
    }
    config
}

/// A geometric sequence from one to 2^-8 for the largest power of two of heads; every other one of twice as many for the rest.
fn slopes(n_heads: usize) -> Vec<f32> {
    let power = 1 << n_heads.max(1).ilog2();
    let slope = |of: usize, i: usize| 2f64.powf(-8.0 * i as f64 / of as f64) as f32;
    let first = (1..=power).map(|i| slope(power, i));
    first.chain((0..n_heads - power).map(|i| slope(2 * power, 2 * i + 1))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slopes_of_any_number_of_heads() {
        assert_eq!(slopes(4), [0.25, 0.0625, 0.015625, 0.00390625]);
        assert_eq!(slopes(1), [0.00390625]);
        assert_eq!(slopes(6)[4..], [0.5, 0.125]);
    }
}
