//! A conversation as the model reads it: turns to tokens, by the model's template.
//!
//! What a user says can name a control token, but never becomes one: where such a name begins, its first character is hidden
//! before the template is filled, control tokens are then looked for in its text, and what is hidden comes back in what lies
//! between them. Replies are put between marks, by which their very tokens, as the model wrote them, are found a place again:
//! so a conversation that goes on begins with the tokens that the KV cache holds.

use super::template::Template;
use super::turn::{Speaker, Turn};
use crate::error::{Error, Result};
use crate::token::TokenId;
use crate::tokenizer::{Specials, Tokenizer};

/// Noncharacters of Unicode (section 23.7), which no text means: one before a hidden character, two around a reply.
const HIDDEN: char = '\u{fdd0}';
const REPLY: char = '\u{fdd1}';
const END_OF_REPLY: char = '\u{fdd2}';
const MARKS: [char; 3] = [HIDDEN, REPLY, END_OF_REPLY];
/// A hidden character stands as its upper and its lower 16 bits in this plane.
const PLANE: u32 = 0xf_0000;

/// The tokens of `turns`, up to where the next reply begins.
pub fn tokens(turns: &[Turn], template: &Template, tokenizer: &Tokenizer<'_>) -> Result<Vec<TokenId>> {
    let contents: Vec<String> = turns.iter().map(|turn| marked(turn, tokenizer)).collect();
    let last =
        turns.iter().zip(&contents).rfind(|(turn, _)| turn.role == Speaker::User).map(|(_, content)| content.clone());
    let text = template.render(turns, contents)?;
    if last.is_some_and(|content| !text.contains(content.trim())) {
        return Err(Error::data("it leaves out what the user said").field("chat template"));
    }
    let mut replies = turns.iter().filter(|turn| turn.role == Speaker::Assistant);
    let mut out = Vec::new();
    let mut rest = text.as_str();
    while let Some((span, id)) = tokenizer.next_special(rest) {
        encode(&rest[..span.start], &mut replies, tokenizer, &mut out);
        out.push(id);
        rest = &rest[span.end..];
    }
    encode(rest, &mut replies, tokenizer, &mut out);
    Ok(out)
}

/// A turn's text for the template, with marks.
fn marked(turn: &Turn, tokenizer: &Tokenizer<'_>) -> String {
    let text = turn.text.replace(MARKS, "\u{fffd}");
    let mut out = String::with_capacity(text.len() + 32);
    // Ends of the text may meet the template's own words, of which they must not be the rest.
    let ends = [text.find(|c: char| !c.is_whitespace()), text.rfind(|c: char| !c.is_whitespace())];
    for (at, c) in text.char_indices() {
        if ends.contains(&Some(at)) || tokenizer.begins_with_special(&text[at..]) {
            let half = |bits: u32| char::from_u32(PLANE + (bits & 0xffff)).unwrap_or(HIDDEN);
            out.extend([HIDDEN, half(c as u32 >> 16), half(c as u32)]);
        } else {
            out.push(c);
        }
    }
    match turn.role {
        Speaker::Assistant => format!("{REPLY}{out}{END_OF_REPLY}"),
        _ => out,
    }
}

/// `text` without marks, and with what was hidden.
fn unmarked(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            HIDDEN => {
                let mut half = || chars.next().map_or(0, |c| (c as u32).wrapping_sub(PLANE));
                let (high, low) = (half(), half());
                out.push(char::from_u32(high << 16 | low).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            REPLY | END_OF_REPLY => {}
            c => out.push(c),
        }
    }
    out
}

/// Appends the tokens of a part of the template's text in which nothing is a control token.
fn encode<'t>(
    mut text: &str,
    replies: &mut (impl Iterator<Item = &'t Turn> + Clone),
    tokenizer: &Tokenizer<'_>,
    out: &mut Vec<TokenId>,
) {
    let plain = |text: &str, out: &mut Vec<TokenId>| tokenizer.encode(&unmarked(text), Specials::AsText, out);
    while let Some((before, after)) = text.split_once(REPLY) {
        let Some((said, rest)) = after.split_once(END_OF_REPLY) else { break };
        let said_again = unmarked(said);
        let mut following = replies.clone();
        let reply = following.find(|turn| turn.text == said_again && !turn.tokens.is_empty());
        plain(before, out);
        match reply {
            Some(turn) => {
                out.extend_from_slice(&turn.tokens);
                *replies = following;
            }
            None => plain(said, out),
        }
        text = rest;
    }
    plain(text, out);
}
