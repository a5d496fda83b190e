//! Weights that pass through memory give the same bits as weights that stay there.

mod support;

use std::sync::Arc;
use support::{Folder, TinyModel};
use whit::error::Kind;
use whit::generate::ModelFile;
use whit::generate::stream::{Residency, WeightStream};
use whit::kernels;
use whit::os::Mapping;
use whit::{Compute, Model, Session, SessionOptions};

fn session(model: &Arc<Model>, compute: &Arc<Compute>) -> Session {
    let options = SessionOptions { context_length: 48, batch: 5, logit_rows: 3, ..SessionOptions::default() };
    Session::new(model, compute, options).expect("a session")
}

/// The bits of all logits of a text that comes in parts, with single tokens and with logits of every position.
fn bits(session: &mut Session) -> Vec<u32> {
    let mut out = Vec::new();
    let tokens: Vec<u32> = (0..40).map(|i| i * i * 7 % 256).collect();
    for part in [&tokens[..17], &tokens[17..18], &tokens[18..19]] {
        out.extend(session.extend(part).expect("room").iter().map(|logit| logit.to_bits()));
    }
    session
        .extend_each(&tokens[19..36], &mut |_, row| out.extend(row.iter().map(|logit| logit.to_bits())))
        .expect("room");
    session.rewind(30);
    out.extend(session.extend(&tokens[36..]).expect("room").iter().map(|logit| logit.to_bits()));
    out
}

#[test]
fn streamed_weights_change_no_bit() {
    let folder = Folder::new("streaming");
    let compute = Arc::new(Compute::new(kernels::detect(), 2).expect("threads"));
    for (name, tied, mut tiny) in
        [("llama", true, TinyModel::llama()), ("untied", false, TinyModel::llama()), ("gpt2", true, TinyModel::gpt2())]
    {
        (tiny.config.tied, tiny.config.n_layers) = (tied, 5);
        let path = folder.path(name);
        tiny.write(&path);
        let mapping = Arc::new(Mapping::open(&path).expect("a mapped file"));
        let model = Arc::clone(ModelFile::of_mapping(Arc::clone(&mapping)).expect("a model").model());
        let expected = bits(&mut session(&model, &compute));
        let mut pinned = Vec::new();
        for bytes in (0..model.weight_bytes()).step_by(3001) {
            let residency = match Residency::within(&model, bytes) {
                Ok(residency) => residency.expect("it does not fit"),
                Err(error) => {
                    assert!(error.kind() == Kind::Resources && pinned.is_empty(), "{bytes}: {error}");
                    continue;
                }
            };
            assert!(residency.pinned + residency.ring <= bytes, "{bytes}: {residency:?}");
            pinned.push(residency.pinned);
            let mut streamed = session(&model, &compute);
            streamed.pace(WeightStream::new(&model, Arc::clone(&mapping), residency).expect("a stream"));
            assert!(bits(&mut streamed) == expected, "{name}, {bytes} bytes");
        }
        assert!(pinned.first() == Some(&0) && pinned.last() > Some(&0) && pinned.is_sorted(), "{pinned:?}");
        assert_eq!(Residency::within(&model, model.weight_bytes()).expect("room"), None);
    }
}
