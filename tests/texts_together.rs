//! A batch is a bag of rows: whichever texts go through the network together, in whatever order and however they are cut, each
//! gets the bits that it gets alone.

mod random;
mod support;

use random::Random;
use std::sync::Arc;
use support::{Folder, TinyModel};
use whit::generate::{StopRules, Together, Writer, advance};
use whit::kernels;
use whit::model::{
    BranchNorms, Config, DeltaNet, Mamba1, Mamba2, Mixer, Mlp, ScanNorm, ShortConv, Span, State, StateOptions, Wants,
    Watch, Workspace,
};
use whit::ops::{KV_BLOCK, KvDtype};
use whit::sampler::{Sampler, SamplerOptions};
use whit::{Compute, Model, TokenId};

const CONTEXT: usize = 160;
const VOCAB: usize = 259;

/// Every second layer has a window, so that its cache is a ring; branches are normed on both sides.
fn mixed(config: &mut Config) {
    config.family = "mixed".into();
    for (i, layer) in config.layers.iter_mut().enumerate() {
        layer.attention_mut().expect("attention").window = (i % 2 == 0).then_some(11);
        layer.mixer_norms = BranchNorms { input: true, output: true };
        layer.mlp_norms = BranchNorms { input: i % 2 == 1, output: true };
    }
}

/// Short convolutions between attentions, one of which has a window.
fn convolutions(config: &mut Config) {
    config.family = "convolutions".into();
    let conv = |width, bias| Mixer::ShortConv(ShortConv { channels: 40 + usize::from(bias) * 9, width, bias });
    config.layers[0].mixer = conv(3, false);
    config.layers[2].mixer = conv(5, true);
    config.layers[1].attention_mut().expect("attention").window = Some(11);
}

/// Delta nets, whose state is kept at marks, around an attention with a window.
fn delta_nets(config: &mut Config) {
    config.family = "delta nets".into();
    let delta =
        |n_heads, width| Mixer::DeltaNet(DeltaNet { n_key_heads: 2, n_heads, key_dim: 8, value_dim: 12, width });
    config.layers[0].mixer = delta(4, 4);
    config.layers[2].mixer = delta(2, 1);
    config.layers[1].attention_mut().expect("attention").window = Some(11);
}

/// Keys and values that a later layer reads, too, in a ring and whole; sinks; vectors of each token for each layer.
fn shared(config: &mut Config) {
    config.family = "shared".into();
    config.layers.push(config.layers[0].clone());
    for (i, layer) in config.layers.iter_mut().enumerate() {
        let attention = layer.attention_mut().expect("attention");
        attention.window = (i % 2 == 0).then_some(11);
        attention.shares = i.checked_sub(2);
        attention.sinks = i == 1;
    }
    config.layer_inputs = Some(5);
}

/// State spaces, whose state is kept at marks, one of them beside an attention, in a block without an MLP another.
fn state_spaces(config: &mut Config) {
    config.family = "state spaces".into();
    let mamba = |n_groups, width, before_gate| {
        Mixer::Mamba2(Mamba2 {
            n_heads: 4,
            head_dim: 10,
            state_dim: 8,
            n_groups,
            width,
            conv_bias: before_gate,
            step_limits: None,
            norm: Some(ScanNorm { n_groups, before_gate }),
        })
    };
    config.layers[0].mixer = mamba(2, 4, false);
    config.layers[1].beside = Some(mamba(1, 3, true));
    let channels = Mamba1 { channels: 40, state_dim: 5, step_rank: 3, width: 4, conv_bias: true };
    config.layers[2].mixer = Mixer::Mamba1(channels);
    (config.layers[2].mlp, config.layers[2].mlp_norms) = (Mlp::NONE, BranchNorms::NONE);
    config.layers[1].attention_mut().expect("attention").window = Some(11);
}

fn models(folder: &Folder) -> Vec<Arc<Model>> {
    let mut window = TinyModel::llama();
    window.config.sliding_window = Some(9);
    let kinds = [
        ("llama", TinyModel::llama()),
        ("gpt2", TinyModel::gpt2()),
        ("window", window),
        ("mixed", TinyModel { change: mixed, ..TinyModel::llama() }),
        ("convolutions", TinyModel { change: convolutions, ..TinyModel::llama() }),
        ("delta nets", TinyModel { change: delta_nets, ..TinyModel::llama() }),
        ("shared", TinyModel { change: shared, ..TinyModel::llama() }),
        ("state spaces", TinyModel { change: state_spaces, ..TinyModel::llama() }),
    ];
    kinds
        .into_iter()
        .map(|(name, mut tiny)| {
            (tiny.config.context_length, tiny.config.n_layers) = (CONTEXT, 3);
            tiny.open(&folder.path(name))
        })
        .collect()
}

fn state(model: &Model, kv: KvDtype) -> State {
    model.state(StateOptions { context_length: CONTEXT, kv, slack: 40 }).expect("a state")
}

fn bits(logits: &[f32]) -> Vec<u32> {
    logits.iter().map(|logit| logit.to_bits()).collect()
}

/// The bits of the logits after each of `tokens`, computed one by one.
fn alone(model: &Model, compute: &Compute, kv: KvDtype, tokens: &[TokenId]) -> Vec<Vec<u32>> {
    let (mut state, mut workspace) = (state(model, kv), Workspace::new(model, 1, 1).expect("a workspace"));
    let each = |token: &TokenId| {
        let mut spans = [Span { state: &mut state, tokens: core::slice::from_ref(token), wants: Wants::Last }];
        workspace.pass(model, compute, &mut spans, Watch::default()).expect("room");
        bits(workspace.logits(model, compute, 0..1, Watch::default()))
    };
    tokens.iter().map(each).collect()
}

/// A text under way among others.
struct Text {
    tokens: Vec<TokenId>,
    state: State,
    expected: Vec<Vec<u32>>,
}

/// Runs `texts` together to their ends, in passes whose spans, order and wishes are drawn.
fn run_together(model: &Model, compute: &Compute, texts: &mut [Text], random: &mut Random) {
    let mut workspace = Workspace::new(model, 96, 96).expect("a workspace");
    let mut order: Vec<usize> = (0..texts.len()).collect();
    while texts.iter().any(|text| text.state.position() < text.tokens.len()) {
        for i in (1..order.len()).rev() {
            order.swap(i, random.below(i + 1));
        }
        let mut slots: Vec<Option<&mut Text>> = texts.iter_mut().map(Some).collect();
        let (mut room, mut spans, mut wanted) = (96, Vec::new(), Vec::new());
        for i in &order {
            let Text { tokens, state, expected } = slots[*i].take().expect("each once");
            // Some texts stay behind in a pass, some are taken back a few tokens first.
            if random.below(8) == 0 {
                let back = random.below(6).min(state.position());
                let position = state.position() - back;
                let mut layers = model.config().layers.iter();
                let marked = back > 0 && layers.any(|layer| layer.delta_net().is_some() || layer.mamba2().is_some());
                let held = if marked { position / KV_BLOCK * KV_BLOCK } else { position };
                assert_eq!(state.rewind(position), held, "a few tokens can always be taken back");
            }
            let left = &tokens[state.position()..];
            let n = left.len().min(random.below(24)).min(room);
            if n == 0 {
                continue;
            }
            room -= n;
            let wants = [Wants::Nothing, Wants::Last, Wants::Each][random.below(3)];
            let rows = match wants {
                Wants::Nothing => 0..0,
                Wants::Last => n - 1..n,
                Wants::Each => 0..n,
            };
            wanted.extend(rows.map(|row| &expected[state.position() + row]));
            spans.push(Span { state, tokens: &left[..n], wants });
        }
        if spans.is_empty() {
            continue;
        }
        let n_rows = workspace.pass(model, compute, &mut spans, Watch::default()).expect("room");
        assert_eq!(n_rows, wanted.len());
        let logits = workspace.logits(model, compute, 0..n_rows, Watch::default());
        for (logits, expected) in logits.chunks_exact(VOCAB).zip(wanted) {
            assert!(bits(logits) == **expected, "{} with {} threads", compute.kernels.name, compute.threads.len());
        }
    }
}

#[test]
fn texts_among_others_get_the_bits_they_get_alone() {
    let folder = Folder::new("together");
    let mut random = Random::new(5);
    let reference = Compute::new(kernels::by_name("scalar").expect("always there"), 1).expect("a thread");
    let best = [1, 2].map(|n| Compute::new(kernels::detect(), n).expect("threads"));
    for model in models(&folder) {
        for kv in KvDtype::ALL {
            let all: Vec<(Vec<TokenId>, Vec<Vec<u32>>)> = (0..33)
                .map(|i| {
                    let n = if i == 0 { CONTEXT } else { 1 + random.below(70) };
                    let tokens: Vec<TokenId> = (0..n).map(|_| random.below(VOCAB) as TokenId).collect();
                    let expected = alone(&model, &reference, kv, &tokens);
                    (tokens, expected)
                })
                .collect();
            for n_others in [0, 1, 2, 7, 32] {
                let compute = &best[n_others % 2];
                let texts = all[..=n_others].iter().cloned();
                let mut texts: Vec<Text> =
                    texts.map(|(tokens, expected)| Text { tokens, state: state(&model, kv), expected }).collect();
                run_together(&model, compute, &mut texts, &mut random);
            }
        }
    }
}

#[test]
fn a_window_takes_the_memory_of_the_window() {
    let folder = Folder::new("together-window");
    let mut tiny = TinyModel::llama();
    (tiny.config.sliding_window, tiny.config.context_length) = (Some(64), 1 << 20);
    let model = tiny.open(&folder.path("m"));
    let bytes = |context_length, slack| {
        let options = StateOptions { context_length, kv: KvDtype::F16, slack };
        model.config().layers.iter().map(|layer| layer.state_bytes(options)).sum::<u64>()
    };
    // 64 + 32 positions touch four blocks; a position has 2 layers of 2 heads of 10 keys and values.
    assert_eq!(bytes(1 << 20, 32), 4 * 32 * 2 * 2 * 2 * 10 * 2);
    assert_eq!(bytes(1 << 20, 32), bytes(1 << 10, 32));
    assert!(bytes(96, 32) < bytes(1 << 20, 32), "a context shorter than the ring");
}

#[test]
fn what_a_ring_has_given_up_cannot_be_gone_back_to() {
    let folder = Folder::new("together-back");
    let mut tiny = TinyModel::llama();
    (tiny.config.sliding_window, tiny.config.context_length) = (Some(8), 512);
    let model = tiny.open(&folder.path("m"));
    let compute = Compute::new(kernels::detect(), 1).expect("a thread");
    let mut workspace = Workspace::new(&model, 32, 1).expect("a workspace");
    let mut state = model.state(StateOptions { context_length: 512, kv: KvDtype::F16, slack: 32 }).expect("a state");
    let tokens: Vec<TokenId> = (0..400).map(|i| i * 7 % 256).collect();
    for tokens in tokens.chunks(32) {
        let mut spans = [Span { state: &mut state, tokens, wants: Wants::Nothing }];
        workspace.pass(&model, &compute, &mut spans, Watch::default()).expect("room");
    }
    assert_eq!(state.rewind(380), 380, "within the slack");
    assert_eq!(state.hold(&tokens[..375]), 374);
    let mut other = tokens.clone();
    other[100] = 0;
    assert_eq!(state.hold(&other), 0, "the text must be computed anew");
    assert_eq!((state.position(), state.tokens()), (0, &[][..]));
}

#[test]
fn writers_advance_together_as_they_would_alone() {
    let folder = Folder::new("together-writers");
    let compute = Compute::new(kernels::detect(), 2).expect("threads");
    for model in models(&folder) {
        let sampler = |seed| {
            let options = SamplerOptions { temperature: 0.9, top_p: 0.9, seed, ..SamplerOptions::default() };
            Sampler::new(options, VOCAB).expect("options")
        };
        let text = |i: usize| {
            let prompt: Vec<TokenId> = (0..1 + 13 * i).map(|j| (i * 31 + j * 7) as TokenId % 256).collect();
            let rules = StopRules { n_tokens: Some(3 + 5 * i), ..StopRules::default() };
            let writer = Writer::new(&model, &prompt, CONTEXT, sampler(i as u64), rules).expect("a prompt");
            Together { state: state(&model, KvDtype::Int8), writer }
        };
        let write = |texts: &mut [Together], batch, rows| {
            let mut workspace = Workspace::new(&model, batch, rows).expect("a workspace");
            let mut written = vec![String::new(); texts.len()];
            loop {
                for (text, written) in texts.iter_mut().zip(&mut written) {
                    while let Some(piece) = text.writer.piece() {
                        written.push_str(piece.text);
                    }
                }
                if advance(&model, &compute, &mut workspace, texts).expect("room") == 0 {
                    return written;
                }
            }
        };
        let one_by_one: Vec<String> = (0..6).flat_map(|i| write(&mut [text(i)], 40, 1)).collect();
        assert!(one_by_one.iter().all(|text| !text.is_empty()));
        for (batch, rows) in [(40, 6), (7, 6), (40, 2), (3, 1)] {
            let mut texts: Vec<Together> = (0..6).map(text).collect();
            assert_eq!(write(&mut texts, batch, rows), one_by_one, "{batch} tokens and {rows} rows a pass");
        }
    }
}

#[test]
fn a_text_that_fails_leaves_the_others_alone() {
    let folder = Folder::new("together-fails");
    let compute = Compute::new(kernels::detect(), 1).expect("a thread");
    let model = TinyModel::llama().open(&folder.path("m"));
    let writer = |prompt: &[TokenId], logit_bias| {
        let options = SamplerOptions { temperature: 0.0, logit_bias, ..SamplerOptions::default() };
        let rules = StopRules { n_tokens: Some(3), ..StopRules::default() };
        Writer::new(&model, prompt, 16, Sampler::new(options, VOCAB).expect("options"), rules)
    };
    for (prompt, words) in [
        (&[1; 17][..], "prompt: 17 tokens exceed the context of 16"),
        (&[1, 259], "prompt: token 259 is outside the vocabulary of 259"),
        (&[], "prompt: a prompt needs at least one token"),
    ] {
        let error = writer(prompt, Vec::new()).err().expect("no prompt").to_string();
        assert!(error.starts_with(words), "{error}");
    }
    let no_token = || (0..VOCAB as TokenId).map(|id| (id, f32::NEG_INFINITY)).collect();
    let text = |logit_bias| {
        let state = model.state(StateOptions { context_length: 16, kv: KvDtype::F16, slack: 8 }).expect("a state");
        Together { state, writer: writer(&[5; 16], logit_bias).expect("as long as the context") }
    };
    let mut workspace = Workspace::new(&model, 64, 4).expect("a workspace");
    let mut texts = [text(Vec::new()), text(no_token()), text(no_token()), text(Vec::new())];
    let error = advance(&model, &compute, &mut workspace, &mut texts).expect_err("no token").to_string();
    assert_eq!(error, "text 1: logits: the largest of 259 logits is -inf");
    let pieces = texts.each_mut().map(|text| text.writer.piece().and_then(|piece| piece.token));
    assert!(pieces[0].is_some() && pieces[0] == pieces[3] && pieces[1..3] == [None, None], "{pieces:?}");
    texts[1].writer.interrupt();
    let error = advance(&model, &compute, &mut workspace, &mut texts).expect_err("no token").to_string();
    assert!(error.starts_with("text 2: "), "{error}");
    texts[2].writer.interrupt();
    assert_eq!(advance(&model, &compute, &mut workspace, &mut texts), Ok(0), "all have ended");
}
