//! Tokens to expressions.

use super::ast::{Arguments, Comparison, Expr, Operator};
use super::cursor::Cursor;
use super::lexer::Token;
use super::meter::Result;
use std::rc::Rc;

/// An expression, or several with commas between, which are a tuple.
pub(super) fn tuple(cursor: &mut Cursor<'_>) -> Result<Expr> {
    cursor.begin_expression();
    several(cursor, expression)
}

/// What a loop goes over: an `if` after it is the loop's own.
pub(super) fn without_condition(cursor: &mut Cursor<'_>) -> Result<Expr> {
    cursor.begin_expression();
    several(cursor, |cursor| cursor.deeper(|cursor| operation(cursor, 0)))
}

/// An expression that begins here.
pub(super) fn single(cursor: &mut Cursor<'_>) -> Result<Expr> {
    cursor.begin_expression();
    expression(cursor)
}

fn several(cursor: &mut Cursor<'_>, one: impl Fn(&mut Cursor<'_>) -> Result<Expr>) -> Result<Expr> {
    let first = one(cursor)?;
    if !cursor.is_sign(",") {
        return Ok(first);
    }
    let mut items = vec![first];
    while cursor.sign(",") {
        let ends = matches!(cursor.peek(), None | Some(Token::BlockEnd | Token::PrintEnd)) || cursor.is_sign(")");
        if ends {
            break;
        }
        items.push(one(cursor)?);
    }
    Ok(Expr::Tuple(items))
}

fn expression(cursor: &mut Cursor<'_>) -> Result<Expr> {
    cursor.deeper(|cursor| {
        let mut value = operation(cursor, 0)?;
        while cursor.word("if") {
            cursor.operator()?;
            let condition = operation(cursor, 0)?;
            let otherwise = if cursor.word("else") { Some(expression(cursor)?) } else { None };
            value = Expr::Choose(Box::new((condition, value, otherwise)));
        }
        Ok(value)
    })
}

/// An operator between two values.
#[derive(Clone, Copy)]
enum Between {
    Or,
    And,
    Compare(Comparison),
    Concat,
    Arithmetic(Operator),
}

/// How tightly operators bind; `not` lies between `and` and comparisons.
const NOT: u8 = 2;
const COMPARISON: u8 = 3;
const SIGNS: [(&str, u8, Between); 14] = [
    ("==", COMPARISON, Between::Compare(Comparison::Equal)),
    ("!=", COMPARISON, Between::Compare(Comparison::NotEqual)),
    ("<=", COMPARISON, Between::Compare(Comparison::LessOrEqual)),
    (">=", COMPARISON, Between::Compare(Comparison::GreaterOrEqual)),
    ("<", COMPARISON, Between::Compare(Comparison::Less)),
    (">", COMPARISON, Between::Compare(Comparison::Greater)),
    ("+", 4, Between::Arithmetic(Operator::Add)),
    ("-", 4, Between::Arithmetic(Operator::Subtract)),
    ("~", 5, Between::Concat),
    ("*", 6, Between::Arithmetic(Operator::Multiply)),
    ("//", 6, Between::Arithmetic(Operator::FloorDivide)),
    ("/", 6, Between::Arithmetic(Operator::Divide)),
    ("%", 6, Between::Arithmetic(Operator::Modulo)),
    ("**", 7, Between::Arithmetic(Operator::Power)),
];

/// The operator that comes next, how tightly it binds, and of how many tokens it is.
fn operator(cursor: &Cursor<'_>) -> Option<(u8, Between, usize)> {
    match cursor.peek()? {
        Token::Sign(sign) => {
            SIGNS.iter().find(|(own, ..)| own == sign).map(|(_, level, between)| (*level, *between, 1))
        }
        Token::Name(name) => match &**name {
            "or" => Some((0, Between::Or, 1)),
            "and" => Some((1, Between::And, 1)),
            "in" => Some((COMPARISON, Between::Compare(Comparison::In), 1)),
            "not" if matches!(cursor.peek_at(1), Some(Token::Name(name)) if **name == *"in") => {
                Some((COMPARISON, Between::Compare(Comparison::NotIn), 2))
            }
            _ => None,
        },
        _ => None,
    }
}

/// An expression of operators that bind as tightly as `level` at least.
fn operation(cursor: &mut Cursor<'_>, level: u8) -> Result<Expr> {
    let mut left = if level <= NOT && cursor.word("not") {
        Expr::Not(Box::new(cursor.deeper(|cursor| operation(cursor, NOT))?))
    } else {
        unary(cursor, true)?
    };
    // A comparison in brackets is no part of the one after it.
    let mut compares = false;
    while let Some((own, between, n_tokens)) = operator(cursor).filter(|(own, ..)| *own >= level) {
        cursor.operator()?;
        (0..n_tokens).for_each(|_| drop(cursor.next()));
        let right = operation(cursor, own + 1)?;
        left = match (left, between) {
            (Expr::Compare(first, mut rest), Between::Compare(comparison)) if compares => {
                rest.push((comparison, right));
                Expr::Compare(first, rest)
            }
            (left, _) => joined(left, between, right),
        };
        compares = matches!(between, Between::Compare(_));
    }
    Ok(left)
}

fn joined(left: Expr, between: Between, right: Expr) -> Expr {
    match (between, left) {
        (Between::Or, left) => Expr::Or(Box::new((left, right))),
        (Between::And, left) => Expr::And(Box::new((left, right))),
        (Between::Arithmetic(operator), left) => Expr::Binary(operator, Box::new((left, right))),
        (Between::Concat, Expr::Concat(mut parts)) => {
            parts.push(right);
            Expr::Concat(parts)
        }
        (Between::Concat, left) => Expr::Concat(vec![left, right]),
        (Between::Compare(comparison), left) => Expr::Compare(Box::new(left), vec![(comparison, right)]),
    }
}

fn unary(cursor: &mut Cursor<'_>, with_filters: bool) -> Result<Expr> {
    let value = if cursor.sign("-") {
        Expr::Negative(Box::new(cursor.deeper(|cursor| unary(cursor, false))?))
    } else if cursor.sign("+") {
        Expr::Positive(Box::new(cursor.deeper(|cursor| unary(cursor, false))?))
    } else {
        primary(cursor)?
    };
    let value = postfix(cursor, value)?;
    if with_filters { filtered(cursor, value) } else { Ok(value) }
}

fn primary(cursor: &mut Cursor<'_>) -> Result<Expr> {
    let Some(token) = cursor.peek().cloned() else { return cursor.unexpected("an expression is expected") };
    let literal = match token {
        Token::Name(name) => match &*name {
            "true" | "True" => Expr::Bool(true),
            "false" | "False" => Expr::Bool(false),
            "none" | "None" => Expr::None,
            _ => Expr::Name(name),
        },
        Token::Int(n) => Expr::Int(n),
        Token::Float(x) => Expr::Float(x),
        Token::String(text) => {
            cursor.next();
            let mut text = text;
            while let Some(Token::String(more)) = cursor.peek() {
                text = [&*text, more].concat().into();
                cursor.operator()?;
                cursor.next();
            }
            return Ok(Expr::Text(text));
        }
        Token::Sign("(") => {
            cursor.next();
            if cursor.sign(")") {
                return Ok(Expr::Tuple(Vec::new()));
            }
            let inner = several(cursor, expression)?;
            cursor.expect(")")?;
            return Ok(inner);
        }
        Token::Sign("[") => {
            cursor.next();
            return Ok(Expr::List(items(cursor, "]", expression)?));
        }
        Token::Sign("{") => {
            cursor.next();
            let entry = |cursor: &mut Cursor<'_>| {
                let key = expression(cursor)?;
                cursor.expect(":")?;
                Ok((key, expression(cursor)?))
            };
            return Ok(Expr::Dict(items(cursor, "}", entry)?));
        }
        _ => return cursor.unexpected("an expression is expected"),
    };
    cursor.next();
    Ok(literal)
}

/// What stands between commas up to `end`.
fn items<T>(cursor: &mut Cursor<'_>, end: &str, one: impl Fn(&mut Cursor<'_>) -> Result<T>) -> Result<Vec<T>> {
    let mut out = Vec::new();
    while !cursor.sign(end) {
        if !out.is_empty() {
            cursor.expect(",")?;
            if cursor.sign(end) {
                break;
            }
        }
        out.push(one(cursor)?);
    }
    Ok(out)
}

/// `value` with the attributes, items and calls that follow it.
fn postfix(cursor: &mut Cursor<'_>, mut value: Expr) -> Result<Expr> {
    loop {
        if cursor.sign(".") {
            cursor.operator()?;
            value = match cursor.peek().cloned() {
                Some(Token::Int(n)) => {
                    cursor.next();
                    Expr::Item(Box::new((value, Expr::Int(n))))
                }
                _ => Expr::Attribute(Box::new(value), cursor.name()?),
            };
        } else if cursor.sign("[") {
            cursor.operator()?;
            value = subscript(cursor, value)?;
        } else if cursor.sign("(") {
            cursor.operator()?;
            value = Expr::Call(Box::new(value), arguments(cursor)?);
        } else {
            return Ok(value);
        }
    }
}

fn subscript(cursor: &mut Cursor<'_>, value: Expr) -> Result<Expr> {
    let mut bounds = [None, None, None];
    let mut n = 0;
    loop {
        if cursor.sign("]") {
            break;
        }
        if cursor.sign(":") {
            n += 1;
            if n == bounds.len() {
                return cursor.fault("a slice has two colons at most");
            }
            continue;
        }
        if bounds[n].is_some() {
            return cursor.unexpected("\"]\" is expected");
        }
        bounds[n] = Some(expression(cursor)?);
    }
    match (n, bounds) {
        (0, [Some(key), ..]) => Ok(Expr::Item(Box::new((value, key)))),
        (0, _) => cursor.fault("brackets ask for an item, and name none"),
        (_, bounds) => Ok(Expr::Slice(Box::new(value), Box::new(bounds))),
    }
}

/// What a call is given, up to its closing bracket.
pub(super) fn arguments(cursor: &mut Cursor<'_>) -> Result<Arguments> {
    let mut out = Arguments::default();
    let given = items(cursor, ")", |cursor| {
        let named =
            matches!(cursor.peek(), Some(Token::Name(_))) && matches!(cursor.peek_at(1), Some(Token::Sign("=")));
        let name: Option<Rc<str>> = if named { Some(cursor.name()?) } else { None };
        if named {
            cursor.expect("=")?;
        }
        Ok((name, expression(cursor)?))
    })?;
    for (name, value) in given {
        match name {
            Some(name) => out.by_name.push((name, value)),
            None if out.by_name.is_empty() => out.by_place.push(value),
            None => return cursor.fault("an argument without a name stands after one with a name"),
        }
    }
    Ok(out)
}

/// A name of a filter or a test, which may have points in it.
fn dotted(cursor: &mut Cursor<'_>) -> Result<Rc<str>> {
    let mut name = cursor.name()?;
    while cursor.sign(".") {
        cursor.operator()?;
        name = format!("{name}.{}", cursor.name()?).into();
    }
    Ok(name)
}

/// A filter after its bar.
pub(super) fn filter(cursor: &mut Cursor<'_>) -> Result<(Rc<str>, Arguments)> {
    cursor.operator()?;
    let name = dotted(cursor)?;
    let given = if cursor.sign("(") { arguments(cursor)? } else { Arguments::default() };
    Ok((name, given))
}

fn filtered(cursor: &mut Cursor<'_>, mut value: Expr) -> Result<Expr> {
    loop {
        if cursor.sign("|") {
            let (name, given) = filter(cursor)?;
            value = Expr::Filter(Box::new(value), name, given);
        } else if cursor.word("is") {
            value = test(cursor, value)?;
        } else if cursor.sign("(") {
            cursor.operator()?;
            value = Expr::Call(Box::new(value), arguments(cursor)?);
        } else {
            return Ok(value);
        }
    }
}

fn test(cursor: &mut Cursor<'_>, value: Expr) -> Result<Expr> {
    cursor.operator()?;
    let negated = cursor.word("not");
    let sign = match cursor.peek() {
        // `is == 3`, as `select` may name it, too.
        Some(Token::Sign(sign @ ("==" | "!=" | "<" | "<=" | ">" | ">="))) => Some(*sign),
        _ => None,
    };
    let name: Rc<str> = match sign {
        Some(sign) => {
            cursor.next();
            sign.into()
        }
        None => dotted(cursor)?,
    };
    let takes_one = match cursor.peek() {
        Some(Token::Name(name)) => !["else", "or", "and", "is", "if", "not", "in"].contains(&&**name),
        Some(Token::String(_) | Token::Int(_) | Token::Float(_) | Token::Sign("[" | "{")) => true,
        _ => false,
    };
    let mut given = Arguments::default();
    if cursor.sign("(") {
        given = arguments(cursor)?;
    } else if takes_one {
        let one = cursor.deeper(primary)?;
        given.by_place.push(postfix(cursor, one)?);
    }
    Ok(Expr::Test(Box::new(value), name, given, negated))
}
