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
    /// The number of the source tensor; `None`: there is none, and all elements are 0 before they are transformed.
    pub(super) tensor: Option<usize>,
    pub(super) transform: Transform,
    pub(super) dtype: Dtype,
    /// What its rows and columns are multiplied by before they are stored.
    pub(super) scales: Scales,
}

impl Planned {
    /// Reads elements of the source tensor from a given number on.
    pub(super) fn elements<'s>(&self, source: &'s Checkpoint) -> Result<impl Fn(u64, &mut [f32]) -> Result<()> + 's> {
        let reader = self.tensor.map(|tensor| source.reader(tensor)).transpose()?;
        Ok(move |start: u64, out: &mut [f32]| match &reader {
            Some(reader) => reader.read(start, out),
            None => {
                out.fill(0.0);
                Ok(())
            }
        })
    }
}

/// Finds the source of every tensor; refuses missing, misshapen and left-over tensors, all in one message.
pub(super) fn plan(source: &Checkpoint, dtypes: &Dtypes) -> Result<Vec<Planned>> {
    let config = &source.config;
    let by_name: HashMap<&str, usize> = source.tensors.iter().enumerate().map(|(i, t)| (t.name.as_str(), i)).collect();
    let mut planned = Vec::new();
    let mut used = HashSet::new();
    let mut problems = Vec::new();
    for spec in tensors(config) {
        let origin = |spec: &TensorSpec| source.family.origin(config, spec, source.layout);
        let is_there = |origin: &Origin| by_name.contains_key(origin.name.as_str());
        // Where the branches of a block have one norm, it has the name of the first.
        let first = || shared_norm(config, &spec).and_then(|norm| origin(&norm)).filter(is_there);
        let own = origin(&spec);
        let found = if own.as_ref().is_some_and(is_there) { own } else { first().or(own) };
        let Some(Origin { name, transform }) = found else {
            problems.push(format!("{} has no name in {} checkpoints", spec.name, source.family.model_type));
            continue;
        };
        let tensor = by_name.get(name.as_str()).copied();
        match tensor {
            Some(tensor) => {
                used.insert(tensor);
                let (got, want) = (&source.tensors[tensor].shape, transform.source_dims(spec.shape));
                if *got != want {
                    problems.push(format!("{name} has shape {got:?}, not {want:?}"));
                }
            }
            None if (source.family.zeros)(&spec) => {}
            None if spec.part == Part::Unembedding => {
                let hint = "where the embedding stands for it, tie_word_embeddings is true";
                problems.push(format!("missing {name}: {hint}"));
            }
            None => problems.push(format!("missing {name}")),
        }
        let dtype = dtypes.of(spec.role);
        let transform = Transform { factor: source.factor(&spec), ..transform };
        planned.push(Planned { spec, tensor, transform, dtype, scales: Scales::default() });
    }
    let left_over = source.tensors.iter().enumerate().filter(|(i, _)| !used.contains(i));
    problems.extend(left_over.map(|(_, t)| format!("left over: {}", printable(&t.name))));
    if problems.is_empty() {
        return Ok(planned);
    }
    let hint = "the checkpoint does not fit its own configuration: take weights and configuration from one place";
    Err(Error::data(listed(&problems)).field("tensors").hint(hint))
}

/// The norm of what the mixer reads, where the MLP reads the same and `spec` is of its norm.
fn shared_norm(config: &Config, spec: &TensorSpec) -> Option<TensorSpec> {
    let parallel = spec.part == Part::MlpNorm && config.layers[spec.layer?].parallel;
    parallel.then(|| TensorSpec { part: Part::AttentionNorm, ..spec.clone() })
}
