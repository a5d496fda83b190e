//! What `whit bench --json` prints and `--compare` reads: one JSON object, laid out in lines.
//!
//! ```text
//! {"bench":{"format":1,...},
//! "limits":[
//! {"kernels":"avx2","threads":1,...},
//! {"kernels":"avx2","threads":2,...}
//! ],
//! "rows":[
//! {"kernels":"avx2","threads":1,"work":"prefill",...}
//! ]}
//! ```
//!
//! The objects within hold texts, numbers and null only. Names and units do not change within a format; names may come.

use super::input;
use super::json::Object;
use core::str::Chars;
use std::path::Path;
use whit::error::Error;
use whit::inspect::Limits;
use whit::inspect::bench::{Report, Row, Work};
use whit::quant::Dtype;

/// The number of this layout.
const FORMAT: u32 = 1;

/// What a run was made with.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Setting {
    /// The machine by its CPU.
    pub(crate) machine: String,
    /// Cores this process may use.
    pub(crate) cores: usize,
    /// The model's name.
    pub(crate) model: String,
    /// Bytes of its weights.
    pub(crate) weight_bytes: u64,
    /// Elements of its tensors.
    pub(crate) parameters: u64,
    /// Dtype of most of its weights.
    pub(crate) dtype: Dtype,
    /// Type of cached keys and values.
    pub(crate) kv: &'static str,
    /// Samples of a row.
    pub(crate) repeats: usize,
    /// Tokens of a decode.
    pub(crate) n_decode: usize,
}

/// The object of a run; `computes` are the kernels and threads of the report's limits.
pub(crate) fn write(setting: &Setting, report: &Report, computes: &[(&str, usize)], old: Option<&Old>) -> String {
    let head = Object::default()
        .raw("format", FORMAT)
        .text("version", env!("CARGO_PKG_VERSION"))
        .text("machine", &setting.machine)
        .raw("cores", setting.cores)
        .text("model", &setting.model)
        .raw("weight_bytes", setting.weight_bytes)
        .raw("parameters", setting.parameters)
        .text("dtype", setting.dtype.name())
        .text("kv", setting.kv)
        .raw("repeats", setting.repeats);
    let limits = computes.iter().zip(&report.limits);
    let limits = limits.filter_map(|(compute, limits)| Some(limits_object(*compute, limits.as_ref()?)));
    let rows = report.rows.iter().map(|row| row_object(row, setting.n_decode, old));
    let lines = |lines: Vec<String>| lines.join(",\n") + if lines.is_empty() { "" } else { "\n" };
    let (limits, rows) = (lines(limits.collect()), lines(rows.collect()));
    format!("{{\"bench\":{},\n\"limits\":[\n{limits}],\n\"rows\":[\n{rows}]}}\n", head.line())
}

fn limits_object((kernels, threads): (&str, usize), limits: &Limits) -> String {
    Object::default()
        .text("kernels", kernels)
        .raw("threads", threads)
        .number("read_bytes_per_second", limits.read)
        .number("int8_macs_per_second", limits.int8)
        .number("f32_macs_per_second", limits.f32)
        .line()
}

fn row_object(row: &Row, n_decode: usize, old: Option<&Old>) -> String {
    let key = Key::of(row, n_decode);
    let object = Object::default()
        .text("kernels", &key.kernels)
        .raw("threads", key.threads)
        .text("work", &key.work)
        .raw("tokens", key.tokens)
        .raw("depth", key.depth)
        .number("tokens_per_second", row.rate.median)
        .number("min", row.rate.min)
        .number("max", row.rate.max)
        .number("macs_per_token", row.macs)
        .number("macs_per_second", row.macs_per_second())
        .number("bytes_per_token", row.bytes)
        .number("bytes_per_second", row.bytes_per_second())
        .number("share_of_limit", row.share().unwrap_or(f64::NAN));
    match old.and_then(|old| old.rate(&key)) {
        Some(rate) => object.number("old_tokens_per_second", rate).number("ratio", row.rate.median / rate).line(),
        None => object.line(),
    }
}

/// What makes two rows comparable.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Key {
    kernels: String,
    work: String,
    threads: u64,
    tokens: u64,
    depth: u64,
}

impl Key {
    /// The key of a row of a run that decodes `n_decode` tokens.
    pub(crate) fn of(row: &Row, n_decode: usize) -> Self {
        let (work, tokens, depth) = match row.work {
            Work::Prefill { n_tokens } => ("prefill", n_tokens, 0),
            Work::Decode { depth } => ("decode", n_decode, depth),
        };
        let (threads, tokens, depth) = (row.threads as u64, tokens as u64, depth as u64);
        Key { kernels: row.kernels.into(), work: work.into(), threads, tokens, depth }
    }
}

/// A run read back.
#[derive(Debug, PartialEq)]
pub(crate) struct Old {
    /// The machine by its CPU.
    pub(crate) machine: String,
    /// The model's name.
    pub(crate) model: String,
    /// Type of cached keys and values.
    pub(crate) kv: String,
    rows: Vec<(Key, f64)>,
}

impl Old {
    /// Tokens a second of the row with this key.
    pub(crate) fn rate(&self, key: &Key) -> Option<f64> {
        self.rows.iter().find(|(old, _)| old == key).map(|(_, rate)| *rate)
    }

    /// The run in the file at `path`; errors name file and line.
    pub(crate) fn read(path: &Path) -> whit::Result<Old> {
        Old::parse(&input::text(path)?).map_err(|(line, message)| {
            let error = Error::data(message).in_file(path.display().to_string()).field(format!("line {line}"));
            error.hint("expected what whit bench --json prints")
        })
    }

    /// The run that `text` holds, or the number of the line that is wrong, and how.
    fn parse(text: &str) -> Result<Old, (usize, String)> {
        let mut lines = (1..).zip(text.lines());
        let mut next = || lines.next().ok_or_else(|| (text.lines().count().max(1), "the text ends early".to_owned()));
        let exactly = |(n, line): (usize, &str), wanted: &str| {
            if line == wanted { Ok(()) } else { Err((n, format!("expected {wanted}"))) }
        };
        let (n, first) = next()?;
        let head = first.strip_prefix("{\"bench\":").and_then(|rest| rest.strip_suffix(','));
        let head = Fields::parse(head.ok_or((n, "expected {\"bench\":{...},".into()))?).map_err(|e| (n, e))?;
        let field = |name: &str| head.text(name).map_err(|e| (n, e));
        let (machine, model, kv) = (field("machine")?, field("model")?, field("kv")?);
        let format = head.number("format").map_err(|e| (n, e))?;
        if format != f64::from(FORMAT) {
            return Err((n, format!("format {format} is not known, only {FORMAT}")));
        }
        exactly(next()?, "\"limits\":[")?;
        while next()?.1 != "]," {}
        exactly(next()?, "\"rows\":[")?;
        let mut rows = Vec::new();
        loop {
            let (n, line) = next()?;
            if line == "]}" {
                return Ok(Old { machine, model, kv, rows });
            }
            rows.push(row(line.strip_suffix(',').unwrap_or(line)).map_err(|e| (n, e))?);
        }
    }
}

fn row(line: &str) -> Result<(Key, f64), String> {
    let fields = Fields::parse(line)?;
    let whole = |name: &str| {
        let number = fields.number(name)?;
        let fits = number >= 0.0 && number.fract() == 0.0 && number < 1e15;
        if fits { Ok(number as u64) } else { Err(format!("{name} {number} is no whole number")) }
    };
    let key = Key {
        kernels: fields.text("kernels")?,
        work: fields.text("work")?,
        threads: whole("threads")?,
        tokens: whole("tokens")?,
        depth: whole("depth")?,
    };
    let rate = fields.number("tokens_per_second")?;
    if rate > 0.0 { Ok((key, rate)) } else { Err(format!("tokens_per_second {rate} is not above 0")) }
}

/// The fields of an object of texts, numbers and null.
struct Fields(Vec<(String, Value)>);

enum Value {
    Text(String),
    Number(f64),
    Null,
}

impl Fields {
    fn parse(text: &str) -> Result<Fields, String> {
        let inner = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).ok_or("expected {...}")?;
        let mut rest = inner.chars();
        let mut fields = Vec::new();
        while !rest.as_str().is_empty() {
            if !fields.is_empty() {
                expect(&mut rest, ',')?;
            }
            let name = string(&mut rest)?;
            expect(&mut rest, ':')?;
            let value = if rest.as_str().starts_with('"') {
                Value::Text(string(&mut rest)?)
            } else {
                let (word, after) = rest.as_str().split_at(rest.as_str().find(',').unwrap_or(rest.as_str().len()));
                rest = after.chars();
                let number = || word.parse().map_err(|_| format!("the value of {name} is neither text nor number"));
                if word == "null" { Value::Null } else { Value::Number(number()?) }
            };
            fields.push((name, value));
        }
        Ok(Fields(fields))
    }

    fn value(&self, name: &str) -> Result<&Value, String> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value).ok_or_else(|| format!("{name} is missing"))
    }

    fn text(&self, name: &str) -> Result<String, String> {
        match self.value(name)? {
            Value::Text(text) => Ok(text.clone()),
            Value::Number(_) | Value::Null => Err(format!("{name} is no text")),
        }
    }

    fn number(&self, name: &str) -> Result<f64, String> {
        match self.value(name)? {
            Value::Number(number) => Ok(*number),
            Value::Text(_) | Value::Null => Err(format!("{name} is no number")),
        }
    }
}

fn expect(rest: &mut Chars<'_>, wanted: char) -> Result<(), String> {
    if rest.next() == Some(wanted) { Ok(()) } else { Err(format!("expected {wanted:?} between fields")) }
}

/// A text in quotes, with the escapes that [`super::json`] writes.
fn string(rest: &mut Chars<'_>) -> Result<String, String> {
    if rest.next() != Some('"') {
        return Err("expected a text in quotes".into());
    }
    let mut out = String::new();
    loop {
        match rest.next().ok_or("a text does not end")? {
            '"' => return Ok(out),
            '\\' => out.push(match rest.next() {
                Some(c @ ('"' | '\\')) => c,
                Some('n') => '\n',
                Some('r') => '\r',
                Some('t') => '\t',
                Some('u') => {
                    let digits: String = rest.by_ref().take(4).collect();
                    let code = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
                    code.ok_or_else(|| format!("\\u{digits} is no character"))?
                }
                _ => return Err("unknown escape in a text".into()),
            }),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use whit::inspect::bench::Spread;

    fn setting() -> Setting {
        Setting {
            machine: "A \"CPU\" \\ 1".into(),
            cores: 2,
            model: "m\u{1b}é".into(),
            weight_bytes: 7,
            parameters: 8,
            dtype: Dtype::Int8,
            kv: "f16",
            repeats: 3,
            n_decode: 16,
        }
    }

    fn report() -> Report {
        let rate = Spread { min: 1.0, median: 2.5, max: 3.0 };
        let row = |work, threads| Row { kernels: "k", threads, work, rate, macs: 10.0, bytes: 4.0, limit: None };
        let rows = vec![row(Work::Prefill { n_tokens: 32 }, 1), row(Work::Decode { depth: 8 }, 2)];
        let limits = vec![Some(Limits { read: 1e9, int8: 2e9, f32: 3e9 }), None];
        Report { limits, rows, complete: true }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let (setting, report) = (setting(), report());
        let text = write(&setting, &report, &[("k", 1), ("k", 2)], None);
        let old = Old::parse(&text).expect("our own layout");
        assert_eq!([&old.machine, &old.model], [&setting.machine, &setting.model]);
        assert_eq!(old.kv, "f16");
        for row in &report.rows {
            assert_eq!(old.rate(&Key::of(row, 16)), Some(2.5));
        }
        assert_eq!(old.rate(&Key::of(&report.rows[1], 17)), None);
        let again = write(&setting, &report, &[("k", 1), ("k", 2)], Some(&old));
        assert!(again.contains("\"old_tokens_per_second\":2.5,\"ratio\":1}"), "{again}");
        assert_eq!(Old::parse(&again), Ok(old));
        let empty = Report { limits: vec![None], rows: vec![], complete: true };
        assert!(Old::parse(&write(&setting, &empty, &[("k", 1)], None)).is_ok());
    }

    #[test]
    fn every_wrong_line_is_named() {
        let text = write(&setting(), &report(), &[("k", 1), ("k", 2)], None);
        let replaced = |from: &str, to: &str| Old::parse(&text.replacen(from, to, 1)).expect_err(from);
        let cases = [
            ("{\"bench\":", "{\"inspect\":", 1, "expected {\"bench\":"),
            ("\"format\":1", "\"format\":2", 1, "format 2 is not known"),
            ("\"machine\"", "\"engine\"", 1, "machine is missing"),
            ("\"kv\":\"f16\"", "\"kv\":16", 1, "kv is no text"),
            ("\\u001b", "\\ud800", 1, "\\ud800 is no character"),
            ("\\u001b", "\\x", 1, "unknown escape"),
            ("\"limits\"", "\"limit\"", 2, "expected \"limits\":["),
            ("\"work\":\"prefill\"", "\"work\":prefill", 6, "the value of work"),
            ("\"threads\":2,\"work\"", "\"threads\":-2,\"work\"", 7, "threads -2 is no whole number"),
            ("\"tokens_per_second\":2.5", "\"tokens_per_second\":0", 6, "not above 0"),
            ("\"tokens_per_second\":2.5", "\"tokens_per_second\":null", 6, "no number"),
            (",\"min\"", ";\"min\"", 6, "the value of tokens_per_second"),
            ("]}", "]", 8, "expected {...}"),
        ];
        for (from, to, line, message) in cases {
            let (n, said) = replaced(from, to);
            assert!(n == line && said.contains(message), "{from} to {to}: line {n}: {said}");
        }
        for length in 0..text.len() - 3 {
            if text.is_char_boundary(length) {
                assert!(Old::parse(&text[..length]).is_err(), "{}", &text[..length]);
            }
        }
    }
}
