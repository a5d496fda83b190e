//! Tokens to statements.

use super::ast::{Arguments, Block, For, Kind, Macro, Statement, Target};
use super::cursor::Cursor;
use super::expressions;
use super::lexer::{self, Token};
use super::meter::{Meter, Result};
use std::rc::Rc;

/// The template in `source`.
pub(super) fn parse(source: &str, meter: &Meter) -> Result<Block> {
    let mut cursor = Cursor::new(lexer::tokens(source, meter)?, meter);
    let (block, end) = block(&mut cursor, &[], 0)?;
    match end {
        None => Ok(block),
        Some(word) => cursor.fault(format!("{word} ends nothing")),
    }
}

/// Statements up to a tag with one of the words of `ends`, and that word, after which the cursor stands.
fn block(cursor: &mut Cursor<'_>, ends: &[&'static str], loops: usize) -> Result<(Block, Option<&'static str>)> {
    let mut out = Vec::new();
    loop {
        let line = cursor.line();
        let kind = match cursor.next() {
            None if ends.is_empty() => return Ok((out, None)),
            None => return cursor.fault(format!("{} is expected, not the end", ends.join(" or "))),
            Some(Token::Text(text)) => Kind::Text(text),
            Some(Token::PrintStart) => {
                let value = expressions::tuple(cursor)?;
                match cursor.next() {
                    Some(Token::PrintEnd) => Kind::Print(value),
                    _ => return cursor.fault("}} is expected"),
                }
            }
            Some(Token::BlockStart) => {
                let word = cursor.name()?;
                if let Some(end) = ends.iter().find(|end| **end == &*word) {
                    return Ok((out, Some(end)));
                }
                cursor.deeper(|cursor| statement(cursor, &word, loops))?
            }
            Some(_) => return cursor.fault("a tag is expected"),
        };
        out.push(Statement { line, kind });
    }
}

/// The end of a tag.
fn end_tag(cursor: &mut Cursor<'_>) -> Result<()> {
    if matches!(cursor.peek(), Some(Token::BlockEnd)) {
        cursor.next();
        return Ok(());
    }
    cursor.unexpected("%} is expected")
}

/// The rest of a tag, the statements up to that with `end`, and that tag.
fn body(cursor: &mut Cursor<'_>, end: &'static str, loops: usize) -> Result<Block> {
    end_tag(cursor)?;
    let (block, _) = block(cursor, &[end], loops)?;
    end_tag(cursor)?;
    Ok(block)
}

fn statement(cursor: &mut Cursor<'_>, word: &str, loops: usize) -> Result<Kind> {
    Ok(match word {
        "if" => return conditions(cursor, loops),
        "for" => return repetition(cursor, loops),
        "set" => return assignment(cursor, loops),
        "with" => {
            let mut values = Vec::new();
            while !matches!(cursor.peek(), Some(Token::BlockEnd) | None) {
                if !values.is_empty() {
                    cursor.expect(",")?;
                }
                let target = target(cursor)?;
                cursor.expect("=")?;
                values.push((target, expressions::single(cursor)?));
            }
            Kind::With(values, body(cursor, "endwith", loops)?)
        }
        "macro" => {
            let name = cursor.name()?;
            cursor.expect("(")?;
            let parameters = parameters(cursor)?;
            Kind::Macro(Rc::new(Macro { name, parameters, body: macro_body(cursor, "endmacro")? }))
        }
        "call" => {
            let parameters = if cursor.sign("(") { parameters(cursor)? } else { Vec::new() };
            let call = expressions::single(cursor)?;
            let caller = Macro { name: "caller".into(), parameters, body: body(cursor, "endcall", 0)? };
            Kind::CallBlock(call, Rc::new(caller))
        }
        "filter" => {
            let mut filters = vec![expressions::filter(cursor)?];
            filters.extend(filters_after_bars(cursor)?);
            Kind::FilterBlock(filters, body(cursor, "endfilter", loops)?)
        }
        "break" | "continue" if loops == 0 => return cursor.fault(format!("{word} stands in no loop")),
        "break" => {
            end_tag(cursor)?;
            Kind::Break
        }
        "continue" => {
            end_tag(cursor)?;
            Kind::Continue
        }
        _ => return cursor.fault(format!("there is no statement {word:.40}")),
    })
}

fn macro_body(cursor: &mut Cursor<'_>, end: &'static str) -> Result<Block> {
    end_tag(cursor)?;
    let (block, _) = block(cursor, &[end], 0)?;
    // The name may be said again.
    if matches!(cursor.peek(), Some(Token::Name(_))) {
        cursor.next();
    }
    end_tag(cursor)?;
    Ok(block)
}

fn conditions(cursor: &mut Cursor<'_>, loops: usize) -> Result<Kind> {
    let mut branches = Vec::new();
    loop {
        let condition = expressions::tuple(cursor)?;
        end_tag(cursor)?;
        let (inner, end) = block(cursor, &["elif", "else", "endif"], loops)?;
        branches.push((condition, inner));
        match end {
            Some("elif") => {}
            Some("else") => return Ok(Kind::If(branches, body(cursor, "endif", loops)?)),
            _ => {
                end_tag(cursor)?;
                return Ok(Kind::If(branches, Vec::new()));
            }
        }
    }
}

fn repetition(cursor: &mut Cursor<'_>, loops: usize) -> Result<Kind> {
    let target = target(cursor)?;
    cursor.expect_word("in")?;
    let over = expressions::without_condition(cursor)?;
    let condition = if cursor.word("if") { Some(expressions::single(cursor)?) } else { None };
    let recursive = cursor.word("recursive");
    end_tag(cursor)?;
    let (inner, end) = block(cursor, &["else", "endfor"], loops + 1)?;
    let otherwise = if end == Some("else") {
        body(cursor, "endfor", loops)?
    } else {
        end_tag(cursor)?;
        Vec::new()
    };
    Ok(Kind::For(Rc::new(For { target, over, condition, recursive, body: inner, otherwise })))
}

fn assignment(cursor: &mut Cursor<'_>, loops: usize) -> Result<Kind> {
    let target = target(cursor)?;
    if cursor.sign("=") {
        let value = expressions::tuple(cursor)?;
        end_tag(cursor)?;
        return Ok(Kind::Set(target, value));
    }
    let filters = filters_after_bars(cursor)?;
    Ok(Kind::SetBlock(target, body(cursor, "endset", loops)?, filters))
}

fn filters_after_bars(cursor: &mut Cursor<'_>) -> Result<Vec<(Rc<str>, Arguments)>> {
    let mut filters = Vec::new();
    while cursor.sign("|") {
        filters.push(expressions::filter(cursor)?);
    }
    Ok(filters)
}

/// The parameters of a macro up to their closing bracket.
fn parameters(cursor: &mut Cursor<'_>) -> Result<Vec<(Rc<str>, Option<super::ast::Expr>)>> {
    let mut out = Vec::new();
    while !cursor.sign(")") {
        if !out.is_empty() {
            cursor.expect(",")?;
        }
        let name = cursor.name()?;
        let default = if cursor.sign("=") { Some(expressions::single(cursor)?) } else { None };
        out.push((name, default));
    }
    Ok(out)
}

/// Names with commas between, which may stand in brackets, or an attribute.
fn target(cursor: &mut Cursor<'_>) -> Result<Target> {
    let mut targets = Vec::new();
    let mut several = false;
    loop {
        targets.push(if cursor.sign("(") {
            let inner = cursor.deeper(target)?;
            cursor.expect(")")?;
            inner
        } else {
            let name = cursor.name()?;
            if cursor.sign(".") { Target::Attribute(name, cursor.name()?) } else { Target::Name(name) }
        });
        if !cursor.sign(",") {
            break;
        }
        several = true;
        if cursor.is_name("in") || cursor.is_sign("=") || cursor.is_sign(")") {
            break;
        }
    }
    match targets.pop() {
        Some(one) if !several => Ok(one),
        last => Ok(Target::Several(targets.into_iter().chain(last).collect())),
    }
}
