//! A step of the tour.

use crate::cli::json::Object;

/// Tokens of a distribution that are named.
pub(super) const TOP: usize = 10;

/// A step of the tour.
pub(super) struct Step {
    /// The sentence of the story that it illustrates.
    pub(super) title: String,
    /// What is said, every figure of it computed.
    pub(super) told: String,
    pub(super) picture: Vec<String>,
    /// The name, then what the picture draws, as one JSON object.
    pub(super) json: String,
}

/// The step `name`, of which `json` is what the picture draws.
pub(super) fn step(name: &str, title: &str, told: String, picture: Vec<String>, json: Object) -> Step {
    let head = Object::default().text("step", name).text("title", title).text("told", &told);
    let json = head.raw("data", json.line()).line();
    Step { title: title.into(), told, picture, json }
}
