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
// The server is a part of the program, not of the library: here its sources are tried as they are.
#[path = "../../../src/requests/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the program uses the rest")]
mod requests;
#[path = "../../../src/serve/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the program uses the rest")]
mod serve;
mod server;
mod stages;
pub mod targets;
pub mod watch;
pub mod worker;
