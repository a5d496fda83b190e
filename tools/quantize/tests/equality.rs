//! Same file, same bits: any batch, any number of threads, any backend, any KV state.

mod support;

use std::path::PathBuf;
use std::sync::Arc;

use support::{Converted, Run, root};
use whit::compute::Compute;
use whit::kernels;
use whit::model::{Session, SessionOptions};
use whit::ops::KvDtype;
use whit::quant::Dtype;

/// One model of each shape of forward pass.
fn models() -> Vec<PathBuf> {
    ["tests/fixtures/gpt2", "tests/fixtures/llama-untied-mqa", "tests/fixtures/mistral", "tests/fixtures/qwen3"]
        .map(|name| root().join(name))
        .to_vec()
}

fn tokens(n: usize, vocab_size: usize) -> Vec<u32> {
    (0..n).map(|i| ((i * 31 + i * i * 7) % vocab_size) as u32).collect()
}

fn bits(rows: &[Vec<f32>]) -> Vec<u32> {
    rows.iter().flatten().map(|v| v.to_bits()).collect()
}

#[test]
fn batch_threads_and_backend_change_no_bit() {
    for path in models() {
        for dtype in Dtype::ALL {
            let converted = Converted::new(&path, dtype);
            converted.with(|model| {
                let length = model.config().context_length.min(70);
                let tokens = tokens(length, model.config().vocab_size);
                for kv in KvDtype::ALL {
                    let scalar =
                        Run { kernels: kernels::by_name("scalar").expect("always there"), threads: 1, batch: 1, kv };
                    let want = bits(&scalar.logits(model, &tokens));
                    for backend in kernels::available() {
                        for (threads, batch) in [(1, 1), (1, 7), (2, 64), (3, 16), (1, 128)] {
                            let run = Run { kernels: backend, threads, batch, kv };
                            let got = bits(&run.logits(model, &tokens));
                            assert!(
                                got == want,
                                "{} {dtype:?} {kv:?}: {} with {threads} threads in batches of {batch} differs",
                                path.display(),
                                backend.name
                            );
                        }
                    }
                }
            });
        }
    }
}

#[test]
fn a_rewound_session_gives_the_bits_of_a_fresh_one() {
    for path in models() {
        Converted::new(&path, Dtype::Int8).with(|model| {
            let compute = Arc::new(Compute::new(kernels::detect(), 2).expect("threads"));
            let options = SessionOptions { context_length: 16, ..SessionOptions::default() };
            let tokens = tokens(12, model.config().vocab_size);
            let mut session = Session::new(model, &compute, options).expect("a session");
            let fresh: Vec<u32> = session.extend(&tokens).expect("fits").iter().map(|v| v.to_bits()).collect();
            session.rewind(5);
            let again: Vec<u32> = session.extend(&tokens[5..]).expect("fits").iter().map(|v| v.to_bits()).collect();
            assert_eq!(fresh, again, "{}", path.display());
            assert!(session.extend(&tokens).is_err(), "12 + 12 tokens exceed a context of 16");
            assert_eq!(session.position(), 12, "a refused extend changes nothing");
        });
    }
}
