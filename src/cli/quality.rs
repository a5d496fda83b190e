//! How near a file's weights are to their checkpoint, as its report says: for `whit inspect` and `whit verify`.

use super::json::{self, Object};
use super::table::table;
use whit::format::{Figures, File, Quality};
use whit::quant::Dtype;

/// The figures as rows of a table, each with what it is called.
fn rows(figures: &Figures, positions: usize) -> [(&'static str, String); 5] {
    let Figures { reference_perplexity, perplexity, mean_kl, p99_kl, same_top } = *figures;
    [
        ("perplexity", format!("{perplexity:.4}")),
        ("of the checkpoint", format!("{reference_perplexity:.4}")),
        ("KL mean", format!("{mean_kl:.6}")),
        ("KL 99 %", format!("{p99_kl:.6}")),
        ("same top-1", format!("{:.3} %", 100.0 * f64::from(same_top) / positions as f64)),
    ]
}

/// What was measured, in a line.
pub(super) fn measured(report: &Quality) -> String {
    let Quality { window, outcomes, .. } = report;
    let (windows, positions) = (report.windows(), report.positions());
    format!("{positions} positions of {windows} x {window} held-out tokens; {outcomes} outcomes and the rest at each")
}

/// A table of the figures in the file, and beside them those that were computed again.
pub(super) fn figures(report: &Quality, again: Option<&Figures>) -> String {
    let positions = report.positions();
    let mut names = vec!["quality", "in the file"];
    let mut lines: Vec<_> = rows(&report.figures, positions).map(|(name, value)| vec![name.to_owned(), value]).into();
    if let Some(again) = again {
        names.push("computed again");
        lines.iter_mut().zip(rows(again, positions)).for_each(|(line, (_, value))| line.push(value));
    }
    table(&names, &lines)
}

/// A table of the formats that matrices are stored in.
pub(super) fn formats(file: &File<'_>) -> String {
    let lines = of_formats(file).map(|(dtype, n, weights, bytes)| {
        let bits = 8.0 * bytes as f64 / weights as f64;
        vec![dtype.name().to_owned(), n.to_string(), weights.to_string(), bytes.to_string(), format!("{bits:.2}")]
    });
    table(&["weights", "matrices", "numbers", "bytes", "bits each"], &lines.collect::<Vec<_>>())
}

/// Format, matrices, numbers and bytes of each format that matrices of the file are stored in.
fn of_formats(file: &File<'_>) -> impl Iterator<Item = (Dtype, usize, u64, u64)> {
    Dtype::ALL.into_iter().filter_map(|dtype| {
        let all = file.tensors().iter().filter(|tensor| tensor.dims().len() == 2 && tensor.dtype == dtype);
        let sums = all.fold((0, 0, 0), |(n, weights, bytes), tensor| {
            (n + 1, weights + tensor.dims().iter().product::<u64>(), bytes + tensor.bytes)
        });
        (sums.0 > 0).then_some((dtype, sums.0, sums.1, sums.2))
    })
}

/// The report as JSON, without its tokens and predictions.
pub(super) fn as_json(report: &Quality, file: &File<'_>, again: Option<&Figures>) -> String {
    let figures = |figures: &Figures| {
        Object::default()
            .number("perplexity", figures.perplexity)
            .number("reference_perplexity", figures.reference_perplexity)
            .number("kl_mean", figures.mean_kl)
            .number("kl_p99", figures.p99_kl)
            .number("same_top", f64::from(figures.same_top) / report.positions() as f64)
            .line()
    };
    let formats = of_formats(file).map(|(dtype, n, weights, bytes)| {
        Object::default()
            .text("dtype", dtype.name())
            .raw("matrices", n)
            .raw("weights", weights)
            .raw("bytes", bytes)
            .line()
    });
    let mut object = Object::default()
        .raw("numerics", report.numerics)
        .raw("windows", report.windows())
        .raw("window", report.window)
        .raw("positions", report.positions())
        .raw("outcomes", report.outcomes)
        .raw("figures", figures(&report.figures))
        .raw("formats", json::list(formats));
    if let Some(again) = again {
        object = object.raw("computed_again", figures(again)).raw("equal", again.bits() == report.figures.bits());
    }
    object.line()
}
