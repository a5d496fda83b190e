//! What templates give, as Jinja2 3.1 gives it; and that none of them works without end.

use super::{Meter, Value, Why, dict, list, render};
use crate::os::calendar::Moment;

const STEPS: u64 = 64 << 20;
/// Less than any thread has.
const SMALL_STACK: usize = 512 << 10;

/// What `source` gives for one message, and the steps that were left.
fn filled(source: &str) -> (Result<String, Why>, u64) {
    let meter = Meter::new(STEPS);
    let message = dict(vec![("role", Value::text("user")), ("content", Value::text("hello"))], &meter).expect("a dict");
    let messages = list(vec![message], &meter).expect("a list");
    let text = render(source, vec![("messages", messages)], Moment::utc(0), &meter).map_err(|fault| fault.why);
    (text, meter.left())
}

/// [`filled`], on a small stack.
fn on_small_stack(source: String) -> (Result<String, Why>, u64) {
    let thread = std::thread::Builder::new().stack_size(SMALL_STACK).spawn(move || filled(&source));
    thread.expect("a thread").join().expect("no panic")
}

#[test]
fn values_are_those_of_jinja2() {
    let cases = [
        (
            r#"{{ 'a' 'b' }}|{{ "x\x41\u00e9\101\q" }}|{{ 1_000 }}|{{ 0x1f }}|{{ 1.5e3 }}|{{ 2e-7 }}"#,
            r"ab|xAéA\q|1000|31|1500.0|2e-07",
        ),
        (
            "{{ -3 | abs }}|{{ -3 ** 2 }}|{{ 2 ** 3 ** 2 }}|{{ 2 ** -1 }}|{{ 7 // -2 }}|{{ -7 % 3 }}|{{ -7.5 % 2 }}",
            "3|9|64|0.5|-4|2|0.5",
        ),
        (
            "{{ 1 < 2 < 3 }}|{{ 3 > 2 > 2 }}|{{ 1 in [1.0] }}|{{ [1] == (1,) }}|{{ {'a': 1} == {'a': 1.0} }}|{{ none == false }}",
            "True|False|True|False|True|False",
        ),
        (
            "{{ x }}|{{ x == none }}|{{ x ~ 'y' }}|{{ [x] }}|{{ x | length }}|{% for i in x %}a{% else %}e{% endfor %}",
            "|False|y|[Undefined]|0|e",
        ),
        (
            "{{ [1,2,3,4][3:0:-2] }}|{{ 'héllo'[1:3] }}|{{ 'héllo'[-3:] }}|{{ (1,2,3)[1:] }}|{{ [1,2,3][5::-1] }}|{{ 'abcdef'[:3:-1] }}",
            "[4, 2]|él|llo|(2, 3)|[3, 2, 1]|fe",
        ),
        ("{{ '%s-%d-%5.2f|%-5s|%05d|%x|%%' % ('a', 3, 2.5, 'b', 42, 255) }}", "a-3- 2.50|b    |00042|ff|%"),
        (
            "{{ '{x:>5}|{x:^5}|{y:05.1f}|{y:+}|{z:,}|{z:x}|{0!r}|{0[0]}|{z:%}'.format('ab', x='a', y=2.25, z=1234567) }}",
            "    a|  a  |002.2|+2.25|1,234,567|12d687|'ab'|a|123456700.000000%",
        ),
        (
            "{{ \"it's a dog\" | title }}|{{ \"it's a DOG\".title() }}|{{ 'a  b c'.split(none, 1) }}|{{ 'a,b,c'.rsplit(',', 1) }}|{{ 'a\\nb\\r\\n'.splitlines() }}",
            "It's A Dog|It'S A Dog|['a', 'b c']|['a,b', 'c']|['a', 'b']",
        ),
        (
            "{{ 'abc'.replace('', '-') }}|{{ 'xxabxx'.strip('x') }}|{{ 'abcbd'.rpartition('b') }}|{{ 'ab'.center(5, '*') }}|{{ '-5'.zfill(4) }}",
            "-a-b-c-|ab|('abc', 'b', 'd')|**ab*|-005",
        ),
        (
            "{{ ['b','A','c'] | sort }}|{{ ['b','B','a'] | unique | list }}|{{ [{'a':2,'b':1},{'a':1,'b':2},{'a':1,'b':1}] | sort(attribute='a,b') | map(attribute='b') | list }}",
            "['A', 'b', 'c']|['b', 'a']|[1, 2, 1]",
        ),
        (
            "{% for g in [{'r':'b'},{'r':'a'},{'r':'b'}] | groupby('r') %}{{ g.grouper }}{{ g.list | length }}{{ g[0] }};{% endfor %}",
            "a1a;b2b;",
        ),
        (
            "{{ {'b':1,'a':2,'C':0} | dictsort }}|{{ {1:'a', true:'b', none: 2} }}|{{ {'b':1}.get('c', 5) }}",
            "[('a', 2), ('b', 1), ('C', 0)]|{1: 'b', None: 2}|5",
        ),
        (
            "{{ 2.5 | round }}|{{ 2.675 | round(2) }}|{{ 2.1 | round(method='ceil') }}|{{ 'ff' | int(base=16) }}|{{ none | int }}|{{ -3.7 | int }}",
            "2.0|2.67|3.0|255|0|-3",
        ),
        (
            "{{ [1,2,3,4,5] | slice(3) | list }}|{{ [1,2,3] | batch(2, 'x') | list }}|{{ 'a\\nb\\n\\nc' | indent(2, true, true) }}",
            "[[1, 2], [3, 4], [5]]|[[1, 2], [3, 'x']]|  a\n  b\n  \n  c",
        ),
        (
            "{% set x = 1 %}{% for i in [1] %}{% set x = 3 %}{{ x }}{% endfor %}{{ x }}|{% set ns = namespace(a=1) %}{% for i in [1,2] %}{% set ns.a = ns.a + i %}{% endfor %}{{ ns.a }}",
            "31|4",
        ),
        (
            "{% macro m(a, b=2, c=a) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m(1) }}|{{ m(b=3, a=4) }}|{% macro w() %}<{{ caller('q') }}>{% endmacro %}{% call(x) w() %}in{{ x }}{% endcall %}",
            "121|434|<inq>",
        ),
        (
            "{% for x in [[1,[2,[]]],[3,[]]] recursive %}{{ x[0] if x is sequence else x }}({% if x is sequence %}{{ loop(x[1]) }}{% endif %}{{ loop.depth }}){% endfor %}",
            "1(2(2)(2)1)3(1)",
        ),
        (
            "{% for x in [1,2,3,4] if x is even %}{{ loop.index }}{{ x }}{{ loop.length }}{% endfor %}|{% for i in [1,2,3] %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}",
            "122242|1",
        ),
        ("  {% if true %}  \n  x\n  {% endif %}  \ny\n", "  \n  x\n  \ny"),
        ("{# c #}\nx {#- c -#}  y\n  {# d #}\nz {%+ if true %} q {% endif +%}\nw\n\n", "xy\nz  q \nw\n"),
        (
            "{% raw %}\n {{ a }} {% if %}\n{% endraw %}\nx{% raw -%}  {{ q }}  {%- endraw %} y\n",
            "\n {{ a }} {% if %}\nx{{ q }} y",
        ),
        (
            "{{ [1, none, {'b': 1.0}] | tojson }}|{{ {'b':1,'a':[2]} | tojson(indent=2, sort_keys=true) }}",
            "[1, null, {\"b\": 1.0}]|{\n  \"a\": [\n    2\n  ],\n  \"b\": 1\n}",
        ),
    ];
    for (source, expected) in cases {
        assert_eq!(filled(source).0, Ok(expected.into()), "{source}");
    }
}

#[test]
fn what_jinja2_refuses_is_refused() {
    let cases = [
        ("{{ x.y }}", "x is undefined"),
        ("{{ x[0] }}", "x is undefined"),
        ("{{ x + 1 }}", "x, which is undefined"),
        ("{{ x() }}", "cannot be called"),
        ("{{ 'a' + 1 }}", "does not take"),
        ("{{ 1 < 'a' }}", "no order"),
        ("{{ 'x'.nosuch() }}", "no method nosuch"),
        ("{{ 'x' | nosuch }}", "no filter nosuch"),
        ("{{ 'x' is nosuch }}", "no test nosuch"),
        ("{% nosuch %}", "no statement nosuch"),
        ("{% set a, b = [1] %}", "1 values are there for 2 names"),
        ("{% macro m(a) %}{% endmacro %}{{ m(z=2) }}", "no argument z"),
        ("{{ ','.join([1]) }}", "takes a string"),
        ("{{ 1 // 0 }}", "divides by zero"),
        ("{{ 9223372036854775807 + 1 }}", "64 bits"),
        ("{% endif %}", "no statement endif"),
        ("{% if true %}", "endif is expected"),
        ("{{ 'x", "no end"),
    ];
    for (source, part) in cases {
        match filled(source).0 {
            Err(Why::Said(message)) => assert!(message.contains(part), "{source}: {message}"),
            other => panic!("{source}: {other:?}"),
        }
    }
}

/// T-18. Each works on something large, again and again.
#[test]
fn work_on_large_values_is_counted() {
    let long = "{% set x = 'a' * 1000000 %}{% set y = x ~ 'b' %}{% set l = range(9999) | list %}";
    let again = |work: &str| format!("{long}{{% for i in range(99999) %}}{{% if {work} %}}{{% endif %}}{{% endfor %}}");
    let cases = [
        "x ~ 'b' == y",
        "x == x",
        "x < y",
        "x[999999]",
        "x[-1]",
        "x[1:]",
        "x[::-1]",
        "'b' in x",
        "x not in [y, y]",
        "x in l",
        "x ~ y",
        "x + y",
        "x * 3",
        "x.replace('b', 'c')",
        "x | replace('a', 'b')",
        "x.split('a')",
        "x.split()",
        "x.rsplit('a', 3)",
        "x.splitlines()",
        "','.join(l | map('string'))",
        "l | join",
        "x | list",
        "x | length",
        "x | upper",
        "x.title()",
        "x.strip('ba')",
        "x | trim('ba')",
        "x.find('b') > 0",
        "x.count('a')",
        "x.startswith(x)",
        "x.endswith('b') or x.isalpha()",
        "x.center(2000000)",
        "x | indent",
        "x | first",
        "x | reverse",
        "x is lower",
        "x is eq(y)",
        "x | tojson",
        "x | string | escape",
        "'%s' % x",
        "'{}'.format(x)",
        "l | sort(reverse=true)",
        "l | unique",
        "l | sum",
        "l | max",
        "l | reverse | list",
        "l + l",
        "l == l + []",
        "l[1:]",
        "l * 9",
        "9999 in l",
        "l.index(9998)",
        "l.count(1)",
        "l | tojson",
        "l | string",
        "l | batch(3) | list",
        "l | slice(3) | list",
        "l | map('string') | list",
        "l | select('gt', 9) | list",
        "(messages * 999) | groupby('role')",
        "(messages * 999) | map(attribute='content') | join",
        "(messages * 999) | selectattr('role', 'eq', 'x') | list",
        "{x: 1}[y]",
        "{'a': l, 'b': l} | tojson",
        "dict(a=l) == dict(a=l + [])",
        "range(99999)",
        "x | int",
        "x | float",
        "x | replace('a', y)",
    ];
    for work in cases {
        let (text, left) = filled(&again(work));
        assert!(text == Err(Why::Work), "{work}: {:?}, {left} steps left", text.map(|text| text.len()));
        assert_eq!(filled(&again(work)).1, left, "{work}: the same steps each time");
    }
}

/// Shared parts make a value much larger than the memory it takes.
#[test]
fn work_on_values_that_share_parts_is_counted() {
    let shared = "{% set n = namespace(x=[], y=[]) %}{% for i in range(60) %}{% set n.x = [n.x, n.x] %}{% set n.y = [n.y, n.y] %}{% endfor %}";
    for work in [
        "n.x == n.y",
        "n.x < n.y",
        "n.x | string",
        "n.x | tojson",
        "n.x in [n.y]",
        "[n.x, n.y] | unique",
        "'%s' % (n.x,)",
        "n.x ~ ''",
    ] {
        assert_eq!(filled(&format!("{shared}{{{{ {work} }}}}")).0, Err(Why::Work), "{work}");
    }
}

/// Nothing goes so deep that the stack of a thread could end.
#[test]
fn depth_is_bounded() {
    let wrapped = |before: &str, inner: &str, after: &str, n: usize| before.repeat(n) + inner + &after.repeat(n);
    let grown = |value: &str| {
        format!(
            "{{% set n = namespace(x=[]) %}}{{% for i in range(99999) %}}{{% set n.x = {value} %}}{{% endfor %}}{{{{ n.x }}}}"
        )
    };
    let deep = [
        format!("{{{{ {} }}}}", wrapped("(", "1", ")", 9_999)),
        format!("{{{{ {} }}}}", wrapped("[", "1", "]", 9_999)),
        format!("{{{{ {} }}}}", wrapped("{'a': ", "1", "}", 9_999)),
        format!("{{{{ {} }}}}", wrapped("x[", "1", "]", 9_999)),
        format!("{{{{ {} }}}}", wrapped("f(", "1", ")", 9_999)),
        format!("{{{{ {} }}}}", wrapped("not ", "1", "", 9_999)),
        format!("{{{{ {} }}}}", wrapped("-", "1", "", 9_999)),
        format!("{{{{ {} }}}}", wrapped("1 + ", "1", "", 9_999)),
        format!("{{{{ {} }}}}", wrapped("1 ** ", "1", "", 9_999)),
        format!("{{{{ {} }}}}", wrapped("", "x", ".x", 9_999)),
        format!("{{{{ {} }}}}", wrapped("", "x", "[0]", 9_999)),
        format!("{{{{ {} }}}}", wrapped("", "x", "()", 9_999)),
        format!("{{{{ {} }}}}", wrapped("", "x", " | string", 9_999)),
        format!("{{{{ {} }}}}", wrapped("", "x", " is defined", 9_999)),
        format!("{{{{ {} }}}}", wrapped("", "x", " if x else x", 9_999)),
        format!("{{{{ {} }}}}", wrapped("", "x", " or x and x", 9_999)),
        format!("{{{{ {} }}}}", wrapped("(", "1", " + 1)", 50)),
        wrapped("{% if true %}", "", "{% endif %}", 9_999),
        wrapped("{% for x in [1] %}", "", "{% endfor %}", 9_999),
        wrapped("{% set x %}", "", "{% endset %}", 9_999),
        wrapped("{% filter upper %}", "", "{% endfilter %}", 9_999),
        wrapped("{% macro f() %}", "", "{% endmacro %}", 9_999),
        format!("{{% set {} = 1 %}}", wrapped("(", "x", ")", 9_999)),
        "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}".into(),
        "{% macro f(n=f()) %}{% endmacro %}{{ f() }}".into(),
        "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}".into(),
        "{% macro f() %}{% call f() %}{% endcall %}{% endmacro %}{{ f() }}".into(),
        grown("[n.x]"),
        grown("(n.x,)"),
        grown("{'a': n.x}"),
        grown("{'a': n.x}.items()"),
        grown("[n.x] | batch(1)"),
        grown("dict(a=n.x)"),
    ];
    for source in deep {
        let text = on_small_stack(source.clone()).0;
        let is_refused = matches!(&text, Err(Why::Said(message)) if message.contains("one another") || message.contains("operators"));
        // A chain of a few hundred operators is no depth yet.
        assert!(is_refused || text.is_ok() && source.contains("+ 1)"), "{source:.60}: {text:?}");
    }
    // As deep as it may go.
    let allowed = [
        format!("{{{{ {} }}}}", wrapped("[", "1", "]", 50)),
        format!("{{{{ {} }}}}", wrapped("1 + ", "1", "", 150)),
        format!("{{{{ {} }}}}", wrapped("'a' ~ ", "1", "", 900)),
        wrapped("{% if true %}", "x", "{% endif %}", 60),
        "{% macro f(n) %}{{ f(n - 1) if n }}{% endmacro %}{{ f(20) }}".into(),
    ];
    for source in allowed {
        let text = on_small_stack(source.clone()).0;
        assert!(text.is_ok(), "{source:.60}: {text:?}");
    }
}

/// What lies in itself would never be given back.
#[test]
fn nothing_lies_in_itself() {
    let n = "{% set n = namespace() %}";
    for value in ["n", "[n]", "{'a': (n,)}", "loop", "m", "[m]"] {
        let source =
            format!("{{% macro m() %}}{{% endmacro %}}{{% for i in [1] %}}{n}{{% set n.x = {value} %}}{{% endfor %}}");
        assert!(
            matches!(filled(&source).0, Err(Why::Said(message)) if message.contains("into one another")),
            "{value}"
        );
    }
}
