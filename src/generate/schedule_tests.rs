use super::*;
use crate::generate::{Entry, StopRules};
use crate::kernels;
use crate::model::saved::{Saved, seal};
use crate::ops::KV_BLOCK;
use crate::sampler::{Sampler, SamplerOptions};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

/// What became of each text, by its name.
type Results = Arc<Mutex<BTreeMap<usize, Told>>>;

fn of(results: &Results) -> MutexGuard<'_, BTreeMap<usize, Told>> {
    results.lock().expect("no panic")
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Told {
    n_held: usize,
    text: String,
    /// Passes after which it had a piece.
    passes: Vec<usize>,
    end: Option<Result<Ended>>,
}

struct Wanted {
    name: usize,
    results: Results,
    pass: Arc<AtomicUsize>,
    /// Pieces after which nobody wants it.
    leaves_after: usize,
}

impl Watcher for Wanted {}

impl Wanted {
    fn told(&self, tell: impl FnOnce(&mut Told)) {
        tell(of(&self.results).entry(self.name).or_default());
    }
}

impl Job for Wanted {
    fn is_wanted(&self) -> bool {
        of(&self.results).get(&self.name).is_none_or(|told| told.passes.len() < self.leaves_after)
    }

    fn begun(&mut self, n_held: usize) {
        self.told(|told| told.n_held = n_held);
    }

    fn piece(&mut self, piece: Piece<'_>) {
        let pass = self.pass.load(Ordering::Relaxed);
        self.told(|told| {
            told.text.push_str(piece.text);
            told.passes.push(pass);
        });
    }

    fn ended(&mut self, end: Result<Ended>) {
        self.told(|told| assert!(told.end.replace(end).is_none(), "once"));
    }
}

struct House {
    model: Arc<Model>,
    scheduler: Scheduler<Wanted>,
    results: Results,
    pass: Arc<AtomicUsize>,
}

impl House {
    fn new(n_texts: usize, slice: usize) -> Option<House> {
        let model = Arc::new(Model::open(crate::default_model()?).expect("the story model"));
        let compute = Arc::new(Compute::new(kernels::detect(), 1).expect("a thread"));
        let options = ScheduleOptions { n_texts, context_length: 128, kv: KvDtype::F16, slice };
        let scheduler = Scheduler::new(&model, &compute, options).expect("memory");
        Some(House { model, scheduler, results: Results::default(), pass: Arc::default() })
    }

    fn begin(&mut self, name: usize, prompt: &[TokenId], n_tokens: usize, leaves_after: usize) {
        let options = SamplerOptions { seed: name as u64, top_k: 20, ..SamplerOptions::default() };
        self.begin_with(name, prompt, n_tokens, leaves_after, options);
    }

    fn writer(&self, prompt: &[TokenId], n_tokens: usize, options: SamplerOptions) -> Writer {
        let sampler = Sampler::new(options, self.model.config().vocab_size).expect("options");
        let rules = StopRules { n_tokens: Some(n_tokens), ..StopRules::default() };
        Writer::new(&self.model, prompt, 128, sampler, rules).expect("a prompt")
    }

    fn begin_with(&mut self, name: usize, prompt: &[TokenId], n: usize, leaves_after: usize, options: SamplerOptions) {
        let writer = self.writer(prompt, n, options);
        let (results, pass) = (Arc::clone(&self.results), Arc::clone(&self.pass));
        self.scheduler.begin(writer, Wanted { name, results, pass, leaves_after });
    }

    fn step(&mut self) -> Passed {
        self.pass.fetch_add(1, Ordering::Relaxed);
        self.scheduler.step().expect("a pass")
    }

    fn finish(&mut self) {
        while !self.scheduler.is_idle() {
            self.step();
        }
    }

    fn told(&self, name: usize) -> Told {
        of(&self.results).get(&name).cloned().unwrap_or_default()
    }
}

fn prompt(i: usize) -> Vec<TokenId> {
    (0..1 + i * 17 % 60).map(|k| ((k * 37 + i / 3 * 5) % 900) as TokenId).collect()
}

#[test]
fn a_text_is_what_it_is_alone_whoever_comes_and_goes() {
    let Some(mut alone) = House::new(1, 64) else { return };
    let n_tokens = |i: usize| i * 5 % 23;
    for i in 0..40 {
        alone.begin(i, &prompt(i), n_tokens(i), usize::MAX);
        alone.finish();
    }
    for (n_texts, slice) in [(2, 7), (5, 1), (9, 64)] {
        let mut house = House::new(n_texts, slice).expect("as before");
        let mut waiting = (0..40).collect::<Vec<_>>();
        let mut turn = 0;
        while !waiting.is_empty() || !house.scheduler.is_idle() {
            turn += 1;
            // Some begin in each second pass, some leave early.
            while house.scheduler.has_room() && !waiting.is_empty() && turn % 2 == 0 {
                let i = waiting.remove(turn % waiting.len());
                house.begin(i, &prompt(i), n_tokens(i), if i % 7 == 3 { 2 } else { usize::MAX });
            }
            house.step();
        }
        assert_eq!(house.scheduler.free.len(), n_texts);
        for i in 0..40 {
            let (told, expected) = (house.told(i), alone.told(i));
            if i % 7 != 3 || told.end.is_some() {
                assert_eq!((told.text, told.end), (expected.text, expected.end), "{i} of {n_texts}, {slice}");
            } else {
                assert!(expected.text.starts_with(&told.text), "{i}");
            }
        }
    }
}

#[test]
fn a_long_prompt_lets_others_go_on_and_short_ones_pass() {
    let Some(mut house) = House::new(3, 4) else { return };
    house.begin(0, &prompt(1), 40, usize::MAX);
    house.step();
    let long: Vec<TokenId> = (0..120).map(|k| (k * 11 % 900) as TokenId).collect();
    house.begin(1, &long, 2, usize::MAX);
    house.step();
    house.begin(2, &prompt(0), 3, usize::MAX);
    house.finish();
    let passes = house.told(0).passes;
    assert!(passes.windows(2).all(|pair| pair[1] - pair[0] <= 1), "a token each pass: {passes:?}");
    assert!(house.told(2).passes[0] < house.told(1).passes[0]);
}

#[test]
fn a_text_goes_on_from_the_state_that_holds_it() {
    let Some(mut house) = House::new(2, 64) else { return };
    let long: Vec<TokenId> = (0..60).map(|k| (k * 7 % 900) as TokenId).collect();
    let other: Vec<TokenId> = (0..50).map(|k| (k * 13 % 900 + 1) as TokenId).collect();
    house.begin(0, &long, 0, usize::MAX);
    house.finish();
    house.begin(1, &other, 0, usize::MAX);
    house.finish();
    assert_eq!((house.scheduler.held(&long), house.scheduler.held(&other)), (60, 50));
    // The whole prompt again: all but its last token. A longer one: all of it.
    house.begin(2, &long, 0, usize::MAX);
    house.finish();
    house.begin(3, &[&other[..], &[5, 6]].concat(), 0, usize::MAX);
    house.finish();
    assert_eq!((house.told(2).n_held, house.told(3).n_held), (59, 50));
    // A beginning that is little of what a state holds is no reason to give it up: the one used longest ago goes.
    house.begin(4, &[&other[..5], &[9; 4]].concat(), 0, usize::MAX);
    house.finish();
    assert_eq!(house.told(4).n_held, 0);
    assert_eq!(house.scheduler.held(&other), 50);
}

#[test]
fn a_text_takes_over_a_beginning_that_another_goes_on_from() {
    let long: Vec<TokenId> = (0..120).map(|k| (k * 7 % 900) as TokenId).collect();
    let branch = [&long[..50], &[9; 3]].concat();
    let Some(mut alone) = House::new(1, 64) else { return };
    alone.begin(1, &branch, 20, usize::MAX);
    alone.finish();
    for is_running in [false, true] {
        let mut house = House::new(2, 64).expect("as before");
        house.begin(0, &long, if is_running { 6 } else { 0 }, usize::MAX);
        while house.told(0).passes.is_empty() && !house.scheduler.is_idle() {
            house.step();
        }
        assert_eq!(house.scheduler.is_idle(), !is_running);
        house.begin(1, &branch, 20, usize::MAX);
        assert_eq!(house.told(1).n_held, 50);
        house.finish();
        assert_eq!(house.told(1).text, alone.told(1).text);
        assert!(house.scheduler.held(&long) >= 119, "it is held still");
    }
}

#[test]
fn a_beginning_that_is_being_computed_is_worth_waiting_for() {
    let Some(mut house) = House::new(3, 10) else { return };
    let long: Vec<TokenId> = (0..100).map(|k| (k * 7 % 900) as TokenId).collect();
    let branch = [&long[..60], &[9; 3]].concat();
    let writer = |house: &House, prompt: &[TokenId]| house.writer(prompt, 3, SamplerOptions::default());
    let (mut like_it, mut unlike) = (writer(&house, &branch), writer(&house, &long[1..]));
    assert!(!house.scheduler.is_under_way(&mut like_it), "nothing is");
    house.begin(0, &long, 3, usize::MAX);
    assert!(!house.scheduler.is_under_way(&mut unlike), "it has nothing of it");
    // 13 tokens a pass; what is less than 32 tokens is computed rather than copied.
    let mut n_passes = 0;
    while house.scheduler.is_under_way(&mut like_it) {
        house.step();
        n_passes += 1;
    }
    assert_eq!(n_passes, 3);
    house.begin(1, &branch, 3, usize::MAX);
    assert_eq!(house.told(1).n_held, 39);
    house.finish();
}

#[test]
fn a_text_that_cannot_go_on_fails_alone() {
    let Some(mut house) = House::new(2, 16) else { return };
    let banned = (0..1024).map(|id| (id, f32::NEG_INFINITY)).collect();
    let impossible = SamplerOptions { logit_bias: banned, ..SamplerOptions::default() };
    house.begin_with(0, &[5], 9, usize::MAX, impossible);
    house.begin(1, &[5], 9, usize::MAX);
    house.begin(2, &[5], 9, usize::MAX);
    assert!(house.told(2).end.is_some_and(|end| end.is_err()), "there is no room");
    house.finish();
    assert!(house.told(0).end.is_some_and(|end| end.is_err()));
    assert!(house.told(1).end.is_some_and(|end| end.is_ok()));
    assert_eq!(house.scheduler.free.len(), 2);
}

#[test]
fn a_text_goes_on_from_the_parts_that_were_kept_of_it() {
    let Some(mut house) = House::new(2, 7) else { return };
    let settings = Settings::new(&house.model, KvDtype::F16);
    let long = |i: usize| -> Vec<TokenId> { (0..70).map(|k| ((k * 37 + k / 40 * i) % 900) as TokenId).collect() };
    let (mut kept, mut used) = (BTreeMap::<Key, Vec<u8>>::new(), Vec::new());
    let mut keep = |house: &mut House, most: usize| {
        for _ in 0..most {
            match house.scheduler.to_keep(&settings, &mut |key| kept.contains_key(key)) {
                Some(ToKeep::Entry(Entry { key, unsealed })) => {
                    let sealed = [&unsealed[..], &seal(&unsealed)].concat();
                    assert!(sealed.len() <= settings.most_block_bytes());
                    assert!(kept.insert(key, sealed).is_none(), "it was known");
                }
                Some(ToKeep::Used(keys)) => used.push(keys),
                None => return,
            }
        }
    };
    // The third has a place of the first two, and begins as they do.
    for i in 0..3 {
        while !house.scheduler.has_room() {
            house.step();
            keep(&mut house, 1);
        }
        // Before another takes the place of one that has ended.
        keep(&mut house, usize::MAX);
        house.begin(i, &long(i), 20 + i, usize::MAX);
    }
    while !house.scheduler.is_idle() {
        house.step();
        keep(&mut house, 1);
    }
    keep(&mut house, usize::MAX);
    assert_eq!(used.len(), 3, "each that ended");
    // 32 tokens in common, then two parts each.
    assert_eq!((kept.len(), used.iter().all(|keys| keys.len() == 3)), (1 + 3 * 2, true));

    let mut other = House::new(1, 64).expect("as before");
    for i in 0..3 {
        let prompt = long(i);
        let sampler = Sampler::new(SamplerOptions::default(), other.model.config().vocab_size).expect("options");
        let mut writer = Writer::new(&other.model, &prompt, 128, sampler, StopRules::default()).expect("a prompt");
        let mut state = other.scheduler.lend(&mut writer).expect("room");
        let mut parent = Key::default();
        for (n, block) in prompt[..64].chunks(KV_BLOCK).enumerate() {
            parent = settings.key(&parent, block);
            let saved = Saved::read(&kept[&parent], &settings).expect("whole");
            if state.tokens().get(..(n + 1) * KV_BLOCK) != Some(&prompt[..(n + 1) * KV_BLOCK]) {
                saved.restore(&mut state).expect("it follows");
            }
        }
        other.scheduler.free.push(Free { state, kept: Kept::default() });
        other.begin(i, &prompt, 20 + i, usize::MAX);
        other.finish();
        assert_eq!(other.told(i).n_held, 64);
        assert_eq!((other.told(i).text, other.told(i).end), (house.told(i).text, house.told(i).end), "{i}");
    }
}

#[test]
fn states_are_given_back_and_come_again_without_changing_a_text() {
    let Some(mut house) = House::new(3, 16) else { return };
    house.begin(0, &prompt(1), 9, usize::MAX);
    house.step();
    // Under way it keeps its state; all others go.
    assert_eq!((house.scheduler.shrink(), house.scheduler.has_room()), (2, false));
    house.begin(1, &prompt(2), 9, usize::MAX);
    assert!(house.told(1).end.is_some_and(|end| end.is_err()), "there is no room");
    house.finish();
    // The last state stays.
    assert_eq!((house.scheduler.shrink(), house.scheduler.has_room()), (0, true));
    assert_eq!([(); 3].map(|()| house.scheduler.grow()), [Ok(true), Ok(true), Ok(false)]);
    assert_eq!(house.scheduler.free.len(), 3);
    house.begin(2, &prompt(2), 9, usize::MAX);
    house.finish();
    let mut alone = House::new(1, 16).expect("as before");
    alone.begin(2, &prompt(2), 9, usize::MAX);
    alone.finish();
    assert_eq!(house.told(2).text, alone.told(2).text);
}
