//! Who looks at whom: attention probabilities, computed anew from the queries of a forward pass and the keys in the cache,
//! since the attention kernels keep none.

use crate::error::Result;
use crate::model::{self, Config, Observer, Point, Session};
use crate::token::TokenId;

/// What the heads of a network do on a text of T tokens.
pub struct Attention<'s> {
    session: &'s Session,
    config: &'s Config,
    tokens: Vec<TokenId>,
    /// Of each layer: those of the tokens from `first` on, (T - first, n_heads, head_dim).
    queries: Vec<Vec<f32>>,
    first: usize,
    /// Of each layer: the score of each head that has no value, (n_heads), or none.
    sinks: Vec<Vec<f32>>,
}

/// Keeps the queries of each layer, of the last tokens.
struct Queries {
    layers: Vec<Vec<f32>>,
    /// Tokens that are still to come before those.
    ahead: Vec<usize>,
    /// Elements of the queries of a token.
    widths: Vec<usize>,
}

impl Observer for Queries {
    fn see(&mut self, layer: Option<usize>, point: Point, values: &[f32]) {
        if let (Some(layer), Point::Queries) = (layer, point) {
            let width = self.widths[layer];
            let skipped = self.ahead[layer].min(values.len() / width);
            self.ahead[layer] -= skipped;
            self.layers[layer].extend_from_slice(&values[skipped * width..]);
        }
    }
}

/// What a head looks at, as mean probabilities over the positions for which the question makes sense; `None` where there
/// is no such position.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HeadScores {
    /// The position before.
    pub previous: Option<f64>,
    /// The first position, where heads look that have nothing to say and no sink of their own (Xiao et al. 2023, "attention sinks").
    pub first: Option<f64>,
    /// Earlier positions of the same token.
    pub same: Option<f64>,
    /// Positions after earlier ones of the same token: "A B ... A" looks at B (Olsson et al. 2022, induction heads).
    pub induction: Option<f64>,
}

impl<'s> Attention<'s> {
    /// Runs `tokens` through the empty `session`, which holds all positions, of the network that `config` describes; the looks of
    /// the last `n_last` of them are kept.
    pub fn of(session: &'s mut Session, config: &'s Config, tokens: &[TokenId], n_last: usize) -> Result<Self> {
        let first = tokens.len() - n_last.min(tokens.len());
        let mut queries = Queries {
            layers: vec![Vec::new(); config.n_layers()],
            ahead: vec![first; config.n_layers()],
            widths: config.layers.iter().map(|layer| layer.attention().map_or(1, model::Attention::width)).collect(),
        };
        session.rewind(0);
        session.extend_observed(tokens, &mut queries)?;
        let sinks = (0..config.n_layers()).map(|layer| session.model().sinks(layer).to_vec()).collect();
        Ok(Attention { session, config, tokens: tokens.to_vec(), queries: queries.layers, first, sinks })
    }

    /// Number of tokens, T.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Never: a text has a token.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The probabilities of `head` of `layer`, (T, T): row t is where token t looks, zeros after t; where the head has a sink, what
    /// a row lacks of 1 is the sink's. In f64, from the cached
    /// keys; an int8 cache also rounds queries in its kernels, which is not repeated here. The looks of all tokens must be kept.
    pub fn pattern(&self, layer: usize, head: usize) -> Vec<f64> {
        let n = self.len();
        let keys = self.keys(layer, head);
        let mut pattern = vec![0.0; n * n];
        for (t, row) in pattern.chunks_exact_mut(n).enumerate() {
            self.look(layer, head, t, &keys, row);
        }
        pattern
    }

    /// Where the last token looks by `head` of `layer`, (T): the last row of its pattern.
    pub fn last_row(&self, layer: usize, head: usize) -> Vec<f64> {
        let mut row = vec![0.0; self.len()];
        self.look(layer, head, self.len() - 1, &self.keys(layer, head), &mut row);
        row
    }

    fn shape(&self, layer: usize) -> &model::Attention {
        self.config.layers[layer].attention().expect("a layer that attends")
    }

    /// The keys that `head` of `layer` meets, (T, head_dim).
    fn keys(&self, layer: usize, head: usize) -> Vec<f32> {
        let shape = self.shape(layer);
        let mut keys = vec![0.0; self.len() * shape.head_dim];
        for (position, key) in keys.chunks_exact_mut(shape.head_dim).enumerate() {
            self.session.key(shape.shares.unwrap_or(layer), shape.kv_head(head), position, key);
        }
        keys
    }

    /// Softmax of the scores of token `t`, into `row` (T).
    fn look(&self, layer: usize, head: usize, t: usize, keys: &[f32], row: &mut [f64]) {
        let c = self.shape(layer);
        let q = &self.queries[layer][((t - self.first) * c.n_heads + head) * c.head_dim..][..c.head_dim];
        let scale = 1.0 / (c.head_dim as f64).sqrt();
        let seen = c.seen(t);
        let keys = keys[seen.start * c.head_dim..].chunks_exact(c.head_dim);
        let (n_seen, seen) = (seen.len(), &mut row[seen]);
        for ((score, key), distance) in seen.iter_mut().zip(keys).zip((0..n_seen).rev()) {
            let product = q.iter().zip(key).map(|(q, k)| *q as f64 * *k as f64).sum::<f64>() * scale;
            *score = c.score(head, product, distance);
        }
        softmax(seen, self.sinks[layer].get(head).map(|sink| f64::from(*sink)));
    }

    /// What the head with this `pattern` (T, T) looks at.
    pub fn scores(&self, pattern: &[f64]) -> HeadScores {
        let (n, tokens) = (self.tokens.len(), &self.tokens);
        let at = |t: usize, position: usize| pattern[t * n + position];
        let earlier = |t: usize| (0..t).filter(move |j| tokens[*j] == tokens[t]);
        let repeated = || (0..n).filter(|t| earlier(*t).next().is_some());
        HeadScores {
            previous: mean((1..n).map(|t| at(t, t - 1))),
            first: mean((1..n).map(|t| at(t, 0))),
            same: mean(repeated().map(|t| earlier(t).map(|j| at(t, j)).sum())),
            induction: mean(
                (0..n)
                    .filter(|t| earlier(*t).any(|j| j + 1 < *t))
                    .map(|t| earlier(t).filter(|j| j + 1 < t).map(|j| at(t, j + 1)).sum()),
            ),
        }
    }
}

/// Probabilities of scores, beside that of a sink, where there is one.
fn softmax(scores: &mut [f64], sink: Option<f64>) {
    let best = scores.iter().copied().chain(sink).fold(f64::NEG_INFINITY, f64::max);
    scores.iter_mut().for_each(|s| *s = (*s - best).exp());
    let mass: f64 = scores.iter().copied().chain(sink.map(|sink| (sink - best).exp())).sum();
    scores.iter_mut().for_each(|s| *s /= mass);
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, n) = values.fold((0.0, 0), |(sum, n), value| (sum + value, n + 1));
    (n > 0).then(|| sum / f64::from(n))
}
