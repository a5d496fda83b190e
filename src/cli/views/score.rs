//! `whit score`: a text coloured by surprise, and where two models differ.

use super::paint::{Canvas, columns, fit, percent, right};
use super::pieces::{text, visible};
use super::{View, tokenizer};
use crate::cli::args::views::Surprise as Args;
use crate::cli::input::{self, ModelFile};
use crate::cli::json::Object;
use crate::cli::output::{End, Outcome, note};
use crate::cli::plan::Wanted;
use crate::cli::setup::compute;
use crate::cli::{progress, streaming};
use whit::TokenId;
use whit::error::{Error, Result};
use whit::format::SectionId;
use whit::inspect::surprise::{BATCH, Surprise, surprises};
use whit::model::{Model, Session, SessionOptions};
use whit::os::interrupt;
use whit::tokenizer::{Specials, Tokenizer};

/// Tokens a window, at most.
const WINDOW: usize = 512;
/// Surprise that is drawn hottest, in bits: one chance in a thousand.
const HOTTEST: f64 = 10.0;
/// The least divergence that is drawn hottest where a text reaches no more, in bits.
const LEAST_HOTTEST_KL: f64 = 0.01;
/// The share of the hottest that a mark stands for where there are no colours.
const MARK: f64 = 0.4;
/// Tokens that are named where both models differ most.
const TOLD: usize = 10;

pub(in crate::cli) fn run(args: &Args) -> Outcome<()> {
    let source = ModelFile::open(args.model.model.as_deref())?;
    let model = source.model()?;
    let tokenizer = tokenizer(&source, &model)?;
    let other_source = args.against.as_deref().map(|path| ModelFile::open(Some(path))).transpose()?;
    let other = other_source.as_ref().map(ModelFile::model).transpose()?;
    if let Some(other) = &other
        && other.file().section(SectionId::TOKN) != model.file().section(SectionId::TOKN)
    {
        let error = Error::data("its tokens are not those of this model, so nothing can be compared").field("against");
        return Err(error.into());
    }
    let given = input::text(&args.text)?;
    let tokens = tokens(&tokenizer, &given);
    if tokens.len() < 2 {
        let error = Error::data("a text of one token surprises nobody").in_file(args.text.display().to_string());
        return Err(error.into());
    }
    let compute = compute(&args.compute)?;
    let context_length = window(&model, other.as_deref())?.min(tokens.len().max(2));
    let kv = args.compute.kv.into();
    let options = SessionOptions { context_length, kv, batch: BATCH, logit_rows: BATCH, hold_all: false };
    let wanted = Wanted::one(&model, options, &compute, &args.compute, "a window");
    let plan = Wanted { n_sessions: if other.is_some() { 2 } else { 1 }, ..wanted }.check()?;
    let mut session = Session::new(&model, &compute, options)?;
    streaming::pace(&mut session, &source, &model, &plan, args.compute.max_memory, args.progress.quiet)?;
    let mut other = other.as_ref().map(|model| Session::new(model, &compute, options)).transpose()?;
    interrupt::watch();
    let bar = progress::steps(tokens.len() as u64, args.progress.quiet);
    // The model that is asked about is the reference of both.
    let scored = surprises(&mut session, other.as_mut(), &tokens, &mut |done| {
        bar.set_position(done as u64);
        !interrupt::requested()
    })?;
    bar.finish_and_clear();
    if scored.len() < tokens.len() {
        note(format_args!("whit: interrupted after {} of {} tokens", scored.len(), tokens.len()));
    }
    let canvas = Canvas::new(&args.display);
    View {
        title: "How surprised".into(),
        picture: picture(&canvas, &tokenizer, &scored, other.is_some()),
        json: json(&tokenizer, &scored, &source, other_source.as_ref()),
        script: include_str!("page/score.js"),
    }
    .show(&args.display)?;
    if scored.len() < tokens.len() {
        return Err(End::Interrupted);
    }
    source.check_unchanged()?;
    other_source.as_ref().map_or(Ok(()), ModelFile::check_unchanged)?;
    Ok(())
}

/// The text's tokens, after one that begins a text where the tokenizer has one, so that the first word is scored too.
fn tokens(tokenizer: &Tokenizer<'_>, text: &str) -> Vec<TokenId> {
    let mut tokens: Vec<TokenId> = tokenizer.bos().or(tokenizer.eos()).into_iter().collect();
    tokenizer.encode(text, Specials::AsText, &mut tokens);
    tokens
}

/// The window that both models hold; an error where their vocabularies differ.
fn window(model: &Model, other: Option<&Model>) -> Result<usize> {
    let (own, theirs) = (model.config(), other.map(Model::config));
    if let Some(n) = theirs.map(|c| c.vocab_size).filter(|n| *n != own.vocab_size) {
        let message = format!("the other model has {n} tokens, this one {}", own.vocab_size);
        return Err(Error::data(message).field("against"));
    }
    let most = theirs.map_or(own.context_length, |c| c.context_length.min(own.context_length));
    if most < 2 {
        return Err(Error::data("a context of one position predicts nothing").field("context_length"));
    }
    Ok(most.min(WINDOW))
}

/// Perplexity of tokens with these surprises.
fn perplexity(bits: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, n) = bits.fold((0.0, 0), |(sum, n), bits| (sum + bits, n + 1));
    (n > 0).then(|| (sum / f64::from(n)).exp2())
}

/// The tokens of each line of the text.
fn lines_of<'s>(tokenizer: &Tokenizer<'_>, scored: &'s [Surprise]) -> Vec<&'s [Surprise]> {
    scored.split_inclusive(|s| tokenizer.bytes(s.token).contains(&b'\n')).collect()
}

fn picture(canvas: &Canvas, tokenizer: &Tokenizer<'_>, scored: &[Surprise], compared: bool) -> Vec<String> {
    let mut lines = vec![
        canvas.bold("How surprising each token is, and the perplexity of each line"),
        scale(canvas, HOTTEST),
        String::new(),
    ];
    lines.extend(coloured(canvas, tokenizer, scored, &|s| s.bits.map(|bits| bits / HOTTEST), &|line| {
        perplexity(line.iter().filter_map(|s| s.bits)).map(|p| format!("{p:.1}"))
    }));
    let total = perplexity(scored.iter().filter_map(|s| s.bits)).unwrap_or(f64::NAN);
    lines.push(String::new());
    lines.push(format!("{} tokens, perplexity {total:.2}", scored.len() - 1));
    if compared {
        lines.push(String::new());
        lines.push(canvas.bold("Where the other model thinks otherwise: KL(this || other)"));
        let hottest = round_above(scored.iter().filter_map(|s| s.kl).fold(LEAST_HOTTEST_KL, f64::max));
        lines.push(scale(canvas, hottest));
        lines.push(String::new());
        lines.extend(coloured(canvas, tokenizer, scored, &|s| s.kl.map(|kl| kl / hottest), &|line| {
            let n = line.iter().filter(|s| s.kl.is_some()).count();
            let sum: f64 = line.iter().filter_map(|s| s.kl).sum();
            (n > 0).then(|| format!("{:.5}", sum / n as f64))
        }));
        lines.push(String::new());
        lines.extend(differences(canvas, tokenizer, scored));
    }
    lines
}

/// What colours or marks say, where the hottest is `most` bits.
fn scale(canvas: &Canvas, most: f64) -> String {
    const STEPS: usize = 8;
    // Of the digits of a step, as many as tell it from the next.
    let figure = |value: f64, step: f64| format!("{value:.*}", (-(step.log10() + 1e-9).floor()).max(0.0) as usize);
    if !canvas.has_color() {
        return format!("one mark ' after a token for every {} bits", figure(most * MARK, most * MARK));
    }
    let step = most / STEPS as f64;
    let figures: Vec<String> = (0..STEPS).map(|i| figure(i as f64 * step, step.min(0.9))).collect();
    let cell = ((canvas.width - 6) / STEPS).min(7);
    let every = if figures[0].len() < cell { 1 } else { 2 };
    let line: String =
        figures.iter().step_by(every).map(|figure| format!("{figure:<width$}", width = cell * every)).collect();
    let steps = (0..STEPS).map(|i| canvas.heat((i as f64 + 0.5) / STEPS as f64, &line[i * cell..][..cell]));
    format!("bits  {}", steps.collect::<String>())
}

/// The least of 1, 2 and 5 times the powers of 10 that `value` does not exceed.
fn round_above(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0].map(|n| n * power).into_iter().find(|end| value <= *end).unwrap_or(10.0 * power)
}

/// The text, each token on the colour of its share, wrapped, with a figure at the end of each line of the text.
fn coloured(
    canvas: &Canvas,
    tokenizer: &Tokenizer<'_>,
    scored: &[Surprise],
    share: &dyn Fn(&Surprise) -> Option<f64>,
    figure: &dyn Fn(&[Surprise]) -> Option<String>,
) -> Vec<String> {
    let room = canvas.width - 9;
    let mut drawn = Vec::new();
    for line in lines_of(tokenizer, scored) {
        let mut row = String::new();
        let mut used = 0;
        for s in line {
            let Some(share) = share(s) else { continue };
            let bytes = tokenizer.bytes(s.token);
            let shown = visible(bytes).replace('·', " ");
            let marks = if canvas.has_color() { 0 } else { (share / MARK) as usize };
            let shown = shown.trim_end_matches('↵').to_owned() + &"'".repeat(marks);
            let width = columns(&shown).min(room);
            let shown = fit(&shown, width);
            if used + width > room && used > 0 {
                drawn.push(std::mem::take(&mut row));
                used = 0;
            }
            row += &canvas.heat(share, &shown);
            used += width;
        }
        let pad = " ".repeat((canvas.width - 9).saturating_sub(used));
        drawn.push(row + &pad + &canvas.dim(&right(&figure(line).unwrap_or_default(), 9)));
    }
    drawn
}

/// The tokens where both models differ most.
fn differences(canvas: &Canvas, tokenizer: &Tokenizer<'_>, scored: &[Surprise]) -> Vec<String> {
    let mut by_kl: Vec<(usize, f64)> = scored.iter().enumerate().filter_map(|(i, s)| Some((i, s.kl?))).collect();
    let mean = by_kl.iter().map(|(_, kl)| kl).sum::<f64>() / by_kl.len().max(1) as f64;
    by_kl.sort_by(|a, b| b.1.total_cmp(&a.1));
    let mut lines = vec![canvas.bold(&format!("mean {mean:.5} bits a token; most:"))];
    for (i, kl) in by_kl.into_iter().take(TOLD) {
        let s = &scored[i];
        let own = s.bits.map_or(0.0, |bits| (-bits).exp2());
        let theirs = s.other_bits.map_or(0.0, |bits| (-bits).exp2());
        let name = fit(&visible(tokenizer.bytes(s.token)), 18);
        let shares = format!("{} % here, {} % there", percent(own), percent(theirs));
        match canvas.width {
            70.. => lines.push(format!("{i:>7} {name} KL {kl:.4}  {shares}")),
            _ => lines.extend([format!("{i:>7} {name} KL {kl:.4}"), format!("{:>10}{shares}", "")]),
        }
    }
    lines
}

fn json(tokenizer: &Tokenizer<'_>, scored: &[Surprise], source: &ModelFile, other: Option<&ModelFile>) -> Vec<String> {
    let number = |value: Option<f64>| value.unwrap_or(f64::NAN);
    let each = scored.iter().enumerate().map(|(position, s)| {
        Object::default()
            .raw("position", position)
            .raw("id", s.token)
            .text("text", &text(tokenizer, s.token))
            .number("bits", number(s.bits))
            .raw("rank", s.rank)
            .number("entropy_bits", s.entropy)
            .raw("best_id", s.best.0)
            .text("best_text", &text(tokenizer, s.best.0))
            .number("best_probability", s.best.1)
            .number("kl_bits", number(s.kl))
            .number("other_bits", number(s.other_bits))
            .line()
    });
    let mean = |of: fn(&Surprise) -> Option<f64>| {
        let values: Vec<f64> = scored.iter().filter_map(of).collect();
        values.iter().sum::<f64>() / values.len() as f64
    };
    let summary = Object::default()
        .text("model", &source.short_name())
        .maybe("other_model", other.map(ModelFile::short_name).as_deref())
        .raw("tokens", scored.len() - 1)
        .number("perplexity", number(perplexity(scored.iter().filter_map(|s| s.bits))))
        .number("other_perplexity", mean(|s| s.other_bits).exp2())
        .number("mean_kl_bits", mean(|s| s.kl));
    each.chain([Object::default().raw("summary", summary.line()).line()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_ends_at_a_round_figure() {
        for (value, end) in [(0.01, 0.01), (0.028, 0.05), (0.3, 0.5), (0.7, 1.0), (1.0, 1.0), (1.2, 2.0), (14.0, 20.0)]
        {
            assert!((round_above(value) - end).abs() < 1e-12, "{value}: {}", round_above(value));
        }
    }

    #[test]
    fn no_two_steps_of_a_scale_have_one_figure() {
        for most in [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0] {
            for width in [40, 50, 60, 80, 200] {
                let line = scale(&Canvas::coloured(width), most);
                let plain = console::strip_ansi_codes(&line).into_owned();
                let figures: Vec<&str> = plain.split_whitespace().skip(1).collect();
                assert!(figures.len() >= 4 && columns(&plain) <= width, "{most} at {width}: {plain}");
                assert!(figures.windows(2).all(|pair| pair[0] != pair[1]), "{most} at {width}: {plain}");
            }
        }
    }
}
