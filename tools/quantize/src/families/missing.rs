//! What known architectures need that no plan can say.

/// The beginning of a name, without its case, points and lines, and what blocks of such a network have.
const MISSING: [(&str, &str); 12] = [
    ("gemma3n", "several residual streams beside each other"),
    ("falconmamba", "the state-space mixer of Mamba"),
    ("jamba", "the state-space mixer of Mamba"),
    ("zamba", "the state-space mixer of Mamba"),
    ("nemotronh", "the state-space mixer of Mamba 2"),
    ("rwkv", "a recurrent mixer of another kind"),
    ("xlstm", "a recurrent mixer of another kind"),
    ("recurrentgemma", "a recurrent mixer of another kind"),
    ("gptoss", "experts whose matrices have biases and gates of their own kind"),
    ("deepseek", "keys and values that are made of a narrow vector"),
    ("qwen3next", "delta nets and experts in one network"),
    ("t5", "an encoder whose output is attended to"),
];

/// What the architecture `name` needs that is not there, where that is known; a name of either kind of file, or of a class.
pub(crate) fn missing(name: &str) -> Option<&'static str> {
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    MISSING.iter().find(|(beginning, _)| plain.starts_with(beginning)).map(|(_, what)| *what)
}

#[cfg(test)]
mod tests {
    use super::super::FAMILIES;
    use super::*;

    #[test]
    fn names_of_both_kinds_of_files_are_known_and_none_that_is_read() {
        for name in ["gemma3n_text", "Gemma3nForCausalLM", "falcon_mamba", "gpt-oss", "T5Model"] {
            assert!(missing(name).is_some(), "{name}");
        }
        for family in FAMILIES {
            let names = family.architectures.iter().copied().chain([family.model_type]);
            let names = names.chain(family.gguf.as_ref().map(|gguf| gguf.architecture));
            names.for_each(|name| assert_eq!(missing(name), None, "{name}"));
        }
        assert_eq!(missing("something new"), None);
    }
}
