//! The KV cache of one layer: keys and values of the last positions, laid out as the attention kernels read them.

use super::kv4;
use crate::compute::Compute;
use crate::error::{Error, Kind, Remedy, Result};
use crate::kernels::{
    BLOCK, Group, KvHead, KvHeadInt8, KvHeadQ4, MAX_HEAD_GROUPS, Query, key_panel_bytes, packed_value_bytes, read_key,
    scalar, value_block_bytes,
};
use crate::quant::{ALIGNMENT, Dtype, GROUP_SIZE, PANEL_ROWS, groups, panel_bytes, read_panel_row, scale_bytes};
use crate::room;
use alloc::vec::Vec;
use core::ops::Range;
use half::f16;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};

/// Elements that are turned into halves at once.
const AT_ONCE: usize = 64;

/// The type of cached keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum KvDtype {
    /// IEEE binary16, rounded to nearest even.
    #[default]
    F16,
    /// 8-bit integers: keys in groups of 32 elements of a head, values by head, each with an f16 scale.
    Int8,
    /// IEEE binary32.
    F32,
    /// Keys of 6 bits and values of 4, rotated, in groups of 32 elements of a head, each with a byte of scale.
    Q4,
}

impl KvDtype {
    /// All types, in the order of their numbers in saved texts.
    pub const ALL: [KvDtype; 4] = [KvDtype::F16, KvDtype::Int8, KvDtype::F32, KvDtype::Q4];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            KvDtype::F16 => "f16",
            KvDtype::Int8 => "int8",
            KvDtype::F32 => "f32",
            KvDtype::Q4 => "q4",
        }
    }

    /// The type of a name on the command line.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dtype| dtype.name() == name)
    }

    /// Bytes of the keys and of the values of a block of 32 positions of one head.
    fn block_bytes(self, head_dim: usize) -> [usize; 2] {
        match self {
            KvDtype::F16 => [BLOCK * head_dim * 2; 2],
            KvDtype::F32 => [BLOCK * head_dim * 4; 2],
            KvDtype::Int8 => [BLOCK / PANEL_ROWS * panel_bytes(Dtype::Int8, head_dim), value_block_bytes(head_dim)],
            KvDtype::Q4 => [BLOCK / PANEL_ROWS * key_panel_bytes(head_dim), packed_value_bytes(head_dim)],
        }
    }
}

/// The type and the dimensions of a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvShape {
    /// Type of the elements.
    pub dtype: KvDtype,
    /// Number of key and value heads.
    pub n_kv_heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// Blocks of 32 positions that there is room for: a ring, in which block `b` of a text lies in slot `b % n_blocks`.
    pub n_blocks: usize,
}

impl KvShape {
    /// Bytes of a cache of this shape; `u64::MAX` where they do not fit.
    pub fn bytes(&self) -> u64 {
        // On 32 bits, a block of all heads may be larger than `usize`; of one head with more elements than these, too.
        if self.head_dim > 1 << 20 {
            return u64::MAX;
        }
        let head: usize = self.dtype.block_bytes(self.head_dim).iter().sum();
        (head as u64).saturating_mul(self.n_kv_heads as u64).saturating_mul(self.n_blocks as u64)
    }

    /// Bytes of a block of 32 positions, of all heads.
    pub fn block_bytes(&self) -> usize {
        self.dtype.block_bytes(self.head_dim).iter().sum::<usize>() * self.n_kv_heads
    }

    /// Byte ranges of the keys and of the values of a head.
    fn ranges(&self, head: usize) -> [Range<usize>; 2] {
        let [keys, values] = self.dtype.block_bytes(self.head_dim).map(|bytes| bytes * self.n_blocks);
        let start = head * (keys + values);
        [start..start + keys, start + keys..start + keys + values]
    }

    /// Byte ranges of the keys and of the values of each head in block `block`.
    fn block_ranges(self, block: usize) -> impl Iterator<Item = Range<usize>> {
        let (sizes, slot) = (self.dtype.block_bytes(self.head_dim), block % self.n_blocks);
        (0..self.n_kv_heads).flat_map(move |head| {
            self.ranges(head).into_iter().zip(sizes).map(move |(all, bytes)| {
                let start = all.start + slot * bytes;
                start..start + bytes
            })
        })
    }

    /// Where `position` of a text lies among the positions that there is room for.
    fn slot(&self, position: usize) -> usize {
        position % (self.n_blocks * BLOCK)
    }
}

/// Keys and values of one layer, one allocation: `[n_kv_heads][keys, values]`, in whole blocks of 32 positions, as [`KvHead`],
/// [`KvHeadInt8`] and [`KvHeadQ4`] say. A position takes the place of the one that is a whole ring before it.
pub struct KvCache {
    shape: KvShape,
    /// Holds the cache from `start` on, the first address in it that is a multiple of 64.
    data: Vec<u8>,
    start: usize,
}

impl KvCache {
    /// An empty cache; fails where its memory cannot be allocated, or the heads are too large for int8 or q4. Pages are touched
    /// only as positions are stored.
    pub fn new(shape: KvShape) -> Result<Self> {
        let KvShape { dtype, n_kv_heads, head_dim, n_blocks } = shape;
        assert!(n_kv_heads > 0 && head_dim > 0 && n_blocks > 0, "an empty KV cache");
        if matches!(dtype, KvDtype::Int8 | KvDtype::Q4) && groups(head_dim) > MAX_HEAD_GROUPS {
            let (name, most) = (dtype.name(), MAX_HEAD_GROUPS * 32);
            let message = format!("heads of {head_dim} elements; those of a KV cache of {name} have at most {most}");
            return Err(Error::new(Kind::Unavailable, message).remedy(Remedy::F16Cache));
        }
        let bytes = shape.bytes();
        let too_large = || {
            Error::new(Kind::Resources, format!("no memory for a KV cache of {bytes} bytes a layer"))
                .hint(format!("ask for a context shorter than {}", n_blocks * BLOCK))
        };
        let n = bytes.checked_add(ALIGNMENT as u64).and_then(|n| usize::try_from(n).ok());
        let data: Vec<u8> = n.and_then(room::zeros).ok_or_else(too_large)?;
        let start = data.as_ptr().align_offset(ALIGNMENT);
        Ok(KvCache { shape, data, start })
    }

    /// The type and the dimensions.
    pub fn shape(&self) -> KvShape {
        self.shape
    }

    fn bytes(&self) -> &[u8] {
        &self.data[self.start..]
    }

    /// Decodes the key of `position` of KV head `head`, which the ring must still hold, into `out` (head_dim).
    pub fn read_key(&self, head: usize, position: usize, out: &mut [f32]) {
        let KvShape { dtype, n_kv_heads, head_dim, .. } = self.shape;
        assert!(head < n_kv_heads, "head {head} of {n_kv_heads}");
        assert_eq!(out.len(), head_dim, "elements of a head");
        let ([keys, _], position) = (self.shape.ranges(head), self.shape.slot(position));
        let bytes = dtype.block_bytes(head_dim)[0] * PANEL_ROWS / BLOCK;
        let panel = &self.bytes()[keys][position / PANEL_ROWS * bytes..][..bytes];
        let dtype = match dtype {
            KvDtype::F16 => Dtype::F16,
            KvDtype::Int8 => Dtype::Int8,
            KvDtype::F32 => Dtype::F32,
            KvDtype::Q4 => return read_key(panel, position % PANEL_ROWS, out),
        };
        read_panel_row(dtype, panel, position % PANEL_ROWS, out);
    }

    /// Stores keys and values `k`, `v` (T, n_kv_heads, head_dim) of T tokens from `position` on.
    pub fn store(&mut self, compute: &Compute, position: usize, k: &[f32], v: &[f32]) {
        let KvShape { dtype, n_kv_heads, head_dim, n_blocks } = self.shape;
        let width = n_kv_heads * head_dim;
        assert!(k.len() == v.len() && k.len().is_multiple_of(width), "{} keys, {} values", k.len(), v.len());
        let n_tokens = k.len() / width;
        assert!(n_tokens <= n_blocks * BLOCK, "{n_tokens} tokens in a ring of {n_blocks} blocks");
        for head in 0..n_kv_heads {
            let [keys, values] = self.shape.ranges(head);
            let data = &mut self.data[self.start..];
            let (keys, values) = data[keys.start..values.end].split_at_mut(keys.len());
            for t in 0..n_tokens {
                let x = (t * n_kv_heads + head) * head_dim..(t * n_kv_heads + head + 1) * head_dim;
                let (k, v, position) = (&k[x.clone()], &v[x], self.shape.slot(position + t));
                match dtype {
                    KvDtype::F16 => {
                        store_halves(bytemuck::cast_slice_mut(keys), bytemuck::cast_slice_mut(values), position, k, v)
                    }
                    KvDtype::F32 => {
                        store_floats(bytemuck::cast_slice_mut(keys), bytemuck::cast_slice_mut(values), position, k, v)
                    }
                    KvDtype::Int8 => {
                        store_int8_key(compute, keys, position, k);
                        store_int8_value(values, position, v);
                    }
                    KvDtype::Q4 => {
                        kv4::store_key(keys, position, k);
                        kv4::store_value(values, position, v);
                    }
                }
            }
        }
    }

    /// The bytes of block `block`, 32 positions: keys and values of one head after the other.
    pub fn block(&self, block: usize) -> impl Iterator<Item = &[u8]> {
        self.shape.block_ranges(block).map(|range| &self.bytes()[range])
    }

    /// Stores the bytes, in one piece, that [`block`](Self::block) gave.
    pub fn put_block(&mut self, block: usize, mut bytes: &[u8]) {
        assert!(bytes.len() == self.shape.block_bytes(), "{} bytes of a block", bytes.len());
        for range in self.shape.block_ranges(block) {
            let (head, rest) = bytes.split_at(range.len());
            self.data[self.start..][range].copy_from_slice(head);
            bytes = rest;
        }
    }

    /// Overwrites `positions`, which are no longer needed, with zeros.
    pub fn zero(&mut self, compute: &Compute, positions: Range<usize>) {
        let zeros = vec![0.0; positions.len() * self.shape.n_kv_heads * self.shape.head_dim];
        self.store(compute, positions.start, &zeros, &zeros);
    }

    /// Attention of some queries over KV head `head`.
    pub(super) fn attend(&self, compute: &Compute, head: usize, queries: &mut [Query<'_>]) {
        let [keys, values] = self.shape.ranges(head).map(|range| &self.bytes()[range]);
        match self.shape.dtype {
            KvDtype::F16 => {
                let head = KvHead { keys: bytemuck::cast_slice(keys), values: bytemuck::cast_slice(values) };
                (compute.kernels.attend_f16)(queries, &head, compute.hint);
            }
            KvDtype::F32 => {
                let head = KvHead { keys: bytemuck::cast_slice(keys), values: bytemuck::cast_slice(values) };
                (compute.kernels.attend_f32)(queries, &head, compute.hint);
            }
            KvDtype::Int8 => (compute.kernels.attend_int8)(queries, &KvHeadInt8 { keys, values }, compute.hint),
            KvDtype::Q4 => (compute.kernels.attend_q4)(queries, &KvHeadQ4 { keys, values }, compute.hint),
        }
    }
}

/// The panel of keys from the first element of `position` on: every 16th element belongs to this position.
fn key_column<E>(keys: &mut [E], position: usize, head_dim: usize) -> &mut [E] {
    let panel = position / PANEL_ROWS * PANEL_ROWS * head_dim;
    &mut keys[panel + position % PANEL_ROWS..panel + PANEL_ROWS * head_dim]
}

fn store_halves(keys: &mut [u16], values: &mut [u16], position: usize, k: &[f32], v: &[f32]) {
    let column = key_column(keys, position, k.len());
    let mut halves = [f16::ZERO; AT_ONCE];
    for (i, k) in k.chunks(AT_ONCE).enumerate() {
        halves[..k.len()].convert_from_f32_slice(k);
        for (j, half) in halves[..k.len()].iter().enumerate() {
            column[(i * AT_ONCE + j) * PANEL_ROWS] = half.to_bits();
        }
    }
    let out: &mut [f16] = values[position * v.len()..][..v.len()].reinterpret_cast_mut();
    out.convert_from_f32_slice(v);
}

fn store_floats(keys: &mut [f32], values: &mut [f32], position: usize, k: &[f32], v: &[f32]) {
    for (slot, k) in key_column(keys, position, k.len()).iter_mut().step_by(PANEL_ROWS).zip(k) {
        *slot = *k;
    }
    values[position * v.len()..][..v.len()].copy_from_slice(v);
}

/// Writes a key into its int8 panel, quantized as the inputs of a product are.
fn store_int8_key(compute: &Compute, keys: &mut [u8], position: usize, k: &[f32]) {
    let mut quantized = [Group::ZERO; MAX_HEAD_GROUPS];
    let quantized = &mut quantized[..groups(k.len())];
    (compute.kernels.quantize)(k, k.len(), quantized);
    let bytes = panel_bytes(Dtype::Int8, k.len());
    let (panel, row) = (&mut keys[position / PANEL_ROWS * bytes..][..bytes], position % PANEL_ROWS);
    let (scales, codes) = panel.split_at_mut(scale_bytes(k.len()));
    for (g, group) in quantized.iter().enumerate() {
        let scale = f16::from_f32(group.scale).to_bits();
        scales.as_chunks_mut().0[g * PANEL_ROWS + row] = scale.to_le_bytes();
        let lines = codes.as_chunks_mut::<4>().0[g * PANEL_ROWS * GROUP_SIZE / 4..].iter_mut();
        for (quad, codes) in lines.skip(row).step_by(PANEL_ROWS).zip(group.codes.as_chunks::<4>().0) {
            *quad = codes.map(i8::cast_unsigned);
        }
    }
}

/// Writes a value into its int8 block, quantized with one scale.
fn store_int8_value(values: &mut [u8], position: usize, v: &[f32]) {
    let mut codes = [0; MAX_HEAD_GROUPS * GROUP_SIZE];
    let scale = scalar::quantize_codes(v, &mut codes[..v.len()]);
    let bytes = value_block_bytes(v.len());
    let (block, slot) = (&mut values[position / BLOCK * bytes..][..bytes], position % BLOCK);
    let (scales, block) = block.split_at_mut(BLOCK * 2);
    scales.as_chunks_mut().0[slot] = f16::from_f32(scale).to_bits().to_le_bytes();
    for (i, code) in codes[..v.len()].iter().enumerate() {
        let (panel, row) = (i / PANEL_ROWS, i % PANEL_ROWS);
        block[((panel * BLOCK / 4 + slot / 4) * PANEL_ROWS + row) * 4 + slot % 4] = code.cast_unsigned();
    }
}
