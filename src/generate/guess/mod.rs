//! Guessing ahead: the next tokens are guessed, several are computed in one pass, and those that the text's own sampler chooses
//! anyway are written without another pass (speculative decoding, Leviathan et al. 2023, here without any change of the text).
//!
//! The bytes are those without guesses: each token is chosen by the text's sampler, with its penalties, constraints and random
//! numbers, from the logits after the tokens before it, and a row of logits has the same bits in any pass. Where another token is
//! chosen than the guess said, what was computed after it is thrown away.
//!
//! ```no_run
//! use whit::generate::{Writer, guess::{Guesses, Source}};
//! # fn f(mut writer: Writer, session: &mut whit::Session) -> whit::Result<()> {
//! let mut guesses = Guesses::new(Source::Ngram(None));
//! guesses.begin(writer.tokens(), &mut || true)?;
//! while let Some(piece) = guesses.next_piece(&mut writer, session, &mut ())? {
//!     print!("{}", piece.text);
//! }
//! guesses.end(&writer, session);
//! # Ok(()) }
//! ```

mod automaton;
mod draft;
mod ngram;
mod pace;

pub use draft::Draft;
pub use ngram::Corpus;

use super::{Piece, Writer};
use crate::error::Result;
use crate::model::Session;
use crate::os::clock::Stopwatch;
use crate::sampler::Watcher;
use crate::token::TokenId;
use alloc::boxed::Box;
use alloc::vec::Vec;
use ngram::Ngram;
use pace::{Ahead, Ground, Pace};

/// The logit rows of a session that all guesses find room in. With fewer, less is guessed; with one, nothing.
pub const LOGIT_ROWS: usize = pace::MAX_ROWS;
/// Tokens of a pass in which a draft reads a prompt.
const BATCH: usize = 64;

/// What guesses are made by.
pub enum Source {
    /// What was written before, in the text or in a corpus.
    Ngram(Option<Corpus>),
    /// Another model.
    Draft(Box<Draft>),
}

/// How guesses went in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Tokens that were guessed and computed.
    pub n_guessed: usize,
    /// Of these, those that were right.
    pub n_right: usize,
    /// Passes after that of the prompt.
    pub n_passes: usize,
}

/// Guesses the next tokens of texts, one text after the other.
pub struct Guesses {
    guesser: Guesser,
    pace: Pace,
    tally: Tally,
    /// The tokens that were guessed for the last pass.
    guess: Vec<TokenId>,
    /// So many of them have come.
    n_right: usize,
    /// Another token has come than was guessed.
    is_wrong: bool,
    /// The last pass is one that the pace is told the tokens of.
    is_open: bool,
    /// So many tokens are guessed wherever there is a guess.
    fixed: Option<usize>,
    /// Whether the last token that was shown had been guessed; `None` where no guess was made for its place.
    last: Option<bool>,
}

enum Guesser {
    Ngram {
        ngram: Box<Ngram>,
        /// What it says of the next token, if it does.
        next: Vec<TokenId>,
        ground: Ground,
    },
    Draft(Box<Draft>),
}

impl Guesses {
    /// Guesses by `source`.
    pub fn new(source: Source) -> Self {
        let guesser = match source {
            Source::Ngram(corpus) => {
                Guesser::Ngram { ngram: Box::new(Ngram::new(corpus)), next: Vec::new(), ground: Ground::Match(0) }
            }
            Source::Draft(draft) => Guesser::Draft(draft),
        };
        Guesses {
            guesser,
            pace: Pace::new(),
            tally: Tally::default(),
            guess: Vec::new(),
            n_right: 0,
            is_wrong: false,
            is_open: false,
            fixed: None,
            last: None,
        }
    }

    /// Guesses `n` tokens wherever there is a guess, whether that pays or not.
    pub fn of_length(self, n: usize) -> Self {
        Guesses { fixed: Some(n), ..self }
    }

    /// Begins a text after `prompt`, which a draft reads as long as `go_on` says so.
    pub fn begin(&mut self, prompt: &[TokenId], go_on: &mut dyn FnMut() -> bool) -> Result<()> {
        self.guess.clear();
        (self.tally, self.n_right, self.is_wrong, self.is_open, self.last) = (Tally::default(), 0, false, false, None);
        match &mut self.guesser {
            Guesser::Ngram { ngram, next, ground } => {
                ngram.clear();
                prompt.iter().for_each(|token| ngram.push(*token));
                *ground = look(ngram, next);
                Ok(())
            }
            Guesser::Draft(draft) => draft.read(prompt, BATCH, go_on),
        }
    }

    /// [`Writer::next_piece`] with guesses. The session has room for as many as it has logit rows, less one.
    pub fn next_piece<'w>(
        &mut self,
        writer: &'w mut Writer,
        session: &mut Session,
        watcher: &mut impl Watcher,
    ) -> Result<Option<Piece<'w>>> {
        if writer.wants().is_some() {
            if session.logits_after(writer.tokens()).is_none() {
                self.pass(writer, session)?;
            }
            if let Some(logits) = session.logits_after(writer.tokens()) {
                writer.take(logits, watcher)?;
            }
        }
        let piece = writer.piece();
        if let Some(token) = piece.and_then(|piece| piece.token) {
            self.see(token);
        }
        Ok(piece)
    }

    /// The text of `writer` has ended: `session` forgets what was guessed after it.
    pub fn end(&mut self, writer: &Writer, session: &mut Session) {
        let (held, text) = (session.state().tokens(), writer.tokens());
        let n = held.iter().zip(text).take_while(|(held, token)| held == token).count();
        session.rewind(n);
    }

    /// How guesses went since the text began.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Whether the token of the last piece was guessed: `Some(false)` where another was, `None` where none was.
    pub fn last(&self) -> Option<bool> {
        self.last
    }

    /// Computes what the writer wants, with guesses behind it.
    fn pass(&mut self, writer: &Writer, session: &mut Session) -> Result<()> {
        let has_marks = session.state().has_marks();
        let makes_up = self.settle() && has_marks;
        let text = writer.tokens();
        let held = session.state_mut().hold(text);
        let n_needed = text.len() - held;
        let room = session.context_length() - text.len();
        let most = room.min(session.most_ahead() - 1).min(writer.n_left().saturating_sub(1));
        // The text has not come beyond the last mark, which it may have to go back to.
        let is_stuck = has_marks && held <= session.state().noted();
        if most > 0 && !is_stuck {
            self.make(writer, Ahead { n_needed, most, ground: Ground::Model, again: has_marks })?;
        }
        let clock = Stopwatch::start();
        if has_marks && !self.guess.is_empty() && !session.state_mut().note() {
            self.guess.clear();
        }
        let tokens = [&text[held..], &self.guess].concat();
        session.extend_ahead(&tokens, 1 + self.guess.len())?;
        self.is_open = makes_up || !self.guess.is_empty();
        self.pace.passed(tokens.len(), clock.seconds(), self.is_open);
        self.tally.n_passes += 1;
        self.tally.n_guessed += self.guess.len();
        Ok(())
    }

    /// Tells the pace how the last guess went; whether tokens that were computed with it have to be computed again.
    fn settle(&mut self) -> bool {
        if let Guesser::Draft(_) = self.guesser {
            (0..self.n_right).for_each(|_| self.pace.learn(Ground::Model, true));
            if self.is_wrong {
                self.pace.learn(Ground::Model, false);
            }
        }
        if self.is_open {
            self.pace.gave(1 + self.n_right);
        }
        let thrown_away = self.n_right < self.guess.len();
        self.guess.clear();
        (self.n_right, self.is_wrong, self.is_open) = (0, false, false);
        thrown_away
    }

    /// Guesses as many tokens as pay.
    fn make(&mut self, writer: &Writer, ahead: Ahead) -> Result<()> {
        match &mut self.guesser {
            Guesser::Ngram { ground: Ground::Match(0), .. } => {}
            Guesser::Ngram { ngram, ground, .. } => {
                let length = || self.pace.length(Ahead { ground: *ground, ..ahead });
                let n = self.fixed.map_or_else(length, |n| n.min(ahead.most));
                ngram.guess(n, &mut self.guess);
            }
            Guesser::Draft(draft) => {
                let n = self.fixed.map_or_else(|| self.pace.length(ahead), |n| n.min(ahead.most));
                if n > 0 {
                    let clock = Stopwatch::start();
                    draft.guess(writer.tokens(), n, writer.sampler().clone(), &mut self.guess)?;
                    self.pace.drafted(n, clock.seconds());
                }
            }
        }
        Ok(())
    }

    /// `token` comes next in the text.
    fn see(&mut self, token: TokenId) {
        if let Guesser::Ngram { ngram, next, ground } = &mut self.guesser {
            if let Some(guess) = next.first() {
                self.pace.learn(*ground, *guess == token);
            }
            ngram.push(token);
            *ground = look(ngram, next);
        }
        let guess = self.guess.get(self.n_right).filter(|_| !self.is_wrong);
        self.last = guess.map(|guess| *guess == token);
        match self.last {
            Some(true) => (self.n_right, self.tally.n_right) = (self.n_right + 1, self.tally.n_right + 1),
            Some(false) => self.is_wrong = true,
            None => {}
        }
    }
}

/// Leaves in `next` the token that may come next, and says on which ground.
fn look(ngram: &Ngram, next: &mut Vec<TokenId>) -> Ground {
    next.clear();
    Ground::Match(ngram.guess(1, next))
}
