//! `whit bench` and `whit trace` as their users run them, on tiny lengths. Nothing here looks at how fast it went.
#![cfg(feature = "cli")]

mod program;
mod support;

use program::whit;
use std::process::Output;
use support::{Folder, TinyModel};

/// A run of the tiny model in which nothing takes long.
const SHORT: [&str; 8] = ["--prefill", "3,8", "--depth", "0,5", "--decode", "2", "--limit-seconds", "0"];

fn run(args: &[&str]) -> Output {
    whit().args(args).output().expect("the program runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

/// What a run that succeeds prints.
fn stdout(args: &[&str]) -> String {
    let output = run(args);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", text(&output.stderr));
    text(&output.stdout).to_owned()
}

/// Fails unless the run ends with this code and one line on standard error that has `part` in it.
fn assert_error(args: &[&str], code: i32, part: &str) {
    let output = run(args);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
    assert!(said.lines().count() == 1 && said.contains(part), "{args:?} wants {part:?}: {said}");
    assert!(output.stdout.is_empty(), "nothing on standard output");
}

fn tiny(folder: &Folder, model: &TinyModel) -> String {
    let path = folder.path("tiny.whit");
    model.write(&path);
    path.to_str().expect("UTF-8").to_owned()
}

/// The first cells of the lines of a page that begin with the kernels' name.
fn rows(page: &str, n_cells: usize) -> Vec<String> {
    let rows = page.lines().filter(|line| line.starts_with("scalar "));
    rows.map(|line| line.split_whitespace().take(n_cells).collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn a_page_has_a_row_for_every_work_and_number_of_threads() {
    let args = ["bench", "-t", "1,2,1", "--kernels", "scalar", "--repeat", "1"];
    let page = stdout(&[&args[..], &SHORT].concat());
    let rows = rows(&page, 3);
    let expected = ["1 3", "2 3", "1 8", "2 8", "1 0", "2 0", "1 5", "2 5"];
    assert_eq!(rows, expected.map(|cells| format!("scalar {cells}")), "{page}");
    assert!(page.starts_with("machine  ") && page.contains("\nmodel    the embedded model: "), "{page}");
    assert!(page.lines().all(|line| line.chars().count() <= 80), "{page}");
}

#[test]
fn limits_are_measured_where_there_is_time() {
    let page =
        stdout(&["bench", "-t", "1", "--prefill", "4", "--decode", "0", "--repeat", "1", "--limit-seconds", "0.01"]);
    assert!(page.contains("read GB/s") && !page.contains("decode"), "{page}");
    let share = page.lines().last().expect("a row");
    assert!(share.ends_with('%'), "{page}");
}

#[test]
fn json_is_one_object_and_compares_with_itself() {
    let folder = Folder::new("bench-json");
    let model = tiny(&folder, &TinyModel::llama());
    let args = ["bench", "-m", &model, "-t", "1", "--kernels", "scalar", "--repeat", "2"];
    let args = [&args[..], &SHORT].concat();
    let json = stdout(&[&args[..], &["--json"]].concat());
    let value: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(value["bench"]["model"], "tiny.whit");
    assert_eq!(value["bench"]["format"], 1);
    let rows = value["rows"].as_array().expect("a list");
    let works: Vec<_> =
        rows.iter().map(|row| (row["work"].as_str(), row["tokens"].as_u64(), row["depth"].as_u64())).collect();
    let prefill = |n| (Some("prefill"), Some(n), Some(0));
    let decode = |depth| (Some("decode"), Some(2), Some(depth));
    assert_eq!(works, [prefill(3), prefill(8), decode(0), decode(5)]);
    for row in rows {
        let number = |name: &str| row[name].as_f64().unwrap_or_else(|| panic!("{name} of {row}"));
        assert!(number("min") <= number("tokens_per_second") && number("tokens_per_second") <= number("max"));
        assert!(number("macs_per_token") > 0.0 && number("bytes_per_token") > 0.0 && row["share_of_limit"].is_null());
    }

    let old = folder.write("old.json", &json);
    let old = old.to_str().expect("UTF-8");
    let page = stdout(&[&args[..], &["--compare", old]].concat());
    assert_eq!(page.matches("new/old").count(), 2, "{page}");
    let again = stdout(&[&args[..], &["--compare", old, "--json"]].concat());
    let again: serde_json::Value = serde_json::from_str(&again).expect("JSON");
    let ratios = again["rows"].as_array().expect("a list").iter().filter(|row| row["ratio"].as_f64() > Some(0.0));
    assert_eq!(ratios.count(), 4);

    let output = run(&[&args[..], &["--kv", "f32", "--compare", old]].concat());
    assert!(text(&output.stderr).contains("another kv: f16 before, f32 now"), "{}", text(&output.stderr));
}

#[test]
fn texts_together_have_rows_of_their_own() {
    let folder = Folder::new("bench-texts");
    let model = tiny(&folder, &TinyModel::llama());
    let short = ["-t", "1", "--kernels", "scalar", "--repeat", "1", "--prefill", "0", "--depth", "0", "--decode", "3"];
    let args = [&["bench", "-m", &model, "--texts", "4,1,4", "--limit-seconds", "0.01"][..], &short].concat();
    let page = stdout(&args);
    assert_eq!(rows(&page, 3)[1..], ["scalar 1 0", "scalar 1 4", "scalar 1 1"], "{page}");
    assert!(page.contains("\ntexts ") && page.lines().all(|line| line.chars().count() <= 80), "{page}");

    let json = stdout(&[&args[..], &["--json"]].concat());
    let value: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let rows = value["rows"].as_array().expect("a list");
    let of = |work: &str| rows.iter().filter(|row| row["work"] == work).collect::<Vec<_>>();
    assert_eq!((of("decode").len(), of("texts").len()), (1, 2));
    let [four, one] = of("texts")[..] else { panic!("{json}") };
    assert_eq!((&four["texts"], &four["tokens"], &one["texts"]), (&4.into(), &3.into(), &1.into()));
    let number = |row: &serde_json::Value, name: &str| row[name].as_f64().unwrap_or_else(|| panic!("{name} of {row}"));
    assert!(number(four, "bytes_per_token") < number(one, "bytes_per_token"), "weights are read once a pass");
    assert_eq!(four["macs_per_token"], one["macs_per_token"]);
    let larger = number(four, "share_of_read").max(number(four, "share_of_macs"));
    assert_eq!(number(four, "share_of_limit"), larger);
    assert!(of("decode")[0]["texts"].is_null());

    let old = folder.write("old.json", &json);
    let again = stdout(&[&args[..], &["--json", "--compare", old.to_str().expect("UTF-8")]].concat());
    assert_eq!(again.matches("\"ratio\"").count(), 3, "{again}");
    assert_error(&["bench", "--texts", "0"], 64, "--texts");
}

#[test]
fn a_file_that_is_no_comparison_is_named_with_its_line() {
    let folder = Folder::new("bench-compare");
    let args = ["bench", "-t", "1", "--prefill", "2", "--decode", "0", "--repeat", "1", "--limit-seconds", "0"];
    let compare =
        |path: &str| [&args[..], &["--compare", path]].concat().iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
    let json = stdout(&[&args[..], &["--json"]].concat());
    let cases = [
        ("cut.json", json.lines().take(3).collect::<Vec<_>>().join("\n"), "cut.json: line 3: the text ends early"),
        ("other.json", "{}\n".to_owned(), "other.json: line 1: expected"),
        ("empty.json", String::new(), "empty.json: line 1: the text ends early"),
        (
            "text.json",
            json.replace("\"threads\":1,\"work\"", "\"threads\":one,\"work\""),
            "text.json: line 5: expected value at column ",
        ),
    ];
    for (name, content, part) in cases {
        let path = folder.write(name, content);
        let args = compare(path.to_str().expect("UTF-8"));
        assert_error(&args.iter().map(String::as_str).collect::<Vec<_>>(), 65, part);
    }
    let args = compare(folder.path("missing.json").to_str().expect("UTF-8"));
    assert_error(&args.iter().map(String::as_str).collect::<Vec<_>>(), 66, "missing.json");
}

#[test]
fn what_learned_positions_do_not_hold_is_left_out_and_said() {
    let folder = Folder::new("bench-positions");
    let args = |model: &str| {
        let args = ["bench", "-m", model, "-t", "1", "--kernels", "scalar", "--repeat", "1", "--limit-seconds", "0"];
        let lengths = ["--prefill", "64,65", "--depth", "0,62,63", "--decode", "2"];
        args.into_iter().chain(lengths).map(str::to_owned).collect::<Vec<_>>()
    };
    let model = tiny(&folder, &TinyModel::gpt2());
    let output = whit().args(args(&model)).output().expect("the program runs");
    assert_eq!(rows(text(&output.stdout), 3), ["scalar 1 64", "scalar 1 0", "scalar 1 62"]);
    let said = text(&output.stderr);
    assert!(said.contains("no prefill of 65: it needs 65 positions, the model has 64"), "{said}");
    assert!(said.contains("no decode at depth 63: it needs 65 positions, the model has 64"), "{said}");

    let model = tiny(&folder, &TinyModel::llama());
    let output = whit().args(args(&model)).output().expect("the program runs");
    assert_eq!(rows(text(&output.stdout), 3).len(), 5, "{}", text(&output.stderr));
    assert!(output.stderr.is_empty());
}

#[test]
fn a_trace_has_every_op_and_layer() {
    let folder = Folder::new("trace");
    let model = tiny(&folder, &TinyModel::llama());
    let args = ["trace", "-m", &model, "-t", "1", "--depth", "7", "--prompt-tokens", "9", "--limit-seconds", "0"];
    let page = stdout(&args);
    for part in ["one token at depth 7: ", "prompt of 9 tokens: ", "\nattention ", "\nkv store ", "\nrope ", "\n1  "] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert_eq!(page.matches("\ntotal ").count(), 2, "{page}");
    assert!(page.lines().all(|line| line.chars().count() <= 80), "{page}");

    let json: serde_json::Value = serde_json::from_str(&stdout(&[&args[..], &["--json"]].concat())).expect("JSON");
    let ops = json["prompt"]["ops"].as_array().expect("a list");
    assert_eq!(ops.len(), 2 * 9 + 4, "nine ops in each of two blocks, and embedding, angles, norm, logits");
    assert_eq!(json["token"]["position"], 7);
    let none = stdout(&["trace", "--depth", "0", "--prompt-tokens", "0", "--limit-seconds", "0"]);
    assert!(!none.contains("prompt of"), "{none}");
}

#[test]
fn a_doctor_tells_machine_limits_and_reach() {
    let folder = Folder::new("doctor");
    let model = tiny(&folder, &TinyModel::llama());
    let args = ["doctor", "-m", &model, "-t", "2", "--limit-seconds", "0.001"];
    let page = stdout(&args);
    for part in ["CPU ", "\nkernels ", "\nthreads ", "\ncondition ", " on 1 thread, ", " on 2 threads", "\nwrites "] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(page.contains("The model fits into memory."), "{page}");
    assert!(page.lines().all(|line| line.chars().count() <= 100), "{page}");

    let json: serde_json::Value = serde_json::from_str(&stdout(&[&args[..], &["--json"]].concat())).expect("JSON");
    assert_eq!(json["fits"], true);
    assert_eq!(json["limits"].as_array().map(Vec::len), Some(2));
    let reach = |name: &str| json[name].as_f64().expect("a number");
    let read = json["limits"][1]["read_bytes_per_second"].as_f64().expect("a number");
    assert!(reach("decode_at_most") <= read / reach("bytes_per_token") * 1.000_001, "{json}");
    assert!(!json["advice"].as_array().expect("a list").is_empty());

    let unmeasured = stdout(&["doctor", "--limit-seconds", "0"]);
    assert!(unmeasured.contains("not measured") && !unmeasured.contains("\nwrites "), "{unmeasured}");
}

#[test]
fn wrong_arguments_are_told() {
    let folder = Folder::new("bench-arguments");
    let model = tiny(&folder, &TinyModel::gpt2());
    let cases: &[(&[&str], i32, &str)] = &[
        (&["bench", "-t", "0"], 64, "1..=256"),
        (&["bench", "-t", "1,x"], 64, "invalid value 'x'"),
        (&["bench", "--kernels", "abacus"], 64, "abacus"),
        (&["bench", "--repeat", "0"], 64, "--repeat"),
        (&["bench", "--limit-seconds", "nan"], 64, "0..=60"),
        (&["bench", "--depth", "-1"], 64, "--depth"),
        (&["trace", "-m", &model, "--depth", "64"], 64, "depth: 64 is above the 63 positions"),
        (&["trace", "-m", &model, "--prompt-tokens", "65"], 64, "prompt-tokens: 65 is above the 64 positions"),
        (&["trace", "-m", "no-such.whit"], 66, "no-such.whit"),
        (&["doctor", "-m", "no-such.whit"], 66, "no-such.whit"),
        (&["trace", "-t", "2", "--leave-core"], 64, "--leave-core"),
    ];
    for (args, code, part) in cases {
        assert_error(args, *code, part);
    }
}

/// Others are seen by what the system counts of them; here it is the test that keeps all CPUs busy.
#[cfg(target_os = "linux")]
#[test]
fn a_busy_machine_is_told_of() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let is_over = &AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            let started = std::time::Instant::now();
            scope.spawn(move || while !is_over.load(Ordering::Relaxed) && started.elapsed().as_secs() < 100 {});
        }
        let bench =
            ["bench", "--prefill", "0", "--depth", "0", "--decode", "2", "--repeat", "9", "--limit-seconds", "0"];
        let trace = ["trace", "--limit-seconds", "0.3", "--prompt-tokens", "0"];
        let pages = [stdout(&bench), stdout(&trace), stdout(&["doctor", "--limit-seconds", "0.2"])];
        let json = stdout(&[&trace[..], &["--json"]].concat());
        is_over.store(true, Ordering::Relaxed);
        for page in pages {
            let page = page.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(page.contains("other programs kept ") && page.contains("a quiet machine"), "{page}");
        }
        let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert!(json["others_cpus"].as_f64().is_some_and(|cpus| cpus > 0.1), "{json}");
    });
}
