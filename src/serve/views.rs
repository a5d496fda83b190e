//! What the views of the command line show, as values: the fields are those of `whit next`, `score`, `tokens`, `lens` and `attend`
//! with `--json`.

use super::job::Next;
use serde_json::{Map, Value, json};
use whit::TokenId;
use whit::inspect::surprise::Surprise;
use whit::inspect::{Choice, Distribution, HeadScores, Lens, Ranked, Reading, Writes};
use whit::tokenizer::{Decoder, TokenKind, Tokenizer};

/// The text of a token: its characters as they are, bytes that are no character as `\x..`.
pub(super) fn text(tokenizer: &Tokenizer<'_>, id: TokenId) -> String {
    let mut out = String::new();
    for chunk in tokenizer.bytes(id).utf8_chunks() {
        out.push_str(chunk.valid());
        out.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    out
}

fn token(tokenizer: &Tokenizer<'_>, id: TokenId) -> Value {
    json!({"id": id, "text": text(tokenizer, id)})
}

/// The tokens of a text.
pub(super) fn tokens(tokenizer: &Tokenizer<'_>, ids: &[TokenId]) -> Value {
    ids.iter().map(|id| token(tokenizer, *id)).collect()
}

/// The most probable tokens, the best first, with their surprise in bits.
fn ranked(tokenizer: &Tokenizer<'_>, ranked: &[Ranked]) -> Value {
    let one = |(place, Ranked { id, probability }): (usize, &Ranked)| {
        // A certain token has a surprise of 0, not of -0.
        let surprise = 0.0 - probability.log2();
        json!({
            "id": id, "text": text(tokenizer, *id), "probability": probability, "rank": place + 1, "surprise_bits": surprise,
        })
    };
    ranked.iter().enumerate().map(one).collect()
}

fn distribution(tokenizer: &Tokenizer<'_>, of: &Distribution) -> Map<String, Value> {
    let fields = [
        ("candidates", json!(of.n)),
        ("entropy_bits", json!(of.entropy)),
        ("tail", json!(of.tail)),
        ("top", ranked(tokenizer, &of.top)),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// What comes after `prompt`.
pub(super) fn next(tokenizer: &Tokenizer<'_>, prompt: &[TokenId], next: &Next) -> Map<String, Value> {
    let mut fields = distribution(tokenizer, &next.distribution);
    fields.insert("prompt".into(), tokens(tokenizer, prompt));
    fields.insert("temperature".into(), json!(next.temperature));
    if let Some(film) = &next.film {
        let frames = film.frames().iter().map(|(temperature, at)| {
            let mut fields = distribution(tokenizer, at);
            fields.insert("temperature".into(), json!(temperature));
            Value::Object(fields)
        });
        fields.insert("film".into(), frames.collect());
    }
    if let Some(choice) = &next.choice {
        fields.insert("choice".into(), chosen(tokenizer, choice));
    }
    fields
}

/// How a token was chosen, as `whit generate --show --json` has it.
fn chosen(tokenizer: &Tokenizer<'_>, choice: &Choice) -> Value {
    let stages = choice.stages.iter().map(|stage| {
        let mut fields = distribution(tokenizer, &stage.distribution);
        fields.insert("stage".into(), json!(stage.stage.name()));
        fields.insert("chosen_probability".into(), json!(stage.chosen));
        fields.insert("of_top".into(), json!(stage.of_top));
        Value::Object(fields)
    });
    let mut value = json!({
        "token": choice.token,
        "text": text(tokenizer, choice.token),
        "rank": choice.rank,
        "stages": stages.collect::<Vec<_>>(),
        "u": choice.uniform,
        "part_start": choice.part.start,
        "part_end": choice.part.end,
        "candidates_left": choice.n_left,
    });
    if let Some((_, share)) = choice.struck() {
        value["struck_out"] = json!(share);
    }
    value
}

/// How much each token of a text surprises, and all of them together.
pub(super) fn score(tokenizer: &Tokenizer<'_>, scored: &[Surprise]) -> Value {
    let each = scored.iter().enumerate().map(|(position, s)| {
        json!({
            "position": position,
            "id": s.token,
            "text": text(tokenizer, s.token),
            "bits": s.bits,
            "logprob": s.bits.map(|bits| -bits * std::f64::consts::LN_2),
            "rank": s.rank,
            "entropy_bits": s.entropy,
            "best_id": s.best.0,
            "best_text": text(tokenizer, s.best.0),
            "best_probability": s.best.1,
        })
    });
    let n = scored.iter().filter(|s| s.bits.is_some()).count();
    let bits: f64 = scored.iter().filter_map(|s| s.bits).sum();
    json!({
        "tokens": each.collect::<Vec<_>>(),
        "summary": {
            "tokens": n,
            "bits": bits,
            "log_likelihood": -bits * std::f64::consts::LN_2,
            "perplexity": (bits / n as f64).exp2(),
        },
    })
}

/// A text in its pieces.
pub(super) fn pieces(tokenizer: &Tokenizer<'_>, ids: &[TokenId], context_length: usize) -> Value {
    let each = ids.iter().enumerate().map(|(index, id)| {
        json!({
            "index": index,
            "id": id,
            "text": text(tokenizer, *id),
            "bytes": tokenizer.bytes(*id),
            "kind": tokenizer.kind(*id).name(),
        })
    });
    let said = decoded(tokenizer, ids);
    json!({
        "tokens": each.collect::<Vec<_>>(),
        "summary": {
            "tokens": ids.len(),
            "characters": said.chars().count(),
            "bytes": said.len(),
            "vocab_size": tokenizer.vocab_size(),
            "context_length": context_length,
        },
        "text": said,
    })
}

/// The text of some tokens: without control tokens, and without the space that a tokenizer puts before a text.
fn decoded(tokenizer: &Tokenizer<'_>, ids: &[TokenId]) -> String {
    let mut decoder = Decoder::new(tokenizer);
    let mut text = String::new();
    for id in ids.iter().filter(|id| tokenizer.kind(**id) != TokenKind::Control) {
        text.push_str(decoder.push(tokenizer, *id));
    }
    text + decoder.finish()
}

/// What each layer would say after each of the last tokens.
pub(super) fn lens(tokenizer: &Tokenizer<'_>, ids: &[TokenId], lens: &Lens) -> Value {
    let first = ids.len() - lens.readings[0].len();
    let each = ids[first..].iter().enumerate().map(|(i, id)| {
        let depths = lens.readings.iter().map(|row| {
            let Reading { top, answer: (rank, probability) } = &row[i];
            json!({"top": ranked(tokenizer, top), "answer_rank": rank, "answer_probability": probability})
        });
        let writes = lens.writes.iter().map(|row| {
            let Writes { stream, attention, mlp, neurons } = row[i];
            json!({"stream": stream, "attention": attention, "mlp": mlp, "neurons": neurons})
        });
        json!({
            "id": id,
            "text": text(tokenizer, *id),
            "position": first + i,
            "answer_appears": lens.appears(i),
            "answer_stays": lens.settled(i),
            "depths": depths.collect::<Vec<_>>(),
            "writes": writes.collect::<Vec<_>>(),
        })
    });
    json!({"positions": each.collect::<Vec<_>>()})
}

/// Where a head looks: `pattern` has a row a token, of as many shares as there are tokens.
pub(super) fn head(layer: usize, head: usize, scores: &HeadScores, pattern: &[f64], n_tokens: usize) -> Value {
    let HeadScores { previous, first, same, induction } = scores;
    let rows = pattern.chunks_exact(n_tokens).enumerate();
    let rows = rows.map(|(t, row)| row[..=t].iter().map(|share| five_digits(*share)).collect::<Vec<_>>());
    json!({
        "layer": layer, "head": head, "previous": previous, "first": first, "same": same, "induction": induction,
        "rows": rows.collect::<Vec<_>>(),
    })
}

/// A share with five digits behind the point: more would be most of an answer, and say nothing.
fn five_digits(share: f64) -> f64 {
    format!("{share:.5}").parse().unwrap_or(share)
}
