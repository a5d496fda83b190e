//! `whit attend`: where the heads look.

use super::paint::{Canvas, fit, percent, right};
use super::pieces::{piece, token_list};
use super::{Looked, View, on_text, with_sinks, without_attention};
use crate::cli::args::views::Attend;
use crate::cli::json::{self, Object};
use crate::cli::output::Outcome;
use whit::TokenId;
use whit::error::{Error, Result};
use whit::inspect::{Attention, HeadScores};
use whit::model::Config;
use whit::tokenizer::Tokenizer;

/// Patterns of all heads are drawn and written up to this many tokens: a larger text has too many pairs for a page.
const MOST_TOKENS: usize = 128;
/// Heads named for each question.
const RANKED: usize = 5;

pub(in crate::cli) fn run(args: &Attend) -> Outcome<()> {
    on_text(&args.look, false, &mut |look: Looked<'_>| {
        let Looked { model, tokenizer, tokens, mut session, .. } = look;
        let config = model.config();
        if tokens.len() > MOST_TOKENS {
            let message = format!("{} tokens are more than the {MOST_TOKENS} that can be drawn", tokens.len());
            return Err(Error::usage(message).field("text").into());
        }
        if config.attentions().next().is_none() {
            return Err(Error::usage("no layer of this model has attention, so there is nothing to draw").into());
        }
        let one = args.layer.zip(args.head).map(|place| in_range(config, place)).transpose()?;
        let attention = Attention::of(&mut session, config, &tokens, tokens.len())?;
        let places: Vec<(usize, usize)> = one.map_or_else(|| config.heads().collect(), |place| vec![place]);
        let heads: Vec<Head> = places
            .into_iter()
            .map(|(layer, head)| {
                let pattern = attention.pattern(layer, head);
                Head { layer, head, scores: attention.scores(&pattern), pattern }
            })
            .collect();
        let canvas = Canvas::new(&args.look.display);
        let picture = match &heads[..] {
            [head] if one.is_some() => triangle(&canvas, &tokenizer, &tokens, config, head),
            heads => gallery(&canvas, &tokenizer, &tokens, config, heads),
        };
        View {
            title: "Who looks at whom".into(),
            picture,
            json: json(&tokenizer, &tokens, config, &heads),
            script: include_str!("page/attend.js"),
        }
        .show(&args.look.display)
    })
}

fn in_range(config: &Config, (layer, head): (usize, usize)) -> Result<(usize, usize)> {
    let attention = config.layers.get(layer).map(|layer| layer.attention());
    if attention == Some(None) {
        let error = Error::usage(format!("layer {layer} has no attention")).field("layer");
        return Err(error.hint(without_attention(config).unwrap_or_default()));
    }
    let n_heads = attention.flatten().map_or(0, |a| a.n_heads);
    for (name, value, n) in [("layer", layer, config.n_layers()), ("head", head, n_heads)] {
        if value >= n {
            return Err(Error::usage(format!("{value} is not among 0 to {}", n - 1)).field(name));
        }
    }
    Ok((layer, head))
}

struct Head {
    layer: usize,
    head: usize,
    /// (T, T).
    pattern: Vec<f64>,
    scores: HeadScores,
}

impl Head {
    fn name(&self) -> String {
        format!("{}.{}", self.layer, self.head)
    }
}

/// Heads of the layer that has most of them.
fn most_heads(config: &Config) -> usize {
    config.attentions().map(|a| a.n_heads).max().unwrap_or(1)
}

/// The question that a score answers.
type Question = (&'static str, fn(&HeadScores) -> Option<f64>);
const QUESTIONS: [Question; 4] = [
    ("the token before", |scores| scores.previous),
    ("the first token", |scores| scores.first),
    ("the same token, earlier", |scores| scores.same),
    ("what followed it, earlier", |scores| scores.induction),
];

/// One head: a row a token, a column a position it looks at.
fn triangle(
    canvas: &Canvas,
    tokenizer: &Tokenizer<'_>,
    tokens: &[TokenId],
    config: &Config,
    head: &Head,
) -> Vec<String> {
    let n = tokens.len();
    let name = canvas.room(14, 10);
    let room = (canvas.width - name - 8) / 2;
    let first = n.saturating_sub(room);
    let mut lines = vec![canvas.bold(&format!("layer {}, head {}: where each token looks", head.layer, head.head))];
    lines.extend(canvas.only_last(n - first, n));
    lines.push(String::new());
    for t in first..n {
        let row = &head.pattern[t * n..][..n];
        let cells: String = (first..=t).map(|position| canvas.cell(row[position])).collect();
        let (most, share) = best(row);
        let to = fit(&piece(tokenizer, tokens[most]), 10);
        let pad = " ".repeat(2 * (n - 1 - t).min(room));
        let note = if canvas.width >= 2 * (n - first) + name + 28 {
            canvas.dim(&format!("{pad} {} % at {to}", percent(share)))
        } else {
            String::new()
        };
        lines.push(format!(
            "{} {}{cells}{note}",
            right(&t.to_string(), 3),
            fit(&piece(tokenizer, tokens[t]), name - 4)
        ));
    }
    lines.push(String::new());
    lines.extend(scores_of(head).into_iter().map(|line| canvas.dim(&line)));
    lines.extend(with_sinks(config).map(|sinks| canvas.dim(sinks)));
    lines
}

fn best(row: &[f64]) -> (usize, f64) {
    row.iter().copied().enumerate().fold((0, 0.0), |best, next| if next.1 > best.1 { next } else { best })
}

fn scores_of(head: &Head) -> Vec<String> {
    let told = QUESTIONS.iter().filter_map(|(what, of)| Some((what, of(&head.scores)?)));
    told.map(|(what, share)| format!("{} % on {what}", percent(share))).collect()
}

/// All heads, small; which looks where; and what the last token looks at.
fn gallery(
    canvas: &Canvas,
    tokenizer: &Tokenizer<'_>,
    tokens: &[TokenId],
    config: &Config,
    heads: &[Head],
) -> Vec<String> {
    let n = tokens.len();
    // A cell is one column wide and half a line high; as many as there is room for all heads of a layer side by side.
    let n_heads = most_heads(config);
    let cells = ((canvas.width - 5) / n_heads).saturating_sub(1).clamp(3, n.clamp(3, 16));
    let side_by_side = ((canvas.width - 5) / (cells + 1)).min(n_heads);
    let mut lines = vec![
        canvas.bold(&format!("{} heads in {} layers", heads.len(), config.attentions().count())),
        canvas.dim("each square is a head: rows are tokens, columns the positions they look at"),
    ];
    lines.extend(without_attention(config).map(|others| canvas.dim(&others)));
    lines.extend(with_sinks(config).map(|sinks| canvas.dim(sinks)));
    lines.push(String::new());
    for layer in heads.chunk_by(|a, b| a.layer == b.layer) {
        for (i, part) in layer.chunks(side_by_side).enumerate() {
            let small: Vec<Vec<String>> = part.iter().map(|head| thumbnail(canvas, &head.pattern, n, cells)).collect();
            for row in 0..cells.div_ceil(2) {
                let label = if row == 0 && i == 0 { layer[0].layer.to_string() } else { String::new() };
                let row: Vec<&str> = small.iter().map(|lines| lines[row].as_str()).collect();
                lines.push(format!("{}  {}", canvas.dim(&right(&label, 3)), row.join(" ")));
            }
            lines.push(String::new());
        }
    }
    lines.push(String::new());
    lines.push(canvas.bold("Heads (layer.head) that look most at"));
    for (what, of) in QUESTIONS {
        let mut ranked: Vec<(f64, String)> = heads.iter().filter_map(|h| Some((of(&h.scores)?, h.name()))).collect();
        ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
        let told = ranked.iter().take(RANKED).map(|(share, name)| format!("{name} {}%", percent(*share).trim()));
        let told = told.collect::<Vec<_>>().join("  ");
        let told = if told.is_empty() { "no position to look at" } else { &told };
        match canvas.width {
            60.. => lines.push(format!("{} {}", fit(what, 26), fit(told, canvas.width - 27))),
            _ => lines.extend([what.to_owned(), format!("  {}", told.replace("  ", ", "))]),
        }
    }
    lines.push(String::new());
    lines.push(canvas.bold("Where the last token looks, mean over all heads"));
    let mut mean: Vec<(usize, f64)> = (0..n)
        .map(|at| (at, heads.iter().map(|head| head.pattern[(n - 1) * n + at]).sum::<f64>() / heads.len() as f64))
        .collect();
    mean.sort_by(|a, b| b.1.total_cmp(&a.1));
    let name_columns = canvas.room(16, 10);
    let width = canvas.width.min(120) - name_columns - 14;
    for (at, share) in mean.iter().take(10) {
        let (bar, rest) = canvas.bar(*share, width);
        let name = fit(&piece(tokenizer, tokens[*at]), name_columns);
        lines.push(format!("{} {name} {}{rest} {} %", right(&at.to_string(), 3), canvas.fill(&bar), percent(*share)));
    }
    lines
}

/// A pattern in `cells` by `cells`, two rows of them a line: each the largest share that one of its tokens has in its positions.
fn thumbnail(canvas: &Canvas, pattern: &[f64], n: usize, cells: usize) -> Vec<String> {
    let range = |i: usize| i * n / cells..((i + 1) * n / cells).max(i * n / cells + 1);
    let of = |row: usize, column: usize| -> Option<f64> {
        let sums = || range(row).map(|t| range(column).map(|at| pattern[t * n + at]).sum::<f64>());
        (row < cells && column <= row).then(|| sums().fold(0.0, f64::max))
    };
    let line =
        |above: usize| (0..cells).map(|column| canvas.stacked(of(above, column), of(above + 1, column))).collect();
    (0..cells).step_by(2).map(line).collect()
}

fn json(tokenizer: &Tokenizer<'_>, tokens: &[TokenId], config: &Config, heads: &[Head]) -> Vec<String> {
    let n = tokens.len();
    let head = Object::default()
        .raw("tokens", token_list(tokenizer, tokens))
        .raw("layers", config.n_layers())
        .raw("heads", most_heads(config));
    let head = match without_attention(config) {
        Some(others) => head.text("without", &others),
        None => head,
    };
    let head = match with_sinks(config) {
        Some(sinks) => head.text("sinks", sinks),
        None => head,
    };
    let each = heads.iter().map(|head| {
        let rows = head.pattern.chunks_exact(n).enumerate();
        let rows = rows.map(|(t, row)| json::list(row[..=t].iter().map(|share| format!("{share:.5}"))));
        let [previous, first, same, induction] = QUESTIONS.map(|(_, of)| of(&head.scores).unwrap_or(f64::NAN));
        Object::default()
            .raw("layer", head.layer)
            .raw("head", head.head)
            .number("previous", previous)
            .number("first", first)
            .number("same", same)
            .number("induction", induction)
            .raw("rows", json::list(rows))
            .line()
    });
    std::iter::once(head.line()).chain(each).collect()
}
