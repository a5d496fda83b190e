//! The backends of each architecture: their tables of functions, the CPU features that each needs, and the only calls
//! into code that needs features.
#![allow(unsafe_code)]

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", all(target_arch = "arm", target_os = "linux")))]
use super::Products;
use super::backend::Backend;
#[cfg(all(target_arch = "arm", target_os = "linux"))]
use super::neon32;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
use super::simd128::{self, Int8, Integers, Levels, Ternary, products};
use super::{Kernels, Peaks, scalar};
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512, avx512::amx, avxvnni};
#[cfg(target_arch = "aarch64")]
use super::{dotprod, i8mm, neon};
#[cfg(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    all(target_arch = "arm", target_os = "linux"),
    all(target_arch = "wasm32", target_feature = "simd128")
))]
use crate::quant::Dtype;
#[cfg(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    all(target_arch = "arm", target_os = "linux"),
    all(target_arch = "wasm32", target_feature = "simd128")
))]
use crate::quant::planes::{self, group_bytes};
#[cfg(all(target_arch = "aarch64", feature = "std"))]
use std::arch::is_aarch64_feature_detected;

/// The feature test of `std`, for builds without it: of the CPU only the features that the code is compiled for are known.
#[cfg(all(target_arch = "x86_64", not(feature = "std")))]
macro_rules! is_x86_feature_detected {
    ($name:tt) => {
        cfg!(target_feature = $name)
    };
}
/// As for x86-64.
#[cfg(all(target_arch = "aarch64", not(feature = "std")))]
macro_rules! is_aarch64_feature_detected {
    ($name:tt) => {
        cfg!(target_feature = $name)
    };
}

static SCALAR_PEAKS: Peaks = Peaks { floats: scalar::f32_peak, quantized: scalar::int8_peak };

pub(super) static SCALAR: Kernels = Kernels {
    name: "scalar",
    quantize: scalar::quantize,
    products: scalar::PRODUCTS,
    attend_f16: |queries, head, _| scalar::attend_f16(queries, head),
    attend_f32: |queries, head, _| scalar::attend_f32(queries, head),
    attend_int8: |queries, head, _| scalar::attend_int8(queries, head),
    attend_q4: |queries, head, _| scalar::attend_q4(queries, head),
    rms_norm: scalar::rms_norm,
    rms_norm_in_place: scalar::rms_norm_in_place,
    layer_norm: scalar::layer_norm,
    gate: scalar::gate,
    activate: scalar::activate,
    soft_cap: scalar::soft_cap,
    add: scalar::add,
    conv: scalar::conv,
    unit_length: scalar::unit_length,
    delta: scalar::delta,
    scan: scalar::scan,
    selective_scan: scalar::selective_scan,
    rope: scalar::rope,
    peaks: &SCALAR_PEAKS,
};

/// A function of an ISA file as a table's entry: the one call into code that needs features of the CPU.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", all(target_arch = "arm", target_os = "linux")))]
macro_rules! entry {
    ($isa:ident::$kernel:ident($($argument:ident),*)) => { entry!(|$($argument),*| $isa::$kernel($($argument),*)) };
    (|$($argument:ident),*| $isa:ident::$kernel:ident $(<$($size:tt),*>)? ($($value:expr),*)) => {
        |$($argument),*| {
            // SAFETY: a function is unsafe only because of the CPU features that it enables or asks for. BACKENDS lists
            // all of them beside its table. A table other than SCALAR is reached only through BACKENDS, and `available`
            // and `by_name`, which read it, return a table only where this CPU has every feature in its list.
            unsafe { $isa::$kernel $(::<$($size),*>)? ($($value),*) }
        }
    };
    // A row of products, by the form of inputs that its format wants.
    (floats: $isa:ident::$matvec:ident, $matmul:ident) => {
        Products {
            matvec: entry!(|panels, x, _hint, out| $isa::$matvec(panels, x.floats, out)),
            matmul: entry!(|panel, x, _hint, out| $isa::$matmul(panel, x.cols, x.floats, out)),
        }
    };
    (groups: $isa:ident::$matvec:ident, $matmul:ident) => {
        Products {
            matvec: entry!(|panels, x, _hint, out| $isa::$matvec(panels, x.cols, x.groups, out)),
            matmul: entry!(|panel, x, _hint, out| $isa::$matmul(panel, x.cols, x.groups, out)),
        }
    };
    (groups hint: $isa:ident::$matvec:ident, $matmul:ident) => {
        Products {
            matvec: entry!(|panels, x, hint, out| $isa::$matvec(panels, x.cols, x.groups, hint, out)),
            matmul: entry!(|panel, x, hint, out| $isa::$matmul(panel, x.cols, x.groups, hint, out)),
        }
    };
    // Of weights of three values.
    (ternary: $isa:ident) => {
        Products {
            matvec: entry!(|panels, x, _hint, out| $isa::ternary_matvec(panels, x, out)),
            matmul: entry!(|panel, x, _hint, out| $isa::ternary_matmul(panel, x, out)),
        }
    };
    (ternary hint: $isa:ident) => {
        Products {
            matvec: entry!(|panels, x, hint, out| $isa::ternary_matvec(panels, x, hint, out)),
            matmul: entry!(|panel, x, hint, out| $isa::ternary_matmul(panel, x, hint, out)),
        }
    };
    // Of planes of so many bits, with so many bytes of scales a group.
    (planes: $isa:ident, $dtype:expr, $bits:literal, $scales:ident) => {
        Products {
            matvec: entry!(|panels, x, _hint, out| $isa::planes_matvec<$bits, { group_bytes($bits) }, { planes::$scales }>($dtype, panels, x, out)),
            matmul: entry!(|panel, x, _hint, out| $isa::planes_matmul<$bits, { group_bytes($bits) }, { planes::$scales }>($dtype, panel, x, out)),
        }
    };
    (planes matmul: $isa:ident, $dtype:expr, $bits:literal, $scales:ident) => {
        entry!(|panel, x, hint, out| $isa::planes_matmul<$bits, { group_bytes($bits) }, { planes::$scales }>($dtype, panel, x, hint, out))
    };
    (planes hint: $isa:ident, $dtype:expr, $bits:literal, $scales:ident) => {
        Products {
            matvec: entry!(|panels, x, hint, out| $isa::planes_matvec<$bits, { group_bytes($bits) }, { planes::$scales }>($dtype, panels, x, hint, out)),
            matmul: entry!(|panel, x, hint, out| $isa::planes_matmul<$bits, { group_bytes($bits) }, { planes::$scales }>($dtype, panel, x, hint, out)),
        }
    };
}

#[cfg(target_arch = "x86_64")]
static AVX2_PEAKS: Peaks = Peaks { floats: entry!(avx2::f32_peak(rounds)), quantized: entry!(avx2::int8_peak(rounds)) };

#[cfg(target_arch = "x86_64")]
static AVX2: Kernels = Kernels {
    name: "avx2",
    quantize: entry!(avx2::quantize(x, cols, out)),
    products: SCALAR
        .products
        .with(Dtype::F32, entry!(floats: avx2::f32_matvec, f32_matmul))
        .with(Dtype::F16, entry!(floats: avx2::f16_matvec, f16_matmul))
        .with(Dtype::Int8, entry!(groups hint: avx2::int8_matvec, int8_matmul))
        .with(Dtype::Q4, entry!(planes hint: avx2, Dtype::Q4, 4, BYTES))
        .with(Dtype::Q5, entry!(planes hint: avx2, Dtype::Q5, 5, BYTES))
        .with(Dtype::Q6, entry!(planes hint: avx2, Dtype::Q6, 6, BYTES))
        .with(Dtype::T2, entry!(ternary hint: avx2))
        .with(Dtype::Q4h, entry!(planes hint: avx2, Dtype::Q4h, 4, HALVES))
        .with(Dtype::Q4m, entry!(planes hint: avx2, Dtype::Q4m, 4, OFFSETS))
        .with(Dtype::Q5h, entry!(planes hint: avx2, Dtype::Q5h, 5, HALVES))
        .with(Dtype::Q5m, entry!(planes hint: avx2, Dtype::Q5m, 5, OFFSETS)),
    attend_f16: entry!(avx2::attend_f16(queries, head, hint)),
    attend_f32: entry!(avx2::attend_f32(queries, head, hint)),
    attend_int8: entry!(avx2::attend_int8(queries, head, hint)),
    attend_q4: entry!(avx2::attend_q4(queries, head, hint)),
    rms_norm: entry!(avx2::rms_norm(x, weight, eps, y)),
    rms_norm_in_place: entry!(avx2::rms_norm_in_place(x, weight, eps)),
    layer_norm: entry!(avx2::layer_norm(x, weight, bias, eps, y)),
    gate: entry!(avx2::gate(activation, gate, up)),
    activate: entry!(avx2::activate(activation, x)),
    soft_cap: entry!(avx2::soft_cap(x, cap)),
    add: entry!(avx2::add(x, y)),
    conv: entry!(avx2::conv(panels, width, inputs, out)),
    unit_length: entry!(avx2::unit_length(x, dim, divisor)),
    delta: entry!(avx2::delta(state, q, k, v, decay, strength)),
    scan: entry!(avx2::scan(state, c, b, x, decay, step)),
    selective_scan: entry!(avx2::selective_scan(state, rates, c, b, x, steps)),
    rope: entry!(avx2::rope(x, angles, head_dim)),
    peaks: &AVX2_PEAKS,
};

#[cfg(target_arch = "x86_64")]
static AVXVNNI_PEAKS: Peaks =
    Peaks { floats: entry!(avx2::f32_peak(rounds)), quantized: entry!(avxvnni::int8_peak(rounds)) };

#[cfg(target_arch = "x86_64")]
static AVXVNNI: Kernels = Kernels {
    name: "avxvnni",
    products: AVX2
        .products
        .with(Dtype::Int8, entry!(groups hint: avxvnni::int8_matvec, int8_matmul))
        .with(Dtype::Q4, entry!(planes hint: avxvnni, Dtype::Q4, 4, BYTES))
        .with(Dtype::Q5, entry!(planes hint: avxvnni, Dtype::Q5, 5, BYTES))
        .with(Dtype::Q6, entry!(planes hint: avxvnni, Dtype::Q6, 6, BYTES))
        .with(Dtype::T2, entry!(ternary hint: avxvnni))
        .with(Dtype::Q4h, entry!(planes hint: avxvnni, Dtype::Q4h, 4, HALVES))
        .with(Dtype::Q4m, entry!(planes hint: avxvnni, Dtype::Q4m, 4, OFFSETS))
        .with(Dtype::Q5h, entry!(planes hint: avxvnni, Dtype::Q5h, 5, HALVES))
        .with(Dtype::Q5m, entry!(planes hint: avxvnni, Dtype::Q5m, 5, OFFSETS)),
    attend_int8: entry!(avxvnni::attend_int8(queries, head, hint)),
    attend_q4: entry!(avxvnni::attend_q4(queries, head, hint)),
    peaks: &AVXVNNI_PEAKS,
    ..AVX2
};

#[cfg(target_arch = "x86_64")]
static AVX512_PEAKS: Peaks =
    Peaks { floats: entry!(avx512::f32_peak(rounds)), quantized: entry!(avx512::int8_peak(rounds)) };

#[cfg(target_arch = "x86_64")]
static AVX512: Kernels = Kernels {
    name: "avx512",
    products: AVX2
        .products
        .with(Dtype::F32, entry!(floats: avx512::f32_matvec, f32_matmul))
        .with(Dtype::F16, entry!(floats: avx512::f16_matvec, f16_matmul))
        .with(Dtype::Int8, entry!(groups hint: avx512::int8_matvec, int8_matmul))
        .with(Dtype::Q4, entry!(planes hint: avx512, Dtype::Q4, 4, BYTES))
        .with(Dtype::Q5, entry!(planes hint: avx512, Dtype::Q5, 5, BYTES))
        .with(Dtype::Q6, entry!(planes hint: avx512, Dtype::Q6, 6, BYTES))
        .with(Dtype::T2, entry!(ternary hint: avx512))
        .with(Dtype::Q4h, entry!(planes hint: avx512, Dtype::Q4h, 4, HALVES))
        .with(Dtype::Q4m, entry!(planes hint: avx512, Dtype::Q4m, 4, OFFSETS))
        .with(Dtype::Q5h, entry!(planes hint: avx512, Dtype::Q5h, 5, HALVES))
        .with(Dtype::Q5m, entry!(planes hint: avx512, Dtype::Q5m, 5, OFFSETS)),
    attend_f16: entry!(avx512::attend_f16(queries, head, hint)),
    attend_f32: entry!(avx512::attend_f32(queries, head, hint)),
    attend_int8: entry!(avx512::attend_int8(queries, head, hint)),
    attend_q4: entry!(avx512::attend_q4(queries, head, hint)),
    peaks: &AVX512_PEAKS,
    ..AVX2
};

#[cfg(target_arch = "x86_64")]
static AMX_PEAKS: Peaks = Peaks { floats: entry!(avx512::f32_peak(rounds)), quantized: entry!(amx::int8_peak(rounds)) };

#[cfg(target_arch = "x86_64")]
static AMX: Kernels = Kernels {
    name: "amx",
    // With one token there is no tile to multiply with: its product is AVX-512's.
    products: AVX512
        .products
        .with_matmul(Dtype::Int8, entry!(amx::int8_matmul(panel, x, hint, out)))
        .with_matmul(Dtype::Q4, entry!(planes matmul: amx, Dtype::Q4, 4, BYTES))
        .with_matmul(Dtype::Q5, entry!(planes matmul: amx, Dtype::Q5, 5, BYTES))
        .with_matmul(Dtype::Q6, entry!(planes matmul: amx, Dtype::Q6, 6, BYTES))
        .with_matmul(Dtype::T2, entry!(amx::ternary_matmul(panel, x, hint, out)))
        .with_matmul(Dtype::Q4h, entry!(planes matmul: amx, Dtype::Q4h, 4, HALVES))
        .with_matmul(Dtype::Q4m, entry!(planes matmul: amx, Dtype::Q4m, 4, OFFSETS))
        .with_matmul(Dtype::Q5h, entry!(planes matmul: amx, Dtype::Q5h, 5, HALVES))
        .with_matmul(Dtype::Q5m, entry!(planes matmul: amx, Dtype::Q5m, 5, OFFSETS)),
    peaks: &AMX_PEAKS,
    ..AVX512
};

/// The backends of this architecture, from the plainest to the best.
#[cfg(target_arch = "x86_64")]
pub(super) static BACKENDS: &[Backend] = &[
    Backend { kernels: &SCALAR, by_itself: true, features: &[] },
    Backend {
        kernels: &AVX2,
        by_itself: true,
        features: &[
            ("avx2", || is_x86_feature_detected!("avx2")),
            ("fma", || is_x86_feature_detected!("fma")),
            ("f16c", || is_x86_feature_detected!("f16c")),
        ],
    },
    Backend {
        kernels: &AVXVNNI,
        by_itself: true,
        features: &[
            ("avx2", || is_x86_feature_detected!("avx2")),
            ("fma", || is_x86_feature_detected!("fma")),
            ("f16c", || is_x86_feature_detected!("f16c")),
            ("avxvnni", || is_x86_feature_detected!("avxvnni")),
        ],
    },
    Backend {
        kernels: &AVX512,
        by_itself: true,
        features: &[
            ("avx2", || is_x86_feature_detected!("avx2")),
            ("fma", || is_x86_feature_detected!("fma")),
            ("f16c", || is_x86_feature_detected!("f16c")),
            ("avx512f", || is_x86_feature_detected!("avx512f")),
            ("avx512bw", || is_x86_feature_detected!("avx512bw")),
            ("avx512vl", || is_x86_feature_detected!("avx512vl")),
            ("avx512vnni", || is_x86_feature_detected!("avx512vnni")),
        ],
    },
    Backend {
        kernels: &AMX,
        by_itself: false,
        features: &[
            ("avx2", || is_x86_feature_detected!("avx2")),
            ("fma", || is_x86_feature_detected!("fma")),
            ("f16c", || is_x86_feature_detected!("f16c")),
            ("avx512f", || is_x86_feature_detected!("avx512f")),
            ("avx512bw", || is_x86_feature_detected!("avx512bw")),
            ("avx512vl", || is_x86_feature_detected!("avx512vl")),
            ("avx512vnni", || is_x86_feature_detected!("avx512vnni")),
            ("amx-int8", amx::usable),
        ],
    },
];

#[cfg(target_arch = "aarch64")]
static NEON_PEAKS: Peaks = Peaks { floats: entry!(neon::f32_peak(rounds)), quantized: entry!(neon::int8_peak(rounds)) };

#[cfg(target_arch = "aarch64")]
static NEON: Kernels = Kernels {
    name: "neon",
    quantize: entry!(neon::quantize(x, cols, out)),
    products: SCALAR
        .products
        .with(Dtype::F32, entry!(floats: neon::f32_matvec, f32_matmul))
        .with(Dtype::F16, entry!(floats: neon::f16_matvec, f16_matmul))
        .with(Dtype::Int8, entry!(groups: neon::int8_matvec, int8_matmul))
        .with(Dtype::Q4, entry!(planes: neon, Dtype::Q4, 4, BYTES))
        .with(Dtype::Q5, entry!(planes: neon, Dtype::Q5, 5, BYTES))
        .with(Dtype::Q6, entry!(planes: neon, Dtype::Q6, 6, BYTES))
        .with(Dtype::T2, entry!(ternary: neon))
        .with(Dtype::Q4h, entry!(planes: neon, Dtype::Q4h, 4, HALVES))
        .with(Dtype::Q4m, entry!(planes: neon, Dtype::Q4m, 4, OFFSETS))
        .with(Dtype::Q5h, entry!(planes: neon, Dtype::Q5h, 5, HALVES))
        .with(Dtype::Q5m, entry!(planes: neon, Dtype::Q5m, 5, OFFSETS)),
    attend_f16: entry!(|queries, head, _hint| neon::attend_f16(queries, head)),
    attend_f32: entry!(|queries, head, _hint| neon::attend_f32(queries, head)),
    attend_int8: entry!(|queries, head, _hint| neon::attend_int8(queries, head)),
    attend_q4: entry!(|queries, head, _hint| neon::attend_q4(queries, head)),
    peaks: &NEON_PEAKS,
    // NEON belongs to every aarch64 CPU, so that plain Rust is compiled for it.
    ..SCALAR
};

#[cfg(target_arch = "aarch64")]
static DOTPROD_PEAKS: Peaks =
    Peaks { floats: entry!(neon::f32_peak(rounds)), quantized: entry!(dotprod::int8_peak(rounds)) };

#[cfg(target_arch = "aarch64")]
static DOTPROD: Kernels = Kernels {
    name: "dotprod",
    products: NEON
        .products
        .with(Dtype::Int8, entry!(groups: dotprod::int8_matvec, int8_matmul))
        .with(Dtype::Q4, entry!(planes: dotprod, Dtype::Q4, 4, BYTES))
        .with(Dtype::Q5, entry!(planes: dotprod, Dtype::Q5, 5, BYTES))
        .with(Dtype::Q6, entry!(planes: dotprod, Dtype::Q6, 6, BYTES))
        .with(Dtype::T2, entry!(ternary: dotprod))
        .with(Dtype::Q4h, entry!(planes: dotprod, Dtype::Q4h, 4, HALVES))
        .with(Dtype::Q4m, entry!(planes: dotprod, Dtype::Q4m, 4, OFFSETS))
        .with(Dtype::Q5h, entry!(planes: dotprod, Dtype::Q5h, 5, HALVES))
        .with(Dtype::Q5m, entry!(planes: dotprod, Dtype::Q5m, 5, OFFSETS)),
    attend_int8: entry!(|queries, head, _hint| dotprod::attend_int8(queries, head)),
    attend_q4: entry!(|queries, head, _hint| dotprod::attend_q4(queries, head)),
    peaks: &DOTPROD_PEAKS,
    ..NEON
};

#[cfg(target_arch = "aarch64")]
static I8MM_PEAKS: Peaks = Peaks { floats: entry!(neon::f32_peak(rounds)), quantized: entry!(i8mm::int8_peak(rounds)) };

#[cfg(target_arch = "aarch64")]
static I8MM: Kernels = Kernels {
    name: "i8mm",
    // With one token there is no matrix to multiply with: its product is dotprod's.
    products: DOTPROD
        .products
        .with_matmul(Dtype::Int8, entry!(|panel, x, _hint, out| i8mm::int8_matmul(panel, x.cols, x.groups, out))),
    peaks: &I8MM_PEAKS,
    ..DOTPROD
};

/// The backends of this architecture, from the plainest to the best.
#[cfg(target_arch = "aarch64")]
pub(super) static BACKENDS: &[Backend] = &[
    Backend { kernels: &SCALAR, by_itself: true, features: &[] },
    Backend { kernels: &NEON, by_itself: true, features: &[("neon", || is_aarch64_feature_detected!("neon"))] },
    Backend {
        kernels: &DOTPROD,
        by_itself: true,
        features: &[
            ("neon", || is_aarch64_feature_detected!("neon")),
            ("dotprod", || is_aarch64_feature_detected!("dotprod")),
        ],
    },
    Backend {
        kernels: &I8MM,
        by_itself: true,
        features: &[
            ("neon", || is_aarch64_feature_detected!("neon")),
            ("dotprod", || is_aarch64_feature_detected!("dotprod")),
            ("i8mm", || is_aarch64_feature_detected!("i8mm")),
        ],
    },
];

#[cfg(all(target_arch = "arm", target_os = "linux"))]
static NEON32_PEAKS: Peaks = Peaks { floats: scalar::f32_peak, quantized: entry!(neon32::int8_peak(rounds)) };

#[cfg(all(target_arch = "arm", target_os = "linux"))]
static NEON32: Kernels = Kernels {
    name: "neon",
    products: SCALAR
        .products
        .with(Dtype::Int8, entry!(groups: neon32::int8_matvec, int8_matmul))
        .with(Dtype::Q4, entry!(planes: neon32, Dtype::Q4, 4, BYTES))
        .with(Dtype::Q5, entry!(planes: neon32, Dtype::Q5, 5, BYTES))
        .with(Dtype::Q6, entry!(planes: neon32, Dtype::Q6, 6, BYTES))
        .with(Dtype::T2, entry!(ternary: neon32))
        .with(Dtype::Q4h, entry!(planes: neon32, Dtype::Q4h, 4, HALVES))
        .with(Dtype::Q4m, entry!(planes: neon32, Dtype::Q4m, 4, OFFSETS))
        .with(Dtype::Q5h, entry!(planes: neon32, Dtype::Q5h, 5, HALVES))
        .with(Dtype::Q5m, entry!(planes: neon32, Dtype::Q5m, 5, OFFSETS)),
    attend_int8: entry!(|queries, head, _hint| neon32::attend_int8(queries, head)),
    attend_q4: entry!(|queries, head, _hint| neon32::attend_q4(queries, head)),
    peaks: &NEON32_PEAKS,
    ..SCALAR
};

/// Whether the kernel says that the CPU has NEON; `std` cannot be asked on stable.
#[cfg(all(target_arch = "arm", target_os = "linux", feature = "std"))]
fn has_neon() -> bool {
    const HWCAP_NEON: libc::c_ulong = 1 << 12;
    // SAFETY: the function reads a vector that the kernel made at start, and gives 0 for what is not in it.
    unsafe { libc::getauxval(libc::AT_HWCAP) & HWCAP_NEON != 0 }
}

#[cfg(all(target_arch = "arm", target_os = "linux", not(feature = "std")))]
fn has_neon() -> bool {
    cfg!(target_feature = "neon")
}

/// The backends of this architecture, from the plainest to the best.
#[cfg(all(target_arch = "arm", target_os = "linux"))]
pub(super) static BACKENDS: &[Backend] = &[
    Backend { kernels: &SCALAR, by_itself: true, features: &[] },
    Backend { kernels: &NEON32, by_itself: true, features: &[("neon", has_neon)] },
];

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
static SIMD128_PEAKS: Peaks = Peaks { floats: scalar::f32_peak, quantized: simd128::int8_peak };

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
static SIMD128: Kernels = Kernels {
    name: "simd128",
    quantize: simd128::quantize,
    products: SCALAR
        .products
        .with(Dtype::Int8, products::<Int8>())
        .with(Dtype::Q4, products::<Levels<{ Dtype::Q4 as usize }, { planes::BYTES }>>())
        .with(Dtype::Q5, products::<Integers<{ Dtype::Q5 as usize }, { group_bytes(5) }, { planes::BYTES }>>())
        .with(Dtype::Q6, products::<Integers<{ Dtype::Q6 as usize }, { group_bytes(6) }, { planes::BYTES }>>())
        .with(Dtype::T2, products::<Ternary>())
        .with(Dtype::Q4h, products::<Levels<{ Dtype::Q4h as usize }, { planes::HALVES }>>())
        .with(Dtype::Q4m, products::<Levels<{ Dtype::Q4m as usize }, { planes::OFFSETS }>>())
        .with(Dtype::Q5h, products::<Integers<{ Dtype::Q5h as usize }, { group_bytes(5) }, { planes::HALVES }>>())
        .with(Dtype::Q5m, products::<Integers<{ Dtype::Q5m as usize }, { group_bytes(5) }, { planes::OFFSETS }>>()),
    attend_f16: |queries, head, _hint| simd128::attend_f16(queries, head),
    attend_f32: |queries, head, _hint| simd128::attend_f32(queries, head),
    attend_int8: |queries, head, _hint| simd128::attend_int8(queries, head),
    attend_q4: |queries, head, _hint| simd128::attend_q4(queries, head),
    peaks: &SIMD128_PEAKS,
    ..SCALAR
};

/// The backends of this architecture, from the plainest to the best.
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
pub(super) static BACKENDS: &[Backend] = &[
    Backend { kernels: &SCALAR, by_itself: true, features: &[] },
    Backend { kernels: &SIMD128, by_itself: true, features: &[("simd128", || cfg!(target_feature = "simd128"))] },
];

/// The backends of this architecture, from the plainest to the best.
#[cfg(not(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    all(target_arch = "arm", target_os = "linux"),
    all(target_arch = "wasm32", target_feature = "simd128")
)))]
pub(super) static BACKENDS: &[Backend] = &[Backend { kernels: &SCALAR, by_itself: true, features: &[] }];

/// The backends of every architecture but scalar, with the architecture.
const EVERYWHERE: &[(&str, &str)] = &[
    ("avx2", "x86-64"),
    ("avxvnni", "x86-64"),
    ("avx512", "x86-64"),
    ("amx", "x86-64"),
    ("neon", "aarch64 or arm"),
    ("dotprod", "aarch64"),
    ("i8mm", "aarch64"),
    ("simd128", "wasm32 with simd128"),
];

/// The backends that this architecture does not have, with theirs.
pub(super) fn elsewhere() -> impl Iterator<Item = (&'static str, &'static str)> {
    let here = |name| BACKENDS.iter().any(|backend| backend.kernels.name == name);
    EVERYWHERE.iter().copied().filter(move |(name, _)| !here(*name))
}
