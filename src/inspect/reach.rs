//! What a model can reach at most on a machine: the roofline of a token (Williams, Waterman and Patterson 2009, "Roofline:
//! an insightful visual performance model for multicore architectures").

use super::{Costs, MachineLimits};

/// What bounds a decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// Every token reads the weights from memory.
    Memory,
    /// Every token multiplies with all weights.
    Products,
    /// Every token reads what memory does not hold from storage.
    Storage,
}

/// Tokens a second that the machine's limits allow, and no program can exceed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reach {
    /// Of a decode with an empty cache.
    pub decode: f64,
    /// What bounds it.
    pub bound: Bound,
    /// Of a prompt, where products are the bound.
    pub prefill: f64,
}

impl Reach {
    /// By the measured `limits` of some threads. Of weights that memory does not hold, `missing` holds the bytes, and the
    /// bytes a second that storage delivers.
    pub fn new(costs: &Costs, limits: MachineLimits, missing: Option<(u64, f64)>) -> Reach {
        let products = limits.products(costs.dtype().format().inputs);
        let (bytes, macs) = (costs.weight_bytes() as f64, costs.prefill_macs(1) as f64);
        let prompt_macs = (costs.prefill_macs(2) - costs.prefill_macs(1)) as f64;
        let bounds = [(Bound::Memory, limits.read / bytes), (Bound::Products, products / macs)];
        let stored = missing.map(|(missing, read)| (Bound::Storage, read / (missing as f64).min(bytes)));
        let least = |a: (Bound, f64), b: (Bound, f64)| if b.1 < a.1 { b } else { a };
        let (bound, decode) = bounds.into_iter().chain(stored).fold((Bound::Memory, f64::INFINITY), least);
        Reach { decode, bound, prefill: products / prompt_macs }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Model;

    #[test]
    fn the_least_limit_bounds() {
        let Some(bytes) = crate::default_model() else { return };
        let model = Model::open(bytes).expect("the story model");
        let costs = Costs::new(&model);
        let (bytes, macs) = (costs.weight_bytes() as f64, costs.prefill_macs(1) as f64);
        let limits = MachineLimits { read: 10.0 * bytes, int8: 20.0 * macs, f32: 1.0 };
        let reach = Reach::new(&costs, limits, None);
        assert_eq!((reach.decode, reach.bound), (10.0, Bound::Memory));
        assert!(reach.prefill > 20.0, "a token of a prompt has no unembedding");
        let reach = Reach::new(&costs, MachineLimits { read: 30.0 * bytes, ..limits }, None);
        assert_eq!((reach.decode, reach.bound), (20.0, Bound::Products));
        let reach = Reach::new(&costs, limits, Some((u64::MAX, 0.5 * bytes)));
        assert_eq!((reach.decode, reach.bound), (0.5, Bound::Storage));
        let reach = Reach::new(&costs, limits, Some((costs.weight_bytes() / 2, 0.5 * bytes)));
        assert!((0.99..1.01).contains(&reach.decode), "half of it is in memory");
    }
}
