//! Distributions as bars.

use super::paint::{Canvas, fit, percent, right};
use super::pieces::{piece, token};
use crate::cli::json::{self, Object};
use whit::TokenId;
use whit::inspect::{Distribution, Ranked};
use whit::tokenizer::Tokenizer;

/// Columns of a piece.
pub(crate) fn piece_columns(canvas: &Canvas) -> usize {
    canvas.room(16, 10)
}

/// The bars of a distribution and its tail; `chosen` is marked. All are drawn on one scale, that of the largest of them.
pub(crate) fn bars(
    canvas: &Canvas,
    tokenizer: &Tokenizer<'_>,
    distribution: &Distribution,
    chosen: Option<TokenId>,
) -> Vec<String> {
    let n_others = distribution.n - distribution.top.len();
    let others = format!("{n_others} others");
    let (name_columns, id_columns) = (piece_columns(canvas).max(others.len()), canvas.room(7, 0));
    let width = canvas.width.min(120) - name_columns - id_columns - 17;
    let largest = distribution.top.first().map_or(1.0, |best| best.probability).max(distribution.tail);
    let mut lines = Vec::new();
    for (i, ranked) in distribution.top.iter().enumerate() {
        let is_chosen = chosen == Some(ranked.id);
        let (bar, rest) = canvas.bar(ranked.probability / largest, width);
        let name = fit(&piece(tokenizer, ranked.id), name_columns);
        let (mark, name, bar) = match is_chosen {
            true => (canvas.chosen("▶"), canvas.chosen(&name), canvas.fill_chosen(&bar)),
            false => (" ".into(), name, canvas.fill(&bar)),
        };
        let id = if id_columns > 0 { canvas.dim(&right(&ranked.id.to_string(), id_columns)) } else { String::new() };
        lines.push(format!(
            "{} {mark} {name} {bar}{rest} {} %{id}",
            right(&(i + 1).to_string(), 3),
            percent(ranked.probability)
        ));
    }
    if n_others > 0 {
        let (bar, rest) = canvas.bar(distribution.tail / largest, width);
        let name = fit(&others, name_columns);
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Eighths of a column that a line's bar has.
    fn eighths(line: &str) -> usize {
        line.chars().map(|c| "▏▎▍▌▋▊▉█".chars().position(|part| part == c).map_or(0, |place| place + 1)).sum()
    }

    #[test]
    fn all_bars_have_one_scale_the_others_too() {
        let Some(bytes) = whit::default_model() else { return };
        let model = whit::model::Model::open(bytes).expect("the story model");
        let tokenizer = *model.tokenizer().expect("a tokenizer");
        for shares in [[0.349, 0.2, 0.029], [0.9, 0.05, 0.01], [0.01, 0.01, 0.01], [0.5, 0.0, 0.0]] {
            let top = shares.iter().zip(40..).map(|(p, id)| Ranked { id, probability: *p }).collect();
            let tail = 1.0 - shares.iter().sum::<f64>();
            let distribution = Distribution { top, tail, n: 100, entropy: 1.0 };
            for width in [40, 80, 120] {
                let lines = bars(&Canvas::plain(width), &tokenizer, &distribution, None);
                let drawn: Vec<usize> = lines.iter().map(|line| eighths(line)).collect();
                let most = shares[0].max(tail);
                let full = *drawn.iter().max().expect("bars") as f64;
                for (share, drawn) in shares.iter().chain([&tail]).zip(&drawn) {
                    assert!((share / most * full - *drawn as f64).abs() <= 1.0, "{shares:?} {width}: {lines:#?}");
                }
            }
        }
    }
}
