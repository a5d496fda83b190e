//! The quality report: what the checkpoint itself predicts in a text that calibrates nothing, and how near the weights that were
//! written come to that.

use std::path::Path;
use std::sync::Arc;

use whit::compute::Compute;
use whit::error::Result;
use whit::format::writer::Writer;
use whit::format::{Bytes, Quality, SectionId};
use whit::inspect::{HeldOut, compare, predict};
use whit::kernels;
use whit::model::Model;
use whit::os::Mapping;

use super::calibrate::TEXT;
use super::planned::Planned;
use super::written::{bytes_of, create, write_tensors};
use crate::source::Checkpoint;

/// The text of a report that nobody chose: of the kinds of the calibration's, and no sentence of it.
const HELD_OUT: &str = include_str!("held_out.txt");
/// Bytes at the end of a text of the user's own that are held out, at most.
const MOST_HELD_OUT: usize = 16 << 10;

/// What the model reads.
#[derive(Clone, Copy, Default)]
pub struct Texts<'t> {
    /// To find out which inputs of matrices matter.
    pub calibration: Option<&'t str>,
    /// For the quality report.
    pub held_out: Option<&'t str>,
    /// Where weights are to make up for each other, by the sums of all pairs of inputs and not of their squares alone: is told what
    /// the user should know beforehand, a sentence at a time.
    pub pairs: Option<&'t dyn Fn(&str)>,
}

impl<'t> Texts<'t> {
    /// Both texts of one: its last quarter, of 16 KiB at most and from the beginning of a line where there is one, is held out.
    pub fn of(text: &'t str) -> Self {
        let mut at = text.len() - (text.len() / 4).min(MOST_HELD_OUT);
        while !text.is_char_boundary(at) {
            at += 1;
        }
        let line = text[at..].find('\n').map_or(at, |newline| at + newline + 1);
        let at = if line < text.len() { line } else { at };
        Texts { calibration: Some(&text[..at]), held_out: Some(&text[at..]), pairs: None }
    }

    /// The texts of our own.
    pub fn ours() -> Self {
        Texts { calibration: Some(TEXT), held_out: Some(HELD_OUT), pairs: None }
    }
}

/// What `source` predicts in `text`, for a file of so many bytes of weights: for that it is written as f32, as `exact` plans, into a
/// file that is removed. `None` where the text, or the context, is too short. Half of the progress is the writing, half the reading,
/// in bytes of that file.
pub(super) fn reference(
    (source, output, force): (&Checkpoint, &Path, bool),
    exact: &[Planned],
    text: &str,
    weights: u64,
    progress: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<Option<Quality>> {
    let bytes = bytes_of(exact);
    let mut writer = create(source, output, exact, None, force)?;
    write_tensors(source, exact, None, &mut writer, progress)?;
    let file = writer.draft()?;
    let model = Arc::new(Model::open(Bytes::new(Mapping::open(file.path())?))?);
    let Some(held_out) = HeldOut::of(&model, text) else { return Ok(None) };
    let outcomes = held_out.outcomes(weights, model.config().vocab_size);
    let share = &mut |share| progress(bytes + (share * bytes as f64) as u64);
    predict(&model, &compute()?, &held_out, outcomes, share).map(Some)
}

/// Completes `report`, which `writer` was given, by what the weights that it wrote reach.
pub(super) fn complete(
    report: &mut Quality,
    writer: &mut Writer,
    progress: &mut dyn FnMut(f64) -> Result<()>,
) -> Result<()> {
    let model = Arc::new(Model::open(Bytes::new(Mapping::open(writer.readable()?)?))?);
    report.figures = compare(report, &model, &compute()?, progress)?;
    writer.replace(SectionId::QUAL, report.encode())
}

/// The best kernels on all cores.
pub(super) fn compute() -> Result<Arc<Compute>> {
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    Compute::new(kernels::detect(), threads).map(Arc::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_quarter_of_a_text_is_held_out_from_a_line_on() {
        let split = |text: &str| {
            let Texts { calibration, held_out, .. } = Texts::of(text);
            (calibration.expect("a text").to_owned(), held_out.expect("a text").to_owned())
        };
        let text = "one line\n".repeat(100);
        let (calibration, held_out) = split(&text);
        assert_eq!((calibration.len(), held_out.len()), (76 * 9, 24 * 9));
        assert_eq!(split(&"ä".repeat(10)), ("ä".repeat(8), "ä".repeat(2)));
        let text = "x\n".repeat(100_000);
        assert_eq!(split(&text).1.len(), 16 * 1024 - 2);
        assert_eq!(split(""), (String::new(), String::new()));
    }
}
