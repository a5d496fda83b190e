//! Weights that a GGUF file has in blocks of few bits are taken over as they are, where a format of ours has their grid.

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use half::f16;
use quantize::convert::{self, Dtypes, FromBlocks, Texts};
use quantize::source::{Checkpoint, OpenOptions};
use support::gguf::{self, Pair, Tensor};
use support::{Converted, Run, shared};
use whit::format::Bytes;
use whit::kernels;
use whit::model::Model;
use whit::ops::KvDtype;
use whit::os::Mapping;
use whit::quant::Dtype;

const DIM: u64 = 64;
const VOCABULARY: u64 = 40;
const HIDDEN: u64 = 96;

/// Numbers without a pattern.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    fn half(&mut self, reach: f32) -> [u8; 2] {
        f16::from_f32((self.below(2001) as f32 / 1000.0 - 1.0) * reach).to_le_bytes()
    }
}

/// A ggml type by its number: bytes of a block before its codes, of which the first `halves` are numbers of f16.
#[derive(Debug, Clone, Copy)]
struct Kind {
    name: &'static str,
    number: u32,
    halves: usize,
    codes: usize,
}

const fn kind(name: &'static str, number: u32, halves: usize, codes: usize) -> Kind {
    Kind { name, number, halves, codes }
}

const Q4_0: Kind = kind("Q4_0", 2, 1, 16);
const Q4_1: Kind = kind("Q4_1", 3, 2, 16);
const Q5_0: Kind = kind("Q5_0", 6, 1, 20);
const Q5_1: Kind = kind("Q5_1", 7, 2, 20);
const Q8_0: Kind = kind("Q8_0", 8, 1, 32);
const IQ4_NL: Kind = kind("IQ4_NL", 20, 1, 16);

impl Kind {
    /// Blocks of any codes, for `n` weights. Some blocks have but one code, or a scale of 0.
    fn blocks(self, numbers: &mut Numbers, n: u64) -> Vec<u8> {
        let mut out = Vec::new();
        for _ in 0..n / 32 {
            for i in 0..self.halves {
                let zero = numbers.below(40) == 0;
                out.extend(if zero && i == 0 { [0, 0] } else { numbers.half([0.02, 0.2][i]) });
            }
            let same = (numbers.below(20) == 0).then(|| numbers.below(256) as u8);
            let mut byte = || same.unwrap_or_else(|| numbers.below(256) as u8);
            // The code -128 is none that a quantizer writes.
            out.extend((0..self.codes).map(|_| byte()).map(|b| if self.codes == 32 && b == 0x80 { 0x81 } else { b }));
        }
        out
    }
}

/// A small Llama, all of whose matrices are of one type.
fn llama(folder: &Path, kind: Kind) -> std::path::PathBuf {
    let mut numbers = Numbers(7);
    let mut pairs = vec![Pair::text("general.architecture", "llama"), Pair::text("tokenizer.ggml.model", "no_vocab")];
    for (key, value) in [
        ("vocab_size", VOCABULARY as u32),
        ("block_count", 2),
        ("context_length", 128),
        ("embedding_length", DIM as u32),
        ("feed_forward_length", HIDDEN as u32),
        ("attention.head_count", 4),
        ("attention.head_count_kv", 2),
    ] {
        pairs.push(Pair::number(format!("llama.{key}"), value));
    }
    pairs.push(Pair::float("llama.attention.layer_norm_rms_epsilon", 1e-5));
    let mut tensors = Vec::new();
    let mut matrix = |name: String, rows, cols| {
        let bytes = kind.blocks(&mut numbers, rows * cols);
        tensors.push(Tensor { name, shape: vec![rows, cols], kind: kind.number, bytes });
    };
    matrix("token_embd.weight".into(), VOCABULARY, DIM);
    for layer in 0..2 {
        for (name, rows, cols) in [
            ("attn_q", DIM, DIM),
            ("attn_k", DIM / 2, DIM),
            ("attn_v", DIM / 2, DIM),
            ("attn_output", DIM, DIM),
            ("ffn_gate", HIDDEN, DIM),
            ("ffn_up", HIDDEN, DIM),
            ("ffn_down", DIM, HIDDEN),
        ] {
            matrix(format!("blk.{layer}.{name}.weight"), rows, cols);
        }
    }
    let norm = |name: String| Tensor::floats(name, vec![DIM], &[1.0; DIM as usize]);
    tensors.push(norm("output_norm.weight".into()));
    for layer in 0..2 {
        tensors.extend(["attn_norm", "ffn_norm"].map(|name| norm(format!("blk.{layer}.{name}.weight"))));
    }
    let path = folder.join(format!("{}.gguf", kind.name));
    std::fs::write(&path, gguf::file(&pairs, &tensors)).expect("written");
    path
}

/// Converts, and says what became of blocks.
fn converted(input: &Path, weights: Dtype, keep: &[(&'static str, Dtype)]) -> (Arc<Model>, Vec<FromBlocks>) {
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().join("model.whit");
    let source = Checkpoint::open(input, &OpenOptions::default()).expect("a checkpoint");
    let dtypes = Dtypes { weights, keep: keep.iter().copied().collect::<BTreeMap<_, _>>() };
    let done =
        convert::convert(&source, &output, &dtypes, Texts::default(), false, &mut |_, _| Ok(())).expect("a conversion");
    let bytes = Bytes::new(Mapping::open(&output).expect("the file just written"));
    (Arc::new(Model::open(bytes).expect("a model")), done.from_blocks)
}

/// All weights of a matrix.
fn weights(model: &Model, name: &str) -> Vec<f32> {
    let matrix = model.file().matrix(name).expect("a matrix");
    let mut out = vec![f32::NAN; matrix.rows() * matrix.cols()];
    out.chunks_exact_mut(matrix.cols()).enumerate().for_each(|(r, row)| matrix.read_row(r, row));
    out
}

/// The matrices of a model with their names.
fn matrices(model: &Model) -> Vec<String> {
    let specs = whit::model::tensors(model.config());
    specs.into_iter().filter(|spec| spec.shape.dims().len() == 2).map(|spec| spec.name).collect()
}

const GRIDS: [(Kind, Dtype, Dtype); 5] = [
    (Q4_0, Dtype::Q4, Dtype::Q4h),
    (IQ4_NL, Dtype::Q5, Dtype::Q4h),
    (Q4_1, Dtype::Q4, Dtype::Q4m),
    (Q5_0, Dtype::Q5, Dtype::Q5h),
    (Q5_1, Dtype::Q6, Dtype::Q5m),
];

#[test]
fn blocks_are_held_to_the_last_bit() {
    let folder = tempfile::tempdir().expect("a folder");
    for (kind, asked, held) in GRIDS {
        let file = llama(folder.path(), kind);
        let exact = Converted::new(&file, Dtype::F32).model();
        let (model, from_blocks) = converted(&file, asked, &[]);
        assert_eq!(from_blocks, [FromBlocks { encoding: kind.name, dtype: held, exact: true, matrices: 15 }]);
        for name in matrices(&model) {
            assert_eq!(model.file().matrix(&name).expect("a matrix").dtype(), held, "{name}");
            assert_eq!(weights(&model, &name), weights(&exact, &name), "{kind:?} {name}");
        }
    }
}

#[test]
fn int8_holds_blocks_without_offsets() {
    let folder = tempfile::tempdir().expect("a folder");
    for kind in [Q8_0, Q4_0, Q5_0, IQ4_NL] {
        let file = llama(folder.path(), kind);
        let exact = Converted::new(&file, Dtype::F32).model();
        let (model, from_blocks) = converted(&file, Dtype::Int8, &[]);
        assert_eq!(from_blocks, [FromBlocks { encoding: kind.name, dtype: Dtype::Int8, exact: true, matrices: 15 }]);
        for name in matrices(&model) {
            assert_eq!(weights(&model, &name), weights(&exact, &name), "{kind:?} {name}");
        }
    }
    let (_, from_blocks) = converted(&llama(folder.path(), Q4_1), Dtype::Int8, &[]);
    assert_eq!(from_blocks, [FromBlocks { encoding: "Q4_1", dtype: Dtype::Int8, exact: false, matrices: 15 }]);
}

#[test]
fn fewer_bits_than_the_blocks_have_and_roles_that_are_named_are_rounded() {
    let folder = tempfile::tempdir().expect("a folder");
    let (model, from_blocks) = converted(&llama(folder.path(), Q5_0), Dtype::Q4, &[]);
    assert_eq!(from_blocks, [FromBlocks { encoding: "Q5_0", dtype: Dtype::Q4, exact: false, matrices: 15 }]);
    assert!(matrices(&model).iter().all(|name| model.file().matrix(name).expect("a matrix").dtype() == Dtype::Q4));
    let (model, from_blocks) = converted(&llama(folder.path(), Q4_0), Dtype::Q4, &[("embedding", Dtype::Q6)]);
    let row = |dtype, exact, matrices| FromBlocks { encoding: "Q4_0", dtype, exact, matrices };
    assert_eq!(from_blocks, [row(Dtype::Q6, false, 1), row(Dtype::Q4h, true, 14)]);
    assert_eq!(model.file().matrix("embedding").expect("a matrix").dtype(), Dtype::Q6);
}

#[test]
fn bits_are_the_same_with_all_kernels_threads_and_batches() {
    let folder = tempfile::tempdir().expect("a folder");
    let tokens: Vec<u32> = (0..70).map(|i| i * 7 % VOCABULARY as u32).collect();
    for (kind, asked, _) in GRIDS {
        let (model, _) = converted(&llama(folder.path(), kind), asked, &[]);
        let want = Run::reference().logits(&model, &tokens);
        for kernels in kernels::available() {
            for (threads, batch) in [(1, 1), (2, 7), (2, 64)] {
                let run = Run { kernels, threads, batch, kv: KvDtype::F32 };
                assert!(run.logits(&model, &tokens) == want, "{kind:?} {} {threads} {batch}", kernels.name);
            }
        }
    }
}

/// SmolLM2 is a file of Q4_1.
#[test]
fn a_real_file_is_held_to_the_last_bit() {
    let Some(file) = shared("models/SmolLM2-135M-Instruct.Q4_1.gguf") else { return };
    let exact = Converted::new(&file, Dtype::F32).model();
    let (model, from_blocks) = converted(&file, Dtype::Q4, &[]);
    assert!(from_blocks.iter().any(|row| row.encoding == "Q4_1" && row.exact && row.matrices > 200), "{from_blocks:?}");
    for name in matrices(&model) {
        let dtype = model.file().matrix(&name).expect("a matrix").dtype();
        assert!(dtype != Dtype::Q4m || weights(&model, &name) == weights(&exact, &name), "{name}");
    }
}
