//! `whit tokens`: a text in its pieces.

use super::paint::{Canvas, columns, fit};
use super::pieces::{decoded, piece, text};
use super::{View, tokenizer, tokens_of};
use crate::cli::args::views::Tokens;
use crate::cli::input::ModelFile;
use crate::cli::json::{self, Object};
use crate::cli::output::{Outcome, hex};
use whit::TokenId;
use whit::tokenizer::Tokenizer;

pub(in crate::cli) fn run(args: &Tokens) -> Outcome<()> {
    let source = ModelFile::open(args.model.model.as_deref())?;
    let model = source.model()?;
    let tokenizer = tokenizer(&source, &model)?;
    let tokens = tokens_of(&model, &args.text)?;
    let context_length = model.config().context_length;
    let counts = Counts::of(&tokenizer, &tokens, context_length);
    View {
        title: "Text is cut into tokens".into(),
        picture: picture(&Canvas::new(&args.display), &tokenizer, &tokens, &counts),
        json: json(&tokenizer, &tokens, &counts),
        script: include_str!("page/tokens.js"),
    }
    .show(&args.display)?;
    source.check_unchanged()?;
    Ok(())
}

struct Counts {
    tokens: usize,
    bytes: usize,
    characters: usize,
    vocab_size: usize,
    context_length: usize,
}

impl Counts {
    fn of(tokenizer: &Tokenizer<'_>, tokens: &[TokenId], context_length: usize) -> Self {
        let text = decoded(tokenizer, tokens);
        Counts {
            tokens: tokens.len(),
            bytes: text.len(),
            characters: text.chars().count(),
            vocab_size: tokenizer.vocab_size(),
            context_length,
        }
    }
}

/// Rows of pieces over their ids; where a piece is not plain ASCII, over its bytes, too.
pub(super) fn ribbon(canvas: &Canvas, tokenizer: &Tokenizer<'_>, tokens: &[TokenId]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut row: [String; 3] = Default::default();
    let mut used = 0;
    let mut end = |row: &mut [String; 3]| {
        lines.extend(row.iter_mut().map(std::mem::take).filter(|line| !line.trim().is_empty()));
        lines.push(String::new());
    };
    for (i, token) in tokens.iter().enumerate() {
        let shown = piece(tokenizer, *token);
        let bytes = tokenizer.bytes(*token);
        let bytes = if bytes.is_ascii() { String::new() } else { hex(bytes) };
        let id = token.to_string();
        let width = columns(&shown).max(id.len()).max(bytes.len()).min(canvas.width - 1);
        if used > 0 && used + width + 1 > canvas.width {
            end(&mut row);
            used = 0;
        }
        let gap = if canvas.has_color() { " " } else { "|" };
        row[0] += &(canvas.piece(i, &fit(&shown, width)) + gap);
        row[1] += &(canvas.dim(&fit(&id, width)) + " ");
        row[2] += &(canvas.dim(&fit(&bytes, width)) + " ");
        used += width + 1;
    }
    end(&mut row);
    lines
}

fn picture(canvas: &Canvas, tokenizer: &Tokenizer<'_>, tokens: &[TokenId], counts: &Counts) -> Vec<String> {
    let mut lines = ribbon(canvas, tokenizer, tokens);
    let Counts { tokens, bytes, characters, vocab_size, context_length } = counts;
    let each = *bytes as f64 / (*tokens).max(1) as f64;
    let share = 100.0 * *tokens as f64 / *context_length as f64;
    lines.push(format!("{tokens} tokens of {characters} characters, {bytes} bytes: {each:.2} bytes a token"));
    lines.push(format!("{share:.1} % of a context of {context_length}; a vocabulary of {vocab_size}"));
    lines
}

fn json(tokenizer: &Tokenizer<'_>, tokens: &[TokenId], counts: &Counts) -> Vec<String> {
    let each = tokens.iter().enumerate().map(|(index, token)| {
        Object::default()
            .raw("index", index)
            .raw("id", token)
            .text("text", &text(tokenizer, *token))
            .raw("bytes", json::list(tokenizer.bytes(*token).iter().map(u8::to_string)))
            .text("kind", tokenizer.kind(*token).name())
            .line()
    });
    let summary = Object::default()
        .raw("tokens", counts.tokens)
        .raw("characters", counts.characters)
        .raw("bytes", counts.bytes)
        .raw("vocab_size", counts.vocab_size)
        .raw("context_length", counts.context_length);
    each.chain([Object::default().raw("summary", summary.line()).line()]).collect()
}
