//! A conversation under way: what was said so far, and the template by which the model reads it.

use super::argument::Argument;
use super::generic;
use super::prompt::tokens;
use super::template::Template;
use super::thinking::{self, Marks, Think};
use super::turn::{Answers, Call, Speaker, Turn};
use crate::error::{Error, Kind, Result};
use crate::model::Model;
use crate::os::calendar::Moment;
use crate::token::TokenId;
use crate::tokenizer::{TokenKind, Tokenizer};
use std::sync::Arc;

/// The turns of a conversation with a model.
///
/// What is to be computed next are its [tokens](Conversation::tokens); what is written after them is its next
/// [reply](Conversation::reply). A session that holds the tokens of before holds most of those of now.
pub struct Conversation {
    pub(super) model: Arc<Model>,
    pub(super) template: Template,
    end_tokens: Vec<TokenId>,
    turns: Vec<Turn>,
    /// What stands around thoughts.
    pub(super) marks: Option<Marks>,
    pub(super) think: Think,
    /// What a model is told of functions whose template knows none.
    pub(super) told: Option<String>,
    /// The functions that are offered, with the form of their calls.
    #[cfg(feature = "rules")]
    pub(super) tools: Option<(super::tools::Tools, super::tools::Family)>,
}

impl Conversation {
    /// A conversation in which nothing was said yet. Fails where the model has no chat template or no tokenizer.
    pub fn new(model: &Arc<Model>) -> Result<Self> {
        let template = model.chat_template();
        let template = template.ok_or_else(|| Error::data("this model has no chat template, so it cannot talk"))?;
        Self::with_template(model, template, Vec::new())
    }

    /// A conversation by the template `source`, which is given `arguments` by their names. Fails where the model has no
    /// tokenizer.
    pub fn with_template(model: &Arc<Model>, source: &str, arguments: Vec<(String, Argument)>) -> Result<Self> {
        let tokenizer = tokenizer(model)?;
        let mut template = Template::new(source, tokenizer, Moment::now());
        arguments.into_iter().for_each(|(name, value)| template.set(name, value));
        let mut end_tokens = model.end_tokens();
        end_tokens.extend(closing(&template, tokenizer).filter(|closing| !end_tokens.contains(closing)));
        Ok(Conversation {
            model: Arc::clone(model),
            marks: Marks::of(&template, tokenizer),
            template,
            end_tokens,
            turns: Vec::new(),
            think: Think::AsEver,
            told: None,
            #[cfg(feature = "rules")]
            tools: None,
        })
    }

    /// Has the model think before it replies, or not. Fails where it cannot be told so.
    pub fn set_think(&mut self, think: Think) -> Result<()> {
        thinking::ask(&mut self.template, think, self.marks)?;
        self.think = think;
        Ok(())
    }

    /// Whether the model's thoughts are told from its replies.
    pub fn knows_thoughts(&self) -> bool {
        self.marks.is_some()
    }

    /// Whether the template takes the thoughts of earlier replies apart from their text.
    pub fn takes_thoughts(&self) -> bool {
        self.template.source().contains("reasoning_content")
    }

    /// Gives the template descriptions of functions, or a model whose template does nothing with them a text that tells of them.
    #[cfg(feature = "rules")]
    pub(super) fn offer(&mut self, descriptions: Vec<Argument>, must_call: bool) {
        let none = descriptions.is_empty();
        self.template.set_tools(descriptions.clone());
        let knows =
            none || self.template.tells_of_tools() && super::tools::Family::of(self.template.source()).is_some();
        self.told = (!knows).then(|| generic::system_text(&descriptions, must_call));
        if self.told.is_some() {
            self.template.set_tools(Vec::new());
        }
    }

    /// What was said, the first turn first.
    pub fn turns(&self) -> &[Turn] {
        &self.turns
    }

    /// The number of replies.
    pub fn n_replies(&self) -> usize {
        self.turns.iter().filter(|turn| turn.role == Speaker::Assistant).count()
    }

    /// Begins anew with this system prompt.
    pub fn begin(&mut self, system: Option<String>) {
        self.turns.clear();
        self.turns.extend(system.map(|text| Turn::new(Speaker::System, text)));
    }

    /// Fails where the template takes questions, but none after this system prompt.
    pub fn check_system(&self) -> Result<()> {
        let Some(system) = self.system() else { return Ok(()) };
        let question = Turn::new(Speaker::User, "Is this a question?");
        match self.template.render(&[system.clone(), question.clone()]) {
            Err(error) if error.kind() == Kind::Interrupted || self.template.render(&[question]).is_ok() => Err(error),
            _ => Ok(()),
        }
    }

    /// Begins anew with the same system prompt.
    pub fn reset(&mut self) {
        self.turns.retain(|turn| turn.role == Speaker::System);
    }

    /// Goes on with `turns` instead of its own. Its system prompt stays and takes the place of theirs.
    pub fn resume(&mut self, turns: Vec<Turn>) {
        let system = self.turns.drain(..).find(|turn| turn.role == Speaker::System);
        self.turns = turns;
        if let Some(system) = system {
            self.turns.retain(|turn| turn.role != Speaker::System);
            self.turns.insert(0, system);
        }
    }

    /// The user says something.
    pub fn say(&mut self, text: impl Into<String>) {
        self.turns.push(Turn::new(Speaker::User, text));
    }

    /// The model replied with `text`, which is that of `tokens`; without tokens, it is read as a new text is.
    pub fn reply(&mut self, text: impl Into<String>, tokens: &[TokenId]) {
        self.turns.push(Turn { tokens: tokens.to_vec(), ..Turn::new(Speaker::Assistant, text) });
    }

    /// The model replied as `turn` says.
    pub fn add_reply(&mut self, turn: Turn) {
        self.turns.push(turn);
    }

    /// The function that `call` calls gave `text`.
    pub fn answer(&mut self, call: &Call, text: impl Into<String>) {
        let answers = Some(Answers { id: call.id.clone(), name: call.name.clone() });
        self.turns.push(Turn { answers, ..Turn::new(Speaker::Tool, text) });
    }

    /// How many functions the model has called.
    pub fn n_calls(&self) -> usize {
        self.turns.iter().map(|turn| turn.calls.len()).sum()
    }

    /// The calls that the model waits for: those of its last reply that no function has answered.
    pub fn open_calls(&self) -> &[Call] {
        let n_answers = self.turns.iter().rev().take_while(|turn| turn.role == Speaker::Tool).count();
        let reply = self.turns[..self.turns.len() - n_answers].last();
        let calls = reply.filter(|turn| turn.role == Speaker::Assistant).map_or(&[][..], |turn| &turn.calls);
        &calls[n_answers.min(calls.len())..]
    }

    /// Takes back what the user said last, and the reply to it; `false` where nothing was said.
    pub fn undo(&mut self) -> bool {
        let last = self.last_question();
        self.turns.truncate(last.unwrap_or(self.turns.len()));
        last.is_some()
    }

    /// Takes back the reply to what the user said last; `false` where nothing was said.
    pub fn undo_reply(&mut self) -> bool {
        let last = self.last_question();
        self.turns.truncate(last.map_or(self.turns.len(), |last| last + 1));
        last.is_some()
    }

    /// Forgets the first question and its reply, where another question follows; `false` where none does.
    pub fn forget_first(&mut self) -> bool {
        let n_kept = usize::from(self.system().is_some());
        let next = (n_kept + 1..self.turns.len()).find(|i| self.turns[*i].role == Speaker::User);
        if let Some(next) = next {
            self.turns.drain(n_kept..next);
        }
        next.is_some()
    }

    /// The tokens of all turns, up to where the next reply begins.
    pub fn tokens(&self) -> Result<Vec<TokenId>> {
        let tokenizer = tokenizer(&self.model)?;
        let mut prompt = match &self.told {
            Some(told) => {
                let takes_system = self.takes_system(told);
                tokens(&generic::said(&self.turns, told, takes_system), &self.template, tokenizer)?
            }
            None => tokens(&self.turns, &self.template, tokenizer)?,
        };
        if let Some(marks) = self.marks.filter(|_| self.think == Think::Off) {
            let closed = marks.closed(&prompt, tokenizer);
            prompt.extend(closed);
        }
        Ok(prompt)
    }

    /// Whether the template takes a system prompt and tells the model of it.
    fn takes_system(&self, system: &str) -> bool {
        let turns = [Turn::new(Speaker::System, system), Turn::new(Speaker::User, "A question?")];
        self.template.render(&turns).is_ok_and(|text| text.contains(system.trim()))
    }

    /// The tokens of the system prompt alone; none where there is none, or where the template does not take it alone.
    pub fn system_tokens(&self) -> Result<Vec<TokenId>> {
        let tokenizer = tokenizer(&self.model)?;
        let alone = self.system().map(|system| tokens(core::slice::from_ref(system), &self.template, tokenizer));
        Ok(alone.and_then(Result::ok).unwrap_or_default())
    }

    /// The tokens that end a reply: those that end a text of this model, and the one that the template puts after replies.
    pub fn end_tokens(&self) -> &[TokenId] {
        &self.end_tokens
    }

    fn system(&self) -> Option<&Turn> {
        self.turns.first().filter(|turn| turn.role == Speaker::System)
    }

    fn last_question(&self) -> Option<usize> {
        self.turns.iter().rposition(|turn| turn.role == Speaker::User)
    }
}

/// The control token that `template` puts after a reply.
pub(super) fn closing(template: &Template, tokenizer: &Tokenizer<'_>) -> Option<TokenId> {
    const REPLY: &str = "That is a reply.";
    let turns = [
        Turn::new(Speaker::User, "A question?"),
        Turn::new(Speaker::Assistant, REPLY),
        Turn::new(Speaker::User, "And another one?"),
    ];
    let text = template.render(&turns).ok()?;
    let after = text.split_once(REPLY)?.1.trim_start();
    let (span, id) = tokenizer.next_special(after)?;
    (span.start == 0 && tokenizer.kind(id) == TokenKind::Control).then_some(id)
}

fn tokenizer(model: &Model) -> Result<&Tokenizer<'_>> {
    model.tokenizer().ok_or_else(|| Error::data("this model has no tokenizer"))
}
