//! The safetensors format: eight bytes of header length, a JSON header, the tensors' bytes without gaps.

use whit::error::{Error, Result};

use super::encoding::Encoding;
use super::json::{Json, Value};
use super::tensor::{Entry, MAX_TENSORS, check_dimensions, check_name};

/// The longest header.
const MAX_HEADER: u64 = 100_000_000;

/// A header of more bytes may not be longer than the tensors that it describes. Those of small adapters are.
const SMALL_HEADER: u64 = 64 << 10;

/// The names of what can be read.
const SUPPORTED: &str = "F32, F16, BF16: save the model as one of them";

/// What the header says of one tensor, with its place in the header.
struct Described<'j> {
    name: String,
    value: Value<'j>,
    dtype: String,
    shape: Vec<u64>,
    start: u64,
    end: u64,
}

/// Reads and checks the header of a whole file. Tensors that `ignored` names may have any type and rank; they are
/// left out of the result, which is in the order of the file. Matrices of U8 may be `packed`: four rows in one.
pub(super) fn parse(file: &[u8], ignored: impl Fn(&str) -> bool, packed: bool) -> Result<Vec<Entry>> {
    let size = file.len() as u64;
    let Some(length) = file.first_chunk().map(|b| u64::from_le_bytes(*b)) else {
        let message = format!("{size} bytes, a safetensors file begins with 8 bytes of header length");
        return Err(Error::data(message).field("header length").at(0));
    };
    if length < 2 {
        return Err(Error::data(format!("{length} bytes of header, at least 2 needed")).field("header length").at(0));
    }
    if length > MAX_HEADER {
        let message = format!("{length} bytes of header, the limit is {MAX_HEADER}");
        return Err(Error::data(message).field("header length").at(0).hint("is this a safetensors file?"));
    }
    if length > size - 8 {
        let message = format!("{length} bytes of header, the file ends after {}", size - 8);
        return Err(Error::data(message).field("header length").at(0).hint("the file is cut short: copy it again"));
    }
    let (header, data) = file[8..].split_at(length as usize);
    // Some writers pad the header with spaces; JSON allows them.
    let json = Json::parse(header, 8).map_err(|e| e.field("header"))?;
    let mut tensors = describe(json.object()?)?;
    check_layout(&mut tensors, 8 + length, data.len() as u64)?;
    if tensors.is_empty() {
        return Err(Error::data("no tensors").field("header").at(8));
    }
    if length > size / 2 && length > SMALL_HEADER {
        let message = format!("{length} bytes of header in a file of {size}: more than half");
        return Err(Error::data(message).field("header length").at(0));
    }
    tensors.into_iter().filter(|t| !ignored(&t.name)).map(|t| entry(t, 8 + length, packed)).collect()
}

fn describe(header: Value<'_>) -> Result<Vec<Described<'_>>> {
    let mut tensors = Vec::new();
    for (name, value) in header.entries("header")? {
        if name == "__metadata__" {
            for (key, text) in value.entries("__metadata__")? {
                text.str(&format!("__metadata__.{key}"))?;
            }
            continue;
        }
        if tensors.len() == MAX_TENSORS {
            return Err(value.error(format!("more than {MAX_TENSORS} tensors"), "header"));
        }
        let field = format!("tensor \"{name}\"");
        check_name(&name).map_err(|message| value.error(message, &field))?;
        let (mut dtype, mut shape, mut offsets) = (None, None, None);
        for (key, part) in value.entries(&field)? {
            match &*key {
                "dtype" => dtype = Some(part.str(&format!("{field} dtype"))?.into_owned()),
                "shape" => shape = Some(numbers(part, &format!("{field} shape"))?),
                "data_offsets" => offsets = Some(numbers(part, &format!("{field} data_offsets"))?),
                _ => return Err(part.error(format!("unknown key \"{}\"", whit::error::printable(&key)), &field)),
            }
        }
        let missing = |key| value.error(format!("no {key}"), &field);
        let offsets = offsets.ok_or_else(|| missing("data_offsets"))?;
        let [start, end] = offsets[..] else {
            let message = format!("{} data_offsets, expected a start and an end", offsets.len());
            return Err(value.error(message, &field));
        };
        let dtype = dtype.ok_or_else(|| missing("dtype"))?;
        let shape = shape.ok_or_else(|| missing("shape"))?;
        tensors.push(Described { name: name.into_owned(), value, dtype, shape, start, end });
    }
    Ok(tensors)
}

fn numbers(value: Value<'_>, field: &str) -> Result<Vec<u64>> {
    let mut out = Vec::new();
    for item in value.items(field)? {
        if out.len() == 8 {
            return Err(item.error("more than 8 numbers", field));
        }
        out.push(item.u64(field)?);
    }
    Ok(out)
}

/// The tensors, sorted by place, have to fill the `size` bytes after `base` without gap or overlap, each as long as
/// its shape says.
fn check_layout(tensors: &mut [Described<'_>], base: u64, size: u64) -> Result<()> {
    tensors.sort_by_key(|t| (t.start, t.end));
    let (mut expected, mut previous) = (0, "header".to_string());
    for tensor in tensors.iter() {
        let Described { name, value, dtype, shape, start, end } = tensor;
        let field = format!("tensor \"{name}\"");
        if start > end {
            return Err(value.error(format!("data_offsets [{start}, {end}] are reversed"), &field));
        }
        if *start < expected {
            let message = format!("begins at {start}, within {previous}, which ends at {expected}: they overlap");
            return Err(value.error(message, &field));
        }
        if *start > expected {
            let message = format!("begins at {start}, {} bytes after the end of {previous}: a gap", start - expected);
            return Err(value.error(message, &field));
        }
        let Some(bits) = bits(dtype) else {
            let message = format!("unknown dtype \"{}\"", whit::error::printable(dtype));
            return Err(value.error(message, &field).hint(format!("supported: {SUPPORTED}")));
        };
        let elements = shape.iter().try_fold(1u64, |n, d| n.checked_mul(*d));
        let Some(total) = elements.and_then(|n| n.checked_mul(bits)).filter(|n| n.is_multiple_of(8)) else {
            return Err(value.error(format!("shape {shape:?} of {dtype} has no byte size: overflow"), &field));
        };
        if total / 8 != end - start {
            let message =
                format!("shape {shape:?} of {dtype} is {} bytes, data_offsets span {}", total / 8, end - start);
            return Err(value.error(message, &field));
        }
        if *end > size {
            let message = format!("data ends at {end}, the file's data at {size}: {} bytes missing", end - size);
            return Err(value.error(message, &field).hint("the file is cut short: copy it again"));
        }
        (expected, previous) = (*end, field);
    }
    if expected < size {
        let message = format!("{} unexpected bytes after {previous}", size - expected);
        return Err(Error::data(message).field("data").at(base + expected));
    }
    Ok(())
}

fn entry(tensor: Described<'_>, base: u64, packed: bool) -> Result<Entry> {
    let Described { name, value, dtype, mut shape, start, end } = tensor;
    let field = format!("tensor \"{name}\"");
    let encoding = match dtype.as_str() {
        "F32" => Encoding::F32,
        "F16" => Encoding::F16,
        "BF16" => Encoding::Bf16,
        "U8" if packed && shape.len() == 2 => {
            shape[0] = shape[0].saturating_mul(4);
            Encoding::Packed
        }
        _ => {
            let message = format!("weights of dtype {dtype} are not supported");
            return Err(value.error(message, &field).hint(format!("supported: {SUPPORTED}")));
        }
    };
    check_dimensions(&shape).map_err(|message| value.error(message, &field))?;
    Ok(Entry { name, encoding, shape, start: base + start, bytes: end - start, strides: None })
}

/// Bits of an element of any dtype of the format.
fn bits(dtype: &str) -> Option<u64> {
    Some(match dtype {
        "F4" => 4,
        "F6_E2M3" | "F6_E3M2" => 6,
        "BOOL" | "U8" | "I8" | "F8_E5M2" | "F8_E4M3" | "F8_E8M0" | "F8_E4M3FNUZ" | "F8_E5M2FNUZ" => 8,
        "U16" | "I16" | "F16" | "BF16" => 16,
        "U32" | "I32" | "F32" => 32,
        "U64" | "I64" | "F64" | "C64" => 64,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: usize) -> Vec<u8> {
        let mut out = (header.len() as u64).to_le_bytes().to_vec();
        out.extend_from_slice(header.as_bytes());
        out.resize(out.len() + data, 0);
        out
    }

    #[test]
    fn tensors_come_in_the_order_of_the_file() {
        let header = r#"{"__metadata__":{"format":"pt"},
            "b":{"dtype":"F32","shape":[2,8],"data_offsets":[128,192]},
            "mask":{"dtype":"U8","shape":[],"data_offsets":[192,193]},
            "a":{"dtype":"BF16","shape":[64],"data_offsets":[0,128]}}"#;
        let bytes = file(header, 193);
        assert_eq!(parse(&bytes, |name| name == "mask", false).expect("a short header").len(), 2);
        let padded = file(&format!("{header}{}", " ".repeat(64 << 10)), 193);
        let half = parse(&padded, |name| name == "mask", false).expect_err("header longer than data");
        assert!(half.to_string().contains("more than half"));
        let header = header.replace("[64]", "[1024]").replace("128,192", "2048,2112").replace("0,128", "0,2048");
        let bytes = file(&header.replace("192,193", "2112,2113"), 2113);
        let entries = parse(&bytes, |name| name == "mask", false).expect("valid");
        let names: Vec<_> = entries.iter().map(|e| (e.name.as_str(), e.encoding)).collect();
        assert_eq!(names, [("a", Encoding::Bf16), ("b", Encoding::F32)]);
        assert_eq!(entries[1].shape, [2, 8]);
        assert_eq!(entries[1].start, entries[0].start + 2048);
        assert!(parse(&bytes, |_| false, true).expect_err("mask").to_string().contains("\"mask\""));
    }
}
