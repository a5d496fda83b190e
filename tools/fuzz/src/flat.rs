//! A `.whit` file in parts: sections that are changed one by one, put together, and sealed so that every checksum is
//! right.

use whit::format::cast::AlignedBytes;
use whit::format::{ALIGNMENT, ENDIANNESS, ENTRY_BYTES, File, HEADER_BYTES, MAGIC, WEIGHTS_ALIGNMENT};

/// A section; `offset` and `length` are what the table says in place of the truth.
#[derive(Debug, Clone)]
pub(crate) struct Section {
    pub(crate) id: [u8; 4],
    pub(crate) flags: u32,
    pub(crate) offset: Option<u64>,
    pub(crate) length: Option<u64>,
    pub(crate) content: Vec<u8>,
}

/// An entry of the tensor directory.
#[derive(Debug, Clone)]
pub(crate) struct Tensor {
    pub(crate) name: Vec<u8>,
    pub(crate) dtype: u32,
    pub(crate) dims: Vec<u64>,
    pub(crate) offset: u64,
    pub(crate) length: u64,
    pub(crate) hash: [u8; 32],
    pub(crate) errors: [f32; 3],
}

/// A file in parts. The content of `TDIR` is made of `tensors`.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    pub(crate) kind: u32,
    pub(crate) minor: u16,
    pub(crate) length: Option<u64>,
    pub(crate) sections: Vec<Section>,
    pub(crate) tensors: Vec<Tensor>,
    /// What `TDIR` says in place of their number.
    pub(crate) n_tensors: Option<u32>,
}

impl Parts {
    /// The parts of a valid file.
    pub(crate) fn of(bytes: &[u8]) -> whit::Result<Self> {
        let aligned = AlignedBytes::copy(bytes);
        let file = File::open(&aligned)?;
        let section = |(id, offset, length): (whit::format::SectionId, u64, u64)| Section {
            id: id.0,
            flags: id.is_required().into(),
            offset: None,
            length: None,
            content: bytes[offset as usize..(offset + length) as usize].to_vec(),
        };
        let tensor = |entry: &whit::format::TensorEntry<'_>| Tensor {
            name: entry.name.as_bytes().to_vec(),
            dtype: entry.dtype.code(),
            dims: entry.dims().to_vec(),
            offset: entry.offset,
            length: entry.bytes,
            hash: entry.hash,
            errors: [entry.errors.rms, entry.errors.max, entry.errors.signal_rms],
        };
        Ok(Parts {
            kind: file.kind().code(),
            minor: 0,
            length: None,
            sections: file.sections().map(section).collect(),
            tensors: file.tensors().iter().map(tensor).collect(),
            n_tensors: None,
        })
    }

    /// The section of that id.
    pub(crate) fn section(&mut self, id: &[u8; 4]) -> Option<&mut Section> {
        self.sections.iter_mut().find(|section| section.id == *id)
    }

    /// The whole file, without checksums.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = vec![0; HEADER_BYTES + self.sections.len() * ENTRY_BYTES];
        out[..8].copy_from_slice(&MAGIC);
        out[8] = 1;
        out[10..12].copy_from_slice(&self.minor.to_le_bytes());
        out[12..16].copy_from_slice(&ENDIANNESS.to_le_bytes());
        out[24..28].copy_from_slice(&self.kind.to_le_bytes());
        out[28..32].copy_from_slice(&(self.sections.len() as u32).to_le_bytes());
        for (index, section) in self.sections.iter().enumerate() {
            let directory = if section.id == *b"TDIR" { self.directory() } else { Vec::new() };
            let content = if section.id == *b"TDIR" { &directory } else { &section.content };
            let alignment = if section.id == *b"WGTS" { WEIGHTS_ALIGNMENT } else { ALIGNMENT };
            out.resize(out.len().next_multiple_of(alignment as usize), 0);
            let (offset, length) = (out.len() as u64, content.len() as u64);
            let entry = &mut out[HEADER_BYTES + index * ENTRY_BYTES..][..24];
            entry[..4].copy_from_slice(&section.id);
            entry[4..8].copy_from_slice(&section.flags.to_le_bytes());
            entry[8..16].copy_from_slice(&section.offset.unwrap_or(offset).to_le_bytes());
            entry[16..].copy_from_slice(&section.length.unwrap_or(length).to_le_bytes());
            out.extend(content);
        }
        let length = self.length.unwrap_or(out.len() as u64);
        out[16..24].copy_from_slice(&length.to_le_bytes());
        out
    }

    fn directory(&self) -> Vec<u8> {
        let mut out = self.n_tensors.unwrap_or(self.tensors.len() as u32).to_le_bytes().to_vec();
        for tensor in &self.tensors {
            out.extend((tensor.name.len() as u16).to_le_bytes());
            out.extend(&tensor.name);
            out.extend(tensor.dtype.to_le_bytes());
            out.extend((tensor.dims.len() as u32).to_le_bytes());
            tensor.dims.iter().chain([&tensor.offset, &tensor.length]).for_each(|n| out.extend(n.to_le_bytes()));
            out.extend(tensor.hash);
            tensor.errors.iter().for_each(|x| out.extend(x.to_le_bytes()));
        }
        out
    }

    /// The hash of the weights as the directory has it.
    pub(crate) fn weights_hash(&self) -> [u8; 32] {
        let hashes: Vec<u8> = self.tensors.iter().flat_map(|tensor| tensor.hash).collect();
        *blake3::hash(&hashes).as_bytes()
    }
}

/// The word at `at`, or zero past the end.
fn word<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..at + N).and_then(|word| word.try_into().ok()).unwrap_or([0; N])
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(slot) = bytes.get_mut(at..at + value.len()) {
        slot.copy_from_slice(value);
    }
}

/// Corrects every checksum as far as the section table makes sense.
pub(crate) fn seal(bytes: &mut [u8], weights_hash: [u8; 32]) {
    let n = (u32::from_le_bytes(word(bytes, 28)) as usize).min(64);
    let mut content = blake3::Hasher::new();
    content.update(&word::<4>(bytes, 24));
    for index in 0..n {
        let entry = HEADER_BYTES + index * ENTRY_BYTES;
        let [offset, length] = [8, 16].map(|at| u64::from_le_bytes(word(bytes, entry + at)) as usize);
        let section = offset.checked_add(length).and_then(|end| bytes.get(offset..end));
        let hash = match section {
            _ if word::<4>(bytes, entry) == *b"WGTS" => weights_hash,
            Some(section) => *blake3::hash(section).as_bytes(),
            None => [0; 32],
        };
        put(bytes, entry + 24, &hash[..8]);
        content.update(&word::<8>(bytes, entry)).update(&word::<8>(bytes, entry + 16)).update(&hash);
    }
    put(bytes, 64, content.finalize().as_bytes());
    seal_front(bytes);
}

/// Corrects the checksum of header and section table.
pub(crate) fn seal_front(bytes: &mut [u8]) {
    let n = (u32::from_le_bytes(word(bytes, 28)) as usize).min(64);
    let end = (HEADER_BYTES + n * ENTRY_BYTES).min(bytes.len());
    put(bytes, 32, &[0; 8]);
    let hash = blake3::hash(&bytes[..end]);
    put(bytes, 32, &hash.as_bytes()[..8]);
}
