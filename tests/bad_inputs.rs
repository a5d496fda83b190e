//! The table of docs/bad-inputs.md: every row is tried, in the files that it names and with the words that it quotes, and every
//! row that is tried is in the table.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A row of the table.
struct Row {
    id: String,
    code: String,
    /// Words of the message.
    quoted: Vec<String>,
    /// Where it is tried.
    files: Vec<PathBuf>,
}

/// Whether `word` is the name of a row, as in M-01.
fn is_id(word: &str) -> bool {
    let parts = word.split_once('-');
    parts.is_some_and(|(list, n)| {
        ["M", "S", "P", "G", "A", "W", "C", "T", "U", "L"].contains(&list) && n.len() == 2 && n.parse::<u8>().is_ok()
    })
}

/// The names of rows in `text`.
fn ids(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').filter(|word| is_id(word)).collect()
}

/// The parts of `text` between pairs of `mark`.
fn between(text: &str, mark: char) -> Vec<String> {
    text.split(mark).skip(1).step_by(2).map(str::to_owned).collect()
}

fn rows(page: &str) -> Vec<Row> {
    let cells = |line: &str| line.split(" | ").map(|cell| cell.trim_matches(['|', ' ']).to_owned()).collect::<Vec<_>>();
    let row = |line: &str| {
        let cells = cells(line);
        let [id, _, code, says, tried] = &cells[..] else { panic!("five cells: {line}") };
        let links = tried.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        let files = links.map(|link| root().join("docs").join(link)).collect();
        Row { id: id.clone(), code: code.clone(), quoted: between(says, '`'), files }
    };
    page.lines().filter(|line| line.get(2..6).is_some_and(is_id)).map(row).collect()
}

fn page() -> String {
    fs::read_to_string(root().join("docs/bad-inputs.md")).expect("the page")
}

#[test]
fn every_row_is_tried_where_the_table_says_with_its_words() {
    let page = page();
    let rows = rows(&page);
    let mut seen = BTreeSet::new();
    for Row { id, code, quoted, files } in &rows {
        assert!(seen.insert(id), "{id} stands twice");
        assert!(code.starts_with(|c: char| c.is_ascii_digit()), "{id}: {code:?} is no exit code");
        let texts: Vec<String> = files.iter().map(|file| fs::read_to_string(file).expect("a file of tests")).collect();
        assert!(!texts.is_empty(), "{id} is tried nowhere");
        for (text, file) in texts.iter().zip(files) {
            assert!(ids(text).contains(&**id), "{} does not name {id}", file.display());
        }
        for words in quoted {
            assert!(texts.iter().any(|text| text.contains(words)), "{id}: no test expects {words:?}");
        }
    }
    assert!(rows.len() >= 115, "{} rows", rows.len());
}

/// All Rust files below the tests and sources.
fn sources() -> Vec<PathBuf> {
    let mut open: Vec<PathBuf> = ["src", "tests", "tools"].map(|folder| root().join(folder)).into();
    let mut found = Vec::new();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(&path).expect("a readable folder").flatten().map(|entry| entry.path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

#[test]
fn every_row_that_is_tried_is_in_the_table() {
    let page = page();
    let listed = ids(&page);
    for file in sources() {
        let text = fs::read_to_string(&file).expect("UTF-8");
        let missing: Vec<_> = ids(&text).difference(&listed).map(|id| id.to_string()).collect();
        assert!(missing.is_empty(), "{} tries {missing:?}", file.display());
    }
}

#[test]
fn the_list_of_classes_is_covered() {
    let path = root().join("../shared/reliability.md");
    if !path.exists() {
        assert!(std::env::var_os("WHIT_REQUIRE_SHARED").is_none(), "{} is missing", path.display());
        return eprintln!("SKIPPED: {} is missing", path.display());
    }
    let list = fs::read_to_string(path).expect("the list");
    let page = page();
    let wanted = list.lines().filter_map(|line| line.get(2..6).filter(|id| is_id(id)));
    let missing: Vec<&str> = wanted.filter(|id| !ids(&page).contains(id)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
