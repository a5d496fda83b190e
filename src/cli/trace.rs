//! `whit trace`: where the time of a token and of a prompt goes.

use super::args::Trace as Args;
use super::bench::{heading, most_positions};
use super::input::ModelFile;
use super::json::{self, Object};
use super::noise;
use super::output::{End, Outcome, Output, note};
use super::plan::Wanted;
use super::setup::compute;
use super::table::{figure, percent, table_with_bars};
use super::{progress, streaming};
use whit::compute::Compute;
use whit::error::{Error, Result};
use whit::inspect::trace::{Cell, Trace, trace};
use whit::inspect::{Costs, MachineLimits, fill, fill_steps};
use whit::model::{Model, Op, Session, SessionOptions};
use whit::ops::KvDtype;
use whit::os::load::{Load, LoadWatch};
use whit::os::{cpu, interrupt, machine};
use whit::quant::Inputs;

/// Passes of a token and of a prompt, of which the median counts.
const PASSES: [usize; 2] = [33, 5];
/// Depth and tokens of a prompt where none are given.
const DEFAULT_TOKENS: usize = 128;

pub(super) fn run(args: &Args) -> Outcome<()> {
    let source = ModelFile::open(args.model.path())?;
    let model = source.model()?;
    let costs = Costs::new(&model);
    let (depth, n_prompt) = lengths(args, &model)?;
    let compute = compute(&args.compute)?;
    let kv = KvDtype::from(args.compute.kv);
    let context_length = n_prompt.max(depth + 1);
    let options = SessionOptions { context_length, kv, ..SessionOptions::default() };
    let plan = Wanted::one(&model, options, &compute, &args.compute, "--depth").check()?;
    let mut session = Session::new(&model, &compute, options)?;
    streaming::pace(&mut session, &source, &model, &plan, args.compute.max_memory, args.progress.quiet)?;

    interrupt::watch();
    let n_steps = fill_steps(depth) + PASSES[0] + if n_prompt > 0 { PASSES[1] } else { 0 };
    let steps = progress::steps(n_steps as u64, args.progress.quiet);
    let mut go_on = || {
        steps.inc(1);
        !interrupt::requested()
    };
    let watch = LoadWatch::start();
    let limits = limits(&compute, args.limits.limit_seconds)?;
    let mut token = None;
    let mut prompt = None;
    if fill(&mut session, model.config().vocab_size, depth, &mut go_on)? {
        token = trace(&mut session, &costs, kv, depth..depth + 1, PASSES[0], &mut go_on)?;
        if n_prompt > 0 && token.is_some() {
            prompt = trace(&mut session, &costs, kv, 0..n_prompt, PASSES[1], &mut go_on)?;
        }
    }
    steps.finish_and_clear();
    source.check_unchanged()?;
    let mut out = Output::new();
    let weights = costs.dtype().format().inputs;
    let traces = Traces { token, prompt, limits, weights, weight_bytes: costs.weight_bytes(), load: watch.load() };
    if args.print.json {
        out.line(&traces.as_json(&source.short_name(), &compute))?;
    } else if traces.token.is_some() {
        let machine = machine::cpu_name().unwrap_or_else(|| "an unnamed CPU".into());
        let (parameters, dtype) = (costs.parameters(), costs.dtype().name());
        let cores = cpu::available_cores();
        out.page(&heading(&machine, cores, &source.short_name(), parameters, model.weight_bytes(), dtype))?;
        let (kernels, threads) = (compute.kernels.name, compute.threads.len());
        out.page(&format!("run      {kernels}, threads {threads}, {} cache", kv.name()))?;
        out.page(&traces.page())?;
    }
    out.flush()?;
    if interrupt::requested() {
        note(format_args!("whit: interrupted before the last pass"));
        return Err(End::Interrupted);
    }
    Ok(())
}

/// Depth of the token and tokens of the prompt, within what the model holds.
fn lengths(args: &Args, model: &Model) -> Result<(usize, usize)> {
    let most = most_positions(model);
    let length = |name: &str, given: Option<u32>, most: usize| match given {
        Some(n) if n as usize > most => {
            let message = format!("{n} is above the {most} positions that the model has room for");
            Err(Error::usage(message).field(name))
        }
        Some(n) => Ok(n as usize),
        None => Ok(DEFAULT_TOKENS.min(most)),
    };
    Ok((length("depth", args.depth, most - 1)?, length("prompt-tokens", args.prompt_tokens, most)?))
}

fn limits(compute: &Compute, seconds: f64) -> Result<Option<MachineLimits>> {
    if seconds == 0.0 {
        return Ok(None);
    }
    MachineLimits::measure(compute, seconds).map(Some)
}

/// What was traced.
struct Traces {
    token: Option<Trace>,
    prompt: Option<Trace>,
    limits: Option<MachineLimits>,
    /// The form of inputs that most weights are multiplied with.
    weights: Inputs,
    /// Bytes of weights that a token reads.
    weight_bytes: u64,
    /// What others did meanwhile.
    load: Option<Load>,
}

impl Traces {
    fn page(&self) -> String {
        let mut page = String::new();
        let spreads = [&self.token, &self.prompt].into_iter().flatten().map(|trace| trace.seconds.spread());
        // What little an op reads lies in a cache, whatever else does not.
        let large =
            self.token.iter().flat_map(|token| token.by_op()).filter(|cell| cell.bytes > self.weight_bytes / 50);
        let rates = large.map(|cell| cell.bytes as f64 / cell.seconds);
        let shares = rates.zip(self.limits.into_iter().cycle()).map(|(rate, limits)| rate / limits.read);
        let noise = noise::told(self.load, spreads.fold(0.0, f64::max));
        page.extend(noise.map(|line| noise::line("noise", &line)));
        page.extend(noise::above_limits(shares, self.weight_bytes).map(|line| noise::line(">100 %", &line)));
        if let Some(token) = &self.token {
            let seconds = token.seconds.median;
            let (depth, rate) = (token.positions.start, figure(1.0 / seconds));
            page.push_str(&format!("\none token at depth {depth}: {} ms, {rate} tokens/s\n", figure(1e3 * seconds)));
            page.push_str(&reads("op", &token.by_op(), token, self.limits, |cell| cell.op.name().into()));
            page.push('\n');
            let layer = |cell: &Cell| cell.layer.map_or("-".into(), |layer| layer.to_string());
            page.push_str(&reads("layer", &token.by_layer(), token, self.limits, layer));
        }
        if let Some(prompt) = &self.prompt {
            let seconds = prompt.seconds.median;
            let (n, rate) = (prompt.positions.len(), figure(prompt.positions.len() as f64 / seconds));
            page.push_str(&format!("\nprompt of {n} tokens: {} ms, {rate} tokens/s\n", figure(1e3 * seconds)));
            page.push_str(&self.products(prompt));
        }
        page
    }

    /// The ops of a prompt: their multiply-adds, beside the peak of the kind that they use.
    fn products(&self, prompt: &Trace) -> String {
        let whole = prompt.total().map_or(f64::NAN, |total| total.seconds);
        let line = |cell: &Cell, name: &str, peak: Option<f64>| {
            let rate = cell.macs as f64 / cell.seconds;
            let has = cell.macs > 0;
            let dash = || "-".to_owned();
            vec![
                name.to_owned(),
                figure(1e3 * cell.seconds),
                percent(Some(cell.seconds / whole)),
                if has { figure(cell.macs as f64 / 1e9) } else { dash() },
                if has { figure(rate / 1e9) } else { dash() },
                noise::of_limit(peak.filter(|_| has).map(|peak| rate / peak)),
            ]
        };
        let inputs = |op: Op| if op == Op::Attention { Inputs::Floats } else { self.weights };
        let peak = |op: Op| self.limits.map(|limits| limits.products(inputs(op)));
        let mut rows: Vec<_> = prompt.by_op().iter().map(|cell| line(cell, cell.op.name(), peak(cell.op))).collect();
        rows.extend(prompt.total().map(|total| line(&total, "total", None)));
        table_with_bars(&["op", "ms", "share", "GMAC", "GMAC/s", "of peak"], &rows, &bar_lengths(&prompt.by_op()))
    }

    fn as_json(&self, model: &str, compute: &Compute) -> String {
        let object = Object::default()
            .text("model", model)
            .text("machine", &machine::cpu_name().unwrap_or_default())
            .text("kernels", compute.kernels.name)
            .raw("threads", compute.threads.len())
            .number("others_cpus", self.load.map_or(f64::NAN, |load| load.others))
            .number("stolen_share", self.load.map_or(f64::NAN, |load| load.stolen));
        let object = match self.limits {
            Some(limits) => object
                .number("read_bytes_per_second", limits.read)
                .number("int8_macs_per_second", limits.int8)
                .number("f32_macs_per_second", limits.f32),
            None => object,
        };
        let views = [("token", &self.token), ("prompt", &self.prompt)];
        let views = views.into_iter().filter_map(|(name, trace)| Some((name, trace.as_ref()?)));
        views.fold(object, |object, (name, trace)| object.raw(name, trace_json(trace))).line()
    }
}

/// Lines of cells with the bytes that they read.
fn reads(
    what: &str,
    cells: &[Cell],
    trace: &Trace,
    limits: Option<MachineLimits>,
    name: impl Fn(&Cell) -> String,
) -> String {
    let total = trace.total();
    let whole = total.map_or(f64::NAN, |total| total.seconds);
    let line = |cell: &Cell, name: String| {
        let rate = cell.bytes as f64 / cell.seconds;
        vec![
            name,
            figure(1e6 * cell.seconds),
            percent(Some(cell.seconds / whole)),
            if cell.bytes > 0 { figure(cell.bytes as f64 / 1e6) } else { "-".into() },
            if cell.bytes > 0 { figure(rate / 1e9) } else { "-".into() },
            noise::of_limit(limits.filter(|_| cell.bytes > 0).map(|limits| rate / limits.read)),
        ]
    };
    let mut rows: Vec<_> = cells.iter().map(|cell| line(cell, name(cell))).collect();
    if what == "op" {
        rows.extend(total.map(|total| line(&total, "total".into())));
    }
    table_with_bars(&[what, "us", "share", "MB", "GB/s", "of read"], &rows, &bar_lengths(cells))
}

/// The times of cells as shares of the longest.
fn bar_lengths(cells: &[Cell]) -> Vec<f64> {
    let longest = cells.iter().map(|cell| cell.seconds).fold(0.0, f64::max);
    cells.iter().map(|cell| cell.seconds / longest).collect()
}

fn trace_json(trace: &Trace) -> String {
    let cells = trace.cells.iter().map(|cell| {
        let layer = cell.layer.map_or("null".into(), |layer| layer.to_string());
        Object::default()
            .raw("layer", layer)
            .text("op", cell.op.name())
            .number("seconds", cell.seconds)
            .raw("bytes", cell.bytes)
            .raw("macs", cell.macs)
            .line()
    });
    Object::default()
        .raw("position", trace.positions.start)
        .raw("tokens", trace.positions.len())
        .number("seconds", trace.seconds.median)
        .raw("ops", json::list(cells))
        .line()
}
