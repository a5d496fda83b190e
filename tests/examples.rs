//! What the programs in `examples` do: what a library user holds can be owned, sent and shared, and gives the same bits wherever
//! it is computed.

mod support;

use std::thread;
use whit::generate::{Text, Together, WriteOptions, Writer, advance};
use whit::model::{Span, State, StateOptions, Wants, Watch, Workspace};
use whit::{Engine, Model, Session, TokenId};

const STORIES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/stories.whit");
const PROMPTS: [&str; 3] = ["Once upon a time", "", "The little dog was very happy. It"];
/// Tokens of a text, and how many of them a thread computes before the next one takes over.
const LENGTH: usize = 70;
const STEP: usize = 16;

const fn is_sent<T: Send>() {}
const fn is_shared<T: Send + Sync>() {}

const _: () = {
    is_shared::<Engine>();
    is_shared::<Model>();
    is_sent::<State>();
    is_sent::<Workspace>();
    is_sent::<Writer>();
    is_sent::<Together>();
    is_sent::<Text>();
    is_sent::<Session>();
};
#[cfg(feature = "chat")]
const _: () = is_sent::<whit::chat::Conversation>();

fn engine() -> Engine {
    Engine::open(STORIES).expect("the story model")
}

/// A text, the bits of the logits after each of its tokens so far, and what computes them.
struct Computed {
    tokens: Vec<TokenId>,
    state: State,
    workspace: Workspace,
    bits: Vec<u32>,
}

impl Computed {
    fn new(engine: &Engine, seed: usize) -> Self {
        let model = engine.model();
        let n = model.config().vocab_size;
        let tokens = (0..LENGTH).map(|i| ((seed * 97 + i * i * 31 + i * 7) % n) as TokenId).collect();
        let options = StateOptions { context_length: LENGTH, kv: Default::default(), slack: STEP };
        let workspace = Workspace::new(model, STEP, STEP).expect("a workspace");
        Computed { tokens, state: model.state(options).expect("a state"), workspace, bits: Vec::new() }
    }

    /// The text with the next part of it computed.
    fn step(mut self, engine: &Engine) -> Self {
        let at = self.state.position();
        let tokens = &self.tokens[at..LENGTH.min(at + STEP)];
        let mut spans = [Span { state: &mut self.state, tokens, wants: Wants::Each }];
        let (model, compute) = (engine.model(), engine.compute());
        let n_rows = self.workspace.pass(model, compute, &mut spans, Watch::default()).expect("room");
        let logits = self.workspace.logits(model, compute, 0..n_rows, Watch::default());
        self.bits.extend(logits.iter().map(|logit| logit.to_bits()));
        self
    }
}

#[test]
fn an_engine_and_ten_states_go_through_threads_and_keep_their_bits() {
    let engine = engine();
    let n_steps = LENGTH.div_ceil(STEP);
    let start = || (0..10).map(|seed| Computed::new(&engine, seed));
    let here: Vec<Computed> = start().map(|text| (0..n_steps).fold(text, |text, _| text.step(&engine))).collect();

    let mut texts: Vec<Computed> = start().collect();
    for _ in 0..n_steps {
        let spawned = texts.into_iter().map(|text| {
            let engine = engine.clone();
            thread::spawn(move || text.step(&engine))
        });
        // All ten run before one is waited for.
        let threads: Vec<_> = spawned.collect();
        texts = threads.into_iter().map(|thread| thread.join().expect("no panic")).collect();
    }
    for (there, here) in texts.iter().zip(&here) {
        assert_eq!(there.bits.len(), LENGTH * engine.model().config().vocab_size);
        assert!(there.bits == here.bits, "other bits in threads");
    }
}

fn options() -> WriteOptions {
    WriteOptions { n_tokens: Some(25), ..Default::default() }
}

fn write(mut text: Text) -> String {
    let mut written = String::new();
    while let Some(piece) = text.next_piece().expect("room") {
        written.push_str(piece.text);
    }
    written
}

#[test]
fn texts_are_the_same_alone_in_threads_and_together() {
    let engine = engine();
    let begin = |prompt: &&str| engine.write(prompt, options()).expect("a text");
    let alone: Vec<String> = PROMPTS.iter().map(begin).map(write).collect();
    assert!(alone.iter().all(|text| text.len() > 25), "{alone:?}");

    let threads: Vec<_> = PROMPTS.iter().map(begin).map(|text| thread::spawn(move || write(text))).collect();
    let sent: Vec<String> = threads.into_iter().map(|thread| thread.join().expect("no panic")).collect();
    assert_eq!(sent, alone);

    let mut workspace = Workspace::new(engine.model(), 64, PROMPTS.len()).expect("a workspace");
    let begin = |prompt: &&str| engine.write_together(&workspace, &engine.tokens(prompt)?, options());
    let mut texts: Vec<Together> = PROMPTS.iter().map(begin).collect::<whit::Result<_>>().expect("texts");
    let mut together = vec![String::new(); texts.len()];
    while advance(engine.model(), engine.compute(), &mut workspace, &mut texts).expect("room") > 0 {
        for (text, written) in texts.iter_mut().zip(&mut together) {
            while let Some(piece) = text.writer.piece() {
                written.push_str(piece.text);
            }
        }
    }
    assert_eq!(together, alone);
}

#[test]
fn a_distribution_is_that_of_the_token_that_is_taken() {
    let engine = engine();
    let tokens = engine.tokens("Once upon a time there was a").expect("tokens");
    let mut session = engine.session(&WriteOptions::default()).expect("a session");
    let logits = session.extend(&tokens).expect("room");
    let distribution = whit::inspect::Distribution::of_logits(logits, 1.0, 10);
    let sum = distribution.top.iter().map(|token| token.probability).sum::<f64>() + distribution.tail;
    assert!(distribution.top.len() == 10 && (sum - 1.0).abs() < 1e-9, "{sum}");

    let greedy = whit::sampler::SamplerOptions { temperature: 0.0, ..Default::default() };
    let options = WriteOptions { sampling: Some(greedy), ..Default::default() };
    let mut text = engine.write_in(session, &tokens, options).expect("a text");
    let first = text.next_piece().expect("room").and_then(|piece| piece.token);
    assert_eq!(first, Some(distribution.top[0].id));
}

#[cfg(feature = "chat")]
#[test]
fn a_session_that_holds_a_conversation_gives_the_replies_of_a_new_one() {
    use support::{Folder, TinyModel};
    use whit::chat::{Conversation, Speaker};
    const TEMPLATE: &str = "{% for m in messages %}{{ m.role }}: {{ m.content }}<|end|>\n{% endfor %}assistant: ";
    let folder = Folder::new("examples-chat");
    let mut tiny = TinyModel::llama();
    (tiny.config.context_length, tiny.template) = (512, Some(TEMPLATE));
    tiny.write(&folder.path("m.whit"));
    let engine = Engine::open(folder.path("m.whit")).expect("a model");

    let mut conversation = Conversation::new(engine.model()).expect("a template");
    conversation.begin(Some("be brief".into()));
    let mut session = engine.session(&options()).expect("a session");
    for said in ["one", "two", "three"] {
        conversation.say(said);
        let tokens = conversation.tokens().expect("tokens");
        let anew = write(engine.write_tokens(&tokens, options()).expect("a text"));
        let n_held = session.position();
        let mut text = engine.write_in(session, &tokens, options()).expect("a text");
        let mut reply = String::new();
        while let Some(piece) = text.next_piece().expect("room") {
            reply.push_str(piece.text);
        }
        assert_eq!(reply, anew);
        conversation.reply(reply, text.writer().written());
        session = text.into_session();
        assert!(session.state().tokens()[..n_held] == tokens[..n_held], "what is held no longer begins the text");
    }
    assert_eq!((conversation.n_replies(), conversation.turns().len()), (3, 7));
    assert!(conversation.undo_reply() && conversation.turns().last().is_some_and(|turn| turn.role == Speaker::User));
    assert!(conversation.undo() && conversation.turns().len() == 5);
    assert!(conversation.forget_first() && conversation.turns().len() == 3 && !conversation.forget_first());
    assert_eq!(conversation.turns()[0].role, Speaker::System);
    assert!(!conversation.system_tokens().expect("a tokenizer").is_empty());
    conversation.reset();
    assert!(conversation.turns().len() == 1 && !conversation.undo() && !conversation.undo_reply());
}

#[test]
fn an_embedder_needs_at_most_12_lines_and_no_lifetime() {
    let generate = include_str!("../examples/generate.rs");
    let (_, main) = generate.split_once("fn main()").expect("a main function");
    let lines: Vec<&str> = main.lines().skip(1).take_while(|line| *line != "}").collect();
    assert!((5..=12).contains(&lines.len()), "{} lines: {lines:#?}", lines.len());
    let programs = [
        generate,
        include_str!("../examples/chat.rs"),
        include_str!("../examples/distribution.rs"),
        include_str!("../examples/embed.rs"),
        include_str!("../examples/together.rs"),
    ];
    for program in programs {
        let asked = ["leak", "&'", "<'", "unsafe"].iter().find(|word| program.contains(**word));
        assert_eq!(asked, None, "{program}");
    }
}
