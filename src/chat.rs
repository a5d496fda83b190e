//! Conversations: turns to tokens, by a model's own chat template.

mod argument;
mod conversation;
mod generic;
mod jinja;
mod prompt;
#[cfg(feature = "rules")]
pub mod receipt;
mod template;
#[cfg(test)]
mod tests;
mod thinking;
#[cfg(feature = "rules")]
pub mod tools;
mod turn;

pub use argument::Argument;
pub use conversation::Conversation;
pub use prompt::tokens;
pub use template::Template;
pub use thinking::Think;
pub use turn::{Answers, Call, Speaker, Turn, apply_record, from_note, to_note, to_record};
