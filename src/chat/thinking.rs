//! Thinking before a reply: how a template family marks it, how it is asked for, and how it is left out.

use super::argument::Argument;
use super::template::Template;
use crate::error::{Error, Result};
use crate::token::TokenId;
use crate::tokenizer::{Specials, Tokenizer};

/// How much a model thinks before it replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Think {
    /// As its template has it.
    #[default]
    AsEver,
    /// It thinks.
    On,
    /// It does not.
    Off,
    /// It thinks, and after so many tokens its thoughts are closed.
    Budget(usize),
}

impl Think {
    /// What `on`, `off` or a number of tokens means; `None` for another text.
    pub fn of(text: &str) -> Option<Think> {
        match text {
            "on" => Some(Think::On),
            "off" => Some(Think::Off),
            _ => text.parse().ok().map(Think::Budget),
        }
    }
}

/// What stands around thoughts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Marks {
    pub(super) open: &'static str,
    pub(super) close: &'static str,
}

/// The marks that published templates have.
const MARKS: [Marks; 5] = [
    Marks { open: "<think>", close: "</think>" },
    Marks { open: "[THINK]", close: "[/THINK]" },
    Marks { open: "<|START_THINKING|>", close: "<|END_THINKING|>" },
    Marks { open: "<|channel>thought\n", close: "<channel|>" },
    Marks { open: "<seed:think>", close: "</seed:think>" },
];
/// Names of the argument by which templates are told whether to have the model think.
const ARGUMENTS: [&str; 2] = ["enable_thinking", "thinking"];
/// Tokens at the end of a prompt among which an open mark is looked for.
const TAIL: usize = 24;

impl Marks {
    /// The marks of a model: those that its template names, or else its tokenizer.
    pub(super) fn of(template: &Template, tokenizer: &Tokenizer<'_>) -> Option<Marks> {
        let in_template = MARKS.iter().find(|marks| template.source().contains(marks.close));
        let is_token = |marks: &&Marks| [marks.open, marks.close].iter().all(|name| tokenizer.special(name).is_some());
        in_template.or_else(|| MARKS.iter().find(is_token)).copied()
    }

    /// The published marks of which `open` opens thoughts.
    #[cfg(feature = "rules")]
    pub(super) fn opened_by(open: &str) -> Option<Marks> {
        MARKS.into_iter().find(|marks| marks.open == open)
    }

    /// Whether a reply to `prompt` begins within thoughts.
    #[cfg(feature = "rules")]
    pub(super) fn is_open(self, prompt: &[TokenId], tokenizer: &Tokenizer<'_>) -> bool {
        tail(prompt, tokenizer).trim_end().ends_with(self.open.trim_end())
    }

    /// The tokens by which thoughts end at once, where a reply to `prompt` begins: none where they have ended already.
    pub(super) fn closed(self, prompt: &[TokenId], tokenizer: &Tokenizer<'_>) -> Vec<TokenId> {
        let text = match tail(prompt, tokenizer).trim_end() {
            end if end.ends_with(self.close) => return Vec::new(),
            end if end.ends_with(self.open.trim_end()) => format!("\n{}\n\n", self.close),
            _ => format!("{}\n\n{}\n\n", self.open.trim_end(), self.close),
        };
        tokens(&text, tokenizer)
    }

    /// The tokens that close thoughts under way.
    #[cfg(feature = "rules")]
    pub(super) fn closing(self, tokenizer: &Tokenizer<'_>) -> Vec<TokenId> {
        tokens(&format!("\n{}\n\n", self.close), tokenizer)
    }

    /// The tokens between thoughts and what follows.
    #[cfg(feature = "rules")]
    pub(super) fn gap(self, tokenizer: &Tokenizer<'_>) -> Vec<TokenId> {
        tokens("\n\n", tokenizer)
    }

    /// The tokens that open thoughts.
    #[cfg(feature = "rules")]
    pub(super) fn opening(self, tokenizer: &Tokenizer<'_>) -> Vec<TokenId> {
        tokens(&format!("{}\n", self.open.trim_end()), tokenizer)
    }
}

/// Has `template` ask for thinking, or for none. Where no argument of it says so, that is left to the marks; fails where there are
/// none of these either.
pub(super) fn ask(template: &mut Template, think: Think, marks: Option<Marks>) -> Result<()> {
    let Some(wanted) = (match think {
        Think::AsEver => None,
        Think::Off => Some(false),
        Think::On | Think::Budget(_) => Some(true),
    }) else {
        return Ok(());
    };
    match ARGUMENTS.iter().find(|name| reads(template.source(), name)) {
        Some(name) => {
            template.set((*name).into(), Argument::Boolean(wanted));
            Ok(())
        }
        None if marks.is_some() => Ok(()),
        None => Err(Error::usage("this model's chat template knows no thinking, so there is none to turn on or off")
            .field("think")),
    }
}

/// Whether `source` reads a variable of this name: within a tag, not as a part of a word or of a text.
fn reads(source: &str, name: &str) -> bool {
    let within = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '<' | '>' | '/' | '\'' | '"');
    let tags = source.split("{%").skip(1).chain(source.split("{{").skip(1));
    let tags = tags.map(|tag| tag.split(['%', '}']).next().unwrap_or(tag));
    tags.into_iter().any(|tag| {
        tag.match_indices(name).any(|(at, _)| {
            let (before, after) = (&tag[..at], &tag[at + name.len()..]);
            !before.ends_with(within) && !after.starts_with(within)
        })
    })
}

/// The text of the last tokens, control tokens by their names.
fn tail(prompt: &[TokenId], tokenizer: &Tokenizer<'_>) -> String {
    let last = &prompt[prompt.len().saturating_sub(TAIL)..];
    let bytes: Vec<u8> = last.iter().flat_map(|id| tokenizer.bytes(*id).to_vec()).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn tokens(text: &str, tokenizer: &Tokenizer<'_>) -> Vec<TokenId> {
    let mut out = Vec::new();
    tokenizer.encode_on(text, Specials::Parse, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_told_from_words() {
        for (source, is_read) in [
            ("{% if enable_thinking %}x{% endif %}", true),
            ("{%- if enable_thinking is defined and not enable_thinking -%}", true),
            ("{{ 'a' if not enable_thinking }}", true),
            ("{{ 'enable_thinking' }}", false),
            ("enable_thinking", false),
            ("{{ message.enable_thinking }}", false),
            ("{{ no_enable_thinking }}", false),
        ] {
            assert_eq!(reads(source, "enable_thinking"), is_read, "{source}");
        }
        assert!(!reads("{% if enable_thinking %}<thinking>{{ '<thinking>' }}", "thinking"));
        assert!(reads("{% set x = thinking %}", "thinking"));
    }

    #[test]
    fn what_is_typed_is_a_way_to_think() {
        assert_eq!(Think::of("on"), Some(Think::On));
        assert_eq!(Think::of("off"), Some(Think::Off));
        assert_eq!(Think::of("200"), Some(Think::Budget(200)));
        assert_eq!(Think::of("much"), None);
    }
}
