//! The syntax of expressions: Oniguruma's for Ruby, as far as an automaton can follow it.

use regex_syntax::hir::ClassUnicode;

use super::classes;
use super::node::Node;

/// Groups within groups, at most.
const MAX_DEPTH: usize = 64;
/// Repetitions that are counted, at most.
const MAX_COUNT: u32 = 1000;
/// Letters that, without regard to case, are also one character together (the sharp s, ligatures).
const JOINED: [&str; 5] = ["ss", "st", "ff", "fi", "fl"];

/// The tree of `expression`.
pub(super) fn parse(expression: &str) -> Result<Node, String> {
    let mut parser = Parser { rest: expression, depth: 0 };
    let node = parser.either(Options::default())?;
    if parser.rest.is_empty() { Ok(node) } else { Err("a \")\" without its \"(\"".into()) }
}

/// What `(?i)` and `(?m)` set.
#[derive(Debug, Clone, Copy, Default)]
struct Options {
    any_case: bool,
    /// The point means line ends, too.
    dot_all: bool,
}

impl Options {
    fn folded(self, set: ClassUnicode) -> ClassUnicode {
        if self.any_case { classes::any_case(set) } else { set }
    }
}

struct Parser<'e> {
    rest: &'e str,
    depth: usize,
}

impl Parser<'_> {
    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.rest = &self.rest[c.len_utf8()..];
        Some(c)
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn eat(&mut self, text: &str) -> bool {
        let rest = self.rest.strip_prefix(text);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn must(&mut self, text: &str) -> Result<(), String> {
        if self.eat(text) { Ok(()) } else { Err(format!("a \"{text}\" is missing")) }
    }

    fn either(&mut self, mut options: Options) -> Result<Node, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(format!("groups deeper than {MAX_DEPTH} are not supported"));
        }
        let mut ways = Vec::new();
        loop {
            ways.push(self.row(&mut options)?);
            if !self.eat("|") {
                break;
            }
        }
        self.depth -= 1;
        Ok(if ways.len() == 1 { ways.remove(0) } else { Node::Either(ways) })
    }

    fn row(&mut self, options: &mut Options) -> Result<Node, String> {
        let mut row = Vec::new();
        let mut before = None;
        while let Some(c) = self.peek().filter(|c| !matches!(c, '|' | ')')) {
            if let Some(set) = self.inline_options()? {
                // They hold up to the end of the group, over the bars that follow.
                *options = set(*options);
                continue;
            }
            let letter = c.to_ascii_lowercase();
            let pair: String = [before, Some(letter)].into_iter().flatten().collect();
            if options.any_case && (JOINED.contains(&pair.as_str()) || c > '\u{7f}' && c.is_alphabetic()) {
                return Err(format!("\"{pair}\" without regard to case is not supported"));
            }
            before = Some(letter);
            let node = self.atom(*options)?;
            let node = self.repeated(node, &mut row)?;
            row.push(node);
        }
        Ok(Node::Row(row))
    }

    /// `(?i)` and the like, without a group of their own.
    fn inline_options(&mut self) -> Result<Option<impl Fn(Options) -> Options + use<>>, String> {
        let Some(inside) = self.rest.strip_prefix("(?") else { return Ok(None) };
        let flags: &str = &inside[..inside.find(|c: char| !matches!(c, 'i' | 'm' | '-')).unwrap_or(inside.len())];
        if flags.is_empty() || !inside[flags.len()..].starts_with(')') {
            return Ok(None);
        }
        let set = options(flags);
        self.rest = &inside[flags.len() + 1..];
        Ok(Some(set))
    }

    /// A character, a set, a group or a condition.
    fn atom(&mut self, options: Options) -> Result<Node, String> {
        let Some(c) = self.next() else { return Err("an expression ends too early".into()) };
        Ok(match c {
            '(' => self.group(options)?,
            '[' => Node::One(options.folded(self.set(options)?)),
            '.' if options.dot_all => Node::One(classes::all()),
            '.' => Node::One(classes::not(classes::one('\n'))),
            // Ruby's end of a line.
            '$' => Node::Ahead { set: classes::not(classes::one('\n')), negated: true },
            '\\' if self.eat("z") => Node::Ahead { set: classes::all(), negated: true },
            '\\' => Node::One(options.folded(self.escape()?)),
            '^' => return Err("\"^\" is not supported: a match cannot ask what is before it".into()),
            '*' | '+' | '?' => return Err(format!("\"{c}\" repeats nothing")),
            c => Node::One(options.folded(classes::one(c))),
        })
    }

    fn group(&mut self, mut given: Options) -> Result<Node, String> {
        let mut ahead = None;
        if self.eat("?=") {
            ahead = Some(false);
        } else if self.eat("?!") {
            ahead = Some(true);
        } else if self.eat("?<=") || self.eat("?<!") {
            return Err(
                "what stands before a match cannot be asked for: (?<=...) and (?<!...) are not supported".into()
            );
        } else if self.eat("?>") {
            return Err("an atomic group (?>...) is not supported".into());
        } else if self.eat("?<") || self.eat("?P<") {
            let end = self.rest.find('>').ok_or("a \">\" is missing")?;
            self.rest = &self.rest[end + 1..];
        } else if self.eat("?") {
            let end = self.rest.find(|c: char| !matches!(c, 'i' | 'm' | '-')).unwrap_or(self.rest.len());
            let flags = &self.rest[..end];
            given = options(flags)(given);
            self.rest = &self.rest[end..];
            self.must(":")?;
        }
        let node = self.either(given)?;
        self.must(")")?;
        let Some(negated) = ahead else { return Ok(node) };
        let set = single(&node).ok_or("(?=...) and (?!...) are supported for one character only")?;
        Ok(Node::Ahead { set, negated })
    }

    /// `node` with the repetition that follows it; what a possessive one needs goes before or after it.
    fn repeated(&mut self, mut node: Node, row: &mut Vec<Node>) -> Result<Node, String> {
        loop {
            let (least, most, counted) = match self.peek() {
                Some('*') => (0, None, false),
                Some('+') => (1, None, false),
                Some('?') => (0, Some(1), false),
                Some('{') => match self.counts() {
                    Some((least, most)) => (least, most, true),
                    None => return Ok(node),
                },
                _ => return Ok(node),
            };
            if !counted {
                self.next();
            }
            if least.max(most.unwrap_or(0)) > MAX_COUNT || most.is_some_and(|most| most < least) {
                return Err(format!("repetitions of {least} to {most:?} are not supported"));
            }
            let greedy = !self.eat("?");
            let possessive = greedy && !counted && self.eat("+");
            let set = possessive.then(|| single(&node));
            node = Node::Repeat { node: Box::new(node), least, most, greedy };
            match set {
                None => {}
                // What a run of one set gives up never is what the run could have gone on with.
                Some(Some(set)) if most.is_none() => {
                    row.push(node);
                    node = Node::Ahead { set, negated: true };
                }
                Some(Some(set)) => {
                    let skipped = Node::Ahead { set: set.clone(), negated: true };
                    node = Node::Either(vec![Node::One(set), skipped]);
                }
                Some(None) => return Err("a possessive repetition of more than one character is not supported".into()),
            }
        }
    }

    /// `{n}`, `{n,}`, `{,m}`, `{n,m}`; anything else after the brace is text.
    fn counts(&mut self) -> Option<(u32, Option<u32>)> {
        let inside = &self.rest[1..self.rest.find('}')?];
        let number = |text: &str| if text.is_empty() { Some(None) } else { text.parse().ok().map(Some) };
        let (least, most) = match inside.split_once(',') {
            Some((least, most)) => (number(least)?, number(most)?),
            None => (Some(number(inside)??), Some(number(inside)??)),
        };
        if least.is_none() && most.is_none() {
            return None;
        }
        self.rest = &self.rest[inside.len() + 2..];
        Some((least.unwrap_or(0), most))
    }

    /// What follows a backslash.
    fn escape(&mut self) -> Result<ClassUnicode, String> {
        let Some(c) = self.next() else { return Err("an expression ends in a backslash".into()) };
        let named = |class: &str| classes::named(class).ok_or(format!("the class {class} is not known"));
        Ok(match c {
            'p' | 'P' => {
                let name = if self.eat("{") {
                    let end = self.rest.find('}').ok_or("a \"}\" is missing")?;
                    let name = &self.rest[..end];
                    self.rest = &self.rest[end + 1..];
                    name.to_string()
                } else {
                    self.next().map(String::from).unwrap_or_default()
                };
                let (name, inverted) = name.strip_prefix('^').map_or((&*name, false), |name| (name, true));
                let set = named(&format!("\\p{{{name}}}"))?;
                if (c == 'P') != inverted { classes::not(set) } else { set }
            }
            's' | 'S' | 'd' | 'D' | 'w' | 'W' => named(&format!("\\{c}"))?,
            'h' => named("[0-9a-fA-F]")?,
            'H' => named("[^0-9a-fA-F]")?,
            'n' => classes::one('\n'),
            'r' => classes::one('\r'),
            't' => classes::one('\t'),
            'f' => classes::one('\u{c}'),
            'v' => classes::one('\u{b}'),
            'a' => classes::one('\u{7}'),
            'e' => classes::one('\u{1b}'),
            'x' | 'u' => classes::one(self.code(c)?),
            c if c.is_ascii_alphanumeric() => return Err(format!("\"\\{c}\" is not supported")),
            c => classes::one(c),
        })
    }

    /// The character of `\xHH`, `\x{H...}` or `\uHHHH`.
    fn code(&mut self, kind: char) -> Result<char, String> {
        let digits = if kind == 'x' && self.eat("{") {
            let end = self.rest.find('}').ok_or("a \"}\" is missing")?;
            let digits = &self.rest[..end];
            self.rest = &self.rest[end + 1..];
            digits
        } else {
            let n = if kind == 'x' { 2 } else { 4 };
            let digits = self.rest.get(..n).ok_or("a character's number is cut short")?;
            self.rest = &self.rest[n..];
            digits
        };
        let c = u32::from_str_radix(digits, 16).ok().and_then(char::from_u32);
        // A byte above ASCII is no character of its own in Oniguruma.
        let c = c.filter(|c| kind != 'x' || digits.len() != 2 || c.is_ascii());
        c.ok_or(format!("\"\\{kind}{digits}\" is no character"))
    }

    /// The set between brackets, of which the first is behind.
    fn set(&mut self, options: Options) -> Result<ClassUnicode, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(format!("sets deeper than {MAX_DEPTH} are not supported"));
        }
        let inverted = self.eat("^");
        let (mut whole, mut set): (Option<ClassUnicode>, _) = (None, classes::none());
        let mut empty = true;
        loop {
            if !empty && self.eat("]") {
                break;
            }
            if self.eat("&&") {
                whole = Some(met(whole, std::mem::replace(&mut set, classes::none())));
                continue;
            }
            empty = false;
            let first = self.member(options)?;
            let from = Some(&first).and_then(only);
            let to =
                self.rest.strip_prefix('-').and_then(|rest| rest.chars().next()).filter(|c| !matches!(c, ']' | '['));
            match (from, to) {
                (Some(from), Some(_)) if !self.rest.starts_with("-&&") => {
                    self.next();
                    let last = self.member(options)?;
                    let to = only(&last).filter(|to| from <= *to).ok_or("a range in a set that does not ascend")?;
                    set.union(&classes::range(from, to));
                }
                _ => set.union(&first),
            }
        }
        self.depth -= 1;
        let set = options.folded(met(whole, set));
        Ok(if inverted { classes::not(set) } else { set })
    }

    /// One member of a set: a character, an escape, a set within.
    fn member(&mut self, options: Options) -> Result<ClassUnicode, String> {
        if self.eat("[:") {
            let end = self.rest.find(":]").ok_or("a \":]\" is missing")?;
            let name = &self.rest[..end];
            self.rest = &self.rest[end + 2..];
            let set = match name {
                "space" => classes::named(r"\s"),
                "digit" => classes::named(r"\d"),
                "alpha" => classes::named(r"\p{Alphabetic}"),
                "upper" => classes::named(r"\p{Uppercase}"),
                "lower" => classes::named(r"\p{Lowercase}"),
                _ => None,
            };
            return set.ok_or(format!("the class [:{name}:] is not supported"));
        }
        match self.next() {
            Some('[') => self.set(options),
            Some('\\') if self.eat("b") => Ok(classes::one('\u{8}')),
            Some('\\') => self.escape(),
            Some(c) => Ok(classes::one(c)),
            None => Err("a \"]\" is missing".into()),
        }
    }
}

/// What `flags`, such as `i-m`, do to the options.
fn options(flags: &str) -> impl Fn(Options) -> Options + use<> {
    let (on, off) = flags.split_once('-').unwrap_or((flags, ""));
    let [any_case, dot_all] = ['i', 'm'].map(|flag| (on.contains(flag), off.contains(flag)));
    move |options| Options {
        any_case: (options.any_case || any_case.0) && !any_case.1,
        dot_all: (options.dot_all || dot_all.0) && !dot_all.1,
    }
}

/// What both sets have; the first may be missing.
fn met(whole: Option<ClassUnicode>, mut set: ClassUnicode) -> ClassUnicode {
    if let Some(whole) = whole {
        set.intersect(&whole);
    }
    set
}

/// The one character of a set that has no other.
fn only(set: &ClassUnicode) -> Option<char> {
    match set.ranges() {
        [range] if range.start() == range.end() => Some(range.start()),
        _ => None,
    }
}

/// The set of an expression that reads exactly one character.
fn single(node: &Node) -> Option<ClassUnicode> {
    match node {
        Node::One(set) => Some(set.clone()),
        Node::Row(nodes) if nodes.len() == 1 => single(&nodes[0]),
        Node::Either(nodes) => nodes.iter().try_fold(classes::none(), |mut set, node| {
            set.union(&single(node)?);
            Some(set)
        }),
        _ => None,
    }
}
