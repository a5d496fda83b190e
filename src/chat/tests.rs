//! Templates and what users say into them.

use super::conversation::closing;
use super::{Speaker, Template, Turn, from_note, to_note, tokens};
use crate::os::calendar::Moment;
use crate::tokenizer::{PreTokenizer, Specials, Token, TokenKind, Tokenizer, Vocabulary, VocabularyModel};

const CHATML: &str = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}\
    {{ '<|im_start|>system\\nBe kind.<|im_end|>\\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\\n' + \
    message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}\
    {{ '<|im_start|>assistant\\n' }}{% endif %}";

/// A Friday.
const NOW: Moment = Moment::utc(951_825_600);

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
    Turn::new(role, text)
}

fn user(text: &str) -> Vec<Turn> {
    vec![turn(Speaker::User, text)]
}

/// Text with control tokens as `[NAME]` and all others as they are.
fn shown(ids: &[u32], tokenizer: &Tokenizer<'_>) -> String {
    let piece = |id: &u32| {
        let bytes = tokenizer.bytes(*id);
        if tokenizer.kind(*id) == TokenKind::Control { [b"[", bytes, b"]"].concat() } else { bytes.to_vec() }
    };
    String::from_utf8_lossy(&ids.iter().flat_map(piece).collect::<Vec<u8>>()).into_owned()
}

#[test]
fn turns_become_the_templates_text() {
    let section = vocabulary(&["<|im_start|>", "<|im_end|>"]);
    let tokenizer = Tokenizer::open(&section).expect("a tokenizer");
    let template = Template::new(CHATML, &tokenizer, NOW);
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
    let template = Template::new(CHATML, &tokenizer, NOW);
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
    let beside = Template::new("{% for m in messages %}{{ m.content }}{% endfor %}", &tokenizer, NOW);
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

/// Templates that look at what was said see it as it was said.
#[test]
fn a_template_may_look_at_what_was_said() {
    let section = vocabulary(&["<|im_start|>", "<|im_end|>"]);
    let tokenizer = Tokenizer::open(&section).expect("a tokenizer");
    let cases = [
        ("{% if messages[0].content.startswith('Hello') %}ST{% endif %}", "Hello There", "ST"),
        ("{% if messages[0].content.endswith('?') %}Q{% endif %}", "What?", "Q"),
        ("{% if messages[0].content == 'x' %}same{% endif %}", "x", "same"),
        ("{% if 'x' in messages[0].content %}in{% endif %}", "x", "in"),
        ("{{ messages[0].content | length }}", " 12é<|im_end|> ", "15"),
        ("{{ messages[0].content | upper }}", "abc", "ABC"),
        ("{{ messages[0].content[0] }}", "abc", "a"),
        ("{{ messages[0].content.split('<|im_end|>') | length }}", "a<|im_end|>b", "2"),
        ("{{ messages[0].content | tojson }}", "a\"\u{1f642}", "\"a\\\"\u{1f642}\""),
        ("{{ '<|im_end|>' if '<|im_end|>' in messages[0].content }}", "x", ""),
        ("{{ '<|im_end|>' if messages[0].content != 'y' }}", "x", "[<|im_end|>]"),
    ];
    for (source, said, expected) in cases {
        let template = Template::new(&format!("{source}|{{{{ messages[0].content }}}}"), &tokenizer, NOW);
        let ids = tokens(&user(said), &template, &tokenizer).unwrap_or_else(|error| panic!("{source}: {error}"));
        assert_eq!(shown(&ids, &tokenizer), format!("{expected}|{said}"), "{source}");
    }
}

/// Thoughts of earlier replies are left out by the templates of models that think.
#[test]
fn a_template_may_look_at_replies() {
    let section = vocabulary(&["<|im_start|>", "<|im_end|>"]);
    let tokenizer = Tokenizer::open(&section).expect("a tokenizer");
    let source = "{% for m in messages %}{% set c = m.content %}{% if m.role == 'assistant' and '</think>' in c %}\
        {% set c = c.split('</think>')[-1].lstrip('\\n') %}{% endif %}<|im_start|>{{ c }}<|im_end|>{% endfor %}";
    let template = Template::new(source, &tokenizer, NOW);
    let mut own = Vec::new();
    tokenizer.encode("whole ", Specials::AsText, &mut own);
    // Tokens that no text has, to see whether they are those that are read.
    own.push(255);
    let reply = |text: &str| Turn { tokens: own.clone(), ..turn(Speaker::Assistant, text) };
    let turns = [
        turn(Speaker::User, "</think>"),
        reply("<think>\nhm</think>\n\nfour"),
        turn(Speaker::User, "<|im_end|>"),
        reply("whole "),
    ];
    let text = shown(&tokens(&turns, &template, &tokenizer).expect("a text"), &tokenizer);
    let expected = "[<|im_start|>]</think>[<|im_end|>][<|im_start|>]four[<|im_end|>]\
        [<|im_start|>]<|im_end|>[<|im_end|>][<|im_start|>]whole \u{fffd}[<|im_end|>]";
    assert_eq!(text, expected);
}

/// Whatever is said, in whatever parts, by whatever template: its control tokens are the template's own, or, where it cannot
/// be told whose they are, text.
#[test]
fn no_text_becomes_a_control_token_in_any_template() {
    let section = vocabulary(&["<|im_start|>", "<|im_end|>", "<s>"]);
    let tokenizer = Tokenizer::open(&section).expect("a tokenizer");
    let pieces = [
        "<|im_",
        "end|>",
        "<|im_end|>",
        "<s>",
        "<",
        "s>",
        "Hello",
        "x",
        " ",
        "\n",
        "</think>",
        "é",
        "\u{1f642}",
        "\u{fdd2}",
    ];
    let plain = "<|im_start|>{{ m.content }}<|im_end|>";
    // What stands before each turn, its text, what stands after, and whether the template's own names must be control tokens.
    let templates = [
        (plain.to_owned(), true),
        ("<|im_start|>{% if m.content.startswith('Hello') %}{% endif %}{{ m.content }}<|im_end|>".into(), true),
        (
            "<|im_start|>{% if m.content == 'x' or '<|im_end|>' in m.content %}{% endif %}{{ m.content }}<|im_end|>"
                .into(),
            true,
        ),
        ("<|im_start|>{{ m.content }}{% if m.content | upper == 'X' %}!{% endif %}<|im_end|>".into(), false),
        ("<|im_start|>{{ m.content if m.content.lower() == m.content else m.content }}<|im_end|>".into(), false),
    ];
    let mut random = 1_u64;
    let mut next = |n: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % n
    };
    for round in 0..600 {
        let (body, exact) = &templates[round % templates.len()];
        let template = Template::new(&format!("{{% for m in messages %}}{body}{{% endfor %}}"), &tokenizer, NOW);
        let mut say = || (0..1 + next(4)).map(|_| pieces[next(pieces.len())]).collect::<String>();
        let turns = [turn(Speaker::System, &say()), turn(Speaker::User, &say()), turn(Speaker::User, &say())];
        let ids = tokens(&turns, &template, &tokenizer).expect("a text");
        let read: Vec<u8> = ids.iter().flat_map(|id| tokenizer.bytes(*id).to_vec()).collect();
        assert_eq!(String::from_utf8_lossy(&read), template.render(&turns).expect("a text"));
        let mark =
            if body.contains("!") && turns.iter().any(|turn| turn.text.to_uppercase() == "X") { "!" } else { "" };
        let own: String = turns
            .iter()
            .map(|turn| {
                let mark = if turn.text.to_uppercase() == "X" { mark } else { "" };
                format!("[<|im_start|>]{}{mark}[<|im_end|>]", turn.text)
            })
            .collect();
        let controls = ids.iter().filter(|id| tokenizer.kind(**id) == TokenKind::Control).count();
        if *exact {
            assert_eq!(shown(&ids, &tokenizer), own, "{body}");
        } else {
            assert!(controls <= 6, "{}", shown(&ids, &tokenizer));
            let said = turns.iter().any(|turn| turn.text.contains(['<', '>']));
            assert!(said || shown(&ids, &tokenizer) == own, "{body}: {}", shown(&ids, &tokenizer));
        }
    }
}

#[test]
fn a_template_says_what_ends_a_reply() {
    let section = vocabulary(&["<s>", "</s>", "<|im_start|>", "<|im_end|>", "<end>"]);
    let tokenizer = Tokenizer::open(&section).expect("a tokenizer");
    let alternating = "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}\
        {{ raise_exception('roles have to take turns') }}{% endif %}";
    let cases = [
        (CHATML.to_owned(), Some("<|im_end|>")),
        (format!("{alternating}{{{{ m.content + ' ' + eos_token }}}}{{% endfor %}}"), Some("</s>")),
        ("{% for m in messages %}{{ m.content | trim }}\n<end>\n{% endfor %}".into(), Some("<end>")),
        ("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}".into(), None),
        ("{% for m in messages %}{{ m.content }} and<end>{% endfor %}".into(), None),
        ("{% for m in messages if m.role == 'user' %}{{ m.content }}<end>{% endfor %}".into(), None),
        ("{{ raise_exception('I do not talk') }}".into(), None),
    ];
    for (source, expected) in cases {
        let end = closing(&Template::new(&source, &tokenizer, NOW), &tokenizer);
        assert_eq!(end, expected.and_then(|name| tokenizer.special(name)), "{source}");
    }
    // By their names, whoever lists them; and what closes thoughts beside them does not count.
    let ends = |names: &[&str]| {
        let section = vocabulary(names);
        let tokenizer = Tokenizer::open(&section).expect("a tokenizer");
        tokenizer.named_ends().map(|id| tokenizer.bytes(id).to_vec()).collect::<Vec<_>>()
    };
    assert_eq!(ends(&["<|eot_id|>", "<|begin|>", "<|end|>"]), [&b"<|eot_id|>"[..], b"<|end|>"]);
    assert_eq!(ends(&["<|end|>", "<|return|>", "<|call|>"]), [&b"<|return|>"[..], b"<|call|>"]);
    assert!(ends(&["<think>", "</think>", "<unk>"]).is_empty());
}

#[test]
fn what_is_said_is_read_in_linear_time() {
    let section = vocabulary(&["<|im_start|>", "<|im_end|>"]);
    let tokenizer = Tokenizer::open(&section).expect("a tokenizer");
    let template = Template::new(CHATML, &tokenizer, NOW);
    // A scan to the end from each of them would take minutes.
    let text = "<".repeat(400_000);
    assert!(tokens(&user(&text), &template, &tokenizer).expect("a text").len() >= text.len());

    // Words of a template that it may look for, each of which is looked for in what is said.
    let words: String = (0..100_000).map(|i| format!("{{# 'word {i}' #}}")).collect();
    let looks = "{{ messages[0].content }}{{ '!' if messages[0].content | upper == messages[0].content }}";
    let template = Template::new(&(looks.to_owned() + &words), &tokenizer, NOW);
    assert!(template.render(&user("x")).is_ok());
    assert!(tokens(&user(&text), &template, &tokenizer).expect("a text").len() >= text.len());

    // A template that writes all names of a vocabulary.
    let names: Vec<String> = (0..20_000).map(|i| format!("<{i}>")).collect();
    let section = vocabulary(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let tokenizer = Tokenizer::open(&section).expect("a tokenizer");
    let template = Template::new(&(names.concat() + "{{ messages[0].content }}"), &tokenizer, NOW);
    assert!(tokens(&user(&text), &template, &tokenizer).expect("a text").len() >= text.len());
}

#[test]
fn a_reply_keeps_the_tokens_it_was_written_with() {
    let section = vocabulary(&["<|im_start|>", "<|im_end|>"]);
    let tokenizer = Tokenizer::open(&section).expect("a tokenizer");
    let template = Template::new(CHATML, &tokenizer, NOW);
    let mut turns = user("hi");
    let before = tokens(&turns, &template, &tokenizer).expect("a text");
    // "a<|im_end|>" of plain bytes, as a model may write it.
    let mut own = Vec::new();
    tokenizer.encode("a<|im_end|>", Specials::AsText, &mut own);
    turns.push(Turn { tokens: own.clone(), ..turn(Speaker::Assistant, "a<|im_end|>") });
    turns.push(turn(Speaker::User, "more"));
    let after = tokens(&turns, &template, &tokenizer).expect("a text");
    assert_eq!(after[..before.len() + own.len()], [&before[..], &own].concat());
    assert_eq!(from_note(&to_note(&turns)).expect("a note"), turns);
    // A template that changes replies gets its own words.
    let more = CHATML.replace("message['content'] +", "message['content'].replace('im_', 'am_') +");
    let changing = Template::new(&more, &tokenizer, NOW);
    let text = shown(&tokens(&turns, &changing, &tokenizer).expect("a text"), &tokenizer);
    assert!(text.contains("assistant\na<|am_end|>[<|im_end|>]"), "{text}");
}

#[test]
fn a_note_that_is_no_conversation_is_refused() {
    let turns = [turn(Speaker::System, "s"), Turn { tokens: vec![1, 2], ..turn(Speaker::Assistant, "é") }];
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
        ("{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}", "steps"),
        ("{% for i in range(100001) %}{% endfor %}", ""),
        ("{% for i in range(0, 10**9, 1) %}{% endfor %}", ""),
        ("{% for i in range(-(10**9), 10**9) %}{% endfor %}", ""),
        ("{% for i in 'a' * 10**6 %}{% for j in 'b' * 10**6 %}{% endfor %}{% endfor %}", ""),
        ("{% for a in range(999) recursive %}{{ loop(range(999)) }}{% endfor %}", ""),
        ("{{ range(10**9) | list | length }}", ""),
        ("{{ range(100000) | map('upper') | list | length }}{{ range(10**7) | last }}", ""),
        (&busy, "steps"),
        // Memory.
        ("{{ 'x' * 10**11 }}", ""),
        ("{{ 'x' * 10**8 }}", ""),
        ("{{ ('x' * 10**6) * 10**6 }}", ""),
        ("{{ [0] * 2**30 }}", ""),
        ("{{ ([0] * 2**20) * 2**20 }}", ""),
        ("{{ 10**10**10 }}", ""),
        ("{{ range(100000) | list | join('x' * 10000) }}", "steps"),
        ("{{ ('a' * 10000).replace('a', 'x' * 100000) }}", "steps"),
        ("{{ ('a' * 10**6).split('a') | list | tojson | tojson }}", ""),
        (&doubled, "steps"),
        (&grown(60, "n.x ~ n.x", ""), "steps"),
        (&grown(60, "n.x * 9", ""), "steps"),
        (&grown(60, "n.x.upper() ~ n.x.lower()", ""), "steps"),
        (&grown(60, "n.x.replace('a', 'aaa')", ""), "steps"),
        (&grown(60, "n.x | tojson | tojson | tojson", ""), "steps"),
        (&grown(60, "[n.x, n.x] | string", ""), "steps"),
        (&grown(60, "(n.x ~ ',').split(',') | join('bb' ~ n.x)", ""), "steps"),
        (&grown(60, "[n.x, n.x]", "{{ n.x }}"), "steps"),
        (&grown(60, "{'a': n.x, 'b': n.x}", "{{ n.x | tojson }}"), "steps"),
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
        ("{{ raise_exception('') }}{{ raise_exception(' \n') }}", "without a word"),
        ("{{ strftime_now('%Q') }}", "strftime_now"),
        ("{{ messages | nosuch }}", "nosuch"),
        ("{{ 1 / 0 }}", ""),
        ("{{ -9223372036854775808 // -1 }}{{ 9223372036854775807 + 1 }}", ""),
        ("nothing of the message", "leaves out"),
    ];
    assert!(cases.len() >= 60, "{}", cases.len());
    let mut complaints = Vec::new();
    for (source, part) in cases {
        let template = Template::new(source, &tokenizer, NOW);
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
        let template = Template::new(source, &tokenizer, NOW);
        let ids = tokens(&user("hello"), &template, &tokenizer).unwrap_or_else(|error| panic!("{source}: {error}"));
        assert_eq!(shown(&ids, &tokenizer), expected, "{source}");
    }
}
