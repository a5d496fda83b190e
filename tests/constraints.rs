//! A text under a constraint is what the constraint allows, whatever the model says: the logits here are random.
#![cfg(feature = "constraints")]

mod random;
mod support;

use random::Random;
use std::collections::BTreeSet;
use std::sync::Arc;
use support::{END, Folder, TinyModel};
use whit::format::SectionId;
use whit::generate::grammar::{Grammar, Grammars, Rule};
use whit::generate::{Constraint, StopReason, StopRules, Together, Writer, advance};
use whit::model::{Model, Session, SessionOptions, StateOptions, Workspace};
use whit::sampler::{Sampler, SamplerOptions};
use whit::tokenizer::{Token, TokenKind, Vocabulary, VocabularyModel};
use whit::{Compute, Engine, TokenId, kernels};

fn story_model() -> Arc<Model> {
    Arc::clone(Engine::of_bytes(whit::default_model().expect("the story model")).expect("a model").model())
}

/// A model whose tokens are pieces with spaces in front, and bytes.
fn pieces(folder: &Folder) -> Arc<Model> {
    let token = |bytes: &[u8], kind, score| Token { bytes: bytes.to_vec(), kind, score };
    let mut tokens: Vec<Token> =
        (0..=255u8).map(|byte| token(format!("<0x{byte:02X}>").as_bytes(), TokenKind::Byte, 0.0)).collect();
    tokens.push(token(b"<|end|>", TokenKind::Control, 0.0));
    tokens.push(token("\u{2581}".as_bytes(), TokenKind::Normal, -1.0));
    tokens.push(token("a".as_bytes(), TokenKind::Normal, -2.0));
    tokens.push(token("\u{2581}a".as_bytes(), TokenKind::Normal, -0.5));
    let vocabulary = Vocabulary {
        tokens,
        model: VocabularyModel::SentencePiece { add_dummy_prefix: true },
        bos: Some(END),
        eos: Some(END),
        unk: None,
        add_bos: true,
    };
    let mut tiny = TinyModel::llama();
    tiny.config.vocab_size = 260;
    let section = vocabulary.build().expect("a vocabulary");
    let path = folder.path("pieces");
    tiny.write_as(&path, Some(section), Vec::<(SectionId, Vec<u8>)>::new());
    Arc::clone(whit::generate::ModelFile::open(&path).expect("a model").model())
}

/// The models: byte-level merges of thousands of tokens and of bytes, and pieces.
fn models(folder: &Folder) -> Vec<Arc<Model>> {
    vec![story_model(), TinyModel::gpt2().open(&folder.path("bytes")), pieces(folder)]
}

fn grammar(model: &Arc<Model>, rule: Rule) -> Grammar {
    Grammars::new(model).expect("a tokenizer").compile(&rule).expect("a rule")
}

fn schema(model: &Arc<Model>, text: &str) -> Grammar {
    grammar(model, Rule::Schema(text.into()))
}

fn end_of(model: &Model) -> Vec<TokenId> {
    model.tokenizer().expect("a tokenizer").named_ends().collect()
}

/// What a writer under a constraint wrote.
struct Written {
    text: String,
    reason: StopReason,
    is_cut_short: bool,
    n_tokens: usize,
    /// How often it asked for logits.
    n_asked: usize,
}

/// Writes under `grammar` by the logits that `logits` makes.
fn write(model: &Arc<Model>, grammar: &Grammar, seed: u64, logits: &mut dyn FnMut(&mut [f32])) -> Written {
    let vocab_size = model.config().vocab_size;
    let end_tokens = end_of(model);
    let prompt = [*end_tokens.first().expect("a token that ends texts")];
    let sampler = Sampler::new(SamplerOptions { seed, ..SamplerOptions::default() }, vocab_size).expect("options");
    let rules = StopRules { n_tokens: Some(600), end_tokens, ..StopRules::default() };
    let mut writer = Writer::new(model, &prompt, 1000, sampler, rules).expect("a writer");
    writer.keep_to(grammar.begin().expect("a constraint")).expect("a beginning");
    let (mut text, mut n_asked) = (String::new(), 0);
    let mut row = vec![0.0; vocab_size];
    loop {
        if writer.wants().is_some() {
            n_asked += 1;
            logits(&mut row);
            writer.take(&row, &mut ()).expect("a token");
        }
        let Some(piece) = writer.piece() else { break };
        text.push_str(piece.text);
    }
    Written {
        text,
        reason: writer.stop_reason().expect("it ended"),
        is_cut_short: writer.is_cut_short(),
        n_tokens: writer.n_generated(),
        n_asked,
    }
}

fn write_random(model: &Arc<Model>, grammar: &Grammar, seed: u64) -> Written {
    let mut random = Random::new(seed + 1);
    write(model, grammar, seed, &mut |row| row.iter_mut().for_each(|logit| *logit = random.unit() * 3.0))
}

const PERSON: &str = r##"{"type":"object","$defs":{"pet":{"type":"object","properties":{"kind":{"enum":["cat","dog"]},
    "name":{"type":"string","pattern":"^[A-Z][a-z]{1,5}$"}},"required":["kind"],"additionalProperties":false}},
    "properties":{"name":{"type":"string","minLength":1,"maxLength":6},"age":{"type":"integer","minimum":-3,"maximum":120},
    "size":{"type":"number","exclusiveMinimum":0,"maximum":2.5},"pets":{"type":"array","items":{"$ref":"#/$defs/pet"},"maxItems":2},
    "is":{"anyOf":[{"type":"boolean"},{"type":"null"},{"const":"é✓"}]}},
    "required":["name","age","pets","is"],"additionalProperties":false}"##;

#[test]
fn json_keeps_to_its_schema_in_every_tokenizer() {
    let folder = Folder::new("constraints-json");
    for model in models(&folder) {
        let grammar = schema(&model, PERSON);
        for seed in 0..40 {
            let written = write_random(&model, &grammar, seed);
            let text = &written.text;
            assert!(!written.is_cut_short && written.reason == StopReason::Complete, "{text}");
            assert!(written.n_asked < written.n_tokens, "forced tokens are not asked for");
            let value: serde_json::Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
            let keys: Vec<&str> = value.as_object().expect("an object").keys().map(String::as_str).collect();
            assert!(keys == ["name", "age", "size", "pets", "is"] || keys == ["name", "age", "pets", "is"], "{text}");
            let n = value["name"].as_str().expect("a name").chars().count();
            assert!((1..=6).contains(&n), "{text}");
            // -0 is a whole number, too.
            let age = value["age"].as_f64().expect("a number");
            assert!((-3.0..=120.0).contains(&age) && age.fract() == 0.0, "{text}");
            let size = value.get("size").map_or(1.0, |size| size.as_f64().expect("a number"));
            assert!(size > 0.0 && size <= 2.5, "{text}");
            let pets = value["pets"].as_array().expect("pets");
            assert!(pets.len() <= 2, "{text}");
            for pet in pets {
                assert!(["cat", "dog"].contains(&pet["kind"].as_str().expect("a kind")), "{text}");
                let name = pet.get("name").map_or("Tom", |name| name.as_str().expect("a name"));
                assert!(name.starts_with(|c: char| c.is_ascii_uppercase()) && (2..=6).contains(&name.len()), "{text}");
            }
            let is = &value["is"];
            assert!(is.is_boolean() || is.is_null() || is == "é✓", "{text}");
            assert!(grammar.accepts(text).expect("it can be told"), "{text}");
        }
    }
}

#[test]
fn a_text_ends_where_it_may_and_nowhere_else() {
    let folder = Folder::new("constraints-end");
    for model in models(&folder) {
        let ends = end_of(&model);
        let grammar = grammar(&model, Rule::Regex(" ?(ab)+c?".into()));
        for seed in 0..60 {
            let mut random = Random::new(seed);
            // The end is what the model wants most, wherever it is.
            let written = write(&model, &grammar, seed, &mut |row| {
                row.iter_mut().for_each(|logit| *logit = random.unit());
                ends.iter().for_each(|end| row[*end as usize] = 1.0 + 9.0 * random.unit().abs());
            });
            let text = written.text.strip_prefix(' ').unwrap_or(&written.text);
            let pairs = text.strip_suffix('c').unwrap_or(text);
            assert!(!pairs.is_empty() && pairs.replace("ab", "").is_empty(), "{text}");
            // After a c nothing may come, so that the text ends by itself.
            let by_itself = if text.ends_with('c') { StopReason::Complete } else { StopReason::EndOfText };
            assert_eq!((written.reason, written.is_cut_short), (by_itself, false), "{text}");
        }
    }
}

#[test]
fn what_is_forced_draws_nothing_and_asks_nothing() {
    let folder = Folder::new("constraints-forced");
    // Its tokens are bytes, so that no letter has a second way to come.
    let model = TinyModel::gpt2().open(&folder.path("model"));
    let short = grammar(&model, Rule::Regex("[xyz]".into()));
    let long = grammar(&model, Rule::Regex("Once upon a time there was [xyz]".into()));
    for seed in 0..40 {
        let letter = |grammar| write(&model, grammar, seed, &mut |row| row.fill(0.0));
        let (one, other) = (letter(&short), letter(&long));
        assert_eq!(other.text, format!("Once upon a time there was {}", one.text));
        // The prompt's logits are computed in any case.
        assert!((one.n_asked, other.n_asked) == (1, 2) && other.n_tokens > 20, "{} {}", other.n_asked, other.n_tokens);
    }
    let fixed = schema(&model, r#"{"const":{"a":[1,true,"b"],"c":null}}"#);
    let written = write_random(&model, &fixed, 1);
    assert_eq!((written.text.as_str(), written.n_asked), (r#"{"a": [1, true, "b"], "c": null}"#, 1));
}

#[test]
fn a_text_that_is_cut_says_so() {
    let model = story_model();
    let endless = grammar(&model, Rule::Regex("a{2000}b".into()));
    let written = write_random(&model, &endless, 1);
    assert_eq!((written.reason, written.is_cut_short), (StopReason::Length, true));
    let open = grammar(&model, Rule::Regex("(a|b)*".into()));
    let written = write(&model, &open, 1, &mut |row| {
        row.fill(0.0);
        end_of(&model).iter().for_each(|end| row[*end as usize] = -1e9);
    });
    assert_eq!((written.reason, written.is_cut_short), (StopReason::Length, false));
}

#[test]
fn choices_are_written_whole() {
    let folder = Folder::new("constraints-choices");
    for model in models(&folder) {
        let texts = ["yes", "yes, if it must be", "no", "\"né\\", " a"].map(String::from);
        let grammar = grammar(&model, Rule::Choice(texts.to_vec()));
        let written: BTreeSet<String> = (0..200).map(|seed| write_random(&model, &grammar, seed).text).collect();
        assert_eq!(written, texts.iter().cloned().collect());
    }
}

/// An expression of a grammar over a, b and c.
enum Expr {
    One(&'static str),
    Literal(String),
    Rule(usize),
    Sequence(Vec<Expr>),
    Choice(Vec<Expr>),
    Repeat(Box<Expr>, usize, Option<usize>),
}

impl Expr {
    fn random(random: &mut Random, n_rules: usize, depth: usize) -> Expr {
        let parts = |random: &mut Random| {
            (0..1 + random.below(3)).map(|_| Expr::random(random, n_rules, depth - 1)).collect::<Vec<_>>()
        };
        match random.below(if depth == 0 { 4 } else { 9 }) {
            0 => Expr::One(random.pick(&["a", "b", "c", "ab", "bc", "abc"])),
            1 | 2 => Expr::Literal((0..random.below(4)).map(|_| random.pick(&['a', 'b', 'c'])).collect()),
            3 => Expr::Rule(random.below(n_rules)),
            4 | 5 => Expr::Sequence(parts(random)),
            6 => Expr::Choice(parts(random)),
            _ => {
                let (least, most) = random.pick(&[(0, None), (1, None), (0, Some(1)), (2, Some(3)), (1, Some(2))]);
                Expr::Repeat(Box::new(Expr::random(random, n_rules, depth - 1)), least, most)
            }
        }
    }

    fn text(&self) -> String {
        let all = |of: &[Expr], between| of.iter().map(Expr::text).collect::<Vec<_>>().join(between);
        match self {
            Expr::One(set) => format!("[{set}]"),
            Expr::Literal(text) => format!("\"{text}\""),
            Expr::Rule(0) => "root".into(),
            Expr::Rule(rule) => format!("rule-{rule}"),
            Expr::Sequence(of) => format!("({})", all(of, " ")),
            Expr::Choice(of) => format!("({})", all(of, " | ")),
            Expr::Repeat(of, least, None) => format!("({}){{{least},}}", of.text()),
            Expr::Repeat(of, least, Some(most)) => format!("({}){{{least},{most}}}", of.text()),
        }
    }

    /// Where the expression may end in `text` if it begins at `start`, by what is known of rules.
    fn ends(&self, text: &str, start: usize, known: &[Vec<BTreeSet<usize>>]) -> BTreeSet<usize> {
        let then = |ends: &BTreeSet<usize>, of: &Expr| -> BTreeSet<usize> {
            ends.iter().flat_map(|end| of.ends(text, *end, known)).collect()
        };
        match self {
            Expr::One(set) => {
                text[start..].chars().next().filter(|c| set.contains(*c)).map(|_| start + 1).into_iter().collect()
            }
            Expr::Literal(of) => {
                text[start..].starts_with(of.as_str()).then_some(start + of.len()).into_iter().collect()
            }
            Expr::Rule(rule) => known[*rule][start].clone(),
            Expr::Sequence(of) => of.iter().fold([start].into(), |ends, of| then(&ends, of)),
            Expr::Choice(of) => of.iter().flat_map(|of| of.ends(text, start, known)).collect(),
            Expr::Repeat(of, least, most) => {
                let (mut now, mut found): (BTreeSet<usize>, _) = ([start].into(), BTreeSet::new());
                for n in 0..=most.unwrap_or(text.len() + least + 1) {
                    if n >= *least {
                        found.extend(&now);
                    }
                    now = then(&now, of);
                }
                found
            }
        }
    }
}

/// Whether the grammar allows the whole text, by trying everything.
fn allows(rules: &[Expr], text: &str) -> bool {
    let mut known = vec![vec![BTreeSet::new(); text.len() + 1]; rules.len()];
    loop {
        let next: Vec<Vec<BTreeSet<usize>>> =
            rules.iter().map(|rule| (0..=text.len()).map(|at| rule.ends(text, at, &known)).collect()).collect();
        if next == known {
            return known[0][0].contains(&text.len());
        }
        known = next;
    }
}

/// All texts of up to `n` letters.
fn texts(n: usize) -> Vec<String> {
    let mut all = vec![String::new()];
    let mut from = 0;
    for _ in 0..n {
        let end = all.len();
        for i in from..end {
            all.extend(["a", "b", "c"].map(|letter| all[i].clone() + letter));
        }
        from = end;
    }
    all
}

#[test]
fn grammars_of_characters_mean_what_they_say() {
    let grammars = Grammars::new(&story_model()).expect("a tokenizer");
    let texts = texts(5);
    let mut random = Random::new(7);
    let (mut n_compiled, mut n_allowed) = (0, 0);
    for _ in 0..120 {
        let n_rules = 1 + random.below(4);
        let rules: Vec<Expr> = (0..n_rules).map(|_| Expr::random(&mut random, n_rules, 3)).collect();
        let mut text = String::new();
        for (i, rule) in rules.iter().enumerate() {
            text += &format!("{} ::= {}\n", Expr::Rule(i).text(), rule.text());
        }
        let compiled = match grammars.compile(&Rule::Gbnf(text.clone())) {
            Ok(compiled) => compiled,
            // Of a grammar without a text that ends nothing is allowed.
            Err(error) => {
                assert!(error.to_string().contains("without end"), "{text}{error}");
                assert!(texts.iter().all(|of| !allows(&rules, of)), "{text}");
                continue;
            }
        };
        n_compiled += 1;
        for of in &texts {
            let wanted = allows(&rules, of);
            n_allowed += usize::from(wanted);
            assert_eq!(compiled.accepts(of).expect("it can be told"), wanted, "{of:?} by\n{text}");
        }
    }
    assert!(n_compiled > 90 && n_allowed > 700, "{n_compiled} {n_allowed}");
}

const JSON_GBNF: &str = r##"# a value in JSON, as the grammars of llama.cpp write it
root   ::= object
value  ::= object | array | string | number | ("true" | "false" | "null") ws

object ::= "{" ws ( string ":" ws value ("," ws string ":" ws value)* )? "}" ws
array  ::= "[" ws ( value ("," ws value)* )? "]" ws
string ::= "\"" ( [^"\\\x7F\x00-\x1F] | "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}) ){0,5} "\"" ws
number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]{1,5})? ws
ws     ::= | " " | "\n" [ \t]{0,2}
"##;

#[test]
fn json_by_a_grammar_of_characters_is_json() {
    let folder = Folder::new("constraints-gbnf");
    for model in models(&folder) {
        let grammar = grammar(&model, Rule::grammar(JSON_GBNF.into()));
        for seed in 0..30 {
            let written = write_random(&model, &grammar, seed);
            if !written.is_cut_short {
                let value: serde_json::Value = serde_json::from_str(&written.text).expect(&written.text);
                assert!(value.is_object(), "{}", written.text);
            }
        }
        assert!(grammar.accepts(r#"{"a":[1,-2.5,{"b":null}],"cé":"\u00e9"}"#).expect("it can be told"));
        assert!(!grammar.accepts(r#"{"a":[1,]}"#).expect("it can be told"));
    }
}

#[test]
fn lark_is_read_too() {
    let model = story_model();
    let lark = "start: greeting \" \" NAME\ngreeting: \"hello\" | \"hi\"\nNAME: /[A-Z][a-z]+/\n";
    let grammar = grammar(&model, Rule::grammar(lark.into()));
    assert!(grammar.accepts("hi Tom").expect("told") && !grammar.accepts("hey Tom").expect("told"));
    // Of a range of tokens those come that are text.
    let any = Grammars::new(&model).expect("a tokenizer").compile(&Rule::Lark("start: \"a\" <[*]>\n".into()));
    let any = any.expect("a rule");
    for seed in 0..10 {
        let text = write_random(&model, &any, seed).text;
        assert!(text.starts_with('a') && text.len() > 1, "{text}");
    }
    for seed in 0..10 {
        let text = write_random(&model, &grammar, seed).text;
        assert!(text.starts_with("hello ") || text.starts_with("hi "), "{text}");
    }
}

#[test]
fn texts_have_the_same_bytes_alone_and_together() {
    let folder = Folder::new("constraints-together");
    let model = {
        let mut tiny = TinyModel::llama();
        tiny.config.context_length = 512;
        tiny.open(&folder.path("model"))
    };
    let compute = Arc::new(Compute::new(kernels::detect(), 1).expect("threads"));
    let rule = r#"{"type":"object","properties":{"the":{"type":"integer","maximum":99,"minimum":0},"he":{"enum":["the","he"]}},
        "required":["the","he"]}"#;
    let grammar = schema(&model, &rule.replace("\"required\"", "\"additionalProperties\":false,\"required\""));
    let writer = |seed| {
        let sampler = Sampler::new(SamplerOptions { seed, ..SamplerOptions::default() }, 259).expect("options");
        let rules = StopRules { n_tokens: Some(200), end_tokens: vec![END], ..StopRules::default() };
        let mut writer = Writer::new(&model, &[104, 101, 32], 512, sampler, rules).expect("a writer");
        writer.keep_to(grammar.begin().expect("a constraint")).expect("a beginning");
        writer
    };
    let alone = |batch: usize, seed| {
        let options = SessionOptions { context_length: 512, batch, ..SessionOptions::default() };
        let mut session = Session::new(&model, &compute, options).expect("a session");
        let mut writer = writer(seed);
        writer.prefill(&mut session, batch, &mut |_| true, &mut ()).expect("a prompt");
        while writer.next_piece(&mut session, &mut ()).expect("a piece").is_some() {}
        (writer.written().to_vec(), writer.stop_reason())
    };
    let mut workspace = Workspace::new(&model, 7, 3).expect("a workspace");
    let state =
        || model.state(StateOptions { context_length: 512, slack: 7, kv: Default::default() }).expect("a state");
    let mut texts: Vec<Together> = (0..5).map(|seed| Together { state: state(), writer: writer(seed) }).collect();
    while texts.iter().any(|text| text.writer.stop_reason().is_none()) {
        advance(&model, &compute, &mut workspace, &mut texts).expect("a pass");
        texts.iter_mut().for_each(|text| while text.writer.piece().is_some() {});
    }
    for (seed, text) in texts.iter().enumerate() {
        let together = (text.writer.written().to_vec(), text.writer.stop_reason());
        assert_eq!(together.1, Some(StopReason::Complete));
        for batch in [1, 3, 64] {
            assert_eq!(alone(batch, seed as u64), together, "seed {seed}, batch {batch}");
        }
    }
}

/// A constraint may be anybody's own.
struct Letters {
    left: usize,
    mask: whit::sampler::Mask,
}

impl Constraint for Letters {
    fn forced(&mut self, _: &[TokenId], _: &mut std::collections::VecDeque<TokenId>) -> whit::Result<()> {
        Ok(())
    }

    fn mask(&mut self, _: &[TokenId]) -> whit::Result<&whit::sampler::Mask> {
        (u32::from(b'a')..=u32::from(b'z')).for_each(|letter| self.mask.set(letter, true));
        Ok(&self.mask)
    }

    fn accept(&mut self, _: TokenId) -> whit::Result<()> {
        self.left -= 1;
        Ok(())
    }

    fn may_end(&mut self) -> bool {
        self.left == 0
    }

    fn is_complete(&mut self) -> bool {
        self.left == 0
    }
}

#[test]
fn a_constraint_may_be_anybodys_own() {
    let folder = Folder::new("constraints-own");
    let model = TinyModel::gpt2().open(&folder.path("model"));
    let sampler = Sampler::new(SamplerOptions::default(), 259).expect("options");
    let mut writer = Writer::new(&model, &[END], 64, sampler, StopRules::default()).expect("a writer");
    let letters = Letters { left: 9, mask: whit::sampler::Mask::none(259) };
    writer.keep_to(Box::new(letters)).expect("a beginning");
    let mut text = String::new();
    while writer.stop_reason().is_none() {
        writer.take(&[0.5; 259], &mut ()).expect("a token");
        text.push_str(writer.piece().expect("a piece").text);
    }
    assert!(text.len() == 9 && text.bytes().all(|b| b.is_ascii_lowercase()), "{text}");
    assert_eq!(writer.stop_reason(), Some(StopReason::Complete));
}
