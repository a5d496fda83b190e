//! What was written, as a table for people or as JSON for programs.

use std::fmt::Write;

use serde_json::json;
use whit::error::printable;
use whit::format::Quality;

use crate::convert::{Chosen, Conversion, FromBlocks, Written};

/// Tensors that are named as the worst.
const WORST: usize = 5;

/// Signal to noise in dB, from the rms of the values and of their error; `None` where nothing was lost.
fn snr_db(tensor: &Written) -> Option<f64> {
    decibels(tensor.errors.signal_rms.into(), tensor.errors.rms.into())
}

fn decibels(signal: f64, error: f64) -> Option<f64> {
    (error > 0.0).then(|| 20.0 * (signal / error).log10())
}

fn told(snr_db: Option<f64>) -> String {
    snr_db.map_or("exact".into(), |db| format!("{db:.1}"))
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
        let snr = told(snr_db(t));
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
    out + &sum(read, tensors, file_bytes)
}

/// One row a kind of tensors, those of all layers together; the worst of them; the sum. The table has what fits into `columns`:
/// names, bytes and SNR always.
pub fn summary(read: Read<'_>, tensors: &[Written], file_bytes: u64, columns: usize) -> String {
    let mut kinds: Vec<(&str, Vec<&Written>)> = Vec::new();
    for tensor in tensors {
        let kind = kind(&tensor.name);
        match kinds.iter_mut().find(|(name, all)| *name == kind && all[0].dtype == tensor.dtype) {
            Some((_, all)) => all.push(tensor),
            None => kinds.push((kind, vec![tensor])),
        }
    }
    let width = kinds.iter().map(|(name, _)| name.len()).max().unwrap_or(0).max(6);
    let shows_errors = columns >= width + 62;
    let shows_counts = columns >= width + 40;
    let row = |name: &str, n: &str, dtype: &str, bytes: &str, errors: [&str; 2], snr: &str| {
        let n = if shows_counts { format!("  {n:>7}") } else { String::new() };
        let errors = if shows_errors { errors.map(|error| format!("  {error:>9}")).concat() } else { String::new() };
        format!("{name:width$}{n}  {dtype:5}  {bytes:>13}{errors}  {snr:>7}\n")
    };
    let mut out = row("kind", "tensors", "dtype", "bytes", ["rms error", "max error"], "SNR dB");
    for (name, all) in &kinds {
        let bytes: u64 = all.iter().map(|tensor| tensor.bytes).sum();
        let max = all.iter().map(|tensor| tensor.errors.max).fold(0.0, f32::max);
        // Of all elements together, each tensor counting as many as it has.
        let rms = |of: fn(&Written) -> f32| {
            let squares = all.iter().map(|tensor| f64::from(of(tensor)).powi(2) * elements(tensor) as f64).sum::<f64>();
            (squares / all.iter().map(|tensor| elements(tensor) as f64).sum::<f64>()).sqrt()
        };
        let (signal, error) = (rms(|tensor| tensor.errors.signal_rms), rms(|tensor| tensor.errors.rms));
        let (n, dtype, snr) = (all.len().to_string(), all[0].dtype.name(), told(decibels(signal, error)));
        let errors = [format!("{error:.2e}"), format!("{max:.2e}")];
        out += &row(name, &n, dtype, &bytes.to_string(), errors.each_ref().map(String::as_str), &snr);
    }
    let mut worst: Vec<(f64, &Written)> = tensors.iter().filter_map(|tensor| Some((snr_db(tensor)?, tensor))).collect();
    worst.sort_by(|a, b| a.0.total_cmp(&b.0));
    if tensors.len() > kinds.len() && !worst.is_empty() {
        let named = worst.iter().take(WORST).map(|(db, tensor)| format!("  {} {db:.1} dB\n", tensor.name));
        out += &format!("\nfarthest from the checkpoint (-v lists all):\n{}\n", named.collect::<String>());
    }
    out + &sum(read, tensors, file_bytes)
}

/// A tensor's name without the number of its layer.
fn kind(name: &str) -> &str {
    let in_block = name.strip_prefix("blocks.").and_then(|rest| rest.split_once('.'));
    in_block.map_or(name, |(_, kind)| kind)
}

/// What was written, in a line.
fn sum(read: Read<'_>, tensors: &[Written], file_bytes: u64) -> String {
    let weights: u64 = tensors.iter().map(elements).sum();
    let bits = 8.0 * tensors.iter().map(|t| t.bytes).sum::<u64>() as f64 / weights as f64;
    let (name, n) = (printable(read.name), tensors.len());
    format!("{name}: {n} tensors, {weights} weights, {bits:.2} bits per weight, {file_bytes} bytes\n")
}

/// How what the checkpoint had in blocks of few bits was stored, a line for each kind of them; nothing where there were none.
pub fn from_blocks(rows: &[FromBlocks]) -> String {
    let line = |row: &FromBlocks| {
        let (n, encoding, dtype) = (row.matrices, row.encoding, row.dtype.name());
        let (matrices, are, were) = if n == 1 { ("matrix", "is", "was") } else { ("matrices", "are", "were") };
        match row.exact {
            true => format!("{n} {matrices} of {encoding} {are} held as {dtype} without a loss\n"),
            false => format!("{n} {matrices} of {encoding} {were} rounded again, to {dtype}\n"),
        }
    };
    rows.iter().map(line).collect()
}

/// The formats that were chosen to keep to a budget, and why: what the matrices add to the divergence as q4, and as they are. A row a
/// kind of matrices and format, or where `each` is set a row a matrix; nothing where nothing was chosen.
pub fn chosen(chosen: &[Chosen], each: bool) -> String {
    let mut rows: Vec<(&str, Vec<&Chosen>)> = Vec::new();
    for one in chosen {
        let name = if each { &one.name } else { kind(&one.name) };
        match rows.iter_mut().find(|(other, all)| *other == name && all[0].dtype == one.dtype) {
            Some((_, all)) => all.push(one),
            None => rows.push((name, vec![one])),
        }
    }
    if rows.is_empty() {
        return String::new();
    }
    if !each {
        rows.sort_by_key(|(name, all)| {
            (chosen.iter().position(|one| kind(&one.name) == *name), all[0].dtype.format().bits)
        });
    }
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0).max(6);
    let mut out = format!("\n{:width$}  dtype  matrices      bytes  KL as q4  KL as it is\n", "chosen");
    for (name, all) in rows {
        let sum = |of: fn(&Chosen) -> f64| all.iter().map(|one| of(one)).sum::<f64>();
        let bytes: u64 = all.iter().map(|one| one.bytes).sum();
        let (dtype, n, as_q4, predicted) = (all[0].dtype.name(), all.len(), sum(|c| c.as_q4), sum(|c| c.predicted));
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{name:width$}  {dtype:5}  {n:>8}  {bytes:>9}  {as_q4:>8.5}  {predicted:>11.6}");
    }
    out
}

/// How near the file is to the checkpoint, in two lines; nothing where it has no report.
pub fn quality(report: Option<&Quality>) -> String {
    let Some(report) = report else { return String::new() };
    let (figures, positions) = (report.figures, report.positions());
    let same_top = 100.0 * f64::from(figures.same_top) / positions as f64;
    format!(
        "mean KL {:.6}, 99 % {:.5}, same top-1 {same_top:.2} % at {positions} held-out positions\n\
         perplexity {:.4}, of the checkpoint {:.4} (whit verify --quality)\n",
        figures.mean_kl, figures.p99_kl, figures.perplexity, figures.reference_perplexity,
    )
}

fn elements(tensor: &Written) -> u64 {
    tensor.dims.iter().product()
}

/// The same as one JSON document.
pub fn json(read: Read<'_>, conversion: &Conversion, file_bytes: u64) -> String {
    let Conversion { tensors, quality, chosen, from_blocks, .. } = conversion;
    let rows: Vec<_> = tensors
        .iter()
        .map(|t| {
            json!({
                "name": t.name, "shape": t.dims, "dtype": t.dtype.name(), "bytes": t.bytes,
                "rms_error": t.errors.rms, "max_error": t.errors.max, "snr_db": snr_db(t),
            })
        })
        .collect();
    let quality = quality.as_ref().map(|report| {
        let (figures, positions) = (report.figures, report.positions());
        json!({
            "positions": positions, "perplexity": figures.perplexity, "reference_perplexity": figures.reference_perplexity,
            "kl_mean": figures.mean_kl, "kl_p99": figures.p99_kl,
            "same_top": f64::from(figures.same_top) / positions as f64,
        })
    });
    let chosen: Vec<_> = chosen
        .iter()
        .map(|c| json!({ "name": c.name, "dtype": c.dtype.name(), "kl_as_q4": c.as_q4, "kl_predicted": c.predicted }))
        .collect();
    let from_blocks: Vec<_> = from_blocks
        .iter()
        .map(|b| json!({ "encoding": b.encoding, "dtype": b.dtype.name(), "exact": b.exact, "matrices": b.matrices }))
        .collect();
    json!({
        "model": read.name, "format": read.format, "file_bytes": file_bytes,
        "weights": tensors.iter().map(elements).sum::<u64>(), "notes": read.notes, "tensors": rows, "quality": quality, "chosen": chosen,
        "from_blocks": from_blocks,
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use whit::format::TensorErrors;
    use whit::quant::Dtype;

    fn tensor(name: &str, dtype: Dtype, signal_rms: f32, rms: f32) -> Written {
        let errors = TensorErrors { signal_rms, rms, max: 2.0 * rms };
        Written { name: name.into(), dims: vec![4, 32], dtype, bytes: 128, errors }
    }

    #[test]
    fn a_summary_has_a_row_a_kind_and_names_the_worst() {
        let mut tensors = vec![tensor("embedding", Dtype::Int8, 1.0, 0.01), tensor("final_norm", Dtype::F32, 1.0, 0.0)];
        let errors = [0.01, 0.02, 0.005, 0.04, 0.03, 0.001];
        tensors.extend((0..).zip(errors).map(|(i, e)| tensor(&format!("blocks.{i}.q"), Dtype::Int8, 1.0, e)));
        tensors.push(tensor("blocks.6.q", Dtype::F16, 1.0, 1e-4));
        let read = Read { name: "m", format: "GGUF", notes: &[] };
        let text = summary(read, &tensors, 9999, 80);
        let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[1][..4], ["embedding", "1", "int8", "128"]);
        assert_eq!(rows[2], ["final_norm", "1", "f32", "128", "0.00e0", "0.00e0", "exact"]);
        // The mean of the errors' squares.
        assert_eq!(rows[3], ["q", "6", "int8", "768", "2.25e-2", "8.00e-2", "33.0"]);
        assert_eq!(rows[4][..3], ["q", "1", "fp16"]);
        assert_eq!(rows[7..9], [["blocks.3.q", "28.0", "dB"], ["blocks.4.q", "30.5", "dB"]]);
        assert!(text.ends_with("m: 9 tensors, 1152 weights, 8.00 bits per weight, 9999 bytes\n"), "{text}");
        assert!(text.lines().all(|line| line.len() <= 80) && text.contains("-v lists all"), "{text}");
        assert_eq!(table(read, &tensors, 9999).lines().count(), 1 + tensors.len() + 1);
    }

    #[test]
    fn what_became_of_blocks_is_said() {
        let row = |encoding, exact, matrices| FromBlocks { encoding, dtype: Dtype::Q4h, exact, matrices };
        let text = from_blocks(&[row("Q4_0", true, 210), row("Q6_K", false, 1)]);
        assert_eq!(
            text,
            "210 matrices of Q4_0 are held as q4h without a loss\n1 matrix of Q6_K was rounded again, to q4h\n"
        );
        assert_eq!(from_blocks(&[]), "");
    }

    #[test]
    fn what_lost_nothing_has_no_worst() {
        let read = Read { name: "m", format: "GGUF", notes: &[] };
        for tensors in [vec![tensor("a", Dtype::F32, 1.0, 0.0)], vec![tensor("words", Dtype::Int8, 1.0, 0.1)]] {
            assert!(!summary(read, &tensors, 1, 80).contains("farthest"));
        }
    }

    #[test]
    fn a_table_has_the_columns_that_fit() {
        let read = Read { name: "m", format: "GGUF", notes: &[] };
        let tensors = [tensor("embedding", Dtype::Int8, 1.0, 0.01)];
        for columns in 40..90 {
            let text = summary(read, &tensors, 9999, columns);
            let table: Vec<_> = text.lines().take(2).collect();
            assert!(table.iter().all(|line| line.len() <= columns), "{columns}: {table:?}");
            assert_eq!(table[0].contains("error"), columns >= 71, "{columns}");
            assert!(table[0].contains("SNR dB"));
        }
    }
}
