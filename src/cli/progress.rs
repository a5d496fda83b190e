//! Progress bars on standard error; none where it is no terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar of `length` counted in bytes.
pub(crate) fn bytes(length: u64, quiet: bool) -> ProgressBar {
    bar(length, quiet, "{bar:40} {bytes}/{total_bytes} {eta}")
}

/// A bar of `length` steps, with room for a message.
pub(crate) fn steps(length: u64, quiet: bool) -> ProgressBar {
    bar(length, quiet, "{bar:40} {pos}/{len} {eta} {msg}")
}

fn bar(length: u64, quiet: bool, template: &str) -> ProgressBar {
    let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(Some(length), target).with_style(style)
}
