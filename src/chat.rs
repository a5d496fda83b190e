//! Conversations: turns to tokens, by a model's own chat template.

mod conversation;
mod jinja;
mod prompt;
mod template;
#[cfg(test)]
mod tests;
mod turn;

pub use conversation::Conversation;
pub use prompt::tokens;
pub use template::{Argument, Template};
pub use turn::{Speaker, Turn, apply_record, from_note, to_note, to_record};
