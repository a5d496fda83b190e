//! Lists of typed fields: the extensible form of the configuration section (FORMAT.md, "Configuration").

use crate::error::{Error, Result};
use crate::format::check_name;
use crate::format::cursor::{Cursor, Encoder};
use alloc::string::String;
use alloc::vec::Vec;

/// The type of a field, which says how long it is and what its bytes mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    /// A u32.
    Number = 1,
    /// An f32.
    Float = 2,
    /// Some f32.
    Floats = 3,
    /// UTF-8.
    Text = 4,
    /// A u32, their number, then lists of fields, each behind a u32, its bytes.
    Records = 5,
}

impl Type {
    const ALL: [Type; 5] = [Type::Number, Type::Float, Type::Floats, Type::Text, Type::Records];

    fn name(self) -> &'static str {
        match self {
            Type::Number => "a number",
            Type::Float => "a float",
            Type::Floats => "floats",
            Type::Text => "text",
            Type::Records => "records",
        }
    }
}

/// A reader that does not know the field must refuse the file.
const REQUIRED: u8 = 1;
/// Bytes of a field before its content: tag, type, flags, length.
const HEAD_BYTES: usize = 8;
/// Fields of a list, at most: their number costs memory before they are read.
const MAX_FIELDS: usize = 1024;

/// Writes a list of fields, in ascending order of their tags.
#[derive(Default)]
pub(super) struct FieldWriter {
    out: Encoder,
    n: u32,
}

impl FieldWriter {
    fn field(&mut self, tag: u16, of: Type, flags: u8, content: &[u8]) {
        self.n += 1;
        self.out.u16(tag);
        self.out.bytes(&[of as u8, flags]);
        self.out.u32(content.len() as u32);
        self.out.bytes(content);
    }

    pub(super) fn number(&mut self, tag: u16, value: usize) {
        self.field(tag, Type::Number, REQUIRED, &(value as u32).to_le_bytes());
    }

    /// A number where there is one.
    pub(super) fn optional(&mut self, tag: u16, value: Option<usize>) {
        if let Some(value) = value {
            self.number(tag, value);
        }
    }

    /// The number 1 where `set`.
    pub(super) fn flag(&mut self, tag: u16, set: bool) {
        self.optional(tag, set.then_some(1));
    }

    pub(super) fn float(&mut self, tag: u16, value: f32) {
        self.field(tag, Type::Float, REQUIRED, &value.to_le_bytes());
    }

    /// A float where there is one.
    pub(super) fn optional_float(&mut self, tag: u16, value: Option<f32>) {
        if let Some(value) = value {
            self.float(tag, value);
        }
    }

    pub(super) fn floats(&mut self, tag: u16, values: &[f32]) {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.field(tag, Type::Floats, REQUIRED, &bytes);
    }

    /// Floats where there are some.
    pub(super) fn optional_floats(&mut self, tag: u16, values: &[f32]) {
        if !values.is_empty() {
            self.floats(tag, values);
        }
    }

    /// A name for people, which readers may leave alone; no field where it is empty.
    pub(super) fn name(&mut self, tag: u16, name: &str) {
        if !name.is_empty() {
            self.field(tag, Type::Text, 0, name.as_bytes());
        }
    }

    pub(super) fn records(&mut self, tag: u16, records: impl Iterator<Item = FieldWriter>) {
        let mut out = Encoder::default();
        let records: Vec<Vec<u8>> = records.map(FieldWriter::into_bytes).collect();
        out.u32(records.len() as u32);
        for record in records {
            out.u32(record.len() as u32);
            out.bytes(&record);
        }
        self.field(tag, Type::Records, REQUIRED, &out.into_bytes());
    }

    /// The list: the number of fields, then the fields.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        let mut out = Encoder::default();
        out.u32(self.n);
        out.bytes(&self.out.into_bytes());
        out.into_bytes()
    }
}

/// A field as it was read.
struct Field<'a> {
    tag: u16,
    of: u8,
    required: bool,
    content: &'a [u8],
    at: u64,
    /// Somebody asked for it.
    known: bool,
}

/// A list of fields, which are asked for by their tags.
pub(super) struct Fields<'a> {
    fields: Vec<Field<'a>>,
    /// What the list describes, for errors.
    of: &'static str,
    /// Where the list begins.
    at: u64,
}

impl<'a> Fields<'a> {
    /// Reads a list up to the end of `input`; refuses too many fields, tags that do not ascend, flags that do not exist, and
    /// lengths that do not fit.
    pub(super) fn read(mut input: Cursor<'a>, of: &'static str) -> Result<Self> {
        let at = input.offset();
        let n = input.count(HEAD_BYTES, "number of fields")?;
        if n > MAX_FIELDS {
            let message = format!("{n} fields, at most {MAX_FIELDS} are possible");
            return Err(Error::data(message).field(of).at(at));
        }
        let mut fields: Vec<Field<'a>> = Vec::with_capacity(n);
        for _ in 0..n {
            let at = input.offset();
            let tag = input.u16("tag")?;
            let head = input.take(2, "type and flags")?;
            let (kind, flags) = (head[0], head[1]);
            let wrong = |message: String| Error::data(message).field(format!("{of} field {tag}")).at(at);
            if fields.last().is_some_and(|last| last.tag >= tag) {
                return Err(wrong("tags must ascend, each at most once".into()));
            }
            if flags > REQUIRED {
                return Err(wrong(format!("unknown flags {flags:#x}")));
            }
            let length = input.u32("length")? as usize;
            let content = input.take(length, "content")?;
            fields.push(Field { tag, of: kind, required: flags == REQUIRED, content, at, known: false });
        }
        input.finish()?;
        Ok(Fields { fields, of, at })
    }

    /// Where the list begins, as errors count.
    pub(super) fn offset(&self) -> u64 {
        self.at
    }

    /// The content of the field `tag`, which must be of type `of`.
    fn content(&mut self, tag: u16, name: &'static str, of: Type) -> Result<Option<(&'a [u8], u64)>> {
        let Some(field) = self.fields.iter_mut().find(|field| field.tag == tag) else { return Ok(None) };
        field.known = true;
        let wrong = |message: String| Error::data(message).field(name).at(field.at);
        if field.of != of as u8 {
            let found = Type::ALL.into_iter().find(|t| *t as u8 == field.of).map_or("an unknown type", Type::name);
            return Err(wrong(format!("{found}, not {}", of.name())));
        }
        let fits = match of {
            Type::Number | Type::Float => field.content.len() == 4,
            Type::Floats => field.content.len().is_multiple_of(4),
            Type::Text | Type::Records => true,
        };
        if !fits {
            return Err(wrong(format!("{} bytes are no {}", field.content.len(), of.name())));
        }
        Ok(Some((field.content, field.at + HEAD_BYTES as u64)))
    }

    /// A number with its place, where it is there.
    fn placed(&mut self, tag: u16, name: &'static str) -> Result<Option<(usize, u64)>> {
        let Some((content, at)) = self.content(tag, name, Type::Number)? else { return Ok(None) };
        Cursor::based(content, name, at).u32("value").map(|value| Some((value as usize, at)))
    }

    /// A number, where it is there.
    pub(super) fn optional(&mut self, tag: u16, name: &'static str) -> Result<Option<usize>> {
        Ok(self.placed(tag, name)?.map(|(value, _)| value))
    }

    /// A number that must be there.
    pub(super) fn number(&mut self, tag: u16, name: &'static str) -> Result<usize> {
        self.optional(tag, name)?.ok_or_else(|| self.missing(name))
    }

    /// What a number that must be there stands for, by `meaning`.
    pub(super) fn value<T>(
        &mut self,
        tag: u16,
        name: &'static str,
        meaning: impl FnOnce(usize) -> Option<T>,
    ) -> Result<T> {
        let (value, at) = self.placed(tag, name)?.ok_or_else(|| self.missing(name))?;
        let unknown = || Error::data(format!("{value} is not known")).field(name).at(at).hint("use a newer version");
        meaning(value).ok_or_else(unknown)
    }

    /// What a number stands for, by `meaning`, where it is there.
    pub(super) fn optional_value<T>(
        &mut self,
        tag: u16,
        name: &'static str,
        meaning: impl FnOnce(usize) -> Option<T>,
    ) -> Result<Option<T>> {
        match self.optional(tag, name)? {
            None => Ok(None),
            Some(_) => self.value(tag, name, meaning).map(Some),
        }
    }

    /// A positive float, where it is there.
    pub(super) fn optional_float(&mut self, tag: u16, name: &'static str) -> Result<Option<f32>> {
        let Some((content, at)) = self.content(tag, name, Type::Float)? else { return Ok(None) };
        match Cursor::based(content, name, at).f32("value")? {
            value if value.is_finite() && value > 0.0 => Ok(Some(value)),
            value => Err(Error::data(format!("{value} is not a positive number")).field(name).at(at)),
        }
    }

    /// Whether a flag is set: it is absent, or the number 1.
    pub(super) fn flag(&mut self, tag: u16, name: &'static str) -> Result<bool> {
        match self.placed(tag, name)? {
            None => Ok(false),
            Some((1, _)) => Ok(true),
            Some((other, at)) => Err(Error::data(format!("a flag that is set is 1, not {other}")).field(name).at(at)),
        }
    }

    /// A float that must be there.
    pub(super) fn float(&mut self, tag: u16, name: &'static str) -> Result<f32> {
        let (content, at) = self.content(tag, name, Type::Float)?.ok_or_else(|| self.missing(name))?;
        Cursor::based(content, name, at).f32("value")
    }

    /// Floats, none where the field is not there.
    pub(super) fn optional_floats(&mut self, tag: u16, name: &'static str) -> Result<Vec<f32>> {
        match self.content(tag, name, Type::Floats)? {
            Some(_) => self.floats(tag, name),
            None => Ok(Vec::new()),
        }
    }

    /// Floats that must be there.
    pub(super) fn floats(&mut self, tag: u16, name: &'static str) -> Result<Vec<f32>> {
        let (content, at) = self.content(tag, name, Type::Floats)?.ok_or_else(|| self.missing(name))?;
        let mut input = Cursor::based(content, name, at);
        (0..content.len() / 4).map(|_| input.f32("value")).collect()
    }

    /// A name, empty where it is not there.
    pub(super) fn name(&mut self, tag: u16, name: &'static str) -> Result<&'a str> {
        let Some((content, at)) = self.content(tag, name, Type::Text)? else { return Ok("") };
        check_name(content).map_err(|message| Error::data(message).field(name).at(at))
    }

    /// Lists of fields; none where they are not there. `of` names what each describes.
    pub(super) fn records(&mut self, tag: u16, of: &'static str, most: usize) -> Result<Vec<Fields<'a>>> {
        let Some((content, at)) = self.content(tag, of, Type::Records)? else { return Ok(Vec::new()) };
        let mut input = Cursor::based(content, of, at);
        let n = input.count(4, "number of records")?;
        if n > most {
            return Err(Error::data(format!("{n} of them, at most {most} are possible")).field(of).at(at));
        }
        let mut records = Vec::with_capacity(n);
        for _ in 0..n {
            let length = input.u32("bytes of a record")? as usize;
            let at = input.offset();
            records.push(Fields::read(Cursor::based(input.take(length, "record")?, of, at), of)?);
        }
        input.finish()?;
        Ok(records)
    }

    /// Refuses a required field that nobody asked for: it says something that this program does not know.
    pub(super) fn finish(self) -> Result<()> {
        match self.fields.iter().find(|field| field.required && !field.known) {
            None => Ok(()),
            Some(field) => {
                let error = Error::data("this program does not know what it means");
                Err(error.field(format!("{} field {}", self.of, field.tag)).at(field.at).hint("use a newer version"))
            }
        }
    }

    fn missing(&self, name: &'static str) -> Error {
        Error::data("missing").field(format!("{} {name}", self.of)).at(self.at)
    }
}

/// Refuses a `value` of `field` that is 0 or above `limit`.
pub(super) fn in_limit(field: &'static str, value: usize, limit: usize) -> Result<()> {
    if value == 0 || value > limit {
        return Err(Error::data(format!("{value} is outside 1..={limit}")).field(field));
    }
    Ok(())
}

/// The value of the field that stands for `item` of `all`.
pub(super) fn place_of<T: PartialEq>(all: &[T], item: T) -> usize {
    all.iter().position(|other| *other == item).unwrap_or(all.len())
}
