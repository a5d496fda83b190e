//! Files that break rules: a small valid file, changed and sealed again.
#![allow(dead_code, reason = "each test binary uses its part")]

use whit::format::cast::AlignedBytes;
use whit::format::{ALIGNMENT, ENDIANNESS, ENTRY_BYTES, File, HEADER_BYTES, MAGIC, WEIGHTS_ALIGNMENT};

/// A file under change. `weights_hash` is what its directory says of the weights.
pub(crate) struct Hostile {
    pub(crate) bytes: AlignedBytes,
    pub(crate) weights_hash: [u8; 32],
}

impl Hostile {
    /// The small valid file.
    pub(crate) fn small(test: &str) -> Self {
        Self::of(&crate::flat::bytes(test))
    }

    /// The valid file `bytes`.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let bytes = AlignedBytes::copy(bytes);
        let file = File::open(&bytes).expect("valid");
        let hashes: Vec<u8> = file.tensors().iter().flat_map(|tensor| tensor.hash).collect();
        let weights_hash = *blake3::hash(&hashes).as_bytes();
        Hostile { bytes, weights_hash }
    }

    /// A file of `sections` (id, flags, bytes), placed and sealed as the rules say.
    pub(crate) fn of_sections(sections: &[(&[u8; 4], u32, &[u8])], weights_hash: [u8; 32]) -> Self {
        let mut bytes = vec![0; HEADER_BYTES + sections.len() * ENTRY_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8] = 1;
        bytes[12..16].copy_from_slice(&ENDIANNESS.to_le_bytes());
        bytes[24] = 1;
        bytes[28] = sections.len() as u8;
        for (index, (id, flags, content)) in sections.iter().enumerate() {
            let alignment = if *id == b"WGTS" { WEIGHTS_ALIGNMENT } else { ALIGNMENT };
            bytes.resize(bytes.len().next_multiple_of(alignment as usize), 0);
            let entry = HEADER_BYTES + index * ENTRY_BYTES;
            let offset = bytes.len() as u64;
            bytes[entry..entry + 4].copy_from_slice(*id);
            bytes[entry + 4..entry + 8].copy_from_slice(&flags.to_le_bytes());
            bytes[entry + 8..entry + 16].copy_from_slice(&offset.to_le_bytes());
            bytes[entry + 16..entry + 24].copy_from_slice(&(content.len() as u64).to_le_bytes());
            bytes.extend_from_slice(content);
        }
        let length = bytes.len() as u64;
        bytes[16..24].copy_from_slice(&length.to_le_bytes());
        let mut file = Hostile { bytes: AlignedBytes::copy(&bytes), weights_hash };
        file.seal();
        file
    }

    pub(crate) fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.bytes[at..at + 8].try_into().expect("eight bytes"))
    }

    pub(crate) fn put(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    pub(crate) fn flip(&mut self, at: usize) {
        self.bytes[at] ^= 1;
    }

    pub(crate) fn put_u32(&mut self, at: usize, value: u32) {
        self.put(at, &value.to_le_bytes());
    }

    pub(crate) fn put_u64(&mut self, at: usize, value: u64) {
        self.put(at, &value.to_le_bytes());
    }

    fn entries(&self) -> impl Iterator<Item = usize> + use<> {
        let n = usize::from(self.bytes[28]);
        (0..n).map(|index| HEADER_BYTES + index * ENTRY_BYTES)
    }

    /// Where the table entry of section `id` is.
    pub(crate) fn entry(&self, id: &[u8; 4]) -> usize {
        self.entries().find(|at| &self.bytes[*at..*at + 4] == id).expect("in the table")
    }

    /// Where section `id` is.
    pub(crate) fn section(&self, id: &[u8; 4]) -> usize {
        self.u64(self.entry(id) + 8) as usize
    }

    /// The bytes of section `id`.
    pub(crate) fn content(&self, id: &[u8; 4]) -> &[u8] {
        let at = self.section(id);
        &self.bytes[at..at + self.u64(self.entry(id) + 16) as usize]
    }

    /// Where the directory entry of tensor `index` is: length and bytes of its name.
    pub(crate) fn tensor(&self, index: usize) -> usize {
        let mut at = self.section(b"TDIR") + 4;
        for _ in 0..index {
            at = self.dtype_at(at) + 8 + 8 * self.bytes[self.dtype_at(at) + 4] as usize + 60;
        }
        at
    }

    fn dtype_at(&self, entry: usize) -> usize {
        entry + 2 + usize::from(self.bytes[entry])
    }

    /// Where the dtype of tensor `index` is; rank and dimensions follow.
    pub(crate) fn dtype(&self, index: usize) -> usize {
        self.dtype_at(self.tensor(index))
    }

    /// Where the offset of tensor `index` is; length, hash and errors follow.
    pub(crate) fn offset(&self, index: usize) -> usize {
        let dtype = self.dtype(index);
        dtype + 8 + 8 * usize::from(self.bytes[dtype + 4])
    }

    /// Corrects all checksums, as far as the table makes sense.
    pub(crate) fn seal(&mut self) {
        let mut content = blake3::Hasher::new();
        content.update(&self.bytes[24..28]);
        for entry in self.entries() {
            let (offset, length) = (self.u64(entry + 8), self.u64(entry + 16));
            let end = offset.checked_add(length).filter(|end| *end <= self.bytes.len() as u64);
            let hash = match (&self.bytes[entry..entry + 4], end) {
                (b"WGTS", _) => self.weights_hash,
                (_, Some(end)) => *blake3::hash(&self.bytes[offset as usize..end as usize]).as_bytes(),
                _ => [0; 32],
            };
            self.put(entry + 24, &hash[..8]);
            content.update(&self.bytes[entry..entry + 8]).update(&length.to_le_bytes()).update(&hash);
        }
        let content = *content.finalize().as_bytes();
        self.put(64, &content);
        self.seal_front();
    }

    /// Corrects the header checksum only.
    pub(crate) fn seal_front(&mut self) {
        let end = (HEADER_BYTES + usize::from(self.bytes[28]) * ENTRY_BYTES).min(self.bytes.len());
        let mut front = self.bytes[..end].to_vec();
        front[32..40].fill(0);
        let hash = blake3::hash(&front);
        self.put(32, &hash.as_bytes()[..8]);
    }
}
