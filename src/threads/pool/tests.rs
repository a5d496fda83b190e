use super::super::Owned;
use super::*;
use std::sync::Barrier;
use std::sync::atomic::AtomicUsize;

#[test]
fn parts_are_contiguous_and_cover_everything() {
    for n_items in 0..40 {
        for n_parts in 1..9 {
            let mut next = 0;
            for index in 0..n_parts {
                let range = part(index, n_parts, n_items);
                assert_eq!(range.start, next);
                assert!(range.len() <= n_items.div_ceil(n_parts));
                next = range.end;
            }
            assert_eq!(next, n_items);
        }
    }
}

#[test]
fn every_item_runs_once_in_thousands_of_regions() {
    for n in [1, 2, 3, 5] {
        let threads = Threads::new(n).expect("threads");
        assert_eq!(threads.len(), n);
        for round in 0..2000 {
            let n_items = round % 11;
            let counts: Vec<AtomicUsize> = (0..n_items).map(|_| AtomicUsize::new(0)).collect();
            threads.run(n_items, &|range| {
                for i in range {
                    counts[i].fetch_add(1, Ordering::Relaxed);
                }
            });
            assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1));
        }
    }
}

#[test]
fn sleeping_workers_wake() {
    let threads = Threads::new(3).expect("threads");
    for _ in 0..5 {
        std::thread::sleep(std::time::Duration::from_millis(5));
        let sum = AtomicUsize::new(0);
        threads.run(100, &|range| {
            sum.fetch_add(range.len(), Ordering::Relaxed);
        });
        assert_eq!(sum.load(Ordering::Relaxed), 100);
    }
}

#[test]
fn a_panic_reaches_the_caller_and_the_pool_lives_on() {
    let threads = Threads::new(3).expect("threads");
    for bad in [0, 1, 2] {
        let caught = catch_unwind(AssertUnwindSafe(|| {
            threads.run(3, &|range| assert!(!range.contains(&bad), "item {bad}"));
        }));
        assert!(caught.is_err());
        threads.run(3, &|_| {});
    }
}

/// A pool whose workers never come.
fn without_workers(n: usize) -> Threads {
    Threads { shared: Arc::new(Shared::new(n - 1)), workers: Vec::new() }
}

#[test]
fn the_caller_runs_what_no_worker_has_begun() {
    let threads = without_workers(4);
    for n_items in [2, 3, 4, 9] {
        let counts: Vec<AtomicUsize> = (0..n_items).map(|_| AtomicUsize::new(0)).collect();
        threads.run(n_items, &|range| {
            for i in range {
                counts[i].fetch_add(1, Ordering::Relaxed);
            }
        });
        assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1));
    }
}

#[test]
fn after_a_panic_of_the_caller_no_part_is_left_behind() {
    let threads = without_workers(3);
    let ran = AtomicUsize::new(0);
    let caught = catch_unwind(AssertUnwindSafe(|| {
        threads.run(3, &|range| {
            ran.fetch_add(1, Ordering::Relaxed);
            assert!(!range.contains(&0));
        });
    }));
    assert!(caught.is_err());
    assert_eq!(ran.load(Ordering::Relaxed), 1);
    assert!(threads.shared.slots.iter().all(|slot| slot.state.load(Ordering::Relaxed) == IDLE));
}

#[test]
fn parts_run_side_by_side() {
    for n in [2, 3, 4] {
        let threads = Threads::new(n).expect("threads");
        for n_parts in 2..=n {
            let all = Barrier::new(n_parts);
            for _ in 0..20 {
                threads.run(n_parts, &|_| {
                    all.wait();
                });
            }
        }
    }
}

#[test]
fn a_slot_has_cache_lines_of_its_own() {
    assert_eq!((size_of::<Slot>(), align_of::<Slot>()), (128, 128));
    assert!(std::mem::offset_of!(Slot, gate) + size_of::<Gate>() <= 64 || !cfg!(target_os = "linux"));
}

#[test]
fn a_region_within_a_region_runs_inline() {
    let threads = Threads::new(2).expect("threads");
    let sum = AtomicUsize::new(0);
    threads.run(2, &|outer| {
        threads.run(10, &|range| {
            sum.fetch_add(range.len() * outer.len(), Ordering::Relaxed);
        });
    });
    assert_eq!(sum.load(Ordering::Relaxed), 20);
}

#[test]
fn columns_cover_a_matrix_with_a_narrow_last_unit() {
    for n in [1, 2, 3] {
        let threads = Threads::new(n).expect("threads");
        let mut y = vec![0; 3 * 37];
        threads.run_columns(&mut y, 37, 16, 1, &|units, mut columns| {
            for t in 0..columns.n_rows() {
                for (i, v) in columns.row(t).iter_mut().enumerate() {
                    *v += 1 + t * 37 + units.start * 16 + i;
                }
            }
        });
        assert!(y.iter().enumerate().all(|(i, &v)| v == i + 1));
    }
}

#[test]
fn pairs_have_the_same_units() {
    for n in [1, 2, 3] {
        let threads = Threads::new(n).expect("threads");
        let (mut a, mut b) = (vec![0; 2 * 12], vec![0; 3 * 7]);
        let ys = [Owned { all: &mut a, width: 12, unit: 3 }, Owned { all: &mut b, width: 7, unit: 2 }];
        threads.run_pairs(ys, 1, &|units, [mut a, mut b]| {
            assert_eq!(a.row(0).len(), 3 * units.len());
            let narrow = usize::from(units.end == 4);
            assert_eq!(b.row(0).len(), 2 * units.len() - narrow);
            for columns in [&mut a, &mut b] {
                columns.rows(0..columns.n_rows()).flatten().for_each(|v| *v += 1);
            }
        });
        assert!(a.iter().chain(&b).all(|v| *v == 1));
    }
}

#[test]
#[should_panic(expected = "4 and 3 units")]
fn pairs_of_other_units_are_refused() {
    let (mut a, mut b) = ([0; 12], [0; 6]);
    let ys = [Owned { all: &mut a, width: 12, unit: 3 }, Owned { all: &mut b, width: 6, unit: 2 }];
    Threads::new(1).expect("a thread").run_pairs(ys, 1, &|_, _| ());
}

#[test]
fn impossible_counts_are_refused() {
    assert!(Threads::new(0).is_err());
    assert!(Threads::new(MAX_THREADS + 1).is_err());
}
