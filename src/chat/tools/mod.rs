//! Functions that a model may call: how they are offered to it by its template, how its calls are written and read.
//!
//! A template says what it was trained on by what stands in it, and so is known which family of calls its model writes.
//! [`ReplyRules`] has a reply keep to them: text stays free until a call begins, and a call is written under a grammar, so that what
//! it gives a function always parses and is what the function's schema allows. A [`Reader`] parts a reply into text, thoughts and calls
//! while it is written.

mod family;
mod grammar;
mod guide;
mod lark;
mod parse;
mod reader;
mod rules;
mod schema_forms;
#[cfg(test)]
mod tests;
mod tool;

pub(super) use family::Family;
pub use reader::{Part, Reader};
pub use rules::ReplyRules;
pub use tool::{Choice, Tool, Tools, argument_of, turn_of_message};
