//! Encodes a matrix into panels, on all cores, and writes them.

use rayon::prelude::*;
use whit::error::{Error, Result};
use whit::format::writer::Writer;
use whit::quant::{self, ALIGNMENT, Dtype, Encoding, Matrix, PANEL_ROWS};

use super::errors::Errors;
use super::feedback::Factors;
use super::scales::Scales;

/// Output bytes encoded before they are written: bounds the private memory.
const CHUNK_BYTES: usize = 4 << 20;

/// What codes are chosen by, where there is a choice.
pub(super) enum Choice<'f> {
    /// The errors of the weights, those of a column as much as is said of it, (cols); empty: all alike.
    Weights(Vec<f32>),
    /// The errors of the outputs.
    Outputs(&'f Factors),
    /// Nothing: the weights lie on the grid of the format.
    Grid,
}

/// A matrix (rows, cols) to be encoded as `dtype`.
pub(super) struct Rows<'r> {
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) dtype: Dtype,
    /// What its codes are chosen by.
    pub(super) choice: &'r Choice<'r>,
    /// What its rows and columns are multiplied by before they are encoded.
    pub(super) scales: &'r Scales,
    /// Reads rows from the one given on, as many as the buffer holds.
    pub(super) read: &'r (dyn Fn(usize, &mut [f32]) -> Result<()> + Sync),
}

impl Rows<'_> {
    /// Encodes all panels, on all cores, and writes them; the errors against what was read.
    pub(super) fn write(&self, writer: &mut Writer, progress: &mut dyn FnMut(u64) -> Result<()>) -> Result<Errors> {
        let panel_bytes = quant::panel_bytes(self.dtype, self.cols);
        let panels = self.rows.div_ceil(PANEL_ROWS);
        let step = (CHUNK_BYTES / panel_bytes).clamp(1, panels);
        let mut buffer = vec![0; step * panel_bytes + ALIGNMENT];
        let start = buffer.as_ptr().align_offset(ALIGNMENT);
        let mut total = Errors::default();
        for first in (0..panels).step_by(step) {
            let n = step.min(panels - first);
            let chunk = &mut buffer[start..start + n * panel_bytes];
            let errors = chunk
                .par_chunks_exact_mut(panel_bytes)
                .enumerate()
                .map_init(Vec::new, |values, (i, out)| self.encode_panel((first + i) * PANEL_ROWS, values, out))
                .collect::<Result<Vec<_>>>()?;
            errors.iter().for_each(|e| total.merge(e));
            writer.write(chunk)?;
            progress(chunk.len() as u64)?;
        }
        Ok(total)
    }

    /// Reads, checks and encodes the panel whose first row is `row`.
    fn encode_panel(&self, row: usize, values: &mut Vec<f32>, out: &mut [u8]) -> Result<Errors> {
        let Rows { rows, cols, dtype, choice, scales, .. } = *self;
        let n = PANEL_ROWS.min(rows - row);
        values.resize((n + 1) * cols, 0.0);
        let (values, decoded) = values.split_at_mut(n * cols);
        (self.read)(row, values)?;
        check_finite(values, row, cols)?;
        scales.scale_rows(row, cols, values);
        check_range(values, dtype, row, cols)?;
        match (choice, dtype.format().encoding) {
            (Choice::Outputs(factors), Encoding::Groups(groups)) => {
                out.fill(0);
                factors.encode(&groups, dtype.format().max_weight, values, out);
            }
            (Choice::Grid, _) => quant::encode_panel_on_grid(dtype, values, cols, out),
            (Choice::Outputs(_), _) => quant::encode_panel(dtype, values, cols, out),
            (Choice::Weights(importance), _) => quant::encode_panel_for(dtype, values, cols, importance, out),
        }
        scales.unscale_rows(row, cols, values);
        let mut errors = Errors::default();
        if let Some(matrix) = Matrix::new(dtype, n, cols, out) {
            for (r, want) in values.chunks_exact(cols).enumerate() {
                matrix.read_row(r, decoded);
                scales.unscale_rows(row + r, cols, decoded);
                errors.add(want, decoded);
            }
        }
        Ok(errors)
    }
}

/// Refuses NaN and infinities by index.
pub(super) fn check_finite(values: &[f32], row: usize, cols: usize) -> Result<()> {
    match values.iter().position(|v| !v.is_finite()) {
        None => Ok(()),
        Some(i) => {
            let at = format!("element [{}, {}]", row + i / cols, i % cols);
            Err(Error::data(format!("{at} is {}", values[i]))
                .hint("the checkpoint is damaged or was not trained to the end"))
        }
    }
}

/// Refuses values beyond the range of `dtype`.
fn check_range(values: &[f32], dtype: Dtype, row: usize, cols: usize) -> Result<()> {
    let limit = dtype.format().max_weight;
    match values.iter().position(|v| v.abs() > limit) {
        None => Ok(()),
        Some(i) => {
            let at = format!("element [{}, {}]", row + i / cols, i % cols);
            let message = format!("{at} is {}, beyond {limit} of {}", values[i], dtype.name());
            Err(Error::data(message).hint("--keep ROLE=f32 keeps such a matrix as it is"))
        }
    }
}
