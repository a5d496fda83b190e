//! Turns of a conversation, and the note of a saved session that holds them.

use super::argument::{Argument, read_text};
use crate::error::{Error, Result};
use crate::format::cursor::{Cursor, Encoder};
use crate::token::TokenId;

/// Who says something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaker {
    /// Who sets the rules.
    System,
    /// Who asks.
    User,
    /// The model.
    Assistant,
    /// A function that the model called.
    Tool,
}

impl Speaker {
    pub(super) const ALL: [Speaker; 4] = [Speaker::System, Speaker::User, Speaker::Assistant, Speaker::Tool];

    /// The name in templates.
    pub fn name(self) -> &'static str {
        match self {
            Speaker::System => "system",
            Speaker::User => "user",
            Speaker::Assistant => "assistant",
            Speaker::Tool => "tool",
        }
    }
}

/// What somebody said.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    /// Who.
    pub role: Speaker,
    /// What.
    pub text: String,
    /// Of a reply: its tokens, as they were chosen. None where the text is not all that was written.
    pub tokens: Vec<TokenId>,
    /// Of a reply: what the model thought before, where it is parted from the text.
    pub thinking: String,
    /// Of a reply: the functions that the model calls.
    pub calls: Vec<Call>,
    /// Of what a function gave: which call it answers.
    pub answers: Option<Answers>,
}

/// A call of a function.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// What tells it from others; may be empty.
    pub id: String,
    /// The name of the function.
    pub name: String,
    /// What it is given, a dict.
    pub arguments: Argument,
}

/// Which call is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answers {
    /// The id of the call; may be empty.
    pub id: String,
    /// The name of the function; may be empty.
    pub name: String,
}

impl Turn {
    /// What `role` says.
    pub fn new(role: Speaker, text: impl Into<String>) -> Turn {
        let text = text.into();
        Turn { role, text, tokens: Vec::new(), thinking: String::new(), calls: Vec::new(), answers: None }
    }
}

/// In a note, beside the number of the role: there is more than a text and its tokens.
const MORE: u32 = 1 << 8;

/// The turns as the note of a saved session.
pub fn to_note(turns: &[Turn]) -> Vec<u8> {
    let mut out = Encoder::default();
    write(turns, &mut out);
    out.into_bytes()
}

/// What makes `before` into `now`, as a record behind a saved session: how many of the first turns stay, in 4 bytes, and the turns
/// that follow them, as in a note.
pub fn to_record(before: &[Turn], now: &[Turn]) -> Vec<u8> {
    let n_kept = before.iter().zip(now).take_while(|(before, now)| before == now).count();
    let mut out = Encoder::default();
    out.u32(n_kept as u32);
    write(&now[n_kept..], &mut out);
    out.into_bytes()
}

fn write(turns: &[Turn], out: &mut Encoder) {
    let write_text = |text: &str, out: &mut Encoder| {
        out.u32(text.len() as u32);
        out.bytes(text.as_bytes());
    };
    out.u32(turns.len() as u32);
    for turn in turns {
        let more = !turn.thinking.is_empty() || !turn.calls.is_empty() || turn.answers.is_some();
        let role = Speaker::ALL.iter().position(|role| *role == turn.role).unwrap_or(0) as u32;
        out.u32(if more { role | MORE } else { role });
        write_text(&turn.text, out);
        out.u32(turn.tokens.len() as u32);
        turn.tokens.iter().for_each(|token| out.u32(*token));
        if more {
            write_text(&turn.thinking, out);
            out.u32(turn.calls.len() as u32);
            for call in &turn.calls {
                write_text(&call.id, out);
                write_text(&call.name, out);
                call.arguments.write(out);
            }
            out.u32(turn.answers.is_some().into());
            if let Some(answers) = &turn.answers {
                write_text(&answers.id, out);
                write_text(&answers.name, out);
            }
        }
    }
}

/// The turns of a note.
pub fn from_note(note: &[u8]) -> Result<Vec<Turn>> {
    let mut turns = Vec::new();
    read(Cursor::new(note, "conversation"), &mut turns)?;
    Ok(turns)
}

/// Changes `turns` as a record says.
pub fn apply_record(turns: &mut Vec<Turn>, record: &[u8]) -> Result<()> {
    let mut cursor = Cursor::new(record, "conversation");
    let n_kept = cursor.u32("turns that stay")? as usize;
    if n_kept > turns.len() {
        let message = format!("{n_kept} turns are to stay, there are {}", turns.len());
        return Err(Error::data(message).field("conversation"));
    }
    turns.truncate(n_kept);
    read(cursor, turns)
}

fn read(mut cursor: Cursor<'_>, turns: &mut Vec<Turn>) -> Result<()> {
    for _ in 0..cursor.count(12, "turns")? {
        let at = cursor.offset();
        let role = cursor.u32("role")?;
        let is_known = *Speaker::ALL.get((role & !MORE) as usize).ok_or_else(|| Error::data("unknown role").at(at))?;
        let mut turn = Turn::new(is_known, read_text(&mut cursor)?);
        let n_tokens = cursor.count(4, "tokens")?;
        turn.tokens = (0..n_tokens).map(|_| cursor.u32("tokens")).collect::<Result<_>>()?;
        if role & MORE != 0 {
            turn.thinking = read_text(&mut cursor)?;
            for _ in 0..cursor.count(12, "calls")? {
                let (id, name) = (read_text(&mut cursor)?, read_text(&mut cursor)?);
                turn.calls.push(Call { id, name, arguments: Argument::read(&mut cursor)? });
            }
            if cursor.u32("answers")? != 0 {
                turn.answers = Some(Answers { id: read_text(&mut cursor)?, name: read_text(&mut cursor)? });
            }
        }
        turns.push(turn);
    }
    cursor.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(role: Speaker, text: &str) -> Turn {
        Turn { tokens: vec![1; text.len()], ..Turn::new(role, text) }
    }

    #[test]
    fn records_change_turns_as_they_were_changed() {
        let system = turn(Speaker::System, "be brief");
        let said: Vec<Turn> = ["one", "1", "two", "2"].iter().map(|text| turn(Speaker::User, text)).collect();
        let other = turn(Speaker::Assistant, "3");
        let states = [
            vec![],
            said[..2].to_vec(),
            said.clone(),
            said[..3].to_vec(),
            [&said[..3], &[other]].concat(),
            [&[system], &said[2..]].concat(),
            vec![],
        ];
        let mut turns = Vec::new();
        for change in states.windows(2) {
            apply_record(&mut turns, &to_record(&change[0], &change[1])).expect("a record");
            assert_eq!(turns, change[1]);
        }
        let record = to_record(&said, &[&said[..], &said[..1]].concat());
        assert!(record.len() < 40, "what stays is not written again: {}", record.len());
        let error = apply_record(&mut turns, &record).expect_err("of other turns").to_string();
        assert!(error.contains("4 turns are to stay, there are 0"), "{error}");
    }
}
