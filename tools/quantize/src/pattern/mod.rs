//! Regular expressions of tokenizers, compiled into the tables that whit's tokenizer reads: what Oniguruma finds with its
//! Ruby syntax, as the `tokenizers` library uses it. What an automaton cannot do, or does not find so, is refused in words.

mod automaton;
mod classes;
mod node;
mod parse;

#[cfg(test)]
mod tests;

use whit::tokenizer::Pattern;

use node::Node;

/// Compiles `expression`; an error says what is not supported.
pub fn compile(expression: &str) -> Result<Pattern, String> {
    automaton::pattern(&parse::parse(expression)?)
}

/// The pattern of exactly this text.
pub fn literal(text: &str) -> Result<Pattern, String> {
    automaton::pattern(&Node::Row(text.chars().map(|c| Node::One(classes::one(c))).collect()))
}

/// The pattern of one character for which `holds`.
pub fn characters(holds: impl Fn(char) -> bool) -> Result<Pattern, String> {
    automaton::pattern(&Node::One(classes::those(holds)))
}

/// The characters of a class such as `\p{Lu}`; none where there is no such class.
pub fn members(class: &str) -> impl Iterator<Item = char> + use<> {
    let set = classes::named(class).unwrap_or_else(classes::none);
    let ranges: Vec<_> = set.ranges().iter().map(|range| range.start()..=range.end()).collect();
    ranges.into_iter().flatten()
}
