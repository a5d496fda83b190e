//! The weights of a Hugging Face directory: safetensors or PyTorch's files, one of them or shards with an index.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use whit::error::{Error, Kind, Result, listed, moves_cursor, printable};

use super::files::{check_link, optional, with_object};
use crate::families::Family;
use crate::source::json::Value;
use crate::source::lora::config;
use crate::source::safetensors;
use crate::source::source_file::SourceFile;
use crate::source::tensor::{Location, MAX_TENSORS, SourceTensor, check_name};
use crate::source::torch;

/// Bytes of an index, at most.
const MAX_INDEX: u64 = 64 << 20;
const MAX_SHARDS: usize = 1024;

/// A form in which the weights of a directory are stored.
pub(in crate::source) struct Form {
    pub(in crate::source) single: &'static str,
    /// The index of shards.
    pub(in crate::source) index: &'static str,
    /// What the names of shards end with.
    pub(in crate::source) end: &'static str,
}

/// How the weights of a directory are stored, and named.
pub(in crate::source) struct Forms {
    /// In the order in which they are looked for.
    pub(in crate::source) forms: &'static [Form],
    /// The name in the family's table of a tensor.
    pub(in crate::source) rename: fn(&str) -> String,
    /// Where there is none of the forms, one file of PyTorch's is taken for it.
    pub(in crate::source) any_name: bool,
}

/// As transformers has them.
pub(in crate::source) const OF_TRANSFORMERS: Forms = Forms {
    forms: &[
        Form { single: "model.safetensors", index: "model.safetensors.index.json", end: ".safetensors" },
        Form { single: "pytorch_model.bin", index: "pytorch_model.bin.index.json", end: ".bin" },
    ],
    rename: str::to_string,
    any_name: true,
};
/// What the names of PyTorch's files end with where they have no name of their own.
const OF_TORCH: [&str; 3] = [".pth", ".pt", ".bin"];
/// What the names of those begin with that training programs write beside the weights.
const OF_TRAINING: [&str; 5] = ["training_args", "optimizer", "scheduler", "rng_state", "adapter_model"];

/// Tensors, and where they lie.
pub(in crate::source) type Weights = (Vec<SourceTensor>, Vec<Location>);

/// What is read of the weights so far.
struct Reading<'r> {
    family: &'r Family,
    /// Modules whose tensors are left out.
    left_out: &'r [&'r str],
    /// Matrices of bytes are packed.
    packed: bool,
    rename: fn(&str) -> String,
    files: &'r mut Vec<SourceFile>,
    notes: &'r mut Vec<String>,
    weights: Weights,
}

impl Reading<'_> {
    /// Adds all tensors of a file; returns their names as they are in the file.
    fn add(&mut self, file: SourceFile) -> Result<Vec<String>> {
        let (family, left_out, rename) = (self.family, self.left_out, self.rename);
        let ignored = |name: &str| ignores(family, left_out, &rename(name));
        let parsed = if torch::is_torch(&file.map) {
            torch::parse(&file.map, ignored, self.notes)
        } else {
            safetensors::parse(&file.map, ignored, self.packed)
        };
        let mut names = Vec::new();
        for entry in parsed.map_err(|e| file.error(e))? {
            names.push(entry.name.clone());
            let (tensor, location) = entry.placed(self.files.len());
            self.weights.0.push(tensor);
            self.weights.1.push(location);
        }
        self.files.push(file);
        Ok(names)
    }
}

/// Reads where the tensors of the directory lie, and gives them the names of the family's table. Those of modules that are left
/// out are not read. Matrices may be `packed`, four rows in one.
pub(in crate::source) fn read(
    dir: &Path,
    (family, left_out, packed): (&Family, &[&str], bool),
    forms: &Forms,
    files: &mut Vec<SourceFile>,
    notes: &mut Vec<String>,
) -> Result<Weights> {
    let rename = forms.rename;
    let mut reading = Reading { family, left_out, packed, rename, files, notes, weights: Default::default() };
    find(dir, forms, &mut reading)?;
    let mut weights = reading.weights;
    let names = weights.0.iter().map(|t: &SourceTensor| rename(&t.name)).collect();
    let mut names = family.normalize(names);
    weights.0.iter_mut().zip(&names).for_each(|(tensor, name)| tensor.name.clone_from(name));
    names.sort_unstable();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        let error = Error::data("appears twice, with and without prefix").field(format!("tensor \"{}\"", pair[0]));
        return Err(error.in_file(dir.display().to_string()));
    }
    Ok(weights)
}

/// Reads the first form of weights that the directory has.
fn find(dir: &Path, Forms { forms, any_name, .. }: &Forms, reading: &mut Reading<'_>) -> Result<()> {
    let names: Vec<&str> = forms.iter().flat_map(|form| [form.single, form.index]).collect();
    for form in *forms {
        let found = if let Some(file) = optional(dir, form.single, u64::MAX)? {
            reading.add(file)?;
            form.single
        } else if let Some(index) = optional(dir, form.index, MAX_INDEX)? {
            shards(dir, index, form, reading)?;
            form.index
        } else {
            continue;
        };
        let others: Vec<_> = names.iter().filter(|name| **name != found && dir.join(name).exists()).collect();
        if let Some(other) = others.first() {
            reading.notes.push(format!("both {found} and {other} are present: {found} is used"));
        }
        if dir.join(config::CONFIG).exists() {
            let adapter = config::CONFIG;
            reading
                .notes
                .push(format!("{adapter} lies beside the weights: that adapter is merged where --lora names it"));
        }
        return Ok(());
    }
    let others = if *any_name { of_torch(dir) } else { Vec::new() };
    match &others[..] {
        [name] => {
            if let Some(file) = optional(dir, name, u64::MAX)? {
                reading.notes.push(format!("{name} is taken for the weights: there is no {}", forms[0].single));
                reading.add(file)?;
            }
            Ok(())
        }
        [] => {
            if let Some(error) = config::alone(dir) {
                return Err(error);
            }
            let error = Error::new(Kind::NoInput, format!("neither {} nor {}", names[..3].join(" nor "), names[3]));
            let error = error.in_file(dir.display().to_string());
            let single = forms[0].single;
            Err(error.hint(format!(
                "the directory needs the weights of the whole model as {single}, or in shards with an index"
            )))
        }
        several => {
            let message = format!("several files that may be the weights: {}", listed(several));
            let error = Error::data(message).field("weights").in_file(dir.display().to_string());
            Err(error.hint("give the right one the name pytorch_model.bin"))
        }
    }
}

/// The names of PyTorch's files in the directory, sorted.
fn of_torch(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten().take(10_000);
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let begins = |name: &String| {
        let mut head = [0; 4];
        let read =
            std::fs::File::open(dir.join(name)).and_then(|mut file| std::io::Read::read_exact(&mut file, &mut head));
        read.is_ok() && torch::is_torch(&head)
    };
    let of_training = |name: &str| OF_TRAINING.iter().any(|start| name.starts_with(start));
    let named = |name: &String| {
        !of_training(name) && OF_TORCH.iter().any(|end| is_base_name(name, end)) && dir.join(name).is_file()
    };
    let mut names: Vec<String> = names.filter(named).filter(begins).collect();
    names.sort_unstable();
    names
}

/// Adds the shards that the index names, and holds the index against them.
fn shards(dir: &Path, index: SourceFile, form: &Form, out: &mut Reading<'_>) -> Result<()> {
    let map = with_object(&index, |object| weight_map(object, form.end))?;
    let mut problems = Vec::new();
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    let shown = index.path.display().to_string();
    for (shard, tensors) in &map {
        let path = dir.join(shard);
        if std::fs::symlink_metadata(&path).is_err() {
            problems.push(format!("shard {shard} is missing"));
            continue;
        }
        check_link(dir, &path)?;
        let present = out.add(SourceFile::open(&path)?)?;
        let present: BTreeSet<String> = present.into_iter().collect();
        for name in tensors
            .iter()
            .filter(|name| !present.contains(*name) && !ignores(out.family, out.left_out, &(out.rename)(name)))
        {
            problems.push(format!("tensor \"{}\" is not in {shard}", printable(name)));
        }
        for name in present {
            if !tensors.contains(&name) {
                problems.push(format!("{shard} holds \"{}\", which the index does not place there", printable(&name)));
            }
            if let Some(other) = seen.insert(name.clone(), shard) {
                problems.push(format!("tensor \"{}\" is in {other} and in {shard}", printable(&name)));
            }
        }
    }
    if !problems.is_empty() {
        let error = Error::data(listed(&problems)).field("weight_map").in_file(shown);
        return Err(error.hint("the directory is incomplete or mixed: copy it again"));
    }
    out.files.push(index);
    Ok(())
}

/// Nothing of the plan comes from the tensor.
fn ignores(family: &Family, left_out: &[&str], name: &str) -> bool {
    family.ignores(name) || name.split('.').any(|module| left_out.contains(&module))
}

/// The tensors of each shard.
fn weight_map(object: Value<'_>, end: &str) -> Result<BTreeMap<String, BTreeSet<String>>> {
    let field = "weight_map";
    let map = object.get(field).ok_or_else(|| object.error("missing: weight_map", field))?;
    let mut shards: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (n, (tensor, value)) in map.entries(field)?.enumerate() {
        if n == MAX_TENSORS {
            return Err(value.error(format!("more than {MAX_TENSORS} tensors"), field));
        }
        check_name(&tensor).map_err(|message| value.error(message, field))?;
        let shard = value.str(&format!("{field} \"{tensor}\""))?;
        if !is_base_name(&shard, end) {
            let message = format!("\"{}\" is no plain name of a {end} file in this directory", printable(&shard));
            return Err(value.error(message, &format!("{field} \"{tensor}\"")));
        }
        shards.entry(shard.into_owned()).or_default().insert(tensor.into_owned());
        if shards.len() > MAX_SHARDS {
            return Err(value.error(format!("more than {MAX_SHARDS} shards"), field));
        }
    }
    if shards.is_empty() {
        return Err(map.error("no tensors", field));
    }
    Ok(shards)
}

/// True for names that cannot lead out of the directory, on any system.
fn is_base_name(name: &str, end: &str) -> bool {
    let plain = |c: char| !moves_cursor(c) && !matches!(c, '/' | '\\' | ':');
    name.ends_with(end) && !name.starts_with('.') && name.len() <= 255 && name.chars().all(plain)
}
