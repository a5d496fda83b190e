//! How much each column of a matrix matters: the mean square of what it multiplies on a text. The error of a weight goes into the
//! output as often and as far as its input is from zero, so a scale is chosen by squared errors weighted like that.

use std::collections::BTreeMap;
use std::iter::repeat;
use std::sync::Arc;

use whit::compute::Compute;
use whit::error::{Error, Result};
use whit::kernels;
use whit::model::spec::{Reading, Shape, TensorSpec};
use whit::model::{Config, Model, Observer, Op, Point, Session, SessionOptions, tensors};
use whit::tokenizer::Specials;

use super::planned::Planned;

/// The text of a calibration that nobody chose: letters, questions, a story, other languages, technical prose, code.
pub const TEXT: &str = include_str!("calibration.txt");
/// Tokens of a window, each of which is read by itself.
const WINDOW: usize = 512;
/// Windows, at most: the text after them is not read.
const WINDOWS: usize = 16;
/// Tokens computed at a time.
const BATCH: usize = 64;
/// Share of the mean that every column counts at least: the text does not show everything.
const FLOOR: f64 = 0.01;

/// Where a matrix is multiplied: the block and the op.
type Place = (Option<usize>, Op);

/// Has the model read `text`, of each window of it at most `length` tokens; `progress` is told the part that is done, from 0 to 1.
pub(super) fn read(
    model: Model,
    text: &str,
    length: usize,
    observer: &mut dyn Observer,
    progress: &mut dyn FnMut(f64) -> Result<()>,
) -> Result<()> {
    let Some(tokenizer) = model.tokenizer() else {
        let error = Error::data("the checkpoint has no tokenizer to read a calibration text with").field("calibrate");
        return Err(error.hint("--effort fast chooses by the weights alone"));
    };
    let mut tokens = Vec::new();
    tokenizer.encode(text, Specials::AsText, &mut tokens);
    let window = WINDOW.min(model.config().context_length);
    // What a text begins with stands before each window in the place of its first token.
    let first = tokenizer.bos().filter(|_| tokenizer.adds_bos());
    if tokens.is_empty() {
        return Err(Error::data("the calibration text is empty").field("calibrate"));
    }
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let compute = Arc::new(Compute::new(kernels::detect(), threads)?);
    let options = SessionOptions { context_length: window, batch: BATCH, logit_rows: BATCH, ..Default::default() };
    let mut session = Session::new(&Arc::new(model), &compute, options)?;
    let windows: Vec<_> = tokens.chunks_mut(window).take(WINDOWS).collect();
    let n = windows.len() as f64;
    for (i, window) in windows.into_iter().enumerate() {
        progress(i as f64 / n)?;
        if let Some(first) = first {
            window[0] = first;
        }
        session.rewind(0);
        session.observe(&window[..length.min(window.len())], observer)?;
    }
    Ok(())
}

/// Sums of the squares of all inputs of matrices.
pub(super) struct Moments(BTreeMap<Place, Vec<f64>>);

impl Moments {
    /// Of nothing yet.
    pub(super) fn new(config: &Config) -> Self {
        let places = tensors(config).into_iter().filter_map(|spec| Some((place(&spec)?, columns(&spec)?)));
        Moments(places.map(|(place, cols)| (place, vec![0.0; cols])).collect())
    }

    /// How much each column of a matrix matters as it is stored, (cols), 1 on average; empty where that is not known.
    pub(super) fn importance(&self, p: &Planned) -> Vec<f32> {
        let Some(sums) = place(&p.spec).and_then(|place| self.0.get(&place)) else { return Vec::new() };
        // Columns that are multiplied meet inputs that are divided.
        let scales = p.scales.cols.iter().map(|scale| f64::from(*scale)).chain(repeat(1.0));
        let sums: Vec<f64> = sums.iter().zip(scales).map(|(sum, scale)| sum / (scale * scale)).collect();
        let mean = sums.iter().sum::<f64>() / sums.len() as f64;
        if !mean.is_normal() {
            return Vec::new();
        }
        sums.iter().map(|sum| (sum / mean + FLOOR) as f32).collect()
    }
}

/// Where all of a matrix is multiplied; `None` of other tensors.
fn place(spec: &TensorSpec) -> Option<Place> {
    columns(spec)?;
    spec.reads.iter().find(|(_, reading)| *reading == Reading::Whole).map(|(op, _)| (spec.layer, *op))
}

fn columns(spec: &TensorSpec) -> Option<usize> {
    match spec.shape {
        Shape::Vector(_) => None,
        Shape::Matrix(_, cols) => Some(cols),
    }
}

impl Observer for Moments {
    fn see(&mut self, layer: Option<usize>, point: Point, values: &[f32]) {
        let Point::Input(op) = point else { return };
        let Some(sums) = self.0.get_mut(&(layer, op)) else { return };
        for row in values.chunks_exact(sums.len()) {
            sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x) * f64::from(*x));
        }
    }
}
