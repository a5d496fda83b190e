//! PyTorch's files of a state dict: a ZIP archive of a pickle that describes tensors and of their storages (from 1.6 on), or pickles
//! with all storages behind them (before). The pickle is read by [`super::pickle`], which runs nothing.

pub(in crate::source) mod pickle;
pub(in crate::source) mod types;
pub(in crate::source) mod zip;

use std::collections::{HashMap, HashSet};

use whit::error::{Error, Result, listed, printable};
use whit::format::cursor::Cursor;

use crate::source::tensor::{Entry, MAX_TENSORS, check_dimensions, check_name};
use pickle::{Heap, MAX_PICKLE, Storage, Tensor, Value};
use zip::Place;

/// What a file of the older form begins with: a pickle of PyTorch's number.
const LEGACY: [u8; 15] = [0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, b'.'];
/// Keys under which training programs keep the state dict of the model among other things.
const NESTS: [&str; 4] = ["state_dict", "model_state_dict", "model", "module"];

/// Whether `file` begins as PyTorch's do.
pub(in crate::source) fn is_torch(file: &[u8]) -> bool {
    file.starts_with(b"PK\x03\x04") || file.starts_with(&[0x80, 2])
}

/// Reads and checks the state dict of a whole file. Tensors that `ignored` names may be of any type; they are left out of the
/// result. What else is left out is told in `notes`.
pub(in crate::source) fn parse(
    file: &[u8],
    ignored: impl Fn(&str) -> bool,
    notes: &mut Vec<String>,
) -> Result<Vec<Entry>> {
    if file.starts_with(b"PK\x03\x04") {
        return zipped(file, &ignored, notes);
    }
    if file.starts_with(&LEGACY) {
        return legacy(file, &ignored, notes);
    }
    let error = Error::data("neither PyTorch's ZIP archive nor its older form").field("magic").at(0);
    Err(error.hint("is this a PyTorch file? save the model as safetensors"))
}

fn zipped(file: &[u8], ignored: &dyn Fn(&str) -> bool, notes: &mut Vec<String>) -> Result<Vec<Entry>> {
    let entries = zip::entries(file)?;
    let mut names: Vec<&str> = entries.keys().copied().filter(|name| name.ends_with("/data.pkl")).collect();
    names.sort_by_key(|name| (name.len(), *name));
    let Some(name) = names.first() else {
        let error = Error::data("a ZIP archive without data.pkl: no PyTorch file").field("ZIP").at(0);
        return Err(error.hint("unpack it, if the model lies in it"));
    };
    let folder = &name[..name.len() - "data.pkl".len()];
    let find = |name: &str| entries.get(format!("{folder}{name}").as_str()).copied();
    let at = entries[name];
    if find("constants.pkl").is_some() {
        let error = Error::data("a TorchScript archive: it holds a program").field("ZIP").at(at.start);
        return Err(error.hint("save the state dict of the model, or the model as safetensors"));
    }
    if let Some(place) = find("byteorder")
        && zip::slice(file, place).is_some_and(|order| order != b"little")
    {
        return Err(other_byte_order(place.start));
    }
    if at.bytes > MAX_PICKLE {
        let message = format!("data.pkl of {} bytes, the limit is {MAX_PICKLE}", at.bytes);
        return Err(Error::data(message).field("ZIP").at(at.start));
    }
    let bytes = zip::slice(file, at).unwrap_or_default();
    let (root, heap) = pickle::read(&mut Cursor::based(bytes, "pickle", at.start))?;
    let place = |storage: &Storage<'_>| find(&format!("data/{}", storage.key));
    entries_of(root, &heap, &place, at.start, ignored, notes)
}

fn legacy(file: &[u8], ignored: &dyn Fn(&str) -> bool, notes: &mut Vec<String>) -> Result<Vec<Entry>> {
    let head = &file[..file.len().min(MAX_PICKLE as usize)];
    let mut input = Cursor::new(head, "pickle");
    input.take(LEGACY.len(), "magic")?;
    let (version, _) = pickle::read(&mut input)?;
    if !matches!(version, Value::Int(1001)) {
        return Err(Error::data("a version that is not 1001").field("pickle").at(LEGACY.len() as u64));
    }
    let at = input.offset();
    let (system, heap) = pickle::read(&mut input)?;
    let little = |pair: &(Value<'_>, Value<'_>)| matches!(pair, (Value::Text("little_endian"), Value::Bool(true)));
    if !matches!(system, Value::Dict(dict) if heap.dicts[dict].iter().any(little)) {
        return Err(other_byte_order(at));
    }
    let at = input.offset();
    let (root, heap) = pickle::read(&mut input)?;
    let (keys, of_keys) = pickle::read(&mut input)?;
    let Value::List(keys) = keys else {
        return Err(Error::data("no list of storages after the tensors").field("pickle").at(input.offset()));
    };
    let widths: HashMap<&str, u64> = heap.storages.iter().map(|storage| (storage.key, storage.kind.width)).collect();
    let mut places = HashMap::new();
    let mut start = input.offset();
    for key in &of_keys.lists[keys] {
        let known = if let Value::Text(key) = key { widths.get_key_value(key) } else { None };
        let Some((key, width)) = known else {
            return Err(Error::data("a storage that no tensor names").field("pickle").at(start));
        };
        let count = usize::try_from(start).ok().and_then(|at| file.get(at..)?.first_chunk());
        let bytes = count.and_then(|count| u64::from_le_bytes(*count).checked_mul(*width));
        let stop = bytes.and_then(|bytes| bytes.checked_add(start + 8)).filter(|stop| *stop <= file.len() as u64);
        let Some(stop) = stop else {
            let error = Error::data(format!("storage {} ends past the end of the file", printable(key)));
            return Err(error.field("pickle").at(start).hint("the file is cut short: copy it again"));
        };
        places.insert(*key, Place { start: start + 8, bytes: stop - start - 8 });
        start = stop;
    }
    entries_of(root, &heap, &|storage| places.get(storage.key).copied(), at, ignored, notes)
}

fn other_byte_order(at: u64) -> Error {
    Error::data("numbers in big-endian order").field("byteorder").at(at).hint("save the model as safetensors")
}

/// The tensors of the state dict that `root` is or holds.
fn entries_of(
    root: Value<'_>,
    heap: &Heap<'_>,
    place: &dyn Fn(&Storage<'_>) -> Option<Place>,
    at: u64,
    ignored: &dyn Fn(&str) -> bool,
    notes: &mut Vec<String>,
) -> Result<Vec<Entry>> {
    let pairs = state_dict(root, heap).map_err(|e| e.field("state dict").at(at))?;
    let (mut out, mut seen, mut others) = (Vec::new(), HashSet::new(), Vec::new());
    for (key, value) in pairs {
        let (Value::Text(name), Value::Tensor(tensor)) = (key, value) else {
            others.push(if let Value::Text(name) = key { printable(name) } else { "a key that is no text".into() });
            continue;
        };
        let tensor = &heap.tensors[*tensor];
        let field = format!("tensor \"{}\"", printable(name));
        let placed = |message: String| Error::data(message).field(field.clone()).at(tensor.at);
        check_name(name).map_err(placed)?;
        if out.len() == MAX_TENSORS {
            return Err(placed(format!("more than {MAX_TENSORS} tensors")));
        }
        if !seen.insert(*name) {
            return Err(placed("appears twice".into()));
        }
        if !ignored(name) {
            out.push(entry(name, tensor, heap, place).map_err(|e| e.field(field.clone()).at(tensor.at))?);
        }
    }
    if !others.is_empty() {
        notes.push(format!("the state dict holds what is no tensor, which is left out: {}", listed(&others)));
    }
    if out.is_empty() { Err(Error::data("no tensors").field("state dict").at(at)) } else { Ok(out) }
}

/// The dictionary of the tensors, within those that training programs put around it.
fn state_dict<'h, 'p>(root: Value<'p>, heap: &'h Heap<'p>) -> Result<&'h [(Value<'p>, Value<'p>)]> {
    let pairs = |value| if let Value::Dict(dict) = value { Some(&heap.dicts[dict][..]) } else { None };
    let is_tensor = |pair: &(Value<'_>, Value<'_>)| matches!(pair, (Value::Text(_), Value::Tensor(_)));
    let mut found = pairs(root);
    for _ in 0..4 {
        let Some(outer) = found else { break };
        let named = |nest: &str| outer.iter().find(|(key, _)| matches!(key, Value::Text(name) if *name == nest));
        let inner = NESTS.iter().find_map(|nest| pairs(named(nest)?.1));
        match inner {
            Some(inner) => found = Some(inner),
            None if outer.iter().any(is_tensor) => return Ok(outer),
            None => break,
        }
    }
    let keys = found.unwrap_or_default().iter().filter_map(|(key, _)| match key {
        Value::Text(name) => Some(printable(name)),
        _ => None,
    });
    let keys: Vec<String> = keys.collect();
    let error = Error::data(match &keys[..] {
        [] => "no state dict".to_string(),
        keys => format!("no tensors among {}", listed(keys)),
    });
    Err(error.hint("save the state dict of the model alone, or the model as safetensors"))
}

fn entry(name: &str, tensor: &Tensor, heap: &Heap<'_>, place: &dyn Fn(&Storage<'_>) -> Option<Place>) -> Result<Entry> {
    let storage = &heap.storages[tensor.storage];
    let Some(encoding) = storage.kind.encoding else {
        let error = Error::data(format!("weights of dtype {} are not supported", storage.kind.dtype));
        return Err(error.hint("supported: F32, F16, BF16: save the model as one of them"));
    };
    check_dimensions(&tensor.shape).map_err(Error::data)?;
    let stored = storage.elements.checked_mul(storage.kind.width);
    let found = place(storage);
    let Some(Place { start, bytes }) = found.filter(|place| stored == Some(place.bytes)) else {
        let found = found.map_or("missing".into(), |place| format!("of {} bytes", place.bytes));
        let error = Error::data(format!(
            "its storage {} of {} elements of {} is {found}",
            printable(storage.key),
            storage.elements,
            storage.kind.dtype
        ));
        return Err(error.hint("the file is damaged: copy it again"));
    };
    let span = span(&tensor.shape, &tensor.strides)?;
    let end = tensor.offset.checked_add(span).and_then(|end| end.checked_mul(storage.kind.width));
    if end.is_none_or(|end| end > bytes) {
        let message = format!(
            "shape {:?} of strides {:?} from {} on lies outside of a storage of {} elements",
            tensor.shape, tensor.strides, tensor.offset, storage.elements
        );
        return Err(Error::data(message));
    }
    let mut strides = [0; 4];
    strides[..tensor.strides.len()].copy_from_slice(&tensor.strides);
    Ok(Entry {
        name: name.to_string(),
        encoding,
        shape: tensor.shape.clone(),
        start: start + tensor.offset * storage.kind.width,
        bytes: span * storage.kind.width,
        strides: (!in_order(&tensor.shape, &tensor.strides)).then_some(strides),
    })
}

/// The elements follow one another in the order of the shape.
fn in_order(shape: &[u64], strides: &[u64]) -> bool {
    let mut next = 1;
    shape.iter().zip(strides).rev().filter(|(dimension, _)| **dimension > 1).all(|(dimension, stride)| {
        let fits = *stride == next;
        next = next.saturating_mul(*dimension);
        fits
    })
}

/// Elements from the first to the last; refuses elements that are one number, for which a small file could be any size.
fn span(shape: &[u64], strides: &[u64]) -> Result<u64> {
    let mut steps: Vec<(u64, u64)> =
        strides.iter().copied().zip(shape.iter().copied()).filter(|(_, n)| *n > 1).collect();
    steps.sort_unstable();
    let mut span: u64 = 1;
    for (stride, n) in steps {
        if stride < span {
            let error = Error::data(format!("strides {strides:?} of shape {shape:?} take elements twice"));
            return Err(error.hint("save the tensor after .contiguous()"));
        }
        let longer = stride.checked_mul(n - 1).and_then(|last| last.checked_add(span));
        span = longer.ok_or_else(|| Error::data(format!("strides {strides:?} of shape {shape:?} overflow")))?;
    }
    Ok(span)
}
