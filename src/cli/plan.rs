//! `whit plan`: the memory of a run before anything is allocated; and the check of it that every command makes.

use super::args::{self, ComputeArgs};
use super::guessing::{self, Guessing};
use super::input::ModelFile;
use super::json::{self, Object};
use super::output::{Outcome, Output, bytes};
use super::setup::{context_length, n_threads, session_options};
use super::streaming;
use super::table::table;
use whit::Compute;
use whit::error::{Error, Kind, Result, printable};
use whit::generate::grammar::Grammars;
use whit::inspect::MemoryPlan;
use whit::model::{Model, SessionOptions};
use whit::ops::KvDtype;
use whit::os::memory::{self, Bound, Room};

/// Sessions that a command is about to make.
pub(super) struct Wanted<'w> {
    pub(super) model: &'w Model,
    pub(super) file_bytes: u64,
    pub(super) options: SessionOptions,
    pub(super) n_sessions: u64,
    /// Texts that share a session's buffers.
    pub(super) n_texts: u64,
    pub(super) n_threads: usize,
    /// The argument that sets the context's length.
    pub(super) flag: &'static str,
    /// What the user allows.
    pub(super) max_memory: Option<u64>,
    /// By what tokens are guessed.
    pub(super) guessing: Option<&'w Guessing>,
    /// Texts that may be under a constraint; with none, no engine of constraints is made.
    pub(super) n_constrained: u64,
}

/// What there is, and whether a plan fits into it.
struct Place {
    what: &'static str,
    bytes: u64,
    /// For a bound on all memory: bytes of weights that must be there. The program's own is counted, too.
    weights: Option<u64>,
}

impl Place {
    /// All that bound a run, the user's own bound first, under which so many bytes of weights must be in memory.
    fn all(max_memory: Option<u64>, weights: u64) -> Vec<Place> {
        let allowed = max_memory.map(|bytes| Place { what: "--max-memory", bytes, weights: Some(weights) });
        allowed.into_iter().chain(memory::rooms().into_iter().map(Place::from)).collect()
    }

    /// What `plan` needs of it.
    fn needed(&self, plan: &MemoryPlan) -> u64 {
        self.weights.map_or_else(|| plan.to_come(), |weights| plan.private().saturating_add(weights))
    }

    fn holds(&self, plan: &MemoryPlan) -> bool {
        self.needed(plan) <= self.bytes
    }
}

impl From<Room> for Place {
    fn from(room: Room) -> Self {
        let what = match room.bound {
            Bound::Machine => "memory of this machine",
            Bound::Group => "limit of the control group",
            Bound::Addresses => "limit of addresses (ulimit -v)",
            Bound::Promises => "memory this machine may promise",
        };
        Place { what, bytes: room.bytes, weights: None }
    }
}

impl<'w> Wanted<'w> {
    /// One session of `model` on the threads of `compute`, within what `args` allow; `flag` sets its context.
    pub(super) fn one(
        model: &'w Model,
        options: SessionOptions,
        compute: &Compute,
        args: &ComputeArgs,
        flag: &'static str,
    ) -> Self {
        let (file_bytes, n_threads) = (model.file().file_bytes(), compute.threads.len());
        Wanted {
            model,
            file_bytes,
            options,
            n_sessions: 1,
            n_texts: 1,
            n_threads,
            flag,
            max_memory: args.max_memory,
            guessing: None,
            n_constrained: 0,
        }
    }

    fn plan(&self, context_length: usize, kv: KvDtype) -> MemoryPlan {
        let options = SessionOptions { context_length, kv, ..self.options };
        let plan = MemoryPlan::new(self.model, self.file_bytes, options, self.n_sessions, self.n_threads);
        let plan = plan.of_texts(self.model.config(), self.n_texts).with(self.rules());
        self.guessing.map_or(plan, |guessing| guessing.planned(plan, self.model, options))
    }

    /// Bytes that constraints take.
    fn rules(&self) -> u64 {
        let tokenizer = self.model.tokenizer().filter(|_| self.n_constrained > 0);
        tokenizer.map_or(0, |tokenizer| Grammars::bytes(tokenizer, self.n_constrained))
    }

    /// The longest context of this model that fits into all `places`.
    fn longest(&self, kv: KvDtype, places: &[Place]) -> Option<usize> {
        let fits = |n| places.iter().all(|place| place.holds(&self.plan(n, kv)));
        MemoryPlan::longest_context(self.model.config().context_length, fits)
    }

    /// The plan, or a refusal that names what would fit.
    pub(super) fn check(&self) -> Result<MemoryPlan> {
        let plan = self.plan(self.options.context_length, self.options.kv);
        let places = Place::all(self.max_memory, streaming::least(self.model, self.file_bytes));
        let Some(place) = places.iter().find(|place| !place.holds(&plan)) else { return Ok(plan) };
        let what = if place.weights.is_some() { "private memory and weights in use" } else { "private memory" };
        let message = format!(
            "{} of {what} are needed for a context of {}, {} has {}",
            bytes(place.needed(&plan)),
            self.options.context_length,
            place.what,
            bytes(place.bytes),
        );
        let smaller = [KvDtype::Int8, KvDtype::Q4];
        let asked = Some(self.options.kv).filter(|kv| !smaller.contains(kv));
        let kinds = asked.into_iter().chain(smaller).filter(|kv| self.options.kv != KvDtype::Q4 || *kv == KvDtype::Q4);
        let fitting = kinds.filter_map(|kv| {
            let n = self.longest(kv, &places)?;
            let also = if kv == self.options.kv { String::new() } else { format!("--kv {} and ", kv.name()) };
            Some(format!("{also}{} {n}", self.flag))
        });
        let fitting: Vec<_> = fitting.collect();
        let hint = match fitting.is_empty() {
            true => "not even a context of 32 fits".into(),
            false => format!("{} would fit", fitting.join(", or ")),
        };
        Err(Error::new(Kind::Resources, message).field("memory plan").hint(hint))
    }
}

pub(super) fn run(args: &args::Plan) -> Outcome<()> {
    let source = ModelFile::open(args.model.path())?;
    let model = source.model()?;
    let context_length = context_length(&args.context, &model)?;
    let ComputeArgs { kv, max_memory, .. } = args.compute;
    let guessing = Guessing::asked(&args.guess, &model, max_memory)?;
    let options = guessing::options(guessing.as_ref(), session_options(context_length, kv));
    let n_threads = n_threads(&args.compute);
    let file_bytes = model.file().file_bytes();
    let wanted = Wanted {
        model: &model,
        file_bytes,
        options,
        n_sessions: 1,
        n_texts: 1,
        n_threads,
        flag: "--ctx",
        max_memory,
        guessing: guessing.as_ref(),
        n_constrained: u64::from(args.constraints.is_given()),
    };
    let plan = wanted.plan(context_length, options.kv);
    let places = Place::all(max_memory, streaming::least(&model, file_bytes));
    let addresses = memory::address_bytes().map(|now| now + plan.to_come() + plan.reserved + plan.program);
    let mut out = Output::new();
    if args.print.json {
        out.line(&as_json(&wanted, &plan, &places, addresses))?;
    } else {
        out.page(&page(&printable(&source.short_name()), &wanted, &plan, &places))?;
    }
    out.flush()
}

fn page(name: &str, wanted: &Wanted<'_>, plan: &MemoryPlan, places: &[Place]) -> String {
    let SessionOptions { context_length: n, kv, batch, .. } = wanted.options;
    let threads = wanted.n_threads;
    let (ending, each) = (if threads == 1 { "" } else { "s" }, bytes(plan.kv / n.max(1) as u64));
    let line = |name: &str, value: u64, what: String| format!("{name:<9}{:>10}  {what}\n", bytes(value));
    let mut out = format!("{name}: context {n}, {} cache, {threads} thread{ending}\n\n", kv.name());
    let has_draft = wanted.guessing.is_some_and(Guessing::has_draft);
    let file = if has_draft { "the files of model and draft; their" } else { "the model file; its" };
    out += &line("mapped", plan.mapped, format!("{file} pages are given back when memory is short"));
    let attends = wanted.model.config().layers.iter().all(|layer| layer.attention().is_some());
    let held = if attends { "keys and values" } else { "keys, values and other states" };
    out += &line("kv", plan.kv, format!("{held} of {n} positions, {each} each"));
    let rules = if wanted.n_constrained > 0 {
        format!(", tables of the constraint, about {}", bytes(wanted.rules()))
    } else {
        String::new()
    };
    let scratch = format!("a prefill step of {} tokens, logits, sampler{rules}", batch.min(n));
    out += &line("scratch", plan.scratch, scratch);
    out += &line("stacks", plan.stacks, format!("of {threads} thread{ending}"));
    out += &line("tables", plan.tables, "copied from the file: tokenizer, directory, template".into());
    out += &line("program", plan.program, "the program's own".into());
    out += &line(
        "private",
        plan.private(),
        "in all, when the context is full; nothing is allocated after the start".into(),
    );
    let longest = |kv, place: &Place| {
        let n = wanted.longest(kv, core::slice::from_ref(place));
        n.map_or("-".into(), |n| n.to_string())
    };
    let rows: Vec<Vec<String>> = places
        .iter()
        .map(|place| {
            let fits = if place.holds(plan) { "fits" } else { "too small" };
            let contexts = KvDtype::ALL.map(|kv| longest(kv, place));
            [place.what.into(), bytes(place.bytes), fits.into()].into_iter().chain(contexts).collect()
        })
        .collect();
    if !rows.is_empty() {
        out += "\n";
        out += &table(&["", "there is", "the plan", "longest f16", "int8", "f32", "q4"], &rows);
    }
    out + &format!("\nThe model was made for {} positions.\n", wanted.model.config().context_length)
}

fn as_json(wanted: &Wanted<'_>, plan: &MemoryPlan, places: &[Place], addresses: Option<u64>) -> String {
    let places = places.iter().map(|place| {
        let longest = |kv| wanted.longest(kv, core::slice::from_ref(place)).map_or("null".into(), |n| n.to_string());
        let [f16, int8, f32, q4] = KvDtype::ALL.map(longest);
        let longest = Object::default().raw("f16", f16).raw("int8", int8).raw("f32", f32).raw("q4", q4).line();
        let object = Object::default().text("what", place.what).raw("bytes", place.bytes);
        object.raw("fits", place.holds(plan)).raw("longest_context", longest).line()
    });
    Object::default()
        .raw("context_length", wanted.options.context_length)
        .text("kv", wanted.options.kv.name())
        .raw("threads", wanted.n_threads)
        .raw("mapped_bytes", plan.mapped)
        .raw("kv_bytes", plan.kv)
        .raw("scratch_bytes", plan.scratch)
        .raw("stack_bytes", plan.stacks)
        .raw("table_bytes", plan.tables)
        .raw("program_bytes", plan.program)
        .raw("private_bytes", plan.private())
        .raw("address_space_bytes", addresses.map_or("null".into(), |n| n.to_string()))
        .raw("model_context_length", wanted.model.config().context_length)
        .raw("places", json::list(places))
        .line()
}
