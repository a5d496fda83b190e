//! Which file of `src`, or of another crate's folder of sources, depends on which, and the circles among them.
//!
//! A file depends on the file that defines what it names by a path: one that begins with `crate::`, `super::`, `self::` or a
//! module of its own, in a `use` or anywhere in the code. A name that is re-exported or imported on the way is followed to
//! where it is defined; a path that ends at a module means that module's file. So a folder's `mod.rs` is a file like any
//! other: what it calls in its children it depends on, and its children depend on it where it defines what they name.
//!
//! Not counted are `mod x;`, who may see a name (`pub(in ...)`), a `pub use` of names that the file itself does not use, what tests name, methods and fields, and
//! macros.

use super::{code_of, is_ident};
use std::collections::{BTreeMap, BTreeSet};

/// The two crates in a folder of sources: a path never leads from one to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Crate {
    Library,
    Program,
}

/// A module: its crate and its path from the root.
type Module = (Crate, Vec<String>);

/// What a file names.
struct Names {
    module: Module,
    imports: Vec<Import>,
    /// Paths of two names and more outside `use`.
    paths: Vec<Vec<String>>,
    /// All words outside `use`.
    words: BTreeSet<String>,
}

/// A leaf of a `use`.
struct Import {
    path: Vec<String>,
    /// What the file calls it.
    name: String,
    /// Whether others may take it from here.
    is_public: bool,
}

/// Files, and by file those that it depends on with the names that tie them.
pub(super) struct Graph {
    files: BTreeMap<String, Names>,
    by_module: BTreeMap<Module, String>,
    edges: BTreeMap<String, BTreeMap<String, BTreeSet<String>>>,
}

impl Graph {
    /// Of the files in `sources`, each a path below their folder and a text.
    pub(super) fn of(sources: &[(String, String)]) -> Self {
        let files: BTreeMap<_, _> = sources.iter().map(|(path, text)| (path.clone(), Names::of(path, text))).collect();
        let by_module = files.iter().map(|(path, names)| (names.module.clone(), path.clone())).collect();
        let mut graph = Graph { files, by_module, edges: BTreeMap::new() };
        graph.edges = graph.files.iter().map(|(path, names)| (path.clone(), graph.edges_of(path, names))).collect();
        graph
    }

    fn edges_of(&self, path: &str, names: &Names) -> BTreeMap<String, BTreeSet<String>> {
        let used = names.imports.iter().filter(|import| !import.is_public || names.words.contains(&import.name));
        let mut edges = BTreeMap::<String, BTreeSet<String>>::new();
        for named in used.map(|import| &import.path).chain(&names.paths) {
            if let Some(file) = self.file_of(&names.module, named, 0).filter(|file| file != path) {
                edges.entry(file).or_default().insert(named.join("::"));
            }
        }
        edges
    }

    /// The file that defines what `path` names in `module`; `None` where that is no file of this crate.
    fn file_of(&self, module: &Module, path: &[String], depth: usize) -> Option<String> {
        let (krate, mut at) = module.clone();
        let mut rest = path.iter().map(String::as_str).peekable();
        match *rest.peek()? {
            "crate" => {
                rest.next();
                at.clear();
            }
            "self" | "super" => {
                while let Some(step) = rest.next_if(|step| ["self", "super"].contains(step)) {
                    at.truncate(at.len().saturating_sub(usize::from(step == "super")));
                }
            }
            child if self.by_module.contains_key(&(krate, below(&at, child))) => {}
            _ => return None,
        }
        for name in rest {
            let child = (krate, below(&at, name));
            if self.by_module.contains_key(&child) {
                at = child.1;
                continue;
            }
            let module = (krate, at);
            let file = self.by_module.get(&module)?;
            let imports = self.files[file].imports.iter().filter(|import| import.name == name && depth < 8);
            let mut defined = imports.filter_map(|import| self.file_of(&module, &import.path, depth + 1));
            return defined.next().or_else(|| Some(file.clone()));
        }
        self.by_module.get(&(krate, at)).cloned()
    }

    /// The files that lead to each other, a set for each circle.
    pub(super) fn circles(&self) -> Vec<BTreeSet<&str>> {
        let reached: BTreeMap<&str, BTreeSet<&str>> =
            self.edges.keys().map(|file| (file.as_str(), self.reached_from(file))).collect();
        let mut circles = Vec::<BTreeSet<&str>>::new();
        for (file, far) in &reached {
            if far.contains(file) && !circles.iter().any(|circle| circle.contains(file)) {
                circles.push(far.iter().copied().filter(|other| reached[other].contains(file)).collect());
            }
        }
        circles
    }

    fn reached_from<'g>(&'g self, file: &str) -> BTreeSet<&'g str> {
        let mut reached = BTreeSet::new();
        let mut open: Vec<&str> = self.edges[file].keys().map(String::as_str).collect();
        while let Some(next) = open.pop() {
            if reached.insert(next) {
                open.extend(self.edges[next].keys().map(String::as_str));
            }
        }
        reached
    }

    /// The files of `circle`, and the names that tie them.
    pub(super) fn told(&self, circle: &BTreeSet<&str>) -> String {
        let files = circle.iter().copied().collect::<Vec<_>>().join(", ");
        let mut out = format!("circle of {} files: {files}\n", circle.len());
        for file in circle {
            for (other, names) in self.edges[*file].iter().filter(|(other, _)| circle.contains(other.as_str())) {
                let names = names.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
                out.push_str(&format!("  {file} -> {other}: {names}\n"));
            }
        }
        out
    }
}

/// The path of the module `child` in the module at `path`.
fn below(path: &[String], child: &str) -> Vec<String> {
    let mut out = path.to_vec();
    out.push(child.to_owned());
    out
}

impl Names {
    fn of(path: &str, text: &str) -> Self {
        let code = code_of(text);
        let tokens = tokens(&code);
        let (mut imports, mut outside) = (Vec::new(), Vec::new());
        let mut at = 0;
        while at < tokens.len() {
            if tokens[at] == "use" && tokens.get(at + 1).is_some_and(|next| *next != "<") {
                let is_public = at > 0 && ["pub", ")"].contains(&tokens[at - 1]);
                at = read_use(&tokens, at + 1, &[], is_public, &mut imports);
            } else {
                outside.push(tokens[at]);
                at += 1;
            }
        }
        let words = outside.iter().map(|word| (*word).to_owned()).collect();
        Names { module: module_at(path), imports, paths: paths(&outside), words }
    }
}

fn module_at(path: &str) -> Module {
    let mut names: Vec<String> = path.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    let krate =
        if ["main", "cli", "requests", "serve"].contains(&names[0].as_str()) { Crate::Program } else { Crate::Library };
    if names.last().is_some_and(|last| last == "mod") || path == "lib.rs" || path == "main.rs" {
        names.pop();
    }
    (krate, names)
}

/// Words, `::` and single characters.
fn tokens(code: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            c if is_ident(c) => rest.find(|c| !is_ident(c)).unwrap_or(rest.len()),
            _ if rest.starts_with("::") => 2,
            c => c.len_utf8(),
        };
        out.push(&rest[..length]);
        rest = rest[length..].trim_start();
    }
    out
}

/// Reads one tree of a `use` that begins at `at` below the path `above`; gives the place behind it.
fn read_use(tokens: &[&str], mut at: usize, above: &[String], is_public: bool, out: &mut Vec<Import>) -> usize {
    let mut path = above.to_vec();
    loop {
        match tokens[at] {
            "{" => {
                at += 1;
                while tokens[at] != "}" {
                    at = read_use(tokens, at, &path, is_public, out);
                    at += usize::from(tokens[at] == ",");
                }
                return at + 1;
            }
            "::" => at += 1,
            word => {
                // `{self}` is the module itself.
                if word != "self" || path.is_empty() {
                    path.push(word.to_owned());
                }
                at += 1;
                let name = match tokens[at] {
                    "::" => continue,
                    "as" => tokens[at + 1],
                    _ => path.last().map_or("", String::as_str),
                };
                out.push(Import { name: name.to_owned(), path, is_public });
                return if tokens[at] == "as" { at + 2 } else { at };
            }
        }
    }
}

/// The paths in `tokens`, without what follows a `::<` or a `::{`, and without those in a `pub(in ...)`.
fn paths(tokens: &[&str]) -> Vec<Vec<String>> {
    let is_word = |at: usize| tokens.get(at).is_some_and(|token| token.starts_with(is_ident));
    let mut out = Vec::new();
    let begins = |at: usize| at == 0 || tokens[at - 1] != "::";
    let says_who_sees = |at: usize| tokens[..at].ends_with(&["pub", "(", "in"]);
    for at in (0..tokens.len()).filter(|at| is_word(*at) && begins(*at) && !says_who_sees(*at)) {
        let mut path = vec![tokens[at].to_owned()];
        let mut end = at + 1;
        while tokens.get(end) == Some(&"::") && is_word(end + 1) {
            path.push(tokens[end + 1].to_owned());
            end += 2;
        }
        if path.len() > 1 {
            out.push(path);
        }
    }
    out
}
