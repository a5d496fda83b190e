//! What parts of a network are multiplied by on the way into a file, so that no op has to do it.

use whit::model::spec::{Part, TensorSpec};
use whit::model::{Config, Layer};

use super::transform::{RowFactors, Turning};
use crate::source::rope::Rotary;

/// Factors of parts, in every block or outside of the blocks.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Factors {
    parts: Vec<(Part, Vec<f32>)>,
    rows: Vec<(Part, RowFactors)>,
    turning: Option<Turning>,
}

/// What networks are multiplied by so that training goes on at any width and depth (Yang et al. 2022).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Multipliers {
    /// Of the token vectors.
    pub(crate) embedding: f64,
    /// Of what each branch adds to the residual stream.
    pub(crate) residual: f64,
    /// Of the scores of attention, in place of one over the root of the width of heads.
    pub(crate) attention: Option<f64>,
    /// What the logits are divided by.
    pub(crate) logits: f64,
}

impl Factors {
    /// Multiplies what `multipliers` say in the network `config`.
    pub(crate) fn multiply(&mut self, config: &Config, multipliers: Multipliers) {
        let n_layers = config.n_layers();
        self.scale(Part::Embedding, vec![multipliers.embedding as f32]);
        self.scale(Part::FinalNorm, vec![(1.0 / multipliers.logits) as f32]);
        // What is normed keeps its length, whatever it is multiplied by before.
        let normed = config.layers.iter().any(|layer| layer.mixer_norms.output);
        let ends: &[Part] = match normed {
            true => &[Part::OutputNorm, Part::DownNorm],
            false => &[Part::Output, Part::ScanOutput, Part::Down, Part::SharedDown],
        };
        ends.iter().for_each(|part| self.scale(*part, vec![multipliers.residual as f32; n_layers]));
        if let Some(attention) = multipliers.attention {
            let root = |layer: &Layer| layer.attention().map_or(1.0, |attention| (attention.head_dim as f64).sqrt());
            let queries = config.layers.iter().map(|layer| (attention * root(layer)) as f32);
            self.scale(Part::Query, queries.collect());
        }
    }

    /// Queries and keys of those layers that `turn` turn as `rotary` says. Both are multiplied by its factor: their product by its
    /// square.
    pub(crate) fn turn(&mut self, rotary: &Rotary, turn: &[bool]) {
        let factor = rotary.attention_factor.powi(2) as f32;
        if rotary.turning == 2 * rotary.freqs.len() {
            self.scale(Part::Query, turn.iter().map(|turns| if *turns { factor } else { 1.0 }).collect());
        } else {
            self.turning = Some(Turning { rows: rotary.turning, factor });
        }
    }

    /// What part of each head turns; `None`: all of it.
    pub(crate) fn turning(&self) -> Option<Turning> {
        self.turning
    }

    /// Multiplies a part of each block, weights and biases, by the factor of the block; a part outside of the blocks by the only
    /// one.
    ///
    /// [`Part::Query`] stands for queries as they meet keys: it is the norm of queries, where there is one, that is multiplied.
    /// [`Part::Embedding`] stands for what enters the first block: where the logits are made by the same vectors, they stay as
    /// they are.
    pub(crate) fn scale(&mut self, part: Part, factors: Vec<f32>) {
        match self.parts.iter_mut().find(|(known, _)| *known == part) {
            Some((_, known)) => known.iter_mut().zip(factors).for_each(|(known, factor)| *known *= factor),
            None => self.parts.push((part, factors)),
        }
    }

    /// Multiplies the rows of the weight of a part, in every block.
    pub(crate) fn scale_rows(&mut self, part: Part, factors: RowFactors) {
        self.rows.push((part, factors));
    }

    /// What the rows of a tensor are multiplied by; `None`: all by the same.
    pub(crate) fn of_rows(&self, spec: &TensorSpec) -> Option<RowFactors> {
        let of_part = self.rows.iter().find(|(part, _)| *part == spec.part && !spec.is_bias);
        of_part.map(|(_, factors)| *factors)
    }

    /// What the values of a tensor of the plan `config` are multiplied by; `None`: nothing.
    pub(crate) fn of(&self, config: &Config, spec: &TensorSpec) -> Option<f32> {
        let at = spec.layer.unwrap_or(0);
        let given = |part: Part| {
            let factors = self.parts.iter().find(|(known, _)| *known == part);
            factors.and_then(|(_, factors)| factors.get(at).copied()).unwrap_or(1.0)
        };
        let normed =
            spec.layer.and_then(|layer| config.layers.get(layer)?.attention()).is_some_and(|a| a.qk_norm.is_some());
        let factor = match spec.part {
            Part::Query if normed => 1.0,
            Part::QueryNorm => given(Part::Query),
            Part::FinalNorm if config.tied => given(Part::FinalNorm) / given(Part::Embedding),
            part => given(part),
        };
        Some(factor).filter(|factor| *factor != 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use whit::model::{Family, Uniform, tensors};

    fn config(qk_norm: bool, tied: bool) -> Config {
        let network = Uniform {
            family: Family::Llama,
            dim: 8,
            hidden_dim: 12,
            n_layers: 2,
            n_heads: 2,
            n_kv_heads: 2,
            head_dim: 4,
            vocab_size: 5,
            context_length: 6,
            norm_eps: 1e-5,
            sliding_window: None,
            tied,
            qkv_bias: true,
            output_bias: false,
            mlp_bias: false,
            qk_norm,
            rope_freqs: vec![1.0, 0.1],
        };
        network.config()
    }

    /// The tensors that are multiplied, by what.
    fn scaled(factors: &Factors, config: &Config) -> Vec<(String, f32)> {
        tensors(config).iter().filter_map(|spec| Some((spec.name.clone(), factors.of(config, spec)?))).collect()
    }

    #[test]
    fn queries_are_scaled_by_what_stands_last_before_their_rotation() {
        let mut factors = Factors::default();
        factors.scale(Part::Query, vec![1.0, 3.0]);
        factors.scale(Part::Query, vec![1.0, 2.0]);
        let names = |config: &Config| scaled(&factors, config);
        let both = [("blocks.1.q".to_string(), 6.0), ("blocks.1.q.bias".to_string(), 6.0)];
        assert_eq!(names(&config(false, false)), both);
        assert_eq!(names(&config(true, false)), [("blocks.1.q_norm".to_string(), 6.0)]);
    }

    #[test]
    fn multipliers_are_those_of_parts() {
        let mut factors = Factors::default();
        let multipliers = Multipliers { embedding: 12.0, residual: 0.25, attention: Some(0.25), logits: 8.0 };
        factors.multiply(&config(false, false), multipliers);
        let scaled = scaled(&factors, &config(false, false));
        let of = |name: &str| scaled.iter().find(|(scaled, _)| scaled == name).map(|(_, factor)| *factor);
        assert_eq!((of("embedding"), of("final_norm"), of("unembedding")), (Some(12.0), Some(0.125), None));
        assert_eq!((of("blocks.1.o"), of("blocks.1.down"), of("blocks.1.up")), (Some(0.25), Some(0.25), None));
        assert_eq!((of("blocks.0.q"), of("blocks.0.q.bias"), of("blocks.0.k")), (Some(0.5), Some(0.5), None));
    }

    #[test]
    fn a_part_that_turns_has_a_factor_of_its_own() {
        let mut rotary = Rotary::of_part(2, 4, 100.0, 8);
        rotary.attention_factor = 3.0;
        let mut factors = Factors::default();
        factors.turn(&rotary, &[true; 2]);
        assert_eq!(factors.turning(), Some(Turning { rows: 2, factor: 9.0 }));
        assert_eq!(scaled(&factors, &config(false, false)), []);
        let mut factors = Factors::default();
        factors.turn(&Rotary { turning: 4, ..rotary }, &[true; 2]);
        assert_eq!((factors.turning(), scaled(&factors, &config(false, false)).len()), (None, 4));
    }

    #[test]
    fn logits_stay_as_they_are_where_token_vectors_grow() {
        let mut factors = Factors::default();
        factors.scale(Part::Embedding, vec![8.0]);
        factors.scale(Part::FinalNorm, vec![0.5]);
        let want = |norm: f32| [("embedding".to_string(), 8.0), ("final_norm".to_string(), norm)];
        assert_eq!(scaled(&factors, &config(false, true)), want(0.0625));
        assert_eq!(scaled(&factors, &config(false, false)), want(0.5));
    }
}
