//! Tiny vocabularies of both kinds, and the shapes in which formats hold them.

use whit::tokenizer::{
    AddedToken, Behavior, Pipeline, PreTokenizer, Step, Token, TokenKind, Vocabulary, VocabularyModel,
    byte_level_decode,
};

use crate::json::{Json, map, number, text};
use crate::random::Random;
use crate::stages;

/// A token; the ids are the places.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    pub(crate) text: String,
    pub(crate) kind: TokenKind,
    pub(crate) score: f32,
}

/// A vocabulary as a checkpoint's author has it.
#[derive(Debug, Clone)]
pub(crate) struct Pieces {
    /// GPT-2's byte alphabet; else SentencePiece with bytes as the fallback.
    pub(crate) byte_level: bool,
    pub(crate) tokens: Vec<Piece>,
    pub(crate) merges: Vec<(String, String)>,
}

/// Ids of the marks in every vocabulary made here.
pub(crate) const BOS: u32 = 1;
pub(crate) const EOS: u32 = 2;

impl Pieces {
    /// A vocabulary of 8 to 24 tokens.
    pub(crate) fn new(byte_level: bool, random: &mut Random) -> Self {
        let mut pieces = Pieces { byte_level, tokens: Vec::new(), merges: Vec::new() };
        let unknown = if byte_level { TokenKind::Control } else { TokenKind::Unknown };
        pieces.add("<unk>", unknown);
        pieces.add("<s>", TokenKind::Control);
        pieces.add("</s>", TokenKind::Control);
        if random.once_in(2) {
            pieces.add("<x>", TokenKind::UserDefined);
        }
        let letters: &[&str] = if byte_level {
            &["a", "b", "e", "\u{120}", "\u{10a}", "\u{c3}", "\u{a9}", "1", "'"]
        } else {
            ["<0x0A>", "<0xE4>", "<0xB8>", "<0xAD>"].iter().for_each(|byte| pieces.add(byte, TokenKind::Byte));
            &["a", "b", "\u{2581}", "e", "é", "1", "\u{1f600}"]
        };
        let n = random.within(4, letters.len());
        letters[..n].iter().for_each(|letter| pieces.add(letter, TokenKind::Normal));
        for _ in 0..random.below(10) {
            pieces.merge(random);
        }
        pieces
    }

    fn add(&mut self, text: &str, kind: TokenKind) {
        let score = -(self.tokens.len() as f32);
        self.tokens.push(Piece { text: text.into(), kind, score });
    }

    fn merge(&mut self, random: &mut Random) {
        let normal: Vec<&str> =
            self.tokens.iter().filter(|t| t.kind == TokenKind::Normal).map(|t| t.text.as_str()).collect();
        let (left, right) = (random.pick(&normal).to_string(), random.pick(&normal).to_string());
        let both = format!("{left}{right}");
        if both.len() < 20 && !self.tokens.iter().any(|token| token.text == both) {
            self.add(&both, TokenKind::Normal);
            self.merges.push((left, right));
        }
    }

    /// As the library takes it.
    pub(crate) fn vocabulary(&self, random: &mut Random) -> Vocabulary {
        const PRE: [PreTokenizer; 4] =
            [PreTokenizer::Gpt2, PreTokenizer::Llama3, PreTokenizer::Qwen2, PreTokenizer::SmolLm2];
        let spelt = |piece: &str| byte_level_decode(piece).unwrap_or_default();
        let token = |piece: &Piece| {
            let plain = !self.byte_level || piece.kind != TokenKind::Normal;
            let bytes = if plain { piece.text.clone().into_bytes() } else { spelt(&piece.text) };
            Token { bytes, kind: piece.kind, score: piece.score }
        };
        let model = if random.once_in(4) {
            VocabularyModel::Pipeline(self.pipeline(random))
        } else if self.byte_level {
            let merges = self.merges.iter().map(|(left, right)| (spelt(left), spelt(right))).collect();
            VocabularyModel::ByteLevel { pre: random.pick(&PRE), merges, ignore_merges: random.once_in(2) }
        } else {
            VocabularyModel::SentencePiece { add_dummy_prefix: random.once_in(2) }
        };
        Vocabulary {
            tokens: self.tokens.iter().map(token).collect(),
            model,
            bos: Some(BOS),
            eos: Some(EOS),
            unk: Some(0),
            add_bos: random.once_in(2),
        }
    }

    /// Merges behind steps, which a pattern cuts.
    fn pipeline(&self, random: &mut Random) -> Pipeline {
        let id = |piece: &str| self.tokens.iter().position(|token| token.text == piece).map(|id| id as u32);
        let pattern = |random: &mut Random| quantize::pattern::compile(&stages::expression(random));
        let mut pipeline =
            Pipeline { fuse_unknown: random.once_in(2), strips_space: random.once_in(2), ..Pipeline::default() };
        for (id, token) in (0_u32..).zip(&self.tokens) {
            let mut chars = token.text.chars();
            match (token.kind, chars.next(), chars.next()) {
                (TokenKind::Normal, Some(c), None) => {
                    pipeline.characters.get_or_insert_default().insert(c, id);
                    pipeline.bytes.insert(c as u8, id);
                }
                (TokenKind::Control | TokenKind::UserDefined, ..) => {
                    let [lstrip, rstrip, single_word, normalized] = [4; 4].map(|n| random.once_in(n));
                    let name = token.text.clone();
                    pipeline.added.push(AddedToken { id, name, lstrip, rstrip, single_word, normalized });
                }
                _ => {}
            }
        }
        if random.once_in(2) {
            pipeline.characters = None;
        }
        let merges = self.merges.iter().filter_map(|(a, b)| Some([id(a)?, id(b)?, id(&format!("{a}{b}"))?]));
        pipeline.merges = merges.collect();
        if let Ok(pattern) = pattern(random) {
            pipeline.normalizer.push(Step::Replace { pattern, by: "ab".into() });
        }
        if let Ok(pattern) = pattern(random) {
            let behavior = random.pick(&[Behavior::Isolated, Behavior::Removed, Behavior::MergedWithNext]);
            pipeline.pre_tokenizer.push(Step::Split { pattern, behavior, invert: random.once_in(3) });
        }
        pipeline.pre_tokenizer.push(Step::Prepend { text: "a".into(), unless_there: true, first: random.once_in(2) });
        pipeline
    }

    /// As tokenizer.json.
    pub(crate) fn tokenizer_json(&self, random: &mut Random) -> Json {
        let added = |kind| matches!(kind, TokenKind::Control | TokenKind::UserDefined | TokenKind::Unknown);
        let listed = self.tokens.iter().enumerate().filter(|(_, token)| added(token.kind)).map(|(id, token)| {
            let special = Json::Bool(token.kind != TokenKind::UserDefined);
            let rules =
                ["lstrip", "rstrip", "single_word", "normalized"].map(|rule| (rule, Json::Bool(random.once_in(6))));
            map([("id", number(id)), ("content", text(&token.text)), ("special", special)].into_iter().chain(rules))
        });
        let listed: Vec<Json> = listed.collect();
        let vocab = self.tokens.iter().enumerate().map(|(id, token)| (token.text.clone(), number(id))).collect();
        let pairs = random.once_in(2);
        let merges = self.merges.iter().map(|(left, right)| {
            if pairs { Json::List(vec![text(left), text(right)]) } else { text(format!("{left} {right}")) }
        });
        let mut model = vec![
            ("type", text("BPE")),
            ("byte_fallback", Json::Bool(!self.byte_level)),
            ("vocab", Json::Map(vocab)),
            ("merges", Json::List(merges.collect())),
        ];
        if self.byte_level {
            model.push(("ignore_merges", Json::Bool(random.once_in(2))));
        } else {
            model.push(("unk_token", text("<unk>")));
        }
        let mut document = if self.byte_level { byte_level(random) } else { sentence_piece(random) };
        if random.once_in(2) {
            document.set("normalizer", stages::normalizer(random));
            document.set("pre_tokenizer", stages::pre_tokenizer(self.byte_level, random));
        }
        document.set("added_tokens", Json::List(listed));
        document.set("model", map(model));
        document
    }
}

fn typed<'k>(kind: &str, rest: impl IntoIterator<Item = (&'k str, Json)>) -> Json {
    map([("type", text(kind))].into_iter().chain(rest))
}

fn sequence(list: &str, stages: Vec<Json>) -> Json {
    typed("Sequence", [(list, Json::List(stages))])
}

fn byte_level(random: &mut Random) -> Json {
    let bytes =
        |regex: bool| typed("ByteLevel", [("add_prefix_space", Json::Bool(false)), ("use_regex", Json::Bool(regex))]);
    let split = |regex: &str| {
        let pattern = map([("Regex", text(regex))]);
        typed("Split", [("pattern", pattern), ("behavior", text("Isolated")), ("invert", Json::Bool(false))])
    };
    let digits = || typed("Digits", [("individual_digits", Json::Bool(true))]);
    let (pre, normalizer) = match random.below(4) {
        0 => (bytes(true), Json::Null),
        1 => (sequence("pretokenizers", vec![digits(), bytes(true)]), Json::Null),
        2 => (sequence("pretokenizers", vec![split(PreTokenizer::LLAMA3_PATTERN), bytes(false)]), Json::Null),
        _ => (sequence("pretokenizers", vec![split(PreTokenizer::QWEN2_PATTERN), bytes(false)]), typed("NFC", [])),
    };
    let mark = map([("SpecialToken", map([("id", text("<s>"))]))]);
    let single = Json::List(vec![mark, map([("Sequence", map([("id", text("A"))]))])]);
    let post = if random.once_in(2) { typed("TemplateProcessing", [("single", single)]) } else { bytes(true) };
    map([
        ("normalizer", normalizer),
        ("pre_tokenizer", pre),
        ("post_processor", post),
        ("decoder", typed("ByteLevel", [])),
    ])
}

fn sentence_piece(random: &mut Random) -> Json {
    let decoders = vec![typed("ByteFallback", []), typed("Fuse", [])];
    let (normalizer, pre) = if random.once_in(3) {
        let scheme = random.pick(&["always", "first", "never"]);
        (Json::Null, typed("Metaspace", [("replacement", text("\u{2581}")), ("prepend_scheme", text(scheme))]))
    } else {
        let pattern = map([("String", text(" "))]);
        let replace = typed("Replace", [("pattern", pattern), ("content", text("\u{2581}"))]);
        let prepend = typed("Prepend", [("prepend", text("\u{2581}"))]);
        (sequence("normalizers", vec![prepend, replace]), Json::Null)
    };
    map([
        ("normalizer", normalizer),
        ("pre_tokenizer", pre),
        ("post_processor", Json::Null),
        ("decoder", sequence("decoders", decoders)),
    ])
}
