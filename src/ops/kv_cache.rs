//! The KV cache: keys and values of every layer and position, laid out as the attention kernels read them.

use crate::compute::Compute;
use crate::error::{Error, Kind, Remedy, Result};
use crate::kernels::{BLOCK, Group, KvHead, KvHeadInt8, MAX_HEAD_GROUPS, Query, scalar, value_block_bytes};
use crate::quant::{ALIGNMENT, Dtype, GROUP_SIZE, PANEL_ROWS, groups, panel_bytes, read_panel_row, scale_bytes};
use alloc::vec::Vec;
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
}

impl KvDtype {
    /// All types.
    pub const ALL: [KvDtype; 3] = [KvDtype::F16, KvDtype::Int8, KvDtype::F32];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            KvDtype::F16 => "f16",
            KvDtype::Int8 => "int8",
            KvDtype::F32 => "f32",
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
        }
    }
}

/// Keys and values of every layer and position, one allocation: `[layer][n_kv_heads][keys, values]`, in whole blocks of
/// 32 positions, as [`KvHead`] and [`KvHeadInt8`] say.
pub struct KvCache {
    dtype: KvDtype,
    /// The cache from `start` on, where the first multiple of 64 is.
    data: Vec<u8>,
    start: usize,
    n_layers: usize,
    n_kv_heads: usize,
    head_dim: usize,
    context_length: usize,
}

/// One layer of a cache, to attend to.
#[derive(Clone, Copy)]
pub struct KvLayer<'a> {
    pub(super) cache: &'a KvCache,
    layer: usize,
}

impl KvCache {
    /// An empty cache; fails where its memory is not to be had, or the heads are too large for int8. Pages are touched as
    /// positions are stored.
    pub fn new(
        dtype: KvDtype,
        n_layers: usize,
        n_kv_heads: usize,
        head_dim: usize,
        context_length: usize,
    ) -> Result<Self> {
        assert!(n_layers > 0 && n_kv_heads > 0 && head_dim > 0 && context_length > 0, "an empty KV cache");
        if dtype == KvDtype::Int8 && groups(head_dim) > MAX_HEAD_GROUPS {
            let message =
                format!("heads of {head_dim} elements; an int8 KV cache has at most {}", MAX_HEAD_GROUPS * 32);
            return Err(Error::new(Kind::Unavailable, message).remedy(Remedy::F16Cache));
        }
        let bytes = Self::bytes(dtype, n_layers, n_kv_heads, head_dim, context_length);
        let too_large = || {
            Error::new(Kind::Resources, format!("no memory for a KV cache of {bytes} bytes"))
                .hint(format!("ask for a context shorter than {context_length}"))
        };
        let n = bytes.checked_add(ALIGNMENT as u64).and_then(|n| usize::try_from(n).ok()).ok_or_else(too_large)?;
        // A zeroed vector aborts where it cannot be had, so a plain one asks first.
        Vec::<u8>::new().try_reserve_exact(n).map_err(|_| too_large())?;
        let data = vec![0; n];
        let start = data.as_ptr().align_offset(ALIGNMENT);
        Ok(KvCache { dtype, data, start, n_layers, n_kv_heads, head_dim, context_length })
    }

    /// Bytes of a cache of this shape; `u64::MAX` where they do not fit.
    pub fn bytes(dtype: KvDtype, n_layers: usize, n_kv_heads: usize, head_dim: usize, context_length: usize) -> u64 {
        if head_dim > 1 << 31 {
            return u64::MAX;
        }
        let block: usize = dtype.block_bytes(head_dim).iter().sum();
        [n_layers, n_kv_heads, context_length.div_ceil(BLOCK)]
            .iter()
            .fold(block as u64, |product, &n| product.saturating_mul(n as u64))
    }

    /// Decodes the key of `position` of KV head `head` of `layer` into `out` (head_dim).
    pub fn read_key(&self, layer: usize, head: usize, position: usize, out: &mut [f32]) {
        assert!(layer < self.n_layers && head < self.n_kv_heads && position < self.context_length, "no such key");
        assert_eq!(out.len(), self.head_dim, "elements of a head");
        let [keys, _] = self.ranges(layer, head);
        let bytes = self.dtype.block_bytes(self.head_dim)[0] * PANEL_ROWS / BLOCK;
        let panel = &self.data[keys][position / PANEL_ROWS * bytes..][..bytes];
        let dtype = match self.dtype {
            KvDtype::F16 => Dtype::F16,
            KvDtype::Int8 => Dtype::Int8,
            KvDtype::F32 => Dtype::F32,
        };
        read_panel_row(dtype, panel, position % PANEL_ROWS, out);
    }

    /// The type of the elements.
    pub fn dtype(&self) -> KvDtype {
        self.dtype
    }

    /// Number of positions.
    pub fn context_length(&self) -> usize {
        self.context_length
    }

    /// KV heads of a layer and elements of a head.
    pub(super) fn heads(&self) -> (usize, usize) {
        (self.n_kv_heads, self.head_dim)
    }

    /// Layer `layer`, to attend to.
    pub fn layer(&self, layer: usize) -> KvLayer<'_> {
        assert!(layer < self.n_layers, "layer {layer} of {}", self.n_layers);
        KvLayer { cache: self, layer }
    }

    /// Stores keys and values `k`, `v` (T, n_kv_heads, head_dim) of T tokens from `position` on.
    pub fn store(&mut self, compute: &Compute, layer: usize, position: usize, k: &[f32], v: &[f32]) {
        let width = self.n_kv_heads * self.head_dim;
        assert!(k.len() == v.len() && k.len().is_multiple_of(width), "{} keys, {} values", k.len(), v.len());
        let n_tokens = k.len() / width;
        assert!(n_tokens <= self.context_length && position <= self.context_length - n_tokens, "position {position}");
        assert!(layer < self.n_layers, "layer {layer} of {}", self.n_layers);
        let (dtype, head_dim) = (self.dtype, self.head_dim);
        for head in 0..self.n_kv_heads {
            let [keys, values] = self.ranges(layer, head);
            let (keys, values) = self.data[keys.start..values.end].split_at_mut(keys.len());
            for t in 0..n_tokens {
                let x = (t * self.n_kv_heads + head) * head_dim..(t * self.n_kv_heads + head + 1) * head_dim;
                let (k, v, position) = (&k[x.clone()], &v[x], position + t);
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
                }
            }
        }
    }

    /// Bytes of a block of 32 positions, of all layers and heads.
    pub fn block_bytes(&self) -> usize {
        self.dtype.block_bytes(self.head_dim).iter().sum::<usize>() * self.n_layers * self.n_kv_heads
    }

    /// What block `block` holds of 32 positions: keys and values of one head of one layer after the other.
    pub fn block(&self, block: usize) -> impl Iterator<Item = &[u8]> {
        self.block_ranges(block).map(|range| &self.data[range])
    }

    /// Puts back what [`block`](Self::block) gave, in one piece.
    pub fn restore_block(&mut self, block: usize, mut bytes: &[u8]) {
        assert!(bytes.len() == self.block_bytes(), "{} bytes of a block", bytes.len());
        for range in self.block_ranges(block) {
            let (head, rest) = bytes.split_at(range.len());
            self.data[range].copy_from_slice(head);
            bytes = rest;
        }
    }

    /// Puts zeros at `positions`, which hold what is no longer of use.
    pub fn clear(&mut self, compute: &Compute, positions: core::ops::Range<usize>) {
        let zeros = vec![0.0; positions.len() * self.n_kv_heads * self.head_dim];
        for layer in 0..self.n_layers {
            self.store(compute, layer, positions.start, &zeros, &zeros);
        }
    }

    /// Byte ranges of the keys and of the values of each head in block `block`.
    fn block_ranges(&self, block: usize) -> impl Iterator<Item = core::ops::Range<usize>> + use<> {
        assert!(block < self.context_length.div_ceil(BLOCK), "block {block}");
        let sizes = self.dtype.block_bytes(self.head_dim);
        let [keys, values] = self.ranges(0, 0);
        let each = keys.len() + values.len();
        (0..self.n_layers * self.n_kv_heads).flat_map(move |head| {
            [keys.start, values.start].into_iter().zip(sizes).map(move |(start, bytes)| {
                let start = start + head * each + block * bytes;
                start..start + bytes
            })
        })
    }

    /// Byte ranges of the keys and of the values of a head.
    fn ranges(&self, layer: usize, head: usize) -> [core::ops::Range<usize>; 2] {
        let n_blocks = self.context_length.div_ceil(BLOCK);
        let [keys, values] = self.dtype.block_bytes(self.head_dim).map(|bytes| bytes * n_blocks);
        let start = self.start + (layer * self.n_kv_heads + head) * (keys + values);
        [start..start + keys, start + keys..start + keys + values]
    }
}

impl KvLayer<'_> {
    /// Attention of some queries over KV head `head`.
    pub(super) fn attend(&self, compute: &Compute, head: usize, queries: &mut [Query<'_>]) {
        let [keys, values] = self.cache.ranges(self.layer, head).map(|range| &self.cache.data[range]);
        match self.cache.dtype {
            KvDtype::F16 => {
                let head = KvHead { keys: bytemuck::cast_slice(keys), values: bytemuck::cast_slice(values) };
                (compute.kernels.attend_f16)(queries, &head);
            }
            KvDtype::F32 => {
                let head = KvHead { keys: bytemuck::cast_slice(keys), values: bytemuck::cast_slice(values) };
                (compute.kernels.attend_f32)(queries, &head);
            }
            KvDtype::Int8 => (compute.kernels.attend_int8)(queries, &KvHeadInt8 { keys, values }),
        }
    }
}

/// The column of `position` in its panel of keys, from its first element on: every 16th is its own.
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
