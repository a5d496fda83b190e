//! Nothing but a dependency on whit with the feature `cli`. The workspace builds this member by default, so that a plain
//! `cargo build` or `cargo run` makes the program, while who depends on whit gets the library alone.
