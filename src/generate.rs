//! The token loop: prefill a prompt, then sample, decode and stop. Yields text; knows no terminal, clock or signal.

mod bans;
mod breakers;
mod constraint;
#[cfg(feature = "std")]
mod engine;
#[cfg(feature = "rules")]
pub mod grammar;
#[cfg(feature = "std")]
pub mod guess;
mod kept;
mod many;
#[cfg(feature = "std")]
mod model_file;
#[cfg(feature = "std")]
pub mod prefix_cache;
mod prompt;
mod schedule;
mod stops;
#[cfg(feature = "std")]
pub mod stream;
mod text;
mod together;
pub mod tree;
mod writer;

pub use breakers::sequence_breakers;
pub use constraint::Constraint;
#[cfg(feature = "std")]
pub use engine::{Engine, OPEN_CONTEXT, WriteOptions};
pub use kept::{Entry, ToKeep};
pub use many::{Finished, Listener, Many, ManyOptions};
#[cfg(feature = "std")]
pub use model_file::ModelFile;
#[cfg(feature = "std")]
pub use prefix_cache::PrefixCache;
pub use prompt::{prompt_tokens, recommended_sampling};
pub use schedule::{Ended, Job, Passed, Running, ScheduleOptions, Scheduler};
pub use stops::Stops;
pub use text::Text;
pub use together::{Together, advance};
pub use writer::Writer;

use crate::token::TokenId;
use alloc::string::String;
use alloc::vec::Vec;

/// Why a text ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// The model chose a token that ends a text.
    EndOfText,
    /// Its constraint allows nothing more.
    Complete,
    /// The asked number of tokens is reached.
    Length,
    /// A stop string was found.
    StopString,
    /// No position is left in the context.
    ContextFull,
    /// The caller ended it.
    Interrupted,
}

impl StopReason {
    /// The stable name, as it stands in reports.
    pub fn name(self) -> &'static str {
        match self {
            StopReason::EndOfText => "end-of-text",
            StopReason::Complete => "complete",
            StopReason::Length => "length",
            StopReason::StopString => "stop-string",
            StopReason::ContextFull => "context-full",
            StopReason::Interrupted => "interrupted",
        }
    }
}

/// What happens when no position is left in the context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFull {
    /// The text ends.
    #[default]
    Stop,
    /// The first `keep` tokens and the later half of the others stay and are computed anew, as a fresh run on them would.
    Shift {
        /// Tokens that stay; at most half of the context is taken.
        keep: usize,
    },
}

/// When a text ends.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StopRules {
    /// At most this many tokens; `None`: as many as the context holds.
    pub n_tokens: Option<usize>,
    /// Strings that end the text and are not part of it.
    pub stops: Vec<String>,
    /// Tokens that end the text and are not part of it.
    pub end_tokens: Vec<TokenId>,
    /// Strings that the text must not hold. Where one would be complete, the text goes back to before the token with which it began,
    /// and another is drawn in its place.
    pub banned: Vec<String>,
    /// What a full context means.
    pub on_full: OnFull,
}

/// A part of the text: whole characters, maybe none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece<'t> {
    /// The token that was chosen; `None` where the piece is only what was still held back at the end. Where strings are banned, a
    /// later piece may take it back: what counts is [`Writer::tokens`], and the text.
    pub token: Option<TokenId>,
    /// The text that became certain with it.
    pub text: &'t str,
}
