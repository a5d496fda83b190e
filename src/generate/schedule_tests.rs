use super::*;
use crate::generate::StopRules;
use crate::kernels;
use crate::sampler::{Sampler, SamplerOptions};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// What became of each text, by its name.
type Results = Rc<RefCell<BTreeMap<usize, Told>>>;

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
    pass: Rc<RefCell<usize>>,
    /// Pieces after which nobody wants it.
    leaves_after: usize,
}

impl Watcher for Wanted {}

impl Wanted {
    fn told(&self, tell: impl FnOnce(&mut Told)) {
        tell(self.results.borrow_mut().entry(self.name).or_default());
    }
}

impl Job for Wanted {
    fn is_wanted(&self) -> bool {
        self.results.borrow().get(&self.name).is_none_or(|told| told.passes.len() < self.leaves_after)
    }

    fn begun(&mut self, n_held: usize) {
        self.told(|told| told.n_held = n_held);
    }

    fn piece(&mut self, piece: Piece<'_>) {
        let pass = *self.pass.borrow();
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
    pass: Rc<RefCell<usize>>,
}

impl House {
    fn new(n_texts: usize, slice: usize) -> Option<House> {
        let model = Arc::new(Model::open(crate::default_model()?).expect("the story model"));
        let compute = Arc::new(Compute::new(kernels::detect(), 1).expect("a thread"));
        let options = ScheduleOptions { n_texts, context_length: 128, kv: KvDtype::F16, slice };
        let scheduler = Scheduler::new(&model, &compute, options).expect("memory");
        Some(House { model, scheduler, results: Results::default(), pass: Rc::default() })
    }

    fn begin(&mut self, name: usize, prompt: &[TokenId], n_tokens: usize, leaves_after: usize) {
        let options = SamplerOptions { seed: name as u64, top_k: 20, ..SamplerOptions::default() };
        self.begin_with(name, prompt, n_tokens, leaves_after, options);
    }

    fn begin_with(&mut self, name: usize, prompt: &[TokenId], n: usize, leaves_after: usize, options: SamplerOptions) {
        let sampler = Sampler::new(options, self.model.config().vocab_size).expect("options");
        let rules = StopRules { n_tokens: Some(n), ..StopRules::default() };
        let writer = Writer::new(&self.model, prompt, 128, sampler, rules).expect("a prompt");
        let (results, pass) = (Rc::clone(&self.results), Rc::clone(&self.pass));
        self.scheduler.begin(writer, Wanted { name, results, pass, leaves_after });
    }

    fn step(&mut self) -> Passed {
        *self.pass.borrow_mut() += 1;
        self.scheduler.step().expect("a pass")
    }

    fn finish(&mut self) {
        while !self.scheduler.is_idle() {
            self.step();
        }
    }

    fn told(&self, name: usize) -> Told {
        self.results.borrow().get(&name).cloned().unwrap_or_default()
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
