//! `whit bench`: how fast a model runs here, beside what this machine can do at most.

use super::args::Bench;
use super::bench_file::{self, Key, Old, Setting};
use super::input::ModelFile;
use super::noise;
use super::output::{End, Outcome, Output, bytes, note};
use super::plan::Wanted;
use super::progress;
use super::setup::default_threads;
use super::table::{count, figure, percent, table};
use std::sync::Arc;
use whit::compute::Compute;
use whit::error::{Result, printable};
use whit::inspect::bench::{self, BenchPlan, Report, Row, Step, Work};
use whit::inspect::{Costs, MachineLimits};
use whit::kernels;
use whit::model::{Model, SessionOptions};
use whit::ops::KvDtype;
use whit::os::load::{Load, LoadWatch};
use whit::os::thermal::condition;
use whit::os::{cpu, interrupt, machine};

pub(super) fn run(args: &Bench) -> Outcome<()> {
    let source = ModelFile::open(args.model.path())?;
    let model = source.model()?;
    let old = args.compare.as_deref().map(Old::read).transpose()?;
    let costs = Costs::new(&model);
    let computes = computes(args)?;
    let plan = plan(args, &model);
    // All sessions and texts together, as if they were one session.
    let positions = plan.positions() * computes.len();
    let logit_rows = (plan.most_texts() * computes.len()).max(1);
    let batch = SessionOptions::default().batch.max(logit_rows);
    let wanted = Wanted {
        model: &model,
        file_bytes: model.file().file_bytes(),
        options: SessionOptions {
            context_length: positions,
            kv: plan.kv,
            batch,
            logit_rows,
            ..SessionOptions::default()
        },
        n_sessions: 1,
        n_texts: 1,
        n_threads: computes.iter().map(|compute| compute.threads.len()).sum(),
        flag: "--depth",
        max_memory: None,
        guessing: None,
        n_constrained: 0,
    };
    wanted.check()?;
    let setting = setting(&source, &model, &costs, &plan);

    interrupt::watch();
    let bar = progress::steps(plan.n_steps(computes.len()) as u64, args.progress.quiet);
    let watch = LoadWatch::start();
    let report = bench::run(&model, &costs, &computes, &plan, &mut |compute, step| {
        bar.set_message(format!("{} {}", runs_on(compute), step_name(step)));
        bar.inc(1);
        !interrupt::requested()
    });
    bar.finish_and_clear();
    let report = report?;
    let load = watch.load();
    source.check_unchanged()?;

    for what in condition().now {
        note(format_args!("whit: the CPU is held back, and may have been during the run: {what}"));
    }
    if let Some(old) = &old {
        tell_differences(&setting, old);
    }
    let names: Vec<_> = computes.iter().map(|compute| (compute.name(), compute.threads.len())).collect();
    let mut out = Output::new();
    if args.json {
        out.write(&bench_file::write(&setting, &report, &names, old.as_ref(), load))?;
    } else {
        out.page(&page(&setting, &report, &names, old.as_ref(), load))?;
    }
    out.flush()?;
    if !report.complete {
        note(format_args!("whit: interrupted before the last sample"));
        return Err(End::Interrupted);
    }
    Ok(())
}

/// Every pair of kernels and threads asked for, each once.
fn computes(args: &Bench) -> Result<Vec<Arc<Compute>>> {
    let named = once(args.kernels.clone()).iter().map(|name| kernels::by_name(name)).collect::<Result<Vec<_>>>()?;
    let kernels = if named.is_empty() { vec![kernels::detect()] } else { named };
    let threads = match args.threads.as_slice() {
        [] => vec![1, default_threads()],
        threads => threads.iter().map(|n| usize::from(*n)).collect(),
    };
    let threads = once(threads);
    let mut computes = Vec::new();
    for kernels in kernels {
        for n_threads in &threads {
            let compute = || Compute::new(kernels, *n_threads);
            for hint in once(args.prefetch.clone()) {
                computes.push(Arc::new(Compute { hint, ..compute()? }));
            }
            if args.prefetch.is_empty() {
                computes.push(Arc::new(compute()?));
            }
        }
    }
    Ok(computes)
}

/// `values` without repetitions.
fn once<T: PartialEq>(values: Vec<T>) -> Vec<T> {
    let mut out = Vec::new();
    for value in values {
        if !out.contains(&value) {
            out.push(value);
        }
    }
    out
}

/// What to measure: lengths and depths that the model does not hold are left out, and said so.
fn plan(args: &Bench, model: &Model) -> BenchPlan {
    let n_decode = args.decode as usize;
    let prefill: Vec<_> = args.prefill.iter().map(|n| *n as usize).filter(|n| *n > 0).collect();
    let depths = if n_decode > 0 { args.depth.iter().map(|n| *n as usize).collect() } else { vec![] };
    let texts = if n_decode > 0 { args.texts.iter().map(|n| *n as usize).collect() } else { vec![] };
    let most = most_positions(model);
    let fits = |what: &str, n: usize, needed: usize| {
        if needed > most {
            note(format_args!("whit: no {what} {n}: it needs {needed} positions, the model has {most}"));
        }
        needed <= most
    };
    BenchPlan {
        prefill: once(prefill).into_iter().filter(|n| fits("prefill of", *n, *n)).collect(),
        depths: once(depths).into_iter().filter(|n| fits("decode at depth", *n, n + n_decode)).collect(),
        texts: once(texts).into_iter().filter(|n| fits("decode of texts together,", *n, n_decode)).collect(),
        n_decode,
        repeats: args.repeat.into(),
        kv: args.kv.into(),
        limit_seconds: args.limits.limit_seconds,
    }
}

/// The positions that the model can be given: only learned ones end.
pub(super) fn most_positions(model: &Model) -> usize {
    let config = model.config();
    if config.learned_positions { config.context_length } else { usize::MAX }
}

/// What all figures of a run stand on.
fn setting(source: &ModelFile, model: &Model, costs: &Costs, plan: &BenchPlan) -> Setting {
    Setting {
        machine: machine::cpu_name().unwrap_or_else(|| format!("an unnamed {} CPU", std::env::consts::ARCH)),
        cores: cpu::available_cores(),
        model: source.short_name(),
        weight_bytes: model.weight_bytes(),
        parameters: costs.parameters(),
        dtype: costs.dtype(),
        kv: KvDtype::name(plan.kv),
        repeats: plan.repeats,
        n_decode: plan.n_decode,
    }
}

fn runs_on(compute: &Compute) -> String {
    let n = compute.threads.len();
    format!("{}, {n} thread{}:", compute.name(), if n == 1 { "" } else { "s" })
}

fn step_name(step: Step) -> String {
    match step {
        Step::Fill(depth) => format!("filling to depth {depth}"),
        Step::Limits => "limits".into(),
        Step::Warm(work) | Step::Sample(work) => match work {
            Work::Prefill { n_tokens } => format!("prefill of {n_tokens}"),
            Work::Decode { depth } => format!("decode at depth {depth}"),
            Work::Texts { n_texts: 1 } => "decode of one text".into(),
            Work::Texts { n_texts } => format!("decode of {n_texts} texts together"),
        },
    }
}

fn tell_differences(setting: &Setting, old: &Old) {
    let pairs = [
        ("machine", &old.machine, &*setting.machine),
        ("model", &old.model, &setting.model),
        ("kv", &old.kv, setting.kv),
    ];
    for (name, old, new) in pairs.into_iter().filter(|(_, old, new)| old != new) {
        note(format_args!("whit: another {name}: {} before, {} now", printable(old), printable(new)));
    }
}

/// Machine and model, a line each.
pub(super) fn heading(machine: &str, cores: usize, model: &str, parameters: u64, weights: u64, dtype: &str) -> String {
    let cores = format!("{cores} core{}", if cores == 1 { "" } else { "s" });
    let size = format!("{} parameters, {} of weights, {dtype}", count(parameters), bytes(weights));
    format!("machine  {}, {cores}\nmodel    {}: {size}\n", printable(machine), printable(model))
}

fn page(
    setting: &Setting,
    report: &Report,
    computes: &[(String, usize)],
    old: Option<&Old>,
    load: Option<Load>,
) -> String {
    let Setting { machine, cores, model, parameters, weight_bytes, dtype, kv, repeats, n_decode } = setting;
    let mut page = heading(machine, *cores, model, *parameters, *weight_bytes, dtype.name());
    let decode = if *n_decode > 0 { format!(", decode of {n_decode} tokens") } else { String::new() };
    page.push_str(&format!("run      {kv} cache, medians of {repeats}{decode}\n"));
    let spread = report.rows.iter().map(|row| row.rate.deviation()).fold(0.0, f64::max);
    let decoded = report.rows.iter().filter(|row| !matches!(row.work, Work::Prefill { .. }));
    let above = noise::above_limits(decoded.filter_map(Row::share_of_read), *weight_bytes);
    page.extend(noise::told(load, spread).map(|line| noise::line("noise", &line)));
    page.extend(above.map(|line| noise::line(">100 %", &line)));
    let measured = computes.iter().zip(&report.limits).filter_map(|(compute, limits)| Some((compute, (*limits)?)));
    let limits: Vec<_> = measured.map(limits_line).collect();
    let names = ["limits ", "threads", "read GB/s", "int8 GMAC/s", "f32 GMAC/s"];
    let peak = format!("of {} peak", dtype.format().inputs.name());
    let prefill = ["prefill", "threads", "tokens", "tok/s", "+-", "GMAC/s", &peak];
    let decode = ["decode ", "threads", "depth", "tok/s", "+-", "MB/token", "GB/s", "of read"];
    let texts = ["texts  ", "threads", "texts", "tok/s", "+-", "GB/s", "of read", &peak];
    let lines = |of: fn(&Work) -> bool| {
        report.rows.iter().filter(|row| of(&row.work)).map(|row| row_line(row, *n_decode, old)).collect()
    };
    for (names, rows) in [
        (names.to_vec(), limits),
        (prefill.to_vec(), lines(|work| matches!(work, Work::Prefill { .. }))),
        (decode.to_vec(), lines(|work| matches!(work, Work::Decode { .. }))),
        (texts.to_vec(), lines(|work| matches!(work, Work::Texts { .. }))),
    ] {
        let compared = rows.first().is_some_and(|row: &Vec<String>| row.len() > names.len());
        let names: Vec<_> = names.into_iter().chain(compared.then_some("new/old")).collect();
        if !rows.is_empty() {
            page.push('\n');
            page.push_str(&table(&names, &rows));
        }
    }
    page
}

fn limits_line(((kernels, threads), limits): (&(String, usize), MachineLimits)) -> Vec<String> {
    let figures = [limits.read, limits.int8, limits.f32].map(|limit| figure(limit / 1e9));
    [kernels.clone(), threads.to_string()].into_iter().chain(figures).collect()
}

fn row_line(row: &Row, n_decode: usize, old: Option<&Old>) -> Vec<String> {
    let mut cells = vec![row.kernels.clone(), row.threads.to_string()];
    let rate = [figure(row.rate.median), percent(Some(row.rate.deviation()))];
    match row.work {
        Work::Prefill { n_tokens } => {
            cells.push(n_tokens.to_string());
            cells.extend(rate);
            cells.push(figure(row.macs_per_second() / 1e9));
            cells.push(noise::of_limit(row.share()));
        }
        Work::Decode { depth } => {
            cells.push(depth.to_string());
            cells.extend(rate);
            cells.push(figure(row.bytes / 1e6));
            cells.push(figure(row.bytes_per_second() / 1e9));
            cells.push(noise::of_limit(row.share()));
        }
        Work::Texts { n_texts } => {
            cells.push(n_texts.to_string());
            cells.extend(rate);
            cells.push(figure(row.bytes_per_second() / 1e9));
            cells.push(noise::of_limit(row.share_of_read()));
            cells.push(noise::of_limit(row.share_of_macs()));
        }
    }
    cells.extend(old.map(|old| match old.rate(&Key::of(row, n_decode)) {
        Some(rate) => format!("{:.3}", row.rate.median / rate),
        None => "-".into(),
    }));
    cells
}

#[cfg(test)]
mod tests {
    use super::*;
    use whit::inspect::bench::{RowLimits, Spread};
    use whit::quant::Dtype;

    #[test]
    fn a_page_lines_up_within_80_columns() {
        let rate = |median| Spread { min: 0.9 * median, median, max: 1.1 * median };
        let row = |work, threads, median| Row {
            kernels: "dotprod".into(),
            threads,
            work,
            rate: rate(median),
            macs: 134.5e6,
            bytes: 1143.1e6,
            limits: Some(RowLimits { read: 300e9, macs: 300e9 }),
        };
        let rows = vec![
            row(Work::Prefill { n_tokens: 512 }, 1, 12345.6),
            row(Work::Decode { depth: 4096 }, 256, 312.3),
            row(Work::Texts { n_texts: 1024 }, 256, 312.3),
        ];
        let limits = vec![Some(MachineLimits { read: 44.5e9, int8: 543e9, f32: 135e9 })];
        let report = Report { limits, rows, complete: true };
        let setting = Setting {
            machine: "A CPU".into(),
            cores: 2,
            model: "m.whit".into(),
            weight_bytes: 143_100_000,
            parameters: 134_515_008,
            dtype: Dtype::Int8,
            kv: "f16",
            repeats: 3,
            n_decode: 128,
        };
        let json = bench_file::write(&setting, &report, &[("dotprod".into(), 1)], None, None);
        let path = std::env::temp_dir().join(format!("whit-bench-page-{}", std::process::id()));
        std::fs::write(&path, json).expect("a written file");
        let old = Old::read(&path).expect("our own layout");
        let _ = std::fs::remove_file(&path);
        let page = page(&setting, &report, &[("dotprod".into(), 1)], Some(&old), None);
        let above = noise::above_limits([2.0].into_iter(), setting.weight_bytes).expect("a reason");
        let page = page.replace(&noise::line(">100 %", &above), ">100 %   ABOVE\n");
        assert_eq!(
            page,
            "machine  A CPU, 2 cores
model    m.whit: 134.5 M parameters, 143.1 MB of weights, int8
run      f16 cache, medians of 3, decode of 128 tokens
>100 %   ABOVE

limits   threads  read GB/s  int8 GMAC/s  f32 GMAC/s
dotprod        1       44.5        543.0       135.0

prefill  threads  tokens  tok/s      +-  GMAC/s  of int8 peak  new/old
dotprod        1     512  12346  10.0 %    1660        >100 %    1.000

decode   threads  depth  tok/s      +-  MB/token   GB/s  of read  new/old
dotprod      256   4096  312.3  10.0 %      1143  357.0   >100 %    1.000

texts    threads  texts  tok/s      +-   GB/s  of read  of int8 peak  new/old
dotprod      256   1024  312.3  10.0 %  357.0   >100 %        14.0 %    1.000
"
        );
        assert!(page.lines().all(|line| line.len() <= 80));
    }

    #[test]
    fn what_is_named_twice_is_measured_once() {
        assert_eq!(once(vec![2, 1, 2, 2, 3, 1]), [2, 1, 3]);
    }
}
