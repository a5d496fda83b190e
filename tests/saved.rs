//! What is saved of a text and what is kept of its beginning come back to the last bit, or not at all.

mod support;

use std::path::Path;
use std::sync::Arc;
use support::{Folder, TinyModel};
use whit::error::Kind;
use whit::generate::{ModelFile, PrefixCache};
use whit::kernels;
use whit::model::saved::{Key, Part, Saved, Settings, save};
use whit::ops::KvDtype;
use whit::{Compute, Model, Session, SessionOptions, TokenId};

const CONTEXT: usize = 200;

/// Calls `body` with each kind of tiny model.
fn each_model(folder: &Folder, body: impl Fn(&Arc<Model>, &Arc<Compute>)) {
    each_file(folder, |file, compute| body(file.model(), compute));
}

/// The same with their files.
fn each_file(folder: &Folder, body: impl Fn(&ModelFile, &Arc<Compute>)) {
    let compute = Arc::new(Compute::new(kernels::detect(), 2).expect("threads"));
    for (name, mut tiny) in [("llama", TinyModel::llama()), ("gpt2", TinyModel::gpt2())] {
        tiny.config.context_length = CONTEXT;
        body(&tiny.open_file(&folder.path(name)), &compute);
    }
}

fn session(model: &Arc<Model>, compute: &Arc<Compute>, kv: KvDtype) -> Session {
    let options = SessionOptions { context_length: CONTEXT, kv, batch: 7, ..SessionOptions::default() };
    Session::new(model, compute, options).expect("a session")
}

fn n_kv_heads(model: &Model) -> usize {
    model.config().layers[0].attention().expect("attention").n_kv_heads
}

fn text(n: usize, seed: u32) -> Vec<TokenId> {
    (0..n as u32).map(|i| (i * i * 31 + i * 7 + seed) % 256).collect()
}

fn bits(logits: &[f32]) -> Vec<u32> {
    logits.iter().map(|logit| logit.to_bits()).collect()
}

/// The bytes of a session that holds the first `n_held` of `tokens`.
fn saved(session: &mut Session, settings: &Settings, tokens: &[TokenId], note: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let n_held = session.position();
    let part = Part { start: 0, parent: Key::default(), tokens, n_held, note };
    let compute = Arc::clone(session.compute());
    save(session.state_mut(), &compute, settings, part, &mut |part| {
        bytes.extend_from_slice(part);
        Ok(())
    })
    .expect("saved");
    bytes
}

#[test]
fn a_saved_session_goes_on_to_the_same_bits() {
    let folder = Folder::new("saved");
    each_model(&folder, |model, compute| {
        for kv in KvDtype::ALL {
            let settings = Settings::new(model, kv);
            for n in [1, 2, 31, 32, 33, 63, 64, 150] {
                let tokens = text(n + 3, 1);
                let mut first = session(model, compute, kv);
                // What was there before must leave no trace.
                first.extend(&text(CONTEXT, 9)).expect("room");
                first.rewind(0);
                first.extend(&tokens[..n]).expect("room");
                let bytes = saved(&mut first, &settings, &tokens, b"a note");
                let mut clean = session(model, compute, kv);
                clean.extend(&tokens[..n]).expect("room");
                assert!(bytes == saved(&mut clean, &settings, &tokens, b"a note"), "{kv:?} {n}");
                let read = Saved::read(&bytes, &settings).expect("whole");
                assert_eq!((read.tokens.as_slice(), read.n_held, read.note), (&tokens[..], n, &b"a note"[..]));
                let mut second = session(model, compute, kv);
                read.restore(second.state_mut()).expect("room");
                assert_eq!(second.position(), n);
                let expected = bits(first.extend(&tokens[n..]).expect("room"));
                assert_eq!(bits(second.extend(&tokens[n..]).expect("room")), expected, "{kv:?} {n}");
            }
        }
    });
}

#[test]
fn no_flipped_bit_is_restored_and_no_cut_file() {
    let folder = Folder::new("saved-damage");
    each_model(&folder, |model, compute| {
        let settings = Settings::new(model, KvDtype::Int8);
        let mut session = session(model, compute, KvDtype::Int8);
        session.extend(&text(5, 1)).expect("room");
        let mut bytes = saved(&mut session, &settings, &text(5, 1), b"note");
        // All bits up to the tokens, then one of each byte.
        let bits = (0..116 * 8).chain((116..bytes.len()).map(|byte| byte * 8 + byte % 8));
        for bit in bits {
            bytes[bit / 8] ^= 1 << (bit % 8);
            let error = Saved::read(&bytes, &settings).expect_err("damaged");
            assert_eq!(error.kind(), Kind::Data, "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        for n in 0..bytes.len() {
            let error = Saved::read(&bytes[..n], &settings).expect_err("cut");
            assert!(error.offset().is_some(), "{n}: {error}");
        }
        bytes.push(0);
        Saved::read(&bytes, &settings).expect_err("a byte too many");
    });
}

#[test]
fn other_settings_are_refused_by_what_differs() {
    let folder = Folder::new("saved-settings");
    each_model(&folder, |model, compute| {
        let mut session = session(model, compute, KvDtype::F16);
        session.extend(&text(5, 1)).expect("room");
        let bytes = saved(&mut session, &Settings::new(model, KvDtype::F16), &text(5, 1), b"");
        let error = Saved::read(&bytes, &Settings::new(model, KvDtype::Int8)).expect_err("another cache");
        assert!(error.to_string().contains("type of the KV cache"), "{error}");
        let error = Saved::read(&[0; 300], &Settings::new(model, KvDtype::F16)).expect_err("foreign");
        assert!(error.to_string().contains("not a saved session"), "{error}");
        let path = folder.path(&format!("{}.saved", n_kv_heads(model)));
        std::fs::write(&path, &bytes).expect("written");
    });
    each_model(&folder, |model, _| {
        let other = if n_kv_heads(model) == 2 { 4 } else { 2 };
        let bytes = std::fs::read(folder.path(&format!("{other}.saved"))).expect("read");
        let error = Saved::read(&bytes, &Settings::new(model, KvDtype::F16)).expect_err("another model");
        assert!(error.to_string().contains("KV heads"), "{error}");
    });
}

/// The logits after `tokens`, the beginning being restored from the folder at `path`; and how much was.
fn continued(path: &Path, file: &ModelFile, compute: &Arc<Compute>, tokens: &[TokenId]) -> (usize, Vec<u32>) {
    let model = file.model();
    let cache = PrefixCache::open(path, file, KvDtype::F16, 1 << 30).expect("a folder");
    let mut session = session(model, compute, KvDtype::F16);
    let n = cache.restore(session.state_mut(), tokens).expect("restored");
    let logits = bits(session.extend(&tokens[n..]).expect("room"));
    cache.keep(session.state_mut(), compute, tokens).expect("kept");
    (n, logits)
}

#[test]
fn the_longest_kept_beginning_is_restored_to_the_same_bits() {
    let folder = Folder::new("prefix");
    each_file(&folder, |file, compute| {
        let model = file.model();
        let kept = folder.path(&format!("kept-{}", n_kv_heads(model)));
        let long = text(100, 1);
        let mut branch = long[..70].to_vec();
        branch.extend(text(40, 5));
        // Tokens asked for, and how many of them come from the folder at that moment.
        let cases: [(&[TokenId], usize); 8] = [
            (&long[..40], 0),
            (&long[..40], 39),
            (&long, 40),
            (&long, 99),
            (&long[..64], 63),
            (&branch, 64),
            (&branch, 109),
            (&text(50, 77), 0),
        ];
        for (tokens, expected) in cases {
            let (n, logits) = continued(&kept, file, compute, tokens);
            assert_eq!(n, expected, "{} tokens", tokens.len());
            let mut fresh = session(model, compute, KvDtype::F16);
            assert_eq!(logits, bits(fresh.extend(tokens).expect("room")));
        }
    });
}

#[test]
fn damaged_entries_are_dropped_and_the_oldest_go_first() {
    let folder = Folder::new("prefix-damage");
    each_file(&folder, |file, compute| {
        let model = file.model();
        let kept = folder.path(&format!("kept-{}", n_kv_heads(model)));
        let tokens = text(96, 1);
        continued(&kept, file, compute, &tokens);
        let mut files: Vec<_> =
            std::fs::read_dir(&kept).expect("listed").map(|e| e.expect("an entry").path()).collect();
        assert_eq!(files.len(), 3);
        files.sort_by_key(|path| std::fs::read(path).expect("read")[96..100].to_vec());
        let mut second = std::fs::read(&files[1]).expect("read");
        second[200] ^= 1;
        std::fs::write(&files[1], second).expect("written");
        let fresh = bits(session(model, compute, KvDtype::F16).extend(&tokens).expect("room"));
        assert_eq!(continued(&kept, file, compute, &tokens), (32, fresh.clone()));
        assert_eq!(continued(&kept, file, compute, &tokens), (95, fresh.clone()), "written anew");
        // An entry under another's name.
        std::fs::copy(&files[0], &files[2]).expect("copied");
        assert_eq!(continued(&kept, file, compute, &tokens), (64, fresh.clone()));
        // Empty, as a power loss may leave it.
        std::fs::write(&files[0], b"").expect("written");
        assert_eq!(continued(&kept, file, compute, &tokens), (0, fresh));

        let bytes = std::fs::metadata(&files[0]).expect("there").len();
        let small = PrefixCache::open(&kept, file, KvDtype::F16, 2 * bytes + 9).expect("a folder");
        let mut session = session(model, compute, KvDtype::F16);
        session.extend(&text(64, 44)).expect("room");
        assert_eq!(small.keep(session.state_mut(), compute, &text(64, 44)).expect("kept"), 64);
        let left: Vec<_> = std::fs::read_dir(&kept).expect("listed").map(|e| e.expect("an entry").path()).collect();
        assert_eq!(left.len(), 2);
        assert!(files.iter().all(|old| !left.contains(old)), "the new ones stay");
    });
}

#[test]
fn a_cache_keeps_what_a_state_holds_and_nothing_else() {
    let folder = Folder::new("prefix-other");
    each_file(&folder, |file, compute| {
        let model = file.model();
        let path = folder.path(&format!("{}.cache", n_kv_heads(model)));
        let cache = PrefixCache::open(&path, file, KvDtype::F16, 1 << 30).expect("a folder");
        let mut session = session(model, compute, KvDtype::F16);
        let tokens = text(50, 7);
        session.append(&tokens).expect("room");
        let mut other = tokens.clone();
        other[10] ^= 1;
        for (tokens, words) in [(&other[..], "another text"), (&tokens[..40], "40 tokens end within a block")] {
            let error = cache.keep(session.state_mut(), compute, tokens).expect_err("not this text").to_string();
            assert!(error.contains(words), "{error}");
        }
        assert_eq!(std::fs::read_dir(&path).expect("listed").count(), 0, "nothing is kept");
        assert_eq!(cache.keep(session.state_mut(), compute, &tokens[..32]), Ok(32), "whole blocks");
        assert_eq!(cache.keep(session.state_mut(), compute, &tokens), Ok(18), "the rest");
    });
}

/// Whatever else lies in the folder of a cache, by whatever name, stays.
#[test]
fn a_cache_removes_its_own_files_alone() {
    let folder = Folder::new("prefix-foreign");
    each_file(&folder, |file, compute| {
        let model = file.model();
        let path = folder.path(&format!("{}.cache", n_kv_heads(model)));
        let cache = PrefixCache::open(&path, file, KvDtype::F16, 1).expect("a folder");
        let mut session = session(model, compute, KvDtype::F16);
        let tokens = text(64, 9);
        session.append(&tokens).expect("room");
        let digits = "0123456789abcdef".repeat(4);
        let saved = b"whitKV\0\0 and so on";
        let foreign = [
            ("talk.kv", &saved[..]),
            ("notes.kv", b"text"),
            ("0.kv", saved),
            (&format!("{digits}.kv"), b"named alike, and something else"),
            (&format!("{}.kv", digits.to_uppercase()), saved),
            (&format!(".talk.kv.{}.partial", u32::MAX), saved),
        ];
        let long_ago = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1 << 30);
        for (name, content) in foreign {
            std::fs::write(path.join(name), content).expect("written");
            let file = std::fs::File::options().append(true).open(path.join(name)).expect("there");
            file.set_modified(long_ago).expect("aged");
        }
        assert_eq!(cache.keep(session.state_mut(), compute, &tokens), Ok(64));
        for (name, content) in foreign {
            assert_eq!(std::fs::read(path.join(name)).expect("there"), content, "{name}");
        }
        assert_eq!(
            std::fs::read_dir(&path).expect("listed").count(),
            foreign.len(),
            "its own are gone, of 1 byte at most"
        );
    });
}
