//! A reply that thinks, speaks and calls: free until a call begins, then under the grammar of calls.
//!
//! Where a call begins is told by the bytes of tokens, whatever they cut apart. A token that holds the end of a mark and more may come
//! only where a call may go on so.

use super::super::thinking::Marks;
use super::family::Begin;
use crate::error::Result;
use crate::generate::Constraint;
use crate::generate::grammar::Grammar;
use crate::model::Model;
use crate::sampler::Mask;
use crate::token::TokenId;
use crate::tokenizer::{TokenKind, Tokenizer};
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

/// What replies keep to, compiled for a model.
pub(super) struct Plan {
    pub(super) model: Arc<Model>,
    pub(super) marks: Option<Marks>,
    /// Tokens of thoughts, at most.
    pub(super) budget: Option<usize>,
    /// Thoughts are opened where the prompt has not opened them.
    pub(super) opens: bool,
    /// Marks at which a free text becomes a call.
    pub(super) begins: Vec<Beginning>,
    /// What the whole reply is behind its thoughts, if that is said.
    pub(super) whole: Option<Whole>,
    /// Behind a block another may begin.
    pub(super) goes_on: bool,
    /// Control tokens whose names count as text.
    pub(super) spelled: HashSet<TokenId>,
}

/// A mark at which a call begins, with the grammar behind it.
pub(super) struct Beginning {
    pub(super) mark: Begin,
    pub(super) grammar: Grammar,
    /// Tokens with more behind the mark.
    crossings: Vec<Crossing>,
}

/// What a reply is behind its thoughts.
pub(super) struct Whole {
    grammar: Grammar,
    /// Tokens that end thoughts and go on.
    crossings: Vec<Crossing>,
}

impl Whole {
    pub(super) fn new(
        grammar: Grammar,
        marks: Option<Marks>,
        model: &Model,
        spelled: &HashSet<TokenId>,
    ) -> Result<Self> {
        let is_space = |tail: &[u8]| Ok(tail.trim_ascii().is_empty());
        let crossings = match marks {
            Some(marks) => crossings(marks.close.as_bytes(), model, spelled, &is_space)?,
            None => Vec::new(),
        };
        Ok(Whole { grammar, crossings })
    }
}

/// A token that ends a mark and goes on.
struct Crossing {
    token: TokenId,
    /// The bytes of the mark before it.
    n_before: usize,
    /// A call may go on so.
    is_legal: bool,
}

impl Beginning {
    /// Finds the tokens that end `mark` and go on.
    pub(super) fn new(mark: Begin, grammar: Grammar, model: &Model, spelled: &HashSet<TokenId>) -> Result<Self> {
        let is_legal = |tail: &[u8]| Ok(grammar.begin_behind(&behind(mark, tail))?.is_some());
        let crossings = crossings(mark.mark.as_bytes(), model, spelled, &is_legal)?;
        Ok(Beginning { mark, grammar, crossings })
    }
}

/// The tokens of `model` that end `mark` and go on, of which those are legal whose rest is.
fn crossings(
    mark: &[u8],
    model: &Model,
    spelled: &HashSet<TokenId>,
    is_legal: &dyn Fn(&[u8]) -> Result<bool>,
) -> Result<Vec<Crossing>> {
    let mut crossings = Vec::new();
    let Some(tokenizer) = model.tokenizer() else { return Ok(crossings) };
    for token in 0..model.config().vocab_size as TokenId {
        let word = word(tokenizer, token, spelled);
        for n_before in 0..mark.len() {
            let rest = &mark[n_before..];
            let at = if n_before > 0 { word.starts_with(rest).then_some(0) } else { find(word, rest) };
            let tail = at.map(|at| &word[at + rest.len()..]).filter(|tail| !tail.is_empty());
            if let Some(tail) = tail {
                crossings.push(Crossing { token, n_before, is_legal: is_legal(tail)? });
            }
        }
    }
    Ok(crossings)
}

/// What the grammar behind `mark` has been given when `tail` was written behind it.
fn behind(mark: Begin, tail: &[u8]) -> Vec<u8> {
    if mark.is_call { [mark.mark.as_bytes(), tail].concat() } else { tail.to_vec() }
}

/// The text of a token, a control token's name where that counts as text.
fn word<'t>(tokenizer: &Tokenizer<'t>, token: TokenId, spelled: &HashSet<TokenId>) -> &'t [u8] {
    match tokenizer.kind(token) {
        TokenKind::Normal | TokenKind::Byte | TokenKind::UserDefined => tokenizer.bytes(token),
        TokenKind::Control if spelled.contains(&token) => tokenizer.bytes(token),
        _ => &[],
    }
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

/// A reply under a plan.
pub(super) struct Guided {
    plan: Arc<Plan>,
    state: State,
    /// The bytes of the text since it became free.
    said: Vec<u8>,
    /// Nothing but white space and thoughts came so far.
    is_first: bool,
    /// Tokens of thoughts.
    n_thought: usize,
    /// Thoughts were closed, and an empty line is to follow.
    has_gap: bool,
    mask: Mask,
}

enum State {
    /// Thoughts are to be opened.
    Opening,
    Thinking,
    Free,
    Under(Box<dyn Constraint>),
    Done,
}

impl Guided {
    /// A reply that begins within thoughts, or does not.
    pub(super) fn begin(plan: &Arc<Plan>, is_thinking: bool) -> Result<Self> {
        let state = match &plan.whole {
            _ if is_thinking => State::Thinking,
            _ if plan.opens && plan.marks.is_some() => State::Opening,
            Some(whole) => State::Under(whole.grammar.begin()?),
            None => State::Free,
        };
        let mask = Mask::none(plan.model.config().vocab_size);
        let (said, is_first) = (Vec::new(), true);
        Ok(Guided { plan: Arc::clone(plan), state, said, is_first, n_thought: 0, has_gap: false, mask })
    }

    /// Thoughts have ended, and `tail` was written behind them.
    fn end_thoughts(&mut self, tail: Vec<u8>) -> Result<()> {
        self.state = match &self.plan.whole {
            Some(whole) => State::Under(whole.grammar.begin()?),
            None => State::Free,
        };
        self.said = tail;
        Ok(())
    }

    /// Sees what `token` adds to thoughts.
    fn think(&mut self, token: TokenId) -> Result<()> {
        self.n_thought += 1;
        let Some(tail) = self.plan.marks.and_then(|marks| self.add(token, marks.close)) else { return Ok(()) };
        self.has_gap = self.plan.whole.is_some() && tail.is_empty();
        self.end_thoughts(tail)
    }

    /// Sees what `token` adds to a free text.
    fn say(&mut self, token: TokenId) -> Result<()> {
        let plan = Arc::clone(&self.plan);
        let before = self.said.len();
        let tokenizer = plan.model.tokenizer();
        self.said.extend_from_slice(tokenizer.map_or(&[], |tokenizer| word(tokenizer, token, &plan.spelled)));
        let space = self.said.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        let opens = plan.marks.filter(|_| self.is_first).map(|marks| marks.open.trim_end().as_bytes());
        if let Some(open) = opens.filter(|open| self.said[space..].starts_with(open)) {
            self.said.drain(..space + open.len());
            self.state = State::Thinking;
            return Ok(());
        }
        for beginning in plan.begins.iter().filter(|beginning| !beginning.mark.is_call || self.is_first) {
            let mark = beginning.mark.mark.as_bytes();
            let from = if beginning.mark.is_call { space } else { (before + 1).saturating_sub(mark.len()) };
            let found = find(&self.said[from..], mark).filter(|at| !beginning.mark.is_call || *at == 0);
            let Some(at) = found else { continue };
            let tail = behind(beginning.mark, &self.said[from + at + mark.len()..]);
            if let Some(under) = beginning.grammar.begin_behind(&tail)? {
                self.state = State::Under(under);
                self.is_first = false;
                return Ok(());
            }
        }
        let may_call = |beginning: &Beginning| {
            let (mark, said) = (beginning.mark.mark.as_bytes(), &self.said[space..]);
            beginning.mark.is_call && (mark.starts_with(said) || said.starts_with(mark))
        };
        let may_open = opens.is_some_and(|open| open.starts_with(&self.said[space..]));
        self.is_first &= may_open || plan.begins.iter().any(may_call) || self.said.len() == space;
        self.forget();
        Ok(())
    }

    /// Adds the text of `token`; what stands behind `mark`, if it makes that whole.
    fn add(&mut self, token: TokenId, mark: &str) -> Option<Vec<u8>> {
        let before = self.said.len();
        let word = self.plan.model.tokenizer().map_or(&[][..], |tokenizer| word(tokenizer, token, &self.plan.spelled));
        self.said.extend_from_slice(word);
        let from = (before + 1).saturating_sub(mark.len());
        let at = find(&self.said[from..], mark.as_bytes())?;
        Some(self.said[from + at + mark.len()..].to_vec())
    }

    /// Forgets what can be no beginning of a mark any more.
    fn forget(&mut self) {
        const KEPT: usize = 256;
        if !self.is_first && self.said.len() > 2 * KEPT {
            self.said.drain(..self.said.len() - KEPT);
        }
    }

    /// The tokens that would end a mark and go on as no call may.
    fn strike_crossings(&mut self) {
        for beginning in self.plan.begins.iter().filter(|beginning| !beginning.mark.is_call || self.is_first) {
            let mark = beginning.mark.mark.as_bytes();
            let said = if beginning.mark.is_call { self.said.trim_ascii_start() } else { &self.said[..] };
            for crossing in beginning.crossings.iter().filter(|crossing| !crossing.is_legal) {
                let before = &mark[..crossing.n_before];
                let comes = if beginning.mark.is_call { said == before } else { said.ends_with(before) };
                if comes {
                    self.mask.set(crossing.token, false);
                }
            }
        }
    }

    /// The tokens that would end thoughts and go on.
    fn strike_ends_of_thoughts(&mut self) {
        let (Some(whole), Some(marks)) = (&self.plan.whole, self.plan.marks) else { return };
        for crossing in whole.crossings.iter().filter(|crossing| !crossing.is_legal) {
            if self.said.ends_with(&marks.close.as_bytes()[..crossing.n_before]) {
                self.mask.set(crossing.token, false);
            }
        }
    }
}

impl Constraint for Guided {
    fn forced(&mut self, ends: &[TokenId], out: &mut VecDeque<TokenId>) -> Result<()> {
        let plan = Arc::clone(&self.plan);
        let marks = plan.marks.zip(plan.model.tokenizer());
        if core::mem::take(&mut self.has_gap)
            && let Some((marks, tokenizer)) = marks
        {
            out.extend(marks.gap(tokenizer));
        }
        loop {
            match (&mut self.state, marks) {
                (State::Opening, Some((marks, tokenizer))) => {
                    out.extend(marks.opening(tokenizer));
                    self.state = State::Thinking;
                }
                (State::Thinking, Some((marks, tokenizer))) if plan.budget.is_some_and(|n| self.n_thought >= n) => {
                    out.extend(marks.closing(tokenizer));
                    self.end_thoughts(Vec::new())?;
                }
                (State::Under(under), _) => {
                    under.forced(ends, out)?;
                    if !under.is_complete() {
                        return Ok(());
                    }
                    let goes_on = plan.goes_on && plan.whole.is_none();
                    self.state = if goes_on { State::Free } else { State::Done };
                    self.said.clear();
                }
                _ => return Ok(()),
            }
        }
    }

    fn mask(&mut self, ends: &[TokenId]) -> Result<&Mask> {
        let all = vec![u32::MAX; self.plan.model.config().vocab_size.div_ceil(32)];
        let mut may_end = true;
        match self.state {
            State::Under(_) => {}
            State::Done => self.mask.take_words(&[]),
            State::Free | State::Opening => {
                self.mask.take_words(&all);
                self.strike_crossings();
            }
            State::Thinking => {
                self.mask.take_words(&all);
                self.strike_ends_of_thoughts();
                may_end = self.plan.whole.is_none();
            }
        }
        if let State::Under(under) = &mut self.state {
            return under.mask(ends);
        }
        ends.iter().for_each(|end| self.mask.set(*end, may_end));
        Ok(&self.mask)
    }

    fn accept(&mut self, token: TokenId) -> Result<()> {
        match &mut self.state {
            State::Under(under) => under.accept(token),
            State::Thinking => self.think(token),
            State::Opening | State::Free | State::Done => self.say(token),
        }
    }

    fn may_end(&mut self) -> bool {
        match &mut self.state {
            State::Under(under) => under.may_end(),
            State::Opening | State::Thinking => self.plan.whole.is_none(),
            State::Free | State::Done => true,
        }
    }

    fn is_complete(&mut self) -> bool {
        match &mut self.state {
            State::Under(under) => under.is_complete() && !(self.plan.goes_on && self.plan.whole.is_none()),
            State::Done => true,
            State::Opening | State::Thinking | State::Free => false,
        }
    }
}
