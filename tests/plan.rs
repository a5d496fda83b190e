//! The memory of a run is told before it starts, and what does not fit is refused with what would.
#![cfg(feature = "cli")]

mod program;
mod support;

use program::whit;
use serde_json::Value;
use support::{Folder, TinyModel};

fn plan(model: &str, more: &[&str]) -> Value {
    let output = whit().args(["plan", "-m", model, "--json"]).args(more).output().expect("whit starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn number(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or_else(|| panic!("{name} in {value}"))
}

#[test]
fn a_plan_adds_up_and_does_not_depend_on_the_machine() {
    let folder = Folder::new("plan");
    let path = folder.path("m.whit");
    TinyModel::llama().write(&path);
    let model = path.to_str().expect("UTF-8");
    let told = plan(model, &["--ctx", "32", "-t", "3"]);
    let parts = ["kv_bytes", "scratch_bytes", "stack_bytes", "table_bytes", "program_bytes"];
    let parts = parts.map(|name| number(&told, name));
    assert_eq!(number(&told, "private_bytes"), parts.iter().sum::<u64>());
    assert_eq!(number(&told, "mapped_bytes"), std::fs::metadata(&path).expect("the file").len());
    let twice = plan(model, &["--ctx", "64", "-t", "3", "--kv", "f16"]);
    assert_eq!(number(&twice, "kv_bytes"), 2 * number(&told, "kv_bytes"));
    let open = plan(model, &[]);
    assert_eq!(number(&open, "context_length"), number(&open, "model_context_length").min(4096));
}

/// L-14
#[test]
fn what_does_not_fit_is_refused_and_what_is_proposed_runs() {
    let folder = Folder::new("plan-refuses");
    let path = folder.path("m.whit");
    TinyModel::llama().write(&path);
    let model = path.to_str().expect("UTF-8");
    let whole = plan(model, &["--ctx", "64", "-t", "1"]);
    let allowed =
        (number(&whole, "private_bytes") - number(&whole, "kv_bytes") / 4 + number(&whole, "mapped_bytes")).to_string();
    let generate = |more: &[&str]| {
        let mut command = whit();
        command.args(["generate", "-q", "-m", model, "-n", "4", "-t", "1", "--max-memory", &allowed]).args(more);
        command.arg("the other").output().expect("whit starts")
    };
    let refused = generate(&["--ctx", "64"]);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(71), "{told}");
    assert!(told.starts_with("error[resources]: memory plan: ") && told.contains("--max-memory has"), "{told}");
    let proposed = told.split("--ctx ").nth(1).and_then(|rest| rest.split([',', ' ']).next()).expect("a proposal");
    assert!(generate(&["--ctx", proposed]).status.success(), "{proposed}");
    let nothing = whit().args(["generate", "-m", model, "--max-memory", "1k", "x"]).output().expect("whit starts");
    assert!(String::from_utf8_lossy(&nothing.stderr).contains("not even a context of 32 fits"));
}

/// Whatever is allowed, a run fits, or what is proposed instead does, or nothing would.
#[test]
fn proposals_run_at_every_size() {
    let folder = Folder::new("proposals");
    let path = folder.path("m.whit");
    let mut tiny = TinyModel::llama();
    tiny.config.context_length = 1 << 14;
    tiny.write(&path);
    let model = path.to_str().expect("UTF-8");
    let whole = plan(model, &["--ctx", "16384", "-t", "1"]);
    let [private, kv, mapped] = ["private_bytes", "kv_bytes", "mapped_bytes"].map(|name| number(&whole, name));
    let (mut fit, mut proposals) = (0, 0);
    for part in 0..9 {
        let allowed = (private - kv + kv / 8 * part + mapped).to_string();
        let generate = |context: &str| {
            let mut command = whit();
            command.args(["generate", "-q", "-m", model, "-n", "4", "-t", "1", "--max-memory", &allowed]);
            command.args(["--ctx", context, "the other"]).output().expect("whit starts")
        };
        let output = generate("16384");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() {
            fit += 1;
            continue;
        }
        assert_eq!(output.status.code(), Some(71), "{part}: {told}");
        let proposed = told.split("--ctx ").nth(1).and_then(|rest| rest.split([',', ' ', ')']).next());
        if let Some(proposed) = proposed {
            proposals += 1;
            assert!(generate(proposed).status.success(), "{part}: {told}");
        } else {
            assert!(told.contains("not even"), "{part}: {told}");
        }
    }
    assert!(fit >= 1 && proposals >= 6, "{fit} fit, {proposals} proposals");
}

#[cfg(feature = "default-model")]
#[test]
fn a_smaller_cache_is_proposed_where_it_would_fit() {
    let generate = |more: &[&str]| {
        let common = ["generate", "-q", "-n", "4", "-t", "1", "--ctx", "256", "--max-memory", "4000k", "Once"];
        whit().args(common).args(more).output().expect("whit starts")
    };
    let told = String::from_utf8_lossy(&generate(&[]).stderr).into_owned();
    assert!(told.contains("--kv int8 and --ctx 256, or --kv q4 and --ctx 256 would fit"), "{told}");
    assert!(generate(&["--kv", "int8"]).status.success() && generate(&["--kv", "q4"]).status.success());
}

/// Sets `ulimit -v` to `bytes` for the command; a shell has no word for single bytes.
#[cfg(target_os = "linux")]
fn under(bytes: u64, command: &std::process::Command) -> std::process::Output {
    let mut shell = std::process::Command::new("sh");
    shell.arg("-c").arg(format!("ulimit -v {} && exec \"$0\" \"$@\"", bytes.div_ceil(1024)));
    shell.arg(command.get_program()).args(command.get_args()).output().expect("a shell")
}

/// L-10
#[cfg(target_os = "linux")]
#[test]
fn a_run_within_the_planned_addresses_never_fails() {
    // An emulator's own addresses would count.
    if std::env::var_os("WHIT_TEST_RUNNER").is_some() {
        return;
    }
    let folder = Folder::new("plan-addresses");
    let path = folder.path("m.whit");
    TinyModel::gpt2().write(&path);
    let model = path.to_str().expect("UTF-8");
    for threads in ["1", "2", "4"] {
        let told = plan(model, &["--ctx", "48", "-t", threads]);
        let mut command = whit();
        command.args(["generate", "-q", "-m", model, "--ctx", "48", "-n", "-1", "-t", threads, "-s", "1", "the other"]);
        for _ in 0..5 {
            let output = under(number(&told, "address_space_bytes"), &command);
            assert!(output.status.success(), "{threads}: {}", String::from_utf8_lossy(&output.stderr));
        }
        let output = under(number(&told, "address_space_bytes") / 2, &command);
        assert!(!output.status.success(), "the limit holds");
    }
}
