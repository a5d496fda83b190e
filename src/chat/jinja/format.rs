//! Python's two ways to put values into a text: `'%s' % value` and `'{}'.format(value)`.

use super::arguments::Given;
use super::items;
use super::meter::{Meter, Result, fault};
use super::print;
use super::sink::Sink;
use super::value::Value;

/// `pattern` with `values` in the places of its `%s`, `%d`, `%f` and their like, of which none may be left but as told.
pub(super) fn percent(pattern: &str, values: &[Value], may_be_left: bool, meter: &Meter) -> Result<Value> {
    meter.pay_bytes(pattern.len())?;
    let mut sink = Sink::new(meter);
    let mut values = values.iter();
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once('%') {
        sink.push(before)?;
        let end = after.find(|c: char| c.is_ascii_alphabetic() || c == '%').unwrap_or(after.len());
        let Some(kind) = after[end..].chars().next() else { return fault("format: a % is followed by nothing") };
        rest = &after[end + 1..];
        if kind == '%' {
            sink.push("%")?;
            continue;
        }
        let Some(value) = values.next() else { return fault("format: there are fewer values than places") };
        let flags: String = after[..end].chars().take_while(|c| "-+ 0#".contains(*c)).collect();
        let mut spec = Spec::numbers(&after[flags.len()..end])?;
        let left = flags.contains('-');
        spec.align = Some(if left { '<' } else { '>' });
        spec.sign = flags.chars().find(|c| *c == '+' || *c == ' ');
        spec.zeros = flags.contains('0') && !left && kind != 's' && kind != 'r';
        spec.kind = Some(kind);
        spec.write(&mut sink, value)?;
    }
    if values.next().is_some() && !may_be_left {
        return fault("format: there are more values than places");
    }
    sink.push(rest)?;
    sink.into_value()
}

/// `pattern` with what is given in the places of its `{}`, `{0}` and `{name}`.
pub(super) fn braces(pattern: &str, given: &Given, meter: &Meter) -> Result<Value> {
    meter.pay_bytes(pattern.len())?;
    let mut sink = Sink::new(meter);
    let mut next = 0;
    let mut rest = pattern;
    while let Some(at) = rest.find(['{', '}']) {
        sink.push(&rest[..at])?;
        let (bracket, after) = rest[at..].split_at(1);
        if after.starts_with(bracket) {
            sink.push(bracket)?;
            rest = &after[1..];
            continue;
        }
        let Some((field, after)) = after.split_once('}').filter(|_| bracket == "{") else {
            return fault("format: a bracket stands alone");
        };
        rest = after;
        let (name, spec) = field.split_once(':').unwrap_or((field, ""));
        let (name, conversion) = name.split_once('!').unwrap_or((name, ""));
        let value = field_value(name, given, &mut next, meter)?;
        let value = match conversion {
            "" => value,
            "s" => Value::Text(print::text(&value, meter)?),
            "r" => {
                let mut own = Sink::new(meter);
                print::represent(&mut own, &value)?;
                own.into_value()?
            }
            _ => return fault("format: a conversion is s or r"),
        };
        Spec::of(spec)?.write(&mut sink, &value)?;
    }
    sink.push(rest)?;
    sink.into_value()
}

/// What `name` means, with the attributes and items that it asks for.
fn field_value(name: &str, given: &Given, next: &mut usize, meter: &Meter) -> Result<Value> {
    meter.pay_items(1 + given.by_name.len())?;
    let end = name.find(['.', '[']).unwrap_or(name.len());
    let (first, mut rest) = name.split_at(end);
    let value = match first.parse::<usize>() {
        _ if first.is_empty() => {
            *next += 1;
            given.by_place.get(*next - 1)
        }
        Ok(place) => given.by_place.get(place),
        Err(_) => given.by_name.iter().find(|(own, _)| **own == *first).map(|(_, value)| value),
    };
    let Some(mut value) = value.cloned() else { return fault("format: there is no value for a place") };
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[']).unwrap_or(after.len());
            value = items::attribute(&value, &after[..end], meter)?;
            rest = &after[end..];
        } else {
            let Some((key, after)) = rest[1..].split_once(']') else { return fault("format: a bracket stands alone") };
            let key = key.parse().map_or_else(|_| Value::text(key), Value::Int);
            value = items::item(&value, &key, meter)?;
            rest = after;
        }
    }
    Ok(value)
}

/// How a value is written: `[[fill]align][sign][0][width][,][.precision][kind]`.
#[derive(Default)]
struct Spec {
    fill: Option<char>,
    align: Option<char>,
    sign: Option<char>,
    zeros: bool,
    width: usize,
    commas: bool,
    precision: Option<usize>,
    kind: Option<char>,
}

impl Spec {
    fn of(text: &str) -> Result<Spec> {
        let mut characters = text.chars();
        let (first, second) = (characters.next(), characters.next());
        let is_align = |c: Option<char>| c.is_some_and(|c| "<>^=".contains(c));
        let (fill, align, rest) = if is_align(second) {
            (first, second, characters.as_str())
        } else if is_align(first) {
            (None, first, &text[1..])
        } else {
            (None, None, text)
        };
        let sign = rest.chars().next().filter(|c| "+- ".contains(*c));
        let rest = &rest[sign.map_or(0, char::len_utf8)..];
        let zeros = rest.starts_with('0');
        let kind = rest.chars().next_back().filter(|c| c.is_ascii_alphabetic() || *c == '%');
        let rest = &rest[..rest.len() - kind.map_or(0, char::len_utf8)];
        let commas = rest.contains(',');
        let spec = Spec::numbers(&rest.replace(',', ""))?;
        Ok(Spec { fill, align, sign: sign.filter(|sign| *sign != '-'), zeros, commas, kind, ..spec })
    }

    /// `[width][.precision]`
    fn numbers(text: &str) -> Result<Spec> {
        let number = |text: &str| match text.parse::<u16>() {
            Ok(n) => Ok(n.into()),
            Err(_) => fault("format: a width or precision is no number below 65536"),
        };
        let (width, precision) =
            text.split_once('.').map_or((text, None), |(width, precision)| (width, Some(precision)));
        let width = if width.is_empty() { 0 } else { number(width)? };
        Ok(Spec { width, precision: precision.map(number).transpose()?, ..Spec::default() })
    }

    fn write(&self, sink: &mut Sink<'_>, value: &Value) -> Result<()> {
        let meter = sink.meter();
        let mut own = Sink::new(meter);
        let mut digits = true;
        let kind =
            self.kind.unwrap_or(if value.as_float().is_some() && !matches!(value, Value::Bool(_)) { 'n' } else { 's' });
        match (kind, value.as_int(), value.as_float()) {
            ('s', ..) => {
                digits = false;
                let text = print::text(value, meter)?;
                let end = self.precision.and_then(|n| text.char_indices().nth(n)).map_or(text.len(), |(at, _)| at);
                own.push(&text[..end])?;
            }
            ('r', ..) => {
                digits = false;
                print::represent(&mut own, value)?;
            }
            ('d' | 'i' | 'u' | 'n', Some(n), _) => own.push(&n.to_string())?,
            ('d' | 'i' | 'u', None, Some(x)) => own.push(&format!("{:.0}", x.trunc()))?,
            ('x', Some(n), _) if n >= 0 => own.push(&format!("{n:x}"))?,
            ('X', Some(n), _) if n >= 0 => own.push(&format!("{n:X}"))?,
            ('o', Some(n), _) if n >= 0 => own.push(&format!("{n:o}"))?,
            ('b', Some(n), _) if n >= 0 => own.push(&format!("{n:b}"))?,
            ('f' | 'F' | '%', _, Some(x)) => {
                let precision = self.precision.unwrap_or(6);
                meter.pay_bytes(precision + 400)?;
                own.push(&format!("{:.precision$}", if kind == '%' { x * 100.0 } else { x }))?;
                own.push(if kind == '%' { "%" } else { "" })?;
            }
            ('n', None, Some(x)) if self.precision.is_none() => own.push(&print::float(x))?,
            _ => return fault(format!("format: {kind} does not take {}", value.name())),
        }
        self.pad(sink, &own.into_string(), digits)
    }

    fn pad(&self, sink: &mut Sink<'_>, text: &str, digits: bool) -> Result<()> {
        let (sign, mut body) = match text.strip_prefix('-').filter(|_| digits) {
            Some(body) => ("-".to_owned(), body.to_owned()),
            None => (self.sign.filter(|_| digits).map_or(String::new(), String::from), text.to_owned()),
        };
        if self.commas && digits {
            body = with_commas(&body);
        }
        let missing = self.width.saturating_sub(body.chars().count() + sign.len());
        if self.zeros && digits && self.align.is_none_or(|align| align == '>') && self.fill.is_none() {
            sink.push(&sign)?;
            sink.repeat('0', missing)?;
            return sink.push(&body);
        }
        let fill = self.fill.unwrap_or(' ');
        let before = match self.align.unwrap_or(if digits { '>' } else { '<' }) {
            '<' => 0,
            '^' => missing / 2,
            _ => missing,
        };
        sink.repeat(fill, before)?;
        sink.push(&sign)?;
        sink.push(&body)?;
        sink.repeat(fill, missing - before)
    }
}

/// Digits with a comma before every three from the right, up to the point.
fn with_commas(digits: &str) -> String {
    let (whole, rest) = digits.split_at(digits.find('.').unwrap_or(digits.len()));
    let mut out = String::new();
    for (i, c) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out + rest
}
