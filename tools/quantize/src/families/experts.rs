//! What families with experts share.

use whit::error::Result;
use whit::model::{Config, Experts, Routing, Scores};

/// Experts, none yet, of which a token uses `n_active` by their softmax.
pub(super) const fn softmax(n_active: usize, normalized: bool) -> Experts {
    let routing = Routing { n_active, scores: Scores::Softmax, normalized, scale: 1.0 };
    Experts { n_experts: 0, routing, bias: false, shared: None }
}

/// Gives every layer these experts, of the width of its MLP.
pub(super) fn mix(config: &mut Config, experts: Experts) -> Result<()> {
    mix_some(config, experts, None, |_| true)
}

/// Gives those layers that `mixes` names these experts, of the width `hidden_dim` or that of its MLP.
pub(super) fn mix_some(
    config: &mut Config,
    experts: Experts,
    hidden_dim: Option<usize>,
    mixes: impl Fn(usize) -> bool,
) -> Result<()> {
    for (_, layer) in config.layers.iter_mut().enumerate().filter(|(i, _)| mixes(*i)) {
        layer.mlp.experts = Some(experts.clone());
        layer.mlp.hidden_dim = hidden_dim.unwrap_or(layer.mlp.hidden_dim);
    }
    config.check()
}
