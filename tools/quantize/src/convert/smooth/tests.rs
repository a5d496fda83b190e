use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use whit::compute::Compute;
use whit::format::{Bytes, TensorErrors};
use whit::kernels;
use whit::model::{Config, Model, NormKind, Session, SessionOptions};
use whit::os::Mapping;
use whit::quant::Dtype;

use super::{folds, power, wanted};
use crate::convert::planned::{Planned, plan};
use crate::convert::{Dtypes, create, write_tensors};
use crate::source::{Checkpoint, OpenOptions};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(name)
}

/// The plan of a checkpoint with all matrices as `dtype`.
fn planned(source: &Checkpoint, dtype: Dtype) -> Vec<Planned> {
    plan(source, &Dtypes { weights: dtype, keep: BTreeMap::new() }).expect("a plan")
}

/// Scales all that can be scaled by powers of two without reason; how many places that are.
fn scale_all(config: &Config, planned: &mut [Planned]) -> usize {
    let folds = folds(config);
    for (seed, fold) in folds.iter().enumerate() {
        let exponents = (0..fold.cols(planned).expect("columns")).map(|j| (j * 31 + seed * 17 + j * j) as i32 % 9 - 4);
        fold.apply(planned, &exponents.map(power).collect::<Vec<_>>());
    }
    folds.len()
}

/// The bits of the logits of some tokens by the network that `planned` describes, and the errors of its tensors.
fn run(source: &Checkpoint, planned: &[Planned]) -> (Vec<u32>, Vec<TensorErrors>) {
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().join("model.whit");
    let mut writer = create(source, &output, planned, None, false).expect("a file");
    let written = write_tensors(source, planned, None, &mut writer, &mut |_| Ok(())).expect("tensors");
    writer.finish().expect("whole");
    let model = Arc::new(Model::open(Bytes::new(Mapping::open(&output).expect("mapped"))).expect("a model"));
    let compute = Arc::new(Compute::new(kernels::detect(), 1).expect("threads"));
    let n = model.config().context_length.min(24);
    let tokens: Vec<u32> = (0..n).map(|i| (i * 37 % model.config().vocab_size) as u32).collect();
    let options = SessionOptions { context_length: n, batch: n, logit_rows: n, ..SessionOptions::default() };
    let mut session = Session::new(&model, &compute, options).expect("a session");
    let mut bits = Vec::new();
    session
        .extend_each(&tokens, &mut |_, logits| bits.extend(logits.iter().map(|logit| logit.to_bits())))
        .expect("the tokens fit");
    (bits, written.into_iter().map(|tensor| tensor.errors).collect())
}

/// A copy of the GPT-2 fixture whose activation is another.
fn with_activation(name: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for file in std::fs::read_dir(fixture("gpt2")).expect("the fixture").flatten() {
        std::fs::copy(file.path(), folder.path().join(file.file_name())).expect("copied");
    }
    let config = folder.path().join("config.json");
    let text = std::fs::read_to_string(&config).expect("a configuration").replace("gelu_new", name);
    assert!(text.contains(&format!("\"{name}\"")), "{text}");
    std::fs::write(config, text).expect("written");
    folder
}

#[test]
fn folded_scales_change_no_bit_of_any_family() {
    let relu = with_activation("relu");
    let folders =
        ["gpt2", "gpt2-untied", "llama", "llama-bias", "llama-untied-mqa", "mistral", "qwen2", "qwen3"].map(fixture);
    for folder in folders.iter().map(PathBuf::as_path).chain([relu.path()]) {
        let name = folder.display();
        let source = Checkpoint::open(folder, &OpenOptions::default()).expect("a checkpoint");
        let mut tensors = planned(&source, Dtype::Int8);
        let n = scale_all(&source.config, &mut tensors);
        tensors.iter_mut().for_each(|p| p.dtype = Dtype::F32);
        let (want, _) = run(&source, &planned(&source, Dtype::F32));
        let per_block = if source.config.norm == NormKind::Layer && folder != relu.path() { 2 } else { 3 };
        assert_eq!(n, per_block * source.config.n_layers() + usize::from(!source.config.tied), "{name}");
        let (got, errors) = run(&source, &tensors);
        assert!(got == want, "{name}");
        assert!(errors.iter().all(|errors| errors.rms == 0.0), "{name}: an error against the checkpoint");
    }
}

#[test]
fn errors_are_those_of_the_checkpoints_values() {
    let source = Checkpoint::open(&fixture("llama"), &OpenOptions::default()).expect("a checkpoint");
    let mut tensors = planned(&source, Dtype::Int8);
    let (want, plain) = run(&source, &tensors);
    // One factor for all columns changes neither codes nor products.
    for fold in folds(&source.config) {
        let scales = vec![4.0; fold.cols(&tensors).expect("columns")];
        fold.apply(&mut tensors, &scales);
    }
    let (got, scaled) = run(&source, &tensors);
    assert!(plain == scaled && want == got);
}

#[test]
fn only_places_of_integers_alone_are_smoothed() {
    let source = Checkpoint::open(&fixture("llama"), &OpenOptions::default()).expect("a checkpoint");
    let n_layers = source.config.n_layers();
    let kept = |role: &'static str, dtype| Dtypes { weights: Dtype::Int8, keep: BTreeMap::from([(role, dtype)]) };
    for (dtypes, folds) in [
        (kept("embedding", Dtype::F16), 3 * n_layers),
        (kept("key", Dtype::F16), 2 * n_layers),
        (kept("up", Dtype::F32), n_layers),
        (kept("down", Dtype::F16), 2 * n_layers),
        (kept("down", Dtype::Q4), 3 * n_layers),
        (Dtypes { weights: Dtype::F32, keep: BTreeMap::new() }, 0),
    ] {
        let planned = plan(&source, &dtypes).expect("a plan");
        assert_eq!(wanted(&source.config, &planned).len(), folds, "{dtypes:?}");
    }
}
