//! Compiled patterns against a backtracking matcher.

use proptest::prelude::*;

use super::*;

const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Patterns that mean the same to both, of published tokenizers and of every construct.
const PATTERNS: [&str; 26] = [
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++(?!\S)|\s*[\r\n]|\s+",
    GPT4O,
    r"[一-龥぀-ゟ゠-ヿ]+",
    r"[!-/:-~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"[0-9][0-9][0-9]",
    r"ab|a|abc",
    r"a|ab",
    r"(?:ab|a)(?:c|bcd)",
    r"a+?b*",
    r"a*?b",
    r"(?:a|b)*c",
    r"(?:a+)+b|a",
    r"a{2,4}",
    r"a{2,4}?b{2,}",
    r"(?:ab){1,3}c?",
    r"a(?=b)|b",
    r"a(?=[bc])c?|(?!a)[a-c]",
    r"\s+$|\s",
    r"[^a-c\s]+|[a-c&&[^b]]",
    r"[\p{Han}&&[^一]]+|\P{Han}",
    r"(?i)abc|D",
    r"x(?i:y)z",
    r"\w+|[^\w\s]+",
    r"\x61\x{62}c|\u0064",
];

fn spans(expression: &str, text: &str) -> Vec<std::ops::Range<usize>> {
    compile(expression).expect(expression).matches(text).expect("matches")
}

/// The same pattern in the words of the other matcher, whose `$` is the end of the text alone.
fn reference(expression: &str) -> fancy_regex::Regex {
    let expression = expression.replace('$', "(?=\n|\\z)").replace("\\u0064", "d");
    fancy_regex::Regex::new(&expression).expect("the reference compiles")
}

#[test]
fn patterns_find_what_a_backtracking_matcher_finds() {
    let pieces = prop_oneof![
        3 => "[abcd]{1,6}",
        1 => "[A-Zx-z]{1,4}",
        1 => "[ \t\r\n\u{a0}\u{3000}]{1,5}",
        1 => "'(s|S|ll|LL|re|vE|x)",
        1 => "[0-9½٣]{1,7}",
        1 => "[!-/:-@]{1,4}",
        1 => "[一想中ひカ한]{1,4}",
        1 => "[éßǅʰא\u{301}\u{200d}]{1,3}",
        1 => any::<char>().prop_map(String::from),
    ];
    let texts = proptest::collection::vec(pieces, 0..12).prop_map(|pieces| pieces.concat());
    for expression in PATTERNS {
        let (pattern, reference) = (compile(expression).expect(expression), reference(expression));
        let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
            cases: 300,
            failure_persistence: None,
            rng_seed: proptest::test_runner::RngSeed::Fixed(1),
            ..ProptestConfig::default()
        });
        let outcome = runner.run(&texts, |text| {
            let found = reference.find_iter(&text).map(|found| found.expect("a match").range());
            let expected: Vec<_> = found.filter(|range| !range.is_empty()).collect();
            prop_assert_eq!(pattern.matches(&text).expect("matches"), expected, "{:?} in {:?}", expression, text);
            Ok(())
        });
        outcome.unwrap_or_else(|error| panic!("{expression}: {error}"));
    }
}

#[test]
fn what_only_one_of_both_knows() {
    assert_eq!(spans(r"[[:alpha:]]+", "aé 1").as_slice(), std::slice::from_ref(&(0..3)));
    assert_eq!(spans(r"a{,2}b", "aab ab b"), [0..3, 4..6, 7..8]);
    assert_eq!(spans(r"a{x}|a", "a{x}a"), [0..4, 4..5]);
    assert_eq!(spans(r"\h+", "xfF09g").as_slice(), std::slice::from_ref(&(1..5)));
    assert_eq!(spans(r"[]a]+", "x]a]").as_slice(), std::slice::from_ref(&(1..4)));
    assert_eq!(spans(r"(?m:a.)b", "a\nb").as_slice(), std::slice::from_ref(&(0..3)));
    assert_eq!(spans(r"a.", "a\nab").as_slice(), std::slice::from_ref(&(2..4)));
}

#[test]
fn texts_and_characters_are_patterns() {
    let found = |pattern: Result<Pattern, String>, text| pattern.expect("a pattern").matches(text).expect("matches");
    assert_eq!(found(literal("a.("), "aa.(a.("), [1..4, 4..7]);
    assert_eq!(found(characters(char::is_numeric), "a12½"), [1..2, 2..3, 3..5]);
    assert!(literal("").is_err());
}
