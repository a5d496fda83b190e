//! Unicode normalization forms C and D, by the tables of Unicode 9, as the `tokenizers` library has them: characters
//! that were assigned later stay as they are.

use alloc::{borrow::Cow, string::String, vec::Vec};

use super::unicode_tables::{COMBINING, COMPOSE, DECOMPOSE, NFC_CHECK};

/// Everything below is in form C as it stands.
const FIRST_TO_CHECK: char = '\u{300}';
/// Hangul syllables are (leading, vowel, trailing) by arithmetic.
const SYLLABLES: u32 = 0xac00;
const LEADING: u32 = 0x1100;
const VOWELS: u32 = 0x1161;
/// One below the first trailing consonant: 0 of the 28 is none.
const TRAILING: u32 = 0x11a7;
const N_LEADING: u32 = 19;
const N_VOWELS: u32 = 21;
const N_TRAILING: u32 = 28;

/// `text` in normalization form C; as it is where no character of it could change.
pub(super) fn nfc(text: &str) -> Cow<'_, str> {
    if text.chars().any(may_change) { Cow::Owned(composed(decomposed(text))) } else { Cow::Borrowed(text) }
}

/// `text` in normalization form D.
pub(super) fn nfd(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    Cow::Owned(decomposed(text).into_iter().filter_map(|(_, c)| char::from_u32(c)).collect())
}

fn may_change(c: char) -> bool {
    c >= FIRST_TO_CHECK && find_range(&NFC_CHECK, c as u32, |[first, last]| (*first, *last)).is_some()
}

/// Each character with its combining class, fully decomposed, marks in canonical order.
fn decomposed(text: &str) -> Vec<(u8, u32)> {
    let mut out = Vec::with_capacity(text.len());
    // The characters still to take apart, the next one last; no decomposition is deeper than this.
    let mut stack = Vec::with_capacity(8);
    for c in text.chars() {
        stack.push(c as u32);
        while let Some(c) = stack.pop() {
            match decompose(c) {
                Some((first, 0)) => stack.push(first),
                Some((first, second)) => stack.extend([second, first]),
                None => out.push((combining_class(c), c)),
            }
        }
    }
    for marks in out.split_mut(|(class, _)| *class == 0) {
        marks.sort_by_key(|(class, _)| *class);
    }
    out
}

/// Puts marks back onto their starters, where nothing between them stands in the way.
fn composed(characters: Vec<(u8, u32)>) -> String {
    let mut out: Vec<u32> = Vec::with_capacity(characters.len());
    let mut starter: Option<usize> = None;
    let mut last_class = 0;
    for (class, c) in characters {
        let adjacent = starter.is_some_and(|at| at + 1 == out.len());
        let free = adjacent || last_class < class;
        if let Some((at, whole)) = starter.filter(|_| free).and_then(|at| Some((at, compose(out[at], c)?))) {
            out[at] = whole;
            continue;
        }
        if class == 0 {
            starter = Some(out.len());
        }
        last_class = class;
        out.push(c);
    }
    out.into_iter().filter_map(char::from_u32).collect()
}

/// One step of canonical decomposition: (first, second), or (first, 0).
fn decompose(c: u32) -> Option<(u32, u32)> {
    let syllable = c.wrapping_sub(SYLLABLES);
    if syllable < N_LEADING * N_VOWELS * N_TRAILING {
        let (pair, trailing) = (syllable / N_TRAILING, syllable % N_TRAILING);
        return Some(match trailing {
            0 => (LEADING + pair / N_VOWELS, VOWELS + pair % N_VOWELS),
            _ => (SYLLABLES + pair * N_TRAILING, TRAILING + trailing),
        });
    }
    let row = DECOMPOSE.binary_search_by_key(&c, |[whole, ..]| *whole).ok()?;
    let [_, first, second] = DECOMPOSE[row];
    Some((first, second))
}

fn compose(first: u32, second: u32) -> Option<u32> {
    let (leading, vowel) = (first.wrapping_sub(LEADING), second.wrapping_sub(VOWELS));
    if leading < N_LEADING && vowel < N_VOWELS {
        return Some(SYLLABLES + (leading * N_VOWELS + vowel) * N_TRAILING);
    }
    let (syllable, trailing) = (first.wrapping_sub(SYLLABLES), second.wrapping_sub(TRAILING));
    if syllable < N_LEADING * N_VOWELS * N_TRAILING && syllable % N_TRAILING == 0 && (1..N_TRAILING).contains(&trailing)
    {
        return Some(first + trailing);
    }
    let key = |row: &u16| {
        let [_, first, second] = DECOMPOSE[usize::from(*row)];
        (first, second)
    };
    let found = COMPOSE.binary_search_by_key(&(first, second), key).ok()?;
    Some(DECOMPOSE[usize::from(COMPOSE[found])][0])
}

fn combining_class(c: u32) -> u8 {
    find_range(&COMBINING, c, |[first, last, _]| (*first, *last)).map_or(0, |[_, _, class]| *class as u8)
}

/// The row of a sorted table of disjoint ranges that holds `c`.
fn find_range<R>(table: &[R], c: u32, ends: impl Fn(&R) -> (u32, u32)) -> Option<&R> {
    let after = table.partition_point(|row| ends(row).0 <= c);
    table[..after].last().filter(|row| c <= ends(row).1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_and_marks_compose() {
        assert_eq!(nfc("e\u{301}"), "é");
        assert_eq!(nfc("\u{212b}\u{2126}"), "\u{c5}\u{3a9}");
        assert_eq!(nfc("q\u{307}\u{323}"), "q\u{323}\u{307}");
        assert_eq!(nfc("s\u{323}\u{307}"), "\u{1e69}");
        assert_eq!(nfc("\u{1e9b}\u{323}"), "\u{1e9b}\u{323}");
        assert_eq!(nfc("a\u{315}\u{300}\u{5ae}\u{300}b"), "\u{e0}\u{5ae}\u{300}\u{315}b");
        assert_eq!(nfc("\u{958}"), "\u{915}\u{93c}");
        assert_eq!(nfc("\u{344}"), "\u{308}\u{301}");
    }

    #[test]
    fn hangul_composes_by_arithmetic() {
        assert_eq!(nfc("\u{1100}\u{1161}\u{11a8}\u{11a8}"), "각\u{11a8}");
        assert_eq!(nfc("가\u{11a8}"), "각");
        assert_eq!(nfc("한글"), "한글");
    }

    #[test]
    fn form_c_is_a_fixed_point_and_plain_text_is_borrowed() {
        assert!(matches!(nfc("plain é 想 ~"), Cow::Borrowed(_)));
        for c in '\0'..=char::MAX {
            let once = nfc(c.encode_utf8(&mut [0; 4])).into_owned();
            assert_eq!(nfc(&once), once, "{c:?}");
        }
    }

    #[test]
    fn a_million_marks_on_one_letter_take_no_time() {
        let text = format!("e{}", "\u{323}\u{301}".repeat(1 << 19));
        let normal = nfc(&text);
        assert!(normal.starts_with("\u{1eb9}\u{323}"));
        assert_eq!(normal.chars().count(), text.chars().count() - 1);
    }
}
