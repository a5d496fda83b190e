//! pytorch_model.bin as a ZIP archive or in its older form, under a configuration that is sound.

use super::{Target, size};
use crate::bench::{Bench, Bound, Files, Verdict};
use crate::bytes::{put_edge, scramble};
use crate::hub::Checkpoint;
use crate::json::Json;
use crate::random::Random;

pub(super) struct Torch;

impl Target for Torch {
    fn name(&self) -> &'static str {
        "torch"
    }

    fn bound(&self) -> Bound {
        Bound::PICKLE
    }

    fn make(&self, random: &mut Random) -> Files {
        let checkpoint = Checkpoint::new(random);
        let mut files = checkpoint.files(random);
        files.retain(|(name, _)| name != "model.safetensors");
        let storages = storages(&checkpoint, random);
        let older = random.once_in(3);
        let mut weights = if older { legacy(&storages, random) } else { zipped(&storages, random) };
        match random.below(12) {
            0 => scramble(&mut weights, random),
            1 => {
                let at = random.below(weights.len());
                put_edge(&mut weights, at, random);
            }
            // The end of an archive, where its directory is.
            2 => {
                let at = weights.len() - random.within(1, 200).min(weights.len());
                put_edge(&mut weights, at, random);
            }
            _ => {}
        }
        let name = random.pick(&["pytorch_model.bin", "pytorch_model.bin", "x.pth", "model.pt"]);
        files.push((name.to_string(), weights));
        files
    }

    fn run(&self, files: &Files, bench: &mut Bench, random: &mut Random) -> Verdict {
        let path = bench.checkpoint(files, None)?;
        bench.convert(&path, size(files), random)
    }
}

/// A tensor with a storage of its own.
struct Stored {
    name: String,
    kind: &'static str,
    elements: i32,
    shape: Vec<i32>,
    strides: Vec<i32>,
    bytes: Vec<u8>,
}

/// The tensors of the checkpoint, some of them by columns.
fn storages(checkpoint: &Checkpoint, random: &mut Random) -> Vec<Stored> {
    let Json::Map(entries) = &checkpoint.header else { return Vec::new() };
    let numbers = |entry: &Json, key: &str| -> Vec<usize> {
        let Some(Json::List(items)) = entry.clone().entry(key).cloned() else { return Vec::new() };
        let number = |item| if let Json::Number(digits) = item { digits.parse().ok() } else { None };
        items.into_iter().filter_map(number).collect()
    };
    let stored = |(name, entry): &(String, Json)| {
        let kind = match entry.clone().entry("dtype") {
            Some(Json::Text(dtype)) if dtype == "F32" => "FloatStorage",
            Some(Json::Text(dtype)) if dtype == "F16" => "HalfStorage",
            _ => "BFloat16Storage",
        };
        let shape: Vec<i32> = numbers(entry, "shape").iter().map(|n| *n as i32).collect();
        let offsets = numbers(entry, "data_offsets");
        let strides = match shape[..] {
            [rows, _] if random.once_in(4) => vec![1, rows],
            [_, columns] => vec![columns, 1],
            _ => vec![1; shape.len()],
        };
        let bytes = checkpoint.data[offsets[0]..offsets[1]].to_vec();
        Stored { name: name.clone(), kind, elements: shape.iter().product(), shape, strides, bytes }
    };
    entries.iter().map(stored).collect()
}

fn text(text: &str, out: &mut Vec<u8>) {
    out.push(b'X');
    out.extend((text.len() as u32).to_le_bytes());
    out.extend(text.bytes());
}

/// A number, at times a wrong one, as one of the opcodes for it.
fn number(n: i32, random: &mut Random, out: &mut Vec<u8>) {
    let n = if random.once_in(1500) { random.edge(n as u64) as i32 } else { n };
    match n {
        0..=0xff if random.once_in(2) => out.extend([b'K', n as u8]),
        0..=0xffff if random.once_in(2) => {
            out.push(b'M');
            out.extend((n as u16).to_le_bytes());
        }
        _ => {
            out.push(b'J');
            out.extend(n.to_le_bytes());
        }
    }
}

fn numbers(of: &[i32], random: &mut Random, out: &mut Vec<u8>) {
    out.push(b'(');
    of.iter().for_each(|n| number(*n, random, out));
    out.push(b't');
}

/// The pickle of a state dict, now and then with what does not belong there.
fn pickle(storages: &[Stored], random: &mut Random) -> Vec<u8> {
    const ODD: [&[u8]; 12] =
        [b"N", b"\x88", b"(", b"t", b")", b"0", b"q\x01", b"h\x01", b"]", b"}", b"cos\nsystem\n", b"G\0\0\0\0\0\0\0\0"];
    let mut out = b"\x80\x02".to_vec();
    let nested = random.once_in(4);
    if nested {
        out.push(b'}');
        text(random.pick(&["state_dict", "model", "else"]), &mut out);
    }
    out.extend(random.pick(&[&b"}"[..], b"ccollections\nOrderedDict\n)R"]));
    out.push(b'(');
    for (i, stored) in storages.iter().enumerate() {
        text(&stored.name, &mut out);
        let parameter = random.once_in(4);
        if parameter {
            out.extend(b"ctorch._utils\n_rebuild_parameter\n(");
        }
        out.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        text("storage", &mut out);
        out.extend(format!("ctorch\n{}\n", stored.kind).bytes());
        text(&i.to_string(), &mut out);
        text("cpu", &mut out);
        number(stored.elements, random, &mut out);
        out.extend(b"tQ");
        number(0, random, &mut out);
        numbers(&stored.shape, random, &mut out);
        numbers(&stored.strides, random, &mut out);
        out.extend(b"\x89ccollections\nOrderedDict\n)RtR");
        if parameter {
            out.extend(b"\x88ccollections\nOrderedDict\n)RtR");
        }
        if random.once_in(80) {
            out.extend(random.pick(&ODD));
        }
    }
    out.push(b'u');
    if nested {
        out.push(b's');
    }
    if random.once_in(2000) {
        let many = random.within(1000, 300_000);
        let some = random.pick(&ODD);
        out.extend(some.iter().copied().cycle().take(some.len() * many));
    }
    out.push(b'.');
    if random.once_in(8) {
        scramble(&mut out, random);
    }
    out
}

fn zipped(storages: &[Stored], random: &mut Random) -> Vec<u8> {
    let mut entries = vec![("x/data.pkl".to_string(), pickle(storages, random))];
    if random.once_in(2) {
        entries.push(("x/byteorder".into(), b"little".to_vec()));
    }
    entries.extend(storages.iter().enumerate().map(|(i, stored)| (format!("x/data/{i}"), stored.bytes.clone())));
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, bytes) in &entries {
        let header = out.len() as u32;
        let pad = if random.once_in(2) { random.below(64) as u16 } else { 0 };
        let mut shared = vec![0; 12];
        shared.extend([bytes.len() as u32, bytes.len() as u32].iter().flat_map(|n| n.to_le_bytes()));
        shared.extend((name.len() as u16).to_le_bytes());
        out.extend(b"PK\x03\x04\0\0");
        out.extend(&shared);
        out.extend(pad.to_le_bytes());
        out.extend(name.bytes());
        out.extend(vec![b'Z'; pad.into()]);
        out.extend(bytes);
        directory.extend(b"PK\x01\x02\0\0\0\0");
        directory.extend(&shared);
        directory.extend([0; 12]);
        directory.extend(header.to_le_bytes());
        directory.extend(name.bytes());
    }
    let start = out.len() as u64;
    let n = entries.len() as u64;
    out.extend(&directory);
    let wide = random.once_in(3);
    if wide {
        let at = out.len() as u64;
        out.extend(b"PK\x06\x06");
        out.extend([0; 20]);
        out.extend([n, n, directory.len() as u64, start].iter().flat_map(|n| n.to_le_bytes()));
        out.extend(b"PK\x06\x07\0\0\0\0");
        out.extend(at.to_le_bytes());
        out.extend([1, 0, 0, 0]);
    }
    out.extend(b"PK\x05\x06\0\0\0\0");
    out.extend([n as u16, n as u16].iter().flat_map(|n| n.to_le_bytes()));
    out.extend([directory.len() as u32, start as u32].iter().flat_map(|n| n.to_le_bytes()));
    out.extend([0, 0]);
    out
}

fn legacy(storages: &[Stored], random: &mut Random) -> Vec<u8> {
    let mut out = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}".to_vec();
    text("little_endian", &mut out);
    out.extend(b"\x88s.");
    out.extend(pickle(storages, random));
    out.extend(b"\x80\x02](");
    (0..storages.len()).for_each(|i| text(&i.to_string(), &mut out));
    out.extend(b"e.");
    for stored in storages {
        let n = if random.once_in(500) { random.edge(stored.elements as u64) } else { stored.elements as u64 };
        out.extend(n.to_le_bytes());
        out.extend(&stored.bytes);
    }
    out
}
