//! Where a case is tried: a folder for its files, the readers under measurement, and the model that must then write.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use quantize::convert::{self, Dtypes, Texts};
use quantize::source::{Checkpoint, OpenOptions, WordVectors};
use whit::error::{Error, Kind, moves_cursor};
use whit::format::{Bytes, SectionId};
use whit::generate::{StopRules, Writer};
use whit::inspect;
use whit::model::saved::Saved;
use whit::ops::KvDtype;
use whit::os::Mapping;
use whit::quant::Dtype;
use whit::sampler::{Sampler, SamplerOptions};
use whit::tokenizer::{Specials, Tokenizer};
use whit::{Compute, File, Model, Session, SessionOptions, kernels};

use crate::memory::{self, Usage};
use crate::random::Random;

/// The files of a case: base names and bytes.
pub type Files = Vec<(String, Vec<u8>)>;

/// Tokens written by a model that was accepted.
const WRITTEN: usize = 4;
/// Positions that saved texts go on in, where the model sets no limit.
const MOST_POSITIONS: usize = 256;
/// Processor time that reading a case may take: what takes the most, a template that is refused for its steps, takes about a second on
/// a busy machine.
const MOST_WORK: Duration = Duration::from_secs(3);
/// Bytes of an error message, at most.
const MAX_MESSAGE: usize = 2000;

/// Why a case ended before the model wrote.
#[derive(Debug)]
pub enum Stop {
    /// The input was refused.
    Refused(Error),
    /// A promise was broken; this says which.
    Broken(String),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Stop::Refused(error)
    }
}

/// The outcome of a case.
pub type Verdict = Result<(), Stop>;

/// The heap that reading a case of `n` bytes may take: the peak, and one allocation.
#[derive(Debug, Clone, Copy)]
pub struct Bound {
    peak: [usize; 2],
    largest: [usize; 2],
}

impl Bound {
    /// 16 MiB + 4 n; at once 1 MiB + n.
    pub const PLAIN: Bound = Bound { peak: [16 << 20, 4], largest: [1 << 20, 1] };
    /// Of GGUF. Pairs and tensors, 65,536 of each at most, are listed in 64 bytes each: at once 4 MiB. A token takes 21 bytes
    /// of the file at least, some 200 in the tables that are built of it, 75 of them at once.
    pub const GGUF: Bound = Bound { peak: [16 << 20, 12], largest: [4 << 20, 4] };
    /// Of JSON. A value is 2 bytes in the text and 16 in the tree, which grows by doubling.
    pub const JSON: Bound = Bound { peak: [16 << 20, 32], largest: [1 << 20, 16] };
    /// Of a pickle. A value of one byte is 24 on the stack and 48 in a dictionary, both of which grow by doubling.
    pub const PICKLE: Bound = Bound { peak: [16 << 20, 160], largest: [1 << 20, 64] };
    /// Of word vectors. A word takes 40 bytes and two in a table of words, which grow by doubling, and four of the file at least.
    pub const WORDS: Bound = Bound { peak: [16 << 20, 64], largest: [1 << 20, 24] };
    /// Of rules and texts under them: what a grammar is compiled to, bounded by the engine's own limits.
    pub const RULES: Bound = Bound { peak: [128 << 20, 256], largest: [16 << 20, 64] };
    /// Of a request to a server: rules and texts under them, and what is told of each token of an answer.
    pub const REQUEST: Bound = Bound { peak: [192 << 20, 256], largest: [16 << 20, 64] };
    /// Of a chat template: what it pays for by the byte, 64 MiB and 64 bytes for each of the messages.
    pub const TEMPLATE: Bound = Bound { peak: [72 << 20, 256], largest: [64 << 20, 64] };
}

/// The bench of one process.
pub struct Bench {
    folder: PathBuf,
    written: Vec<String>,
    compute: Arc<Compute>,
    bound: Bound,
    usage: Usage,
}

impl Bench {
    /// A bench that puts files into `folder`, which exists.
    pub fn new(folder: PathBuf, bound: Bound) -> whit::Result<Self> {
        let compute = Arc::new(Compute::new(kernels::detect(), 1)?);
        Ok(Bench { folder, written: Vec::new(), compute, bound, usage: Usage::default() })
    }

    /// The most that reading has taken so far.
    pub fn usage(&self) -> Usage {
        self.usage
    }

    /// Puts the files of a checkpoint where [`Checkpoint::open`] finds them: the folder, or in it the file of that name.
    pub fn checkpoint(&mut self, files: &Files, opened: Option<&str>) -> Result<PathBuf, Stop> {
        let failed = |error: std::io::Error| Stop::Broken(format!("the scratch folder fails: {error}"));
        for name in std::mem::take(&mut self.written) {
            if !files.iter().any(|(other, _)| *other == name) {
                std::fs::remove_file(self.folder.join(name)).map_err(failed)?;
            }
        }
        for (name, bytes) in files {
            std::fs::write(self.folder.join(name), bytes).map_err(failed)?;
            self.written.push(name.clone());
        }
        Ok(opened.map_or_else(|| self.folder.clone(), |name| self.folder.join(name)))
    }

    /// Runs a reader of `bytes` bytes and holds it to the bound.
    pub fn reading<T>(&mut self, bytes: usize, read: impl FnOnce() -> whit::Result<T>) -> Result<T, Stop> {
        let before = processor_time();
        let (result, usage) = memory::measured(read);
        let work = processor_time().saturating_sub(before);
        self.usage = self.usage.max(usage);
        let over = |used: usize, [base, per_byte]: [usize; 2]| used > base + per_byte * bytes;
        if over(usage.peak, self.bound.peak) {
            return Err(Stop::Broken(format!("reading {bytes} bytes took {} bytes of heap", usage.peak)));
        }
        if over(usage.largest, self.bound.largest) {
            return Err(Stop::Broken(format!("reading {bytes} bytes allocated {} at once", usage.largest)));
        }
        if work > MOST_WORK {
            return Err(Stop::Broken(format!("reading {bytes} bytes took {} ms of work", work.as_millis())));
        }
        result.map_err(|error| match complaint(&error) {
            Some(what) => Stop::Broken(format!("{what}: {error}")),
            None => Stop::Refused(error),
        })
    }

    /// Reads the checkpoint at `path`, converts it and has the model write.
    pub fn convert(&mut self, path: &Path, bytes: usize, random: &mut Random) -> Verdict {
        self.convert_with(path, &OpenOptions::default(), bytes, random)
    }

    /// As [`Bench::convert`], with `options`.
    pub fn convert_with(&mut self, path: &Path, options: &OpenOptions, bytes: usize, random: &mut Random) -> Verdict {
        let source = self.reading(bytes, || {
            let source = Checkpoint::open(path, options)?;
            source.tokenizer_section()?;
            Ok(source)
        })?;
        let dtypes = Dtypes { weights: random.pick(&Dtype::ALL), keep: [].into() };
        let output = self.folder.join("output.whit");
        convert::convert(&source, &output, &dtypes, Texts::default(), true, &mut |_, _| Ok(())).map_err(checked)?;
        let mapping = Mapping::open(&output).map_err(|error| Stop::Broken(format!("nothing was written: {error}")))?;
        let bytes = Bytes::new(mapping);
        let verified = File::open(&bytes).and_then(|file| file.verify(&mut |_| {}));
        match verified.and_then(|()| Model::open(bytes.clone())) {
            Ok(model) => self.write(&Arc::new(model), random),
            Err(error) => Err(Stop::Broken(format!("quantize wrote what whit refuses: {error}"))),
        }
    }

    /// Reads the word vectors at `path`, converts them and finds each word by its name.
    pub fn convert_words(&mut self, path: &Path, bytes: usize, random: &mut Random) -> Verdict {
        let words = self.reading(bytes, || WordVectors::open(path))?;
        let Some(words) = words else {
            return Err(Stop::Refused(Error::data("no word vectors").at(0)));
        };
        let output = self.folder.join("output.whit");
        let dtype = random.pick(&Dtype::ALL);
        convert::convert_words(&words, &output, dtype, true, &mut |_, _| Ok(())).map_err(checked)?;
        let found = || -> whit::Result<bool> {
            let bytes = Bytes::new(Mapping::open(&output)?);
            let file = File::open(&bytes)?;
            file.verify(&mut |_| {})?;
            let tokenizer = Tokenizer::open(file.require(SectionId::TOKN)?)?;
            let tokens = words.vocabulary().tokens;
            let name = |id: usize| String::from_utf8_lossy(&tokens[id].bytes).into_owned();
            Ok((0..tokens.len()).all(|id| tokenizer.special(&name(id)) == Some(id as u32)))
        };
        match found() {
            Ok(true) => Ok(()),
            Ok(false) => Err(Stop::Broken("a word is not found by its name".into())),
            Err(error) => Err(Stop::Broken(format!("quantize wrote what whit refuses: {error}"))),
        }
    }

    /// Opens `bytes` as a `.whit` file and has the model write.
    pub fn open(&mut self, bytes: &[u8], random: &mut Random) -> Verdict {
        let copy = Bytes::copy(bytes);
        let file = self.reading(bytes.len(), || File::open(&copy))?;
        // A tensor's hash that is wrong is found on demand only: the model opens all the same.
        if let Err(Stop::Broken(what)) = self.reading(bytes.len(), || file.verify(&mut |_| {})) {
            return Err(Stop::Broken(what));
        }
        let report = match self.reading(bytes.len(), || file.quality()) {
            Err(Stop::Broken(what)) => return Err(Stop::Broken(what)),
            report => report.ok().flatten(),
        };
        let model = Arc::new(self.reading(bytes.len(), || Model::open(copy.clone()))?);
        if let Some(report) = report.filter(|report| report.tokens.len() <= MOST_POSITIONS) {
            let compared = inspect::compare(&report, &model, &self.compute, &mut |_| Ok(()));
            if let Err(Stop::Broken(what)) = compared.map_err(checked) {
                return Err(Stop::Broken(what));
            }
        }
        self.write(&model, random)
    }

    /// Goes on with a saved text: what was verified may still be more than the context holds, or hold keys that are no numbers.
    pub fn go_on(&self, model: &Arc<Model>, kv: KvDtype, saved: &Saved<'_>, random: &mut Random) -> Verdict {
        let config = model.config();
        let most = if config.learned_positions { config.context_length } else { MOST_POSITIONS };
        let context_length = most.min(saved.tokens.len().saturating_add(WRITTEN)).max(1);
        let options = SessionOptions { context_length, kv, batch: random.within(1, 8), ..SessionOptions::default() };
        let mut goes_on = || -> whit::Result<()> {
            let mut session = Session::new(model, &self.compute, options)?;
            saved.restore(session.state_mut())?;
            session.rewind(session.position().saturating_sub(random.below(3)));
            let rest = saved.tokens.get(session.position()..).unwrap_or_default();
            if !rest.is_empty() {
                session.extend(rest)?;
            }
            for token in 0..WRITTEN.min(context_length - session.position()) {
                session.extend(&[token as u32])?;
            }
            Ok(())
        };
        goes_on().map_err(checked)
    }

    /// Four tokens after a prompt. Weights that are no numbers end in an error, which is right.
    fn write(&self, model: &Arc<Model>, random: &mut Random) -> Verdict {
        let config = model.config();
        let context_length = config.context_length.min(3 * WRITTEN);
        let kv = random.pick(&KvDtype::ALL);
        let options = SessionOptions { context_length, kv, batch: random.within(1, 8), ..SessionOptions::default() };
        let mut written = || -> whit::Result<()> {
            let mut session = Session::new(model, &self.compute, options)?;
            let temperature = random.pick(&[0.0, 1.0]);
            let options = SamplerOptions { temperature, ..SamplerOptions::default() };
            let mut sampler = Sampler::new(options, config.vocab_size)?;
            let Some(tokenizer) = model.tokenizer() else {
                let mut token = 0;
                for _ in 0..WRITTEN.min(context_length) {
                    token = sampler.sample(session.extend(&[token])?)?;
                }
                return Ok(());
            };
            let mut prompt: Vec<u32> = tokenizer.bos().filter(|_| tokenizer.adds_bos()).into_iter().collect();
            let specials = random.pick(&[Specials::AsText, Specials::Parse]);
            tokenizer.encode(&prompt_text(random), specials, &mut prompt);
            prompt.truncate(2 * WRITTEN.min(context_length.div_ceil(3)));
            prompt.truncate(context_length);
            if prompt.is_empty() {
                prompt.push(0);
            }
            let rules = StopRules {
                n_tokens: Some(WRITTEN),
                stops: vec!["ab".into()],
                end_tokens: model.end_tokens(),
                ..StopRules::default()
            };
            let mut writer = Writer::new(model, &prompt, context_length, sampler, rules)?;
            writer.prefill(&mut session, 3, &mut |_| true, &mut ())?;
            while writer.next_piece(&mut session, &mut ())?.is_some() {}
            Ok(())
        };
        match written().map_err(checked) {
            Err(Stop::Broken(what)) => Err(Stop::Broken(what)),
            _ => Ok(()),
        }
    }
}

/// The time that this thread has had of a processor; zero where the system does not say.
pub(crate) fn processor_time() -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(told.split(' ').next().and_then(|nanoseconds| nanoseconds.parse().ok()).unwrap_or(0))
}

/// Texts that make tokenizers work: what the tiny vocabularies spell, and what none spells.
fn prompt_text(random: &mut Random) -> String {
    const PARTS: [&str; 16] =
        ["a", "b", "ab", " ", "  ", "\n", "é", "e\u{301}", "中", "😀", "1", "'s", "<s>", "<x>", "\u{2581}", "\u{0}"];
    (0..random.below(12)).map(|_| random.pick(&PARTS)).collect()
}

fn checked(error: Error) -> Stop {
    match complaint(&error) {
        Some(what) => Stop::Broken(format!("{what}: {error}")),
        None => Stop::Refused(error),
    }
}

/// What is wrong with the message of a refusal.
fn complaint(error: &Error) -> Option<&'static str> {
    let shown = error.to_string();
    if shown.contains(moves_cursor) {
        Some("a message that moves the cursor")
    } else if shown.len() > MAX_MESSAGE {
        Some("a message that fills the screen")
    } else if shown.ends_with(": ") || shown.is_empty() {
        Some("a message that says nothing")
    } else if !matches!(error.kind(), Kind::Data | Kind::NoInput | Kind::Unavailable | Kind::Resources) {
        Some("an error of the wrong class")
    } else if error.kind() == Kind::Data && !error.has_place() && !shown.contains("the file is empty") {
        Some("a message without field or offset")
    } else {
        None
    }
}
