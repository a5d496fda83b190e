//! Turns of a conversation, and the note of a saved session that holds them.

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
}

impl Speaker {
    const ALL: [Speaker; 3] = [Speaker::System, Speaker::User, Speaker::Assistant];

    /// The name in templates.
    pub fn name(self) -> &'static str {
        match self {
            Speaker::System => "system",
            Speaker::User => "user",
            Speaker::Assistant => "assistant",
        }
    }
}

/// What somebody said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// Who.
    pub role: Speaker,
    /// What.
    pub text: String,
    /// Of a reply: its tokens, as they were chosen.
    pub tokens: Vec<TokenId>,
}

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
    out.u32(turns.len() as u32);
    for turn in turns {
        out.u32(Speaker::ALL.iter().position(|role| *role == turn.role).unwrap_or(0) as u32);
        out.u32(turn.text.len() as u32);
        out.bytes(turn.text.as_bytes());
        out.u32(turn.tokens.len() as u32);
        turn.tokens.iter().for_each(|token| out.u32(*token));
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
        let role = *Speaker::ALL.get(cursor.u32("role")? as usize).ok_or_else(|| Error::data("unknown role").at(at))?;
        let length = cursor.count(1, "text")?;
        let text = core::str::from_utf8(cursor.take(length, "text")?);
        let text = text.map_err(|_| Error::data("the text is not UTF-8").field("conversation").at(at))?;
        let n_tokens = cursor.count(4, "tokens")?;
        let tokens = (0..n_tokens).map(|_| cursor.u32("tokens")).collect::<Result<_>>()?;
        turns.push(Turn { role, text: text.to_owned(), tokens });
    }
    cursor.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(role: Speaker, text: &str) -> Turn {
        Turn { role, text: text.into(), tokens: vec![1; text.len()] }
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
