//! `whit doctor`: what this machine is, how it is, and what a model can reach here, before anyone waits for it.

use super::args::Doctor;
use super::input::Source;
use super::json::{self, Object};
use super::output::{End, Outcome, Output, bytes, note};
use super::table::{count, figure};
use super::{interrupt, progress};
use whit::compute::Compute;
use whit::error::{Result, printable};
use whit::inspect::{Bound, Buffer, Costs, Limits, Reach, peak};
use whit::kernels;
use whit::model::Model;
use whit::ops::KvCache;
use whit::os::clusters::{Cluster, clusters};
use whit::os::cpu::{self, ThreadChoice};
use whit::os::thermal::{Condition, condition};
use whit::os::{machine, memory, storage};

/// Width of the names of lines.
const NAMES: usize = 16;
/// Width of a page.
const WIDTH: usize = 100;
/// Positions of the cache that must fit beside the model.
const CONTEXT: usize = 2048;
/// Hotter than this, boards of all kinds begin to lower their clocks, in degrees Celsius.
const HOT: f64 = 80.0;

pub(super) fn run(args: &Doctor) -> Outcome<()> {
    let source = Source::open(args.model.model.as_deref())?;
    let file = source.file()?;
    let model = source.model(&file)?;
    let costs = Costs::new(model.config(), file.tensors());
    let n_threads = args.threads.map_or_else(super::default_threads, usize::from);

    interrupt::watch();
    let seconds = args.limits.limit_seconds;
    let numbers = if n_threads > 1 { vec![1, n_threads] } else { vec![1] };
    let steps = progress::steps(numbers.len() as u64 + 1, args.quiet);
    let mut limits = Vec::new();
    for n in numbers.into_iter().filter(|_| seconds > 0.0) {
        steps.set_message(format!("limits on {n} thread{}", if n == 1 { "" } else { "s" }));
        limits.push((n, measured(&Compute::new(kernels::detect(), n)?, seconds)?));
        steps.inc(1);
        if interrupt::requested() {
            steps.finish_and_clear();
            note(format_args!("whit: interrupted before anything was told"));
            return Err(End::Interrupted);
        }
    }
    steps.set_message("storage");
    let stored = match &source {
        Source::Mapped(mapping) if seconds > 0.0 => storage::read_speed(mapping.path(), seconds)?,
        _ => None,
    };
    steps.finish_and_clear();

    let machine = Machine::look();
    let fit = Fit::new(&source, file.file_bytes(), &model, &machine);
    let slow = stored.filter(|_| !fit.fits());
    let reach = limits.last().map(|(_, limits)| Reach::new(&costs, *limits, slow));
    let diagnosis = Diagnosis { machine, limits, stored, model: source.short_name(), costs, fit, reach };
    let mut out = Output::new();
    if args.json {
        out.line(&diagnosis.as_json())?
    } else {
        out.write(&diagnosis.page())?
    }
    out.flush()
}

fn measured(compute: &Compute, seconds: f64) -> Result<Limits> {
    Ok(Limits {
        read: Buffer::new()?.read(compute, seconds),
        int8: peak(compute, compute.kernels.int8_peak, seconds),
        f32: peak(compute, compute.kernels.f32_peak, seconds),
    })
}

/// What the system says of the machine.
struct Machine {
    cpu: Option<String>,
    board: Option<String>,
    emulated: bool,
    clusters: Vec<Cluster>,
    threads: ThreadChoice,
    condition: Condition,
    total: Option<u64>,
    available: Option<u64>,
    limit: Option<u64>,
    page: Option<u64>,
}

impl Machine {
    fn look() -> Self {
        Machine {
            cpu: machine::cpu_name(),
            board: machine::board_name(),
            emulated: machine::is_emulated(),
            clusters: clusters(),
            threads: cpu::choose_threads(),
            condition: condition(),
            total: memory::total_bytes(),
            available: memory::available_bytes(),
            limit: memory::cgroup_limit_bytes(),
            page: memory::page_bytes(),
        }
    }
}

/// Whether a model fits into memory.
struct Fit {
    /// Bytes of the file; none if it is part of the program.
    file: u64,
    /// Bytes of an f16 cache of `context` positions.
    cache: u64,
    context: usize,
    /// Bytes that can be had, where the system tells.
    free: Option<u64>,
}

impl Fit {
    fn new(source: &Source, file_bytes: u64, model: &Model<'_>, machine: &Machine) -> Self {
        let config = model.config();
        let context = CONTEXT.min(super::bench::most_positions(model));
        let kv = whit::ops::KvDtype::F16;
        Fit {
            file: if matches!(source, Source::Mapped(_)) { file_bytes } else { 0 },
            cache: KvCache::bytes(kv, config.n_layers, config.n_kv_heads, config.head_dim, context),
            context,
            free: [machine.available, machine.limit].into_iter().flatten().min(),
        }
    }

    fn needed(&self) -> u64 {
        self.file + self.cache
    }

    /// Where nobody tells what is free, it is said to fit.
    fn fits(&self) -> bool {
        self.free.is_none_or(|free| self.needed() <= free)
    }
}

/// All that is told.
struct Diagnosis {
    machine: Machine,
    /// Measured limits by threads; none if none were measured.
    limits: Vec<(usize, Limits)>,
    /// Bytes a second read from the file's storage.
    stored: Option<f64>,
    model: String,
    costs: Costs,
    fit: Fit,
    reach: Option<Reach>,
}

impl Diagnosis {
    fn page(&self) -> String {
        let mut page = String::new();
        self.tell_machine(&mut page);
        self.tell_limits(&mut page);
        self.tell_model(&mut page);
        page.push('\n');
        for line in self.advice() {
            wrapped(&mut page, "- ", &line);
        }
        page
    }

    fn tell_machine(&self, page: &mut String) {
        let machine = &self.machine;
        let of = if machine.emulated { " (of the system below an emulator)" } else { "" };
        let cpu = machine.cpu.as_deref().map_or_else(|| "not told by the system".into(), printable);
        field(page, "CPU", &format!("{cpu}{of}"));
        if let Some(board) = machine.board.as_deref().filter(|board| machine.cpu.as_deref() != Some(board)) {
            field(page, "board", &printable(board));
        }
        field(page, "program", &format!("whit {} for {}", env!("CARGO_PKG_VERSION"), std::env::consts::ARCH));
        for cluster in &machine.clusters {
            field(page, "cores", &cluster_text(cluster));
        }
        field(page, "features", &or_none(kernels::features().join(" ")));
        field(page, "kernels", &kernels_text());
        field(page, "threads", &machine.threads.to_string());
        let size = |bytes_of: Option<u64>| bytes_of.map_or_else(|| "not told".into(), bytes);
        let limit = machine.limit.map_or_else(|| "no limit".into(), |limit| format!("limited to {}", bytes(limit)));
        field(page, "memory", &format!("{}, free {}, {limit}", size(machine.total), size(machine.available)));
        field(page, "pages", &machine.page.map_or_else(|| "not told".into(), |page| format!("{page} bytes")));
        field(page, "condition", &condition_text(&machine.condition));
    }

    fn tell_limits(&self, page: &mut String) {
        page.push('\n');
        let on_threads = |value: fn(&Limits) -> f64, unit: &str| {
            let each = self.limits.iter().map(|(n, limits)| {
                format!("{} {unit} on {n} thread{}", figure(value(limits) / 1e9), if *n == 1 { "" } else { "s" })
            });
            or(each.collect::<Vec<_>>().join(", "), "not measured")
        };
        field(page, "memory read", &on_threads(|limits| limits.read, "GB/s"));
        field(page, "int8 products", &on_threads(|limits| limits.int8, "GMAC/s"));
        field(page, "f32 products", &on_threads(|limits| limits.f32, "GMAC/s"));
        let stored = self.stored.map_or_else(
            || if self.fit.file == 0 { "the model is part of the program" } else { "not measured" }.into(),
            |speed| format!("{}/s, past the page cache", bytes(speed as u64)),
        );
        field(page, "storage read", &stored);
    }

    fn tell_model(&self, page: &mut String) {
        page.push('\n');
        field(page, "model", &printable(&self.model));
        let (parameters, dtype) = (count(self.costs.parameters()), self.costs.dtype().name());
        let read = bytes(self.costs.weight_bytes());
        field(page, "weights", &format!("{parameters}, {dtype}; a token reads {read}"));
        let (cache, context) = (bytes(self.fit.cache), self.fit.context);
        let needs = match self.fit.file {
            0 => format!("{cache} of cache for {context} tokens"),
            file => format!("{} of file and {cache} of cache for {context} tokens", bytes(file)),
        };
        let fits = if self.fit.fits() { "yes" } else { "no" };
        field(page, "fits", &format!("{fits}: {needs}"));
        if let Some(reach) = &self.reach {
            let by = match reach.bound {
                Bound::Memory => "memory's speed over the bytes a token reads",
                Bound::Products => "products a second over those of a token",
                Bound::Storage => "storage's speed over the bytes a token reads",
            };
            field(page, "writes", &format!("at most {} tokens/s: {by}", figure(reach.decode)));
            field(page, "reads a prompt", &format!("at most {} tokens/s: products a second", figure(reach.prefill)));
        }
    }

    /// What the figures mean, in plain words.
    fn advice(&self) -> Vec<String> {
        let condition = &self.machine.condition;
        let mut lines = Vec::new();
        if self.machine.emulated {
            lines.push("An emulator runs this program: its speed says nothing about a board's.".into());
        }
        for what in &condition.now {
            let cure = match what {
                _ if what.contains("voltage") => "; use a stronger power supply and a short cable",
                _ if what.contains("cool") || what.contains("temperature") => "; give it a heat sink or a fan",
                _ => "",
            };
            lines.push(format!("The CPU is slower than it could be: {what}{cure}."));
        }
        for what in &condition.before {
            lines.push(format!("Since the machine was started this has happened: {what}."));
        }
        if condition.celsius.is_some_and(|celsius| celsius >= HOT) {
            lines.push("It is hot: long texts may run slower than short ones.".into());
        }
        lines.push(self.verdict());
        lines
    }

    fn verdict(&self) -> String {
        if self.fit.fits() {
            return match &self.reach {
                Some(reach) => {
                    let pace = pace(reach.decode);
                    format!("The model fits into memory. A token takes {pace} at least; `whit bench` measures it.")
                }
                None => "The model fits into memory.".into(),
            };
        }
        let (needed, free) = (bytes(self.fit.needed()), self.fit.free.map_or_else(|| "less".into(), bytes));
        let speed = match (&self.reach, self.stored) {
            (Some(reach), Some(_)) => {
                format!("every token reads it from storage and takes {} at least", pace(reach.decode))
            }
            _ => "every token reads it from storage".into(),
        };
        format!(
            "The model does not fit into memory: it needs {needed}, free are {free}; so {speed}. A smaller model, int8 \
             weights or fewer other programs help."
        )
    }

    fn as_json(&self) -> String {
        let machine = &self.machine;
        let condition = &machine.condition;
        let texts = |texts: &[String]| json::list(texts.iter().map(|text| json::string(text)));
        let number = |object: Object, name: &str, value: Option<u64>| match value {
            Some(value) => object.raw(name, value),
            None => object.raw(name, "null"),
        };
        let clusters = machine.clusters.iter().map(|cluster| {
            let cpus = json::list(cluster.cpus.iter().map(usize::to_string));
            let object = number(Object::default().raw("cpus", cpus), "capacity", cluster.capacity);
            number(object, "max_khz", cluster.max_khz).line()
        });
        let limits = self.limits.iter().map(|(n, limits)| {
            let object = Object::default().raw("threads", n).number("read_bytes_per_second", limits.read);
            let object = object.number("int8_macs_per_second", limits.int8);
            object.number("f32_macs_per_second", limits.f32).line()
        });
        let mut object = Object::default()
            .maybe("cpu", machine.cpu.as_deref())
            .maybe("board", machine.board.as_deref())
            .raw("emulated", machine.emulated)
            .text("architecture", std::env::consts::ARCH)
            .raw("clusters", json::list(clusters))
            .raw("features", json::list(kernels::features().into_iter().map(json::string)))
            .raw("kernels", json::list(kernels::available().map(|kernels| json::string(kernels.name))))
            .text("chosen_kernels", kernels::detect().name)
            .raw("threads", machine.threads.n_threads)
            .text("threads_why", &machine.threads.to_string());
        for (name, value) in [
            ("memory_bytes", machine.total),
            ("memory_free_bytes", machine.available),
            ("memory_limit_bytes", machine.limit),
            ("page_bytes", machine.page),
        ] {
            object = number(object, name, value);
        }
        object = object
            .number("celsius", condition.celsius.unwrap_or(f64::NAN))
            .raw("held_back_now", texts(&condition.now))
            .raw("held_back_before", texts(&condition.before))
            .raw("limits", json::list(limits))
            .number("storage_bytes_per_second", self.stored.unwrap_or(f64::NAN))
            .text("model", &self.model)
            .raw("bytes_per_token", self.costs.weight_bytes())
            .raw("fits", self.fit.fits())
            .raw("needed_bytes", self.fit.needed());
        if let Some(reach) = &self.reach {
            let bound = match reach.bound {
                Bound::Memory => "memory",
                Bound::Products => "products",
                Bound::Storage => "storage",
            };
            object = object.number("decode_at_most", reach.decode).text("decode_bound", bound);
            object = object.number("prefill_at_most", reach.prefill);
        }
        object.raw("advice", texts(&self.advice())).line()
    }
}

fn field(page: &mut String, name: &str, value: &str) {
    wrapped(page, &format!("{name:<NAMES$}"), value);
}

/// Adds `text` after `first`, its further lines below its beginning.
fn wrapped(page: &mut String, first: &str, text: &str) {
    let mut line = first.to_owned();
    let mut is_empty = true;
    for word in text.split(' ') {
        if !is_empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
            page.push_str(line.trim_end());
            page.push('\n');
            line = " ".repeat(first.chars().count());
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    page.push_str(line.trim_end());
    page.push('\n');
}

fn or(text: String, empty: &str) -> String {
    if text.is_empty() { empty.to_owned() } else { text }
}

fn or_none(text: String) -> String {
    or(text, "none that kernels ask for")
}

fn cluster_text(cluster: &Cluster) -> String {
    let n = cluster.cpus.len();
    let mut text = format!("{n}, CPU{} {}", if n == 1 { "" } else { "s" }, ranges(&cluster.cpus));
    if let Some(khz) = cluster.max_khz {
        text.push_str(&format!(", up to {} MHz", khz / 1000));
    }
    if let Some(capacity) = cluster.capacity {
        text.push_str(&format!(", capacity {capacity}"));
    }
    text
}

/// Ascending numbers as in "0-3,8".
fn ranges(numbers: &[usize]) -> String {
    let runs = numbers.chunk_by(|a, b| a + 1 == *b);
    let texts = runs.map(|run| match run {
        [one] => one.to_string(),
        _ => format!("{}-{}", run[0], run[run.len() - 1]),
    });
    texts.collect::<Vec<_>>().join(",")
}

/// The kernels chosen, and why not others.
fn kernels_text() -> String {
    let names: Vec<_> = kernels::available().map(|kernels| kernels.name).collect();
    let lacking = kernels::unavailable().map(|(name, missing)| format!("; {name} lacks {}", missing.join(", ")));
    format!("{}, the best of {}{}", kernels::detect().name, names.join(", "), lacking.collect::<String>())
}

fn condition_text(condition: &Condition) -> String {
    let heat = condition.celsius.map(|celsius| format!("{celsius:.1} degrees Celsius"));
    let state = match (condition.now.is_empty(), condition.known) {
        (false, _) => Some("held back, see below"),
        (true, true) => Some("nothing holds the CPU back"),
        (true, false) => None,
    };
    let parts: Vec<String> = heat.into_iter().chain(state.map(str::to_owned)).collect();
    or(parts.join(", "), "not told by the system")
}

/// The time between two tokens, in a unit that fits.
fn pace(tokens_per_second: f64) -> String {
    let seconds = 1.0 / tokens_per_second;
    match seconds {
        _ if seconds < 1e-3 => format!("{} us", figure(1e6 * seconds)),
        _ if seconds < 1.0 => format!("{} ms", figure(1e3 * seconds)),
        _ => format!("{} s", figure(seconds)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_go_on_below_their_beginning() {
        let mut page = String::new();
        field(&mut page, "name", &"word ".repeat(30));
        let lines: Vec<_> = page.lines().collect();
        assert!(lines.len() == 2 && lines[1].starts_with("                word"), "{page}");
        assert!(lines.iter().all(|line| line.len() <= WIDTH));
    }

    #[test]
    fn numbers_are_told_in_ranges() {
        assert_eq!(ranges(&[0, 1, 2, 3, 8]), "0-3,8");
        assert_eq!(ranges(&[5]), "5");
        assert_eq!(ranges(&[]), "");
        assert_eq!([pace(4000.0), pace(8.0), pace(0.25)], ["250.0 us", "125.0 ms", "4.00 s"]);
    }
}
