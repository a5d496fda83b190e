//! The chain as a whole.

use super::*;

fn sampler(options: SamplerOptions, vocab_size: usize) -> Sampler {
    Sampler::new(options, vocab_size).expect("options in range")
}

fn greedy() -> SamplerOptions {
    SamplerOptions { temperature: 0.0, ..SamplerOptions::default() }
}

/// U-13
#[test]
fn temperature_zero_takes_the_largest_and_the_lowest_id_among_equal_ones() {
    let mut greedy = sampler(greedy(), 4);
    assert_eq!(greedy.sample(&[0.0, 2.0, 1.0, 2.0]), Ok(1));
    assert_eq!(greedy.sample(&[5.0; 4]), Ok(0));
    assert_eq!(greedy.sample(&[-0.0, 0.0, -1.0, 0.0]), Ok(0));
}

/// U-13
#[test]
fn logits_that_are_no_numbers_are_an_error() {
    for options in [greedy(), SamplerOptions::default()] {
        let mut sampler = sampler(options, 3);
        for logits in
            [[0.0, f32::NAN, 1.0], [f32::NAN; 3], [f32::NEG_INFINITY; 3], [0.0, f32::INFINITY, f32::NEG_INFINITY]]
        {
            let error = sampler.sample(&logits).expect_err("no token");
            assert!(error.to_string().starts_with("logits: "), "{error}");
        }
        assert!(sampler.sample(&[]).is_err());
        let only = [f32::NEG_INFINITY, -1e30, f32::NEG_INFINITY];
        assert_eq!(sampler.sample(&only), Ok(1));
    }
    let error = sampler(greedy(), 3).sample(&[0.0, f32::NAN, 1.0]).expect_err("NaN");
    assert!(error.to_string().contains("token 1 is NaN"), "{error}");
}

#[test]
fn a_bias_comes_before_the_choice() {
    let bias = vec![(1, f32::NEG_INFINITY), (0, 0.5), (0, 0.25)];
    let mut biased = sampler(SamplerOptions { logit_bias: bias, ..greedy() }, 3);
    assert_eq!(biased.sample(&[1.0, 9.0, 1.7]), Ok(0));
    let banned = (0..3).map(|id| (id, f32::NEG_INFINITY)).collect();
    assert!(sampler(SamplerOptions { logit_bias: banned, ..greedy() }, 3).sample(&[1.0; 3]).is_err());
}

#[test]
fn penalties_see_what_was_accepted() {
    let mut penal = sampler(SamplerOptions { repeat_penalty: 2.0, repeat_last_n: 1, ..greedy() }, 3);
    let logits = [1.0, 3.0, 2.0];
    assert_eq!(penal.sample(&logits), Ok(1));
    penal.accept(1);
    assert_eq!(penal.sample(&logits), Ok(2));
    penal.accept(2);
    assert_eq!(penal.sample(&logits), Ok(1));
    penal.accept(1);
    penal.reset();
    assert_eq!(penal.sample(&logits), Ok(1));
}

#[test]
fn every_option_together_still_draws_something() {
    let options = SamplerOptions {
        temperature: 0.7,
        top_k: 3,
        top_p: 0.0,
        min_p: 1.0,
        typical_p: 0.0,
        repeat_penalty: 1.3,
        presence_penalty: 1.0,
        frequency_penalty: 1.0,
        logit_bias: vec![(2, 1.0)],
        ..SamplerOptions::default()
    };
    let mut sampler = sampler(options, 100);
    let logits: Vec<f32> = (0..100).map(|i| (i as f32 * 0.37).sin()).collect();
    for _ in 0..200 {
        let token = sampler.sample(&logits).expect("a token");
        sampler.accept(token);
    }
}

#[test]
fn the_seed_decides() {
    let logits: Vec<f32> = (0..5000).map(|i| (i as f32 * 0.11).cos()).collect();
    let run = |seed| {
        let mut sampler = sampler(SamplerOptions { seed, top_p: 0.9, ..SamplerOptions::default() }, logits.len());
        (0..50).map(|_| sampler.sample(&logits).expect("a token")).collect::<Vec<_>>()
    };
    assert_eq!(run(3), run(3));
    assert_ne!(run(3), run(4));
}

#[test]
fn draws_follow_the_probabilities() {
    // Chi square with 4 degrees of freedom: 18.5 has a chance of 0.001; the seed is fixed.
    let shares = [0.4f64, 0.3, 0.15, 0.1, 0.05];
    let logits: Vec<f32> = shares.iter().map(|p| p.ln() as f32 + 3.0).collect();
    let mut sampler = sampler(SamplerOptions { seed: 1, ..SamplerOptions::default() }, 5);
    let n = 100_000;
    let mut counts = [0u32; 5];
    for _ in 0..n {
        counts[sampler.sample(&logits).expect("a token") as usize] += 1;
    }
    let chi: f64 = shares.iter().zip(counts).map(|(p, c)| (c as f64 - p * n as f64).powi(2) / (p * n as f64)).sum();
    assert!(chi < 18.5, "{chi} {counts:?}");
}

#[test]
fn filters_narrow_what_is_drawn() {
    let logits: Vec<f32> = (0..1000).map(|i| -(i as f32) * 0.01).collect();
    let narrow = |options| {
        let mut sampler = sampler(options, 1000);
        sampler.filter(&logits).expect("candidates").items().len()
    };
    let plain = SamplerOptions::default();
    assert_eq!(narrow(plain.clone()), 1000);
    assert_eq!(narrow(SamplerOptions { top_k: 40, ..plain.clone() }), 40);
    assert_eq!(narrow(SamplerOptions { min_p: 0.5, ..plain.clone() }), 70);
    assert!(narrow(SamplerOptions { top_k: 40, top_p: 0.5, ..plain }) < 21);
}

#[test]
fn a_mask_comes_first_and_leaves_what_it_allows() {
    let logits = [5.0, 4.0, 3.0, 2.0, 1.0];
    let mut mask = Mask::none(5);
    assert!(sampler(greedy(), 5).sample_among(&logits, Some(&mask), &mut ()).is_err(), "no token is left");
    mask.set(2, true);
    mask.set(4, true);
    assert_eq!(sampler(greedy(), 5).sample_among(&logits, Some(&mask), &mut ()), Ok(2));
    // Of two tokens top-k 2 keeps both, although three of all tokens are more probable than the second.
    let mut chain = sampler(SamplerOptions { top_k: 2, ..SamplerOptions::default() }, 5);
    let left = chain.filter_among(&logits, Some(&mask), &mut ()).expect("candidates");
    assert_eq!(left.items().iter().map(|c| c.id).collect::<Vec<_>>(), [2, 4]);
    // The mask is that of one draw.
    assert_eq!(chain.filter(&logits).expect("candidates").items().len(), 2);
    assert_eq!(sampler(greedy(), 5).sample(&logits), Ok(0));
    let bias = SamplerOptions { logit_bias: vec![(0, 100.0), (4, 50.0)], ..greedy() };
    assert_eq!(sampler(bias, 5).sample_among(&logits, Some(&mask), &mut ()), Ok(4));
}

/// Logits like a model's: a few are high, most are low.
fn steep(n: usize) -> Vec<f32> {
    (0..n).map(|i| -1.3 * ((i * 7919 % n + 1) as f32).ln()).collect()
}

#[test]
fn stages_come_in_the_order_that_is_asked_for() {
    let logits = steep(500);
    let left = |order: &[Stage]| {
        let options = SamplerOptions {
            temperature: 3.0,
            min_p: 0.1,
            top_k: 60,
            order: order.to_vec(),
            ..SamplerOptions::default()
        };
        sampler(options, 500).filter(&logits).expect("candidates").items().len()
    };
    // A high temperature evens out: what is at least a tenth of the best is more after it than before.
    assert_eq!(left(&Stage::ORDER), 60);
    assert_eq!(left(&[Stage::MinP, Stage::Temperature, Stage::TopK]), 5);
    assert_eq!(left(&[Stage::Temperature, Stage::MinP]), 203);
    assert_eq!(left(&[]), 500, "what is not named is left out");
}

#[test]
fn what_is_struck_out_is_left_out_once() {
    for options in [greedy(), SamplerOptions { top_k: 1, ..SamplerOptions::default() }] {
        let mut sampler = sampler(options, 4);
        let logits = [1.0, 4.0, 3.0, 2.0];
        sampler.strike([1, 2]);
        assert_eq!(sampler.sample(&logits), Ok(3));
        assert_eq!(sampler.sample(&logits), Ok(1));
        sampler.strike(0..4);
        assert!(sampler.sample(&logits).is_err());
        assert_eq!(sampler.sample(&logits), Ok(1), "also after an error");
    }
}

/// Draws `n` tokens of one distribution and gives their mean of `figure`, a function of their probability.
fn mean(options: SamplerOptions, n: usize, figure: impl Fn(f64) -> f64) -> f64 {
    let logits = steep(2000);
    let mass: f64 = logits.iter().map(|l| f64::from(*l).exp()).sum();
    let mut sampler = sampler(options, logits.len());
    let drawn = (0..n).map(|_| {
        let token = sampler.sample(&logits).expect("a token");
        sampler.accept(token);
        figure(f64::from(logits[token as usize]).exp() / mass)
    });
    drawn.sum::<f64>() / n as f64
}

#[test]
fn mirostat_brings_the_mean_surprise_to_its_target() {
    let surprise = |mirostat| {
        let options = SamplerOptions { mirostat, seed: 2, ..SamplerOptions::default() };
        mean(options, 4000, |p| -p.log2())
    };
    let plain = surprise(None);
    let mut last = 0.0;
    for tau in [2.0, 3.0, 4.0] {
        // The surprise that it steers is that among the candidates that are left, a little less than that by the model.
        let got = surprise(Some(Mirostat { tau, eta: 0.1 }));
        assert!(
            (0.0..1.0).contains(&(got - f64::from(tau))) && last < got && got < plain,
            "{tau}: {got}, {plain} without"
        );
        last = got;
    }
}

#[test]
fn adaptive_p_brings_the_mean_probability_to_its_target() {
    // Of 2000 tokens min-p leaves four, of the probabilities 0.55, 0.22, 0.13 and 0.09.
    let left = [1.0f64, 2.0, 3.0, 4.0].map(|rank| rank.powf(-1.3)).iter().sum::<f64>();
    let all: f64 = (1..=2000).map(|rank| f64::from(rank).powf(-1.3)).sum();
    for target in [0.15, 0.3, 0.4, 0.5] {
        let adaptive_p = Some(AdaptiveP { target, decay: 0.9 });
        let options = SamplerOptions { adaptive_p, min_p: 0.15, seed: 2, ..SamplerOptions::default() };
        let got = mean(options, 4000, |p| p) * all / left;
        assert!((got - f64::from(target)).abs() < 0.07, "{target}: {got}");
    }
}

/// Every stage at once, and what it learns, over a text.
fn all_stages() -> SamplerOptions {
    SamplerOptions {
        temperature: 0.9,
        top_k: 200,
        top_p: 0.98,
        min_p: 0.002,
        typical_p: 0.99,
        repeat_penalty: 1.1,
        frequency_penalty: 0.1,
        dry: Dry { multiplier: 0.8, breakers: vec![vec![3], vec![4, 5]], ..Dry::default() },
        top_n_sigma: 2.5,
        dynamic: DynamicTemperature { range: 0.4, exponent: 0.7 },
        xtc: Xtc { probability: 0.4, threshold: 0.15 },
        mirostat: Some(Mirostat::default()),
        adaptive_p: Some(AdaptiveP { target: 0.2, decay: 0.8 }),
        seed: 6,
        ..SamplerOptions::default()
    }
}

/// Tokens drawn from logits that change with each.
fn draw(sampler: &mut Sampler, n: usize) -> Vec<TokenId> {
    let logits = steep(300);
    let mut rotated = logits.clone();
    (0..n)
        .map(|i| {
            rotated.rotate_left(i % 3 * 41 % 300);
            let token = sampler.sample(&rotated).expect("a token");
            sampler.accept(token);
            token
        })
        .collect()
}

#[test]
fn a_chain_of_every_stage_starts_over_and_looking_does_not_change_it() {
    let mut sampler = sampler(all_stages(), 300);
    let first = draw(&mut sampler, 200);
    // The same on every machine.
    let known =
        [111, 138, 56, 51, 68, 233, 170, 192, 110, 110, 69, 287, 108, 246, 101, 96, 123, 41, 36, 0, 276, 218, 56, 95];
    assert_eq!(first[..24], known);
    sampler.reset();
    assert_eq!(draw(&mut sampler, 200), first);
    sampler.reset();
    let again = draw(&mut sampler, 100);
    for _ in 0..3 {
        sampler.filter(&steep(300)).expect("candidates");
    }
    let rest = draw(&mut sampler, 1);
    assert_eq!((again, rest.len()), (first[..100].to_vec(), 1));
}
