//! Tiny models with random weights, written through the public writer, and a folder to write them into.
#![allow(dead_code, unreachable_pub, reason = "every test program uses its own part")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use whit::format::writer::{TensorPlan, Writer};
use whit::format::{FileKind, SectionId, TensorErrors};
use whit::generate::ModelFile;
use whit::model::spec::{Part, Role, Shape};
use whit::model::{Config, Family, GenerationDefaults, Model, Uniform, tensors};
use whit::quant::{Dtype, PANEL_ROWS, encode_panel, panel_bytes};
use whit::sampler::Rng;
use whit::tokenizer::{PreTokenizer, Token, TokenKind, Vocabulary, VocabularyModel};

/// A folder that goes when the value does.
pub struct Folder(PathBuf);

impl Folder {
    /// A new folder for the test `name`.
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("whit-test-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("a temporary folder");
        Folder(path)
    }

    /// The path of `name` in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes `bytes` to `name`.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).expect("a written file");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The end-of-text token of [`TinyModel`]: 256, after the bytes; 257 and 258 are the pieces "he" and "the".
pub const END: u32 = 256;

/// A model with random weights over bytes.
pub struct TinyModel {
    /// Its dimensions, where all layers are alike.
    pub config: Uniform,
    /// What is changed in its plan of layers.
    pub change: fn(&mut Config),
    /// Dtype of its matrices.
    pub dtype: Dtype,
    /// Whether there is a token that begins and ends a text; it is never put in front by itself.
    pub has_end: bool,
    /// Chat template.
    pub template: Option<&'static str>,
    /// What generation starts from.
    pub defaults: GenerationDefaults,
    /// Fills this tensor with NaN.
    pub poisoned: Option<&'static str>,
    /// Seed of the weights.
    pub seed: u64,
}

impl TinyModel {
    /// Two layers, odd dimensions, grouped queries.
    pub fn llama() -> Self {
        let config = Uniform {
            family: Family::Llama,
            dim: 40,
            hidden_dim: 72,
            n_layers: 2,
            n_heads: 4,
            n_kv_heads: 2,
            head_dim: 10,
            vocab_size: 259,
            context_length: 64,
            norm_eps: 1e-5,
            sliding_window: None,
            tied: true,
            qkv_bias: false,
            output_bias: false,
            mlp_bias: false,
            qk_norm: false,
            rope_freqs: vec![1.0, 0.3, 0.1, 0.03, 0.01],
        };
        let (defaults, seed) = (GenerationDefaults::default(), 1);
        TinyModel {
            config,
            change: |_| (),
            dtype: Dtype::Int8,
            has_end: true,
            template: None,
            defaults,
            poisoned: None,
            seed,
        }
    }

    /// Two layers with learned positions and biases.
    pub fn gpt2() -> Self {
        let mut model = Self::llama();
        let config = &mut model.config;
        (config.family, config.n_kv_heads) = (Family::Gpt2, config.n_heads);
        (config.qkv_bias, config.output_bias, config.mlp_bias) = (true, true, true);
        config.rope_freqs.clear();
        model
    }

    /// Its plan of layers.
    pub fn plan(&self) -> Config {
        let mut config = self.config.config();
        (self.change)(&mut config);
        config
    }

    /// The model, written to `path` and opened.
    pub fn open(&self, path: &Path) -> Arc<Model> {
        Arc::clone(self.open_file(path).model())
    }

    /// The model with its file, written to `path` and opened.
    pub fn open_file(&self, path: &Path) -> ModelFile {
        self.write(path);
        ModelFile::open(path).expect("a model")
    }

    /// Writes the model to `path`.
    pub fn write(&self, path: &Path) {
        self.write_with(path, Vec::new());
    }

    /// Writes the model to `path`, with `more` sections.
    pub fn write_with(&self, path: &Path, more: Vec<(SectionId, Vec<u8>)>) {
        self.write_as(path, None, more);
    }

    /// The same with the tokenizer `section` in the place of its own, if there is one.
    pub fn write_as(&self, path: &Path, section: Option<Vec<u8>>, more: Vec<(SectionId, Vec<u8>)>) {
        let config = self.plan();
        let specs = tensors(&config);
        let dtype_of = |role: Role| if role.allows(self.dtype) { self.dtype } else { role.min_dtype() };
        let plan = specs.iter().map(|spec| TensorPlan {
            name: spec.name.clone(),
            dtype: dtype_of(spec.role),
            dims: spec.shape.dims(),
        });
        let mut sections = vec![
            (SectionId::CONF, config.encode()),
            (SectionId::TOKN, section.unwrap_or_else(|| self.vocabulary().build().expect("a vocabulary"))),
            (SectionId::GENR, self.defaults.encode()),
        ];
        sections.extend(self.template.map(|template| (SectionId::TMPL, template.as_bytes().to_vec())));
        sections.extend(more);
        let mut writer =
            Writer::create(path, FileKind::LanguageModel, sections, plan.collect(), true).expect("a writer");
        let mut rng = Rng::new(self.seed);
        for spec in &specs {
            let poisoned = self.poisoned == Some(spec.name.as_str());
            let mut value = |scale: f32, shift: f32| match poisoned {
                true => f32::NAN,
                false => (rng.uniform() as f32 * 2.0 - 1.0) * scale + shift,
            };
            let shift = match spec.part {
                // What is remembered fades.
                Part::ScanRate => -0.6,
                _ if spec.role == Role::Norm && !spec.is_bias => 1.0,
                _ => 0.0,
            };
            match spec.shape {
                Shape::Vector(n) => {
                    let bytes: Vec<u8> = (0..n).flat_map(|_| value(0.1, shift).to_le_bytes()).collect();
                    writer.write(&bytes).expect("written");
                }
                Shape::Matrix(rows, cols) => {
                    let dtype = dtype_of(spec.role);
                    let mut panel = vec![0; panel_bytes(dtype, cols)];
                    for start in (0..rows).step_by(PANEL_ROWS) {
                        let n = PANEL_ROWS.min(rows - start) * cols;
                        let values: Vec<f32> = (0..n).map(|_| value(0.5, shift)).collect();
                        encode_panel(dtype, &values, cols, &mut panel);
                        writer.write(&panel).expect("written");
                    }
                }
            }
            writer.finish_tensor(TensorErrors { rms: 0.001, max: 0.01, signal_rms: 0.3 }).expect("finished");
        }
        writer.finish().expect("a whole file");
    }

    fn vocabulary(&self) -> Vocabulary {
        let token = |bytes: &[u8], kind| Token { bytes: bytes.to_vec(), kind, score: 0.0 };
        let mut tokens: Vec<Token> = (0..=255).map(|byte| token(&[byte], TokenKind::Normal)).collect();
        // By its name alone a token can end a text.
        tokens.push(token(if self.has_end { b"<|end|>" } else { b"<|mark|>" }, TokenKind::Control));
        tokens.push(token(b"he", TokenKind::Normal));
        tokens.push(token(b"the", TokenKind::Normal));
        let merges = vec![(b"h".to_vec(), b"e".to_vec()), (b"t".to_vec(), b"he".to_vec())];
        let end = self.has_end.then_some(END);
        let model = VocabularyModel::ByteLevel { pre: PreTokenizer::Gpt2, merges, ignore_merges: false };
        Vocabulary { tokens, model, bos: end, eos: end, unk: None, add_bos: false }
    }
}
