//! tokenizer.model: SentencePiece's own file, a message of Protocol Buffers (sentencepiece_model.proto). Models of BPE are read
//! whose text is not normalized, as those of Llama 2, Mistral and Gemma are.

use whit::error::{Error, Result, printable};
use whit::tokenizer::{Token, TokenKind, Vocabulary, VocabularyModel};

/// Pieces, at most.
const MAX_PIECES: usize = 1 << 20;

/// Fields of the messages that are looked at.
mod field {
    pub(in crate::source) const PIECES: u64 = 1;
    pub(in crate::source) const TRAINER: u64 = 2;
    pub(in crate::source) const NORMALIZER: u64 = 3;
    pub(in crate::source) const PIECE_TEXT: u64 = 1;
    pub(in crate::source) const PIECE_SCORE: u64 = 2;
    pub(in crate::source) const PIECE_TYPE: u64 = 3;
    pub(in crate::source) const MODEL_TYPE: u64 = 3;
    pub(in crate::source) const SPACE_AS_SUFFIX: u64 = 24;
    pub(in crate::source) const UNK: u64 = 40;
    pub(in crate::source) const BOS: u64 = 41;
    pub(in crate::source) const EOS: u64 = 42;
    pub(in crate::source) const CHARSMAP: u64 = 2;
    pub(in crate::source) const DUMMY_PREFIX: u64 = 3;
    pub(in crate::source) const EXTRA_SPACES: u64 = 4;
    pub(in crate::source) const ESCAPE_SPACES: u64 = 5;
}

/// What the file says, before it is known whether it can be followed.
struct Read {
    tokens: Vec<Token>,
    model_type: u64,
    space_as_suffix: bool,
    /// Unknown, BOS and EOS, of which -1 is none.
    ids: [i64; 3],
    charsmap: bool,
    dummy_prefix: bool,
    removes_extra_spaces: bool,
    escapes_spaces: bool,
}

/// Reads the file.
pub(in crate::source) fn read(bytes: &[u8]) -> Result<Vocabulary> {
    let mut read = Read {
        tokens: Vec::new(),
        model_type: 1,
        space_as_suffix: false,
        ids: [0, 1, 2],
        charsmap: false,
        dummy_prefix: true,
        removes_extra_spaces: true,
        escapes_spaces: true,
    };
    let mut message = Message { bytes, at: 0, base: 0 };
    while let Some((number, value)) = message.next()? {
        match (number, value) {
            (field::PIECES, Value::Bytes(piece)) => read.piece(piece)?,
            (field::TRAINER, Value::Bytes(trainer)) => read.trainer(trainer)?,
            (field::NORMALIZER, Value::Bytes(normalizer)) => read.normalizer(normalizer)?,
            _ => {}
        }
    }
    read.check()?;
    let n = read.tokens.len();
    let [unk, bos, eos] = read.ids.map(|id| u32::try_from(id).ok().filter(|id| (*id as usize) < n));
    let model = VocabularyModel::SentencePiece { add_dummy_prefix: read.dummy_prefix };
    Ok(Vocabulary { tokens: read.tokens, model, bos, eos, unk, add_bos: bos.is_some() })
}

impl Read {
    fn piece(&mut self, mut message: Message<'_>) -> Result<()> {
        let (at, id) = (message.base, self.tokens.len());
        let place = |error: Error| error.field(format!("piece {id}")).at(at as u64);
        if id == MAX_PIECES {
            return Err(place(Error::data(format!("more than {MAX_PIECES} pieces"))));
        }
        let mut token = Token { bytes: Vec::new(), kind: TokenKind::Normal, score: 0.0 };
        while let Some((number, value)) = message.next()? {
            match (number, value) {
                (field::PIECE_TEXT, Value::Bytes(text)) => token.bytes = text.bytes.to_vec(),
                (field::PIECE_SCORE, Value::Four(bits)) => token.score = f32::from_bits(bits),
                (field::PIECE_TYPE, Value::Number(kind)) => {
                    token.kind = match kind {
                        1 => TokenKind::Normal,
                        2 => TokenKind::Unknown,
                        3 => TokenKind::Control,
                        4 => TokenKind::UserDefined,
                        5 => TokenKind::Unused,
                        6 => TokenKind::Byte,
                        other => return Err(place(Error::data(format!("unknown type {other}")))),
                    }
                }
                _ => {}
            }
        }
        if std::str::from_utf8(&token.bytes).is_err() {
            return Err(place(Error::data("not UTF-8")));
        }
        if token.score.is_nan() {
            return Err(place(Error::data("its score is not a number")));
        }
        self.tokens.push(token);
        Ok(())
    }

    fn trainer(&mut self, mut message: Message<'_>) -> Result<()> {
        while let Some((number, value)) = message.next()? {
            match (number, value) {
                (field::MODEL_TYPE, Value::Number(kind)) => self.model_type = kind,
                (field::SPACE_AS_SUFFIX, Value::Number(set)) => self.space_as_suffix = set != 0,
                // A negative id is written as the number of 64 bits that it is in two's complement.
                (field::UNK, Value::Number(id)) => self.ids[0] = id as i64,
                (field::BOS, Value::Number(id)) => self.ids[1] = id as i64,
                (field::EOS, Value::Number(id)) => self.ids[2] = id as i64,
                _ => {}
            }
        }
        Ok(())
    }

    fn normalizer(&mut self, mut message: Message<'_>) -> Result<()> {
        while let Some((number, value)) = message.next()? {
            match (number, value) {
                (field::CHARSMAP, Value::Bytes(map)) => self.charsmap = !map.bytes.is_empty(),
                (field::DUMMY_PREFIX, Value::Number(set)) => self.dummy_prefix = set != 0,
                (field::EXTRA_SPACES, Value::Number(set)) => self.removes_extra_spaces = set != 0,
                (field::ESCAPE_SPACES, Value::Number(set)) => self.escapes_spaces = set != 0,
                _ => {}
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<()> {
        let refused = |what: &str, name: &str| {
            let hint = "with transformers, AutoTokenizer.from_pretrained(DIRECTORY).save_pretrained(DIRECTORY) writes a \
                        tokenizer.json";
            Error::data(format!("{what} is not supported")).field(name.to_string()).hint(hint)
        };
        let kind = match self.model_type {
            2 => None,
            1 => Some("a model of the type Unigram"),
            3 => Some("a model of words"),
            4 => Some("a model of characters"),
            _ => Some("a model of an unknown type"),
        };
        let faults = [
            (kind, "trainer_spec.model_type"),
            (self.space_as_suffix.then_some("a space at the end of words"), "trainer_spec.treat_whitespace_as_suffix"),
            (self.charsmap.then_some("normalization of text"), "normalizer_spec.precompiled_charsmap"),
            (self.removes_extra_spaces.then_some("removing of spaces"), "normalizer_spec.remove_extra_whitespaces"),
            ((!self.escapes_spaces).then_some("a space that is no mark"), "normalizer_spec.escape_whitespaces"),
        ];
        if let Some((what, name)) = faults.into_iter().find_map(|(what, name)| Some((what?, name))) {
            return Err(refused(what, name));
        }
        match self.tokens.is_empty() {
            true => Err(Error::data("no pieces")),
            false => Ok(()),
        }
    }
}

/// What a field holds.
enum Value<'b> {
    Number(u64),
    Four(u32),
    Bytes(Message<'b>),
}

/// Fields one after the other: a number and a type, and what they name.
struct Message<'b> {
    bytes: &'b [u8],
    at: usize,
    /// Where the message begins in the file.
    base: usize,
}

impl<'b> Message<'b> {
    fn next(&mut self) -> Result<Option<(u64, Value<'b>)>> {
        while self.at < self.bytes.len() {
            let start = self.at;
            let tag = self.number()?;
            let value = match tag & 7 {
                0 => Value::Number(self.number()?),
                1 => {
                    self.take(8)?;
                    continue;
                }
                2 => {
                    let n = self.number()?;
                    let n = usize::try_from(n).unwrap_or(usize::MAX);
                    let bytes = self.take(n)?;
                    Value::Bytes(Message { bytes, at: 0, base: self.base + self.at - n })
                }
                5 => Value::Four(self.take(4)?.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte))),
                other => return Err(self.error(format!("a field of the unknown type {other}"), start)),
            };
            return Ok(Some((tag >> 3, value)));
        }
        Ok(None)
    }

    fn take(&mut self, n: usize) -> Result<&'b [u8]> {
        let left = self.bytes.len() - self.at;
        let taken = self.bytes[self.at..].get(..n);
        let taken = taken.ok_or_else(|| self.error(format!("{n} bytes needed, {left} left"), self.at))?;
        self.at += n;
        Ok(taken)
    }

    /// Seven bits a byte, the lowest first, as long as the top bit is set.
    fn number(&mut self) -> Result<u64> {
        let start = self.at;
        let mut out = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            out |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(out);
            }
        }
        Err(self.error("a number of more than 64 bits".into(), start))
    }

    fn error(&self, message: String, at: usize) -> Error {
        let hint = "a tokenizer.model is a file of SentencePiece; tiktoken's files of that name are not read";
        Error::data(printable(&message)).at((self.base + at) as u64).hint(hint)
    }
}
