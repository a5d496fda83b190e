//! The KV cache and attention over it.

use crate::compute::Compute;
use crate::error::{Error, Kind, Result};
use crate::kernels::Heads;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};

/// Multiply-adds below which a part of an attention is not worth a thread.
const MIN_MACS: usize = 1 << 16;

/// The type of cached keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum KvDtype {
    /// IEEE binary16, rounded to nearest even.
    #[default]
    F16,
    /// IEEE binary32.
    F32,
}

impl KvDtype {
    /// All types.
    pub const ALL: [KvDtype; 2] = [KvDtype::F16, KvDtype::F32];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            KvDtype::F16 => "f16",
            KvDtype::F32 => "f32",
        }
    }

    /// The type of a name on the command line.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dtype| dtype.name() == name)
    }

    /// Bytes of an element.
    pub fn size(self) -> usize {
        match self {
            KvDtype::F16 => 2,
            KvDtype::F32 => 4,
        }
    }
}

/// Keys and values of every layer and position, one allocation: `[layer][k, v][n_kv_heads][context_length][head_dim]`.
pub struct KvCache {
    data: Data,
    n_layers: usize,
    n_kv_heads: usize,
    head_dim: usize,
    context_length: usize,
}

enum Data {
    F16(Vec<u16>),
    F32(Vec<f32>),
}

/// One layer of a cache, to attend to.
#[derive(Clone, Copy)]
pub struct KvLayer<'a> {
    cache: &'a KvCache,
    layer: usize,
}

impl KvCache {
    /// An empty cache; fails where its memory is not to be had. Pages are touched as positions are stored.
    pub fn new(
        dtype: KvDtype,
        n_layers: usize,
        n_kv_heads: usize,
        head_dim: usize,
        context_length: usize,
    ) -> Result<Self> {
        assert!(n_layers > 0 && n_kv_heads > 0 && head_dim > 0 && context_length > 0, "an empty KV cache");
        let bytes = Self::bytes(dtype, n_layers, n_kv_heads, head_dim, context_length);
        let too_large = || {
            Error::new(Kind::Resources, format!("no memory for a KV cache of {bytes} bytes"))
                .hint(format!("ask for a context shorter than {context_length}"))
        };
        let n = usize::try_from(bytes).map_err(|_| too_large())? / dtype.size();
        let data = match dtype {
            KvDtype::F16 => Data::F16(zeros(n).ok_or_else(too_large)?),
            KvDtype::F32 => Data::F32(zeros(n).ok_or_else(too_large)?),
        };
        Ok(KvCache { data, n_layers, n_kv_heads, head_dim, context_length })
    }

    /// Bytes that a cache of this shape allocates; `u64::MAX` where they do not fit.
    pub fn bytes(dtype: KvDtype, n_layers: usize, n_kv_heads: usize, head_dim: usize, context_length: usize) -> u64 {
        [n_layers, n_kv_heads, head_dim, context_length]
            .iter()
            .fold(2 * dtype.size() as u64, |product, &n| product.saturating_mul(n as u64))
    }

    /// The type of the elements.
    pub fn dtype(&self) -> KvDtype {
        match self.data {
            Data::F16(_) => KvDtype::F16,
            Data::F32(_) => KvDtype::F32,
        }
    }

    /// Number of positions.
    pub fn context_length(&self) -> usize {
        self.context_length
    }

    /// Layer `layer`, to attend to.
    pub fn layer(&self, layer: usize) -> KvLayer<'_> {
        assert!(layer < self.n_layers, "layer {layer} of {}", self.n_layers);
        KvLayer { cache: self, layer }
    }

    /// Stores keys and values `k`, `v` (T, n_kv_heads, head_dim) of T tokens from `position` on.
    pub fn store(&mut self, layer: usize, position: usize, k: &[f32], v: &[f32]) {
        let width = self.n_kv_heads * self.head_dim;
        assert!(k.len() == v.len() && k.len().is_multiple_of(width), "{} keys, {} values", k.len(), v.len());
        let n_tokens = k.len() / width;
        assert!(n_tokens <= self.context_length && position <= self.context_length - n_tokens, "position {position}");
        assert!(layer < self.n_layers, "layer {layer} of {}", self.n_layers);
        for (kv, x) in [k, v].into_iter().enumerate() {
            for (t, x) in x.chunks_exact(width).enumerate() {
                for (head, x) in x.chunks_exact(self.head_dim).enumerate() {
                    let at = self.start(layer, kv, head) + (position + t) * self.head_dim;
                    match &mut self.data {
                        Data::F16(data) => {
                            let out: &mut [half::f16] = data[at..at + self.head_dim].reinterpret_cast_mut();
                            out.convert_from_f32_slice(x);
                        }
                        Data::F32(data) => data[at..at + self.head_dim].copy_from_slice(x),
                    }
                }
            }
        }
    }

    /// First element of a head's keys (`kv` 0) or values (`kv` 1).
    fn start(&self, layer: usize, kv: usize, head: usize) -> usize {
        ((layer * 2 + kv) * self.n_kv_heads + head) * self.context_length * self.head_dim
    }
}

/// `n` zeros whose pages are untouched, or `None` where the memory is not to be had.
fn zeros<T: Clone + Default>(n: usize) -> Option<Vec<T>> {
    // A zeroed vector aborts where it cannot be had, so a plain one asks first.
    Vec::<T>::new().try_reserve_exact(n).ok()?;
    Some(vec![T::default(); n])
}

impl KvLayer<'_> {
    /// Attention of some query heads of one token over KV head `head`.
    fn attend(&self, compute: &Compute, head: usize, q: &[f32], visible: core::ops::Range<usize>, out: &mut [f32]) {
        let cache = self.cache;
        let head_dim = cache.head_dim;
        let range = |kv| {
            let start = cache.start(self.layer, kv, head);
            start..start + cache.context_length * head_dim
        };
        let (k, v) = (range(0), range(1));
        match &cache.data {
            Data::F16(data) => {
                let heads = Heads { q, k: &data[k], v: &data[v], head_dim, visible };
                (compute.kernels.attend_f16)(&heads, out);
            }
            Data::F32(data) => {
                let heads = Heads { q, k: &data[k], v: &data[v], head_dim, visible };
                (compute.kernels.attend_f32)(&heads, out);
            }
        }
    }
}

/// softmax(q k^T / sqrt(head_dim)) v for T tokens at `start_position ..`, whose keys and values are stored:
/// `q`, `out` (T, n_heads, head_dim), each `n_heads / n_kv_heads` consecutive heads sharing a KV head.
///
/// The token at position p sees `0..=p`, or with a `window` only its last `window` positions.
pub fn attention(
    compute: &Compute,
    q: &[f32],
    n_heads: usize,
    kv: &KvLayer<'_>,
    start_position: usize,
    window: Option<usize>,
    out: &mut [f32],
) {
    let KvCache { n_kv_heads, head_dim, context_length, .. } = *kv.cache;
    assert!(n_heads > 0 && n_heads.is_multiple_of(n_kv_heads), "{n_heads} heads share {n_kv_heads}");
    assert!(window != Some(0), "an empty window");
    let (group, width) = (n_heads / n_kv_heads, n_heads * head_dim);
    assert!(q.len() == out.len() && q.len().is_multiple_of(width), "{} queries, {} outputs", q.len(), out.len());
    let n_tokens = q.len() / width;
    assert!(n_tokens <= context_length && start_position <= context_length - n_tokens, "position {start_position}");
    if n_tokens == 0 {
        return;
    }
    let seen = (start_position + n_tokens).min(window.unwrap_or(usize::MAX));
    let min_heads = MIN_MACS.div_ceil(2 * n_tokens * seen * head_dim);
    compute.threads.run_columns(out, width, head_dim, min_heads, &|heads, mut out| {
        let mut head = heads.start;
        while head < heads.end {
            let kv_head = head / group;
            let end = heads.end.min((kv_head + 1) * group);
            for t in 0..n_tokens {
                let position = start_position + t;
                let visible = (position + 1).saturating_sub(window.unwrap_or(usize::MAX))..position + 1;
                let q = &q[t * width..][head * head_dim..end * head_dim];
                let out = &mut out.row(t)[(head - heads.start) * head_dim..(end - heads.start) * head_dim];
                kv.attend(compute, kv_head, q, visible, out);
            }
            head = end;
        }
    });
}
