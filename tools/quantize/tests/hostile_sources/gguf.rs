//! GGUF.

use super::{Case, Files, Scratch, case, caught, run, sweep};

/// A file in the making.
#[derive(Clone)]
pub(crate) struct Gguf {
    version: u32,
    /// Key, type, value.
    pub(super) pairs: Vec<(Vec<u8>, u32, Vec<u8>)>,
    /// Name, dimensions innermost first, type, offset.
    pub(super) tensors: Vec<(Vec<u8>, Vec<u64>, u32, u64)>,
    n_pairs: Option<u64>,
    n_tensors: Option<u64>,
    pub(super) data: usize,
}

fn text(s: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = s.as_ref();
    [&(bytes.len() as u64).to_le_bytes(), bytes].concat()
}

pub(super) fn u32_value(n: u32) -> (u32, Vec<u8>) {
    (4, n.to_le_bytes().to_vec())
}

fn f32_value(x: f32) -> (u32, Vec<u8>) {
    (6, x.to_le_bytes().to_vec())
}

pub(super) fn str_value(s: &str) -> (u32, Vec<u8>) {
    (8, text(s))
}

fn array(kind: u32, elements: &[Vec<u8>]) -> (u32, Vec<u8>) {
    let head = [&kind.to_le_bytes()[..], &(elements.len() as u64).to_le_bytes()].concat();
    (9, [head, elements.concat()].concat())
}

impl Gguf {
    /// The same with the keys of another architecture.
    fn called(self, architecture: &str) -> Self {
        let renamed = self.with(|gguf| {
            for (key, ..) in &mut gguf.pairs {
                *key = String::from_utf8_lossy(key).replace("llama.", &format!("{architecture}.")).into_bytes();
            }
        });
        renamed.set("general.architecture", str_value(architecture))
    }

    /// A tiny Llama: one layer, two heads of four, eight tokens.
    pub(crate) fn tiny() -> Self {
        let tokens = ["<unk>", "<s>", "</s>", "<0x0A>", "\u{2581}", "a", "b", "ab"].map(text);
        let kinds = [2, 3, 3, 6, 1, 1, 1, 1].map(|k: i32| k.to_le_bytes().to_vec());
        let scores = [0.0, 0.0, 0.0, 0.0, -1.0, -2.0, -3.0, -4.0].map(|s: f32| s.to_le_bytes().to_vec());
        let tensors = vec![
            (b"token_embd.weight".to_vec(), vec![8, 8], 0, 0),
            (b"blk.0.attn_norm.weight".to_vec(), vec![8], 0, 256),
            (b"blk.0.ffn_norm.weight".to_vec(), vec![8], 1, 288),
        ];
        let empty = Gguf { version: 3, pairs: vec![], tensors, n_pairs: None, n_tensors: None, data: 320 };
        empty
            .set("general.architecture", str_value("llama"))
            .set("llama.block_count", u32_value(1))
            .set("llama.context_length", u32_value(16))
            .set("llama.embedding_length", u32_value(8))
            .set("llama.feed_forward_length", u32_value(16))
            .set("llama.attention.head_count", u32_value(2))
            .set("llama.attention.head_count_kv", u32_value(1))
            .set("llama.attention.layer_norm_rms_epsilon", f32_value(1e-5))
            .set("tokenizer.ggml.model", str_value("llama"))
            .set("tokenizer.ggml.tokens", array(8, &tokens))
            .set("tokenizer.ggml.token_type", array(5, &kinds))
            .set("tokenizer.ggml.scores", array(6, &scores))
            .set("tokenizer.ggml.bos_token_id", u32_value(1))
            .set("tokenizer.ggml.eos_token_id", u32_value(2))
    }

    pub(super) fn set(mut self, key: &str, (kind, value): (u32, Vec<u8>)) -> Self {
        self.pairs.retain(|(other, ..)| other != key.as_bytes());
        self.and(key.as_bytes(), kind, value)
    }

    fn and(mut self, key: &[u8], kind: u32, value: Vec<u8>) -> Self {
        self.pairs.push((key.to_vec(), kind, value));
        self
    }

    fn without(mut self, key: &str) -> Self {
        self.pairs.retain(|(other, ..)| other != key.as_bytes());
        self
    }

    pub(super) fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// Changes the last tensor: 8 x F16 at 288.
    fn last(mut self, ne: Vec<u64>, kind: u32, offset: u64) -> Self {
        let last = self.tensors.len() - 1;
        let name = self.tensors[last].0.clone();
        self.tensors[last] = (name, ne, kind, offset);
        self
    }

    pub(crate) fn head(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend(self.n_tensors.unwrap_or(self.tensors.len() as u64).to_le_bytes());
        out.extend(self.n_pairs.unwrap_or(self.pairs.len() as u64).to_le_bytes());
        for (key, kind, value) in &self.pairs {
            out.extend(text(key));
            out.extend(kind.to_le_bytes());
            out.extend(value);
        }
        for (name, ne, kind, offset) in &self.tensors {
            out.extend(text(name));
            out.extend((ne.len() as u32).to_le_bytes());
            ne.iter().for_each(|n| out.extend(n.to_le_bytes()));
            out.extend(kind.to_le_bytes());
            out.extend(offset.to_le_bytes());
        }
        out
    }

    pub(crate) fn files(self) -> Files {
        let mut out = self.head();
        out.resize(out.len().next_multiple_of(32) + self.data, 0);
        vec![("model.gguf", out)]
    }
}

fn row(name: &'static str, gguf: Gguf, expected: &'static str, field: &'static str) -> Case {
    case(name, gguf.files(), expected, field)
}

#[test]
fn header_and_metadata() {
    let tiny = Gguf::tiny;
    let version = |v| tiny().with(|g| g.version = v);
    let pairs = |n| tiny().with(|g| g.n_pairs = Some(n));
    let raw = |key: &[u8], kind, value: Vec<u8>| tiny().and(key, kind, value);
    let key_length = |n: u64| {
        let mut files = tiny().files();
        files[0].1[24..32].copy_from_slice(&n.to_le_bytes());
        files
    };
    let arch = "general.architecture";
    run(vec![
        row("G-02 version 0", version(0), "version 0", "version"),
        row("G-02 version 1", version(1), "versions 2 and 3", "version"),
        row("G-02 version 4", version(4), "version 4", "version"),
        row("G-02 other endianness", version(0x0300_0000), "big-endian", "version"),
        case(
            "G-04 a count without bytes",
            vec![("a.gguf", {
                let mut bytes = b"GGUF\x03\0\0\0\x01\0\0\0\0\0\0\0".to_vec();
                bytes.extend(500_000_000_u64.to_le_bytes());
                bytes
            })],
            "too many",
            "count",
        ),
        row("G-05 a count that wraps", pairs(1 << 60), "limit", "metadata count"),
        row("G-04 tensors", tiny().with(|g| g.n_tensors = Some(60_000)), "too many", "tensor count"),
        row("G-07 one pair too few", pairs(13), "dimension", "tensor \"tokenizer.ggml.eos_token_id\""),
        row("G-07 one pair too many", pairs(15), "limit", "tensor name"),
        row("G-08 an empty key", raw(b"", 0, vec![0]), "empty", "metadata key"),
        row("G-08 a long key", raw(&[b'k'; 65_536], 0, vec![0]), "limit", "metadata key"),
        case("G-08 a key of 2^31", key_length(1 << 31), "limit", "metadata key"),
        case("G-08 a key of u64::MAX", key_length(u64::MAX), "limit", "metadata key"),
        row("G-08 a key with escapes", raw(b"a\x1b[2J", 0, vec![0]), "control", "metadata key"),
        row("G-08 a key that is no text", raw(b"\xff", 0, vec![0]), "UTF-8", "metadata key"),
        row("G-10 a string of u64::MAX", raw(b"k", 8, u64::MAX.to_le_bytes().to_vec()), "limit", "string"),
        row("G-10 a string of u64::MAX - 7", raw(b"k", 8, (u64::MAX - 7).to_le_bytes().to_vec()), "limit", "string"),
        row("G-10 a string past the end", raw(b"k", 8, 100_000_u64.to_le_bytes().to_vec()), "left", "string"),
        row("G-11 value type 14", raw(b"k", 14, vec![0]), "type 14", "key \"k\""),
        row("G-11 value type 255", raw(b"k", 255, vec![0]), "type 255", "key \"k\""),
        row("G-11 value type -1", raw(b"k", u32::MAX, vec![0]), "type 4294967295", "key \"k\""),
        row("G-11 an array of arrays", raw(b"k", 9, array(9, &[array(4, &[]).1]).1), "not supported", "key \"k\""),
        row(
            "G-11 an endless array",
            raw(b"k", 9, [&4_u32.to_le_bytes()[..], &[0xff; 8]].concat()),
            "limit",
            "key \"k\"",
        ),
        row("G-14 a key twice", raw(b"general.architecture", 8, text("llama")), "twice", arch),
        row("G-14 alignment as i32", raw(b"general.alignment", 5, vec![32, 0, 0, 0]), "U32", "general.alignment"),
        row(
            "G-14 alignment as u64",
            raw(b"general.alignment", 10, vec![32, 0, 0, 0, 0, 0, 0, 0]),
            "U32",
            "general.alignment",
        ),
        row(
            "G-14 alignment twice",
            tiny().set("general.alignment", u32_value(32)).and(b"general.alignment", 4, vec![32, 0, 0, 0]),
            "twice",
            "general.alignment",
        ),
        row("G-14 alignment as text", tiny().set("general.alignment", str_value("32")), "U32", "general.alignment"),
        row("G-16 alignment 2^20", tiny().set("general.alignment", u32_value(1 << 20)), "power", "general.alignment"),
        row("G-16 alignment 2^31", tiny().set("general.alignment", u32_value(1 << 31)), "power", "general.alignment"),
        row("G-16 alignment 0", tiny().set("general.alignment", u32_value(0)), "power", "general.alignment"),
        row("G-16 alignment 48", tiny().set("general.alignment", u32_value(48)), "power", "general.alignment"),
        row("G-34 another architecture", tiny().set(arch, str_value("../x")), "not supported", arch),
        row("G-34 an endless architecture", tiny().set(arch, str_value(&"x".repeat(1 << 20))), "not supported", arch),
        row("G-34 no architecture", tiny().without(arch), "missing", arch).nowhere(),
        row(
            "G-35 part 2 of 3",
            tiny().set("split.count", u32_value(3)).set("split.no", u32_value(1)),
            "part 2 of 3 of a split model, but not of such a name",
            "split.count",
        )
        .nowhere(),
    ]);
}

#[test]
fn tensors() {
    let tiny = Gguf::tiny;
    let field = "tensor \"blk.0.ffn_norm.weight\"";
    let last = |ne: &[u64], kind, offset| tiny().last(ne.to_vec(), kind, offset);
    let named = |name: &[u8]| tiny().with(|g| g.tensors[2].0 = name.to_vec());
    let data = |n| tiny().with(|g| g.data = n);
    let dimensions = |n: u32| {
        let mut files = tiny().files();
        let name = b"token_embd.weight";
        let at = files[0].1.windows(name.len()).position(|w| w == name).expect("its description") + name.len();
        files[0].1[at..at + 4].copy_from_slice(&n.to_le_bytes());
        files
    };
    run(vec![
        row("G-19 an empty name", named(b""), "empty", "tensor name"),
        row("G-19 a long name", named(&[b'n'; 64]), "limit", "tensor name"),
        row("G-19 a name twice", named(b"blk.0.attn_norm.weight"), "twice", "tensor \"blk.0.attn_norm.weight\""),
        row("G-20 no dimensions", last(&[], 1, 288), "0 dimensions", field),
        row("G-20 five dimensions", last(&[1; 5], 1, 288), "5 dimensions", field),
        row("G-20 nine dimensions", last(&[1; 9], 1, 288), "9 dimensions", field),
        case("G-20 u32::MAX dimensions", dimensions(u32::MAX), "4294967295 dimensions", "token_embd"),
        row("G-20 a dimension of 0", last(&[0], 1, 288), "dimension of 0", field),
        row("G-22 a dimension of 2^62", last(&[1 << 62], 2, 288), "dimension", field),
        row("G-22 a negative dimension", last(&[(-8_i64) as u64], 1, 288), "dimension", field),
        row("G-22 a product that wraps", last(&[1 << 30, 1 << 30, 1 << 30], 2, 288), "overflow", field),
        row("G-22 a product past the end", last(&[1 << 30, 1 << 30], 2, 288), "missing", field),
        row("G-22 half a block", last(&[8], 8, 288), "whole blocks", field),
        row("G-22 half a block of I2_S", last(&[64], 36, 288), "whole blocks", field),
        row("G-23 type 4", last(&[8], 4, 288), "Q4_2", field),
        row("G-23 type 5", last(&[8], 5, 288), "Q4_3", field),
        row("G-23 type 37", last(&[8], 37, 288), "removed", field),
        row("G-23 type 38", last(&[8], 38, 288), "removed", field),
        row("G-23 type -1", last(&[8], u32::MAX, 288), "type 4294967295", field),
        row("G-23 an integer type", last(&[8], 24, 288), "integer", field),
        row("G-23 type 255", last(&[8], 255, 288), "type 255", field),
        row("G-25 an offset off the alignment", last(&[8], 1, 290), "alignment", field),
        row("G-25 an offset of another tensor", last(&[8], 1, 256), "overlap", "tensor"),
        row("G-25 an offset past the end", last(&[8], 1, 320), "gap", field),
        row("G-25 an offset of u64::MAX", last(&[8], 1, u64::MAX - 31), "gap", field),
        row("G-26 one byte past the end", data(303), "1 bytes missing", field),
        row("G-26 into the next tensor", tiny().with(|g| g.tensors[1].1 = vec![9]), "overlap", field),
        row("G-26 data after the last tensor", data(400), "unexpected", "data"),
        row("no embedding", tiny().with(|g| g.tensors[0].0 = b"x".to_vec()), "missing", "token_embd").nowhere(),
    ]);
}

#[test]
fn hyperparameters() {
    let set = |key: &str, value| Gguf::tiny().set(key, value);
    let heads = "llama.attention.head_count_kv";
    let (base, windows) = ("llama.rope.freq_base", "llama.attention.sliding_window_pattern");
    let layers = |n: usize| array(4, &vec![2_u32.to_le_bytes().to_vec(); n]);
    let factors = |n: u64, value: f32| {
        Gguf::tiny().with(|g| {
            g.tensors.push((b"rope_freqs.weight".to_vec(), vec![n], 0, 320));
            let value = value.to_bits();
            assert!(value == 0, "data is zero");
            g.data += 32;
        })
    };
    let yarn = |key: &str, value: f32| {
        let scaled = set("llama.rope.scaling.type", str_value("yarn")).set("llama.rope.scaling.factor", f32_value(4.0));
        scaled.set(&format!("llama.rope.scaling.{key}"), f32_value(value))
    };
    let short = Gguf::tiny().with(|g| {
        g.tensors.push((b"rope_factors_short.weight".to_vec(), vec![2], 0, 320));
        g.data += 32;
    });
    let lfm2 = |kv_heads: (u32, Vec<u8>), width: u32| {
        let tiny = Gguf::tiny().called("lfm2").set("lfm2.shortconv.l_cache", u32_value(width));
        tiny.set("lfm2.attention.head_count_kv", kv_heads)
    };
    let heads_of = |heads: &[i32]| array(5, &heads.iter().map(|n| n.to_le_bytes().to_vec()).collect::<Vec<_>>());
    run(vec![
        row("G-38 heads of two layers", lfm2(heads_of(&[1, 0]), 3), "2 elements", "head_count_kv"),
        row("G-38 fewer than no heads", lfm2(heads_of(&[-1]), 3), "-1 is negative", "head_count_kv"),
        row("G-38 a kernel of 0", lfm2(heads_of(&[0]), 0), "outside 1..=32", "conv_width").nowhere(),
        row("G-38 a kernel of 2^31", lfm2(heads_of(&[0]), 1 << 31), "outside", "conv_width").nowhere(),
        row(
            "G-38 no kernel",
            lfm2(heads_of(&[0]), 3).without("lfm2.shortconv.l_cache"),
            "missing: lfm2.shortconv.l_cache",
            "metadata",
        )
        .nowhere(),
        row("G-28 no blocks", set("llama.block_count", u32_value(0)), "0 blocks", "block_count"),
        row("G-28 33 blocks", set("llama.block_count", u32_value(33)), "33 blocks", "block_count"),
        row("G-28 10^9 blocks", set("llama.block_count", u32_value(1_000_000_000)), "1000000000", "block_count"),
        row("G-28 blocks as text", set("llama.block_count", str_value("1")), "integer", "block_count"),
        row("G-28 negative blocks", set("llama.block_count", (5, vec![255; 4])), "negative", "block_count"),
        row(
            "G-28 missing keys",
            Gguf::tiny().without("llama.block_count").without("llama.context_length"),
            "llama.block_count, llama.context_length",
            "metadata",
        )
        .nowhere(),
        row("G-29 no heads", set("llama.attention.head_count", u32_value(0)), "0 heads", "head_count"),
        row("G-29 no KV heads", set(heads, u32_value(0)), "divide", heads),
        row("G-29 more KV heads", set(heads, u32_value(4)), "divide", heads),
        row("G-29 heads of three layers", set("llama.attention.head_count", layers(3)), "3 elements", "head_count"),
        row("G-29 heads that do not fit", set("llama.embedding_length", u32_value(9)), "divide", "head_count"),
        row("G-29 windows of two layers", set(windows, array(7, &[vec![1], vec![0]])), "2 elements", windows),
        row("G-29 a window by 2", set(windows, array(7, &[vec![2]])), "expected 0 or 1", windows),
        row("G-31 odd rotation", set("llama.rope.dimension_count", u32_value(3)), "rotated", "dimension_count"),
        row("G-31 more than a head", set("llama.rope.dimension_count", u32_value(8)), "rotated", "dimension_count"),
        row("G-31 base 0", set(base, f32_value(0.0)), "positive", base),
        row("G-31 base NaN", set(base, f32_value(f32::NAN)), "positive", base),
        row("G-31 base -1", set(base, f32_value(-1.0)), "positive", base),
        row("scaling su", set("llama.rope.scaling.type", str_value("su")), "longrope", "rope.scaling.type"),
        row("yarn alone", set("llama.rope.scaling.type", str_value("yarn")), "missing", "rope.scaling.factor")
            .nowhere(),
        row("G-37 part of YaRN", yarn("yarn_ext_factor", 0.5), "0.5 is not supported", "yarn_ext_factor"),
        row("G-37 a factor beside YaRN", yarn("yarn_attn_factor", 2.0), "2 is not supported", "yarn_attn_factor"),
        row("G-37 attention by less than 0", yarn("yarn_log_multiplier", -9.0), "would be", "yarn_log_multiplier"),
        row("G-37 attention by 0", set("llama.rope.scaling.attn_factor", f32_value(0.0)), "positive", "attn_factor"),
        row("G-37 short factors of 0", short, "positive", "rope_factors_short"),
        row("scaling by 0", set("llama.rope.scaling.factor", f32_value(0.0)), "positive", "scaling.factor"),
        row("factors of 0", factors(2, 0.0), "positive", "rope_freqs"),
        row("epsilon NaN", set("llama.attention.layer_norm_rms_epsilon", f32_value(f32::NAN)), "NaN", "norm_eps")
            .nowhere(),
        row("context 2^30", set("llama.context_length", u32_value(1 << 30)), "outside", "context_length").nowhere(),
        row("experts", set("llama.expert_count", u32_value(8)), "experts", "expert_count"),
        row("another vocabulary size", set("llama.vocab_size", u32_value(9)), "8 rows", "vocab_size"),
    ]);
}

#[test]
fn tokenizer() {
    let set = |key: &str, value| Gguf::tiny().set(key, value);
    let key = |name: &str| format!("tokenizer.ggml.{name}");
    let bytes = vec![vec![0_u8]; 8];
    let words = vec![vec![0_u8; 4]; 8];
    let tokens = |n: usize| array(8, &(0..n).map(|i| text(format!("t{i}"))).collect::<Vec<_>>());
    run(vec![
        row("G-13 scores as U8", set(&key("scores"), array(0, &bytes)), "F32", "scores"),
        row("G-13 types as F32", set(&key("token_type"), array(6, &words)), "I32", "token_type"),
        row("G-13 tokens as I32", set(&key("tokens"), array(5, &words)), "strings", "tokens"),
        row("G-13 nine tokens", set(&key("tokens"), tokens(9)), "9 tokens", "token_type"),
        row("G-13 unknown type", set(&key("token_type"), array(5, &words)), "token 0", "token_type"),
        row("G-32 BOS past the end", set(&key("bos_token_id"), u32_value(8)), "token 8", "bos_token_id"),
        row("G-32 EOS of u32::MAX", set(&key("eos_token_id"), u32_value(u32::MAX)), "4294967295", "eos_token_id"),
        row("another tokenizer", set(&key("model"), str_value("bert")), "bert", "tokenizer.ggml.model"),
        row("another alphabet", set(&key("model"), str_value("gpt2")), "token 4", "tokens"),
        row(
            "byte-level without merges",
            set(&key("model"), str_value("gpt2")).set(&key("tokens"), tokens(8)),
            "missing",
            "merges",
        )
        .nowhere(),
        row(
            "another pre-tokenizer",
            set(&key("model"), str_value("gpt2"))
                .set(&key("tokens"), tokens(8))
                .set(&key("pre"), str_value("deepseek-llm")),
            "deepseek-llm",
            "tokenizer.ggml.pre",
        ),
        row(
            "a merge of one piece",
            set(&key("model"), str_value("gpt2"))
                .set(&key("tokens"), tokens(8))
                .set(&key("merges"), array(8, &[text("ab")])),
            "merge 1",
            "tokenizer.ggml.merges",
        ),
        row("characters without merges", set(&key("model"), str_value("gemma4")), "missing", "merges").nowhere(),
        row(
            "a merge of unknown characters",
            set(&key("model"), str_value("gemma4")).set(&key("merges"), array(8, &[text("x yz")])),
            "merge 1 names or makes no token",
            "tokenizer.ggml.merges",
        ),
        row(
            "a byte that is none",
            set(&key("model"), str_value("gemma4"))
                .set(&key("token_type"), array(5, &vec![6_i32.to_le_bytes().to_vec(); 8])),
            "is no byte",
            "tokens",
        ),
        row(
            "a template of 2 MiB",
            set("tokenizer.chat_template", str_value(&"x".repeat(2 << 20))),
            "limit",
            "chat_template",
        ),
        row("a token that is no text", set(&key("tokens"), array(8, &vec![text([0xff]); 8])), "element 0", "tokens"),
    ]);
}

/// Data that is aligned to nothing, and described in another order than it lies in.
#[test]
fn unusual_places_are_read() {
    let odd =
        |more: usize| Gguf::tiny().set("general.alignment", u32_value(1)).set("k", str_value(&"x".repeat(more))).head();
    let unaligned = odd(2 - odd(1).len() % 2);
    assert_eq!(unaligned.len() % 2, 1, "data begins where nothing is aligned");
    let mut aligned = Gguf::tiny().with(|g| g.tensors.swap(1, 2)).head();
    aligned.resize(aligned.len().next_multiple_of(32), 0);
    for (name, mut bytes) in [("G-17 alignment 1", unaligned), ("G-25 decreasing offsets", aligned)] {
        bytes.extend((0..64).flat_map(|i| (i as f32).to_le_bytes()).chain([7; 32]).chain([1; 16]));
        let scratch = Scratch::new();
        let source = caught(name, &scratch.write(&vec![("m.gguf", bytes)])).expect(name);
        let of = |name: &str| source.tensors.iter().position(|t| t.name == name).expect("a tensor");
        let mut values = [0.0; 8];
        source.read(of("token_embd.weight"), 56, &mut values).expect(name);
        assert_eq!(values, [56.0, 57.0, 58.0, 59.0, 60.0, 61.0, 62.0, 63.0], "{name}");
        source.read(of("blk.0.attn_norm.weight"), 0, &mut values).expect(name);
        assert_eq!(values, [f32::from_le_bytes([7; 4]); 8], "{name}");
    }
}

#[test]
fn no_byte_of_a_header_panics() {
    let tiny = Gguf::tiny();
    let header = tiny.head().len();
    sweep("GGUF", &tiny.files(), "model.gguf", header);
}

/// G-39, G-40
#[test]
fn delta_nets_and_activations() {
    let qwen = |key: &str, value: (u32, Vec<u8>)| {
        let sizes =
            [("time_step_rank", 4), ("inner_size", 8), ("group_count", 2), ("state_size", 2), ("conv_kernel", 4)];
        let tiny = sizes.iter().fold(Gguf::tiny().called("qwen35"), |gguf, (key, n)| {
            gguf.set(&format!("qwen35.ssm.{key}"), u32_value(*n))
        });
        tiny.set(&format!("qwen35.{key}"), value)
    };
    let bools = |n: usize| array(7, &vec![vec![1]; n]);
    let bitnet = Gguf::tiny().called("bitnet").set("bitnet.hidden_act", str_value("mish"));
    run(vec![
        row(
            "G-39 values of no width",
            qwen("ssm.inner_size", u32_value(7)),
            "no multiple of ssm.time_step_rank 4",
            "inner_size",
        ),
        row("G-39 no heads", qwen("ssm.time_step_rank", u32_value(0)), "no multiple", "inner_size"),
        row("G-39 heads that do not divide", qwen("ssm.group_count", u32_value(3)), "3 does not divide", "n_key_heads")
            .nowhere(),
        row("G-39 no keys", qwen("ssm.state_size", u32_value(0)), "0 is outside", "key_dim").nowhere(),
        row("G-39 a kernel of 2^31", qwen("ssm.conv_kernel", u32_value(1 << 31)), "outside", "conv_width").nowhere(),
        row(
            "G-39 layers that recur",
            qwen("attention.recurrent_layers", bools(3)),
            "3 elements for 1 blocks",
            "recurrent_layers",
        ),
        row(
            "G-39 blocks that all guess",
            qwen("nextn_predict_layers", u32_value(1)),
            "1 of 1 blocks",
            "nextn_predict_layers",
        ),
        row(
            "G-39 more of them than blocks",
            qwen("nextn_predict_layers", u32_value(1 << 30)),
            "of 1 blocks",
            "nextn_predict_layers",
        ),
        row("G-40 another activation", bitnet, "supported: silu, relu2", "hidden_act"),
    ]);
}
