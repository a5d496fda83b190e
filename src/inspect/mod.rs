//! The data of every view on a model; rendering is the command line's.

pub mod bench;
mod cost;
mod limits;
mod plan;
mod prompt;
mod reach;
mod score;
pub mod trace;

pub use cost::{Cost, Costs};
pub use limits::Limits;
pub use plan::Plan;
pub use prompt::{fill, fill_steps};
pub use reach::{Bound, Reach};
pub use score::{Agreement, Summary, agreement, nll};
