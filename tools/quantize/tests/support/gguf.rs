//! Writes GGUF files.

/// A text with its length.
pub fn text(s: &str) -> Vec<u8> {
    [&(s.len() as u64).to_le_bytes(), s.as_bytes()].concat()
}

/// A pair of a key and a value: the number of its type and its bytes.
pub struct Pair {
    pub key: String,
    pub kind: u32,
    pub bytes: Vec<u8>,
}

impl Pair {
    pub fn text(key: impl Into<String>, value: &str) -> Self {
        Pair { key: key.into(), kind: 8, bytes: text(value) }
    }

    pub fn number(key: impl Into<String>, value: u32) -> Self {
        Pair { key: key.into(), kind: 4, bytes: value.to_le_bytes().to_vec() }
    }

    pub fn float(key: impl Into<String>, value: f32) -> Self {
        Pair { key: key.into(), kind: 6, bytes: value.to_le_bytes().to_vec() }
    }
}

/// A tensor: its shape as Hugging Face has it, the number of its ggml type, and its bytes.
pub struct Tensor {
    pub name: String,
    pub shape: Vec<u64>,
    pub kind: u32,
    pub bytes: Vec<u8>,
}

impl Tensor {
    /// One of F32.
    pub fn floats(name: impl Into<String>, shape: Vec<u64>, values: &[f32]) -> Self {
        Tensor { name: name.into(), shape, kind: 0, bytes: values.iter().flat_map(|v| v.to_le_bytes()).collect() }
    }
}

/// The bytes of a file.
pub fn file(pairs: &[Pair], tensors: &[Tensor]) -> Vec<u8> {
    let mut out = b"GGUF\x03\0\0\0".to_vec();
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend((pairs.len() as u64).to_le_bytes());
    for pair in pairs {
        out.extend([&text(&pair.key)[..], &pair.kind.to_le_bytes(), &pair.bytes].concat());
    }
    let mut data: Vec<u8> = Vec::new();
    for tensor in tensors {
        out.extend(text(&tensor.name));
        out.extend((tensor.shape.len() as u32).to_le_bytes());
        out.extend(tensor.shape.iter().rev().flat_map(|n| n.to_le_bytes()));
        out.extend(tensor.kind.to_le_bytes());
        out.extend((data.len() as u64).to_le_bytes());
        data.extend(&tensor.bytes);
        data.resize(data.len().next_multiple_of(32), 0);
    }
    out.resize(out.len().next_multiple_of(32), 0);
    out.extend(data);
    out
}
