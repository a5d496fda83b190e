//! A regular expression as a tree.

use regex_syntax::hir::ClassUnicode;

/// A part of an expression.
#[derive(Debug, Clone)]
pub(super) enum Node {
    /// One character of a set.
    One(ClassUnicode),
    /// What follows begins with a character of the set, or with `negated` with none of them, as at the end of the text.
    Ahead { set: ClassUnicode, negated: bool },
    /// One after the other.
    Row(Vec<Node>),
    /// One of several, the first one that matches.
    Either(Vec<Node>),
    /// Again and again; with `greedy` rather more often.
    Repeat { node: Box<Node>, least: u32, most: Option<u32>, greedy: bool },
}
