//! A model's chat template, and conversations to fill it with.

use super::{Target, whit_file};
use crate::bench::{Bench, Bound, Files, Stop, Verdict};
use crate::bytes::scramble;
use crate::random::Random;
use whit::Model;
use whit::chat::{Speaker, Template, Turn, tokens};
use whit::format::Bytes;
use whit::os::calendar::Moment;
use whit::tokenizer::TokenKind;

pub(super) struct ChatTemplate;

/// Writes what is said and nothing else: no control token may come of it.
const BARE: &str = "{% for m in messages %}{{ m.content }}{% endfor %}";
/// In the manner of published ones.
const USUAL: [&str; 4] = [
    "{% for m in messages %}<s>{{ m['role'] }}\n{{ m['content'] | trim }}</s>\n{% endfor %}{% if add_generation_prompt %}<s>{% endif %}",
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}{{ m.content }}{% elif m.role == 'user' %}[I] {{ m.content }} [/I]\
     {% else %}{{ m.content ~ eos_token }}{% endif %}{% endfor %}",
    "{%- set ns = namespace(n=0) -%}{%- for m in messages -%}{%- set ns.n = ns.n + 1 -%}{%- generation -%}{{- m.content -}}\
     {%- endgeneration -%}{%- endfor -%}",
    "{% if messages[0].role == 'system' %}{% set rest = messages[1:] %}{% else %}{% set rest = messages %}{% endif %}\
     {% for m in rest %}{% if m.role not in ['user', 'assistant'] %}{{ raise_exception('role') }}{% endif %}{{ m.content }}{% endfor %}",
];
/// Expressions.
const VALUES: [&str; 28] = [
    "m.content",
    "m['role']",
    "messages",
    "messages[0].content",
    "messages | length",
    "bos_token",
    "eos_token",
    "x",
    "x ~ x",
    "ns.n",
    "ns",
    "[ns]",
    "ns | tojson",
    "ns.n == ns.n",
    "[x, x]",
    "{'a': x}",
    "'a' * 20",
    "'aaaaaaaa' * 100000",
    "range(20) | list",
    "range(100000) | list | join(',')",
    "messages | tojson",
    "m.content | trim | upper | title",
    "m.content[1:3]",
    "m.content.split('a')[0]",
    "loop.index0 % 2",
    "raise_exception('no')",
    "-9223372036854775808 // -1",
    "1e308 * 10",
];
/// A namespace's value within itself.
const NESTED: [&str; 4] = ["[ns.n]", "{'a': ns.n}", "[ns.n, ns.n]", "namespace(n=ns.n)"];
/// What takes much work where `x` is long.
const EXPENSIVE: [&str; 32] = [
    "x == x ~ ''",
    "x < x ~ 'a'",
    "x[-1]",
    "x[1:]",
    "x[::-1]",
    "'b' in x",
    "[x, x] == [x ~ '', x]",
    "x ~ x",
    "x * 9",
    "x.find('b') + x.count('a')",
    "x.replace('a', 'bb')",
    "x | replace('a', x)",
    "x.split('a') | length",
    "x.split() | join('b')",
    "x | list | unique",
    "x | list | join(x)",
    "x | list | sort(reverse=true)",
    "[x, x ~ 'b'] | sort | last",
    "x | list | groupby(0)",
    "x | tojson | tojson",
    "x | title | upper | lower",
    "x | indent(99, true)",
    "x.strip('cba')",
    "x | trim('cba')",
    "x.center(99999)",
    "x.splitlines(true)",
    "'%9999s' % x",
    "'{0}{0}'.format(x)",
    "x | batch(3) | list | tojson",
    "x | map('upper') | select('eq', 'A') | list",
    "{x: x, x ~ 'a': x}[x]",
    "range(9999) | map('string') | join(x)",
];
/// Conditions.
const TRUTHS: [&str; 8] = [
    "true",
    "m.role == 'user'",
    "loop.first",
    "tools is defined",
    "x is string",
    "'a' in m.content",
    "not loop.last and x",
    "m.content is none",
];
/// What is said, with names of control tokens and characters that mean something to the conversation.
const WORDS: [&str; 14] =
    ["a", "ab", " ", "\n", "<s>", "</s>", "<x>", "é", "\u{1f600}", "\u{fdd0}", "\u{fdd1}", "\u{fdd2}", "{{", "<"];

impl Target for ChatTemplate {
    fn name(&self) -> &'static str {
        "template"
    }

    /// What a template may ask for in all, and what it is compiled to.
    fn bound(&self) -> Bound {
        Bound::TEMPLATE
    }

    fn make(&self, random: &mut Random) -> Files {
        let mut source = match random.below(6) {
            0 => BARE.to_string(),
            1 | 2 => random.pick(&USUAL).to_string(),
            _ => statements(random, 3),
        };
        if random.once_in(3) {
            let mut bytes = source.into_bytes();
            scramble(&mut bytes, random);
            source = String::from_utf8_lossy(&bytes).into_owned();
        }
        vec![("model.whit".into(), whit_file::valid(random)), ("template.jinja".into(), source.into_bytes())]
    }

    fn run(&self, files: &Files, bench: &mut Bench, random: &mut Random) -> Verdict {
        let [(_, model), (_, source)] = &files[..] else { return Ok(()) };
        let model = Model::open(Bytes::copy(model))?;
        let Some(tokenizer) = model.tokenizer() else { return Ok(()) };
        let source = String::from_utf8_lossy(source);
        let template = Template::new(&source, tokenizer, Moment::utc(0));
        let turns: Vec<Turn> = (0..random.within(1, 5)).map(|i| turn(i, random)).collect();
        let bytes = source.len() + turns.iter().map(|turn| turn.text.len()).sum::<usize>();
        let made = bench.reading(bytes, || tokens(&turns, &template, tokenizer))?;
        if let Some(token) = made.iter().find(|token| **token as usize >= tokenizer.vocab_size()) {
            return Err(Stop::Broken(format!("token {token} of {}", tokenizer.vocab_size())));
        }
        let is_control = |token: u32| tokenizer.kind(token) == TokenKind::Control && Some(token) != tokenizer.unk();
        let controls = made.iter().filter(|token| is_control(**token)).count();
        if source == BARE && controls > 0 {
            return Err(Stop::Broken(format!("what was said became {controls} control tokens")));
        }
        Ok(())
    }
}

/// What the `i`-th of a conversation says. Replies have no tokens of their own: those are taken as they are.
fn turn(i: usize, random: &mut Random) -> Turn {
    let role = match (i, random.below(8)) {
        (0, 0..=3) => Speaker::System,
        (_, 7) => random.pick(&[Speaker::System, Speaker::User, Speaker::Assistant]),
        (i, _) if i % 2 == 0 => Speaker::User,
        _ => Speaker::Assistant,
    };
    let text: String = (0..random.below(8)).map(|_| random.pick(&WORDS)).collect();
    Turn::new(role, text)
}

/// Some statements within one another, `depth` deep at most.
fn statements(random: &mut Random, depth: usize) -> String {
    (0..random.within(1, 4)).map(|_| statement(random, depth)).collect()
}

fn statement(random: &mut Random, depth: usize) -> String {
    let value = random.pick(&VALUES);
    let truth = random.pick(&TRUTHS);
    let inner = if depth > 0 { statements(random, depth - 1) } else { "{{ m.content }}".into() };
    match random.below(14) {
        0..=2 => format!("{{{{ {value} }}}}"),
        3 | 4 => format!("{{% for m in messages %}}{inner}{{% endfor %}}"),
        5 => format!("{{% for i in range({}) %}}{inner}{{% endfor %}}", random.pick(&[0, 3, 40, 100_000])),
        6 | 7 => format!("{{% if {truth} %}}{inner}{{% else %}}{{{{ {value} }}}}{{% endif %}}"),
        8 => format!("{{% set x = {value} %}}{inner}"),
        9 => format!("{{% set ns = namespace(n={value}) %}}{{% set ns.n = ns.n ~ 'a' %}}{inner}"),
        10 => {
            let (turns, nested) = (random.pick(&[3, 400, 9_000, 100_000]), random.pick(&NESTED));
            format!("{{% for i in range({turns}) %}}{{% set ns.n = {nested} %}}{{% endfor %}}{inner}")
        }
        11 => format!("{{% macro f(x) %}}{inner}{{% endmacro %}}{{{{ f({value}) }}}}"),
        12 => {
            let (text, turns) = (random.pick(&["a", "a\\n", "é "]), random.pick(&[3, 400, 100_000]));
            let (length, work) = (random.pick(&[9, 999, 99_999, 3_999_999]), random.pick(&EXPENSIVE));
            format!(
                "{{% set x = '{text}' * {length} %}}{{% for i in range({turns}) %}}{{% if {work} %}}{{% endif %}}{{% endfor %}}{inner}"
            )
        }
        _ => format!("{{# {value} #}}<s>{inner}</s>"),
    }
}
