//! Python's pickles, so far as PyTorch writes tensors with them: a machine that knows dictionaries, lists, tuples, numbers, texts
//! and tensors, and nothing else. It calls no function: what PyTorch has called when it loads a tensor is taken as its
//! description, and every other name is refused.
//!
//! Values are small and refer to tables of containers by number, so that no pickle makes more of them than it has bytes, none is
//! walked in depth, and none is freed in depth.

use std::collections::HashMap;
use std::ops::Range;

use whit::error::{Error, Result, printable};
use whit::format::cursor::Cursor;

use super::types::{Function, StorageType, function};

/// Bytes of a pickle, at most.
pub(in crate::source) const MAX_PICKLE: u64 = 64 << 20;
/// Opcodes of a pickle, at most. A tensor takes some 70 of them; each makes one value of 24 bytes at most.
const MAX_OPCODES: usize = 1 << 22;

/// A value. Containers are numbers of tables in [`Heap`].
#[derive(Debug, Clone, Copy)]
pub(in crate::source) enum Value<'p> {
    None,
    Bool(bool),
    Int(i64),
    Float,
    Text(&'p str),
    Bytes,
    Function(Function),
    Storage(usize),
    Tensor(usize),
    Tuple(usize),
    List(usize),
    Dict(usize),
}

impl Value<'_> {
    fn name(self) -> &'static str {
        match self {
            Value::None => "None",
            Value::Bool(_) => "a truth value",
            Value::Int(_) => "a whole number",
            Value::Float => "a number",
            Value::Text(_) => "a text",
            Value::Bytes => "bytes",
            Value::Function(_) => "a function",
            Value::Storage(_) => "a storage",
            Value::Tensor(_) => "a tensor",
            Value::Tuple(_) => "a tuple",
            Value::List(_) => "a list",
            Value::Dict(_) => "a dictionary",
        }
    }
}

/// Numbers that lie one after the other.
#[derive(Debug, Clone, Copy)]
pub(in crate::source) struct Storage<'p> {
    pub(in crate::source) kind: StorageType,
    /// Its name in the archive.
    pub(in crate::source) key: &'p str,
    pub(in crate::source) elements: u64,
}

/// Which elements of a storage a tensor is.
#[derive(Debug, Clone)]
pub(in crate::source) struct Tensor {
    pub(in crate::source) storage: usize,
    /// The first of them.
    pub(in crate::source) offset: u64,
    pub(in crate::source) shape: Vec<u64>,
    /// Elements from one to the next, of each dimension.
    pub(in crate::source) strides: Vec<u64>,
    /// Where the file describes it.
    pub(in crate::source) at: u64,
}

/// All containers of a pickle.
#[derive(Debug, Default)]
pub(in crate::source) struct Heap<'p> {
    pub(in crate::source) storages: Vec<Storage<'p>>,
    pub(in crate::source) tensors: Vec<Tensor>,
    pub(in crate::source) dicts: Vec<Vec<(Value<'p>, Value<'p>)>>,
    pub(in crate::source) lists: Vec<Vec<Value<'p>>>,
    items: Vec<Value<'p>>,
    tuples: Vec<Range<usize>>,
}

impl<'p> Heap<'p> {
    /// The elements of a tuple.
    fn tuple(&self, number: usize) -> &[Value<'p>] {
        &self.items[self.tuples[number].clone()]
    }

    fn new_tuple(&mut self, values: impl Iterator<Item = Value<'p>>) -> Value<'p> {
        let start = self.items.len();
        self.items.extend(values);
        self.tuples.push(start..self.items.len());
        Value::Tuple(self.tuples.len() - 1)
    }

    /// A tuple of numbers that are not negative.
    fn numbers(&self, value: Value<'p>) -> Option<Vec<u64>> {
        let Value::Tuple(number) = value else { return None };
        self.tuple(number).iter().map(|value| whole(*value)).collect()
    }
}

/// A number that is not negative.
fn whole(value: Value<'_>) -> Option<u64> {
    if let Value::Int(number) = value { u64::try_from(number).ok() } else { None }
}

/// Reads the pickle at which `input` stands, up to its end; what it makes, with all that this refers to.
pub(in crate::source) fn read<'p>(input: &mut Cursor<'p>) -> Result<(Value<'p>, Heap<'p>)> {
    let mut machine = Machine { stack: Vec::new(), marks: Vec::new(), memo: HashMap::new(), heap: Heap::default() };
    for _ in 0..MAX_OPCODES {
        let at = input.offset();
        if let Some(value) = machine.step(input, at).map_err(|e| if e.has_place() { e } else { placed(e, at) })? {
            return Ok((value, machine.heap));
        }
    }
    Err(placed(Error::data(format!("more than {MAX_OPCODES} opcodes")), input.offset()))
}

fn placed(error: Error, at: u64) -> Error {
    error.field("pickle").at(at)
}

struct Machine<'p> {
    stack: Vec<Value<'p>>,
    /// Heights of the stack at which marks stand.
    marks: Vec<usize>,
    memo: HashMap<u32, Value<'p>>,
    heap: Heap<'p>,
}

impl<'p> Machine<'p> {
    /// Does what the next opcode says; the value of the whole pickle at its end.
    fn step(&mut self, input: &mut Cursor<'p>, at: u64) -> Result<Option<Value<'p>>> {
        let opcode = input.take(1, "opcode")?[0];
        let value = match opcode {
            b'.' => return self.pop().map(Some),
            0x80 => return protocol(input).map(|()| None),
            0x95 => return input.u64("frame").map(|_| None),
            b'(' => {
                self.marks.push(self.stack.len());
                return Ok(None);
            }
            b'q' => return self.put(byte(input)?.into()),
            b'r' => return input.u32("memo").and_then(|n| self.put(n)),
            0x94 => return self.put(self.memo.len() as u32),
            b'a' | b'e' => return self.append(opcode == b'e'),
            b's' | b'u' => return self.set(opcode == b'u'),
            b'b' => return self.build(),
            b'0' => return self.pop().map(|_| None),
            b'h' => self.get(byte(input)?.into())?,
            b'j' => self.get(input.u32("memo")?)?,
            b'N' => Value::None,
            0x88 | 0x89 => Value::Bool(opcode == 0x88),
            b'J' => Value::Int(input.u32("number")?.cast_signed().into()),
            b'K' => Value::Int(byte(input)?.into()),
            b'M' => Value::Int(input.u16("number")?.into()),
            0x8a => long(input)?,
            b'G' => input.take(8, "number").map(|_| Value::Float)?,
            b'X' | b'T' => text(input.u32("text")?.into(), input)?,
            b'U' | 0x8c => text(byte(input)?.into(), input)?,
            0x8d => text(input.u64("text")?, input)?,
            b'B' => bytes(input.u32("bytes")?.into(), input)?,
            b'C' => bytes(byte(input)?.into(), input)?,
            b'}' => self.dict(),
            b']' => self.list(),
            b')' => self.heap.new_tuple([].into_iter()),
            0x85..=0x87 => self.tuple(usize::from(opcode - 0x84))?,
            b't' => {
                let n = self.above_mark()?;
                self.tuple(n)?
            }
            b'c' => Value::Function(function(line(input)?, line(input)?)?),
            0x93 => match (self.pop()?, self.pop()?) {
                (Value::Text(name), Value::Text(module)) => Value::Function(function(module, name)?),
                (other, _) => return Err(wrong("the name of a function", other)),
            },
            b'Q' => self.storage()?,
            b'R' => self.call(at)?,
            _ => {
                let error = Error::data(format!("opcode {opcode:#04x}, which no tensor needs"));
                return Err(error.hint("save the state dict of the model alone, or the model as safetensors"));
            }
        };
        self.stack.push(value);
        Ok(None)
    }

    /// The topmost value that was put down since the last mark.
    fn pop(&mut self) -> Result<Value<'p>> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err(Error::data("a value is missing: the pickle is damaged").hint("copy the file again"));
        }
        self.stack.pop().ok_or_else(|| Error::data("a value is missing"))
    }

    /// How many values were put down since the last mark, which goes.
    fn above_mark(&mut self) -> Result<usize> {
        let mark = self.marks.pop().ok_or_else(|| Error::data("a mark is missing: the pickle is damaged"))?;
        Ok(self.stack.len() - mark)
    }

    fn top(&self) -> Result<Value<'p>> {
        self.stack.last().copied().ok_or_else(|| Error::data("a value is missing: the pickle is damaged"))
    }

    fn put(&mut self, number: u32) -> Result<Option<Value<'p>>> {
        self.memo.insert(number, self.top()?);
        Ok(None)
    }

    fn get(&self, number: u32) -> Result<Value<'p>> {
        self.memo.get(&number).copied().ok_or_else(|| Error::data(format!("nothing was kept as {number}")))
    }

    fn dict(&mut self) -> Value<'p> {
        self.heap.dicts.push(Vec::new());
        Value::Dict(self.heap.dicts.len() - 1)
    }

    fn list(&mut self) -> Value<'p> {
        self.heap.lists.push(Vec::new());
        Value::List(self.heap.lists.len() - 1)
    }

    /// A tuple of the topmost `n` values.
    fn tuple(&mut self, n: usize) -> Result<Value<'p>> {
        let values = self.take(n)?;
        Ok(self.heap.new_tuple(values.into_iter()))
    }

    /// The topmost `n` values, in the order in which they were put down.
    fn take(&mut self, n: usize) -> Result<Vec<Value<'p>>> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.len().checked_sub(n).filter(|start| *start >= floor) {
            Some(start) => Ok(self.stack.split_off(start)),
            None => Err(Error::data("a value is missing: the pickle is damaged").hint("copy the file again")),
        }
    }

    /// Adds one value to a list, or all since the mark.
    fn append(&mut self, many: bool) -> Result<Option<Value<'p>>> {
        let n = if many { self.above_mark()? } else { 1 };
        let values = self.take(n)?;
        match self.top()? {
            Value::List(list) => self.heap.lists[list].extend(values),
            other => return Err(wrong("a list", other)),
        }
        Ok(None)
    }

    /// Adds one pair to a dictionary, or all since the mark.
    fn set(&mut self, many: bool) -> Result<Option<Value<'p>>> {
        let n = if many { self.above_mark()? } else { 2 };
        let values = self.take(n)?;
        if !n.is_multiple_of(2) {
            return Err(Error::data("a key without its value"));
        }
        match self.top()? {
            Value::Dict(dict) => self.heap.dicts[dict].extend(values.chunks_exact(2).map(|pair| (pair[0], pair[1]))),
            other => return Err(wrong("a dictionary", other)),
        }
        Ok(None)
    }

    /// Takes no notice of the attributes of a dictionary, as versions of modules; nothing else has any.
    fn build(&mut self) -> Result<Option<Value<'p>>> {
        self.pop()?;
        match self.top()? {
            Value::Dict(_) | Value::Tensor(_) => Ok(None),
            other => Err(wrong("a dictionary", other)),
        }
    }

    /// A storage of another file of the archive, as ('storage', type, key, location, elements) names it.
    fn storage(&mut self) -> Result<Value<'p>> {
        let Value::Tuple(number) = self.pop()? else { return Err(Error::data("no storage where one is named")) };
        let storage = match *self.heap.tuple(number) {
            [Value::Text("storage"), Value::Function(Function::Storage(kind)), Value::Text(key), _, elements]
            | [
                Value::Text("storage"),
                Value::Function(Function::Storage(kind)),
                Value::Text(key),
                _,
                elements,
                Value::None,
            ] => whole(elements).map(|elements| Storage { kind, key, elements }),
            _ => None,
        };
        let storage = storage.ok_or_else(|| Error::data("a reference to something that is no storage of a tensor"))?;
        self.heap.storages.push(storage);
        Ok(Value::Storage(self.heap.storages.len() - 1))
    }

    /// What a call of PyTorch's would make.
    fn call(&mut self, at: u64) -> Result<Value<'p>> {
        let (arguments, called) = (self.pop()?, self.pop()?);
        let Value::Tuple(number) = arguments else { return Err(wrong("a tuple of arguments", arguments)) };
        let Value::Function(function) = called else { return Err(wrong("a function", called)) };
        match (function, self.heap.tuple(number)) {
            (Function::OrderedDict, []) => Ok(self.dict()),
            (Function::RebuildParameter, [tensor @ Value::Tensor(_), ..]) => Ok(*tensor),
            (Function::RebuildTensor, [Value::Storage(storage), offset, shape, strides, ..]) => {
                let (storage, offset) = (*storage, whole(*offset));
                let shape = self.heap.numbers(*shape).zip(self.heap.numbers(*strides));
                let Some((offset, (shape, strides))) = offset.zip(shape).filter(|(_, (a, b))| a.len() == b.len())
                else {
                    return Err(Error::data("a tensor without offset, shape or strides"));
                };
                self.heap.tensors.push(Tensor { storage, offset, shape, strides, at });
                Ok(Value::Tensor(self.heap.tensors.len() - 1))
            }
            _ => Err(Error::data(format!("{} of other arguments than a tensor's", function.name()))),
        }
    }
}

fn protocol(input: &mut Cursor<'_>) -> Result<()> {
    match byte(input)? {
        2..=5 => Ok(()),
        other => Err(Error::data(format!("a pickle of protocol {other}, expected 2 to 5"))),
    }
}

fn byte(input: &mut Cursor<'_>) -> Result<u8> {
    Ok(input.take(1, "byte")?[0])
}

/// A number of up to 8 bytes.
fn long<'p>(input: &mut Cursor<'p>) -> Result<Value<'p>> {
    let n = usize::from(byte(input)?);
    let bytes = input.take(n, "number")?;
    let negative = bytes.last().is_some_and(|last| *last >= 0x80);
    let mut wide = [if negative { 0xff } else { 0 }; 8];
    let place = wide.get_mut(..n).ok_or_else(|| Error::data(format!("a number of {n} bytes")))?;
    place.copy_from_slice(bytes);
    Ok(Value::Int(i64::from_le_bytes(wide)))
}

fn text<'p>(n: u64, input: &mut Cursor<'p>) -> Result<Value<'p>> {
    let bytes = input.take(usize::try_from(n).unwrap_or(usize::MAX), "text")?;
    // Texts of Python 2 may be any bytes.
    Ok(core::str::from_utf8(bytes).map_or(Value::Bytes, Value::Text))
}

fn bytes<'p>(n: u64, input: &mut Cursor<'p>) -> Result<Value<'p>> {
    input.take(usize::try_from(n).unwrap_or(usize::MAX), "bytes").map(|_| Value::Bytes)
}

/// A line of at most so many bytes that a name can have.
fn line<'p>(input: &mut Cursor<'p>) -> Result<&'p str> {
    let mut ahead = input.clone();
    let mut n = 0;
    while byte(&mut ahead)? != b'\n' {
        n += 1;
        if n > 256 {
            return Err(Error::data("a name of more than 256 bytes"));
        }
    }
    let name = input.take(n, "name")?;
    input.take(1, "name")?;
    core::str::from_utf8(name)
        .map_err(|_| Error::data(format!("\"{}\" is no name", printable(&String::from_utf8_lossy(name)))))
}

fn wrong(wanted: &str, found: Value<'_>) -> Error {
    Error::data(format!("{} where {wanted} should be", found.name())).hint("the pickle is damaged: copy the file again")
}
