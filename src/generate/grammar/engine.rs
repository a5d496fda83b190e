//! The engine of grammars, the crate llguidance: here alone it is named.

use super::Rule;
use super::gbnf::{Expr, Gbnf};
use super::lexemes::Lexemes;
use super::{lark, schema};
use crate::error::{Error, Kind, Result, escaped};
use crate::generate::Constraint;
use crate::model::Model;
use crate::sampler::Mask;
use crate::token::TokenId;
use crate::tokenizer::{Specials, TokenKind, Tokenizer};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::derivre::{ExprRef, RegexAst, RegexBuilder};
use llguidance::toktrie::{INVALID_TOKEN, InferenceCapabilities, TokEnv, TokRxInfo, TokTrie, TokenizerEnv};
use llguidance::{JsonCompileOptions, Matcher, ParserFactory, regex_to_lark};
use serde_json::Value;

/// The longest rule, in bytes.
const MAX_BYTES: usize = 1 << 20;
/// Bytes of a token, at most: longer ones, blanks as a rule, are not chosen under a constraint.
const MAX_TOKEN_BYTES: usize = 512;
/// The most groups and rules of a Lark grammar, which are read by recursion.
const MAX_GROUPS: usize = 512;
const MAX_RULES: usize = 256;
/// Bytes of what the engine says of a rule, in which it shows parts of it.
const MOST_SAID: usize = 1000;
/// Steps in which it is found whether two lexemes can be confused.
const COMPARE_FUEL: u64 = 100_000;
/// Lexemes that are compared with each other.
const MAX_COMPARED: usize = 64;

/// Bytes of tables for each token, and for each byte of a token: the engine keeps the tokens as trees, one of all and some of those that
/// are allowed as a whole. Fitted to the peaks of vocabularies of 32,000 to 151,936 tokens, 7 % above them.
const TOKEN_TABLE_BYTES: u64 = 290;
const TEXT_TABLE_BYTES: u64 = 34;
/// Bytes of compiled rules, and of what is known of how a text goes on; of rules of ordinary size.
const RULES_BYTES: u64 = 1 << 20;
const CONSTRAINT_BYTES: u64 = 64 << 10;

/// Compiles rules for the texts of one model.
pub struct Grammars {
    factory: ParserFactory,
    /// The tokens that are text.
    texts: Arc<Mask>,
}

/// A rule, compiled for the tokens of a model. Copies of it are made by [`Grammar::begin`].
pub struct Grammar {
    matcher: Matcher,
    texts: Arc<Mask>,
}

impl Grammars {
    /// Sorts the tokens of `model` by their bytes.
    ///
    /// Fails where the model has no tokenizer.
    pub fn new(model: &Arc<Model>) -> Result<Self> {
        let tokenizer = crate::generate::writer::tokenizer(model)?;
        let vocab_size = model.config().vocab_size;
        let mut words: Vec<Vec<u8>> = (0..vocab_size as TokenId).map(|id| text_of(tokenizer, id).to_vec()).collect();
        let mut texts = Mask::none(vocab_size);
        words.iter().zip(0..).for_each(|(word, id)| texts.set(id, !word.is_empty()));
        // The engine expects a token that is no text; this one is beyond the vocabulary, so that none is.
        words.push(b"\xff<none>".to_vec());
        // Which tokens end a text is the writer's to say.
        let info = TokRxInfo::new(words.len() as u32, INVALID_TOKEN);
        let tokens = Tokens { model: Arc::clone(model), trie: TokTrie::from(&info, &words) };
        let env: TokEnv = Arc::new(tokens);
        let caps = InferenceCapabilities { ff_tokens: true, ..InferenceCapabilities::default() };
        let slices = llguidance::earley::SlicedBiasComputer::general_slices();
        let mut factory = ParserFactory::new(&env, caps, &slices).map_err(internal)?;
        factory.quiet();
        *factory.limits_mut() = ParserLimits { verbose_errors: false, ..ParserLimits::default() };
        Ok(Grammars { factory, texts: Arc::new(texts) })
    }

    /// Bytes that an engine takes for the tokens of `tokenizer`, with constraints on `n_texts` texts: an estimate, on the high side.
    pub fn bytes(tokenizer: &Tokenizer, n_texts: u64) -> u64 {
        let n_tokens = tokenizer.vocab_size() as u64;
        let n_bytes: u64 = (0..n_tokens as TokenId).map(|id| text_of(tokenizer, id).len() as u64).sum();
        n_tokens * TOKEN_TABLE_BYTES
            + n_bytes * TEXT_TABLE_BYTES
            + RULES_BYTES
            + n_texts.saturating_mul(CONSTRAINT_BYTES)
    }

    /// Compiles `rule`. What is not supported is an error with its place, and so is a rule that no text fulfils.
    pub fn compile(&self, rule: &Rule) -> Result<Grammar> {
        let n_bytes = match rule {
            Rule::Schema(text) | Rule::Regex(text) | Rule::Gbnf(text) | Rule::Lark(text) => text.len(),
            Rule::Choice(texts) => texts.iter().map(String::len).sum(),
            Rule::JsonObject => 0,
        };
        if n_bytes > MAX_BYTES {
            return Err(Error::data(format!("{n_bytes} bytes are more than the {MAX_BYTES} that a rule may have")));
        }
        match rule {
            Rule::Schema(text) => self.schema(schema::read(text, &|pattern| check_pattern(pattern))?),
            Rule::JsonObject => self.schema(serde_json::json!({"type": "object"})),
            Rule::Regex(regex) => {
                check(&RegexAst::Regex(regex.clone())).map_err(Error::data)?;
                self.finish(TopLevelGrammar::from_lark(format!("start: /{}/", regex_to_lark(regex, ""))))
            }
            Rule::Choice(texts) => self.choice(texts),
            Rule::Gbnf(text) => self.gbnf(&Gbnf::read(text)?),
            Rule::Lark(text) => {
                check_depth(text)?;
                self.finish(TopLevelGrammar::from_lark(text.clone()))
            }
        }
    }

    /// Compiles a grammar in the form of Lark in which the control `tokens` stand by their numbers, as `<[5]>`. It is of the library's
    /// own making: how deep it nests is not checked.
    pub fn compile_marked(&self, lark: &str, tokens: &[TokenId]) -> Result<Grammar> {
        if lark.len() > MAX_BYTES {
            return Err(Error::data(format!(
                "{} bytes are more than the {MAX_BYTES} that a rule may have",
                lark.len()
            )));
        }
        let mut texts = Mask::clone(&self.texts);
        tokens.iter().for_each(|token| texts.set(*token, true));
        self.finish_among(TopLevelGrammar::from_lark(lark.to_owned()), &Arc::new(texts))
    }

    /// The JSON Schema in `text` as it stands in a grammar in the form of Lark, behind `%json`. What cannot be held is an error with
    /// its place.
    pub fn checked_schema(&self, text: &str) -> Result<String> {
        let schema = schema::read(text, &|pattern| check_pattern(pattern))?;
        self.schema(schema.clone())?;
        Ok(as_written(schema).to_string())
    }

    fn choice(&self, texts: &[String]) -> Result<Grammar> {
        if texts.is_empty() || texts.iter().any(String::is_empty) {
            return Err(Error::usage("a choice is among texts that are not empty"));
        }
        let option = |text: &String| {
            Expr::Sequence(text.chars().map(super::characters::Characters::one).map(Expr::One).collect())
        };
        self.gbnf(&Gbnf { rules: vec![Expr::Choice(texts.iter().map(option).collect())], root: 0 })
    }

    fn gbnf(&self, grammar: &Gbnf) -> Result<Grammar> {
        let long = Lexemes::of(grammar, false);
        let lexemes = if are_distinct(&long, &grammar.rules) { long } else { Lexemes::of(grammar, true) };
        self.finish(TopLevelGrammar::from_lark(lark::text_of(&lexemes, &grammar.rules, grammar.root)))
    }

    fn schema(&self, schema: Value) -> Result<Grammar> {
        self.of_schema(&schema).map_err(|error| self.innermost(&schema, error))
    }

    fn of_schema(&self, schema: &Value) -> Result<Grammar> {
        self.finish(TopLevelGrammar::from_json_schema(as_written(schema.clone())))
    }

    /// The error of the innermost schema that is as wrong by itself, with its place.
    fn innermost(&self, schema: &Value, error: Error) -> Error {
        let definitions: Vec<(&str, Value)> =
            ["$defs", "definitions"].into_iter().filter_map(|key| Some((key, schema.get(key)?.clone()))).collect();
        let is_unfulfilled = |error: &Error| error.message().contains("nsatisfiable");
        let (mut place, mut at, mut error) = ("#".to_string(), schema, error);
        loop {
            let inner = schema::within(at).into_iter().find_map(|(path, inner)| {
                let mut alone = inner.clone();
                let object = alone.as_object_mut()?;
                for (key, value) in &definitions {
                    object.entry(*key).or_insert_with(|| value.clone());
                }
                let of = self.of_schema(&alone).err()?;
                let is_the_same = of.message() == error.message() || (is_unfulfilled(&of) && is_unfulfilled(&error));
                is_the_same.then_some((path, inner, of))
            });
            let Some((path, inner, of)) = inner else { return error.field(place) };
            place += &path;
            (at, error) = (inner, of);
        }
    }

    fn finish(&self, grammar: TopLevelGrammar) -> Result<Grammar> {
        self.finish_among(grammar, &self.texts)
    }

    /// Compiles `grammar` for texts of the tokens `texts`.
    fn finish_among(&self, grammar: TopLevelGrammar, texts: &Arc<Mask>) -> Result<Grammar> {
        let parser = self.factory.create_parser(grammar).map_err(|error| Error::data(said(&error.to_string())))?;
        let mut matcher = Matcher::new(Ok(parser));
        // What ends before it began is found out here.
        matcher.consume_tokens(&[]).map_err(|error| Error::data(said(&error.to_string())))?;
        let grammar = Grammar { matcher, texts: Arc::clone(texts) };
        let mut text = grammar.text()?;
        if !text.may_end() && text.mask(&[])?.n_allowed() == 0 {
            return Err(Error::data("no text fulfils it, or none of this model's tokens begins one"));
        }
        Ok(grammar)
    }
}

impl Grammar {
    /// The same rule once more.
    pub fn again(&self) -> Grammar {
        Grammar { matcher: self.matcher.deep_clone(), texts: Arc::clone(&self.texts) }
    }

    /// The constraint on a text that begins.
    pub fn begin(&self) -> Result<Box<dyn Constraint>> {
        Ok(Box::new(self.text()?))
    }

    /// The constraint on a text that begins with `beginning` and goes on; `None` where no text that fulfils the rule begins so.
    pub fn begin_behind(&self, beginning: &[u8]) -> Result<Option<Box<dyn Constraint>>> {
        let mut text = self.text()?;
        let env = text.matcher.tok_env().map_err(internal)?;
        let tokens = env.tok_trie().greedy_tokenize(beginning);
        let is_spelled = tokens.iter().flat_map(|token| env.tok_trie().token(*token)).eq(beginning);
        let begins = is_spelled && text.matcher.try_consume_tokens(&tokens).map_err(internal)? == tokens.len();
        Ok(if begins { Some(Box::new(text)) } else { None })
    }

    fn text(&self) -> Result<UnderGrammar> {
        let (matcher, texts) = (self.matcher.deep_clone(), Arc::clone(&self.texts));
        Ok(UnderGrammar { matcher, mask: Mask::clone(&texts), texts })
    }

    /// Whether the whole of `text` is what the rule asks for.
    pub fn accepts(&self, text: &str) -> Result<bool> {
        let mut matcher = self.matcher.deep_clone();
        let tokens = matcher.tok_env().map_err(internal)?.tokenize(text);
        let n = matcher.try_consume_tokens(&tokens).map_err(internal)?;
        Ok(n == tokens.len() && matcher.is_accepting().map_err(internal)?)
    }
}

/// A text under a grammar.
struct UnderGrammar {
    matcher: Matcher,
    mask: Mask,
    texts: Arc<Mask>,
}

impl Constraint for UnderGrammar {
    fn forced(&mut self, ends: &[TokenId], out: &mut VecDeque<TokenId>) -> Result<()> {
        while !self.matcher.is_stopped() {
            let mut tokens = self.matcher.compute_ff_tokens();
            let end = tokens.iter().position(|token| ends.contains(token)).unwrap_or(tokens.len());
            tokens.truncate(end);
            if tokens.is_empty() {
                break;
            }
            self.matcher.consume_tokens(&tokens).map_err(beyond)?;
            out.extend(tokens);
        }
        match self.matcher.get_error() {
            Some(error) => Err(beyond(error)),
            None => Ok(()),
        }
    }

    fn mask(&mut self, ends: &[TokenId]) -> Result<&Mask> {
        let may_end = self.may_end();
        if self.matcher.is_stopped() {
            self.mask.take_words(&[]);
        } else {
            match self.matcher.compute_mask() {
                Ok(allowed) => self.mask.take_words(allowed.as_slice()),
                Err(error) => return Err(beyond(error)),
            }
        }
        self.mask.keep(&self.texts);
        ends.iter().for_each(|end| self.mask.set(*end, may_end));
        Ok(&self.mask)
    }

    fn accept(&mut self, token: TokenId) -> Result<()> {
        self.matcher.consume_token(token).map_err(beyond)
    }

    fn may_end(&mut self) -> bool {
        self.matcher.is_accepting().unwrap_or(false)
    }

    fn is_complete(&mut self) -> bool {
        self.matcher.is_stopped()
    }
}

/// `schema` as the engine reads it: formats are patterns, and values are written in one line with a space behind `,` and `:`.
fn as_written(mut schema: Value) -> Value {
    schema::write_out(&mut schema);
    let options = JsonCompileOptions {
        item_separator: ", ".into(),
        key_separator: ": ".into(),
        whitespace_flexible: false,
        ..JsonCompileOptions::default()
    };
    options.apply_to(&mut schema);
    schema
}

/// The text that a token is where it stands in a text; none of one that is never chosen.
fn text_of<'t>(tokenizer: &Tokenizer<'t>, id: TokenId) -> &'t [u8] {
    let is_text = matches!(tokenizer.kind(id), TokenKind::Normal | TokenKind::Byte | TokenKind::UserDefined);
    let bytes = tokenizer.bytes(id);
    // The byte 0xff is in no character; the engine marks with it what is no text.
    if is_text && bytes.len() <= MAX_TOKEN_BYTES && !bytes.contains(&0xff) { bytes } else { &[] }
}

/// The tokens of a model, as the engine asks for them.
struct Tokens {
    model: Arc<Model>,
    trie: TokTrie,
}

impl Tokens {
    /// Whether `tokens` are `text` and nothing else.
    fn spell(&self, tokens: &[TokenId], text: &[u8]) -> bool {
        let mut rest = text;
        tokens.iter().all(|token| {
            let bytes = self.trie.token(*token);
            let begins = !bytes.is_empty() && rest.starts_with(bytes);
            rest = if begins { &rest[bytes.len()..] } else { rest };
            begins
        }) && rest.is_empty()
    }

    /// The tokens of a text that goes on behind another one.
    fn tokens_of(&self, text: &str) -> Vec<TokenId> {
        let mut tokens = Vec::new();
        if let Some(tokenizer) = self.model.tokenizer() {
            tokenizer.encode_on(text, Specials::AsText, &mut tokens);
            if self.spell(&tokens, text.as_bytes()) {
                return tokens;
            }
            // Where a space comes before every text, it comes before a line feed, behind which there is none.
            tokens.clear();
            tokenizer.encode_on(&format!("\n{text}"), Specials::AsText, &mut tokens);
            for n in 1..tokens.len().min(4) {
                if self.spell(&tokens[..n], b" \n") && self.spell(&tokens[n..], text.as_bytes()) {
                    return tokens.split_off(n);
                }
            }
        }
        self.trie.greedy_tokenize(text.as_bytes())
    }
}

impl TokenizerEnv for Tokens {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, text: &[u8]) -> Vec<TokenId> {
        let mut tokens = Vec::new();
        for chunk in text.utf8_chunks() {
            if !chunk.valid().is_empty() {
                tokens.extend(self.tokens_of(chunk.valid()));
            }
            tokens.extend(self.trie.greedy_tokenize(chunk.invalid()));
        }
        tokens
    }
}

/// Whether each text of a grammar is one row of lexemes, read as far as each goes.
fn are_distinct(grammar: &Lexemes, rules: &[Expr]) -> bool {
    let behind = grammar.behind();
    let mut builder = RegexBuilder::new();
    let mut regular = vec![None; rules.len()];
    for rule in &grammar.regular {
        regular[*rule] = builder.mk(&regex_of(&rules[*rule], &regular)).ok();
    }
    let lexemes: Vec<RegexAst> = grammar.lexemes.iter().map(|lexeme| regex_of(lexeme, &regular)).collect();
    if lexemes.len() > MAX_COMPARED {
        return false;
    }
    lexemes.iter().zip(&behind).filter(|(_, behind)| !behind.is_empty()).all(|(a, behind)| {
        let read = RegexAst::And(vec![a.clone(), RegexAst::Regex("(?s:.+)".into())]);
        let next = regex_of(&Expr::One(behind.clone()), &regular);
        let longer = RegexAst::Concat(vec![read, next, RegexAst::Regex("(?s:.*)".into())]);
        lexemes.iter().all(|b| {
            let both = builder.mk(&RegexAst::And(vec![longer.clone(), b.clone()]));
            both.and_then(|both| builder.to_regex_limited(both, COMPARE_FUEL)).is_ok_and(|mut both| both.always_empty())
        })
    })
}

/// An expression without rules but `regular` ones.
fn regex_of(expr: &Expr, regular: &[Option<ExprRef>]) -> RegexAst {
    let all = |of: &[Expr]| of.iter().map(|of| regex_of(of, regular)).collect();
    match expr {
        Expr::One(set) => {
            let range = |(first, last): &(char, char)| format!("\\x{{{:x}}}-\\x{{{:x}}}", *first as u32, *last as u32);
            RegexAst::Regex(format!("[{}]", set.ranges().iter().map(range).collect::<String>()))
        }
        Expr::Rule(rule) => regular[*rule].map_or(RegexAst::NoMatch, RegexAst::ExprRef),
        Expr::Repeat(of, least, most) => {
            RegexAst::Repeat(Box::new(regex_of(of, regular)), *least, most.unwrap_or(u32::MAX))
        }
        Expr::Sequence(of) => RegexAst::Concat(all(of)),
        Expr::Choice(of) => RegexAst::Or(all(of)),
    }
}

/// Whether the engine can hold a pattern of a schema, and why not.
fn check_pattern(pattern: &str) -> core::result::Result<(), String> {
    check(&RegexAst::SearchRegex(regex_to_lark(pattern, "dw")))
}

fn check(regex: &RegexAst) -> core::result::Result<(), String> {
    let mut builder = RegexBuilder::new();
    let expr = builder.mk(regex).map_err(|error| said(&error.to_string()))?;
    let regex = builder.to_regex_limited(expr, ParserLimits::default().initial_lexer_fuel);
    let mut regex = regex.map_err(|error| said(&error.to_string()))?;
    if regex.always_empty() { Err("no text matches it".into()) } else { Ok(()) }
}

/// Refuses a grammar that nests so deep that reading it could take more stack than there is.
fn check_depth(text: &str) -> Result<()> {
    let n_groups = text.matches('(').count();
    let n_rules = text.lines().filter(|line| line.contains(':')).count();
    for (n, most, what) in [(n_groups, MAX_GROUPS, "brackets"), (n_rules, MAX_RULES, "lines with a rule")] {
        if n > most {
            return Err(Error::data(format!("{n} {what} are more than {most}")));
        }
    }
    Ok(())
}

/// What the engine says, in one line.
fn said(message: &str) -> String {
    if message.contains("oneOf constraints are not supported") {
        return "the alternatives of oneOf are not seen to exclude each other; a required const property that differs, or \
                anyOf, is held"
            .into();
    }
    let lines = message.lines().map(str::trim).take_while(|line| !line.starts_with('<'));
    let words: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    escaped(&words.join("; "), MOST_SAID)
}

fn internal(error: impl core::fmt::Display) -> Error {
    Error::data(said(&error.to_string())).field("constraint")
}

/// The error of a text that cannot go on, as its constraint takes more work than is allowed.
fn beyond(error: impl core::fmt::Display) -> Error {
    Error::new(Kind::Resources, said(&error.to_string())).field("constraint").hint("a simpler rule takes less work")
}
