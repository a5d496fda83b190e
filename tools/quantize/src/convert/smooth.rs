//! Smooths what integer products read. Inputs are rounded in groups of 32 by their largest, so a column of large inputs costs the others
//! their precision. Dividing it by a power of two, and multiplying the column of the weights by the same, changes nothing but that.
//! The division is done to what makes the inputs: the gain and the bias of a norm, or rows of a matrix; so it takes no time later.

mod samples;
mod search;
#[cfg(test)]
mod tests;

use rayon::prelude::*;
use whit::error::Result;
use whit::model::spec::{Part, Shape, TensorSpec};
use whit::model::{Activation, Config, Layer, Mixer, Op};
use whit::quant::{Dtype, GROUP_SIZE, PANEL_ROWS};

use super::dtypes::in_groups;
use super::planned::Planned;
use crate::source::Checkpoint;
use samples::Place;
pub(super) use samples::Samples;
use search::{Group, column, padded, power};

/// Rows of the matrices of a place that are looked at, about.
const ROWS: usize = 1024;
/// What the search for best scales of weights leaves of the squared error of plain ones.
const SEARCHED: f32 = 0.8;
/// Values this many times as large must still be ones that a tensor can hold.
const ROOM: f32 = 65536.0;

/// A place whose inputs can be scaled.
struct Fold {
    place: Place,
    /// What makes the inputs: its weight and its bias are divided, row by row.
    makes: Part,
    /// The matrices there, whose columns are multiplied.
    reads: &'static [Part],
}

/// The places of a network whose inputs can be scaled: those after a norm, and those after a matrix through a function that lets a
/// positive factor through. An embedding that is the unembedding, too, cannot take a factor, as it would be in the token vectors.
fn folds(config: &Config) -> Vec<Fold> {
    let blocks = config.layers.iter().enumerate().flat_map(|(i, layer)| block_folds(i, layer));
    let head = Fold { place: (None, Op::Unembedding), makes: Part::FinalNorm, reads: &[Part::Unembedding] };
    blocks.chain((!config.tied).then_some(head)).collect()
}

/// What reads the normed input of a state space.
const STATE_SPACE: [Part; 3] = [Part::ScanGate, Part::ScanInner, Part::ScanStep];
/// The same with an attention beside it.
const WITH_STATE_SPACE: [Part; 7] = {
    let [a, b, c] = STATE_SPACE;
    [Part::Query, Part::Key, Part::Value, Part::OutputGate, a, b, c]
};

fn block_folds(number: usize, layer: &Layer) -> impl Iterator<Item = Fold> {
    let fold = |op, makes, reads| Fold { place: (Some(number), op), makes, reads };
    let (op, mixer): (Op, &[Part]) = match layer.mixer {
        Mixer::Attention(_) if layer.beside.is_some() => (Op::Qkv, &WITH_STATE_SPACE),
        Mixer::Attention(_) => (Op::Qkv, &[Part::Query, Part::Key, Part::Value, Part::OutputGate]),
        Mixer::ShortConv(_) => (Op::ConvInput, &[Part::ConvInput]),
        Mixer::DeltaNet(_) => {
            (Op::DeltaInput, &[Part::DeltaQkv, Part::DeltaGate, Part::DeltaStrength, Part::DeltaDecay])
        }
        Mixer::Mamba2(_) | Mixer::Mamba1(_) => (Op::ScanInput, &STATE_SPACE),
    };
    let (gated, has_mlp) = (layer.mlp.kind.gated, layer.mlp.hidden_dim > 0);
    let first: &[Part] = if gated { &[Part::Gate, Part::Up] } else { &[Part::Up] };
    // activation(gate) * up and relu(up) of a part of up are that part of them.
    let homogeneous = gated || layer.mlp.kind.activation == Activation::Relu;
    let before_down = match layer.mlp.inner_norm {
        true => Some(Part::HiddenNorm),
        false => homogeneous.then_some(Part::Up),
    };
    let before_output = layer.attention().filter(|attention| attention.inner_norm).map(|_| Part::HeadsNorm);
    [
        layer.mixer_norms.input.then(|| fold(op, Part::AttentionNorm, mixer)),
        layer.mlp_norms.input.then(|| fold(Op::GateUp, Part::MlpNorm, first)),
        before_output.map(|makes| fold(Op::Output, makes, &[Part::Output])),
        before_down.filter(|_| has_mlp).map(|makes| fold(Op::Down, makes, &[Part::Down])),
    ]
    .into_iter()
    .flatten()
}

impl Fold {
    /// The tensor is divided.
    fn makes(&self, spec: &TensorSpec) -> bool {
        spec.layer == self.place.0 && spec.part == self.makes
    }

    /// The tensor is a matrix that is multiplied.
    fn reads(&self, spec: &TensorSpec) -> bool {
        spec.layer == self.place.0 && self.reads.contains(&spec.part) && !spec.is_bias
    }

    /// Inputs of a token; `None` where a matrix of the fold does not multiply integers, has one scale for all of a row, or weights on a
    /// grid that would be left.
    fn cols(&self, planned: &[Planned]) -> Option<usize> {
        let matrices = planned.iter().filter(|p| self.reads(&p.spec) || (self.makes(&p.spec) && is_matrix(&p.spec)));
        let integers = matrices.clone().all(|p| in_groups(p.dtype) && !p.on_grid);
        let read = matrices.clone().find(|p| self.reads(&p.spec)).filter(|_| integers)?;
        match read.spec.shape {
            Shape::Matrix(_, cols) => Some(cols),
            Shape::Vector(_) => None,
        }
    }
}

fn is_matrix(spec: &TensorSpec) -> bool {
    matches!(spec.shape, Shape::Matrix(..))
}

/// What to look at in a text before inputs are smoothed; nothing where no place has matrices of integers alone.
pub(super) fn wanted(config: &Config, planned: &[Planned]) -> Samples {
    let folds = folds(config);
    Samples::new(folds.iter().filter_map(|fold| Some((fold.place, fold.cols(planned)?))))
}

/// Gives the tensors of `planned` the scales that make the errors of integer products least on what `samples` has seen; `progress` is
/// told the part that is done, from 0 to 1.
pub(super) fn smooth(
    source: &Checkpoint,
    planned: &mut [Planned],
    samples: &Samples,
    progress: &mut dyn FnMut(f64) -> Result<()>,
) -> Result<()> {
    let folds = folds(&source.config);
    for (i, fold) in folds.iter().enumerate() {
        progress(i as f64 / folds.len() as f64)?;
        if let Some(scales) = fold.scales(source, planned, samples)? {
            fold.apply(planned, &scales);
        }
    }
    Ok(())
}

impl Fold {
    /// Divides what makes the inputs and multiplies the columns of the matrices by `scales`, (cols), powers of two.
    fn apply(&self, planned: &mut [Planned], scales: &[f32]) {
        for p in planned {
            if self.makes(&p.spec) {
                p.scales.rows = scales.iter().map(|scale| 1.0 / scale).collect();
            } else if self.reads(&p.spec) {
                p.scales.cols = scales.to_vec();
            }
        }
    }

    /// The scale of each column; `None` where there is nothing to go by, or a value is too large to be scaled.
    fn scales(&self, source: &Checkpoint, planned: &[Planned], samples: &Samples) -> Result<Option<Vec<f32>>> {
        let Some(cols) = self.cols(planned) else { return Ok(None) };
        let inputs = samples.at(self.place);
        let (mut weights, mut rows) = (Vec::new(), Vec::new());
        let n_rows: usize =
            planned.iter().filter(|p| self.reads(&p.spec)).map(|p| p.spec.shape.dims()[0] as usize).sum();
        let step = n_rows.div_ceil(ROWS);
        for p in planned.iter().filter(|p| self.reads(&p.spec) || self.makes(&p.spec)) {
            let step = if self.reads(&p.spec) { Some(step) } else { None };
            if !look(source, p, step, &mut weights)? {
                return Ok(None);
            }
            rows.resize(weights.len() / cols, weight_steps(p.dtype));
        }
        let rows = padded(rows);
        let norms: Vec<f32> = (0..cols).map(|j| column(&weights, cols, j).iter().map(|w| w * w).sum()).collect();
        // Each token counts as a part of what it puts out.
        let output = |x: &[f32]| x.iter().zip(&norms).map(|(x, norm)| x * x * norm).sum::<f32>();
        let counts = inputs.chunks_exact(cols).map(|x| 1.0 / output(x)).map(|c| if c.is_normal() { c } else { 0.0 });
        let tokens = padded(counts.collect());
        if !inputs.iter().all(|x| x.is_finite()) || tokens.iter().all(|counts| *counts == 0.0) {
            return Ok(None);
        }
        let groups: Vec<usize> = (0..cols).step_by(GROUP_SIZE).collect();
        let exponents = groups.par_iter().flat_map_iter(|first| {
            let columns = *first..cols.min(first + GROUP_SIZE);
            let of = |matrix: &[f32]| columns.clone().map(|j| column(matrix, cols, j)).collect();
            Group { inputs: of(inputs), weights: of(&weights), rows: &rows, tokens: &tokens }.exponents()
        });
        Ok(Some(exponents.map(power).collect()))
    }
}

/// The square of how many steps of inputs, 127 to the largest, a step of weights is where magnitudes are alike.
fn weight_steps(dtype: Dtype) -> f32 {
    let largest = ((1_u32 << (dtype.format().bits - 1)) - 1) as f32;
    SEARCHED * (127.0 / largest) * (127.0 / largest)
}

/// Whether all values of a tensor can be scaled. Of a matrix magnitudes are added to `kept`, (rows, cols): one panel of so many rows of
/// panels that `step` says; none where it is `None`.
fn look(source: &Checkpoint, p: &Planned, step: Option<usize>, kept: &mut Vec<f32>) -> Result<bool> {
    let read = p.elements(source)?;
    let limit = p.dtype.format().max_weight / ROOM;
    match p.spec.shape {
        Shape::Vector(n) => {
            let mut values = vec![0.0; n];
            p.transform.read_vector(&mut values, &read)?;
            Ok(values.iter().all(|x| x.abs() <= limit))
        }
        Shape::Matrix(rows, cols) => {
            let look = |panel: usize| -> Result<Option<Vec<f32>>> {
                let first = panel * PANEL_ROWS;
                let mut values = vec![0.0; PANEL_ROWS.min(rows - first) * cols];
                p.transform.read_rows((rows, cols), first, &mut values, &read)?;
                values.iter_mut().for_each(|x| *x = x.abs());
                let fits = values.iter().all(|x| *x <= limit);
                values.truncate(if step.is_some_and(|step| panel.is_multiple_of(step)) { values.len() } else { 0 });
                Ok(fits.then_some(values))
            };
            let panels = (0..rows.div_ceil(PANEL_ROWS)).into_par_iter().map(look).collect::<Result<Vec<_>>>()?;
            let Some(panels) = panels.into_iter().collect::<Option<Vec<_>>>() else { return Ok(false) };
            panels.iter().for_each(|values| kept.extend(values));
            Ok(true)
        }
    }
}
