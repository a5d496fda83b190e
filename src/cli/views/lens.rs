//! `whit lens`: what each layer would say now.

use super::bars::ranked_list;
use super::paint::{Canvas, fit, right};
use super::pieces::{piece, token};
use super::{Looked, View, on_text, with_layer_inputs, without_attention};
use crate::cli::args::views::Lens as Args;
use crate::cli::json::{self, Object};
use crate::cli::output::{End, Outcome};
use crate::cli::progress;
use whit::TokenId;
use whit::inspect::{Lens, Reading, Writes};
use whit::os::interrupt;
use whit::tokenizer::Tokenizer;

/// Columns of a reading.
const CELL: usize = 11;
/// Columns of the depth before the readings, and of the bars of what is written behind them.
const MARGIN: usize = 6;
/// Positions that are read for JSON and pages where nobody asks for more: the stream at every depth is kept of each.
const MOST: usize = 256;
/// Tokens of each reading that are in the JSON.
const TOP: usize = 5;

pub(in crate::cli) fn run(args: &Args) -> Outcome<()> {
    let canvas = Canvas::new(&args.look.display);
    on_text(&args.look, args.progress.quiet, &mut |look: Looked<'_>| {
        let Looked { model, tokenizer, tokens, mut session, .. } = look;
        let all = args.look.display.json || args.look.display.html.is_some();
        let fitting = (canvas.width - MARGIN) / (CELL + 1);
        let wanted = args.last.map_or(tokens.len(), usize::from).min(tokens.len());
        let n = args.last.map_or(if all { MOST } else { fitting }, usize::from).min(tokens.len());
        let bar = progress::steps((n * (model.config().n_layers() + 1)) as u64, args.progress.quiet);
        let lens = Lens::of(&mut session, model.config(), &tokens, n, TOP, &mut || {
            bar.inc(1);
            !interrupt::requested()
        })?;
        bar.finish_and_clear();
        let lens = lens.ok_or(End::Interrupted)?;
        View {
            title: "What each layer would say".into(),
            picture: {
                let mut lines = picture(&canvas, &tokenizer, &tokens, &lens, [n.min(fitting), wanted]);
                lines.extend(without_attention(model.config()).map(|others| canvas.dim(&others)));
                lines.extend(with_layer_inputs(model.config()).map(|more| canvas.dim(more)));
                lines
            },
            json: json(&tokenizer, &tokens, &lens),
            script: include_str!("page/lens.js"),
        }
        .show(&args.look.display)
    })
}

/// The last `shown` of the `wanted` positions: a row a depth, the last one on top as in the paper, a column a position.
fn picture(
    canvas: &Canvas,
    tokenizer: &Tokenizer<'_>,
    tokens: &[TokenId],
    lens: &Lens,
    [shown, wanted]: [usize; 2],
) -> Vec<String> {
    let n_read = lens.readings[0].len();
    let (first, first_token) = (n_read - shown, tokens.len() - shown);
    let depths = lens.readings.len();
    let mut lines = vec![
        canvas.bold("What each layer would say after each token, if it were the last"),
        canvas.dim(&format!("rows: depth 0, the embedding, to {}, the output; ▸ is the final answer", depths - 1)),
    ];
    lines.extend(canvas.only_last(shown, wanted));
    lines.push(String::new());
    for (depth, row) in lens.readings.iter().enumerate().rev() {
        let cells: Vec<String> = row[first..].iter().map(|reading| cell(canvas, tokenizer, reading)).collect();
        lines.push(format!("{}  {}", canvas.dim(&right(&depth.to_string(), MARGIN - 2)), cells.join(" ")));
    }
    let names: Vec<String> =
        tokens[first_token..].iter().map(|token| canvas.bold(&fit(&piece(tokenizer, *token), CELL))).collect();
    lines.push(format!("{}{}", fit("after", MARGIN), names.join(" ")));
    let settled = |of: &dyn Fn(usize) -> usize| -> String {
        (first..n_read).map(|position| fit(&of(position).to_string(), CELL + 1)).collect()
    };
    lines.push(String::new());
    lines.push(fit("first", MARGIN) + &settled(&|position| lens.appears(position)));
    lines.push(fit("stays", MARGIN) + &settled(&|position| lens.settled(position)));
    lines.push(canvas.dim("first: the depth at which the final answer is on top; stays: from which on it is"));
    lines.push(String::new());
    lines.extend(writes(canvas, lens));
    lines
}

fn cell(canvas: &Canvas, tokenizer: &Tokenizer<'_>, reading: &Reading) -> String {
    let Some(best) = reading.top.first() else { return fit("", CELL) };
    let mark = if reading.answer.0 == 1 { "▸" } else { " " };
    let shown = fit(&piece(tokenizer, best.id), CELL - 5);
    let share = right(&format!("{:.0}", 100.0 * best.probability), 3);
    canvas.heat(best.probability, &format!("{mark}{shown}{share} "))
}

/// How much each block writes at the last position.
fn writes(canvas: &Canvas, lens: &Lens) -> Vec<String> {
    let last: Vec<&Writes> = lens.writes.iter().filter_map(|row| row.last()).collect();
    let relative = |w: &Writes| [w.attention / w.stream.max(1e-30), w.mlp / w.stream.max(1e-30)];
    let largest = last.iter().flat_map(|w| relative(w)).fold(1e-30, f64::max);
    let width = (canvas.width.min(120) - 32) / 2;
    let mut lines = vec![
        canvas.bold("How much each block writes at the last position, beside the stream before it"),
        canvas.dim(&format!("block  stream {} mlp", fit("attention", width + 9))),
    ];
    for (block, w) in last.iter().enumerate() {
        let [attention, mlp] = relative(w).map(|share| {
            let (bar, rest) = canvas.bar(share / largest, width);
            format!("{}{rest} {share:>7.3} ", canvas.fill(&bar))
        });
        lines.push(format!("{block:>5} {:>7.1} {attention}{mlp}", w.stream));
    }
    lines
}

fn json(tokenizer: &Tokenizer<'_>, tokens: &[TokenId], lens: &Lens) -> Vec<String> {
    let first = tokens.len() - lens.readings[0].len();
    let mut lines = Vec::new();
    for (i, id) in tokens[first..].iter().enumerate() {
        let depths = lens.readings.iter().map(|row| reading_json(tokenizer, &row[i]));
        let writes = lens.writes.iter().map(|row| writes_json(&row[i]));
        let object = token(tokenizer, *id)
            .raw("position", first + i)
            .raw("answer_appears", lens.appears(i))
            .raw("answer_stays", lens.settled(i));
        lines.push(object.raw("depths", json::list(depths)).raw("writes", json::list(writes)).line());
    }
    lines
}

fn reading_json(tokenizer: &Tokenizer<'_>, reading: &Reading) -> String {
    Object::default()
        .raw("top", ranked_list(tokenizer, &reading.top))
        .raw("answer_rank", reading.answer.0)
        .number("answer_probability", reading.answer.1)
        .line()
}

/// What a block writes, as an object.
pub(super) fn writes_json(w: &Writes) -> String {
    Object::default()
        .number("stream", w.stream)
        .number("attention", w.attention)
        .number("mlp", w.mlp)
        .number("neurons", w.neurons)
        .line()
}
