//! The data of every view on a model; rendering is the command line's.

mod attention;
pub mod bench;
mod choice;
mod cost;
mod distribution;
mod embed;
mod lens;
mod limits;
mod plan;
mod prompt;
mod quality;
mod reach;
mod score;
mod standing;
pub mod surprise;
pub mod tally;
pub mod trace;
mod words;

pub use attention::{Attention, HeadScores};
pub use choice::{Choice, Recorder, StageDistribution};
pub use cost::{Cost, Costs};
pub use distribution::{Distribution, Film, Ranked, standing};
pub use embed::{EmbedOptions, Embedder, Pooling};
pub use lens::{Lens, Reading, Writes};
pub use limits::MachineLimits;
pub use plan::MemoryPlan;
pub use prompt::{fill, fill_steps};
pub use quality::{HeldOut, compare, predict};
pub use reach::{Bound, Reach};
pub use score::{Agreement, Summary, agreement, nll, perplexity};
pub use standing::{Standing, Standings};
pub use words::{Near, WordSpace, dot};
