//! Functions and thoughts on the command line: calls are lines of JSON, the lines that follow are what they gave.
#![cfg(feature = "cli")]

mod program;
mod support;

use program::whit;
use serde_json::{Value, json};
use std::io::Write;
use std::process::{Output, Stdio};
use support::{Folder, TinyModel};

/// A template with the marks of a family, and of thoughts.
const TEMPLATE: &str = "{% if tools %}{% for t in tools %}{{ t | tojson }}\n{% endfor %}{# <tool_call> </tool_call> #}{% endif %}\
    {% for m in messages %}{{ m.role }}: {{ m.content }}{% for c in m.tool_calls or [] %}<tool_call>\n\
    {\"name\": \"{{ c.function.name }}\", \"arguments\": {{ c.function.arguments | tojson }}}\n</tool_call>{% endfor %}<|end|>\n\
    {% endfor %}assistant: {{ '<think>\n' if enable_thinking }}{# </think> #}";

struct Place {
    folder: Folder,
    model: String,
    tools: String,
}

impl Place {
    fn new(name: &str, template: &'static str) -> Self {
        let folder = Folder::new(name);
        let path = folder.path("m.whit");
        let mut tiny = TinyModel::llama();
        tiny.config.context_length = 4096;
        tiny.template = Some(template);
        tiny.write(&path);
        let now = json!({"type": "function", "function": {"name": "now", "description": "The time", "parameters": {
            "type": "object", "properties": {"zone": {"enum": ["UTC", "CET"]}}, "required": ["zone"]}}});
        let tools = folder.write("tools.json", json!([now]).to_string());
        let text = |path: &std::path::Path| path.to_str().expect("UTF-8").to_owned();
        Place { model: text(&path), tools: text(&tools), folder }
    }

    fn chat(&self, more: &[&str], lines: &str) -> Output {
        let mut command = whit();
        command.args(["chat", "--raw", "-q", "-m", &self.model, "-s", "7", "-n", "200"]).args(more);
        let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = pipes.expect("whit starts");
        let typed = child.stdin.take().expect("a pipe").write_all(lines.as_bytes());
        assert!(typed.is_ok() || child.wait().is_ok_and(|status| !status.success()), "it reads or refuses");
        child.wait_with_output().expect("whit ends")
    }

    /// The lines of calls that a run prints, and nothing else.
    fn calls(&self, more: &[&str], lines: &str) -> Vec<Value> {
        let output = self.chat(more, lines);
        assert!(output.status.success(), "{}", told(&output));
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{text}"))).collect()
    }
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn calls_are_lines_and_results_are_the_lines_that_follow() {
    for (name, template) in
        [("calling-hermes", TEMPLATE), ("calling-plain", "{% for m in messages %}{{ m.content }}\n{% endfor %}")]
    {
        let place = Place::new(name, template);
        let arguments = ["--tools", &place.tools, "--tool-choice", "now", "--single-call"];
        let whole = place.calls(&arguments, "What time is it?\n12:30\n<|end|>13:30\n");
        let ids: Vec<&str> = whole.iter().filter_map(|call| call["id"].as_str()).collect();
        assert_eq!(ids, ["call00000", "call00001", "call00002"], "{whole:?}");
        for call in &whole {
            assert_eq!(call["name"], "now");
            assert!(["UTC", "CET"].iter().any(|zone| call["arguments"]["zone"] == *zone), "{call}");
        }
        // A conversation that is kept goes on with the result.
        let file = place.folder.path("talk.session");
        let session = ["--session", file.to_str().expect("UTF-8")];
        let mut parts = place.calls(&[&arguments[..], &session, &["What time is it?"]].concat(), "");
        parts.extend(place.calls(&[&arguments[..], &session, &["12:30"]].concat(), ""));
        parts.extend(place.calls(&[&arguments[..], &session[..]].concat(), "<|end|>13:30\n"));
        assert_eq!(parts, whole);
    }
}

#[test]
fn a_model_whose_template_knows_no_functions_is_told_of_them() {
    let place = Place::new("calling-told", "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}");
    let chat = |seed: &str| {
        let mut command = whit();
        command.args([
            "chat",
            "-v",
            "-n",
            "200",
            "-s",
            seed,
            "--temp",
            "5",
            "-m",
            &place.model,
            "--tools",
            &place.tools,
            "Hi",
        ]);
        command.output().expect("whit starts")
    };
    let mut kinds = [0; 2];
    for seed in 0..12 {
        // Words are said as they are meant, and may be cut; a call is a line.
        let output = chat(&seed.to_string());
        assert!(output.status.success(), "{}", told(&output));
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let is_call = said.starts_with("{\"id\":");
        assert!(is_call || !said.starts_with('{'), "{said}");
        kinds[usize::from(is_call)] += 1;
    }
    assert!(kinds.iter().all(|n| *n > 0), "{kinds:?}");
    let output = chat("0");
    assert!(
        told(&output).contains("template knows no functions, so a system prompt tells of them"),
        "{}",
        told(&output)
    );
    assert!(told(&output).contains("in the form of generic JSON"), "{}", told(&output));
}

#[test]
fn thoughts_are_no_part_of_the_product_unless_asked_for() {
    let place = Place::new("calling-think", TEMPLATE);
    let yes = ["--choice", "yes", "Well?"];
    let output = place.chat(&[&["--think", "9"], &yes[..]].concat(), "");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "yes\n", "{}", told(&output));
    let output = place.chat(&[&["--think", "9", "--thoughts"], &yes[..]].concat(), "");
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(shown.ends_with("\nyes\n") && shown.len() > "\nyes\n".len(), "{shown}");
    let output = place.chat(&[&["--think", "off"], &yes[..]].concat(), "");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "yes\n", "{}", told(&output));
}

/// M-60
#[test]
fn what_cannot_be_offered_is_refused() {
    let place = Place::new("calling-refused", "{% for m in messages %}{{ m.content }}{% endfor %}");
    let file = |name: &str, text: &str| place.folder.write(name, text).to_str().expect("UTF-8").to_owned();
    let with = |schema: &str| format!(r#"[{{"type":"function","function":{{"name":"f","parameters":{schema}}}}}]"#);
    let odd = with(r#"{"type":"object","properties":{"a":{"type":"string","contains":1}}}"#);
    let files = [
        ("no.json", "{", 65, "no JSON: "),
        ("none.json", "[]", 65, "there is no function in it"),
        (
            "name.json",
            r#"[{"type":"function","function":{"name":"a b"}}]"#,
            65,
            "tools[0].function.name: a name is 1 to 128 letters",
        ),
        (
            "schema.json",
            odd.as_str(),
            65,
            "function f, parameters/properties/a/contains: this keyword is not supported",
        ),
    ];
    for (name, text, code, says) in files {
        let output = place.chat(&["--tools", &file(name, text), "Hi"], "");
        assert_eq!(output.status.code(), Some(code), "{name}: {}", told(&output));
        assert!(told(&output).contains(says) && told(&output).contains(name), "{name}: {}", told(&output));
    }
    for (arguments, says) in [
        (&["--tools", &place.tools, "--tool-choice", "g"][..], "there is no function \"g\""),
        (&["--think", "on"], "knows no thinking"),
        (&["--think", "much"], "expected on, off or a number of tokens"),
        (&["--tool-choice", "auto"], "--tools <FILE>"),
        (&["--tools", &place.tools, "--json-object"], "cannot be used with"),
        (&["--tools", &place.tools, "--banned-string", "x"], "cannot be used with"),
    ] {
        let output = place.chat(&[arguments, &["Hi"]].concat(), "");
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {}", told(&output));
        assert!(told(&output).contains(says), "{arguments:?}: {}", told(&output));
    }
}
