//! The language of templates, as the program that models are published for has it: Jinja2 in the environment of
//! transformers' `render_jinja_template`.

use super::{json, python};
use minijinja::value::{Kwargs, ValueKind};
use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, Value, escape_formatter, filters, functions,
    syntax::SyntaxConfig, tests,
};

/// An environment without templates.
pub(super) fn environment() -> Result<Environment<'static>, Error> {
    let mut environment = Environment::empty();
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_formatter(|out, state, value| match value.kind() {
        ValueKind::Number if !value.is_integer() => Ok(out.write_str(&json::float(f64::try_from(value.clone())?))?),
        _ => escape_formatter(out, state, value),
    });
    environment.set_unknown_method_callback(python::method);
    add_filters(&mut environment);
    add_tests(&mut environment);
    environment.add_function("range", functions::range);
    environment.add_function("namespace", functions::namespace);
    environment.add_function("dict", functions::dict);
    environment.add_function("raise_exception", |message: String| Err::<Value, Error>(refusal(message)));
    Ok(environment)
}

/// The error of a template that does not take what it was given, or of a function that does not.
pub(super) fn refusal(message: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}

/// Jinja2's, but for those that make HTML.
fn add_filters(environment: &mut Environment<'_>) {
    environment.add_filter("abs", filters::abs);
    environment.add_filter("attr", filters::attr);
    environment.add_filter("batch", filters::batch);
    environment.add_filter("capitalize", filters::capitalize);
    environment.add_filter("count", filters::length);
    environment.add_filter("d", filters::default);
    environment.add_filter("default", filters::default);
    environment.add_filter("dictsort", filters::dictsort);
    environment.add_filter("e", filters::escape);
    environment.add_filter("escape", filters::escape);
    environment.add_filter("first", filters::first);
    environment.add_filter("float", |value: &Value, default: Option<f64>| number(value).or(default).unwrap_or(0.0));
    environment.add_filter("format", filters::format);
    environment.add_filter("groupby", filters::groupby);
    environment.add_filter("indent", filters::indent);
    environment.add_filter("int", int);
    environment.add_filter("items", filters::items);
    environment.add_filter("join", filters::join);
    environment.add_filter("last", filters::last);
    environment.add_filter("length", filters::length);
    environment.add_filter("list", filters::list);
    environment.add_filter("lower", filters::lower);
    environment.add_filter("map", filters::map);
    environment.add_filter("max", filters::max);
    environment.add_filter("min", filters::min);
    environment.add_filter("reject", filters::reject);
    environment.add_filter("rejectattr", filters::rejectattr);
    environment.add_filter("replace", replace);
    environment.add_filter("reverse", filters::reverse);
    environment.add_filter("round", filters::round);
    environment.add_filter("safe", filters::safe);
    environment.add_filter("select", filters::select);
    environment.add_filter("selectattr", filters::selectattr);
    environment.add_filter("slice", filters::slice);
    environment.add_filter("sort", filters::sort);
    environment.add_filter("string", filters::string);
    environment.add_filter("sum", filters::sum);
    environment.add_filter("title", filters::title);
    environment.add_filter("tojson", json::tojson);
    environment.add_filter("trim", filters::trim);
    environment.add_filter("unique", filters::unique);
    environment.add_filter("upper", filters::upper);
}

/// `value` as a number, where it is one or the text of one.
fn number(value: &Value) -> Option<f64> {
    match value.as_str() {
        Some(text) => text.trim().parse().ok(),
        None => f64::try_from(value.clone()).ok().or_else(|| tests::is_boolean(value).then(|| value.is_true().into())),
    }
}

/// Jinja2's `int`: what is no number is 0, or `default`.
fn int(value: &Value, default: Option<Value>, options: Kwargs) -> Result<Value, Error> {
    let default = default.or(options.get("default")?).unwrap_or_else(|| 0.into());
    let base = options.get::<Option<u32>>("base")?.filter(|base| (2..=36).contains(base)).unwrap_or(10);
    options.assert_all_used()?;
    let whole = value.as_str().and_then(|text| i64::from_str_radix(text.trim(), base).ok());
    Ok(match whole {
        Some(n) => n.into(),
        None if value.is_integer() => value.clone(),
        None => number(value).filter(|x| x.is_finite()).map_or(default, |x| (x as i128).into()),
    })
}

/// Jinja2's `replace`, which may be told how often at most.
fn replace(text: &str, old: &str, new: &str, most: Option<usize>) -> String {
    text.replacen(old, new, most.unwrap_or(usize::MAX))
}

fn add_tests(environment: &mut Environment<'_>) {
    environment.add_test("boolean", tests::is_boolean);
    environment.add_test("defined", tests::is_defined);
    environment.add_test("divisibleby", tests::is_divisibleby);
    environment.add_test("escaped", tests::is_safe);
    environment.add_test("even", tests::is_even);
    environment.add_test("false", tests::is_false);
    environment.add_test("filter", tests::is_filter);
    environment.add_test("float", tests::is_float);
    environment.add_test("in", tests::is_in);
    environment.add_test("integer", tests::is_integer);
    environment.add_test("iterable", tests::is_iterable);
    environment.add_test("lower", tests::is_lower);
    environment.add_test("mapping", tests::is_mapping);
    environment.add_test("none", tests::is_none);
    environment.add_test("number", |value: &Value| tests::is_number(value) || tests::is_boolean(value));
    environment.add_test("odd", tests::is_odd);
    environment.add_test("sameas", tests::is_sameas);
    environment.add_test("sequence", |value: &Value| {
        let kind = value.kind();
        matches!(kind, ValueKind::String | ValueKind::Seq | ValueKind::Map)
            || kind == ValueKind::Iterable && value.len().is_some()
    });
    environment.add_test("string", tests::is_string);
    environment.add_test("test", tests::is_test);
    environment.add_test("true", tests::is_true);
    environment.add_test("undefined", tests::is_undefined);
    environment.add_test("upper", tests::is_upper);
    for name in ["==", "eq", "equalto"] {
        environment.add_test(name, tests::is_eq);
    }
    for name in ["!=", "ne"] {
        environment.add_test(name, tests::is_ne);
    }
    for name in ["<", "lt", "lessthan"] {
        environment.add_test(name, tests::is_lt);
    }
    for name in ["<=", "le"] {
        environment.add_test(name, tests::is_le);
    }
    for name in [">", "gt", "greaterthan"] {
        environment.add_test(name, tests::is_gt);
    }
    for name in [">=", "ge"] {
        environment.add_test(name, tests::is_ge);
    }
}
