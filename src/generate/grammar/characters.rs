//! Sets of characters, as ranges.

/// A set of characters: ranges that ascend, neither overlap nor touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Characters(Vec<(char, char)>);

impl Characters {
    pub(super) fn one(c: char) -> Self {
        Characters(vec![(c, c)])
    }

    /// All characters there are.
    pub(super) fn all() -> Self {
        Characters(vec![('\0', char::MAX)])
    }

    /// The characters of `ranges`, ends included; none where an end is before its start.
    pub(super) fn of(mut ranges: Vec<(char, char)>) -> Self {
        ranges.retain(|(first, last)| first <= last);
        ranges.sort_unstable();
        let mut joined: Vec<(char, char)> = Vec::new();
        for (first, last) in ranges {
            match joined.last_mut() {
                Some((_, end)) if after(*end).is_none_or(|next| first <= next) => *end = (*end).max(last),
                _ => joined.push((first, last)),
            }
        }
        Characters(joined)
    }

    /// All other characters.
    pub(super) fn inverted(&self) -> Self {
        let mut ranges = Vec::new();
        let mut from = Some('\0');
        for (first, last) in &self.0 {
            if let (Some(from), Some(to)) = (from, before(*first)) {
                ranges.push((from, to));
            }
            from = after(*last);
        }
        ranges.extend(from.map(|from| (from, char::MAX)));
        Characters::of(ranges)
    }

    /// Adds those of `other`; whether some are new.
    pub(super) fn add(&mut self, other: &Characters) -> bool {
        let joined = Characters::of([&self.0[..], &other.0].concat());
        let grows = joined != *self;
        *self = joined;
        grows
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn ranges(&self) -> &[(char, char)] {
        &self.0
    }

    #[cfg(test)]
    pub(super) fn contains(&self, c: char) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&c))
    }
}

/// The character after `c`: the surrogates are none.
fn after(c: char) -> Option<char> {
    (c..=char::MAX).nth(1)
}

fn before(c: char) -> Option<char> {
    ('\0'..=c).rev().nth(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_joined_and_inverted() {
        let set = Characters::of(vec![('c', 'f'), ('a', 'b'), ('z', 'y'), ('x', 'x'), ('d', 'e')]);
        assert_eq!(set.ranges(), [('a', 'f'), ('x', 'x')]);
        assert_eq!(set.inverted().ranges(), [('\0', '`'), ('g', 'w'), ('y', char::MAX)]);
        assert_eq!(set.inverted().inverted(), set);
        assert!(Characters::all().inverted().is_empty());
        assert_eq!(Characters::default().inverted(), Characters::all());
        // The characters on both sides of the surrogates are neighbours.
        assert_eq!(Characters::of(vec![('\0', '\u{d7ff}'), ('\u{e000}', char::MAX)]), Characters::all());
    }

    #[test]
    fn what_is_added_is_told_if_it_is_new() {
        let mut set = Characters::one('a');
        assert!(set.add(&Characters::one('b')) && !set.add(&Characters::one('a')));
        assert!(set.contains('b') && !set.contains('c'));
    }
}
