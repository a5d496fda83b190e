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
    out.u32(turns.len() as u32);
    for turn in turns {
        out.u32(Speaker::ALL.iter().position(|role| *role == turn.role).unwrap_or(0) as u32);
        out.u32(turn.text.len() as u32);
        out.bytes(turn.text.as_bytes());
        out.u32(turn.tokens.len() as u32);
        turn.tokens.iter().for_each(|token| out.u32(*token));
    }
    out.into_bytes()
}

/// The turns of a note.
pub fn from_note(note: &[u8]) -> Result<Vec<Turn>> {
    let mut cursor = Cursor::new(note, "conversation");
    let n_turns = cursor.count(12, "turns")?;
    let mut turns = Vec::new();
    for _ in 0..n_turns {
        let at = cursor.offset();
        let role = *Speaker::ALL.get(cursor.u32("role")? as usize).ok_or_else(|| Error::data("unknown role").at(at))?;
        let length = cursor.count(1, "text")?;
        let text = core::str::from_utf8(cursor.take(length, "text")?);
        let text = text.map_err(|_| Error::data("the text is not UTF-8").field("conversation").at(at))?;
        let n_tokens = cursor.count(4, "tokens")?;
        let tokens = (0..n_tokens).map(|_| cursor.u32("tokens")).collect::<Result<_>>()?;
        turns.push(Turn { role, text: text.to_owned(), tokens });
    }
    cursor.finish()?;
    Ok(turns)
}
