//! A model's chat template: messages to the text that the model was trained on. Templates come with model files, so they
//! may compute only so much: by fuel and bytes, never by time, so that a slow board gets the same text.

use super::turn::{Speaker, Turn};
use crate::error::{Error, Result};
use crate::os::budget::{self, Beyond};
use crate::tokenizer::Tokenizer;
use minijinja::{
    AutoEscape, Environment, ErrorKind, UndefinedBehavior, Value, context, filters, functions, syntax::SyntaxConfig,
    tests,
};

/// Instructions that a template may run.
const FUEL: u64 = 1_000_000;
/// Bytes that its text may have.
const MOST_BYTES: usize = 1 << 20;
/// Bytes it may ask for in all, besides what goes with the length of the messages.
const MEMORY: u64 = 64 << 20;
/// Macros, loops and conditions within one another.
const DEPTH: usize = 150;

/// A chat template with the names of the tokens that it may write. What it may allocate is bounded where
/// [`budget::Budgeted`] is the program's allocator.
#[derive(Debug, Clone)]
pub struct Template {
    source: String,
    bos: String,
    eos: String,
}

impl Template {
    /// The template in `source`.
    pub fn new(source: &str, tokenizer: &Tokenizer<'_>) -> Template {
        let name = |id: Option<u32>| id.map_or(String::new(), |id| String::from_utf8_lossy(tokenizer.bytes(id)).into());
        Template { source: without_generation_tags(source), bos: name(tokenizer.bos()), eos: name(tokenizer.eos()) }
    }

    /// The text of `turns`, whose contents are given beside them; it ends where the model's next reply begins.
    pub(super) fn render(&self, turns: &[Turn], contents: Vec<String>) -> Result<String> {
        let roles: Vec<Speaker> = turns.iter().map(|turn| turn.role).collect();
        let length: usize = contents.iter().map(String::len).sum();
        let template = self.clone();
        let most = MOST_BYTES.max(2 * length);
        let rendered = budget::within(MEMORY + 64 * length as u64, move || template.fill(&roles, contents, most));
        let told = |message: String| Error::data(message).field("chat template");
        match rendered {
            Ok(Ok(text)) => Ok(text),
            Ok(Err(message)) => Err(told(message)),
            Err(Beyond::Memory) => Err(told(format!("it takes more than {} MiB of memory", MEMORY >> 20))),
            Err(Beyond::Stack) => Err(told("it puts too many values into one another".into())),
        }
    }

    fn fill(&self, roles: &[Speaker], contents: Vec<String>, most: usize) -> core::result::Result<String, String> {
        let messages: Vec<Value> = roles
            .iter()
            .zip(contents)
            .map(|(role, content)| context! { role => role.name(), content => content })
            .collect();
        let mut environment = environment();
        environment.set_fuel(Some(FUEL));
        environment.set_recursion_limit(DEPTH);
        environment.set_syntax(
            SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(|e| one_line(&e))?,
        );
        environment.set_undefined_behavior(UndefinedBehavior::Lenient);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function(
            "raise_exception",
            |message: String| -> core::result::Result<Value, minijinja::Error> {
                Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
            },
        );
        let values = context! {
            messages => messages,
            add_generation_prompt => true,
            bos_token => &self.bos,
            eos_token => &self.eos,
        };
        let template = environment.template_from_str(&self.source).map_err(|error| one_line(&error))?;
        let text = template.render(values).map_err(|error| one_line(&error))?;
        if text.len() > most {
            return Err(format!("it writes more than {most} bytes"));
        }
        Ok(text)
    }
}

/// The words of the language that published templates use: all of it would be a tenth of the program.
fn environment() -> Environment<'static> {
    let mut environment = Environment::empty();
    environment.add_filter("trim", filters::trim);
    environment.add_filter("length", filters::length);
    environment.add_filter("count", filters::length);
    environment.add_filter("upper", filters::upper);
    environment.add_filter("lower", filters::lower);
    environment.add_filter("capitalize", filters::capitalize);
    environment.add_filter("title", filters::title);
    environment.add_filter("replace", filters::replace);
    environment.add_filter("default", filters::default);
    environment.add_filter("join", filters::join);
    environment.add_filter("list", filters::list);
    environment.add_filter("first", filters::first);
    environment.add_filter("last", filters::last);
    environment.add_filter("reverse", filters::reverse);
    environment.add_filter("items", filters::items);
    environment.add_filter("int", filters::int);
    environment.add_filter("string", |value: Value| value.to_string());
    environment.add_filter("map", filters::map);
    environment.add_filter("selectattr", filters::selectattr);
    environment.add_filter("rejectattr", filters::rejectattr);
    environment.add_filter("tojson", filters::tojson);
    environment.add_test("defined", tests::is_defined);
    environment.add_test("undefined", tests::is_undefined);
    environment.add_test("none", tests::is_none);
    environment.add_test("string", tests::is_string);
    environment.add_test("mapping", tests::is_mapping);
    environment.add_test("iterable", tests::is_iterable);
    environment.add_test("sequence", tests::is_sequence);
    environment.add_test("number", tests::is_number);
    environment.add_test("integer", tests::is_integer);
    environment.add_test("boolean", tests::is_boolean);
    environment.add_test("true", tests::is_true);
    environment.add_test("false", tests::is_false);
    environment.add_test("odd", tests::is_odd);
    environment.add_test("even", tests::is_even);
    environment.add_test("in", tests::is_in);
    environment.add_test("equalto", tests::is_eq);
    environment.add_test("eq", tests::is_eq);
    environment.add_test("ne", tests::is_ne);
    environment.add_function("range", functions::range);
    environment.add_function("namespace", functions::namespace);
    environment.add_function("dict", functions::dict);
    environment
}

/// The template's own message, with its line.
fn one_line(error: &minijinja::Error) -> String {
    let detail = error.detail().filter(|detail| !detail.trim().is_empty());
    let said = detail.map_or_else(|| error.kind().to_string(), str::to_owned);
    let said = match error.kind() {
        ErrorKind::OutOfFuel => format!("it runs more than {FUEL} instructions"),
        _ => crate::error::printable(&said),
    };
    match error.line() {
        Some(line) => format!("line {line}: {said}"),
        None => said,
    }
}

/// `source` with the tags by which training code finds replies, `{% generation %}` and its end, turned into a condition that
/// always holds.
fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at + 2);
        out.push_str(before);
        let word = tag.trim_start_matches(['-', '+']).trim_start();
        let skipped = tag.len() - word.len();
        out.push_str(&tag[..skipped]);
        rest = word;
        for (name, instead) in [("generation", "if true"), ("endgeneration", "endif")] {
            let Some(after) = word.strip_prefix(name) else { continue };
            if after.trim_start().trim_start_matches(['-', '+']).starts_with("%}") {
                out.push_str(instead);
                rest = after;
            }
        }
    }
    out + rest
}
