//! The program as its users run it: arguments, output, exit codes.
#![cfg(feature = "cli")]

mod program;
mod support;

use program::whit;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use support::{Folder, TinyModel};
use whit::model::GenerationDefaults;

fn run(args: &[&str]) -> Output {
    run_with(args, b"")
}

fn run_with(args: &[&str], input: &[u8]) -> Output {
    let pipes = whit().args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = pipes.expect("the program starts");
    // A program that does not read its input closes the pipe.
    let _ = child.stdin.take().expect("a pipe").write_all(input);
    child.wait_with_output().expect("the program ends")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8 on standard output")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8 on standard error")
}

/// Fails unless the output is one line `error[NAME]: ...` with `part` in it, the exit code fits and nothing was printed.
fn assert_error(output: &Output, code: i32, name: &str, part: &str) {
    let text = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert_eq!(text.lines().count(), 1, "one line: {text}");
    assert!(text.starts_with(&format!("error[{name}]: ")) && text.contains(part), "wants {part:?}: {text}");
    assert!(output.stdout.is_empty(), "nothing on standard output");
}

fn written(folder: &Folder, name: &str, model: &TinyModel) -> String {
    let path = folder.path(name);
    model.write(&path);
    path.to_str().expect("UTF-8").to_string()
}

fn path_text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// L-01
#[test]
fn wrong_arguments_are_usage_errors_in_one_line() {
    let cases: &[(&[&str], &str)] = &[
        (&["write"], "unrecognized subcommand 'write'"),
        (&["generate", "--no-such-flag"], "--no-such-flag"),
        (&["generate", "-n", "1", "-n", "2"], "cannot be used multiple times"),
        (&["generate", "--ctx="], "--ctx"),
        (&["generate", "--ctx", "-5"], "1..=1048576"),
        (&["generate", "--ctx", "0"], "1..=1048576"),
        (&["generate", "--ctx", "1099511627776"], "1..=1048576"),
        (&["generate", "-t", "0"], "1..=256"),
        (&["generate", "-t", "1000"], "1..=256"),
        (&["generate", "-t", "-1"], "1..=256"),
        (&["generate", "-n", "-2"], "-1..=1048576"),
        (&["generate", "--top-k", "-1"], "0..=1048576"),
        (&["generate", "--temp", "hot"], "--temp"),
        (&["generate", "--seed", "-1"], "--seed"),
        (&["generate", "--seed", "18446744073709551616"], "--seed"),
        (&["generate", "--stop", ""], "--stop"),
        (&["generate", "--kv", "int4"], "f16, int8, f32, q4"),
        (&["generate", "--logit-bias", "5"], "ID=V"),
        (&["generate", "a", "-f", "b"], "cannot be used with"),
        (&["generate", "-q", "-v"], "cannot be used with"),
        (&["generate", "a\u{1b}[2J", "b"], "\\u{1b}[2J"),
        (&["eval"], "TEXT_FILE"),
        (&["eval", "text", "--window", "1"], "2..=1048576"),
        (&["eval", "text", "--windows", "0"], "--windows"),
        (&["completions", "tcsh"], "bash"),
    ];
    for (args, part) in cases {
        let part = if args.contains(&"a\u{1b}[2J") { "unexpected argument 'b'" } else { part };
        assert_error(&run(args), 64, "usage", part);
    }
}

/// L-01, U-14
#[test]
fn sampling_options_out_of_range_are_named() {
    let folder = Folder::new("cli-ranges");
    let model = written(&folder, "m.whit", &TinyModel::llama());
    let cases = [
        ("--temp", "-1", "temperature: -1 is outside 0..=1000000000"),
        ("--temp", "nan", "temperature: NaN"),
        ("--top-p", "2", "top-p: 2 is outside 0..=1"),
        ("--top-p", "NaN", "top-p: NaN"),
        ("--min-p", "-0.5", "min-p: -0.5"),
        ("--typical", "1.5", "typical: 1.5"),
        ("--repeat-penalty", "0", "repeat-penalty: 0"),
        ("--presence-penalty", "inf", "presence-penalty: inf"),
        ("--frequency-penalty", "nan", "frequency-penalty: NaN"),
        ("--logit-bias", "259=1", "logit-bias: token 259 is outside 0..=258"),
        ("--logit-bias", "1=inf", "logit-bias: inf for token 1"),
        ("--ctx", "65", "ctx: 65 is above the 64 positions"),
        ("--ctx", "1", "prompt: 3 tokens leave no room in a context of 1"),
        ("--kernels", "abacus", "abacus"),
    ];
    for (flag, value, part) in cases {
        assert_error(&run(&["generate", "-m", &model, flag, value, "abc"]), 64, "usage", part);
    }
    for args in [["--temp", "0"], ["--temp", "1e-9"], ["--temp", "1e9"], ["--top-p", "0"], ["--min-p", "1"]] {
        let output = run(&["generate", "-m", &model, args[0], args[1], "-n", "3", "-q", "abc"]);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", stderr(&output));
    }
}

/// L-16
#[test]
fn kernels_of_another_cpu_are_unavailable() {
    let folder = Folder::new("cli-kernels");
    let model = written(&folder, "m.whit", &TinyModel::llama());
    let foreign = if cfg!(any(target_arch = "x86_64", target_arch = "x86")) { "neon" } else { "avx2" };
    let lacking: Vec<_> = whit::kernels::unavailable().collect();
    let names = [foreign].into_iter().chain(lacking.iter().map(|(name, _)| *name));
    for name in names {
        let output = run(&["generate", "-m", &model, "--kernels", name, "--no-echo", "abc"]);
        assert_error(&output, 69, "unavailable", name);
        assert!(stderr(&output).contains("can run: scalar"), "{}", stderr(&output));
    }
    for (name, missing) in lacking {
        let output = run(&["generate", "-m", &model, "--kernels", name, "--no-echo", "abc"]);
        assert!(missing.iter().all(|feature| stderr(&output).contains(feature)), "{}", stderr(&output));
    }
}

#[test]
fn without_a_model_the_embedded_one_tells_a_story() {
    let prompt = "Once upon a time there was a";
    let output = run(&["generate", prompt, "-s", "1", "-n", "40"]);
    if whit::default_model().is_none() {
        return assert_error(&output, 64, "usage", "-m FILE");
    }
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(text.starts_with(prompt) && text.split_whitespace().count() > 15, "{text}");
}

#[test]
fn help_and_version_go_to_standard_output() {
    for args in [&["--help"][..], &["-V"], &["generate", "--help"], &["help", "eval"], &[]] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(0));
        assert!(!output.stdout.is_empty() && output.stderr.is_empty(), "{args:?}");
    }
}

#[test]
fn files_that_are_none_have_their_codes() {
    let folder = Folder::new("cli-files");
    let nothing = folder.path("nothing.whit");
    let junk = folder.write("junk.whit", [7; 5000]);
    let empty = folder.write("empty.whit", b"");
    let whole = folder.path("whole.whit");
    TinyModel::llama().write(&whole);
    let bytes = std::fs::read(&whole).expect("readable");
    let cut = folder.write("cut.whit", &bytes[..bytes.len() - 100]);
    for command in ["generate", "inspect", "verify"] {
        assert_error(&run(&[command, "-m", path_text(&nothing)]), 66, "no-input", "nothing.whit");
        assert_error(&run(&[command, "-m", path_text(&folder.path(""))]), 66, "no-input", "directory");
        assert_error(&run(&[command, "-m", path_text(&junk)]), 65, "data", "junk.whit");
        assert_error(&run(&[command, "-m", path_text(&empty)]), 65, "data", "empty");
        assert_error(&run(&[command, "-m", path_text(&cut)]), 65, "data", "cut.whit");
    }
    let model = path_text(&whole);
    assert_error(&run(&["generate", "-m", model, "-f", path_text(&nothing)]), 66, "no-input", "nothing.whit");
    assert_error(&run(&["eval", "-m", model, path_text(&nothing)]), 66, "no-input", "nothing.whit");
    let folder_as_text = run(&["generate", "-m", model, "-f", path_text(&folder.path(""))]);
    assert!(matches!(folder_as_text.status.code(), Some(66 | 74)));
}

/// M-28: what computes does not check weights, and does not fall over them.
#[test]
fn a_flipped_bit_in_the_weights_is_found_by_verify() {
    let folder = Folder::new("cli-verify");
    let path = folder.path("m.whit");
    TinyModel::llama().write(&path);
    let output = run(&["verify", "-m", path_text(&path)]);
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
    assert!(stdout(&output).contains("in order"));
    let mut bytes = std::fs::read(&path).expect("readable");
    // Within the embedding, the first tensor.
    bytes[65_536 + 5] ^= 1;
    let path = folder.write("flipped.whit", bytes);
    let output = run(&["verify", "-m", path_text(&path)]);
    assert_error(&output, 65, "data", "tensor \"embedding\"");
    let output = run(&["generate", "-m", path_text(&path), "-q", "-n", "4", "abc"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn the_text_is_the_same_for_a_seed_whatever_computes_it() {
    let folder = Folder::new("cli-same");
    let model = written(&folder, "m.whit", &TinyModel::llama());
    let base = ["generate", "-m", &model, "the cat", "-n", "30", "-s", "7", "--temp", "1.2"];
    let with = |more: &[&str]| {
        let output = run(&[&base[..], more].concat());
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        stdout(&output)
    };
    let plain = with(&[]);
    assert!(plain.starts_with("the cat") && plain.ends_with('\n'));
    for more in [&["-t", "1"][..], &["-t", "2"], &["-t", "5"], &["--kernels", "scalar"], &["--ctx", "64"]] {
        assert_eq!(with(more), plain, "{more:?}");
    }
    let other = run(&[&base[..6], &["-s", "8"]].concat());
    assert_ne!(stdout(&other), plain);
}

#[test]
fn a_random_seed_is_told_and_gives_the_same_text_again() {
    let folder = Folder::new("cli-seed");
    let model = written(&folder, "m.whit", &TinyModel::gpt2());
    let first = run(&["generate", "-m", &model, "abc", "-n", "20"]);
    let said = stderr(&first);
    let seed = said.split("seed ").nth(1).and_then(|rest| rest.split(';').next()).expect("a seed").to_string();
    let again = run(&["generate", "-m", &model, "abc", "-n", "20", "--seed", &seed]);
    assert_eq!(stdout(&again), stdout(&first));
}

#[test]
fn only_the_text_is_on_standard_output() {
    let folder = Folder::new("cli-pure");
    let model = written(&folder, "m.whit", &TinyModel::llama());
    let args = ["generate", "-m", &model, "the", "-n", "10", "--temp", "0"];
    let output = run(&args);
    for part in ["prompt 1 tokens", "generated 10 tokens", "read a token", "private", "mapped", "seed", "length"] {
        assert!(stderr(&output).contains(part), "{part}: {}", stderr(&output));
    }
    let quiet = run(&[&args[..], &["-q"]].concat());
    assert_eq!((quiet.stdout.clone(), stderr(&quiet).as_str()), (output.stdout.clone(), ""));
    let rest = run(&[&args[..], &["--no-echo", "-q"]].concat());
    assert_eq!(format!("the{}", stdout(&rest)), stdout(&output));
    let verbose = run(&[&args[..], &["-v"]].concat());
    assert!(stderr(&verbose).contains("context 11"), "{}", stderr(&verbose));
    assert_eq!(verbose.stdout, output.stdout);
}

/// U-01
#[test]
fn prompts_come_from_arguments_files_and_standard_input() {
    let folder = Folder::new("cli-prompt");
    let model = written(&folder, "m.whit", &TinyModel::llama());
    let text = "the é\n \u{1f600}";
    let file = folder.write("prompt.txt", text);
    let base = ["generate", "-m", &model, "-n", "12", "--temp", "0", "-q"];
    let argument = run(&[&base[..], &[text]].concat());
    assert_eq!(argument.status.code(), Some(0), "{}", stderr(&argument));
    assert!(stdout(&argument).starts_with(text));
    for more in [&["-f", path_text(&file)][..], &["-f", "-"], &["-"], &["--", text]] {
        assert_eq!(run_with(&[&base[..], more].concat(), text.as_bytes()).stdout, argument.stdout, "{more:?}");
    }
    for blank in ["", " ", "\n"] {
        let output = run(&[&base[..], &[blank]].concat());
        assert_eq!(output.status.code(), Some(0), "{blank:?}: {}", stderr(&output));
    }
    assert_eq!(run(&base).stdout, run(&[&base[..], &[""]].concat()).stdout);
}

/// U-05
#[test]
fn input_that_is_no_utf8_is_told_by_its_offset() {
    let folder = Folder::new("cli-utf8");
    let model = written(&folder, "m.whit", &TinyModel::llama());
    let cases: [(&[u8], &str); 5] = [
        (b"ab\x80", "byte 0x2"),
        (b"\xc0\x80", "byte 0x0"),
        (b"a\xed\xa0\x80", "byte 0x1"),
        (b"\xf4\x90\x80\x80", "byte 0x0"),
        (b"abc\xf0\x9f\x98", "byte 0x3"),
    ];
    for (bytes, part) in cases {
        assert_error(&run_with(&["generate", "-m", &model, "-"], bytes), 65, "data", part);
        let file = folder.write("wrong.txt", bytes);
        assert_error(&run(&["generate", "-m", &model, "-f", path_text(&file)]), 65, "data", part);
        assert_error(&run(&["eval", "-m", &model, path_text(&file)]), 65, "data", part);
    }
}

/// U-01
#[test]
fn an_empty_prompt_needs_a_token_that_begins_a_text() {
    let folder = Folder::new("cli-empty");
    let model = written(&folder, "m.whit", &TinyModel { has_end: false, ..TinyModel::llama() });
    assert_error(&run(&["generate", "-m", &model]), 64, "usage", "empty");
}

/// U-02
#[test]
fn the_end_of_the_context_is_said() {
    let folder = Folder::new("cli-context");
    let model = written(&folder, "m.whit", &TinyModel { has_end: false, ..TinyModel::llama() });
    let base = ["generate", "-m", &model, "--ctx", "16", "-n", "-1", "abc"];
    let output = run(&base);
    assert_eq!(output.status.code(), Some(0));
    assert!(stderr(&output).contains("context of 16 tokens is full"), "{}", stderr(&output));
    let quiet = run(&[&base[..], &["-q"]].concat());
    assert!(stderr(&quiet).contains("context of 16 tokens is full"));
    let prompts = [15, 16, 17, 160].map(|n| "x".repeat(n));
    assert_eq!(run(&["generate", "-m", &model, "--ctx", "16", &prompts[0]]).status.code(), Some(0));
    for (prompt, n) in prompts.iter().zip([15, 16, 17, 160]).skip(1) {
        let output = run(&["generate", "-m", &model, "--ctx", "16", prompt]);
        assert_error(&output, 64, "usage", &format!("{n} tokens leave no room in a context of 16"));
    }
}

#[test]
fn the_end_of_text_token_ends_the_text() {
    let folder = Folder::new("cli-end");
    let model = written(&folder, "m.whit", &TinyModel::llama());
    let output = run(&["generate", "-m", &model, "abc", "--logit-bias", "256=1000"]);
    assert_eq!(stdout(&output), "abc\n");
    assert!(stderr(&output).contains("end-of-text"));
    let zero = run(&["generate", "-m", &model, "abc", "-n", "0", "--no-echo"]);
    assert_eq!((zero.status.code(), stdout(&zero).as_str()), (Some(0), ""));
}

/// U-10
#[test]
fn a_stop_string_ends_the_text_before_it() {
    let folder = Folder::new("cli-stop");
    let model = written(&folder, "m.whit", &TinyModel::gpt2());
    // The most probable token is always "a", byte 97.
    let base = ["generate", "-m", &model, "aa", "--logit-bias", "97=1000", "-n", "9", "--no-echo"];
    assert_eq!(stdout(&run(&base)), "aaaaaaaaa\n");
    let stopped = run(&[&base[..], &["--stop", "b", "--stop", "aaa"]].concat());
    assert_eq!(stdout(&stopped), "");
    assert!(stderr(&stopped).contains("stop-string"));
    // What stands in the prompt stops nothing.
    let said = [
        "generate",
        "-m",
        &model,
        "stop",
        "--logit-bias",
        "97=1000",
        "-n",
        "3",
        "-q",
        "--stop",
        "stop",
        "--stop",
        "pa",
    ];
    assert_eq!(stdout(&run(&said)), "stopaaa\n");
    let unfinished = run(&[&base[..], &["--stop", "aaab"]].concat());
    assert_eq!(stdout(&unfinished), "aaaaaaaaa\n");
}

/// U-08
#[test]
fn special_tokens_are_text_unless_asked() {
    let folder = Folder::new("cli-special");
    let model = written(&folder, "m.whit", &TinyModel::llama());
    let base = ["generate", "-m", &model, "<|end|>", "-n", "1", "--json"];
    assert!(stdout(&run(&base)).lines().next().expect("a line").contains("\"tokens\":[60,124,"));
    let parsed = run(&[&base[..], &["--special"]].concat());
    assert!(stdout(&parsed).lines().next().expect("a line").contains("\"tokens\":[256]"));
}

/// M-26, U-13
#[test]
fn not_a_number_ends_in_an_error() {
    let folder = Folder::new("cli-nan");
    let model = written(&folder, "m.whit", &TinyModel { poisoned: Some("final_norm"), ..TinyModel::llama() });
    for more in [&["--temp", "0"][..], &[]] {
        let output = run(&[&["generate", "-m", &model, "--no-echo", "abc"][..], more].concat());
        assert_error(&output, 65, "data", "NaN");
    }
    // The scales of the first panel of token vectors, which are those of the logits, too.
    let path = folder.path("scales.whit");
    TinyModel::llama().write(&path);
    let bytes = std::fs::read(&path).expect("readable");
    let scales: [(u16, i32); 8] =
        [(0x7e00, 65), (0x7c00, 65), (0xfc00, 65), (0x8000, 0), (0x0001, 0), (0x83ff, 0), (0x7bff, 0), (0xfbff, 0)];
    for (scale, code) in scales {
        let mut changed = bytes.clone();
        for pair in changed[65_536..][..2 * 16 * 2].as_chunks_mut::<2>().0 {
            *pair = scale.to_le_bytes();
        }
        let path = folder.write("changed.whit", changed);
        let output = run(&["generate", "-m", path_text(&path), "-q", "-n", "4", "abc"]);
        assert_eq!(output.status.code(), Some(code), "{scale:#x}: {}", stderr(&output));
    }
}

#[test]
fn the_files_defaults_are_used_and_the_template_is_hinted_at() {
    let folder = Folder::new("cli-defaults");
    let defaults = GenerationDefaults { temperature: Some(0.0), eos: vec![97], ..GenerationDefaults::default() };
    let tiny = TinyModel { defaults, template: Some("{{ messages }}"), ..TinyModel::llama() };
    let model = written(&folder, "m.whit", &tiny);
    let [one, two] = ["1", "2"].map(|seed| run(&["generate", "-m", &model, "abc", "-n", "20", "-s", seed]));
    assert_eq!(one.stdout, two.stdout);
    assert!(stderr(&one).contains("this model has a chat template; generate continues plain text"));
    let ended = run(&["generate", "-m", &model, "abc", "--logit-bias", "97=1000"]);
    assert_eq!(stdout(&ended), "abc\n");
}

/// A strict little JSON reader: the rest after one value, or `None`.
fn json_value(text: &str) -> Option<&str> {
    let text = text.trim_start();
    match text.chars().next()? {
        '{' => json_items(&text[1..], '}', |item| {
            json_value(json_string(item.trim_start())?.trim_start().strip_prefix(':')?)
        }),
        '[' => json_items(&text[1..], ']', json_value),
        '"' => json_string(text),
        _ => {
            let end = text.find([',', '}', ']']).unwrap_or(text.len());
            let word = text[..end].trim_end();
            let number = word.parse::<f64>().is_ok_and(f64::is_finite);
            (number || ["true", "false", "null"].contains(&word)).then_some(&text[end..])
        }
    }
}

fn json_items<'t>(mut text: &'t str, end: char, item: impl Fn(&'t str) -> Option<&'t str>) -> Option<&'t str> {
    if let Some(rest) = text.trim_start().strip_prefix(end) {
        return Some(rest);
    }
    loop {
        text = item(text)?.trim_start();
        match text.strip_prefix(',') {
            Some(rest) => text = rest,
            None => return text.strip_prefix(end),
        }
    }
}

fn json_string(text: &str) -> Option<&str> {
    let mut chars = text.strip_prefix('"')?.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some(&text[at + 2..]),
            '\\' => {
                chars.next()?;
            }
            c if c.is_control() => return None,
            _ => {}
        }
    }
    None
}

#[test]
fn json_lines_are_well_formed_and_add_up_to_the_text() {
    let folder = Folder::new("cli-json");
    let model = written(&folder, "m.whit", &TinyModel::llama());
    let args = ["generate", "-m", &model, "a\"\\\n\u{1b}", "-n", "25", "-s", "3", "--temp", "2"];
    let lines = stdout(&run(&[&args[..], &["--json"]].concat()));
    for line in lines.lines() {
        assert_eq!(json_value(line).map(str::trim), Some(""), "{line}");
    }
    assert!(lines.lines().next().expect("a line").contains(r#""prompt":"a\"\\\n\u001b""#));
    let last = lines.lines().last().expect("a line");
    assert!(last.contains("\"summary\"") && last.contains("\"stop_reason\":\"length\"") && last.contains("\"seed\":3"));
    assert_eq!(lines.lines().filter(|line| line.contains("{\"token\":")).count() / 25, 1);

    let inspected = stdout(&run(&["inspect", "-m", &model, "--json"]));
    assert_eq!(json_value(inspected.trim()), Some(""), "{inspected}");
    let text = folder.write("text.txt", "the other the ".repeat(20));
    let eval = ["eval", "-m", &model, path_text(&text), "--window", "16", "--json", "--against", &model];
    let evaluated = stdout(&run(&eval));
    assert_eq!(json_value(evaluated.trim()), Some(""), "{evaluated}");
}

#[test]
fn inspect_shows_the_file_and_the_machine() {
    let folder = Folder::new("cli-inspect");
    let model = written(&folder, "m.whit", &TinyModel::gpt2());
    let output = run(&["inspect", "-m", &model]);
    let text = stdout(&output);
    for part in [
        "language model",
        "gpt2",
        "n_layers        2",
        "blocks.1.down",
        "259 x 40",
        "int8",
        "SNR",
        "scalar",
        "\nthreads         ",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(output.stderr.is_empty());
}

#[test]
fn eval_of_a_model_against_itself_is_zero() {
    let folder = Folder::new("cli-eval");
    let model = written(&folder, "m.whit", &TinyModel::llama());
    let wide = written(&folder, "f32.whit", &TinyModel { dtype: whit::quant::Dtype::F32, ..TinyModel::llama() });
    let text = folder.write("text.txt", "the other the ".repeat(20));
    let base = ["eval", "-m", &model, path_text(&text), "--window", "32"];
    let plain = stdout(&run(&base));
    assert!(plain.contains("5 x 32 tokens, 155 positions"), "{plain}");
    let half = stdout(&run(&[&base[..], &["--score", "second-half", "--windows", "3"]].concat()));
    assert!(half.contains("3 x 32 tokens, 45 positions"), "{half}");
    let same = stdout(&run(&[&base[..], &["--against", &model]].concat()));
    assert!(same.contains("KL max       0.000000") && same.contains("same top-1   100.000 %"), "{same}");
    let other = stdout(&run(&[&base[..], &["--against", &wide, "-t", "1", "--kv", "f32"]].concat()));
    assert!(other.contains("KL mean      0.0") && !other.contains("KL mean      0.000000"), "{other}");
    let cache = stdout(&run(&[&base[..], &["--against", &model, "--against-kv", "f32", "--kv", "q4"]].concat()));
    assert!(cache.contains("KL mean      0.0") && !cache.contains("KL max       0.000000"), "{cache}");
    assert_error(&run(&[&base[..], &["--against-kv", "f32"]].concat()), 64, "usage", "--against");
    assert_error(&run(&[&base[..4], &["--window", "128"]].concat()), 64, "usage", "128 is above the 64 positions");
    let short = folder.write("short.txt", "the");
    assert_error(&run(&["eval", "-m", &model, path_text(&short), "--window", "8"]), 65, "data", "fewer than a window");
}

/// L-08
#[test]
fn a_reader_that_goes_away_ends_the_program_quietly() {
    let folder = Folder::new("cli-pipe");
    let model = written(&folder, "m.whit", &TinyModel { has_end: false, ..TinyModel::llama() });
    for args in
        [&["generate", "-m", &model, "abc"][..], &["inspect", "-m", &model], &["completions", "bash"], &["--help"]]
    {
        let mut child =
            whit().args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("the program ends");
        assert_eq!((output.status.code(), stderr(&output).contains("error")), (Some(0), false), "{}", stderr(&output));
    }
}

#[test]
fn completions_and_man_pages_are_made() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = run(&["completions", shell]);
        assert!(output.status.success() && stdout(&output).contains("repeat-penalty"), "{shell}");
    }
    let folder = Folder::new("cli-man");
    let output = run(&["man", path_text(&folder.path(""))]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    for page in ["whit.1", "whit-generate.1", "whit-inspect.1", "whit-eval.1", "whit-verify.1"] {
        assert!(std::fs::read_to_string(folder.path(page)).expect(page).contains(".TH"), "{page}");
    }
    assert_error(&run(&["man", path_text(&folder.path("no/such/folder"))]), 73, "create", "folder");
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_the_text_with_its_statistics() {
    let folder = Folder::new("cli-interrupt");
    let mut tiny = TinyModel { has_end: false, ..TinyModel::llama() };
    tiny.config.context_length = 1 << 17;
    let model = written(&folder, "m.whit", &tiny);
    let args = ["generate", "-m", &model, "abc", "-n", "100000", "-t", "1"];
    let mut child =
        whit().args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    // Text on the pipe says that the loop has begun.
    let mut out = child.stdout.take().expect("a pipe");
    let mut first = [0; 8];
    std::io::Read::read_exact(&mut out, &mut first).expect("some text");
    let reader = std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()));
    let signal = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill");
    assert!(signal.success());
    let output = child.wait_with_output().expect("the program ends");
    reader.join().expect("no panic").expect("readable");
    assert_eq!(output.status.code(), Some(130));
    assert!(stderr(&output).contains("stopped: interrupted"), "{}", stderr(&output));
}
