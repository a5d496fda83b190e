//! The page of `whit doctor`.

use super::doctor::Diagnosis;
use super::noise;
use super::output::bytes;
use super::table::{count, figure};
use whit::error::printable;
use whit::inspect::{Bound, MachineLimits};
use whit::kernels::{self, Hint};
use whit::os::clusters::Cluster;
use whit::os::sandbox::{self, Confinement};
use whit::os::thermal::Condition;

/// Width of the names of lines.
const NAMES: usize = 16;
/// Hotter than this, boards of all kinds begin to lower their clocks, in degrees Celsius.
const HOT: f64 = 80.0;

impl Diagnosis {
    /// The page, a line a matter.
    pub(super) fn page(&self) -> String {
        let mut page = String::new();
        self.tell_machine(&mut page);
        self.tell_limits(&mut page);
        self.tell_model(&mut page);
        page.push('\n');
        for line in self.advice() {
            page.push_str(&format!("- {line}\n"));
        }
        page
    }

    fn tell_machine(&self, page: &mut String) {
        let machine = &self.machine;
        let of = if machine.emulated { " (of the system below an emulator)" } else { "" };
        let cpu = machine.cpu.as_deref().map_or_else(|| "not reported by the system".into(), printable);
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
        field(page, "prefetch", &prefetch_text(Hint::of(kernels::detect().name)));
        field(page, "threads", &machine.threads_why);
        let size = |bytes_of: Option<u64>| bytes_of.map_or_else(|| "not reported".into(), bytes);
        let limit = machine.limit.map_or_else(|| "no limit".into(), |limit| format!("limited to {}", bytes(limit)));
        field(page, "memory", &format!("{}, free {}, {limit}", size(machine.total), size(machine.available)));
        field(page, "pages", &machine.page.map_or_else(|| "not reported".into(), |page| format!("{page} bytes")));
        field(page, "condition", &condition_text(&machine.condition));
        field(page, "confined", confinement_text(sandbox::state()));
    }

    fn tell_limits(&self, page: &mut String) {
        page.push('\n');
        let on_threads = |value: fn(&MachineLimits) -> f64, unit: &str| {
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
        let fits = self.fit.fits().map_or("not known", |fits| if fits { "yes" } else { "no" });
        field(page, "fits", &format!("{fits}: {needs}"));
        if let Some(reach) = &self.reach {
            let by = match reach.bound {
                Bound::Memory => "memory's speed over the bytes a token reads",
                Bound::Products => "products a second over those of a token",
                Bound::Storage => "storage's speed over the bytes that do not fit",
            };
            field(page, "writes", &format!("at most {} tokens/s: {by}", figure(reach.decode)));
            field(page, "reads a prompt", &format!("at most {} tokens/s: products a second", figure(reach.prefill)));
        }
    }

    /// What the figures mean, in plain words.
    pub(super) fn advice(&self) -> Vec<String> {
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
        if let Some(noise) = noise::told(self.load, 0.0) {
            lines.push(format!("While this was measured, {noise}."));
        }
        for what in &condition.before {
            lines.push(format!("Since the machine was started, {what} for a time."));
        }
        if condition.celsius.is_some_and(|celsius| celsius >= HOT) {
            lines.push("It is hot: long texts may run slower than short ones.".into());
        }
        lines.push(self.verdict());
        lines
    }

    fn verdict(&self) -> String {
        let Some(missing) = self.fit.missing() else {
            let fits = match self.fit.fits() {
                Some(_) => "The model fits into memory.",
                None => "The system does not report how much memory is free.",
            };
            let pace = self.reach.map(|reach| pace(reach.decode));
            let pace = pace.map(|pace| format!(" A token takes {pace} at least; `whit bench` measures it."));
            return format!("{fits}{}", pace.unwrap_or_default());
        };
        let (needed, missing) = (bytes(self.fit.needed()), bytes(missing));
        let all = self.stored.map(|read| pace(read / self.costs.weight_bytes() as f64));
        let pace = self.reach.map(|reach| pace(reach.decode)).zip(all);
        let pace = pace.map_or_else(String::new, |(least, all)| {
            format!(
                " A token takes {least} at least, and {all} where the system drops the pages that are read next, as most do."
            )
        });
        format!(
            "The model does not fit into memory: of the {needed} that it needs, {missing} have no room and come from \
             storage for every token.{pace} A smaller model, fewer bits a weight or fewer other programs help."
        )
    }
}

fn field(page: &mut String, name: &str, value: &str) {
    page.push_str(&format!("{name:<NAMES$}{value}\n"));
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
    format!("{}, chosen of {}{}", kernels::detect().name, names.join(", "), lacking.collect::<String>())
}

/// Into which cache the kernels chosen prefetch.
fn prefetch_text(hint: Hint) -> String {
    match hint {
        Hint::None => "none: the CPU finds the streams of these kernels by itself".into(),
        hint => format!("{}, as suits this CPU (whit bench --prefetch measures others)", hint.name()),
    }
}

/// What the program has given up.
fn confinement_text(confinement: Confinement) -> &'static str {
    match (confinement.paths, confinement.calls) {
        (true, true) => "to the files that are named; no network, no other programs",
        (false, true) => "no network, no other programs; any file (this kernel has no Landlock)",
        (true, false) => "to the files that are named; any system call (the system takes no filter)",
        (false, false) => "no: it was not wanted, or the system cannot",
    }
}

fn condition_text(condition: &Condition) -> String {
    let heat = condition.celsius.map(|celsius| format!("{celsius:.1} degrees Celsius"));
    let state = match (condition.now.is_empty(), condition.known) {
        (false, _) => Some("held back, see below"),
        (true, true) => Some("nothing seen that holds the CPU back"),
        (true, false) => None,
    };
    let parts: Vec<String> = heat.into_iter().chain(state.map(str::to_owned)).collect();
    or(parts.join(", "), "not reported by the system")
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
    use super::super::doctor::{Fit, Machine};
    use super::*;
    use whit::inspect::{Costs, Reach};
    use whit::model::Model;

    #[test]
    fn a_model_without_room_is_told_so_in_words() {
        let Some(model) = whit::default_model() else { return };
        let costs = Costs::new(&Model::open(model).expect("the story model"));
        let bytes = costs.weight_bytes();
        let limits = MachineLimits { read: 1e9, int8: 1e9, f32: 1e9 };
        let diagnosis = |room: Option<u64>| {
            let fit = Fit { file: 2 * bytes, cache: 0, context: 1, room };
            let slow = fit.missing().zip(Some(bytes as f64));
            let reach = Some(Reach::new(&costs, limits, slow));
            let (limits, stored, model) = (vec![(1, limits)], Some(bytes as f64), "a model".to_owned());
            Diagnosis {
                machine: Machine::look(None),
                limits,
                stored,
                load: None,
                model,
                costs: costs.clone(),
                fit,
                reach,
            }
        };
        let page = diagnosis(Some(3 * bytes / 2)).page();
        let words = page.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains("fits no: ") && words.contains("storage's speed over"), "{page}");
        assert!(words.contains("A token takes 500.0 ms at least, and 1.00 s where"), "{page}");
        assert!(diagnosis(Some(2 * bytes)).page().contains("The model fits into memory. A token takes"));
        let unknown = diagnosis(None).page();
        assert!(unknown.contains("not known: ") && unknown.contains("does not report how much memory"), "{unknown}");
    }

    #[test]
    fn numbers_are_told_in_ranges() {
        assert_eq!(ranges(&[0, 1, 2, 3, 8]), "0-3,8");
        assert_eq!(ranges(&[5]), "5");
        assert_eq!(ranges(&[]), "");
        assert_eq!([pace(4000.0), pace(8.0), pace(0.25)], ["250.0 us", "125.0 ms", "4.00 s"]);
    }
}
