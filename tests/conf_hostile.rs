//! One hostile configuration per rule of FORMAT.md, "Second form": each is refused with its field and its place; none panics.
//! The lists of fields are made here by the page alone, so that the page is tried too.

mod flat;
#[path = "flat/hostile.rs"]
mod hostile;
mod support;

use hostile::Hostile;
use std::sync::Arc;
use support::{Folder, TinyModel};
use whit::error::Kind;
use whit::format::{Bytes, File};
use whit::kernels;
use whit::model::{
    Activation, BranchNorms, Config, DeltaNet, Mamba1, Mamba2, Mixer, Mlp, MlpKind, Model, QkNorm, ScanNorm, ShortConv,
};
use whit::{Compute, Session, SessionOptions};

/// A field: tag, type, flags, content.
type Field = (u16, u8, u8, Vec<u8>);

const NUMBER: u8 = 1;
const FLOAT: u8 = 2;
const FLOATS: u8 = 3;
const TEXT: u8 = 4;
const RECORDS: u8 = 5;

/// A list of fields.
#[derive(Clone, Default)]
struct List(Vec<Field>);

impl List {
    fn put(&mut self, tag: u16, of: u8, flags: u8, content: &[u8]) {
        self.0.retain(|field| field.0 != tag);
        let at = self.0.iter().position(|field| field.0 > tag).unwrap_or(self.0.len());
        self.0.insert(at, (tag, of, flags, content.to_vec()));
    }

    fn set_numbers(&mut self, fields: &[(u16, u32)]) {
        fields.iter().for_each(|(tag, value)| self.number(*tag, *value));
    }

    fn number(&mut self, tag: u16, value: u32) {
        self.put(tag, NUMBER, 1, &value.to_le_bytes());
    }

    fn numbers(fields: &[(u16, u32)]) -> List {
        let mut list = List::default();
        fields.iter().for_each(|(tag, value)| list.number(*tag, *value));
        list
    }

    fn remove(&mut self, tag: u16) {
        assert!(self.0.iter().any(|field| field.0 == tag), "{tag} is there");
        self.0.retain(|field| field.0 != tag);
    }

    fn field(&mut self, tag: u16) -> &mut Field {
        self.0.iter_mut().find(|field| field.0 == tag).expect("the field")
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = (self.0.len() as u32).to_le_bytes().to_vec();
        for (tag, of, flags, content) in &self.0 {
            out.extend(tag.to_le_bytes());
            out.extend([*of, *flags]);
            out.extend((content.len() as u32).to_le_bytes());
            out.extend(content);
        }
        out
    }
}

/// Records as the content of a field.
fn records(lists: &[List]) -> Vec<u8> {
    let mut out = (lists.len() as u32).to_le_bytes().to_vec();
    for list in lists {
        let bytes = list.bytes();
        out.extend((bytes.len() as u32).to_le_bytes());
        out.extend(bytes);
    }
    out
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// A configuration in parts.
#[derive(Clone)]
struct Plan {
    network: List,
    tables: Vec<List>,
    layers: Vec<List>,
}

impl Plan {
    fn bytes(&self) -> Vec<u8> {
        let mut network = self.network.clone();
        for (tag, lists) in [(9, &self.tables), (10, &self.layers)] {
            if !network.0.iter().any(|field| field.0 == tag) {
                network.put(tag, RECORDS, 1, &records(lists));
            }
        }
        let mut out = 2_u32.to_le_bytes().to_vec();
        out.extend(network.bytes());
        out
    }
}

/// What [`plan`] says, as the library has it.
fn different(config: &mut Config) {
    config.layers = [0, 1, 0, 0, 0, 0].map(|layer: usize| config.layers[layer].clone()).to_vec();
    let layer = &mut config.layers[4];
    layer.beside = Some(Mixer::Mamba2(Mamba2 {
        n_heads: 4,
        head_dim: 10,
        state_dim: 8,
        n_groups: 2,
        width: 4,
        conv_bias: true,
        step_limits: Some([0.125, f32::INFINITY]),
        norm: Some(ScanNorm { n_groups: 2, before_gate: true }),
    }));
    (layer.mlp, layer.mlp_norms) = (Mlp::NONE, BranchNorms::NONE);
    let channels = Mamba1 { channels: 24, state_dim: 5, step_rank: 3, width: 4, conv_bias: true };
    config.layers[5].mixer = Mixer::Mamba1(channels);
    let delta = DeltaNet { n_key_heads: 2, n_heads: 4, key_dim: 8, value_dim: 6, width: 4 };
    config.layers[3].mixer = Mixer::DeltaNet(delta);
    config.layers[2].mixer = Mixer::ShortConv(ShortConv { channels: 24, width: 3, bias: true });
    config.family = "different".into();
    config.rotary_tables.push(vec![0.5, 0.25]);
    config.tied = false;
    let a = config.layers[1].attention_mut().expect("attention");
    (a.n_heads, a.n_kv_heads, a.head_dim, a.window, a.rotary) = (3, 1, 4, Some(7), Some(1));
    (a.qk_norm, a.qkv_bias, a.output_bias) = (Some(QkNorm::HEADS), true, true);
    let layer = &mut config.layers[1];
    layer.mixer_norms = BranchNorms { input: false, output: true };
    layer.mlp_norms = BranchNorms { input: true, output: true };
    (layer.mlp.kind, layer.mlp.hidden_dim, layer.mlp.bias) = (MlpKind::plain(Activation::GeluTanh), 24, true);
}

/// A valid configuration of layers that differ in all that can differ.
fn plan() -> Plan {
    let mut network = List::numbers(&[(2, 40), (3, 259), (4, 64), (5, 0)]);
    network.put(1, TEXT, 0, b"different");
    network.put(6, FLOAT, 1, &1e-5_f32.to_le_bytes());
    let table = |freqs: &[f32]| {
        let mut table = List::default();
        table.put(1, FLOATS, 1, &floats(freqs));
        table
    };
    let tables = vec![table(&[1.0, 0.3, 0.1, 0.03, 0.01]), table(&[0.5, 0.25])];
    let first = &[(1, 0), (2, 1), (3, 1), (16, 4), (17, 2), (18, 10), (20, 0), (256, 0), (257, 72)];
    let attention = &[(16, 3), (17, 1), (18, 4), (19, 7), (20, 1), (21, 1), (22, 1), (23, 1)];
    let second = [&[(1, 0), (2, 2), (3, 3)][..], attention, &[(256, 1), (257, 24), (258, 1)]].concat();
    let third = &[(1, 1), (2, 1), (3, 1), (64, 24), (65, 3), (66, 1), (256, 0), (257, 72)];
    let fourth = &[(1, 2), (2, 1), (3, 1), (80, 2), (81, 4), (82, 8), (83, 6), (84, 4), (256, 0), (257, 72)];
    let beside = &[(96, 4), (97, 10), (98, 8), (99, 2), (100, 4), (101, 1), (103, 2), (104, 1), (256, 0), (257, 0)];
    let fifth = [&[(1, 0), (2, 1), (3, 0), (7, 1), (16, 4), (17, 2), (18, 10), (20, 0)][..], beside].concat();
    let sixth = &[(1, 4), (2, 1), (3, 1), (112, 24), (113, 5), (114, 3), (115, 4), (116, 1), (256, 0), (257, 72)];
    let mut layers = [first, &second[..], third, fourth, &fifth, sixth].map(List::numbers).to_vec();
    layers[4].put(102, FLOATS, 1, &floats(&[0.125, f32::INFINITY]));
    Plan { network, tables, layers }
}

#[test]
fn the_page_and_the_writer_agree() {
    let mut config = TinyModel::llama().config.config();
    different(&mut config);
    assert_eq!(plan().bytes(), config.encode());
    assert_eq!(Config::decode(&plan().bytes()).expect("valid"), config);
    // One form of what the first form can say, and version 1.0 in the header of both.
    let folder = Folder::new("conf-forms");
    for (tiny, form) in
        [(TinyModel::llama(), 1), (TinyModel::gpt2(), 0), (TinyModel { change: different, ..TinyModel::llama() }, 2)]
    {
        assert_eq!(tiny.plan().encode()[..4], [form, 0, 0, 0]);
        assert_eq!(tiny.open(&folder.path("model.whit")).file().version(), (1, 0));
    }
}

/// What is broken, how, and what the error must say.
type Row = (&'static str, fn(&mut Plan), &'static str);

/// M-36: forms of lists.
const LISTS: &[Row] = &[
    (
        "a tag twice",
        |p| p.network.0.insert(1, (1, TEXT, 0, b"x".to_vec())),
        "configuration field 1 at byte 0x19: tags must ascend",
    ),
    ("tags descend", |p| p.network.0.swap(1, 2), "tags must ascend, each at most once"),
    ("tags descend in a layer", |p| p.layers[1].0.swap(4, 5), "layer field 17"),
    ("unknown flags", |p| p.network.field(2).2 = 2, "configuration field 2"),
    ("unknown flags, with the known one", |p| p.network.field(2).2 = 3, "unknown flags 0x3"),
    ("unknown flags of an unknown field", |p| p.network.put(999, 1, 0x80, &[0; 4]), "unknown flags 0x80"),
    ("too many fields", |p| p.network.0.extend((100..1200).map(|tag| (tag, 9, 0, vec![]))), "fields, at most 1024"),
    (
        "too many fields of a layer",
        |p| p.layers[0].0.extend((300..1400).map(|tag| (tag, 9, 0, vec![]))),
        "fields, at most 1024",
    ),
    ("no fields", |p| (p.network.0, p.tables, p.layers) = (vec![], vec![], vec![]), "configuration dim"),
    ("too many layers", |p| p.layers = vec![p.layers[0].clone(); 1025], "layer at byte"),
    ("too many tables", |p| p.tables = vec![p.tables[0].clone(); 1025], "1025 of them, at most 1024"),
    (
        "records beyond their bytes",
        |p| p.network.put(10, RECORDS, 1, &1000_u32.to_le_bytes()),
        "1000 elements of 4 bytes",
    ),
    ("records without their number", |p| p.network.put(10, RECORDS, 1, &[1]), "4 bytes needed"),
    (
        "records, and something behind",
        |p| p.network.put(10, RECORDS, 1, &[&records(&p.layers)[..], &[0]].concat()),
        "1 unexpected bytes",
    ),
    ("a record shorter than its fields", |p| record(p, -1), "bytes needed"),
    ("a record longer than its fields", |p| record(p, 1), "1 unexpected bytes"),
    ("a record past the end", |p| record(p, 1 << 20), "record"),
    ("a record of no bytes", |p| p.network.put(10, RECORDS, 1, &[1, 0, 0, 0, 0, 0, 0, 0]), "number of fields"),
];

/// M-37: fields.
const FIELDS: &[Row] = &[
    ("unknown and required", |p| p.network.put(500, NUMBER, 1, &[0; 4]), "configuration field 500"),
    ("unknown and required in a layer", |p| p.layers[1].put(99, TEXT, 1, b"x"), "layer field 99"),
    ("unknown and required in a table", |p| p.tables[0].put(2, 77, 1, b""), "this program does not know what it means"),
    ("an unknown type", |p| p.network.field(2).1 = 9, "dim at byte 0x19: an unknown type, not a number"),
    ("text for a number", |p| p.network.put(3, TEXT, 1, b"text"), "text, not a number"),
    ("a number for text", |p| p.network.number(1, 1), "a number, not text"),
    ("a number for a float", |p| p.network.number(6, 1), "a number, not a float"),
    ("a float for floats", |p| p.tables[1].put(1, FLOAT, 1, &[0; 4]), "a float, not floats"),
    ("floats for records", |p| p.network.put(10, FLOATS, 1, &[0; 8]), "floats, not records"),
    ("a number of 3 bytes", |p| p.network.put(2, NUMBER, 1, &[0; 3]), "3 bytes are no a number"),
    ("a number of 8 bytes", |p| p.layers[0].put(16, NUMBER, 1, &[0; 8]), "8 bytes"),
    ("a float of 0 bytes", |p| p.network.put(6, FLOAT, 1, b""), "0 bytes"),
    ("floats of 6 bytes", |p| p.tables[0].put(1, FLOATS, 1, &[0; 6]), "6 bytes"),
    ("a family that is not UTF-8", |p| p.network.put(1, TEXT, 0, b"a\xff"), "not UTF-8"),
    ("a family that moves the cursor", |p| p.network.put(1, TEXT, 0, b"\x1b[2J"), "\\u{1b}[2J"),
    ("a family of no bytes", |p| p.network.put(1, TEXT, 0, b""), "name of 0 bytes"),
    ("a family of 257 bytes", |p| p.network.put(1, TEXT, 0, &[b'x'; 257]), "name of 257 bytes"),
    ("a flag that is 0", |p| p.network.number(7, 0), "tied at byte"),
    ("a flag that is 2", |p| p.network.number(8, 2), "a flag that is set is 1, not 2"),
    ("a flag of a layer that is 0", |p| p.layers[1].number(22, 0), "qkv_bias at byte"),
    ("a cap of 0", |p| p.layers[1].put(24, FLOAT, 1, &floats(&[0.0])), "cap at byte"),
    ("a cap that is no number", |p| p.network.put(13, FLOAT, 1, &floats(&[f32::NAN])), "logit_cap at byte"),
    ("slopes of other heads", |p| p.layers[1].put(25, FLOATS, 1, &floats(&[0.5; 9])), "9 for"),
    ("a slope without end", |p| p.layers[1].put(25, FLOATS, 1, &floats(&[f32::INFINITY; 3])), "element 0 is inf"),
    (
        "a bias of tied logits",
        |p| {
            p.network.number(7, 1);
            p.network.number(12, 1);
        },
        "token vectors that are tied",
    ),
    ("an unknown norm of queries", |p| p.layers[1].number(21, 2), "qk_norm at byte"),
    ("a LayerNorm of all heads", |p| p.layers[1].number(21, 11), "qk_norm at byte"),
    ("sinks that are 2", |p| p.layers[1].put(27, NUMBER, 1, &2_u32.to_le_bytes()), "sinks at byte"),
    ("values that are normed by 2", |p| p.layers[1].put(28, NUMBER, 1, &2_u32.to_le_bytes()), "v_norm at byte"),
    ("keys of itself", |p| p.layers[1].put(29, NUMBER, 1, &1_u32.to_le_bytes()), "no earlier layer"),
    ("keys of a later layer", |p| p.layers[1].put(29, NUMBER, 1, &u32::MAX.to_le_bytes()), "no earlier layer"),
    ("keys of other heads", |p| p.layers[1].put(29, NUMBER, 1, &0_u32.to_le_bytes()), "other heads of keys"),
    (
        "normed values of another",
        |p| {
            p.layers[1].put(28, NUMBER, 1, &1_u32.to_le_bytes());
            p.layers[1].put(29, NUMBER, 1, &0_u32.to_le_bytes());
        },
        "no values to norm",
    ),
    ("a layer that is scaled by 2", |p| p.layers[0].put(5, NUMBER, 1, &2_u32.to_le_bytes()), "scaled at byte"),
    ("no width of layer inputs", |p| p.network.put(14, NUMBER, 1, &0_u32.to_le_bytes()), "layer_inputs"),
    ("wide layer inputs", |p| p.network.put(14, NUMBER, 1, &4097_u32.to_le_bytes()), "4097 is outside 1..=4096"),
    ("an unknown gate", |p| p.layers[1].put(26, NUMBER, 1, &2_u32.to_le_bytes()), "gate at byte"),
    ("a norm of what heads give that is 2", |p| p.layers[1].put(31, NUMBER, 1, &2_u32.to_le_bytes()), "inner_norm at"),
    ("a norm within an MLP that is 2", |p| p.layers[0].set_numbers(&[(267, 2)]), "inner_norm of the MLP at"),
    (
        "a norm within experts",
        |p| p.layers[0].set_numbers(&[(259, 4), (260, 2), (261, 0), (267, 1)]),
        "experts have none",
    ),
    ("a flag of an MLP that is 2^32 - 1", |p| p.layers[0].number(258, u32::MAX), "mlp_bias"),
    ("an unknown mixer", |p| p.layers[0].number(1, u32::MAX), "mixer at byte"),
    ("unknown norms of the mixer", |p| p.layers[0].number(2, 4), "mixer_norms at byte"),
    ("unknown norms of the MLP", |p| p.layers[0].number(3, u32::MAX), "mlp_norms at byte"),
    ("an unknown MLP", |p| p.layers[1].number(256, 12), "12 is not known"),
    ("an unknown norm", |p| p.network.number(5, 2), "norm at byte"),
    ("no dim", |p| p.network.remove(2), "configuration dim at byte 0x4: missing"),
    ("no vocab_size", |p| p.network.remove(3), "vocab_size"),
    ("no context_length", |p| p.network.remove(4), "context_length"),
    ("no norm", |p| p.network.remove(5), "configuration norm at byte"),
    ("no norm_eps", |p| p.network.remove(6), "norm_eps"),
    ("no mixer", |p| p.layers[1].remove(1), "layer mixer"),
    ("no norms of the mixer", |p| p.layers[1].remove(2), "layer mixer_norms"),
    ("no norms of the MLP", |p| p.layers[1].remove(3), "layer mlp_norms"),
    ("no n_heads", |p| p.layers[1].remove(16), "layer n_heads"),
    ("no n_kv_heads", |p| p.layers[1].remove(17), "layer n_kv_heads"),
    ("no head_dim", |p| p.layers[1].remove(18), "layer head_dim"),
    ("no channels", |p| p.layers[2].remove(64), "layer channels"),
    ("no width of a kernel", |p| p.layers[2].remove(65), "layer conv_width"),
    ("heads of a convolution", |p| p.layers[2].number(16, 4), "layer field 16"),
    ("a kernel of an attention", |p| p.layers[0].number(65, 3), "layer field 65"),
    ("no key heads", |p| p.layers[3].remove(80), "layer n_key_heads"),
    ("no heads of a delta net", |p| p.layers[3].remove(81), "layer n_value_heads"),
    ("no width of keys", |p| p.layers[3].remove(82), "layer key_dim"),
    ("no width of values", |p| p.layers[3].remove(83), "layer value_dim"),
    ("no kernel of a delta net", |p| p.layers[3].remove(84), "layer conv_width"),
    ("channels of a delta net", |p| p.layers[3].number(64, 4), "layer field 64"),
    ("a mixer beside that is 2", |p| p.layers[4].number(7, 2), "beside at byte"),
    ("fields of a mixer that is not there", |p| p.layers[4].remove(7), "layer field 96"),
    ("no heads of a state space", |p| p.layers[4].remove(96), "layer n_scan_heads"),
    ("no width of these heads", |p| p.layers[4].remove(97), "layer scan_head_dim"),
    ("no width of a state", |p| p.layers[4].remove(98), "layer state_dim"),
    ("no groups of a state space", |p| p.layers[4].remove(99), "layer n_groups"),
    ("no kernel of a state space", |p| p.layers[4].remove(100), "layer conv_width"),
    ("no channels of a state space", |p| p.layers[5].remove(112), "layer scan_channels"),
    ("no width of their states", |p| p.layers[5].remove(113), "layer state_dim"),
    ("no rank of steps", |p| p.layers[5].remove(114), "layer step_rank"),
    ("no kernel of channels", |p| p.layers[5].remove(115), "layer conv_width"),
    ("heads of channels", |p| p.layers[5].number(96, 4), "layer field 96"),
    ("three limits", |p| p.layers[4].put(102, FLOATS, 1, &floats(&[0.0, 1.0, 2.0])), "3 numbers, not 2"),
    ("no norm, but before the gate", |p| p.layers[4].remove(103), "norm_before_gate at byte"),
    ("a flag of a convolution that is 2", |p| p.layers[2].number(66, 2), "conv_bias at byte"),
    ("no MLP", |p| p.layers[0].remove(256), "layer mlp"),
    ("0 experts", |p| p.layers[0].set_numbers(&[(259, 0), (260, 1), (261, 0)]), "n_experts"),
    ("too many experts", |p| p.layers[0].set_numbers(&[(259, 1025), (260, 1), (261, 0)]), "n_experts"),
    ("more active experts than there are", |p| p.layers[0].set_numbers(&[(259, 4), (260, 5), (261, 0)]), "n_active"),
    ("experts without scores", |p| p.layers[0].set_numbers(&[(259, 4), (260, 2)]), "scores of experts"),
    ("unknown scores", |p| p.layers[0].set_numbers(&[(259, 4), (260, 2), (261, 2)]), "2 is not known"),
    (
        "a gate of no shared expert",
        |p| p.layers[0].set_numbers(&[(259, 4), (260, 2), (261, 0), (266, 1)]),
        "shared_gate",
    ),
    ("experts without a gate", |p| p.layers[1].set_numbers(&[(259, 4), (260, 2), (261, 0)]), "experts have a gate"),
    ("no hidden_dim", |p| p.layers[0].remove(257), "layer hidden_dim"),
    ("no frequencies", |p| p.tables[0].remove(1), "rotary table rope_freqs"),
];

/// M-38: numbers that are out of range or do not fit each other.
const NUMBERS: &[Row] = &[
    ("dim 0", |p| p.network.number(2, 0), "dim at byte 0x4: 0 is outside 1..=65536"),
    ("dim 2^16 + 1", |p| p.network.number(2, 65_537), "65537 is outside"),
    ("vocab_size 2^20 + 1", |p| p.network.number(3, (1 << 20) + 1), "vocab_size"),
    ("context_length 2^32 - 1", |p| p.network.number(4, u32::MAX), "context_length"),
    ("norm_eps 0", |p| p.network.put(6, FLOAT, 1, &[0; 4]), "0 is outside (0, 1)"),
    ("norm_eps NaN", |p| p.network.put(6, FLOAT, 1, &f32::NAN.to_le_bytes()), "norm_eps"),
    ("norm_eps 1", |p| p.network.put(6, FLOAT, 1, &1_f32.to_le_bytes()), "norm_eps"),
    ("no layers", |p| p.layers.clear(), "n_layers at byte 0x4: 0 is outside 1..=1024"),
    ("no field of layers", |p| *p = without_layers(), "n_layers"),
    ("n_heads 0", |p| p.layers[0].number(16, 0), "n_heads"),
    ("n_heads 1025", |p| p.layers[0].number(16, 1025), "1025 is outside 1..=1024"),
    ("n_kv_heads 0", |p| p.layers[0].number(17, 0), "n_kv_heads"),
    ("heads that do not divide", |p| p.layers[0].number(17, 3), "3 does not divide n_heads 4"),
    ("more KV heads than heads", |p| p.layers[0].number(17, 8), "8 does not divide n_heads 4"),
    ("head_dim 0", |p| p.layers[0].number(18, 0), "head_dim"),
    ("head_dim 4097", |p| p.layers[0].number(18, 4097), "4097 is outside"),
    ("an odd head that turns", |p| p.layers[0].number(18, 11), "11 is odd"),
    ("channels 0", |p| p.layers[2].number(64, 0), "channels"),
    ("channels 2^16 + 1", |p| p.layers[2].number(64, 65_537), "65537 is outside 1..=65536"),
    ("key heads that do not divide", |p| p.layers[3].number(80, 3), "3 does not divide n_value_heads 4"),
    ("key heads 0", |p| p.layers[3].number(80, 0), "n_key_heads"),
    ("heads of a delta net 1025", |p| p.layers[3].number(81, 1025), "n_value_heads"),
    ("keys of 1025 elements", |p| p.layers[3].number(82, 1025), "1025 is outside 1..=1024"),
    ("values of 0 elements", |p| p.layers[3].number(83, 0), "value_dim"),
    ("a delta net over 33 positions", |p| p.layers[3].number(84, 33), "conv_width"),
    ("a kernel over 0 positions", |p| p.layers[2].number(65, 0), ": 0 is outside 1..=32"),
    ("a kernel over 33 positions", |p| p.layers[2].number(65, 33), "conv_width"),
    ("two mixers and a norm behind them", |p| p.layers[4].number(2, 3), "only Mamba 2 can stand beside an attention"),
    ("two mixers without a norm before them", |p| p.layers[4].number(2, 0), "beside at byte"),
    ("heads of a state space 0", |p| p.layers[4].number(96, 0), "n_scan_heads"),
    ("heads of a state space 1025", |p| p.layers[4].number(96, 1025), "1025 is outside 1..=1024"),
    ("heads of 1025 elements", |p| p.layers[4].number(97, 1025), "scan_head_dim"),
    (
        "heads of 66560 elements together",
        |p| p.layers[4].set_numbers(&[(96, 1024), (97, 65)]),
        "66560 is outside 1..=65536",
    ),
    ("a state of 1025 numbers", |p| p.layers[4].number(98, 1025), "state_dim"),
    ("groups that do not divide", |p| p.layers[4].number(99, 3), "3 does not divide n_scan_heads 4"),
    ("groups 0", |p| p.layers[4].number(99, 0), "n_groups"),
    ("a state space over 33 positions", |p| p.layers[4].number(100, 33), "conv_width"),
    ("channels of a state space 2^16 + 1", |p| p.layers[5].number(112, 65_537), "scan_channels"),
    ("states of 0 numbers", |p| p.layers[5].number(113, 0), "state_dim"),
    ("a rank of 0", |p| p.layers[5].number(114, 0), "step_rank"),
    ("channels over 33 positions", |p| p.layers[5].number(115, 33), "conv_width"),
    ("limits that descend", |p| p.layers[4].put(102, FLOATS, 1, &floats(&[2.0, 1.0])), "from 2 to 1"),
    ("a limit below 0", |p| p.layers[4].put(102, FLOATS, 1, &floats(&[-1.0, 1.0])), "step_limits"),
    ("a limit that is no number", |p| p.layers[4].put(102, FLOATS, 1, &floats(&[0.0, f32::NAN])), "from 0 to NaN"),
    ("parts of a norm that do not divide", |p| p.layers[4].number(103, 3), "3 does not divide the width 40"),
    ("parts of a norm 0", |p| p.layers[4].number(103, 0), "n_norm_groups"),
    ("norms of no MLP", |p| p.layers[4].number(3, 1), "0 is outside 1..=1048576"),
    ("no MLP, but biases", |p| p.layers[1].number(257, 0), "hidden_dim at byte"),
    ("hidden_dim 2^20 + 1", |p| p.layers[1].number(257, (1 << 20) + 1), "hidden_dim"),
    ("a window of 0", |p| p.layers[1].number(19, 0), ": 0 is outside 1..=4294967295"),
    ("a table that is not there", |p| p.layers[1].number(20, 2), "table 2 of 2"),
    ("table 2^32 - 1", |p| p.layers[0].number(20, u32::MAX), "rotary at byte"),
    ("a table of the wrong length", |p| p.layers[1].number(20, 0), "5 for head_dim 4"),
    ("a table of no elements", |p| p.tables[1].put(1, FLOATS, 1, b""), "0 for head_dim 4"),
    ("a table that nobody needs", |p| p.layers[1].remove(20), "no layer refers to table 1"),
    ("a frequency of NaN", |p| p.tables[1].put(1, FLOATS, 1, &floats(&[1.0, f32::NAN])), "element 1 is NaN"),
    ("a frequency of -1", |p| p.tables[0].put(1, FLOATS, 1, &floats(&[-1.0, 1.0, 1.0, 1.0, 1.0])), "element 0 is -1"),
    ("an infinite frequency", |p| p.tables[1].put(1, FLOATS, 1, &floats(&[f32::INFINITY, 1.0])), "element 0 is inf"),
];

/// Changes how many bytes the first record of the layers has by its own words.
fn record(p: &mut Plan, by: i64) {
    let mut content = records(&p.layers);
    let n = u32::from_le_bytes(content[4..8].try_into().expect("four bytes"));
    content[4..8].copy_from_slice(&((i64::from(n) + by) as u32).to_le_bytes());
    if by == 1 {
        // The byte too many is there, so that only the rule about rests is broken.
        content.insert(8 + n as usize, 0);
    }
    p.network.put(10, RECORDS, 1, &content);
}

fn without_layers() -> Plan {
    let mut plan = Plan { layers: vec![], tables: vec![], ..plan() };
    // An empty list of records under a tag that is skipped.
    plan.network.put(10, RECORDS, 1, &records(&[]));
    plan.network.put(9, RECORDS, 1, &records(&[]));
    plan
}

/// What the section `bytes` is refused with: one printable line of class data that names field and offset.
fn refused(rule: &str, bytes: &[u8]) -> String {
    let error = Config::decode(bytes).expect_err(rule);
    let line = error.to_string();
    assert_eq!(error.kind(), Kind::Data, "{rule}: {line}");
    assert!(error.named_field().is_some() && error.offset().is_some() && error.has_place(), "{rule}: {line}");
    assert!(error.offset() <= Some(bytes.len() as u64), "{rule}: {line}");
    assert!(line.len() < 500 && !line.chars().any(char::is_control), "{rule}: {line:?}");
    line
}

#[test]
fn every_broken_rule_is_refused_with_its_field_and_place() {
    for (rule, change, expected) in [LISTS, FIELDS, NUMBERS].concat() {
        let mut hostile = plan();
        change(&mut hostile);
        let line = refused(rule, &hostile.bytes());
        assert!(line.contains(expected), "{rule}: {line}");
    }
}

#[test]
fn counts_lengths_and_rests_are_held_against_the_bytes_that_are_there() {
    let valid = plan().bytes();
    type Change = fn(&mut Vec<u8>);
    let rows: [(&str, Change, u64, &str); 8] = [
        ("an unknown form", |b| b[0] = 3, 0, "unknown family 3"),
        ("the largest form", |b| b[..4].fill(255), 0, "unknown family 4294967295"),
        ("fields beyond the section", |b| b[4..8].fill(255), 4, "4294967295 elements of 8 bytes"),
        ("a field more than there are", |b| b[4] += 1, 0, "bytes needed"),
        ("a field less", |b| b[4] -= 1, 0, "unexpected bytes at the end"),
        ("a length past the end", |b| b[12..16].fill(255), 16, "4294967295 bytes needed"),
        ("a byte too many", |b| b.push(0), 0, "1 unexpected bytes"),
        ("nothing after the form", |b| b.truncate(4), 4, "0 left"),
    ];
    for (rule, change, at, expected) in rows {
        let mut bytes = valid.clone();
        change(&mut bytes);
        let line = refused(rule, &bytes);
        assert!(line.contains(expected), "{rule}: {line}");
        assert!(at == 0 || line.contains(&format!("at byte {at:#x}")), "{rule}: {line}");
    }
    for n in 0..valid.len() {
        refused("a cut", &valid[..n]);
    }
}

/// The model whose file is `bytes` with the configuration `conf`, and its logits after a few tokens.
fn logits(bytes: &[u8], conf: &[u8]) -> (Arc<Model>, Vec<u32>) {
    let valid = Hostile::of(bytes);
    let file = File::open(&valid.bytes).expect("valid");
    let ids: Vec<_> = file.sections().map(|(id, ..)| id).collect();
    let content = |id: &[u8; 4]| if id == b"CONF" { conf.to_vec() } else { valid.content(id).to_vec() };
    let contents: Vec<_> = ids.iter().map(|id| content(&id.0)).collect();
    let sections: Vec<(&[u8; 4], u32, &[u8])> =
        ids.iter().zip(&contents).map(|(id, content)| (&id.0, id.is_required().into(), &content[..])).collect();
    let changed = Hostile::of_sections(&sections, valid.weights_hash);
    let model = Arc::new(Model::open(Bytes::copy(&changed.bytes)).expect("a model"));
    let compute = Arc::new(Compute::new(kernels::detect(), 1).expect("threads"));
    let options = SessionOptions { context_length: 64, batch: 8, ..SessionOptions::default() };
    let mut session = Session::new(&model, &compute, options).expect("a session");
    let tokens: Vec<u32> = (0..40).map(|i| i * i % 256).collect();
    let logits = session.extend(&tokens).expect("room").iter().map(|logit| logit.to_bits()).collect();
    (model, logits)
}

/// M-37
#[test]
fn unknown_fields_that_are_not_required_change_nothing() {
    let folder = Folder::new("conf-unknown");
    let path = folder.path("model.whit");
    TinyModel { change: different, ..TinyModel::llama() }.write(&path);
    let bytes = std::fs::read(&path).expect("written");
    let (model, expected) = logits(&bytes, &plan().bytes());
    let changes: [fn(&mut Plan); 7] = [
        |p| p.network.put(0, NUMBER, 0, &[1; 4]),
        |p| p.network.put(u16::MAX, RECORDS, 0, b"these are no records"),
        |p| p.network.put(99, 200, 0, &[7; 100]),
        |p| p.layers.iter_mut().for_each(|layer| layer.put(255, NUMBER, 0, b"")),
        |p| p.layers[0].put(300, TEXT, 0, b"\xff"),
        |p| p.tables[1].put(9, 0, 0, b"x"),
        // The flag of a field that is known makes no difference.
        |p| {
            p.layers
                .iter_mut()
                .chain([&mut p.network])
                .for_each(|list| list.0.iter_mut().for_each(|field| field.2 ^= 1))
        },
    ];
    for (i, change) in changes.into_iter().enumerate() {
        let mut plan = plan();
        change(&mut plan);
        let (changed, got) = logits(&bytes, &plan.bytes());
        assert_eq!(changed.config(), model.config(), "{i}");
        assert!(got == expected, "{i}");
    }
}

#[test]
fn a_window_that_no_file_can_say_is_refused() {
    let Ok(beyond) = usize::try_from(1_u64 << 32) else { return };
    for (window, words) in
        [(beyond - 1, None), (beyond, Some("4294967296 is outside 1..=4294967295")), (0, Some("0 is outside"))]
    {
        let mut tiny = TinyModel::llama();
        tiny.config.sliding_window = Some(window);
        let errors = [(tiny.config.check(), "sliding_window: "), (tiny.plan().check(), "window: ")];
        for (result, field) in errors {
            let error = result.err().map(|error| error.to_string());
            let expected = words.map(|words| format!("{field}{words}"));
            match (&error, &expected) {
                (Some(error), Some(expected)) => assert!(error.starts_with(expected), "{error}"),
                _ => assert_eq!(error, expected),
            }
        }
    }
}
