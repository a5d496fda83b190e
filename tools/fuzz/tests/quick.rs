//! A few thousand cases of every format, and proof that a broken promise does not go unseen.

use std::process::{Command, Output};

use whit_fuzz::random::Random;
use whit_fuzz::targets;

fn fuzz(arguments: &[&str]) -> (Output, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_whit-fuzz")).args(arguments).output().expect("the program starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output, text)
}

#[test]
fn no_format_breaks_a_promise() {
    let (output, text) = fuzz(&["all", "--cases", "2000"]);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    for target in targets::all() {
        let line = text.lines().find(|line| line.starts_with(&format!("{}: 2000 cases", target.name())));
        let line = line.unwrap_or_else(|| panic!("{} is not told: {text}", target.name()));
        let share = line.split(" % accepted").next().and_then(|before| before.rsplit(' ').next());
        let share: f64 = share.and_then(|number| number.parse().ok()).expect("a share");
        assert!((10.0..90.0).contains(&share), "too few or too many cases are accepted: {line}");
    }
}

#[test]
fn every_broken_promise_is_found() {
    let expected = [
        // In a release a panic ends the process: it has no tables to unwind by.
        ("panic", if cfg!(debug_assertions) { "panicked at" } else { "the process ends" }),
        ("abort", "the process ends"),
        ("stack", "the process ends"),
        ("hang", "it hangs"),
        ("work", "ms of work"),
        ("heap", "bytes of heap"),
        ("allocation", "at once"),
        ("line", "moves the cursor"),
        ("place", "without field or offset"),
    ];
    for (name, says) in expected {
        let (output, text) = fuzz(&[&format!("broken-{name}"), "--cases", "1", "--seed", "7"]);
        assert_eq!(output.status.code(), Some(1), "{name}: {text}");
        let told = text.contains(&format!("FINDING broken-{name} --replay 7:0: ")) && text.contains(says);
        assert!(told && text.contains("1 cases") && text.contains(" 1 findings"), "{name}: {text}");
    }
}

#[test]
fn a_case_follows_from_its_seed_and_number() {
    for target in targets::all() {
        let make = |seed, case| target.make(&mut Random::of_case(target.name(), seed, case));
        assert!(make(1, 5) == make(1, 5), "{}", target.name());
        assert!(make(1, 5) != make(1, 6) && make(1, 5) != make(2, 5), "{}", target.name());
    }
}

#[test]
fn a_replay_writes_the_files_of_its_case() {
    let folder = std::env::temp_dir().join(format!("whit-fuzz-test-{}", std::process::id()));
    let path = folder.to_string_lossy().into_owned();
    let (output, text) = fuzz(&["gguf", "--replay", "3:4", "--write", &path]);
    let bytes = std::fs::read(folder.join("model.gguf")).expect("written");
    let _ = std::fs::remove_dir_all(&folder);
    assert!(output.status.success() && text.contains("heap: "), "{text}");
    let made = targets::named("gguf")[0].make(&mut Random::of_case("gguf", 3, 4));
    assert_eq!(made, [("model.gguf".to_string(), bytes)]);
}
