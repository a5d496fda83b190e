//! Stages of a tokenizer.json, of every kind that is read and some that are not.

use crate::json::{Json, map, text};
use crate::random::Random;

const MARK: &str = "\u{2581}";
/// Parts of regular expressions, which are put together at random.
const ATOMS: &[&str] = &[
    "a",
    "b",
    "e",
    " ",
    "1",
    r"\p{L}",
    r"\p{N}",
    r"\p{Lu}",
    r"\s",
    r"\S",
    r"\w",
    r"[a-c]",
    r"[^\r\n\p{L}\p{N}]",
    ".",
    r"\p{Han}",
    "é",
    "[[a-z]&&[^b]]",
    r"\x41",
    "'",
    r"[\r\n]",
    "(?i:'s|'t)",
    "(?:a|b)",
    "(ab)",
    r"(?=\s)",
    r"(?!\S)",
    "$",
    r"\h",
];
const REPEATS: &[&str] = &["", "", "", "*", "+", "?", "{2}", "{1,3}", "{,2}", "*?", "+?", "++", "?+", "*+", "{99}"];

/// A regular expression, now and then one that is not supported, or none at all.
pub(crate) fn expression(random: &mut Random) -> String {
    let mut out = String::new();
    for _ in 0..random.within(1, 8) {
        out += random.pick(ATOMS);
        out += random.pick(REPEATS);
        if random.once_in(3) {
            out.push('|');
        }
    }
    match random.below(24) {
        0 => out += "(",
        1 => out = format!("(?<=a){out}"),
        2 => out = format!("{}{out}{}", "(".repeat(70), ")".repeat(70)),
        3 => out = format!("(?:(?:{out}){{9}}){{9}}"),
        4 => out = format!("(?:a|b)*a(?:a|b){{{}}}", random.within(1, 20)),
        _ => {}
    }
    out
}

fn typed<'k>(kind: &str, rest: impl IntoIterator<Item = (&'k str, Json)>) -> Json {
    map([("type", text(kind))].into_iter().chain(rest))
}

fn pattern(random: &mut Random) -> Json {
    match random.once_in(3) {
        true => map([("String", text(random.pick(&[" ", "a", "ab", MARK, "\n", ""])))]),
        false => map([("Regex", text(expression(random)))]),
    }
}

/// A row of normalizers.
pub(crate) fn normalizer(random: &mut Random) -> Json {
    let stages = (0..random.below(4)).map(|_| match random.below(10) {
        0 => typed(random.pick(&["NFC", "NFD", "NFKC", "NFKD"]), []),
        1 => typed("Lowercase", []),
        2 => typed("StripAccents", []),
        3 => typed(
            "Strip",
            [("strip_left", Json::Bool(random.once_in(2))), ("strip_right", Json::Bool(random.once_in(2)))],
        ),
        4 => typed("Prepend", [("prepend", text(random.pick(&[MARK, "x ", "", "ab"])))]),
        5 => typed("BertNormalizer", []),
        _ => typed("Replace", [("pattern", pattern(random)), ("content", text(random.pick(&[MARK, "", "b", "abab"])))]),
    });
    let stages = stages.collect();
    typed("Sequence", [("normalizers", Json::List(stages))])
}

/// A row of pre-tokenizers, the last one of bytes where `byte_level`.
pub(crate) fn pre_tokenizer(byte_level: bool, random: &mut Random) -> Json {
    const BEHAVIORS: &[&str] = &["Isolated", "Removed", "Contiguous", "MergedWithPrevious", "MergedWithNext"];
    let mut stages: Vec<Json> = (0..random.below(4))
        .map(|_| {
            let behavior = text(random.pick(BEHAVIORS));
            match random.below(8) {
                0 => typed("Digits", [("individual_digits", Json::Bool(random.once_in(2)))]),
                1 => typed("Punctuation", [("behavior", behavior)]),
                2 => typed(random.pick(&["Whitespace", "WhitespaceSplit", "BertPreTokenizer"]), []),
                3 => typed("CharDelimiterSplit", [("delimiter", text(random.pick(&["a", " ", "ab"])))]),
                4 => {
                    let scheme = text(random.pick(&["always", "first", "never"]));
                    let split = Json::Bool(random.once_in(2));
                    typed("Metaspace", [("replacement", text(MARK)), ("prepend_scheme", scheme), ("split", split)])
                }
                _ => {
                    let invert = Json::Bool(random.once_in(3));
                    typed("Split", [("pattern", pattern(random)), ("behavior", behavior), ("invert", invert)])
                }
            }
        })
        .collect();
    if byte_level {
        let [prefix, regex] = [2, 2].map(|n| Json::Bool(random.once_in(n)));
        stages.push(typed("ByteLevel", [("add_prefix_space", prefix), ("use_regex", regex)]));
    }
    typed("Sequence", [("pretokenizers", Json::List(stages))])
}
