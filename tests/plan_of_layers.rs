//! Plans whose layers differ compute what they say: against a naive forward pass in f64, written from the formulas alone.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use support::{Folder, TinyModel};
use whit::kernels;
use whit::model::{
    Activation, Attention, BranchNorms, Config, DeltaNet, Experts, Gate, HeadNorm, Layer, Mamba1, Mamba2, Mixer, Mlp,
    MlpKind, NormKind, QkNorm, Routing, ScanNorm, Scores, SharedExpert, ShortConv,
};
use whit::ops::KvDtype;
use whit::quant::Dtype;
use whit::{Compute, Model, Session, SessionOptions};

/// The network by its formulas.
struct Twin<'m> {
    model: &'m Model,
    config: &'m Config,
}

/// What stands beside the residual stream in a pass.
#[derive(Default)]
struct Beside {
    /// Of each token: what each block is told of it once more, (n_layers * width).
    inputs: Vec<Vec<f64>>,
    /// Keys and values of all positions by block.
    kv: BTreeMap<usize, [Vec<Vec<f64>>; 2]>,
}

impl Twin<'_> {
    /// `w x + b` by the tensors `name` and, where there is one, `name.bias`.
    fn linear(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let matrix = self.model.file().matrix(name).expect("a matrix");
        let bias = self.model.file().tensor(&format!("{name}.bias")).map(|_| self.vector(&format!("{name}.bias")));
        let mut row = vec![0.0; matrix.cols()];
        (0..matrix.rows())
            .map(|r| {
                matrix.read_row(r, &mut row);
                let product: f64 = row.iter().zip(x).map(|(w, x)| f64::from(*w) * x).sum();
                product + bias.as_ref().map_or(0.0, |bias| bias[r])
            })
            .collect()
    }

    fn vector(&self, name: &str) -> Vec<f64> {
        self.model.file().vector(name).expect("a vector").iter().map(|v| f64::from(*v)).collect()
    }

    fn norm(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let (eps, weight) = (f64::from(self.config.norm_eps), self.vector(name));
        match self.config.norm {
            NormKind::Rms => rms_norm(x, &weight, eps),
            NormKind::Layer => layer_norm(x, &weight, &self.vector(&format!("{name}.bias")), eps),
        }
    }

    /// The logits after the last of `tokens`.
    fn logits(&self, tokens: &[u32]) -> Vec<f64> {
        let embedding = self.model.embedding();
        let mut xs: Vec<Vec<f64>> = tokens
            .iter()
            .enumerate()
            .map(|(position, token)| {
                let mut row = vec![0.0; self.config.dim];
                embedding.read_row(*token as usize, &mut row);
                let mut x: Vec<f64> = row.iter().map(|v| f64::from(*v)).collect();
                if self.config.learned_positions {
                    self.model.file().matrix("positions").expect("positions").read_row(position, &mut row);
                    x.iter_mut().zip(&row).for_each(|(x, p)| *x += f64::from(*p));
                }
                match self.config.embedding_norm {
                    true => self.norm("embedding_norm", &x),
                    false => x,
                }
            })
            .collect();
        let mut beside = Beside { inputs: self.layer_inputs(tokens, &xs), ..Beside::default() };
        for (i, layer) in self.config.layers.iter().enumerate() {
            self.block(i, layer, &mut xs, &mut beside);
        }
        let last = self.norm("final_norm", xs.last().expect("a token"));
        let logits = self.linear(if self.config.tied { "embedding" } else { "unembedding" }, &last);
        logits.into_iter().map(|logit| capped(self.config.logit_cap, logit)).collect()
    }

    /// What each block is told of `tokens` once more, whose rows `xs` enter the first.
    fn layer_inputs(&self, tokens: &[u32], xs: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let Some(width) = self.config.layer_inputs else { return Vec::new() };
        let (norm, table) =
            (self.vector("layer_input_norm"), self.model.file().matrix("layer_embedding").expect("rows"));
        let mut row = vec![0.0; table.cols()];
        let token = |(token, x): (&u32, &Vec<f64>)| {
            let made = self.linear("layer_projection", x);
            let made = made.chunks(width).flat_map(|own| rms_norm(own, &norm, f64::from(self.config.norm_eps)));
            table.read_row(*token as usize, &mut row);
            made.zip(&row).map(|(made, row)| made + f64::from(*row)).collect()
        };
        tokens.iter().zip(xs).map(token).collect()
    }

    /// What comes after both branches of block `i`.
    fn finish(&self, i: usize, layer: &Layer, xs: &mut [Vec<f64>], inputs: &[Vec<f64>]) {
        let name = |part: &str| format!("blocks.{i}.{part}");
        for (t, x) in xs.iter_mut().enumerate() {
            if let Some(width) = self.config.layer_inputs {
                let own = &inputs[t][i * width..(i + 1) * width];
                let gate = self.linear(&name("layer_gate"), x);
                let own: Vec<f64> =
                    gate.iter().zip(own).map(|(g, own)| activated(layer.mlp.kind.activation, *g) * own).collect();
                let output = self.norm(&name("layer_out_norm"), &self.linear(&name("layer_out"), &own));
                x.iter_mut().zip(output).for_each(|(x, y)| *x += y);
            }
            if layer.scaled {
                let factor = self.vector(&name("layer_scale"))[0];
                x.iter_mut().for_each(|x| *x *= factor);
            }
        }
    }

    fn block(&self, i: usize, layer: &Layer, xs: &mut [Vec<f64>], beside: &mut Beside) {
        let name = |part: &str| format!("blocks.{i}.{part}");
        let normed = |wanted: bool, part: &str, x: &[f64]| match wanted {
            true => self.norm(&name(part), x),
            false => x.to_vec(),
        };
        let before = xs.to_vec();
        let inputs: Vec<Vec<f64>> = xs.iter().map(|x| normed(layer.mixer_norms.input, "attn_norm", x)).collect();
        let outputs = layer.mixers().map(|mixer| match mixer {
            Mixer::Attention(a) => self.attention(i, a, &inputs, beside),
            Mixer::ShortConv(conv) => self.short_conv(i, conv, &inputs),
            Mixer::DeltaNet(delta) => self.delta_net(i, delta, &inputs),
            Mixer::Mamba2(mamba) => self.mamba2(i, mamba, &inputs),
            Mixer::Mamba1(mamba) => self.mamba1(i, mamba, &inputs),
        });
        for outputs in outputs {
            for (x, output) in xs.iter_mut().zip(outputs) {
                let output = normed(layer.mixer_norms.output, "o_norm", &output);
                x.iter_mut().zip(output).for_each(|(x, y)| *x += y);
            }
        }
        let has_mlp = layer.mlp.hidden_dim > 0;
        for (x, before) in xs.iter_mut().zip(&before).filter(|_| has_mlp) {
            let input = normed(layer.mlp_norms.input, "mlp_norm", if layer.parallel { before } else { x });
            let output = match &layer.mlp.experts {
                None => {
                    let norm = layer.mlp.inner_norm.then(|| self.vector(&name("hidden_norm")));
                    self.mlp(layer.mlp.kind, norm, ["gate", "up", "down"].map(&name), &input)
                }
                Some(experts) => self.experts(layer.mlp.kind, experts, &name, &input),
            };
            let output = normed(layer.mlp_norms.output, "down_norm", &output);
            x.iter_mut().zip(output).for_each(|(x, y)| *x += y);
        }
        self.finish(i, layer, xs, &beside.inputs);
    }

    /// What the attention of block `i` makes of the `inputs` of all positions.
    fn attention(&self, i: usize, a: &Attention, inputs: &[Vec<f64>], beside: &mut Beside) -> Vec<Vec<f64>> {
        let name = |part: &str| format!("blocks.{i}.{part}");
        let heads = |part: &str, norm: &str| -> Vec<Vec<f64>> {
            let normed = |y: &mut [f64], after_rotation: bool| {
                let Some(kind) = a.qk_norm.filter(|kind| kind.after_rotation == after_rotation) else { return };
                let (weight, eps) = (self.vector(&name(norm)), f64::from(self.config.norm_eps));
                let width = if kind.kind == HeadNorm::All { y.len() } else { a.head_dim };
                for (i, y) in y.chunks_exact_mut(width).enumerate() {
                    let own = i * width..(i + 1) * width;
                    let normed = match kind.kind {
                        HeadNorm::Each | HeadNorm::All => rms_norm(y, &weight, eps),
                        HeadNorm::LayerOfEach => {
                            let bias = self.vector(&name(&format!("{norm}.bias")));
                            layer_norm(y, &weight[own.clone()], &bias[own], eps)
                        }
                    };
                    y.copy_from_slice(&normed);
                }
            };
            let turned = |(position, x): (usize, &Vec<f64>)| {
                let mut y = self.linear(&name(part), x);
                normed(&mut y, false);
                y.chunks_exact_mut(a.head_dim).for_each(|head| self.turn(a, position, head));
                normed(&mut y, true);
                y
            };
            inputs.iter().enumerate().map(turned).collect()
        };
        let qs = heads("q", "q_norm");
        if a.shares.is_none() {
            let value = |x: &Vec<f64>| {
                let v = self.linear(&name("v"), x);
                let normed = |v: &[f64]| match a.v_norm {
                    true => rms_norm(v, &self.vector(&name("v_norm")), f64::from(self.config.norm_eps)),
                    false => v.to_vec(),
                };
                v.chunks(a.head_dim).flat_map(normed).collect()
            };
            beside.kv.insert(i, [heads("k", "k_norm"), inputs.iter().map(value).collect()]);
        }
        let [ks, vs] = &beside.kv[&a.shares.unwrap_or(i)];
        let mut outputs = Vec::new();
        for (t, q) in qs.iter().enumerate() {
            let mut attended = Vec::new();
            for (head, q) in q.chunks_exact(a.head_dim).enumerate() {
                let kv = a.kv_head(head) * a.head_dim..(a.kv_head(head) + 1) * a.head_dim;
                let first = a.window.map_or(0, |window| (t + 1).saturating_sub(window));
                let score = |j: usize| -> f64 {
                    let dot: f64 = q.iter().zip(&ks[j][kv.clone()]).map(|(q, k)| q * k).sum();
                    let slope = a.slopes.get(head).copied().map_or(0.0, f64::from);
                    capped(a.cap, dot / (a.head_dim as f64).sqrt()) - slope * (t - j) as f64
                };
                let scores: Vec<f64> = (first..=t).map(score).collect();
                let sink = a.sinks.then(|| self.vector(&name("sinks"))[head]);
                let largest = scores.iter().copied().chain(sink).fold(f64::NEG_INFINITY, f64::max);
                let scores: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
                let mass = scores.iter().sum::<f64>() + sink.map_or(0.0, |sink| (sink - largest).exp());
                attended.extend(kv.map(|d| (first..=t).zip(&scores).map(|(j, s)| s / mass * vs[j][d]).sum::<f64>()));
            }
            if let Some(gate) = a.gate {
                let gates = self.linear(&name("o_gate"), &inputs[t]);
                for (i, y) in attended.iter_mut().enumerate() {
                    *y /= 1.0 + (-gates[if gate == Gate::Heads { i / a.head_dim } else { i }]).exp();
                }
            }
            if a.inner_norm {
                attended = rms_norm(&attended, &self.vector(&name("heads_norm")), f64::from(self.config.norm_eps));
            }
            outputs.push(self.linear(&name("o"), &attended));
        }
        outputs
    }

    /// What the short convolution of block `i` makes of the `inputs` of all positions.
    fn short_conv(&self, i: usize, conv: &ShortConv, inputs: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let name = |part: &str| format!("blocks.{i}.{part}");
        let bch: Vec<Vec<f64>> = inputs.iter().map(|x| self.linear(&name("conv_in"), x)).collect();
        let n = conv.channels;
        let kernel = self.model.file().matrix(&name("conv")).expect("a matrix");
        let mut weights = vec![0.0; conv.width];
        let mut outputs: Vec<Vec<f64>> = vec![vec![0.0; n]; inputs.len()];
        for channel in 0..n {
            kernel.read_row(channel, &mut weights);
            for (t, output) in outputs.iter_mut().enumerate() {
                let taps =
                    weights.iter().enumerate().filter_map(|(j, w)| Some((w, (t + j + 1).checked_sub(conv.width)?)));
                let y: f64 = taps.map(|(w, at)| f64::from(*w) * bch[at][channel] * bch[at][2 * n + channel]).sum();
                let bias = if conv.bias { self.vector(&name("conv.bias"))[channel] } else { 0.0 };
                output[channel] = bch[t][n + channel] * (y + bias);
            }
        }
        outputs.iter().map(|output| self.linear(&name("conv_out"), output)).collect()
    }

    /// What the delta net of block `i` makes of the `inputs` of all positions.
    fn delta_net(&self, i: usize, delta: &DeltaNet, inputs: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let name = |part: &str| format!("blocks.{i}.{part}");
        let qkv: Vec<Vec<f64>> = inputs.iter().map(|x| self.linear(&name("delta_qkv"), x)).collect();
        let mixed = self.convolved(i, &qkv);
        let (rates, norm) = (self.vector(&name("delta_rate")), self.vector(&name("delta_norm")));
        let (dk, dv) = (delta.key_dim, delta.value_dim);
        let mut states = vec![vec![vec![0.0; dv]; dk]; delta.n_heads];
        let unit = |x: &[f64]| -> Vec<f64> {
            let length = (x.iter().map(|x| x * x).sum::<f64>() + 1e-6).sqrt();
            x.iter().map(|x| x / length).collect()
        };
        let token = |(t, x): (usize, &Vec<f64>)| {
            let mixed = &mixed[t];
            let gate = self.linear(&name("delta_gate"), x);
            let strength = self.linear(&name("delta_strength"), x);
            let decay = self.linear(&name("delta_decay"), x);
            let mut given = Vec::new();
            for (head, state) in states.iter_mut().enumerate() {
                let key_head = head / (delta.n_heads / delta.n_key_heads);
                let q = unit(&mixed[key_head * dk..][..dk]);
                let k = unit(&mixed[(delta.n_key_heads + key_head) * dk..][..dk]);
                let v = &mixed[2 * delta.n_key_heads * dk + head * dv..][..dv];
                let kept = (-rates[head].exp() * (1.0 + decay[head].exp()).ln()).exp();
                let beta = 1.0 / (1.0 + (-strength[head]).exp());
                state.iter_mut().flatten().for_each(|s| *s *= kept);
                let found = |x: &[f64], state: &[Vec<f64>]| -> Vec<f64> {
                    (0..dv).map(|j| x.iter().zip(state).map(|(x, row)| x * row[j]).sum()).collect()
                };
                let before = found(&k, state);
                for (row, k) in state.iter_mut().zip(&k) {
                    row.iter_mut().zip(v).zip(&before).for_each(|((s, v), before)| *s += k * beta * (v - before));
                }
                let q: Vec<f64> = q.iter().map(|q| q / (dk as f64).sqrt()).collect();
                let normed = rms_norm(&found(&q, state), &norm, f64::from(self.config.norm_eps));
                given.extend(normed.iter().zip(&gate[head * dv..]).map(|(y, gate)| y * silu(*gate)));
            }
            self.linear(&name("delta_out"), &given)
        };
        inputs.iter().enumerate().map(token).collect()
    }

    /// The silu of what the kernel of block `i` makes of its inputs at all positions.
    fn convolved(&self, i: usize, inputs: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let name = format!("blocks.{i}.conv");
        let kernel = self.model.file().matrix(&name).expect("a matrix");
        let bias = self.model.file().tensor(&format!("{name}.bias")).map(|_| self.vector(&format!("{name}.bias")));
        let mut weights = vec![0.0; kernel.cols()];
        let mut outputs = vec![vec![0.0; kernel.rows()]; inputs.len()];
        for channel in 0..kernel.rows() {
            kernel.read_row(channel, &mut weights);
            for (t, output) in outputs.iter_mut().enumerate() {
                let taps = weights.iter().enumerate();
                let taps = taps.filter_map(|(j, w)| Some((w, (t + j + 1).checked_sub(weights.len())?)));
                let sum: f64 = taps.map(|(w, at)| f64::from(*w) * inputs[at][channel]).sum();
                output[channel] = silu(sum + bias.as_ref().map_or(0.0, |bias| bias[channel]));
            }
        }
        outputs
    }

    /// What the Mamba 2 of block `i` makes of the `inputs` of all positions.
    fn mamba2(&self, i: usize, mamba: &Mamba2, inputs: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let name = |part: &str| format!("blocks.{i}.{part}");
        let inner: Vec<Vec<f64>> = inputs.iter().map(|x| self.linear(&name("scan_in"), x)).collect();
        let mixed = self.convolved(i, &inner);
        let (rates, skips) = (self.vector(&name("scan_rate")), self.vector(&name("scan_skip")));
        let (p, n, eps) = (mamba.head_dim, mamba.state_dim, f64::from(self.config.norm_eps));
        let mut states = vec![vec![vec![0.0; n]; p]; mamba.n_heads];
        let normed = |y: Vec<f64>, kind: ScanNorm| -> Vec<f64> {
            let weight = self.vector(&name("scan_norm"));
            let group = y.len() / kind.n_groups;
            y.chunks(group).zip(weight.chunks(group)).flat_map(|(y, w)| rms_norm(y, w, eps)).collect()
        };
        let token = |(t, x): (usize, &Vec<f64>)| {
            let (xs, rest) = mixed[t].split_at(mamba.n_heads * p);
            let (bs, cs) = rest.split_at(mamba.n_groups * n);
            let steps = self.linear(&name("scan_step"), x);
            let mut given = Vec::new();
            for (head, state) in states.iter_mut().enumerate() {
                let group = head / (mamba.n_heads / mamba.n_groups) * n;
                let [low, high] = mamba.step_limits.map_or([0.0, f64::INFINITY], |limits| limits.map(f64::from));
                let step = (1.0 + steps[head].exp()).ln().clamp(low, high);
                for (state, x) in state.iter_mut().zip(&xs[head * p..]) {
                    for (s, b) in state.iter_mut().zip(&bs[group..]) {
                        *s = *s * (step * rates[head]).exp() + step * x * b;
                    }
                    given.push(state.iter().zip(&cs[group..]).map(|(s, c)| s * c).sum::<f64>() + skips[head] * x);
                }
            }
            if let Some(kind) = mamba.norm.filter(|kind| kind.before_gate) {
                given = normed(given, kind);
            }
            let gate = self.linear(&name("scan_gate"), x);
            given.iter_mut().zip(gate).for_each(|(y, gate)| *y *= silu(gate));
            if let Some(kind) = mamba.norm.filter(|kind| !kind.before_gate) {
                given = normed(given, kind);
            }
            self.linear(&name("scan_out"), &given)
        };
        inputs.iter().enumerate().map(token).collect()
    }

    /// What the Mamba of block `i` makes of the `inputs` of all positions.
    fn mamba1(&self, i: usize, mamba: &Mamba1, inputs: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let name = |part: &str| format!("blocks.{i}.{part}");
        let inner: Vec<Vec<f64>> = inputs.iter().map(|x| self.linear(&name("scan_in"), x)).collect();
        let mixed = self.convolved(i, &inner);
        let rates = self.model.file().matrix(&name("scan_rate")).expect("a matrix");
        let skips = self.vector(&name("scan_skip"));
        let n = mamba.state_dim;
        let (mut states, mut row) = (vec![vec![0.0; n]; mamba.channels], vec![0.0; n]);
        let token = |(x, input): (&Vec<f64>, &Vec<f64>)| {
            let selected = self.linear(&name("scan_select"), x);
            let (bs, cs) = selected.split_at(n);
            let steps = self.linear(&name("scan_spread"), &self.linear(&name("scan_rank"), x));
            let gate = self.linear(&name("scan_gate"), input);
            let mut given = Vec::new();
            for (channel, state) in states.iter_mut().enumerate() {
                rates.read_row(channel, &mut row);
                let step = steps[channel].exp().ln_1p();
                for ((s, rate), b) in state.iter_mut().zip(&row).zip(bs) {
                    *s = *s * (step * f64::from(*rate)).exp() + step * x[channel] * b;
                }
                let found: f64 = state.iter().zip(cs).map(|(s, c)| s * c).sum();
                given.push((found + skips[channel] * x[channel]) * silu(gate[channel]));
            }
            self.linear(&name("scan_out"), &given)
        };
        mixed.iter().zip(inputs).map(token).collect()
    }

    /// What an MLP of these three tensors makes of `input`, with the weights of a norm before the last.
    fn mlp(&self, kind: MlpKind, norm: Option<Vec<f64>>, [gate, up, down]: [String; 3], input: &[f64]) -> Vec<f64> {
        let up = self.linear(&up, input);
        let mut hidden: Vec<f64> = match kind.gated {
            true => {
                let gate = self.linear(&gate, input);
                gate.iter().zip(&up).map(|(g, u)| activated(kind.activation, *g) * u).collect()
            }
            false => up.iter().map(|u| activated(kind.activation, *u)).collect(),
        };
        if let Some(norm) = norm {
            hidden = rms_norm(&hidden, &norm, f64::from(self.config.norm_eps));
        }
        self.linear(&down, &hidden)
    }

    /// What the experts of a block make of `input`.
    fn experts(&self, kind: MlpKind, experts: &Experts, name: &dyn Fn(&str) -> String, input: &[f64]) -> Vec<f64> {
        let scores = self.linear(&name("router"), input);
        let all: f64 = scores.iter().map(|score| score.exp()).sum();
        let score = |score: &f64| match experts.routing.scores {
            Scores::Softmax => score.exp() / all,
            Scores::Sigmoid => 1.0 / (1.0 + (-score).exp()),
        };
        let scores: Vec<f64> = scores.iter().map(score).collect();
        let bias = if experts.bias { self.vector(&name("router_bias")) } else { vec![0.0; scores.len()] };
        let mut ranked: Vec<usize> = (0..scores.len()).collect();
        ranked.sort_by(|a, b| (scores[*b] + bias[*b]).total_cmp(&(scores[*a] + bias[*a])));
        ranked.truncate(experts.routing.n_active);
        let chosen: f64 = ranked.iter().map(|expert| scores[*expert]).sum();
        let share = experts.routing.scale as f64 / if experts.routing.normalized { chosen } else { 1.0 };
        let mut output = vec![0.0; input.len()];
        let mut add = |weight: f64, y: Vec<f64>| output.iter_mut().zip(y).for_each(|(out, y)| *out += weight * y);
        for expert in ranked {
            let tensors = ["gate", "up", "down"].map(|part| name(&format!("experts.{expert}.{part}")));
            add(scores[expert] * share, self.mlp(kind, None, tensors, input));
        }
        if let Some(shared) = experts.shared {
            let weight =
                if shared.gate { 1.0 / (1.0 + (-self.linear(&name("shared_router"), input)[0]).exp()) } else { 1.0 };
            add(weight, self.mlp(kind, None, ["shared_gate", "shared_up", "shared_down"].map(name), input));
        }
        output
    }

    fn turn(&self, a: &Attention, position: usize, head: &mut [f64]) {
        let Some(table) = a.rotary else { return };
        let half = a.head_dim / 2;
        for (i, freq) in self.config.rotary_tables[table].iter().enumerate() {
            let (sin, cos) = (position as f64 * f64::from(*freq)).sin_cos();
            let (x, y) = (head[i], head[i + half]);
            (head[i], head[i + half]) = (x * cos - y * sin, x * sin + y * cos);
        }
    }
}

fn rms_norm(x: &[f64], weight: &[f64], eps: f64) -> Vec<f64> {
    let scale = (x.iter().map(|v| v * v).sum::<f64>() / x.len() as f64 + eps).sqrt();
    x.iter().zip(weight).map(|(v, w)| v / scale * w).collect()
}

fn layer_norm(x: &[f64], weight: &[f64], bias: &[f64], eps: f64) -> Vec<f64> {
    let n = x.len() as f64;
    let mean = x.iter().sum::<f64>() / n;
    let variance = x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
    let scale = (variance + eps).sqrt();
    x.iter().zip(weight).zip(bias).map(|((v, w), b)| (v - mean) / scale * w + b).collect()
}

fn silu(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

fn activated(activation: Activation, x: f64) -> f64 {
    let logistic = |x: f64| 1.0 / (1.0 + (-x).exp());
    match activation {
        Activation::GeluTanh => {
            0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())
        }
        Activation::Gelu => 0.5 * x * (1.0 + erf(x / 2f64.sqrt())),
        Activation::QuickGelu => x * logistic(1.702 * x),
        Activation::Relu => x.max(0.0),
        Activation::ReluSquared => x.max(0.0).powi(2),
        Activation::Silu => x * logistic(x),
        Activation::Tanh => x.tanh(),
        Activation::Sigmoid => logistic(x),
        Activation::SoftPlus => x.exp().ln_1p(),
    }
}

fn capped(cap: Option<f32>, x: f64) -> f64 {
    cap.map(f64::from).map_or(x, |cap| cap * (x / cap).tanh())
}

/// The error function, summed as its series; beyond 4 it is 1 to seven digits.
fn erf(x: f64) -> f64 {
    if x.abs() > 4.0 {
        return x.signum();
    }
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    2.0 / std::f64::consts::PI.sqrt() * sum
}

/// Layers of every kind, of which two do not attend.
fn with_convolutions(config: &mut Config) {
    different_layers(config);
    for (i, conv) in
        [(1, ShortConv { channels: 40, width: 3, bias: false }), (5, ShortConv { channels: 21, width: 5, bias: true })]
    {
        config.layers[i].mixer = Mixer::ShortConv(conv);
    }
}

/// Layers of every kind, of which two are delta nets.
fn with_delta_nets(config: &mut Config) {
    different_layers(config);
    for (i, delta) in [
        (1, DeltaNet { n_key_heads: 2, n_heads: 4, key_dim: 8, value_dim: 12, width: 4 }),
        (5, DeltaNet { n_key_heads: 1, n_heads: 1, key_dim: 5, value_dim: 35, width: 1 }),
    ] {
        config.layers[i].mixer = Mixer::DeltaNet(delta);
    }
}

/// Layers of every kind, each told of its token once more, of which some have normed values and two share those of others.
fn with_shared(config: &mut Config) {
    different_layers(config);
    config.layer_inputs = Some(9);
    for (i, layer) in config.layers.iter_mut().enumerate() {
        layer.scaled = i % 3 != 1;
        let a = layer.attention_mut().expect("attention");
        a.shares = [None, None, None, None, None, Some(2), Some(0)][i];
        a.v_norm = i % 2 == 0 && a.shares.is_none();
        a.window = a.window.filter(|_| i != 5);
    }
}

/// Layers of every kind, of which some have state spaces: in the place of attentions, of heads and of channels, beside them, and in
/// a block without an MLP.
fn with_state_spaces(config: &mut Config) {
    different_layers(config);
    let plain = Mamba2 {
        n_heads: 6,
        head_dim: 9,
        state_dim: 8,
        n_groups: 3,
        width: 4,
        conv_bias: true,
        step_limits: None,
        norm: Some(ScanNorm { n_groups: 2, before_gate: false }),
    };
    config.layers[1].mixer = Mixer::Mamba2(plain.clone());
    let limited = Mamba2 { n_groups: 1, norm: None, step_limits: Some([0.25, 1.5]), ..plain.clone() };
    config.layers[2].mixer = Mixer::Mamba2(Mamba2 { width: 1, head_dim: 35, ..limited.clone() });
    let layer = &mut config.layers[2];
    (layer.mlp, layer.mlp_norms, layer.parallel) = (Mlp::NONE, BranchNorms::NONE, false);
    for (i, channels, width) in [(0, 37, 4), (4, 16, 1)] {
        let channels = Mamba1 { channels, state_dim: 6 + i, step_rank: 3, width, conv_bias: i == 0 };
        config.layers[i].mixer = Mixer::Mamba1(channels);
    }
    config.rotary_tables.remove(1);
    let first = ScanNorm { n_groups: 1, before_gate: true };
    for (i, mamba) in [(3, Mamba2 { norm: Some(first), ..plain }), (5, Mamba2 { conv_bias: false, ..limited })] {
        config.layers[i].mixer_norms = BranchNorms::PRE;
        config.layers[i].beside = Some(Mixer::Mamba2(mamba));
    }
}

/// What a plan can say, layer by layer: windows, rotary tables of two kinds and none, norms of queries and keys, norms before,
/// after and on both sides of branches, other heads, other widths, all kinds of MLP, biases, caps, slopes, sinks, gates, branches
/// side by side.
fn different_layers(config: &mut Config) {
    config.family = "different".into();
    config.rotary_tables = vec![config.rotary_tables[0].clone(), vec![0.7, 0.2, 0.05]];
    for (i, layer) in config.layers.iter_mut().enumerate() {
        let norms = |bits: usize| BranchNorms { input: bits & 1 != 0, output: bits & 2 != 0 };
        (layer.mixer_norms, layer.mlp_norms) = (norms(1 + i % 3), norms(1 + (i + 1) % 3));
        (layer.mlp.hidden_dim, layer.mlp.bias) = (24 + 9 * i, i % 2 == 1);
        layer.mlp.kind = MlpKind::ALL[i % MlpKind::ALL.len()];
        layer.mlp.inner_norm = i % 4 == 2;
        layer.parallel = i % 3 == 1;
        let a = layer.attention_mut().expect("attention");
        a.window = (i % 2 == 1).then_some(5 + i);
        let turned = |kind| Some(QkNorm { kind, after_rotation: i % 2 == 0 });
        a.qk_norm = [Some(QkNorm::HEADS), turned(HeadNorm::LayerOfEach), turned(HeadNorm::All)][i % 3];
        a.qk_norm = a.qk_norm.filter(|_| i != 4);
        a.cap = (i % 4 == 1).then_some(0.5);
        a.gate = [None, Some(Gate::Elements), Some(Gate::Heads)][i % 3];
        a.sinks = i % 4 >= 2;
        (a.qkv_bias, a.output_bias) = (i % 2 == 0, i % 3 == 2);
        a.inner_norm = i % 4 >= 2;
        (a.rotary, a.head_dim, a.n_heads, a.n_kv_heads) = match i % 3 {
            0 => (Some(0), 10, 4, 2),
            1 => (Some(1), 6, 3, 1),
            _ => (None, 7, 2, 2),
        };
        a.slopes = if i % 4 == 2 { (0..a.n_heads).map(|head| 0.25 / (1 + head) as f32).collect() } else { Vec::new() };
    }
}

/// Layers of every kind, of which three have experts.
fn with_experts(config: &mut Config) {
    different_layers(config);
    let shared = |gate| Some(SharedExpert { hidden_dim: 17, gate });
    let routing = Routing { n_active: 2, scores: Scores::Softmax, normalized: false, scale: 1.0 };
    let plain = Experts { n_experts: 5, routing, bias: false, shared: None };
    let sigmoid = Routing { n_active: 3, scores: Scores::Sigmoid, normalized: true, scale: 1.5 };
    let all = [
        plain.clone(),
        Experts { routing: sigmoid, bias: true, shared: shared(false), ..plain.clone() },
        Experts { n_experts: 3, routing: Routing { normalized: true, ..routing }, shared: shared(true), ..plain },
    ];
    for (layer, experts) in config.layers[1..].iter_mut().step_by(2).zip(all) {
        layer.mlp =
            Mlp { hidden_dim: 12, kind: MlpKind::SWIGLU, bias: false, inner_norm: false, experts: Some(experts) };
    }
}

fn layer_norms(config: &mut Config) {
    different_layers(config);
    config.norm = NormKind::Layer;
    config.learned_positions = true;
    (config.embedding_norm, config.unembedding_bias, config.logit_cap) = (true, true, Some(1.5));
    let kinds = MlpKind::ALL.into_iter().rev();
    config.layers.iter_mut().zip(kinds).for_each(|(layer, kind)| layer.mlp.kind = kind);
}

#[test]
fn layers_of_every_kind_compute_their_formulas() {
    let folder = Folder::new("plan-of-layers");
    let plans = [
        ("rms", different_layers as fn(&mut Config)),
        ("layer", layer_norms),
        ("convolutions", with_convolutions),
        ("delta nets", with_delta_nets),
        ("state spaces", with_state_spaces),
        ("experts", with_experts),
        ("shared", with_shared),
    ];
    for (name, change) in plans {
        let mut tiny = TinyModel { change, dtype: Dtype::F32, ..TinyModel::llama() };
        (tiny.config.n_layers, tiny.config.tied) = (7, false);
        let model = tiny.open(&folder.path(name));
        assert_eq!(model.config(), &tiny.plan(), "the plan is read as it was written");
        let tokens: Vec<u32> = (0..45).map(|i| i * i * 5 % 256).collect();
        let twin = Twin { model: &model, config: model.config() };
        for n_threads in [1, 2] {
            let compute = Arc::new(Compute::new(kernels::detect(), n_threads).expect("threads"));
            let options =
                SessionOptions { context_length: 50, kv: KvDtype::F32, batch: 6, ..SessionOptions::default() };
            let mut session = Session::new(&model, &compute, options).expect("a session");
            for part in [&tokens[..1], &tokens[1..20], &tokens[20..21], &tokens[21..]] {
                let got = session.extend(part).expect("room").to_vec();
                let want = twin.logits(session.state().tokens());
                let largest = want.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
                for (got, want) in got.iter().zip(&want) {
                    assert!((f64::from(*got) - want).abs() < 1e-4 * largest.max(1.0), "{name}: {got} for {want}");
                }
            }
        }
    }
}
