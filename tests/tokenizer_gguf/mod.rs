//! The least of a GGUF reader that the tokenizer's tests need: the metadata of a trusted file.

use std::collections::HashMap;
use std::path::Path;

use whit::tokenizer::{PreTokenizer, Token, TokenKind, Vocabulary, VocabularyModel, byte_level_decode};

enum Value {
    Text(String),
    Number(f64),
    List(Vec<Value>),
}

/// Key and value of everything before the tensors.
pub(crate) struct Metadata(HashMap<String, Value>);

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (head, tail) = self.0.split_first_chunk().expect("the file goes on");
        self.0 = tail;
        *head
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    fn u64(&mut self) -> usize {
        u64::from_le_bytes(self.take()) as usize
    }

    fn text(&mut self) -> String {
        let n = self.u64();
        let (head, tail) = self.0.split_at(n);
        self.0 = tail;
        String::from_utf8(head.to_vec()).expect("text is UTF-8")
    }

    fn value(&mut self, kind: u32) -> Value {
        Value::Number(match kind {
            0 | 7 => self.take::<1>()[0].into(),
            1 => i8::from_le_bytes(self.take()).into(),
            2 => u16::from_le_bytes(self.take()).into(),
            3 => i16::from_le_bytes(self.take()).into(),
            4 => self.u32().into(),
            5 => i32::from_le_bytes(self.take()).into(),
            6 => f32::from_le_bytes(self.take()).into(),
            8 => return Value::Text(self.text()),
            9 => {
                let kind = self.u32();
                let n = self.u64();
                return Value::List((0..n).map(|_| self.value(kind)).collect());
            }
            10 => self.u64() as f64,
            11 => i64::from_le_bytes(self.take()) as f64,
            12 => f64::from_le_bytes(self.take()),
            kind => panic!("metadata type {kind}"),
        })
    }
}

impl Metadata {
    pub(crate) fn read(path: &Path) -> Self {
        let file = std::fs::read(path).expect("a shared file is readable");
        let mut reader = Reader(&file);
        assert_eq!(&reader.take(), b"GGUF");
        let (_version, _tensors, n) = (reader.u32(), reader.u64(), reader.u64());
        let entries = (0..n).map(|_| {
            let (key, kind) = (reader.text(), reader.u32());
            (key, reader.value(kind))
        });
        Metadata(entries.collect())
    }

    fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(&format!("tokenizer.ggml.{key}"))
    }

    fn text(&self, key: &str) -> &str {
        match self.get(key) {
            Some(Value::Text(text)) => text,
            _ => "",
        }
    }

    fn number(&self, key: &str) -> Option<f64> {
        match self.get(key) {
            Some(Value::Number(number)) => Some(*number),
            _ => None,
        }
    }

    fn texts(&self, key: &str) -> Vec<&str> {
        let Some(Value::List(list)) = self.get(key) else { return Vec::new() };
        list.iter().map(|value| if let Value::Text(text) = value { text } else { "" }).collect()
    }

    fn numbers(&self, key: &str) -> Vec<f64> {
        let Some(Value::List(list)) = self.get(key) else { return Vec::new() };
        list.iter().map(|value| if let Value::Number(number) = value { *number } else { 0.0 }).collect()
    }

    /// Merges as the file writes them, in GPT-2's byte alphabet.
    pub(crate) fn merges(&self) -> Vec<(&str, &str)> {
        self.texts("merges").into_iter().map(|line| line.split_once(' ').expect("two pieces")).collect()
    }

    /// Scores by id; none in a byte-level vocabulary.
    pub(crate) fn scores(&self) -> Vec<f32> {
        self.numbers("scores").into_iter().map(|score| score as f32).collect()
    }

    /// Pieces as the file writes them, with their kinds.
    pub(crate) fn pieces(&self) -> Vec<(&str, TokenKind)> {
        let kinds = self.numbers("token_type").into_iter().map(|kind| match kind as u32 {
            1 => TokenKind::Normal,
            2 => TokenKind::Unknown,
            3 => TokenKind::Control,
            4 => TokenKind::UserDefined,
            5 => TokenKind::Unused,
            6 => TokenKind::Byte,
            kind => panic!("token type {kind}"),
        });
        self.texts("tokens").into_iter().zip(kinds).collect()
    }

    pub(crate) fn vocabulary(&self) -> Vocabulary {
        let byte_level = self.text("model") == "gpt2";
        let scores = self.scores();
        let bytes = |piece: &str, kind| {
            if byte_level && kind == TokenKind::Normal {
                return byte_level_decode(piece).expect("GPT-2's byte alphabet");
            }
            piece.as_bytes().to_vec()
        };
        let tokens = self.pieces().into_iter().enumerate().map(|(id, (piece, kind))| Token {
            bytes: bytes(piece, kind),
            kind,
            score: scores.get(id).copied().unwrap_or(0.0),
        });
        let merges = self.merges().into_iter();
        let model = if byte_level {
            let pre = PreTokenizer::from_name(self.text("pre")).expect("a known pre-tokenizer");
            VocabularyModel::ByteLevel {
                pre,
                merges: merges.map(|(a, b)| (bytes(a, TokenKind::Normal), bytes(b, TokenKind::Normal))).collect(),
                ignore_merges: pre == PreTokenizer::Llama3,
            }
        } else {
            VocabularyModel::SentencePiece { add_dummy_prefix: self.number("add_space_prefix") != Some(0.0) }
        };
        let id = |key: &str| self.number(key).map(|id| id as u32);
        Vocabulary {
            tokens: tokens.collect(),
            model,
            bos: id("bos_token_id"),
            eos: id("eos_token_id"),
            unk: if byte_level { None } else { id("unknown_token_id") },
            add_bos: self.number("add_bos_token") == Some(1.0),
        }
    }
}
