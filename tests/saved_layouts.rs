//! Saved texts and kept beginnings of models whose layers have windows or differ: back to the last bit, or not at all.

mod program;
mod support;

use std::path::Path;
use std::sync::Arc;
use support::{Folder, TinyModel};
use whit::error::Kind;
use whit::generate::{ModelFile, PrefixCache};
use whit::kernels;
use whit::model::saved::{Key, Part, Saved, Settings, save};
use whit::model::{BranchNorms, Config, DeltaNet, Mamba1, Mamba2, Mixer, ScanNorm, ShortConv};
use whit::ops::{KV_BLOCK, KvDtype};
use whit::{Compute, Model, Session, SessionOptions, TokenId};

/// Positions of the texts: many more than the rings hold.
const CONTEXT: usize = 300;
const BATCH: usize = 7;

/// Every second layer has a window; branches are normed on both sides.
fn mixed(config: &mut Config) {
    config.family = "mixed".into();
    for (i, layer) in config.layers.iter_mut().enumerate() {
        let attention = layer.attention_mut().expect("attention");
        attention.window = (i % 2 == 0).then_some(11);
        layer.mixer_norms = BranchNorms { input: true, output: true };
    }
}

/// Windows of two sizes, other heads, and no rotary table for some.
fn windows(config: &mut Config) {
    config.family = "windows".into();
    for (i, layer) in config.layers.iter_mut().enumerate() {
        let attention = layer.attention_mut().expect("attention");
        (attention.window, attention.n_kv_heads) = (Some([9, 70, 33][i]), [2, 4, 1][i]);
        attention.rotary = (i != 2).then_some(0);
    }
}

/// Short convolutions between attentions, one of which has a window.
fn convolutions(config: &mut Config) {
    config.family = "convolutions".into();
    let conv = |width, bias| Mixer::ShortConv(ShortConv { channels: 40 + usize::from(bias) * 9, width, bias });
    config.layers[0].mixer = conv(3, false);
    config.layers[2].mixer = conv(32, true);
    config.layers[1].attention_mut().expect("attention").window = Some(11);
}

/// Delta nets, whose state is kept at marks, around an attention with a window.
fn delta_nets(config: &mut Config) {
    config.family = "delta nets".into();
    let delta =
        |n_heads, width| Mixer::DeltaNet(DeltaNet { n_key_heads: 2, n_heads, key_dim: 8, value_dim: 12, width });
    config.layers[0].mixer = delta(4, 4);
    config.layers[2].mixer = delta(2, 1);
    config.layers[1].attention_mut().expect("attention").window = Some(11);
}

/// State spaces, whose state is kept at marks, one of them beside an attention with a window.
fn state_spaces(config: &mut Config) {
    config.family = "state spaces".into();
    let mamba = |n_groups, width| {
        let norm = Some(ScanNorm { n_groups, before_gate: false });
        let (head_dim, state_dim) = (10, 8);
        Mixer::Mamba2(Mamba2 {
            n_heads: 4,
            head_dim,
            state_dim,
            n_groups,
            width,
            conv_bias: true,
            step_limits: None,
            norm,
        })
    };
    config.layers[0].mixer = mamba(2, 4);
    let channels = Mamba1 { channels: 40, state_dim: 5, step_rank: 3, width: 4, conv_bias: true };
    config.layers[2].mixer = Mixer::Mamba1(channels);
    config.layers[1].beside = Some(mamba(1, 3));
    config.layers[1].attention_mut().expect("attention").window = Some(11);
}

/// The position that a text of a model named so is taken back to: delta nets and state spaces go to marks.
fn taken_back(name: &str, position: usize) -> usize {
    if ["delta nets", "state spaces"].contains(&name) { position / KV_BLOCK * KV_BLOCK } else { position }
}

/// The same with other groups of the state space beside an attention.
fn other_groups(config: &mut Config) {
    state_spaces(config);
    config.layers[1].beside = Some(config.layers[0].mixer.clone());
}

/// The same with a kernel that spans other positions.
fn other_width(config: &mut Config) {
    convolutions(config);
    config.layers[2].mixer = Mixer::ShortConv(ShortConv { channels: 49, width: 5, bias: true });
}

/// The same with another number of heads.
fn other_heads(config: &mut Config) {
    delta_nets(config);
    config.layers[2].mixer = config.layers[0].mixer.clone();
}

/// The models: a window alone, and layers that differ.
fn models() -> [(&'static str, TinyModel); 6] {
    let mut window = TinyModel::llama();
    window.config.sliding_window = Some(9);
    let models = [
        ("window", window),
        ("mixed", TinyModel { change: mixed, ..TinyModel::llama() }),
        ("windows", TinyModel { change: windows, ..TinyModel::llama() }),
        ("convolutions", TinyModel { change: convolutions, ..TinyModel::llama() }),
        ("delta nets", TinyModel { change: delta_nets, ..TinyModel::llama() }),
        ("state spaces", TinyModel { change: state_spaces, ..TinyModel::llama() }),
    ];
    models.map(|(name, mut tiny)| {
        (tiny.config.context_length, tiny.config.n_layers) = (CONTEXT, 3);
        (name, tiny)
    })
}

fn each_model(folder: &Folder, body: impl Fn(&str, &Arc<Model>, &Arc<Compute>)) {
    each_file(folder, |name, file, compute| body(name, file.model(), compute));
}

/// The same with their files.
fn each_file(folder: &Folder, body: impl Fn(&str, &ModelFile, &Arc<Compute>)) {
    let compute = Arc::new(Compute::new(kernels::detect(), 2).expect("threads"));
    models().iter().for_each(|(name, tiny)| body(name, &tiny.open_file(&folder.path(name)), &compute));
}

fn session(model: &Arc<Model>, compute: &Arc<Compute>, kv: KvDtype) -> Session {
    let options = SessionOptions { context_length: CONTEXT, kv, batch: BATCH, ..SessionOptions::default() };
    Session::new(model, compute, options).expect("a session")
}

fn text(n: usize, seed: u32) -> Vec<TokenId> {
    (0..n as u32).map(|i| (i * i * 31 + i * 7 + seed) % 256).collect()
}

fn bits(logits: &[f32]) -> Vec<u32> {
    logits.iter().map(|logit| logit.to_bits()).collect()
}

/// The bytes of all that `session` holds.
fn saved(session: &mut Session, settings: &Settings) -> Vec<u8> {
    let mut bytes = Vec::new();
    let tokens = session.state().tokens().to_vec();
    let part = Part { start: 0, parent: Key::default(), tokens: &tokens, n_held: tokens.len(), note: b"note" };
    let compute = Arc::clone(session.compute());
    save(session.state_mut(), &compute, settings, part, &mut |part| {
        bytes.extend_from_slice(part);
        Ok(())
    })
    .expect("saved");
    bytes
}

/// The logits after `tokens` in a session that did nothing else.
fn fresh(model: &Arc<Model>, compute: &Arc<Compute>, kv: KvDtype, tokens: &[TokenId]) -> Vec<u32> {
    bits(session(model, compute, kv).extend(tokens).expect("room"))
}

#[test]
fn a_text_longer_than_the_ring_goes_on_to_the_same_bits() {
    let folder = Folder::new("saved-windows");
    each_model(&folder, |name, model, compute| {
        for kv in KvDtype::ALL {
            let settings = Settings::new(model, kv);
            for n in [1, 9, 31, 32, 40, 41, 64, 96, 103, 104, 200, 290] {
                let what = format!("{name} {kv:?} {n}");
                let tokens = text(n + 5, 1);
                let mut first = session(model, compute, kv);
                first.extend(&text(250, 9)).expect("room");
                first.rewind(0);
                first.extend(&tokens[..n]).expect("room");
                let bytes = saved(&mut first, &settings);
                assert_eq!(bytes[8], 2, "{what}: the version");
                let mut clean = session(model, compute, kv);
                clean.extend(&tokens[..n]).expect("room");
                assert!(bytes == saved(&mut clean, &settings), "{what}: what was there before leaves a trace");

                let read = Saved::read(&bytes, &settings).expect("whole");
                let mut second = session(model, compute, kv);
                second.extend(&text(100, 3)).expect("room");
                second.rewind(0);
                read.restore(second.state_mut()).expect("room");
                assert_eq!(second.position(), n, "{what}");
                assert!(bytes == saved(&mut second, &settings), "{what}: saved anew without going on");
                // The last token can be computed anew, for its logits.
                let held = second.rewind(n - 1);
                assert_eq!(held, taken_back(name, n - 1), "{what}");
                let last = bits(second.extend(&tokens[held..n]).expect("room"));
                assert!(last == fresh(model, compute, kv, &tokens[..n]), "{what}");
                let expected = bits(first.extend(&tokens[n..]).expect("room"));
                assert!(bits(second.extend(&tokens[n..]).expect("room")) == expected, "{what}");
            }
        }
    });
}

#[test]
fn tokens_that_were_taken_back_are_never_saved_with_what_the_rings_have_lost() {
    let folder = Folder::new("saved-back");
    each_model(&folder, |name, model, compute| {
        let settings = Settings::new(model, KvDtype::F16);
        let mut computed_anew = 0;
        for end in [96, 200] {
            for n in end - 60..end {
                let what = format!("{name}: {n} of {end}");
                let tokens = text(end, 1);
                let mut first = session(model, compute, KvDtype::F16);
                first.extend(&tokens).expect("room");
                let held = first.rewind(n);
                assert!(held == taken_back(name, n) || (held == 0 && end - n > BATCH), "{what}: {held} are held");
                let bytes = saved(&mut first, &settings);
                let read = Saved::read(&bytes, &settings).expect("whole");
                computed_anew += usize::from(read.n_held < held);
                assert!(read.n_held == held || read.n_held == 0, "{what}");
                let mut second = session(model, compute, KvDtype::F16);
                read.restore(second.state_mut()).expect("room");
                let expected = fresh(model, compute, KvDtype::F16, &tokens[..held + 1]);
                // Goes on from as far back as the session allows.
                for back in [0, 1, 9] {
                    let position = second.rewind(held.saturating_sub(back).max(1) - 1);
                    let logits = bits(second.extend(&tokens[position..held + 1]).expect("room"));
                    assert!(logits == expected, "{what} -{back}");
                }
            }
        }
        assert!(computed_anew > 0 || name == "windows", "{name}: some lack a position");
    });
}

#[test]
fn no_flipped_bit_and_no_cut_file_is_restored() {
    let folder = Folder::new("saved-windows-damage");
    each_model(&folder, |name, model, compute| {
        let settings = Settings::new(model, KvDtype::Int8);
        let mut session = session(model, compute, KvDtype::Int8);
        session.extend(&text(70, 1)).expect("room");
        let mut bytes = saved(&mut session, &settings);
        let tokens_at = 8 + 4 + 12 + 16 * model.config().n_layers() + 32 + 32 + 16;
        let after = (tokens_at..bytes.len()).step_by(37).map(|byte| byte * 8 + byte % 8);
        for bit in (0..tokens_at * 8).chain(after) {
            bytes[bit / 8] ^= 1 << (bit % 8);
            let error = Saved::read(&bytes, &settings).expect_err("damaged");
            assert!(error.kind() == Kind::Data && error.has_place(), "{name} bit {bit}: {error}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        for n in (0..tokens_at + 8).chain((tokens_at..bytes.len()).step_by(101)) {
            let error = Saved::read(&bytes[..n], &settings).expect_err("cut");
            assert!(error.offset().is_some(), "{name} {n}: {error}");
        }
        bytes.push(0);
        Saved::read(&bytes, &settings).expect_err("a byte too many");
    });
}

/// M-39
#[test]
fn a_session_of_another_layout_is_refused_by_what_differs() {
    let folder = Folder::new("saved-layouts");
    let compute = Arc::new(Compute::new(kernels::detect(), 1).expect("threads"));
    let kv = KvDtype::F16;
    let [window, mixed, windows, convolutions, delta_nets, state_spaces] =
        models().map(|(name, tiny)| tiny.open(&folder.path(name)));
    let mut plain = TinyModel::llama();
    (plain.config.n_layers, plain.config.context_length) = (3, CONTEXT);
    let plain = plain.open(&folder.path("plain"));
    let mut wider = TinyModel::llama();
    (wider.config.n_layers, wider.config.sliding_window) = (3, Some(10));
    let wider = wider.open(&folder.path("wider"));
    let mut short = TinyModel::llama();
    (short.config.n_layers, short.config.sliding_window) = (2, Some(9));
    let short = short.open(&folder.path("short"));
    let mut other_width = TinyModel { change: other_width, ..TinyModel::llama() };
    other_width.config.n_layers = 3;
    let other_width = other_width.open(&folder.path("other-width"));
    let mut other_heads = TinyModel { change: other_heads, ..TinyModel::llama() };
    other_heads.config.n_layers = 3;
    let other_heads = other_heads.open(&folder.path("other-heads"));
    let mut other_groups = TinyModel { change: other_groups, ..TinyModel::llama() };
    other_groups.config.n_layers = 3;
    let other_groups = other_groups.open(&folder.path("other-groups"));
    let bytes_of = |model: &Arc<Model>, kv| {
        let mut session = session(model, &compute, kv);
        session.extend(&text(50, 1)).expect("room");
        saved(&mut session, &Settings::new(model, kv))
    };
    let mut newer = bytes_of(&window, kv);
    newer[8] = 3;
    let mut other_kind = bytes_of(&window, kv);
    other_kind[24] = 1;
    let mut other_model = bytes_of(&window, kv);
    other_model[8 + 4 + 12 + 48] ^= 1;
    let rows = [
        (&window, bytes_of(&plain, kv), "all remember alike and every position"),
        (&plain, bytes_of(&window, kv), "its layers differ, have windows or are no attention"),
        (&window, bytes_of(&wider, kv), "window of layer 0 at byte 0x24: it was saved with another one (10, now 9)"),
        (&window, bytes_of(&mixed, kv), "window of layer 0 at byte 0x24: it was saved with another one (11, now 9)"),
        (&mixed, bytes_of(&windows, kv), "window of layer 0"),
        (&window, bytes_of(&windows, kv), "KV heads of layer 1 at byte 0x2c: it was saved with another one (4, now 2)"),
        (&window, bytes_of(&short, kv), "layers at byte 0x14: it was saved with another one (2, now 3)"),
        (&window, bytes_of(&window, KvDtype::Int8), "type of the KV cache"),
        (
            &mixed,
            bytes_of(&convolutions, kv),
            "kind of state of layer 0 at byte 0x18: it was saved with another one (1, now 0)",
        ),
        (&convolutions, bytes_of(&mixed, kv), "kind of state of layer 0"),
        (&delta_nets, bytes_of(&convolutions, kv), "kind of state of layer 0"),
        (&delta_nets, bytes_of(&other_heads, kv), "heads of layer 2 at byte 0x3c"),
        (&state_spaces, bytes_of(&delta_nets, kv), "kind of state of layer 0"),
        // The second state of layer 1, which has a key-value cache before it.
        (&state_spaces, bytes_of(&other_groups, kv), "groups and heads of layer 1 at byte 0x3c"),
        (&convolutions, bytes_of(&other_width, kv), "width of the kernel of layer 2 at byte 0x40"),
        (&window, newer, "version 3 is not one of 1 and 2"),
        (&window, other_kind, "kind of state of layer 0"),
        (&window, other_model, "another model file"),
    ];
    for (model, bytes, expected) in rows {
        let error = Saved::read(&bytes, &Settings::new(model, kv)).expect_err(expected);
        assert_eq!(error.kind(), Kind::Data);
        assert!(error.offset().is_some() && error.to_string().contains(expected), "{error}");
    }
}

/// Appends `tokens` to an empty session and keeps each block of the text as soon as it is computed, while all layers hold it.
fn kept_under_way(path: &Path, file: &ModelFile, compute: &Arc<Compute>, tokens: &[TokenId]) {
    let model = file.model();
    let cache = PrefixCache::open(path, file, KvDtype::F16, 1 << 30).expect("a folder");
    let mut session = session(model, compute, KvDtype::F16);
    for part in tokens.chunks(KV_BLOCK) {
        session.extend(part).expect("room");
        let block = (session.position() - 1) / KV_BLOCK;
        assert!(session.state().holds_block(block), "the block that was computed last");
        assert_eq!(cache.keep(session.state_mut(), compute, tokens).expect("kept"), part.len());
    }
}

#[test]
fn beginnings_that_were_kept_under_way_come_back_to_the_same_bits() {
    let folder = Folder::new("prefix-windows");
    each_file(&folder, |name, file, compute| {
        let model = file.model();
        let kept = folder.path(&format!("kept-{name}"));
        let long = text(230, 1);
        kept_under_way(&kept, file, compute, &long);
        let mut branch = long[..130].to_vec();
        branch.extend(text(90, 5));
        let other = text(50, 77);
        let cases: [(&[TokenId], usize); 6] =
            [(&long, 229), (&long[..224], 223), (&long[..100], 96), (&long[..64], 63), (&branch, 128), (&other, 0)];
        for (tokens, expected) in cases {
            let expected = taken_back(name, expected);
            let cache = PrefixCache::open(&kept, file, KvDtype::F16, 1 << 30).expect("a folder");
            let mut session = session(model, compute, KvDtype::F16);
            let n = cache.restore(session.state_mut(), tokens).expect("restored");
            assert_eq!(n, expected, "{name}: {} tokens", tokens.len());
            let logits = bits(session.extend(&tokens[n..]).expect("room"));
            assert!(logits == fresh(model, compute, KvDtype::F16, tokens), "{name}: {} tokens", tokens.len());
        }
    });
}

#[test]
fn what_the_rings_have_given_up_is_not_kept() {
    let folder = Folder::new("prefix-given-up");
    each_file(&folder, |name, file, compute| {
        let model = file.model();
        let kept = folder.path(&format!("kept-{name}"));
        let tokens = text(230, 1);
        let cache = PrefixCache::open(&kept, file, KvDtype::F16, 1 << 30).expect("a folder");
        let mut session = session(model, compute, KvDtype::F16);
        session.extend(&tokens).expect("room");
        let first = (0..).find(|block| session.state().holds_block(*block)).expect("the last at least");
        assert!(first > 0, "{name}");
        assert_eq!(cache.keep(session.state_mut(), compute, &tokens).expect("kept"), 230 - KV_BLOCK * first);
        // Without its beginning, the rest is of no use, and does no harm.
        let mut second = self::session(model, compute, KvDtype::F16);
        assert_eq!(cache.restore(second.state_mut(), &tokens).expect("nothing"), 0, "{name}");
    });
}

/// The file of a session of the story model, 40 tokens after "Once upon a time": version 1. With the story model before, the same
/// program wrote the bytes of programs before version 2.
const BEFORE: &str = "7c642d4cae097307138458cafc4354c9d89882770aad647b3aa7df29a0cf7059";

#[test]
fn sessions_of_layers_that_are_alike_have_the_bytes_of_before() {
    let folder = Folder::new("saved-before");
    let path = folder.path("before.session");
    let run = |n: &str| {
        let mut command = program::whit();
        command.args(["generate", "-m", "models/stories.whit", "-q", "--seed", "1", "--temp", "0", "-n", n]);
        command.arg("--session").arg(&path).current_dir(env!("CARGO_MANIFEST_DIR"));
        command
    };
    let output = run("40").arg("Once upon a time").output().expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let bytes = std::fs::read(&path).expect("written");
    assert_eq!((bytes.len(), bytes[8]), (246_080, 1));
    let hash: String = bytes[bytes.len() - 32..].iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hash, BEFORE, "the hash at the end, over all before it");
    let output = run("5").output().expect("the program starts");
    assert!(output.status.success(), "it goes on: {}", String::from_utf8_lossy(&output.stderr));
}
