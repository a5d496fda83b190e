//! Sets of characters.

use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, HirKind};

/// All characters.
pub(super) fn all() -> ClassUnicode {
    ClassUnicode::new([ClassUnicodeRange::new('\0', char::MAX)])
}

/// No character.
pub(super) fn none() -> ClassUnicode {
    ClassUnicode::empty()
}

/// The set of one character.
pub(super) fn one(c: char) -> ClassUnicode {
    range(c, c)
}

/// All from `first` to `last`.
pub(super) fn range(first: char, last: char) -> ClassUnicode {
    ClassUnicode::new([ClassUnicodeRange::new(first, last)])
}

/// The characters for which `holds`.
pub(super) fn those(holds: impl Fn(char) -> bool) -> ClassUnicode {
    ClassUnicode::new(('\0'..=char::MAX).filter(|c| holds(*c)).map(|c| ClassUnicodeRange::new(c, c)))
}

/// The set that this class of the `regex-syntax` crate means, such as `\p{Lu}` or `\s`, by its tables of Unicode 16.
pub(super) fn named(class: &str) -> Option<ClassUnicode> {
    match regex_syntax::parse(class).ok()?.into_kind() {
        HirKind::Class(Class::Unicode(set)) => Some(set),
        HirKind::Literal(literal) => std::str::from_utf8(&literal.0).ok()?.chars().next().map(one),
        _ => None,
    }
}

/// The complement.
pub(super) fn not(mut set: ClassUnicode) -> ClassUnicode {
    set.negate();
    set
}

/// With every character that differs in case alone.
pub(super) fn any_case(mut set: ClassUnicode) -> ClassUnicode {
    set.case_fold_simple();
    set
}

/// Characters that no set of a pattern tells apart, as classes with a number each.
pub(super) struct Partition {
    /// First character of each range, ascending from 0, and its class.
    pub(super) ranges: Vec<(u32, u8)>,
    /// Of each class, which sets hold it.
    pub(super) members: Vec<Vec<bool>>,
}

impl Partition {
    /// Parts all characters by `sets`; `None` where there are more than 255 classes.
    pub(super) fn of(sets: &[ClassUnicode]) -> Option<Self> {
        let mut bounds = vec![0_u32, 0x80];
        for range in sets.iter().flat_map(|set| set.ranges()) {
            bounds.extend([range.start() as u32, range.end() as u32 + 1]);
        }
        bounds.sort_unstable();
        bounds.dedup();
        bounds.retain(|bound| *bound <= char::MAX as u32);
        // One walk through the ranges of each set, beside the bounds.
        let mut next = vec![0_usize; sets.len()];
        let (mut ranges, mut members): (Vec<(u32, u8)>, Vec<Vec<bool>>) = (Vec::new(), Vec::new());
        for bound in bounds {
            let holds = |(set, next): (&ClassUnicode, &mut usize)| {
                while set.ranges().get(*next).is_some_and(|range| (range.end() as u32) < bound) {
                    *next += 1;
                }
                set.ranges().get(*next).is_some_and(|range| range.start() as u32 <= bound)
            };
            let member: Vec<bool> = sets.iter().zip(&mut next).map(holds).collect();
            let class = members.iter().position(|other| *other == member).unwrap_or_else(|| {
                members.push(member);
                members.len() - 1
            });
            let class = u8::try_from(class).ok().filter(|class| *class < u8::MAX)?;
            if bound == 0x80 || ranges.last().is_none_or(|(_, last)| *last != class) {
                ranges.push((bound, class));
            }
        }
        Some(Partition { ranges, members })
    }
}
