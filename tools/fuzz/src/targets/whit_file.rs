//! The `.whit` file. Most cases have all their checksums right, so that the rules behind them are met.

use std::sync::OnceLock;

use whit::format::writer::{TensorPlan, Writer};
use whit::format::{Figures, FileKind, Provenance, Quality, SectionId, SourceRecord, TensorErrors};
use whit::model::spec::{self, Shape};
use whit::model::{GenerationDefaults, tensors};
use whit::quant::{Dtype, PANEL_ROWS, encode_panel, panel_bytes};

use super::Target;
use crate::bench::{Bench, Files, Verdict};
use crate::bytes::{odd_text, put_edge, put_word, scramble};
use crate::flat::{self, Parts, Section, Tensor};
use crate::model::{self, Style};
use crate::pieces::{BOS, EOS, Pieces};
use crate::random::Random;

pub(super) struct WhitFile;

/// Valid files that cases start from.
const SEEDS: u64 = 40;
const CONF_WORDS: usize = 14;
const TOKN_WORDS: usize = 12;
const QUAL_WORDS: usize = 40;

impl Target for WhitFile {
    fn name(&self) -> &'static str {
        "whit"
    }

    fn make(&self, random: &mut Random) -> Files {
        let mut parts = random.pick(seeds());
        if random.once_in(2000) {
            inflate(&mut parts, random.within(1000, 60_000));
        }
        for _ in 0..random.below(3) {
            change(&mut parts, random);
        }
        let hash = parts.weights_hash();
        let mut bytes = parts.bytes();
        let sealed = !random.once_in(8);
        if sealed {
            flat::seal(&mut bytes, hash);
        }
        if random.once_in(5) {
            scramble(&mut bytes, random);
            match random.below(4) {
                0 | 1 => flat::seal(&mut bytes, hash),
                2 => flat::seal_front(&mut bytes),
                _ => {}
            }
        }
        vec![("model.whit".to_string(), bytes)]
    }

    fn run(&self, files: &Files, bench: &mut Bench, random: &mut Random) -> Verdict {
        files.iter().try_for_each(|(_, bytes)| bench.open(bytes, random))
    }
}

/// The valid files, made once.
fn seeds() -> &'static [Parts] {
    static MADE: OnceLock<Vec<Parts>> = OnceLock::new();
    MADE.get_or_init(|| (0..SEEDS).filter_map(|seed| seed_file(seed).ok()).collect())
}

/// The bytes of one of the valid files.
pub(super) fn valid(random: &mut Random) -> Vec<u8> {
    let parts = random.pick(seeds());
    let hash = parts.weights_hash();
    let mut bytes = parts.bytes();
    flat::seal(&mut bytes, hash);
    bytes
}

/// A valid file of random shape.
fn seed_file(seed: u64) -> whit::Result<Parts> {
    let mut random = Random::new(seed);
    let pieces = Pieces::new(seed.is_multiple_of(2), &mut random);
    let style = Style::ALL[seed as usize % Style::ALL.len()];
    let vocab_size = pieces.tokens.len() + random.below(2);
    // Some of every style have layers that differ, which the second form of the configuration says.
    let config = match seed % 3 {
        0 => model::varied(vocab_size, &mut random),
        _ => model::config(style, vocab_size, true, &mut random).config(),
    };
    let dtype = random.pick(&Dtype::ALL);
    let generation = GenerationDefaults { temperature: Some(0.8), eos: vec![EOS, BOS], ..Default::default() };
    let source = SourceRecord { name: "model.safetensors".into(), bytes: 1234, hash: [9; 32] };
    let provenance =
        Provenance { converter: "quantize".into(), source_format: "safetensors".into(), sources: vec![source] };
    let mut sections = vec![(SectionId::CONF, config.encode())];
    if !random.once_in(6) {
        sections.push((SectionId::TOKN, pieces.vocabulary(&mut random).build()?));
    }
    sections.push((SectionId::GENR, generation.encode()));
    sections.push((SectionId::TMPL, b"{{ messages }}".to_vec()));
    sections.push((SectionId::PROV, provenance.encode()?));
    sections.push((SectionId::QUAL, report(vocab_size, &mut random).encode()));
    sections.push((SectionId::LICE, "as you like \u{a9}".as_bytes().to_vec()));
    let table = tensors(&config);
    let of = |role: spec::Role| if role.allows(dtype) { dtype } else { role.min_dtype() };
    let plan =
        table.iter().map(|spec| TensorPlan { name: spec.name.clone(), dtype: of(spec.role), dims: spec.shape.dims() });
    let path = std::env::temp_dir().join(format!("whit-fuzz-seed-{}-{seed}.whit", std::process::id()));
    let mut writer = Writer::create(&path, FileKind::LanguageModel, sections, plan.collect(), true)?;
    for spec in &table {
        let (rows, columns) = match spec.shape {
            Shape::Vector(n) => (1, n),
            Shape::Matrix(rows, columns) => (rows, columns),
        };
        let mut values = |n: usize| (0..n).map(|_| random.unit() + 0.25).collect::<Vec<f32>>();
        if matches!(spec.shape, Shape::Vector(_)) {
            writer.write(&values(columns).iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>())?;
        } else {
            let mut panel = vec![0; panel_bytes(of(spec.role), columns)];
            for first in (0..rows).step_by(PANEL_ROWS) {
                encode_panel(of(spec.role), &values(PANEL_ROWS.min(rows - first) * columns), columns, &mut panel);
                writer.write(&panel)?;
            }
        }
        writer.finish_tensor(TensorErrors { rms: 0.001, max: 0.01, signal_rms: 0.3 })?;
    }
    writer.finish()?;
    let parts = std::fs::read(&path).ok().map(|bytes| Parts::of(&bytes));
    let _ = std::fs::remove_file(&path);
    parts.unwrap_or_else(|| Err(whit::Error::data("a seed that is gone")))
}

/// A valid report: two short windows, three outcomes at a position or as many as there are tokens.
fn report(vocab_size: usize, random: &mut Random) -> Quality {
    let (window, outcomes) = (random.within(3, 9), vocab_size.min(3));
    let positions = 2 * Quality::scored(window).len();
    let mut log = || -0.01 - random.unit().abs();
    let logs = (0..positions).flat_map(|_| (0..outcomes).map(|i| -(i as f32) - 0.5));
    Quality {
        numerics: whit::ops::NUMERICS_VERSION,
        window,
        outcomes,
        next: (0..positions).map(|_| log()).collect(),
        rest: vec![-2.0; positions],
        ids: (0..outcomes as u32).collect::<Vec<_>>().repeat(positions),
        logs: logs.collect(),
        figures: Figures { perplexity: 3.0, reference_perplexity: 2.0, mean_kl: 0.1, p99_kl: 0.5, same_top: 1 },
        tokens: (0..2 * window).map(|i| (i % vocab_size) as u32).collect(),
    }
}

fn change(parts: &mut Parts, random: &mut Random) {
    match random.below(17) {
        0..=2 => change_content(parts, b"CONF", CONF_WORDS, random),
        3..=5 => change_content(parts, b"TOKN", TOKN_WORDS, random),
        6 => change_content(parts, b"GENR", 6, random),
        7 => change_content(parts, b"PROV", 2, random),
        8 => change_content(parts, random.pick(&[b"TMPL", b"LICE"]), 1, random),
        16 => change_content(parts, b"QUAL", QUAL_WORDS, random),
        9 => change_weights(parts, random),
        10 | 11 => change_table(&mut parts.sections, random),
        12 => match random.below(4) {
            0 => parts.kind = random.edge(1) as u32,
            1 => parts.minor = random.bits() as u16,
            2 => parts.length = Some(random.edge(parts.bytes().len() as u64)),
            _ => parts.n_tensors = Some(random.edge(parts.tensors.len() as u64) as u32),
        },
        _ => change_directory(&mut parts.tensors, random),
    }
}

/// Changes a number among the first `words` of a section, or anything in it.
fn change_content(parts: &mut Parts, id: &[u8; 4], words: usize, random: &mut Random) {
    let Some(section) = parts.section(id) else { return };
    match random.below(6) {
        0..=2 => put_word(&mut section.content, words, random),
        3 => {
            let at = random.below(section.content.len() / 4 + 1) * 4;
            put_edge(&mut section.content, at, random);
        }
        4 => put_word(&mut section.content, usize::MAX, random),
        _ => scramble(&mut section.content, random),
    }
}

/// Weights that are no numbers, or huge.
fn change_weights(parts: &mut Parts, random: &mut Random) {
    let Some(section) = parts.section(b"WGTS") else { return };
    let at = random.below(section.content.len() / 4 + 1) * 4;
    let n = 4.min(section.content.len() - at);
    let word = match random.below(3) {
        0 => random.float().to_le_bytes(),
        // Halves: NaN, infinity, the largest.
        1 => random.pick(&[[0, 0x7e, 0, 0x7e], [0, 0x7c, 0, 0xfc], [0xff, 0x7b, 0xff, 0xfb]]),
        _ => [0x80; 4],
    };
    section.content[at..at + n].copy_from_slice(&word[..n]);
}

fn change_table(sections: &mut Vec<Section>, random: &mut Random) {
    let at = random.below(sections.len());
    let other = random.below(sections.len());
    if sections.is_empty() {
        return;
    }
    match random.below(9) {
        0 => sections[at].id = random.pick(&[*b"CONF", *b"TOKN", *b"WGTS", *b"XXXX", *b"\x1b[2J", *b"tmpl"]),
        1 => sections[at].flags = random.edge(1) as u32,
        2 | 3 => {
            let multiple = 64 * random.below(40) as u64;
            sections[at].offset = Some(random.edge(multiple));
        }
        4 | 5 => sections[at].length = Some(random.edge(sections[at].content.len() as u64)),
        6 => drop(sections.remove(at)),
        7 => sections.insert(other, sections[at].clone()),
        _ => sections.swap(at, other),
    }
}

fn change_directory(tensors: &mut Vec<Tensor>, random: &mut Random) {
    if tensors.is_empty() {
        return;
    }
    let at = random.below(tensors.len());
    let other = random.below(tensors.len());
    let tensor = &mut tensors[at];
    match random.below(13) {
        0 => tensor.name = odd_text(random).into_bytes(),
        1 => scramble(&mut tensor.name, random),
        2 => tensor.dtype = random.edge(u64::from(tensor.dtype)) as u32 % random.pick(&[4, u32::MAX]),
        3 => tensor.dims.resize(random.below(4), 1),
        4 => {
            let at = random.below(tensor.dims.len());
            tensor.dims.iter_mut().skip(at).take(1).for_each(|dim| *dim = random.edge(*dim));
        }
        5 => tensor.dims.reverse(),
        6 => tensor.offset = random.edge(tensor.offset),
        7 => tensor.length = random.edge(tensor.length),
        8 => tensor.hash[random.below(32)] ^= 1,
        9 => tensor.errors[random.below(3)] = random.float(),
        10 => {
            let name = tensors[other].name.clone();
            tensors[at].name = name;
        }
        11 => drop(tensors.remove(at)),
        _ => {
            // Names change places: shapes that do not fit, or weights of another layer.
            let (a, b) = (tensors[at].name.clone(), tensors[other].name.clone());
            (tensors[at].name, tensors[other].name) = (b, a);
        }
    }
}

/// Many tensors, or many layers that are not there.
fn inflate(parts: &mut Parts, n: usize) {
    let Some(last) = parts.tensors.last().cloned() else { return };
    let mut offset = last.offset;
    let vector = |i: usize, offset: u64| Tensor {
        name: format!("t{i}").into_bytes(),
        dtype: 0,
        dims: vec![16],
        offset,
        length: 64,
        ..last.clone()
    };
    parts.tensors.pop();
    for i in 0..n {
        parts.tensors.push(vector(i, offset));
        offset += 64;
    }
    if let Some(section) = parts.section(b"WGTS") {
        section.content.resize(offset as usize, 0);
    }
    if n.is_multiple_of(2)
        && let Some(section) = parts.section(b"CONF")
    {
        section.content[12..16].copy_from_slice(&1024_u32.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_have_both_forms_of_the_configuration() {
        let form = |parts: &Parts| parts.sections.iter().find(|section| section.id == *b"CONF").map(|s| s.content[0]);
        let forms: Vec<u8> = seeds().iter().filter_map(form).collect();
        assert_eq!(forms.len() as u64, SEEDS, "each can be made");
        let count = |form| forms.iter().filter(|other| **other == form).count();
        assert!(count(0) > 4 && count(1) > 10 && count(2) > 10, "{forms:?}");
    }
}
