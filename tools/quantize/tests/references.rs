//! Converted checkpoints against the logits and texts of the programs they come from.

mod support;

use std::path::Path;

use support::{Converted, Run, argmax, assert_close, floats, ids, json, root, shared};
use whit::quant::Dtype;
use whit::tokenizer::{Decoder, Specials};

/// Random-weight models of every variant, against Hugging Face transformers in f32 (tests/fixtures/make_fixtures.py).
#[test]
fn every_variant_matches_transformers() {
    let mut seen = 0;
    for entry in std::fs::read_dir(root().join("tests/fixtures")).expect("the fixtures") {
        let folder = entry.expect("an entry").path();
        if folder.join("config.json").exists() {
            check_all_positions(&folder);
            seen += 1;
        }
    }
    assert!(seen >= 12, "only {seen} fixtures");
}

fn check_all_positions(folder: &Path) {
    let reference = json(&folder.join("reference.json"));
    let converted = Converted::new(folder, Dtype::F32);
    converted.with(|model| {
        for (tokens, rows) in each(&reference["ids"]).zip(each(&reference["logits"])) {
            let got = Run::reference().logits(model, &ids(tokens));
            for (position, (got, want)) in got.iter().zip(each(rows)).enumerate() {
                assert_close(got, &floats(want), 1e-3, &format!("{} position {position}", folder.display()));
            }
        }
    });
}

fn each(value: &serde_json::Value) -> impl Iterator<Item = &serde_json::Value> {
    value.as_array().expect("an array").iter()
}

/// Our own story model, as shipped.
#[test]
fn the_story_model_matches_transformers() {
    let folder = root().join("models/stories");
    let reference = json(&folder.join("reference.json"));
    Converted::new(&folder, Dtype::F32).with(|model| {
        for prompt in each(&reference) {
            let tokens = ids(&prompt["ids"]);
            let last = Run::reference().logits(model, &tokens).pop().expect("a position");
            let got: Vec<f32> = ids(&prompt["top_ids"]).iter().map(|id| last[*id as usize]).collect();
            assert_close(&got, &floats(&prompt["top_logits"]), 1e-3, "story model");
            check_greedy(
                &Run::reference(),
                model,
                &tokens,
                &ids(&prompt["greedy_ids"]),
                &floats(&prompt["greedy_gaps"]),
            );
        }
    });
}

/// The letter-sorting GPT-2: logits as its original program stored them.
#[test]
fn nano_sort_matches_the_original_program() {
    let Some(folder) = shared("models/gpt2-nano-sort") else { return };
    let reference = json(&folder.join("reference.json"));
    Converted::new(&folder, Dtype::F32).with(|model| {
        for (tokens, rows) in each(&reference["ids"]).zip(each(&reference["lm_head"])) {
            let got = Run::reference().logits(model, &ids(tokens));
            for (got, want) in got.iter().zip(each(rows)) {
                assert_close(got, &floats(want), 1e-3, "nano-sort");
            }
        }
    });
}

/// The same tiny Llama in five forms: one text.
#[test]
fn stories260k_gives_one_text_in_every_form() {
    let Some(folder) = shared("models/stories260k") else { return };
    let reference = json(&folder.join("hf-f32/reference.json"));
    let (tokens, want) = (ids(&reference["ids"]), ids(&reference["greedy_ids"]));
    let steps = want.len() - tokens.len();
    for form in ["stories260K.bin", "ckpt_v1_a.bin", "stories260K-f32.gguf", "hf-f32"] {
        Converted::new(&folder.join(form), Dtype::F32).with(|model| {
            let last = Run::reference().logits(model, &tokens).pop().expect("a position");
            if let Some(logits) = reference.get("last_logits").filter(|_| !form.contains("v1")) {
                assert_close(&last, &floats(logits), 1e-3, form);
            }
            if !form.contains("v1") {
                assert_eq!(Run::reference().greedy(model, &tokens, steps), want[tokens.len()..], "{form}");
            }
        });
    }
}

/// stories260K writes the text that llama2.c's `run` writes, greedy, up to 256 tokens.
#[test]
fn stories260k_writes_the_text_of_llama2c() {
    let Some(checkpoint) = shared("models/stories260k/stories260K.bin") else { return };
    let texts = json(&root().join("tests/fixtures/stories260k.json"));
    Converted::new(&checkpoint, Dtype::F32).with(|model| {
        let tokenizer = model.tokenizer().expect("tok512.bin lies beside the checkpoint");
        for sample in each(&texts) {
            let mut tokens = vec![tokenizer.bos().expect("a BOS")];
            tokenizer.encode(sample["prompt"].as_str().expect("a prompt"), Specials::AsText, &mut tokens);
            // `run` counts the tokens after BOS.
            let steps = sample["steps"].as_u64().expect("a number") as usize + 1 - tokens.len();
            let greedy = Run::reference().greedy(model, &tokens, steps);
            let written = greedy.iter().take_while(|id| Some(**id) != tokenizer.bos());
            let mut decoder = Decoder::new(tokenizer);
            let mut text = String::new();
            for id in tokens[1..].iter().chain(written) {
                text.push_str(decoder.push(tokenizer, *id));
            }
            text.push_str(decoder.finish());
            let want = sample["text"].as_str().expect("a text").trim_end_matches('\n');
            assert!(text.starts_with(want), "{text:?}\n is not\n{want:?}");
        }
    });
}

/// GPT-2 through safetensors and through GGUF.
#[test]
fn gpt2_tiny_stories_matches_transformers_in_both_forms() {
    let Some(folder) = shared("models/gpt2-tiny-stories") else { return };
    let reference = json(&folder.join("reference.json"));
    for form in [folder.clone(), folder.join("gpt2-tiny-stories-f32.gguf")] {
        Converted::new(&form, Dtype::F32).with(|model| {
            for sample in each(&reference["samples"]) {
                let last = Run::reference().logits(model, &ids(&sample["ids"])).pop().expect("a position");
                assert_close(&last, &floats(&sample["last_logits"]), 1e-3, &form.display().to_string());
            }
        });
    }
}

/// SmolLM2 in f32: top-20 logits, greedy texts wherever the reference is sure, and the mean likelihood of a window.
#[test]
fn smollm2_f32_matches_transformers() {
    let (Some(gguf), Some(reference)) =
        (shared("models/SmolLM2-135M-Instruct.Q4_1.gguf"), shared("reference/smollm2.json"))
    else {
        return;
    };
    let reference = json(&reference);
    Converted::new(&gguf, Dtype::F32).with(|model| {
        let run = Run::reference();
        for prompt in each(&reference["prompts"]) {
            let tokens = ids(&prompt["ids"]);
            let last = run.logits(model, &tokens).pop().expect("a position");
            let top: Vec<f32> = ids(&prompt["top_ids"]).iter().map(|id| last[*id as usize]).collect();
            assert_close(&top, &floats(&prompt["top_logits"]), 2e-3, "SmolLM2 top 20");
            check_greedy(&run, model, &tokens, &ids(&prompt["greedy"]), &floats(&prompt["gaps"]));
        }
        for chat in each(&reference["chats"]) {
            check_greedy(&run, model, &ids(&chat["ids"]), &ids(&chat["greedy"]), &floats(&chat["gaps"]));
        }
        let window = &reference["windows"][0];
        let tokens = ids(&window["ids"]);
        let logits = run.logits(model, &tokens);
        let nll: f64 = logits.iter().zip(&tokens[1..]).map(|(row, next)| negative_log_likelihood(row, *next)).sum();
        let mean = nll / (tokens.len() - 1) as f64;
        let want = window["mean_nll"].as_f64().expect("a number");
        assert!((mean - want).abs() < 1e-4, "mean nll {mean}, reference {want}");
        let same = logits.iter().zip(ids(&window["argmax"])).filter(|(row, want)| argmax(row) == *want).count();
        assert!(same >= tokens.len() - 2, "{same} of {} arg-max agree", tokens.len());
    });
}

/// Equal up to the first step at which the reference's two best logits lie within 1e-2.
fn check_greedy(run: &Run, model: &std::sync::Arc<whit::model::Model>, tokens: &[u32], want: &[u32], gaps: &[f32]) {
    let sure = gaps.iter().position(|gap| *gap <= 1e-2).unwrap_or(want.len());
    let got = run.greedy(model, tokens, want.len());
    assert_eq!(got[..sure], want[..sure], "greedy text after {tokens:?}");
}

fn negative_log_likelihood(logits: &[f32], token: u32) -> f64 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|v| f64::from(v - max).exp()).sum();
    sum.ln() + f64::from(max - logits[token as usize])
}
