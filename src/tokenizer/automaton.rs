//! Patterns as tables: a deterministic automaton over classes of characters, which the converter made of a regular
//! expression. It finds what a backtracking matcher finds, the leftmost match and of several the one that the expression
//! prefers, but reads each character a bounded number of times.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::ops::Range;

use super::header::wrong;
use super::words::Words;
use crate::error::Result;
use crate::format::cursor::Cursor;

/// The first state; 0 is the one from which nothing can match any more.
const START: u16 = 1;
/// Set in a transition where a match ends before the character that is read.
pub(super) const MATCHED: u16 = 1 << 15;
/// Characters below this have their class in a table of their own.
pub(super) const ASCII: usize = 128;
/// Bits of a range entry that hold the class; the first character of the range is above.
pub(super) const CLASS_BITS: u32 = 8;
/// Where a text passes a multiple of so many bytes, a state that was read on from in vain is noted, and looked for: from there
/// nothing will be found the next time either.
const MILESTONE: usize = 64;

/// A compiled pattern, borrowed from a section.
#[derive(Debug, Clone, Copy)]
pub(super) struct Automaton<'a> {
    /// Classes of characters; the class after the last one is the end of the text.
    n_classes: usize,
    ascii: &'a [u8],
    ranges: Words<'a>,
    /// `[states, classes + 1]`: the next state, and [`MATCHED`].
    transitions: &'a [[u8; 2]],
}

impl<'a> Automaton<'a> {
    /// Finds the tables of an automaton; [`check`](Self::check) looks into them.
    pub(super) fn read(cursor: &mut Cursor<'a>) -> Result<Self> {
        let at = cursor.position();
        let n_classes = cursor.u32("classes")? as usize;
        let n_states = cursor.u32("states")? as usize;
        let n_ranges = cursor.u32("ranges")? as usize;
        if !(1..1 << CLASS_BITS).contains(&n_classes) || !(2..usize::from(MATCHED)).contains(&n_states) || n_ranges == 0
        {
            let message = format!("a pattern of {n_classes} classes, {n_states} states and {n_ranges} ranges");
            return Err(wrong(message, at));
        }
        let ascii = cursor.take(ASCII, "classes")?;
        let ranges = Words::read(cursor, n_ranges, "ranges")?;
        let size = n_states.saturating_mul(n_classes + 1).saturating_mul(2);
        let transitions: &[[u8; 2]] = cursor.take(size, "transitions")?.as_chunks().0;
        super::words::padding(cursor)?;
        Ok(Automaton { n_classes, ascii, ranges, transitions })
    }

    /// Refuses an automaton in which a number leads nowhere; `at` is its place in the section.
    pub(super) fn check(&self, at: usize) -> Result<()> {
        let Automaton { n_classes, ascii, ranges, transitions } = *self;
        let class = |entry: u32| (entry & ((1 << CLASS_BITS) - 1)) as usize;
        let mut known = ascii.iter().map(|class| usize::from(*class)).chain(ranges.iter().map(class));
        if let Some(class) = known.find(|class| *class >= n_classes) {
            return Err(wrong(format!("class {class} of a pattern with {n_classes}"), at));
        }
        let ordered = (1..ranges.len()).all(|i| ranges.at(i - 1) >> CLASS_BITS < ranges.at(i) >> CLASS_BITS);
        if !ordered || (ranges.at(0) >> CLASS_BITS) as usize != ASCII {
            return Err(wrong("the ranges of a pattern do not ascend from U+0080".into(), at));
        }
        let n_states = transitions.len() / (n_classes + 1);
        let mut next = transitions.iter().map(|word| usize::from(u16::from_le_bytes(*word) & !MATCHED));
        match next.find(|state| *state >= n_states) {
            Some(state) => Err(wrong(format!("state {state} of a pattern with {n_states}"), at)),
            None => Ok(()),
        }
    }

    fn class(&self, c: char) -> usize {
        match self.ascii.get(c as usize) {
            Some(class) => usize::from(*class),
            None => {
                let (mut low, mut high) = (0, self.ranges.len());
                while high - low > 1 {
                    let middle = low + (high - low) / 2;
                    if self.ranges.at(middle) >> CLASS_BITS <= c as u32 { low = middle } else { high = middle }
                }
                (self.ranges.at(low) & ((1 << CLASS_BITS) - 1)) as usize
            }
        }
    }

    fn transition(&self, state: u16, class: usize) -> (u16, bool) {
        let word = u16::from_le_bytes(self.transitions[usize::from(state) * (self.n_classes + 1) + class]);
        (word & !MATCHED, word & MATCHED != 0)
    }

    /// The matches in `text`, none of them empty, in order and apart from each other.
    pub(super) fn matches<'t>(&self, text: &'t str) -> Matches<'a, 't> {
        Matches {
            automaton: *self,
            text,
            at: 0,
            barren: BTreeSet::new(),
            #[cfg(test)]
            steps: 0,
        }
    }
}

/// The matches of a pattern in a text.
pub(super) struct Matches<'a, 't> {
    automaton: Automaton<'a>,
    text: &'t str,
    at: usize,
    /// Places and states from which no match was found: a search that comes to one of them ends. So the whole takes linear
    /// time (Reps 1998, "Maximal-munch" tokenization in linear time), and the notes of plain text are none.
    barren: BTreeSet<(usize, u16)>,
    /// Characters read so far.
    #[cfg(test)]
    pub(super) steps: usize,
}

impl Iterator for Matches<'_, '_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        while let Some(c) = self.text[self.at..].chars().next() {
            let start = self.at;
            if let Some(end) = self.end(start) {
                self.at = end;
                return Some(start..end);
            }
            self.at += c.len_utf8();
        }
        None
    }
}

impl Matches<'_, '_> {
    /// Where the match that begins at `start` ends.
    fn end(&mut self, start: usize) -> Option<usize> {
        let (mut state, mut found) = (START, None);
        let mut vain: Vec<(usize, u16)> = Vec::new();
        // The character before this one, from the second on that was read in vain.
        let mut before = None;
        for (at, c) in self.text[start..].char_indices().map(|(at, c)| (start + at, c)) {
            #[cfg(test)]
            {
                self.steps += 1;
            }
            let (next, matched) = self.automaton.transition(state, self.automaton.class(c));
            if matched && at > start {
                (found, before) = (Some(at), None);
                vain.clear();
            }
            let noted = before.is_some_and(|before| at / MILESTONE > before / MILESTONE);
            if next == 0 || (noted && self.barren.contains(&(at, state))) {
                self.barren.extend(vain);
                return found;
            }
            if noted {
                vain.push((at, state));
            }
            (state, before) = (next, Some(at));
        }
        if self.automaton.transition(state, self.automaton.n_classes).1 {
            return Some(self.text.len());
        }
        self.barren.extend(vain);
        found
    }
}
