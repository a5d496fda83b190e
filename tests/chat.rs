//! Conversations through a pipe.
#![cfg(feature = "cli")]

mod program;
mod support;

use program::whit;
use std::io::Write;
use std::process::{Output, Stdio};
use support::{Folder, TinyModel};

const TEMPLATE: &str = "{% for m in messages %}{{ m.role }}: {{ m.content }}<|end|>\n{% endfor %}assistant: ";

struct Place {
    folder: Folder,
    model: String,
}

impl Place {
    fn new(name: &str) -> Self {
        let folder = Folder::new(name);
        let path = folder.path("m.whit");
        let mut tiny = TinyModel::llama();
        tiny.config.context_length = 512;
        tiny.template = Some(TEMPLATE);
        tiny.write(&path);
        Place { model: path.to_str().expect("UTF-8").into(), folder }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path(name).to_str().expect("UTF-8").into()
    }

    fn chat(&self, more: &[&str], lines: &str) -> Output {
        let mut command = whit();
        command.args(["chat", "--raw", "--commands", "-m", &self.model, "-s", "7", "-n", "9"]).args(more);
        let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = pipes.expect("whit starts");
        let typed = child.stdin.take().expect("a pipe").write_all(lines.as_bytes());
        // What refuses at once reads nothing.
        assert!(typed.is_ok() || child.wait().is_ok_and(|status| !status.success()), "it reads or refuses");
        child.wait_with_output().expect("whit ends")
    }
}

fn said(output: &Output) -> Vec<u8> {
    assert!(output.status.success(), "{}", told(output));
    output.stdout.clone()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_conversation_goes_on_after_a_restart_as_if_there_had_been_none() {
    let place = Place::new("chat-session");
    let file = place.path("talk.session");
    let whole = said(&place.chat(&["--system", "be brief"], "one\ntwo\nthree\n"));
    let mut parts = said(&place.chat(&["--system", "be brief", "--session", &file], "one\n"));
    parts.extend(said(&place.chat(&["--session", &file], "two\nthree\n")));
    assert!(parts == whole, "{:?} {:?}", String::from_utf8_lossy(&parts), String::from_utf8_lossy(&whole));
    let saved = place.path("saved");
    let mut parts = said(&place.chat(&["--system", "be brief"], &format!("one\ntwo\n/save {saved}\n")));
    parts.extend(said(&place.chat(&[], &format!("/load {saved}\nthree\n"))));
    assert!(parts == whole);
}

#[test]
fn a_turn_costs_only_its_new_tokens() {
    let place = Place::new("chat-turns");
    let output = place.chat(&["-v"], "one\ntwo\nthree\n");
    let computed = |line: &str| line.strip_prefix("whit: ")?.split_once(" of ")?.0.parse::<usize>().ok();
    let computed: Vec<usize> =
        told(&output).lines().filter(|line| line.contains("tokens computed")).filter_map(computed).collect();
    // The words of the template around "one"; later the last token of a reply, its end and a line feed besides.
    let first = "user: one..assistant: ".len();
    assert_eq!(computed, [first, first + 3, first + 5]);
    let cache = place.path("cache");
    let first = place.chat(&["-v", "--cache", &cache], "one\ntwo\n");
    let second = place.chat(&["-v", "--cache", &cache], "one\ntwo\n");
    assert_eq!(said(&first), said(&second));
    assert!(told(&first).contains("nothing in the cache begins as this text"), "{}", told(&first));
    let other = place.chat(&["-v"], "one\n/undo\ntwo\n");
    assert!(told(&other).contains("positions are used again"), "{}", told(&other));
    assert!(told(&second).contains("whit: 1 of "), "{}", told(&second));
}

#[test]
fn commands_change_the_conversation_and_not_its_words() {
    let place = Place::new("chat-commands");
    let plain = said(&place.chat(&[], "one\ntwo\n"));
    let undone = place.chat(&[], "one\nwrong\n/undo\ntwo\n");
    let (first, last) = (plain.split(|b| *b == b'\n').next().expect("a line"), said(&undone));
    assert!(last.starts_with(first) && last.ends_with(&plain[first.len() + 1..]));
    let reset = said(&place.chat(&[], "one\n/reset\none\n/system x\n/system\none\n"));
    let once = said(&place.chat(&[], "one\n"));
    assert_eq!(reset, once.repeat(3));
    let greedy = said(&place.chat(&["--temp", "0"], "one\n"));
    assert_eq!(said(&place.chat(&[], "/temp 0\none\n/regenerate\n")), greedy.repeat(2));
    let again = said(&place.chat(&["--temp", "1.5"], "one\n/regenerate\n"));
    let half = said(&place.chat(&["--temp", "1.5"], "one\n"));
    assert!(again.starts_with(&half) && again[half.len()..] != half[..], "another draw");
    let talk = place.chat(&["-q"], "/help\n/nosuch\n/undo\n/stats\n/load /nonexistent\n\n/quit\nnever said\n");
    assert!(said(&talk).is_empty());
    for part in ["/regenerate ", "no command /nosuch", "nothing was said yet", "no reply yet", "does not exist"] {
        assert!(told(&talk).contains(part), "{part}: {}", told(&talk));
    }
}

#[test]
fn what_cannot_be_told_is_an_error_or_a_word() {
    let place = Place::new("chat-errors");
    let bare = place.folder.path("bare.whit");
    TinyModel::llama().write(&bare);
    let output = whit().args(["chat", "-m", bare.to_str().expect("UTF-8")]).output().expect("whit starts");
    assert_eq!(output.status.code(), Some(65));
    assert!(told(&output).contains("no chat template") && told(&output).contains("whit generate"), "{}", told(&output));
    let long = "word ".repeat(40);
    let output = place.chat(&["--ctx", "64"], &format!("{long}\nhi\n"));
    assert!(
        told(&output).contains("leave no room in a context of 64") && told(&output).contains("/undo"),
        "{}",
        told(&output)
    );
    assert_eq!(output.status.code(), Some(64), "{}", told(&output));
    assert_eq!(output.stdout, said(&place.chat(&["--ctx", "64"], "hi\n")), "what found no room is taken back");
    let shifted = place.chat(&["--ctx", "96", "--on-full", "shift"], "one two three\n".repeat(6).as_str());
    assert!(told(&shifted).contains("no longer sees the first"), "{}", told(&shifted));
    said(&shifted);
    let mut wrong = TinyModel::llama();
    wrong.template = Some("{{ raise_exception('I do not talk') }}");
    let path = place.folder.path("wrong.whit");
    wrong.write(&path);
    let output = place.chat(&["-m", path.to_str().expect("UTF-8")], "");
    assert_eq!(output.status.code(), Some(64), "two models: {}", told(&output));
}

/// A pipe goes on after a line that cannot be answered, and ends with an error; what was said is saved.
#[test]
fn a_turn_that_fails_is_no_success() {
    let place = Place::new("chat-fails");
    let refusing = place.folder.write(
        "refusing.jinja",
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system here') }}{% endif %}\
         {% if m.content == 'two' %}{{ raise_exception('not two') }}{% endif %}{{ m.content }}|{% endfor %}",
    );
    let refusing = ["--chat-template", refusing.to_str().expect("UTF-8")];
    let output = place.chat(&[&refusing[..], &["--system", "be brief"]].concat(), "one\n");
    assert_eq!((output.status.code(), output.stdout.len()), (Some(65), 0), "{}", told(&output));
    assert!(told(&output).contains("no system here") && told(&output).contains("leave it out"), "{}", told(&output));
    let output = place.chat(&refusing, "one\n/system be brief\n");
    assert_eq!(output.status.code(), Some(65), "{}", told(&output));

    let session = place.path("fails.session");
    let output = place.chat(&[&refusing[..], &["--session", &session]].concat(), "one\ntwo\nthree\n");
    assert_eq!(output.status.code(), Some(65), "{}", told(&output));
    assert!(told(&output).contains("not two"), "{}", told(&output));
    let mut parts = output.stdout;
    parts.extend(said(&place.chat(&[&refusing[..], &["--session", &session]].concat(), "four\n")));
    assert!(parts == said(&place.chat(&refusing, "one\nthree\nfour\n")));
}

#[test]
fn templates_and_their_values_can_be_given() {
    let place = Place::new("chat-template");
    let lines = "one\n";
    let own = place.folder.write("own.jinja", TEMPLATE);
    let own = own.to_str().expect("UTF-8");
    assert_eq!(said(&place.chat(&[], lines)), said(&place.chat(&["--chat-template", own], lines)));
    let asking = "{% if not enable_thinking and n == 3 and x == 0.5 and name == 'a b' and nothing is none %}";
    let asking =
        place.folder.write("asking.jinja", format!("{asking}{TEMPLATE}{{% endif %}}{{{{ messages[0].content }}}}"));
    let asking = asking.to_str().expect("UTF-8");
    let values = ["enable_thinking=false", "n=3", "x=0.5", "name=a b", "nothing=none"];
    let values: Vec<&str> = values.iter().flat_map(|value| ["--template-arg", value]).collect();
    let n_tokens = |more: &[&str]| {
        let output = place.chat(&[more, &["-v", "--chat-template", asking]].concat(), lines);
        told(&output)
            .split_once(" tokens computed")
            .and_then(|(told, _)| told.rsplit_once(' ')?.1.parse::<usize>().ok())
    };
    assert_eq!((n_tokens(&[]), n_tokens(&values)), (Some(3), Some("user: one.\nassistant: one".len())));
    for (more, part) in [
        (vec!["--chat-template", "nowhere.jinja"], "nowhere.jinja"),
        (vec!["--template-arg", "x"], "NAME=VALUE"),
        (vec!["--end", "<|nothing|>"], "<|nothing|>"),
    ] {
        let output = place.chat(&more, lines);
        assert!(!output.status.success() && told(&output).contains(part), "{more:?}: {}", told(&output));
    }
}

#[test]
fn a_file_that_cannot_be_loaded_changes_nothing() {
    let place = Place::new("chat-load");
    let [file, whole, long, cut, damaged, text] =
        ["file", "whole", "long", "cut", "damaged", "text"].map(|name| place.path(&format!("{name}.session")));
    let small = ["--ctx", "96", "--session"];
    let read = |path: &str| std::fs::read(path).expect("a session");
    said(&place.chat(&[], &format!("{}\n/save {long}\n", "word ".repeat(30))));
    said(&place.chat(&["--ctx", "96"], &format!("other\n/save {whole}\n")));
    let mut bytes = read(&whole);
    std::fs::write(&cut, &bytes[..bytes.len() / 2]).expect("written");
    bytes[200] ^= 1;
    std::fs::write(&damaged, bytes).expect("written");
    let story = ["generate", "-m", &place.model, "--session", &text, "-n", "3", "once"];
    assert!(whit().args(story).output().expect("whit starts").status.success());
    said(&place.chat(&[&small[..], &[&file]].concat(), "one\n"));
    let (kept, next) = (read(&file), said(&place.chat(&["--ctx", "96"], &format!("/load {file}\ntwo\n"))));
    for (wrong, words) in [
        (&long, "in a context of 96"),
        (&cut, "bytes"),
        (&damaged, "checksum is wrong"),
        (&text, "conversation"),
        (&place.model, "not a saved"),
    ] {
        let output = place.chat(&[&small[..], &[&file]].concat(), &format!("/load {wrong}\n"));
        assert!(said(&output).is_empty() && told(&output).contains(words), "{wrong}: {}", told(&output));
        assert!(read(&file) == kept, "the session was saved as it was after {wrong}");
        let lines = format!("/load {file}\n/load {wrong}\ntwo\n");
        assert!(said(&place.chat(&["--ctx", "96"], &lines)) == next, "the next reply after {wrong}");
    }
    said(&place.chat(&[&small[..], &[&file]].concat(), &format!("/load {whole}\n")));
    assert!(read(&file) == read(&whole), "a whole one takes its place");
}
