//! What has been done so far, counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use whit::generate::Passed;

/// Counters, which only grow, and the pace of the last while.
#[derive(Default)]
pub(super) struct Stats {
    pub(super) requests: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) texts: AtomicU64,
    pub(super) cancelled: AtomicU64,
    /// Tokens of prompts that were computed, and those that were held already.
    pub(super) prompt_tokens: AtomicU64,
    pub(super) held_tokens: AtomicU64,
    pub(super) written_tokens: AtomicU64,
    /// Texts of which something was read from disk, tokens that were, and bytes that were written there.
    pub(super) disk_texts: AtomicU64,
    pub(super) disk_tokens: AtomicU64,
    pub(super) disk_bytes: AtomicU64,
    pub(super) busy_micros: AtomicU64,
    /// Time of pauses in which the machine cooled.
    pub(super) paused_micros: AtomicU64,
    /// How often memory was short, and the states of texts that were given back for that.
    pub(super) pressures: AtomicU64,
    pub(super) states_given_back: AtomicU64,
    /// Models that came into memory since the start, and those that went.
    pub(super) loads: AtomicU64,
    pub(super) unloads: AtomicU64,
    /// Texts that are under way.
    pub(super) active: AtomicU64,
    /// Tokens a second of the last while in which there were such, in thousandths.
    prefill: AtomicU64,
    decode: AtomicU64,
}

/// Passes until a pace is told.
#[derive(Default)]
pub(super) struct Pace {
    prompt: (u64, Duration),
    written: (u64, Duration),
}

/// How long it is measured for.
const WHILE: Duration = Duration::from_millis(250);

impl Stats {
    /// Counts a pass.
    pub(super) fn count(&self, passed: Passed, time: Duration, pace: &mut Pace) {
        let (n_prompt, n_written) = (passed.n_prompt as u64, passed.n_written as u64);
        self.prompt_tokens.fetch_add(n_prompt, Ordering::Relaxed);
        self.busy_micros.fetch_add(time.as_micros() as u64, Ordering::Relaxed);
        // Of a pass that has both, each has the time of its share.
        let n_all = (n_prompt + n_written).max(1) as u32;
        for (n, so_far, shown) in
            [(n_prompt, &mut pace.prompt, &self.prefill), (n_written, &mut pace.written, &self.decode)]
        {
            so_far.0 += n;
            so_far.1 += time * n as u32 / n_all;
            if so_far.1 >= WHILE {
                shown.store((so_far.0 as f64 * 1000.0 / so_far.1.as_secs_f64()) as u64, Ordering::Relaxed);
                *so_far = Default::default();
            }
        }
    }

    /// Tokens of prompts a second, where it is known.
    pub(super) fn prefill(&self) -> Option<f64> {
        paced(&self.prefill)
    }

    /// Tokens written a second, of all texts together.
    pub(super) fn decode(&self) -> Option<f64> {
        paced(&self.decode)
    }
}

fn paced(pace: &AtomicU64) -> Option<f64> {
    Some(pace.load(Ordering::Relaxed)).filter(|pace| *pace > 0).map(|pace| pace as f64 / 1000.0)
}

/// One more.
pub(super) fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

/// How many so far.
pub(super) fn of(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
