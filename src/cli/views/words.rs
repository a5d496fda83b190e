//! `whit words`: what lies near a word, arithmetic with words, and words along a direction.

use super::paint::{Canvas, fit, right};
use super::pieces::{piece, token, token_list};
use super::{View, tokenizer, wrapped};
use crate::cli::args::views::{Space, Words};
use crate::cli::input::ModelFile;
use crate::cli::json::{self, Object};
use crate::cli::output::Outcome;
use whit::error::{Error, Result, printable};
use whit::format::{FileKind, SectionId};
use whit::inspect::{Near, WordSpace};
use whit::model::Model;
use whit::tokenizer::{Specials, TokenKind, Tokenizer};
use whit::{File, TokenId};

pub(in crate::cli) fn run(args: &Words) -> Outcome<()> {
    let source = ModelFile::open(args.model.model.as_deref())?;
    let file = source.file()?;
    let model = match file.kind() {
        FileKind::LanguageModel => Some(source.model()?),
        FileKind::WordVectors => None,
    };
    let book = match &model {
        Some(model) => Book::of_model(&source, model, args.of)?,
        None => Book::of_vectors(&source, &file, args.of)?,
    };
    let canvas = Canvas::new(&args.display);
    let view = if args.direction.is_empty() {
        nearest(&canvas, &book, &terms(&args.expression, &|word| book.has(word))?, args.top.into())?
    } else {
        along(&canvas, &book, &args.direction, &args.along)?
    };
    view.show(&args.display)?;
    source.check_unchanged()?;
    Ok(())
}

/// The words of a file with their vectors.
struct Book<'a> {
    tokenizer: Tokenizer<'a>,
    space: WordSpace<'a>,
    /// Each word has its own vector; a language model's are made of pieces.
    whole_words: bool,
    matrix: &'static str,
}

/// A word as the file spells it.
struct Word {
    name: String,
    pieces: Vec<TokenId>,
    vector: Vec<f64>,
}

impl<'a> Book<'a> {
    /// The token vectors of a language model.
    fn of_model(source: &ModelFile, model: &'a Model, of: Space) -> Result<Self> {
        let tokenizer = tokenizer(source, model)?;
        let (matrix, name) = match of {
            Space::Embedding => (model.embedding(), "embedding"),
            Space::Unembedding => (model.unembedding(), "unembedding"),
        };
        let space = WordSpace::new(*matrix, tokenizer.vocab_size());
        Ok(Book { tokenizer, space, whole_words: false, matrix: name })
    }

    /// The vectors of a file of word vectors.
    fn of_vectors(source: &ModelFile, file: &File<'a>, of: Space) -> Result<Self> {
        if of == Space::Unembedding {
            return Err(Error::usage("word vectors have no unembedding").field("of"));
        }
        let tokenizer = Tokenizer::open(file.require(SectionId::TOKN)?)?;
        let matrix = file.matrix("embedding")?;
        if matrix.rows() != tokenizer.vocab_size() {
            let message = format!("{} words, {} vectors", tokenizer.vocab_size(), matrix.rows());
            return Err(Error::data(message).field("embedding").in_file(source.name()));
        }
        let space = WordSpace::new(matrix, matrix.rows());
        Ok(Book { tokenizer, space, whole_words: true, matrix: "word vectors" })
    }

    /// The word `name`: its own vector where the file has one, else the mean of its pieces'.
    fn word(&self, name: &str) -> Result<Word> {
        let pieces = if self.whole_words { self.find(name).into_iter().collect() } else { self.pieces(name) };
        if pieces.is_empty() {
            return Err(Error::usage(format!("{name:?} has no vector in this file")).field("words"));
        }
        // In word vectors a word may be found in small letters only.
        let name = if self.whole_words { self.shown(pieces[0]) } else { printable(name) };
        Ok(Word { name, vector: self.space.mean(&pieces), pieces })
    }

    /// The vector of just this word, perhaps in small letters, or with spaces that do not break lines in place of others.
    fn find(&self, name: &str) -> Option<TokenId> {
        let spellings = [name.to_owned(), name.to_lowercase(), name.replace(' ', "\u{a0}")];
        spellings.iter().find_map(|name| self.tokenizer.special(name))
    }

    /// The file has a vector of this word.
    fn has(&self, name: &str) -> bool {
        self.whole_words && self.find(name).is_some()
    }

    /// The tokens of `name` as it stands within a text, else by itself if that is one token.
    fn pieces(&self, name: &str) -> Vec<TokenId> {
        let encoded = |text: &str| {
            let mut tokens = Vec::new();
            self.tokenizer.encode(text, Specials::AsText, &mut tokens);
            tokens
        };
        let space = if self.tokenizer.adds_space() { "" } else { " " };
        let within = encoded(&format!("{space}{name}"));
        let alone = encoded(name);
        if within.len() > 1 && alone.len() == 1 { alone } else { within }
    }

    /// A token that can stand for a word.
    fn is_text(&self, id: TokenId) -> bool {
        matches!(self.tokenizer.kind(id), TokenKind::Normal | TokenKind::UserDefined | TokenKind::Byte)
    }

    fn shown(&self, id: TokenId) -> String {
        piece(&self.tokenizer, id)
    }

    /// What is said of words that are made of several pieces.
    fn told(&self, canvas: &Canvas, words: &[&Word]) -> Vec<String> {
        let several = words.iter().filter(|word| word.pieces.len() > 1);
        let line = |word: &&Word| {
            let pieces: Vec<String> = word.pieces.iter().map(|id| self.shown(*id)).collect();
            format!("{} is the mean of {} pieces: {}", word.name, word.pieces.len(), pieces.join(" "))
        };
        several.flat_map(|word| wrapped(&line(word), canvas.width)).collect()
    }
}

/// Parts of a word that has spaces, at most.
const MOST_PARTS: usize = 8;

/// The words of an expression, each with its sign. Words that the file `has` may have spaces in them, or be signs themselves, where
/// no sign can stand.
fn terms(expression: &[String], has: &dyn Fn(&str) -> bool) -> Result<Vec<(f64, String)>> {
    let whole = |part: &str| if has(part) { vec![part.to_owned()] } else { split(part) };
    let parts: Vec<String> = expression.iter().flat_map(|part| whole(part)).collect();
    let is_sign = |part: &str| matches!(part, "+" | "-");
    let mut terms = Vec::new();
    let mut sign = Some(1.0);
    let mut rest = &parts[..];
    while let Some((part, later)) = rest.split_first() {
        let ends = later.first().is_none_or(|next| is_sign(next));
        let mut taken = 1;
        match (part.as_str(), sign) {
            ("+" | "-", None) => sign = Some(if part == "+" { 1.0 } else { -1.0 }),
            ("-", Some(_)) if terms.is_empty() && !(ends && has(part)) => sign = Some(-1.0),
            ("+" | "-", Some(_)) if !(ends && has(part)) => {
                return Err(Error::usage(format!("a word is missing before {part:?}")).field("words"));
            }
            (_, Some(of)) => {
                let joined = |n: &usize| rest.get(..*n).map(|parts| parts.join(" ")).filter(|word| has(word));
                taken = (2..=MOST_PARTS).rev().find(|n| joined(n).is_some()).unwrap_or(1);
                terms.push((of, rest[..taken].join(" ")));
                sign = None;
            }
            (word, None) => {
                let hint = "write + or - between words, each apart from them";
                return Err(Error::usage(format!("no sign before {word:?}")).field("words").hint(hint));
            }
        }
        rest = &rest[taken..];
    }
    match (sign, terms.is_empty()) {
        (None, false) => Ok(terms),
        _ => Err(Error::usage("a word is missing at the end").field("words")),
    }
}

fn split(part: &str) -> Vec<String> {
    part.split_ascii_whitespace().map(str::to_owned).collect()
}

/// The two words of a pair: those that the file `has`, where the pair can be parted in several ways.
fn ends_of<'p>(pair: &'p str, has: &dyn Fn(&str) -> bool) -> Result<(&'p str, &'p str)> {
    let mut ways = pair.match_indices(':').map(|(at, _)| (&pair[..at], &pair[at + 1..]));
    let there = ways.clone().find(|(from, to)| has(from) && has(to));
    there
        .or_else(|| ways.find(|(from, to)| !from.is_empty() && !to.is_empty()))
        .ok_or_else(|| Error::usage(format!("{pair:?} is no pair of words")).field("direction").hint("as in cat:cats"))
}

fn nearest(canvas: &Canvas, book: &Book<'_>, terms: &[(f64, String)], n: usize) -> Result<View> {
    let words = terms.iter().map(|(_, name)| book.word(name)).collect::<Result<Vec<Word>>>()?;
    let mut sum = vec![0.0; book.space.dim()];
    for (word, (sign, _)) in words.iter().zip(terms) {
        sum.iter_mut().zip(&word.vector).for_each(|(sum, x)| *sum += sign * x);
    }
    let left_out = |id: TokenId| !book.is_text(id) || words.iter().any(|word| word.pieces == [id]);
    let near = book.space.nearest(&sum, n, &left_out);
    let written: Vec<String> = words
        .iter()
        .zip(terms)
        .enumerate()
        .map(|(i, (word, (sign, _)))| match (i, *sign < 0.0) {
            (0, false) => word.name.clone(),
            (0, true) => format!("- {}", word.name),
            (_, true) => format!(" - {}", word.name),
            (_, false) => format!(" + {}", word.name),
        })
        .collect();
    let written = written.concat();
    let mut picture: Vec<String> = wrapped(&written, canvas.width).iter().map(|line| canvas.bold(line)).collect();
    picture.extend([canvas.dim(&about(book)), String::new()]);
    picture.extend(near_bars(canvas, book, &near));
    if near.is_empty() {
        picture.push("nothing lies near: the sum has no direction, or there is no other word".into());
    }
    let told = book.told(canvas, &words.iter().collect::<Vec<_>>());
    if !told.is_empty() {
        picture.push(String::new());
        picture.extend(told);
    }
    let near_json = near
        .iter()
        .map(|near| token(&book.tokenizer, near.id).number("cosine", near.cosine).number("dot", near.dot).line());
    let terms_json =
        words.iter().zip(terms).map(|(word, (sign, _))| word_json(book, word).number("sign", *sign).line());
    let json = Object::default()
        .text("expression", &written)
        .text("matrix", book.matrix)
        .raw("vectors", book.space.len())
        .raw("dim", book.space.dim())
        .raw("terms", json::list(terms_json))
        .raw("near", json::list(near_json));
    Ok(View { title: written, picture, json: vec![json.line()], script: include_str!("page/words.js") })
}

fn about(book: &Book<'_>) -> String {
    format!("{}: {} vectors of {} elements; cosine", book.matrix, book.space.len(), book.space.dim())
}

fn near_bars(canvas: &Canvas, book: &Book<'_>, near: &[Near]) -> Vec<String> {
    let name = canvas.room(24, 14);
    let width = canvas.width.min(120) - name - 15;
    near.iter()
        .enumerate()
        .map(|(i, near)| {
            let (bar, rest) = canvas.bar(near.cosine, width);
            let shown = fit(&book.shown(near.id), name);
            format!("{} {shown} {}{rest} {:>7.4}", right(&(i + 1).to_string(), 3), canvas.fill(&bar), near.cosine)
        })
        .collect()
}

/// The words of `along` by their dot product with the direction of the pairs.
fn along(canvas: &Canvas, book: &Book<'_>, pairs: &[String], along: &[String]) -> Result<View> {
    let mut direction = vec![0.0; book.space.dim()];
    let mut ends = Vec::new();
    for pair in pairs {
        let (from, to) = ends_of(pair, &|word| book.has(word))?;
        let (from, to) = (book.word(from)?, book.word(to)?);
        for (i, x) in direction.iter_mut().enumerate() {
            *x += (to.vector[i] - from.vector[i]) / pairs.len() as f64;
        }
        ends.extend([from, to]);
    }
    let words = along.iter().map(|name| book.word(name)).collect::<Result<Vec<Word>>>()?;
    let dots: Vec<f64> = words.iter().map(|word| whit::inspect::dot(&direction, &word.vector)).collect();
    let written: Vec<String> = ends.chunks(2).map(|pair| format!("{} - {}", pair[1].name, pair[0].name)).collect();
    let written = if written.len() == 1 { written.concat() } else { format!("mean of {}", written.join(", ")) };
    let largest = dots.iter().fold(0.0f64, |most, dot| most.max(dot.abs())).max(f64::MIN_POSITIVE);
    let name = canvas.room(20, 12);
    let half = (canvas.width.min(120) - name - 12) / 2;
    let mut picture = vec![
        canvas.bold(&format!("along {written}")),
        canvas.dim(&format!(
            "{}: {} vectors of {} elements; dot product",
            book.matrix,
            book.space.len(),
            book.space.dim()
        )),
        String::new(),
    ];
    for (word, dot) in words.iter().zip(&dots) {
        let drawn = if *dot < 0.0 {
            let (rest, bar) = canvas.bar_to_the_left(dot.abs() / largest, half);
            rest + &canvas.fill_chosen(&bar) + "│" + &" ".repeat(half)
        } else {
            let (bar, rest) = canvas.bar(dot.abs() / largest, half);
            " ".repeat(half) + "│" + &canvas.fill(&bar) + &rest
        };
        picture.push(format!("{} {drawn} {dot:>8.3}", fit(&word.name, name)));
    }
    let told = book.told(canvas, &ends.iter().chain(&words).collect::<Vec<_>>());
    if !told.is_empty() {
        picture.push(String::new());
        picture.extend(told);
    }
    let words_json = words.iter().zip(&dots).map(|(word, dot)| word_json(book, word).number("dot", *dot).line());
    let json = Object::default()
        .text("direction", &written)
        .text("matrix", book.matrix)
        .raw("vectors", book.space.len())
        .raw("dim", book.space.dim())
        .raw("pairs", json::list(ends.iter().map(|word| word_json(book, word).line())))
        .raw("along", json::list(words_json));
    Ok(View {
        title: format!("Along {written}"),
        picture,
        json: vec![json.line()],
        script: include_str!("page/words.js"),
    })
}

fn word_json(book: &Book<'_>, word: &Word) -> Object {
    Object::default().text("word", &word.name).raw("pieces", token_list(&book.tokenizer, &word.pieces))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<(f64, String)>> {
        terms(&[text.into()], &|_| false)
    }

    #[test]
    fn expressions_are_words_with_signs() {
        let king = [(1.0, "king".into()), (-1.0, "man".into()), (1.0, "woman".into())];
        assert_eq!(read("king - man + woman"), Ok(king.to_vec()));
        assert_eq!(terms(&["king", "-", "man", "+", "woman"].map(String::from), &|_| false), Ok(king.to_vec()));
        assert_eq!(read("- x-ray"), Ok(vec![(-1.0, "x-ray".into())]));
        for wrong in ["", "king -", "king man", "+ king", "king - - man"] {
            assert_eq!(read(wrong).expect_err(wrong).named_field(), Some("words"));
        }
    }

    /// Words of a file, as they can be asked for.
    #[test]
    fn words_of_every_kind_can_be_asked_for() {
        let has = |word: &str| ["-", "+", ". . .", "new york", "york", "a\u{a0}b", " ", "x"].contains(&word);
        let one = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| word.to_string()).collect();
            terms(&words, &has)
                .map(|terms| terms.into_iter().map(|(sign, word)| format!("{sign}{word}")).collect::<Vec<_>>())
        };
        for word in ["-", "+", ". . .", "new york", "a\u{a0}b", " "] {
            assert_eq!(one(&[word]), Ok(vec![format!("1{word}")]));
            let both = [format!("1{word}"), "-1x".into()];
            assert_eq!(one(&[word, "-", "x"]), Ok(both.to_vec()), "{word}");
        }
        assert_eq!(one(&["new york - york + . . ."]), Ok(vec!["1new york".into(), "-1york".into(), "1. . .".into()]));
        assert_eq!(one(&["new", "york"]), Ok(vec!["1new york".into()]));
        assert_eq!(one(&["x + - "]), Ok(vec!["1x".into(), "1-".into()]));
        assert_eq!(one(&["- x"]), Ok(vec!["-1x".into()]));
        assert!(one(&["new", "x"]).is_err());
        assert_eq!(ends_of("a:b", &has).ok(), Some(("a", "b")));
        let urls = |word: &str| ["http://a", "b"].contains(&word);
        assert_eq!(ends_of("http://a:b", &urls).ok(), Some(("http://a", "b")));
        assert!(ends_of(":b", &has).is_err() && ends_of("ab", &has).is_err());
    }
}
