//! The formats of strings in JSON schemas, as patterns: what is written in one of them is valid wherever it is checked. Where readers
//! differ, a pattern keeps to what all of them take: no year 0, no leap second, no name of a host that is a number.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use serde_json::{Map, Value, json};

/// Formats of strings that are held.
pub(super) const FORMATS: [&str; 10] =
    ["date-time", "date", "time", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"];

/// A part of a host's name, of letters and digits with single hyphens between: two in a row may announce another alphabet.
const LABEL: &str = "[a-zA-Z0-9]+(-[a-zA-Z0-9]+)*";
/// The last part of a host's name: it begins with a letter, so that the whole is no address of numbers.
const LAST_LABEL: &str = "[a-zA-Z][a-zA-Z0-9]*(-[a-zA-Z0-9]+)*";
/// Characters of a part of a URI that stand for themselves (RFC 3986, unreserved and sub-delims).
const URI_SAFE: &str = "a-zA-Z0-9._~!$&'()*+,;=\\-";

/// What a text in a format fulfils, all of it.
struct Form {
    /// Each matches the whole of it.
    patterns: Vec<String>,
    max_length: Option<u32>,
}

/// Puts patterns in the place of the format of `schema`, if it has one that is held.
pub(super) fn write_out(schema: &mut Map<String, Value>) {
    let Some(Form { patterns, max_length }) = schema.get("format").and_then(Value::as_str).and_then(form) else {
        return;
    };
    schema.remove("format");
    let patterns = patterns.into_iter().map(|pattern| ("pattern", json!(format!("^(?:{pattern})$"))));
    for (keyword, value) in patterns.chain(max_length.map(|n| ("maxLength", json!(n)))) {
        if !schema.contains_key(keyword) {
            schema.insert(keyword.into(), value);
            continue;
        }
        let mut also = Map::from_iter([(keyword.to_string(), value)]);
        also.extend(schema.get("type").map(|of| ("type".to_string(), of.clone())));
        if let Value::Array(all) = schema.entry("allOf").or_insert_with(|| json!([])) {
            all.push(Value::Object(also));
        }
    }
}

/// The form of the texts in a format.
fn form(name: &str) -> Option<Form> {
    let of = |pattern: String| Some(Form { patterns: Vec::from([pattern]), max_length: None });
    match name {
        "date" => of(date()),
        "time" => of(time()),
        "date-time" => of(format!("(?:{})T{}", date(), time())),
        "duration" => of(duration()),
        "uuid" => of(["{8}", "{4}", "{4}", "{4}", "{12}"].map(|times| format!("[0-9a-fA-F]{times}")).join("-")),
        "ipv4" => of(ipv4()),
        "ipv6" => of(ipv6()),
        "hostname" => Some(Form {
            patterns: Vec::from([format!(r"(?:{LABEL}\.)*{LAST_LABEL}"), r"[^.]{1,63}(?:\.[^.]{1,63})*".into()]),
            max_length: Some(253),
        }),
        // The "Dot-string" of RFC 5321 at a host of more than one part.
        "email" => {
            let atom = "[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]+";
            Some(Form {
                patterns: Vec::from([
                    format!(r"{atom}(?:\.{atom})*@(?:{LABEL}\.)+{LAST_LABEL}"),
                    r"[^@]{1,64}@[^.]{1,63}(?:\.[^.]{1,63})+".into(),
                ]),
                max_length: Some(254),
            })
        }
        "uri" => of(uri()),
        _ => None,
    }
}

/// A day of the calendar, of the years 1 to 9999.
fn date() -> String {
    let year = "(?:[1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])";
    // Numbers of two digits that 4 divides, but 0.
    let fours = "(?:0[48]|[2468][048]|[13579][26])";
    let leap_year = format!("(?:[0-9]{{2}}{fours}|{fours}00)");
    format!(
        "{year}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)\
         |02-(?:0[1-9]|1[0-9]|2[0-8]))|{leap_year}-02-29"
    )
}

/// A time of the day, with nanoseconds at most and its distance from UTC (RFC 3339, full-time).
fn time() -> String {
    let minutes = "(?:[01][0-9]|2[0-3]):[0-5][0-9]";
    format!(r"{minutes}:[0-5][0-9](?:\.[0-9]{{1,9}})?(?:Z|[+-]{minutes})")
}

/// RFC 3339, appendix A, with numbers of at most nine digits.
fn duration() -> String {
    let n = "[0-9]{1,9}";
    let time = format!("T(?:{n}H(?:{n}M(?:{n}S)?)?|{n}M(?:{n}S)?|{n}S)");
    let date = format!("(?:{n}Y(?:{n}M(?:{n}D)?)?|{n}M(?:{n}D)?|{n}D)");
    format!("P(?:{date}(?:{time})?|{time}|{n}W)")
}

fn ipv4() -> String {
    let byte = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
    format!(r"(?:{byte}\.){{3}}{byte}")
}

/// Eight numbers, of which `::` stands for one or more zeros.
fn ipv6() -> String {
    let number = "[0-9a-fA-F]{1,4}";
    let mut forms = Vec::from([format!("(?:{number}:){{7}}{number}"), format!("::(?:{number}(?::{number}){{0,6}})?")]);
    // So many numbers stand before `::`, and the rest, if there are more, behind it.
    for n in 1..=7 {
        let before = format!("{number}(?::{number}){{{}}}::", n - 1);
        let behind = if n < 7 { format!("(?:{number}(?::{number}){{0,{}}})?", 6 - n) } else { String::new() };
        forms.push(before + &behind);
    }
    forms.join("|")
}

/// RFC 3986: a scheme, and what its hierarchy, query and fragment may be.
fn uri() -> String {
    let escape = "%[0-9a-fA-F]{2}";
    let user = format!("(?:[{URI_SAFE}:]|{escape})*@");
    let host = format!(r"(?:\[(?:{})\]|(?:[{URI_SAFE}]|{escape})*)", ipv6());
    let character = format!("(?:[{URI_SAFE}:@]|{escape})");
    let path = format!("(?:/{character}*)*");
    let rest = format!("(?:[{URI_SAFE}:@/?]|{escape})*");
    let authority = format!("//(?:{user})?{host}(?::[0-9]{{1,5}})?{path}");
    format!(
        r"[a-zA-Z][a-zA-Z0-9+.-]*:(?:{authority}|/(?:{character}+{path})?|{character}+{path})(?:\?{rest})?(?:#{rest})?"
    )
}
