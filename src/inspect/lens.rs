//! What each layer would say now: the residual stream after every block, read out as if it were the last (nostalgebraist
//! 2020, "interpreting GPT: the logit lens"), and how much each block writes.

use super::distribution::{Distribution, Ranked, standing};
use crate::error::Result;
use crate::model::{Config, Observer, Op, Point, Session};
use crate::token::TokenId;

/// What the residual stream says at one depth of one position.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// The most probable tokens, best first.
    pub top: Vec<Ranked>,
    /// Rank and probability that the final answer of this position, the last layer's best token, has here.
    pub answer: (usize, f64),
}

/// How much a block changes the residual stream at one position: Euclidean norms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Writes {
    /// Of the stream before the block.
    pub stream: f64,
    /// Of what attention adds.
    pub attention: f64,
    /// Of what the MLP adds, and of what the block does after it: what it makes of a vector of its own of the token, a factor.
    pub mlp: f64,
    /// How many of the MLP's inner values carry what it adds: (sum of squares)^2 / sum of fourth powers, 1 where a single one is
    /// not zero, hidden_dim where all are alike; 0 where there is no MLP.
    pub neurons: f64,
}

/// The readings of a text: depth 0 is the embedding, depth n the output of the n-th block.
#[derive(Debug, Clone, PartialEq)]
pub struct Lens {
    /// Readings by depth, n_layers + 1 of them, and position.
    pub readings: Vec<Vec<Reading>>,
    /// Writes by block and position.
    pub writes: Vec<Vec<Writes>>,
    /// Cosine between the last position's vector at each depth and its vector at depth 0.
    pub drift: Vec<f64>,
    /// Logits of the last position, as the network itself gives them.
    pub logits: Vec<f32>,
}

/// Keeps the residual stream of some tokens at every point, each (n, dim).
struct Streams {
    embedded: Vec<f32>,
    attended: Vec<Vec<f32>>,
    outputs: Vec<Vec<f32>>,
    /// Of each block: (n).
    neurons: Vec<Vec<f64>>,
    /// Elements of a token's inner activations, of each layer.
    hidden_dims: Vec<usize>,
}

impl Observer for Streams {
    fn see(&mut self, layer: Option<usize>, point: Point, values: &[f32]) {
        match (layer, point) {
            (None, Point::Embedded) => self.embedded.extend_from_slice(values),
            (Some(layer), Point::Attended) => self.attended[layer].extend_from_slice(values),
            (Some(layer), Point::Input(Op::Down)) => {
                self.neurons[layer].extend(values.chunks_exact(self.hidden_dims[layer]).map(participation));
            }
            (Some(layer), Point::BlockOutput) => self.outputs[layer].extend_from_slice(values),
            _ => {}
        }
    }
}

impl Lens {
    /// Runs `tokens` through the empty `session` of the network that `config` describes and reads its last `n_positions`
    /// positions, `n_top` tokens each. `step` is called after each reading and ends the work where it returns false: then
    /// there is no lens.
    pub fn of(
        session: &mut Session,
        config: &Config,
        tokens: &[TokenId],
        n_positions: usize,
        n_top: usize,
        step: &mut dyn FnMut() -> bool,
    ) -> Result<Option<Self>> {
        let n_before = tokens.len() - n_positions.min(tokens.len());
        session.rewind(0);
        if n_before > 0 {
            session.append(&tokens[..n_before])?;
        }
        Self::behind(session, config, &tokens[n_before..], n_top, step)
    }

    /// Runs `tokens` through `session`, which holds what comes before them, and reads the position of each.
    ///
    /// Otherwise as [`Lens::of`].
    pub fn behind(
        session: &mut Session,
        config: &Config,
        tokens: &[TokenId],
        n_top: usize,
        step: &mut dyn FnMut() -> bool,
    ) -> Result<Option<Self>> {
        let (dim, n_layers) = (config.dim, config.n_layers());
        let mut streams = Streams {
            embedded: Vec::new(),
            attended: vec![Vec::new(); n_layers],
            outputs: vec![Vec::new(); n_layers],
            neurons: vec![Vec::new(); n_layers],
            hidden_dims: config.layers.iter().map(|layer| layer.mlp.hidden_dim).collect(),
        };
        let logits = session.extend_observed(tokens, &mut streams)?.to_vec();
        let rows = |stream: &[f32]| -> Vec<Vec<f32>> { stream.chunks_exact(dim).map(<[f32]>::to_vec).collect() };
        let depths: Vec<Vec<Vec<f32>>> =
            core::iter::once(&streams.embedded).chain(&streams.outputs).map(|stream| rows(stream)).collect();
        let mut answers = Vec::new();
        for x in &depths[n_layers] {
            let best = Distribution::of_logits(session.read_out(x), 0.0, 1);
            answers.push(best.top.first().map_or(0, |best| best.id));
        }
        let mut readings = Vec::new();
        for depth in &depths {
            let mut row = Vec::new();
            for (x, answer) in depth.iter().zip(&answers) {
                let logits = session.read_out(x);
                let top = Distribution::of_logits(logits, 1.0, n_top).top;
                row.push(Reading { top, answer: standing(logits, *answer).unwrap_or((config.vocab_size, 0.0)) });
                if !step() {
                    return Ok(None);
                }
            }
            readings.push(row);
        }
        let writes = (0..n_layers).map(|layer| {
            let (before, after) = (&depths[layer], &depths[layer + 1]);
            let attended = rows(&streams.attended[layer]);
            // There are none where the block has no MLP.
            let neurons = streams.neurons[layer].iter().chain(core::iter::repeat(&0.0));
            let each = before.iter().zip(&attended).zip(after).zip(neurons);
            let each = each.map(|(((before, attended), after), neurons)| Writes {
                stream: distance(before, &vec![0.0; dim]),
                attention: distance(attended, before),
                mlp: distance(after, attended),
                neurons: *neurons,
            });
            each.collect()
        });
        let last = |depth: &Vec<Vec<f32>>| depth.last().cloned().unwrap_or_default();
        let begin = last(&depths[0]);
        let drift = depths.iter().map(|depth| cosine(&last(depth), &begin)).collect();
        Ok(Some(Lens { writes: writes.collect(), readings, drift, logits }))
    }

    /// The first depth from which on the final answer of `position` (among those read) is the best at every depth.
    pub fn settled(&self, position: usize) -> usize {
        let unsure = self.readings.iter().rposition(|row| row[position].answer.0 > 1);
        unsure.map_or(0, |depth| depth + 1)
    }

    /// The first depth at which the final answer of `position` is the best.
    pub fn appears(&self, position: usize) -> usize {
        self.readings.iter().position(|row| row[position].answer.0 == 1).unwrap_or(self.readings.len() - 1)
    }
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| *a as f64 * *b as f64).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

fn participation(values: &[f32]) -> f64 {
    let sum = |power: i32| values.iter().map(|v| (*v as f64).powi(power)).sum::<f64>();
    let fourth = sum(4);
    if fourth > 0.0 { sum(2).powi(2) / fourth } else { 0.0 }
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (*a as f64 - *b as f64).powi(2)).sum::<f64>().sqrt()
}
