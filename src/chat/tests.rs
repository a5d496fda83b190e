//! Templates and what users say into them.

use super::{Speaker, Template, Turn, from_note, to_note, tokens};
use crate::tokenizer::{PreTokenizer, Specials, Token, TokenKind, Tokenizer, Vocabulary, VocabularyModel};

#[global_allocator]
static ALLOCATOR: crate::os::budget::Budgeted = crate::os::budget::Budgeted;

const CHATML: &str = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}\
    {{ '<|im_start|>system\\nBe kind.<|im_end|>\\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\\n' + \
    message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}\
    {{ '<|im_start|>assistant\\n' }}{% endif %}";

/// A tokenizer over bytes with control tokens.
fn vocabulary(special: &[&str]) -> Vec<u8> {
    let token = |bytes: &[u8], kind| Token { bytes: bytes.to_vec(), kind, score: 0.0 };
    let mut tokens: Vec<Token> = (0..=255).map(|byte| token(&[byte], TokenKind::Normal)).collect();
    tokens.extend(special.iter().map(|name| token(name.as_bytes(), TokenKind::Control)));
    let model = VocabularyModel::ByteLevel { pre: PreTokenizer::Gpt2, merges: vec![], ignore_merges: false };
    let vocabulary = Vocabulary { tokens, model, bos: Some(256), eos: Some(257), unk: None, add_bos: false };
    vocabulary.build().expect("a vocabulary")
}

fn turn(role: Speaker, text: &str) -> Turn {
    Turn { role, text: text.into(), tokens: Vec::new() }
}

fn user(text: &str) -> Vec<Turn> {
    vec![turn(Speaker::User, text)]
}

/// Text with control tokens as `[NAME]` and all others as they are.
fn shown(ids: &[u32], tokenizer: &Tokenizer<'_>) -> String {
    let piece = |id: &u32| {
        let text = String::from_utf8_lossy(tokenizer.bytes(*id)).into_owned();
        if tokenizer.kind(*id) == TokenKind::Control { format!("[{text}]") } else { text }
    };
    ids.iter().map(piece).collect()
}

#[test]
fn turns_become_the_templates_text() {
    let section = vocabulary(&["<|im_start|>", "<|im_end|>"]);
    let tokenizer = Tokenizer::open(&section).expect("a tokenizer");
    let template = Template::new(CHATML, &tokenizer);
    let turns = [turn(Speaker::User, "hi"), turn(Speaker::Assistant, "yes?"), turn(Speaker::User, " 2 + 2 ")];
    let text = shown(&tokens(&turns, &template, &tokenizer).expect("a text"), &tokenizer);
    let expected = "[<|im_start|>]system\nBe kind.[<|im_end|>]\n[<|im_start|>]user\nhi[<|im_end|>]\n\
        [<|im_start|>]assistant\nyes?[<|im_end|>]\n[<|im_start|>]user\n 2 + 2 [<|im_end|>]\n[<|im_start|>]assistant\n";
    assert_eq!(text, expected);
}

/// U-08
#[test]
fn what_a_user_says_never_becomes_a_control_token() {
    let names = ["<|im_start|>", "<|im_end|>", "<s>", "</s>", "<", "aa"];
    let section = vocabulary(&names);
    let tokenizer = Tokenizer::open(&section).expect("a tokenizer");
    let template = Template::new(CHATML, &tokenizer);
    let controls = |turns: &[Turn]| {
        let ids = tokens(turns, &template, &tokenizer).expect("a text");
        ids.into_iter().filter(|id| tokenizer.kind(*id) == TokenKind::Control).collect::<Vec<_>>()
    };
    let plain = controls(&user("x"));
    for name in names {
        let placed = [
            name.into(),
            format!("x{name}"),
            format!("{name}y"),
            format!(" {name} "),
            name.repeat(3),
            format!("<{name}>"),
        ];
        for text in placed {
            let turns = user(&text);
            assert_eq!(controls(&turns), plain, "{text:?}");
            let said = shown(&tokens(&turns, &template, &tokenizer).expect("a text"), &tokenizer);
            assert!(said.contains(&format!("user\n{text}[<|im_end|>]")), "{text:?} as it is: {said:?}");
        }
    }
    // Halves in two messages, beside each other in the template's text.
    let beside = Template::new("{% for m in messages %}{{ m.content }}{% endfor %}", &tokenizer);
    let turns = [
        turn(Speaker::User, "<|im_"),
        turn(Speaker::System, "start|>"),
        turn(Speaker::User, "<"),
        turn(Speaker::User, "s>"),
    ];
    let ids = tokens(&turns, &beside, &tokenizer).expect("a text");
    assert!(ids.iter().all(|id| tokenizer.kind(*id) != TokenKind::Control), "{}", shown(&ids, &tokenizer));
    // The marks themselves.
    let turns = user("a\u{fdd0}b\u{fdd1}c\u{fdd2}<|im_\u{fdd0}end|>");
    assert_eq!(controls(&turns), plain);
}

#[test]
fn what_is_said_is_read_in_linear_time() {
    let section = vocabulary(&["<|im_start|>", "<|im_end|>"]);
    let tokenizer = Tokenizer::open(&section).expect("a tokenizer");
    let template = Template::new(CHATML, &tokenizer);
    // A scan to the end from each of them would take minutes.
    let text = "<".repeat(400_000);
    assert!(tokens(&user(&text), &template, &tokenizer).expect("a text").len() >= text.len());
}

#[test]
fn a_reply_keeps_the_tokens_it_was_written_with() {
    let section = vocabulary(&["<|im_start|>", "<|im_end|>"]);
    let tokenizer = Tokenizer::open(&section).expect("a tokenizer");
    let template = Template::new(CHATML, &tokenizer);
    let mut turns = user("hi");
    let before = tokens(&turns, &template, &tokenizer).expect("a text");
    // "a<|im_end|>" of plain bytes, as a model may write it.
    let mut own = Vec::new();
    tokenizer.encode("a<|im_end|>", Specials::AsText, &mut own);
    turns.push(Turn { role: Speaker::Assistant, text: "a<|im_end|>".into(), tokens: own.clone() });
    turns.push(turn(Speaker::User, "more"));
    let after = tokens(&turns, &template, &tokenizer).expect("a text");
    assert_eq!(after[..before.len() + own.len()], [&before[..], &own].concat());
    assert_eq!(from_note(&to_note(&turns)).expect("a note"), turns);
    // A template that changes replies gets its own words.
    let more = CHATML.replace("message['content'] +", "message['content'].replace('im_', 'am_') +");
    let changing = Template::new(&more, &tokenizer);
    let text = shown(&tokens(&turns, &changing, &tokenizer).expect("a text"), &tokenizer);
    assert!(text.contains("assistant\na<|am_end|>[<|im_end|>]"), "{text}");
}

#[test]
fn a_note_that_is_no_conversation_is_refused() {
    let turns = [turn(Speaker::System, "s"), Turn { role: Speaker::Assistant, text: "é".into(), tokens: vec![1, 2] }];
    let note = to_note(&turns);
    for n in 0..note.len() {
        from_note(&note[..n]).expect_err("cut");
    }
    for at in 0..note.len() {
        let mut changed = note.clone();
        changed[at] ^= 0x80;
        let _ = from_note(&changed);
    }
    assert!(from_note(&[1, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).is_err());
}

/// T-16, T-17, T-20
#[test]
fn templates_that_compute_without_bound_are_stopped() {
    let section = vocabulary(&["<s>", "</s>"]);
    let tokenizer = Tokenizer::open(&section).expect("a tokenizer");
    crate::os::fault::watch_stacks();
    let doubled = "{% set x = 'aaaaaaaaaaaaaaaa' %}".to_owned() + &"{% set x = x ~ x %}".repeat(60) + "{{ x }}";
    let nested = "{% if true %}".repeat(2000) + &"{% endif %}".repeat(2000);
    let parentheses = "{{ ".to_owned() + &"(".repeat(2000) + "1" + &")".repeat(2000) + " }}";
    let brackets = "{{ ".to_owned() + &"[".repeat(2000) + &"]".repeat(2000) + " }}";
    let busy = "{% for i in range(20000) %}".to_owned() + &"{% if 1 %}{% endif %}".repeat(40) + "{% endfor %}";
    let written = "{% set x = [] %}".to_owned() + &"{% set x = [x] %}".repeat(40_000) + "{{ x }}";
    // A namespace's value that grows with each of that many turns, and what becomes of it.
    let grown = |turns: u32, value: &str, end: &str| {
        format!(
            "{{% set n = namespace(x='aaaaaaaa') %}}{{% for i in range({turns}) %}}{{% set n.x = {value} %}}{{% endfor %}}{end}"
        )
    };
    let say = "{{ messages[0].content }}";
    let cases: &[(&str, &str)] = &[
        // Turns.
        ("{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}", "MiB"),
        ("{% for i in range(100001) %}{% endfor %}", ""),
        ("{% for i in range(0, 10**9, 1) %}{% endfor %}", ""),
        ("{% for i in range(-(10**9), 10**9) %}{% endfor %}", ""),
        ("{% for i in 'a' * 10**6 %}{% for j in 'b' * 10**6 %}{% endfor %}{% endfor %}", ""),
        ("{% for a in range(999) recursive %}{{ loop(range(999)) }}{% endfor %}", ""),
        ("{{ range(10**9) | list | length }}", ""),
        ("{{ range(100000) | map('upper') | list | length }}{{ range(10**7) | last }}", ""),
        (&busy, "instructions"),
        // Memory.
        ("{{ 'x' * 10**11 }}", ""),
        ("{{ 'x' * 10**8 }}", ""),
        ("{{ ('x' * 10**6) * 10**6 }}", ""),
        ("{{ [0] * 2**30 }}", ""),
        ("{{ ([0] * 2**20) * 2**20 }}", ""),
        ("{{ 10**10**10 }}", ""),
        ("{{ range(100000) | list | join('x' * 10000) }}", "MiB"),
        ("{{ ('a' * 10000).replace('a', 'x' * 100000) }}", "instructions"),
        ("{{ ('a' * 10**6).split('a') | list | tojson | tojson }}", ""),
        (&doubled, "MiB"),
        (&grown(60, "n.x ~ n.x", ""), "MiB"),
        (&grown(60, "n.x * 9", ""), "MiB"),
        (&grown(60, "n.x.upper() ~ n.x.lower()", ""), "MiB"),
        (&grown(60, "n.x.replace('a', 'aaa')", ""), "instructions"),
        (&grown(60, "n.x | tojson | tojson | tojson", ""), "MiB"),
        (&grown(60, "[n.x, n.x] | string", ""), "MiB"),
        (&grown(60, "(n.x ~ ',').split(',') | join('bb' ~ n.x)", ""), "MiB"),
        (&grown(60, "[n.x, n.x]", "{{ n.x }}"), "MiB"),
        (&grown(60, "{'a': n.x, 'b': n.x}", "{{ n.x | tojson }}"), "MiB"),
        // Values within one another, and within themselves.
        (&grown(20_000, "{'a': n.x}", "{{ n.x }}"), "values into one another"),
        (&grown(20_000, "{'a': n.x}", "{{ n.x | tojson }}"), "values into one another"),
        (&grown(99_999, "[n.x]", say), "values into one another"),
        (&grown(50_000, "[n.x]", "{{ n.x }}"), "values into one another"),
        (&grown(50_000, "[n.x]", "{{ n.x | tojson }}"), "values into one another"),
        (&grown(50_000, "[n.x]", "{{ n.x == [n.x] }}"), "values into one another"),
        (&grown(99_999, "namespace(x=n.x)", say), ""),
        (&grown(1, "n", "{{ n }}"), "values into one another"),
        (&grown(1, "[n]", "{{ n | tojson }}"), "values into one another"),
        (&grown(1, "{'a': n}", "{{ n | string | length }}"), "values into one another"),
        (&written, ""),
        (&brackets, ""),
        (&nested, ""),
        (&parentheses, ""),
        // Output.
        ("{% for i in range(3000) %}{{ 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx' * 10 }}{% endfor %}", "bytes"),
        ("{% for i in range(3000) %}{{ messages | tojson }}{{ 'x' * 999 }}{% endfor %}", "bytes"),
        // Calls of themselves.
        ("{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}", ""),
        ("{% macro f(n) %}{{ g(n) }}{% endmacro %}{% macro g(n) %}{{ f(n) }}{% endmacro %}{{ f(0) }}", ""),
        ("{% macro f() %}{{ caller() }}{% endmacro %}{% call f() %}{{ f() }}{% endcall %}", ""),
        // Files.
        ("{% include '/etc/passwd' %}", ""),
        ("{% include ['/etc/passwd', 'x'] ignore missing %}", "include"),
        ("{% extends 'x' %}", ""),
        ("{% import 'x' as y %}{{ y }}", ""),
        ("{% from '/etc/passwd' import x %}{{ x }}", ""),
        ("{{ open('/etc/passwd').read() }}", ""),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", ""),
        ("{{ self._TemplateReference__context }}", ""),
        // Not the language, or none of our words.
        ("{% raw %}", ""),
        ("{{ '", ""),
        ("{% if %}", ""),
        ("{{ raise_exception('no such role') }}", "no such role"),
        ("{{ raise_exception('a\nb\u{1b}[2J') }}", ""),
        ("{{ raise_exception('') }}{{ raise_exception(' \n') }}", "invalid operation"),
        ("{{ strftime_now('%d') }}", "strftime_now"),
        ("{{ messages | nosuch }}", "nosuch"),
        ("{{ 1 / 0 }}", ""),
        ("{{ -9223372036854775808 // -1 }}{{ 9223372036854775807 + 1 }}", ""),
        ("nothing of the message", "leaves out"),
    ];
    assert!(cases.len() >= 60, "{}", cases.len());
    let mut complaints = Vec::new();
    for (source, part) in cases {
        let template = Template::new(source, &tokenizer);
        let told = match tokens(&user("hello"), &template, &tokenizer) {
            Ok(_) => "a text".into(),
            Err(error) => error.to_string(),
        };
        if !(told.starts_with("chat template: ") && told.contains(part) && !told.contains(char::is_control)) {
            complaints.push(format!("{source:.80}: {told:?} without {part:?}"));
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// T-19
#[test]
fn what_published_templates_use_works() {
    let section = vocabulary(&["<s>", "</s>"]);
    let tokenizer = Tokenizer::open(&section).expect("a tokenizer");
    let cases = [
        ("{{ bos_token }}{{ messages[0].content | trim }}", "[<s>]hello"),
        (
            "{%- set ns = namespace(n=0) -%}\n{%- for m in messages -%}\n{%- set ns.n = ns.n + 1 -%}\n{{- m['content'] -}}{%- endfor -%}",
            "hello",
        ),
        (
            "{% for m in messages %}\n  {% if m.role == 'user' %}\n{{ m.content }}\n  {% endif %}\n{% endfor %}",
            "hello\n",
        ),
        ("{{ messages[-1].content.strip() }}{{ 'a,b'.split(',')[1] }}", "hellob"),
        ("{% for m in messages %}{% generation %}{{ m.content }}{%- endgeneration -%} !{% endfor %}", "hello!"),
        (
            "{% for m in messages %}{% if loop.index0 % 2 == 1 %}{% continue %}{% endif %}{{ m.content }}{% endfor %}",
            "hello",
        ),
        (
            "{% if tools is defined and tools %}x{% endif %}{% if not date_string is defined %}y{% endif %}{{ messages[0].content }}",
            "yhello",
        ),
        ("{% macro say(m) %}{{ m.content }}{% endmacro %}{{ say(messages[0]) }}{{ eos_token }}", "hello[</s>]"),
        ("{{ messages[0]['content'] | tojson(indent=4000000000) | length > 0 }}{{ messages[0].content }}", "Truehello"),
        ("{{ messages[0].content }}{{ messages[0].content is string }}{{ none is none }}", "helloTrueTrue"),
    ];
    for (source, expected) in cases {
        let template = Template::new(source, &tokenizer);
        let ids = tokens(&user("hello"), &template, &tokenizer).unwrap_or_else(|error| panic!("{source}: {error}"));
        assert_eq!(shown(&ids, &tokenizer), expected, "{source}");
    }
}
