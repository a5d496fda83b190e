//! The views: what a GPT does between text and next token, drawn. Each is computed by `whit::inspect` and shown in a terminal, as
//! JSON lines (docs/inside.md names their fields) and as a page for a browser, which draws the same JSON.

pub(super) mod attend;
mod bars;
pub(super) mod branch;
pub(super) mod explain;
pub(super) mod lens;
pub(super) mod next;
mod page;
mod paint;
mod pieces;
pub(super) mod score;
mod show;
pub(super) mod tally;
pub(super) mod tokens;
pub(super) mod words;

pub(super) use page::create;
pub(super) use pieces::text;
pub(super) use show::Show;

use super::args::views::{Display, Look, LookedText};
use super::input::{self, ModelFile};
use super::output::{Outcome, Output};
use super::plan::Wanted;
use super::screen::fold;
use super::setup::{BATCH, compute, held_by};
use super::streaming;
use paint::Canvas;
use whit::TokenId;
use whit::error::{Error, Result};
use whit::generate::prompt_tokens;
use whit::model::{Config, Model, Session, SessionOptions};
use whit::os::interrupt;
use whit::tokenizer::{Specials, Tokenizer};

/// A view that was computed: its picture, its JSON lines, and the page that draws them.
struct View {
    title: String,
    picture: Vec<String>,
    json: Vec<String>,
    script: &'static str,
}

impl View {
    /// Prints what `display` asks for.
    fn show(&self, display: &Display) -> Outcome<()> {
        if let Some(path) = &display.html {
            page::write(path, &self.title, self.script, &self.json)?;
        }
        let mut out = Output::new();
        if display.json {
            self.json.iter().try_for_each(|line| out.line(line))?;
            return out.flush();
        }
        let width = Canvas::new(display).width;
        for line in self.picture.iter().flat_map(|line| fold(line.trim_end(), width)) {
            out.line(&line)?;
        }
        out.flush()
    }
}

/// A text in a model, about to be looked at.
struct Looked<'m> {
    model: &'m Model,
    tokenizer: Tokenizer<'m>,
    tokens: Vec<TokenId>,
    /// Empty, with room for the tokens.
    session: Session,
}

/// Opens the model, reads the text and hands both to `look`.
fn on_text(args: &Look, quiet: bool, look: &mut dyn FnMut(Looked<'_>) -> Outcome<()>) -> Outcome<()> {
    let source = ModelFile::open(args.model.model.as_deref())?;
    let model = source.model()?;
    let tokenizer = tokenizer(&source, &model)?;
    let tokens = tokens_of(&model, &args.text)?;
    let context_length = held_by(&model, tokens.len()).map_err(|error| error.field("tokens of the text"))?;
    let compute = compute(&args.compute)?;
    let kv = args.compute.kv.into();
    let options = SessionOptions { context_length, kv, batch: BATCH, logit_rows: 1, hold_all: true };
    let plan = Wanted::one(&model, options, &compute, &args.compute, "a text of tokens").check()?;
    let mut session = Session::new(&model, &compute, options)?;
    streaming::pace(&mut session, &source, &model, &plan, args.compute.max_memory, quiet)?;
    interrupt::watch();
    source.if_unchanged(look(Looked { model: &model, tokenizer, tokens, session }))
}

/// Which layers of a network have something else in the place of attention, in words; `None` where all attend.
fn without_attention(config: &Config) -> Option<String> {
    let others = config.layers.iter().enumerate().filter(|(_, layer)| layer.attention().is_none());
    let mut kinds: Vec<&str> = others.clone().map(|(_, layer)| layer.mixer.name()).collect();
    let others: Vec<String> = others.map(|(layer, _)| layer.to_string()).collect();
    let (last, first) = others.split_last()?;
    kinds.sort_unstable();
    kinds.dedup();
    Some(match first {
        [] => format!("layer {last} has a {} in the place of attention", kinds.join("")),
        _ => format!("layers {} and {last} have {}s in the place of attention", first.join(", "), kinds.join("s and ")),
    })
}

/// What looks at tokens lack of the whole where heads have sinks, in words; `None` where none has.
fn with_sinks(config: &Config) -> Option<&'static str> {
    let has = config.attentions().any(|attention| attention.sinks);
    has.then_some("heads have sinks: what the shares of a token lack of 100 % goes to nobody")
}

/// What is counted with the MLPs where layers do more after them, in words; `None` where none does.
fn with_layer_inputs(config: &Config) -> Option<&'static str> {
    let more = config.layer_inputs.is_some() || config.layers.iter().any(|layer| layer.scaled);
    more.then_some("what a layer adds by a vector of its own for the token, and its factor, are counted with the MLP")
}

/// The model's tokenizer; an error where it has none.
fn tokenizer<'m>(source: &ModelFile, model: &'m Model) -> Result<Tokenizer<'m>> {
    let missing = || Error::data("this model has no tokenizer, so no text can be read").in_file(source.name());
    model.tokenizer().copied().ok_or_else(missing)
}

/// The tokens of the text that the arguments give, begun as `whit generate` begins it.
fn tokens_of(model: &Model, text: &LookedText) -> Result<Vec<TokenId>> {
    let missing = || Error::usage("no text is given").hint("name one, or a file with -f");
    let given = input::given(&text.given)?.ok_or_else(missing)?;
    let specials = if text.special { Specials::Parse } else { Specials::AsText };
    prompt_tokens(model, &[], &given, specials)
}

/// `text` in lines of at most `width` columns; no word is cut that fits in a line.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split_whitespace() {
        let own = paint::columns(word);
        if used > 0 && used + 1 + own > width {
            lines.push(String::new());
            used = 0;
        }
        for (i, c) in word.chars().enumerate() {
            let wide = paint::columns(c.encode_utf8(&mut [0; 4]));
            let gap = usize::from(i == 0 && used > 0);
            if used + gap + wide > width {
                lines.push(String::new());
                used = 0;
            }
            let last = lines.len() - 1;
            if gap > 0 && used > 0 {
                lines[last].push(' ');
                used += 1;
            }
            lines[last].push(c);
            used += wide;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::wrapped;

    #[test]
    fn lines_are_as_long_as_they_may_be() {
        assert_eq!(wrapped("ab  cd\nefg h", 5), ["ab cd", "efg h"]);
        assert_eq!(wrapped("a bcdefgh i", 4), ["a", "bcde", "fgh", "i"]);
        assert_eq!(wrapped("日本語", 4), ["日本", "語"]);
        assert_eq!(wrapped("", 4), [""]);
    }
}
