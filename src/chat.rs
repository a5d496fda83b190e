//! Conversations: turns to tokens, by a model's own chat template.

mod conversation;
mod template;
#[cfg(test)]
mod tests;

pub use conversation::{Speaker, Turn, from_note, to_note, tokens};
pub use template::Template;
