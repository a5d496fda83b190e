//! What is kept of texts is of whole weights: a model file that is damaged, or changed while it is in use, keeps nothing under the
//! name of the whole one.
#![cfg(all(feature = "cli", unix))]

mod program;
mod support;

use program::whit;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use std::time::Duration;
use support::{Folder, TinyModel};
use whit::error::Kind;
use whit::generate::{ModelFile, PrefixCache};
use whit::ops::KvDtype;
use whit::{Compute, Session, SessionOptions, kernels};

/// Longer than a block of what is kept.
const PROMPT: &str = "the other day he went to see the other one who said that there was no one there";

fn model(folder: &Folder) -> PathBuf {
    let path = folder.path("m.whit");
    let mut tiny = TinyModel::llama();
    tiny.config.context_length = 512;
    tiny.template = Some("{% for m in messages %}{{ m.content }} {% endfor %}");
    tiny.write(&path);
    path
}

/// Flips bits of the weights of the file, in place.
fn damage(path: &Path) {
    let bytes = std::fs::read(path).expect("a model");
    let front = whit::format::File::front_bytes(&bytes).expect("a model");
    // Within the rows of the embedding, which every text reads.
    let file = File::options().write(true).open(path).expect("a model");
    let flipped: Vec<u8> = bytes[front + 200..front + 3000].iter().map(|byte| byte ^ 0x11).collect();
    file.write_all_at(&flipped, front as u64 + 200).expect("written over");
}

fn generate(model: &Path, more: &[&str]) -> Output {
    let mut command = whit();
    command.args(["generate", "-s", "3", "-n", "9", "-t", "1", "-m"]).arg(model).args(more).arg(PROMPT);
    command.output().expect("whit starts")
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn text(output: Output) -> Vec<u8> {
    assert!(output.status.success(), "{}", told(&output));
    output.stdout
}

/// M-43
#[test]
fn a_damaged_model_keeps_nothing_that_a_whole_one_would_use() {
    let folder = Folder::new("verified");
    let path = model(&folder);
    let whole = std::fs::read(&path).expect("a model");
    let (cache, session) = (folder.path("cache"), folder.path("text.session"));
    let [cache, session] = [&cache, &session].map(|path| path.to_str().expect("UTF-8"));
    let expected = text(generate(&path, &[]));
    damage(&path);
    let damaged = text(generate(&path, &[]));
    assert!(damaged != expected, "another text, where nothing is kept");
    for more in [["--cache", cache], ["--session", session]] {
        let output = generate(&path, &more);
        assert_eq!(output.status.code(), Some(65), "{more:?}: {}", told(&output));
        assert!(told(&output).contains("m.whit: tensor \"embedding\""), "{}", told(&output));
        assert!(told(&output).contains("the checksum of its"), "{}", told(&output));
    }
    let mut chat = whit();
    chat.args(["chat", "--commands", "-q", "-n", "3", "-m"]).arg(&path);
    let lines = folder.write("lines", format!("one\n/save {session}\n"));
    let output = chat.stdin(File::open(lines).expect("there")).output().expect("whit starts");
    assert!(told(&output).contains("the checksum of its"), "{}", told(&output));
    assert!(!Path::new(session).exists());
    std::fs::write(&path, &whole).expect("mended");
    for more in [["--cache", cache], ["--cache", cache], ["--session", session]] {
        assert!(text(generate(&path, &more)) == expected, "{more:?}");
    }
    // And of what a whole one has kept, a damaged one uses nothing.
    damage(&path);
    for more in [["--cache", cache], ["--session", session]] {
        assert_eq!(generate(&path, &more).status.code(), Some(65), "{more:?}");
    }
}

/// M-43: a cache of the library.
#[test]
fn a_file_that_changes_is_kept_nothing_of() {
    let folder = Folder::new("verified-changed");
    let path = model(&folder);
    let file = ModelFile::open(&path).expect("a model");
    let compute = Arc::new(Compute::new(kernels::detect(), 1).expect("threads"));
    let cache = PrefixCache::open(&folder.path("cache"), &file, KvDtype::F16, 1 << 30).expect("whole");
    damage(&path);
    let options = SessionOptions { context_length: 200, ..SessionOptions::default() };
    let mut session = Session::new(file.model(), &compute, options).expect("a session");
    let tokens: Vec<u32> = (0..64).collect();
    session.extend(&tokens).expect("room");
    let error = cache.keep(session.state_mut(), &compute, &tokens).expect_err("it was changed");
    assert_eq!(error.kind(), Kind::Io, "{error}");
    let entries = std::fs::read_dir(folder.path("cache")).expect("listed").flatten();
    assert_eq!(entries.filter(|entry| entry.path().extension().is_some_and(|end| end == "kv")).count(), 0);
    let changed = ModelFile::open(&path).expect("its tables are whole");
    let error = PrefixCache::open(&folder.path("cache"), &changed, KvDtype::F16, 1 << 30).map(drop);
    assert_eq!(error.expect_err("damaged").kind(), Kind::Data);
}

#[test]
fn weights_are_verified_once_until_the_file_changes() {
    let folder = Folder::new("verified-once");
    let path = model(&folder);
    let cache = folder.path("cache");
    let cache = cache.to_str().expect("UTF-8");
    let is_read = |more: &[&str]| {
        let output = generate(&path, &[&["-v"], more].concat());
        let told = told(&output);
        text(output);
        told.contains(" of weights verified in ")
    };
    assert!(is_read(&["--cache", cache]));
    // What was changed just now may be changed again within the same tick of the clock.
    std::thread::sleep(Duration::from_millis(3100));
    let knows_starts = Path::new("/proc/sys/kernel/random/boot_id").exists();
    assert!(is_read(&["--cache", cache]));
    assert_eq!(is_read(&["--cache", cache]), !knows_starts, "once");
    assert_eq!(is_read(&["--cache", cache, "--session", &format!("{cache}/../text.session")]), !knows_starts);
    let bytes = std::fs::read(&path).expect("a model");
    std::fs::write(&path, bytes).expect("written anew");
    assert!(is_read(&["--cache", cache]), "another state of the file");
    // Notes of earlier starts go, other files stay.
    if knows_starts {
        let note = std::fs::read_dir(cache).expect("listed").flatten().map(|entry| entry.file_name());
        let note = note.filter_map(|name| name.into_string().ok()).find(|name| name.ends_with(".verified"));
        let (start, rest) = note.as_deref().and_then(|name| name.split_once('-')).expect("a note");
        let before = format!("{cache}/{}-{rest}", start.replace(|_: char| true, "0"));
        std::fs::write(&before, "").expect("written");
        std::fs::write(format!("{cache}/my.verified"), "").expect("written");
        std::thread::sleep(Duration::from_millis(3100));
        assert!(is_read(&["--cache", cache]));
        assert!(!Path::new(&before).exists() && Path::new(&format!("{cache}/my.verified")).exists());
    }
    assert!(!is_read(&[]), "nothing is kept, so nothing is verified");
}
