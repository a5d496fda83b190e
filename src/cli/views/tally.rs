//! `whit tally`: the parameters of a network by what they are for.

use super::View;
use super::paint::Canvas;
use crate::cli::args::views::Tally as Args;
use crate::cli::input::{self, ModelFile};
use crate::cli::json::Object;
use crate::cli::output::{End, Outcome, bytes};
use crate::cli::plan::Wanted;
use crate::cli::setup::{compute, session_options};
use crate::cli::table::{percent, table_within};
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use whit::error::{Error, Result, printable};
use whit::inspect::tally::{Category, Row, Tally, known, known_names};
use whit::inspect::trace::{Cell, Trace, trace};
use whit::inspect::{Costs, fill};
use whit::model::{Config, Family, Model, Session, Uniform};
use whit::os::interrupt;

/// Tokens in the cache before the one whose time is measured.
const DEPTH: usize = 64;
/// Columns of a bar that says anything.
const LEAST_BAR: usize = 8;
/// Tokens whose time is measured, of which the median counts.
const PASSES: usize = 5;

pub(in crate::cli) fn run(args: &Args) -> Outcome<()> {
    let (name, config, tally, times) = match &args.shape {
        Some(shape) => {
            let config = shape_named(shape)?;
            let tally = Tally::new(&config, &[]);
            (shape.clone(), config, tally, None)
        }
        None => {
            let source = ModelFile::open(args.model.path())?;
            let model = source.model()?;
            let tally = Tally::new(model.config(), model.file().tensors());
            let times = if args.quiet { None } else { Some(measured(args, &model)?) };
            source.check_unchanged()?;
            (printable(&source.short_name()), model.config().clone(), tally, times)
        }
    };
    let canvas = Canvas::new(&args.display);
    View {
        title: format!("The parameters of {name}"),
        picture: picture(&canvas, &name, &config, &tally, times.as_ref()),
        json: json(&name, &config, &tally, times.as_ref()),
        script: include_str!("page/tally.js"),
    }
    .show(&args.display)
}

/// The times of a token's ops on this machine.
struct Times {
    trace: Trace,
    costs: Costs,
}

fn measured(args: &Args, model: &Arc<Model>) -> Outcome<Times> {
    let depth = DEPTH.min(model.config().context_length - 1);
    let compute = compute(&args.compute)?;
    let options = session_options(depth + 1, args.compute.kv);
    Wanted::one(model, options, &compute, &args.compute, "a context").check()?;
    let costs = Costs::new(model);
    let mut session = Session::new(model, &compute, options)?;
    interrupt::watch();
    let mut go_on = || !interrupt::requested();
    if depth > 0 && !fill(&mut session, model.config().vocab_size, depth, &mut go_on)? {
        return Err(End::Interrupted);
    }
    let trace = trace(&mut session, &costs, args.compute.kv.into(), depth..depth + 1, PASSES, &mut go_on)?;
    Ok(Times { trace: trace.ok_or(End::Interrupted)?, costs })
}

impl Times {
    /// The share of a token's time that the parameters of `row` take: of ops that read several categories, by bytes.
    /// `None` of biases, which are added where products are made.
    fn share(&self, row: &Row, tally: &Tally) -> Option<f64> {
        let seconds = |cell: &Cell| cell.seconds * tally.part(cell.op, row.category);
        (row.category != Category::Bias).then(|| self.trace.by_op().iter().map(seconds).sum::<f64>() / self.total())
    }

    fn total(&self) -> f64 {
        self.trace.total().map_or(f64::NAN, |cell| cell.seconds)
    }

    /// The share of ops that read no parameters: attention over the cache and what belongs to it.
    fn without_parameters(&self, tally: &Tally) -> f64 {
        let sums = self.trace.by_op();
        sums.iter().filter(|cell| !tally.is_read_by(cell.op)).map(|cell| cell.seconds).sum::<f64>() / self.total()
    }
}

/// `n` in groups of three digits.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let groups = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy);
    groups.collect::<Vec<_>>().join(",")
}

/// How a row's count comes about.
fn product(row: &Row) -> String {
    match (row.shape, row.heads) {
        (None, _) if row.matrices == 0 => "vectors".into(),
        (None, _) => format!("{} of different sizes", row.matrices),
        (Some((rows, cols)), _) if row.matrices == 1 => format!("{rows} x {cols}"),
        (Some((rows, cols)), Some(heads)) => format!("{rows} x {cols} x {heads} x {}", row.layers),
        (Some((rows, cols)), None) => format!("{rows} x {cols} x {}", row.matrices),
    }
}

fn picture(canvas: &Canvas, name: &str, config: &Config, tally: &Tally, times: Option<&Times>) -> Vec<String> {
    let (film, matrices) = tally.film();
    let largest = tally.rows.iter().map(|row| row.count).max().unwrap_or(1) as f64;
    let stored = tally.rows.iter().any(|row| row.bytes > 0);
    let mut names = vec!["", "matrices", "parameters"];
    names.extend(if stored { &["bytes", "bits"][..] } else { &[] });
    names.extend(times.map(|_| "time"));
    let cells = |row: &Row| {
        let mut cells = vec![row.category.name().to_string(), product(row), grouped(row.count)];
        if stored {
            cells.push(if row.shared { "shared".into() } else { bytes(row.bytes) });
            cells.push(row.bits().map_or("-".into(), |bits| format!("{bits:.2}")));
        }
        cells.extend(times.map(|times| percent(times.share(row, tally))));
        cells
    };
    let part = |in_film: bool| tally.rows.iter().filter(move |row| row.category.in_film() == in_film);
    let mut all: Vec<Vec<String>> = part(true).chain(part(false)).map(cells).collect();
    let width_of = |drawn: &str| drawn.lines().map(|line| line.chars().count()).max().unwrap_or(0);
    let mut drawn = table_within(usize::MAX, &names, &all);
    for name in ["bits", "matrices", "time", "bytes"] {
        let column = names.iter().position(|other| *other == name);
        if let Some(at) = column.filter(|_| width_of(&drawn) > canvas.width) {
            names.remove(at);
            all.iter_mut().for_each(|row| {
                row.remove(at);
            });
            drawn = table_within(usize::MAX, &names, &all);
        }
    }
    let table_lines: Vec<&str> = drawn.lines().collect();
    let widest = width_of(&drawn);
    let room = canvas.width.saturating_sub(widest + 2).min(40);
    let with_bar = |(line, row): (&str, &Row)| {
        let (bar, _) = canvas.bar(row.count as f64 / largest, room);
        let pad = " ".repeat(widest - line.chars().count() + 2);
        if room < LEAST_BAR { line.to_string() } else { format!("{line}{pad}{}", canvas.fill(&bar)) }
    };
    let mut lines = vec![canvas.bold(&format!("{name}: {} layers of width {}", config.n_layers(), config.dim))];
    let matrices_said = names.contains(&"matrices").then_some("matrices: rows x columns x heads x layers");
    let said: Vec<&str> = matrices_said.into_iter().chain((room >= LEAST_BAR).then_some("bars: parameters")).collect();
    if !said.is_empty() {
        lines.push(canvas.dim(&said.join("; ")));
    }
    lines.extend([String::new(), canvas.dim(table_lines[0])]);
    let n = part(true).count();
    lines.extend(table_lines[1..=n].iter().copied().zip(part(true)).map(with_bar));
    lines.push(canvas.bold(&format!("{} parameters in {} matrices", grouped(film), grouped(matrices))));
    lines.push(String::new());
    lines.push(canvas.dim("what that leaves out"));
    lines.extend(table_lines[n + 1..].iter().copied().zip(part(false)).map(with_bar));
    let shared = tally.rows.iter().filter(|row| row.shared).map(|row| row.count).sum::<u64>();
    if shared > 0 {
        lines.push(format!("one table is embedding and unembedding: {} of them are stored once", grouped(shared)));
    }
    lines.push(canvas.bold(&format!("{} parameters stored", grouped(tally.stored()))));
    if tally.used < tally.stored() {
        lines.push(format!("a token uses {} of them: it chooses among experts", grouped(tally.used)));
    }
    if let Some(times) = times {
        let (ms, rest) = (1e3 * times.total(), 100.0 * times.without_parameters(tally));
        lines.push(String::new());
        lines.push(canvas.dim(&format!(
            "time: of {ms:.2} ms a token after {} others here; attention over them, which has no",
            times.trace.positions.start
        )));
        lines.push(
            canvas
                .dim(&format!("parameters, takes {rest:.1} %; {} are read a token", bytes(times.costs.weight_bytes()))),
        );
    }
    lines
}

fn json(name: &str, config: &Config, tally: &Tally, times: Option<&Times>) -> Vec<String> {
    let rows = tally.rows.iter().map(|row| {
        let mut object = Object::default()
            .text("category", row.category.name())
            .raw("in_film", row.category.in_film())
            .raw("shared", row.shared);
        object = match row.shape {
            Some((rows, columns)) => object.raw("rows", rows).raw("columns", columns),
            None => object.raw("rows", "null").raw("columns", "null"),
        };
        object = object
            .raw("heads", row.heads.map_or("null".into(), |heads| heads.to_string()))
            .raw("layers", row.layers)
            .raw("matrices", row.matrices)
            .raw("parameters", row.count)
            .raw("bytes", row.bytes)
            .number("bits_per_parameter", row.bits().unwrap_or(f64::NAN));
        let share = times.and_then(|times| times.share(row, tally));
        object.number("time_share", share.unwrap_or(f64::NAN)).line()
    });
    let (film, matrices) = tally.film();
    let summary = Object::default()
        .text("name", name)
        .raw("layers", config.n_layers())
        .raw("dim", config.dim)
        .raw("film_parameters", film)
        .raw("film_matrices", matrices)
        .raw("stored_parameters", tally.stored())
        .raw("used_parameters", tally.used)
        .number("time_depth", times.map_or(f64::NAN, |times| times.trace.positions.start as f64))
        .number("seconds_per_token", times.map_or(f64::NAN, Times::total))
        .number("time_share_without_parameters", times.map_or(f64::NAN, |times| times.without_parameters(tally)));
    rows.chain([Object::default().raw("summary", summary.line()).line()]).collect()
}

/// The network that `--shape` names.
fn shape_named(name: &str) -> Result<Config> {
    if let Some(config) = known(name) {
        return Ok(config);
    }
    let path = Path::new(name);
    if path.extension().is_none_or(|extension| extension != "json") {
        let names = known_names().collect::<Vec<_>>().join(", ");
        let error = Error::usage(format!("{name:?} is neither known nor a config.json")).field("shape");
        return Err(error.hint(format!("known are {names}")));
    }
    of_json(&input::text(path)?).map_err(|error| error.in_file(name))
}

/// The dimensions in a config.json of Hugging Face, by the names that GPT-2 and Llama use there.
fn of_json(text: &str) -> Result<Config> {
    let json: Value = serde_json::from_str(text).map_err(|error| Error::data(error.to_string()))?;
    let number = |names: &[&str]| -> Result<Option<usize>> {
        let Some((name, value)) = names.iter().find_map(|name| Some((*name, json.get(*name)?))) else {
            return Ok(None);
        };
        if value.is_null() {
            return Ok(None);
        }
        match value.as_u64().filter(|n| (1..1 << 24).contains(n)) {
            Some(n) => Ok(Some(n as usize)),
            None => Err(Error::data("is no dimension").field(name)),
        }
    };
    let needed = |names: &[&str]| number(names)?.ok_or_else(|| Error::data("is missing").field(names[0]));
    let kind = json.get("model_type").and_then(Value::as_str).unwrap_or_default();
    if !["", "gpt2", "llama", "mistral", "qwen2", "qwen3"].contains(&kind) {
        let error = Error::data(format!("{:?} is not among those that are known", printable(kind))).field("model_type");
        return Err(error.hint("gpt2, llama, mistral, qwen2 and qwen3 are"));
    }
    let flag = |name: &str| json.get(name).and_then(Value::as_bool);
    let family = if json.get("n_embd").is_some() { Family::Gpt2 } else { Family::Llama };
    let gpt2 = family == Family::Gpt2;
    let dim = needed(if gpt2 { &["n_embd"] } else { &["hidden_size"] })?;
    let n_heads = needed(if gpt2 { &["n_head"] } else { &["num_attention_heads"] })?;
    let head_dim = number(&["head_dim"])?.unwrap_or(dim / n_heads);
    if head_dim == 0 {
        return Err(Error::data(format!("{n_heads} heads in a width of {dim}")).field("num_attention_heads"));
    }
    let n_kv_heads = number(&["num_key_value_heads"])?.unwrap_or(n_heads);
    if !n_heads.is_multiple_of(n_kv_heads) {
        return Err(Error::data(format!("{n_heads} heads in {n_kv_heads} groups")).field("num_key_value_heads"));
    }
    if n_heads.saturating_mul(head_dim) >= 1 << 24 {
        return Err(Error::data(format!("{n_heads} heads of {head_dim}")).field("head_dim"));
    }
    let n_layers = needed(if gpt2 { &["n_layer"] } else { &["num_hidden_layers"] })?;
    if n_layers > 1024 {
        return Err(Error::data(format!("{n_layers} layers, at most 1024")).field("num_hidden_layers"));
    }
    let uniform = Uniform {
        family,
        dim,
        hidden_dim: match number(if gpt2 { &["n_inner"] } else { &["intermediate_size"] })? {
            Some(n) => n,
            None if gpt2 => 4 * dim,
            None => return Err(Error::data("is missing").field("intermediate_size")),
        },
        n_layers,
        n_heads,
        n_kv_heads,
        head_dim,
        vocab_size: needed(&["vocab_size"])?,
        context_length: match number(&["n_positions", "n_ctx", "max_position_embeddings"])? {
            None if gpt2 => return Err(Error::data("is missing").field("n_positions")),
            n => n.unwrap_or(1),
        },
        norm_eps: 1e-5,
        sliding_window: None,
        tied: flag("tie_word_embeddings").unwrap_or(gpt2),
        qkv_bias: gpt2 || flag("attention_bias").unwrap_or(kind == "qwen2"),
        output_bias: gpt2 || flag("attention_bias").unwrap_or(false),
        mlp_bias: gpt2 || flag("mlp_bias").unwrap_or(false),
        qk_norm: kind == "qwen3",
        rope_freqs: if gpt2 { Vec::new() } else { vec![0.0; head_dim / 2] },
    };
    Ok(uniform.config())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([1, 999, 1000, 175_181_291_520].map(grouped), ["1", "999", "1,000", "175,181,291,520"]);
    }

    #[test]
    fn a_configuration_is_counted_by_its_dimensions() {
        let stored = |text: &str| of_json(text).map(|config| Tally::new(&config, &[]).stored());
        let gpt2 = r#"{"n_embd": 768, "n_head": 12, "n_layer": 12, "n_positions": 1024, "vocab_size": 50257}"#;
        assert_eq!(stored(gpt2), Ok(124_439_808));
        // The published sizes of TinyLlama 1.1B and SmolLM2 135M.
        let tinyllama = r#"{"model_type": "llama", "hidden_size": 2048, "intermediate_size": 5632,
            "num_attention_heads": 32, "num_hidden_layers": 22, "num_key_value_heads": 4, "vocab_size": 32000}"#;
        assert_eq!(stored(tinyllama), Ok(1_100_048_384));
        let smollm2 = r#"{"hidden_size": 576, "intermediate_size": 1536, "num_attention_heads": 9, "num_hidden_layers": 30,
            "num_key_value_heads": 3, "vocab_size": 49152, "tie_word_embeddings": true}"#;
        assert_eq!(stored(smollm2), Ok(134_515_008));
    }

    #[test]
    fn what_is_no_configuration_is_told_by_its_field() {
        for (text, part) in [
            ("{", "line 1 column 1"),
            ("{}", "hidden_size: is missing"),
            (r#"{"n_embd": -3}"#, "n_embd: is no dimension"),
            (r#"{"model_type": "mixtral"}"#, "model_type: \"mixtral\" is not among those that are known"),
            (r#"{"n_embd": 4, "n_head": 2, "n_layer": 1, "vocab_size": 9}"#, "n_positions: is missing"),
            (
                r#"{"hidden_size": 9999999, "num_attention_heads": 9999999, "head_dim": 9999999}"#,
                "head_dim: 9999999 heads",
            ),
            (r#"{"n_embd": 4, "n_head": 8}"#, "8 heads in a width of 4"),
            (r#"{"hidden_size": 4, "num_attention_heads": 4, "num_key_value_heads": 3}"#, "4 heads in 3 groups"),
        ] {
            let error = of_json(text).expect_err(text).to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
