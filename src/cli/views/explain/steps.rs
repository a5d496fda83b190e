//! The steps of the tour, in the order of the story.

use super::super::bars::{bars, fields};
use super::super::lens::writes_json;
use super::super::paint::{Canvas, fit, percent, right};
use super::super::pieces::{decoded, piece, token, token_list};
use super::super::{with_layer_inputs, with_sinks, without_attention};
use super::step::{Step, TOP, step};
use crate::cli::json::{self, Object};
use crate::cli::table::{count, figure};
use whit::TokenId;
use whit::inspect::tally::{Category, Tally};
use whit::inspect::{Choice, Distribution, Lens, Near, WordSpace};
use whit::model::Model;
use whit::sampler::{SamplerOptions, Stage};
use whit::tokenizer::{TokenKind, Tokenizer};

/// What the tour walks through.
pub(super) struct Tour<'t> {
    pub(super) canvas: Canvas,
    pub(super) model: &'t Model,
    pub(super) tokenizer: Tokenizer<'t>,
    pub(super) tokens: &'t [TokenId],
    /// Layer, head and where the last token looks by it.
    pub(super) gaze: &'t [(usize, usize, Vec<f64>)],
    /// Of the last position alone.
    pub(super) lens: &'t Lens,
    pub(super) options: &'t SamplerOptions,
    pub(super) choice: &'t Choice,
}

/// The value that layers have, or the least and the largest where they differ.
fn range(values: impl Iterator<Item = usize>) -> String {
    let (least, largest) = values.fold((usize::MAX, 0), |(least, largest), n| (least.min(n), largest.max(n)));
    if least < largest { format!("{least} to {largest}") } else { largest.to_string() }
}

fn tokens_counted(n: usize) -> String {
    if n == 1 { "1 token".into() } else { format!("{n} tokens") }
}

impl Tour<'_> {
    pub(super) fn steps(&self) -> Vec<Step> {
        vec![
            self.tokens(),
            self.vectors(),
            self.attention(),
            self.mlp(),
            self.layers(),
            self.logits(),
            self.softmax(),
            self.draw(),
            self.again(),
        ]
    }

    fn shown(&self, id: TokenId) -> String {
        piece(&self.tokenizer, id)
    }

    fn token_json(&self, id: TokenId) -> Object {
        token(&self.tokenizer, id)
    }

    fn last(&self) -> TokenId {
        self.tokens[self.tokens.len() - 1]
    }

    /// The parameters of some categories.
    fn parameters(&self, categories: &[Category]) -> u64 {
        let rows = Tally::new(self.model.config(), &[]).rows;
        rows.iter().filter(|row| categories.contains(&row.category)).map(|row| row.count).sum()
    }

    /// A text is cut into tokens.
    fn tokens(&self) -> Step {
        let bytes = decoded(&self.tokenizer, self.tokens).len();
        let told = format!(
            "The {bytes} bytes of this text are {}, of a vocabulary of {}. The model sees no letters, only these numbers.",
            tokens_counted(self.tokens.len()),
            self.tokenizer.vocab_size(),
        );
        let picture = super::super::tokens::ribbon(&self.canvas, &self.tokenizer, self.tokens);
        let json = Object::default()
            .raw("tokens", token_list(&self.tokenizer, self.tokens))
            .raw("vocab_size", self.tokenizer.vocab_size());
        step("tokens", "The text is cut into tokens", told, picture, json)
    }

    /// Each token looks up a vector.
    fn vectors(&self) -> Step {
        let config = self.model.config();
        let space = WordSpace::new(*self.model.embedding(), self.tokenizer.vocab_size());
        let last = self.last();
        let vector = space.mean(&[last]);
        let others =
            |id: TokenId| id == last || !matches!(self.tokenizer.kind(id), TokenKind::Normal | TokenKind::UserDefined);
        let near = space.nearest(&vector, 8, &others);
        let positions = match config.learned_positions {
            true => format!("A second table of {} vectors is added, one for each position.", config.context_length),
            false => "Where it stands is told later, by turning queries and keys.".into(),
        };
        let told = format!(
            "Each token is a row of the embedding matrix: {} rows of {} numbers, {} parameters. That of the last token, {}, is drawn \
             below; its nearest neighbours in that space follow. {positions}",
            config.vocab_size,
            config.dim,
            count(self.parameters(&[Category::Embedding])),
            self.shown(last),
        );
        let mut picture = self.strip(&vector);
        picture.push(String::new());
        picture.extend(near.iter().map(|near| self.near_bar(near)));
        let near_json = near.iter().map(|near| self.token_json(near.id).number("cosine", near.cosine).line());
        let json = Object::default()
            .raw("token", self.token_json(last).line())
            .raw("vector", json::list(vector.iter().map(|x| format!("{x:.4}"))))
            .raw("near", json::list(near_json));
        step("vectors", "Each token looks up a vector", told, picture, json)
    }

    /// A vector as shades, two rows of elements a line, with a note where they are too many for a screen.
    fn strip(&self, vector: &[f64]) -> Vec<String> {
        const LINES: usize = 6;
        let width = self.canvas.width.min(100);
        let largest = vector.iter().fold(f64::MIN_POSITIVE, |most, x| most.max(x.abs()));
        let share = |at: usize| vector.get(at).map(|x| 0.5 + 0.5 * x / largest);
        let n_lines = vector.len().div_ceil(2 * width);
        let line = |i: usize| {
            let start = 2 * width * i;
            (start..start + width).map(|at| self.canvas.stacked(share(at), share(at + width))).collect()
        };
        let mut lines: Vec<String> = (0..n_lines.min(LINES)).map(line).collect();
        if n_lines > LINES {
            lines.push(self.canvas.dim(&format!("the first {} of them", 2 * width * LINES)));
        }
        lines
    }

    fn near_bar(&self, near: &Near) -> String {
        let width = self.canvas.width.min(100) - 30;
        let (bar, rest) = self.canvas.bar(near.cosine, width);
        format!("  {} {}{rest} {:>7.3}", fit(&self.shown(near.id), 18), self.canvas.fill(&bar), near.cosine)
    }

    /// Attention lets vectors soak up context.
    fn attention(&self) -> Step {
        let config = self.model.config();
        let n = self.tokens.len();
        let mean: Vec<f64> = (0..n)
            .map(|at| self.gaze.iter().map(|(_, _, row)| row[at]).sum::<f64>() / self.gaze.len() as f64)
            .collect();
        let mut ranked: Vec<usize> = (0..n).collect();
        ranked.sort_by(|a, b| mean[*b].total_cmp(&mean[*a]));
        // The head that looks hardest at one earlier token: the first one is where heads rest that have nothing to say.
        let sharp = self
            .gaze
            .iter()
            .flat_map(|(layer, head, row)| (1..n.saturating_sub(1)).map(move |at| (row[at], *layer, *head, at)))
            .max_by(|a, b| a.0.total_cmp(&b.0));
        let sharpest = sharp.map_or(String::new(), |(share, layer, head, at)| {
            format!(
                " Of all looks at tokens between the first and the last, the most decided one is that of head {head} of layer {layer}: \
                 {} % at {}.",
                percent(share).trim(),
                self.shown(self.tokens[at])
            )
        });
        let n_heads = range(config.attentions().map(|a| a.n_heads));
        let heads = match range(config.attentions().map(|a| a.n_kv_heads)) {
            _ if config.attentions().all(|a| a.n_heads == a.n_kv_heads) => {
                format!("{n_heads} heads let every token ask (query), offer (key) and pass on (value)")
            }
            kv => {
                format!("{n_heads} heads let every token ask (query) what {kv} let it offer (key) and pass on (value)")
            }
        };
        let others = without_attention(config).map_or(String::new(), |others| format!(" But {others}."));
        let others = with_sinks(config).map_or(others.clone(), |sinks| format!("{others} Here {sinks}."));
        if self.gaze.is_empty() {
            let told =
                format!("This model lets no token look at others by attention: {}", others.trim_start_matches(" But "));
            let json = Object::default().raw("mean", "[]").raw("sharpest", "null");
            return step("attention", "No attention lets the vectors soak up context", told, Vec::new(), json);
        }
        let told = format!(
            "In each of {} layers {heads}: {} parameters. Mean over all {} heads, the last token looks where the bars say.{sharpest}\
             {others}",
            config.attentions().count(),
            count(self.parameters(&[Category::Query, Category::Key, Category::Value, Category::Output])),
            self.gaze.len(),
        );
        let width = self.canvas.width.min(100) - 36;
        let picture = ranked.iter().take(TOP).map(|at| {
            let (bar, rest) = self.canvas.bar(mean[*at] / mean[ranked[0]].max(f64::MIN_POSITIVE), width);
            let name = fit(&self.shown(self.tokens[*at]), 18);
            format!("  {} {name} {}{rest} {} %", right(&at.to_string(), 4), self.canvas.fill(&bar), percent(mean[*at]))
        });
        let json = Object::default().raw("mean", json::list(mean.iter().map(|share| format!("{share:.5}"))));
        let json = match sharp {
            Some((share, layer, head, at)) => {
                let row =
                    self.gaze.iter().find(|(l, h, _)| (*l, *h) == (layer, head)).map_or(&[][..], |(_, _, row)| row);
                let row = json::list(row.iter().map(|share| format!("{share:.5}")));
                let object = Object::default().raw("layer", layer).raw("head", head).raw("position", at);
                json.raw("sharpest", object.number("share", share).raw("row", row).line())
            }
            None => json.raw("sharpest", "null"),
        };
        step("attention", "Attention lets the vectors soak up context", told, picture.collect(), json)
    }

    /// The MLP writes, too.
    fn mlp(&self) -> Step {
        let config = self.model.config();
        let writes: Vec<_> = self.lens.writes.iter().map(|row| row[0]).collect();
        let sum = |of: fn(&whit::inspect::Writes) -> f64| writes.iter().map(of).sum::<f64>();
        let (attention, mlp) = (sum(|w| w.attention), sum(|w| w.mlp));
        let neurons = sum(|w| w.neurons) / writes.len() as f64;
        let others = without_attention(config);
        let mixers = if others.is_none() { "attention" } else { "what stands before them" };
        let told = format!(
            "Then each vector passes by itself through a multilayer perceptron: {} parameters in all. Of the {} inner values of a \
             layer about {neurons:.0} carry what it writes here, on average. Added up over the layers, the MLPs write {} times as much \
             as {mixers}.",
            count(self.parameters(&[Category::Up, Category::Gate, Category::Down])),
            range(config.layers.iter().map(|layer| layer.mlp.hidden_dim)),
            figure(mlp / attention.max(f64::MIN_POSITIVE)),
        );
        let told = with_layer_inputs(config).map_or(told.clone(), |more| format!("{told} Here {more}."));
        let largest = writes.iter().map(|w| w.attention.max(w.mlp)).fold(f64::MIN_POSITIVE, f64::max);
        let width = (self.canvas.width.min(100) - 28) / 2;
        let mut picture = vec![self.canvas.dim(&format!("  layer  {} MLP", fit("attention", width + 8)))];
        // A deep network is shown by every second or third layer, so that it fits on a screen.
        let each = writes.len().div_ceil(16);
        for (layer, w) in writes.iter().enumerate().step_by(each) {
            let [attention, mlp] = [w.attention, w.mlp].map(|norm| {
                let (bar, rest) = self.canvas.bar(norm / largest, width);
                format!("{}{rest} {:>7}", self.canvas.fill(&bar), figure(norm))
            });
            picture.push(format!("  {layer:>5}  {attention} {mlp}"));
        }
        let rows = writes.iter().map(writes_json);
        let json = Object::default().raw("writes", json::list(rows)).raw("hidden_dim", config.hidden_dim());
        let json = others.iter().fold(json, |json, others| json.text("without", others));
        step("mlp", "Each vector passes through an MLP", told, picture, json)
    }

    /// All of it again, layer after layer.
    fn layers(&self) -> Step {
        let depths = self.lens.readings.len();
        let answer = self.lens.readings[depths - 1][0].top.first().map(|best| best.id).unwrap_or(self.last());
        let told = format!(
            "Both are repeated {} times, each layer reading what the ones before it wrote. Read out after every layer as if it were \
             the last, the vector first says {} at depth {} and keeps to it from depth {} on. In the end its cosine to the vector it \
             began as is {:.2}.",
            depths - 1,
            self.shown(answer),
            self.lens.appears(0),
            self.lens.settled(0),
            self.lens.drift[depths - 1],
        );
        let each = depths.div_ceil(16);
        let shown = (0..depths).rev().filter(|depth| (depths - 1 - depth).is_multiple_of(each));
        let width = self.canvas.width.min(100) - 38;
        let picture = shown.map(|depth| {
            let reading = &self.lens.readings[depth][0];
            let Some(best) = reading.top.first() else { return String::new() };
            let (bar, rest) = self.canvas.bar(best.probability, width);
            let (name, bar) = (fit(&self.shown(best.id), 16), bar);
            let (name, bar) = match reading.answer.0 {
                1 => (self.canvas.chosen(&name), self.canvas.fill_chosen(&bar)),
                _ => (name, self.canvas.fill(&bar)),
            };
            format!("  depth {} {name} {bar}{rest} {} %", right(&depth.to_string(), 3), percent(best.probability))
        });
        let rows = self.lens.readings.iter().zip(&self.lens.drift).map(|(row, drift)| {
            let reading = &row[0];
            let best = reading.top.first();
            let object =
                best.map_or(Object::default(), |best| self.token_json(best.id).number("probability", best.probability));
            object
                .raw("answer_rank", reading.answer.0)
                .number("answer_probability", reading.answer.1)
                .number("cosine_to_embedding", *drift)
                .line()
        });
        let json = Object::default()
            .raw("answer", self.token_json(answer).line())
            .raw("appears", self.lens.appears(0))
            .raw("stays", self.lens.settled(0))
            .raw("depths", json::list(rows));
        step("layers", "And again, layer after layer", told, picture.collect(), json)
    }

    /// The unembedding turns the last vector into logits.
    fn logits(&self) -> Step {
        let config = self.model.config();
        let logits = &self.lens.logits;
        let (low, high) = logits.iter().fold((f32::MAX, f32::MIN), |(low, high), l| (low.min(*l), high.max(*l)));
        let own = if config.tied { "the embedding once more" } else { "a matrix of its own" };
        let told = format!(
            "The last vector alone is multiplied with the unembedding, {own}: {} rows, one for each possible next token. The dot \
             products are the logits, here from {low:.2} to {high:.2}.",
            config.vocab_size,
        );
        let top = &Distribution::of_logits(logits, 1.0, TOP).top;
        let width = self.canvas.width.min(100) - 32;
        let picture = top.iter().map(|ranked| {
            let logit = logits[ranked.id as usize];
            let share = f64::from(logit - low) / f64::from((high - low).max(f32::MIN_POSITIVE));
            let (bar, rest) = self.canvas.bar(share, width);
            format!("  {} {}{rest} {logit:>8.3}", fit(&self.shown(ranked.id), 18), self.canvas.fill(&bar))
        });
        let rows = top.iter().map(|r| self.token_json(r.id).number("logit", logits[r.id as usize].into()).line());
        let json = Object::default()
            .number("lowest", low.into())
            .number("highest", high.into())
            .raw("tied", config.tied)
            .raw("top", json::list(rows));
        step("logits", "The last vector becomes a logit for every possible next token", told, picture.collect(), json)
    }

    /// Softmax with a temperature makes a distribution of them.
    fn softmax(&self) -> Step {
        let at = |t: f64| Distribution::of_logits(&self.lens.logits, t, TOP);
        let temperature = f64::from(self.options.temperature);
        let (plain, bent) = (at(1.0), at(temperature));
        let effect = match self.options.temperature {
            0.0 => "A temperature of 0 puts all of it on the most probable.".into(),
            t => format!("The temperature {t} makes that {:.2} bits.", bent.entropy),
        };
        let told = format!(
            "Softmax makes a distribution of them: all {} probabilities are positive and add to 1. Its entropy is {:.2} bits, as much \
             as {} equal choices. {effect}",
            plain.n,
            plain.entropy,
            figure(plain.entropy.exp2()),
        );
        let picture = bars(&self.canvas, &self.tokenizer, &bent, None);
        let json = Object::default()
            .raw("plain", fields(Object::default(), &self.tokenizer, &plain).line())
            .raw("bent", fields(Object::default().number("temperature", temperature), &self.tokenizer, &bent).line());
        step("softmax", "Softmax with a temperature makes them a distribution", told, picture, json)
    }

    /// One is sampled.
    fn draw(&self) -> Step {
        let choice = self.choice;
        let last = choice.last();
        let filters: Vec<String> = choice.stages[1..]
            .iter()
            .filter(|stage| stage.stage != Stage::Temperature)
            .map(|stage| format!("{} leaves {}", stage.stage.name(), stage.distribution.n))
            .collect();
        let filters =
            if filters.is_empty() { String::new() } else { format!(" Of the candidates, {}.", filters.join(", ")) };
        let drawn = match choice.uniform {
            Some(u) => format!(
                "A random number between 0 and 1 is drawn from seed {}: {u:.4}. It falls into the part of {}, from {:.4} to {:.4}.",
                self.options.seed,
                self.shown(choice.token),
                choice.part.start,
                choice.part.end
            ),
            None => {
                format!(
                    "At temperature 0 nothing is drawn: the largest logit is taken, that of {}.",
                    self.shown(choice.token)
                )
            }
        };
        let told = format!(
            "{drawn}{filters} By the model it had rank {} and {} %.",
            choice.rank,
            percent(choice.first().chosen).trim()
        );
        let picture = bars(&self.canvas, &self.tokenizer, &last.distribution, Some(choice.token));
        let object =
            self.token_json(choice.token).raw("rank", choice.rank).number("model_probability", choice.first().chosen);
        let object = match choice.uniform {
            Some(u) => object.number("u", u),
            None => object.raw("u", "null"),
        };
        let object = object
            .number("part_start", choice.part.start)
            .number("part_end", choice.part.end)
            .raw("seed", self.options.seed);
        let stages = choice.stages.iter().map(|stage| {
            Object::default().text("stage", stage.stage.name()).raw("candidates", stage.distribution.n).line()
        });
        let object = object.raw("stages", json::list(stages));
        step("draw", "One of them is sampled", told, picture, fields(object, &self.tokenizer, &last.distribution))
    }

    /// It is appended, and all runs again.
    fn again(&self) -> Step {
        let config = self.model.config();
        let mut text: Vec<u8> = self.tokens.iter().flat_map(|token| self.tokenizer.bytes(*token)).copied().collect();
        text.extend(self.tokenizer.bytes(self.choice.token));
        let total = Tally::new(config, &[]).stored();
        let told = format!(
            "{} is appended, and all of it runs again for the next one. What was computed for the {} before it stays in the KV \
             cache: only the new one passes through the {} parameters.",
            self.shown(self.choice.token),
            tokens_counted(self.tokens.len()),
            count(total),
        );
        let shown = String::from_utf8_lossy(&text);
        let shown = super::super::pieces::visible(shown.as_bytes()).replace('·', " ");
        let picture =
            super::super::wrapped(&shown, self.canvas.width.min(100) - 2).into_iter().map(|line| format!("  {line}"));
        let json = Object::default().text("text", &String::from_utf8_lossy(&text)).raw("parameters", total);
        step("again", "It is appended, and it all runs again", told, picture.collect(), json)
    }
}
