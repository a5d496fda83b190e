//! `whit next`: the distribution after a text, and what temperature does to it.

use super::bars::{bars, fields, piece_columns};
use super::paint::{Canvas, fit, percent, right};
use super::pieces::{piece, token_list};
use super::{Looked, View, on_text, wrapped};
use crate::cli::args::views::Next;
use crate::cli::json::{self, Object};
use crate::cli::output::Outcome;
use whit::error::Error;
use whit::inspect::{Distribution, Film};
use whit::tokenizer::Tokenizer;

/// Frames of the film that a narrow screen shows.
const SOME: [usize; 6] = [0, 2, 4, 5, 7, 10];
/// Tokens of the film, the best at temperature 1.
const FILM_TOKENS: usize = 12;

pub(in crate::cli) fn run(args: &Next) -> Outcome<()> {
    if !(0.0..=1e9).contains(&args.temp) {
        return Err(Error::usage(format!("{} is outside 0..=1000000000", args.temp)).field("temp").into());
    }
    on_text(&args.look, false, &mut |mut look: Looked<'_>| {
        let logits = look.session.extend(&look.tokens)?.to_vec();
        let bars_at = Distribution::of_logits(&logits, args.temp, args.top.into());
        let film = Film::of(&logits, FILM_TOKENS);
        let canvas = Canvas::new(&args.look.display);
        View {
            title: "What comes next".into(),
            picture: picture(&canvas, &look, args.temp, &bars_at, &film),
            json: json(&look, args.temp, &bars_at, &film),
            script: include_str!("page/next.js"),
        }
        .show(&args.look.display)
    })
}

/// The probability of the `rank`-th token at each temperature.
fn row(film: &Film, rank: usize) -> impl Iterator<Item = f64> {
    film.frames().iter().map(move |(_, d)| d.top.get(rank).map_or(0.0, |ranked| ranked.probability))
}

fn picture(canvas: &Canvas, look: &Looked<'_>, temperature: f64, at: &Distribution, film: &Film) -> Vec<String> {
    let tokenizer = &look.tokenizer;
    let mut lines = vec![canvas.bold("What comes next"), String::new()];
    let bytes: Vec<u8> = look.tokens.iter().flat_map(|token| tokenizer.bytes(*token)).copied().collect();
    let shown = super::pieces::visible(&bytes).replace(['·', '↵'], " ");
    let context = wrapped(&shown, canvas.width - 2);
    lines.extend(context.iter().skip(context.len().saturating_sub(3)).map(|line| canvas.dim(&format!("  {line}"))));
    lines.push(String::new());
    lines.extend(bars(canvas, tokenizer, at, None));
    let bits = format!("entropy {:.2} bits: as uncertain as {:.1} equal choices", at.entropy, at.entropy.exp2());
    lines.extend([String::new(), format!("temperature {temperature}; {bits}"), String::new()]);
    lines.extend(frames(canvas, tokenizer, film));
    lines
}

/// The film: a row a token, a column a temperature.
fn frames(canvas: &Canvas, tokenizer: &Tokenizer<'_>, film: &Film) -> Vec<String> {
    let frames: Vec<usize> = if canvas.width < 72 { SOME.to_vec() } else { (0..Film::LEN).collect() };
    // Eleven columns of percentages in 80: whole numbers where there is no room for a digit more.
    let cell = ((canvas.width.min(120) - piece_columns(canvas) + 3) / frames.len()).min(10);
    let share = |p: f64| match cell {
        7.. => percent(p),
        _ if p > 0.0 && p < 0.005 => right("<1", 5),
        _ => right(&format!("{:.0}", 100.0 * p), 5),
    };
    let name = canvas.width.min(120) - cell * frames.len();
    let shown = || frames.iter().map(|frame| &film.frames()[*frame]);
    let head: String = shown().map(|(t, _)| right(&format!("{t:.1}"), cell)).collect();
    let mut lines = vec![canvas.bold("The same logits at other temperatures, in percent")];
    if frames.len() < Film::LEN {
        lines.push(canvas.dim(&format!("{} of {} temperatures; a wider screen shows all", frames.len(), Film::LEN)));
    }
    lines.push(fit("", name) + &canvas.dim(&head));
    for (rank, ranked) in film.plain().top.iter().enumerate() {
        let row: Vec<f64> = row(film, rank).collect();
        let cells: String = frames.iter().map(|at| canvas.heat(row[*at], &right(&share(row[*at]), cell))).collect();
        lines.push(fit(&piece(tokenizer, ranked.id), name) + &cells);
    }
    let entropies: String = shown().map(|(_, d)| right(&format!("{:.1}", d.entropy), cell)).collect();
    lines.push(canvas.dim(&(fit("bits", name) + &entropies)));
    lines
}

fn json(look: &Looked<'_>, temperature: f64, at: &Distribution, film: &Film) -> Vec<String> {
    let tokenizer = &look.tokenizer;
    let distribution =
        Object::default().raw("prompt", token_list(tokenizer, &look.tokens)).number("temperature", temperature);
    let frames = film
        .frames()
        .iter()
        .map(|(t, distribution)| fields(Object::default().number("temperature", *t), tokenizer, distribution).line());
    vec![fields(distribution, tokenizer, at).line(), Object::default().raw("film", json::list(frames)).line()]
}
