//! How much each token of a text is looked at: an error in the key or the value of a token goes as far as the attention that the
//! token receives. The first one receives most of it (Xiao et al. 2023, "attention sinks"), as one token among hundreds.

use std::collections::BTreeMap;

use rayon::prelude::*;
use whit::kernels::math::exp;
use whit::model::{Attention, Layer, Model, Observer, Point};

/// Share of its own weight that a token keeps, however little it is looked at.
const KEPT: f32 = 0.3;

/// The attention that the tokens of windows receive in each block.
pub(super) struct Attended {
    /// Each with its sinks, (n_heads), or none.
    attentions: BTreeMap<usize, (Attention, Vec<f32>)>,
    /// Keys of the pass, (T, n_kv_heads, head_dim).
    keys: Vec<f32>,
    /// Weights of the tokens of each window by block, (T), 1 on average.
    windows: Vec<BTreeMap<usize, Vec<f32>>>,
}

impl Attended {
    pub(super) fn new(model: &Model) -> Self {
        let layers = model.config().layers.iter().enumerate();
        // Nobody asks how much keys and values count where there are none.
        let own = |layer: &Layer| layer.attention().filter(|attention| attention.shares.is_none()).cloned();
        let of = |(i, layer): (usize, &Layer)| Some((i, (own(layer)?, model.sinks(i).to_vec())));
        let attentions = layers.filter_map(of).collect();
        Attended { attentions, keys: Vec::new(), windows: Vec::new() }
    }

    /// Another window begins.
    pub(super) fn begin(&mut self) {
        self.windows.push(BTreeMap::new());
    }

    /// How much the tokens of a window count for keys and values of block `layer`, (T), 1 on average: 0.3 of them evenly, the rest
    /// by the squares of the attention probabilities that they receive. `None` where nobody looks at them.
    pub(super) fn weights(&self, window: usize, layer: usize) -> Option<&[f32]> {
        self.windows.get(window)?.get(&layer).map(Vec::as_slice)
    }
}

impl Observer for Attended {
    fn see(&mut self, layer: Option<usize>, point: Point, values: &[f32]) {
        match (layer, point) {
            (_, Point::Keys) => {
                self.keys.clear();
                self.keys.extend_from_slice(values);
            }
            (Some(layer), Point::Queries) => {
                let (Some((attention, sinks)), Some(window)) = (self.attentions.get(&layer), self.windows.last_mut())
                else {
                    return;
                };
                window.insert(layer, weights(attention, sinks, values, &self.keys));
            }
            _ => {}
        }
    }
}

/// See [`Attended::weights`]; `queries` (T, n_heads, head_dim), `keys` (T, n_kv_heads, head_dim).
fn weights(attention: &Attention, sinks: &[f32], queries: &[f32], keys: &[f32]) -> Vec<f32> {
    let n = queries.len() / attention.width();
    let heads: Vec<_> =
        (0..attention.n_heads).into_par_iter().map(|head| received(attention, sinks, head, queries, keys)).collect();
    let received: Vec<f32> = (0..n).map(|t| heads.iter().map(|head| head[t]).sum()).collect();
    let mean = received.iter().sum::<f32>() / n as f32;
    let share = if mean.is_normal() { (1.0 - KEPT) / mean } else { 0.0 };
    received.iter().map(|x| KEPT + share * x).collect()
}

/// Sums of the squared probabilities with which tokens look by `head` at each token, (T).
fn received(attention: &Attention, sinks: &[f32], head: usize, queries: &[f32], keys: &[f32]) -> Vec<f32> {
    let dim = attention.head_dim;
    let at = attention.kv_head(head) * dim;
    let keys: Vec<&[f32]> = keys.chunks_exact(attention.kv_width()).map(|row| &row[at..at + dim]).collect();
    let scale = 1.0 / (dim as f32).sqrt();
    let mut received = vec![0.0; keys.len()];
    let mut scores = Vec::new();
    for (t, row) in queries.chunks_exact(attention.width()).enumerate() {
        let query = &row[head * dim..(head + 1) * dim];
        let seen = attention.seen(t);
        scores.clear();
        scores.extend(
            keys[seen.clone()]
                .iter()
                .zip((0..seen.len()).rev())
                .map(|(key, distance)| attention.score(head, f64::from(dot(query, key) * scale), distance) as f32),
        );
        scores.extend(sinks.get(head));
        let best = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        scores.iter_mut().for_each(|score| *score = exp(*score - best));
        let all: f32 = scores.iter().sum();
        for (received, score) in received[seen].iter_mut().zip(&scores) {
            let p = score / all;
            *received += p * p;
        }
    }
    received
}

/// The dot product, in 8 lanes.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut lanes = [0.0_f32; 8];
    for (a, b) in a.iter().zip(b) {
        for i in 0..8 {
            lanes[i] += a[i] * b[i];
        }
    }
    lanes.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attention(window: Option<usize>) -> Attention {
        Attention { window, ..Attention::plain(4, 2, 10) }
    }

    /// The formula in f64.
    fn twin(a: &Attention, sinks: &[f32], queries: &[f32], keys: &[f32], n: usize) -> Vec<f64> {
        let mut received = vec![0.0; n];
        for head in 0..a.n_heads {
            for t in 0..n {
                let score = |j: usize| {
                    let q = &queries[(t * a.n_heads + head) * a.head_dim..][..a.head_dim];
                    let k = &keys[(j * a.n_kv_heads + a.kv_head(head)) * a.head_dim..][..a.head_dim];
                    let dot: f64 = q.iter().zip(k).map(|(q, k)| f64::from(*q) * f64::from(*k)).sum();
                    (dot / (a.head_dim as f64).sqrt()).exp()
                };
                let all =
                    a.seen(t).map(score).sum::<f64>() + sinks.get(head).map_or(0.0, |sink| f64::from(*sink).exp());
                a.seen(t).for_each(|j| received[j] += (score(j) / all).powi(2));
            }
        }
        let mean = received.iter().sum::<f64>() / n as f64;
        received.iter().map(|x| 0.3 + 0.7 * x / mean).collect()
    }

    #[test]
    fn tokens_count_by_the_attention_they_receive() {
        let n = 13;
        for (window, sinks) in [(None, vec![]), (Some(4), vec![]), (None, vec![0.5, 2.0, -1.0, 30.0])] {
            let a = attention(window);
            let queries: Vec<f32> = (0..n * a.width()).map(|i| (i * 37 % 101) as f32 / 40.0 - 1.2).collect();
            let keys: Vec<f32> = (0..n * a.kv_width()).map(|i| (i * 53 % 97) as f32 / 40.0 - 1.2).collect();
            let found = weights(&a, &sinks, &queries, &keys);
            for (got, want) in found.iter().zip(twin(&a, &sinks, &queries, &keys, n)) {
                assert!((f64::from(*got) - want).abs() < 1e-4, "{got} for {want}");
            }
        }
    }
}
