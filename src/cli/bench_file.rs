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
use serde_json::{Map, Value};
use std::path::Path;
use whit::error::Error;
use whit::inspect::MachineLimits;
use whit::inspect::bench::{Report, Row, Work};
use whit::os::load::Load;
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
pub(crate) fn write(
    setting: &Setting,
    report: &Report,
    computes: &[(String, usize)],
    old: Option<&Old>,
    load: Option<Load>,
) -> String {
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
        .raw("repeats", setting.repeats)
        .number("others_cpus", load.map_or(f64::NAN, |load| load.others))
        .number("stolen_share", load.map_or(f64::NAN, |load| load.stolen));
    let limits = computes.iter().zip(&report.limits);
    let limits = limits.filter_map(|(compute, limits)| Some(limits_object(compute, limits.as_ref()?)));
    let rows = report.rows.iter().map(|row| row_object(row, setting.n_decode, old));
    let lines = |lines: Vec<String>| lines.join(",\n") + if lines.is_empty() { "" } else { "\n" };
    let (limits, rows) = (lines(limits.collect()), lines(rows.collect()));
    format!("{{\"bench\":{},\n\"limits\":[\n{limits}],\n\"rows\":[\n{rows}]}}\n", head.line())
}

fn limits_object((kernels, threads): &(String, usize), limits: &MachineLimits) -> String {
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
    let object = match row.work {
        Work::Texts { n_texts } => object
            .raw("texts", n_texts)
            .number("share_of_read", row.share_of_read().unwrap_or(f64::NAN))
            .number("share_of_macs", row.share_of_macs().unwrap_or(f64::NAN)),
        _ => object,
    };
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
    /// Texts that are decoded together.
    texts: u64,
}

impl Key {
    /// The key of a row of a run that decodes `n_decode` tokens.
    pub(crate) fn of(row: &Row, n_decode: usize) -> Self {
        let (work, tokens, depth, texts) = match row.work {
            Work::Prefill { n_tokens } => ("prefill", n_tokens, 0, 1),
            Work::Decode { depth } => ("decode", n_decode, depth, 1),
            Work::Texts { n_texts } => ("texts", n_decode, 0, n_texts),
        };
        let [threads, tokens, depth, texts] = [row.threads, tokens, depth, texts].map(|number| number as u64);
        Key { kernels: row.kernels.clone(), work: work.into(), threads, tokens, depth, texts }
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
        let before = "{\"bench\":";
        let head = first.strip_prefix(before).and_then(|rest| rest.strip_suffix(','));
        let head = head.ok_or((n, "expected {\"bench\":{...},".into()))?;
        let head = Fields::parse(head, before.len()).map_err(|e| (n, e))?;
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
    let fields = Fields::parse(line, 0)?;
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
        texts: if fields.0.contains_key("texts") { whole("texts")? } else { 1 },
    };
    let rate = fields.number("tokens_per_second")?;
    if rate > 0.0 { Ok((key, rate)) } else { Err(format!("tokens_per_second {rate} is not above 0")) }
}

/// The fields of an object of texts, numbers and null.
struct Fields(Map<String, Value>);

impl Fields {
    /// The object that `text` is, of a line that has `before` bytes before it.
    fn parse(text: &str, before: usize) -> Result<Fields, String> {
        let fields = serde_json::from_str(text).map_err(|error| {
            let said = error.to_string();
            let what = said.split(" at line ").next().unwrap_or(&said);
            format!("{what} at column {}", before + error.column())
        })?;
        Ok(Fields(fields))
    }

    fn value(&self, name: &str) -> Result<&Value, String> {
        self.0.get(name).ok_or_else(|| format!("{name} is missing"))
    }

    fn text(&self, name: &str) -> Result<String, String> {
        self.value(name)?.as_str().map(str::to_owned).ok_or_else(|| format!("{name} is no text"))
    }

    fn number(&self, name: &str) -> Result<f64, String> {
        self.value(name)?.as_f64().ok_or_else(|| format!("{name} is no number"))
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
        let row =
            |work, threads| Row { kernels: "k".into(), threads, work, rate, macs: 10.0, bytes: 4.0, limits: None };
        let rows = vec![row(Work::Prefill { n_tokens: 32 }, 1), row(Work::Decode { depth: 8 }, 2)];
        let limits = vec![Some(MachineLimits { read: 1e9, int8: 2e9, f32: 3e9 }), None];
        Report { limits, rows, complete: true }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let (setting, report) = (setting(), report());
        let text = write(&setting, &report, &[("k".into(), 1), ("k".into(), 2)], None, None);
        let old = Old::parse(&text).expect("our own layout");
        assert_eq!([&old.machine, &old.model], [&setting.machine, &setting.model]);
        assert_eq!(old.kv, "f16");
        for row in &report.rows {
            assert_eq!(old.rate(&Key::of(row, 16)), Some(2.5));
        }
        assert_eq!(old.rate(&Key::of(&report.rows[1], 17)), None);
        let again = write(&setting, &report, &[("k".into(), 1), ("k".into(), 2)], Some(&old), None);
        assert!(again.contains("\"old_tokens_per_second\":2.5,\"ratio\":1}"), "{again}");
        assert_eq!(Old::parse(&again), Ok(old));
        let empty = Report { limits: vec![None], rows: vec![], complete: true };
        assert!(Old::parse(&write(&setting, &empty, &[("k".into(), 1)], None, None)).is_ok());
    }

    #[test]
    fn every_wrong_line_is_named() {
        let text = write(&setting(), &report(), &[("k".into(), 1), ("k".into(), 2)], None, None);
        let replaced = |from: &str, to: &str| Old::parse(&text.replacen(from, to, 1)).expect_err(from);
        let cases = [
            ("{\"bench\":", "{\"inspect\":", 1, "expected {\"bench\":"),
            ("\"format\":1", "\"format\":2", 1, "format 2 is not known"),
            ("\"machine\"", "\"engine\"", 1, "machine is missing"),
            ("\"kv\":\"f16\"", "\"kv\":16", 1, "kv is no text"),
            ("\\u001b", "\\ud800", 1, "unexpected end of hex escape at column 9"),
            ("\\u001b", "\\x", 1, "invalid escape"),
            ("\"limits\"", "\"limit\"", 2, "expected \"limits\":["),
            ("\"work\":\"prefill\"", "\"work\":prefill", 6, "expected value at column 35"),
            ("\"threads\":2,\"work\"", "\"threads\":-2,\"work\"", 7, "threads -2 is no whole number"),
            ("\"tokens_per_second\":2.5", "\"tokens_per_second\":0", 6, "not above 0"),
            ("\"tokens_per_second\":2.5", "\"tokens_per_second\":null", 6, "no number"),
            (",\"min\"", ";\"min\"", 6, "expected `,` or `}`"),
            ("]}", "]", 8, "expected value at column 1"),
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
