//! `whit explain`: the tour from a text to its next token, step by step, with the numbers of this model on this text.

mod step;
mod steps;

use super::paint::Canvas;
use super::{Looked, View, on_text, page};
use crate::cli::args::views::Explain;
use crate::cli::output::{End, Outcome, Output};
use crate::cli::sampling::sampler_options;
use crate::cli::screen::fold;
use console::{Key, Term};
use std::io::{self, IsTerminal};
use step::{Step, TOP};
use whit::error::{Error, Kind, Result};
use whit::inspect::{Attention, Lens, Recorder};
use whit::os::interrupt;
use whit::sampler::{Sampler, SamplerOptions};

pub(in crate::cli) fn run(args: &Explain) -> Outcome<()> {
    on_text(&args.look, false, &mut |look: Looked<'_>| {
        let canvas = Canvas::new(&args.look.display);
        let options = sampler_options(&args.sampling, look.model)?;
        let steps = steps(canvas, look, options)?;
        let title = "From a text to its next token";
        if args.look.display.json || !walks() {
            let picture = steps.iter().enumerate().flat_map(|(i, step)| drawn(&canvas, i, steps.len(), step));
            let json = steps.iter().map(|step| step.json.clone()).collect();
            let script = include_str!("page/explain.js");
            return View { title: title.into(), picture: picture.collect(), json, script }.show(&args.look.display);
        }
        walk(&canvas, &steps)?;
        if let Some(path) = &args.look.display.html {
            let json: Vec<String> = steps.iter().map(|step| step.json.clone()).collect();
            page::write(path, title, include_str!("page/explain.js"), &json)?;
        }
        Ok(())
    })
}

/// Somebody is there to press keys.
fn walks() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// All that the tour shows, computed.
fn steps(canvas: Canvas, look: Looked<'_>, options: SamplerOptions) -> Outcome<Vec<Step>> {
    let Looked { model, tokenizer, tokens, mut session } = look;
    let config = model.config();
    let attention = Attention::of(&mut session, config, &tokens, 1)?;
    let gaze: Vec<(usize, usize, Vec<f64>)> =
        config.heads().map(|(layer, head)| (layer, head, attention.last_row(layer, head))).collect();
    let lens = Lens::of(&mut session, config, &tokens, 1, TOP, &mut || !interrupt::requested())?;
    let lens = lens.ok_or(End::Interrupted)?;
    let mut recorder = Recorder::new(options.clone(), TOP);
    let mut sampler = Sampler::new(options.clone(), config.vocab_size)?;
    tokens.iter().for_each(|token| sampler.accept(*token));
    sampler.sample_watched(&lens.logits, &mut recorder)?;
    let choice = recorder.take().ok_or_else(|| Error::data("nothing was drawn").field("logits"))?;
    let tour = steps::Tour {
        canvas,
        model,
        tokenizer,
        tokens: &tokens,
        gaze: &gaze,
        lens: &lens,
        options: &options,
        choice: &choice,
    };
    Ok(tour.steps())
}

/// A step as lines.
fn drawn(canvas: &Canvas, index: usize, n: usize, step: &Step) -> Vec<String> {
    let mut lines = vec![canvas.bold(&format!("{} / {n}  {}", index + 1, step.title)), String::new()];
    lines.extend(super::wrapped(&step.told, canvas.width.min(100)));
    lines.push(String::new());
    lines.extend(step.picture.iter().cloned());
    lines.push(String::new());
    lines.iter().flat_map(|line| fold(line, canvas.width)).collect()
}

/// Shows one step at a time; keys go forward and back.
fn walk(canvas: &Canvas, steps: &[Step]) -> Outcome<()> {
    let term = Term::stdout();
    let mut out = Output::new();
    let mut at = 0;
    loop {
        clear(&mut out)?;
        for line in drawn(canvas, at, steps.len(), &steps[at]) {
            out.line(&line)?;
        }
        out.write(&canvas.dim("→ or space: on   ←: back   q: leave"))?;
        out.flush()?;
        match key(&term)? {
            Key::ArrowRight | Key::ArrowDown | Key::Char(' ' | 'n' | 'l' | 'j') | Key::Enter
                if at + 1 < steps.len() =>
            {
                at += 1
            }
            Key::ArrowLeft | Key::ArrowUp | Key::Char('p' | 'h' | 'k' | 'b') | Key::Backspace => {
                at = at.saturating_sub(1)
            }
            Key::Home => at = 0,
            Key::End => at = steps.len() - 1,
            Key::Char('q') | Key::Escape | Key::CtrlC => break,
            _ => {}
        }
    }
    out.line("")?;
    out.flush()
}

/// Empties the screen, the cursor at its beginning.
pub(super) fn clear(out: &mut Output) -> Outcome<()> {
    out.write("\u{1b}[2J\u{1b}[H")
}

/// The next key.
pub(super) fn key(term: &Term) -> Result<Key> {
    term.read_key_raw().map_err(|error| Error::new(Kind::Io, error.to_string()).in_file("the terminal"))
}
