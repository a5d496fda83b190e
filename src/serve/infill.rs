//! Texts with a hole: what stands around it, with the tokens by which a model knows it.

use crate::requests::llama::Hole;
use whit::TokenId;
use whit::model::Model;
use whit::tokenizer::{Specials, Tokenizer};

/// Names of the tokens before what stands before the hole, before what stands behind it, and before what fills it.
const NAMES: [[&str; 3]; 4] = [
    ["<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"],
    ["<fim_prefix>", "<fim_suffix>", "<fim_middle>"],
    ["<fim-prefix>", "<fim-suffix>", "<fim-middle>"],
    ["<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"],
];
/// Names of the token before another file, and of those that also end what fills a hole.
const FILES: [&str; 2] = ["<|file_sep|>", "<file_sep>"];
const ENDS: [&str; 6] = ["<|fim_pad|>", "<|repo_name|>", "<|file_sep|>", "<fim_pad>", "<file_sep>", "<|endoftext|>"];

/// The tokens by which a model knows a hole.
pub(super) struct Filler<'m> {
    tokenizer: &'m Tokenizer<'m>,
    names: [TokenId; 3],
    file: Option<TokenId>,
    /// Tokens that end what fills it.
    pub(super) ends: Vec<TokenId>,
}

impl<'m> Filler<'m> {
    /// Those of `model`, if it has such.
    pub(super) fn of(model: &'m Model) -> Option<Self> {
        let tokenizer = model.tokenizer()?;
        let all = |names: &[&str; 3]| {
            let [a, b, c] = names.map(|name| tokenizer.special(name));
            Some([a?, b?, c?])
        };
        let names = NAMES.iter().find_map(all)?;
        let file = FILES.iter().find_map(|name| tokenizer.special(name));
        let ends = ENDS.iter().filter_map(|name| tokenizer.special(name)).collect();
        Some(Filler { tokenizer, names, file, ends })
    }

    /// The tokens up to where the hole is filled: other files first, each behind its token and its name. Names of tokens in a
    /// text are text.
    pub(super) fn prompt(&self, hole: &Hole) -> Vec<TokenId> {
        let mut out: Vec<TokenId> = self.tokenizer.bos().filter(|_| self.tokenizer.adds_bos()).into_iter().collect();
        let mut say = |token: Option<TokenId>, text: &str| {
            out.extend(token);
            self.tokenizer.encode_on(text, Specials::AsText, &mut out);
        };
        for (name, text) in &hole.extra {
            say(self.file, &format!("{name}\n{text}\n"));
        }
        let [before, behind, middle] = self.names.map(Some);
        say(before, &hole.prefix);
        say(behind, &hole.suffix);
        say(middle, "");
        out
    }
}
