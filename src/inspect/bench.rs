//! How fast a model runs here: tokens a second of prefill and decode, by kernels and threads, beside what the machine
//! can do at most. Repeats are interleaved, so that a machine that slows down slows all rows alike.

use super::cost::Costs;
use super::limits::{self, Buffer, MachineLimits};
use super::prompt::{fill, fill_steps, go_back, tokens};
use crate::compute::Compute;
use crate::error::Result;
use crate::model::{Model, Session, SessionOptions};
use crate::ops::KvDtype;
use crate::os::clock::Stopwatch;
use alloc::sync::Arc;

/// A sample repeats its work until so much time has passed.
const SAMPLE_SECONDS: f64 = 0.05;

/// What to measure.
#[derive(Debug, Clone, PartialEq)]
pub struct BenchPlan {
    /// Lengths of prompts, in tokens.
    pub prefill: Vec<usize>,
    /// Tokens in the cache before a decode.
    pub depths: Vec<usize>,
    /// Tokens of a decode.
    pub n_decode: usize,
    /// Samples of each row.
    pub repeats: usize,
    /// Type of cached keys and values.
    pub kv: KvDtype,
    /// Time for each limit of the machine, over all repeats; 0 measures none.
    pub limit_seconds: f64,
}

impl BenchPlan {
    /// The context of each session: one for all prefills, then one a depth.
    fn contexts(&self) -> impl Iterator<Item = usize> {
        let decodes = self.depths.iter().map(|depth| depth + self.n_decode.max(1));
        [self.prefill.iter().copied().max().unwrap_or(1)].into_iter().chain(decodes)
    }

    /// Positions of all sessions on one number of threads.
    pub fn positions(&self) -> usize {
        self.contexts().sum()
    }

    /// Steps of a run on `n_computes` of kernels with threads, as [`run`] reports them.
    pub fn n_steps(&self, n_computes: usize) -> usize {
        let each = self.works().count() + usize::from(self.limit_seconds > 0.0);
        let filling: usize = self.depths.iter().map(|depth| fill_steps(*depth)).sum();
        n_computes * (filling + self.repeats * each)
    }

    fn works(&self) -> impl Iterator<Item = Work> {
        let prefill = self.prefill.iter().map(|n_tokens| Work::Prefill { n_tokens: *n_tokens });
        prefill.chain(self.depths.iter().map(|depth| Work::Decode { depth: *depth }))
    }
}

/// What a row measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// A prompt of so many tokens, and the logits after its last.
    Prefill {
        /// Tokens of the prompt.
        n_tokens: usize,
    },
    /// Tokens one by one.
    Decode {
        /// Tokens in the cache before the first.
        depth: usize,
    },
}

/// A part of a run, reported as it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Some more of the cache is filled, on the way to this depth.
    Fill(usize),
    /// The limits of the machine are measured.
    Limits,
    /// A sample is taken.
    Sample(Work),
}

/// Median and extremes of a row's samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The least.
    pub min: f64,
    /// The median.
    pub median: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// Of `values`, which it sorts; `None` of nothing.
    pub fn of(values: &mut [f64]) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (min, max, middle) = (*values.first()?, *values.last()?, values.len() / 2);
        let median = if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 };
        Some(Spread { min, median, max })
    }

    /// Half of the distance between the extremes, as a share of the median.
    pub fn deviation(&self) -> f64 {
        (self.max - self.min) / 2.0 / self.median
    }
}

/// One measured line.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Name of the kernels.
    pub kernels: &'static str,
    /// Number of threads.
    pub threads: usize,
    /// What was measured.
    pub work: Work,
    /// Tokens a second.
    pub rate: Spread,
    /// Multiply-adds with weights, for each token on average.
    pub macs: f64,
    /// Bytes of weights, and of keys and values in a decode, for each token on average.
    pub bytes: f64,
    /// The limit this work is held against: bytes read a second for a decode, multiply-adds a second for a prefill.
    pub limit: Option<f64>,
}

impl Row {
    /// Multiply-adds a second.
    pub fn macs_per_second(&self) -> f64 {
        self.macs * self.rate.median
    }

    /// Bytes read a second.
    pub fn bytes_per_second(&self) -> f64 {
        self.bytes * self.rate.median
    }

    /// What was reached of the limit, 0 to about 1.
    pub fn share(&self) -> Option<f64> {
        let reached = match self.work {
            Work::Prefill { .. } => self.macs_per_second(),
            Work::Decode { .. } => self.bytes_per_second(),
        };
        self.limit.map(|limit| reached / limit)
    }
}

/// The result of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The limits of each of the kernels and threads, in the order given; `None` where they were not measured.
    pub limits: Vec<Option<MachineLimits>>,
    /// All rows with a sample: prefill, then decode, each by kernels and threads.
    pub rows: Vec<Row>,
    /// False where the run was ended early.
    pub complete: bool,
}

/// Runs `plan` on each of `computes`; `go_on` hears of each step and ends the run by false.
///
/// Fails where the model does not hold a length or depth of the plan, or memory for the caches is missing.
pub fn run(
    model: &Arc<Model>,
    costs: &Costs,
    computes: &[Arc<Compute>],
    plan: &BenchPlan,
    go_on: &mut dyn FnMut(&Compute, Step) -> bool,
) -> Result<Report> {
    let mut stages: Vec<Stage> =
        computes.iter().map(|compute| Stage::new(model, compute, plan)).collect::<Result<_>>()?;
    let complete = measure(&mut stages, plan, go_on)?;
    let limits: Vec<_> = stages.iter().map(|stage| stage.limits).collect();
    let mut rows = Vec::new();
    for (i, work) in plan.works().enumerate() {
        rows.extend(stages.iter_mut().filter_map(|stage| stage.row(i, work, costs, plan)));
    }
    Ok(Report { limits, rows, complete })
}

/// True: all samples were taken.
fn measure(stages: &mut [Stage], plan: &BenchPlan, go_on: &mut dyn FnMut(&Compute, Step) -> bool) -> Result<bool> {
    for stage in stages.iter_mut() {
        if !stage.fill(go_on)? {
            return Ok(false);
        }
    }
    for _ in 0..plan.repeats {
        if plan.limit_seconds > 0.0 && !measure_limits(stages, plan.limit_seconds / plan.repeats as f64, go_on)? {
            return Ok(false);
        }
        for (i, work) in plan.works().enumerate() {
            for stage in stages.iter_mut() {
                if !go_on(&stage.compute, Step::Sample(work)) {
                    return Ok(false);
                }
                let seconds = stage.sample(i, plan.n_decode)?;
                stage.samples[i].push(seconds);
            }
        }
    }
    Ok(true)
}

fn measure_limits(stages: &mut [Stage], seconds: f64, go_on: &mut dyn FnMut(&Compute, Step) -> bool) -> Result<bool> {
    let buffer = Buffer::new()?;
    for i in 0..stages.len() {
        let compute = Arc::clone(&stages[i].compute);
        if !go_on(&compute, Step::Limits) {
            return Ok(false);
        }
        // Reading is the same for all kernels.
        let same = stages[..i].iter().find(|stage| stage.compute.threads.len() == compute.threads.len());
        let read = same.and_then(|stage| stage.limits).map(|limits| limits.read);
        let now = MachineLimits {
            read: read.unwrap_or_else(|| buffer.read(&compute, seconds)),
            int8: limits::peak(&compute, compute.kernels.peaks.quantized, seconds),
            f32: limits::peak(&compute, compute.kernels.peaks.floats, seconds),
        };
        stages[i].limits = Some(stages[i].limits.map_or(now, |before| before.best(now)));
    }
    Ok(true)
}

/// Kernels on threads with a text for each row of a plan, and what was measured.
struct Stage {
    compute: Arc<Compute>,
    /// One for all prefills, then one a depth, which stays filled.
    sessions: Vec<Session>,
    /// Index of each row's session, and its work.
    works: Vec<(usize, Work)>,
    vocab_size: usize,
    limits: Option<MachineLimits>,
    /// Seconds, for each row.
    samples: Vec<Vec<f64>>,
}

impl Stage {
    fn new(model: &Arc<Model>, compute: &Arc<Compute>, plan: &BenchPlan) -> Result<Self> {
        let session = |context_length: usize| {
            // What is decoded is taken back again, also where a layer has a window.
            let batch = SessionOptions::default().batch.max(plan.n_decode);
            let options = SessionOptions { context_length, kv: plan.kv, batch, ..SessionOptions::default() };
            Session::new(model, compute, options)
        };
        let sessions = plan.contexts().map(session).collect::<Result<_>>()?;
        let n_prefill = plan.prefill.len();
        let works: Vec<_> =
            plan.works().enumerate().map(|(i, work)| ((i + 1).saturating_sub(n_prefill), work)).collect();
        let samples = vec![Vec::new(); works.len()];
        Ok(Stage {
            compute: Arc::clone(compute),
            sessions,
            works,
            vocab_size: model.config().vocab_size,
            limits: None,
            samples,
        })
    }

    /// Fills the caches of all decodes.
    fn fill(&mut self, go_on: &mut dyn FnMut(&Compute, Step) -> bool) -> Result<bool> {
        for &(session, work) in &self.works {
            let Work::Decode { depth } = work else { continue };
            let session = &mut self.sessions[session];
            if !fill(session, self.vocab_size, depth, &mut || go_on(&self.compute, Step::Fill(depth)))? {
                return Ok(false);
            }
            // Where the depth is 0, this is what brings the weights in.
            session.extend(&[0])?;
            go_back(session, self.vocab_size, depth)?;
        }
        Ok(true)
    }

    /// Seconds of row `i`'s work.
    fn sample(&mut self, i: usize, n_decode: usize) -> Result<f64> {
        let (session, work) = self.works[i];
        let session = &mut self.sessions[session];
        let (start, n, at_once) = match work {
            Work::Prefill { n_tokens } => (0, n_tokens, n_tokens),
            Work::Decode { depth } => (depth, n_decode, 1),
        };
        let tokens = tokens(start..start + n, self.vocab_size);
        let (mut seconds, mut times) = (0.0, 0);
        while times == 0 || seconds < SAMPLE_SECONDS {
            go_back(session, self.vocab_size, start)?;
            let watch = Stopwatch::start();
            for tokens in tokens.chunks(at_once) {
                session.extend(tokens)?;
            }
            seconds += watch.seconds();
            times += 1;
        }
        Ok(seconds / f64::from(times))
    }

    /// Row `i`, if it has a sample.
    fn row(&mut self, i: usize, work: Work, costs: &Costs, plan: &BenchPlan) -> Option<Row> {
        let (n, macs, bytes) = match work {
            Work::Prefill { n_tokens } => (n_tokens, costs.prefill_macs(n_tokens), costs.weight_bytes()),
            Work::Decode { depth } => {
                let n = plan.n_decode;
                let kv = costs.kv_bytes(plan.kv, None, depth..depth + n);
                (n, costs.prefill_macs(1) * n as u64, costs.weight_bytes() * n as u64 + kv)
            }
        };
        let mut rates: Vec<f64> = self.samples[i].iter().map(|seconds| n as f64 / seconds).collect();
        let limit = |limits: MachineLimits| match work {
            Work::Decode { .. } => limits.read,
            Work::Prefill { .. } => limits.products(costs.dtype().format().inputs),
        };
        Some(Row {
            kernels: self.compute.kernels.name,
            threads: self.compute.threads.len(),
            work,
            rate: Spread::of(&mut rates)?,
            macs: macs as f64 / n as f64,
            bytes: bytes as f64 / n as f64,
            limit: self.limits.map(limit),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels;

    #[test]
    fn spreads_of_few_values() {
        assert_eq!(Spread::of(&mut []), None);
        let spread = |values: &mut [f64]| Spread::of(values).expect("values");
        assert_eq!(spread(&mut [2.0]), Spread { min: 2.0, median: 2.0, max: 2.0 });
        assert_eq!(spread(&mut [3.0, 1.0, 8.0]), Spread { min: 1.0, median: 3.0, max: 8.0 });
        let even = spread(&mut [4.0, 1.0, 2.0, 8.0]);
        assert_eq!(even, Spread { min: 1.0, median: 3.0, max: 8.0 });
        assert!((even.deviation() - 3.5 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn a_run_has_every_row_and_ends_where_it_is_told_to() {
        let Some(bytes) = crate::default_model() else { return };
        let model = Arc::new(Model::open(bytes).expect("the story model"));
        let costs = Costs::new(&model);
        let computes = [1, 2].map(|n| Arc::new(Compute::new(kernels::detect(), n).expect("threads")));
        let (prefill, depths) = (vec![3, 9], vec![0, 5]);
        let plan = BenchPlan { prefill, depths, n_decode: 2, repeats: 2, kv: KvDtype::F16, limit_seconds: 0.0 };
        let mut steps = 0;
        let report = run(&model, &costs, &computes, &plan, &mut |_, _| {
            steps += 1;
            true
        });
        let report = report.expect("a run");
        assert!(report.complete);
        assert_eq!(steps, plan.n_steps(2));
        let rows: Vec<_> = report.rows.iter().map(|row| (row.threads, row.work)).collect();
        let mut expected = Vec::new();
        for work in plan.works() {
            expected.extend([(1, work), (2, work)]);
        }
        assert_eq!(rows, expected);
        assert!(report.rows.iter().all(|row| row.rate.median > 0.0 && row.share().is_none()));
        let decode = |row: &Row| row.work == Work::Decode { depth: 5 };
        let row = report.rows.iter().find(|row| decode(row)).expect("a row");
        assert!(row.bytes > costs.weight_bytes() as f64 && row.macs == costs.prefill_macs(1) as f64);

        let ended = run(&model, &costs, &computes, &plan, &mut |_, step| !matches!(step, Step::Sample(_)));
        let ended = ended.expect("a run that ends early");
        assert!(!ended.complete && ended.rows.is_empty());
    }
}
