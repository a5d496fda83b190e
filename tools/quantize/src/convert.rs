//! From a foreign checkpoint to a `.whit` file, a tensor at a time: find where each tensor of the plan comes from, read its rows as
//! f32, encode them into panels on all cores, measure the error, write. With a calibration the model reads a text before that; with a
//! quality report the checkpoint reads another before, and what was written reads it after.

mod attended;
mod blocks;
mod budget;
mod calibrate;
mod dtypes;
mod errors;
mod evidence;
mod feedback;
mod matrix;
mod pairs;
mod planned;
mod quality;
mod scales;
mod sensitivity;
mod smooth;
mod ternary;
mod within;
mod written;

use std::collections::BTreeMap;
use std::path::Path;

use whit::error::Result;
use whit::format::writer::{TensorPlan, Writer};
use whit::format::{FileKind, Quality, SectionId};
use whit::model::spec::Shape;
use whit::os::atomic::Leftover;
use whit::quant::Dtype;

use crate::source::{Checkpoint, WordVectors};
pub use blocks::FromBlocks;
pub use budget::{Budget, Chosen};
pub use dtypes::Dtypes;
use dtypes::in_groups;
use evidence::{Calibration, Evidence};
use matrix::{Choice, Rows};
use planned::{Planned, plan};
pub use quality::Texts;
use scales::Scales;
use smooth::smooth;
pub use within::convert_within;
pub use written::Written;
use written::{CONVERTER, bytes_of, create, provenance, stored_bytes, write_tensors};

/// Tokens of each window of a calibration text that are read where no weights have less than 8 bits.
const SMOOTHING_TOKENS: usize = 128;

/// What a conversion did.
#[derive(Debug)]
pub struct Conversion {
    /// The tensors, in file order.
    pub tensors: Vec<Written>,
    /// How near they are to the checkpoint in what they predict, where that was asked for and there is enough text.
    pub quality: Option<Quality>,
    /// The formats that were chosen to keep to a budget.
    pub chosen: Vec<Chosen>,
    /// How matrices that lay in blocks of few bits were stored; nothing where formats keep to a budget.
    pub from_blocks: Vec<FromBlocks>,
    /// Partial files of the same target that lay beside it.
    pub leftovers: Vec<Leftover>,
}

/// Told the bytes written so far and in all, from 0 on, before there is a file, to the last, before it takes its name. Its error
/// ends the conversion and leaves no file.
pub type Progress<'p> = dyn FnMut(u64, u64) -> Result<()> + 'p;

/// Converts `source` into `output`. With a text for calibration the model reads it first, as int8 from a file that is removed: the
/// inputs of integer products are smoothed by what it shows of them, and where there is a choice of codes the errors of a column count as
/// much as its inputs are from zero, or those of the outputs count.
/// With a text that is held out the file gets a quality report: the model reads that as f32, likewise, and then as it was written.
pub fn convert(
    source: &Checkpoint,
    output: &Path,
    dtypes: &Dtypes,
    texts: Texts<'_>,
    force: bool,
    progress: &mut Progress<'_>,
) -> Result<Conversion> {
    source.files.iter().try_for_each(|file| file.check_not(output))?;
    let mut planned = plan(source, dtypes)?;
    ternary::recognize(source, dtypes, &mut planned)?;
    let expected = bytes_of(&planned);
    let from_blocks = blocks::recognize(source, dtypes, &mut planned, &mut || progress(0, expected))?;
    let bytes = bytes_of(&planned);
    let draft = |weights| plan(source, &Dtypes { weights, keep: BTreeMap::new() });
    let held_out = texts.held_out.map(|text| Ok((text, draft(Dtype::F32)?))).transpose()?;
    let few_bits = planned.iter().any(|p| in_groups(p.dtype) && p.dtype.format().bits < Dtype::Int8.format().bits);
    let calibration =
        calibration(&texts, few_bits).map(|calibration| Ok((calibration, draft(Dtype::Int8)?))).transpose()?;
    // Drafts are written and read, and the file too where it gets a report; pairs of inputs are read for while it is written.
    let exact = held_out.as_ref().map_or(0, |(_, plan)| 2 * bytes_of(plan));
    let int8 = calibration.as_ref().map_or(0, |(_, plan)| 3 * bytes_of(plan));
    let pairs = calibration.as_ref().map_or(0, |(text, plan)| reading_bytes(text, &planned, plan));
    let total = exact + int8 + pairs + bytes + if held_out.is_some() { bytes } else { 0 };
    progress(0, total)?;
    let place = (source, output, force);
    let mut report = match &held_out {
        None => None,
        Some((text, exact)) => quality::reference(place, exact, text, bytes, &mut |done| progress(done, total))?,
    };
    let mut evidence = match &calibration {
        None => None,
        Some((text, draft)) => Some(read(place, draft, text, &mut planned, &mut |done| progress(exact + done, total))?),
    };
    let before = exact + int8;
    progress(before, total)?;
    let mut writer = create(source, output, &planned, report.as_ref(), force)?;
    let mut told = |done| progress(before + done, total);
    let tensors = write_tensors(source, &planned, evidence.as_mut(), &mut writer, &mut told)?;
    if let Some(report) = &mut report {
        let share = &mut |share| progress(before + pairs + bytes + (share * bytes as f64) as u64, total);
        quality::complete(report, &mut writer, share)?;
    }
    let leftovers = writer.leftovers().to_vec();
    source.check_unchanged()?;
    progress(total, total)?;
    writer.finish()?;
    Ok(Conversion { tensors, quality: report, chosen: Vec::new(), from_blocks, leftovers })
}

/// The calibration that `texts` ask for; weights of `few_bits` want more of a text than inputs that are smoothed do.
fn calibration<'t>(texts: &Texts<'t>, few_bits: bool) -> Option<Calibration<'t>> {
    let length = if few_bits || texts.pairs.is_some() { usize::MAX } else { SMOOTHING_TOKENS };
    texts.calibration.map(|text| Calibration { text, length, pairs: texts.pairs })
}

/// What the matrices of the checkpoint meet where it reads a text, as int8: for that it is written, as `draft` plans, into a file that
/// is removed. The inputs are smoothed by that. A third of the progress is the writing, a third the reading, in
/// bytes of the file.
fn read(
    (source, output, force): (&Checkpoint, &Path, bool),
    draft: &[Planned],
    calibration: &Calibration<'_>,
    planned: &mut [Planned],
    progress: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<Evidence> {
    let bytes = bytes_of(draft);
    let mut writer = create(source, output, draft, None, force)?;
    write_tensors(source, draft, None, &mut writer, progress)?;
    let (evidence, samples) =
        Evidence::of(writer.draft()?, bytes, calibration, planned, &mut |done| progress(bytes + done))?;
    smooth(source, planned, &samples, &mut |share| progress(2 * bytes + (share * bytes as f64) as u64))?;
    Ok(evidence)
}

/// Bytes of the progress of the readings for pairs of inputs, each as many as the `draft` has that reads.
fn reading_bytes(calibration: &Calibration<'_>, planned: &[Planned], draft: &[Planned]) -> u64 {
    evidence::readings(calibration, planned).len() as u64 * bytes_of(draft)
}

/// Converts word vectors into `output`, in one matrix named as a model's token vectors are.
pub fn convert_words(
    words: &WordVectors,
    output: &Path,
    dtype: Dtype,
    force: bool,
    progress: &mut Progress<'_>,
) -> Result<Conversion> {
    words.file.check_not(output)?;
    let (rows, cols) = (words.len(), words.dim);
    let name = "embedding".to_string();
    let dims = vec![rows as u64, cols as u64];
    let total = stored_bytes(dtype, Shape::Matrix(rows, cols));
    let provenance = provenance(CONVERTER, "word vectors", std::slice::from_ref(&words.file))?;
    let sections = vec![(SectionId::TOKN, words.vocabulary().build()?), (SectionId::PROV, provenance)];
    let plan = TensorPlan { name: name.clone(), dtype, dims: dims.clone() };
    progress(0, total)?;
    let mut writer = Writer::create(output, FileKind::WordVectors, sections, vec![plan], force)?;
    let choice = Choice::Weights(Vec::new());
    let matrix =
        Rows { rows, cols, dtype, choice: &choice, scales: &Scales::default(), read: &|row, out| words.read(row, out) };
    let mut done = 0;
    let errors = matrix.write(&mut writer, &mut |bytes| {
        done += bytes;
        progress(done, total)
    });
    let errors = errors.map_err(|e| e.field(format!("tensor \"{name}\"")))?;
    let errors = errors.finish();
    writer.finish_tensor(errors)?;
    let leftovers = writer.leftovers().to_vec();
    words.file.check_unchanged()?;
    progress(done, total)?;
    writer.finish()?;
    Ok(Conversion {
        tensors: vec![Written { name, dims, dtype, bytes: total, errors }],
        quality: None,
        chosen: Vec::new(),
        from_blocks: Vec::new(),
        leftovers,
    })
}
