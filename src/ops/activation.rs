//! Functions of single elements, and the sum of two rows.

use crate::compute::Compute;
use crate::kernels::Activation;

/// Elements below which a part is not worth a thread: some microseconds of work.
const MIN_ELEMENTS: usize = 1 << 13;
/// The elements of a part are a multiple of this.
const UNIT: usize = 64;

/// `x[i] = activation(x[i])`, (T, hidden_dim).
pub fn activate(compute: &Compute, activation: Activation, x: &mut [f32]) {
    if x.is_empty() {
        return;
    }
    let width = x.len();
    compute.threads.run_columns(x, width, UNIT, MIN_ELEMENTS / UNIT, &|_, mut columns| {
        (compute.kernels.activate)(activation, columns.row(0));
    });
}

/// `x[i] = cap * tanh(x[i] / cap)`, (T, vocab_size).
pub fn soft_cap(compute: &Compute, cap: f32, x: &mut [f32]) {
    if x.is_empty() {
        return;
    }
    let width = x.len();
    compute.threads.run_columns(x, width, UNIT, MIN_ELEMENTS / UNIT, &|_, mut columns| {
        (compute.kernels.soft_cap)(columns.row(0), cap);
    });
}

/// `gate[i] = activation(gate[i]) * x[i]`, both (T, width).
pub fn gated(compute: &Compute, activation: Activation, gate: &mut [f32], x: &[f32]) {
    assert_eq!(gate.len(), x.len(), "a gate for each element");
    if gate.is_empty() {
        return;
    }
    let width = gate.len();
    compute.threads.run_columns(gate, width, UNIT, MIN_ELEMENTS / UNIT, &|units, mut columns| {
        let gate = columns.row(0);
        let x = &x[units.start * UNIT..][..gate.len()];
        (compute.kernels.gate)(activation, gate, x);
    });
}

/// `x[i] += y[i]`, both (T, dim).
pub fn add(compute: &Compute, x: &mut [f32], y: &[f32]) {
    assert_eq!(x.len(), y.len(), "the two terms of a sum");
    (compute.kernels.add)(x, y);
}

/// `x[i] *= factor`, (T, dim).
pub fn scale(x: &mut [f32], factor: f32) {
    x.iter_mut().for_each(|x| *x *= factor);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels;

    #[test]
    fn add_adds_and_gelu_bends() {
        let compute = Compute::new(kernels::detect(), 2).expect("threads");
        let mut x = [1.0, 2.0, -3.0];
        add(&compute, &mut x, &[1.0, 0.0, 3.0]);
        assert_eq!(x, [2.0, 2.0, 0.0]);
        activate(&compute, Activation::GeluTanh, &mut x);
        assert!((x[0] - 1.9545977).abs() < 1e-6 && x[2] == 0.0, "{x:?}");
        scale(&mut x, -0.5);
        assert!((x[0] + 0.97729886).abs() < 1e-6 && x[2] == 0.0, "{x:?}");
    }
}
