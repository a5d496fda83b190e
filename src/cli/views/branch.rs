//! `whit generate --show -i`: choose other tokens by hand; stories part and stay in a tree.

use super::explain::{clear, key};
use super::paint::Canvas;
use super::pieces::{text, token_list, visible};
use super::show::choice_lines;
use super::{page, wrapped};
use crate::cli::args::views::Display;
use crate::cli::json::Object;
use crate::cli::output::{Outcome, Output, note};
use crate::cli::screen::fold;
use console::{Key, Term};
use std::collections::HashMap;
use std::io::{self, IsTerminal};
use std::path::Path;
use whit::TokenId;
use whit::error::{Error, Result, printable};
use whit::generate::tree::StoryTree;
use whit::inspect::{Choice, Recorder};
use whit::model::Session;
use whit::os::interrupt;
use whit::sampler::Sampler;
use whit::tokenizer::Tokenizer;

/// Lines of the screen beside the distribution; a narrow one folds some of them.
const MARGIN: usize = 14;

/// What is walked through.
pub(crate) struct Branching<'b> {
    pub(crate) session: &'b mut Session,
    pub(crate) tokenizer: Tokenizer<'b>,
    pub(crate) sampler: Sampler,
    pub(crate) prompt: &'b [TokenId],
    pub(crate) end_tokens: Vec<TokenId>,
    pub(crate) n_top: usize,
}

/// How the file of a tree begins.
const BEGINNING: &str = "{\"prompt\":[{\"id\":";

/// Walks with the keys of the terminal until the user leaves; then the text that was reached is printed, and the tree is
/// written where `save` says.
pub(crate) fn run(branching: Branching<'_>, display: &Display, save: Option<&Path>) -> Outcome<()> {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Err(Error::usage("keys are read from a terminal, which this is not").field("interactive").into());
    }
    // Whatever stands in the way of saving is found before anything can be lost.
    let file = save.map(|path| page::create(path, BEGINNING)).transpose()?;
    let mut walk = Walk::new(branching);
    let walked = walk_on(&mut walk, &Canvas::new(display));
    if let Some(mut file) = file {
        file.write(walk.json().as_bytes())?;
        let name = printable(&file.target().display().to_string());
        file.commit()?;
        note(format_args!("whit: wrote {} nodes to {name}", walk.tree.nodes().len()));
    }
    walked
}

/// Shows where one stands and does what keys say until the user leaves; then prints the text.
fn walk_on(walk: &mut Walk<'_>, canvas: &Canvas) -> Outcome<()> {
    let term = Term::stdout();
    let mut out = Output::new();
    loop {
        let rows = term.size_checked().map_or(24, |(rows, _)| usize::from(rows));
        walk.look(rows.saturating_sub(canvas.room(MARGIN, MARGIN + 5)).max(3))?;
        clear(&mut out)?;
        for line in walk.screen(canvas) {
            out.line(&line)?;
        }
        out.flush()?;
        match key(&term)? {
            Key::Char('q') | Key::Escape | Key::CtrlC => break,
            key => walk.press(&key, &mut || !interrupt::requested())?,
        }
        interrupt::handled();
    }
    clear(&mut out)?;
    out.foreign(&walk.text())?;
    out.line("")?;
    out.flush()
}

/// Where one stands in the tree.
struct Walk<'b> {
    of: Branching<'b>,
    tree: StoryTree,
    at: usize,
    /// What the sampler chose after each node.
    choices: HashMap<usize, Choice>,
    /// The rank that the arrow keys are on; `None`: what was drawn.
    selected: Option<usize>,
    n_shown: usize,
}

impl<'b> Walk<'b> {
    fn new(of: Branching<'b>) -> Self {
        Walk { of, tree: StoryTree::default(), at: 0, choices: HashMap::new(), selected: None, n_shown: 0 }
    }

    fn tokens(&self) -> Vec<TokenId> {
        let path = self.tree.path(self.at);
        self.of.prompt.iter().copied().chain(path).collect()
    }

    /// The story is at its end: by its last token, or since the context is full.
    fn ended(&self) -> bool {
        let node = &self.tree.nodes()[self.at];
        let by_token = node.parent.is_some() && self.of.end_tokens.contains(&node.token);
        by_token || self.tokens().len() >= self.of.session.context_length()
    }

    /// Computes what comes after this node, if it is not known, with `n_top` tokens to choose from.
    fn look(&mut self, n_top: usize) -> Result<()> {
        self.n_shown = n_top.min(self.of.n_top);
        if self.choices.contains_key(&self.at) || self.ended() {
            return Ok(());
        }
        let tokens = self.tokens();
        let held = self.of.session.state_mut().hold(&tokens);
        let logits = self.of.session.extend(&tokens[held..])?;
        self.of.sampler.look_back_on(&tokens);
        let mut recorder = Recorder::new(self.of.sampler.options().clone(), self.of.n_top);
        self.of.sampler.sample_watched(logits, &mut recorder)?;
        let choice = recorder.take().ok_or_else(|| Error::data("nothing was drawn").field("logits"))?;
        self.choices.insert(self.at, choice);
        Ok(())
    }

    /// The token that is taken next: the one the arrow keys are on, else the one that was drawn.
    fn next(&self) -> Option<(TokenId, bool)> {
        let choice = self.choices.get(&self.at)?;
        let by_hand = self.selected.and_then(|rank| choice.first().distribution.top.get(rank));
        Some(by_hand.map_or((choice.token, false), |ranked| (ranked.id, ranked.id != choice.token)))
    }

    fn take(&mut self) {
        let Some((token, by_hand)) = self.next().filter(|_| !self.ended()) else { return };
        let choice = &self.choices[&self.at];
        let top = &choice.first().distribution.top;
        let of_top = top.iter().find(|ranked| ranked.id == token).map(|ranked| ranked.probability);
        let probability = of_top.unwrap_or(choice.first().chosen);
        self.at = self.tree.child(self.at, token, probability, by_hand);
        self.selected = None;
    }

    /// What a key does; `go_on` is asked before each token that is written without one.
    fn press(&mut self, key: &Key, go_on: &mut dyn FnMut() -> bool) -> Result<()> {
        let last = self.n_shown.saturating_sub(1);
        match key {
            Key::ArrowDown => self.selected = Some(self.selected.map_or(0, |rank| (rank + 1).min(last))),
            Key::ArrowUp => self.selected = self.selected.and_then(|rank| rank.checked_sub(1)),
            Key::ArrowRight | Key::Enter | Key::Char(' ') => self.take(),
            Key::ArrowLeft | Key::Backspace => {
                self.selected = None;
                self.at = self.tree.nodes()[self.at].parent.unwrap_or(self.at);
            }
            Key::Tab => {
                self.selected = None;
                self.at = self.tree.sibling(self.at);
            }
            Key::Char('g') => {
                for _ in 0..20 {
                    if self.ended() || !go_on() {
                        break;
                    }
                    self.look(self.n_shown)?;
                    self.take();
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn text(&self) -> String {
        let bytes: Vec<u8> = self.tokens().iter().flat_map(|token| self.of.tokenizer.bytes(*token)).copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn screen(&self, canvas: &Canvas) -> Vec<String> {
        let shown = visible(self.text().as_bytes()).replace(['·', '↵'], " ");
        let text = wrapped(&shown, canvas.width - 2);
        let mut lines: Vec<String> =
            text.iter().skip(text.len().saturating_sub(5)).map(|line| format!("  {line}")).collect();
        let node = &self.tree.nodes()[self.at];
        let depth = self.tree.path(self.at).len();
        let branches = node.parent.map_or(1, |parent| self.tree.nodes()[parent].children.len());
        let leaves = self.tree.nodes().iter().filter(|node| node.children.is_empty()).count();
        lines.push(canvas.dim(&format!("  token {depth}; ways from the one before: {branches}; stories: {leaves}")));
        lines.push(String::new());
        match self.choices.get(&self.at).filter(|_| !self.ended()) {
            Some(choice) => {
                let mut few = choice.clone();
                let top = &mut few.stages[0].distribution;
                let cut: f64 = top.top.iter().skip(self.n_shown).map(|ranked| ranked.probability).sum();
                top.top.truncate(self.n_shown);
                top.tail += cut;
                few.stages.iter_mut().for_each(|stage| stage.of_top.truncate(self.n_shown));
                lines.extend(choice_lines(canvas, &self.of.tokenizer, &few, self.next().map(|(token, _)| token)));
            }
            None => lines.push("  The story ends here.".into()),
        }
        lines.push(String::new());
        lines.push(canvas.dim("↑ ↓ choose, → take it, ← back, Tab another way, g go on, q leave"));
        lines.iter().flat_map(|line| fold(line, canvas.width)).collect()
    }

    /// The tree: a line for the prompt, then one a node.
    fn json(&self) -> String {
        let tokenizer = &self.of.tokenizer;
        let mut lines = Object::default().raw("prompt", token_list(tokenizer, self.of.prompt)).line() + "\n";
        for (index, node) in self.tree.nodes().iter().enumerate() {
            let Some(parent) = node.parent else { continue };
            let line = Object::default()
                .raw("node", index)
                .raw("parent", parent)
                .raw("id", node.token)
                .text("text", &text(tokenizer, node.token))
                .number("probability", node.probability)
                .raw("by_hand", node.by_hand)
                .line();
            lines += &(line + "\n");
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use whit::compute::Compute;
    use whit::inspect::standing;
    use whit::kernels;
    use whit::model::{Model, SessionOptions};
    use whit::sampler::SamplerOptions;

    #[test]
    fn stories_part_where_another_token_is_chosen_and_stay_in_the_tree() {
        let Some(bytes) = whit::default_model() else { return };
        let model = Arc::new(Model::open(bytes).expect("the story model"));
        let compute = Arc::new(Compute::new(kernels::detect(), 1).expect("a thread"));
        let options = SessionOptions { context_length: 40, batch: 16, ..SessionOptions::default() };
        let mut session = Session::new(&model, &compute, options).expect("a session");
        let prompt = [425, 437, 259, 396];
        let sampler = Sampler::new(SamplerOptions { seed: 4, ..SamplerOptions::default() }, model.config().vocab_size);
        let mut walk = Walk::new(Branching {
            session: &mut session,
            tokenizer: *model.tokenizer().expect("a tokenizer"),
            sampler: sampler.expect("options"),
            prompt: &prompt,
            end_tokens: model.end_tokens(),
            n_top: 20,
        });
        let press = |walk: &mut Walk<'_>, keys: &[Key]| {
            for key in keys {
                walk.look(8).expect("a distribution");
                walk.press(key, &mut || true).expect("a step");
            }
            walk.look(8).expect("a distribution");
        };
        press(&mut walk, &[Key::ArrowRight]);
        let drawn = (walk.at, walk.text());
        press(&mut walk, &[Key::ArrowRight, Key::ArrowLeft, Key::ArrowLeft]);
        assert_eq!(walk.at, 0);
        // What was drawn stays what it was; another way parts from it.
        let top = walk.choices[&0].first().distribution.top.clone();
        let other = (0..8).find(|rank| top[*rank].id != walk.choices[&0].token).expect("another");
        press(&mut walk, &vec![Key::ArrowDown; other + 1]);
        press(&mut walk, &[Key::Enter]);
        let node = &walk.tree.nodes()[walk.at];
        assert!(node.by_hand && node.token == top[other].id && node.probability == top[other].probability);
        assert_ne!(walk.text(), drawn.1);
        press(&mut walk, &[Key::Tab]);
        assert_eq!((walk.at, walk.text()), drawn);

        // A distribution after going there and back is the one of a fresh run.
        press(&mut walk, &[Key::Char('g'), Key::Char('g')]);
        let tokens = walk.tokens();
        assert_eq!(tokens.len(), 40);
        let mut fresh = Session::new(&model, &compute, options).expect("a session");
        let logits = fresh.extend(&tokens[..30]).expect("logits");
        let node = (0..walk.tree.nodes().len()).find(|node| walk.tree.path(*node) == tokens[4..30]).expect("the node");
        let choice = &walk.choices[&node];
        assert_eq!(standing(logits, choice.token).map(|s| s.0), Some(choice.rank));
        let shown = walk.screen(&Canvas::plain(80));
        assert!(shown.iter().any(|line| line.contains("The story ends here")), "{shown:#?}");
        let saved = walk.json();
        assert_eq!(saved.lines().count(), walk.tree.nodes().len());
        assert!(saved.starts_with(BEGINNING), "{saved}");
        for line in saved.lines() {
            serde_json::from_str::<serde_json::Value>(line).expect("JSON");
        }
    }
}
