//! Writes the sections and the tensors of a checkpoint into a file, as they are planned.

use std::path::Path;

use rayon::prelude::*;
use whit::error::Result;
use whit::format::writer::{TensorPlan, Writer};
use whit::format::{self, FileKind, Provenance, Quality, SectionId, TensorErrors};
use whit::model::spec::Shape;
use whit::quant::{self, Dtype};

use super::errors::Errors;
use super::evidence::Evidence;
use super::matrix::{Choice, Rows, check_finite};
use super::planned::Planned;
use crate::source::{Checkpoint, SourceFile};

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

/// Begins the file at `output`.
pub(super) fn create(
    source: &Checkpoint,
    output: &Path,
    planned: &[Planned],
    report: Option<&Quality>,
    force: bool,
) -> Result<Writer> {
    let mut sections = sections(source, planned)?;
    sections.extend(report.map(|report| (SectionId::QUAL, report.encode())));
    Writer::create(output, FileKind::LanguageModel, sections, tensor_plans(planned), force)
}

/// The tensors as a writer is told of them.
pub(super) fn tensor_plans(planned: &[Planned]) -> Vec<TensorPlan> {
    let of = |p: &Planned| TensorPlan { name: p.spec.name.clone(), dtype: p.dtype, dims: p.spec.shape.dims() };
    planned.iter().map(of).collect()
}

/// Writes all tensors; `progress` is told the bytes written so far, and read for the evidence.
pub(super) fn write_tensors(
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
            _ if p.on_grid => Choice::Grid,
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

pub(super) fn bytes_of(planned: &[Planned]) -> u64 {
    planned.iter().map(|p| stored_bytes(p.dtype, p.spec.shape)).sum()
}

pub(super) fn stored_bytes(dtype: Dtype, shape: Shape) -> u64 {
    match shape {
        Shape::Vector(n) => n as u64 * 4,
        Shape::Matrix(rows, cols) => quant::matrix_bytes(dtype, rows as u64, cols as u64).unwrap_or(u64::MAX),
    }
}

/// All sections but the directory, the report and the weights.
pub(super) fn sections(source: &Checkpoint, planned: &[Planned]) -> Result<Vec<(SectionId, Vec<u8>)>> {
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
pub(super) const CONVERTER: &str = concat!("quantize ", env!("CARGO_PKG_VERSION"));
/// The same where inputs are smoothed, so that norms and matrices are not the checkpoint's.
const SMOOTHING: &str = concat!("quantize ", env!("CARGO_PKG_VERSION"), ", inputs smoothed");

/// Where the weights come from, as a section.
pub(super) fn provenance(converter: &str, source_format: &str, files: &[SourceFile]) -> Result<Vec<u8>> {
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
    choice: &Choice<'_>,
    writer: &mut Writer,
    progress: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<TensorErrors> {
    let read = p.elements(source)?;
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
            total =
                Rows { rows, cols, dtype: p.dtype, choice, scales: &p.scales, read: &read }.write(writer, progress)?;
        }
    }
    let errors = total.finish();
    writer.finish_tensor(errors)?;
    Ok(errors)
}
