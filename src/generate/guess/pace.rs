//! How many tokens are guessed: as many as pay, by how often guesses were right and by what passes of so many rows took on this
//! machine. Times change the speed of a text, never its bytes.

/// Rows of a pass with guesses, at most.
pub(super) const MAX_ROWS: usize = 16;
/// The part of all time that guesses may lose, should they lose.
const MOST_LOST: f64 = 0.01;
/// Passes of one row that they may lose before they have won any.
const LENT: f64 = 1.0;
/// Passes of one row won earlier that they may lose.
const MOST_KEPT: f64 = 8.0;
/// Guesses are made where they promise to save this part of a token.
const LEAST_GAIN: f64 = 0.03;
/// Passes of one row that are measured before anything is guessed.
const N_FIRST: u32 = 3;
/// The weight of a new time in a mean.
const NEW: f64 = 0.15;
/// A row more is taken to cost this part of a pass, until it was measured.
const ROW: f64 = 0.05;
/// What remains of a time that was measured, and of how often guesses were right, after each token without a guess.
const REMAINS: f64 = 0.995;
/// The weight of earlier guesses beside the last.
const MEMORY: f64 = 0.96;

/// What a guess is made by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ground {
    /// So many tokens before it were met before, and so went on.
    Match(usize),
    /// Another model says so.
    Model,
}

impl Ground {
    /// Grounds that are right about as often.
    fn class(self) -> usize {
        match self {
            Ground::Match(len) => len.max(1).ilog2().min(N_MATCHES as u32 - 1) as usize,
            Ground::Model => N_MATCHES,
        }
    }

    /// The ground of the `i`-th token after it, should those between be right.
    fn after(self, i: usize) -> Ground {
        match self {
            Ground::Match(len) => Ground::Match(len + i),
            Ground::Model => Ground::Model,
        }
    }
}

/// Classes of matches: of 1, 2 to 3, 4 to 7, 8 to 15, 16 and more tokens.
const N_MATCHES: usize = 5;
/// How often guesses of each class are right, before any was seen: as often as in this many.
const FIRST: [f64; N_MATCHES + 1] = [0.1, 0.25, 0.5, 0.75, 0.9, 0.6];
const N_IN_FIRST: f64 = 3.0;

/// How often guesses of a class were right, the last ones first.
#[derive(Debug, Clone, Copy)]
struct Chance {
    right: f64,
    n: f64,
}

/// What is about to be computed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ahead {
    /// Tokens of the text that are computed in any case.
    pub(super) n_needed: usize,
    /// Tokens that may be guessed, at most.
    pub(super) most: usize,
    pub(super) ground: Ground,
    /// After a wrong guess the tokens of its pass have to be computed once more.
    pub(super) again: bool,
}

/// Decides how many tokens are guessed.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    /// Seconds of a pass by its rows less one; 0: not measured.
    seconds: [f64; MAX_ROWS],
    /// Passes of one row that were measured, up to [`N_FIRST`].
    n_measured: u32,
    /// Seconds of a guessed token beside the pass.
    drafting: f64,
    chances: [Chance; N_MATCHES + 1],
    /// Seconds of all passes.
    elapsed: f64,
    /// Seconds that guesses have won, of those that were made lately.
    won: f64,
    /// Seconds of passes of which it is not known yet how many tokens they gave.
    open: f64,
}

impl Pace {
    pub(super) fn new() -> Self {
        Pace {
            seconds: [0.0; MAX_ROWS],
            n_measured: 0,
            drafting: 0.0,
            chances: FIRST.map(|first| Chance { right: first * N_IN_FIRST, n: N_IN_FIRST }),
            elapsed: 0.0,
            won: 0.0,
            open: 0.0,
        }
    }

    /// How many tokens to guess; 0 where that would not pay.
    pub(super) fn length(&self, ahead: Ahead) -> usize {
        let Ahead { n_needed, most, ground, again } = ahead;
        let one = self.seconds[0];
        if self.n_measured < N_FIRST || n_needed == 0 || n_needed >= MAX_ROWS {
            return 0;
        }
        let room = LENT * one + MOST_LOST * self.elapsed + self.won;
        // A pass of many rows is tried after one of half as many.
        let measured = self.seconds.iter().rposition(|seconds| *seconds > 0.0).unwrap_or(0) + 1;
        let most = most.min((2 * measured).min(MAX_ROWS).saturating_sub(n_needed));
        let (mut best, mut length) = (one * (1.0 - LEAST_GAIN), 0);
        let (mut right, mut tokens) = (1.0, 1.0);
        for n in 1..=most {
            right *= self.chance(ground.after(n - 1));
            tokens += right;
            let more = self.cost(n_needed + n) - self.cost(n_needed) + n as f64 * self.drafting;
            let once_more =
                if again { (1.0 - right) * (self.cost((tokens as usize + 1).min(MAX_ROWS)) - one) } else { 0.0 };
            let a_token = (one + more + once_more) / tokens;
            if a_token < best && more <= room {
                (best, length) = (a_token, n);
            }
        }
        length
    }

    /// How often a guess on this ground is right.
    fn chance(&self, ground: Ground) -> f64 {
        let Chance { right, n } = self.chances[ground.class()];
        right / n
    }

    /// Seconds of a pass of `n` rows: as measured, or between or beyond what was.
    fn cost(&self, n: usize) -> f64 {
        let known = |n: &usize| self.seconds[*n - 1] > 0.0;
        let at = |n: usize| self.seconds[n - 1];
        if known(&n) {
            return at(n);
        }
        let low = (1..n).rev().find(known).unwrap_or(1);
        match (n + 1..=MAX_ROWS).find(known) {
            Some(high) => at(low) + (at(high) - at(low)) * (n - low) as f64 / (high - low) as f64,
            None => at(low) + ((at(low) - at(1)) / (low.max(2) - 1) as f64).max(ROW * at(1)) * (n - low) as f64,
        }
    }

    /// A guess on this ground was right, or not.
    pub(super) fn learn(&mut self, ground: Ground, is_right: bool) {
        let Chance { right, n } = &mut self.chances[ground.class()];
        (*right, *n) = (*right * MEMORY + f64::from(u8::from(is_right)), *n * MEMORY + 1.0);
    }

    /// A pass of `n_rows` took so many `seconds`, of which `is_guess` says whether it has guesses or makes up for them.
    pub(super) fn passed(&mut self, n_rows: usize, seconds: f64, is_guess: bool) {
        self.elapsed += seconds;
        if is_guess {
            self.open += seconds;
        } else {
            self.forget();
        }
        let Some(mean) = n_rows.checked_sub(1).and_then(|i| self.seconds.get_mut(i)) else { return };
        let is_early = n_rows == 1 && self.n_measured < N_FIRST;
        *mean = match *mean {
            0.0 => seconds,
            // The first passes also wake threads and fill caches.
            old if is_early => old.min(seconds),
            // What happens once in a while does not count as much as it took.
            old => old + NEW * (seconds.min(2.0 * old) - old),
        };
        self.n_measured += u32::from(is_early);
    }

    /// `n` tokens were guessed, beside their pass, in so many `seconds`.
    pub(super) fn drafted(&mut self, n: usize, seconds: f64) {
        self.elapsed += seconds;
        self.open += seconds;
        let each = seconds / n.max(1) as f64;
        self.drafting = if self.drafting == 0.0 {
            each
        } else {
            self.drafting + NEW * (each.min(2.0 * self.drafting) - self.drafting)
        };
    }

    /// Passes with guesses gave `n_tokens`, which would have taken a pass each.
    pub(super) fn gave(&mut self, n_tokens: usize) {
        let one = self.seconds[0];
        self.won = (self.won + n_tokens as f64 * one - self.open).min(MOST_KEPT * one);
        self.open = 0.0;
    }

    /// Nothing was guessed: what was measured of guesses may be so no longer.
    fn forget(&mut self) {
        let one = self.seconds[0];
        for (more, seconds) in self.seconds.iter_mut().enumerate().skip(1).filter(|(_, seconds)| **seconds > 0.0) {
            let least = one * (1.0 + ROW * more as f64);
            *seconds = if *seconds > least { least + (*seconds - least) * REMAINS } else { *seconds };
        }
        // Guesses of a model are only judged where they are made.
        let Chance { right, n } = &mut self.chances[N_MATCHES];
        (*right, *n) = (*right * REMAINS + FIRST[N_MATCHES] * (1.0 - REMAINS), *n * REMAINS + (1.0 - REMAINS));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes `n` tokens on a machine where a pass of `rows` takes `seconds(rows)` and a guess is right by `is_right(place)`; the
    /// seconds that it took, and those without guesses.
    fn write(
        n: usize,
        seconds: impl Fn(usize) -> f64,
        is_right: impl Fn(usize) -> bool,
        match_len: usize,
    ) -> (f64, f64) {
        let mut pace = Pace::new();
        let (mut place, mut took) = (0, 0.0);
        while place < n {
            let ground = Ground::Match(match_len);
            let ahead = Ahead { n_needed: 1, most: MAX_ROWS, ground, again: false };
            let length = pace.length(ahead);
            let pass = seconds(length + 1);
            took += pass;
            pace.passed(length + 1, pass, length > 0);
            let right = (place..place + length).take_while(|place| is_right(*place)).count();
            pace.learn(ground, is_right(place));
            if length > 0 {
                pace.gave(right + 1);
            }
            place += right + 1;
        }
        (took, place as f64 * seconds(1))
    }

    #[test]
    fn a_text_that_repeats_itself_is_written_in_few_passes() {
        let cheap = |rows: usize| 1.0 + 0.05 * (rows - 1) as f64;
        let (took, plain) = write(1000, cheap, |_| true, 20);
        assert!(plain / took > 6.0, "{took} of {plain}");
        let dear = |rows: usize| 1.0 + 0.5 * (rows - 1) as f64;
        let (took, plain) = write(1000, dear, |_| true, 20);
        assert!(plain / took > 1.5, "{took} of {plain}");
    }

    #[test]
    fn whatever_the_machine_and_the_text_little_is_lost() {
        for more in [0.0, 0.05, 0.3, 1.0, 3.0] {
            for one_in in [2, 3, 5, 50, 100_000] {
                for match_len in [1, 4, 20] {
                    // The first tokens are all right, so that much is guessed when they no longer are.
                    for n_right in [0, 100] {
                        let seconds = |rows: usize| 1.0 + more * (rows - 1) as f64;
                        let is_right = |place: usize| place < n_right || (place * 7).is_multiple_of(one_in);
                        let (took, plain) = write(2000, seconds, is_right, match_len);
                        assert!(took <= plain * 1.02, "{more} {one_in} {match_len} {n_right}: {took} of {plain}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_pass_that_was_not_measured_is_between_those_that_were() {
        let mut pace = Pace::new();
        (0..3).for_each(|_| pace.passed(1, 1.0, false));
        pace.passed(4, 2.5, true);
        assert_eq!((pace.cost(1), pace.cost(2), pace.cost(4), pace.cost(6)), (1.0, 1.5, 2.5, 3.5));
    }

    #[test]
    fn where_passes_are_made_again_less_is_guessed() {
        let mut pace = Pace::new();
        (0..100).for_each(|_| pace.passed(1, 1.0, false));
        (2..=MAX_ROWS).for_each(|n| pace.passed(n, 1.0 + 0.2 * n as f64, true));
        pace.gave(40);
        let length = |again| pace.length(Ahead { n_needed: 1, most: 15, ground: Ground::Match(4), again });
        assert!(length(true) < length(false), "{} {}", length(true), length(false));
    }
}
