//! Progress bars on standard error; none where it is no terminal.

use super::screen;
use console::Term;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use whit::os::clock::Stopwatch;

/// Seconds that a prompt is read for without a word.
const SILENT: f64 = 1.0;

/// A bar of `length` counted in bytes.
pub(crate) fn bytes(length: u64, quiet: bool) -> ProgressBar {
    bar(length, quiet, "{bytes}/{total_bytes} {eta}")
}

/// A bar of `length` steps, with room for a message.
pub(crate) fn steps(length: u64, quiet: bool) -> ProgressBar {
    bar(length, quiet, "{pos}/{len} {eta} {msg}")
}

/// The progress of reading a prompt, shown where it takes long.
pub(crate) struct Reading {
    watch: Stopwatch,
    quiet: bool,
    /// Tokens before those that are read, and all.
    tokens: [usize; 2],
    bar: Option<ProgressBar>,
}

impl Reading {
    /// Begins where `held` of `all` tokens need not be read.
    pub(crate) fn begin(held: usize, all: usize, quiet: bool) -> Self {
        Reading { watch: Stopwatch::start(), quiet, tokens: [held, all], bar: None }
    }

    /// So many tokens are there.
    pub(crate) fn is_at(&mut self, position: usize) {
        let [held, all] = self.tokens;
        let (done, seconds) = (position.saturating_sub(held), self.watch.seconds());
        if done == 0 || seconds < SILENT {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| bar((all - held) as u64, self.quiet, "{pos}/{len} tokens, {msg}"));
        bar.set_message(format!("{:.0} s left", seconds * (all - position) as f64 / done as f64));
        bar.set_position(done as u64);
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A bar before what `template` says of it.
fn bar(length: u64, quiet: bool, template: &str) -> ProgressBar {
    let columns = screen::columns(&Term::stderr()).map_or(40, |columns| columns.saturating_sub(44).clamp(4, 40));
    let template = format!("{{bar:{columns}}} {template}");
    let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(Some(length), target).with_style(style)
}
