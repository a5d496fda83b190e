//! What holds for the repository as a whole: what features cost, that a plain `cargo build` makes the program, and that pages
//! link to files that exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What `cargo` says, called in this folder.
fn cargo(arguments: &[&str]) -> String {
    let command = &mut Command::new(env!("CARGO"));
    let output = command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into()
}

/// The crates linked into the runtime with these options; it and the macros run by the compiler are not counted.
fn runtime_crates(options: &[&str]) -> BTreeSet<String> {
    let tree = ["tree", "--offline", "--locked", "-p", "whit", "-e", "normal", "--prefix", "none"];
    let text = cargo(&[&tree[..], options].concat());
    let name_and_version = |line: &str| line.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    text.lines().map(name_and_version).filter(|c| !c.is_empty() && !c.starts_with("whit ")).collect()
}

#[test]
fn few_crates_are_linked_into_the_runtime() {
    // Constraints bring their engine, its regular expressions, JSON, and nine macros that cargo counts as crates.
    let sets: [(&[&str], usize); 7] = [
        (&["--no-default-features"], 8),
        (&[], 12),
        (&["--features", "chat"], 12),
        (&["--features", "constraints"], 36),
        (&["--features", "program"], 41),
        (&["--features", "cli"], 58),
        // hyper with 12 others.
        (&["--features", "serve"], 71),
    ];
    for (options, most) in sets {
        let crates = runtime_crates(options);
        assert!(!crates.is_empty(), "cargo tree named no crate");
        assert!(crates.len() <= most, "{options:?}: {} crates, at most {most}: {crates:#?}", crates.len());
    }
}

#[test]
fn the_library_comes_bare_and_the_checkout_with_the_program() {
    let metadata = cargo(&["metadata", "--offline", "--locked", "--no-deps", "--format-version", "1"]);
    let metadata: serde_json::Value = serde_json::from_str(&metadata).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let library = packages.iter().find(|package| package["name"] == "whit").expect("the library");
    // No story model, no templates, no command line for who only depends on whit.
    assert_eq!(library["features"]["default"], serde_json::json!(["std"]));
    // A plain `cargo build` takes the default members, and one of them asks for the program.
    let built = metadata["workspace_default_members"].as_array().expect("members");
    let asks_for_the_program = packages.iter().filter(|package| built.contains(&package["id"])).any(|package| {
        let mut normal =
            package["dependencies"].as_array().expect("dependencies").iter().filter(|d| d["kind"].is_null());
        normal.any(|d| d["name"] == "whit" && d["features"] == serde_json::json!(["cli", "serve"]))
    });
    assert!(asks_for_the_program && built.contains(&library["id"]), "{built:?}");
}

/// The targets of Markdown links outside code, as written.
fn links(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut fenced = false;
    for line in text.lines() {
        fenced ^= line.trim_start().starts_with("```");
        if fenced {
            continue;
        }
        for prose in line.split('`').step_by(2) {
            let targets = prose.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
            found.extend(targets);
        }
    }
    found
}

/// The links of a page that name no file; `exists` is asked for paths beside the page.
fn dead_links<'a>(text: &'a str, exists: impl Fn(&str) -> bool) -> Vec<&'a str> {
    let is_relative = |link: &&str| !link.contains("://") && !link.starts_with("mailto:") && !link.starts_with('#');
    let path = |link: &'a str| link.split('#').next().unwrap_or(link);
    links(text).into_iter().filter(is_relative).filter(|link| !exists(path(link))).collect()
}

fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut open: Vec<PathBuf> =
        ["docs", "src", "models", "tools", "tests", "benches"].map(|dir| root.join(dir)).into();
    open.extend(fs::read_dir(root).expect("the root").flatten().map(|e| e.path()).filter(|p| p.is_file()));
    let mut found = Vec::new();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(&path).expect("a readable folder").flatten().map(|e| e.path()));
        } else if path.extension().is_some_and(|e| e == "md") {
            found.push(path);
        }
    }
    found
}

#[test]
fn every_relative_link_of_a_page_leads_somewhere() {
    for page in pages() {
        let text = fs::read_to_string(&page).expect("a readable page");
        let folder = page.parent().expect("a page lies in a folder");
        let dead = dead_links(&text, |path| folder.join(path).exists());
        assert!(dead.is_empty(), "{}: no file at {dead:?}", page.display());
    }
}

#[test]
fn a_dead_link_is_named() {
    let text = "[a](there.md) and [b](gone.md#part), [c](https://example.org/gone.md), [d](#here)\n\
                `[e](code.md)` ![f](gone.png \"title\")\n```\n[g](fenced.md)\n```\n[h](gone/)";
    assert_eq!(dead_links(text, |path| path == "there.md"), ["gone.md#part", "gone.png", "gone/"]);
}

/// Every source below the folder `src` of the repository that is no front (`mod.rs`) and no test, as its path from there.
fn sources(src: &str) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(src);
    let mut open = vec![root.clone()];
    let mut found = Vec::new();
    while let Some(path) = open.pop() {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if path.is_dir() && name != "tests" {
            open.extend(fs::read_dir(&path).expect("a readable folder").flatten().map(|e| e.path()));
        } else if name.ends_with(".rs") && name != "mod.rs" && !name.ends_with("tests.rs") {
            found.push(path.strip_prefix(&root).expect("below src").to_string_lossy().replace('\\', "/"));
        }
    }
    found
}

/// Sources that the `map` does not name in the paragraph of their folder, and names there that are no file of it.
fn wrong_on_the_map(map: &str, sources: &[String]) -> Vec<String> {
    let mut wrong = Vec::new();
    for paragraph in map.split("\n\n") {
        let named = || paragraph.split('`').skip(1).step_by(2).filter(|name| name.ends_with(".rs"));
        let folder = paragraph.strip_prefix("**`").and_then(|rest| rest.split_once('/')).map(|(folder, _)| folder);
        let own: Vec<&str> = match folder {
            Some(folder) => sources.iter().filter_map(|path| path.strip_prefix(folder)?.strip_prefix('/')).collect(),
            None if paragraph.starts_with("`lib.rs`") => sources.iter().map(String::as_str).collect(),
            None => continue,
        };
        let is = |path: &str, name: &str| path == name || path.ends_with(&format!("/{name}"));
        let below = |path: &&&str| folder.is_some() || (!path.contains('/') && !map.contains(&format!("and `{path}`")));
        let missing = own.iter().filter(below).filter(|path| !named().any(|name| is(path, name)));
        wrong.extend(missing.map(|path| format!("{path} of {} is not named", folder.unwrap_or("src"))));
        let front = |name: &str| folder.is_some_and(|folder| name == format!("{folder}.rs"));
        let extra = named().filter(|name| !front(name) && !own.iter().any(|path| is(path, name)));
        wrong.extend(extra.map(|name| format!("{name} is no file of {}", folder.unwrap_or("src"))));
    }
    wrong
}

#[test]
fn architecture_names_every_file() {
    let page = include_str!("../ARCHITECTURE.md");
    for src in ["src", "tools/quantize/src"] {
        let (_, map) = page.split_once(&format!("## The map of `{src}`")).expect("a map");
        let (map, _) = map.split_once("\n## ").expect("what follows the map");
        let sources = sources(src);
        assert!(sources.len() > 30, "{src}");
        let wrong = wrong_on_the_map(map.trim(), &sources);
        assert!(wrong.is_empty(), "{src}:\n{}", wrong.join("\n"));
    }
}

#[test]
fn a_file_that_is_not_on_the_map_is_named() {
    let map = "`lib.rs` first\n\n**`a/`** (and `a.rs`): `b.rs`, `c/d.rs`, `gone.rs`";
    let sources = ["lib.rs", "a.rs", "a/b.rs", "a/c/d.rs", "a/new.rs", "main.rs"].map(String::from);
    let wrong = wrong_on_the_map(map, &sources);
    assert_eq!(wrong, ["main.rs of src is not named", "new.rs of a is not named", "gone.rs is no file of a"]);
}
