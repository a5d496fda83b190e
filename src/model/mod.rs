//! What a network is: a plan of layers, the table of its tensors, its weights, the forward pass, and the state of each text.
//!
//! Each branch of a [block](Layer) is one file, [`attention`](Attention), [`conv`](ShortConv), [`delta_net`](DeltaNet),
//! [`mamba1`](Mamba1), [`mamba2`](Mamba2) or [`mlp`](Mlp), with all that belongs to it: its row of the plan, its tensors, what it remembers of a text,
//! its pass.

mod attend;
mod attention;
mod block;
mod buffers;
mod conf;
mod config;
mod conv;
mod delta_net;
mod experts;
mod fields;
mod forward;
mod generation;
mod head_norm;
pub mod journal;
mod language_model;
mod layer_inputs;
mod mamba1;
mod mamba2;
mod mixer;
mod mlp;
mod network;
mod op;
mod place;
mod recurrent;
pub mod saved;
mod session;
pub mod spec;
mod stage;
mod state;
mod uniform;
mod uses;
mod workspace;

pub use crate::ops::Activation;
pub use crate::ops::{Routing, Scores};
pub use attention::{Attention, Gate};
pub use block::Layer;
pub use config::Config;
pub use conv::ShortConv;
pub use delta_net::DeltaNet;
pub use experts::{Experts, SharedExpert};
pub use generation::GenerationDefaults;
pub use head_norm::{HeadNorm, QkNorm};
pub use language_model::Model;
pub use mamba1::Mamba1;
pub use mamba2::{Mamba2, ScanNorm};
pub use mixer::Mixer;
pub use mlp::{Mlp, MlpKind};
pub use network::tensors;
pub use op::{Observer, Op, Pace, Point};
pub use session::{Session, SessionBytes, SessionOptions};
pub use spec::{BranchNorms, NormKind};
pub use state::{Span, State, StateOptions, Wants};
pub use uniform::{Family, Uniform};
pub use uses::WeightUse;
pub use workspace::{Watch, Workspace};
