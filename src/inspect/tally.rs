//! How many parameters a network has, and what they are for: the eight categories of 3Blue1Brown's "Transformers, the tech
//! behind LLMs" (2024), and what that count leaves out.

use crate::format::TensorEntry;
use crate::model::spec::{Role, Shape};
use crate::model::{Config, Family, Op, Uniform, tensors};

/// What parameters are for: the eight of the film in its order, then those it leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Category {
    /// Vectors of tokens.
    Embedding,
    /// Key matrices, one a key-value head.
    Key,
    /// Query matrices, one a head.
    Query,
    /// Value matrices, one a key-value head; the film's "value down".
    Value,
    /// Output matrices, one a block; the film's "value up".
    Output,
    /// The MLP's first matrices.
    Up,
    /// The MLP's second matrices.
    Down,
    /// The directions of the logits.
    Unembedding,
    /// Gates of SwiGLU.
    Gate,
    /// Matrices and kernels of short convolutions, where they stand in the place of attention.
    Convolution,
    /// Matrices and rates of delta nets, where they stand in the place of attention.
    DeltaNet,
    /// Vectors of tokens for each block, and the matrices that bring them in.
    LayerInput,
    /// Matrices and rates of state spaces, where they stand in the place of attention or beside it.
    StateSpace,
    /// Vectors of positions.
    Position,
    /// Weights and biases of norms.
    Norm,
    /// Biases of linear layers, and sinks of attention.
    Bias,
}

impl Category {
    /// All categories, the film's eight first.
    pub const ALL: [Category; 16] = [
        Category::Embedding,
        Category::Key,
        Category::Query,
        Category::Value,
        Category::Output,
        Category::Up,
        Category::Down,
        Category::Unembedding,
        Category::Gate,
        Category::Convolution,
        Category::DeltaNet,
        Category::LayerInput,
        Category::StateSpace,
        Category::Position,
        Category::Norm,
        Category::Bias,
    ];

    /// The name.
    pub fn name(self) -> &'static str {
        match self {
            Category::Embedding => "embedding",
            Category::Key => "key",
            Category::Query => "query",
            Category::Value => "value",
            Category::Output => "output",
            Category::Up => "up-projection",
            Category::Down => "down-projection",
            Category::Unembedding => "unembedding",
            Category::Gate => "gate",
            Category::Convolution => "convolution",
            Category::DeltaNet => "delta net",
            Category::LayerInput => "layer inputs",
            Category::StateSpace => "state space",
            Category::Position => "positions",
            Category::Norm => "norms",
            Category::Bias => "biases",
        }
    }

    /// Whether the film counts it.
    pub fn in_film(self) -> bool {
        (self as usize) < 8
    }

    fn of(role: Role) -> Self {
        match role {
            Role::Embedding => Category::Embedding,
            Role::Position => Category::Position,
            Role::Norm => Category::Norm,
            Role::Bias => Category::Bias,
            Role::Query => Category::Query,
            Role::Key => Category::Key,
            Role::Value => Category::Value,
            Role::Output => Category::Output,
            Role::ConvInput | Role::ConvKernel | Role::ConvOutput => Category::Convolution,
            Role::DeltaInput | Role::DeltaRate | Role::DeltaOutput => Category::DeltaNet,
            Role::LayerEmbedding | Role::LayerInput => Category::LayerInput,
            Role::ScanInput | Role::ScanRate | Role::ScanOutput => Category::StateSpace,
            Role::Gate | Role::Router => Category::Gate,
            Role::Up => Category::Up,
            Role::Down => Category::Down,
            Role::Unembedding => Category::Unembedding,
        }
    }

    /// Heads that a tensor of this category is split over: each has a matrix of its own.
    fn heads(self, config: &Config, layer: Option<usize>) -> usize {
        let attention = layer.and_then(|layer| config.layers[layer].attention());
        match (self, attention) {
            (Category::Query, Some(attention)) => attention.n_heads,
            (Category::Key | Category::Value, Some(attention)) => attention.n_kv_heads,
            _ => 1,
        }
    }
}

/// The parameters of one category.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The category.
    pub category: Category,
    /// Rows and columns of each matrix, as (out, in); `None` of vectors, and where matrices differ.
    pub shape: Option<(usize, usize)>,
    /// Matrices in a block, or outside of the blocks; `None` where blocks differ.
    pub heads: Option<usize>,
    /// Blocks that have some; 1 outside of the blocks.
    pub layers: usize,
    /// Matrices; 0 of vectors.
    pub matrices: u64,
    /// Parameters.
    pub count: u64,
    /// Bytes in a file.
    pub bytes: u64,
    /// The unembedding that is the embedding: counted here, stored there.
    pub shared: bool,
}

impl Row {
    /// Bits a parameter in a file; `None` where nothing is stored.
    pub fn bits(&self) -> Option<f64> {
        (self.bytes > 0).then(|| 8.0 * self.bytes as f64 / self.count as f64)
    }
}

/// A network's parameters by category.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    /// The categories that are there, in order.
    pub rows: Vec<Row>,
    /// Which op reads how many bytes of which category.
    reads: Vec<(Op, Category, u64)>,
    /// Parameters that a token uses of those that are stored: of experts, as many as it chooses.
    pub used: u64,
}

impl Tally {
    /// Counts the network that `config` describes; bytes are those of the `stored` tensors.
    pub fn new(config: &Config, stored: &[TensorEntry<'_>]) -> Self {
        let mut rows: Vec<Row> = Vec::new();
        let mut reads = Vec::new();
        let mut used = 0;
        // Of each category the block in which it was met last: tensors come block by block.
        let mut last = [None; Category::ALL.len()];
        for tensor in tensors(config) {
            let category = Category::of(tensor.role);
            let heads = category.heads(config, tensor.layer);
            let (shape, matrices) = match tensor.shape {
                Shape::Matrix(rows, cols) => (Some((rows / heads, cols)), heads as u64),
                Shape::Vector(_) => (None, 0),
            };
            let is_new = tensor.layer.is_some() && last[category as usize] != tensor.layer;
            last[category as usize] = tensor.layer;
            let bytes = stored.iter().find(|entry| entry.name == tensor.name).map_or(0, |entry| entry.bytes);
            let count: u64 = tensor.shape.dims().iter().product();
            used += tensor.used(count);
            reads.extend(tensor.reads.iter().map(|&(op, _)| match op {
                Op::Unembedding if category == Category::Embedding => (op, Category::Unembedding, bytes),
                _ => (op, category, bytes),
            }));
            match rows.iter_mut().find(|row| row.category == category) {
                Some(row) => {
                    row.count += count;
                    row.bytes += bytes;
                    row.matrices += matrices;
                    row.shape = row.shape.filter(|of_all| Some(*of_all) == shape);
                    row.heads = row.heads.filter(|of_all| *of_all == heads);
                    row.layers += usize::from(is_new);
                }
                None => {
                    let heads = Some(heads);
                    let layers = usize::from(is_new);
                    rows.push(Row { category, shape, heads, layers, matrices, count, bytes, shared: false });
                }
            }
        }
        rows.iter_mut().for_each(|row| row.layers = row.layers.max(1));
        if config.tied {
            let embedding = rows.iter().find(|row| row.category == Category::Embedding).copied();
            rows.extend(embedding.map(|row| Row { category: Category::Unembedding, bytes: 0, shared: true, ..row }));
        }
        rows.sort_by_key(|row| row.category as usize);
        Tally { rows, reads, used }
    }

    /// The part of `op` that reads what `category` counts, by bytes; 0 of an op that reads nothing. Biases have no part: they are
    /// added where products are made.
    pub fn part(&self, op: Op, category: Category) -> f64 {
        let bytes = |wanted: &dyn Fn(Category) -> bool| -> u64 {
            let read = self.reads.iter().filter(|(by, of, _)| *by == op && *of != Category::Bias && wanted(*of));
            read.map(|(_, _, bytes)| bytes).sum()
        };
        bytes(&|of| of == category) as f64 / bytes(&|_| true).max(1) as f64
    }

    /// Whether `op` reads parameters.
    pub fn is_read_by(&self, op: Op) -> bool {
        self.reads.iter().any(|(by, ..)| *by == op)
    }

    /// Parameters and matrices of the film's eight categories, a shared table counted for each of its uses as the film does.
    pub fn film(&self) -> (u64, u64) {
        let rows = self.rows.iter().filter(|row| row.category.in_film());
        rows.fold((0, 0), |(count, matrices), row| (count + row.count, matrices + row.matrices))
    }

    /// Parameters that are stored: everything, shared tables once.
    pub fn stored(&self) -> u64 {
        self.rows.iter().filter(|row| !row.shared).map(|row| row.count).sum()
    }
}

/// Networks known by name, as their papers give them: name, dim, layers, heads, context length.
const KNOWN: [(&str, usize, usize, usize, usize); 5] = [
    ("gpt2", 768, 12, 12, 1024),
    ("gpt2-medium", 1024, 24, 16, 1024),
    ("gpt2-large", 1280, 36, 20, 1024),
    ("gpt2-xl", 1600, 48, 25, 1024),
    // Brown et al. 2020, table 2.1.
    ("gpt-3", 12288, 96, 96, 2048),
];

/// The configuration of a network known by name; its tables are shared, its MLP is four times as wide as the stream.
pub fn known(name: &str) -> Option<Config> {
    let (_, dim, n_layers, n_heads, context_length) = *KNOWN.iter().find(|known| known.0 == name)?;
    let uniform = Uniform {
        family: Family::Gpt2,
        dim,
        hidden_dim: 4 * dim,
        n_layers,
        n_heads,
        n_kv_heads: n_heads,
        head_dim: dim / n_heads,
        vocab_size: 50257,
        context_length,
        norm_eps: 1e-5,
        sliding_window: None,
        tied: true,
        qkv_bias: true,
        output_bias: true,
        mlp_bias: true,
        qk_norm: false,
        rope_freqs: Vec::new(),
    };
    Some(uniform.config())
}

/// The names that [`known`] knows.
pub fn known_names() -> impl Iterator<Item = &'static str> {
    KNOWN.iter().map(|known| known.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Model;

    #[test]
    fn gpt_3_is_counted_as_in_the_film() {
        let tally = Tally::new(&known("gpt-3").expect("known"), &[]);
        assert_eq!(tally.film(), (175_181_291_520, 27_938));
        let of = |category| tally.rows.iter().find(|row| row.category == category).expect("a row");
        for (categories, count) in [
            (&[Category::Embedding, Category::Unembedding][..], 617_558_016),
            (&[Category::Key, Category::Query, Category::Value, Category::Output], 14_495_514_624),
            (&[Category::Up, Category::Down], 57_982_058_496),
        ] {
            categories.iter().for_each(|category| assert_eq!(of(*category).count, count, "{category:?}"));
        }
        assert_eq!((of(Category::Key).shape, of(Category::Key).matrices), (Some((128, 12288)), 96 * 96));
        assert!(of(Category::Unembedding).shared);
    }

    #[test]
    fn layers_that_differ_are_counted_one_by_one() {
        let mut config = known("gpt2").expect("known");
        config.layers.truncate(3);
        let alike = Tally::new(&config, &[]);
        let attention = config.layers[1].attention_mut().expect("attention");
        (attention.n_heads, attention.n_kv_heads, attention.head_dim) = (6, 2, 128);
        config.layers[2].mlp.hidden_dim = 1000;
        config.layers[2].mlp.bias = false;
        let tally = Tally::new(&config, &[]);
        let of = |tally: &Tally, category| {
            let row = *tally.rows.iter().find(|row| row.category == category).expect("a row");
            (row.shape, row.heads, row.layers, row.matrices)
        };
        assert_eq!(of(&alike, Category::Query), (Some((64, 768)), Some(12), 3, 36));
        assert_eq!(of(&tally, Category::Query), (None, None, 3, 12 + 6 + 12));
        assert_eq!(of(&tally, Category::Key), (None, None, 3, 12 + 2 + 12));
        assert_eq!(of(&tally, Category::Output), (Some((768, 768)), Some(1), 3, 3));
        assert_eq!(of(&tally, Category::Up), (None, Some(1), 3, 3));
        assert_eq!(of(&tally, Category::Norm), (None, Some(1), 3, 0));
        assert_eq!(of(&tally, Category::Embedding), (Some((50257, 768)), Some(1), 1, 1));
        let counted =
            tally.rows.iter().filter(|row| row.matrices > 0 && row.category.in_film()).map(|row| row.matrices);
        assert_eq!(tally.film().1, counted.sum::<u64>());
    }

    #[test]
    fn the_sizes_of_gpt_2_are_those_that_are_published() {
        let stored = |name| Tally::new(&known(name).expect("known"), &[]).stored();
        assert_eq!(stored("gpt2"), 124_439_808);
        assert_eq!(stored("gpt2-medium"), 354_823_168);
        assert_eq!(stored("gpt2-large"), 774_030_080);
        assert_eq!(stored("gpt2-xl"), 1_557_611_200);
        assert_eq!(known("gpt-9"), None);
        assert_eq!(known_names().count(), KNOWN.len());
    }

    #[test]
    fn a_model_is_counted_to_the_last_parameter_and_byte() {
        let Some(bytes) = crate::default_model() else { return };
        let model = Model::open(bytes).expect("the story model");
        let file = model.file();
        let tally = Tally::new(model.config(), file.tensors());
        let elements = |entry: &TensorEntry<'_>| entry.dims().iter().product::<u64>();
        assert_eq!(tally.stored(), file.tensors().iter().map(elements).sum::<u64>());
        assert_eq!(tally.rows.iter().map(|row| row.bytes).sum::<u64>(), model.weight_bytes());
    }

    #[test]
    fn an_op_is_parted_among_what_it_reads() {
        let Some(bytes) = crate::default_model() else { return };
        let model = Model::open(bytes).expect("the story model");
        let mut config = model.config().clone();
        let parts = |config: &Config| {
            let table = tensors(config);
            let entry = |name| TensorEntry { name, ..model.file().tensors()[0] };
            let tally = Tally::new(config, &table.iter().map(|spec| entry(&*spec.name)).collect::<Vec<_>>());
            let whole = |op: &Op| (Category::ALL.map(|of| tally.part(*op, of)).iter().sum::<f64>() - 1.0).abs() < 1e-12;
            let read = Op::ALL.into_iter().filter(whole).collect::<Vec<_>>();
            assert!(Op::ALL.iter().all(|op| tally.is_read_by(*op) == read.contains(op)));
            (read.len(), tally.part(Op::Qkv, Category::Query), tally.part(Op::DownNorm, Category::Norm))
        };
        // Attention has three ops that read no parameters, and none of a convolution, a delta net, experts, layer inputs or a
        // state space.
        let all_but_caches = Op::ALL.len() - 3 - 7 - 5 - 5;
        assert_eq!(parts(&config), (all_but_caches - 2, 1.0 / 3.0, 0.0));
        config.layers[1].mixer_norms.output = true;
        config.layers[1].mlp_norms.output = true;
        assert_eq!(parts(&config), (all_but_caches, 1.0 / 3.0, 1.0));
    }
}
