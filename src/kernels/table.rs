//! The tables of functions, what each needs of the CPU, and the only calls into code that needs it.
#![allow(unsafe_code)]

use super::{Kernels, scalar};

/// A backend and the CPU features without which it must not run.
pub(super) struct Backend {
    pub(super) kernels: &'static Kernels,
    features: &'static [Feature],
}

/// A CPU feature by name and the test for it.
type Feature = (&'static str, fn() -> bool);

impl Backend {
    /// Names of all features needed.
    pub(super) fn needed(&self) -> Vec<&'static str> {
        self.features.iter().map(|(name, _)| *name).collect()
    }

    /// Names of the features needed that this CPU has.
    pub(super) fn found(&self) -> impl Iterator<Item = &'static str> {
        self.features.iter().filter(|(_, has)| has()).map(|(name, _)| *name)
    }

    /// Names of the features needed that this CPU lacks.
    pub(super) fn missing(&self) -> impl Iterator<Item = &'static str> {
        self.features.iter().filter(|(_, has)| !has()).map(|(name, _)| *name)
    }
}

pub(super) static SCALAR: Kernels = Kernels {
    name: "scalar",
    quantize: scalar::quantize,
    int8_matvec: scalar::int8_matvec,
    int8_matmul: scalar::int8_matmul,
    f16_matvec: scalar::f16_matvec,
    f16_matmul: scalar::f16_matmul,
    f32_matvec: scalar::f32_matvec,
    f32_matmul: scalar::f32_matmul,
    attend_f16: scalar::attend_f16,
    attend_f32: scalar::attend_f32,
};

/// The backends of this architecture, from the plainest to the best.
pub(super) static BACKENDS: &[Backend] = &[Backend { kernels: &SCALAR, features: &[] }];

/// The backends of other architectures.
pub(super) const ELSEWHERE: &[(&str, &str)] = &[];
