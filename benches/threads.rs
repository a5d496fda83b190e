//! The price of a parallel region, beside rayon's: `cargo bench --bench threads`.
//!
//! A region is empty, or one of 20 microseconds of work for one thread, as in a layer of a small model. It is entered
//! from a thread that also works itself, rayon's from within its pool, which is its best case; "cold" is after a pause
//! in which all have gone to sleep. Regions on more threads than there are cores show what it costs to ask for too many.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::hint::black_box;
use std::ops::Range;
use std::time::{Duration, Instant};
use whit::threads::Threads;

const WORK: Duration = Duration::from_micros(20);
/// Longer than any thread spins.
const PAUSE: Duration = Duration::from_millis(2);

/// A chain of products that no vector unit shortens.
fn work(items: Range<usize>) {
    let chain = |start| (0..64).fold(start, |x: u64, _| black_box(x.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (x >> 29)));
    black_box(items.map(|i| chain(i as u64)).fold(0, |a, b| a ^ b));
}

/// The items that take one thread [`WORK`]: by the fastest of many tries, as others may have the core.
fn n_items() -> usize {
    let n = 256;
    let time = |_| {
        let start = Instant::now();
        work(0..n);
        start.elapsed()
    };
    let fastest = (0..1000).map(time).min().expect("a time");
    (n as f64 * WORK.as_secs_f64() / fastest.as_secs_f64()) as usize
}

fn part(index: usize, n_parts: usize, n: usize) -> Range<usize> {
    index * n / n_parts..(index + 1) * n / n_parts
}

fn scope(n_threads: usize, n: usize, body: &(dyn Fn(Range<usize>) + Sync)) {
    rayon::scope(|scope| {
        for index in 1..n_threads {
            scope.spawn(move |_| body(part(index, n_threads, n)));
        }
        body(part(0, n_threads, n));
    });
}

fn parallel_iterator(n_threads: usize, n: usize, body: &(dyn Fn(Range<usize>) + Sync)) {
    (0..n_threads).into_par_iter().with_max_len(1).for_each(|index| body(part(index, n_threads, n)));
}

/// The time of `n` calls.
fn timed(n: u64, mut call: impl FnMut()) -> Duration {
    let start = Instant::now();
    (0..n).for_each(|_| call());
    start.elapsed()
}

/// The time of `n` calls with a pause before each: of a few, as pauses are long, times what is missing.
fn timed_cold(n: u64, mut call: impl FnMut()) -> Duration {
    let few = n.min(20);
    let after_pause = |_| {
        std::thread::sleep(PAUSE);
        timed(1, &mut call)
    };
    (0..few).map(after_pause).sum::<Duration>().mul_f64(n as f64 / few as f64)
}

type Body = dyn Fn(Range<usize>) + Sync;

/// Every way to run `body` over `n` items on `n_threads`, hot and cold.
fn compare(c: &mut Criterion, name: &str, n_threads: usize, n: usize, body: &Body) {
    let mut group = c.benchmark_group(name);
    let id = |way: &str| BenchmarkId::new(way, n_threads);
    let threads = Threads::new(n_threads).expect("threads");
    group.bench_function(id("whit"), |b| b.iter_custom(|calls| timed(calls, || threads.run(n, body))));
    let pool: ThreadPool = ThreadPoolBuilder::new().num_threads(n_threads).build().expect("a pool");
    group.bench_function(id("rayon scope"), |b| {
        b.iter_custom(|calls| pool.install(|| timed(calls, || scope(n_threads, n, body))));
    });
    group.bench_function(id("rayon par_iter"), |b| {
        b.iter_custom(|calls| pool.install(|| timed(calls, || parallel_iterator(n_threads, n, body))));
    });
    group.finish();
    let mut group = c.benchmark_group(format!("{name}, cold"));
    group.bench_function(id("whit"), |b| b.iter_custom(|calls| timed_cold(calls, || threads.run(n, body))));
    group.bench_function(id("rayon par_iter"), |b| {
        b.iter_custom(|calls| pool.install(|| timed_cold(calls, || parallel_iterator(n_threads, n, body))));
    });
}

fn regions(c: &mut Criterion) {
    let n = n_items();
    for n_threads in [1, 2, 4] {
        compare(c, "empty", n_threads, n_threads, &|range| {
            black_box(range);
        });
        compare(c, "20 us", n_threads, n, &work);
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1));
    targets = regions
}
criterion_main!(benches);
