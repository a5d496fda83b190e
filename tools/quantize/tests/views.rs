//! What the views show, against the programs that the models come from and against naive computations in f64.

mod support;

use std::sync::Arc;

use serde_json::Value;
use support::{Converted, Run, floats, ids, json, root, shared};
use whit::compute::Compute;
use whit::inspect::{Attention, Distribution, Lens, WordSpace, dot, standing};
use whit::kernels;
use whit::model::{Model, Session, SessionOptions};
use whit::ops::KvDtype;
use whit::quant::Dtype;

/// Hands `body` a session of `n` positions with f32 keys.
fn with_session(model: &Arc<Model>, n: usize, body: impl FnOnce(&mut Session)) {
    let compute = Arc::new(Compute::new(kernels::detect(), 2).expect("threads"));
    let options = SessionOptions { context_length: n, kv: KvDtype::F32, batch: 7, logit_rows: 1, hold_all: true };
    body(&mut Session::new(model, &compute, options).expect("a session"));
}

/// The fixtures of random weights with what transformers computed for them.
fn fixtures(mut body: impl FnMut(&str, &Arc<Model>, &[u32], &Value)) {
    let mut seen = 0;
    for entry in std::fs::read_dir(root().join("tests/fixtures")).expect("the fixtures") {
        let folder = entry.expect("an entry").path();
        if !folder.join("config.json").exists() {
            continue;
        }
        let reference = json(&folder.join("reference.json"));
        let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
        Converted::new(&folder, Dtype::F32).with(|model| body(&name, model, &ids(&reference["ids"][0]), &reference));
        seen += 1;
    }
    assert!(seen >= 12, "only {seen} fixtures");
}

fn softmax(logits: &[f32]) -> Vec<f64> {
    let best = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weights: Vec<f64> = logits.iter().map(|l| f64::from(l - best).exp()).collect();
    let mass: f64 = weights.iter().sum();
    weights.iter().map(|weight| weight / mass).collect()
}

#[test]
fn the_next_distribution_is_the_softmax_of_transformers_logits() {
    fixtures(|name, model, tokens, reference| {
        let want = softmax(&floats(&reference["logits"][0][tokens.len() - 1]));
        with_session(model, tokens.len(), |session| {
            let logits = session.extend(tokens).expect("logits");
            let got = Distribution::of_logits(logits, 1.0, want.len());
            assert_eq!(got.top.len(), want.len());
            for ranked in &got.top {
                let want = want[ranked.id as usize];
                assert!((ranked.probability - want).abs() < 1e-3, "{name}: token {} {ranked:?} {want}", ranked.id);
            }
            assert!((got.top.iter().map(|r| r.probability).sum::<f64>() - 1.0).abs() < 1e-12);
        });
    });
}

/// The probabilities that SmolLM2 gives to the words of wikitext.
#[test]
fn standings_are_the_likelihoods_of_transformers() {
    let (Some(reference), Some(gguf)) =
        (shared("reference/smollm2.json"), shared("models/SmolLM2-135M-Instruct.Q4_1.gguf"))
    else {
        return;
    };
    let reference = json(&reference);
    Converted::new(&gguf, Dtype::F32).with(|model| {
        let window = &reference["windows"][0];
        let (tokens, nll) = (ids(&window["ids"]), floats(&window["nll"]));
        let run = Run::reference();
        for (position, logits) in run.logits(model, &tokens[..64]).iter().enumerate() {
            let target = tokens[position + 1];
            let (rank, probability) = standing(logits, target).expect("a token");
            let want = f64::from(-nll[position]).exp();
            assert!((probability - want).abs() < 1e-3, "position {position}: {probability} {want}");
            let best = window["argmax"][position].as_u64().expect("an id") as u32;
            assert_eq!(rank == 1, best == target, "position {position}");
        }
    });
}

#[test]
fn attention_is_that_of_transformers_and_its_rows_add_to_one() {
    let all = json(&root().join("tests/fixtures/attentions.json"));
    fixtures(|name, model, tokens, _| {
        with_session(model, tokens.len(), |session| {
            let config = model.config();
            let mut patterns = Vec::new();
            let attention = Attention::of(session, config, tokens, tokens.len()).expect("attention");
            for (layer, head) in config.heads() {
                let pattern = attention.pattern(layer, head);
                for (t, row) in pattern.chunks_exact(tokens.len()).enumerate() {
                    let sum: f64 = row.iter().sum();
                    assert!((sum - 1.0).abs() < 1e-12, "{name} {layer}.{head} row {t}: {sum}");
                    assert!(row[t + 1..].iter().all(|share| *share == 0.0), "{name}: a token sees ahead");
                    for (got, want) in row.iter().zip(floats(&all[name][layer][head][t])) {
                        assert!((got - f64::from(want)).abs() < 1e-3, "{name} {layer}.{head} row {t}: {got} {want}");
                    }
                }
                patterns.push(pattern);
            }
            let attention = Attention::of(session, config, tokens, 1).expect("attention");
            for ((layer, head), pattern) in config.heads().zip(&patterns) {
                let row = attention.last_row(layer, head);
                assert_eq!(row, pattern[pattern.len() - tokens.len()..], "{name}");
            }
        });
    });
}

#[test]
fn the_lens_at_the_last_layer_is_what_the_model_says() {
    fixtures(|name, model, tokens, reference| {
        with_session(model, tokens.len(), |session| {
            let plain = session.extend(tokens).expect("logits").to_vec();
            let n = model.config().vocab_size;
            let lens = Lens::of(session, model.config(), tokens, tokens.len(), n, &mut || true);
            let lens = lens.expect("no error").expect("a lens");
            assert_eq!(lens.logits, plain, "{name}: looking changes nothing");
            let (depths, last) = (lens.readings.len(), tokens.len() - 1);
            assert_eq!((depths, lens.writes.len()), (model.config().n_layers() + 1, model.config().n_layers()));
            assert_eq!(lens.readings[depths - 1][last].top, Distribution::of_logits(&plain, 1.0, n).top, "{name}");
            // Of the last positions alone, across the borders of prefill steps.
            let few = Lens::of(session, model.config(), tokens, 2, n, &mut || true).expect("no error").expect("a lens");
            for (few, all) in few.readings.iter().zip(&lens.readings) {
                assert_eq!(few[..], all[tokens.len() - 2..], "{name}");
            }
            for (few, all) in few.writes.iter().zip(&lens.writes) {
                assert_eq!(few[..], all[tokens.len() - 2..], "{name}");
            }
            for position in 0..tokens.len() {
                let want = softmax(&floats(&reference["logits"][0][position]));
                for ranked in &lens.readings[depths - 1][position].top {
                    assert!((ranked.probability - want[ranked.id as usize]).abs() < 1e-3, "{name} {position}");
                }
                assert_eq!(lens.readings[depths - 1][position].answer.0, 1);
                assert!(lens.appears(position) <= lens.settled(position) && lens.settled(position) < depths);
            }
        });
    });
}

/// king - man + woman and the like, on the vectors of GloVe.
#[test]
fn word_arithmetic_is_the_naive_one_and_survives_int8() {
    let Some(path) = shared("texts/glove-100d-20k.txt") else { return };
    let text = std::fs::read_to_string(&path).expect("the vectors");
    let naive = |word: &str| -> Vec<f64> {
        let line = text.lines().find(|line| line.split(' ').next() == Some(word)).expect("a word");
        line.split(' ').skip(1).map(|x| x.parse().expect("a number")).collect()
    };
    let words = quantize::source::WordVectors::open(&path).expect("readable").expect("word vectors");
    let names: Vec<String> =
        words.vocabulary().tokens.iter().map(|t| String::from_utf8_lossy(&t.bytes).into_owned()).collect();
    let id = |word: &str| names.iter().position(|name| name == word).expect("a word") as u32;
    let folder = tempfile::tempdir().expect("a folder");
    for dtype in [Dtype::F32, Dtype::Int8] {
        let output = folder.path().join(dtype.name());
        quantize::convert::convert_words(&words, &output, dtype, false, &mut |_, _| Ok(())).expect("converted");
        let mapping = whit::os::Mapping::open(&output).expect("the file");
        let file = whit::File::open(&mapping).expect("valid");
        let space = WordSpace::new(file.matrix("embedding").expect("the vectors"), names.len());
        for ([a, b, c], answer) in [(["king", "man", "woman"], "queen"), (["italy", "germany", "hitler"], "mussolini")]
        {
            let [va, vb, vc] = [a, b, c].map(|word| space.mean(&[id(word)]));
            let sum: Vec<f64> = (0..100).map(|i| va[i] - vb[i] + vc[i]).collect();
            let inputs = [a, b, c].map(id);
            let near = space.nearest(&sum, 5, &|other| inputs.contains(&other));
            assert_eq!(names[near[0].id as usize], answer, "{dtype:?}");
            if dtype == Dtype::F32 {
                let [na, nb, nc] = [a, b, c].map(naive);
                let sum: Vec<f64> = (0..100).map(|i| na[i] - nb[i] + nc[i]).collect();
                for near in near {
                    let v = naive(&names[near.id as usize]);
                    let cosine = dot(&sum, &v) / (dot(&sum, &sum) * dot(&v, &v)).sqrt();
                    assert!((cosine - near.cosine).abs() < 1e-6, "{cosine} {near:?}");
                }
            }
        }
        let (from, to) = (space.mean(&[id("cat")]), space.mean(&[id("cats")]));
        let plural: Vec<f64> = to.iter().zip(&from).map(|(to, from)| to - from).collect();
        let dots = ["one", "two", "three", "four", "five"].map(|word| dot(&plural, &space.mean(&[id(word)])));
        assert!(dots.windows(2).all(|pair| pair[0] < pair[1]), "{dtype:?}: {dots:?}");
        if dtype == Dtype::F32 {
            // As in f64 by another program.
            for (got, want) in dots.iter().zip([-3.66, -0.56, -0.11, 0.36, 0.69]) {
                assert!((got - want).abs() < 0.01, "{dots:?}");
            }
        }
    }
}
