//! The `quantize` command.

fn main() {}
