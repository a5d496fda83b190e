//! The only place that knows instruction sets: one table of functions per backend, chosen once at run time.
//!
//! [`scalar`] is plain Rust, always compiled, and the truth: every kernel of every other backend gives the same bits
//! for the same input (docs/numerics.md; a NaN counts as equal to any NaN), which `tests/kernels_battery.rs` holds, and for
//! WebAssembly `tools/wasm/src/battery.rs`.
//! Kernels see slices and shapes, never names, files, threads or configurations. Each call checks the sizes of its
//! arguments once.
//!
//! A new backend is one file with its functions, and in `table.rs` its table and the CPU features that it needs.

mod attention;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avxvnni;
mod backend;
mod choose;
#[cfg(target_arch = "aarch64")]
mod dotprod;
mod group;
mod hint;
#[cfg(target_arch = "aarch64")]
mod i8mm;
mod kv4;
pub mod lanes;
pub mod math;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(all(target_arch = "arm", target_os = "linux"))]
mod neon32;
#[cfg(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    all(target_arch = "arm", target_os = "linux"),
    all(target_arch = "wasm32", target_feature = "simd128")
))]
mod online_softmax;
mod products;
mod rotate;
mod rows;
pub mod scalar;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod simd128;
#[cfg(any(test, not(feature = "std")))]
mod soft;
mod table;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use attention::{BLOCK, KvHead, KvHeadInt8, MAX_HEAD_GROUPS, QUERY_ROWS, Query, Scoring, value_block_bytes};
pub use backend::{Activation, Conv, Delta, Kernels, LayerNorm, Scan, SelectiveScan};
pub use choose::{available, by_name, detect, features, unavailable};
pub use group::Group;
pub use hint::Hint;
pub use kv4::{KEY_BITS, KvHeadQ4, VALUE_BITS, key_panel_bytes, packed_value_bytes, put_code, read_key, scale_bits};
pub use products::{PanelOut, Peaks, ProductTable, Products, TILE, Tokens};
pub use rotate::rotate;
