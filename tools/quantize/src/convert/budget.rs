//! A format for each matrix, so that the file keeps to a size, or the divergence to a bound: from the smallest formats on, always the
//! step that takes most from the divergence for a byte (Lagrange's rule on the lower convex hull of each matrix's choices).

use whit::error::{Error, Result};
use whit::inspect::MemoryPlan;
use whit::model::spec::Role;
use whit::model::{Config, SessionOptions};
use whit::quant::Dtype;

use super::planned::Planned;
use super::sensitivity::{FORMATS, Sensitivity};
use super::written::stored_bytes;

/// Threads of a run that memory is kept for, and tokens that it takes at a time: what `whit` takes on four cores.
const THREADS: usize = 4;
const BATCH: usize = 64;
/// Positions of a text that nobody chose, at most: as many as `whit` takes.
const OPEN_CONTEXT: usize = 4096;
/// Share of the memory that is left to spare.
const SPARE: u64 = 20;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Budget {
    /// Bytes of the file, at most.
    Size(u64),
    /// Bytes of memory, for the whole file, what a run of one text needs, and a twentieth to spare.
    Memory {
        /// All of it.
        bytes: u64,
        /// Positions of the text; without it as many as `whit` takes.
        context: Option<usize>,
    },
    /// Mean KL divergence in nats on the held-out text, at most.
    Kl(f64),
}

/// The format of a matrix, and why it has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Chosen {
    /// Its name in the file.
    pub name: String,
    /// Its format.
    pub dtype: Dtype,
    /// Stored bytes.
    pub bytes: u64,
    /// What it adds to the divergence as q4, in nats: measured.
    pub as_q4: f64,
    /// What it adds as it is: predicted by the squared error.
    pub predicted: f64,
}

/// A way to store a matrix.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Way {
    dtype: Dtype,
    bytes: u64,
    kl: f64,
}

/// What can be chosen: the ways of each planned tensor, the smallest first.
pub(super) struct Choices(Vec<Vec<Way>>);

impl Choices {
    /// The ways that are worth it: of those that a role allows, the lower convex hull. In the embedding that is also the unembedding
    /// fewer than 5 bits are never worth it. `fixed` says which tensors keep the format that is planned.
    pub(super) fn of(
        config: &Config,
        planned: &[Planned],
        measured: &[Option<Sensitivity>],
        fixed: &dyn Fn(Role) -> bool,
    ) -> Self {
        let ways = planned.iter().zip(measured).map(|(p, measured)| {
            let bytes = |dtype| stored_bytes(dtype, p.spec.shape);
            let Some(Sensitivity(kl)) = measured.filter(|_| !fixed(p.spec.role)) else {
                return vec![Way { dtype: p.dtype, bytes: bytes(p.dtype), kl: 0.0 }];
            };
            let least = if p.spec.role == Role::Embedding && config.tied { 5 } else { 4 };
            let ways = FORMATS.into_iter().zip(kl).filter(|(dtype, _)| dtype.format().bits >= least);
            hull(ways.map(|(dtype, kl)| Way { dtype, bytes: bytes(dtype), kl }))
        });
        Choices(ways.collect())
    }

    /// Bytes of all tensors as small as they can be.
    pub(super) fn smallest(&self) -> u64 {
        self.0.iter().map(|ways| ways[0].bytes).sum()
    }

    /// For each tensor the number of its way: from the smallest on, the steps that take most from the divergence for a byte, as long
    /// as they fit into `room` bytes and the sum of all is above `kl`. Of equal steps the first tensor's comes first.
    pub(super) fn choose(&self, room: u64, kl: f64) -> Vec<usize> {
        let mut chosen = vec![0; self.0.len()];
        let mut steps: Vec<(f64, usize, usize)> = Vec::new();
        for (tensor, ways) in self.0.iter().enumerate() {
            let gain = |pair: &[Way]| (pair[0].kl - pair[1].kl) / (pair[1].bytes - pair[0].bytes) as f64;
            steps.extend(ways.windows(2).enumerate().map(|(way, pair)| (gain(pair), tensor, way)));
        }
        steps.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
        let mut bytes = self.smallest();
        for (_, tensor, way) in steps {
            let [from, to] = [way, way + 1].map(|way| self.0[tensor][way]);
            let more = to.bytes - from.bytes;
            // A step whose way was not taken is not possible; a later one may be smaller and still fit.
            if chosen[tensor] == way && bytes + more <= room && self.predicted(&chosen) > kl {
                chosen[tensor] = way + 1;
                bytes += more;
            }
        }
        chosen
    }

    /// The sum of what all tensors add.
    pub(super) fn predicted(&self, chosen: &[usize]) -> f64 {
        self.0.iter().zip(chosen).map(|(ways, way)| ways[*way].kl).sum()
    }

    /// The tensors that have a choice.
    pub(super) fn free<'p>(&self, planned: &'p mut [Planned]) -> impl Iterator<Item = &'p mut Planned> {
        self.0.iter().zip(planned).filter(|(ways, _)| ways.len() > 1).map(|(_, p)| p)
    }

    /// Puts the formats into the plan; what was chosen, of tensors that had a choice.
    pub(super) fn apply(
        &self,
        chosen: &[usize],
        measured: &[Option<Sensitivity>],
        planned: &mut [Planned],
    ) -> Vec<Chosen> {
        let mut told = Vec::new();
        for (((ways, way), measured), p) in self.0.iter().zip(chosen).zip(measured).zip(planned) {
            let Way { dtype, bytes, kl } = ways[*way];
            p.dtype = dtype;
            if let Some(Sensitivity([as_q4, ..])) = measured.filter(|_| ways.len() > 1) {
                told.push(Chosen { name: p.spec.name.clone(), dtype, bytes, as_q4, predicted: kl });
            }
        }
        told
    }
}

/// Of ways by their size, those on the lower convex hull of bytes and divergence, down to the least divergence.
fn hull(ways: impl Iterator<Item = Way>) -> Vec<Way> {
    let mut hull: Vec<Way> = Vec::new();
    for way in ways {
        while let [.., last] = hull[..] {
            let slope = |a: Way, b: Way| (b.kl - a.kl) / (b.bytes - a.bytes) as f64;
            let above = match hull[..] {
                [.., before, last] => slope(before, last) >= slope(last, way),
                _ => false,
            };
            // What is larger and no better is left out.
            if way.kl >= last.kl {
                break;
            }
            if !above {
                break;
            }
            hull.pop();
        }
        if hull.last().is_none_or(|last| way.kl < last.kl) {
            hull.push(way);
        }
    }
    hull
}

/// The error for a size that nothing can keep; `field` asked for it.
pub(super) fn too_small(asked: u64, smallest: u64, field: &str) -> Result<()> {
    if asked >= smallest {
        return Ok(());
    }
    let message = format!("{asked} bytes are too few: the smallest possible file has {smallest}");
    Err(Error::usage(message).field(field))
}

/// Bytes of a file that `bytes` of memory hold beside a run: its text's keys and values as f16, the buffers, what is copied of the
/// file's `tables`, and a twentieth to spare.
pub(super) fn file_in(config: &Config, bytes: u64, tables: u64, context: Option<usize>) -> u64 {
    let most = config.context_length;
    let context_length = context.map_or(most.min(OPEN_CONTEXT), |context| context.min(most));
    let options = SessionOptions { context_length, batch: BATCH, ..SessionOptions::default() };
    let plan = MemoryPlan::of(config, (bytes, tables), options, 1, THREADS);
    bytes.saturating_sub(plan.private()).saturating_sub(bytes / SPARE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(bytes: u64, kl: f64) -> Way {
        Way { dtype: Dtype::Q4, bytes, kl }
    }

    #[test]
    fn a_hull_is_convex_and_falls() {
        let ways = [way(4, 1.0), way(5, 0.9), way(6, 0.2), way(8, 0.1), way(9, 0.15)];
        assert_eq!(hull(ways.into_iter()), [way(4, 1.0), way(6, 0.2), way(8, 0.1)]);
        assert_eq!(hull([way(4, 0.0), way(5, 0.0)].into_iter()), [way(4, 0.0)]);
    }

    /// The least divergence of all choices that fit, by trying all.
    fn best(choices: &Choices, room: u64) -> f64 {
        let mut best = f64::INFINITY;
        let n: usize = choices.0.iter().map(Vec::len).product();
        for mut number in 0..n {
            let mut chosen = Vec::new();
            for ways in &choices.0 {
                chosen.push(number % ways.len());
                number /= ways.len();
            }
            let bytes: u64 = choices.0.iter().zip(&chosen).map(|(ways, way)| ways[*way].bytes).sum();
            if bytes <= room {
                best = best.min(choices.predicted(&chosen));
            }
        }
        best
    }

    #[test]
    fn choices_fit_and_are_near_the_best_of_all() {
        let tensors = [(1.0, 10), (0.5, 10), (0.01, 30), (2.0, 5), (0.3, 20)];
        let ways = |(kl, n): (f64, u64)| [(4, 1.0), (5, 0.25), (6, 0.06), (8, 0.004)].map(|(b, s)| way(b * n, kl * s));
        let choices = Choices(tensors.map(|tensor| ways(tensor).to_vec()).into());
        let mut before = f64::INFINITY;
        for room in choices.smallest()..650 {
            let chosen = choices.choose(room, 0.0);
            let bytes: u64 = choices.0.iter().zip(&chosen).map(|(ways, way)| ways[*way].bytes).sum();
            let kl = choices.predicted(&chosen);
            assert!(bytes <= room && kl <= before + 0.35, "{room}: {bytes}, {kl}");
            // Greedy steps fall short by less than one step.
            assert!(kl - best(&choices, room) < 0.4, "{room}: {kl}");
            before = kl;
        }
        assert_eq!(choices.choose(u64::MAX, 0.0), [3; 5]);
        let bounded = choices.choose(u64::MAX, 0.5);
        assert!(choices.predicted(&bounded) <= 0.5 && bounded != [3; 5]);
        assert!(too_small(10, 11, "fit").is_err() && too_small(11, 11, "fit").is_ok());
    }
}
