//! From a foreign checkpoint to a `.whit` file, a tensor at a time: find where each tensor of the plan comes from, read its rows as
//! f32, encode them into panels on all cores, measure the error, write. With a calibration the model reads a text before that.

mod attended;
mod calibrate;
mod dtypes;
mod errors;
mod evidence;
mod feedback;
mod matrix;
mod pairs;
mod planned;

use std::collections::BTreeMap;
use std::path::Path;

use rayon::prelude::*;
use whit::error::Result;
use whit::format::writer::{TensorPlan, Writer};
use whit::format::{self, FileKind, Provenance, SectionId, TensorErrors};
use whit::model::spec::Shape;
use whit::os::atomic::Leftover;
use whit::quant::{self, Dtype};

use crate::source::{Checkpoint, SourceFile, WordVectors};
pub use calibrate::TEXT;
pub use dtypes::Dtypes;
use errors::Errors;
pub use evidence::Calibration;
use evidence::Evidence;
use matrix::{Choice, Rows, check_finite};
use planned::{Planned, plan};

/// A tensor as it was written.
#[derive(Debug, Clone)]
pub struct Written {
    /// Name in the file.
    pub name: String,
    /// Dimensions, outermost first.
    pub dims: Vec<u64>,
    /// Type of the stored weights.
    pub dtype: Dtype,
    /// Stored bytes.
    pub bytes: u64,
    /// Errors against the checkpoint's values.
    pub errors: TensorErrors,
}

/// What a conversion did.
#[derive(Debug)]
pub struct Conversion {
    /// The tensors, in file order.
    pub tensors: Vec<Written>,
    /// Partial files of the same target that lay beside it.
    pub leftovers: Vec<Leftover>,
}

/// Told the bytes written so far and in all, from 0 on, before there is a file, to the last, before it takes its name. Its error
/// ends the conversion and leaves no file.
pub type Progress<'p> = dyn FnMut(u64, u64) -> Result<()> + 'p;

/// Converts `source` into `output`. With a text for `calibration` the model reads it first, as int8 from a file that is removed, and
/// where there is a choice of codes the errors of a column count as much as its inputs are from zero, or those of the outputs count.
pub fn convert(
    source: &Checkpoint,
    output: &Path,
    dtypes: &Dtypes,
    calibration: Option<&Calibration<'_>>,
    force: bool,
    progress: &mut Progress<'_>,
) -> Result<Conversion> {
    source.files.iter().try_for_each(|file| file.check_not(output))?;
    let planned = plan(source, dtypes)?;
    let mut total = bytes_of(&planned);
    let mut before = 0;
    let mut evidence = match calibration {
        None => None,
        Some(calibration) => {
            let draft = plan(source, &Dtypes { weights: Dtype::Int8, keep: BTreeMap::new() })?;
            let bytes = bytes_of(&draft);
            before = 2 * bytes;
            total += evidence::readings(calibration, &planned).len() as u64 * bytes;
            progress(0, before + total)?;
            let mut writer = create(source, output, &draft, force)?;
            write_tensors(source, &draft, None, &mut writer, &mut |done| progress(done, before + total))?;
            let mut reading = |done| progress(bytes + done, before + total);
            Some(Evidence::of(writer.draft()?, bytes, calibration, &planned, &mut reading)?)
        }
    };
    progress(before, before + total)?;
    let mut writer = create(source, output, &planned, force)?;
    let tensors = write_tensors(source, &planned, evidence.as_mut(), &mut writer, &mut |done| {
        progress(before + done, before + total)
    })?;
    let mut leftovers = writer.leftovers().to_vec();
    leftovers.retain(|other| evidence.as_ref().is_none_or(|evidence| other.path != evidence.draft().path()));
    source.check_unchanged()?;
    progress(before + total, before + total)?;
    writer.finish()?;
    Ok(Conversion { tensors, leftovers })
}

/// Begins the file at `output`.
fn create(source: &Checkpoint, output: &Path, planned: &[Planned], force: bool) -> Result<Writer> {
    let plans = planned
        .iter()
        .map(|p| TensorPlan { name: p.spec.name.clone(), dtype: p.dtype, dims: p.spec.shape.dims() })
        .collect();
    Writer::create(output, FileKind::LanguageModel, sections(source)?, plans, force)
}

/// Writes all tensors; `progress` is told the bytes written so far.
fn write_tensors(
    source: &Checkpoint,
    planned: &[Planned],
    mut evidence: Option<&mut Evidence>,
    writer: &mut Writer,
    progress: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<Vec<Written>> {
    let mut written = Vec::with_capacity(planned.len());
    let mut done = 0;
    for p in planned {
        let field = format!("tensor \"{}\"", p.spec.name);
        let mut step = |bytes| {
            done += bytes;
            progress(done)
        };
        let choice = match &mut evidence {
            None => Choice::Weights(Vec::new()),
            Some(evidence) => evidence.choice(p, &mut step)?,
        };
        let errors = write_tensor(source, p, &choice, writer, &mut step).map_err(|e| e.field(field))?;
        written.push(Written {
            name: p.spec.name.clone(),
            dims: p.spec.shape.dims(),
            dtype: p.dtype,
            bytes: stored_bytes(p.dtype, p.spec.shape),
            errors,
        });
    }
    Ok(written)
}

fn bytes_of(planned: &[Planned]) -> u64 {
    planned.iter().map(|p| stored_bytes(p.dtype, p.spec.shape)).sum()
}

fn stored_bytes(dtype: Dtype, shape: Shape) -> u64 {
    match shape {
        Shape::Vector(n) => n as u64 * 4,
        Shape::Matrix(rows, cols) => quant::matrix_bytes(dtype, rows as u64, cols as u64).unwrap_or(u64::MAX),
    }
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
    let provenance = provenance("word vectors", std::slice::from_ref(&words.file))?;
    let sections = vec![(SectionId::TOKN, words.vocabulary().build()?), (SectionId::PROV, provenance)];
    let plan = TensorPlan { name: name.clone(), dtype, dims: dims.clone() };
    progress(0, total)?;
    let mut writer = Writer::create(output, FileKind::WordVectors, sections, vec![plan], force)?;
    let choice = Choice::Weights(Vec::new());
    let matrix = Rows { rows, cols, dtype, choice: &choice, read: &|row, out| words.read(row, out) };
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
    Ok(Conversion { tensors: vec![Written { name, dims, dtype, bytes: total, errors }], leftovers })
}

/// All sections but the directory and the weights.
fn sections(source: &Checkpoint) -> Result<Vec<(SectionId, Vec<u8>)>> {
    let mut sections = vec![(SectionId::CONF, source.config.encode())];
    if let Some(tokenizer) = source.tokenizer_section()? {
        sections.push((SectionId::TOKN, tokenizer));
    }
    sections.push((SectionId::GENR, source.generation.encode()));
    if let Some(template) = &source.chat_template {
        sections.push((SectionId::TMPL, template.clone().into_bytes()));
    }
    sections.push((SectionId::PROV, provenance(source.format.name(), &source.files)?));
    if let Some(licence) = &source.licence {
        sections.push((SectionId::LICE, licence.clone().into_bytes()));
    }
    Ok(sections)
}

/// Where the weights come from, as a section.
fn provenance(source_format: &str, files: &[SourceFile]) -> Result<Vec<u8>> {
    let record =
        |file: &SourceFile| format::SourceRecord { name: file.name.clone(), bytes: file.bytes, hash: file.hash() };
    let provenance = Provenance {
        converter: concat!("quantize ", env!("CARGO_PKG_VERSION")).into(),
        source_format: source_format.into(),
        sources: files.par_iter().map(record).collect(),
    };
    provenance.encode()
}

fn write_tensor(
    source: &Checkpoint,
    p: &Planned,
    choice: &Choice<'_>,
    writer: &mut Writer,
    progress: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<TensorErrors> {
    let reader = source.reader(p.tensor)?;
    let read = |start: u64, out: &mut [f32]| reader.read(start, out);
    let mut total = Errors::default();
    match p.spec.shape {
        Shape::Vector(n) => {
            let mut values = vec![0.0; n];
            p.transform.read_vector(&mut values, &read)?;
            check_finite(&values, 0, n)?;
            total.add(&values, &values);
            let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            writer.write(&bytes)?;
            progress(bytes.len() as u64)?;
        }
        Shape::Matrix(rows, cols) => {
            let read = |row: usize, out: &mut [f32]| p.transform.read_rows((rows, cols), row, out, &read);
            total = Rows { rows, cols, dtype: p.dtype, choice, read: &read }.write(writer, progress)?;
        }
    }
    let errors = total.finish();
    writer.finish_tensor(errors)?;
    Ok(errors)
}
