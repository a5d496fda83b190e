//! What a file is that is not ours, and what to do with it.

use super::layout::MAGIC;
use crate::error::Error;

/// Something known that `bytes` begin like: what it is, and what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Foreign {
    /// What the file is, with its article: "a GGUF model".
    pub what: &'static str,
    /// What to do about it.
    pub advice: &'static str,
}

const CONVERT: &str = "convert it first: quantize FILE -o MODEL.whit";
const CONVERT_DIRECTORY: &str = "convert the directory it lies in: quantize DIRECTORY -o MODEL.whit";
const UNPACK: &str = "unpack it first";
const PICKLE: &str = "get the same model as safetensors or GGUF and convert that with quantize";
const DAMAGED: &str = "copy the file again, in binary mode";

/// Beginnings that name their format by themselves.
const BEGINNINGS: [(&[u8], &str, &str); 18] = [
    (b"GGUF", "a GGUF model", CONVERT),
    (b"FUGG", "a big-endian GGUF model", "get the little-endian GGUF of the same model"),
    (b"tjgg", "a GGML model of the time before GGUF", "get the same model as GGUF"),
    (b"fmgg", "a GGML model of the time before GGUF", "get the same model as GGUF"),
    (b"lmgg", "a GGML model of the time before GGUF", "get the same model as GGUF"),
    (b"PK\x03\x04", "a ZIP archive, such as PyTorch and NumPy save", PICKLE),
    (b"PK\x05\x06", "an empty ZIP archive", DAMAGED),
    (b"\x1f\x8b", "a gzip archive", UNPACK),
    (b"\x28\xb5\x2f\xfd", "a zstd archive", UNPACK),
    (b"\xfd7zXZ\0", "an xz archive", UNPACK),
    (b"BZh", "a bzip2 archive", UNPACK),
    (b"version https://git-lfs", "a git-lfs pointer, not the file itself", "run git lfs pull"),
    (b"\x93NUMPY", "a NumPy array", PICKLE),
    (b"\x89HDF\r\n", "an HDF5 file", PICKLE),
    (b"\x7fELF", "a program", "give the model with -m"),
    (b"WHIT\n", "a whit file whose line ends were changed", DAMAGED),
    (b"WHIT\r\r\n", "a whit file whose line ends were changed", DAMAGED),
    (b"WHIT\r\n\n", "a whit file that was copied as text", DAMAGED),
];

/// Names what `bytes`, the beginning of a file, is if not a whit file; `None` where nothing known begins so.
pub fn recognise(bytes: &[u8]) -> Option<Foreign> {
    let found = |what, advice| Some(Foreign { what, advice });
    if let Some((_, what, advice)) = BEGINNINGS.iter().find(|(beginning, ..)| bytes.starts_with(beginning)) {
        return found(what, advice);
    }
    let mut reversed = MAGIC;
    reversed.reverse();
    let by_words = |n: usize| MAGIC.chunks(n).flat_map(|word| word.iter().rev());
    if bytes.starts_with(&reversed) || [2, 4].iter().any(|n| by_words(*n).eq(bytes.iter().take(MAGIC.len()))) {
        return found("a whit file in the other byte order", "copy the file again, without swapping bytes");
    }
    if bytes.get(257..262) == Some(b"ustar") {
        return found("a tar archive", UNPACK);
    }
    if is_safetensors(bytes) {
        return found("a safetensors file", CONVERT_DIRECTORY);
    }
    if matches!(bytes, [0x80, 2..=5, ..]) {
        return found("a Python pickle, such as PyTorch saves", PICKLE);
    }
    let text = bytes[..bytes.len().min(512)].trim_ascii_start();
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let begins = |word: &str| text.get(..word.len()).is_some_and(|t| t.eq_ignore_ascii_case(word.as_bytes()));
    if begins("<!doctype") || begins("<html") {
        return found("a web page, not the file behind it", "download the file itself");
    }
    if begins("<?xml") {
        return found("an XML document, often a server's error message", "download the file itself");
    }
    if begins("{") {
        return found("a JSON document", CONVERT_DIRECTORY);
    }
    if bytes.len() >= 64 && bytes.iter().take(4096).all(|byte| *byte == 0) {
        return found("zeros, as an interrupted copy leaves them", "copy the file again");
    }
    None
}

/// Safetensors: a u64 length, then JSON.
fn is_safetensors(bytes: &[u8]) -> bool {
    let Some((length, json)) = bytes.split_first_chunk::<8>() else { return false };
    (2..=100_000_000).contains(&u64::from_le_bytes(*length)) && json.first() == Some(&b'{')
}

/// The error for `bytes` that do not begin with our magic.
pub(crate) fn refuse(bytes: &[u8]) -> Error {
    if bytes.is_empty() {
        return Error::data("the file is empty").hint("copy it again");
    }
    match recognise(bytes) {
        Some(foreign) => Error::data(format!("this is {}", foreign.what)).field("magic").at(0).hint(foreign.advice),
        None => Error::data("this is not a whit file").field("magic").at(0).hint(CONVERT),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_files_are_named() {
        let mut tar = vec![b'x'; 512];
        tar[257..262].copy_from_slice(b"ustar");
        let cases: [(&[u8], &str); 16] = [
            (b"GGUF\x03\0\0\0", "GGUF"),
            (b"\x08\0\0\0\0\0\0\0{\"a\":1}", "safetensors"),
            (b"PK\x03\x04rest", "ZIP"),
            (b"\x80\x02}q\0", "pickle"),
            (b"\x1f\x8b\x08", "gzip"),
            (b"  \n<!DOCTYPE html>", "web page"),
            (b"\xef\xbb\xbf<HTML>", "web page"),
            (b"version https://git-lfs.github.com/spec/v1\n", "git-lfs"),
            (b"\n\x1a\n\rTIHW", "byte order"),
            (b"TIHW\n\x1a\n\r", "byte order"),
            (b"HWTI\n\r\n\x1a", "byte order"),
            (b"WHIT\n\x1a\n", "line ends"),
            (b"{\"architectures\": []}", "JSON"),
            (&[0; 64], "zeros"),
            (&tar, "tar"),
            (b"<?xml version=\"1.0\"?><Error>", "XML"),
        ];
        for (bytes, what) in cases {
            let found = recognise(bytes).map(|foreign| foreign.what);
            assert!(found.is_some_and(|found| found.contains(what)), "{what}: {found:?}");
        }
        assert_eq!(recognise(b"some text"), None);
        assert_eq!(recognise(&MAGIC), None);
    }
}
