//! The quality report in a file: `whit verify --quality` computes it again, to the last bit, and `whit inspect` shows it.
#![cfg(feature = "cli")]

mod program;
mod support;

use program::whit;
use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use support::{Folder, TinyModel};
use whit::compute::Compute;
use whit::error::Kind;
use whit::format::{Bytes, Figures, Quality, SectionId};
use whit::inspect::{HeldOut, compare, predict};
use whit::kernels;
use whit::model::Model;
use whit::os::Mapping;
use whit::quant::Dtype;

const TEXT: &str =
    "The cat sat on the mat and looked at the rain, and then the cat went to sleep until the sun came back.";

fn open(path: &Path) -> Arc<Model> {
    Arc::new(Model::open(Bytes::new(Mapping::open(path).expect("a file"))).expect("a model"))
}

/// The same weights as f32, and as int8 with the report on them, which is given back.
fn reported(folder: &Folder, dtype: Dtype) -> Quality {
    let [exact, path] = ["exact.whit", "m.whit"].map(|name| folder.path(name));
    TinyModel { dtype: Dtype::F32, ..TinyModel::llama() }.write(&exact);
    let tiny = TinyModel { dtype, ..TinyModel::llama() };
    tiny.write(&path);
    let compute = Arc::new(Compute::new(kernels::detect(), 2).expect("threads"));
    let (exact, model) = (open(&exact), open(&path));
    let held_out = HeldOut::of(&exact, TEXT).expect("enough text");
    let mut report = predict(&exact, &compute, &held_out, 8, &mut |_| Ok(())).expect("predicted");
    report.figures = compare(&report, &model, &compute, &mut |_| Ok(())).expect("compared");
    tiny.write_with(&path, vec![(SectionId::QUAL, report.encode())]);
    report
}

fn run(words: &[&str], path: &Path) -> Output {
    whit().args(words).arg("-m").arg(path).output().expect("the program starts")
}

fn told(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn figures_are_the_same_bits_for_all_kernels_and_threads() {
    let folder = Folder::new("quality-bits");
    for dtype in [Dtype::Int8, Dtype::Q4] {
        let report = reported(&folder, dtype);
        let Figures { perplexity, mean_kl, p99_kl, same_top, .. } = report.figures;
        assert!(perplexity > 1.0 && mean_kl > 0.0 && p99_kl >= mean_kl && same_top > 0, "{:?}", report.figures);
        let model = open(&folder.path("m.whit"));
        for kernels in kernels::available() {
            for threads in [1, 3] {
                let compute = Arc::new(Compute::new(kernels, threads).expect("threads"));
                let figures = compare(&report, &model, &compute, &mut |_| Ok(())).expect("compared");
                assert_eq!(figures.bits(), report.figures.bits(), "{} on {threads}", kernels.name);
            }
        }
    }
}

#[test]
fn verify_computes_the_report_again_and_inspect_shows_it() {
    let folder = Folder::new("quality-verify");
    let report = reported(&folder, Dtype::Q5);
    let path = folder.path("m.whit");
    let (code, out, err) = told(&run(&["verify", "--quality", "-t", "2"], &path));
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    let mean = format!("{:.6}", report.figures.mean_kl);
    assert!(out.contains("equal to the last bit") && out.matches(&mean).count() == 2 && out.contains("q5"), "{out}");
    let (code, out, _) = told(&run(&["verify", "--quality", "--json", "--kernels", "scalar"], &path));
    assert!(code == Some(0) && out.contains("\"equal\":true") && out.lines().count() == 1, "{out}");
    let (_, out, _) = told(&run(&["verify"], &path));
    assert!(out.contains("in order") && !out.contains("KL"), "{out}");
    for words in [&["inspect"][..], &["inspect", "--json"]] {
        let (code, out, _) = told(&run(words, &path));
        assert!(
            code == Some(0) && out.contains(&mean[..6]) && out.contains("held-out") != words.contains(&"--json"),
            "{out}"
        );
    }
}

/// M-44, M-45: a report that says what the weights do not compute, one of another model, none.
#[test]
fn what_differs_is_refused_and_says_why() {
    let folder = Folder::new("quality-wrong");
    let report = reported(&folder, Dtype::Int8);
    let path = folder.path("m.whit");
    type Change = fn(&mut Quality);
    let rows: [(&str, Change, i32, &str); 7] = [
        (
            "a bit of the mean",
            |r| r.figures.mean_kl = f64::from_bits(r.figures.mean_kl.to_bits() ^ 1),
            65,
            "not those that its weights compute",
        ),
        ("a better perplexity", |r| r.figures.perplexity -= 0.5, 65, "not those that its weights compute"),
        ("what the reference predicts", |r| r.next[3] *= 0.5, 65, "not those that its weights compute"),
        ("another text", |r| r.tokens.swap(40, 60), 65, "not those that its weights compute"),
        ("a token beyond the vocabulary", |r| r.ids[7] = 259, 65, "token 259 is none of the 259"),
        ("other numerics", |r| r.numerics += 1, 69, "computed with numerics"),
        ("probabilities above 1", |r| r.rest[0] = 0.5, 65, "0.5 is no log-probability"),
    ];
    for (what, change, wanted, words) in rows {
        let mut wrong = report.clone();
        change(&mut wrong);
        TinyModel::llama().write_with(&path, vec![(SectionId::QUAL, wrong.encode())]);
        let (code, _, err) = told(&run(&["verify", "--quality", "-q"], &path));
        assert_eq!(code, Some(wanted), "{what}: {err}");
        assert!(err.contains(words) && err.contains("QUAL") && err.lines().count() == 1, "{what}: {err}");
        // What reads no report is not disturbed.
        let (code, _, err) = told(&run(&["generate", "-q", "-n", "2", "abc"], &path));
        assert_eq!(code, Some(0), "{what}: {err}");
    }
    let mut long = report.clone();
    (long.window, long.tokens) = (65, vec![1; 65]);
    let positions = Quality::scored(65).len();
    (long.next, long.rest) = (vec![-1.0; positions], vec![-1.0; positions]);
    (long.ids, long.logs) = ([1, 2, 3, 4, 5, 6, 7, 8].repeat(positions), vec![-3.0; 8 * positions]);
    (long.figures.same_top) = 0;
    TinyModel::llama().write_with(&path, vec![(SectionId::QUAL, long.encode())]);
    let (code, _, err) = told(&run(&["verify", "--quality", "-q"], &path));
    assert!(code == Some(65) && err.contains("windows of 65 tokens, but a context of 64"), "{err}");

    TinyModel::llama().write(&path);
    let (code, _, err) = told(&run(&["verify", "--quality", "-q"], &path));
    assert!(code == Some(65) && err.contains("the file has no quality report"), "{err}");
}

#[test]
fn texts_that_are_too_short_give_no_report() {
    let folder = Folder::new("quality-short");
    TinyModel::llama().write(&folder.path("m.whit"));
    let model = open(&folder.path("m.whit"));
    assert_eq!(HeldOut::of(&model, "Too short."), None);
    let held_out = HeldOut::of(&model, TEXT).expect("enough");
    assert!(held_out.window <= 64 && held_out.tokens.len().is_multiple_of(held_out.window), "{held_out:?}");
    let stop = || Err(whit::Error::new(Kind::Interrupted, "stopped"));
    let compute = Arc::new(Compute::new(kernels::detect(), 1).expect("a thread"));
    assert!(predict(&model, &compute, &held_out, 8, &mut |_| stop()).is_err());
}
