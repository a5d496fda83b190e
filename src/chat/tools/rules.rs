//! What the replies of a conversation keep to and are parted by.

use super::super::conversation::Conversation;
use super::super::thinking::{Marks, Think};
use super::family::Family;
use super::grammar::{self, Part, begins_with_call};
use super::guide::{Beginning, Guided, Plan, Whole};
use super::lark::control;
use super::reader::Reader;
use super::tool::{Choice, Tool, Tools};
use crate::error::{Error, Result};
use crate::generate::Writer;
use crate::generate::grammar::{Grammar, Grammars};
use crate::model::Model;
use crate::token::TokenId;
use crate::tokenizer::Tokenizer;
use std::collections::HashSet;
use std::sync::Arc;

/// What the replies of a conversation keep to, compiled once for any number of them.
#[derive(Clone)]
pub struct ReplyRules {
    plan: Arc<Plan>,
    family: Option<Family>,
    tools: Arc<Vec<Tool>>,
    /// There is something to keep to.
    constrains: bool,
}

impl ReplyRules {
    /// The rules of a conversation with `tools`, whose calls are of this `family`. `content` is what a reply is besides thoughts, if
    /// that is said.
    pub(super) fn new(
        model: &Arc<Model>,
        tools: Option<(&Tools, Family)>,
        marks: Option<Marks>,
        think: Think,
        content: Option<Grammar>,
        grammars: Option<&Grammars>,
    ) -> Result<Self> {
        let tokenizer = tokenizer(model)?;
        let family = tools.map(|(_, family)| family);
        let spelled = spelled(family, marks, tokenizer);
        let whole = |grammar| Whole::new(grammar, marks, model, &spelled).map(Some);
        let has_content = content.is_some();
        let (mut begins, mut whole_reply, mut goes_on) = (Vec::new(), None, false);
        if let Some(content) = content {
            whole_reply = whole(content)?;
        }
        if let Some((tools, family)) = tools {
            if has_content {
                let message = "a reply that may call functions has no other form as well";
                return Err(Error::usage(message).field("tools"));
            }
            let own = grammars.is_none().then(|| Grammars::new(model)).transpose()?;
            let Some(grammars) = grammars.or(own.as_ref()) else { return Err(no_tokenizer()) };
            let allowed = tools.allowed();
            let compile = |part| grammar::compile(family, &allowed, tools.parallel, part, grammars, tokenizer);
            match tools.choice {
                Choice::None => {}
                Choice::Auto if family.says.is_some() => whole_reply = whole(compile(Part::Reply)?)?,
                Choice::Auto => {
                    for begin in family.begins {
                        let grammar = compile(Part::Block)?;
                        begins.push(Beginning::new(*begin, grammar, model, &spelled)?);
                    }
                    goes_on = tools.parallel && family.between_blocks.is_some() && !begins_with_call(family);
                }
                Choice::Required | Choice::Named(_) => whole_reply = whole(compile(Part::All)?)?,
            }
        }
        let (budget, opens) = match think {
            Think::Budget(n) => (Some(n), true),
            Think::On => (None, whole_reply.is_some()),
            Think::AsEver | Think::Off => (None, false),
        };
        let model = Arc::clone(model);
        let plan = Plan { model, marks, budget, opens, begins, whole: whole_reply, goes_on, spelled };
        let constrains = plan.budget.is_some() || plan.whole.is_some() || !plan.begins.is_empty();
        let tools = tools.map(|(tools, _)| tools.tools.clone()).unwrap_or_default();
        Ok(ReplyRules { plan: Arc::new(plan), family, tools: Arc::new(tools), constrains })
    }

    /// The rules of replies in which no function can be called, of a model whose thoughts are opened by `thoughts`, if it knows any.
    /// `content` is what a reply is besides thoughts, if that is said.
    ///
    /// Fails where no published template opens thoughts so.
    pub fn without_tools(
        model: &Arc<Model>,
        thoughts: Option<&str>,
        think: Think,
        content: Option<Grammar>,
    ) -> Result<Self> {
        let unknown = |open| Error::data(format!("no thoughts are opened by {open:?}")).field("thoughts");
        let marks = thoughts.map(|open| Marks::opened_by(open).ok_or_else(|| unknown(open))).transpose()?;
        Self::new(model, None, marks, think, content, None)
    }

    /// The mark that opens thoughts, if the model knows any.
    pub fn thoughts(&self) -> Option<&'static str> {
        self.plan.marks.map(|marks| marks.open)
    }

    /// Has `writer`, which has begun nothing yet, write a reply to `prompt` that keeps to the rules. The names of the control tokens by
    /// which calls and thoughts are told become a part of its text.
    pub fn apply(&self, writer: &mut Writer, prompt: &[TokenId]) -> Result<()> {
        writer.spell(self.plan.spelled.iter().copied().collect());
        if !self.constrains {
            return Ok(());
        }
        writer.keep_to(Box::new(Guided::begin(&self.plan, self.is_thinking(prompt))?))
    }

    /// What parts a reply to `prompt`, given its pieces.
    pub fn reader(&self, prompt: &[TokenId]) -> Reader {
        Reader::new(self.family, Arc::clone(&self.tools), self.plan.marks, self.is_thinking(prompt))
    }

    fn is_thinking(&self, prompt: &[TokenId]) -> bool {
        let marks = self.plan.marks.zip(self.plan.model.tokenizer());
        marks.is_some_and(|(marks, tokenizer)| marks.is_open(prompt, tokenizer))
    }
}

/// The control tokens among the words of calls and thoughts.
fn spelled(family: Option<Family>, marks: Option<Marks>, tokenizer: &Tokenizer<'_>) -> HashSet<TokenId> {
    let mut words = family.map(|family| family.words()).unwrap_or_default();
    words.extend(marks.iter().flat_map(|marks| [marks.open, marks.close]));
    let mut spelled = HashSet::new();
    for word in words {
        let mut rest = word;
        while let Some((span, id)) = control(rest, tokenizer) {
            spelled.insert(id);
            rest = &rest[span.end..];
        }
    }
    spelled
}

fn tokenizer(model: &Model) -> Result<&Tokenizer<'_>> {
    model.tokenizer().ok_or_else(no_tokenizer)
}

fn no_tokenizer() -> Error {
    Error::data("this model has no tokenizer")
}

impl Conversation {
    /// Offers these functions to the model from now on, or none.
    pub fn set_tools(&mut self, tools: Option<Tools>) {
        let tools = tools.filter(|tools| tools.choice != Choice::None);
        let descriptions: Vec<_> =
            tools.iter().flat_map(|tools| &tools.tools).map(|tool| tool.description.clone()).collect();
        let must_call = tools.as_ref().is_some_and(|tools| tools.choice != Choice::Auto);
        self.offer(descriptions, must_call);
        let family = Family::of(self.template.source()).filter(|_| self.told.is_none());
        self.tools = tools.map(|tools| (tools, family.unwrap_or_else(Family::generic)));
    }

    /// The form in which the model writes calls; `None` where no functions are offered to it.
    pub fn form_of_calls(&self) -> Option<&'static str> {
        self.tools.as_ref().map(|(_, family)| family.name)
    }

    /// Whether the functions are told in a system prompt, as the template of the model knows none.
    pub fn tells_of_tools_itself(&self) -> bool {
        self.told.is_some()
    }

    /// What replies keep to and are parted by. `content` is what a reply is besides thoughts, if that is said; it and functions exclude
    /// each other. `grammars` are those of the model, which are made anew where they are needed and not given.
    pub fn reply_rules(&self, content: Option<Grammar>, grammars: Option<&Grammars>) -> Result<ReplyRules> {
        let tools = self.tools.as_ref().map(|(tools, family)| (tools, *family));
        ReplyRules::new(&self.model, tools, self.marks, self.think, content, grammars)
    }
}
