//! Random and mutated inputs for every format that whit and quantize read.
//!
//! Each case is made from a seed and its number, handed to the public readers, and, if they accept it, has to give a
//! model that writes. What is promised of every case: success or an error, never a panic, an abort or a hang; bounded
//! heap while reading; an error of one line that says where.

pub mod bench;
mod bytes;
mod flat;
mod hub;
mod json;
pub mod memory;
mod model;
mod pieces;
pub mod random;
mod stages;
pub mod targets;
pub mod watch;
pub mod worker;
