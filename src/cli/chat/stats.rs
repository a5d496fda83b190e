//! What a reply took, in words.

use super::super::guessing;
use super::super::output::{bytes, note};
use whit::generate::StopReason;
use whit::generate::guess::Tally;
use whit::model::Session;
use whit::os::memory;

/// What a reply took.
pub(super) struct Stats {
    pub(super) n_prompt: usize,
    pub(super) n_computed: usize,
    pub(super) prefill_seconds: f64,
    pub(super) n_generated: usize,
    pub(super) decode_seconds: f64,
    pub(super) reason: StopReason,
    /// How guesses went, if there were any.
    pub(super) guesses: Option<Tally>,
}

impl Stats {
    /// Tells it, and what `session` takes now.
    pub(super) fn tell(&self, session: &Session) {
        let rate =
            |n: usize, seconds: f64| if n > 0 { format!(" ({:.1}/s)", n as f64 / seconds) } else { String::new() };
        note(format_args!(
            "whit: {} of {} tokens computed in {:.2} s{}, {} written in {:.2} s{}: {}",
            self.n_computed,
            self.n_prompt,
            self.prefill_seconds,
            rate(self.n_computed, self.prefill_seconds),
            self.n_generated,
            self.decode_seconds,
            rate(self.n_generated.saturating_sub(1), self.decode_seconds),
            self.reason.name(),
        ));
        if let Some(tally) = self.guesses {
            note(format_args!("whit: {}", guessing::words(tally, self.n_generated)));
        }
        let private = memory::private_bytes().map_or("unknown".into(), bytes);
        let (position, context_length) = (session.position(), session.context_length());
        note(format_args!("whit: {position} of {context_length} positions in use; memory: {private} private"));
    }
}
