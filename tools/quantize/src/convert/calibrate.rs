//! A model reads a text, and how much each column of a matrix matters: the mean square of what it multiplies there. The error of a
//! weight goes into the output as often and as far as its input is from zero, so a scale is chosen by squared errors weighted like that.

use std::collections::BTreeMap;
use std::iter::repeat;
use std::sync::Arc;

use whit::TokenId;
use whit::compute::Compute;
use whit::error::{Error, Result};
use whit::kernels;
use whit::model::spec::{Reading, Shape, TensorSpec};
use whit::model::{Config, Model, Observer, Op, Point, Session, SessionOptions, tensors};
use whit::tokenizer::Specials;

use super::planned::Planned;

/// The text of a calibration that nobody chose: letters, questions, a story, other languages, technical prose, code.
pub(super) const TEXT: &str = include_str!("calibration.txt");
/// Tokens of a window, each of which is read by itself.
const WINDOW: usize = 512;
/// Windows, at most: the text after them is not read.
const WINDOWS: usize = 16;
/// Logits computed at a time.
const LOGIT_ROWS: usize = 64;
/// Share of the mean that every column counts at least: the text does not show everything.
const FLOOR: f64 = 0.01;

/// Where a matrix is multiplied: the block and the op.
pub(super) type Place = (Option<usize>, Op);

/// A model and the text that it reads.
pub(super) struct Reader {
    session: Session,
    windows: Vec<Vec<TokenId>>,
}

impl Reader {
    /// Of each window of `text` at most `length` tokens are read.
    pub(super) fn new(model: Model, text: &str, length: usize) -> Result<Self> {
        let Some(tokenizer) = model.tokenizer() else {
            let error =
                Error::data("the checkpoint has no tokenizer to read a calibration text with").field("calibrate");
            return Err(error.hint("--effort fast chooses by the weights alone"));
        };
        let mut tokens = Vec::new();
        tokenizer.encode(text, Specials::AsText, &mut tokens);
        if tokens.is_empty() {
            let error = Error::data("the calibration text is empty, or has no tokens of this model").field("calibrate");
            return Err(error.hint("--effort fast chooses by the weights alone"));
        }
        let window = WINDOW.min(model.config().context_length);
        let mut windows: Vec<Vec<TokenId>> = tokens.chunks(window).take(WINDOWS).map(<[_]>::to_vec).collect();
        // What a text begins with stands before each window in the place of its first token.
        if let Some(first) = tokenizer.bos().filter(|_| tokenizer.adds_bos()) {
            windows.iter_mut().for_each(|window| window[0] = first);
        }
        windows.iter_mut().for_each(|window| window.truncate(length));
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
        let compute = Arc::new(Compute::new(kernels::detect(), threads)?);
        // A window is one pass: whoever watches sees all of its tokens together.
        let options = SessionOptions {
            context_length: window,
            batch: window,
            logit_rows: LOGIT_ROWS.min(window),
            hold_all: true,
            ..Default::default()
        };
        Ok(Reader { session: Session::new(&Arc::new(model), &compute, options)?, windows })
    }

    pub(super) fn model(&self) -> &Model {
        self.session.model()
    }

    pub(super) fn config(&self) -> &Config {
        self.model().config()
    }

    /// Tokens that are read.
    pub(super) fn n_tokens(&self) -> usize {
        self.windows.iter().map(Vec::len).sum()
    }

    /// Tokens that are read of a text that is long enough.
    pub(super) fn most_tokens(&self) -> usize {
        WINDOWS * self.session.context_length()
    }

    /// Reads all windows. `begin` is told the number of each; `progress` the part that is done, from 0 to 1.
    pub(super) fn read<O: Observer>(
        &mut self,
        observer: &mut O,
        begin: fn(&mut O, usize),
        progress: &mut dyn FnMut(f64) -> Result<()>,
    ) -> Result<()> {
        let n = self.windows.len() as f64;
        for (i, window) in self.windows.iter().enumerate() {
            progress(i as f64 / n)?;
            begin(observer, i);
            self.session.rewind(0);
            self.session.observe(window, observer)?;
        }
        progress(1.0)
    }
}

/// Sums of the squares of all inputs of matrices.
pub(super) struct Moments(BTreeMap<Place, Vec<f64>>);

impl Moments {
    /// Of nothing yet: the matrices of a network.
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
pub(super) fn place(spec: &TensorSpec) -> Option<Place> {
    columns(spec)?;
    spec.reads.iter().find(|(_, reading)| *reading == Reading::Whole).map(|(op, _)| (spec.layer, *op))
}

/// The columns of a matrix.
pub(super) fn columns(spec: &TensorSpec) -> Option<usize> {
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
