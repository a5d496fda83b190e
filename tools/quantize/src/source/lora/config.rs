//! adapter_config.json of PEFT: the scale of a low-rank adapter, and what else it may say.

use std::path::Path;

use whit::error::{Error, Result, printable};

use crate::source::hf::files::{MAX_CONFIG, optional, with_object};
use crate::source::json::Value;
use crate::source::source_file::SourceFile;

/// The file's name.
pub(in crate::source) const CONFIG: &str = "adapter_config.json";

/// Fields that change what an adapter computes, or of which model it is an adapter; where one is set, the adapter is refused.
const NOT_MERGED: [&str; 12] = [
    "use_qalora",
    "use_bdlora",
    "lora_bias",
    "alora_invocation_tokens",
    "trainable_token_indices",
    "target_parameters",
    "layer_replication",
    "megatron_config",
    "arrow_config",
    "kasa_config",
    "velora_config",
    "monteclora_config",
];
/// Ways to begin that change the base model, too.
const OTHER_BASES: [&str; 4] = ["pissa", "olora", "corda", "loftq"];
/// What merges whatever this program does not.
pub(in crate::source) const ELSEWHERE: &str =
    "merge it into its base model with PEFT (merge_and_unload), and convert the result";

/// What the file says of all modules, and of some.
#[derive(Debug)]
pub(in crate::source) struct LoraConfig {
    rank: u64,
    alpha: f64,
    by_root: bool,
    /// The lengths of the weights of outputs are trained, too.
    pub(in crate::source) dora: bool,
    ranks: Vec<(String, u64)>,
    alphas: Vec<(String, f64)>,
    pub(in crate::source) notes: Vec<String>,
}

impl LoraConfig {
    /// Reads the file's object.
    pub(in crate::source) fn parse(object: Value<'_>) -> Result<Self> {
        if let Some(kind) = object.get("peft_type") {
            let name = kind.str("peft_type")?;
            if name != "LORA" {
                let error =
                    kind.error(format!("an adapter of the type {}: LORA is merged", printable(&name)), "peft_type");
                return Err(error.hint(ELSEWHERE));
            }
        }
        for field in NOT_MERGED {
            if let Some(value) = object.set(field) {
                return Err(value.error("is not merged by quantize", field).hint(ELSEWHERE));
            }
        }
        if let Some(value) = object.set("init_lora_weights")
            && let Ok(name) = value.str("")
            && OTHER_BASES.iter().any(|start| name.starts_with(start))
        {
            let message = format!("\"{}\" changes the base model, too", printable(&name));
            return Err(value.error(message, "init_lora_weights").hint(ELSEWHERE));
        }
        let mut notes = Vec::new();
        let mut told = |key: &str| {
            let absent = object.get(key).is_none();
            if absent {
                notes.push(format!("{CONFIG} does not name {key}: 8, as in PEFT"));
            }
            absent
        };
        let number = |value: Value<'_>, key: &str| value.u64(key).and_then(|n| check_rank(n, value, key));
        let rank = if told("r") { 8 } else { object.get("r").map_or(Ok(8), |value| number(value, "r"))? };
        let alpha = if told("lora_alpha") {
            8.0
        } else {
            object.get("lora_alpha").map_or(Ok(8.0), |value| value.f64("lora_alpha"))?
        };
        let flag = |key: &str| object.set(key).map_or(Ok(false), |value| value.bool(key));
        let (by_root, dora) = (flag("use_rslora")?, flag("use_dora")?);
        let ranks = pattern(object, "rank_pattern", number)?;
        let alphas = pattern(object, "alpha_pattern", |value, key| value.f64(key))?;
        Ok(LoraConfig { rank, alpha, by_root, dora, ranks, alphas, notes })
    }

    /// The rank of the adapter of a module, and what its product is multiplied by.
    pub(in crate::source) fn of(&self, module: &str) -> (u64, f64) {
        let rank = find(&self.ranks, module).unwrap_or(self.rank);
        let alpha = find(&self.alphas, module).unwrap_or(self.alpha);
        (rank, if self.by_root { alpha / (rank as f64).sqrt() } else { alpha / rank as f64 })
    }
}

fn check_rank(rank: u64, value: Value<'_>, key: &str) -> Result<u64> {
    if (1..=1 << 20).contains(&rank) { Ok(rank) } else { Err(value.expected("a rank from 1 to 2^20", key)) }
}

/// What some modules have, each named by the end of its path.
fn pattern<'j, T>(
    object: Value<'j>,
    key: &str,
    read: impl Fn(Value<'j>, &str) -> Result<T>,
) -> Result<Vec<(String, T)>> {
    let Some(map) = object.set(key) else { return Ok(Vec::new()) };
    let mut out = Vec::new();
    for (name, value) in map.entries(key)? {
        let name = name.strip_prefix('^').unwrap_or(&name);
        if name.contains(|c: char| "\\^$*+?()[]{}|".contains(c)) {
            let message = format!("\"{}\" is a regular expression", printable(name));
            return Err(value.error(message, key).hint("write out the names of the modules"));
        }
        out.push((name.to_string(), read(value, key)?));
    }
    Ok(out)
}

/// The first entry whose name is the module's, or its end.
fn find<T: Copy>(pattern: &[(String, T)], module: &str) -> Option<T> {
    let names = |name: &str| module.strip_suffix(name).is_some_and(|before| before.is_empty() || before.ends_with('.'));
    pattern.iter().find(|(name, _)| names(name)).map(|(_, value)| *value)
}

/// The file of an adapter in `dir`, if there is one.
pub(in crate::source) fn file(dir: &Path) -> Result<Option<SourceFile>> {
    optional(dir, CONFIG, MAX_CONFIG)
}

/// Why `dir` is no model but an adapter, if so.
pub(in crate::source) fn alone(dir: &Path) -> Option<Error> {
    let file = file(dir).ok()??;
    let base = with_object(&file, |object| {
        let base = object.get("base_model_name_or_path").map(|base| base.str("base_model_name_or_path"));
        Ok(base.transpose()?.map(|base| printable(&base)))
    });
    let of = base.ok().flatten().map_or(String::new(), |base| format!(" of \"{base}\""));
    let error = Error::data(format!("a LoRA adapter{of}, no model by itself")).field(CONFIG);
    Some(error.in_file(dir.display().to_string()).hint("convert its base model and name this directory with --lora"))
}
