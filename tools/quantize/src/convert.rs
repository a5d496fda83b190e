//! From a foreign checkpoint to a `.whit` file, a tensor at a time: find where each tensor of the plan comes from, read its rows as
//! f32, encode them into panels on all cores, measure the error, write. With a calibration the model reads a text before that.

mod calibrate;
mod dtypes;
mod errors;
mod matrix;
mod planned;
mod scales;
mod smooth;

use std::collections::BTreeMap;
use std::path::Path;

use rayon::prelude::*;
use whit::error::Result;
use whit::format::writer::{TensorPlan, Writer};
use whit::format::{self, Bytes, FileKind, Provenance, SectionId, TensorErrors};
use whit::model::spec::Shape;
use whit::model::{Model, Observer, Point};
use whit::os::Mapping;
use whit::os::atomic::Leftover;
use whit::quant::{self, Dtype};

use crate::source::{Checkpoint, SourceFile, WordVectors};
use calibrate::Moments;
pub use calibrate::TEXT;
pub use dtypes::Dtypes;
use errors::Errors;
use matrix::{Rows, check_finite};
use planned::{Planned, plan};
use scales::Scales;
use smooth::{Samples, smooth, wanted};

/// Tokens of each window of a calibration text that are read where weights are int8.
const SMOOTHING_TOKENS: usize = 128;

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

/// Converts `source` into `output`. With a text for `calibration` the model reads it first, as int8 from a file that is removed: the
/// inputs of integer products are smoothed by what it shows of them, and where there is a choice of scales for weights the errors of a
/// column count as much as its inputs are from zero.
pub fn convert(
    source: &Checkpoint,
    output: &Path,
    dtypes: &Dtypes,
    calibration: Option<&str>,
    force: bool,
    progress: &mut Progress<'_>,
) -> Result<Conversion> {
    source.files.iter().try_for_each(|file| file.check_not(output))?;
    let mut planned = plan(source, dtypes)?;
    let total = bytes_of(&planned);
    let mut before = 0;
    let mut moments = None;
    if let Some(text) = calibration {
        let draft = plan(source, &Dtypes { weights: Dtype::Int8, keep: BTreeMap::new() })?;
        let bytes = bytes_of(&draft);
        before = 3 * bytes;
        let few_bits = planned.iter().any(|p| p.dtype.format().bits < Dtype::Int8.format().bits);
        let length = if few_bits { usize::MAX } else { SMOOTHING_TOKENS };
        let mut seen = Seen { moments: Moments::new(&source.config), samples: wanted(&source.config, &planned) };
        let mut step = |done| progress(done, before + total);
        read(source, output, &draft, (text, length), force, &mut seen, &mut step)?;
        smooth(source, &mut planned, &seen.samples, &mut |share| step(2 * bytes + (share * bytes as f64) as u64))?;
        moments = Some(seen.moments);
    }
    progress(before, before + total)?;
    let mut writer = create(source, output, &planned, force)?;
    let tensors = write_tensors(source, &planned, moments.as_ref(), &mut writer, &mut |done| {
        progress(before + done, before + total)
    })?;
    let leftovers = writer.leftovers().to_vec();
    source.check_unchanged()?;
    progress(before + total, before + total)?;
    writer.finish()?;
    Ok(Conversion { tensors, leftovers })
}

/// What is kept of the inputs of matrices while a model reads a text.
struct Seen {
    moments: Moments,
    samples: Samples,
}

impl Observer for Seen {
    fn see(&mut self, layer: Option<usize>, point: Point, values: &[f32]) {
        self.moments.see(layer, point, values);
        self.samples.see(layer, point, values);
    }
}

/// Has `seen` see what the matrices of `source` meet where it reads a text, of each window so many tokens, as int8: for that it is
/// written, as `draft` plans, into a file that is removed. Half of the progress is the writing, half the reading, in bytes of the file.
fn read(
    source: &Checkpoint,
    output: &Path,
    draft: &[Planned],
    (text, length): (&str, usize),
    force: bool,
    seen: &mut Seen,
    progress: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<()> {
    let bytes = bytes_of(draft);
    progress(0)?;
    let mut writer = create(source, output, draft, force)?;
    write_tensors(source, draft, None, &mut writer, progress)?;
    let file = writer.draft()?;
    let model = Model::open(Bytes::new(Mapping::open(file.path())?))?;
    calibrate::read(model, text, length, seen, &mut |share| progress(bytes + (share * bytes as f64) as u64))
}

/// Begins the file at `output`.
fn create(source: &Checkpoint, output: &Path, planned: &[Planned], force: bool) -> Result<Writer> {
    let plans = planned
        .iter()
        .map(|p| TensorPlan { name: p.spec.name.clone(), dtype: p.dtype, dims: p.spec.shape.dims() })
        .collect();
    Writer::create(output, FileKind::LanguageModel, sections(source, planned)?, plans, force)
}

/// Writes all tensors; `progress` is told the bytes written so far.
fn write_tensors(
    source: &Checkpoint,
    planned: &[Planned],
    moments: Option<&Moments>,
    writer: &mut Writer,
    progress: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<Vec<Written>> {
    let mut written = Vec::with_capacity(planned.len());
    let mut done = 0;
    for p in planned {
        let field = format!("tensor \"{}\"", p.spec.name);
        let importance = moments.map(|moments| moments.importance(p)).unwrap_or_default();
        let errors = write_tensor(source, p, &importance, writer, &mut |bytes| {
            done += bytes;
            progress(done)
        })
        .map_err(|e| e.field(field))?;
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
    let provenance = provenance(CONVERTER, "word vectors", std::slice::from_ref(&words.file))?;
    let sections = vec![(SectionId::TOKN, words.vocabulary().build()?), (SectionId::PROV, provenance)];
    let plan = TensorPlan { name: name.clone(), dtype, dims: dims.clone() };
    progress(0, total)?;
    let mut writer = Writer::create(output, FileKind::WordVectors, sections, vec![plan], force)?;
    let matrix =
        Rows { rows, cols, dtype, importance: &[], scales: &Scales::default(), read: &|row, out| words.read(row, out) };
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
fn sections(source: &Checkpoint, planned: &[Planned]) -> Result<Vec<(SectionId, Vec<u8>)>> {
    let smoothed = planned.iter().any(|p| !p.scales.cols.is_empty());
    let converter = if smoothed { SMOOTHING } else { CONVERTER };
    let mut sections = vec![(SectionId::CONF, source.config.encode())];
    if let Some(tokenizer) = source.tokenizer_section()? {
        sections.push((SectionId::TOKN, tokenizer));
    }
    sections.push((SectionId::GENR, source.generation.encode()));
    if let Some(template) = &source.chat_template {
        sections.push((SectionId::TMPL, template.clone().into_bytes()));
    }
    sections.push((SectionId::PROV, provenance(converter, source.format.name(), &source.files)?));
    if let Some(licence) = &source.licence {
        sections.push((SectionId::LICE, licence.clone().into_bytes()));
    }
    Ok(sections)
}

/// What converts, as the file says it.
const CONVERTER: &str = concat!("quantize ", env!("CARGO_PKG_VERSION"));
/// The same where inputs are smoothed, so that norms and matrices are not the checkpoint's.
const SMOOTHING: &str = concat!("quantize ", env!("CARGO_PKG_VERSION"), ", inputs smoothed");

/// Where the weights come from, as a section.
fn provenance(converter: &str, source_format: &str, files: &[SourceFile]) -> Result<Vec<u8>> {
    let record =
        |file: &SourceFile| format::SourceRecord { name: file.name.clone(), bytes: file.bytes, hash: file.hash() };
    let provenance = Provenance {
        converter: converter.into(),
        source_format: source_format.into(),
        sources: files.par_iter().map(record).collect(),
    };
    provenance.encode()
}

fn write_tensor(
    source: &Checkpoint,
    p: &Planned,
    importance: &[f32],
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
            p.scales.scale_vector(&mut values);
            let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            writer.write(&bytes)?;
            progress(bytes.len() as u64)?;
        }
        Shape::Matrix(rows, cols) => {
            let read = |row: usize, out: &mut [f32]| p.transform.read_rows((rows, cols), row, out, &read);
            total = Rows { rows, cols, dtype: p.dtype, importance, scales: &p.scales, read: &read }
                .write(writer, progress)?;
        }
    }
    let errors = total.finish();
    writer.finish_tensor(errors)?;
    Ok(errors)
}
