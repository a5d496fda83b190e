//! A conversation as the model reads it: turns to tokens, by the model's template.
//!
//! A template sees what was said as it was said, and its text is the one that is read. Where in that text the words of a
//! user or of the system prompt stand is found by a second rendering, a probe, in which their characters are others of the
//! same kind. If it gives the same text but for them, they are known by their positions: no name of a control token among
//! them, or half among them, becomes one. A template that looks at what was said may give another text for other characters;
//! then fewer are changed, and what is not changed can be no control token wherever it stands.
//!
//! What functions gave is said as much as what users say. Descriptions of functions and the calls of replies stand in forms that
//! templates look into, so that in them the names of tokens alone are changed; and where there are such, the template itself has to
//! name a token that it writes.
//!
//! The probe also marks the ends of replies, by which their very tokens, as the model wrote them, are found a place again: so
//! a conversation that goes on begins with the tokens that the KV cache holds.

use super::template::Template;
use super::turn::{Speaker, Turn};
use crate::error::{Error, Kind, Result};
use crate::token::TokenId;
use crate::tokenizer::{Specials, Tokenizer};
use core::ops::Range;

/// After a reply: a noncharacter of Unicode (section 23.7), which no text means.
const END_OF_REPLY: char = '\u{fdd2}';
/// From a character of the planes 0 and 1 to the one that stands for it, in the planes 15 and 16 of private use.
const ELSEWHERE: u32 = 0xf_0000;
/// Names of control tokens in a text that are looked for in what was said; where a template writes more, the others are text.
const MOST_NAMES: usize = 1000;
/// The first character that has none.
const PLANE_2: u32 = 0x2_0000;

/// The tokens of `turns`, up to where the next reply begins.
pub fn tokens(turns: &[Turn], template: &Template, tokenizer: &Tokenizer<'_>) -> Result<Vec<TokenId>> {
    let text = template.render(turns)?;
    let last = turns.iter().rfind(|turn| turn.role == Speaker::User);
    if last.is_some_and(|turn| !text.contains(turn.text.trim())) {
        return Err(Error::data("it leaves out what the user said").field("chat template"));
    }
    let given = given(turns, template);
    let elsewhere = |text: &str| names_elsewhere(text, tokenizer);
    for probe in Probe::ALL {
        let contents: Vec<String> = turns.iter().map(|turn| probe.content(turn, template, tokenizer)).collect();
        // A template that computes too much has said so above; one that raises an exception looked at what was said.
        let probed = match template.render_with(turns, contents.clone(), &elsewhere) {
            Ok(probed) => probed,
            Err(error) if error.kind() == Kind::Interrupted => return Err(error),
            Err(_) => continue,
        };
        if original(&probed) == text {
            let given: Vec<String> = given.iter().map(|text| elsewhere(text)).collect();
            let prompt =
                Prompt { text: &probed, contents: &contents, given: &given, probed: true, turns, template, tokenizer };
            return Ok(prompt.tokens());
        }
    }
    let contents: Vec<String> = turns.iter().map(|turn| turn.text.clone()).collect();
    Ok(Prompt { text: &text, contents: &contents, given: &given, probed: false, turns, template, tokenizer }.tokens())
}

/// The words of descriptions of functions, of calls and of what else is not the text of a turn.
fn given(turns: &[Turn], template: &Template) -> Vec<String> {
    let mut given = Vec::new();
    let mut each = |text: &str| given.push(text.to_owned());
    template.tools().iter().for_each(|tool| tool.texts(&mut each));
    for turn in turns {
        for call in &turn.calls {
            each(&call.id);
            each(&call.name);
            call.arguments.texts(&mut each);
        }
        if let Some(answers) = &turn.answers {
            each(&answers.id);
            each(&answers.name);
        }
        each(&turn.thinking);
    }
    given.retain(|text| !text.trim().is_empty());
    given
}

/// `text` with the names of tokens in it changed.
fn names_elsewhere(text: &str, tokenizer: &Tokenizer<'_>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((span, _)) = tokenizer.next_special(rest) {
        out.push_str(&rest[..span.start]);
        out.extend(rest[span.clone()].chars().map(elsewhere));
        rest = &rest[span.end..];
    }
    out + rest
}

/// What is changed before a template is asked where it puts it. Of what users and the system prompt say, all characters but
/// white space are; the ends of replies are marked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Probe {
    /// Names of tokens in replies, too, and the ends of replies, beside which others may complete a name.
    All,
    /// Nothing within replies.
    Said,
    /// Nothing within replies, and in what is said no words that the template names itself, which it may look for; but those
    /// of tokens are.
    Unnamed,
}

impl Probe {
    const ALL: [Probe; 3] = [Probe::All, Probe::Said, Probe::Unnamed];

    /// What `turn` says, changed.
    fn content(self, turn: &Turn, template: &Template, tokenizer: &Tokenizer<'_>) -> String {
        let text = &turn.text;
        let reply = turn.role == Speaker::Assistant;
        let mut changed = vec![!reply; text.len()];
        if self == Probe::Unnamed {
            for literal in template.literals() {
                text.match_indices(literal).for_each(|(at, _)| changed[at..at + literal.len()].fill(false));
            }
        }
        if turn.role == Speaker::Tool {
            // What JSON escapes: templates write what functions gave as a string of it.
            let escaped = text.char_indices().filter(|(_, c)| matches!(c, '"' | '\\') || c.is_control());
            escaped.for_each(|(at, c)| changed[at..at + c.len_utf8()].fill(false));
        }
        if !(reply && self != Probe::All) {
            let mut from = 0;
            while let Some((span, _)) = tokenizer.next_special(&text[from..]) {
                changed[from + span.start..from + span.end].fill(true);
                from += span.end;
            }
        }
        let (begin, end) = (text.len() - text.trim_start().len(), text.trim_end().len());
        if let Some((last, _)) = text[..end].char_indices().next_back().filter(|_| self == Probe::All) {
            changed[begin] = true;
            changed[last] = true;
        }
        let change = |part: Range<usize>| {
            let characters = text[part.clone()].char_indices();
            characters.map(|(at, c)| if changed[part.start + at] { elsewhere(c) } else { c }).collect::<String>()
        };
        let mark = if reply && end > 0 { String::from(END_OF_REPLY) } else { String::new() };
        change(0..end) + &mark + &change(end..text.len())
    }
}

/// The character that stands for `c`: none of the same meaning to a template, and as little white space.
fn elsewhere(c: char) -> char {
    let other = char::from_u32(c as u32 + ELSEWHERE).filter(|_| !c.is_whitespace() && (c as u32) < PLANE_2);
    other.unwrap_or(c)
}

/// `text` with the characters that others stand for, without marks.
fn original(text: &str) -> String {
    let back = |c: char| (c as u32).checked_sub(ELSEWHERE).and_then(char::from_u32).unwrap_or(c);
    text.chars().filter(|c| *c != END_OF_REPLY).map(back).collect()
}

/// A template's text, and what it was filled with.
struct Prompt<'a> {
    text: &'a str,
    contents: &'a [String],
    /// Words besides those of the turns.
    given: &'a [String],
    /// Whether they are those of a probe.
    probed: bool,
    turns: &'a [Turn],
    template: &'a Template,
    tokenizer: &'a Tokenizer<'a>,
}

impl Prompt<'_> {
    fn tokens(&self) -> Vec<TokenId> {
        let mut replies = self.turns.iter().filter(|turn| turn.role == Speaker::Assistant);
        let mut known = Vec::new();
        let mut out = Vec::new();
        // What begins at `start` is still to be encoded; the next control token is looked for from `from` on.
        let (mut start, mut from) = (0, 0);
        while let Some((name, span, id)) = self.tokenizer.next_special_from(self.text, from) {
            from = name.end;
            let may_be_said = known.iter().find(|(token, _)| *token == id).map(|(_, said)| *said);
            let may_be_said = may_be_said.unwrap_or_else(|| {
                let said = known.len() >= MOST_NAMES || self.may_be_said(&self.text[name]);
                if known.len() < MOST_NAMES {
                    known.push((id, said));
                }
                said
            });
            if !may_be_said {
                self.encode(&self.text[start..span.start.max(start)], &mut replies, &mut out);
                out.push(id);
                (start, from) = (span.end, span.end);
            }
        }
        self.encode(&self.text[start..], &mut replies, &mut out);
        out
    }

    /// Whether users or the system prompt wrote `name`, or a part of it that words beside theirs may complete. Where nothing is
    /// known of what stands where, replies count, too.
    fn may_be_said(&self, name: &str) -> bool {
        let cuts = || name.char_indices().skip(1).map(|(at, _)| name.split_at(at));
        let is_a_part = |said: &String| {
            let said = said.trim();
            // A plain word within a name, as the name of a parameter may be, makes none without the rest of it.
            let is_plain = said.chars().all(|c| c.is_alphanumeric() || c == '_');
            !is_plain && name.contains(said)
                || said.contains(name)
                || cuts().any(|(begin, end)| !is_plain && (said.ends_with(begin) || said.starts_with(end)))
        };
        if !self.given.is_empty() && (!self.template.names(name) || self.given.iter().any(is_a_part)) {
            return true;
        }
        self.turns.iter().zip(self.contents).filter(|(turn, _)| !self.probed || turn.role != Speaker::Assistant).any(
            |(_, content)| {
                let said = content.trim();
                let within = !said.is_empty() && name.contains(said);
                within
                    || said.contains(name)
                    || cuts().any(|(begin, end)| said.ends_with(begin) || said.starts_with(end))
            },
        )
    }

    /// Appends the tokens of a part of the text in which nothing is a control token.
    fn encode<'t>(
        &self,
        mut text: &str,
        replies: &mut (impl Iterator<Item = &'t Turn> + Clone),
        out: &mut Vec<TokenId>,
    ) {
        if !self.probed {
            return self.part(text, out);
        }
        let mut plain = String::new();
        while let Some((before, after)) = text.split_once(END_OF_REPLY) {
            plain += &original(before);
            text = after;
            // Where the template gives the whole of a reply, that stands before the mark, but for white space.
            let mut following = replies.clone();
            let whole = following.find_map(|turn| {
                let (said, space) = turn.text.split_at(turn.text.trim_end().len());
                let given = !turn.tokens.is_empty() && plain.ends_with(said) && after.starts_with(space);
                given.then_some((turn, said, space))
            });
            if let Some((turn, said, space)) = whole {
                self.part(&plain[..plain.len() - said.len()], out);
                out.extend_from_slice(&turn.tokens);
                plain.clear();
                text = &after[space.len()..];
                *replies = following;
            }
        }
        plain += &original(text);
        self.part(&plain, out);
    }

    /// Appends the tokens of words alone, which begin the text where nothing was appended before.
    fn part(&self, text: &str, out: &mut Vec<TokenId>) {
        match out.is_empty() {
            true => self.tokenizer.encode(text, Specials::AsText, out),
            false => self.tokenizer.encode_on(text, Specials::AsText, out),
        }
    }
}
