//! How much each matrix minds weights of few bits. Of a draft with weights of int8 one matrix at a time takes the values that q4 leaves
//! of it, and what the model then predicts is compared with what it predicted before: the KL divergence that this matrix adds by
//! itself. What another format would add goes with the squared error, as a divergence does where errors are small.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use rayon::prelude::*;
use whit::error::{Error, Kind, Result};
use whit::format::{Bytes, Quality};
use whit::inspect::{HeldOut, compare, predict};
use whit::model::Model;
use whit::model::spec::Shape;
use whit::os::Mapping;
use whit::quant::{self, Dtype, PANEL_ROWS};

use super::planned::Planned;
use super::quality::compute;
use super::written::{bytes_of, create, stored_bytes, write_tensors};
use crate::source::Checkpoint;

/// The formats of a budget, by their size.
pub(super) const FORMATS: [Dtype; 4] = [Dtype::Q4, Dtype::Q5, Dtype::Q6, Dtype::Int8];
/// Tokens of a window that is read for each matrix, and outcomes told apart at a position.
const WINDOW: usize = 128;
const OUTCOMES: usize = 64;

/// What a matrix adds to the divergence, in nats, as each of [`FORMATS`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sensitivity(pub(super) [f64; 4]);

/// What is known of a model before its formats are chosen.
pub(super) struct Measured {
    /// Of each planned tensor; `None` of vectors, and of matrices that may not have few bits.
    pub(super) tensors: Vec<Option<Sensitivity>>,
    /// Mean KL divergence of the model as int8 in a report.
    pub(super) int8: f64,
}

/// Measures every matrix of `draft`, which plans int8, on two short windows of `text`; `report` is of a text that is held out.
/// `progress` is told the bytes of the draft that were written, then as many again as matrices are measured. The draft is removed.
pub(super) fn measure(
    (source, output, force): (&Checkpoint, &Path, bool),
    draft: &[Planned],
    text: &str,
    report: &Quality,
    progress: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<Measured> {
    let mut writer = create(source, output, draft, None, force)?;
    write_tensors(source, draft, None, &mut writer, progress)?;
    let file = writer.draft()?;
    let failed =
        |error: std::io::Error| Error::new(Kind::Io, error.to_string()).in_file(file.path().display().to_string());
    let changed = OpenOptions::new().read(true).write(true).open(file.path()).map_err(failed)?;
    let open = || Ok(Arc::new(Model::open(Bytes::new(Mapping::open(file.path())?))?));

    let (compute, model) = (compute()?, open()?);
    let held_out = short(&model, text)?;
    let outcomes = OUTCOMES.min(model.config().vocab_size);
    let base = predict(&model, &compute, &held_out, outcomes, &mut |_| Ok(()))?;
    let int8 = compare(report, &model, &compute, &mut |_| Ok(()))?.mean_kl;
    // Keys and values of f16, which are not the weights' part.
    let zero = compare(&base, &model, &compute, &mut |_| Ok(()))?.mean_kl;
    let spans = draft.iter().map(|p| span(&model, &p.spec.name)).collect::<Result<Vec<_>>>()?;
    drop(model);

    let bytes = bytes_of(draft);
    let mut done = 0;
    let mut tensors = Vec::with_capacity(draft.len());
    for (p, at) in draft.iter().zip(spans) {
        progress(bytes + done)?;
        done += stored_bytes(p.dtype, p.spec.shape);
        let Shape::Matrix(rows, cols) = p.spec.shape else {
            tensors.push(None);
            continue;
        };
        if p.dtype != Dtype::Int8 {
            tensors.push(None);
            continue;
        }
        let (errors, as_q4) = encode(source, p, rows, cols)?;
        let kept = replace(&changed, at, &as_q4).map_err(failed)?;
        let kl = compare(&base, &open()?, &compute, &mut |_| progress(bytes + done))?.mean_kl;
        replace(&changed, at, &kept).map_err(failed)?;
        let kl = (kl - zero).max(0.0);
        let [of_q4, ..] = errors;
        let share = |error: f64| if of_q4 > 0.0 { kl * (error / of_q4) } else { 0.0 };
        tensors.push(Some(Sensitivity(errors.map(share))));
    }
    Ok(Measured { tensors, int8 })
}

/// Two short windows, from the beginning of what a report would take of the text and from the middle.
fn short(model: &Model, text: &str) -> Result<HeldOut> {
    let Some(HeldOut { window, tokens }) = HeldOut::of(model, text) else {
        let error = Error::data("the text has fewer than 16 tokens to measure matrices with").field("calibrate");
        return Err(error.hint("--calibrate FILE names a longer one"));
    };
    let length = WINDOW.min(window);
    let last = tokens.chunks_exact(window).last().unwrap_or(&tokens);
    let windows =
        if tokens.len() > window { vec![&tokens[..length], &last[..length]] } else { vec![&tokens[..length]] };
    Ok(HeldOut { window: length, tokens: windows.concat() })
}

/// Where a tensor of the draft lies in its file.
fn span(model: &Model, name: &str) -> Result<u64> {
    let file = model.file();
    let entry =
        file.tensor(name).ok_or_else(|| Error::data("the tensor is missing").field(format!("tensor \"{name}\"")))?;
    Ok(file.span(entry)?.start as u64)
}

/// Writes `bytes` at `at` and gives what was there.
fn replace(file: &File, at: u64, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut before = vec![0; bytes.len()];
    file.read_exact_at(&mut before, at)?;
    file.write_all_at(bytes, at)?;
    Ok(before)
}

/// Sums of the squared errors of each of [`FORMATS`], and the panels of int8 that hold what q4 leaves of the matrix.
fn encode(source: &Checkpoint, p: &Planned, rows: usize, cols: usize) -> Result<([f64; 4], Vec<u8>)> {
    let read = p.elements(source)?;
    let panel_bytes = quant::panel_bytes(Dtype::Int8, cols);
    let mut out = vec![0; rows.div_ceil(PANEL_ROWS) * panel_bytes];
    let errors = out
        .par_chunks_exact_mut(panel_bytes)
        .enumerate()
        .map(|(i, out)| {
            let first = i * PANEL_ROWS;
            let n = PANEL_ROWS.min(rows - first);
            let mut values = vec![0.0; n * cols];
            p.transform.read_rows((rows, cols), first, &mut values, &read)?;
            let mut decoded = vec![0.0; n * cols];
            let mut errors = [0.0; 4];
            for (error, dtype) in errors.iter_mut().zip(FORMATS).rev() {
                let mut panel = vec![0; quant::panel_bytes(dtype, cols)];
                quant::encode_panel(dtype, &values, cols, &mut panel);
                for (r, row) in decoded.chunks_exact_mut(cols).enumerate() {
                    quant::read_panel_row(dtype, &panel, r, row);
                }
                *error = values.iter().zip(&decoded).map(|(w, d)| f64::from(d - w).powi(2)).sum();
            }
            // The last was q4.
            quant::encode_panel(Dtype::Int8, &decoded, cols, out);
            Ok(errors)
        })
        .collect::<Result<Vec<_>>>()?;
    let sums = std::array::from_fn(|format| errors.iter().map(|errors| errors[format]).sum());
    Ok((sums, out))
}
