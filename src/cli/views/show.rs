//! `whit generate --show`: how each token is chosen, from the logits through the sampler chain to the draw.

use super::bars::{PIECE, fields};
use super::page;
use super::paint::{Canvas, columns, fit, percent, right};
use super::pieces::{piece, text, visible};
use crate::cli::args::views::Display;
use crate::cli::json::{self, Object};
use crate::cli::output::Outcome;
use std::path::Path;
use whit::TokenId;
use whit::inspect::{Choice, Recorder};
use whit::sampler::{Candidates, SamplerOptions, Stage, Watcher};
use whit::tokenizer::Tokenizer;

/// Shows choices as they are made, and keeps them for a page.
pub(crate) struct Show<'a> {
    canvas: Canvas,
    tokenizer: Tokenizer<'a>,
    options: SamplerOptions,
    recorder: Recorder,
    n_shown: usize,
    /// The text since the prompt.
    said: String,
    json: Vec<String>,
}

impl Watcher for Show<'_> {
    fn logits(&mut self, stage: Stage, logits: &[f32]) {
        self.recorder.logits(stage, logits);
    }

    fn candidates(&mut self, stage: Stage, candidates: &Candidates) {
        self.recorder.candidates(stage, candidates);
    }

    fn drawn(&mut self, uniform: f64, token: TokenId) {
        self.recorder.drawn(uniform, token);
    }
}

impl<'a> Show<'a> {
    /// Shows the `n_top` most probable tokens of each choice by a chain with these `options`.
    pub(crate) fn new(display: &Display, tokenizer: Tokenizer<'a>, options: &SamplerOptions, n_top: usize) -> Self {
        Show {
            canvas: Canvas::new(display),
            tokenizer,
            options: options.clone(),
            recorder: Recorder::new(options.clone(), n_top),
            n_shown: 0,
            said: String::new(),
            json: Vec::new(),
        }
    }

    /// What is said before the first choice.
    fn head(&self) -> Vec<String> {
        let o = &self.options;
        let mut chain = vec![format!("temperature {}", o.temperature)];
        for (stage, value) in [
            (Stage::Penalties, String::new()),
            (Stage::TopK, format!(" {}", o.top_k)),
            (Stage::Typical, format!(" {}", o.typical_p)),
            (Stage::TopP, format!(" {}", o.top_p)),
            (Stage::MinP, format!(" {}", o.min_p)),
        ] {
            if stage.is_on(o) {
                chain.push(stage.name().to_string() + &value);
            }
        }
        let mut lines = vec![self.canvas.dim(&format!("softmax(logits) → {} → draw", chain.join(" → ")))];
        if o.temperature > 2.0 {
            lines.push(
                self.canvas.dim("A temperature above 2 is more than the film shows: nearly every token has a chance."),
            );
        }
        lines
    }

    /// Picture and JSON of the choice that was recorded last, if there is one; `text` came with it.
    pub(crate) fn choice(&mut self, text: &str) -> Option<(Vec<String>, String)> {
        let choice = self.recorder.take();
        let drawn = choice.map(|choice| {
            self.n_shown += 1;
            let mut picture = if self.n_shown == 1 { self.head() } else { Vec::new() };
            picture.extend(self.draw(&choice));
            let json = choice_json(&self.tokenizer, &choice);
            self.json.push(json.clone());
            (picture, json)
        });
        self.said.push_str(text);
        drawn
    }

    /// The choice below the text that it goes on.
    fn draw(&self, choice: &Choice) -> Vec<String> {
        let canvas = &self.canvas;
        let name = piece(&self.tokenizer, choice.token);
        let before = visible(self.said.as_bytes()).replace(['·', '↵'], " ");
        let room = canvas.width.saturating_sub(12 + columns(&name));
        let cut = before.chars().count().saturating_sub(room);
        let before: String = before.chars().skip(cut).collect();
        let number = canvas.bold(&format!("{}.", self.n_shown));
        let mut lines = vec![format!("{number} {}{}", canvas.dim(&before), canvas.chosen(&name))];
        lines.extend(choice_lines(canvas, &self.tokenizer, choice, None));
        lines.push(String::new());
        lines
    }

    /// Writes the page of all choices after `prompt`.
    pub(crate) fn write_page(&self, path: &Path, prompt: &str) -> Outcome<()> {
        let head = Object::default().text("prompt", prompt).line();
        let data: Vec<String> = std::iter::once(head).chain(self.json.iter().cloned()).collect();
        page::write(path, "Every choice", include_str!("page/show.js"), &data)?;
        Ok(())
    }
}

/// Columns of a probability.
const CELL: usize = 8;

/// The model's distribution as bars with a column for each stage after it, and the draw. The chosen token is marked, and the one
/// that is `selected` by hand.
pub(crate) fn choice_lines(
    canvas: &Canvas,
    tokenizer: &Tokenizer<'_>,
    choice: &Choice,
    selected: Option<TokenId>,
) -> Vec<String> {
    let (first, last) = (choice.first(), choice.last());
    let stages = &choice.stages[1..];
    let width = canvas.width.min(140).saturating_sub(PIECE + 8 + CELL * (1 + stages.len())).max(8);
    let row = |rank: usize, id: TokenId, probability: f64, after: String| {
        let (bar, rest) = canvas.bar(probability / first.distribution.top[0].probability, width);
        let shown = fit(&piece(tokenizer, id), PIECE);
        let (mark, shown, bar) = match id == choice.token {
            true => (canvas.chosen("▶"), canvas.chosen(&shown), canvas.fill_chosen(&bar)),
            false => (" ".into(), shown, canvas.fill(&bar)),
        };
        let shown = if selected == Some(id) { canvas.selected(&fit(&piece(tokenizer, id), PIECE)) } else { shown };
        let mark = if selected == Some(id) && id != choice.token { "›".into() } else { mark };
        let share = right(&percent(probability), CELL);
        format!("{} {mark} {shown}{bar}{rest}{share}{after}", right(&rank.to_string(), 5))
    };
    let share = |of: Option<f64>| match of {
        Some(probability) => right(&percent(probability), CELL),
        None => canvas.dim(&right("–", CELL)),
    };
    let names: String = stages.iter().map(|stage| right(short(stage.stage), CELL)).collect();
    let mut lines = vec![
        canvas.dim(&format!(
            "   rank {}, {} % by the model, {} % after the chain; entropy {:.2} → {:.2} bits",
            choice.rank,
            percent(first.chosen).trim(),
            percent(last.chosen).trim(),
            first.distribution.entropy,
            last.distribution.entropy,
        )),
        canvas.dim(&(fit("", PIECE + 8 + width) + &right("model", CELL) + &names)),
    ];
    for (i, ranked) in first.distribution.top.iter().enumerate() {
        let after = stages.iter().map(|stage| share(stage.of_top[i])).collect();
        lines.push(row(i + 1, ranked.id, ranked.probability, after));
    }
    if choice.rank > first.distribution.top.len() {
        let after = stages.iter().map(|stage| share(Some(stage.chosen))).collect();
        lines.push(row(choice.rank, choice.token, first.chosen, after));
    }
    let n_others = first.distribution.n - first.distribution.top.len();
    if n_others > 0 {
        let rest = |of_top: &[Option<f64>]| (1.0 - of_top.iter().flatten().sum::<f64>()).max(0.0);
        let after: String = stages.iter().map(|stage| right(&percent(rest(&stage.of_top)), CELL)).collect();
        let others = fit(&format!("        {n_others} others"), PIECE + 8 + width);
        lines.push(canvas.dim(&(others + &right(&percent(first.distribution.tail), CELL) + &after)));
    }
    lines.push(canvas.dim(&match choice.uniform {
        Some(uniform) => format!(
            "   drawn: u = {uniform:.4}; {} has {:.4} to {:.4}; candidates left: {}",
            piece(tokenizer, choice.token),
            choice.part.start,
            choice.part.end,
            last.distribution.n
        ),
        None => "   temperature 0: the most probable, nothing is drawn".into(),
    }));
    lines
}

/// A choice as a line of JSON.
fn choice_json(tokenizer: &Tokenizer<'_>, choice: &Choice) -> String {
    let stages = choice.stages.iter().map(|stage| {
        let object = Object::default().text("stage", stage.stage.name()).number("chosen_probability", stage.chosen);
        let of_top = stage.of_top.iter().map(|share| share.map_or("null".into(), |share| share.to_string()));
        fields(object, tokenizer, &stage.distribution).raw("of_top", json::list(of_top)).line()
    });
    let object = Object::default()
        .raw("token", choice.token)
        .text("text", &text(tokenizer, choice.token))
        .raw("rank", choice.rank)
        .raw("stages", json::list(stages));
    let object = match choice.uniform {
        Some(uniform) => object.number("u", uniform),
        None => object.raw("u", "null"),
    };
    object.number("part_start", choice.part.start).number("part_end", choice.part.end).line()
}

/// A name of a stage in eight columns.
fn short(stage: Stage) -> &'static str {
    match stage {
        Stage::Penalties => "penal.",
        Stage::Temperature => "temp.",
        stage => stage.name(),
    }
}
