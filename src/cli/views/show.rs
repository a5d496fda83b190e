//! `whit generate --show`: how each token is chosen, from the logits through the sampler chain to the draw.

use super::bars::{fields, piece_columns};
use super::paint::{Canvas, columns, end_of, fit, percent, right};
use super::pieces::{piece, text, visible};
use super::{page, wrapped};
use crate::cli::args::views::Display;
use crate::cli::json::{self, Object};
use crate::cli::output::Outcome;
use crate::cli::screen::fold;
use std::path::Path;
use whit::TokenId;
use whit::inspect::{Choice, Recorder, StageDistribution};
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

    fn left(&mut self, candidates: &Candidates) {
        self.recorder.left(candidates);
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

    /// What is said before the first choice, which may be under a constraint.
    fn head(&self, is_constrained: bool) -> Vec<String> {
        let o = &self.options;
        let mut chain = vec!["softmax(logits)".to_string()];
        if is_constrained {
            chain.push(Stage::Constraint.name().to_string());
        }
        for stage in o.stages().filter(|stage| stage.is_on(o)) {
            let named = format!("{} {}", stage.name(), stage.setting(o));
            chain.push(named.trim_end().into());
        }
        chain.push(if o.temperature > 0.0 { "draw".into() } else { "the best".into() });
        let mut lines = wrapped(&chain.join(" → "), self.canvas.width);
        if o.temperature > 2.0 {
            lines.push("The temperature is above 2, where the film's scale ends.".into());
        }
        lines.iter().map(|line| self.canvas.dim(line)).collect()
    }

    /// Picture and JSON of the choice that was recorded last, or of a `token` for which there was none; `text` came with it. `guessed`
    /// says whether it was the one that had been guessed, if one was.
    pub(crate) fn choice(
        &mut self,
        token: Option<TokenId>,
        text: &str,
        guessed: Option<bool>,
    ) -> Option<(Vec<String>, String)> {
        let shown = match (self.recorder.take(), token) {
            (Some(choice), _) => Some(self.chosen(&choice, guessed)),
            (None, Some(token)) => Some(self.forced(token, guessed)),
            (None, None) => None,
        };
        self.said.push_str(text);
        let (lines, json) = shown?;
        let picture = lines.iter().flat_map(|line| fold(line, self.canvas.width)).collect();
        self.json.push(json.clone());
        Some((picture, json))
    }

    fn chosen(&mut self, choice: &Choice, guessed: Option<bool>) -> (Vec<String>, String) {
        let mut lines = self.title(choice.token, choice.struck().is_some(), guessed);
        lines.extend(choice_lines(&self.canvas, &self.tokenizer, choice, None));
        lines.push(String::new());
        (lines, guess_json(choice_json(&self.tokenizer, choice), guessed).line())
    }

    /// A token that had to come, so that nothing was chosen.
    fn forced(&mut self, token: TokenId, guessed: Option<bool>) -> (Vec<String>, String) {
        let mut lines = self.title(token, true, guessed);
        lines.push(self.canvas.dim("   only this may come: nothing is asked, nothing is drawn"));
        lines.push(String::new());
        let json = Object::default().raw("token", token).text("text", &text(&self.tokenizer, token));
        (lines, guess_json(json.raw("forced", true), guessed).line())
    }

    /// The next token behind the text that it goes on; above the first, what is said before it.
    fn title(&mut self, token: TokenId, is_constrained: bool, guessed: Option<bool>) -> Vec<String> {
        self.n_shown += 1;
        let mut lines = if self.n_shown == 1 { self.head(is_constrained) } else { Vec::new() };
        let canvas = &self.canvas;
        let name = piece(&self.tokenizer, token);
        let before = visible(self.said.as_bytes()).replace(['·', '↵'], " ");
        let before = end_of(&before, canvas.width.saturating_sub(12 + columns(&name)));
        let number = canvas.bold(&format!("{}.", self.n_shown));
        lines.push(format!("{number} {}{}", canvas.dim(before), canvas.chosen(&name)));
        if let Some(is_right) = guessed {
            let how = if is_right { "guessed ahead, and accepted" } else { "another token was guessed ahead" };
            lines.push(canvas.dim(&format!("   {how}")));
        }
        lines
    }

    /// `text` folded to the screen.
    pub(crate) fn folded(&self, text: &str) -> String {
        text.lines().flat_map(|line| fold(line, self.canvas.width)).collect::<Vec<_>>().join("\n")
    }

    /// Writes the page of all choices after `prompt`.
    pub(crate) fn write_page(&self, path: &Path, prompt: &str) -> Outcome<()> {
        let head = Object::default().text("prompt", prompt).line();
        let data: Vec<String> = std::iter::once(head).chain(self.json.iter().cloned()).collect();
        page::write(path, "Every choice", include_str!("page/show.js"), &data)?;
        Ok(())
    }
}

/// The model's distribution as bars with a column for each stage after it, and the draw. The chosen token is marked, and the one
/// that is `selected` by hand.
pub(crate) fn choice_lines(
    canvas: &Canvas,
    tokenizer: &Tokenizer<'_>,
    choice: &Choice,
    selected: Option<TokenId>,
) -> Vec<String> {
    let (first, last) = (choice.first(), choice.last());
    let rows = Rows::new(canvas, tokenizer, choice, selected);
    let stages = &choice.stages[1 + rows.n_hidden..];
    let name = piece(tokenizer, choice.token);
    let mut lines = vec![canvas.dim(&format!(
        "   rank {}; {} % by the model, {} % after the chain; {:.2} → {:.2} bits",
        choice.rank,
        percent(first.chosen).trim(),
        percent(last.chosen).trim(),
        first.distribution.entropy,
        last.distribution.entropy,
    ))];
    if let Some((n, share)) = choice.struck() {
        let share = percent(share);
        lines.push(canvas.dim(&format!("   the constraint strikes out {n} tokens, {} %", share.trim())));
    }
    if rows.n_hidden > 0 {
        let hidden = choice.stages[1..=rows.n_hidden].iter().map(|stage| stage.stage.short_name());
        let hidden = hidden.collect::<Vec<_>>().join(", ");
        lines.push(canvas.dim(&format!("   a wider screen also shows {hidden}")));
    }
    lines.push(rows.head());
    for (i, ranked) in first.distribution.top.iter().enumerate() {
        let after: Vec<Option<f64>> = stages.iter().map(|stage| stage.of_top[i]).collect();
        lines.push(rows.row(i + 1, ranked.id, ranked.probability, &after));
    }
    let is_apart = choice.rank > first.distribution.top.len();
    if is_apart {
        let after: Vec<Option<f64>> = stages.iter().map(|stage| Some(stage.chosen)).collect();
        lines.push(rows.row(choice.rank, choice.token, first.chosen, &after));
    }
    let n_others = first.distribution.n - first.distribution.top.len() - usize::from(is_apart);
    if n_others > 0 {
        let rest = |stage: &StageDistribution| {
            let shown = stage.of_top.iter().flatten().sum::<f64>() + if is_apart { stage.chosen } else { 0.0 };
            (1.0 - shown).max(0.0)
        };
        lines.push(rows.others(n_others, std::iter::once(first).chain(stages).map(rest)));
    }
    lines.push(canvas.dim(&match choice.uniform {
        Some(uniform) => format!(
            "   drawn: u = {uniform:.4}; {} has {:.4} to {:.4}; candidates left: {}",
            fit(&name, columns(&name).min(piece_columns(canvas))),
            choice.part.start,
            choice.part.end,
            choice.n_left
        ),
        None => "   temperature 0: the best is taken, nothing is drawn".into(),
    }));
    lines
}

/// How the rows of a choice are laid out.
struct Rows<'r> {
    canvas: &'r Canvas,
    tokenizer: &'r Tokenizer<'r>,
    choice: &'r Choice,
    selected: Option<TokenId>,
    /// Columns of a probability.
    cell: usize,
    /// Columns before a bar.
    margin: usize,
    /// Columns of a bar.
    bar: usize,
    /// Stages after the model's distribution that find no room.
    n_hidden: usize,
}

impl<'r> Rows<'r> {
    fn new(canvas: &'r Canvas, tokenizer: &'r Tokenizer<'r>, choice: &'r Choice, selected: Option<TokenId>) -> Self {
        let n_stages = choice.stages.len();
        let margin = piece_columns(canvas) + 8;
        let room = canvas.width.min(140).saturating_sub(margin);
        let cell = match room / n_stages {
            ..7 => 6,
            _ if n_stages > 5 || canvas.width < 60 => 7,
            _ => 8,
        };
        let n_shown = n_stages.min(room / cell);
        let bar = room - cell * n_shown;
        Rows { canvas, tokenizer, choice, selected, cell, margin, bar, n_hidden: n_stages - n_shown }
    }

    fn head(&self) -> String {
        let stages = &self.choice.stages;
        let shown = stages[..1].iter().chain(&stages[1 + self.n_hidden..]);
        let names: String = shown.map(|stage| right(stage.stage.short_name(), self.cell)).collect();
        self.canvas.dim(&(fit("", self.margin + self.bar) + &names))
    }

    fn row(&self, rank: usize, id: TokenId, probability: f64, after: &[Option<f64>]) -> String {
        let canvas = self.canvas;
        let largest = self.choice.first().distribution.top[0].probability;
        let (bar, rest) = canvas.bar(probability / largest, self.bar);
        let name = fit(&piece(self.tokenizer, id), piece_columns(canvas));
        let (is_chosen, is_selected) = (id == self.choice.token, self.selected == Some(id));
        let mark = match (is_chosen, is_selected) {
            (true, _) => canvas.chosen("▶"),
            (false, true) => "›".into(),
            (false, false) => " ".into(),
        };
        let name = match (is_chosen, is_selected) {
            (_, true) => canvas.selected(&name),
            (true, false) => canvas.chosen(&name),
            (false, false) => name,
        };
        let bar = if is_chosen { canvas.fill_chosen(&bar) } else { canvas.fill(&bar) };
        let share = |of: &Option<f64>| match of {
            Some(probability) => right(&percent(*probability), self.cell),
            None => canvas.dim(&right("–", self.cell)),
        };
        let after: String = after.iter().map(share).collect();
        let own = right(&percent(probability), self.cell);
        format!("{} {mark} {name}{bar}{rest}{own}{after}", right(&rank.to_string(), 5))
    }

    fn others(&self, n: usize, shares: impl Iterator<Item = f64>) -> String {
        let shares: String = shares.map(|share| right(&percent(share), self.cell)).collect();
        self.canvas.dim(&(fit(&format!("        {n} others"), self.margin + self.bar) + &shares))
    }
}

/// Adds to the JSON of a token whether it was guessed, if one was.
fn guess_json(object: Object, guessed: Option<bool>) -> Object {
    match guessed {
        Some(is_right) => object.raw("guessed", is_right),
        None => object,
    }
}

/// A choice as a line of JSON.
fn choice_json(tokenizer: &Tokenizer<'_>, choice: &Choice) -> Object {
    let stages = choice.stages.iter().map(|stage| {
        let object = Object::default().text("stage", stage.stage.name()).number("chosen_probability", stage.chosen);
        let of_top = stage.of_top.iter().map(|share| json::number(share.unwrap_or(f64::NAN)));
        fields(object, tokenizer, &stage.distribution).raw("of_top", json::list(of_top)).line()
    });
    let object = Object::default()
        .raw("token", choice.token)
        .text("text", &text(tokenizer, choice.token))
        .raw("rank", choice.rank)
        .raw("stages", json::list(stages));
    let object = match choice.struck() {
        Some((_, share)) => object.number("struck_out", share),
        None => object,
    };
    let object = match choice.uniform {
        Some(uniform) => object.number("u", uniform),
        None => object.raw("u", "null"),
    };
    object
        .number("part_start", choice.part.start)
        .number("part_end", choice.part.end)
        .raw("candidates_left", choice.n_left)
}
