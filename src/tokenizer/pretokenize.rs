//! Cuts text into the pieces that are merged one by one. Each pattern is a scanner that looks at a character at most
//! twice, so that no text takes more than linear time; [`PreTokenizer`] says which pattern stands for which name.

use super::unicode::{Class, class};

/// The pattern that cuts text before byte-level merges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PreTokenizer {
    /// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
    Gpt2,
    /// `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
    Llama3,
    /// Llama-3's with `\p{N}` in place of `\p{N}{1,3}`, on text in normalization form C.
    Qwen2,
    /// Every `\p{N}` stands alone, and GPT-2's pattern cuts what lies between.
    SmolLm2,
}

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const GPT2_SHORT: &str = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

impl PreTokenizer {
    /// The text of GPT-2's pattern.
    pub const GPT2_PATTERN: &str = GPT2;
    /// The text of Llama-3's.
    pub const LLAMA3_PATTERN: &str = LLAMA3;
    /// The text of Qwen2's.
    pub const QWEN2_PATTERN: &str = QWEN2;

    /// The pattern that a GGUF file means by its `tokenizer.ggml.pre`: names that llama.cpp treats alike mean one pattern.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "gpt-2" | "gpt2" | "phi-2" | "jina-es" | "jina-de" | "jina-v2-es" | "jina-v2-de" | "gigachat"
            | "a.x-4.0" | "mellum" => Some(PreTokenizer::Gpt2),
            "llama-bpe" | "llama3" | "llama-v3" | "falcon3" | "falcon-h1" | "pixtral" | "midm-2.0" | "lfm2"
            | "jina-v5-nano" => Some(PreTokenizer::Llama3),
            "qwen2" | "deepseek-r1-qwen" | "kormo" | "f2llmv2" | "megrez" => Some(PreTokenizer::Qwen2),
            "smollm" => Some(PreTokenizer::SmolLm2),
            _ => None,
        }
    }

    /// The pattern whose text, as in the `Split` of a `tokenizer.json`, is exactly `pattern`. SmolLM2 has no text: it is
    /// the sequence `Digits { individual_digits: true }`, `ByteLevel { use_regex: true }`.
    pub fn from_pattern(pattern: &str) -> Option<Self> {
        match pattern {
            GPT2 | GPT2_SHORT => Some(PreTokenizer::Gpt2),
            LLAMA3 => Some(PreTokenizer::Llama3),
            QWEN2 => Some(PreTokenizer::Qwen2),
            _ => None,
        }
    }

    /// Whether text is brought to normalization form C first.
    pub fn normalizes(self) -> bool {
        self == PreTokenizer::Qwen2
    }

    pub(super) fn code(self) -> u32 {
        match self {
            PreTokenizer::Gpt2 => 1,
            PreTokenizer::Llama3 => 2,
            PreTokenizer::Qwen2 => 3,
            PreTokenizer::SmolLm2 => 4,
        }
    }

    pub(super) fn from_code(code: u32) -> Option<Self> {
        [PreTokenizer::Gpt2, PreTokenizer::Llama3, PreTokenizer::Qwen2, PreTokenizer::SmolLm2]
            .into_iter()
            .find(|pre| pre.code() == code)
    }

    /// Length in bytes of the first piece of `text`: at least one character, 0 for empty text only.
    pub(super) fn first(self, text: &str) -> usize {
        match self {
            PreTokenizer::Gpt2 => gpt2(text, false),
            PreTokenizer::SmolLm2 => gpt2(text, true),
            PreTokenizer::Llama3 => llama3(text, 3),
            PreTokenizer::Qwen2 => llama3(text, 1),
        }
    }
}

/// GPT-2's pattern; with `single_digits` a number stands alone and the pieces before it end as the text does.
fn gpt2(text: &str, single_digits: bool) -> usize {
    let Some(c) = text.chars().next() else { return 0 };
    if single_digits && class(c) == Class::Number {
        return c.len_utf8();
    }
    if let Some(length) = contraction(text, false) {
        return length;
    }
    let space = usize::from(c == ' ');
    let kind = text[space..].chars().next().map(class);
    match kind {
        Some(Class::Number) if single_digits => space,
        Some(kind @ (Class::Letter | Class::Number | Class::Other)) => space + run(&text[space..], kind),
        Some(Class::Space) | None => {
            let end = run(text, Class::Space);
            let digit_follows = single_digits && text[end..].chars().next().map(class) == Some(Class::Number);
            if digit_follows { end } else { white_space(text, end) }
        }
    }
}

/// Llama-3's pattern with numbers of at most `digits` characters.
fn llama3(text: &str, digits: usize) -> usize {
    let mut chars = text.chars();
    let Some(c) = chars.next() else { return 0 };
    if let Some(length) = contraction(text, true) {
        return length;
    }
    let (first, newline) = (class(c), c == '\r' || c == '\n');
    let second = chars.next().map(class);
    if first == Class::Letter || (second == Some(Class::Letter) && first != Class::Number && !newline) {
        return c.len_utf8() + run(&text[c.len_utf8()..], Class::Letter);
    }
    if first == Class::Number {
        return text.chars().take(digits).take_while(|c| class(*c) == Class::Number).map(char::len_utf8).sum();
    }
    if first == Class::Other || (c == ' ' && second == Some(Class::Other)) {
        let end = c.len_utf8() + run(&text[c.len_utf8()..], Class::Other);
        return end + text[end..].bytes().take_while(|b| matches!(b, b'\r' | b'\n')).count();
    }
    let end = run(text, Class::Space);
    match text[..end].rfind(['\r', '\n']) {
        Some(last) => last + 1,
        None => white_space(text, end),
    }
}

/// `\s+(?!\S)|\s+` over the white space `text[..end]`: all of it at the end of the text, else all but the last character,
/// which goes with what follows, unless it is alone.
fn white_space(text: &str, end: usize) -> usize {
    let last = text[..end].chars().next_back().map_or(0, char::len_utf8);
    if end == text.len() || last == end { end } else { end - last }
}

/// Bytes of the leading characters of class `kind`.
fn run(text: &str, kind: Class) -> usize {
    text.char_indices().find(|(_, c)| class(*c) != kind).map_or(text.len(), |(at, _)| at)
}

/// `'s|'t|'re|'ve|'m|'ll|'d`. Without regard to case, the long s (U+017F) is an s too, as Unicode's case folding says.
fn contraction(text: &str, any_case: bool) -> Option<usize> {
    let tail = text.strip_prefix('\'')?;
    let fold = |c: char| match c {
        'ſ' if any_case => 's',
        _ if any_case => c.to_ascii_lowercase(),
        _ => c,
    };
    let mut chars = tail.chars();
    let first = chars.next()?;
    match (fold(first), chars.next().map(fold)) {
        ('s' | 't' | 'm' | 'd', _) => Some(1 + first.len_utf8()),
        ('r' | 'v', Some('e')) | ('l', Some('l')) => Some(3),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(pre: PreTokenizer, mut text: &str) -> Vec<&str> {
        let mut out = Vec::new();
        while !text.is_empty() {
            let (piece, rest) = text.split_at(pre.first(text));
            assert!(!piece.is_empty());
            out.push(piece);
            text = rest;
        }
        out
    }

    #[test]
    fn gpt2_splits_words_with_their_space() {
        let split = |text| pieces(PreTokenizer::Gpt2, text);
        assert_eq!(split("Hello  world's 123abc!"), ["Hello", " ", " world", "'s", " 123", "abc", "!"]);
        assert_eq!(split("'LL'll 'x"), ["'", "LL", "'ll", " '", "x"]);
        assert_eq!(split(" \n\n x"), [" \n\n", " x"]);
        assert_eq!(split("a\t"), ["a", "\t"]);
        assert_eq!(split("a\tb"), ["a", "\t", "b"]);
        assert_eq!(split("a \u{a0} "), ["a", " \u{a0} "]);
    }

    #[test]
    fn llama3_keeps_newlines_together_and_three_digits() {
        let split = |text| pieces(PreTokenizer::Llama3, text);
        assert_eq!(split("12345 678"), ["123", "45", " ", "678"]);
        assert_eq!(split("x\n \n  y"), ["x", "\n \n", " ", " y"]);
        assert_eq!(split("!?\n\n a"), ["!?\n\n", " a"]);
        assert_eq!(split("\tab(cd"), ["\tab", "(cd"]);
        assert_eq!(split("\nab"), ["\n", "ab"]);
        assert_eq!(split("I'LL 'ſ"), ["I", "'LL", " '", "ſ"]);
        assert_eq!(split("x'ſy"), ["x", "'ſ", "y"]);
        assert_eq!(split("   "), ["   "]);
    }

    #[test]
    fn qwen2_and_smollm2_take_one_digit() {
        assert_eq!(pieces(PreTokenizer::Qwen2, "a 12"), ["a", " ", "1", "2"]);
        assert_eq!(pieces(PreTokenizer::SmolLm2, "a  12 b½"), ["a", "  ", "1", "2", " b", "½"]);
        assert_eq!(pieces(PreTokenizer::SmolLm2, "a 1  b"), ["a", " ", "1", " ", " b"]);
    }

    #[test]
    fn names_and_patterns_are_known_exactly() {
        assert_eq!(PreTokenizer::from_name("smollm"), Some(PreTokenizer::SmolLm2));
        assert_eq!(PreTokenizer::from_name("default"), None);
        for (text, pre) in [(GPT2, PreTokenizer::Gpt2), (LLAMA3, PreTokenizer::Llama3), (QWEN2, PreTokenizer::Qwen2)] {
            assert_eq!(PreTokenizer::from_pattern(text), Some(pre));
            assert_eq!(PreTokenizer::from_pattern(&text[1..]), None);
        }
    }
}
