//! The floors of the house (ARCHITECTURE.md), held by reading the sources: who may name whom, who may touch the
//! machine, who may print. Comments and `#[cfg(test)]` items are not read.

#[path = "dependency_rules/circles.rs"]
mod circles;

use circles::Graph;
use std::fs;
use std::path::{Path, PathBuf};

/// Modules of one floor do not see each other; a module sees any floor below its own, except as written under it.
const FLOORS: &[(&str, u8)] = &[
    ("main", 10),
    ("cli", 9),
    ("serve", 8),
    ("requests", 7),
    ("chat", 6),
    ("generate", 6),
    ("inspect", 6),
    ("model", 5),
    ("tokenizer", 5),
    ("sampler", 5),
    ("ops", 4),
    ("format", 4),
    ("compute", 3),
    ("kernels", 2),
    ("threads", 2),
    ("failure", 2),
    ("quant", 1),
    ("room", 1),
    ("token", 1),
    ("error", 1),
];
/// Narrower than its floor: all that the module may see.
const ONLY: &[(&str, &[&str])] =
    &[("quant", &["error"]), ("kernels", &["quant", "error"]), ("failure", &["error"]), ("os", &["error", "room"])];
/// Wider than its floor; a path stands for that file alone.
const ALSO: &[(&str, &str)] = &[
    ("model", "tokenizer"),
    ("token", "error"),
    ("main", "os"),
    ("cli", "os"),
    // What a reply calls is written under a constraint.
    ("chat", "generate"),
    ("chat", "os"),
    ("generate", "os"),
    ("format/writer.rs", "os"),
    ("inspect/bench.rs", "os"),
    ("inspect/limits.rs", "os"),
    ("inspect/trace.rs", "os"),
];
/// Names the crate root re-exports, and the module each comes from.
const ROOT_NAMES: &[(&str, &str)] = &[
    ("Compute", "compute"),
    ("Error", "error"),
    ("File", "format"),
    ("Model", "model"),
    ("Result", "error"),
    ("Session", "model"),
    ("SessionOptions", "model"),
    ("TokenId", "token"),
];
/// What the converter may see of the library: with kernels and threads it runs the model on a calibration text.
const CONVERTER: &[&str] =
    &["format", "quant", "kernels", "compute", "inspect", "model", "tokenizer", "os", "token", "error", "failure"];

const MACHINE: &[&str] = &["fs", "io", "env", "thread", "time", "process"];
const MAY_TOUCH_MACHINE: &[&str] = &["main", "cli", "serve", "os", "threads"];
const PRINTING: &[&str] = &["print!", "println!", "eprint!", "eprintln!", "dbg!"];
const ISA: &[&str] = &["target_arch", "target_feature", "arch::", "is_x86_feature_detected!"];

/// Every rule `text`, the file at `path` below `src`, breaks: one line each.
fn complaints(path: &str, text: &str) -> Vec<String> {
    let code = code_of(text);
    let module = module_of(path);
    let mut found = Vec::new();
    if module != "lib" {
        for name in mentions(&code, "crate").into_iter().chain(through_super(path, &code)) {
            let target = ROOT_NAMES.iter().find(|(n, _)| *n == name).map_or(name.as_str(), |(_, m)| m);
            if !may_see(module, target) && !ALSO.contains(&(path, target)) {
                found.push(format!("{path}: {module} must not use {target}"));
            }
        }
    }
    if !MAY_TOUCH_MACHINE.contains(&module) {
        for name in mentions(&code, "std").into_iter().filter(|n| MACHINE.contains(&n.as_str())) {
            found.push(format!("{path}: {module} must not use std::{name}"));
        }
    }
    let mut forbid = |words: &[&str], why: &str| {
        for word in words.iter().filter(|w| has_word(&code, w)) {
            found.push(format!("{path}: {word} {why}"));
        }
    };
    if module != "cli" && module != "main" {
        forbid(PRINTING, "belongs under cli");
    }
    if module != "main" {
        forbid(&["exit(", "abort("], "belongs in main");
    }
    if module != "kernels" {
        forbid(ISA, "belongs in kernels");
    }
    found
}

fn may_see(module: &str, target: &str) -> bool {
    if module == target || ALSO.contains(&(module, target)) {
        return true;
    }
    if let Some((_, only)) = ONLY.iter().find(|(m, _)| *m == module) {
        return only.contains(&target);
    }
    let floor = |name: &str| FLOORS.iter().find(|(m, _)| *m == name).map(|(_, floor)| *floor);
    matches!((floor(module), floor(target)), (Some(from), Some(to)) if from > to)
}

/// `cli/args.rs` and `cli.rs` are both `cli`.
fn module_of(path: &str) -> &str {
    path.split('/').next().unwrap_or(path).trim_end_matches(".rs")
}

/// `text` without line comments and without `#[cfg(test)]` items, which end as rustfmt writes them: a closing brace at
/// the indentation of the attribute, or a `;` on the first line.
fn code_of(text: &str) -> String {
    let mut code = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let indent = &line[..line.len() - line.trim_start().len()];
        if line.trim() == "#[cfg(test)]" {
            let end = format!("{indent}}}");
            let first = lines.by_ref().find(|l| !l.trim_start().starts_with("#[")).unwrap_or("");
            if !first.ends_with([';', ',', '}']) {
                lines.by_ref().find(|l| l.starts_with(&end));
            }
            continue;
        }
        code.push_str(line.split("//").next().unwrap_or(""));
        code.push('\n');
    }
    code
}

fn is_ident(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Where `word` stands in `code` and is not the tail of a longer name.
fn places<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(word).map(|(at, _)| at).filter(|at| !code[..*at].ends_with(is_ident))
}

fn has_word(code: &str, word: &str) -> bool {
    places(code, word).any(|at| word.ends_with(|c| !is_ident(c)) || !code[at + word.len()..].starts_with(is_ident))
}

/// The names that directly follow `root::`, braces included: `root::a::b` gives a, `root::{a, b::{c, d}}` a and b.
fn mentions(code: &str, root: &str) -> Vec<String> {
    let prefix = format!("{root}::");
    places(code, &prefix).flat_map(|at| heads(&code[at + prefix.len()..])).collect()
}

/// The first name of each path in what follows a `::`.
fn heads(rest: &str) -> Vec<String> {
    let head = |s: &str| s.trim_start().chars().take_while(|c| is_ident(*c)).collect::<String>();
    let Some(group) = rest.trim_start().strip_prefix('{') else {
        return vec![head(rest)];
    };
    let mut names = vec![head(group)];
    let mut depth = 1;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => names.push(head(&group[at + 1..])),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    names.retain(|n| !n.is_empty() && n != "self");
    names
}

/// What a chain of `super::` long enough to reach the crate root names there.
fn through_super(path: &str, code: &str) -> Vec<String> {
    let depth = path.split('/').count() - usize::from(path.ends_with("/mod.rs"));
    mentions(code, &vec!["super"; depth].join("::"))
}

/// Every `.rs` file below `dir` but those of tests (`tests.rs`, `x_tests.rs`, folders `tests`), as its path from there
/// and its text.
fn sources(dir: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(dir);
    let mut files = Vec::new();
    let mut open: Vec<PathBuf> = vec![root.clone()];
    while let Some(path) = open.pop() {
        if path.ends_with("tests") {
            continue;
        }
        if path.is_dir() {
            open.extend(fs::read_dir(&path).expect("a readable folder").map(|e| e.expect("an entry").path()));
        } else if path.extension().is_some_and(|e| e == "rs") && !path.to_string_lossy().ends_with("tests.rs") {
            let name = path.strip_prefix(&root).expect("below the root").to_string_lossy().replace('\\', "/");
            files.push((name, fs::read_to_string(&path).expect("a readable source")));
        }
    }
    files
}

#[test]
fn the_library_keeps_its_floors() {
    let files = sources("src");
    assert!(files.len() > 5, "no sources found");
    let found: Vec<String> = files.iter().flat_map(|(path, text)| complaints(path, text)).collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn no_files_depend_on_each_other_in_a_circle() {
    for dir in ["src", "tools/quantize/src"] {
        let graph = Graph::of(&sources(dir));
        let found: String = graph.circles().iter().map(|circle| graph.told(circle)).collect();
        assert!(found.is_empty(), "{dir}:\n{found}");
    }
}

/// The circles among files with these texts, each its files in one line.
fn circles_of(files: &[(&str, &str)]) -> Vec<String> {
    let files: Vec<_> = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
    Graph::of(&files).circles().iter().map(|circle| circle.iter().copied().collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn a_circle_is_named_by_its_files() {
    let through_a_name = [
        ("lib.rs", "mod a;\nmod b;\npub use a::A;"),
        ("a.rs", "use super::b::{self, B as C};\npub struct A;"),
        ("b.rs", "pub struct B;\nfn f(x: crate::A) {}"),
    ];
    assert_eq!(circles_of(&through_a_name), ["a.rs b.rs"]);
    let of_three = [
        ("lib.rs", "mod a;"),
        ("a/mod.rs", "mod b;\nmod c;\nfn f() { b::g() }\npub struct A;"),
        ("a/b.rs", "pub fn g() { super::c::h() }"),
        ("a/c.rs", "use super::A;\npub fn h() {}"),
    ];
    assert_eq!(circles_of(&of_three), ["a/b.rs a/c.rs a/mod.rs"]);
}

#[test]
fn a_front_that_only_shows_what_is_behind_it_makes_no_circle() {
    let files = [
        ("lib.rs", "pub mod a;\npub use a::{A, B};"),
        (
            "a/mod.rs",
            "mod b;\nmod c;\npub use b::B;\npub use c::A;\n#[cfg(test)]\nmod tests {\n    use super::b::B;\n}",
        ),
        ("a/b.rs", "// super::c::A\nuse std::fmt;\npub struct B;"),
        ("a/c.rs", "use super::B;\nuse crate::a::b;\npub struct A;"),
        ("main.rs", "mod cli;"),
        ("cli/mod.rs", "use whit::a;\nmod b;\nfn a() { Self::a(); b::run() }"),
        ("cli/b.rs", "pub(in crate::cli) fn run() {}"),
    ];
    assert_eq!(circles_of(&files), Vec::<String>::new());
    // What it shows and uses itself counts.
    let used = [("a/mod.rs", "mod b;\npub use b::B;\npub struct A(B);"), ("a/b.rs", "pub struct B(super::A);")];
    assert_eq!(circles_of(&used), ["a/b.rs a/mod.rs"]);
}

#[test]
fn the_converter_sees_only_its_part_of_the_library() {
    for (path, text) in sources("tools/quantize/src") {
        for name in mentions(&code_of(&text), "whit") {
            let target = ROOT_NAMES.iter().find(|(n, _)| *n == name).map_or(name.as_str(), |(_, m)| m);
            assert!(CONVERTER.contains(&target), "tools/quantize/src/{path} must not use whit::{target}");
        }
    }
}

#[test]
fn a_source_that_breaks_a_rule_is_named() {
    let broken: &[(&str, &str, &str)] = &[
        ("model/config.rs", "use crate::cli::args;", "model must not use cli"),
        ("ops/linear.rs", "use crate::{error::Error, model::{config::Config, spec}};", "ops must not use model"),
        ("ops/linear.rs", "fn f() { let x = crate::sampler::draw(); }", "ops must not use sampler"),
        ("ops/norm.rs", "use super::super::generate;", "ops must not use generate"),
        ("compute.rs", "use super::{error, ops};", "compute must not use ops"),
        ("sampler/mod.rs", "use crate::tokenizer::Tokenizer;", "sampler must not use tokenizer"),
        ("tokenizer/mod.rs", "use crate::sampler;", "tokenizer must not use sampler"),
        ("tokenizer/mod.rs", "use crate::model::Config;", "tokenizer must not use model"),
        ("inspect/lens.rs", "use crate::generate::Stop;", "inspect must not use generate"),
        ("sampler/mod.rs", "use crate::model::Config;", "sampler must not use model"),
        ("quant/mod.rs", "use crate::format::cursor;", "quant must not use format"),
        ("quant/mod.rs", "use crate::TokenId;", "quant must not use token"),
        ("kernels/avx2.rs", "use crate::threads::Pool;", "kernels must not use threads"),
        ("kernels/avx2.rs", "use crate::token::TokenId;", "kernels must not use token"),
        ("model/mod.rs", "use crate::os::map;", "model must not use os"),
        ("inspect/mod.rs", "use crate::os::clock;", "inspect must not use os"),
        ("os/mod.rs", "use crate::format;", "os must not use format"),
        ("cli/mod.rs", "use crate::attic;", "cli must not use attic"),
        ("attic.rs", "use crate::error;", "attic must not use error"),
        ("format/reader.rs", "use crate::os::mmap;", "format must not use os"),
        ("format/reader.rs", "use std::{collections::BTreeMap, fs::File};", "format must not use std::fs"),
        ("generate.rs", "let t = std::time::Instant::now();", "generate must not use std::time"),
        ("kernels/scalar.rs", "use std::env;", "kernels must not use std::env"),
        ("model/mod.rs", "println!(\"hi\");", "println! belongs under cli"),
        ("os/mod.rs", "eprintln!(\"hi\");", "eprintln! belongs under cli"),
        ("cli/mod.rs", "std::process::exit(1);", "exit( belongs in main"),
        ("ops/mod.rs", "#[cfg(target_arch = \"aarch64\")]", "target_arch belongs in kernels"),
        ("ops/mod.rs", "use std::arch::x86_64::*;", "arch:: belongs in kernels"),
        ("model/mod.rs", "#[cfg(test)]\nmod tests {\n}\nuse crate::cli;", "model must not use cli"),
        ("model/mod.rs", "#[cfg(test)]\nmod tests;\nuse crate::cli;", "model must not use cli"),
    ];
    for (path, text, complaint) in broken {
        let found = complaints(path, text);
        assert!(found.iter().any(|f| f.ends_with(complaint)), "{path}: {text}\nwants: {complaint}\ngot: {found:?}");
    }
}

#[test]
fn a_source_that_keeps_the_rules_passes() {
    let sound: &[(&str, &str)] = &[
        ("main.rs", "use whit::cli;\nfn main() { std::process::exit(cli::run()) }"),
        ("cli/mod.rs", "use crate::{generate, inspect, os};\nfn f() { println!(\"{}\", std::env::args().count()) }"),
        ("generate.rs", "use crate::{Result, TokenId, model, os, sampler, tokenizer};"),
        ("model/forward/llama.rs", "use super::super::config::Config;\nuse crate::{compute::Compute, format, ops};"),
        ("kernels/mod.rs", "#[cfg(target_arch = \"x86_64\")]\nmod avx2;"),
        ("threads.rs", "use std::thread;"),
        ("format/writer.rs", "use crate::os::atomic::AtomicFile;"),
        ("error.rs", "// see crate::cli and println!\nuse std::fmt;"),
        ("sampler/mod.rs", "#[cfg(test)]\nmod tests {\n    use crate::model::Config;\n}\n"),
        ("sampler/mod.rs", "pub(crate) fn fingerprint(x: u8) {}\nfn search() { fingerprint!(1) }"),
    ];
    for (path, text) in sound {
        assert_eq!(complaints(path, text), Vec::<String>::new(), "{text}");
    }
}
