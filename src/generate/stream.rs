//! Weights larger than memory: read ahead of the ops that use them, given back behind them.

use crate::error::{Error, Kind, Result};
use crate::model::{Model, Op, Pace, WeightUse};
use crate::os::Mapping;
use crate::os::stream::Stream;
use std::sync::Arc;

/// How a model's weights share memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Residency {
    /// The first so many uses, in their order, stay in memory.
    n_pinned: usize,
    /// Bytes that stay.
    pub pinned: u64,
    /// Bytes of the others that are in memory at a time.
    pub ring: u64,
    /// Bytes that each token reads from storage.
    pub streamed: u64,
}

impl Residency {
    /// The least memory that the streamed weights of `model` need: those of an op and of the next, which are read meanwhile.
    pub fn least(model: &Model) -> u64 {
        let lengths = model.weight_uses().iter().map(|used| used.bytes.len() as u64);
        let next = lengths.clone().cycle().skip(1);
        lengths.zip(next).map(|(a, b)| a + b).max().unwrap_or(0)
    }

    /// The best use of `bytes` of memory for `model`'s weights; `None` where they all fit.
    pub fn within(model: &Model, bytes: u64) -> Result<Option<Residency>> {
        let lengths: Vec<u64> = model.weight_uses().iter().map(|used| used.bytes.len() as u64).collect();
        if model.weight_bytes() <= bytes {
            return Ok(None);
        }
        let ring = Self::least(model);
        let Some(mut left) = bytes.checked_sub(ring) else {
            let message = format!("{bytes} bytes are left for weights, of which {ring} are in use at a time");
            return Err(Error::new(Kind::Resources, message).field("memory plan"));
        };
        let (mut n_pinned, mut pinned) = (0, 0);
        for length in &lengths[..lengths.len() - 1] {
            let Some(rest) = left.checked_sub(*length) else { break };
            (left, n_pinned, pinned) = (rest, n_pinned + 1, pinned + length);
        }
        Ok(Some(Residency { n_pinned, pinned, ring: ring + left, streamed: lengths.iter().sum::<u64>() - pinned }))
    }
}

/// Weights on their way through memory: a pace that lets an op begin when its weights are there.
pub struct WeightStream {
    stream: Stream,
    uses: Vec<WeightUse>,
}

impl WeightStream {
    /// Streams the weights of `model`, whose file is `mapping`.
    pub fn new(model: &Model, mapping: Arc<Mapping>, residency: Residency) -> Result<WeightStream> {
        let parts = model.weight_uses().iter().map(|used| used.bytes.clone()).collect();
        let ring = usize::try_from(residency.ring).unwrap_or(usize::MAX);
        let stream = Stream::new(mapping, parts, residency.n_pinned, ring)?;
        Ok(WeightStream { stream, uses: model.weight_uses().to_vec() })
    }
}

impl Pace for WeightStream {
    fn wait(&mut self, layer: Option<usize>, op: Op) {
        if let Some(index) = WeightUse::index(&self.uses, layer, op) {
            self.stream.need(index);
        }
    }
}
