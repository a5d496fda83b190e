//! A conversion within a budget: what each matrix minds is measured, a format chosen for each, the file written and measured.

use std::collections::BTreeMap;
use std::path::Path;

use whit::error::{Error, Result};
use whit::format::writer::Writer;
use whit::format::{Quality, SectionId};
use whit::quant::Dtype;

use super::budget::{Budget, Choices, Chosen, file_in, too_small};
use super::dtypes::Dtypes;
use super::evidence::Evidence;
use super::planned::{Planned, plan};
use super::scales::Scales;
use super::sensitivity::{self, Measured};
use super::written::{Written, bytes_of, create, sections, tensor_plans, write_tensors};
use super::{Conversion, Progress, Texts, calibration, quality, read, reading_bytes};
use crate::source::Checkpoint;

/// Files that are written to come near a divergence, at most.
const ROUNDS: usize = 4;
/// A measured divergence of this share of what is allowed is near enough.
const NEAR: f64 = 0.95;

/// As [`super::convert`], with a format for each matrix, from q4 to int8, so that the file keeps to `budget`; where no more than a bound of
/// divergence is asked for that int8 does not keep, all are fp16. Roles that `dtypes` names keep their format. Both texts must be there.
pub fn convert_within(
    source: &Checkpoint,
    output: &Path,
    dtypes: &Dtypes,
    budget: Budget,
    texts: Texts<'_>,
    force: bool,
    progress: &mut Progress<'_>,
) -> Result<Conversion> {
    source.files.iter().try_for_each(|file| file.check_not(output))?;
    let (Some(calibration), Some(held_out)) = (calibration(&texts, true), texts.held_out) else {
        return Err(Error::usage("a budget needs a text to measure with").field("calibrate"));
    };
    let all = |weights| plan(source, &Dtypes { weights, keep: BTreeMap::new() });
    let (mut planned, exact, int8) = (plan(source, dtypes)?, all(Dtype::F32)?, all(Dtype::Int8)?);
    let [bytes, of_exact, of_int8] = [&planned, &exact, &int8].map(|plan| bytes_of(plan));
    // The drafts are written and read; as int8 twice, once to measure and once to calibrate and smooth.
    let before = 2 * of_exact + 5 * of_int8;
    let pairs = reading_bytes(&calibration, &planned, &int8);
    let total = before + pairs + 2 * bytes;
    progress(0, total)?;

    let place = (source, output, force);
    let room = match budget {
        Budget::Size(size) | Budget::Memory { bytes: size, .. } => size.min(bytes),
        Budget::Kl(_) => bytes,
    };
    let report = quality::reference(place, &exact, held_out, room, &mut |done| progress(done, total))?;
    let Some(report) = report else {
        let error = Error::data("fewer than 16 tokens are held out, or fit into the context").field("calibrate");
        return Err(error.hint("a budget is kept by measuring"));
    };
    let text = calibration.text;
    let measured = sensitivity::measure(place, &int8, text, &report, &mut |done| progress(2 * of_exact + done, total))?;
    let mut told = |done| progress(2 * of_exact + 2 * of_int8 + done, total);
    let evidence = read(place, &int8, &calibration, &mut planned, &mut told)?;
    let fixed = |role: whit::model::spec::Role| dtypes.keep.contains_key(role.name());
    let choices = Choices::of(&source.config, &planned, &measured.tensors, &fixed);
    let mut files =
        Files { place, choices, measured, evidence, pairs, planned, report, done: (before, total), progress };
    match budget {
        Budget::Size(size) => files.of_size(|_| size, "max-size"),
        Budget::Memory { bytes, context } => {
            files.of_size(|tables| file_in(&source.config, bytes, tables, context), "fit")
        }
        Budget::Kl(kl) => files.of_kl(kl),
    }
}

/// Files of one checkpoint with different formats.
struct Files<'f, 'p> {
    place: (&'f Checkpoint, &'f Path, bool),
    choices: Choices,
    measured: Measured,
    evidence: Evidence,
    /// Bytes of the progress that reading for pairs of inputs takes, for each file.
    pairs: u64,
    planned: Vec<Planned>,
    report: Quality,
    /// Bytes of the progress, and all.
    done: (u64, u64),
    progress: &'f mut Progress<'p>,
}

/// One of them, that has no name yet.
struct Attempt {
    writer: Writer,
    written: Vec<Written>,
    chosen: Vec<Chosen>,
}

impl Files<'_, '_> {
    /// The file of at most `size` bytes, which is told how many are no weights; `field` asked for it.
    fn of_size(&mut self, size: impl Fn(u64) -> u64, field: &str) -> Result<Conversion> {
        let (source, ..) = self.place;
        let mut sections = sections(source, &self.planned)?;
        sections.push((SectionId::QUAL, self.report.encode()));
        let whole = Writer::planned_bytes(sections, tensor_plans(&self.planned))?;
        let other = whole - bytes_of(&self.planned);
        let size = size(other);
        too_small(size, other + self.choices.smallest(), field)?;
        let chosen = self.choices.choose(size - other, 0.0);
        let attempt = self.write(Some(&chosen))?;
        self.finish(attempt)
    }

    /// The smallest file that is found whose divergence is at most `kl`.
    fn of_kl(&mut self, kl: f64) -> Result<Conversion> {
        let largest = self.choices.choose(u64::MAX, 0.0);
        // What int8's inputs add, and what keeps its format.
        let others = (self.measured.int8 - self.choices.predicted(&largest)).max(0.0);
        let (mut aim, mut best, mut tried) = (kl - others, None, Vec::new());
        for _ in 0..ROUNDS {
            let chosen = self.choices.choose(u64::MAX, aim);
            if tried.contains(&chosen) {
                break;
            }
            let attempt = self.write(Some(&chosen))?;
            let found = self.report.figures.mean_kl;
            if found <= kl && found >= NEAR * kl {
                return self.finish(attempt);
            }
            if found <= kl {
                best = Some(chosen.clone());
            }
            tried.push(chosen);
            aim *= (kl - others).max(0.0) / (found - others).max(f64::MIN_POSITIVE);
            aim *= if found > kl { NEAR } else { 1.0 };
        }
        if let Some(chosen) = best {
            let attempt = self.write(Some(&chosen))?;
            return self.finish(attempt);
        }
        for formats in [Some(&largest[..]), None] {
            if formats.is_some_and(|chosen| tried.iter().any(|other| other == chosen)) {
                continue;
            }
            let attempt = self.write(formats)?;
            if self.report.figures.mean_kl <= kl {
                return self.finish(attempt);
            }
        }
        let message = format!("{kl} cannot be reached: with weights of fp16 it is {:.2e}", self.report.figures.mean_kl);
        Err(Error::data(message).field("max-kl"))
    }

    /// Writes the file of what is chosen, or with all weights as fp16, and measures it.
    fn write(&mut self, chosen: Option<&[usize]>) -> Result<Attempt> {
        let (source, output, force) = self.place;
        let chosen = match chosen {
            Some(chosen) => self.choices.apply(chosen, &self.measured.tensors, &mut self.planned),
            None => {
                self.choices.free(&mut self.planned).for_each(|p| p.dtype = Dtype::F16);
                // Halves are multiplied with inputs as they are.
                self.planned.iter_mut().for_each(|p| p.scales = Scales::default());
                Vec::new()
            }
        };
        let bytes = bytes_of(&self.planned);
        let (before, mut total) = self.done;
        total = total.max(before + self.pairs + 2 * bytes);
        let progress = &mut *self.progress;
        let mut writer = create(source, output, &self.planned, Some(&self.report), force)?;
        let mut told = |done| progress(before + done, total);
        let written = write_tensors(source, &self.planned, Some(&mut self.evidence), &mut writer, &mut told)?;
        let share = &mut |share| progress(before + self.pairs + bytes + (share * bytes as f64) as u64, total);
        quality::complete(&mut self.report, &mut writer, share)?;
        self.done = (before + self.pairs + 2 * bytes, total);
        Ok(Attempt { writer, written, chosen })
    }

    fn finish(&mut self, attempt: Attempt) -> Result<Conversion> {
        let Attempt { writer, written, chosen } = attempt;
        let leftovers = writer.leftovers().to_vec();
        self.place.0.check_unchanged()?;
        let (_, total) = self.done;
        (self.progress)(total, total)?;
        writer.finish()?;
        Ok(Conversion {
            tensors: written,
            quality: Some(self.report.clone()),
            chosen,
            from_blocks: Vec::new(),
            leftovers,
        })
    }
}
