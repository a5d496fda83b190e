//! Where the time of a forward pass goes: by op and block, median over passes.

use super::bench::Spread;
use super::cost::Costs;
use super::prompt::{go_back, tokens};
use crate::error::Result;
use crate::model::{Observer, Op, Session};
use crate::ops::KvDtype;
use crate::os::clock::Stopwatch;
use core::ops::Range;

/// The time and work of one op of one block, or outside of the blocks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cell {
    /// The block; `None` outside of the blocks.
    pub layer: Option<usize>,
    /// The op.
    pub op: Op,
    /// Seconds of a pass: the median over all passes.
    pub seconds: f64,
    /// Bytes of weights, keys, values and other states read.
    pub bytes: u64,
    /// Multiply-adds with weights, or of scores and weighted sums.
    pub macs: u64,
}

/// Passes over the same tokens at the same positions.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// Positions of the tokens of a pass.
    pub positions: Range<usize>,
    /// Seconds of a whole pass.
    pub seconds: Spread,
    /// Every op that took place, in the order of the forward pass.
    pub cells: Vec<Cell>,
}

/// Seconds by op and block of one pass.
struct Tracer {
    watch: Stopwatch,
    /// When the current op began.
    since: f64,
    current: Option<usize>,
    n_layers: usize,
    /// `None`: the op did not take place.
    seconds: Vec<Option<f64>>,
}

impl Tracer {
    fn new(n_layers: usize) -> Self {
        let seconds = vec![None; (n_layers + 1) * Op::ALL.len()];
        Tracer { watch: Stopwatch::start(), since: 0.0, current: None, n_layers, seconds }
    }

    /// The current op ends.
    fn end(&mut self) {
        let now = self.watch.seconds();
        if let Some(place) = self.current.take() {
            *self.seconds[place].get_or_insert(0.0) += now - self.since;
        }
        self.since = now;
    }
}

impl Observer for Tracer {
    fn sees_all(&self) -> bool {
        false
    }

    fn op(&mut self, layer: Option<usize>, op: Op) {
        self.end();
        self.current = Some(layer.unwrap_or(self.n_layers) * Op::ALL.len() + op as usize);
    }
}

/// Traces `passes` passes of the tokens at `positions`, `session` holding as many as come before them or more.
/// `go_on` is asked before each pass; `None` where it ended all.
///
/// Fails where the session holds fewer positions.
pub fn trace(
    session: &mut Session,
    costs: &Costs,
    kv: KvDtype,
    positions: Range<usize>,
    passes: usize,
    go_on: &mut dyn FnMut() -> bool,
) -> Result<Option<Trace>> {
    let config = costs.config();
    let tokens = tokens(positions.clone(), config.vocab_size);
    let (mut all, mut totals) = (Vec::new(), Vec::new());
    for _ in 0..passes {
        if !go_on() {
            break;
        }
        go_back(session, config.vocab_size, positions.start)?;
        let mut tracer = Tracer::new(config.n_layers());
        session.extend_observed(&tokens, &mut tracer)?;
        tracer.end();
        totals.push(tracer.since);
        all.push(tracer.seconds);
    }
    let Some(seconds) = Spread::of(&mut totals) else { return Ok(None) };
    let mut cells = Vec::new();
    let outside = [None];
    for layer in (0..config.n_layers()).map(Some).chain(outside) {
        for op in Op::ALL {
            let place = layer.unwrap_or(config.n_layers()) * Op::ALL.len() + op as usize;
            let mut times: Vec<f64> = all.iter().filter_map(|seconds| seconds[place]).collect();
            let Some(Spread { median, .. }) = Spread::of(&mut times) else { continue };
            let (bytes, macs) = work(costs, kv, layer, op, positions.clone());
            cells.push(Cell { layer, op, seconds: median, bytes, macs });
        }
    }
    Ok(Some(Trace { positions, seconds, cells }))
}

/// Bytes and multiply-adds of an op for the tokens at `positions`.
fn work(costs: &Costs, kv: KvDtype, layer: Option<usize>, op: Op, positions: Range<usize>) -> (u64, u64) {
    let n = positions.len();
    let cost = costs.of(layer, op);
    let mut mixers = layer.into_iter().flat_map(|layer| costs.config().layers[layer].mixers());
    if let Some(mixer) = mixers.find(|mixer| mixer.state_op() == op) {
        // What a pass adds, such as keys and values, comes from its own tokens, and is read again by those after them.
        let bytes = cost.bytes + mixer.read_bytes(kv, positions.end - 1);
        return (bytes, cost.macs * n as u64 + positions.map(|position| mixer.macs(position)).sum::<u64>());
    }
    match op {
        Op::Embedding => (cost.bytes * n as u64, 0),
        _ => (cost.bytes, cost.macs * costs.tokens(layer, op, n)),
    }
}

impl Trace {
    /// The sum over all blocks of each op that took place, the longest first.
    pub fn by_op(&self) -> Vec<Cell> {
        let sums = Op::ALL.into_iter().filter_map(|op| sum(self.cells.iter().filter(|cell| cell.op == op)));
        let mut sums: Vec<Cell> = sums.map(|cell| Cell { layer: None, ..cell }).collect();
        sums.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        sums
    }

    /// The sum over all ops of each block, in order; the op of a cell says nothing.
    pub fn by_layer(&self) -> Vec<Cell> {
        let n_layers = self.cells.iter().filter_map(|cell| cell.layer).max().map_or(0, |last| last + 1);
        (0..n_layers).filter_map(|i| sum(self.cells.iter().filter(|cell| cell.layer == Some(i)))).collect()
    }

    /// The sum over all cells: the median of each, so that it may differ from the median of the whole.
    pub fn total(&self) -> Option<Cell> {
        sum(self.cells.iter())
    }
}

fn sum<'c>(cells: impl Iterator<Item = &'c Cell>) -> Option<Cell> {
    cells.copied().reduce(|a, b| Cell {
        seconds: a.seconds + b.seconds,
        bytes: a.bytes + b.bytes,
        macs: a.macs + b.macs,
        ..a
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::Compute;
    use crate::inspect::fill;
    use crate::kernels;
    use crate::model::{Model, SessionOptions};
    use alloc::sync::Arc;

    #[test]
    fn every_op_of_a_pass_has_its_cell() {
        let Some(bytes) = crate::default_model() else { return };
        let model = Arc::new(Model::open(bytes).expect("the story model"));
        let costs = Costs::new(&model);
        let compute = Arc::new(Compute::new(kernels::detect(), 1).expect("a thread"));
        let options = SessionOptions { context_length: 40, batch: 16, ..SessionOptions::default() };
        let mut session = Session::new(&model, &compute, options).expect("a session");
        assert_eq!(fill(&mut session, model.config().vocab_size, 20, &mut || true), Ok(true));
        let one = trace(&mut session, &costs, KvDtype::F16, 20..21, 3, &mut || true);
        let one = one.expect("passes").expect("a trace");
        let n_layers = model.config().n_layers();
        assert_eq!(one.by_layer().len(), n_layers);
        let of_others =
            [Op::Router, Op::DeltaInput, Op::ConvInput, Op::Conv, Op::Delta, Op::DeltaOutput, Op::ConvOutput];
        let of_layers = [Op::LayerInputs, Op::LayerGate, Op::LayerOutput, Op::LayerOutputNorm, Op::LayerScale];
        let of_scans = [Op::ScanInput, Op::ScanSelect, Op::ScanSpread, Op::Scan, Op::ScanOutput];
        let of_others = of_others.into_iter().chain(of_layers).chain(of_scans);
        let absent = of_others.chain([Op::OutputNorm, Op::DownNorm]);
        let absent = absent.chain(model.config().learned_positions.then_some(Op::Rope));
        let ops: Vec<Op> = one.by_op().iter().map(|cell| cell.op).collect();
        assert_eq!(ops.len(), Op::ALL.len() - absent.clone().count());
        assert!(absent.into_iter().all(|op| !ops.contains(&op)));
        assert_eq!(session.position(), 21);
        let total = one.total().expect("cells");
        let kv = costs.kv_bytes(KvDtype::F16, None, 20..21);
        assert_eq!(total.bytes, costs.weight_bytes() + kv);
        assert!(one.cells.iter().all(|cell| cell.seconds >= 0.0) && one.by_op()[0].seconds > 0.0);

        let prompt = trace(&mut session, &costs, KvDtype::F16, 0..40, 1, &mut || true);
        let prompt = prompt.expect("a pass").expect("a trace");
        let attention = costs.mixer_macs(None, 0..40);
        assert_eq!(prompt.total().expect("cells").macs, costs.prefill_macs(40) + attention);
        assert_eq!(trace(&mut session, &costs, KvDtype::F16, 0..4, 1, &mut || false), Ok(None));
        assert!(trace(&mut session, &costs, KvDtype::F16, 0..41, 1, &mut || true).is_err());
    }
}
