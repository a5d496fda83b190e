//! Distributions as bars.

use super::paint::{Canvas, fit, percent, right};
use super::pieces::{piece, token};
use crate::cli::json::{self, Object};
use whit::TokenId;
use whit::inspect::{Distribution, Ranked};
use whit::tokenizer::Tokenizer;

/// Columns of a piece.
pub(crate) const PIECE: usize = 16;

/// The bars of a distribution with its tail and entropy; `chosen` is marked. Bars are drawn in relation to the largest.
pub(crate) fn bars(
    canvas: &Canvas,
    tokenizer: &Tokenizer<'_>,
    distribution: &Distribution,
    chosen: Option<TokenId>,
) -> Vec<String> {
    let width = canvas.width.min(120) - PIECE - 24;
    let largest = distribution.top.first().map_or(1.0, |best| best.probability);
    let mut lines = Vec::new();
    for (i, ranked) in distribution.top.iter().enumerate() {
        let is_chosen = chosen == Some(ranked.id);
        let (bar, rest) = canvas.bar(ranked.probability / largest, width);
        let name = fit(&piece(tokenizer, ranked.id), PIECE);
        let (mark, name, bar) = match is_chosen {
            true => (canvas.chosen("▶"), canvas.chosen(&name), canvas.fill_chosen(&bar)),
            false => (" ".into(), name, canvas.fill(&bar)),
        };
        let id = canvas.dim(&right(&ranked.id.to_string(), 7));
        lines.push(format!(
            "{} {mark} {name} {bar}{rest} {} %{id}",
            right(&(i + 1).to_string(), 3),
            percent(ranked.probability)
        ));
    }
    let others = distribution.n - distribution.top.len();
    if others > 0 {
        let (bar, rest) = canvas.bar(distribution.tail / largest, width);
        let name = fit(&format!("{others} others"), PIECE);
        lines.push(format!("      {} {}{rest} {} %", canvas.dim(&name), canvas.dim(&bar), percent(distribution.tail)));
    }
    lines
}

/// A distribution as fields of an object.
pub(crate) fn fields(object: Object, tokenizer: &Tokenizer<'_>, distribution: &Distribution) -> Object {
    object
        .raw("candidates", distribution.n)
        .number("entropy_bits", distribution.entropy)
        .number("tail", distribution.tail)
        .raw("top", ranked_list(tokenizer, &distribution.top))
}

/// Tokens with their probabilities as a list.
pub(crate) fn ranked_list(tokenizer: &Tokenizer<'_>, ranked: &[Ranked]) -> String {
    let each = ranked.iter().map(|r| token(tokenizer, r.id).number("probability", r.probability).line());
    json::list(each)
}
