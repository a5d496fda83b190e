//! Low-rank adapters (Hu et al. 2021) as PEFT saves them: `W + scale * B A` in place of W. What an adapter saves whole, as modules
//! that were trained beside it, takes the place of the base model's.

pub(in crate::source) mod config;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use whit::error::{Error, Kind, Result, printable};
use whit::model::spec::Part;
use whit::model::tensors;

use crate::source::checkpoint::{Checkpoint, Merge};
use crate::source::hf::files::{optional, with_object};
use crate::source::safetensors;
use crate::source::tensor::{Entry, Location, SourceTensor};
use crate::source::torch;
use config::{CONFIG, ELSEWHERE, LoraConfig};

/// The files that an adapter's tensors may be in, in the order in which they are looked for.
const WEIGHTS: [&str; 2] = ["adapter_model.safetensors", "adapter_model.bin"];

/// The matrices of a module, by their numbers among the adapter's tensors.
#[derive(Debug, Default)]
struct Pair {
    a: Option<usize>,
    b: Option<usize>,
    magnitude: Option<usize>,
    of_embedding: bool,
}

/// What a name says of a tensor of an adapter.
#[derive(Debug, PartialEq)]
enum Meaning {
    /// A or B of a module, perhaps of an embedding.
    Factor { module: String, is_a: bool, of_embedding: bool },
    /// The lengths of the weights of a module's outputs.
    Magnitude(String),
    /// It takes the place of a tensor of the base model.
    Whole(String),
    /// A copy of what the base model has.
    Copy,
    /// Nothing that can be merged.
    Unknown,
}

/// Merges the adapter in `dir`, times `strength`, into `source`.
pub(in crate::source) fn apply(source: &mut Checkpoint, dir: &Path, strength: f64) -> Result<()> {
    let shown = dir.display().to_string();
    if !dir.is_dir() {
        let error = Error::new(Kind::NoInput, "no directory of an adapter").in_file(shown);
        return Err(error.hint(format!("--lora takes a directory with {CONFIG} and {}", WEIGHTS[0])));
    }
    let Some(config) = config::file(dir)? else {
        let error = Error::new(Kind::NoInput, format!("no {CONFIG}: not an adapter of PEFT"));
        return Err(error.in_file(shown));
    };
    let settings = with_object(&config, LoraConfig::parse)?;
    let mut weights = None;
    for name in WEIGHTS {
        weights = weights.or(optional(dir, name, u64::MAX)?);
    }
    let Some(weights) = weights else {
        let error = Error::new(Kind::NoInput, format!("neither {} nor {}", WEIGHTS[0], WEIGHTS[1]));
        return Err(error.in_file(shown).hint("copy the whole directory of the adapter"));
    };
    let parsed = if torch::is_torch(&weights.map) {
        torch::parse(&weights.map, |_| false, &mut source.notes)
    } else {
        safetensors::parse(&weights.map, |_| false, false)
    };
    let entries = parsed.map_err(|e| weights.error(e))?;
    let file = source.files.len() + 1;
    Adapter { settings: &settings, strength, entries, file }.merge(source).map_err(|e| weights.error(e))?;
    source.notes.extend(settings.notes);
    source.files.extend([config, weights]);
    Ok(())
}

struct Adapter<'s> {
    settings: &'s LoraConfig,
    strength: f64,
    entries: Vec<Entry>,
    /// The number that the file of the tensors has among those of the checkpoint.
    file: usize,
}

impl Adapter<'_> {
    fn merge(self, source: &mut Checkpoint) -> Result<()> {
        let mut pairs: BTreeMap<String, Pair> = BTreeMap::new();
        let mut whole = Vec::new();
        for (i, entry) in self.entries.iter().enumerate() {
            match meaning(&entry.name) {
                Meaning::Factor { module, is_a, of_embedding } => {
                    let pair = pairs.entry(module).or_default();
                    pair.of_embedding |= of_embedding;
                    *(if is_a { &mut pair.a } else { &mut pair.b }) = Some(i);
                }
                Meaning::Magnitude(module) if self.settings.dora => {
                    pairs.entry(module).or_default().magnitude = Some(i);
                }
                Meaning::Whole(name) => whole.push((name, i)),
                Meaning::Copy => {}
                Meaning::Magnitude(_) | Meaning::Unknown => {
                    return Err(self.error(i, "is of no low-rank adapter").hint(ELSEWHERE));
                }
            }
        }
        let base = Base::of(source);
        let mut replaced = Vec::new();
        for (name, i) in &whole {
            replaced.push((base.place(source, name).map_err(|e| self.named(*i, e))?, *i));
        }
        let mut merges = Vec::new();
        for (module, pair) in &pairs {
            let (Some(a), Some(b)) = (pair.a, pair.b) else {
                let one = pair.a.or(pair.b).or(pair.magnitude).unwrap_or(0);
                let error = self.error(one, "has no counterpart: A and B belong together");
                return Err(error.hint("copy the adapter again"));
            };
            let Place::Tensor(tensor) =
                base.place(source, &format!("{module}.weight")).map_err(|e| self.named(a, e))?
            else {
                let error = self.error(a, "changes the unembedding, for which the embedding of the base model stands");
                return Err(error.hint(ELSEWHERE));
            };
            let merge = self.pair(source, &base, module, (a, b, pair.of_embedding), tensor)?;
            let magnitude = self.magnitude(pair, a, merge.transposed, &source.tensors[tensor].shape)?;
            merges.push((tensor, Merge { magnitude, ..merge }));
        }
        base.check_tied(source, &replaced, &merges)?;
        self.put(source, replaced, merges)
    }

    /// What the pair (A, B) of `module` adds to the base model's tensor of the number `tensor`.
    fn pair(
        &self,
        source: &Checkpoint,
        base: &Base,
        module: &str,
        (a, b, of_embedding): (usize, usize, bool),
        tensor: usize,
    ) -> Result<Merge> {
        let target = &source.tensors[tensor];
        let transposed = of_embedding || base.transposed.get(&target.name).copied().unwrap_or(false);
        let (shape_a, shape_b) = (&self.entries[a].shape, &self.entries[b].shape);
        let (rank, scale) = self.settings.of(module);
        if shape_a.first() != Some(&rank) {
            let message = format!("has shape {shape_a:?}, {CONFIG} says rank {rank}");
            return Err(self.error(a, message).hint("take both files of the adapter from one place"));
        }
        let wanted = match (&target.shape[..], transposed) {
            (&[outputs, inputs], false) | (&[inputs, outputs], true) => [vec![rank, inputs], vec![outputs, rank]],
            _ => {
                let error = self.error(a, format!("{} is no matrix", target.name));
                return Err(error.hint("the adapter is of another model"));
            }
        };
        if [shape_a, shape_b] != [&wanted[0], &wanted[1]] {
            let message = format!(
                "A and B have shapes {shape_a:?} and {shape_b:?}, not {:?} and {:?} of {} in the base model",
                wanted[0], wanted[1], target.name
            );
            return Err(self.error(a, message).hint("the adapter is of another model"));
        }
        let [a, b] = [a, b].map(|i| self.location(i));
        Ok(Merge { a, b, rank: rank as usize, transposed, scale: scale * self.strength, magnitude: None })
    }

    /// Where the lengths of a module's outputs lie, if the adapter sets them; `shape` is the base model's.
    fn magnitude(&self, pair: &Pair, a: usize, transposed: bool, shape: &[u64]) -> Result<Option<Location>> {
        if !self.settings.dora {
            return Ok(None);
        }
        if pair.of_embedding || self.strength != 1.0 {
            let error =
                self.error(a, "use_dora of an embedding, or times another factor than 1, is not merged by quantize");
            return Err(error.hint(ELSEWHERE));
        }
        let Some(magnitude) = pair.magnitude else {
            let error = self.error(a, format!("has no lora_magnitude_vector, but {CONFIG} says use_dora"));
            return Err(error.hint("copy the adapter again"));
        };
        let (found, wanted) = (&self.entries[magnitude].shape, shape[usize::from(transposed)]);
        // Some versions of PEFT have a dimension of 1 beside it.
        if !found.contains(&wanted) || found.iter().product::<u64>() != wanted {
            let error = self.error(magnitude, format!("has shape {found:?}, not [{wanted}]"));
            return Err(error.hint("the adapter is of another model"));
        }
        Ok(Some(self.location(magnitude)))
    }

    fn location(&self, i: usize) -> Location {
        let Entry { start, bytes, encoding, strides, .. } = self.entries[i];
        Location { file: self.file, offset: start, bytes, encoding, strides, factor: 1.0 }
    }

    /// Puts what was found into `source`.
    fn put(&self, source: &mut Checkpoint, replaced: Vec<(Place, usize)>, merges: Vec<(usize, Merge)>) -> Result<()> {
        for (place, i) in replaced {
            let entry = &self.entries[i];
            match place {
                Place::Tensor(tensor) => {
                    let target = &mut source.tensors[tensor];
                    if target.shape != entry.shape {
                        let message = format!(
                            "has shape {:?}, {} in the base model {:?}",
                            entry.shape, target.name, target.shape
                        );
                        return Err(self.error(i, message).hint(ELSEWHERE));
                    }
                    if source.merges.contains_key(&target.name) {
                        let error = self.error(i, "takes the place of what an adapter before it changed");
                        return Err(error.hint("name this adapter first"));
                    }
                    target.dtype = entry.encoding.name();
                    source.locations[tensor] = self.location(i);
                }
                Place::Unembedding(name) => {
                    let Entry { encoding, shape, .. } = entry;
                    let dtype = encoding.name();
                    source.tensors.push(SourceTensor { name, shape: shape.clone(), dtype });
                    source.locations.push(self.location(i));
                }
            }
        }
        for (tensor, merge) in merges {
            source.merges.entry(source.tensors[tensor].name.clone()).or_default().push(merge);
        }
        Ok(())
    }

    fn error(&self, i: usize, message: impl Into<String>) -> Error {
        self.named(i, Error::data(message))
    }

    fn named(&self, i: usize, error: Error) -> Error {
        error.field(format!("tensor \"{}\"", printable(&self.entries[i].name))).at(self.entries[i].start)
    }
}

/// Where a tensor of an adapter belongs in the base model.
#[derive(Debug, PartialEq)]
enum Place {
    /// The tensor of this number.
    Tensor(usize),
    /// The unembedding of this name, where the embedding stands for it.
    Unembedding(String),
}

/// The base model.
struct Base {
    numbers: HashMap<String, usize>,
    /// Whether a matrix is stored as (in, out).
    transposed: HashMap<String, bool>,
    embedding: Option<String>,
    unembedding: Option<String>,
}

impl Base {
    fn of(source: &Checkpoint) -> Self {
        let specs = tensors(&source.config);
        let origins = specs.iter().filter_map(|spec| source.family.origin(&source.config, spec, source.layout));
        let name = |part| source.family.tensor_name(part, None, false, source.layout.naming);
        Base {
            numbers: source.tensors.iter().enumerate().map(|(i, tensor)| (tensor.name.clone(), i)).collect(),
            transposed: origins.map(|origin| (origin.name, origin.transform.transposed)).collect(),
            embedding: name(Part::Embedding),
            unembedding: name(Part::Unembedding),
        }
    }

    /// Where the tensor `name` belongs; what stands before it in the adapter may be less or more than in the base model.
    fn place(&self, source: &Checkpoint, name: &str) -> Result<Place> {
        let ends = name.match_indices('.').map(|(at, _)| &name[at + 1..]);
        for end in [name].into_iter().chain(ends) {
            let found = self.numbers.get(end).or_else(|| self.numbers.get(&format!("{}{end}", source.family.prefix)));
            if let Some(tensor) = found {
                return Ok(Place::Tensor(*tensor));
            }
            if source.config.tied && self.unembedding.as_deref() == Some(end) {
                return Ok(Place::Unembedding(end.to_string()));
            }
        }
        let error = Error::data(format!("the base model has no {}", printable(name)));
        Err(error.hint("the adapter is of another model"))
    }

    /// Where the embedding stands for the unembedding, an adapter changes both by tensors of their own, or none of them.
    fn check_tied(&self, source: &Checkpoint, replaced: &[(Place, usize)], merges: &[(usize, Merge)]) -> Result<()> {
        let of = |wanted: &Option<String>| wanted.as_ref().and_then(|name| self.numbers.get(name)).copied();
        let ends = [of(&self.embedding), of(&self.unembedding)];
        let is = |tensor: usize, end: Option<usize>| end == Some(tensor);
        let merged = merges.iter().any(|(tensor, _)| ends.iter().any(|end| is(*tensor, *end)));
        let one = replaced.iter().any(|(place, _)| matches!(place, Place::Tensor(tensor) if is(*tensor, ends[0])));
        let other = replaced.iter().any(|(place, _)| match place {
            Place::Tensor(tensor) => is(*tensor, ends[1]),
            Place::Unembedding(_) => true,
        });
        if !source.config.tied || !(merged || one != other) {
            return Ok(());
        }
        let error = Error::data("changes the embedding or the unembedding, which are one matrix in the base model");
        Err(error.field("tie_word_embeddings").hint(ELSEWHERE))
    }
}

/// What the name of a tensor says.
fn meaning(name: &str) -> Meaning {
    let name = name.strip_prefix("base_model.model.").unwrap_or(name);
    let parts: Vec<&str> = name.split('.').collect();
    const MARKS: [&str; 8] = [
        "lora_A",
        "lora_B",
        "lora_embedding_A",
        "lora_embedding_B",
        "lora_magnitude_vector",
        "base_layer",
        "modules_to_save",
        "original_module",
    ];
    let Some(at) = parts.iter().position(|part| MARKS.contains(part)) else { return Meaning::Whole(name.into()) };
    let module = parts[..at].join(".");
    // The adapter's own name may stand between.
    let leaf = parts[at + 1..].last().copied();
    let near = parts.len() - at <= 3;
    match (parts[at], leaf) {
        (mark @ ("lora_A" | "lora_B"), Some("weight")) if near => {
            Meaning::Factor { module, is_a: mark == "lora_A", of_embedding: false }
        }
        ("lora_magnitude_vector", _) if near => Meaning::Magnitude(module),
        (mark @ ("lora_embedding_A" | "lora_embedding_B"), _) if near => {
            Meaning::Factor { module, is_a: mark == "lora_embedding_A", of_embedding: true }
        }
        ("base_layer" | "modules_to_save", Some(leaf @ ("weight" | "bias"))) if near => {
            Meaning::Whole(format!("{module}.{leaf}"))
        }
        ("original_module", _) => Meaning::Copy,
        _ => Meaning::Unknown,
    }
}
