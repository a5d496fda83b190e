//! Golden hashes: the bits of all logits of a prompt and its greedy continuation, and of converted files. They are the
//! same on every CPU and instruction set; `goldens.txt` holds them.
//!
//! `WHIT_WRITE_GOLDENS=1 cargo test --release -p quantize --test goldens` writes that file anew with the scalar kernels:
//! right only together with a new numerics version or a new model.
//!
//! Each test takes what can be run in minutes, so of emulated CPUs all int8 hashes of the best backend and some of the
//! rest; with `WHIT_GOLDENS=full` it takes all there is, of SmolLM2 still on the best backend alone.

#[path = "../families/fixture.rs"]
#[expect(dead_code, reason = "variants and GGUF files are for the tests of families")]
mod fixture;
#[path = "../support/mod.rs"]
mod support;

use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use support::{Converted, argmax, root, shared};
use whit::compute::Compute;
use whit::format::Bytes;
use whit::kernels::{self, Kernels};
use whit::model::{Model, Session, SessionOptions};
use whit::ops::KvDtype;
use whit::os::Mapping;
use whit::quant::Dtype;

/// Lengths of the story model's prompts, around the sizes of groups, panels, tiles and batches; each is followed by 128
/// tokens, which its context has room for.
const STORY_PROMPTS: [usize; 20] = [1, 2, 3, 5, 7, 8, 15, 16, 17, 24, 31, 32, 33, 47, 64, 65, 96, 97, 127, 128];
/// Lengths of SmolLM2's prompts, and the tokens after them.
const SMOL_PROMPTS: [(usize, usize); 9] =
    [(5, 8), (33, 8), (1, 128), (16, 128), (64, 128), (97, 128), (192, 128), (257, 128), (512, 128)];
/// How many of them are run where time is short.
const SMOL_QUICK: usize = 2;
/// One in so many prompts is run where floats are emulated or a backend is not the best one; where both, a single one.
const EMULATED: usize = 7;
/// Tokens of the prompt of families, and after it: longer than every window of theirs, and than the groups of 32 in a cache.
const FAMILY_PROMPT: (usize, usize) = (75, 16);
/// A family of each group of ops, which alone are run where floats are emulated: gates and windows with caps, sinks, a short
/// convolution, a delta net, Mamba 1, Mamba 2 beside an attention, experts, three values a weight, layers that share keys, norms and
/// branches of LayerNorm in parallel, positions by ALiBi.
const FAMILY_GROUPS: [&str; 11] = [
    "gemma2",
    "granite_swa",
    "lfm2",
    "qwen3_5",
    "mamba1",
    "falcon_h1",
    "lfm2_moe",
    "bitnet_dense",
    "gemma4_e2b",
    "phi2",
    "bloom",
];

fn goldens_path() -> PathBuf {
    root().join("tools/quantize/tests/goldens/goldens.txt")
}

fn full() -> bool {
    std::env::var("WHIT_GOLDENS").is_ok_and(|value| value == "full")
}

fn writing() -> bool {
    std::env::var("WHIT_WRITE_GOLDENS").is_ok_and(|value| value == "1")
}

/// The committed hashes by what they are of.
fn goldens() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(goldens_path()).unwrap_or_default();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.rsplit_once(' ')).map(|(name, hash)| (name.to_owned(), hash.to_owned())).collect()
}

/// Holds `found` against the committed hashes, or puts them in.
fn check(found: &[(String, String)], by: &str) {
    static WRITER: Mutex<()> = Mutex::new(());
    let _one = WRITER.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let mut goldens = goldens();
    if writing() {
        goldens.extend(found.iter().cloned());
        let mut text =
            String::from("# model, weights, cache, tokens of the prompt + tokens written, SHA-256 of all logits\n");
        goldens.iter().for_each(|(name, hash)| text.push_str(&format!("{name} {hash}\n")));
        std::fs::write(goldens_path(), text).expect("written");
        return;
    }
    assert!(!found.is_empty());
    let wrong: Vec<_> = found.iter().filter(|(name, hash)| goldens.get(name) != Some(hash)).collect();
    assert!(wrong.is_empty(), "{by}: {} of {} differ: {wrong:#?}", wrong.len(), found.len());
}

/// The kernels that a test runs, `all` or the best ones; scalar, which is the truth, when writing.
fn backends(all: bool) -> Vec<&'static Kernels> {
    match (writing(), all) {
        (true, _) => vec![kernels::by_name("scalar").expect("always there")],
        (false, true) => kernels::available().collect(),
        (false, false) => vec![kernels::detect()],
    }
}

/// SHA-256 of the bits of the logits after the prompt and after each of `n_decode` tokens of greatest logit.
fn hash(model: &Arc<Model>, kernels: &'static Kernels, kv: KvDtype, n_prompt: usize, n_decode: usize) -> String {
    let compute = Arc::new(Compute::new(kernels, 2).expect("threads"));
    let context_length = n_prompt + n_decode;
    let options = SessionOptions { context_length, kv, ..SessionOptions::default() };
    let mut session = Session::new(model, &compute, options).expect("a session");
    let vocab_size = model.config().vocab_size;
    let prompt: Vec<u32> = (0..n_prompt).map(|i| ((i * 31 + i * i * 7 + n_prompt) % vocab_size) as u32).collect();
    let mut sha = Sha256::new();
    let mut logits = session.extend(&prompt).expect("the prompt fits");
    for _ in 0..n_decode {
        logits.iter().for_each(|logit| sha.update(logit.to_bits().to_le_bytes()));
        let next = argmax(logits);
        logits = session.extend(&[next]).expect("the text fits");
    }
    logits.iter().for_each(|logit| sha.update(logit.to_bits().to_le_bytes()));
    hex(&sha.finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// fp16 products are fused, which takes a CPU that can (docs/numerics.md): elsewhere they are right and far too slow.
fn has_fma(kernels: &Kernels) -> bool {
    match std::env::consts::ARCH {
        "x86_64" => kernels.name != "scalar",
        "aarch64" => true,
        _ => false,
    }
}

/// The caches of whose runs of the story model hashes are kept.
fn caches(weights: Dtype) -> &'static [KvDtype] {
    let all = &[KvDtype::F16, KvDtype::Int8, KvDtype::Q4];
    if weights == Dtype::Int8 { all } else { &all[..2] }
}

fn story(weights: Dtype) {
    let converted = Converted::new(&root().join("models/stories"), weights);
    converted.with(|model| {
        check(&[(format!("stories {} file", weights.name()), hex(&model.content_hash()))], "quantize");
        for kernels in backends(true) {
            if weights == Dtype::F16 && !has_fma(kernels) && !writing() {
                eprintln!("SKIPPED: fp16 on {}, which has no fused multiply-add", kernels.name);
                continue;
            }
            let emulated = std::env::consts::ARCH != "x86_64" && !full();
            let slow = usize::from(weights != Dtype::Int8) + usize::from(kernels.name != kernels::detect().name);
            let one_in = if emulated { [1, EMULATED, STORY_PROMPTS.len()][slow] } else { 1 };
            for kv in caches(weights) {
                let found = STORY_PROMPTS.iter().step_by(one_in).map(|n| {
                    let name = format!("stories {} {} {n}+128", weights.name(), kv.name());
                    (name, hash(model, kernels, *kv, *n, 128))
                });
                check(&found.collect::<Vec<_>>(), kernels.name);
            }
        }
    });
}

#[test]
fn the_int8_story_model_gives_the_same_bits_everywhere() {
    story(Dtype::Int8);
}

#[test]
fn the_fp16_story_model_gives_the_same_bits_everywhere() {
    story(Dtype::F16);
}

#[test]
fn story_models_of_fewer_bits_give_the_same_bits_everywhere() {
    [Dtype::Q4, Dtype::Q5, Dtype::Q6].into_iter().for_each(story);
}

/// SmolLM2 as int8: the file that `WHIT_SMOLLM2_INT8` names, or one converted here, which takes long under emulation.
#[test]
fn smollm2_gives_the_same_bits_everywhere() {
    let bytes = match std::env::var_os("WHIT_SMOLLM2_INT8") {
        Some(path) => Bytes::new(Mapping::open(Path::new(&path)).expect("the converted SmolLM2")),
        None => {
            let Some(path) = shared("models/SmolLM2-135M-Instruct.Q4_1.gguf") else {
                assert!(!writing(), "hashes of SmolLM2 cannot be written without it");
                return;
            };
            Converted::new(&path, Dtype::Int8).bytes
        }
    };
    let model = Arc::new(Model::open(bytes).expect("a valid model"));
    check(&[("smollm2 int8 file".into(), hex(&model.content_hash()))], "quantize");
    let n = if full() || writing() { SMOL_PROMPTS.len() } else { SMOL_QUICK };
    for kernels in backends(false) {
        for kv in [KvDtype::F16, KvDtype::Int8] {
            let found = SMOL_PROMPTS[..n].iter().map(|(prompt, decode)| {
                let name = format!("smollm2 int8 {} {prompt}+{decode}", kv.name());
                (name, hash(&model, kernels, kv, *prompt, *decode))
            });
            check(&found.collect::<Vec<_>>(), kernels.name);
        }
    }
}

/// The families whose hashes are kept, by their names.
fn family_hashes(weights: Dtype) -> impl Iterator<Item = (fixture::Fixture, String)> {
    let (n, more) = FAMILY_PROMPT;
    fixture::fixtures().into_iter().map(move |fixture| {
        let name = format!("family {} {} f16 {n}+{more}", fixture.name, weights.name());
        (fixture, name)
    })
}

#[test]
fn every_family_gives_the_same_bits_everywhere() {
    let emulated = std::env::consts::ARCH != "x86_64" && !full();
    for weights in [Dtype::Int8, Dtype::F16] {
        for (fixture, name) in family_hashes(weights) {
            if emulated && (weights == Dtype::F16 || !FAMILY_GROUPS.contains(&fixture.name.as_str())) {
                continue;
            }
            let folder = tempfile::tempdir().expect("a folder");
            fixture.write(folder.path());
            let model = Converted::new(folder.path(), weights).model();
            for kernels in backends(!emulated) {
                if weights == Dtype::Int8 || has_fma(kernels) || writing() {
                    let (n, more) = FAMILY_PROMPT;
                    check(&[(name.clone(), hash(&model, kernels, KvDtype::F16, n, more))], kernels.name);
                }
            }
        }
    }
}

#[test]
fn the_file_holds_these_hashes_and_no_others() {
    let stories = [Dtype::Int8, Dtype::F16, Dtype::Q4, Dtype::Q5, Dtype::Q6].into_iter().flat_map(|dtype| {
        let weights = dtype.name();
        let text = move |kv: &KvDtype| STORY_PROMPTS.map(|n| format!("stories {weights} {} {n}+128", kv.name()));
        caches(dtype).iter().flat_map(text).chain([format!("stories {weights} file")])
    });
    let smol =
        ["f16", "int8"].iter().flat_map(|kv| SMOL_PROMPTS.map(|(n, more)| format!("smollm2 int8 {kv} {n}+{more}")));
    let families = [Dtype::Int8, Dtype::F16].into_iter().flat_map(family_hashes).map(|(_, name)| name);
    let mut want: Vec<_> = stories.chain(smol).chain(families).chain(["smollm2 int8 file".into()]).collect();
    want.sort();
    assert!(goldens().into_keys().eq(want), "goldens.txt has other names");
    assert!(!writing(), "goldens.txt is written anew: run again without WHIT_WRITE_GOLDENS");
}
