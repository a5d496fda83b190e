//! How fast a model runs here: tokens a second of prefill and decode, by kernels and threads, beside what the machine
//! can do at most. Repeats are interleaved, so that a machine that slows down slows all rows alike.

mod row;
mod texts;

use super::cost::Costs;
use super::limits::{self, Buffer, MachineLimits};
use super::prompt::{fill, fill_steps, go_back, tokens};
use crate::compute::Compute;
use crate::error::Result;
use crate::model::{Model, Session, SessionOptions};
use crate::ops::KvDtype;
use crate::os::clock::Stopwatch;
use alloc::sync::Arc;
pub use row::{Row, RowLimits, Spread, Work};
use texts::Texts;

/// A sample repeats its work until so much time has passed.
const SAMPLE_SECONDS: f64 = 0.05;

/// What to measure.
#[derive(Debug, Clone, PartialEq)]
pub struct BenchPlan {
    /// Lengths of prompts, in tokens.
    pub prefill: Vec<usize>,
    /// Tokens in the cache before a decode.
    pub depths: Vec<usize>,
    /// Numbers of texts that are decoded together, each from its beginning.
    pub texts: Vec<usize>,
    /// Tokens of a decode, of each text.
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

    /// The most texts that are decoded together.
    pub fn most_texts(&self) -> usize {
        self.texts.iter().copied().max().unwrap_or(0)
    }

    /// Positions of all sessions, and of all texts that are decoded together, on one number of threads.
    pub fn positions(&self) -> usize {
        self.contexts().sum::<usize>() + self.most_texts() * self.n_decode
    }

    /// Steps of a run on `n_computes` of kernels with threads, as [`run`] reports them.
    pub fn n_steps(&self, n_computes: usize) -> usize {
        let each = self.works().count() + usize::from(self.limit_seconds > 0.0);
        let filling: usize = self.depths.iter().map(|depth| fill_steps(*depth)).sum();
        let warming = self.prefill.len() + self.texts.len();
        n_computes * (filling + warming + self.repeats * each)
    }

    fn works(&self) -> impl Iterator<Item = Work> {
        let prefill = self.prefill.iter().map(|n_tokens| Work::Prefill { n_tokens: *n_tokens });
        let decode = self.depths.iter().map(|depth| Work::Decode { depth: *depth });
        prefill.chain(decode).chain(self.texts.iter().map(|n_texts| Work::Texts { n_texts: *n_texts }))
    }
}

/// A part of a run, reported as it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Some more of the cache is filled, on the way to this depth.
    Fill(usize),
    /// This is run once without being counted.
    Warm(Work),
    /// The limits of the machine are measured.
    Limits,
    /// A sample is taken.
    Sample(Work),
}

/// The result of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The limits of each of the kernels and threads, in the order given; `None` where they were not measured.
    pub limits: Vec<Option<MachineLimits>>,
    /// All rows with a sample: prefill, decode, texts together, each by kernels and threads.
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
        if !stage.warm_up(plan.n_decode, go_on)? {
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
    /// Index of each row's session, where it has one, and its work.
    works: Vec<(usize, Work)>,
    /// The texts that are decoded together.
    texts: Texts,
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
        let texts = Texts::new(model, plan.most_texts(), plan.n_decode, plan.kv)?;
        Ok(Stage {
            compute: Arc::clone(compute),
            sessions,
            works,
            texts,
            vocab_size: model.config().vocab_size,
            limits: None,
            samples,
        })
    }

    /// Runs what the samples begin with, uncounted: prompts and texts once, and the caches of all decodes are filled.
    fn warm_up(&mut self, n_decode: usize, go_on: &mut dyn FnMut(&Compute, Step) -> bool) -> Result<bool> {
        for i in 0..self.works.len() {
            let (session, work) = self.works[i];
            let Work::Decode { depth } = work else {
                if !go_on(&self.compute, Step::Warm(work)) {
                    return Ok(false);
                }
                self.once(i, n_decode)?;
                continue;
            };
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

    /// Seconds of row `i`'s work, on average of as many times as fill the time of a sample.
    fn sample(&mut self, i: usize, n_decode: usize) -> Result<f64> {
        let (mut seconds, mut times) = (0.0, 0);
        while times == 0 || seconds < SAMPLE_SECONDS {
            seconds += self.once(i, n_decode)?;
            times += 1;
        }
        Ok(seconds / f64::from(times))
    }

    /// Seconds of row `i`'s work, done once.
    fn once(&mut self, i: usize, n_decode: usize) -> Result<f64> {
        let (session, work) = self.works[i];
        let (start, n, at_once) = match work {
            Work::Prefill { n_tokens } => (0, n_tokens, n_tokens),
            Work::Decode { depth } => (depth, n_decode, 1),
            Work::Texts { n_texts } => {
                let watch = Stopwatch::start();
                self.texts.decode(&self.compute, n_texts)?;
                return Ok(watch.seconds());
            }
        };
        let session = &mut self.sessions[session];
        let tokens = tokens(start..start + n, self.vocab_size);
        go_back(session, self.vocab_size, start)?;
        let watch = Stopwatch::start();
        for tokens in tokens.chunks(at_once) {
            session.extend(tokens)?;
        }
        Ok(watch.seconds())
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
            Work::Texts { n_texts } => {
                let n = n_texts * plan.n_decode;
                (n, costs.prefill_macs(1) * n as u64, texts::bytes(costs, plan.kv, n_texts, plan.n_decode))
            }
        };
        let mut rates: Vec<f64> = self.samples[i].iter().map(|seconds| n as f64 / seconds).collect();
        let limits = |limits: MachineLimits| RowLimits {
            read: limits.read,
            macs: limits.products(costs.dtype().format().inputs),
        };
        Some(Row {
            kernels: self.compute.name(),
            threads: self.compute.threads.len(),
            work,
            rate: Spread::of(&mut rates)?,
            macs: macs as f64 / n as f64,
            bytes: bytes as f64 / n as f64,
            limits: self.limits.map(limits),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels;

    #[test]
    fn a_run_has_every_row_and_ends_where_it_is_told_to() {
        let Some(bytes) = crate::default_model() else { return };
        let model = Arc::new(Model::open(bytes).expect("the story model"));
        let costs = Costs::new(&model);
        let computes = [1, 2].map(|n| Arc::new(Compute::new(kernels::detect(), n).expect("threads")));
        let (prefill, depths, texts) = (vec![3, 9], vec![0, 5], vec![1, 3]);
        let plan = BenchPlan { prefill, depths, texts, n_decode: 2, repeats: 2, kv: KvDtype::F16, limit_seconds: 0.0 };
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

        let together = report.rows.iter().find(|row| row.work == Work::Texts { n_texts: 3 }).expect("a row");
        let each = costs.weight_bytes() as f64 / 3.0 + costs.kv_bytes(KvDtype::F16, None, 0..2) as f64 / 2.0;
        assert!((together.bytes / each - 1.0).abs() < 1e-9 && together.macs == row.macs);

        let ended = run(&model, &costs, &computes, &plan, &mut |_, step| !matches!(step, Step::Sample(_)));
        let ended = ended.expect("a run that ends early");
        assert!(!ended.complete && ended.rows.is_empty());
    }
}
