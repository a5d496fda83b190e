//! model.safetensors, or shards with their index, under a configuration that is sound.

use super::{Target, size};
use crate::bench::{Bench, Bound, Files, Verdict};
use crate::bytes::{put_edge, scramble};
use crate::hub::{Checkpoint, WORDS};
use crate::json::{Json, map, text};
use crate::model;
use crate::random::Random;

pub(super) struct Safetensors;

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

impl Target for Safetensors {
    fn name(&self) -> &'static str {
        "safetensors"
    }

    fn bound(&self) -> Bound {
        Bound::JSON
    }

    fn make(&self, random: &mut Random) -> Files {
        let mut checkpoint = Checkpoint::new(random);
        if random.once_in(8) {
            let extra = map([("format", text("pt"))]);
            checkpoint.header.set("__metadata__", extra);
        }
        for _ in 0..random.below(3) {
            checkpoint.header.change(WORDS, random);
        }
        if random.once_in(6) {
            let at = random.below(checkpoint.data.len() + 1);
            let n = 4.min(checkpoint.data.len() - at);
            checkpoint.data[at..at + n].copy_from_slice(&random.float().to_le_bytes()[..n]);
        }
        if random.once_in(2000) {
            checkpoint.header.inflate(random.within(1000, 70_000), random);
            checkpoint.data.extend(model::floats(1 << 20, 4, random));
        }
        let mut files = checkpoint.files(random);
        if random.once_in(8) {
            shard(&mut files, &checkpoint, random);
        }
        let at = random.pick(&[0, 0, 1]);
        let weights = files.iter_mut().filter(|(name, _)| name.ends_with(".safetensors")).nth(at);
        if let Some((_, bytes)) = weights {
            match random.below(12) {
                0 => put_edge(bytes, 0, random),
                1 | 2 => scramble(bytes, random),
                _ => {}
            }
        }
        files
    }

    fn run(&self, files: &Files, bench: &mut Bench, random: &mut Random) -> Verdict {
        let path = bench.checkpoint(files, None)?;
        bench.convert(&path, size(files), random)
    }
}

/// Takes the tensors apart into two shards and an index.
fn shard(files: &mut Files, whole: &Checkpoint, random: &mut Random) {
    let Json::Map(entries) = &whole.header else { return };
    let mut index = Vec::new();
    let mut shards = [Vec::new(), Vec::new()];
    for (name, entry) in entries {
        let side = random.below(2);
        let shard = if side == 0 { "a.safetensors" } else { "b.safetensors" };
        index.push((name.clone(), text(shard)));
        shards[side].push((name.clone(), entry.clone()));
    }
    files.retain(|(name, _)| name != SINGLE);
    for (name, entries) in ["a.safetensors", "b.safetensors"].into_iter().zip(shards) {
        let (header, data) = packed(entries, &whole.data);
        let part =
            Checkpoint { config: Json::Null, generation: None, header, data, tokenizer: None, tokenizer_config: None };
        files.push((name.to_string(), part.weights(random)));
    }
    let mut document = map([("weight_map", Json::Map(index))]);
    if random.once_in(3) {
        document.change(&["a.safetensors", "b.safetensors", "../a.safetensors", "weight_map", "x"], random);
    }
    files.push((INDEX.to_string(), document.bytes(random)));
}

/// The entries of a shard, its data without gaps.
fn packed(mut entries: Vec<(String, Json)>, whole: &[u8]) -> (Json, Vec<u8>) {
    let mut data = Vec::new();
    for (_, entry) in &mut entries {
        let Some(Json::List(offsets)) = entry.entry("data_offsets") else { continue };
        let [Json::Number(start), Json::Number(end)] = &mut offsets[..] else { continue };
        let place = |digits: &str| digits.parse::<usize>().unwrap_or(0).min(whole.len());
        let (first, last) = (place(start), place(end));
        *start = data.len().to_string();
        data.extend(whole.get(first..last).unwrap_or_default());
        *end = data.len().to_string();
    }
    (Json::Map(entries), data)
}
