//! Guesses ahead change no byte: whichever tokens are guessed, right or wrong, the text is the one that is written without.

mod random;
mod support;

use random::Random;
use std::sync::Arc;
use support::{Folder, TinyModel};
use whit::generate::guess::{Corpus, Draft, Guesses, LOGIT_ROWS, Source, Tally};
use whit::generate::{OnFull, StopReason, StopRules, Writer};
use whit::kernels;
use whit::model::{Config, DeltaNet, Mamba1, Mamba2, Mixer, ScanNorm, Session, SessionOptions, ShortConv};
use whit::ops::KvDtype;
use whit::sampler::{Dry, Mirostat, Sampler, SamplerOptions};
use whit::{Compute, Model, TokenId};

const CONTEXT: usize = 128;
const VOCAB: usize = 259;

/// A window, and a short convolution.
fn windowed(config: &mut Config) {
    config.layers[0].attention_mut().expect("attention").window = Some(9);
    config.layers[2].mixer = Mixer::ShortConv(ShortConv { channels: 40, width: 4, bias: true });
}

/// Two states that go back to marks alone, and a window.
fn recurrent(config: &mut Config) {
    let delta = DeltaNet { n_key_heads: 2, n_heads: 4, key_dim: 8, value_dim: 12, width: 4 };
    config.layers[0].mixer = Mixer::DeltaNet(delta);
    config.layers[1].attention_mut().expect("attention").window = Some(11);
    let channels = Mamba1 { channels: 40, state_dim: 5, step_rank: 3, width: 4, conv_bias: true };
    config.layers[2].mixer = Mixer::Mamba1(channels);
}

/// A state beside an attention.
fn hybrid(config: &mut Config) {
    config.layers[1].beside = Some(Mixer::Mamba2(Mamba2 {
        n_heads: 4,
        head_dim: 10,
        state_dim: 8,
        n_groups: 2,
        width: 3,
        conv_bias: true,
        step_limits: None,
        norm: Some(ScanNorm { n_groups: 2, before_gate: true }),
    }));
}

/// What is changed in a plan.
type Change = fn(&mut Config);

fn models(folder: &Folder) -> Vec<Arc<Model>> {
    let kinds: [(&str, Change); 4] =
        [("plain", |_| ()), ("windowed", windowed), ("recurrent", recurrent), ("hybrid", hybrid)];
    let open = |(name, change): (&str, Change)| {
        let mut tiny = TinyModel { change, ..TinyModel::llama() };
        (tiny.config.context_length, tiny.config.n_layers) = (CONTEXT, 3);
        tiny.open(&folder.path(name))
    };
    kinds.into_iter().map(open).collect()
}

/// How a text is written.
#[derive(Clone)]
struct Case {
    kv: KvDtype,
    context_length: usize,
    prompt: Vec<TokenId>,
    options: SamplerOptions,
    rules: StopRules,
    /// Tokens of a pass.
    batch: usize,
}

impl Case {
    fn draw(random: &mut Random) -> Case {
        let context_length = [CONTEXT, 90, 41][random.below(3)];
        let n_prompt = 1 + random.below(38);
        // Few kinds of tokens, so that parts of the prompt come again.
        let prompt = (0..n_prompt).map(|_| 97 + random.below(4) as TokenId).collect();
        let plain = SamplerOptions { seed: random.bits(), ..SamplerOptions::default() };
        let options = match random.below(7) {
            0 | 1 => SamplerOptions { temperature: 0.0, ..plain },
            2 => SamplerOptions { temperature: 0.3, top_k: 5, ..plain },
            3 => SamplerOptions { temperature: 0.4, repeat_penalty: 1.2, frequency_penalty: 0.1, min_p: 0.05, ..plain },
            4 => SamplerOptions { temperature: 0.0, dry: Dry { multiplier: 0.8, ..Dry::default() }, ..plain },
            5 => SamplerOptions { mirostat: Some(Mirostat::default()), ..plain },
            _ => SamplerOptions { temperature: 0.2, logit_bias: vec![(97, 2.0), (98, 2.0)], ..plain },
        };
        let mut rules = StopRules { n_tokens: Some(20 + random.below(100)), ..StopRules::default() };
        match random.below(6) {
            0 => rules.banned = vec!["ab".into(), "c".into(), "the".into()],
            1 => rules.stops = vec!["aaaa".into(), "zq".into()],
            2 => rules.end_tokens = vec![random.below(VOCAB) as TokenId],
            3 => rules.on_full = OnFull::Shift { keep: random.below(9) },
            _ => {}
        }
        Case { kv: KvDtype::ALL[random.below(4)], context_length, prompt, options, rules, batch: 16 + random.below(40) }
    }

    fn session(&self, model: &Arc<Model>, compute: &Arc<Compute>) -> Session {
        let Case { kv, context_length, batch, .. } = *self;
        let options = SessionOptions { context_length, kv, batch, logit_rows: LOGIT_ROWS, hold_all: false };
        Session::new(model, compute, options).expect("a session")
    }

    fn writer(&self, model: &Arc<Model>) -> Writer {
        let sampler = Sampler::new(self.options.clone(), VOCAB).expect("options");
        Writer::new(model, &self.prompt, self.context_length, sampler, self.rules.clone()).expect("a prompt")
    }
}

/// What a text is: its pieces, its tokens, why it ended.
type Written = (Vec<(Option<TokenId>, String)>, Vec<TokenId>, Option<StopReason>);

fn written(mut writer: Writer, session: &mut Session, mut guesses: Option<&mut Guesses>) -> Written {
    if let Some(guesses) = &mut guesses {
        guesses.begin(writer.tokens(), &mut || true).expect("a prompt");
    }
    writer.prefill(session, 16, &mut |_| true, &mut ()).expect("room");
    let mut pieces = Vec::new();
    loop {
        let piece = match &mut guesses {
            Some(guesses) => guesses.next_piece(&mut writer, session, &mut ()),
            None => writer.next_piece(session, &mut ()),
        };
        let Some(piece) = piece.expect("a token") else { break };
        pieces.push((piece.token, piece.text.to_string()));
    }
    if let Some(guesses) = guesses {
        guesses.end(&writer, session);
        assert!(writer.tokens().starts_with(session.state().tokens()), "nothing but the text is held");
    }
    (pieces, writer.tokens().to_vec(), writer.stop_reason())
}

fn compute() -> Arc<Compute> {
    Arc::new(Compute::new(kernels::detect(), 1).expect("a thread"))
}

/// Guesses of some kind for texts of `model`, of `other` at times.
fn guesses(
    model: &Arc<Model>,
    other: &Arc<Model>,
    case: &Case,
    compute: &Arc<Compute>,
    random: &mut Random,
) -> Guesses {
    let draft = |of: &Arc<Model>| {
        let session = SessionOptions { context_length: CONTEXT, ..SessionOptions::default() };
        let session = Session::new(of, compute, session).expect("a session");
        Source::Draft(Box::new(Draft::new(session, model).expect("the same tokens")))
    };
    let source = match random.below(5) {
        0 | 1 => Source::Ngram(None),
        2 => Source::Ngram(Some(Corpus::new(&[&case.prompt[..], &[97, 98, 97, 99, 258]].concat()))),
        3 => draft(model),
        _ => draft(other),
    };
    let guesses = Guesses::new(source);
    // By the pace, too, though that guesses at its own times.
    if random.below(4) == 0 { guesses } else { guesses.of_length(1 + random.below(LOGIT_ROWS)) }
}

#[test]
fn a_text_is_what_it_is_without_guesses() {
    let folder = Folder::new("guessing");
    let (models, compute) = (models(&folder), compute());
    let other = TinyModel { seed: 2, ..TinyModel::llama() }.open(&folder.path("other"));
    let mut random = Random::new(11);
    let mut sum = Tally::default();
    for i in 0..160 {
        let model = &models[i % models.len()];
        let mut case = Case::draw(&mut random);
        let mut guesses = guesses(model, &other, &case, &compute, &mut random);
        let mut session = case.session(model, &compute);
        // A second text goes on behind the first in the same session, as in a conversation.
        for _ in 0..2 {
            let plain = written(case.writer(model), &mut case.session(model, &compute), None);
            let got = written(case.writer(model), &mut session, Some(&mut guesses));
            assert_eq!(got, plain, "case {i}");
            let Tally { n_guessed, n_right, n_passes } = guesses.tally();
            assert!(n_right <= n_guessed && n_passes <= got.0.len() + 40);
            sum.n_guessed += n_guessed;
            sum.n_right += n_right;
            case.prompt.extend(got.1[case.prompt.len().min(got.1.len())..].iter().take(20));
            case.prompt.push(97);
            case.prompt.truncate(case.context_length - 2);
        }
    }
    // Both happened often: guesses that were right, and ones that were wrong.
    assert!(sum.n_right > 1000 && sum.n_guessed - sum.n_right > 1000, "{sum:?}");
}

#[test]
fn a_draft_that_knows_all_is_always_right_and_needs_few_passes() {
    let folder = Folder::new("guessing-draft");
    let compute = compute();
    let mut random = Random::new(5);
    for model in models(&folder) {
        let mut case = Case::draw(&mut random);
        case.rules = StopRules { n_tokens: Some(61), ..StopRules::default() };
        case.kv = KvDtype::F16;
        case.context_length = CONTEXT;
        let session = SessionOptions { context_length: CONTEXT, ..SessionOptions::default() };
        let session = Session::new(&model, &compute, session).expect("a session");
        let draft = Draft::new(session, &model).expect("the same tokens");
        let mut guesses = Guesses::new(Source::Draft(Box::new(draft))).of_length(5);
        written(case.writer(&model), &mut case.session(&model, &compute), Some(&mut guesses));
        // The first token comes with the prompt, then six with each pass.
        assert_eq!(guesses.tally(), Tally { n_guessed: 50, n_right: 50, n_passes: 10 });
    }
}

#[cfg(feature = "constraints")]
#[test]
fn a_constrained_text_is_what_it_is_without_guesses() {
    use whit::generate::grammar::{Grammars, Rule};
    let folder = Folder::new("guessing-constrained");
    let (models, compute) = (models(&folder), compute());
    let other = TinyModel { seed: 2, ..TinyModel::llama() }.open(&folder.path("other"));
    let mut random = Random::new(12);
    let rules = [
        Rule::Regex("(the|he|a)( (the|he|ab)){4,12}".into()),
        Rule::Regex("[a-f]{30,60}".into()),
        Rule::Schema(
            r#"{"type":"array","items":{"type":"object","properties":{"name":{"enum":["he","she"]},
            "n":{"type":"integer","minimum":1,"maximum":9}},"required":["name","n"],"additionalProperties":false},
            "minItems":2,"maxItems":4}"#
                .into(),
        ),
    ];
    let mut n_right = 0;
    for i in 0..36 {
        let model = &models[i % models.len()];
        let grammar = Grammars::new(model).expect("a tokenizer").compile(&rules[i % rules.len()]).expect("a rule");
        let mut case = Case::draw(&mut random);
        case.rules.banned.clear();
        let writer = || {
            let mut writer = case.writer(model);
            writer.keep_to(grammar.begin().expect("a constraint")).expect("nothing is banned");
            writer
        };
        let mut guesses = guesses(model, &other, &case, &compute, &mut random);
        let plain = written(writer(), &mut case.session(model, &compute), None);
        let got = written(writer(), &mut case.session(model, &compute), Some(&mut guesses));
        assert_eq!(got, plain, "case {i}");
        n_right += guesses.tally().n_right;
    }
    assert!(n_right > 100, "{n_right}");
}

#[test]
fn a_session_with_one_row_of_logits_guesses_nothing() {
    let folder = Folder::new("guessing-rows");
    let (model, compute) = (TinyModel::llama().open(&folder.path("m")), compute());
    let case = Case { context_length: 64, ..Case::draw(&mut Random::new(1)) };
    let options = SessionOptions { context_length: 64, ..SessionOptions::default() };
    let mut session = Session::new(&model, &compute, options).expect("a session");
    let mut guesses = Guesses::new(Source::Ngram(None)).of_length(4);
    written(case.writer(&model), &mut session, Some(&mut guesses));
    assert_eq!(guesses.tally().n_guessed, 0);
    let error = session.extend_ahead(&[97; 2], 2).expect_err("one row").to_string();
    assert!(error.contains("logits after the last 2 of 2 tokens, at most 1 at once"), "{error}");
}

#[test]
fn logits_are_at_hand_until_something_is_computed() {
    let folder = Folder::new("guessing-ahead");
    let (model, compute) = (TinyModel::llama().open(&folder.path("m")), compute());
    let options = SessionOptions { context_length: 64, batch: 8, logit_rows: 4, ..SessionOptions::default() };
    let session = || Session::new(&model, &compute, options).expect("a session");
    let text: Vec<TokenId> = (0..21).map(|i| 97 + i * i % 7).collect();
    let expected: Vec<Vec<f32>> = {
        let mut each = Vec::new();
        session().extend_each(&text, &mut |_, logits| each.push(logits.to_vec())).expect("room");
        each
    };
    let mut ahead = session();
    ahead.extend_ahead(&text, 4).expect("room");
    for n in 0..=text.len() {
        let logits = ahead.logits_after(&text[..n]);
        assert_eq!(logits, (n > 17).then(|| &expected[n - 1][..]), "after {n}");
    }
    let mut another = text.clone();
    another[3] += 1;
    assert_eq!(ahead.logits_after(&another), None, "of another text");
    ahead.rewind(19);
    assert!(ahead.logits_after(&text[..19]).is_some() && ahead.logits_after(&text[..20]).is_none());
    ahead.extend(&[97]).expect("room");
    assert_eq!(ahead.logits_after(&text[..19]), None, "other logits stand there");
    ahead.extend_ahead(&[98, 99], 2).expect("room");
    ahead.state_mut();
    assert_eq!(ahead.logits_after(&[&text[..19], &[97, 98, 99]].concat()), None, "somebody may have changed the text");
}
