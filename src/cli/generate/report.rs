//! The figures of a text that was written, as lines on standard error or as the last line of JSON.

use crate::cli::guessing;
use crate::cli::json::Object;
use crate::cli::output::{self, bytes};
use whit::generate::StopReason;
use whit::generate::guess::Tally;
use whit::os::memory;

/// The figures that are reported at the end.
pub(super) struct Report {
    pub(super) n_prompt: usize,
    pub(super) n_restored: usize,
    pub(super) n_generated: usize,
    pub(super) prefill_seconds: f64,
    pub(super) decode_seconds: f64,
    pub(super) bytes_per_token: u64,
    pub(super) planned_bytes: u64,
    pub(super) context_length: usize,
    pub(super) kernels: &'static str,
    pub(super) threads: usize,
    pub(super) seed: u64,
    pub(super) reason: StopReason,
    /// How guesses went, if there were any.
    pub(super) guesses: Option<Tally>,
}

impl Report {
    fn prefill_rate(&self) -> f64 {
        (self.n_prompt - self.n_restored) as f64 / self.prefill_seconds
    }

    /// Decode steps a second; the first token came with the prefill.
    fn decode_rate(&self) -> f64 {
        self.n_generated.saturating_sub(1) as f64 / self.decode_seconds
    }

    pub(super) fn tell(&self) {
        let rate =
            |n: usize, rate: f64| if n > 0 && rate.is_finite() { format!(", {rate:.1}/s") } else { String::new() };
        let restored = match self.n_restored {
            0 => String::new(),
            n => format!(" ({n} restored)"),
        };
        output::tell(&format!(
            "whit: prompt {} tokens{restored} in {:.3} s{}; generated {} tokens in {:.3} s{}",
            self.n_prompt,
            self.prefill_seconds,
            rate(self.n_prompt, self.prefill_rate()),
            self.n_generated,
            self.decode_seconds,
            rate(self.n_generated.saturating_sub(1), self.decode_rate()),
        ));
        let resident = |of: Option<u64>| of.map_or("unknown".into(), bytes);
        output::tell(&format!(
            "whit: {} read a token, {:.2} GB/s; memory: {} private ({} planned), {} mapped; {}, {} threads",
            bytes(self.bytes_per_token),
            self.bytes_per_token as f64 * self.decode_rate() / 1e9,
            resident(memory::private_bytes()),
            bytes(self.planned_bytes),
            resident(memory::mapped_bytes()),
            self.kernels,
            self.threads,
        ));
        if let Some(tally) = self.guesses {
            output::tell(&format!("whit: {}", guessing::words(tally, self.n_generated)));
        }
        output::tell(&format!("whit: seed {}; stopped: {}", self.seed, self.reason.name()));
        if self.reason == StopReason::ContextFull {
            self.tell_context();
        }
    }

    pub(super) fn tell_context(&self) {
        output::tell(&format!("whit: the context of {} tokens is full, so the text ends here", self.context_length));
    }

    pub(super) fn json(&self) -> String {
        let number = |of: Option<u64>| of.map_or("null".into(), |n| n.to_string());
        let summary = Object::default()
            .text("stop_reason", self.reason.name())
            .raw("prompt_tokens", self.n_prompt)
            .raw("restored_tokens", self.n_restored)
            .raw("generated_tokens", self.n_generated)
            .number("prefill_seconds", self.prefill_seconds)
            .number("decode_seconds", self.decode_seconds)
            .number("prefill_tokens_per_second", self.prefill_rate())
            .number("decode_tokens_per_second", self.decode_rate())
            .raw("bytes_per_token", self.bytes_per_token)
            .raw("planned_private_bytes", self.planned_bytes)
            .raw("private_bytes", number(memory::private_bytes()))
            .raw("mapped_bytes", number(memory::mapped_bytes()))
            .raw("context_length", self.context_length)
            .text("kernels", self.kernels)
            .raw("threads", self.threads)
            .raw("seed", self.seed);
        let summary = match self.guesses {
            Some(tally) => summary
                .raw("guessed_tokens", tally.n_guessed)
                .raw("accepted_tokens", tally.n_right)
                .raw("decode_passes", tally.n_passes),
            None => summary,
        };
        Object::default().raw("summary", summary.line()).line()
    }
}
