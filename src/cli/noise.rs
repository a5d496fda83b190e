//! What else went on while something was measured, and what that makes of the figures.

use super::output::bytes;
use super::screen::folded;
use super::table::percent;
use whit::os::caches;
use whit::os::load::Load;

/// Columns of a page.
const WIDTH: usize = 80;
/// The share of the CPUs that others may keep busy without a word.
const BUSY: f64 = 0.1;
/// The share of the time that a host may take without a word.
const STOLEN: f64 = 0.02;
/// How far samples may lie from their median without a word, as a share of it.
const SPREAD: f64 = 0.2;

/// What disturbed a measurement whose samples lie so far from their median; `None` where nothing did.
pub(super) fn told(load: Option<Load>, spread: f64) -> Option<String> {
    let mut parts = Vec::new();
    if let Some(Load { n_cpus, others, .. }) = load.filter(|load| load.others > BUSY * load.n_cpus as f64) {
        parts.push(format!("other programs kept {others:.1} of {n_cpus} CPUs busy"));
    }
    if let Some(load) = load.filter(|load| load.stolen > STOLEN) {
        parts.push(format!("the host took {} of the time", percent(Some(load.stolen))));
    }
    if spread > SPREAD {
        parts.push(format!("samples differ by {}", percent(Some(spread))));
    }
    (!parts.is_empty()).then(|| format!("{}: a quiet machine may show other figures", parts.join(", ")))
}

/// `text` after its `name` in lines of a page.
pub(super) fn line(name: &str, text: &str) -> String {
    folded(&format!("{name:<9}{text}"), WIDTH)
}

/// What was reached of a limit; no figure above it, since then the limit is not what held the work back.
pub(super) fn of_limit(share: Option<f64>) -> String {
    match share {
        Some(share) if share > 1.0 => ">100 %".into(),
        share => percent(share),
    }
}

/// Why some of `shares` are above their limits, where so many bytes of weights are read again and again.
pub(super) fn above_limits(shares: impl Iterator<Item = f64>, weight_bytes: u64) -> Option<String> {
    shares.max_by(f64::total_cmp).filter(|share| *share > 1.0)?;
    Some(match caches::last_level_bytes().filter(|cache| weight_bytes <= *cache) {
        Some(cache) => {
            format!(
                "{} of weights lie in {} of cache, which is read faster than memory",
                bytes(weight_bytes),
                bytes(cache)
            )
        }
        None => "the limits were measured while others slowed this machine down: measure again".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quiet_machine_is_not_worth_a_word() {
        let load = |others, stolen| Some(Load { n_cpus: 2, others, stolen });
        for quiet in [None, load(0.0, 0.0), load(0.2, 0.02)] {
            assert_eq!(told(quiet, 0.1), None);
        }
        for (load, spread, part) in [
            (load(1.34, 0.0), 0.0, "other programs kept 1.3 of 2 CPUs busy: a quiet"),
            (load(0.0, 0.051), 0.0, "the host took 5.1 % of the time: a quiet"),
            (None, 0.31, "samples differ by 31.0 %: a quiet"),
            (load(0.5, 0.1), 0.5, "CPUs busy, the host took 10.0 % of the time, samples differ by 50.0 %"),
        ] {
            let words = told(load, spread).expect("a word");
            assert!(words.contains(part), "{words}");
            assert!(line("noise", &words).lines().all(|line| line.len() <= 80 && line.contains("   ")));
        }
    }

    #[test]
    fn no_figure_is_above_its_limit() {
        let shares = [Some(3.58), Some(1.0), Some(0.999), None];
        assert_eq!(shares.map(of_limit), [">100 %", "100.0 %", "99.9 %", "-"]);
        assert_eq!(above_limits([0.5, 1.0].into_iter(), 1), None);
        let huge = above_limits([0.5, 1.2].into_iter(), u64::MAX).expect("a reason");
        assert!(huge.contains("measure again"), "{huge}");
    }
}
