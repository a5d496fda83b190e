//! Where each tensor of a plan comes from.

use std::collections::{HashMap, HashSet};

use whit::error::{Error, Result, listed, printable};
use whit::model::spec::{Part, TensorSpec};
use whit::model::{Config, tensors};
use whit::quant::Dtype;

use super::dtypes::Dtypes;
use super::scales::Scales;
use crate::families::{Origin, Transform};
use crate::source::Checkpoint;

/// A tensor of the table with the source tensor that it is read from.
pub(super) struct Planned {
    pub(super) spec: TensorSpec,
    /// The numbers of the source tensors whose elements follow one another; none: all elements are 0 before they are transformed.
    pub(super) tensors: Vec<usize>,
    pub(super) transform: Transform,
    pub(super) dtype: Dtype,
    /// Its weights lie on the grid of that type, which holds them as they are.
    pub(super) on_grid: bool,
    /// What its rows and columns are multiplied by before they are stored.
    pub(super) scales: Scales,
}

impl Planned {
    /// Reads elements of the source tensors from a given number on.
    pub(super) fn elements<'s>(&self, source: &'s Checkpoint) -> Result<impl Fn(u64, &mut [f32]) -> Result<()> + 's> {
        let of = |tensor: &usize| Ok((source.tensors[*tensor].elements(), source.reader(*tensor)?));
        let readers = self.tensors.iter().map(of).collect::<Result<Vec<_>>>()?;
        Ok(move |mut start: u64, mut out: &mut [f32]| {
            let Some(((_, last), before)) = readers.split_last() else {
                out.fill(0.0);
                return Ok(());
            };
            for (elements, reader) in before {
                let n = elements.saturating_sub(start).min(out.len() as u64);
                let (now, later) = std::mem::take(&mut out).split_at_mut(n as usize);
                if n > 0 {
                    reader.read(start, now)?;
                }
                (start, out) = (start.saturating_sub(*elements), later);
            }
            last.read(start, out)
        })
    }
}

/// Finds the source of every tensor; refuses missing, misshapen and left-over tensors, all in one message.
pub(super) fn plan(source: &Checkpoint, dtypes: &Dtypes) -> Result<Vec<Planned>> {
    let config = &source.config;
    let by_name: HashMap<&str, usize> = source.tensors.iter().enumerate().map(|(i, t)| (t.name.as_str(), i)).collect();
    // Of a name with a number of a head in it, the tensors of all heads.
    let found = |name: &str| -> Vec<usize> {
        let numbered = |head: usize| by_name.get(name.replace("{h}", &head.to_string()).as_str()).copied();
        let n = if name.contains("{h}") { usize::MAX } else { 1 };
        (0..n).map_while(numbered).collect()
    };
    let mut planned = Vec::new();
    let mut used: HashSet<usize> = HashSet::new();
    let mut problems = Vec::new();
    for spec in tensors(config) {
        let origin = |spec: &TensorSpec| source.family.origin(config, spec, source.layout);
        let is_there = |origin: &Origin| !found(&origin.name).is_empty();
        // Where the branches of a block have one norm, it has the name of the first.
        let first = || shared_norm(config, &spec).and_then(|norm| origin(&norm)).filter(is_there);
        let own = origin(&spec);
        let origin = if own.as_ref().is_some_and(is_there) { own } else { first().or(own) };
        let Some(Origin { name, transform }) = origin else {
            problems.push(format!("{} has no name in {} checkpoints", spec.name, source.family.model_type));
            continue;
        };
        let tensors = found(&name);
        used.extend(&tensors);
        match &tensors[..] {
            [] if (source.family.zeros)(&spec) => {}
            [] if spec.part == Part::Unembedding => {
                let hint = "where the embedding stands for it, tie_word_embeddings is true";
                problems.push(format!("missing {name}: {hint}"));
            }
            [] => problems.push(format!("missing {name}")),
            several => {
                let (got, want) = (together(source, several), transform.source_dims(spec.shape));
                if got != want {
                    problems.push(format!("{name} has shape {got:?}, not {want:?}"));
                }
            }
        }
        let dtype = dtypes.of(spec.role);
        let (factor, row_factors) = (source.factor(&spec), source.row_factors(&spec));
        let transform = Transform { factor, row_factors, ..transform };
        planned.push(Planned { spec, tensors, transform, dtype, on_grid: false, scales: Scales::default() });
    }
    let left_over = source.tensors.iter().enumerate().filter(|(i, _)| !used.contains(i));
    problems.extend(left_over.map(|(_, t)| format!("left over: {}", printable(&t.name))));
    if problems.is_empty() {
        return Ok(planned);
    }
    let hint = "the checkpoint does not fit its own configuration: take weights and configuration from one place";
    Err(Error::data(listed(&problems)).field("tensors").hint(hint))
}

/// The shape of some tensors whose elements follow one another: of several, it is a vector.
fn together(source: &Checkpoint, tensors: &[usize]) -> Vec<u64> {
    match tensors {
        [one] => source.tensors[*one].shape.clone(),
        several => vec![several.iter().map(|tensor| source.tensors[*tensor].elements()).sum()],
    }
}

/// The norm of what the mixer reads, where the MLP reads the same and `spec` is of its norm.
fn shared_norm(config: &Config, spec: &TensorSpec) -> Option<TensorSpec> {
    let parallel = spec.part == Part::MlpNorm && config.layers[spec.layer?].parallel;
    parallel.then(|| TensorSpec { part: Part::AttentionNorm, ..spec.clone() })
}
