//! What was written, as a table for people or as JSON for programs.

use std::fmt::Write;

use serde_json::json;
use whit::error::printable;

use crate::convert::Written;

/// Signal to noise in dB, from the rms of the values and of their error; `None` where nothing was lost.
fn snr_db(tensor: &Written) -> Option<f64> {
    let errors = &tensor.errors;
    (errors.rms > 0.0).then(|| 20.0 * (f64::from(errors.signal_rms) / f64::from(errors.rms)).log10())
}

/// The shape as `rows x cols`.
fn shape(tensor: &Written) -> String {
    tensor.dims.iter().map(u64::to_string).collect::<Vec<_>>().join(" x ")
}

/// What was read.
#[derive(Debug, Clone, Copy)]
pub struct Read<'r> {
    /// The model's name.
    pub name: &'r str,
    /// What users call the format.
    pub format: &'r str,
    /// What the user should know.
    pub notes: &'r [String],
}

/// One row a tensor, then the sum.
pub fn table(read: Read<'_>, tensors: &[Written], file_bytes: u64) -> String {
    let width = tensors.iter().map(|t| t.name.len()).max().unwrap_or(0).max(6);
    let mut out = format!(
        "{:width$}  {:>15}  {:5}  {:>13}  {:>9}  {:>9}  {:>7}\n",
        "tensor", "shape", "dtype", "bytes", "rms error", "max error", "SNR dB"
    );
    for t in tensors {
        let snr = snr_db(t).map_or("exact".into(), |db| format!("{db:.1}"));
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "{:width$}  {:>15}  {:5}  {:>13}  {:>9.2e}  {:>9.2e}  {snr:>7}",
            t.name,
            shape(t),
            t.dtype.name(),
            t.bytes,
            t.errors.rms,
            t.errors.max,
        );
    }
    let weights: u64 = tensors.iter().map(elements).sum();
    let bits = 8.0 * tensors.iter().map(|t| t.bytes).sum::<u64>() as f64 / weights as f64;
    let _ = writeln!(
        out,
        "{}: {} tensors, {weights} weights, {bits:.2} bits per weight, {file_bytes} bytes",
        printable(read.name),
        tensors.len()
    );
    out
}

fn elements(tensor: &Written) -> u64 {
    tensor.dims.iter().product()
}

/// The same as one JSON document.
pub fn json(read: Read<'_>, tensors: &[Written], file_bytes: u64) -> String {
    let rows: Vec<_> = tensors
        .iter()
        .map(|t| {
            json!({
                "name": t.name, "shape": t.dims, "dtype": t.dtype.name(), "bytes": t.bytes,
                "rms_error": t.errors.rms, "max_error": t.errors.max, "snr_db": snr_db(t),
            })
        })
        .collect();
    json!({
        "model": read.name, "format": read.format, "file_bytes": file_bytes,
        "weights": tensors.iter().map(elements).sum::<u64>(), "notes": read.notes, "tensors": rows,
    })
    .to_string()
}
