//! What a network is: configuration, tensor tables, weights, the forward pass of each family, and the session.

mod config;

pub use config::{Config, Family, GenerationDefaults};
