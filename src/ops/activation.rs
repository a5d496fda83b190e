//! The nonlinear parts of a feed-forward block, and the residual sum.

use super::math;

/// `gate[i] = silu(gate[i]) * up[i]`, both (T, hidden_dim).
pub fn swiglu(gate: &mut [f32], up: &[f32]) {
    assert_eq!(gate.len(), up.len(), "gate and up");
    for (g, &u) in gate.iter_mut().zip(up) {
        *g = math::silu(*g) * u;
    }
}

/// `x[i] = gelu(x[i])` by the tanh form, (T, hidden_dim).
pub fn gelu_tanh(x: &mut [f32]) {
    for v in x {
        *v = math::gelu_tanh(*v);
    }
}

/// `x[i] += y[i]`, both (T, dim).
pub fn add(x: &mut [f32], y: &[f32]) {
    assert_eq!(x.len(), y.len(), "the two terms of a sum");
    for (x, &y) in x.iter_mut().zip(y) {
        *x += y;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swiglu_gates_and_add_adds() {
        let mut gate = [0.0, 1.0, -1.0];
        swiglu(&mut gate, &[5.0, 2.0, 4.0]);
        for (got, want) in gate.iter().zip([0.0, 2.0 * 0.731_058_6, -4.0 * 0.268_941_43]) {
            assert!((got - want).abs() < 1e-6, "{got} for {want}");
        }
        add(&mut gate, &[1.0, 0.0, 0.0]);
        assert_eq!(gate[0], 1.0);
    }
}
