//! Every family gives the same bits for any batch, any number of threads, any backend, and after its text was
//! saved, restored and taken back, and where its beginning was taken over.

use std::sync::Arc;

use whit::compute::Compute;
use whit::kernels;
use whit::model::saved::{Key, Part, Saved, Settings, save};
use whit::model::{Model, Session, SessionOptions};
use whit::ops::KvDtype;
use whit::quant::Dtype;

use crate::fixture::{fixtures, texts};
use crate::support::{Converted, Run};

/// Batch and threads, on the best backend.
const RUNS: [(usize, usize); 6] = [(1, 1), (1, 2), (7, 1), (7, 2), (64, 1), (64, 2)];

/// Calls `body` with each family as int8 and as fp16.
fn each_model(body: impl Fn(&Arc<Model>, &str)) {
    for fixture in &fixtures() {
        let folder = tempfile::tempdir().expect("a folder");
        fixture.write(folder.path());
        for dtype in [Dtype::Int8, Dtype::F16] {
            let converted = Converted::new(folder.path(), dtype);
            body(&converted.model(), &format!("{} {dtype:?}", fixture.name));
        }
    }
}

fn bits(logits: &[f32]) -> Vec<u32> {
    logits.iter().map(|logit| logit.to_bits()).collect()
}

#[test]
fn batch_threads_and_backend_change_no_bit() {
    let text = texts().pop().expect("a text");
    let scalar = kernels::by_name("scalar").expect("always there");
    each_model(|model, what| {
        for kv in [KvDtype::F16, KvDtype::Int8] {
            let logits = |kernels, (batch, threads)| {
                let run = Run { kernels, threads, batch, kv };
                run.logits(model, &text).iter().flat_map(|row| bits(row)).collect::<Vec<_>>()
            };
            let want = logits(scalar, (1, 1));
            assert!(logits(scalar, (64, 2)) == want, "{what} {kv:?}: scalar in batches of 64");
            for (batch, threads) in RUNS {
                let same = logits(kernels::detect(), (batch, threads)) == want;
                assert!(same, "{what} {kv:?}: {threads} threads in batches of {batch}");
            }
        }
    });
}

/// The bytes of a session that holds the beginning of `tokens`.
fn saved(session: &mut Session, settings: &Settings, tokens: &[u32]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let part = Part { start: 0, parent: Key::default(), tokens, n_held: session.position(), note: b"" };
    let compute = Arc::clone(session.compute());
    let mut put = |part: &[u8]| {
        bytes.extend_from_slice(part);
        Ok(())
    };
    save(session.state_mut(), &compute, settings, part, &mut put).expect("saved");
    bytes
}

#[test]
fn a_text_saved_restored_taken_back_and_taken_over_goes_on_to_the_same_bits() {
    let text = texts().pop().expect("a text");
    let compute = Arc::new(Compute::new(kernels::detect(), 2).expect("threads"));
    each_model(|model, what| {
        for kv in [KvDtype::F16, KvDtype::Int8] {
            let options = SessionOptions { context_length: 96, kv, batch: 7, ..SessionOptions::default() };
            let session = || Session::new(model, &compute, options).expect("a session");
            let settings = Settings::new(model, kv);
            let want = bits(session().extend(&text).expect("room"));
            for n in [1, 31, 32, 45, 64, 70] {
                let mut first = session();
                first.extend(&text[..n]).expect("room");
                let bytes = saved(&mut first, &settings, &text[..n]);
                let mut second = session();
                Saved::read(&bytes, &settings).expect("whole").restore(second.state_mut()).expect("room");
                assert_eq!(second.position(), n, "{what} {kv:?}");
                let went_on = bits(second.extend(&text[n..]).expect("room"));
                assert!(went_on == want, "{what} {kv:?}: restored after {n} tokens");
                let held = second.rewind(n);
                assert!(held <= n, "{what} {kv:?}: {held} tokens held of {n}");
                let again = bits(second.extend(&text[held..]).expect("room"));
                assert!(again == want, "{what} {kv:?}: taken back to {held} for {n} tokens");
                let mut third = session();
                third.extend(&text[60..70]).expect("room");
                third.state_mut().copy_beginning(second.state(), n);
                let held = third.state_mut().hold(&text);
                let copied = bits(third.extend(&text[held..]).expect("room"));
                assert!(copied == want, "{what} {kv:?}: {held} of {n} tokens taken over");
            }
        }
    });
}
