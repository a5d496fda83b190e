//! The key-value pairs of a GGUF file.

use whit::error::{Error, Result, printable};
use whit::format::cursor::Cursor;

use crate::source::tensor::{MAX_NAME, check_name};

/// Bytes of a string, at most.
const MAX_STRING: u64 = 16 << 20;
/// Elements of an array, at most.
const MAX_ARRAY: u64 = 4 << 20;

/// The type of a value by its number in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    String,
    Array,
    U64,
    I64,
    F64,
}

impl Kind {
    fn from_number(number: u32) -> Option<Self> {
        const KINDS: [Kind; 13] = [
            Kind::U8,
            Kind::I8,
            Kind::U16,
            Kind::I16,
            Kind::U32,
            Kind::I32,
            Kind::F32,
            Kind::Bool,
            Kind::String,
            Kind::Array,
            Kind::U64,
            Kind::I64,
            Kind::F64,
        ];
        KINDS.get(number as usize).copied()
    }

    /// Bytes of a value; of strings and arrays, of the smallest.
    fn bytes(self) -> usize {
        match self {
            Kind::U8 | Kind::I8 | Kind::Bool => 1,
            Kind::U16 | Kind::I16 => 2,
            Kind::U32 | Kind::I32 | Kind::F32 => 4,
            Kind::U64 | Kind::I64 | Kind::F64 | Kind::String => 8,
            Kind::Array => 12,
        }
    }
}

/// A value: scalars as they are read, strings and arrays as their bytes.
#[derive(Debug, Clone, Copy)]
struct Value<'a> {
    kind: Kind,
    /// Of an array, its elements' type and number.
    elements: Option<(Kind, usize)>,
    bytes: &'a [u8],
    at: u64,
}

/// The metadata of a file, sorted by key.
#[derive(Debug)]
pub(crate) struct Metadata<'a> {
    entries: Vec<(&'a str, Value<'a>)>,
}

/// A length-prefixed string.
pub(crate) fn string<'a>(input: &mut Cursor<'a>, limit: u64, field: &'static str) -> Result<&'a [u8]> {
    let at = input.position() as u64;
    let length = input.u64(field)?;
    if length > limit {
        return Err(Error::data(format!("{length} bytes, the limit is {limit}")).field(field).at(at));
    }
    if length > input.left() as u64 {
        let message = format!("{length} bytes, {} left in the file", input.left());
        return Err(Error::data(message).field(field).at(at));
    }
    input.take(length as usize, field)
}

/// A key or a tensor's name.
pub(crate) fn name<'a>(input: &mut Cursor<'a>, limit: u64, field: &'static str) -> Result<&'a str> {
    let at = input.position() as u64;
    let bytes = string(input, limit, field)?;
    let text = std::str::from_utf8(bytes).map_err(|_| Error::data("not UTF-8").field(field).at(at + 8))?;
    check_name(text).map_err(|message| Error::data(message).field(field).at(at))?;
    Ok(text)
}

impl<'a> Metadata<'a> {
    /// Reads `n` pairs, all but their strings' UTF-8 checked.
    pub(crate) fn read(input: &mut Cursor<'a>, n: usize) -> Result<Self> {
        let mut entries = Vec::with_capacity(n);
        for _ in 0..n {
            let key = name(input, MAX_NAME as u64, "metadata key")?;
            let value = value(input).map_err(|e| e.field(format!("key \"{key}\"")))?;
            entries.push((key, value));
        }
        entries.sort_by_key(|(key, value)| (*key, value.at));
        match entries.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            Some([_, (key, value)]) => Err(Error::data("appears twice").field(format!("key \"{key}\"")).at(value.at)),
            _ => Ok(Metadata { entries }),
        }
    }

    fn find(&self, key: &str) -> Option<Value<'a>> {
        let at = self.entries.binary_search_by_key(&key, |(key, _)| key).ok()?;
        Some(self.entries[at].1)
    }

    /// An error about the value of `key`.
    pub(crate) fn error(&self, key: &str, message: impl Into<String>) -> Error {
        let error = Error::data(message).field(format!("key \"{key}\""));
        match self.find(key) {
            Some(value) => error.at(value.at),
            None => error,
        }
    }

    fn wrong(&self, key: &str, value: Value<'a>, wanted: &str) -> Error {
        let found = match value.elements {
            Some((kind, n)) => format!("{n} x {kind:?}"),
            None => format!("{:?}", value.kind),
        };
        self.error(key, format!("expected {wanted}, found {found}"))
    }

    /// A number that is not negative, of any integer type.
    pub(crate) fn integer(&self, key: &str) -> Result<Option<u64>> {
        let Some(value) = self.find(key) else { return Ok(None) };
        let number = integer(value.kind, value.bytes).ok_or_else(|| self.wrong(key, value, "an integer"))?;
        let number = u64::try_from(number).map_err(|_| self.error(key, format!("{number} is negative")))?;
        Ok(Some(number))
    }

    /// A u32, of just this type.
    pub(crate) fn exact_u32(&self, key: &str) -> Result<Option<u32>> {
        let Some(value) = self.find(key) else { return Ok(None) };
        match (value.kind, value.bytes.first_chunk()) {
            (Kind::U32, Some(bytes)) => Ok(Some(u32::from_le_bytes(*bytes))),
            _ => Err(self.wrong(key, value, "U32")),
        }
    }

    /// A float.
    pub(crate) fn float(&self, key: &str) -> Result<Option<f64>> {
        let Some(value) = self.find(key) else { return Ok(None) };
        float(value.kind, value.bytes).map(Some).ok_or_else(|| self.wrong(key, value, "F32"))
    }

    /// A boolean.
    pub(crate) fn bool(&self, key: &str) -> Result<Option<bool>> {
        let Some(value) = self.find(key) else { return Ok(None) };
        match (value.kind, value.bytes) {
            (Kind::Bool, [0]) => Ok(Some(false)),
            (Kind::Bool, [1]) => Ok(Some(true)),
            _ => Err(self.wrong(key, value, "a boolean (0 or 1)")),
        }
    }

    /// A string.
    pub(crate) fn str(&self, key: &str) -> Result<Option<&'a str>> {
        let Some(value) = self.find(key) else { return Ok(None) };
        if value.kind != Kind::String {
            return Err(self.wrong(key, value, "a string"));
        }
        std::str::from_utf8(value.bytes).map(Some).map_err(|_| self.error(key, "not UTF-8"))
    }

    fn array(&self, key: &str, wanted: &str, fits: impl Fn(Kind) -> bool) -> Result<Option<Array<'a>>> {
        let Some(value) = self.find(key) else { return Ok(None) };
        match value.elements {
            Some((kind, n)) if fits(kind) => Ok(Some(Array { kind, n, bytes: value.bytes })),
            _ => Err(self.wrong(key, value, wanted)),
        }
    }

    /// An array of strings.
    pub(crate) fn strings(&self, key: &str) -> Result<Option<Vec<&'a str>>> {
        let Some(array) = self.array(key, "an array of strings", |k| k == Kind::String)? else { return Ok(None) };
        let mut input = Cursor::new(array.bytes, "array");
        let mut out = Vec::with_capacity(array.n);
        for i in 0..array.n {
            let bytes = string(&mut input, MAX_STRING, "array element")?;
            let text = std::str::from_utf8(bytes).map_err(|_| self.error(key, format!("element {i} is not UTF-8")))?;
            out.push(text);
        }
        Ok(Some(out))
    }

    /// An array of floats.
    pub(crate) fn floats(&self, key: &str) -> Result<Option<Vec<f32>>> {
        let Some(array) = self.array(key, "an array of F32", |k| k == Kind::F32)? else { return Ok(None) };
        let values = array.bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        Ok(Some(values.collect()))
    }

    /// An array of 32-bit integers.
    pub(crate) fn integers(&self, key: &str) -> Result<Option<Vec<i64>>> {
        let fits = |k| matches!(k, Kind::I32 | Kind::U32);
        let Some(array) = self.array(key, "an array of I32", fits)? else { return Ok(None) };
        let values = array.bytes.chunks_exact(array.kind.bytes());
        Ok(Some(values.filter_map(|b| integer(array.kind, b)).map(|n| n as i64).collect()))
    }

    /// An array of booleans.
    pub(crate) fn bools(&self, key: &str) -> Result<Option<Vec<bool>>> {
        let wanted = "an array of booleans (0 or 1)";
        let Some(array) = self.array(key, wanted, |k| k == Kind::Bool)? else { return Ok(None) };
        match array.bytes.iter().position(|byte| *byte > 1) {
            Some(i) => Err(self.error(key, format!("element {i} is {}, expected 0 or 1", array.bytes[i]))),
            None => Ok(Some(array.bytes.iter().map(|byte| *byte == 1).collect())),
        }
    }

    /// A value is an array.
    pub(crate) fn is_array(&self, key: &str) -> bool {
        self.find(key).is_some_and(|value| value.elements.is_some())
    }

    /// A number, or an array of `n` equal ones.
    pub(crate) fn per_layer(&self, key: &str, n: usize) -> Result<Option<u64>> {
        let values = self.each_layer(key, n)?;
        match values.first() {
            None if self.find(key).is_none() => Ok(None),
            Some(first) if values.iter().all(|v| v == first) => Ok(Some(*first)),
            _ => Err(self.error(key, "differs from layer to layer: not supported")),
        }
    }

    /// A number for all of `n` layers, or one for each; none where the key is not there.
    pub(crate) fn each_layer(&self, key: &str, n: usize) -> Result<Vec<u64>> {
        if self.find(key).is_none_or(|value| value.elements.is_none()) {
            return Ok(self.integer(key)?.into_iter().collect());
        }
        let values = self.integers(key)?.unwrap_or_default();
        if values.len() != n {
            return Err(self.error(key, format!("{} elements for {n} layers", values.len())));
        }
        let number = |n: i64| u64::try_from(n).map_err(|_| self.error(key, format!("{n} is negative")));
        values.into_iter().map(number).collect()
    }
}

struct Array<'a> {
    kind: Kind,
    n: usize,
    bytes: &'a [u8],
}

fn kind(input: &mut Cursor<'_>) -> Result<Kind> {
    let at = input.position() as u64;
    let number = input.u32("value type")?;
    Kind::from_number(number).ok_or_else(|| Error::data(format!("unknown value type {number}")).at(at))
}

fn value<'a>(input: &mut Cursor<'a>) -> Result<Value<'a>> {
    let kind_of_value = kind(input)?;
    let at = input.position() as u64;
    let mut elements = None;
    let bytes = match kind_of_value {
        Kind::String => string(input, MAX_STRING, "string value")?,
        Kind::Array => {
            let element = kind(input)?;
            let n_at = input.position() as u64;
            let n = input.u64("array length")?;
            if n > MAX_ARRAY || n > (input.left() / element.bytes()) as u64 {
                let message = format!("an array of {n} elements, {} bytes left, limit {MAX_ARRAY}", input.left());
                return Err(Error::data(message).at(n_at));
            }
            elements = Some((element, n as usize));
            array_bytes(input, element, n as usize)?
        }
        other => input.take(other.bytes(), "value")?,
    };
    Ok(Value { kind: kind_of_value, elements, bytes, at })
}

fn array_bytes<'a>(input: &mut Cursor<'a>, element: Kind, n: usize) -> Result<&'a [u8]> {
    match element {
        Kind::Array => Err(Error::data("an array of arrays: not supported").at(input.position() as u64)),
        Kind::String => {
            let mut ahead = input.clone();
            for _ in 0..n {
                string(&mut ahead, MAX_STRING, "array element")?;
            }
            input.take(ahead.position() - input.position(), "array")
        }
        other => input.take(n * other.bytes(), "array"),
    }
}

fn integer(kind: Kind, bytes: &[u8]) -> Option<i128> {
    let mut wide = [0; 8];
    wide.get_mut(..bytes.len())?.copy_from_slice(bytes);
    let value = u64::from_le_bytes(wide);
    Some(match kind {
        Kind::U8 | Kind::U16 | Kind::U32 | Kind::U64 => value.into(),
        Kind::I8 => (value as i8).into(),
        Kind::I16 => (value as i16).into(),
        Kind::I32 => (value as i32).into(),
        Kind::I64 => (value as i64).into(),
        _ => return None,
    })
}

fn float(kind: Kind, bytes: &[u8]) -> Option<f64> {
    match kind {
        Kind::F32 => Some(f32::from_le_bytes(*bytes.first_chunk()?).into()),
        Kind::F64 => Some(f64::from_le_bytes(*bytes.first_chunk()?)),
        _ => None,
    }
}

/// A value of the file as it may be shown.
pub(crate) fn shown(text: &str) -> String {
    printable(text)
}
