//! A vocabulary whose text goes through steps, as a converter finds it: what a `tokenizer.json` describes, one field a stage.

use alloc::collections::BTreeMap;
use core::ops::Range;
use std::collections::HashMap;

use super::automaton::{self, Automaton, CLASS_BITS};
use super::bpe::Bpe;
use super::buckets::{parted, size};
use super::header::{ABSENT, FLAG_FUSE_UNKNOWN, FLAG_SPACE_PREFIX, MODEL_BYTE_LEVEL, MODEL_CHARACTERS, PRE_STEPS};
use super::merge::Merger;
use super::names::rule;
use super::steps::{Behavior, Steps, bit, code};
use super::tables::{Merge, Model, Tables, pair_hash};
use super::tokens::MAX_ADDED_BYTES;
use crate::error::{Error, Result, printable};
use crate::format::cursor::{Cursor, Encoder};
use crate::token::TokenId;

/// A compiled pattern: a deterministic automaton that finds what the regular expression finds which prefers, of several
/// matches at one place, the one that is written first.
#[derive(Debug, Clone, PartialEq)]
pub struct Pattern {
    /// Classes of characters, 1 to 255.
    pub n_classes: usize,
    /// The class of each character below U+0080.
    pub ascii: [u8; automaton::ASCII],
    /// First characters of ranges, ascending from U+0080, and their class.
    pub ranges: Vec<(u32, u8)>,
    /// `[states, n_classes + 1]`, the last column for the end of the text: the next state (0: no match can follow; 1: the
    /// start), with [`Pattern::MATCHED`] where a match ends before what is read.
    pub transitions: Vec<u16>,
}

impl Pattern {
    /// Marks a transition before which a match ends.
    pub const MATCHED: u16 = automaton::MATCHED;

    fn encode(&self, out: &mut Encoder) -> Result<()> {
        let n_states = self.transitions.len() / (self.n_classes + 1);
        for n in [self.n_classes, n_states, self.ranges.len()] {
            out.u32(size(n)?);
        }
        out.bytes(&self.ascii);
        self.ranges.iter().for_each(|(first, class)| out.u32(first << CLASS_BITS | u32::from(*class)));
        self.transitions.iter().for_each(|word| out.bytes(&word.to_le_bytes()));
        out.pad(4);
        Ok(())
    }

    /// The matches in `text`, none of them empty.
    pub fn matches(&self, text: &str) -> Result<Vec<Range<usize>>> {
        let mut out = Encoder::default();
        self.encode(&mut out)?;
        let bytes = out.into_bytes();
        let automaton = Automaton::read(&mut Cursor::new(&bytes, "pattern"))?;
        automaton.check(0)?;
        Ok(automaton.matches(text).collect())
    }

    /// The characters that a search for all matches in `text` reads.
    #[cfg(test)]
    pub(super) fn steps(&self, text: &str) -> usize {
        let mut out = Encoder::default();
        self.encode(&mut out).expect("a pattern");
        let bytes = out.into_bytes();
        let automaton = Automaton::read(&mut Cursor::new(&bytes, "pattern")).expect("a pattern");
        let mut matches = automaton.matches(text);
        while matches.next().is_some() {}
        matches.steps
    }
}

/// One step on the way of text.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Unicode's normalization form C.
    FormC,
    /// Unicode's normalization form D.
    FormD,
    /// Characters that become other text, each by itself.
    Characters(BTreeMap<char, String>),
    /// Puts text before a piece.
    Prepend {
        /// The text.
        text: String,
        /// Only where the piece does not begin so.
        unless_there: bool,
        /// Only where the piece begins the whole text.
        first: bool,
    },
    /// Replaces each match.
    Replace {
        /// What is replaced.
        pattern: Pattern,
        /// By what.
        by: String,
    },
    /// Takes white space off the ends.
    Trim {
        /// At the start.
        left: bool,
        /// At the end.
        right: bool,
    },
    /// Cuts at each match.
    Split {
        /// Where.
        pattern: Pattern,
        /// What becomes of the parts.
        behavior: Behavior,
        /// Whether matches and what lies between them change places.
        invert: bool,
    },
}

impl Step {
    fn encode(&self, out: &mut Encoder) -> Result<()> {
        let flag = |set: bool, bit: u32| if set { bit } else { 0 };
        let mut head = |code: u32, argument: u32| [code, argument].iter().for_each(|word| out.u32(*word));
        match self {
            Step::FormC => head(code::FORM_C, 0),
            Step::FormD => head(code::FORM_D, 0),
            Step::Characters(map) => {
                head(code::CHARACTERS, 0);
                out.u32(size(map.len())?);
                map.keys().for_each(|c| out.u32(*c as u32));
                let mut end = 0;
                for text in map.values() {
                    end += size(text.len())?;
                    out.u32(end);
                }
                string(&map.values().map(String::as_str).collect::<String>(), out)?;
            }
            Step::Prepend { text, unless_there, first } => {
                head(code::PREPEND, flag(*unless_there, bit::UNLESS_THERE) | flag(*first, bit::FIRST));
                string(text, out)?;
            }
            Step::Replace { pattern, by } => {
                head(code::REPLACE, 0);
                string(by, out)?;
                pattern.encode(out)?;
            }
            Step::Trim { left, right } => head(code::TRIM, flag(*left, bit::LEFT) | flag(*right, bit::RIGHT)),
            Step::Split { pattern, behavior, invert } => {
                head(code::SPLIT, *behavior as u32 | flag(*invert, bit::INVERT));
                pattern.encode(out)?;
            }
        }
        Ok(())
    }
}

fn string(text: &str, out: &mut Encoder) -> Result<()> {
    out.u32(size(text.len())?);
    out.bytes(text.as_bytes());
    out.pad(4);
    Ok(())
}

/// The number of steps, and each of them.
fn steps(steps: &[Step], out: &mut Encoder) -> Result<()> {
    out.u32(size(steps.len())?);
    steps.iter().try_for_each(|step| step.encode(out))
}

/// A token that is found in text by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddedToken {
    /// Which one.
    pub id: TokenId,
    /// Its name.
    pub name: String,
    /// White space before it belongs to it.
    pub lstrip: bool,
    /// White space behind it belongs to it.
    pub rstrip: bool,
    /// It is none within a word.
    pub single_word: bool,
    /// It is looked for after normalization, and its name is normalized too.
    pub normalized: bool,
}

/// The stages of text on its way to tokens.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Pipeline {
    /// Tokens of a name of their own.
    pub added: Vec<AddedToken>,
    /// What changes text first.
    pub normalizer: Vec<Step>,
    /// What cuts it.
    pub pre_tokenizer: Vec<Step>,
    /// Tokens of single characters; without them the symbols are bytes.
    pub characters: Option<BTreeMap<char, TokenId>>,
    /// Tokens of single bytes: all symbols, or the fallback for characters.
    pub bytes: BTreeMap<u8, TokenId>,
    /// Left, right and what they become; the place is the rank, the lowest goes first, and of two for one pair the last counts.
    pub merges: Vec<[TokenId; 3]>,
    /// Pieces that are taken whole where a piece of text is one of them.
    pub whole: Vec<(Vec<u8>, TokenId)>,
    /// Whether a run of symbols without a token becomes one unknown token.
    pub fuse_unknown: bool,
    /// Whether decoding takes the first space of a text off.
    pub strips_space: bool,
}

/// The number that the header has for the model, its flags, and the tables behind the byte ids.
pub(super) struct Encoded {
    pub(super) model: u32,
    pub(super) flags: u32,
    pub(super) added: Vec<TokenId>,
    pub(super) n_merges: usize,
    pub(super) starts: usize,
    pub(super) n_words: usize,
    pub(super) tables: Vec<u8>,
}

impl Pipeline {
    /// The pre-tokenizer's number in the header.
    pub(super) const PRE: u32 = PRE_STEPS;

    /// The tables, with `words` as the pieces that are taken whole.
    pub(super) fn encode(&self, words: &[(Vec<u8>, TokenId)]) -> Result<Encoded> {
        let mut out = Encoder::default();
        let (normalized, raw): (Vec<_>, Vec<_>) = self.added.iter().partition(|token| token.normalized);
        let raw = raw.into_iter().map(|token| (token.name.clone(), token)).collect();
        let added = names(raw, false, &mut out)?;
        steps(&self.normalizer, &mut out)?;
        let named = self.normalized(normalized.iter().map(|token| &*token.name))?.into_iter().zip(normalized);
        names(named.filter(|(name, _)| !name.is_empty()).collect(), true, &mut out)?;
        steps(&self.pre_tokenizer, &mut out)?;
        if let Some(characters) = &self.characters {
            out.u32(size(characters.len())?);
            characters.keys().for_each(|c| out.u32(*c as u32));
            characters.values().for_each(|id| out.u32(*id));
        }
        let mut merges = self.merges();
        let key = |merge: &Merge| pair_hash(merge.left, merge.right);
        let starts = parted(&mut merges, key, |a, b| (a.left, a.right).cmp(&(b.left, b.right)))?;
        starts.iter().for_each(|start| out.u32(*start));
        for Merge { left, right, rank, merged } in &merges {
            [left, right, rank, merged].iter().for_each(|word| out.u32(**word));
        }
        words.iter().for_each(|(_, id)| out.u32(*id));
        name_table(words.iter().map(|(name, _)| (&name[..], 0)), &mut out)?;
        let flag = |set: bool, flag: u32| if set { flag } else { 0 };
        Ok(Encoded {
            model: if self.characters.is_some() { MODEL_CHARACTERS } else { MODEL_BYTE_LEVEL },
            flags: flag(self.fuse_unknown, FLAG_FUSE_UNKNOWN) | flag(self.strips_space, FLAG_SPACE_PREFIX),
            added,
            n_merges: merges.len(),
            starts: starts.len(),
            n_words: words.len(),
            tables: out.into_bytes(),
        })
    }

    /// Forgets all tokens from `rows` on.
    pub fn truncate(&mut self, rows: usize) {
        let there = |id: &TokenId| (*id as usize) < rows;
        self.added.retain(|token| there(&token.id));
        self.bytes.retain(|_, id| there(id));
        self.merges.retain(|merge| merge.iter().all(there));
        self.whole.retain(|(_, id)| there(id));
        if let Some(characters) = &mut self.characters {
            characters.retain(|_, id| there(id));
        }
    }

    /// What the normalizer makes of each of `texts`.
    pub fn normalized<'t>(&self, texts: impl Iterator<Item = &'t str>) -> Result<Vec<String>> {
        let mut list = Encoder::default();
        steps(&self.normalizer, &mut list)?;
        let list = list.into_bytes();
        let normalizer = Steps::read(&list, &mut Cursor::new(&list, "tokenizer"))?;
        Ok(texts.map(|text| normalizer.changed(text).into_owned()).collect())
    }

    fn merges(&self) -> Vec<Merge> {
        let ranked = (0..).zip(&self.merges).map(|(rank, [left, right, merged])| ((*left, *right), (rank, *merged)));
        let last: HashMap<(TokenId, TokenId), (u32, TokenId)> = ranked.collect();
        last.into_iter().map(|((left, right), (rank, merged))| Merge { left, right, rank, merged }).collect()
    }

    /// The ids of single bytes.
    pub(super) fn byte_ids(&self) -> [u32; 256] {
        core::array::from_fn(|byte| self.bytes.get(&(byte as u8)).copied().unwrap_or(ABSENT))
    }

    /// The whole pieces that the merges in `section` do not make, by their bytes.
    pub(super) fn words(&self, section: &[u8]) -> Result<Vec<(Vec<u8>, TokenId)>> {
        let tables = Tables::read(section)?;
        let Model::Merges(model) = &tables.model else { return Ok(Vec::new()) };
        let model = Bpe { tables: &tables, model };
        let (mut merger, mut out) = (Merger::default(), Vec::new());
        let mut irregular: Vec<_> = self.whole.clone();
        irregular.retain(|(piece, id)| {
            out.clear();
            model.merge(piece, &mut merger, &mut out);
            out != [*id]
        });
        irregular.sort();
        Ok(irregular)
    }
}

/// Appends tokens by their names, with the ids only where `with_ids` says so; gives the ids.
fn names(mut named: Vec<(String, &AddedToken)>, with_ids: bool, out: &mut Encoder) -> Result<Vec<TokenId>> {
    named.sort_by(|a, b| a.0.cmp(&b.0));
    if let Some(pair) = named.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        let [one, other] = [&pair[0], &pair[1]].map(|(_, token)| token.id);
        return Err(Error::data(format!("tokens {one} and {other} are both called \"{}\"", printable(&pair[0].0))));
    }
    if let Some((name, token)) = named.iter().find(|(name, _)| name.len() > MAX_ADDED_BYTES) {
        let message =
            format!("token {} is an added token of {} bytes, the limit is {MAX_ADDED_BYTES}", token.id, name.len());
        return Err(Error::data(message));
    }
    let ids: Vec<TokenId> = named.iter().map(|(_, token)| token.id).collect();
    if with_ids {
        out.u32(size(ids.len())?);
        ids.iter().for_each(|id| out.u32(*id));
    }
    let rules = |token: &AddedToken| {
        let flag = |set: bool, rule: u8| if set { rule } else { 0 };
        flag(token.lstrip, rule::LSTRIP) | flag(token.rstrip, rule::RSTRIP) | flag(token.single_word, rule::SINGLE_WORD)
    };
    name_table(named.iter().map(|(name, token)| (name.as_bytes(), rules(token))), out)?;
    Ok(ids)
}

/// Appends the bytes of all names, the end of each, the rules, and the names.
fn name_table<'n>(names: impl Iterator<Item = (&'n [u8], u8)> + Clone, out: &mut Encoder) -> Result<()> {
    out.u32(size(names.clone().map(|(name, _)| name.len()).sum())?);
    let mut end = 0;
    for (name, _) in names.clone() {
        end += size(name.len())?;
        out.u32(end);
    }
    out.bytes(&names.clone().map(|(_, rules)| rules).collect::<Vec<u8>>());
    out.pad(4);
    names.for_each(|(name, _)| out.bytes(name));
    out.pad(4);
    Ok(())
}
