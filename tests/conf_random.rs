//! Random plans survive the configuration section; random and damaged sections end in a plan that is valid or in an error with its
//! place, within bounds on heap and time.
#![allow(unsafe_code, reason = "a global allocator that counts")]

mod random;

use random::Random;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::{Duration, Instant};
use whit::model::{
    Attention, BranchNorms, Config, DeltaNet, Experts, Gate, HeadNorm, Layer, Mamba1, Mamba2, Mixer, Mlp, MlpKind,
    NormKind, QkNorm, Routing, ScanNorm, Scores, SharedExpert, ShortConv,
};

struct Counting;

thread_local! {
    /// Bytes that this thread has allocated and not freed, and the most there were since they were last measured.
    static HEAP: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

fn grow(bytes: usize) {
    let _ = HEAP.try_with(|heap| {
        let (live, peak) = heap.get();
        heap.set((live + bytes, peak.max(live + bytes)));
    });
}

fn shrink(bytes: usize) {
    let _ = HEAP.try_with(|heap| heap.set((heap.get().0.saturating_sub(bytes), heap.get().1)));
}

// SAFETY: every call is passed on to the system's allocator as it is; counting touches no memory of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        // SAFETY: the caller keeps GlobalAlloc's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        shrink(layout.size());
        // SAFETY: the caller keeps GlobalAlloc's contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Decodes a section and holds what that takes, and what comes of it, to what is promised. True where it is a plan.
fn decode(what: &str, bytes: &[u8]) -> bool {
    let live = HEAP.get().0;
    HEAP.set((live, live));
    let start = Instant::now();
    let decoded = Config::decode(bytes);
    let (took, peak) = (start.elapsed(), HEAP.get().1 - live);
    assert!(peak <= (64 << 10) + 16 * bytes.len(), "{what}: {peak} bytes of heap for {}", bytes.len());
    assert!(took < Duration::from_secs(10), "{what}: {took:?}");
    match decoded {
        Ok(config) => {
            config.check().unwrap_or_else(|error| panic!("{what}: {error}"));
            let again = Config::decode(&config.encode()).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(again, config, "{what}");
            true
        }
        Err(error) => {
            assert!(error.has_place() && error.to_string().len() < 500, "{what}: {error}");
            false
        }
    }
}

/// Rows of every kind, whose numbers may lie at their limits.
fn layer(tables: &[Vec<f32>], random: &mut Random) -> Layer {
    let norms = |bits: usize| BranchNorms { input: bits & 1 != 0, output: bits & 2 != 0 };
    let table = random.below(tables.len() + 1);
    let rotary = (table < tables.len()).then_some(table);
    let n_kv_heads = random.pick(&[1, 2, 3, 512]);
    let window = random.pick(&[None, Some(1), Some(32), Some(4096), Some(u32::MAX as usize)]);
    let n_heads = n_kv_heads * random.pick(&[1, 2]);
    let head_dim = rotary.map_or_else(|| 1 + random.below(4096), |table| 2 * tables[table].len());
    let turned =
        QkNorm { kind: random.pick(&[HeadNorm::Each, HeadNorm::All, HeadNorm::LayerOfEach]), after_rotation: true };
    let attention = Attention {
        window,
        rotary,
        qk_norm: random.pick(&[None, Some(QkNorm::HEADS), Some(turned)]),
        cap: random.pick(&[None, Some(50.0)]),
        slopes: if random.below(4) == 0 { vec![random.unit(); n_heads] } else { Vec::new() },
        sinks: random.below(2) == 0,
        v_norm: random.below(2) == 0,
        gate: random.pick(&[None, Some(Gate::Elements), Some(Gate::Heads)]),
        inner_norm: random.below(4) == 0,
        qkv_bias: random.below(2) == 0,
        output_bias: random.below(2) == 0,
        ..Attention::plain(n_heads, n_kv_heads, head_dim)
    };
    let conv = ShortConv {
        channels: random.pick(&[1, 40, 1 << 16]),
        width: random.pick(&[1, 3, 32]),
        bias: random.below(2) == 0,
    };
    let n_key_heads = random.pick(&[1, 3, 512]);
    let delta = DeltaNet {
        n_key_heads,
        n_heads: n_key_heads * random.pick(&[1, 2]),
        key_dim: random.pick(&[1, 128, 1024]),
        value_dim: random.pick(&[1, 100, 1024]),
        width: random.pick(&[1, 4, 32]),
    };
    let n_groups = random.pick(&[1, 3, 512]);
    let mamba = Mamba2 {
        n_heads: n_groups * random.pick(&[1, 2]),
        head_dim: random.pick(&[1, 64]),
        state_dim: random.pick(&[1, 128, 1024]),
        n_groups,
        width: random.pick(&[1, 4, 32]),
        conv_bias: random.below(2) == 0,
        step_limits: random.pick(&[None, Some([0.0, 0.5]), Some([0.25, f32::INFINITY])]),
        norm: random.pick(&[None, Some(false), Some(true)]).map(|before_gate| ScanNorm { n_groups, before_gate }),
    };
    let channels = Mamba1 {
        channels: random.pick(&[1, 40, 1 << 16]),
        state_dim: random.pick(&[1, 16, 1024]),
        step_rank: random.pick(&[1, 48, 1 << 16]),
        width: random.pick(&[1, 4, 32]),
        conv_bias: random.below(2) == 0,
    };
    let routing = Routing {
        n_active: 2,
        scores: random.pick(&Scores::ALL),
        normalized: random.below(2) == 0,
        scale: random.pick(&[1.0, 2.5]),
    };
    let shared = random.below(2) == 0;
    let shared = shared.then(|| SharedExpert { hidden_dim: 7, gate: random.below(2) == 0 });
    let experts = Experts { n_experts: random.pick(&[2, 3, 1024]), routing, bias: random.below(2) == 0, shared };
    let mut mlp = Mlp {
        hidden_dim: random.pick(&[1, 7, 1 << 20]),
        kind: random.pick(&MlpKind::ALL),
        bias: random.below(2) == 0,
        inner_norm: random.below(4) == 0,
        experts: None,
    };
    if random.below(4) == 0 {
        (mlp.kind, mlp.bias, mlp.inner_norm) = (MlpKind::SWIGLU, false, false);
        mlp.experts = Some(experts);
    }
    let mut layer = Layer {
        mixer: match random.below(6) {
            0 => Mixer::ShortConv(conv),
            1 => Mixer::DeltaNet(delta),
            2 => Mixer::Mamba2(mamba.clone()),
            3 => Mixer::Mamba1(channels),
            _ => Mixer::Attention(attention),
        },
        beside: None,
        mixer_norms: norms(random.below(4)),
        mlp,
        mlp_norms: norms(random.below(4)),
        parallel: random.below(3) == 0,
        scaled: random.below(4) == 0,
    };
    if random.below(4) == 0 && layer.attention().is_some() {
        (layer.beside, layer.mixer_norms) = (Some(Mixer::Mamba2(mamba)), BranchNorms::PRE);
    }
    if random.below(8) == 0 {
        (layer.mlp, layer.mlp_norms, layer.parallel) = (Mlp::NONE, BranchNorms::NONE, false);
    }
    layer
}

/// Has some layers read the keys and values of an earlier one.
fn share(layers: &mut [Layer], random: &mut Random) {
    for i in 1..layers.len() {
        let from = random.below(i);
        let Some(other) = layers[from].attention().filter(|other| other.shares.is_none()).cloned() else { continue };
        let Some(attention) = layers[i].attention_mut().filter(|_| random.below(3) == 0) else { continue };
        *attention = Attention { shares: Some(from), v_norm: false, ..other };
    }
}

fn plan(random: &mut Random) -> Config {
    let mut tables: Vec<Vec<f32>> = (0..random.below(4))
        .map(|_| (0..1 + random.below(9)).map(|_| random.unit().abs() * random.pick(&[0.0, 1.0, 1e30])).collect())
        .collect();
    let n_layers = random.pick(&[1, 2, 3, 9, 40]);
    let mut layers: Vec<Layer> = (0..n_layers).map(|_| layer(&tables, random)).collect();
    if random.below(4) == 0 {
        layers = vec![layers[0].clone(); n_layers];
    }
    share(&mut layers, random);
    // Tables that nobody refers to go, and those behind them move up.
    let mut used = vec![];
    for attention in layers.iter_mut().filter_map(Layer::attention_mut) {
        if let Some(table) = attention.rotary {
            let place = used.iter().position(|other| *other == table);
            attention.rotary = Some(place.unwrap_or(used.len()));
            used.extend(place.is_none().then_some(table));
        }
    }
    tables = used.iter().map(|table| tables[*table].clone()).collect();
    let tied = random.below(2) == 0;
    Config {
        family: random.pick(&["", "gpt2", "llama", "a name", "Größe 中", &"x".repeat(256)]).into(),
        dim: random.pick(&[1, 40, 1 << 16]),
        vocab_size: random.pick(&[1, 259, 1 << 20]),
        context_length: random.pick(&[1, 64, 1 << 20]),
        learned_positions: random.below(2) == 0,
        rotary_tables: tables,
        norm: random.pick(&[NormKind::Rms, NormKind::Layer]),
        norm_eps: random.pick(&[1e-5, 0.5, f32::MIN_POSITIVE, f32::from_bits(1)]),
        layers,
        tied,
        embedding_norm: random.below(3) == 0,
        unembedding_bias: !tied && random.below(2) == 0,
        logit_cap: random.pick(&[None, Some(30.0)]),
        layer_inputs: random.pick(&[None, None, Some(1), Some(4096)]),
    }
}

#[test]
fn random_plans_survive_encode_and_decode() {
    let mut random = Random::new(1);
    for i in 0..3000 {
        let config = plan(&mut random);
        config.check().unwrap_or_else(|error| panic!("{i}: {error}"));
        let bytes = config.encode();
        assert_eq!(Config::decode(&bytes).unwrap_or_else(|error| panic!("{i}: {error}")), config, "{i}");
        assert_eq!(Config::decode(&bytes).expect("as before").encode(), bytes, "{i}: one form");
        assert!(decode("a random plan", &bytes));
    }
}

#[test]
fn every_flipped_bit_ends_in_a_valid_plan_or_an_error() {
    let mut random = Random::new(2);
    let (mut accepted, mut refused) = (0, 0);
    for _ in 0..40 {
        let mut config = plan(&mut random);
        config.family = "flipped".into();
        config.layers.truncate(3);
        let is_used = |table| config.attentions().any(|attention| attention.rotary == Some(table));
        let n_tables = (0..config.rotary_tables.len()).filter(|table| is_used(*table)).count();
        config.rotary_tables.truncate(n_tables);
        let mut bytes = config.encode();
        assert_eq!(bytes[0], 2, "the second form");
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            *(if decode("a flipped bit", &bytes) { &mut accepted } else { &mut refused }) += 1;
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
    assert!(accepted > 1000 && refused > 1000, "{accepted} accepted, {refused} refused");
}

/// A list of fields whose counts and lengths are right most of the time.
fn list(depth: usize, random: &mut Random) -> Vec<u8> {
    const TAGS: [u16; 34] = [
        1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 16, 17, 18, 19, 20, 21, 22, 23, 64, 65, 66, 80, 81, 82, 83, 84, 256, 257, 258,
        0, 11, 24, 300, 0xffff,
    ];
    let mut tags: Vec<u16> = TAGS.into_iter().filter(|_| random.below(4) > 0).collect();
    tags.sort_unstable();
    let mut out = (tags.len() as u32).to_le_bytes().to_vec();
    for tag in tags {
        let records = depth > 0 && matches!(tag, 9 | 10);
        let kind = match tag {
            _ if random.below(40) == 0 => random.below(8) as u8,
            9 | 10 if depth > 0 => 5,
            6 if depth > 0 => 2,
            1 if depth > 0 => 4,
            _ => 1,
        };
        let content = match records {
            true => {
                let lists: Vec<Vec<u8>> = (0..random.below(4)).map(|_| list(depth - 1, random)).collect();
                let mut content = (lists.len() as u32).to_le_bytes().to_vec();
                for list in lists {
                    content.extend((list.len() as u32).to_le_bytes());
                    content.extend(list);
                }
                content
            }
            false => (random.bits() as u32 >> random.below(32)).to_le_bytes().to_vec(),
        };
        out.extend(tag.to_le_bytes());
        out.extend([kind, (random.below(8) > 0).into()]);
        out.extend((content.len() as u32).to_le_bytes());
        out.extend(content);
    }
    out
}

#[test]
fn random_sections_end_in_a_valid_plan_or_an_error() {
    let mut random = Random::new(3);
    for _ in 0..20_000 {
        let bytes: Vec<u8> = (0..random.below(300)).map(|_| random.bits() as u8).collect();
        decode("random bytes", &[&[random.below(4) as u8, 0, 0, 0][..], &bytes].concat());
        decode("random fields", &[&[2, 0, 0, 0][..], &list(1, &mut random)].concat());
        let mut bytes = plan(&mut random).encode();
        for _ in 0..1 + random.below(4) {
            let at = random.below(bytes.len());
            let value = random.pick(&[0, 1, 2, 0x7f, 0x80, 0xff]);
            let end = (at + random.pick(&[1, 1, 2, 4])).min(bytes.len());
            bytes[at..end].fill(value);
        }
        decode("a changed plan", &bytes);
    }
}

/// The most fields there can be, all of them unknown, cost time and memory in step with their bytes.
#[test]
fn the_largest_section_stays_within_the_bounds() {
    let list = |n: u32, first: u16| {
        let mut out = n.to_le_bytes().to_vec();
        (0..n as u16).for_each(|i| {
            out.extend((first + i).to_le_bytes());
            out.extend([1, 0, 0, 0, 0, 0]);
        });
        out
    };
    let record = list(1024, 300);
    let mut content = 1024_u32.to_le_bytes().to_vec();
    for _ in 0..1024 {
        content.extend((record.len() as u32).to_le_bytes());
        content.extend(&record);
    }
    let mut bytes = [2, 0, 0, 0, 1, 0, 0, 0, 10, 0, 5, 1].to_vec();
    bytes.extend((content.len() as u32).to_le_bytes());
    bytes.extend(content);
    assert!(bytes.len() > 8 << 20);
    assert!(!decode("the largest section", &bytes));
    // A list that says it holds as many fields as its bytes could.
    let n = (16_u32 << 20) / 8 - 2;
    let bytes = [&[2, 0, 0, 0][..], &n.to_le_bytes(), &vec![0; 16 << 20]].concat();
    assert!(!decode("two million fields", &bytes));
}
