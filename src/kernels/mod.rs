//! The only place that knows instruction sets: one table of functions per backend, chosen once at run time.
//!
//! [`scalar`] is plain Rust, always compiled, and the truth: every kernel of every other backend gives the same bits
//! for the same input (docs/numerics.md; a NaN counts as equal to any NaN), which `tests/kernels_battery.rs` holds.
//! Kernels see slices and shapes, never names, files, threads or configurations. All of them check the sizes of what
//! they are given once a call.
//!
//! To add a backend: one file with its functions, one static and one line of [`table`](self) with what it needs.

mod attention;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avxvnni;
#[cfg(target_arch = "aarch64")]
mod dotprod;
#[cfg(target_arch = "aarch64")]
mod i8mm;
pub mod lanes;
pub mod math;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(all(target_arch = "arm", target_os = "linux"))]
mod neon32;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", all(target_arch = "arm", target_os = "linux")))]
mod online_softmax;
mod products;
mod rows;
pub mod scalar;
#[cfg(any(test, not(feature = "std")))]
mod soft;
mod table;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use attention::{BLOCK, KvHead, KvHeadInt8, MAX_HEAD_GROUPS, QUERY_ROWS, Query, value_block_bytes};
pub use products::{Peaks, ProductTable, Products, Tokens};

use crate::error::{Error, Kind, Result};
use crate::quant::{GROUP_SIZE, PANEL_ROWS};
use alloc::{borrow::ToOwned, vec::Vec};

/// This architecture, for messages.
#[cfg(feature = "std")]
const HERE: &str = std::env::consts::ARCH;
/// This architecture, for messages.
#[cfg(not(feature = "std"))]
const HERE: &str = "another architecture";

/// The most tokens that one matmul call multiplies with a panel.
pub const TILE: usize = 96;

/// Cuts `n` tokens into as few parts of at most `most` as there can be, of sizes that differ by at most 1: a part of one
/// token would cost as much as one of many.
#[cfg_attr(
    not(target_arch = "x86_64"),
    expect(dead_code, reason = "NEON's tiles are all of one size, scalar has none")
)]
fn parts(n: usize, most: usize) -> impl Iterator<Item = core::ops::Range<usize>> {
    let n_parts = n.div_ceil(most);
    (0..n_parts).map(move |i| n * i / n_parts..n * (i + 1) / n_parts)
}

/// The products of one panel with one token.
pub type PanelOut = [f32; PANEL_ROWS];

/// 32 consecutive inputs of one token, quantized: `x[i]` is about `codes[i] * scale`.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(C)]
pub struct Group {
    /// The codes, in [-127, 127]; zeros past the end of the row.
    pub codes: [i8; GROUP_SIZE],
    /// The largest magnitude divided by 127; 0 where that is not a normal number, NaN where an input is not finite.
    pub scale: f32,
    /// Sum of the codes, which instructions that multiply unsigned by signed bytes need.
    pub sum: i32,
}

impl Group {
    /// Codes, scale and sum 0.
    pub const ZERO: Group = Group { codes: [0; GROUP_SIZE], scale: 0.0, sum: 0 };
}

/// `fn(x, weight, bias, eps, y)`, see [`Kernels::layer_norm`].
pub type LayerNorm = fn(&[f32], &[f32], &[f32], f32, &mut [f32]);

/// The kernels of one backend. Shapes: `n` tokens; `groups = ceil(cols / 32)`.
pub struct Kernels {
    /// The name, as `--kernels` takes it.
    pub name: &'static str,
    /// Quantizes the rows of `x` (n, cols) into `out` (groups, n): groups outermost, as the products read them.
    pub quantize: fn(x: &[f32], cols: usize, out: &mut [Group]),
    /// The products of each weight format.
    pub products: ProductTable,
    /// Attention of up to [`QUERY_ROWS`] queries, in the order of their tokens, over one KV head kept as halves.
    pub attend_f16: fn(queries: &mut [Query<'_>], head: &KvHead<'_, u16>),
    /// Attention of up to [`QUERY_ROWS`] queries, in the order of their tokens, over one KV head kept as f32.
    pub attend_f32: fn(queries: &mut [Query<'_>], head: &KvHead<'_, f32>),
    /// Attention of up to [`QUERY_ROWS`] queries, in the order of their tokens, over one KV head kept as int8.
    pub attend_int8: fn(queries: &mut [Query<'_>], head: &KvHeadInt8<'_>),
    /// `y = x / sqrt(mean(x^2) + eps) * weight` for each row of `x` and `y` (n, dim); `weight` (dim).
    pub rms_norm: fn(x: &[f32], weight: &[f32], eps: f32, y: &mut [f32]),
    /// [`rms_norm`](Self::rms_norm) with `y` in the place of `x`.
    pub rms_norm_in_place: fn(x: &mut [f32], weight: &[f32], eps: f32),
    /// `y = (x - mean) / sqrt(variance + eps) * weight + bias` for each row of `x` and `y` (n, dim); `weight`, `bias`
    /// (dim).
    pub layer_norm: LayerNorm,
    /// `gate[i] = silu(gate[i]) * up[i]`.
    pub swiglu: fn(gate: &mut [f32], up: &[f32]),
    /// `x[i] = gelu(x[i])` by the tanh form.
    pub gelu_tanh: fn(x: &mut [f32]),
    /// `x[i] += y[i]`.
    pub add: fn(x: &mut [f32], y: &[f32]),
    /// Turns every head of `x` (n, n_heads, head_dim) by the angles of its token, `[cos][sin]` of (n, head_dim).
    pub rope: fn(x: &mut [f32], angles: &[f32], head_dim: usize),
    /// What `whit bench` holds the products against.
    pub peaks: &'static Peaks,
}

/// Every backend that this CPU can run, `scalar` first, the best last.
pub fn available() -> impl Iterator<Item = &'static Kernels> {
    table::BACKENDS.iter().filter(|backend| backend.missing().next().is_none()).map(|backend| backend.kernels)
}

/// The backends of this architecture that this CPU cannot run, each with the features it lacks.
pub fn unavailable() -> impl Iterator<Item = (&'static str, Vec<&'static str>)> {
    let lacking = table::BACKENDS.iter().map(|backend| (backend.kernels.name, backend.missing().collect::<Vec<_>>()));
    lacking.filter(|(_, missing)| !missing.is_empty())
}

/// The CPU features that a backend of this architecture asks for and this CPU has, each once.
pub fn features() -> Vec<&'static str> {
    let mut features = Vec::new();
    for name in table::BACKENDS.iter().flat_map(|backend| backend.found()) {
        if !features.contains(&name) {
            features.push(name);
        }
    }
    features
}

/// The best backend that this CPU can run.
pub fn detect() -> &'static Kernels {
    available().last().unwrap_or(&table::SCALAR)
}

/// The backend called `name`; an error where this CPU cannot run it or there is none of that name.
pub fn by_name(name: &str) -> Result<&'static Kernels> {
    let names = || available().map(|kernels| kernels.name).collect::<Vec<_>>().join(", ");
    if let Some(backend) = table::BACKENDS.iter().find(|backend| backend.kernels.name == name) {
        let missing: Vec<_> = backend.missing().collect();
        if missing.is_empty() {
            return Ok(backend.kernels);
        }
        let found: Vec<_> = backend.found().collect();
        let found = if found.is_empty() { "none of them".to_owned() } else { found.join(", ") };
        let message = format!("kernels {name:?} need {}, this CPU has {found}", backend.needed().join(", "));
        return Err(Error::new(Kind::Unavailable, message).hint(format!("it can run: {}", names())));
    }
    if let Some((_, architecture)) = table::elsewhere().find(|(elsewhere, _)| *elsewhere == name) {
        let message = format!("kernels {name:?} need {architecture}, this is {HERE}");
        return Err(Error::new(Kind::Unavailable, message).hint(format!("this CPU can run: {}", names())));
    }
    let message = format!("no kernels are called {:?}", crate::error::printable(name));
    Err(Error::usage(message).hint(format!("this CPU can run: {}", names())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalar_comes_first_and_every_name_finds_its_table() {
        let names: Vec<_> = available().map(|kernels| kernels.name).collect();
        assert_eq!(names[0], "scalar");
        assert_eq!(detect().name, names[names.len() - 1]);
        for name in names {
            assert_eq!(by_name(name).expect("available").name, name);
        }
    }

    #[test]
    fn peaks_count_the_same_work_every_round() {
        for kernels in available() {
            for peak in [kernels.peaks.quantized, kernels.peaks.floats] {
                assert_eq!(peak(0), 0);
                assert!(peak(1) > 0 && peak(10) == 10 * peak(1), "{}", kernels.name);
            }
        }
    }

    #[test]
    fn a_wrong_name_is_told_from_a_missing_feature() {
        let error = by_name("mmx").err().expect("no such backend");
        assert_eq!(error.kind(), Kind::Usage);
        assert!(error.to_string().contains("scalar"), "{error}");
        for (name, _) in table::elsewhere() {
            let error = by_name(name).err().expect("another architecture");
            assert_eq!(error.kind(), Kind::Unavailable);
            assert!(error.to_string().contains(std::env::consts::ARCH), "{error}");
        }
    }
}
