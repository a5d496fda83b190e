//! GGUF: metadata, tensor descriptions, data.

use whit::model::Uniform;
use whit::tokenizer::TokenKind;

use super::{Target, size};
use crate::bench::{Bench, Bound, Files, Verdict};
use crate::bytes::{odd_text, put_edge, scramble};
use crate::model::{self, Naming, Style};
use crate::pieces::{BOS, EOS, Pieces};
use crate::random::Random;

pub(super) struct Gguf;

const FILE: &str = "model.gguf";
/// ggml's numbers of types: elements and bytes of a block.
const TYPES: [(u32, u64, u64); 13] = [
    (0, 1, 4),
    (1, 1, 2),
    (30, 1, 2),
    (8, 32, 34),
    (2, 32, 18),
    (3, 32, 20),
    (6, 32, 22),
    (7, 32, 24),
    (10, 256, 84),
    (11, 256, 110),
    (12, 256, 144),
    (13, 256, 176),
    (14, 256, 210),
];

impl Target for Gguf {
    fn name(&self) -> &'static str {
        "gguf"
    }

    fn bound(&self) -> Bound {
        Bound::GGUF
    }

    fn make(&self, random: &mut Random) -> Files {
        let pieces = Pieces::new(random.once_in(2), random);
        let style = random.pick(&Style::ALL);
        let mut config = model::config(style, pieces.tokens.len() + random.below(3), true, random);
        if random.once_in(8) {
            // Rows of whole blocks of the larger kinds.
            config.hidden_dim = 256;
        }
        let mut draft = Draft::new(&config, style, &pieces, random);
        if random.once_in(2000) {
            draft.inflate(random.within(1000, 60_000), random);
        }
        for _ in 0..random.below(3) {
            draft.change(random);
        }
        let mut bytes = draft.bytes();
        if random.once_in(4) {
            scramble(&mut bytes, random);
        }
        vec![(FILE.to_string(), bytes)]
    }

    fn run(&self, files: &Files, bench: &mut Bench, random: &mut Random) -> Verdict {
        let path = bench.checkpoint(files, Some(FILE))?;
        bench.convert(&path, size(files), random)
    }
}

/// A key, the number of its value's type, its value.
struct Pair {
    key: Vec<u8>,
    kind: u32,
    value: Vec<u8>,
}

/// A description and the data it means.
struct Tensor {
    name: Vec<u8>,
    /// Innermost first.
    dims: Vec<u64>,
    kind: u32,
    offset: u64,
    data: Vec<u8>,
}

/// A file before it is written.
struct Draft {
    version: u32,
    n_pairs: Option<u64>,
    n_tensors: Option<u64>,
    alignment: u64,
    pairs: Vec<Pair>,
    tensors: Vec<Tensor>,
}

fn text(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u64).to_le_bytes(), bytes].concat()
}

fn list(kind: u32, elements: &[Vec<u8>]) -> Vec<u8> {
    [&kind.to_le_bytes()[..], &(elements.len() as u64).to_le_bytes(), &elements.concat()].concat()
}

impl Draft {
    fn new(config: &Uniform, style: Style, pieces: &Pieces, random: &mut Random) -> Self {
        let alignment = random.pick(&[32, 32, 32, 1, 8, 64]);
        let mut draft = Draft {
            version: random.pick(&[2, 3]),
            n_pairs: None,
            n_tensors: None,
            alignment,
            pairs: Vec::new(),
            tensors: Vec::new(),
        };
        draft.describe(config, style);
        if alignment != 32 {
            draft.word("general.alignment", alignment as u32);
        }
        if !random.once_in(8) {
            draft.vocabulary(pieces);
        }
        draft.weigh(config, style, random);
        draft
    }

    fn pair(&mut self, key: &str, kind: u32, value: Vec<u8>) {
        self.pairs.push(Pair { key: key.as_bytes().to_vec(), kind, value });
    }

    fn word(&mut self, key: &str, value: u32) {
        self.pair(key, 4, value.to_le_bytes().to_vec());
    }

    fn describe(&mut self, c: &Uniform, style: Style) {
        let name = style.in_gguf();
        self.pair("general.architecture", 8, text(name.as_bytes()));
        self.pair("general.name", 8, text("tiny".as_bytes()));
        let mut numbers = vec![
            ("block_count", c.n_layers),
            ("context_length", c.context_length),
            ("embedding_length", c.dim),
            ("feed_forward_length", c.hidden_dim),
            ("attention.head_count", c.n_heads),
            ("attention.head_count_kv", c.n_kv_heads),
        ];
        if style != Style::Gpt2 {
            numbers.extend([("attention.key_length", c.head_dim), ("rope.dimension_count", c.head_dim)]);
            numbers.extend(c.sliding_window.map(|n| ("attention.sliding_window", n)));
        }
        numbers.iter().for_each(|(key, n)| self.word(&format!("{name}.{key}"), *n as u32));
        let (eps, theta) = (1e-5_f32.to_le_bytes().to_vec(), 1e4_f32.to_le_bytes().to_vec());
        if style == Style::Gpt2 {
            self.pair("gpt2.attention.layer_norm_epsilon", 6, eps);
        } else {
            self.pair(&format!("{name}.attention.layer_norm_rms_epsilon"), 6, eps);
            self.pair(&format!("{name}.rope.freq_base"), 6, theta);
        }
    }

    fn vocabulary(&mut self, pieces: &Pieces) {
        let code = |kind| match kind {
            TokenKind::Normal => 1_i32,
            TokenKind::Unknown => 2,
            TokenKind::Control => 3,
            TokenKind::UserDefined => 4,
            TokenKind::Unused => 5,
            TokenKind::Byte => 6,
        };
        let tokens: Vec<_> = pieces.tokens.iter().map(|token| text(token.text.as_bytes())).collect();
        let kinds: Vec<_> = pieces.tokens.iter().map(|token| code(token.kind).to_le_bytes().to_vec()).collect();
        let scores: Vec<_> = pieces.tokens.iter().map(|token| token.score.to_le_bytes().to_vec()).collect();
        self.pair("tokenizer.ggml.model", 8, text(if pieces.byte_level { b"gpt2" } else { b"llama" }));
        self.pair("tokenizer.ggml.tokens", 9, list(8, &tokens));
        self.pair("tokenizer.ggml.token_type", 9, list(5, &kinds));
        if pieces.byte_level {
            let merges = pieces.merges.iter().map(|(left, right)| text(format!("{left} {right}").as_bytes()));
            self.pair("tokenizer.ggml.merges", 9, list(8, &merges.collect::<Vec<_>>()));
            self.pair("tokenizer.ggml.pre", 8, text(b"qwen2"));
        } else {
            self.pair("tokenizer.ggml.scores", 9, list(6, &scores));
            self.word("tokenizer.ggml.unknown_token_id", 0);
        }
        self.word("tokenizer.ggml.bos_token_id", BOS);
        self.word("tokenizer.ggml.eos_token_id", EOS);
        self.pair("tokenizer.ggml.add_bos_token", 7, vec![1]);
        self.pair("tokenizer.chat_template", 8, text(b"{{ messages }}"));
    }

    fn weigh(&mut self, config: &Uniform, style: Style, random: &mut Random) {
        let mut end = 0_u64;
        for (name, mut dims) in model::tensors(config, style, Naming::Gguf) {
            dims.reverse();
            let fitting: Vec<_> = TYPES.into_iter().filter(|(_, length, _)| dims[0].is_multiple_of(*length)).collect();
            let (kind, length, bytes) = random.pick(&fitting);
            let n = dims.iter().product::<u64>() / length;
            let width = if kind == 0 { 4 } else { 2 };
            let mut data = model::floats((n * bytes) as usize / width, width, random);
            data.resize((n * bytes) as usize, 0);
            let offset = end.next_multiple_of(self.alignment);
            end = offset + data.len() as u64;
            self.tensors.push(Tensor { name: name.into_bytes(), dims, kind, offset, data });
        }
    }

    fn change(&mut self, random: &mut Random) {
        let (pair, tensor) = (random.below(self.pairs.len()), random.below(self.tensors.len()));
        match random.below(14) {
            0 => self.n_pairs = Some(random.edge(self.pairs.len() as u64)),
            1 => self.n_tensors = Some(random.edge(self.tensors.len() as u64)),
            2 => self.version = random.edge(3) as u32,
            3 | 4 if pair < self.pairs.len() => drop(self.pairs.remove(pair)),
            5 if pair < self.pairs.len() => {
                let Pair { key, kind, value } = &self.pairs[pair];
                let twice = Pair { key: key.clone(), kind: *kind, value: value.clone() };
                self.pairs.push(twice);
            }
            6..=9 if pair < self.pairs.len() => self.pairs[pair].change(random),
            _ if tensor < self.tensors.len() => {
                if random.once_in(6) {
                    self.tensors.remove(tensor);
                } else {
                    self.tensors[tensor].change(random);
                }
            }
            _ => {}
        }
    }

    /// Metadata, tensors, or a vocabulary with its embedding, of `n` entries.
    fn inflate(&mut self, n: usize, random: &mut Random) {
        match random.below(3) {
            0 => (0..n).for_each(|i| self.pair(&format!("k{i}"), 0, vec![0])),
            1 => {
                let mut offset = self.tensors.last().map_or(0, |last| last.offset + last.data.len() as u64);
                for i in 0..n {
                    offset = offset.next_multiple_of(self.alignment);
                    let name = format!("t{i}").into_bytes();
                    self.tensors.push(Tensor { name, dims: vec![1], kind: 0, offset, data: vec![0; 4] });
                    offset += 4;
                }
            }
            _ => {
                let tokens: Vec<_> = (0..n).map(|i| text(format!("{i:x}").as_bytes())).collect();
                let (kinds, scores) = (vec![vec![1, 0, 0, 0]; n], vec![vec![0; 4]; n]);
                let values =
                    [("tokens", list(8, &tokens)), ("token_type", list(5, &kinds)), ("scores", list(6, &scores))];
                for (key, value) in values {
                    let key = format!("tokenizer.ggml.{key}").into_bytes();
                    self.pairs.iter_mut().filter(|pair| pair.key == key).for_each(|pair| pair.value = value.clone());
                }
                self.fill_embedding(n, random);
            }
        }
    }

    /// The embedding, which is the first tensor, with `n` rows.
    fn fill_embedding(&mut self, n: usize, random: &mut Random) {
        let Some((embedding, rest)) = self.tensors.split_first_mut() else { return };
        (embedding.kind, embedding.dims[1]) = (1, n as u64);
        embedding.data = model::floats(n * embedding.dims[0] as usize, 2, random);
        let mut end = embedding.data.len() as u64;
        for tensor in rest {
            tensor.offset = end.next_multiple_of(self.alignment);
            end = tensor.offset + tensor.data.len() as u64;
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend(self.n_tensors.unwrap_or(self.tensors.len() as u64).to_le_bytes());
        out.extend(self.n_pairs.unwrap_or(self.pairs.len() as u64).to_le_bytes());
        for Pair { key, kind, value } in &self.pairs {
            out.extend(text(key));
            out.extend(kind.to_le_bytes());
            out.extend(value);
        }
        for Tensor { name, dims, kind, offset, .. } in &self.tensors {
            out.extend(text(name));
            out.extend((dims.len() as u32).to_le_bytes());
            dims.iter().for_each(|n| out.extend(n.to_le_bytes()));
            out.extend(kind.to_le_bytes());
            out.extend(offset.to_le_bytes());
        }
        let alignment = self.alignment as usize;
        for Tensor { data, .. } in &self.tensors {
            out.resize(out.len().next_multiple_of(alignment), 0);
            out.extend(data);
        }
        out
    }
}

impl Pair {
    fn change(&mut self, random: &mut Random) {
        const KEYS: [&str; 9] = [
            "llama.rope.scaling.type",
            "llama.rope.scaling.factor",
            "llama.expert_count",
            "llama.vocab_size",
            "split.count",
            "general.alignment",
            "general.license",
            "general.sampling.temp",
            "tokenizer.ggml.eot_token_id",
        ];
        match random.below(8) {
            0 => self.key = odd_text(random).into_bytes(),
            1 => self.key = random.pick(&KEYS).as_bytes().to_vec(),
            2 => self.kind = if random.once_in(2) { random.below(14) as u32 } else { random.edge(13) as u32 },
            3 => scramble(&mut self.value, random),
            4 if self.kind == 8 => self.value = text(odd_text(random).as_bytes()),
            4 | 5 if matches!(self.kind, 6 | 9) && self.value.len() >= 4 => {
                let at = self.value.len() - 4;
                self.value[at..].copy_from_slice(&random.float().to_le_bytes());
            }
            6 if self.kind == 9 => put_edge(&mut self.value, 4, random),
            _ => put_edge(&mut self.value, 0, random),
        }
    }
}

impl Tensor {
    fn change(&mut self, random: &mut Random) {
        match random.below(8) {
            0 => self.name = odd_text(random).into_bytes(),
            1 => self.name = random.pick(&["rope_freqs.weight", "output.weight", "blk.0.attn_q.bias"]).into(),
            2 => {
                let at = random.below(self.dims.len());
                self.dims.iter_mut().skip(at).take(1).for_each(|dim| *dim = random.edge(*dim));
            }
            3 => self.dims.resize(random.within(0, 5), 1),
            4 => self.kind = if random.once_in(2) { random.below(41) as u32 } else { random.edge(30) as u32 },
            5 => self.offset = random.edge(self.offset),
            6 => self.dims.reverse(),
            _ => {
                let at = random.below(self.data.len() + 1);
                let n = 4.min(self.data.len() - at);
                self.data[at..at + n].copy_from_slice(&random.float().to_le_bytes()[..n]);
            }
        }
    }
}
