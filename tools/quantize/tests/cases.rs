//! Other people's files that were once read wrongly: `../shared/cases` has each with its right value and how that is known.

mod support;

use std::sync::Arc;

use quantize::source::{Checkpoint, OpenOptions, WordVectors};
use support::{Converted, shared};
use whit::chat::Conversation;
use whit::compute::Compute;
use whit::generate::{StopReason, StopRules, Writer};
use whit::kernels;
use whit::model::{Model, Session, SessionOptions};
use whit::os::calendar::Moment;
use whit::quant::Dtype;
use whit::sampler::{Sampler, SamplerOptions};
use whit::tokenizer::Specials;

/// The model of a case; `None`, loudly, where the folder is absent.
fn model(case: &str) -> Option<Arc<Model>> {
    let folder = shared(&format!("cases/{case}"))?;
    let input = ["model", "model.gguf"].map(|name| folder.join(name)).into_iter().find(|path| path.exists());
    Some(Converted::new(&input.expect("an input"), Dtype::Int8).model())
}

/// The likeliest reply of at most `most` tokens: its text, and why it ended.
fn reply(conversation: &mut Conversation, model: &Arc<Model>, stops: &[&str], most: usize) -> (String, StopReason) {
    let compute = Arc::new(Compute::new(kernels::detect(), 1).expect("a thread"));
    let options = SessionOptions { context_length: model.config().context_length, ..SessionOptions::default() };
    let mut session = Session::new(model, &compute, options).expect("a session");
    let greedy = SamplerOptions { temperature: 0.0, ..SamplerOptions::default() };
    let rules = StopRules {
        n_tokens: Some(most),
        stops: stops.iter().map(ToString::to_string).collect(),
        end_tokens: conversation.end_tokens().to_vec(),
        ..StopRules::default()
    };
    let sampler = Sampler::new(greedy, model.config().vocab_size).expect("a sampler");
    let tokens = conversation.tokens().expect("a prompt");
    let mut writer = Writer::new(model, &tokens, options.context_length, sampler, rules).expect("a writer");
    let mut said = String::new();
    while let Some(piece) = writer.next_piece(&mut session, &mut ()).expect("a piece") {
        said.push_str(piece.text);
    }
    let reason = writer.stop_reason().expect("an end");
    conversation.reply(&said, writer.written());
    (said, reason)
}

fn talk(model: &Arc<Model>) -> Conversation {
    Conversation::new(model).expect("a template")
}

/// The text of `tokens`.
fn text(model: &Model, tokens: &[u32]) -> String {
    let tokenizer = model.tokenizer().expect("a tokenizer");
    String::from_utf8_lossy(&tokens.iter().flat_map(|id| tokenizer.bytes(*id).to_vec()).collect::<Vec<u8>>()).into()
}

#[test]
fn thoughts_of_earlier_replies_leave_the_prompt() {
    let Some(model) = model("01-thinking-stays-in-history") else { return };
    let mut conversation = talk(&model);
    conversation.say("q");
    reply(&mut conversation, &model, &[], 64);
    conversation.say("q");
    assert_eq!(conversation.tokens().expect("a prompt").len(), 43);
}

#[test]
fn a_reply_ends_where_its_turn_does() {
    for (case, said) in [("02-eot-of-llama3-gguf", "hello"), ("04-endoftext-of-qwen-gguf", "")] {
        let Some(model) = model(case) else { return };
        let mut conversation = talk(&model);
        conversation.say("hi");
        let (text, reason) = reply(&mut conversation, &model, &[], 80);
        assert_eq!(reason, StopReason::EndOfText, "{case}: {text:?}");
        assert!(text == said || said.is_empty(), "{case}: {text:?}");
    }
}

/// A control token has no text, but a name by which a text can be told to end.
#[test]
fn a_reply_stops_at_the_name_of_a_token() {
    let Some(model) = model("02-eot-of-llama3-gguf") else { return };
    let tokenizer = model.tokenizer().expect("a tokenizer");
    let first = tokenizer.special("<|start_header_id|>").or_else(|| tokenizer.special("<|eot_id|>")).expect("a token");
    let name = text(&model, &[first]);
    let mut conversation = talk(&model);
    conversation.say("hi");
    let (_, reason) = reply(&mut conversation, &model, &[&name, "never said"], 80);
    assert_eq!(reason, StopReason::EndOfText);
}

#[test]
fn a_template_that_takes_no_system_prompt_is_known_before_the_first_question() {
    let Some(model) = model("27-system-refused-exit-0") else { return };
    let mut conversation = talk(&model);
    conversation.check_system().expect("none");
    conversation.begin(Some("Be brief".into()));
    let error = conversation.check_system().expect_err("refused");
    assert!(error.to_string().contains("roles have to take turns"), "{error}");
}

#[test]
fn a_model_without_template_is_given_one() {
    let Some(model) = model("35-no-template") else { return };
    assert!(Conversation::new(&model).is_err());
    let source = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}";
    let mut conversation = Conversation::with_template(&model, source, Vec::new()).expect("a conversation");
    conversation.say("hi");
    assert_eq!(text(&model, &conversation.tokens().expect("a prompt")), "user: hi\n");
}

#[test]
fn templates_have_what_transformers_gives_them() {
    // Without tools there is None, not nothing; and contents are as they were said.
    for (case, said, n_tokens) in [("23-tools-is-none", "hi", 3), ("25-template-looks-at-a-content", "Hello There", 10)]
    {
        let Some(model) = model(case) else { return };
        let mut conversation = talk(&model);
        conversation.say(said);
        let tokens = conversation.tokens().expect("a prompt");
        assert_eq!(tokens.len(), n_tokens, "{case}: {:?}", text(&model, &tokens));
    }
}

#[test]
fn templates_know_the_date() {
    let Some(model) = model("26-strftime_now") else { return };
    let mut conversation = talk(&model);
    conversation.say("hi");
    let read = text(&model, &conversation.tokens().expect("a prompt"));
    let year = Moment::now().format("%Y").expect("a year");
    assert!(read.contains(&year), "{read:?} of {year}");
}

#[test]
fn files_of_other_names_and_formats_are_read() {
    for case in ["10-gguf-pre-deepseek-r1-qwen", "12-gguf-iq4_nl"] {
        let Some(model) = model(case) else { return };
        let tokenizer = model.tokenizer().expect("a tokenizer");
        let mut tokens = Vec::new();
        tokenizer.encode("hello", Specials::AsText, &mut tokens);
        assert_eq!(text(&model, &tokens), "hello", "{case}");
    }
}

/// Every file of a hub's cache is a link to its blobs; the case has the paths of the links as texts.
#[test]
#[cfg(unix)]
fn the_cache_of_a_hub_is_read() {
    let Some(case) = shared("cases/14-hub-cache-shards/models--x--y") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let (blobs, snapshot) = (folder.path().join("blobs"), folder.path().join("snapshots/abc"));
    std::fs::create_dir_all(&snapshot).expect("a folder");
    std::fs::create_dir(&blobs).expect("a folder");
    for entry in std::fs::read_dir(case.join("blobs")).expect("the blobs") {
        let path = entry.expect("an entry").path();
        std::fs::copy(&path, blobs.join(path.file_name().expect("a name"))).expect("copied");
    }
    for entry in std::fs::read_dir(case.join("snapshots/abc")).expect("the snapshot") {
        let path = entry.expect("an entry").path();
        let target =
            std::fs::read_link(&path).unwrap_or_else(|_| std::fs::read_to_string(&path).expect("a path").trim().into());
        std::os::unix::fs::symlink(target, snapshot.join(path.file_name().expect("a name"))).expect("a link");
    }
    assert!(Converted::new(&snapshot, Dtype::Int8).model().tokenizer().is_some());
}

#[test]
fn a_guess_is_told() {
    let Some(file) = shared("cases/13-gguf-without-pre/model.gguf") else { return };
    let source = Checkpoint::open(&file, &OpenOptions::default()).expect("a checkpoint");
    assert!(source.notes.iter().any(|note| note.contains("tokenizer.ggml.pre")), "{:?}", source.notes);
}

/// A link that leads out of a checkpoint's directory could have any file put into what is made of it.
#[test]
#[cfg(unix)]
fn no_link_leads_out_of_a_directory() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().expect("a folder");
    let (dir, outside) = (folder.path().join("model"), folder.path().join("secret"));
    std::fs::create_dir(&dir).expect("a folder");
    std::fs::write(&outside, "{{ 'secret' }}").expect("written");
    let fixture = support::root().join("tests/fixtures/llama");
    for entry in std::fs::read_dir(&fixture).expect("the fixture") {
        let path = entry.expect("an entry").path();
        std::fs::copy(&path, dir.join(path.file_name().expect("a name"))).expect("copied");
    }
    let open = || Checkpoint::open(&dir, &OpenOptions::default());
    symlink(&outside, dir.join("LICENSE")).expect("a link");
    let source = open().expect("a checkpoint without licence");
    assert!(source.licence.is_none() && source.notes.iter().any(|note| note.contains("LICENSE is left out")));
    std::fs::rename(dir.join("config.json"), dir.join("settings")).expect("renamed");
    symlink("settings", dir.join("config.json")).expect("a link");
    open().expect("links within the directory are followed");
    for name in ["chat_template.jinja", "tokenizer_config.json", "generation_config.json"] {
        let _ = std::fs::remove_file(dir.join(name));
        symlink("../secret", dir.join(name)).expect("a link");
        let error = open().expect_err(name).to_string();
        assert!(error.contains(name) && error.contains("a link out of the directory"), "{error}");
        std::fs::remove_file(dir.join(name)).expect("removed");
    }
}

/// The ids of `text` in the model of a case, without BOS.
fn tokens(case: &str, text: &str) -> Option<Vec<u32>> {
    let model = model(case)?;
    let mut ids = Vec::new();
    model.tokenizer().expect("a tokenizer").encode(text, Specials::AsText, &mut ids);
    Some(ids)
}

#[test]
fn a_space_is_put_in_front_only_where_there_is_none() {
    let case = "05-metaspace-leading-space";
    let Some(ids) = tokens(case, " hello world") else { return };
    assert_eq!(ids, [271, 277]);
    assert_eq!(tokens(case, "  hello"), Some(vec![259, 271]));
    assert_eq!(tokens(case, "hello world"), Some(vec![271, 277]));
}

#[test]
fn what_no_merge_makes_stays_apart() {
    let Some(ids) = tokens("07-merge-not-in-the-list", "abc") else { return };
    assert_eq!(ids, [260, 263]);
}

#[test]
fn bytes_that_are_added_tokens_spell_what_has_no_piece() {
    let Some(ids) = tokens("08-byte-pieces-as-added-tokens", "hello 42") else { return };
    assert_eq!(ids, [281, 259, 55, 53]);
}

#[test]
fn vocab_json_and_merges_txt_are_a_tokenizer() {
    let Some(ids) = tokens("19-vocab-and-merges", "hello world") else { return };
    assert_eq!(text(&model("19-vocab-and-merges").expect("a model"), &ids), "hello world");
    assert_eq!(ids.len(), 2);
}

#[test]
fn a_tokenizer_that_is_not_read_is_refused_with_what_to_do() {
    let Some(folder) = shared("cases/20-tokenizer-model-only/model") else { return };
    let error = Checkpoint::open(&folder, &OpenOptions::default()).expect_err("refused").to_string();
    assert!(error.contains("tokenizer.model") && error.contains("writes a tokenizer.json"), "{error}");
}

/// word2vec's binary form, with and without the end of a line after each word.
#[test]
fn binary_word_vectors_are_read() {
    for file in ["w2v.bin", "w2v-nonl.bin"] {
        let Some(path) = shared(&format!("cases/29-word2vec-binary/{file}")) else { return };
        let vectors = WordVectors::open(&path).expect("a file").expect("word vectors");
        assert_eq!((vectors.len(), vectors.notes.len()), (5, 0), "{file}");
        let mut out = vec![0.0; 5 * vectors.dim];
        vectors.read(0, &mut out).expect("numbers");
        assert!(out.iter().all(|x| x.is_finite() && x.abs() < 100.0), "{file}: {out:?}");
    }
}
