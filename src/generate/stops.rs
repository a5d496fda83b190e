//! Stop strings across token borders: text is held back as long as it may be the start of one.

use alloc::{string::String, vec::Vec};

/// The stop strings and the text that is not yet released. All its text is whole characters.
#[derive(Debug, Clone)]
pub struct Stops {
    stops: Vec<String>,
    text: String,
    released: usize,
    found: bool,
}

impl Stops {
    /// Watches for `stops` (empty ones are ignored) in text that comes in pieces of up to `max_piece` bytes.
    pub fn new(mut stops: Vec<String>, max_piece: usize) -> Self {
        stops.retain(|stop| !stop.is_empty());
        let longest = stops.iter().map(String::len).max().unwrap_or(0);
        Stops { stops, text: String::with_capacity(longest + max_piece), released: 0, found: false }
    }

    /// Adds `piece` and returns the text that is now sure not to be part of a stop string.
    ///
    /// The stop string that ends first counts, the longest of those that end at the same place; nothing from its
    /// first character on is ever released, and [`Stops::found`] is true from then on.
    pub fn push(&mut self, piece: &str) -> &str {
        self.text.drain(..self.released);
        self.released = 0;
        if self.found {
            return "";
        }
        let old = self.text.len();
        self.text.push_str(piece);
        self.released = match self.first_stop(old) {
            Some(start) => {
                self.found = true;
                start
            }
            None => self.text.len() - self.held(),
        };
        if self.found {
            self.text.truncate(self.released);
        }
        self.ready()
    }

    /// The text that the last [`Stops::push`] released.
    pub fn ready(&self) -> &str {
        &self.text[..self.released]
    }

    /// Adds the last `piece` and returns all text before the first stop string.
    pub fn finish(&mut self, piece: &str) -> &str {
        self.push(piece);
        self.released = self.text.len();
        &self.text
    }

    /// A stop string has been seen.
    pub fn found(&self) -> bool {
        self.found
    }

    /// Where the stop string starts that ends first, after byte `old`.
    fn first_stop(&self, old: usize) -> Option<usize> {
        let ends = self.text[old..].char_indices().map(|(at, c)| old + at + c.len_utf8());
        let longest_ending = |end: usize| {
            let head = &self.text[..end];
            self.stops.iter().filter(|stop| head.ends_with(stop.as_str())).map(|stop| end - stop.len()).min()
        };
        ends.into_iter().find_map(longest_ending)
    }

    /// Length of the longest end of the text that a stop string starts with.
    fn held(&self) -> usize {
        let text = &self.text;
        let longest = self.stops.iter().map(|stop| stop.len() - 1).max().unwrap_or(0);
        let starts = text.char_indices().map(|(at, _)| at).filter(|at| text.len() - at <= longest);
        let may_stop = |at: &usize| self.stops.iter().any(|stop| stop.starts_with(&text[*at..]));
        starts.into_iter().find(may_stop).map_or(0, |at| text.len() - at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampler::Rng;

    /// The text before the stop string that ends first, by trying every end.
    fn oracle<'t>(text: &'t str, stops: &[String]) -> (&'t str, bool) {
        for end in 0..=text.len() {
            let Some(head) = text.get(..end) else { continue };
            if let Some(stop) = stops.iter().filter(|s| head.ends_with(s.as_str())).max_by_key(|s| s.len()) {
                return (&head[..end - stop.len()], true);
            }
        }
        (text, false)
    }

    fn stream(pieces: &[&str], stops: &[String]) -> (String, bool) {
        let max_piece = pieces.iter().map(|p| p.len()).max().unwrap_or(0);
        let mut buffer = Stops::new(stops.to_vec(), max_piece);
        let capacity = buffer.text.capacity();
        let whole: String = pieces.concat();
        let mut out = String::new();
        for piece in pieces {
            out.push_str(buffer.push(piece));
            assert!(oracle(&whole, stops).0.starts_with(&out), "leaked: {out:?} of {whole:?}, stops {stops:?}");
            if buffer.found() {
                break;
            }
        }
        out.push_str(buffer.finish(""));
        assert_eq!(buffer.text.capacity(), capacity, "no growth");
        (out, buffer.found())
    }

    fn check(pieces: &[&str], stops: &[&str]) {
        let stops: Vec<String> = stops.iter().map(|s| s.to_string()).collect();
        let whole: String = pieces.concat();
        let (text, found) = oracle(&whole, &stops);
        assert_eq!(stream(pieces, &stops), (text.to_string(), found), "{pieces:?} {stops:?}");
    }

    #[test]
    fn known_cases() {
        check(&["Hello", " wor", "ld"], &[]);
        check(&["Hello", " wor", "ld"], &["world"]);
        check(&["stop"], &["stop"]);
        check(&["a", "a", "a", "a"], &["aaa"]);
        check(&["aab", "aab", "aaab"], &["aaab"]);
        check(&["ab", "cd"], &["abcd", "bc"]);
        check(&["abcd"], &["abcd", "bc", "cd"]);
        check(&["x\u{1f600}", "\u{1f600}y"], &["\u{1f600}y"]);
        check(&["é", "è"], &["è"]);
        check(&["", "a", ""], &["ab"]);
        check(&["\n", "\nUser", ":"], &["\nUser:"]);
    }

    /// U-10
    #[test]
    fn random_streams_equal_the_naive_search() {
        let letters = ["a", "b", "é", "\u{1f600}", ""];
        let mut rng = Rng::new(5);
        let mut word = |max: u64| -> String {
            let n = rng.next_u64() % max;
            (0..n).map(|_| letters[[0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 4][(rng.next_u64() % 11) as usize]]).collect()
        };
        for _ in 0..20_000 {
            let stops: Vec<String> = (0..3).map(|_| word(4)).filter(|s| !s.is_empty()).collect();
            let pieces: Vec<String> = (0..8).map(|_| word(4)).collect();
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
            check(&pieces, &stops);
        }
    }

    #[test]
    fn what_cannot_be_a_stop_is_not_held() {
        let mut stops = Stops::new(vec!["END".into()], 16);
        assert_eq!(stops.push("abE"), "ab");
        assert_eq!(stops.push("x"), "Ex");
        assert_eq!(stops.push("EN"), "");
        assert_eq!(stops.push("DEND tail"), "");
        assert!(stops.found());
        assert_eq!(stops.finish("more"), "");
        let mut stops = Stops::new(vec!["END".into()], 16);
        assert_eq!(stops.push("EN"), "");
        assert_eq!(stops.finish(""), "EN");
    }
}
