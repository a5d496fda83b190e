//! A grammar of lexemes in the words of Lark, as the engine reads it: rules in small letters, lexemes in large ones.

use super::gbnf::Expr;
use super::lexemes::{Lexemes, Node};
use std::fmt::Write;

/// The text of a grammar whose root is the rule `root`.
pub(super) fn text_of(grammar: &Lexemes, rules: &[Expr], root: usize) -> String {
    let mut text = format!("start: r{root}\n");
    for (rule, node) in grammar.rules.iter().enumerate() {
        if let Some(node) = node {
            let _ = writeln!(text, "r{rule}: {}", of_node(node));
        }
    }
    for rule in &grammar.regular {
        let _ = writeln!(text, "T{rule}: {}", of_expr(&rules[*rule]));
    }
    for (i, lexeme) in grammar.lexemes.iter().enumerate() {
        // Where a lexeme may be empty, the rule says so.
        let _ = writeln!(text, "L{i}: ({}) & /(?s:.+)/", of_expr(lexeme));
    }
    text
}

fn of_node(node: &Node) -> String {
    match node {
        Node::Lexeme(lexeme) => format!("L{lexeme}"),
        Node::Rule(rule) => format!("r{rule}"),
        Node::Repeat(of, least, most) => format!("({}){}", of_node(of), times(*least, *most)),
        Node::Sequence(of) => joined(of.iter().map(of_node), " "),
        Node::Choice(of) => format!("({})", joined(of.iter().map(of_node), " | ")),
    }
}

fn of_expr(expr: &Expr) -> String {
    match expr {
        Expr::One(_) => format!("/{}/", regex_of(expr)),
        Expr::Rule(rule) => format!("T{rule}"),
        Expr::Repeat(of, least, most) => format!("({}){}", of_expr(of), times(*least, *most)),
        Expr::Sequence(of) => joined(of.chunk_by(are_characters).map(of_chunk), " "),
        Expr::Choice(of) => format!("({})", joined(of.iter().map(of_expr), " | ")),
    }
}

fn are_characters(a: &Expr, b: &Expr) -> bool {
    matches!((a, b), (Expr::One(_), Expr::One(_)))
}

/// Characters that follow each other, or one other expression.
fn of_chunk(chunk: &[Expr]) -> String {
    match chunk {
        [Expr::One(_), ..] => format!("/{}/", chunk.iter().map(regex_of).collect::<String>()),
        chunk => joined(chunk.iter().map(of_expr), " "),
    }
}

/// A set of characters as a regular expression.
fn regex_of(expr: &Expr) -> String {
    let Expr::One(set) = expr else { return String::new() };
    let number = |c: char| format!("\\x{{{:x}}}", c as u32);
    match set.ranges() {
        [(first, last)] if first == last => number(*first),
        ranges => {
            let ranges = ranges.iter().map(|(first, last)| format!("{}-{}", number(*first), number(*last)));
            format!("[{}]", ranges.collect::<String>())
        }
    }
}

/// The parts with `between` them; the empty text where there are none.
fn joined(parts: impl Iterator<Item = String>, between: &str) -> String {
    let parts: Vec<String> = parts.collect();
    if parts.is_empty() { "\"\"".into() } else { parts.join(between) }
}

fn times(least: u32, most: Option<u32>) -> String {
    match (least, most) {
        (0, None) => "*".into(),
        (1, None) => "+".into(),
        (0, Some(1)) => "?".into(),
        (least, None) => format!("{{{least},}}"),
        (least, Some(most)) => format!("{{{least},{most}}}"),
    }
}
