//! What the patterns ask of a character: letter, number, white space or other, by the tables of Unicode 16.0.0.

use super::unicode_tables::{CLASS_BLOCK, CLASS_BLOCKS, CLASS_END, CLASS_INDEX};

/// The classes that the patterns distinguish: `\p{L}`, `\p{N}`, `\s` and the rest (marks are in the rest).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Other,
    Letter,
    Number,
    Space,
}

/// The class of `c`: two table reads.
pub(super) fn class(c: char) -> Class {
    let c = c as u32;
    if c >= CLASS_END {
        return Class::Other;
    }
    let (block, place) = (c as usize / CLASS_BLOCK, c as usize % CLASS_BLOCK);
    let four = CLASS_BLOCKS[(CLASS_INDEX[block] as usize * CLASS_BLOCK + place) / 4];
    match four >> (2 * (place % 4)) & 3 {
        1 => Class::Letter,
        2 => Class::Number,
        3 => Class::Space,
        _ => Class::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_is_the_standard_library_s() {
        for c in '\0'..=char::MAX {
            assert_eq!(class(c) == Class::Space, c.is_whitespace(), "{c:?}");
        }
    }

    #[test]
    fn each_class_has_its_letters() {
        for c in ['a', 'Z', 'é', 'ß', 'ª', 'ж', '想', 'ក', 'ʰ', 'ǅ', '\u{323af}'] {
            assert_eq!(class(c), Class::Letter, "{c:?}");
        }
        for c in ['0', '9', '½', '²', '٣', 'Ⅷ', '〇', '\u{1d7ff}'] {
            assert_eq!(class(c), Class::Number, "{c:?}");
        }
        for c in ['_', '\'', '\0', '\u{301}', '\u{200b}', '\u{200d}', '🦙', '～', '\u{e0100}', '\u{10ffff}', 'ា'] {
            assert_eq!(class(c), Class::Other, "{c:?}");
        }
    }
}
