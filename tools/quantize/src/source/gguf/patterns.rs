//! What a GGUF file means by `tokenizer.ggml.pre`: the patterns of the tokenizers that llama.cpp's converter knows by these names
//! (its `convert_hf_to_gguf_update.py` lists them), in the words of their own tokenizer.json.

use whit::error::Result;
use whit::tokenizer::{Behavior, PreTokenizer, Step};

use super::meta::Metadata;
use crate::pattern;

const GPT2: &str = PreTokenizer::GPT2_PATTERN;
const LLAMA3: &str = PreTokenizer::LLAMA3_PATTERN;
const QWEN2: &str = PreTokenizer::QWEN2_PATTERN;
const QWEN35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const O200K: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const DEEPSEEK3: &str =
    r"[!-/:-@\[-`{-~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const KANJI: &str = r"[一-龥぀-ゟ゠-ヿ]+";
const BLOOM: &str = r" ?[^(\s|[.,!?…。，、।۔،])]+";
const DIGIT: &str = r"\p{N}";
const DIGITS: &str = r"\p{N}{1,3}";

/// How text is cut.
pub(in crate::source) struct Cut {
    /// One of the patterns that need no table, where it is one of them.
    pub(in crate::source) known: Option<PreTokenizer>,
    /// Else patterns that cut one after the other.
    patterns: &'static [&'static str],
    /// Text is brought to normalization form C first.
    form_c: bool,
    /// A piece that is a token is that token, whatever the merges say.
    pub(in crate::source) ignore_merges: bool,
    /// A text begins with BOS where the file does not say otherwise.
    pub(in crate::source) add_bos: bool,
}

impl Cut {
    const fn known(pre: PreTokenizer) -> Self {
        Cut { known: Some(pre), ..Cut::by(&[]) }
    }

    const fn by(patterns: &'static [&'static str]) -> Self {
        Cut { known: None, patterns, form_c: false, ignore_merges: false, add_bos: false }
    }

    /// What `name` means; `None` where it is not known.
    pub(in crate::source) fn named(name: &str) -> Option<Self> {
        if let Some(pre) = PreTokenizer::from_name(name) {
            let llama3 = pre == PreTokenizer::Llama3;
            return Some(Cut { ignore_merges: llama3, add_bos: llama3, ..Cut::known(pre) });
        }
        Some(match name {
            "exaone4" | "jais" | "trillion" | "granite-docling" => Cut::known(PreTokenizer::Gpt2),
            "mpt" | "olmo" | "modern-bert" => Cut { form_c: true, ..Cut::by(&[GPT2]) },
            "starcoder" | "refact" | "codeshell" | "exaone" | "minerva-7b" | "mellum2" => {
                Cut::known(PreTokenizer::SmolLm2)
            }
            "command-r" => Cut { form_c: true, ..Cut::by(&[DIGIT, GPT2]) },
            "stablelm2" | "hunyuan" => Cut::known(PreTokenizer::Qwen2),
            "solar-open" | "grok-2" => Cut::by(&[QWEN2]),
            "dbrx" | "smaug-bpe" | "glm4" | "chatglm-bpe" => Cut::known(PreTokenizer::Llama3),
            "qwen35" => Cut { form_c: true, ..Cut::by(&[QWEN35]) },
            "gpt-4o" | "llama4" | "kanana2" | "talkie" | "minimax-m2" => Cut::by(&[O200K]),
            "tekken" => Cut { ignore_merges: true, add_bos: true, ..Cut::by(&[TEKKEN]) },
            "deepseek-v3" | "hunyuan-dense" | "joyai-llm" => Cut::by(&[DIGITS, KANJI, DEEPSEEK3]),
            "deepseek-coder" => Cut::by(&["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-\u{d7ff}]+", DIGIT]),
            "falcon" => Cut::by(&[r"[\p{P}$+<=>^~|`]+", GPT2, "[0-9][0-9][0-9]"]),
            "default" => Cut::by(&[r"[\p{P}$+<=>^~|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"]),
            "minicpm5" => Cut { ignore_merges: true, ..Cut::by(&[DIGITS, LLAMA3]) },
            "bloom" | "poro-chat" | "gpt3-finnish" => Cut::by(&[BLOOM]),
            "viking" => Cut::by(&[BLOOM, DIGIT]),
            "bailingmoe" | "bailingmoe2" | "llada-moe" => Cut::by(&[
                r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
            ]),
            "seed-coder" => Cut::by(&[
                r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+",
            ]),
            "exaone-moe" => Cut::by(&[
                r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+",
            ]),
            _ => return None,
        })
    }

    /// The steps before the pieces are cut, and those that cut them.
    pub(in crate::source) fn steps(&self, metadata: &Metadata<'_>, key: &str) -> Result<(Vec<Step>, Vec<Step>)> {
        let split = |expression: &&str| {
            let pattern = pattern::compile(expression).map_err(|reason| metadata.error(key, reason))?;
            Ok(Step::Split { pattern, behavior: Behavior::Isolated, invert: false })
        };
        let cut = self.patterns.iter().map(split).collect::<Result<_>>()?;
        Ok((if self.form_c { vec![Step::FormC] } else { Vec::new() }, cut))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All names, so that each of their patterns compiles.
    const NAMES: [&str; 42] = [
        "gpt-2",
        "llama-bpe",
        "qwen2",
        "smollm",
        "lfm2",
        "pixtral",
        "deepseek-r1-qwen",
        "megrez",
        "exaone4",
        "jais",
        "mpt",
        "olmo",
        "starcoder",
        "refact",
        "codeshell",
        "exaone",
        "minerva-7b",
        "command-r",
        "stablelm2",
        "hunyuan",
        "solar-open",
        "grok-2",
        "dbrx",
        "smaug-bpe",
        "glm4",
        "chatglm-bpe",
        "qwen35",
        "gpt-4o",
        "llama4",
        "tekken",
        "deepseek-v3",
        "hunyuan-dense",
        "deepseek-coder",
        "falcon",
        "default",
        "minicpm5",
        "bloom",
        "viking",
        "bailingmoe",
        "seed-coder",
        "exaone-moe",
        "minimax-m2",
    ];

    #[test]
    fn every_pattern_compiles_and_leaves_nothing_of_a_plain_text_out() {
        for name in NAMES {
            let cut = Cut::named(name).expect(name);
            for expression in cut.patterns {
                let pattern = pattern::compile(expression).unwrap_or_else(|reason| panic!("{name}: {reason}"));
                assert!(!pattern.matches("Hello, 1234 wörld's 日本\n  !\r\n").expect("matches").is_empty(), "{name}");
            }
            assert_eq!(cut.known.is_some(), cut.patterns.is_empty(), "{name}");
        }
        assert!(Cut::named("superbpe").is_none());
    }
}
