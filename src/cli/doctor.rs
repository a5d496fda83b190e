//! `whit doctor`: what this machine is, how it is, and what a model can reach here, before anyone waits for it.

use super::args::Doctor;
use super::input::ModelFile;
use super::json::{self, Object};
use super::output::{End, Outcome, Output, note};
use super::progress;
use super::screen::folded;
use super::setup::{default_threads, up_to};
use whit::error::Result;
use whit::inspect::{Bound, Costs, MachineLimits, Reach};
use whit::kernels;
use whit::model::{Model, SessionOptions};
use whit::os::clusters::{Cluster, clusters};
use whit::os::cpu;
use whit::os::load::{Load, LoadWatch};
use whit::os::thermal::{Condition, condition};
use whit::os::{interrupt, machine, memory, sandbox, storage};

/// Columns of the widest page.
const WIDTH: usize = 100;
/// Positions of the cache that must fit beside the model, if it has so many.
const CONTEXT: usize = 2048;

pub(super) fn run(args: &Doctor) -> Outcome<()> {
    let source = ModelFile::open(args.model.path())?;
    let model = source.model()?;
    let costs = Costs::new(&model);

    interrupt::watch();
    let watch = LoadWatch::start();
    let Some((limits, stored)) = measure(args, &source)? else {
        note(format_args!("whit: interrupted before anything was reported"));
        return Err(End::Interrupted);
    };
    let load = watch.load().filter(|_| !limits.is_empty());
    let machine = Machine::look(args.threads);
    let fit = Fit::new(&source, &model, &machine);
    let slow = fit.missing().zip(stored);
    let reach = limits.last().map(|(_, limits)| Reach::new(&costs, *limits, slow));
    let diagnosis = Diagnosis { machine, limits, stored, load, model: source.short_name(), costs, fit, reach };
    let mut out = Output::new();
    if args.print.json {
        out.line(&diagnosis.as_json())?;
    } else {
        out.write(&folded(&diagnosis.page(), WIDTH))?;
    }
    out.flush()
}

/// Limits by numbers of threads, and bytes a second that the model's storage is read with.
type Measured = (Vec<(usize, MachineLimits)>, Option<f64>);

/// What can be measured; `None` after an interrupt.
fn measure(args: &Doctor, source: &ModelFile) -> Result<Option<Measured>> {
    let seconds = args.limits.limit_seconds;
    if seconds == 0.0 {
        return Ok(Some((vec![], None)));
    }
    let n_threads = args.threads.map_or_else(default_threads, usize::from);
    let numbers = if n_threads > 1 { vec![1, n_threads] } else { vec![1] };
    let steps = progress::steps(numbers.len() as u64 + 1, args.progress.quiet);
    let mut limits = Vec::new();
    for n in numbers {
        steps.set_message(format!("limits on {n} thread{}", if n == 1 { "" } else { "s" }));
        let compute = up_to(kernels::detect(), n)?;
        limits.push((compute.threads.len(), MachineLimits::measure(&compute, seconds)?));
        steps.inc(1);
        if interrupt::requested() {
            steps.finish_and_clear();
            return Ok(None);
        }
    }
    steps.set_message("storage");
    let stored = match source {
        ModelFile::Mapped(mapping) => storage::read_speed(mapping.path(), seconds),
        ModelFile::Embedded(_) => Ok(None),
    };
    steps.finish_and_clear();
    let stored = stored.unwrap_or_else(|error| {
        note(format_args!("whit: {error}"));
        None
    });
    Ok(Some((limits, stored)).filter(|_| !interrupt::requested()))
}

/// What the system says of the machine.
pub(super) struct Machine {
    pub(super) cpu: Option<String>,
    pub(super) board: Option<String>,
    pub(super) emulated: bool,
    pub(super) clusters: Vec<Cluster>,
    pub(super) n_threads: usize,
    /// Why so many.
    pub(super) threads_why: String,
    pub(super) condition: Condition,
    pub(super) total: Option<u64>,
    pub(super) available: Option<u64>,
    pub(super) limit: Option<u64>,
    pub(super) page: Option<u64>,
}

impl Machine {
    /// This one, with so many threads if a number is asked for.
    pub(super) fn look(asked: Option<u16>) -> Self {
        let choice = cpu::choose_threads();
        Machine {
            cpu: machine::cpu_name(),
            board: machine::board_name(),
            emulated: machine::is_emulated(),
            clusters: clusters(),
            n_threads: asked.map_or(choice.n_threads, usize::from),
            threads_why: asked.map_or_else(|| choice.to_string(), |n| format!("{n}, as asked for")),
            condition: condition(),
            total: memory::total_bytes(),
            available: memory::available_bytes(),
            limit: memory::cgroup_limit_bytes(),
            page: memory::page_bytes(),
        }
    }
}

/// Whether a model fits into memory.
pub(super) struct Fit {
    /// Bytes of the file; none if it is part of the program.
    pub(super) file: u64,
    /// Bytes of an f16 cache of `context` positions.
    pub(super) cache: u64,
    pub(super) context: usize,
    /// Bytes that can still be allocated, where the system reports them.
    pub(super) room: Option<u64>,
}

impl Fit {
    fn new(source: &ModelFile, model: &Model, machine: &Machine) -> Self {
        let config = model.config();
        let context = CONTEXT.min(config.context_length);
        Fit {
            file: if matches!(source, ModelFile::Mapped(_)) { model.file().file_bytes() } else { 0 },
            cache: SessionOptions { context_length: context, ..SessionOptions::default() }.bytes(config).kv,
            context,
            room: [machine.available, machine.limit].into_iter().flatten().min(),
        }
    }

    pub(super) fn needed(&self) -> u64 {
        self.file.saturating_add(self.cache)
    }

    /// Bytes for which there is no room, if there are any and the system reports it.
    pub(super) fn missing(&self) -> Option<u64> {
        self.room.map(|room| self.needed().saturating_sub(room)).filter(|missing| *missing > 0)
    }

    /// `None` where the system does not report it.
    pub(super) fn fits(&self) -> Option<bool> {
        self.room.map(|room| self.needed() <= room)
    }
}

/// All that is reported.
pub(super) struct Diagnosis {
    pub(super) machine: Machine,
    /// Measured limits by threads; none if none were measured.
    pub(super) limits: Vec<(usize, MachineLimits)>,
    /// Bytes a second read from the file's storage.
    pub(super) stored: Option<f64>,
    /// What others did while that was measured.
    pub(super) load: Option<Load>,
    pub(super) model: String,
    pub(super) costs: Costs,
    pub(super) fit: Fit,
    pub(super) reach: Option<Reach>,
}

impl Diagnosis {
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
            .text("prefetch", kernels::Hint::of(kernels::detect().name).name())
            .raw("threads", machine.n_threads)
            .text("threads_why", &machine.threads_why);
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
            .raw("confined_files", sandbox::state().paths)
            .raw("confined_calls", sandbox::state().calls)
            .raw("limits", json::list(limits))
            .number("storage_bytes_per_second", self.stored.unwrap_or(f64::NAN))
            .number("others_cpus", self.load.map_or(f64::NAN, |load| load.others))
            .number("stolen_share", self.load.map_or(f64::NAN, |load| load.stolen))
            .text("model", &self.model)
            .raw("bytes_per_token", self.costs.weight_bytes())
            .raw("fits", self.fit.fits().map_or("null", |fits| if fits { "true" } else { "false" }))
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
